//! The transpose of each linear primitive: from the cotangent of its output to those of its linear inputs.

use super::DeriveError;
use crate::graph::{ExternId, Graph, Node, NodeId, Op, ReduceOp};
use fgc_program::{BinaryOp, ConvRole, UnaryOp};

/// What each linear input of `node` receives from the cotangent `ct`. `linear` says which inputs are linear; the
/// others are constants of the linear map.
pub fn transpose(
    graph: &mut Graph,
    id: NodeId,
    linear: &impl Fn(NodeId) -> bool,
    ct: NodeId,
) -> Result<Vec<(NodeId, NodeId)>, DeriveError> {
    let node = graph.node(id).clone();
    let Node { op, inputs, .. } = &node;
    let not_linear = || DeriveError::NotLinear { op: format!("{op:?}"), node: id };
    let is: Vec<bool> = inputs.iter().map(|&input| linear(input)).collect();
    let only = |i: usize| is.iter().enumerate().all(|(j, &linear)| linear == (i == j));
    let from = |graph: &Graph| graph.shape(inputs[0]).to_vec();
    let shape = &node.ty.shape;
    let one = |ct| Ok(vec![(inputs[0], ct)]);
    match op {
        Op::Unary(UnaryOp::Neg) => one(graph.neg(ct)),
        Op::Binary(BinaryOp::Add | BinaryOp::Sub) => {
            let second = if *op == Op::Binary(BinaryOp::Sub) && is[1] { graph.neg(ct) } else { ct };
            Ok(parts(&is, inputs, [ct, second]))
        }
        Op::Binary(BinaryOp::Mul) if only(0) => one(graph.mul(ct, inputs[1])),
        Op::Binary(BinaryOp::Mul) if only(1) => Ok(vec![(inputs[1], graph.mul(ct, inputs[0]))]),
        Op::Binary(BinaryOp::Div) if only(0) => one(graph.div(ct, inputs[1])),
        Op::Select if !is[0] => {
            let zero = graph.zeros(&node.ty);
            let then = graph.select(inputs[0], ct, zero);
            let otherwise = graph.select(inputs[0], zero, ct);
            Ok(parts(&is[1..], &inputs[1..], [then, otherwise]))
        }
        Op::Cast(_) if graph.dtype(inputs[0]).is_float() => one(graph.cast(ct, graph.dtype(inputs[0]))),
        Op::Reduce { op: ReduceOp::Sum, axes } => {
            let from = from(graph);
            let kept: Vec<usize> = (0..from.len()).filter(|i| !axes.contains(i)).collect();
            one(graph.broadcast(ct, &kept, &from))
        }
        Op::Reshape => one(graph.reshape(ct, &from(graph))),
        Op::Permute { order } => {
            let mut inverse = vec![0; order.len()];
            for (to, &from) in order.iter().enumerate() {
                inverse[from] = to;
            }
            one(graph.permute(ct, &inverse))
        }
        Op::Broadcast { axes } => {
            let new: Vec<usize> = (0..shape.len()).filter(|i| !axes.contains(i)).collect();
            one(graph.sum(ct, &new))
        }
        &Op::Slice { axis, start, step } => one(graph.pad(ct, axis, start, step, from(graph)[axis])),
        &Op::Pad { axis, before, step } => one(graph.slice(ct, axis, before, from(graph)[axis], step)),
        &Op::Concat { axis } => {
            let mut start = 0;
            let mut all = Vec::new();
            for (&input, linear) in inputs.iter().zip(is) {
                let len = graph.shape(input)[axis];
                if linear {
                    all.push((input, graph.slice(ct, axis, start, len, 1)));
                }
                start += len;
            }
            Ok(all)
        }
        Op::Contract { a_batch, b_batch, a_sum, b_sum } => {
            let dims = Axes { batch: [a_batch, b_batch], sum: [a_sum, b_sum] };
            let operand = if only(0) { 0 } else { 1 };
            if !only(operand) {
                return Err(not_linear());
            }
            Ok(vec![(inputs[operand], contract(graph, [inputs[0], inputs[1]], &dims, operand, ct))])
        }
        &Op::Conv { role, stride, pad } => {
            let operand = if only(0) { 0 } else { 1 };
            if !only(operand) {
                return Err(not_linear());
            }
            let target = inputs[operand];
            let out = graph.shape(target).to_vec();
            let (role, given) = conv(role, operand, inputs[1 - operand], ct);
            Ok(vec![(target, graph.conv(role, given, stride, pad, Some(&out)))])
        }
        &Op::Gather { axis } if only(0) => one(graph.scatter_add(ct, inputs[1], axis, from(graph)[axis])),
        &Op::ScatterAdd { axis } if only(0) => one(graph.gather(ct, inputs[1], axis)),
        &Op::Along { kernel } => {
            let count = graph.external(kernel).args.len();
            if is[..count].contains(&true) {
                return Err(not_linear());
            }
            let parts = cotangents(graph, kernel, id, &inputs[..count], ct)?;
            let tangents = inputs[count..].iter().copied();
            Ok(tangents.zip(parts).filter(|(input, _)| linear(*input)).collect())
        }
        // A kernel that is itself a derivative: linear in some arguments, whose values do not matter then.
        &Op::Extern { kernel } => {
            let args: Vec<NodeId> = inputs
                .iter()
                .zip(&is)
                .map(|(&input, linear)| {
                    let ty = graph.ty(input).clone();
                    if *linear { graph.zeros(&ty) } else { input }
                })
                .collect();
            let floats = graph.external(kernel).floats();
            let parts = cotangents(graph, kernel, id, &args, ct)?;
            Ok(floats.into_iter().map(|i| inputs[i]).zip(parts).filter(|(input, _)| linear(*input)).collect())
        }
        Op::Call { func, .. } | Op::Jvp { func, .. } => {
            let op = format!("the function {} (not inlined)", graph.func(*func).name);
            Err(DeriveError::Unsupported { op, node: id })
        }
        _ => Err(not_linear()),
    }
}

