//! Weights in bf16. They are f32 in memory, and products that are to take them in bf16 would round them each time: half of what
//! they read, and with a library a copy of its own for each. What several products of a plan multiply by is copied once
//! instead, by a launch of its own: a value like any other within the plan, and so in bf16 ([`super::store`]).

use super::store::uses;
use crate::{Access, Buffer, BufferId, DType, Index, Kernel, KernelBuffer, KernelId, Launch, Place, Plan, Program};
use crate::{Expr, Stmt, Var};
use indexmap::IndexMap;
use rustc_hash::{FxHashMap, FxHashSet};
use std::ops::Range;

/// Products that a copy is worth: two read as much of f32 as the copy reads and writes, and they of it, with a third less.
const PRODUCTS: usize = 2;
/// Elements below which a launch takes longer than it saves.
const SMALL: usize = 1 << 14;

/// The program with copies of weights; where these lie is not settled.
pub(super) fn copied(program: &Program) -> Program {
    let mut copied = program.clone();
    let mut kernels: FxHashMap<usize, KernelId> = FxHashMap::default();
    for (number, plan) in program.plans.iter().enumerate() {
        let mut new: FxHashMap<BufferId, BufferId> = FxHashMap::default();
        let mut launches: Vec<(usize, Launch)> = Vec::new();
        for (weight, first) in weights(program, plan) {
            let len = program.buffers[weight.0 as usize].len;
            let copy = BufferId(copied.buffers.len() as u32);
            let place = Place::Arena { offset: 0 };
            copied.buffers.push(Buffer { dtype: DType::F32, narrow: false, len, place });
            let kernel = *kernels.entry(len).or_insert_with(|| {
                copied.kernels.push(copying(len));
                KernelId(copied.kernels.len() as u32 - 1)
            });
            launches.push((first, Launch::Kernel { kernel, args: vec![weight, copy] }));
            new.insert(weight, copy);
        }
        let plan = &mut copied.plans[number];
        for launch in plan.launches.iter_mut().filter(|launch| multiplies(launch)) {
            launch.each_buffer(|id| *id = new.get(id).copied().unwrap_or(*id));
        }
        insert(plan, launches);
    }
    copied
}

/// What a plan's products read several times and nothing in it writes, and where it must be there: before the first launch
/// that needs it, and outside of what may be left out.
fn weights(program: &Program, plan: &Plan) -> Vec<(BufferId, usize)> {
    let whole = |id: BufferId| match program.buffers[id.0 as usize].place {
        Place::Part { of, .. } => of,
        _ => id,
    };
    let mut written: FxHashSet<BufferId> = FxHashSet::default();
    let mut read: IndexMap<BufferId, (usize, usize)> = IndexMap::new();
    for (i, launch) in plan.launches.iter().enumerate() {
        for (buffer, access) in uses(program, launch) {
            if access != Access::Read {
                written.insert(whole(buffer));
            } else if multiplies(launch) {
                read.entry(buffer).or_insert((i, 0)).1 += 1;
            }
        }
    }
    let lasts = |id: BufferId| matches!(program.buffers[whole(id).0 as usize].place, Place::Persistent);
    let large = |id: BufferId| program.buffers[id.0 as usize].len >= SMALL;
    let worth = read.into_iter().filter(|(id, (_, times))| *times >= PRODUCTS && lasts(*id) && large(*id));
    let kept = worth.filter(|(id, _)| !written.contains(&whole(*id)));
    let start = |all: &[Range<usize>], i: usize| {
        all.iter().find(|launches| launches.contains(&i)).map_or(i, |launches| launches.start)
    };
    let bands: Vec<Range<usize>> = plan.bands.iter().map(|band| band.launches.clone()).collect();
    let guards: Vec<Range<usize>> = plan.guards.iter().map(|guard| guard.launches.clone()).collect();
    let before = |i: usize| start(&guards, start(&bands, i));
    kept.map(|(id, (first, _))| (id, before(first))).collect()
}

/// Whether it is a product or a convolution of f32.
fn multiplies(launch: &Launch) -> bool {
    match launch {
        Launch::Contract(x) => x.dtype == DType::F32,
        Launch::Conv(x) => x.dtype == DType::F32,
        Launch::Kernel { .. } | Launch::Extern(_) => false,
    }
}

/// Puts launches into a plan, each before the one that has its number now, which begins what it is a part of.
fn insert(plan: &mut Plan, mut new: Vec<(usize, Launch)>) {
    new.sort_by_key(|(before, _)| *before);
    let place = |i: usize| i + new.partition_point(|(before, _)| *before <= i);
    let moved = |range: &Range<usize>| match range.is_empty() {
        true => place(range.start)..place(range.start),
        false => place(range.start)..place(range.end - 1) + 1,
    };
    plan.guards.iter_mut().for_each(|guard| guard.launches = moved(&guard.launches));
    plan.bands.iter_mut().for_each(|band| band.launches = moved(&band.launches));
    let old = std::mem::take(&mut plan.launches);
    let mut new = new.into_iter().peekable();
    for (i, launch) in old.into_iter().enumerate() {
        while let Some((_, launch)) = new.next_if(|(before, _)| *before == i) {
            plan.launches.push(launch);
        }
        plan.launches.push(launch);
    }
}

fn copying(len: usize) -> Kernel {
    let buffer = |access| KernelBuffer { dtype: DType::F32, len, access };
    let own = Index::from(Var::GRID);
    let value = Expr::Load { buffer: 0, index: own.clone() };
    Kernel {
        name: "copy".into(),
        buffers: vec![buffer(Access::Read), buffer(Access::Write)],
        extent: len,
        body: vec![Stmt::Store { buffer: 1, index: own, value }],
    }
}
