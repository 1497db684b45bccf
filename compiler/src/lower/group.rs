//! Fusion: which units share a kernel.
//!
//! Units are taken in order; each joins the kernel of one it reads, or of one that reads the same, if a kernel that
//! computes both is modelled to take no longer than two.

use super::cut::Cut;
use super::emit::{Emitter, Slot};
use super::local::localize;
use super::memo::Memo;
use super::tidy::tidy;
use super::units::{Kind, Unit};
use super::weigh::{PARALLEL, weigh};
use crate::graph::{Graph, NodeId, Op};
use crate::level::Level;
use fgc_program::{Kernel, UnaryOp};
use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::{Arc, Mutex, PoisonError};

const UNITS: usize = 16;
const BUFFERS: usize = 24;
/// Elements of an operand beside which a launch takes no time.
const LARGE: usize = 1 << 16;
/// Kernels tried for one unit.
const TRIES: usize = 4;

/// One kernel to be, or a single unit that is none.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub units: Vec<usize>,
    pub built: Option<Built>,
}

#[derive(Clone, Debug)]
pub(super) struct Built {
    pub kernel: Arc<Kernel>,
    pub slots: Vec<Slot>,
    pub weight: f64,
}

struct Grouping<'a> {
    graph: &'a Graph,
    cut: &'a Cut,
    units: &'a [Unit],
    memo: &'a Mutex<Memo>,
    /// Units that read a node.
    readers: FxHashMap<NodeId, Vec<usize>>,
    /// Nodes needed after the plan.
    outputs: &'a FxHashSet<NodeId>,
    group_of: Vec<usize>,
    groups: Vec<Group>,
    /// The groups each group needs, directly or not, one bit each.
    needs: Vec<Vec<u64>>,
}

/// All units, each in one group. `units` come after what they read. `outputs` are needed after the plan; what is computed
/// `again` is to be computed late.
pub(super) fn group(
    graph: &Graph,
    cut: &Cut,
    units: &[Unit],
    [outputs, again]: [&FxHashSet<NodeId>; 2],
    level: Level,
    memo: &Mutex<Memo>,
) -> Vec<Group> {
    let mut readers: FxHashMap<NodeId, Vec<usize>> = FxHashMap::default();
    let mut producer = FxHashMap::default();
    for (i, unit) in units.iter().enumerate() {
        if unit.kind != Kind::Copy {
            producer.insert(unit.node, i);
        }
        for read in &unit.reads {
            readers.entry(*read).or_default().push(i);
        }
    }
    let (group_of, groups, needs) = (Vec::new(), Vec::new(), Vec::new());
    let mut grouping = Grouping { graph, cut, units, memo, readers, outputs, group_of, groups, needs };
    for (i, unit) in units.iter().enumerate() {
        let mut needed: Vec<usize> =
            unit.reads.iter().filter_map(|read| producer.get(read)).map(|p| grouping.group_of[*p]).collect();
        needed.sort_unstable();
        needed.dedup();
        grouping.place(i, &needed, level > Level::None && !again.contains(&unit.node));
    }
    grouping.groups
}

/// The kernel of one unit.
pub(super) fn alone(graph: &Graph, cut: &Cut, units: &[Unit], number: usize, memo: &Mutex<Memo>) -> Option<Built> {
    let outputs = &FxHashSet::default();
    let readers = FxHashMap::default();
    let (group_of, groups, needs) = (Vec::new(), Vec::new(), Vec::new());
    Grouping { graph, cut, units, memo, readers, outputs, group_of, groups, needs }.build(&[number])
}