/// What the float arguments of a kernel receive, by the `vjp` that it declares.
fn cotangents(
    graph: &mut Graph,
    kernel: ExternId,
    id: NodeId,
    args: &[NodeId],
    ct: NodeId,
) -> Result<Vec<NodeId>, DeriveError> {
    let found = graph.external(kernel);
    let Some(vjp) = found.vjp else {
        return Err(DeriveError::Undeclared { kernel: found.name.clone(), missing: "vjp", node: id });
    };
    let all: Vec<NodeId> = args.iter().copied().chain(graph.unpack(kernel, ct)).collect();
    Ok(graph.instantiate(vjp, &all))
}

fn parts(linear: &[bool], inputs: &[NodeId], cts: [NodeId; 2]) -> Vec<(NodeId, NodeId)> {
    (0..2).filter(|&i| linear[i]).map(|i| (inputs[i], cts[i])).collect()
}

struct Axes<'a> {
    batch: [&'a [usize]; 2],
    sum: [&'a [usize]; 2],
}

/// The cotangent of `inputs[operand]`: the other operand contracted with `ct` over the other's free axes, in the order
/// that needs the least permuting afterwards.
fn contract(graph: &mut Graph, inputs: [NodeId; 2], dims: &Axes, operand: usize, ct: NodeId) -> NodeId {
    let other = 1 - operand;
    let free = |graph: &Graph, i: usize| -> Vec<usize> {
        (0..graph.shape(inputs[i]).len()).filter(|k| !dims.batch[i].contains(k) && !dims.sum[i].contains(k)).collect()
    };
    let (mine, theirs) = (free(graph, operand), free(graph, other));
    let batch = dims.batch[0].len();
    let a_free = free(graph, 0).len();
    let ct_batch: Vec<usize> = (0..batch).collect();
    let start = if other == 0 { batch } else { batch + a_free };
    let ct_theirs: Vec<usize> = (start..start + theirs.len()).collect();
    // The other operand's axes that are summed remain, in its own order; each is one of mine.
    let mut remaining = dims.sum[other].to_vec();
    remaining.sort_unstable();
    let paired = |axis: &usize| dims.sum[operand][dims.sum[other].iter().position(|k| k == axis).unwrap_or(0)];
    let summed: Vec<usize> = remaining.iter().map(paired).collect();
    let (value, tail) = if operand == 0 {
        let value = graph.contract(ct, inputs[1], &ct_batch, dims.batch[1], &ct_theirs, &theirs);
        (value, [mine, summed])
    } else {
        let value = graph.contract(inputs[0], ct, dims.batch[0], &ct_batch, &theirs, &ct_theirs);
        (value, [summed, mine])
    };
    // Axis i of `value` is axis `now[i]` of the operand.
    let now: Vec<usize> = dims.batch[operand].iter().copied().chain(tail.concat()).collect();
    let mut order = vec![0; now.len()];
    for (i, &axis) in now.iter().enumerate() {
        order[axis] = i;
    }
    graph.permute(value, &order)
}

/// A convolution's three operands are x, w, y, one of which is computed; the cotangent of another is computed from the
/// remaining one and the cotangent, which takes the computed one's place.
fn conv(role: ConvRole, operand: usize, other: NodeId, ct: NodeId) -> (ConvRole, [NodeId; 2]) {
    match (role, operand) {
        (ConvRole::Forward, 0) => (ConvRole::Input, [other, ct]),
        (ConvRole::Forward, _) => (ConvRole::Weight, [other, ct]),
        (ConvRole::Input, 0) => (ConvRole::Weight, [ct, other]),
        (ConvRole::Input, _) => (ConvRole::Forward, [ct, other]),
        (ConvRole::Weight, 0) => (ConvRole::Input, [ct, other]),
        (ConvRole::Weight, _) => (ConvRole::Forward, [other, ct]),
    }
}
