//! Reductions of views and of scaled values.

use super::Uses;
use super::algebra::scaled;
use crate::graph::{Graph, Node, NodeId, Op, ReduceOp, groups};
use fgc_program::BinaryOp;

struct Reduction {
    op: ReduceOp,
    axes: Vec<usize>,
    input: NodeId,
    inner: Node,
    shape: Vec<usize>,
}

fn reduction(graph: &Graph, id: NodeId) -> Option<Reduction> {
    let node = graph.node(id);
    let Op::Reduce { op, axes } = &node.op else { return None };
    let input = node.inputs[0];
    let inner = graph.node(input).clone();
    Some(Reduction { op: *op, axes: axes.to_vec(), input, inner, shape: node.ty.shape.to_vec() })
}

/// Two reductions of a kind are one.
pub fn reduce_of_reduce(graph: &mut Graph, uses: &Uses, id: NodeId) -> Option<NodeId> {
    let outer = reduction(graph, id)?;
    let inner = reduction(graph, outer.input)?;
    if inner.op != outer.op || !uses.once(outer.input) {
        return None;
    }
    let source = inner.input;
    let left: Vec<usize> = (0..graph.shape(source).len()).filter(|i| !inner.axes.contains(i)).collect();
    let axes: Vec<usize> = inner.axes.iter().copied().chain(outer.axes.iter().map(|&i| left[i])).collect();
    Some(graph.reduce(outer.op, source, &axes))
}

/// Over repeated axes a sum is a multiple and an extremum nothing; the others are reduced before repeating.
pub fn reduce_of_broadcast(graph: &mut Graph, _: &Uses, id: NodeId) -> Option<NodeId> {
    let r = reduction(graph, id)?;
    let Op::Broadcast { axes: places } = &r.inner.op else {
        return None;
    };
    let source = r.inner.inputs[0];
    let before: Vec<usize> = (0..places.len()).filter(|&i| r.axes.contains(&places[i])).collect();
    let small = graph.reduce(r.op, source, &before);
    let repeats: usize = r.axes.iter().filter(|axis| !places.contains(axis)).map(|&i| r.inner.ty.shape[i]).product();
    let value = if r.op == ReduceOp::Sum {
        let count = graph.constant_like(repeats as f64, small);
        graph.mul(small, count)
    } else {
        small
    };
    let left: Vec<usize> = (0..r.inner.ty.shape.len()).filter(|i| !r.axes.contains(i)).collect();
    let kept: Vec<usize> = (0..left.len()).filter(|&i| places.contains(&left[i])).collect();
    Some(graph.broadcast(value, &kept, &r.shape))
}

/// The axes' order does not matter to a reduction.
pub fn reduce_of_permute(graph: &mut Graph, _: &Uses, id: NodeId) -> Option<NodeId> {
    let r = reduction(graph, id)?;
    let Op::Permute { order } = &r.inner.op else {
        return None;
    };
    let axes: Vec<usize> = r.axes.iter().map(|&i| order[i]).collect();
    let reduced = graph.reduce(r.op, r.inner.inputs[0], &axes);
    // Where each axis that is left stands in `reduced`.
    let place = |axis: usize| axis - axes.iter().filter(|&&gone| gone < axis).count();
    let order: Vec<usize> =
        order.iter().enumerate().filter(|(i, _)| !r.axes.contains(i)).map(|(_, &axis)| place(axis)).collect();
    Some(graph.permute(reduced, &order))
}

/// Over whole runs of axes a reshape may come after the reduction, or go.
pub fn reduce_of_reshape(graph: &mut Graph, _: &Uses, id: NodeId) -> Option<NodeId> {
    let r = reduction(graph, id)?;
    if r.inner.op != Op::Reshape || r.inner.ty.is_empty() {
        return None;
    }
    let source = r.inner.inputs[0];
    let mut axes = Vec::new();
    for (before, mut after) in groups(graph.shape(source), &r.inner.ty.shape) {
        let long = |i: &usize| r.inner.ty.shape[*i] != 1;
        let reduced = after.clone().filter(long).filter(|i| r.axes.contains(i)).count();
        if reduced == 0 {
            continue;
        }
        if reduced < after.by_ref().filter(long).count() {
            return None;
        }
        axes.extend(before);
    }
    let reduced = graph.reduce(r.op, source, &axes);
    Some(graph.reshape(reduced, &r.shape))
}

/// Padding adds nothing to a sum.
pub fn sum_of_pad(graph: &mut Graph, _: &Uses, id: NodeId) -> Option<NodeId> {
    let r = reduction(graph, id)?;
    match r.inner.op {
        Op::Pad { axis, .. } if r.op == ReduceOp::Sum && r.axes.contains(&axis) => {
            Some(graph.sum(r.inner.inputs[0], &r.axes))
        }
        _ => None,
    }
}

/// Σ x·s → s·Σ x where s does not vary over the sum: literal constants, signs, and what is broadcast along it.
pub fn sum_of_scaled(graph: &mut Graph, uses: &Uses, id: NodeId) -> Option<NodeId> {
    let r = reduction(graph, id)?;
    if r.op != ReduceOp::Sum || !r.inner.ty.dtype.is_float() || !uses.once(r.input) {
        return None;
    }
    if let Some((x, factor)) = scaled(graph, r.input) {
        let sum = graph.sum(x, &r.axes);
        let factor = graph.constant_like(factor, sum);
        return Some(graph.mul(sum, factor));
    }
    let op = match r.inner.op {
        Op::Binary(op @ (BinaryOp::Mul | BinaryOp::Div)) => op,
        _ => return None,
    };
    let [a, b] = [r.inner.inputs[0], r.inner.inputs[1]];
    let choices: &[(NodeId, NodeId)] = if op == BinaryOp::Mul { &[(a, b), (b, a)] } else { &[(a, b)] };
    for &(x, s) in choices {
        let Op::Broadcast { axes } = graph.op(s).clone() else {
            continue;
        };
        if axes.iter().any(|axis| r.axes.contains(axis)) {
            continue;
        }
        let source = graph.node(s).inputs[0];
        let place = |axis: usize| axis - r.axes.iter().filter(|&&gone| gone < axis).count();
        let places: Vec<usize> = axes.iter().map(|&axis| place(axis)).collect();
        let sum = graph.sum(x, &r.axes);
        let s = graph.broadcast(source, &places, &r.shape);
        return Some(graph.binary(op, sum, s));
    }
    None
}
