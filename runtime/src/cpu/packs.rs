//! Right operands packed once for all launches of a plan that read them: weights, where a network is called many times.

use crate::cpu::contract::{Matrix, Packed};
use crate::cpu::memory::OwnedView;
use crate::cpu::pool::Pool;
use crate::cpu::units::Held;
use fgc_program::{Access, BufferId, DType, Launch, Place, Plan, Program};
use rustc_hash::FxHashSet;
use std::cmp::Reverse;

/// Launches that must read an operand for it to be kept packed.
const USES: usize = 3;

/// Of the memory of all buffers, what may be spent: one in so many bytes.
const SHARE: usize = 16;

/// An operand and how it is packed.
#[derive(Clone, Copy)]
pub struct Packable {
    pub held: Held,
    pub matrix: Matrix<f32>,
    pub buffer: BufferId,
}

impl Packable {
    fn is(&self, other: &Packable) -> bool {
        let lies = |right: &Packable| (right.matrix.at, right.matrix.row, right.matrix.col);
        self.held == other.held && lies(self) == lies(other)
    }
}

struct Slot {
    right: Packable,
    packed: OwnedView,
    /// Since this run of a plan began.
    ready: bool,
}

/// What is kept packed.
#[derive(Default)]
pub struct Packs(Vec<Slot>);

impl Packs {
    /// Chooses from the right operands that each plan's launches read, those read most often first. `bytes`: of all
    /// buffers.
    pub fn choose(program: &Program, read: &[Vec<Packable>], bytes: usize) -> Packs {
        let mut counted: Vec<(Packable, usize)> = Vec::new();
        for (plan, read) in program.plans.iter().zip(read) {
            let written = written(program, plan);
            let mut own: Vec<(Packable, usize)> = Vec::new();
            for right in read.iter().filter(|right| !written.contains(&whole(program, right.buffer))) {
                match own.iter_mut().find(|(known, _)| known.is(right)) {
                    Some((_, uses)) => *uses += 1,
                    None => own.push((*right, 1)),
                }
            }
            for (right, uses) in own.into_iter().filter(|(_, uses)| *uses >= USES) {
                match counted.iter_mut().find(|(known, _)| known.is(&right)) {
                    Some((_, most)) => *most = uses.max(*most),
                    None => counted.push((right, uses)),
                }
            }
        }
        counted.sort_by_key(|(_, uses)| Reverse(*uses));
        let mut left = bytes / SHARE;
        let mut packs = Packs::default();
        for (right, _) in counted {
            let Some(rest) = left.checked_sub(right.held.len()) else { continue };
            let Some(packed) = OwnedView::new(DType::Bool, right.held.len()) else { continue };
            left = rest;
            packs.0.push(Slot { right, packed, ready: false });
        }
        packs
    }

    /// The place of an operand among what is kept.
    pub fn find(&self, right: &Packable) -> Option<usize> {
        self.0.iter().position(|slot| slot.right.is(right))
    }

    /// Bytes in all.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|slot| slot.right.held.len()).sum()
    }

    /// What is packed may no longer be what the buffers hold.
    pub fn forget(&mut self) {
        self.0.iter_mut().for_each(|slot| slot.ready = false);
    }

    /// The packed operand at this place; valid until the next change of what it was packed from. None if there is none.
    ///
    /// # Safety
    /// The operand's buffer lives, and nobody writes it meanwhile.
    pub unsafe fn packed(&mut self, place: usize, pool: &mut Pool) -> Option<Packed> {
        let slot = self.0.get_mut(place)?;
        let to = slot.packed.view();
        let Packable { held, matrix, .. } = slot.right;
        if !slot.ready {
            // SAFETY: the caller's promise; there is room, and parts are apart.
            pool.run(held.parts(), &|part| unsafe { held.pack(part, matrix, to.as_ptr()) });
            slot.ready = true;
        }
        Some(Packed { held, at: to.as_ptr() })
    }
}

/// The buffer that this one is or is a part of.
fn whole(program: &Program, id: BufferId) -> BufferId {
    match program.buffers.get(id.0 as usize).map(|buffer| buffer.place) {
        Some(Place::Part { of, .. }) => of,
        _ => id,
    }
}

/// Whole buffers that a plan may change: those that its launches write, and all in the arena, which others overlap.
fn written(program: &Program, plan: &Plan) -> FxHashSet<BufferId> {
    let mut written: FxHashSet<BufferId> = FxHashSet::default();
    for launch in &plan.launches {
        match launch {
            Launch::Kernel { kernel, args } => {
                let Some(kernel) = program.kernels.get(kernel.0 as usize) else { continue };
                let writes = args.iter().zip(&kernel.buffers).filter(|(_, buffer)| buffer.access != Access::Read);
                written.extend(writes.map(|(id, _)| whole(program, *id)));
            }
            Launch::Contract(c) => drop(written.insert(whole(program, c.c.buffer))),
            Launch::Conv(c) => drop(written.insert(whole(program, c.y))),
            Launch::Extern(e) => drop(written.insert(whole(program, e.out))),
        }
    }
    let changing = |id: &u32| program.buffers[*id as usize].place != Place::Persistent;
    written.extend((0..program.buffers.len() as u32).filter(changing).map(BufferId));
    written
}
