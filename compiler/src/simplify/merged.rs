//! Which way round axes lie when they are merged for a contraction.

use super::Uses;
use super::products::Contraction;
use crate::graph::{Graph, NodeId, Op, groups};

/// Axes that are moved and then merged into one that is summed over, or of the batch, come last, if the innermost axis of
/// what is moved is the innermost of them: so neighbours stay neighbours (heads' channels, merged behind tokens).
pub fn contract_of_merged(graph: &mut Graph, uses: &Uses, id: NodeId) -> Option<NodeId> {
    let c = Contraction::of(graph, id)?;
    for operand in 0..2 {
        let merged = c.inputs[operand];
        let moved = *graph.node(merged).inputs.first().unwrap_or(&merged);
        let (Op::Reshape, Op::Permute { order }) = (graph.op(merged), graph.op(moved)) else { continue };
        let order = order.to_vec();
        if graph.ty(merged).is_empty() || !uses.once(merged) || !uses.once(moved) {
            continue;
        }
        let shape = graph.shape(merged).to_vec();
        let mut runs = groups(graph.shape(moved), &shape);
        let innermost = order.len() - 1;
        let Some(at) = runs.iter().position(|(before, _)| before.clone().last().is_some_and(|i| order[i] == innermost))
        else {
            continue;
        };
        let (before, after) = runs[at].clone();
        let free = c.free(graph, operand);
        if at + 1 == runs.len() || before.len() < 2 || after.clone().any(|axis| free.contains(&axis)) {
            continue;
        }
        let last = runs.remove(at);
        runs.push(last);
        let order: Vec<usize> = runs.iter().flat_map(|(before, _)| before.clone()).map(|i| order[i]).collect();
        let places: Vec<usize> = runs.iter().flat_map(|(_, after)| after.clone()).collect();
        let source = graph.node(moved).inputs[0];
        let value = graph.permute(source, &order);
        let mut after = Contraction::of(graph, id)?;
        after.inputs[operand] = graph.reshape(value, &places.iter().map(|&axis| shape[axis]).collect::<Vec<_>>());
        let place = |axis: &mut usize| *axis = places.iter().position(|other| other == axis).unwrap_or(0);
        after.batch[operand].iter_mut().for_each(place);
        after.sum[operand].iter_mut().for_each(place);
        return Some(after.build(graph));
    }
    None
}
