//! Rewrites of the graph before it is cut into kernels: long sums in stages, products that are none.

use super::strided;
use crate::graph::op::Ty;
use crate::graph::traverse::rebuild;
use crate::graph::{Graph, NodeId, Op, ReduceOp, needed};
use fgc_program::{BinaryOp, DType};
use rustc_hash::FxHashMap;

/// Elements above which a reduction that few rows share is split, so that threads share the work.
const PARALLEL: usize = 1024;
/// Neighbours below which a loop over them is no vector code.
const NEIGHBOURS: usize = 16;
/// Rows that are enough work for all threads.
const ROWS: usize = 8;
/// How often a divisor must be repeated for its inverse to pay.
const REPEATED: usize = 8;
/// Elements above which an f32 sum is split, so that its rounding errors grow with the square root of the length at most.
const EXACT: usize = 8192;

/// `outputs`, rewritten.
pub(super) fn prepare(graph: &mut Graph, outputs: &[NodeId]) -> Vec<NodeId> {
    let mut new: FxHashMap<NodeId, NodeId> = FxHashMap::default();
    let nodes = needed(graph, outputs);
    let mut users: FxHashMap<NodeId, usize> = FxHashMap::default();
    for input in nodes.iter().flat_map(|&id| &graph.node(id).inputs) {
        *users.entry(*input).or_default() += 1;
    }
    for id in nodes {
        let inputs: Vec<NodeId> = graph.node(id).inputs.iter().map(|input| new[input]).collect();
        let same = rebuild(graph, id, &inputs);
        let better = match graph.op(same) {
            Op::Reduce { .. } => rows_first(graph, same),
            Op::Contract { .. } => product(graph, same),
            Op::Binary(BinaryOp::Div) => divided(graph, same),
            Op::Permute { .. } if users.get(&graph.node(id).inputs[0]) == Some(&1) => transposed(graph, same),
            Op::ScatterAdd { .. } if graph.ty(graph.node(same).inputs[0]).is_empty() => {
                let ty = graph.ty(same).clone();
                graph.zeros(&ty)
            }
            _ => same,
        };
        new.insert(id, better);
    }
    outputs.iter().map(|output| new[output]).collect()
}

/// A reduction over rows and over few neighbours in each, as one over the rows, element by element, then one of the
/// neighbours: a norm of groups of channels, where pixels are rows.
fn rows_first(graph: &mut Graph, id: NodeId) -> NodeId {
    let Op::Reduce { op, axes } = graph.op(id).clone() else { return id };
    let input = graph.node(id).inputs[0];
    let shape = graph.shape(input).to_vec();
    let innermost = strided::innermost(graph, input);
    // The last axes together, where they are the innermost ones.
    let last = axes.iter().rev().zip((0..shape.len()).rev()).take_while(|(axis, at)| *axis == at).count();
    let together = if innermost == Some(shape.len().saturating_sub(1)) { shape.len() - last } else { shape.len() };
    let (neighbours, rows): (Vec<usize>, Vec<usize>) =
        axes.iter().partition(|&&axis| Some(axis) == innermost || axis >= together);
    let count = |axes: &[usize]| axes.iter().map(|&axis| shape[axis]).product::<usize>();
    let kept = (0..shape.len()).filter(|axis| !axes.contains(axis) && shape[*axis] != 1).count();
    if neighbours.is_empty() || count(&neighbours) >= NEIGHBOURS || count(&rows) < ROWS || kept < 2 {
        return stages(graph, id);
    }
    let first = graph.reduce(op, input, &rows);
    let first = stages(graph, first);
    let left: Vec<usize> = neighbours.iter().map(|axis| axis - rows.iter().filter(|row| *row < axis).count()).collect();
    let second = graph.reduce(op, first, &left);
    stages(graph, second)
}

/// A long reduction as one of parts, then of their results.
fn stages(graph: &mut Graph, id: NodeId) -> NodeId {
    let Op::Reduce { op, axes } = graph.op(id).clone() else { return id };
    let input = graph.node(id).inputs[0];
    let Ty { dtype, shape } = graph.ty(input).clone();
    let count: usize = axes.iter().map(|&axis| shape[axis]).product();
    let rows: usize = shape[..axes[0]].iter().product();
    let inexact = op == ReduceOp::Sum && dtype == DType::F32 && count > EXACT;
    if !(inexact || count >= PARALLEL && rows < ROWS) {
        return id;
    }
    let target = (count as f64).sqrt().clamp(8.0, 4096.0);
    let off = |parts: usize| ((parts as f64) / target).ln().abs();
    let near = |parts: &usize| *parts >= 8 && count / parts >= 8 && off(*parts) <= 8f64.ln();
    let best = |parts: Vec<usize>| parts.into_iter().filter(near).min_by(|a, b| off(*a).total_cmp(&off(*b)));

    let prefix = |j: usize| -> usize { axes[..j].iter().map(|&axis| shape[axis]).product() };
    if let Some(parts) = best((1..axes.len()).map(prefix).collect()) {
        let j = (1..axes.len()).find(|&j| prefix(j) == parts).unwrap_or(1);
        let first = graph.reduce(op, input, &axes[j..]);
        let first = stages(graph, first);
        let second = graph.reduce(op, first, &axes[..j]);
        return stages(graph, second);
    }
    let (axis, extent) =
        axes.iter().map(|&axis| (axis, shape[axis])).max_by_key(|(_, extent)| *extent).unwrap_or((0, 1));
    let divisors = (2..=extent / 2).take_while(|d| *d <= 1 << 15).filter(|d| extent.is_multiple_of(*d)).collect();
    if let Some(parts) = best(divisors) {
        let mut split = shape.to_vec();
        split.splice(axis..=axis, [parts, extent / parts]);
        let parted = graph.reshape(input, &split);
        let moved: Vec<usize> = axes.iter().map(|&a| if a >= axis { a + 1 } else { a }).collect();
        let first = graph.reduce(op, parted, &moved);
        let first = stages(graph, first);
        let left = axis - axes.iter().filter(|&&a| a < axis).count();
        let second = graph.reduce(op, first, &[left]);
        return stages(graph, second);
    }
    if extent < PARALLEL {
        return id;
    }
    // Less than all of it: an extent such as 64 times a prime has no good divisors either.
    let whole = (extent - 1) / 64 * 64;
    let parts = [(0, whole), (whole, extent - whole)].map(|(start, len)| {
        let part = graph.slice(input, axis, start, len, 1);
        let sum = graph.reduce(op, part, &axes);
        stages(graph, sum)
    });
    match op {
        ReduceOp::Sum => graph.add(parts[0], parts[1]),
        ReduceOp::Max => graph.max(parts[0], parts[1]),
        ReduceOp::Min => graph.min(parts[0], parts[1]),
    }
}

