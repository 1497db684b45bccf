//! Directional rewrites of a graph that will not be differentiated again.
//!
//! Each rule replaces a node by one of the same value (up to rounding) and never costs more: fewer or smaller
//! operations, or the same ones with a view moved to where it may cancel. They run bottom-up over what the outputs
//! need, again and again until nothing changes. Rules that only pay if a value has no other use ask for that.

mod algebra;
mod lift;
mod merged;
mod products;
mod reductions;
mod views;

#[cfg(test)]
mod tests;

use crate::graph::traverse::rebuild;
use crate::graph::{Graph, NodeId, needed};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;
use std::cell::Cell;
use std::collections::BTreeMap;

/// How often the graph is gone through at most.
const PASSES: usize = 64;

/// How many rules may follow each other at one node in one pass.
const STEPS: usize = 16;

/// A rewrite of the node given, or None where it does not apply.
type Apply = fn(&mut Graph, &Uses, NodeId) -> Option<NodeId>;

/// Tried in this order at each node.
const RULES: &[(&str, Apply)] = &[
    ("drop-stop", algebra::drop_stop),
    ("power-by-constant", algebra::power_by_constant),
    ("fold-constant-factors", algebra::fold_constant_factors),
    ("pull-negation", algebra::pull_negation),
    ("pull-divisor", algebra::pull_divisor),
    ("subtract-instead", algebra::subtract_instead),
    ("collect-multiples", algebra::collect_multiples),
    ("merge-selects", algebra::merge_selects),
    ("lift-broadcast", lift::lift_broadcast),
    ("lift-view", lift::lift_view),
    ("broadcast-of-reshape", views::broadcast_of_reshape),
    ("slice-of-view", views::slice_of_view),
    ("sum-of-pads", views::sum_of_pads),
    ("concat-of-slices", views::concat_of_slices),
    ("reduce-of-reduce", reductions::reduce_of_reduce),
    ("reduce-of-broadcast", reductions::reduce_of_broadcast),
    ("reduce-of-permute", reductions::reduce_of_permute),
    ("reduce-of-reshape", reductions::reduce_of_reshape),
    ("sum-of-pad", reductions::sum_of_pad),
    ("sum-of-scaled", reductions::sum_of_scaled),
    ("contract-of-permute", products::contract_of_permute),
    ("contract-of-broadcast", products::contract_of_broadcast),
    ("permute-of-contract", products::permute_of_contract),
    ("contract-of-scaled", products::contract_of_scaled),
    ("contract-of-repeated", products::contract_of_repeated),
    ("contract-of-merged", merged::contract_of_merged),
];

/// How many times each node is read, outputs included.
#[derive(Default)]
pub struct Uses {
    counts: FxHashMap<NodeId, u32>,
    /// Whether a rule has asked since this was last cleared.
    asked: Cell<bool>,
}

impl Uses {
    /// Nothing but its one reader needs the value.
    fn once(&self, id: NodeId) -> bool {
        self.count(id) <= 1
    }

    fn count(&self, id: NodeId) -> u32 {
        self.asked.set(true);
        // A node that a rule has just made is only in what the rule gave.
        self.counts.get(&id).copied().unwrap_or(1)
    }
}

/// What simplifying gave.
pub struct Simplified {
    pub outputs: Vec<NodeId>,
    /// How often each rule applied, by name.
    pub applied: BTreeMap<&'static str, usize>,
    /// False: the limit of passes was reached before nothing changed.
    pub converged: bool,
}

/// `outputs` in fewer or cheaper nodes. `Stop` is dropped: differentiate first.
pub fn simplify(graph: &mut Graph, outputs: &[NodeId]) -> Vec<NodeId> {
    Simplifier::default().simplify(graph, outputs).outputs
}

/// Simplifies outputs of one graph, and remembers where no rule applies.
#[derive(Default)]
pub struct Simplifier {
    /// Nodes to which no rule applies, however often they and others are read: what a rule sees of a node, the node and
    /// what it is made of, never changes.
    settled: FxHashSet<NodeId>,
}

impl Simplifier {
    /// As [`simplify`].
    pub fn simplify(&mut self, graph: &mut Graph, outputs: &[NodeId]) -> Simplified {
        let mut result = Simplified { outputs: outputs.to_vec(), applied: BTreeMap::new(), converged: false };
        for _ in 0..PASSES {
            let outputs = self.pass(graph, &result.outputs, &mut result.applied);
            if outputs == result.outputs {
                result.converged = true;
                break;
            }
            result.outputs = outputs;
        }
        result
    }

    fn pass(
        &mut self,
        graph: &mut Graph,
        outputs: &[NodeId],
        applied: &mut BTreeMap<&'static str, usize>,
    ) -> Vec<NodeId> {
        let nodes = needed(graph, outputs);
        let mut counts: FxHashMap<NodeId, u32> = FxHashMap::default();
        for &read in nodes.iter().flat_map(|&id| &graph.node(id).inputs).chain(outputs) {
            *counts.entry(read).or_default() += 1;
        }
        let mut new: FxHashMap<NodeId, NodeId> = FxHashMap::default();
        let mut pass = Pass { graph, settled: &mut self.settled, uses: Uses::default(), applied };
        for old in nodes {
            let inputs: SmallVec<[NodeId; 3]> = pass.graph.node(old).inputs.iter().map(|input| new[input]).collect();
            let id = rebuild(pass.graph, old, &inputs);
            let id = pass.rewrite(id, 0);
            *pass.uses.counts.entry(id).or_default() += counts.get(&old).copied().unwrap_or(0);
            new.insert(old, id);
        }
        outputs.iter().map(|id| new[id]).collect()
    }
}

/// Once through the graph.
struct Pass<'a> {
    graph: &'a mut Graph,
    settled: &'a mut FxHashSet<NodeId>,
    uses: Uses,
    applied: &'a mut BTreeMap<&'static str, usize>,
}

impl Pass<'_> {
    /// What rules make of a node, one after another, and of what they make on the way: `depth` steps ago for a node of
    /// the graph.
    fn rewrite(&mut self, mut id: NodeId, depth: usize) -> NodeId {
        for _ in 0..STEPS {
            if self.settled.contains(&id) {
                break;
            }
            let before = self.graph.len();
            self.uses.asked.set(false);
            let next = RULES.iter().find_map(|(name, apply)| {
                let next = apply(self.graph, &self.uses, id).filter(|&next| next != id)?;
                Some((*name, next))
            });
            let Some((name, next)) = next else {
                if !self.uses.asked.get() {
                    self.settled.insert(id);
                }
                break;
            };
            debug_assert_eq!(self.graph.ty(next), self.graph.ty(id), "{name} changed a type");
            *self.applied.entry(name).or_default() += 1;
            id = if depth < STEPS { self.rewrite_inputs(next, before, depth + 1) } else { next };
        }
        id
    }

    /// Rewrites what a node is made of, as far as it was made since there were only so many nodes.
    fn rewrite_inputs(&mut self, id: NodeId, before: usize, depth: usize) -> NodeId {
        if (id.0 as usize) < before || depth > STEPS {
            return id;
        }
        let mut inputs = self.graph.node(id).inputs.clone();
        for input in &mut inputs {
            if input.0 as usize >= before {
                let inner = self.rewrite_inputs(*input, before, depth + 1);
                *input = self.rewrite(inner, depth);
            }
        }
        rebuild(self.graph, id, &inputs)
    }
}
