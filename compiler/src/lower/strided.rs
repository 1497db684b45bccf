//! Views of stored nodes as offset and strides, so that products read through them.

use crate::graph::tensor::strides;
use crate::graph::{Graph, NodeId, Op};

/// Where the elements of a node lie in the row-major buffer of `base`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    pub base: NodeId,
    pub offset: usize,
    /// Of each axis of the node.
    pub strides: Vec<isize>,
}

pub(super) fn is_view(op: &Op) -> bool {
    matches!(op, Op::Reshape | Op::Permute { .. } | Op::Broadcast { .. } | Op::Slice { .. } | Op::Stop)
}

/// The first node from `id` down that is not `through`.
pub(super) fn root(graph: &Graph, mut id: NodeId, through: impl Fn(&Op) -> bool) -> NodeId {
    while through(graph.op(id)) {
        id = graph.node(id).inputs[0];
    }
    id
}

/// `id` as a view of the first stored node below it; None if its strides cannot say where the elements are.
pub(super) fn view(graph: &Graph, id: NodeId, is_stored: impl Fn(NodeId) -> bool) -> Option<View> {
    let mut chain = Vec::new();
    let mut base = id;
    while !is_stored(base) {
        if !is_view(graph.op(base)) {
            return None;
        }
        chain.push(base);
        base = graph.node(base).inputs[0];
    }
    let strides = strides(graph.shape(base)).into_iter().map(|s| s as isize).collect();
    let mut view = View { base, offset: 0, strides };
    for &id in chain.iter().rev() {
        let node = graph.node(id);
        let from = graph.shape(node.inputs[0]);
        let old = std::mem::take(&mut view.strides);
        view.strides = match &node.op {
            Op::Permute { order } => order.iter().map(|&axis| old[axis]).collect(),
            Op::Broadcast { axes } => {
                let mut new = vec![0; node.ty.shape.len()];
                for (&axis, stride) in axes.iter().zip(old) {
                    new[axis] = stride;
                }
                new
            }
            Op::Slice { axis, start, step } => {
                view.offset += start * old[*axis].unsigned_abs();
                let mut new = old;
                new[*axis] *= *step as isize;
                new
            }
            Op::Reshape => reshape(from, &old, &node.ty.shape)?,
            _ => old,
        };
    }
    Some(view)
}

/// The strides of a strided tensor in another shape, if it has any.
fn reshape(from: &[usize], strides: &[isize], to: &[usize]) -> Option<Vec<isize>> {
    // Runs of axes that are one axis in memory, innermost first.
    let mut runs = merged(from.iter().copied().zip(strides.iter().copied())).into_iter().rev();
    let mut new = vec![0; to.len()];
    let (mut left, mut stride) = (1, 0);
    for axis in (0..to.len()).rev().filter(|&axis| to[axis] != 1) {
        if left == 1 {
            (left, stride) = runs.next()?;
        }
        if !left.is_multiple_of(to[axis]) {
            return None;
        }
        new[axis] = stride;
        left /= to[axis];
        stride *= to[axis] as isize;
    }
    Some(new)
}

/// (extent, stride) of axes, outermost first, with neighbours made one where memory allows and extents of 1 dropped.
pub(super) fn merged(axes: impl IntoIterator<Item = (usize, isize)>) -> Vec<(usize, isize)> {
    let mut runs: Vec<(usize, isize)> = Vec::new();
    for (extent, stride) in axes.into_iter().filter(|(extent, _)| *extent != 1) {
        match runs.last_mut() {
            Some(last) if last.1 == stride * extent as isize => *last = (last.0 * extent, stride),
            _ => runs.push((extent, stride)),
        }
    }
    runs
}

/// Nodes looked through for the order of elements in memory.
const DEEP: usize = 64;

/// The axis along which the elements of a node lie next to each other in memory, if it is one with more than one
/// element; of an elementwise node, those of its largest operand.
pub(super) fn innermost(graph: &Graph, node: NodeId) -> Option<usize> {
    innermost_within(graph, node, DEEP)
}

/// Likewise, not looking further than so many nodes.
fn innermost_within(graph: &Graph, node: NodeId, depth: usize) -> Option<usize> {
    let depth = depth.checked_sub(1)?;
    let innermost = |graph: &Graph, node: NodeId| innermost_within(graph, node, depth);
    let shape = graph.shape(node);
    let inputs = &graph.node(node).inputs;
    let last = |shape: &[usize]| (0..shape.len()).rev().find(|&axis| shape[axis] != 1);
    match graph.op(node) {
        Op::Stop | Op::Slice { .. } | Op::Pad { .. } | Op::Concat { .. } => innermost(graph, inputs[0]),
        Op::Permute { order } => {
            let inner = innermost(graph, inputs[0])?;
            order.iter().position(|&from| from == inner)
        }
        Op::Broadcast { axes } => innermost(graph, inputs[0]).map(|axis| axes[axis]),
        Op::Reshape => {
            // The axes after the inner one, and those it becomes, cover as many elements.
            let from = graph.shape(inputs[0]);
            let inner = innermost(graph, inputs[0])?;
            let after: usize = from[inner + 1..].iter().product();
            let mut covered = 1;
            for axis in (0..shape.len()).rev() {
                if covered == after && shape[axis] != 1 {
                    return Some(axis);
                }
                covered *= shape[axis];
            }
            None
        }
        Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Cast(_) => {
            // Constants say nothing, and what is repeated little.
            let size = |input: &&NodeId| graph.ty(root(graph, **input, is_view)).len();
            inputs.iter().max_by_key(size).and_then(|&input| innermost(graph, input))
        }
        Op::Const(_) | Op::Iota { .. } => None,
        _ => last(shape),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::testing::variable;

    #[test]
    fn attention_heads_are_views_and_their_way_back_is_not() {
        let mut graph = Graph::new();
        let x = variable(&mut graph, 0, &[2, 5, 12]);
        let heads = graph.reshape(x, &[2, 5, 3, 4]);
        let heads = graph.permute(heads, &[0, 2, 1, 3]);
        let found = view(&graph, heads, |id| id == x).expect("a view");
        assert_eq!(found, View { base: x, offset: 0, strides: vec![60, 4, 12, 1] });
        let half = graph.slice(heads, 2, 1, 2, 2);
        let found = view(&graph, half, |id| id == x).expect("a view");
        assert_eq!(found, View { base: x, offset: 12, strides: vec![60, 4, 24, 1] });
        let back = graph.reshape(heads, &[2, 60]);
        assert_eq!(view(&graph, back, |id| id == x), None);
        let wide = graph.broadcast(x, &[0, 2, 3], &[2, 7, 5, 12]);
        let flat = graph.reshape(wide, &[2, 7, 60]);
        let found = view(&graph, flat, |id| id == x).expect("a view");
        assert_eq!(found.strides, [60, 0, 1]);
    }
}
