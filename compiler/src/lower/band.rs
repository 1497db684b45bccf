//! Bands: products and kernels that go through the rows of the same matrices, to be run on some rows at a time.
//!
//! What only they need then takes no memory beyond a cache: scores and weights of attention above all, whatever is derived
//! from them. A band grows from a product whose large result has rows, over those that read it and that make what they
//! read, as long as nothing outside comes between them.

use super::emit::Slot;
use super::plan::Access;
use crate::level::Target;
use fgc_program::band::{kernel_rows, product_rows};
use fgc_program::{Along, Contract, Known};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeSet;

/// Bytes of results that make a band worth its while.
const WORTH: usize = 1 << 17;

/// Bytes of packed right operands, which each block of rows meets: a third of a second-level cache.
const OPERANDS: usize = 5 << 17;

/// Launches of a band at most.
const MEMBERS: usize = 12;

/// How far apart members may be in time: what is to come late must not be drawn to an early band, nor the reverse.
const APART: usize = 64;

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
    Kernel(&'a fgc_program::Kernel, &'a [Slot]),
    /// A product, with the slots of its operands.
    Product(Contract, [Slot; 3]),
    Other,
}

/// Launches that are to run together.
#[derive(Clone, Debug)]
pub(super) struct Formed {
    /// Positions of launches, each after what it reads.
    pub members: Vec<usize>,
    pub entries: usize,
    pub rows: usize,
    pub along: Vec<Along>,
    /// What lives within the band only.
    pub locals: Vec<Slot>,
}

/// A launch as a member: where its rows are, and which of its values it uses by rows.
#[derive(Clone, Debug)]
struct Way {
    along: Along,
    by_rows: FxHashSet<Slot>,
    /// Bytes of its packed right operand.
    operand: usize,
}

struct Former<'a> {
    candidates: &'a [Candidate<'a>],
    /// What a value takes of the arena; 0 if it lies elsewhere.
    bytes: &'a dyn Fn(Slot) -> usize,
    /// Matrices there must be at least for sums over rows.
    entries: usize,
    writer: FxHashMap<Slot, usize>,
    readers: FxHashMap<Slot, Vec<usize>>,
    kernels: FxHashMap<*const fgc_program::Kernel, Vec<bool>>,
    /// The band of each launch that has one.
    band_of: Vec<Option<usize>>,
    formed: Vec<Formed>,
}

/// The bands that `candidates`, of which none writes what another writes, form.
pub(super) fn form(candidates: &[Candidate], bytes: &dyn Fn(Slot) -> usize, target: Target) -> Vec<Formed> {
    let mut former = Former {
        candidates,
        bytes,
        entries: if target == Target::Cpu { ENTRIES } else { 1 },
        writer: FxHashMap::default(),
        readers: FxHashMap::default(),
        kernels: FxHashMap::default(),
        band_of: vec![None; candidates.len()],
        formed: Vec::new(),
    };
    for (i, candidate) in candidates.iter().enumerate() {
        former.writer.extend(candidate.access.writes.iter().map(|slot| (*slot, i)));
        for slot in BTreeSet::from_iter(&candidate.access.reads) {
            former.readers.entry(*slot).or_default().push(i);
        }
    }
    for (i, candidate) in candidates.iter().enumerate() {
        let What::Product(product, slots) = &candidate.what else { continue };
        if former.band_of[i].is_some() || bytes(slots[2]) < WORTH {
            continue;
        }
        let entries = product.batch.iter().map(|dim| dim.extent).product();
        for rows in [product.m, product.n] {
            if let Some(band) = former.grow(i, entries, rows) {
                let number = former.formed.len();
                band.members.iter().for_each(|&member| former.band_of[member] = Some(number));
                former.formed.push(band);
                break;
            }
        }
    }
    former.formed
}

