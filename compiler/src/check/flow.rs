//! Gradient flow: which networks a value depends on differentiably, and what cut the others off.

use crate::graph::{Graph, NodeId, Op, Source};
use fgc_program::{BinaryOp, NetId, UnaryOp};
use rustc_hash::FxHashSet;
use std::collections::BTreeSet;

/// What a derivative of a value can reach.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reach {
    pub nets: BTreeSet<NetId>,
    /// The `stop`s where the search ended.
    pub stops: Vec<NodeId>,
    /// Operations without a derivative where it ended.
    pub flat: Vec<NodeId>,
}

/// What derivatives of `root` reach. The graph must be inlined: calls hide what is behind them.
pub fn reach(graph: &Graph, root: NodeId) -> Reach {
    from(graph, vec![root])
}

/// What derivatives of a node's inputs would reach if it let them through.
pub fn behind(graph: &Graph, node: NodeId) -> Reach {
    from(graph, graph.node(node).inputs.to_vec())
}

fn from(graph: &Graph, mut open: Vec<NodeId>) -> Reach {
    let mut out = Reach::default();
    let mut seen = FxHashSet::default();
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let node = graph.node(id);
        match &node.op {
            Op::Source(Source::Param { net, .. }) => {
                out.nets.insert(*net);
            }
            Op::Stop => out.stops.push(id),
            _ => {
                let inputs = passing(graph, id);
                // A choice by a comparison is no cut: gradient flows through what is chosen.
                if inputs.is_empty() && !node.inputs.is_empty() {
                    out.flat.push(id);
                }
                open.extend(inputs);
            }
        }
    }
    out.stops.sort_unstable();
    out.flat.sort_unstable();
    out
}

/// The inputs that a derivative of a node flows on to.
pub fn passing(graph: &Graph, id: NodeId) -> Vec<NodeId> {
    let node = graph.node(id);
    if matches!(node.op, Op::Stop) {
        return Vec::new();
    }
    differentiable_inputs(&node.op).of(&node.inputs).copied().filter(|&i| graph.dtype(i).is_float()).collect()
}

enum Inputs {
    All,
    None,
    First,
    AllButFirst,
}

impl Inputs {
    fn of<'a>(&self, inputs: &'a [NodeId]) -> std::slice::Iter<'a, NodeId> {
        match self {
            Inputs::All => inputs.iter(),
            Inputs::None => [].iter(),
            Inputs::First => inputs[..inputs.len().min(1)].iter(),
            Inputs::AllButFirst => inputs[inputs.len().min(1)..].iter(),
        }
    }
}

/// Which inputs an operation has a derivative in.
fn differentiable_inputs(op: &Op) -> Inputs {
    match op {
        Op::Unary(UnaryOp::Sign | UnaryOp::Floor | UnaryOp::IsFinite | UnaryOp::Not) => Inputs::None,
        Op::Binary(b) if b.is_comparison() || matches!(b, BinaryOp::And | BinaryOp::Or) => Inputs::None,
        Op::Select => Inputs::AllButFirst,
        Op::Gather { .. } | Op::ScatterAdd { .. } => Inputs::First,
        _ => Inputs::All,
    }
}