impl Grouping<'_> {
    /// Puts a unit into a group, one that there is already only if it may `join`.
    fn place(&mut self, number: usize, needed: &[usize], join: bool) {
        let unit = &self.units[number];
        let whole = matches!(unit.kind, Kind::Contract | Kind::Conv | Kind::Extern);
        let alone = if whole { None } else { self.build(&[number]) };
        if let (true, Some(alone)) = (unit.fuses() && join, &alone) {
            for group in self.candidates(number, needed) {
                let mut together = self.groups[group].units.clone();
                together.push(number);
                let Some(before) = self.groups[group].built.as_ref().map(|built| built.weight) else { continue };
                if let Some(built) = self.build(&together)
                    && built.weight <= before + alone.weight
                    && built.slots.len() <= BUFFERS
                {
                    self.groups[group] = Group { units: together, built: Some(built) };
                    self.group_of.push(group);
                    self.depend(group, needed);
                    return;
                }
            }
        }
        let group = self.groups.len();
        self.groups.push(Group { units: vec![number], built: alone });
        self.group_of.push(group);
        self.needs.push(Vec::new());
        self.depend(group, needed);
    }

    fn needs(&self, group: usize, other: usize) -> bool {
        self.needs[group].get(other / 64).is_some_and(|word| word >> (other % 64) & 1 == 1)
    }

    /// Notes that `group` needs `others`.
    fn depend(&mut self, group: usize, others: &[usize]) {
        let mut all = std::mem::take(&mut self.needs[group]);
        for &other in others.iter().filter(|other| **other != group) {
            union(&mut all, &self.needs[other]);
            let word = other / 64;
            all.resize(all.len().max(word + 1), 0);
            all[word] |= 1 << (other % 64);
        }
        for i in 0..self.groups.len() {
            if self.needs(i, group) {
                union(&mut self.needs[i], &all);
            }
        }
        self.needs[group] = all;
    }

    /// Groups that the unit may join without a cycle, likely ones first.
    fn candidates(&self, number: usize, needed: &[usize]) -> Vec<usize> {
        let unit = &self.units[number];
        let shape = self.graph.shape(unit.node);
        // Reading the same parameter is no reason to go through two images at once.
        let len = |read: &NodeId| self.graph.ty(*read).len();
        let most = unit.reads.iter().map(len).max().unwrap_or(0);
        let counts = |read: &&NodeId| most < LARGE || len(read) * 16 >= most;
        let siblings = unit.reads.iter().filter(counts).flat_map(|read| &self.readers[read]).filter(|&&other| {
            other < number && self.graph.shape(self.units[other].node) == shape && self.units[other].fuses()
        });
        let mut siblings: Vec<usize> = siblings.map(|&other| self.group_of[other]).collect();
        siblings.sort_unstable();
        let mut all = Vec::new();
        for &group in needed.iter().rev().chain(siblings.iter().rev()) {
            let free = needed.iter().all(|&other| other == group || !self.needs(other, group));
            let open = self.groups[group].units.len() < UNITS
                && self.groups[group].units.iter().all(|&u| self.units[u].fuses());
            if free && open && !all.contains(&group) {
                all.push(group);
            }
        }
        all.truncate(TRIES);
        all
    }

    /// The best kernel for these units; None if there is none.
    fn build(&self, members: &[usize]) -> Option<Built> {
        let described = members.iter().map(|&m| (&self.units[m], self.is_outside(self.units[m].node, members)));
        let described: Vec<_> = described.collect();
        let memo = || self.memo.lock().unwrap_or_else(PoisonError::into_inner);
        let (what, met) = memo().describe(self.graph, self.cut, &described);
        let known = memo().recall(&what, &met, members);
        known.unwrap_or_else(|| {
            let built = self.build_anew(members);
            memo().remember(what, &met, members, built.as_ref());
            built
        })
    }

    fn build_anew(&self, members: &[usize]) -> Option<Built> {
        let mut grids = self.units[members[0]].grids(self.graph);
        for &member in &members[1..] {
            let own = self.units[member].grids(self.graph);
            grids.retain(|grid| own.contains(grid));
        }
        let (small, large): (Vec<usize>, Vec<usize>) = grids.into_iter().rev().partition(|grid| *grid < PARALLEL);
        let lightest = |best: Built, other: Built| if other.weight < best.weight { other } else { best };
        let best =
            |grids: Vec<usize>| grids.into_par_iter().filter_map(|grid| self.emit(members, grid)).reduce_with(lightest);
        best(large).or_else(|| best(small))
    }

    fn emit(&self, members: &[usize], grid: usize) -> Option<Built> {
        let mut emitter = Emitter::new(self.graph, self.cut, grid);
        for member in self.ordered(members) {
            let unit = &self.units[member];
            let outside = self.is_outside(unit.node, members);
            emitter.unit(member, unit, unit.kind == Kind::Copy || outside).ok()?;
        }
        let names: Vec<&str> = members.iter().map(|&member| name(self.graph, &self.units[member])).collect();
        let (mut kernel, mut slots) = emitter.finish(shorten(&names));
        let private = |slot: Slot| match slot {
            Slot::Node(node) => members.iter().any(|&m| self.units[m].node == node) && !self.is_outside(node, members),
            Slot::Copy(_) => false,
        };
        localize(&mut kernel, &mut slots, &private);
        tidy(&mut kernel);
        let weight = weigh(&kernel);
        Some(Built { kernel: Arc::new(kernel), slots, weight })
    }

    /// Whether a node is needed beyond a kernel of these units.
    fn is_outside(&self, node: NodeId, members: &[usize]) -> bool {
        self.outputs.contains(&node)
            || self.readers.get(&node).is_some_and(|all| all.iter().any(|other| !members.contains(other)))
    }

    /// Units after what they read; those of one shape next to each other where possible, so that they share loops.
    fn ordered(&self, members: &[usize]) -> Vec<usize> {
        let mut left = members.to_vec();
        let mut order: Vec<usize> = Vec::new();
        while !left.is_empty() {
            let ready = |&at: &usize| {
                let reads = &self.units[left[at]].reads;
                !left
                    .iter()
                    .any(|&m| self.units[m].kind != Kind::Copy && m != left[at] && reads.contains(&self.units[m].node))
            };
            let ready: Vec<usize> = (0..left.len()).filter(ready).collect();
            let last = order.last().map(|&m| self.graph.shape(self.units[m].node));
            let alike = ready.iter().find(|&&at| {
                let unit = &self.units[left[at]];
                unit.kind != Kind::Reduce && Some(self.graph.shape(unit.node)) == last
            });
            let next = alike.or(ready.first()).copied().unwrap_or(0);
            order.push(left.remove(next));
        }
        order
    }
}

