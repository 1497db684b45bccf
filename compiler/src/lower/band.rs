//! Bands: launches that go through the rows of the same matrices, or the samples of a batch, to be run on some at a time.
//!
//! What only they need then takes no memory beyond a cache: scores and weights of attention above all, whatever is derived
//! from them; images between norms and convolutions. A band grows from a product whose large result has rows, or from a
//! convolution, over those that read it and that make what they read, as long as nothing outside comes between them.

mod ending;
mod regrid;
mod rows;

use super::emit::Slot;
use super::order::Access;
use crate::level::Target;
use fgc_program::band::{conv_rows, kernel_rows, product_rows};
use fgc_program::{Along, Contract, Conv, Kernel, Known};
use regrid::regrid;
use rows::Rows;
use rustc_hash::{FxHashMap, FxHashSet};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

/// Bytes of results that make a band worth its while.
const WORTH: usize = 1 << 17;

/// Bytes of packed right operands, which each block of rows meets: they stay in a second-level cache beside its values. CPU
/// only.
const OPERANDS: usize = 3 << 18;

/// The shorter side of a right operand at most on a GPU, whose blocks read all of it for each few rows, to save what is as
/// long as the longer side: features of a head of attention, not of a whole network.
const FEATURES: usize = 256;

/// Rows of a block where what is kept of them fits [`KEPT`]; else half as many.
const BLOCK: usize = 64;

/// Bytes of a block's values at most: half of a second-level cache.
const KEPT: usize = 1 << 20;

/// As [`KEPT`], of a sample.
const SAMPLE: usize = 3 << 19;

/// Samples there must be at least, that threads can share them; also blocks that there are of more.
const SAMPLES: usize = 8;

/// Rows of a product that one sample must have at least: fewer take less time than weights take to be read.
const PIXELS: usize = 24;

/// Matrices there must be at least for sums over rows on a CPU, where each is one thread's. A GPU's blocks share them.
const ENTRIES: usize = 4;

/// A launch to be, as bands see it.
pub(super) struct Candidate<'a> {
    pub access: Access,
    pub what: What<'a>,
    pub when: Option<&'a Known>,
    /// Its place among the values of the plan.
    pub time: usize,
}

pub(super) enum What<'a> {
    /// A kernel, with its slots in the order of its buffers.
    Kernel(&'a Kernel, &'a [Slot]),
    /// A product, with the slots of its operands.
    Product(Contract, [Slot; 3]),
    /// A convolution, with the slots of x, w and y.
    Conv(Conv, [Slot; 3]),
    Other,
}

/// Launches that are to run together.
#[derive(Clone, Debug)]
pub(super) struct Formed {
    /// Positions of launches, each after what it reads.
    pub members: Vec<usize>,
    pub entries: usize,
    pub rows: usize,
    /// Rows of a block.
    pub block: usize,
    pub along: Vec<Along>,
    /// What lives within the band only.
    pub locals: Vec<Slot>,
    /// Kernels that take the place of members': the same with the rows as their grid.
    pub kernels: Vec<(usize, Arc<Kernel>)>,
}

/// A launch as a member: where its rows are, and which of its values it uses by rows.
#[derive(Clone, Debug)]
struct Way {
    along: Along,
    by_rows: FxHashSet<Slot>,
    /// Bytes of its packed right operand.
    operand: usize,
    /// The kernel, if it needs another grid.
    kernel: Option<Arc<Kernel>>,
}

/// What is known of a plan's values.
pub(super) struct Values<'a> {
    /// What one takes of the arena; 0 if it lies elsewhere.
    pub bytes: &'a dyn Fn(Slot) -> usize,
    pub elements: &'a dyn Fn(Slot) -> usize,
}

/// A kernel that goes along rows: which of its buffers it uses by rows, and itself if it needs another grid for that.
type ByRows = (Vec<bool>, Option<Arc<Kernel>>);

