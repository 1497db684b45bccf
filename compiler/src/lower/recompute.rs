//! Recompute or store: values that wait long for a second use, and are cheap to compute from what waits anyway.
//!
//! Most memory of a training step is what the forward pass leaves for the backward pass. Of that, activations follow from
//! what came before them, and attention's weights from queries and keys: computing them again costs less than the memory
//! they would pass through. (Chen et al. 2016, arXiv:1604.06174, choose layers; here single values are chosen.)

use super::cut::{Cut, work};
use crate::graph::traverse::rebuild;
use crate::graph::{Graph, NodeId, Op};
use crate::level::Target;
use rustc_hash::{FxHashMap, FxHashSet};

/// Bytes of a value worth the trouble.
const WORTH: usize = 1 << 18;

/// Part of the plan between two uses that is a long wait.
const WAIT: f64 = 0.02;

/// Work of an element, a multiplication being 1, that may be done again.
const WORK: f32 = 60.0;

/// A product summed over at most so many elements takes less time than its result takes to be written and read, if the result
/// is so many times its operands.
const SHORT: &[(usize, usize)] = &[(128, 2)];
/// On tensor cores those of wide heads do, too, whose scores over thousands of keys should not be in memory.
const SHORT_CUDA: &[(usize, usize)] = &[(128, 2), (256, 8)];

/// How many values may have to be computed again for one.
const CHAIN: usize = 6;

/// What [`recompute`] gives.
pub(super) struct Recomputed {
    pub outputs: Vec<NodeId>,
    /// Values computed a second time: not to be joined with what is computed at the first.
    pub again: FxHashSet<NodeId>,
}

/// When a value is computed and used, by positions in the plan.
#[derive(Clone, Copy, Debug)]
struct Wait {
    /// Before the longest time without a use.
    last: usize,
    /// After it.
    next: usize,
    /// The very last.
    end: usize,
}

struct Recompute<'a> {
    graph: &'a mut Graph,
    cut: &'a Cut,
    target: Target,
    waits: FxHashMap<NodeId, Wait>,
    /// Values to compute again for uses from this position on.
    from: FxHashMap<NodeId, usize>,
    new: FxHashMap<NodeId, NodeId>,
    second: FxHashMap<NodeId, NodeId>,
    again: FxHashSet<NodeId>,
}

/// `outputs`, with uses of some values replaced by uses of second computations of them.
pub(super) fn recompute(graph: &mut Graph, cut: &Cut, outputs: &[NodeId], target: Target) -> Recomputed {
    let lasting: FxHashSet<NodeId> = outputs.iter().filter_map(|id| cut.storage(graph, *id)).collect();
    let stored: Vec<NodeId> = cut.nodes.iter().copied().filter(|id| cut.is_stored(*id)).collect();
    let position: FxHashMap<NodeId, usize> = stored.iter().enumerate().map(|(i, id)| (*id, i)).collect();
    let mut uses: FxHashMap<NodeId, Vec<usize>> = FxHashMap::default();
    for &id in &stored {
        // Computing it counts: what is used late only is better computed then.
        uses.entry(id).or_default().push(position[&id]);
        for read in cut.reads(graph, id) {
            uses.entry(read).or_default().push(position[&id]);
        }
    }
    let waits = uses.into_iter().filter_map(|(id, uses)| {
        let pairs = uses.windows(2).map(|pair| (pair[1] - pair[0], pair[0], pair[1]));
        let end = *uses.last()?;
        let (_, last, next) = pairs.max().unwrap_or((0, end, end));
        Some((id, Wait { last, next, end }))
    });
    let waits = waits.collect();
    let mut this = Recompute {
        graph,
        cut,
        target,
        waits,
        from: FxHashMap::default(),
        new: FxHashMap::default(),
        second: FxHashMap::default(),
        again: FxHashSet::default(),
    };
    let long = (stored.len() as f64 * WAIT).max(16.0) as usize;
    for &id in &stored {
        let Some(&wait) = this.waits.get(&id) else { continue };
        if wait.next - wait.last >= long && this.bytes(id) >= WORTH && !lasting.contains(&id) {
            this.choose(id, wait.next);
        }
    }
    if this.from.is_empty() {
        return Recomputed { outputs: outputs.to_vec(), again: this.again };
    }
    for &id in &stored {
        let new = this.build(id, position[&id], None);
        this.new.insert(id, new);
    }
    let end = stored.len();
    let outputs =
        outputs.iter().map(|&id| if this.cut.is_stored(id) { this.new[&id] } else { this.build(id, end, None) });
    Recomputed { outputs: outputs.collect(), again: this.again }
}