impl Former<'_> {
    fn grow(&mut self, seed: usize, entries: usize, rows: usize) -> Option<Formed> {
        let result = self.candidates[seed].access.writes.first()?;
        let first = self.ways(seed, entries, rows).into_iter().find(|way| way.by_rows.contains(result))?;
        let mut members: Vec<(usize, Way)> = vec![(seed, first)];
        let mut refused: FxHashSet<usize> = FxHashSet::default();
        while members.len() < MEMBERS {
            let Some(next) = self.neighbours(&members).into_iter().find(|next| !refused.contains(next)) else { break };
            match self.admit(&members, next, entries, rows) {
                Some(way) => members.push((next, way)),
                None => _ = refused.insert(next),
            }
        }
        let inside = |i: &usize| members.iter().any(|(member, _)| member == i);
        let written = members
            .iter()
            .flat_map(|(i, way)| self.candidates[*i].access.writes.iter().filter(|slot| way.by_rows.contains(slot)));
        let read_inside =
            |slot: &&Slot| self.readers.get(slot).is_some_and(|all| !all.is_empty() && all.iter().all(inside));
        let locals: Vec<Slot> = written.filter(|slot| (self.bytes)(**slot) > 0).filter(read_inside).copied().collect();
        if locals.iter().map(|slot| (self.bytes)(*slot)).sum::<usize>() < WORTH {
            return None;
        }
        let members = self.sorted(members);
        let along = members.iter().map(|(_, way)| way.along).collect();
        Some(Formed { members: members.into_iter().map(|(i, _)| i).collect(), entries, rows, along, locals })
    }

    /// Launches that read what members write by rows, or write what they read so.
    fn neighbours(&self, members: &[(usize, Way)]) -> BTreeSet<usize> {
        let mut all: BTreeSet<usize> = BTreeSet::new();
        for (member, way) in members {
            let access = &self.candidates[*member].access;
            for slot in access.writes.iter().filter(|slot| way.by_rows.contains(slot)) {
                all.extend(self.readers.get(slot).into_iter().flatten());
            }
            // Of other producers only products gain: their results need not be stored.
            let made = access.reads.iter().filter(|slot| way.by_rows.contains(slot) && (self.bytes)(**slot) >= WORTH);
            let producers = made.filter_map(|slot| self.writer.get(slot));
            all.extend(producers.filter(|&&i| matches!(self.candidates[i].what, What::Product(..))));
        }
        all.retain(|i| self.band_of[*i].is_none() && members.iter().all(|(member, _)| member != i));
        all
    }

    /// How `next` can be a member, if it can.
    fn admit(&mut self, members: &[(usize, Way)], next: usize, entries: usize, rows: usize) -> Option<Way> {
        let candidate = &self.candidates[next];
        let seed = &self.candidates[members[0].0];
        if candidate.when != seed.when || candidate.time.abs_diff(seed.time) > APART {
            return None;
        }
        let operands: usize = members.iter().map(|(_, way)| way.operand).sum();
        // What passes between members passes by rows.
        let passes = |from: &Access, from_way: &Way, to: &Access, to_way: &Way| {
            let mut shared = from.writes.iter().filter(|slot| to.reads.contains(slot));
            shared.all(|slot| from_way.by_rows.contains(slot) && to_way.by_rows.contains(slot))
        };
        let way = self.ways(next, entries, rows).into_iter().find(|way| {
            operands + way.operand <= OPERANDS
                && (way.along != Along::K || entries >= self.entries)
                && members.iter().all(|(member, other)| {
                    let access = &self.candidates[*member].access;
                    passes(access, other, &candidate.access, way) && passes(&candidate.access, way, access, other)
                })
        })?;
        let mut all: Vec<usize> = members.iter().map(|(member, _)| *member).collect();
        all.push(next);
        self.is_closed(&all).then_some(way)
    }

    /// Whether no launch outside needs one of `members` and is needed by another.
    fn is_closed(&self, members: &[usize]) -> bool {
        let mut seen: FxHashSet<usize> = FxHashSet::default();
        let mut open: Vec<usize> = Vec::new();
        let mut reach = |i: usize, open: &mut Vec<usize>| {
            for slot in &self.candidates[i].access.writes {
                for &reader in self.readers.get(slot).into_iter().flatten() {
                    if members.contains(&i) && members.contains(&reader) {
                        continue;
                    }
                    // Those of a band run together.
                    let band = self.band_of[reader].map(|band| &self.formed[band].members[..]);
                    let together = band.unwrap_or(std::slice::from_ref(&reader));
                    open.extend(together.iter().copied().filter(|&other| seen.insert(other)));
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
    fn ways(&mut self, i: usize, entries: usize, rows: usize) -> Vec<Way> {
        match &self.candidates[i].what {
            What::Other => Vec::new(),
            What::Kernel(kernel, slots) => {
                if kernel.extent != entries * rows {
                    return Vec::new();
                }
                let by_rows = self.kernels.entry(*kernel).or_insert_with(|| kernel_rows(kernel));
                let by_rows = slots.iter().zip(by_rows).filter(|(_, rows)| **rows).map(|(slot, _)| *slot);
                vec![Way { along: Along::Grid, by_rows: by_rows.collect(), operand: 0 }]
            }
            What::Product(c, slots) => {
                let way = |along: Along| {
                    let rows = product_rows(c, along, entries, rows)?;
                    // A matrix that is both operands is read by rows only if both are.
                    let all = |slot: Slot| (0..3).all(|i| slots[i] != slot || rows[i]);
                    let by_rows: FxHashSet<Slot> = slots.iter().copied().filter(|slot| all(*slot)).collect();
                    let right = match along {
                        Along::M => c.n,
                        Along::N => c.m,
                        Along::Grid | Along::K => 0,
                    };
                    (!by_rows.is_empty()).then(|| Way { along, by_rows, operand: 3 * right * c.k })
                };
                [Along::M, Along::N, Along::K].into_iter().filter_map(way).collect()
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
