//! Which values are stored as bf16: large ones that live within one plan, between its launches.
//!
//! What passes from plan to plan or to the host, what is added to in memory, and what is small (statistics of norms,
//! losses, times) keeps its f32.

use crate::{Access, Buffer, BufferId, DType, Launch, Place, Program, Stmt};
use rustc_hash::{FxHashMap, FxHashSet};

/// Elements above which a value is an activation rather than a statistic.
const LARGE: usize = 1024;

/// For each buffer of the program.
pub(super) fn narrow(program: &Program) -> Vec<bool> {
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