struct Former<'a> {
    candidates: &'a [Candidate<'a>],
    values: Values<'a>,
    /// Matrices there must be at least for sums over rows.
    entries: usize,
    /// Bytes of packed right operands at most.
    operands: usize,
    target: Target,
    writer: FxHashMap<Slot, usize>,
    readers: FxHashMap<Slot, Vec<usize>>,
    /// The launches that read what each one writes.
    after: Vec<Vec<usize>>,
    kernels: FxHashMap<(*const Kernel, Rows), Option<ByRows>>,
    /// The band of each launch that has one.
    band_of: Vec<Option<usize>>,
    formed: Vec<Formed>,
    /// When each launch can run, those of a band at the same time: after all that it reads from.
    turn: Vec<usize>,
}

/// The bands that `candidates`, of which none writes what another writes, form.
pub(super) fn form(candidates: &[Candidate], values: Values, target: Target) -> Vec<Formed> {
    let mut former = Former {
        candidates,
        values,
        entries: if target == Target::Cpu { ENTRIES } else { 1 },
        operands: if target == Target::Cpu { OPERANDS } else { usize::MAX },
        target,
        writer: FxHashMap::default(),
        readers: FxHashMap::default(),
        after: Vec::new(),
        kernels: FxHashMap::default(),
        band_of: vec![None; candidates.len()],
        formed: Vec::new(),
        turn: Vec::new(),
    };
    for (i, candidate) in candidates.iter().enumerate() {
        former.writer.extend(candidate.access.writes.iter().map(|slot| (*slot, i)));
        for slot in BTreeSet::from_iter(&candidate.access.reads) {
            former.readers.entry(*slot).or_default().push(i);
        }
    }
    let after = |candidate: &Candidate| {
        let readers = candidate.access.writes.iter().filter_map(|slot| former.readers.get(slot)).flatten();
        BTreeSet::from_iter(readers.copied()).into_iter().collect()
    };
    former.after = candidates.iter().map(after).collect();
    former.take_turns();
    for (i, candidate) in candidates.iter().enumerate() {
        let What::Product(product, slots) = &candidate.what else { continue };
        if former.bytes(slots[2]) < WORTH {
            continue;
        }
        let entries = product.batch.iter().map(|dim| dim.extent).product();
        let samples = product.batch.first().map(|dim| dim.extent);
        let samples = samples.filter(|extent| *extent >= SAMPLES && target == Target::Cpu);
        let matrices = [product.m, product.n].map(|rows| Rows::Matrices { entries, rows });
        former.found(i, matrices.into_iter().chain(samples.map(Rows::Samples)));
    }
    // A GPU's caches are too small for samples.
    if target != Target::Cpu {
        former.endings();
        return former.formed;
    }
    for (i, candidate) in candidates.iter().enumerate() {
        if let What::Conv(conv, _) = &candidate.what
            && conv.batch >= SAMPLES
        {
            former.found(i, [Rows::Samples(conv.batch)]);
        }
    }
    // Those with the fewest parts first: others may have several for each.
    let extent = |i: &usize| match candidates[*i].what {
        What::Kernel(kernel, _) => kernel.extent,
        _ => 0,
    };
    let mut kernels: Vec<usize> = (0..candidates.len()).filter(|i| extent(i) >= SAMPLES).collect();
    kernels.sort_by_key(|i| extent(i));
    for i in kernels {
        former.found(i, [Rows::Samples(extent(&i))]);
    }
    former.formed
}

/// How a kernel goes along rows; on a GPU a warp takes a row, which is one iteration.
fn by_grid(kernel: &Kernel, rows: Rows, cuda: bool) -> Option<ByRows> {
    let fits = kernel.extent == rows.count() || !cuda && kernel.extent.is_multiple_of(rows.count());
    if kernel.extent > 0 && fits {
        return Some((kernel_rows(kernel, rows.count()), None));
    }
    // Samples have kernels enough whose grids fit.
    if let Rows::Samples(_) = rows {
        return None;
    }
    let new = regrid(kernel, rows.count())?;
    Some((kernel_rows(&new, rows.count()), Some(Arc::new(new))))
}

