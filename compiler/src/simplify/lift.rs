//! Elementwise operations before views: on fewer elements where the view repeats, and with views outside, where they
//! meet others.

use super::Uses;
use crate::graph::traverse::rebuild;
use crate::graph::{Graph, NodeId, Op};

fn is_elementwise(op: &Op) -> bool {
    matches!(op, Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Cast(_))
}

/// f(broadcast x, broadcast y, c) → broadcast(f(x, y, c)) over the axes that any of the operands has.
pub fn lift_broadcast(graph: &mut Graph, _: &Uses, id: NodeId) -> Option<NodeId> {
    let node = graph.node(id).clone();
    if !is_elementwise(&node.op) {
        return None;
    }
    let shape = &node.ty.shape;
    let mut varies = vec![false; shape.len()];
    for &input in &node.inputs {
        match graph.op(input) {
            Op::Const(_) => {}
            Op::Broadcast { axes } => axes.iter().for_each(|&axis| varies[axis] = true),
            _ => return None,
        }
    }
    let kept: Vec<usize> = (0..shape.len()).filter(|&i| varies[i]).collect();
    let inner: Vec<usize> = kept.iter().map(|&i| shape[i]).collect();
    if inner.iter().product::<usize>() >= node.ty.len() {
        return None;
    }
    let inputs: Vec<NodeId> = node
        .inputs
        .iter()
        .map(|&input| match graph.op(input).clone() {
            Op::Const(value) => graph.constant(value, &inner),
            Op::Broadcast { axes } => {
                let places: Vec<usize> =
                    axes.iter().map(|axis| kept.iter().position(|k| k == axis).unwrap_or(0)).collect();
                let source = graph.node(input).inputs[0];
                graph.broadcast(source, &places, &inner)
            }
            _ => input,
        })
        .collect();
    let small = rebuild(graph, id, &inputs);
    Some(graph.broadcast(small, &kept, shape))
}

/// f(permute x, permute y, c) → permute(f(x, y, c)), likewise reshape: if all operands but constants are the same
/// view and nothing else reads them, one view does.
pub fn lift_view(graph: &mut Graph, uses: &Uses, id: NodeId) -> Option<NodeId> {
    let node = graph.node(id).clone();
    if !is_elementwise(&node.op) {
        return None;
    }
    let mut views = node.inputs.iter().copied().filter(|&input| graph.const_value(input).is_none());
    let first = views.next()?;
    let view = graph.op(first).clone();
    if !matches!(view, Op::Permute { .. } | Op::Reshape) {
        return None;
    }
    let inner = graph.shape(graph.node(first).inputs[0]).to_vec();
    let read_here = |view: NodeId| node.inputs.iter().filter(|&&input| input == view).count();
    let mut all = node.inputs.iter().filter(|&&input| graph.const_value(input).is_none());
    if all.any(|&view| uses.count(view) as usize > read_here(view)) {
        return None;
    }
    if !views.all(|other| *graph.op(other) == view && graph.shape(graph.node(other).inputs[0]) == inner) {
        return None;
    }
    let inputs: Vec<NodeId> = node
        .inputs
        .iter()
        .map(|&input| match graph.const_value(input) {
            Some(value) => graph.constant(value, &inner),
            None => graph.node(input).inputs[0],
        })
        .collect();
    let value = rebuild(graph, id, &inputs);
    Some(match view {
        Op::Permute { order } => graph.permute(value, &order),
        _ => graph.reshape(value, &node.ty.shape),
    })
}