fn union(all: &mut Vec<u64>, more: &[u64]) {
    all.resize(all.len().max(more.len()), 0);
    all.iter_mut().zip(more).for_each(|(a, b)| *a |= b);
}

/// What a unit computes, in a word.
fn name(graph: &Graph, unit: &Unit) -> &'static str {
    match (unit.kind, graph.op(unit.node)) {
        (Kind::Copy, _) => "copy",
        (_, Op::Reduce { op, .. }) => match op {
            crate::graph::ReduceOp::Sum => "sum",
            crate::graph::ReduceOp::Max => "max",
            crate::graph::ReduceOp::Min => "min",
        },
        (_, Op::Binary(op)) => match op {
            fgc_program::BinaryOp::Add => "add",
            fgc_program::BinaryOp::Sub => "sub",
            fgc_program::BinaryOp::Mul => "mul",
            fgc_program::BinaryOp::Div => "div",
            _ => "map",
        },
        (_, Op::Unary(op)) => match op {
            UnaryOp::Exp => "exp",
            UnaryOp::Sqrt => "sqrt",
            UnaryOp::Sigmoid => "sigmoid",
            UnaryOp::Tanh => "tanh",
            _ => "map",
        },
        (_, Op::Const(_)) => "fill",
        (_, Op::ScatterAdd { .. }) => "scatter_add",
        (_, Op::Gather { .. }) => "gather",
        (_, Op::Select) => "select",
        (_, Op::Cast(_)) => "cast",
        (_, Op::Permute { .. }) => "permute",
        (_, Op::Concat { .. }) => "concat",
        (_, Op::Pad { .. }) => "pad",
        _ => "map",
    }
}

fn shorten(names: &[&str]) -> String {
    match names {
        [first, second, third, _, ..] => format!("{first}_{second}_{third}_{}", names.len()),
        _ => names.join("_"),
    }
}
