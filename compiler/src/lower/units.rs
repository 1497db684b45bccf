//! What is to be computed and stored, one unit a node.

use super::contract;
use super::cut::Cut;
use super::nest::prefixes;
use crate::graph::{Graph, NodeId, Op};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An elementwise node or a view.
    Map,
    /// A stored node again, elsewhere.
    Copy,
    Reduce,
    Scatter,
    Contract,
    Conv,
    Extern,
}

#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub node: NodeId,
    pub kind: Kind,
    /// Stored nodes it reads.
    pub reads: Vec<NodeId>,
}

impl Unit {
    pub fn compute(graph: &Graph, cut: &Cut, node: NodeId) -> Unit {
        let kind = match graph.op(node) {
            Op::Reduce { .. } => Kind::Reduce,
            Op::ScatterAdd { .. } => Kind::Scatter,
            Op::Contract { .. } => Kind::Contract,
            Op::Conv { .. } => Kind::Conv,
            Op::Extern { .. } => Kind::Extern,
            _ => Kind::Map,
        };
        // An empty sum is zero everywhere.
        let empty = kind == Kind::Reduce && graph.ty(graph.node(node).inputs[0]).is_empty();
        let reads = match kind {
            Kind::Contract | Kind::Conv | Kind::Extern => contract::reads(graph, cut, node),
            _ => cut.reads(graph, node),
        };
        Unit { node, kind: if empty { Kind::Map } else { kind }, reads }
    }

    pub fn copy(node: NodeId) -> Unit {
        Unit { node, kind: Kind::Copy, reads: vec![node] }
    }

    /// Whether it can share a kernel with others.
    pub fn fuses(&self) -> bool {
        matches!(self.kind, Kind::Map | Kind::Copy | Kind::Reduce)
    }

    /// The grids at which it can be computed.
    pub fn grids(&self, graph: &Graph) -> Vec<usize> {
        let shape = graph.shape(self.node);
        match (self.kind, graph.op(self.node)) {
            (Kind::Map | Kind::Copy, _) => prefixes(shape),
            (Kind::Reduce, Op::Reduce { axes, .. }) => {
                let input = graph.shape(graph.node(self.node).inputs[0]);
                prefixes(&input[..axes.first().copied().unwrap_or(input.len())])
            }
            (Kind::Scatter, Op::ScatterAdd { axis }) => {
                let rows: usize = shape[..*axis].iter().product();
                let columns: usize = shape[*axis + 1..].iter().product();
                let width =
                    [256, 64, 16].into_iter().find(|width| columns.is_multiple_of(*width)).unwrap_or(columns.max(1));
                vec![rows * (columns / width).max(1)]
            }
            _ => vec![1],
        }
    }
}
