//! A plan on its way: what it computes in which groups, and then in which order and bands.

use super::band::{Candidate, Formed, Values, What, form};
use super::contract;
use super::cut::Cut;
use super::demand::Demand;
use super::emit::Slot;
use super::group::{Group, alone};
use super::memo::Memo;
use super::order::{Access, Time, order};
use super::task::{Task, Work};
use super::units::{Kind, Unit};
use crate::graph::{Graph, NodeId, Op, Ty};
use crate::level::Target;
use fgc_program::BufferId;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Mutex;

/// A plan on its way.
pub(super) struct Draft<'a> {
    pub graph: &'a Graph,
    pub cut: Cut,
    pub units: Vec<Unit>,
    /// Where values lie that are not in the arena.
    pub at: FxHashMap<Slot, BufferId>,
    /// Values needed after the plan.
    pub lasting: FxHashSet<Slot>,
    pub groups: Vec<Group>,
    /// Values computed a second time, late.
    pub again: FxHashSet<NodeId>,
    /// Whether this is an update from gradients that a step's plan has left.
    pub updates: bool,
}

/// Whether the plan finds a node in a buffer rather than computes it.
pub(super) fn is_given(graph: &Graph, id: NodeId) -> bool {
    matches!(graph.op(id), Op::Source(_) | Op::Table(_))
}

impl Draft<'_> {
    /// A new unit that copies `node`.
    pub fn copy(&mut self, node: NodeId) -> (Slot, usize) {
        self.units.push(Unit::copy(node));
        (Slot::Copy(self.units.len() - 1), self.units.len() - 1)
    }

    pub fn ty(&self, slot: Slot) -> &Ty {
        match slot {
            Slot::Node(node) => self.graph.ty(node),
            Slot::Copy(unit) => self.graph.ty(self.units[unit].node),
        }
    }

    /// The launches in an order they can run in, those of `late` at the end; and the bands with their first launches.
    pub fn tasks(
        &mut self,
        late: &[usize],
        demand: &mut Demand,
        memo: &Mutex<Memo>,
        bands: Option<Target>,
    ) -> (Vec<Task>, Vec<(usize, Formed)>) {
        let groups = std::mem::take(&mut self.groups);
        let times: Vec<Time> = groups.iter().map(|group| self.time(group)).collect();
        let tasks: Vec<Task> = groups.into_iter().map(|group| Task::new(group, &self.units, demand)).collect();
        let bytes = |slot: Slot| {
            let ty = self.ty(slot);
            let lasts = self.lasting.contains(&slot) || self.at.contains_key(&slot);
            if lasts { 0 } else { ty.len() * ty.dtype.size() }
        };
        let candidates: Vec<Candidate> =
            tasks.iter().zip(&times).map(|(task, time)| self.candidate(task, time.place)).collect();
        let elements = |slot: Slot| self.ty(slot).len();
        let values = Values { bytes: &bytes, elements: &elements };
        let formed = bands.map_or_else(Vec::new, |target| form(&candidates, values, target));
        // Bands first, each as one; then those that are in none.
        let mut sets: Vec<Vec<usize>> = formed.iter().map(|band| band.members.clone()).collect();
        let banded: FxHashSet<usize> = sets.iter().flatten().copied().collect();
        sets.extend((0..tasks.len()).filter(|i| !banded.contains(i)).map(|i| vec![i]));
        let accesses: Vec<Access> =
            sets.iter().map(|set| Access::of(set.iter().map(|&i| &candidates[i].access))).collect();
        let time = |set: &Vec<usize>| Time {
            place: set.iter().map(|&i| times[i].place).max().unwrap_or(0),
            late: set.iter().any(|&i| times[i].late),
        };
        let times: Vec<Time> = sets.iter().map(time).collect();
        let locals: FxHashSet<Slot> = formed.iter().flat_map(|band| &band.locals).copied().collect();
        let bytes = |slot: Slot| if locals.contains(&slot) { 0 } else { bytes(slot) };
        let mut sorted: Vec<Task> = Vec::new();
        let mut bands = Vec::new();
        for set in order(&accesses, &times, &bytes) {
            bands.extend(formed.get(set).map(|band| (sorted.len(), band.clone())));
            let kernels = formed.get(set).map_or(&[][..], |band| &band.kernels);
            sorted.extend(sets[set].iter().map(|&i| tasks[i].with(kernels.iter().find(|(member, _)| *member == i))));
        }
        for &unit in late {
            let built = alone(self.graph, &self.cut, &self.units, unit, memo);
            sorted.push(Task::new(Group { units: vec![unit], built }, &self.units, demand));
        }
        (sorted, bands)
    }

    /// When a group is to run.
    fn time(&self, group: &Group) -> Time {
        let late = group.units.iter().any(|&unit| self.again.contains(&self.units[unit].node));
        Time { place: group.units.iter().copied().max().unwrap_or(0), late }
    }

    fn candidate<'a>(&self, task: &'a Task, time: usize) -> Candidate<'a> {
        let what = match &task.work {
            Work::Kernel { kernel, slots } => What::Kernel(kernel, slots),
            Work::Product(unit) => {
                // Buffers by the numbers of their nodes: there are none yet.
                let number = |node: NodeId| BufferId(node.0);
                let slot = |buffer: BufferId| Slot::Node(NodeId(buffer.0));
                match unit.kind {
                    Kind::Conv => contract::conv(self.graph, &self.cut, unit.node, &number)
                        .map_or(What::Other, |c| What::Conv(c.clone(), [c.x, c.w, c.y].map(slot))),
                    _ => contract::contract(self.graph, &self.cut, unit.node, &number)
                        .map_or(What::Other, |c| What::Product(c.clone(), [&c.a, &c.b, &c.c].map(|o| slot(o.buffer)))),
                }
            }
        };
        Candidate { access: task.access(), what, when: task.when.as_ref(), time }
    }
}
