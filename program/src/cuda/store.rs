//! Which values are stored as bf16: large ones that live within one plan, between its launches; and where these then lie.
//!
//! What passes from plan to plan or to the host, what is added to in memory, and what is small (statistics of norms,
//! losses, times) keeps its f32.

use super::Precision;
use super::operands::prepared;
use crate::arena::{Span, arrange};
use crate::validate::memory::lives;
use crate::{Access, Buffer, BufferId, DType, Launch, Place, Program, Stmt};
use rustc_hash::{FxHashMap, FxHashSet};
use std::borrow::Cow;

/// Elements above which a value is an activation rather than a statistic.
const LARGE: usize = 1024;

/// A valid program as it is stored at this precision: with copies of what its products read where these pay
/// ([`super::operands`]), values that become bf16 marked, and each plan's values in the arena closer together. Buffers that pass
/// from plan to plan or to the host keep their numbers.
pub fn stored(program: &Program, precision: Precision) -> Cow<'_, Program> {
    let prepared = prepared(program, precision);
    if precision != Precision::Bf16 && prepared.buffers.len() == program.buffers.len() {
        return Cow::Borrowed(program);
    }
    let program = &prepared;
    let mut stored = prepared.clone();
    if precision == Precision::Bf16 {
        for (buffer, narrow) in stored.buffers.iter_mut().zip(narrow(program)) {
            buffer.narrow = narrow;
        }
    }
    let mut taken: FxHashSet<BufferId> = FxHashSet::default();
    stored.arena = 0;
    for plan in 0..program.plans.len() {
        move_closer(program, plan, &mut stored, &mut taken);
    }
    // What no plan needs takes no room.
    let gradients = |id: BufferId| program.nets.iter().any(|net| net.grads == Some(id));
    for (i, buffer) in stored.buffers.iter_mut().enumerate() {
        if let Place::Arena { offset } = &mut buffer.place {
            let id = BufferId(i as u32);
            if gradients(id) {
                stored.arena = stored.arena.max(*offset + buffer.len * buffer.dtype.size());
            } else if !taken.contains(&id) && i < program.buffers.len() {
                (*offset, buffer.len) = (0, 0);
            }
        }
    }
    Cow::Owned(stored)
}

/// Places a plan's values anew. Plans share buffers of the arena that lie at one place by chance: the first that needs one
/// keeps its number (`taken`), others get new ones. Gradients stay where they are.
fn move_closer(program: &Program, plan: usize, stored: &mut Program, taken: &mut FxHashSet<BufferId>) {
    let gradients = |id: BufferId| program.nets.iter().any(|net| net.grads == Some(id));
    let live = lives(program, &program.plans[plan], &mut Vec::new());
    let fixed = |id: BufferId| match program.buffers[id.0 as usize].place {
        Place::Arena { offset } if gradients(id) => Some(offset),
        Place::Part { of, start } => match program.buffers[of.0 as usize].place {
            Place::Arena { offset } => Some(offset + start * program.buffers[id.0 as usize].width()),
            _ => None,
        },
        _ => None,
    };
    let span = |&(id, live): &(BufferId, (usize, usize))| Span {
        bytes: stored.buffers[id.0 as usize].bytes(),
        live,
        fixed: fixed(id),
    };
    let spans: Vec<Span> = live.iter().map(span).collect();
    let (offsets, size) = arrange(&spans);
    stored.arena = stored.arena.max(size);
    let mut new: FxHashMap<BufferId, BufferId> = FxHashMap::default();
    for ((&(id, _), span), offset) in live.iter().zip(&spans).zip(offsets) {
        if span.fixed.is_some() {
            continue;
        }
        let place = Place::Arena { offset };
        if taken.insert(id) {
            stored.buffers[id.0 as usize].place = place;
        } else {
            new.insert(id, BufferId(stored.buffers.len() as u32));
            stored.buffers.push(Buffer { place, ..stored.buffers[id.0 as usize].clone() });
        }
    }
    let mut rename = |id: &mut BufferId| *id = new.get(id).copied().unwrap_or(*id);
    let number = plan;
    let plan = &mut stored.plans[number];
    plan.launches.iter_mut().for_each(|launch| launch.each_buffer(&mut rename));
    plan.outputs.iter_mut().for_each(|output| rename(&mut output.buffer));
    let stages = stored.samplers.values_mut().flat_map(|sampler| &mut sampler.stages);
    for stage in stages.filter(|stage| stage.plan == number) {
        stage.keeps.iter_mut().for_each(|(from, _)| rename(from));
    }
}