impl Former<'_> {
    fn bytes(&self, slot: Slot) -> usize {
        (self.values.bytes)(slot)
    }

    /// Forms a band from this launch, if it has none: of several the one that keeps most, of equal ones the first.
    fn found(&mut self, seed: usize, ways: impl IntoIterator<Item = Rows>) {
        if self.band_of[seed].is_some() {
            return;
        }
        let mut best: Option<(usize, Formed)> = None;
        for rows in ways {
            if let Some(found) = self.grow(seed, rows)
                && best.as_ref().is_none_or(|best| found.0 > best.0)
            {
                best = Some(found);
            }
        }
        if let Some((_, band)) = best {
            self.add(band);
        }
    }

    fn add(&mut self, band: Formed) {
        let number = self.formed.len();
        band.members.iter().for_each(|&member| self.band_of[member] = Some(number));
        self.formed.push(band);
        self.take_turns();
    }

    /// Launches that run together with this one.
    fn together<'a>(&'a self, i: &'a usize) -> &'a [usize] {
        self.band_of[*i].map_or(std::slice::from_ref(i), |band| &self.formed[band].members)
    }

    /// Orders launches anew, bands as one, and otherwise as they come.
    fn take_turns(&mut self) {
        // Each band counts as its first launch.
        let mut head: Vec<usize> = (0..self.after.len()).collect();
        for band in &self.formed {
            let first = band.members.iter().copied().min().unwrap_or(0);
            band.members.iter().for_each(|&member| head[member] = first);
        }
        // How often what each one reads is still to be written.
        let mut waits = vec![0usize; head.len()];
        for (i, after) in self.after.iter().enumerate() {
            after.iter().filter(|reader| head[**reader] != head[i]).for_each(|reader| waits[head[*reader]] += 1);
        }
        let free = (0..head.len()).filter(|&i| head[i] == i && waits[i] == 0);
        let mut free: BinaryHeap<Reverse<usize>> = free.map(Reverse).collect();
        let mut turn = vec![0; head.len()];
        for now in 0.. {
            let Some(Reverse(next)) = free.pop() else { break };
            for &member in self.together(&next) {
                turn[member] = now;
                for &reader in self.after[member].iter().filter(|reader| head[**reader] != next) {
                    let wait = &mut waits[head[reader]];
                    *wait -= 1;
                    if *wait == 0 {
                        free.push(Reverse(head[reader]));
                    }
                }
            }
        }
        self.turn = turn;
    }

    /// The band around a launch, and the bytes of its locals.
    fn grow(&mut self, seed: usize, rows: Rows) -> Option<(usize, Formed)> {
        let result = self.candidates[seed].access.writes.first()?;
        let first = self.ways(seed, rows).into_iter().find(|way| way.by_rows.contains(result))?;
        let mut members: Vec<(usize, Way)> = vec![(seed, first)];
        let mut refused: FxHashSet<usize> = FxHashSet::default();
        while members.len() < rows.members() {
            let Some(next) = self.neighbours(&members, rows).into_iter().find(|next| !refused.contains(next)) else {
                break;
            };
            match self.admit(&members, next, rows) {
                Some(way) => members.push((next, way)),
                None => _ = refused.insert(next),
            }
        }
        let inside = |i: &usize| members.iter().any(|(member, _)| member == i);
        let written = members
            .iter()
            .flat_map(|(i, way)| self.candidates[*i].access.writes.iter().filter(|slot| way.by_rows.contains(slot)));
        // A kernel's own notes count as read.
        let read_inside = |slot: &&Slot| match self.readers.get(slot) {
            Some(all) => all.iter().all(inside),
            None => self.candidates[self.writer[slot]].access.notes.contains(slot),
        };
        let locals: Vec<Slot> = written.filter(|slot| self.bytes(**slot) > 0).filter(read_inside).copied().collect();
        let kept: usize = locals.iter().map(|slot| self.bytes(*slot)).sum();
        if kept < WORTH {
            return None;
        }
        let members = self.sorted(members);
        let block = match rows {
            Rows::Matrices { .. } if kept / rows.count() * BLOCK <= KEPT => BLOCK,
            Rows::Matrices { .. } => BLOCK / 2,
            Rows::Samples(count) => (SAMPLE / self.kept(&members, rows).max(1)).clamp(1, count / SAMPLES),
        };
        let along = members.iter().map(|(_, way)| way.along).collect();
        let kernels = members.iter().filter_map(|(i, way)| Some((*i, way.kernel.clone()?))).collect();
        let members = members.into_iter().map(|(i, _)| i).collect();
        Some((kept, Formed { members, entries: rows.entries(), rows: rows.rows(), block, along, locals, kernels }))
    }

    /// Bytes of a row that `members`, in this order, keep at one time of what they pass on, at most.
    fn kept(&self, members: &[(usize, Way)], rows: Rows) -> usize {
        let reads = |i: usize, slot: &Slot| self.candidates[members[i].0].access.reads.contains(slot);
        let mut change = vec![0isize; members.len() + 1];
        for (i, (member, _)) in members.iter().enumerate() {
            for slot in &self.candidates[*member].access.writes {
                let last = (i + 1..members.len()).rfind(|&later| reads(later, slot)).unwrap_or(i);
                let bytes = (4 * (self.values.elements)(*slot) / rows.count()) as isize;
                change[i] += bytes;
                change[last + 1] -= bytes;
            }
        }
        let now = change.iter().scan(0, |now, change| {
            *now += change;
            Some(*now)
        });
        now.max().unwrap_or(0) as usize
    }

    /// Launches that read what members write by rows, or write what they read so.
    fn neighbours(&self, members: &[(usize, Way)], rows: Rows) -> BTreeSet<usize> {
        let mut all: BTreeSet<usize> = BTreeSet::new();
        for (member, way) in members {
            let access = &self.candidates[*member].access;
            for slot in access.writes.iter().filter(|slot| way.by_rows.contains(slot)) {
                all.extend(self.readers.get(slot).into_iter().flatten());
            }
            // Of those that make rows of matrices only products gain: their results need not be stored.
            let made = access.reads.iter().filter(|slot| way.by_rows.contains(slot) && self.bytes(**slot) >= WORTH);
            let gains = |i: &usize| match rows {
                Rows::Matrices { .. } => matches!(self.candidates[*i].what, What::Product(..)),
                Rows::Samples(_) => true,
            };
            all.extend(made.filter_map(|slot| self.writer.get(slot)).filter(|&i| gains(i)));
        }
        all.retain(|i| self.band_of[*i].is_none() && members.iter().all(|(member, _)| member != i));
        all
    }

    /// How `next` can be a member, if it can.
    fn admit(&mut self, members: &[(usize, Way)], next: usize, rows: Rows) -> Option<Way> {
        let candidate = &self.candidates[next];
        let seed = &self.candidates[members[0].0];
        if candidate.when != seed.when || candidate.time.abs_diff(seed.time) > rows.apart() {
            return None;
        }
        let operands: usize = members.iter().map(|(_, way)| way.operand).sum();
        // What passes between members passes by rows.
        let passes = |from: &Access, from_way: &Way, to: &Access, to_way: &Way| {
            let mut shared = from.writes.iter().filter(|slot| to.reads.contains(slot));
            shared.all(|slot| from_way.by_rows.contains(slot) && to_way.by_rows.contains(slot))
        };
        let way = self.ways(next, rows).into_iter().find(|way| {
            operands.saturating_add(way.operand) <= self.operands
                && (way.along != Along::K || rows.entries() >= self.entries)
                && members.iter().all(|(member, other)| {
                    let access = &self.candidates[*member].access;
                    passes(access, other, &candidate.access, way) && passes(&candidate.access, way, access, other)
                })
        })?;
        let mut all: Vec<usize> = members.iter().map(|(member, _)| *member).collect();
        all.push(next);
        if !self.is_closed(&all) {
            return None;
        }
        if let Rows::Samples(_) = rows {
            let with = members.iter().cloned().chain([(next, way.clone())]).collect();
            return (self.kept(&self.sorted(with), rows) <= SAMPLE).then_some(way);
        }
        Some(way)
    }

    /// Whether no launch outside needs one of `members` and is needed by another.
    fn is_closed(&self, members: &[usize]) -> bool {
        // What comes after all of them leads to none of them.
        let end = members.iter().map(|member| self.turn[*member]).max().unwrap_or(0);
        let mut seen: FxHashSet<usize> = FxHashSet::default();
        let mut open: Vec<usize> = Vec::new();
        let mut reach = |i: usize, open: &mut Vec<usize>| {
            for reader in self.after[i].iter().filter(|reader| self.turn[**reader] <= end) {
                if !(members.contains(&i) && members.contains(reader)) {
                    open.extend(self.together(reader).iter().copied().filter(|&other| seen.insert(other)));
                }
            }
        };
        members.iter().for_each(|&member| reach(member, &mut open));
        while let Some(i) = open.pop() {
            if members.contains(&i) {
                return false;
            }
            reach(i, &mut open);
        }
        true
    }

    /// The ways in which a launch goes along the rows of these matrices.
    fn ways(&mut self, i: usize, rows: Rows) -> Vec<Way> {
        let entries = rows.entries();
        let samples = matches!(rows, Rows::Samples(_));
        let by_rows = |slots: &[Slot], own: &[bool]| -> FxHashSet<Slot> {
            // What is several operands is read by rows only if all are.
            let all = |slot: &Slot| slots.iter().zip(own).all(|(other, own)| other != slot || *own);
            slots.iter().copied().filter(all).collect()
        };
        match &self.candidates[i].what {
            What::Other => Vec::new(),
            What::Kernel(kernel, slots) => {
                let (key, cuda) = ((*kernel as *const Kernel, rows), self.target == Target::Cuda);
                let found = self.kernels.entry(key).or_insert_with(|| by_grid(kernel, rows, cuda)).clone();
                let way = |(own, kernel): ByRows| Way {
                    along: Along::Grid,
                    by_rows: by_rows(slots, &own),
                    operand: 0,
                    kernel,
                };
                found.map(way).into_iter().collect()
            }
            What::Product(c, slots) => {
                let lens = slots.map(|slot| (self.values.elements)(slot));
                let few = |along: Along| {
                    let shorter = match along {
                        Along::M => c.n.min(c.k),
                        Along::N => c.m.min(c.k),
                        _ => c.m.min(c.n),
                    };
                    self.target == Target::Cpu || shorter <= FEATURES
                };
                let way = |along: Along| {
                    let own = product_rows(c, along, entries, rows.rows(), lens)?;
                    let (each, right) = match along {
                        Along::M => (c.m / rows.rows(), c.n),
                        Along::N => (c.n / rows.rows(), c.m),
                        Along::Batch if own[1] => (c.m, 0),
                        Along::Batch => (c.m, c.n),
                        Along::K => (c.k / rows.rows(), 0),
                        Along::Grid => (0, 0),
                    };
                    let fits = match rows {
                        Rows::Matrices { .. } => along != Along::Batch && each <= 1 && few(along),
                        Rows::Samples(_) => along != Along::K && each >= PIXELS,
                    };
                    let by_rows = by_rows(slots, &own);
                    (fits && !by_rows.is_empty()).then(|| Way {
                        along,
                        by_rows,
                        operand: 3 * right * c.k,
                        kernel: None,
                    })
                };
                [Along::M, Along::N, Along::Batch, Along::K].into_iter().filter_map(way).collect()
            }
            What::Conv(c, slots) => {
                let own = if samples { conv_rows(c, Along::Batch, entries, rows.rows()) } else { None };
                let weights = c.kernel[0] * c.kernel[1] * c.channels * c.filters;
                let way = |own: [bool; 3]| Way {
                    along: Along::Batch,
                    by_rows: by_rows(slots, &own),
                    operand: 4 * weights,
                    kernel: None,
                };
                own.map(way).into_iter().collect()
            }
        }
    }

    /// Members after those they need.
    fn sorted(&self, mut left: Vec<(usize, Way)>) -> Vec<(usize, Way)> {
        left.sort_by_key(|(i, _)| *i);
        let mut sorted = Vec::with_capacity(left.len());
        while !left.is_empty() {
            let ready = left.iter().position(|(i, _)| {
                let reads = &self.candidates[*i].access.reads;
                left.iter().all(|(other, _)| {
                    other == i || !self.candidates[*other].access.writes.iter().any(|slot| reads.contains(slot))
                })
            });
            sorted.push(left.remove(ready.unwrap_or(0)));
        }
        sorted
    }
}
