//! Which nodes are stored: the others are computed where they are used.
//!
//! Stored are reductions, products and all that these and the outside need as buffers. Elementwise nodes and views are
//! computed in their consumers, again for each, unless that costs more than memory: then they are stored.

use super::{contract, strided};
use crate::graph::{Graph, NodeId, Op, needed};
use crate::level::Level;
use fgc_program::{BinaryOp, UnaryOp};
use rustc_hash::{FxHashMap, FxHashSet};

/// Operations of work (a multiplication is 1) worth repeating for a value that several kernels use, rather than storing.
const REPEATED: f32 = 4.0;
/// Work not to be repeated for each element of a broadcast.
const BROADCAST: f32 = 8.0;
/// Nodes computed in one expression, its depth, and the buffers it reads.
const NODES: usize = 64;
const DEPTH: usize = 32;
const LOADS: usize = 12;
/// Nodes, counted once for each use, under a guard, where no value is kept for a second use.
const GUARDED: usize = 16;

/// The decisions for one plan.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    /// All nodes the plan needs, each after its inputs.
    pub nodes: Vec<NodeId>,
    stored: FxHashSet<NodeId>,
}

/// What computing a node where it is used entails.
#[derive(Clone, Debug, Default)]
struct Inline {
    work: f32,
    nodes: usize,
    depth: usize,
    /// As `nodes`, with each use counted.
    tree: usize,
    /// Stored nodes read.
    loads: Vec<NodeId>,
}

/// How a node is used.
#[derive(Clone, Copy, Debug, Default)]
struct Uses {
    /// Consumers, seen through views.
    count: usize,
    /// The largest number of elements that one of this node becomes in a consumer.
    spread: usize,
    /// Needed as a buffer.
    buffer: bool,
    guarded: bool,
}

impl Cut {
    pub fn new(graph: &Graph, outputs: &[NodeId], level: Level) -> Cut {
        let nodes = needed(graph, outputs);
        let mut cut = Cut { nodes, stored: FxHashSet::default() };
        // A plan's nodes may be few of a large graph.
        let place: FxHashMap<NodeId, usize> = cut.nodes.iter().enumerate().map(|(i, &id)| (id, i)).collect();
        let uses = cut.uses(graph, outputs, &place);
        let mut inline: Vec<Inline> = Vec::with_capacity(cut.nodes.len());
        for (i, uses) in uses.into_iter().enumerate() {
            let id = cut.nodes[i];
            let cost = cut.inline(graph, id, |input| &inline[place[&input]]);
            let stored = store(graph, id, uses, &cost) || level == Level::None && is_operation(graph.op(id));
            inline.push(if stored { Inline::default() } else { cost });
            if stored {
                cut.stored.insert(id);
            }
        }
        cut
    }

    pub fn is_stored(&self, id: NodeId) -> bool {
        self.stored.contains(&id)
    }

    /// The stored node whose buffer holds `id`, row-major.
    pub fn storage(&self, graph: &Graph, mut id: NodeId) -> Option<NodeId> {
        while !self.is_stored(id) && matches!(graph.op(id), Op::Reshape | Op::Stop) {
            id = graph.node(id).inputs[0];
        }
        self.is_stored(id).then_some(id)
    }

    /// The stored nodes that computing `id` reads.
    pub fn reads(&self, graph: &Graph, id: NodeId) -> Vec<NodeId> {
        let mut found = Vec::new();
        let mut seen = FxHashSet::default();
        let mut stack: Vec<NodeId> = graph.node(id).inputs.iter().rev().copied().collect();
        while let Some(id) = stack.pop() {
            if !seen.insert(id) {
            } else if self.is_stored(id) {
                found.push(id);
            } else {
                stack.extend(graph.node(id).inputs.iter().rev());
            }
        }
        found
    }