/// For each buffer of the program.
fn narrow(program: &Program) -> Vec<bool> {
    let candidate = |b: &Buffer| {
        b.dtype == DType::F32 && b.len > LARGE && matches!(b.place, Place::Arena { .. } | Place::Band { .. })
    };
    let mut narrow: Vec<bool> = program.buffers.iter().map(candidate).collect();
    let mut keep = |id: BufferId| narrow[id.0 as usize] = false;
    for net in &program.nets {
        let flats = [Some(net.weights), net.grads, net.ema].into_iter().flatten();
        flats.chain(net.moments.values().copied()).for_each(&mut keep);
    }
    program.inputs.iter().for_each(|input| keep(input.buffer));
    for buffer in &program.buffers {
        if let Place::Part { of, .. } = buffer.place {
            keep(of);
        }
    }
    for plan in &program.plans {
        plan.outputs.iter().for_each(|output| keep(output.buffer));
        // Who wrote the bytes of the arena that are read; what came from elsewhere, or as another buffer, stays as it was.
        let mut written: FxHashSet<BufferId> = FxHashSet::default();
        for launch in &plan.launches {
            for (buffer, access) in uses(program, launch) {
                if access == Access::Read && !written.contains(&buffer) {
                    keep(buffer);
                }
                if access != Access::Read {
                    written.insert(buffer);
                }
            }
        }
    }
    let mut added: FxHashMap<u32, Vec<bool>> = FxHashMap::default();
    for launch in program.plans.iter().flat_map(|plan| &plan.launches) {
        // Code from outside knows the types it declares.
        if let Launch::Extern(e) = launch {
            e.args.iter().chain([&e.out]).copied().for_each(&mut keep);
        }
        let Launch::Kernel { kernel, args } = launch else { continue };
        let found = &program.kernels[kernel.0 as usize];
        let added = added.entry(kernel.0).or_insert_with(|| {
            let mut added = vec![false; found.buffers.len()];
            scattered(&found.body, &mut added);
            added
        });
        args.iter().zip(added).filter(|(_, added)| **added).for_each(|(arg, _)| keep(*arg));
    }
    narrow
}

/// Marks the buffers that are written at computed places.
fn scattered(body: &[Stmt], found: &mut [bool]) {
    for stmt in body {
        match stmt {
            Stmt::StoreAt { buffer, .. } => found[*buffer] = true,
            Stmt::For { body, .. } => scattered(body, found),
            _ => {}
        }
    }
}

/// The buffers of a launch: what it reads, then what it writes.
pub(super) fn uses(program: &Program, launch: &Launch) -> Vec<(BufferId, Access)> {
    match launch {
        Launch::Kernel { kernel, args } => {
            let buffers = &program.kernels[kernel.0 as usize].buffers;
            args.iter().zip(buffers).map(|(arg, buffer)| (*arg, buffer.access)).collect()
        }
        Launch::Contract(c) => {
            vec![(c.a.buffer, Access::Read), (c.b.buffer, Access::Read), (c.c.buffer, Access::Write)]
        }
        Launch::Conv(conv) => {
            let (computed, [a, b]) = conv.operands();
            vec![(a, Access::Read), (b, Access::Read), (computed, Access::Write)]
        }
        Launch::Extern(e) => {
            let args = e.args.iter().map(|arg| (*arg, Access::Read));
            args.chain([(e.out, Access::Write)]).collect()
        }
    }
}
