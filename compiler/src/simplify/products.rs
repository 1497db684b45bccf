//! Contractions take in the views and scales around them.

use super::Uses;
use super::algebra::scaled;
use crate::graph::{Graph, NodeId, Op};
use fgc_program::BinaryOp;

/// A contraction with its operands' axes side by side.
pub(super) struct Contraction {
    pub inputs: [NodeId; 2],
    pub batch: [Vec<usize>; 2],
    pub sum: [Vec<usize>; 2],
}

impl Contraction {
    pub fn of(graph: &Graph, id: NodeId) -> Option<Contraction> {
        let node = graph.node(id);
        let Op::Contract { a_batch, b_batch, a_sum, b_sum } = &node.op else {
            return None;
        };
        Some(Contraction {
            inputs: [node.inputs[0], node.inputs[1]],
            batch: [a_batch.to_vec(), b_batch.to_vec()],
            sum: [a_sum.to_vec(), b_sum.to_vec()],
        })
    }

    pub fn build(&self, graph: &mut Graph) -> NodeId {
        let [a, b] = self.inputs;
        graph.contract(a, b, &self.batch[0], &self.batch[1], &self.sum[0], &self.sum[1])
    }

    /// The free axes of an operand, in order.
    pub fn free(&self, graph: &Graph, operand: usize) -> Vec<usize> {
        (0..graph.shape(self.inputs[operand]).len())
            .filter(|i| !self.batch[operand].contains(i) && !self.sum[operand].contains(i))
            .collect()
    }
}

fn elements(graph: &Graph, id: NodeId) -> usize {
    graph.ty(id).len()
}

/// A contraction reads its operands' axes in any order; if that changes the order of the output's, these are permuted
/// instead, where that is not more to move.
pub fn contract_of_permute(graph: &mut Graph, _: &Uses, id: NodeId) -> Option<NodeId> {
    let before = Contraction::of(graph, id)?;
    for operand in 0..2 {
        let Op::Permute { order } = graph.op(before.inputs[operand]).clone() else {
            continue;
        };
        let source = graph.node(before.inputs[operand]).inputs[0];
        let mut after = Contraction::of(graph, id)?;
        after.inputs[operand] = source;
        for axes in [&mut after.batch[operand], &mut after.sum[operand]] {
            axes.iter_mut().for_each(|axis| *axis = order[*axis]);
        }
        let wanted: Vec<usize> = before.free(graph, operand).into_iter().map(|axis| order[axis]).collect();
        let found = after.free(graph, operand);
        if wanted != found && elements(graph, id) > elements(graph, source) {
            continue;
        }
        let start = after.batch[0].len() + if operand == 1 { after.free(graph, 0).len() } else { 0 };
        let mut places: Vec<usize> = (0..graph.shape(id).len()).collect();
        for (i, axis) in wanted.iter().enumerate() {
            places[start + i] = start + found.iter().position(|other| other == axis).unwrap_or(i);
        }
        let value = after.build(graph);
        return Some(graph.permute(value, &places));
    }
    None
}

