//! Where buffers lie and when they are alive.

use super::uses;
use crate::{Access, BufferId, Place, Plan, Program};
use rustc_hash::{FxHashMap, FxHashSet};

/// What buffers lie in.
#[derive(PartialEq, Eq)]
enum Home {
    Arena,
    Spill,
    Own(BufferId),
}

/// The memory of a buffer, and the bytes within. Ids must be valid.
fn span(program: &Program, id: BufferId) -> (Home, usize, usize) {
    let buffer = &program.buffers[id.0 as usize];
    let bytes = buffer.bytes();
    match buffer.place {
        Place::Persistent => (Home::Own(id), 0, bytes),
        Place::Arena { offset } => (Home::Arena, offset, offset + bytes),
        Place::Band { offset } => (Home::Spill, offset, offset + bytes),
        Place::Part { of, start } => {
            let start = start * buffer.width();
            match program.buffers[of.0 as usize].place {
                Place::Arena { offset } => (Home::Arena, offset + start, offset + start + bytes),
                _ => (Home::Own(of), start, start + bytes),
            }
        }
    }
}

/// Whether two buffers share a byte.
pub fn overlap(program: &Program, a: BufferId, b: BufferId) -> bool {
    let ((of_a, start_a, end_a), (of_b, start_b, end_b)) = (span(program, a), span(program, b));
    of_a == of_b && start_a < end_b && start_b < end_a
}

/// Whether all positions `offset + Σ i·stride` lie in 0..len. Dimensions are (extent, stride).
pub fn strided_fits(offset: usize, dims: &[(usize, isize)], len: usize) -> bool {
    if dims.iter().any(|(extent, _)| *extent == 0) {
        return true;
    }
    let (mut low, mut high) = (offset as i128, offset as i128);
    for (extent, stride) in dims {
        let reach = (*extent as i128 - 1) * *stride as i128;
        low += reach.min(0);
        high += reach.max(0);
    }
    low >= 0 && high < len as i128
}

/// Whether no two indices share a position, by the sufficient rule that each stride steps over all smaller ones.
pub fn distinct(dims: &[(usize, isize)]) -> bool {
    if dims.iter().any(|(extent, _)| *extent == 0) {
        return true;
    }
    let mut strides: Vec<_> =
        dims.iter().filter(|(extent, _)| *extent > 1).map(|(n, s)| (s.unsigned_abs(), *n)).collect();
    strides.sort_unstable();
    let mut reach = 0u128;
    for (stride, extent) in strides {
        if (stride as u128) <= reach {
            return false;
        }
        reach += stride as u128 * (extent as u128 - 1);
    }
    true
}

/// The gradients that are needed during this plan, where it is an update.
fn gradients(program: &Program, plan: &Plan) -> Vec<BufferId> {
    let is_update =
        |(_, update): &(_, usize)| program.plans.get(*update).is_some_and(|other| std::ptr::eq(other, plan));
    let turns = program.schedule.steps.iter().filter(|turn| turn.updates.iter().any(is_update));
    let nets = turns.flat_map(|turn| &turn.updates).filter_map(|(net, _)| program.nets.get(net.0 as usize)?.grads);
    nets.collect()
}

/// The buffer that this one is or is a part of.
fn whole(program: &Program, id: BufferId) -> BufferId {
    match program.buffers[id.0 as usize].place {
        Place::Part { of, .. } => of,
        _ => id,
    }
}

fn in_arena(program: &Program, id: BufferId) -> bool {
    span(program, id).0 == Home::Arena
}

/// Buffers in the arena that a plan needs, each with the first and the last launch that does (from 1; 0 is before the first,
/// one more than there are after the last). What is read before it is written goes to `problems`.
pub fn lives(program: &Program, plan: &Plan, problems: &mut Vec<String>) -> Vec<(BufferId, (usize, usize))> {
    let in_arena = |id: BufferId| in_arena(program, id);
    let whole = |id: BufferId| whole(program, id);
    let mut live: FxHashMap<BufferId, (usize, usize)> = FxHashMap::default();
    for input in &plan.inputs {
        live.insert(program.inputs[input.input].buffer, (0, 0));
    }
    // What a step's plan has left for the updates after it.
    let left = gradients(program, plan);
    for &grads in &left {
        live.insert(grads, (0, plan.launches.len() + 1));
    }
    let mut unwritten = FxHashSet::default();
    for (i, launch) in plan.launches.iter().enumerate() {
        // Launches of a band take turns: all are under way until the last is done.
        let now = 1 + plan.bands.iter().find(|band| band.launches.contains(&i)).map_or(i, |band| band.launches.start);
        let uses = uses(program, launch);
        for used in uses.iter().filter(|u| u.access == Access::Read && in_arena(u.buffer)) {
            match live.get_mut(&used.buffer) {
                Some((_, last)) => *last = now,
                None if left.contains(&whole(used.buffer)) => {}
                None if unwritten.insert(used.buffer) => {
                    problems.push(format!("launch {i} reads buffer {} before it is written", used.buffer.0));
                }
                None => {}
            }
        }
        for used in uses.iter().filter(|u| u.access != Access::Read) {
            live.entry(used.buffer).or_insert((now, now)).1 = now;
        }
    }
    for output in plan.outputs.iter().filter(|o| in_arena(o.buffer)) {
        match live.get_mut(&output.buffer) {
            Some((_, last)) => *last = plan.launches.len() + 1,
            None => problems.push(format!("output `{}` is never written", output.name)),
        }
    }
    let mut live: Vec<_> = live.into_iter().filter(|(id, _)| in_arena(*id)).collect();
    live.sort_unstable();
    live
}

/// Arena buffers read before they are written, and pairs that share memory while both are needed.
pub fn problems(program: &Program, plan: &Plan) -> Vec<String> {
    let mut problems = Vec::new();
    let live = lives(program, plan, &mut problems);
    // Sorted by address, a buffer can only meet those that start before its end.
    let mut spans: Vec<_> = live
        .into_iter()
        .filter(|(id, _)| program.buffers[id.0 as usize].len > 0)
        .map(|(id, (first, last))| {
            let (_, start, end) = span(program, id);
            (start, end, first, last, id)
        })
        .collect();
    spans.sort_unstable();
    for (i, (_, end, first, last, id)) in spans.iter().enumerate() {
        for (_, _, other_first, other_last, other) in spans[i + 1..].iter().take_while(|s| s.0 < *end) {
            let together = first <= other_last && other_first <= last;
            // Parts of one buffer may be the same.
            if together && whole(program, *id) != whole(program, *other) {
                problems.push(format!("buffers {} and {} share arena memory while both are needed", id.0, other.0));
            }
        }
    }
    problems
}