/// Division by what is repeated, as multiplication by its inverse, where that makes a fraction of the divisions: each
/// takes as long as ten multiplications.
fn divided(graph: &mut Graph, id: NodeId) -> NodeId {
    let [x, divisor] = [graph.node(id).inputs[0], graph.node(id).inputs[1]];
    let Op::Broadcast { axes } = graph.op(divisor).clone() else { return id };
    let source = graph.node(divisor).inputs[0];
    if graph.dtype(id) != DType::F32 || REPEATED * graph.ty(source).len() > graph.ty(id).len() {
        return id;
    }
    let one = graph.constant_like(1.0, source);
    let inverse = graph.div(one, source);
    let shape = graph.shape(id).to_vec();
    let inverse = graph.broadcast(inverse, &axes, &shape);
    graph.mul(x, inverse)
}

/// The transpose of a product as the product of the operands in the other order.
fn transposed(graph: &mut Graph, id: NodeId) -> NodeId {
    let Op::Permute { order } = graph.op(id).clone() else { return id };
    let inner = graph.node(id).inputs[0];
    let Op::Contract { a_batch, b_batch, a_sum, b_sum } = graph.op(inner).clone() else { return id };
    let (a, b) = (graph.node(inner).inputs[0], graph.node(inner).inputs[1]);
    let (batch, rank) = (a_batch.len(), order.len());
    let split = graph.shape(a).len() - a_sum.len();
    if order.iter().copied().eq((0..batch).chain(split..rank).chain(batch..split)) {
        return graph.contract(b, a, &b_batch, &a_batch, &b_sum, &a_sum);
    }
    id
}

/// A contraction that is no matrix product becomes elementwise; one whose sums no stride can express is put in order.
fn product(graph: &mut Graph, id: NodeId) -> NodeId {
    let Op::Contract { a_batch, b_batch, a_sum, b_sum } = graph.op(id).clone() else { return id };
    let (a, b) = (graph.node(id).inputs[0], graph.node(id).inputs[1]);
    let (a_shape, b_shape) = (graph.shape(a).to_vec(), graph.shape(b).to_vec());
    let out = graph.ty(id).clone();
    let k: usize = a_sum.iter().map(|&axis| a_shape[axis]).product();
    if k == 0 {
        return graph.zeros(&out);
    }
    let order = |shape: &[usize], batch: &[usize], sum: &[usize]| {
        let free = (0..shape.len()).filter(|axis| !batch.contains(axis) && !sum.contains(axis));
        let free: Vec<usize> = free.collect();
        let order: Vec<usize> = batch.iter().chain(&free).chain(sum).copied().collect();
        (order, free.len())
    };
    let ((a_order, a_free), (b_order, b_free)) = (order(&a_shape, &a_batch, &a_sum), order(&b_shape, &b_batch, &b_sum));
    let size = |shape: &[usize], order: &[usize], free: usize| -> usize {
        order[a_batch.len()..a_batch.len() + free].iter().map(|&axis| shape[axis]).product()
    };
    let single = size(&a_shape, &a_order, a_free) == 1 && size(&b_shape, &b_order, b_free) == 1;
    if k == 1 || single {
        let (batch, sums) = (a_batch.len(), a_sum.len());
        let mut full = out.shape.to_vec();
        full.extend(a_sum.iter().map(|&axis| a_shape[axis]));
        let rank = full.len();
        let a_axes: Vec<usize> = (0..batch + a_free).chain(rank - sums..rank).collect();
        let b_axes: Vec<usize> = (0..batch).chain(batch + a_free..rank).collect();
        let (a, b) = (graph.permute(a, &a_order), graph.permute(b, &b_order));
        let (a, b) = (graph.broadcast(a, &a_axes, &full), graph.broadcast(b, &b_axes, &full));
        let terms = graph.mul(a, b);
        let sum = graph.sum(terms, &(rank - sums..rank).collect::<Vec<_>>());
        return match graph.op(sum) {
            Op::Reduce { .. } => stages(graph, sum),
            _ => sum,
        };
    }
    if super::contract::fits_dense(graph, id) {
        return id;
    }
    let (a, b) = (graph.permute(a, &a_order), graph.permute(b, &b_order));
    let batch: Vec<usize> = (0..a_batch.len()).collect();
    let sums = |rank: usize| (rank - a_sum.len()..rank).collect::<Vec<_>>();
    graph.contract(a, b, &batch, &batch, &sums(a_shape.len()), &sums(b_shape.len()))
}
