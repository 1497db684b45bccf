//! Walking and rebuilding graphs. Nothing here recurses: graphs are as deep as they are long.

use super::build::Graph;
use super::op::*;
use rustc_hash::{FxHashMap, FxHashSet};

/// The nodes that `outputs` need, themselves included, each after its inputs. Does not enter functions.
pub fn needed(graph: &Graph, outputs: &[NodeId]) -> Vec<NodeId> {
    needed_up_to(graph, outputs, |_| false)
}

/// Like [`needed`], but a node for which `stop` holds counts as a leaf.
fn needed_up_to(graph: &Graph, outputs: &[NodeId], stop: impl Fn(NodeId) -> bool) -> Vec<NodeId> {
    let mut seen = FxHashSet::default();
    let mut stack: Vec<NodeId> = outputs.to_vec();
    while let Some(id) = stack.pop() {
        if seen.insert(id) && !stop(id) {
            stack.extend(graph.node(id).inputs.iter().filter(|input| !seen.contains(input)));
        }
    }
    let mut nodes: Vec<NodeId> = seen.into_iter().collect();
    nodes.sort_unstable();
    nodes
}

/// Of the nodes that `outputs` need, those that depend on a seed, seeds included, each after its inputs. Seeds are
/// leaves: what they are computed from does not count.
pub fn dependents(graph: &Graph, outputs: &[NodeId], is_seed: impl Fn(NodeId) -> bool) -> Vec<NodeId> {
    let mut found = FxHashSet::default();
    let mut nodes = needed_up_to(graph, outputs, &is_seed);
    nodes.retain(|&id| {
        let depends = is_seed(id) || graph.node(id).inputs.iter().any(|input| found.contains(input));
        if depends {
            found.insert(id);
        }
        depends
    });
    nodes
}

/// `outputs` with every key of `map` replaced by its value, which has the same type.
pub fn substitute(graph: &mut Graph, outputs: &[NodeId], map: &FxHashMap<NodeId, NodeId>) -> Vec<NodeId> {
    substitute_with(graph, outputs, map, &mut |_, _| {})
}

/// Like [`substitute`]; `on_new` hears of every node that was rebuilt: (old, new).
pub fn substitute_with(
    graph: &mut Graph,
    outputs: &[NodeId],
    map: &FxHashMap<NodeId, NodeId>,
    on_new: &mut impl FnMut(NodeId, NodeId),
) -> Vec<NodeId> {
    let nodes = dependents(graph, outputs, |id| map.contains_key(&id));
    let mut new = map.clone();
    rebuild_all(graph, &nodes, &mut new, on_new);
    outputs.iter().map(|id| *new.get(id).unwrap_or(id)).collect()
}

/// Rebuilds `nodes`, each after its inputs, with inputs replaced as `new` says, and enters them into `new`.
pub(crate) fn rebuild_all(
    graph: &mut Graph,
    nodes: &[NodeId],
    new: &mut FxHashMap<NodeId, NodeId>,
    on_new: &mut impl FnMut(NodeId, NodeId),
) {
    for &old in nodes {
        if !new.contains_key(&old) {
            let inputs: Vec<NodeId> = graph.node(old).inputs.iter().map(|i| *new.get(i).unwrap_or(i)).collect();
            let id = rebuild(graph, old, &inputs);
            on_new(old, id);
            new.insert(old, id);
        }
    }
}

/// The node `like` with other inputs of the same types, built anew so that it folds.
pub fn rebuild(graph: &mut Graph, like: NodeId, inputs: &[NodeId]) -> NodeId {
    if graph.node(like).inputs[..] == *inputs {
        return like;
    }
    let Node { op, ty, .. } = graph.node(like).clone();
    build(graph, op, inputs, ty)
}

/// The node of this op, inputs and type by the primitive's own builder, so that it folds.
pub fn build(graph: &mut Graph, op: Op, inputs: &[NodeId], ty: Ty) -> NodeId {
    let shape = &ty.shape;
    match op {
        Op::Unary(op) => graph.unary(op, inputs[0]),
        Op::Binary(op) => graph.binary(op, inputs[0], inputs[1]),
        Op::Select => graph.select(inputs[0], inputs[1], inputs[2]),
        Op::Cast(dtype) => graph.cast(inputs[0], dtype),
        Op::Reduce { op, axes } => graph.reduce(op, inputs[0], &axes),
        Op::Reshape => graph.reshape(inputs[0], shape),
        Op::Permute { order } => graph.permute(inputs[0], &order),
        Op::Broadcast { axes } => graph.broadcast(inputs[0], &axes, shape),
        Op::Slice { axis, start, step } => graph.slice(inputs[0], axis, start, shape[axis], step),
        Op::Pad { axis, before, step } => graph.pad(inputs[0], axis, before, step, shape[axis]),
        Op::Concat { axis } => graph.concat(inputs, axis),
        Op::Contract { a_batch, b_batch, a_sum, b_sum } => {
            graph.contract(inputs[0], inputs[1], &a_batch, &b_batch, &a_sum, &b_sum)
        }
        Op::Conv { role, stride, pad } => graph.conv(role, [inputs[0], inputs[1]], stride, pad, Some(shape)),
        Op::Gather { axis } => graph.gather(inputs[0], inputs[1], axis),
        Op::ScatterAdd { axis } => graph.scatter_add(inputs[0], inputs[1], axis, shape[axis]),
        Op::Stop => graph.stop(inputs[0]),
        Op::Call { func, output } => graph.call(func, inputs, output),
        Op::Jvp { func, output } => {
            let (args, tangents) = inputs.split_at(inputs.len() / 2);
            graph.jvp(func, args, tangents, output)
        }
        Op::Const(_) | Op::Table(_) | Op::Source(_) | Op::Iota { .. } | Op::Argument { .. } => {
            graph.intern(op, inputs, ty)
        }
        Op::Extern { .. } | Op::Along { .. } => graph.intern(op, inputs, ty),
    }
}
