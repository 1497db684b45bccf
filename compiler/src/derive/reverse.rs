//! Reverse mode: linearise, then transpose.

use super::DeriveError;
use super::jvp::linearise;
use super::transpose::transpose;
use crate::graph::{Graph, NodeId, Ty, dependents};
use rustc_hash::{FxHashMap, FxHashSet};

/// For each node of `wrt`, the sum over outputs of its derivative's transpose applied to the output's cotangent. The
/// nodes of `wrt` count as independent variables: if one depends on another, the other gets what does not pass through
/// the first. None: exactly zero. Calls must have been inlined.
pub fn vjp(
    graph: &mut Graph,
    outputs: &[NodeId],
    cotangents: &[NodeId],
    wrt: &[NodeId],
) -> Result<Vec<Option<NodeId>>, DeriveError> {
    debug_assert_eq!(outputs.len(), cotangents.len(), "a cotangent for each output");
    let types: Vec<Ty> = wrt.iter().map(|&id| graph.ty(id).clone()).collect();
    let func = graph.new_func("linear", &types);
    let variables = graph.func(func).args.clone();
    let seeds: FxHashMap<NodeId, NodeId> = wrt.iter().copied().zip(variables.iter().copied()).collect();
    let tangents = linearise(graph, outputs, &seeds)?;

    let mut received: FxHashMap<NodeId, NodeId> = FxHashMap::default();
    let mut ends = Vec::new();
    for (tangent, &ct) in tangents.into_iter().zip(cotangents) {
        if let Some(tangent) = tangent {
            ends.push(tangent);
            receive(graph, &mut received, tangent, ct);
        }
    }
    let is_variable: FxHashSet<NodeId> = variables.iter().copied().collect();
    let nodes = dependents(graph, &ends, |id| is_variable.contains(&id));
    let linear: FxHashSet<NodeId> = nodes.iter().copied().collect();
    for &id in nodes.iter().rev() {
        if is_variable.contains(&id) {
            continue;
        }
        // Read once: everything that uses it has a greater id.
        if let Some(ct) = received.remove(&id) {
            for (input, part) in transpose(graph, id, &|input| linear.contains(&input), ct)? {
                receive(graph, &mut received, input, part);
            }
        }
    }
    // A node twice in `wrt` has one variable.
    Ok(wrt.iter().map(|id| received.get(&seeds[id]).copied()).collect())
}

fn receive(graph: &mut Graph, received: &mut FxHashMap<NodeId, NodeId>, node: NodeId, ct: NodeId) {
    if graph.is_const(ct, 0.0) {
        return;
    }
    let sum = match received.get(&node) {
        Some(&before) => graph.add(before, ct),
        None => ct,
    };
    received.insert(node, sum);
}

/// The gradient of a scalar with respect to each node of `wrt`; None: exactly zero.
pub fn grad(graph: &mut Graph, scalar: NodeId, wrt: &[NodeId]) -> Result<Vec<Option<NodeId>>, DeriveError> {
    debug_assert!(graph.shape(scalar).is_empty() && graph.dtype(scalar).is_float(), "a gradient is of a float scalar");
    let one = graph.constant_like(1.0, scalar);
    vjp(graph, &[scalar], &[one], wrt)
}