    /// Of each node, by its place among them.
    fn uses(&self, graph: &Graph, outputs: &[NodeId], place: &FxHashMap<NodeId, usize>) -> Vec<Uses> {
        let mut uses = vec![Uses { spread: 1, ..Uses::default() }; self.nodes.len()];
        for &output in outputs {
            let output = strided::root(graph, output, |op| matches!(op, Op::Reshape | Op::Stop));
            let uses = &mut uses[place[&output]];
            uses.count += 1;
            uses.buffer = true;
        }
        for (i, &id) in self.nodes.iter().enumerate().rev() {
            let node = graph.node(id);
            let own = uses[i];
            let mut need = |id: NodeId| uses[place[&id]].buffer = true;
            match &node.op {
                Op::Contract { .. } => {
                    contract::operands(graph, id).into_iter().for_each(&mut need);
                }
                Op::Conv { .. } | Op::Extern { .. } => {
                    for &operand in &node.inputs {
                        need(strided::root(graph, operand, |op| matches!(op, Op::Reshape | Op::Stop)));
                    }
                }
                Op::Gather { .. } => {
                    need(strided::root(graph, node.inputs[0], |op| matches!(op, Op::Reshape | Op::Stop)))
                }
                _ => {}
            }
            let view = strided::is_view(&node.op) && !own.buffer;
            for &input in &node.inputs {
                let used = &mut uses[place[&input]];
                let elements = graph.ty(input).len().max(1);
                if view {
                    used.count += own.count;
                    used.spread = used.spread.max(own.spread * graph.ty(id).len().div_ceil(elements));
                    used.guarded |= own.guarded;
                } else {
                    used.count += 1;
                    used.guarded |= matches!(node.op, Op::Pad { .. } | Op::Concat { .. });
                }
            }
        }
        uses
    }

    fn inline<'a>(&self, graph: &Graph, id: NodeId, of: impl Fn(NodeId) -> &'a Inline) -> Inline {
        let node = graph.node(id);
        let mut sum = Inline { work: work(&node.op), nodes: 1, depth: 1, tree: 1, loads: Vec::new() };
        for &input in &node.inputs {
            if self.is_stored(input) {
                if !sum.loads.contains(&input) {
                    sum.loads.push(input);
                }
                sum.tree += 1;
                continue;
            }
            let part = of(input);
            sum.work += part.work;
            sum.nodes += part.nodes;
            sum.depth = sum.depth.max(part.depth + 1);
            sum.tree += part.tree;
            for load in &part.loads {
                if !sum.loads.contains(load) {
                    sum.loads.push(*load);
                }
            }
        }
        sum
    }
}

/// Whether a value is computed rather than looked up elsewhere.
fn is_operation(op: &Op) -> bool {
    !strided::is_view(op) && !matches!(op, Op::Const(_) | Op::Iota { .. } | Op::Stop)
}

fn store(graph: &Graph, id: NodeId, uses: Uses, cost: &Inline) -> bool {
    let node = graph.node(id);
    match &node.op {
        Op::Source(_) | Op::Table(_) => return true,
        Op::Contract { .. } | Op::Conv { .. } | Op::ScatterAdd { .. } | Op::Extern { .. } => return true,
        // The sum of nothing is zero.
        Op::Reduce { .. } => return uses.buffer || !graph.ty(node.inputs[0]).is_empty(),
        _ if uses.buffer => return true,
        Op::Const(_) | Op::Iota { .. } => return false,
        _ => {}
    }
    if cost.nodes > NODES || cost.depth > DEPTH || cost.loads.len() > LOADS {
        return true;
    }
    if strided::is_view(&node.op) {
        return false;
    }
    let elements = graph.ty(id).len();
    let large = cost.loads.iter().filter(|load| graph.ty(**load).len() > elements / 4).count();
    uses.count > 1 && (cost.work > REPEATED || large > 1)
        || uses.spread >= 4 && cost.work >= BROADCAST
        || uses.guarded && cost.tree > GUARDED
}

/// Cost of one element, a multiplication being 1.
pub(crate) fn work(op: &Op) -> f32 {
    match op {
        Op::Unary(op) => match op {
            UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Sign | UnaryOp::Floor | UnaryOp::IsFinite | UnaryOp::Not => 1.0,
            UnaryOp::Sqrt => 5.0,
            UnaryOp::NormalQuantile => 200.0,
            _ => 12.0,
        },
        Op::Binary(op) => match op {
            BinaryOp::Div => 3.0,
            BinaryOp::Rem => 12.0,
            BinaryOp::Pow | BinaryOp::Atan2 => 40.0,
            BinaryOp::StudentCdf | BinaryOp::StudentQuantile => 1000.0,
            _ => 1.0,
        },
        Op::Select | Op::Cast(_) => 1.0,
        Op::Pad { .. } | Op::Concat { .. } => 2.0,
        Op::Gather { .. } => 3.0,
        _ => 0.0,
    }
}