impl Recompute<'_> {
    fn bytes(&self, id: NodeId) -> usize {
        match self.graph.op(id) {
            Op::Source(_) | Op::Table(_) => 0,
            _ => self.graph.ty(id).len() * self.graph.dtype(id).size(),
        }
    }

    /// Decides whether `id` is computed again for its uses from `next` on.
    fn choose(&mut self, id: NodeId, next: usize) {
        let mut chain = Vec::new();
        let mut left = WORK;
        if self.is_cheap(id, next, self.bytes(id), &mut left, &mut chain) {
            for id in chain {
                let from = self.from.entry(id).or_insert(next);
                *from = next.min(*from);
            }
        }
    }

    /// Whether `id` can be had again from what is there at `next`; `chain` gets it and what must be computed for it.
    fn is_cheap(&self, id: NodeId, next: usize, size: usize, left: &mut f32, chain: &mut Vec<NodeId>) -> bool {
        *left -= self.own_work(id);
        if *left < 0.0 || chain.len() >= CHAIN || !self.is_map(id) && !self.is_short_product(id) {
            return false;
        }
        chain.push(id);
        self.cut.reads(self.graph, id).into_iter().all(|read| {
            let waits = self.waits.get(&read).is_some_and(|wait| wait.end >= next);
            let comes_again = self.from.get(&read).is_some_and(|from| *from <= next);
            let small = self.bytes(read) <= size / 8;
            // What is itself computed again is not there any more.
            small
                || waits && !self.from.contains_key(&read)
                || comes_again
                || chain.contains(&read)
                || self.is_cheap(read, next, size, left, chain)
        })
    }

    fn is_map(&self, id: NodeId) -> bool {
        matches!(self.graph.op(id), Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Cast(_))
    }

    fn is_short_product(&self, id: NodeId) -> bool {
        let Op::Contract { a_sum, .. } = self.graph.op(id) else { return false };
        let inputs = &self.graph.node(id).inputs;
        let a = self.graph.shape(inputs[0]);
        let sum: usize = a_sum.iter().map(|&axis| a[axis]).product();
        let longest = inputs.iter().map(|input| self.graph.ty(*input).len()).max().unwrap_or(0);
        let short = if self.target == Target::Cuda { SHORT_CUDA } else { SHORT };
        short.iter().any(|(most, times)| sum <= *most && times * longest <= self.graph.ty(id).len())
    }

    /// Work of an element of `id` from stored values.
    fn own_work(&self, id: NodeId) -> f32 {
        let mut seen = FxHashSet::default();
        let mut stack = vec![id];
        let mut sum = 0.0;
        while let Some(at) = stack.pop() {
            if seen.insert(at) && (at == id || !self.cut.is_stored(at)) {
                sum += work(self.graph.op(at));
                stack.extend(&self.graph.node(at).inputs);
            }
        }
        sum
    }

    /// `id` as a use at this position sees it; where it is itself what `again` says, from values set apart.
    fn build(&mut self, id: NodeId, at: usize, again: Option<NodeId>) -> NodeId {
        let mut done = FxHashMap::default();
        self.build_inner(id, at, again, &mut done)
    }

    /// Does not go deeper than an expression that one kernel computes.
    fn build_inner(
        &mut self,
        id: NodeId,
        at: usize,
        again: Option<NodeId>,
        done: &mut FxHashMap<NodeId, NodeId>,
    ) -> NodeId {
        let inputs = self.graph.node(id).inputs.clone();
        let inputs: Vec<NodeId> = inputs
            .into_iter()
            .map(|input| {
                if let Some(&known) = done.get(&input) {
                    return known;
                }
                let built = if self.cut.is_stored(input) {
                    self.read(input, at, again.is_some())
                } else {
                    self.build_inner(input, at, again, done)
                };
                done.insert(input, built);
                built
            })
            .collect();
        rebuild(self.graph, id, &inputs)
    }

    /// A stored value as a use at this position sees it.
    fn read(&mut self, id: NodeId, at: usize, apart: bool) -> NodeId {
        match self.from.get(&id) {
            Some(&from) if from <= at => {
                if let Some(&known) = self.second.get(&id) {
                    return known;
                }
                let second = self.build(id, from, Some(id));
                self.again.insert(second);
                self.second.insert(id, second);
                second
            }
            // A node of the same inputs would be the same node.
            _ if apart => self.graph.stop(self.new[&id]),
            _ => self.new[&id],
        }
    }
}