/// What is repeated along a free axis is contracted once and the result repeated; along a summed one, the other
/// operand is summed first; along a batch axis, that becomes a free axis of the other.
pub fn contract_of_broadcast(graph: &mut Graph, _: &Uses, id: NodeId) -> Option<NodeId> {
    let c = Contraction::of(graph, id)?;
    for operand in 0..2 {
        let Op::Broadcast { axes } = graph.op(c.inputs[operand]).clone() else {
            continue;
        };
        let other = 1 - operand;
        let source = graph.node(c.inputs[operand]).inputs[0];
        let is_new = |axis: &usize| !axes.contains(axis);
        let place = |axis: usize| axes.iter().position(|&to| to == axis).unwrap_or(0);

        // The other operand, summed over what is only repeated here.
        let gone: Vec<usize> = c.sum[operand]
            .iter()
            .zip(&c.sum[other])
            .filter(|(mine, _)| is_new(mine))
            .map(|(_, &theirs)| theirs)
            .collect();
        let rest = graph.sum(c.inputs[other], &gone);
        let shift = |axis: usize| axis - gone.iter().filter(|&&g| g < axis).count();

        let mut after = Contraction { inputs: [source; 2], batch: [vec![], vec![]], sum: [vec![], vec![]] };
        after.inputs[other] = rest;
        for (from, to) in [(&c.batch, &mut after.batch), (&c.sum, &mut after.sum)] {
            for (&mine, &theirs) in from[operand].iter().zip(&from[other]).filter(|(mine, _)| !is_new(mine)) {
                to[operand].push(place(mine));
                to[other].push(shift(theirs));
            }
        }
        let value = after.build(graph);

        // Axes of `value`, named as (operand, axis before), then found again in the order of the output.
        let names = |c: &Contraction, graph: &Graph| -> Vec<(usize, usize)> {
            let batch = c.batch[other].iter().map(|&axis| (other, axis));
            let free = (0..2).flat_map(|side| c.free(graph, side).into_iter().map(move |axis| (side, axis)));
            batch.chain(free).collect()
        };
        let wanted = names(&c, graph);
        let unshift = |axis: usize| (0..).filter(|i| !gone.contains(i)).nth(axis).unwrap_or(axis);
        let found: Vec<(usize, usize)> = names(&after, graph)
            .into_iter()
            .map(|(side, axis)| (side, if side == operand { axes[axis] } else { unshift(axis) }))
            .collect();
        let kept: Vec<usize> = (0..wanted.len()).filter(|&i| found.contains(&wanted[i])).collect();
        let order: Vec<usize> =
            kept.iter().map(|&i| found.iter().position(|name| *name == wanted[i]).unwrap_or(0)).collect();
        let value = graph.permute(value, &order);
        let shape = graph.shape(id).to_vec();
        return Some(graph.broadcast(value, &kept, &shape));
    }
    None
}

/// A permutation of batch axes, or of one operand's free axes as a whole behind the other's, is another contraction.
/// Any other is left with the axis that comes out innermost already there, if exchanging the operands does that.
pub fn permute_of_contract(graph: &mut Graph, uses: &Uses, id: NodeId) -> Option<NodeId> {
    let Op::Permute { order } = graph.op(id).clone() else { return None };
    let inner = graph.node(id).inputs[0];
    let c = Contraction::of(graph, inner)?;
    if !uses.once(inner) {
        return None;
    }
    let (rank, batch) = (order.len(), c.batch[0].len());
    let middle = batch + c.free(graph, 0).len();
    let exchanged: Vec<usize> = (0..batch).chain(middle..rank).chain(batch..middle).collect();
    let (head, tail) = order.split_at(batch);
    let straight = tail.iter().copied().eq(batch..rank);
    let swapped = tail.iter().eq(&exchanged[batch..]);
    let whole = head.iter().all(|&axis| axis < batch) && (straight || swapped);
    let innermost = order.last() != Some(&(rank - 1)) && order.last() == exchanged.last();
    if !whole && !innermost {
        return None;
    }
    let head: Vec<usize> = if whole { head.to_vec() } else { (0..batch).collect() };
    let reorder = |axes: &[usize]| head.iter().map(|&i| axes[i]).collect::<Vec<usize>>();
    let [a, b] = [0, 1].map(|side| (c.inputs[side], reorder(&c.batch[side]), c.sum[side].clone()));
    let (first, second) = if whole && straight { (a, b) } else { (b, a) };
    let after = Contraction { inputs: [first.0, second.0], batch: [first.1, second.1], sum: [first.2, second.2] };
    let value = after.build(graph);
    if whole {
        return Some(value);
    }
    let places: Vec<usize> = order.iter().map(|axis| exchanged.iter().position(|e| e == axis).unwrap_or(0)).collect();
    Some(graph.permute(value, &places))
}

/// A constant factor or a sign of an operand goes to the result, where that is smaller.
pub fn contract_of_scaled(graph: &mut Graph, uses: &Uses, id: NodeId) -> Option<NodeId> {
    let mut c = Contraction::of(graph, id)?;
    for operand in 0..2 {
        let input = c.inputs[operand];
        if let Some((x, factor)) = scaled(graph, input)
            && uses.once(input)
            && elements(graph, id) <= elements(graph, input)
        {
            c.inputs[operand] = x;
            let value = c.build(graph);
            let factor = graph.constant_like(factor, value);
            return Some(graph.mul(value, factor));
        }
    }
    None
}

