//! Views of views.

use super::Uses;
use crate::graph::{Graph, NodeId, Op};
use fgc_program::BinaryOp;

/// A broadcast does itself what a reshape before it does to axes of extent 1.
pub fn broadcast_of_reshape(graph: &mut Graph, _: &Uses, id: NodeId) -> Option<NodeId> {
    let node = graph.node(id).clone();
    let Op::Broadcast { axes } = &node.op else { return None };
    let reshape = node.inputs[0];
    if *graph.op(reshape) != Op::Reshape {
        return None;
    }
    let source = graph.node(reshape).inputs[0];
    let middle = graph.shape(reshape);
    let long: Vec<usize> = (0..middle.len()).filter(|&i| middle[i] != 1).collect();
    // Only where the reshape did nothing but put axes of extent 1 in.
    let same = long.iter().map(|&i| middle[i]).eq(graph.shape(source).iter().copied());
    let places: Vec<usize> = long.iter().map(|&i| axes[i]).collect();
    same.then(|| graph.broadcast(source, &places, &node.ty.shape))
}

/// A slice of what was padded, concatenated or broadcast reads the part it needs.
pub fn slice_of_view(graph: &mut Graph, _: &Uses, id: NodeId) -> Option<NodeId> {
    let node = graph.node(id).clone();
    let Op::Slice { axis, start, step } = node.op else {
        return None;
    };
    let len = node.ty.shape[axis];
    if len == 0 {
        return None;
    }
    let last = start + (len - 1) * step;
    let view = graph.node(node.inputs[0]).clone();
    let source = view.inputs.first().copied();
    match &view.op {
        Op::Concat { axis: along } if *along == axis => {
            let mut begin = 0;
            for &part in &view.inputs {
                let end = begin + graph.shape(part)[axis];
                if begin <= start && last < end {
                    return Some(graph.slice(part, axis, start - begin, len, step));
                }
                begin = end;
            }
            None
        }
        &Op::Pad { axis: along, before, step: stride } if along == axis => {
            let source = source?;
            let extent = graph.shape(source)[axis];
            let end = before + (extent - 1) * stride + 1;
            if last < before || start >= end {
                return Some(graph.zeros(&node.ty));
            }
            let aligned = start >= before && (start - before).is_multiple_of(stride) && step.is_multiple_of(stride);
            (aligned && last < end)
                .then(|| graph.slice(source, axis, (start - before) / stride, len, (step / stride).max(1)))
        }
        Op::Broadcast { axes } => {
            let source = source?;
            let part = match axes.iter().position(|&to| to == axis) {
                Some(from) => graph.slice(source, from, start, len, step),
                None => source,
            };
            Some(graph.broadcast(part, axes, &node.ty.shape))
        }
        _ => None,
    }
}

/// Two pads that touch, added, are one pad of a concatenation; without zeros left over just that.
pub fn sum_of_pads(graph: &mut Graph, uses: &Uses, id: NodeId) -> Option<NodeId> {
    let node = graph.node(id).clone();
    if node.op != Op::Binary(BinaryOp::Add) {
        return None;
    }
    let pad = |graph: &Graph, id: NodeId| match *graph.op(id) {
        Op::Pad { axis, before, step: 1 } => {
            let source = graph.node(id).inputs[0];
            Some((axis, before, before + graph.shape(source)[axis], source))
        }
        _ => None,
    };
    let [a, b] = [node.inputs[0], node.inputs[1]];
    let (first, second) = (pad(graph, a)?, pad(graph, b)?);
    if first.0 != second.0 || !uses.once(a) || !uses.once(b) {
        return None;
    }
    let (first, second) = if first.1 <= second.1 { (first, second) } else { (second, first) };
    let (axis, before, end, source) = first;
    (end == second.1).then(|| {
        let both = graph.concat(&[source, second.3], axis);
        graph.pad(both, axis, before, 1, node.ty.shape[axis])
    })
}

/// Neighbouring slices of one value, concatenated, are one slice of it.
pub fn concat_of_slices(graph: &mut Graph, _: &Uses, id: NodeId) -> Option<NodeId> {
    let node = graph.node(id).clone();
    let Op::Concat { axis } = node.op else { return None };
    let part = |graph: &Graph, id: NodeId| match *graph.op(id) {
        Op::Slice { axis: along, start, step: 1 } if along == axis => Some((graph.node(id).inputs[0], start)),
        _ => None,
    };
    let mut parts: Vec<NodeId> = Vec::new();
    for &next in &node.inputs {
        let joined = parts.last().copied().and_then(|before| {
            let ((source, start), (other, begin)) = (part(graph, before)?, part(graph, next)?);
            let len = graph.shape(before)[axis];
            let touch = source == other && start + len == begin;
            touch.then(|| graph.slice(source, axis, start, len + graph.shape(next)[axis], 1))
        });
        match joined {
            Some(joined) => {
                parts.pop();
                parts.push(joined);
            }
            None => parts.push(next),
        }
    }
    (parts.len() < node.inputs.len()).then(|| graph.concat(&parts, axis))
}
