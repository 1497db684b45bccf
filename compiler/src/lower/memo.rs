//! Kernels built once for all units of one structure: equal blocks of a network, and the frames of a rollout, cost one.

use super::cut::Cut;
use super::emit::Slot;
use super::group::Built;
use super::units::{Kind, Unit};
use crate::graph::{Graph, NodeId, Op, Ty};
use fgc_program::Kernel;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// What units compute, written as numbers: operations and types by their number, nodes by the order in which they are
/// met. Units of one description have one kernel, with other nodes in its slots.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Description(Vec<u32>);

/// Nodes in the order of a description.
pub(super) type Met = Vec<NodeId>;

#[derive(Default)]
pub(super) struct Memo {
    words: FxHashMap<(Op, Ty), u32>,
    types: FxHashMap<Ty, u32>,
    kernels: FxHashMap<Description, Option<Pattern>>,
}

/// A kernel and what is in its slots: the node met at a place, or a copy made by a member.
#[derive(Clone, Debug)]
struct Pattern {
    kernel: Arc<Kernel>,
    slots: Vec<Place>,
    weight: f64,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Met(usize),
    Member(usize),
}

/// Marks in a description; numbers of words and of nodes follow them.
const UNIT: u32 = 0;
const AGAIN: u32 = 1;
const STORED: u32 = 2;
const NODE: u32 = 3;

struct Describe<'a> {
    memo: &'a mut Memo,
    graph: &'a Graph,
    cut: &'a Cut,
    text: Vec<u32>,
    met: Met,
    number: FxHashMap<NodeId, u32>,
}

impl Memo {
    /// Describes units, each with whether its value is needed beyond them.
    pub fn describe(&mut self, graph: &Graph, cut: &Cut, units: &[(&Unit, bool)]) -> (Description, Met) {
        let mut d =
            Describe { memo: self, graph, cut, text: Vec::new(), met: Vec::new(), number: FxHashMap::default() };
        for &(unit, outside) in units {
            d.text.extend([UNIT, unit.kind as u32, outside as u32]);
            match unit.kind {
                Kind::Copy => d.node(unit.node),
                _ => d.definition(unit.node),
            }
        }
        (Description(d.text), d.met)
    }

    /// The kernel of these units, if it was tried before: Some(None) where there is none.
    pub fn recall(&self, what: &Description, met: &Met, members: &[usize]) -> Option<Option<Built>> {
        let known = self.kernels.get(what)?;
        Some(known.as_ref().map(|pattern| Built {
            kernel: pattern.kernel.clone(),
            slots: pattern.slots.iter().map(|place| place.slot(met, members)).collect(),
            weight: pattern.weight,
        }))
    }

    pub fn remember(&mut self, what: Description, met: &Met, members: &[usize], built: Option<&Built>) {
        let pattern = built.map(|built| {
            let slots: Option<Vec<Place>> = built.slots.iter().map(|slot| Place::of(*slot, met, members)).collect();
            Some(Pattern { kernel: built.kernel.clone(), slots: slots?, weight: built.weight })
        });
        match pattern {
            None => drop(self.kernels.insert(what, None)),
            Some(Some(pattern)) => drop(self.kernels.insert(what, Some(pattern))),
            // A slot that is not in the description: it says too little.
            Some(None) => debug_assert!(false, "a kernel reads what its units do not"),
        }
    }
}

impl Place {
    fn of(slot: Slot, met: &Met, members: &[usize]) -> Option<Place> {
        match slot {
            Slot::Node(node) => met.iter().position(|m| *m == node).map(Place::Met),
            Slot::Copy(unit) => members.iter().position(|m| *m == unit).map(Place::Member),
        }
    }

    fn slot(self, met: &Met, members: &[usize]) -> Slot {
        match self {
            Place::Met(at) => Slot::Node(met[at]),
            Place::Member(at) => Slot::Copy(members[at]),
        }
    }
}

impl Describe<'_> {
    fn meet(&mut self, node: NodeId) -> u32 {
        let number = self.met.len() as u32;
        self.met.push(node);
        self.number.insert(node, number);
        number
    }

    /// A node as an operand.
    fn node(&mut self, node: NodeId) {
        if let Some(&number) = self.number.get(&node) {
            self.text.extend([AGAIN, number]);
        } else if self.cut.is_stored(node) {
            let count = self.memo.types.len() as u32;
            let ty = *self.memo.types.entry(self.graph.ty(node).clone()).or_insert(count);
            self.text.extend([STORED, ty]);
            self.meet(node);
        } else {
            self.definition(node);
        }
    }

    /// A node by its operation.
    fn definition(&mut self, id: NodeId) {
        let number = match self.number.get(&id) {
            Some(&number) => number,
            None => self.meet(id),
        };
        let node = self.graph.node(id);
        let count = self.memo.words.len() as u32;
        let word = *self.memo.words.entry((node.op.clone(), node.ty.clone())).or_insert(count);
        self.text.extend([NODE, number, word, node.inputs.len() as u32]);
        for &input in &node.inputs {
            self.node(input);
        }
    }
}