/// A factor of an operand that is repeated along the summed axes goes to the result, one that is repeated along the free
/// axes to the other operand, where that is smaller: attention divides its result by the sums of its weights, not the
/// weights.
pub fn contract_of_repeated(graph: &mut Graph, _: &Uses, id: NodeId) -> Option<NodeId> {
    let c = Contraction::of(graph, id)?;
    for operand in 0..2 {
        let other = 1 - operand;
        let size = elements(graph, c.inputs[operand]);
        let Some(factor) = repeated_factor(graph, c.inputs[operand]) else { continue };
        let free = c.free(graph, operand);
        let (summed, kept): (Vec<usize>, Vec<usize>) =
            factor.axes.iter().partition(|axis| c.sum[operand].contains(axis));
        let place = |axis: usize, list: &[usize]| list.iter().position(|&other| other == axis);
        let mut after = Contraction::of(graph, id)?;
        after.inputs[operand] = factor.rest;
        if summed.is_empty() && elements(graph, id) < size {
            let batch = c.batch[operand].len();
            let start = batch + if operand == 1 { c.free(graph, 0).len() } else { 0 };
            let to = |axis: &usize| place(*axis, &c.batch[operand]).or_else(|| Some(start + place(*axis, &free)?));
            let places: Vec<usize> = factor.axes.iter().filter_map(to).collect();
            let value = after.build(graph);
            return Some(factor.apply(graph, value, &places));
        }
        if !kept.iter().any(|axis| free.contains(axis)) && elements(graph, c.inputs[other]) < size {
            let to = |axis: &usize| {
                let batch = place(*axis, &c.batch[operand]).map(|i| c.batch[other][i]);
                batch.or_else(|| Some(c.sum[other][place(*axis, &c.sum[operand])?]))
            };
            let places: Vec<usize> = factor.axes.iter().filter_map(to).collect();
            after.inputs[other] = factor.apply(graph, c.inputs[other], &places);
            return Some(after.build(graph));
        }
    }
    None
}

/// `rest · s` or `rest / s`, where s is `source` repeated: its axes are `axes` of the whole.
struct RepeatedFactor {
    rest: NodeId,
    op: BinaryOp,
    source: NodeId,
    axes: Vec<usize>,
}

impl RepeatedFactor {
    /// `x · s` or `x / s`, with the axes of s at these places of x.
    fn apply(&self, graph: &mut Graph, x: NodeId, places: &[usize]) -> NodeId {
        let mut order: Vec<usize> = (0..places.len()).collect();
        order.sort_unstable_by_key(|&i| places[i]);
        let sorted: Vec<usize> = order.iter().map(|&i| places[i]).collect();
        let source = graph.permute(self.source, &order);
        let shape = graph.shape(x).to_vec();
        let s = graph.broadcast(source, &sorted, &shape);
        graph.binary(self.op, x, s)
    }
}

/// The factor of x·s or x/s, and of (x/s)·y or (x·s)·y, whose rest is x·y.
fn repeated_factor(graph: &mut Graph, id: NodeId) -> Option<RepeatedFactor> {
    if !graph.dtype(id).is_float() {
        return None;
    }
    if let Some(direct) = direct_factor(graph, id) {
        return Some(direct);
    }
    let Op::Binary(BinaryOp::Mul) = graph.op(id) else { return None };
    let [a, b] = [graph.node(id).inputs[0], graph.node(id).inputs[1]];
    let (inner, y) = direct_factor(graph, a).map(|f| (f, b)).or_else(|| direct_factor(graph, b).map(|f| (f, a)))?;
    Some(RepeatedFactor { rest: graph.mul(inner.rest, y), ..inner })
}

fn direct_factor(graph: &Graph, id: NodeId) -> Option<RepeatedFactor> {
    let Op::Binary(op @ (BinaryOp::Mul | BinaryOp::Div)) = *graph.op(id) else { return None };
    let [a, b] = [graph.node(id).inputs[0], graph.node(id).inputs[1]];
    let choices: &[(NodeId, NodeId)] = if op == BinaryOp::Mul { &[(a, b), (b, a)] } else { &[(a, b)] };
    choices.iter().find_map(|&(rest, s)| {
        let Op::Broadcast { axes } = graph.op(s) else { return None };
        Some(RepeatedFactor { rest, op, source: graph.node(s).inputs[0], axes: axes.to_vec() })
    })
}
