//! Regions: parts of a graph small enough to saturate, cut where values are stored anyway.
//!
//! A node's level is how many products and convolutions lie before it. A region is what hangs together within a level:
//! a product and all that is made of it before the next. No way leads out of a region and back, because it would pass
//! through a product; so regions may be rewritten one after another. Equal blocks of a network give equal regions.

use crate::graph::{Graph, Node, NodeId, Op, Ty, needed};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

/// A part of a graph.
#[derive(Clone, Debug)]
pub struct Region {
    /// Each after its inputs.
    pub members: Vec<NodeId>,
    /// What members read from outside.
    pub leaves: Vec<NodeId>,
    /// Members that are read outside.
    pub outputs: Vec<NodeId>,
}

/// What a graph is rebuilt of, in this order.
#[derive(Clone, Debug)]
pub enum Part {
    /// Stays as it is.
    Node(NodeId),
    Region(Region),
}

/// A region but for where its leaves come from: two with equal keys are rewritten alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub leaves: Vec<Ty>,
    /// Inputs count leaves first, then terms.
    pub terms: Vec<(Op, Ty, SmallVec<[u32; 3]>)>,
    pub outputs: Vec<u32>,
}

/// Whether a node may be rewritten with its neighbours.
fn is_member(op: &Op) -> bool {
    match op {
        Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Cast(_) | Op::Reduce { .. } | Op::Contract { .. } => true,
        Op::Slice { .. } | Op::Pad { .. } | Op::Concat { .. } => true,
        op => is_view(op),
    }
}

/// What a region takes with it rather than reading it.
fn is_view(op: &Op) -> bool {
    matches!(op, Op::Const(_) | Op::Reshape | Op::Permute { .. } | Op::Broadcast { .. })
}

/// Whether what is made of a node is of a later level than its inputs.
fn ends_level(node: &Node) -> bool {
    matches!(node.op, Op::Contract { .. }) || !is_member(&node.op) && !node.inputs.is_empty()
}

/// All that `outputs` need, in parts.
pub fn parts(graph: &Graph, outputs: &[NodeId]) -> Vec<Part> {
    let nodes = needed(graph, outputs);
    let place: FxHashMap<NodeId, usize> = nodes.iter().enumerate().map(|(i, &id)| (id, i)).collect();
    let inputs = |id: NodeId| graph.node(id).inputs.iter().map(|input| place[input]);
    let mut level = vec![0usize; nodes.len()];
    let mut group: Vec<usize> = (0..nodes.len()).collect();
    let joins = |i: usize| is_member(graph.op(nodes[i])) && !matches!(graph.op(nodes[i]), Op::Const(_));
    for (i, &id) in nodes.iter().enumerate() {
        let before = inputs(id).map(|input| level[input]).max().unwrap_or(0);
        level[i] = before + ends_level(graph.node(id)) as usize;
        for input in inputs(id).filter(|&input| joins(i) && joins(input) && level[input] == level[i]) {
            let (a, b) = (root(&mut group, i), root(&mut group, input));
            group[a.max(b)] = a.min(b);
        }
    }
    let mut members: FxHashMap<usize, Vec<NodeId>> = FxHashMap::default();
    for i in (0..nodes.len()).filter(|&i| joins(i)) {
        members.entry(root(&mut group, i)).or_default().push(nodes[i]);
    }
    // Within a level what is no member comes first: members may read it, and it reads earlier levels only.
    let mut order: Vec<usize> = (0..nodes.len()).filter(|&i| !joins(i) || group[i] == i).collect();
    order.sort_by_key(|&i| (level[i], joins(i), i));
    let part = |i: usize| match members.remove(&i) {
        Some(own) => Part::Region(closed(graph, own)),
        None => Part::Node(nodes[i]),
    };
    let mut all: Vec<Part> = order.into_iter().map(part).collect();

    let mut read: FxHashSet<NodeId> = outputs.iter().copied().collect();
    for part in &all {
        match part {
            Part::Node(id) => read.extend(&graph.node(*id).inputs),
            Part::Region(region) => read.extend(&region.leaves),
        }
    }
    for part in &mut all {
        if let Part::Region(region) = part {
            region.outputs.retain(|id| read.contains(id));
        }
    }
    all
}

fn root(group: &mut [usize], mut i: usize) -> usize {
    while group[i] != i {
        group[i] = group[group[i]];
        i = group[i];
    }
    i
}

/// A region of these members and of the views between them and what others compute. All may be outputs.
fn closed(graph: &Graph, own: Vec<NodeId>) -> Region {
    let mut members: FxHashSet<NodeId> = own.iter().copied().collect();
    let outputs = own.clone();
    let mut leaves: FxHashSet<NodeId> = FxHashSet::default();
    let mut stack = own;
    while let Some(id) = stack.pop() {
        for &input in &graph.node(id).inputs {
            if members.contains(&input) || leaves.contains(&input) {
                continue;
            }
            if is_view(graph.op(input)) {
                members.insert(input);
                stack.push(input);
            } else {
                leaves.insert(input);
            }
        }
    }
    let sorted = |set: FxHashSet<NodeId>| {
        let mut all: Vec<NodeId> = set.into_iter().collect();
        all.sort_unstable();
        all
    };
    Region { members: sorted(members), leaves: sorted(leaves), outputs }
}

impl Region {
    /// Members that compute something.
    pub fn operations(&self, graph: &Graph) -> usize {
        self.members.iter().filter(|&&id| !is_view(graph.op(id))).count()
    }

    pub fn key(&self, graph: &Graph) -> Key {
        let all = self.leaves.iter().chain(&self.members);
        let number: FxHashMap<NodeId, u32> = all.enumerate().map(|(i, &id)| (id, i as u32)).collect();
        let term = |&id: &NodeId| {
            let node = graph.node(id);
            (node.op.clone(), node.ty.clone(), node.inputs.iter().map(|input| number[input]).collect())
        };
        Key {
            leaves: self.leaves.iter().map(|&id| graph.ty(id).clone()).collect(),
            terms: self.members.iter().map(term).collect(),
            outputs: self.outputs.iter().map(|id| number[id]).collect(),
        }
    }
}
