//! A kernel as functions: its stages, and where its own memory lies.

use super::context::{Context, Home, Printed};
use super::print::{THREADS, stage};
use super::stage::{Stage, Team, each_access, staged};
use super::tree::tree;
use crate::{Access, Kernel, bounds};

/// Bytes of shared memory that buffers of one block may take; sums need a little more.
const SHARED: usize = 40 << 10;
/// Bytes of buffers that a thread may have for itself: more would not stay in registers.
const OWN: usize = 512;

/// A call of a kernel's function on some of its buffers.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub function: usize,
    pub blocks: usize,
    pub buffers: Vec<usize>,
    pub scratches: bool,
}

/// The stages of a kernel, and the bytes of scratch memory they need. `narrow`: which of its shared buffers are bf16.
pub(super) fn stages(kernel: &Kernel, aligned: bool, narrow: &[bool]) -> (Vec<Printed>, usize) {
    if kernel.extent == 0 {
        return (Vec::new(), 0);
    }
    let staged = staged(kernel, tree(kernel));
    let extents = bounds::extents(kernel.extent, &kernel.body);
    let mut homes = vec![Home::Argument; staged.buffers.len()];
    let mut scratch: usize = 0;
    let mut shared = vec![0; staged.stages.len()];
    let mut own = vec![0; staged.stages.len()];
    for (b, buffer) in staged.buffers.iter().enumerate().filter(|(_, buffer)| buffer.access == Access::Local) {
        let bytes = buffer.len.max(1) * buffer.dtype.size();
        let users: Vec<usize> = (0..staged.stages.len()).filter(|&s| touches(&staged.stages[s], b)).collect();
        let alone = match users[..] {
            [s] if staged.stages[s].points.len() == 1 => Some(s),
            _ => None,
        };
        homes[b] = match alone.map(|s| (s, staged.stages[s].team)) {
            Some((s, Team::Thread)) if own[s] + bytes <= OWN => {
                own[s] += bytes;
                Home::Own
            }
            Some((s, team @ (Team::Warp | Team::Block(_)))) => {
                let teams = if team == Team::Warp { THREADS / 32 } else { 1 };
                let bytes = bytes.next_multiple_of(16) * teams;
                if shared[s] + bytes <= SHARED {
                    shared[s] += bytes;
                    Home::Shared
                } else {
                    next(&mut scratch, buffer.len * buffer.dtype.size() * kernel.extent)
                }
            }
            _ => next(&mut scratch, buffer.len * buffer.dtype.size() * kernel.extent),
        };
    }
    let mut all_narrow = narrow.to_vec();
    all_narrow.resize(staged.buffers.len(), false);
    let context = Context {
        buffers: &staged.buffers,
        homes: &homes,
        narrow: &all_narrow,
        extents: &extents,
        aligned,
        column: None,
    };
    (staged.stages.iter().map(|s| stage(s, &context)).collect(), scratch)
}

fn next(scratch: &mut usize, bytes: usize) -> Home {
    let offset = *scratch;
    *scratch += bytes.next_multiple_of(super::ALIGN);
    Home::Scratch(offset)
}

fn touches(stage: &Stage, buffer: usize) -> bool {
    let mut found = false;
    stage.body.iter().for_each(|node| each_access(node, &mut |b, _| found |= b == buffer));
    found
}
