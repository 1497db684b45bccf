//! Launches to be, before they have an order and their values places.

use super::demand::Demand;
use super::emit::Slot;
use super::group::{Built, Group};
use super::order::Access;
use super::units::Unit;
use fgc_program::{Guard, Kernel, Known};
use std::sync::Arc;

/// One launch to be.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub work: Work,
    /// When what it computes is needed; None: always.
    pub when: Option<Known>,
}

#[derive(Clone, Debug)]
pub(super) enum Work {
    Kernel { kernel: Arc<Kernel>, slots: Vec<Slot> },
    Product(Unit),
}

/// Runs of launches with one condition.
pub(super) fn guards(conditions: Vec<Option<Known>>) -> Vec<Guard> {
    let mut guards: Vec<Guard> = Vec::new();
    for (i, when) in conditions.into_iter().enumerate() {
        let Some(when) = when else { continue };
        match guards.last_mut() {
            Some(guard) if guard.launches.end == i && guard.when == when => guard.launches.end += 1,
            _ => guards.push(Guard { launches: i..i + 1, when }),
        }
    }
    guards
}

impl Task {
    pub fn new(group: Group, units: &[Unit], demand: &mut Demand) -> Task {
        let when = demand.when(group.units.iter().map(|&unit| units[unit].node));
        let work = match group.built {
            Some(Built { kernel, slots, .. }) => Work::Kernel { kernel, slots },
            None => Work::Product(units[group.units[0]].clone()),
        };
        Task { work, when }
    }

    /// The same, with this kernel if there is one.
    pub fn with(&self, kernel: Option<&(usize, Arc<Kernel>)>) -> Task {
        let mut task = self.clone();
        if let (Work::Kernel { kernel, .. }, Some((_, new))) = (&mut task.work, kernel) {
            *kernel = new.clone();
        }
        task
    }

    pub fn access(&self) -> Access {
        match &self.work {
            Work::Kernel { kernel, slots } => {
                let mut access = Access::default();
                for (slot, buffer) in slots.iter().zip(&kernel.buffers) {
                    let list =
                        if buffer.access == fgc_program::Access::Read { &mut access.reads } else { &mut access.writes };
                    list.push(*slot);
                    if buffer.access == fgc_program::Access::ReadWrite {
                        access.notes.push(*slot);
                    }
                }
                access
            }
            Work::Product(unit) => Access {
                reads: unit.reads.iter().map(|&read| Slot::Node(read)).collect(),
                writes: vec![Slot::Node(unit.node)],
                notes: Vec::new(),
            },
        }
    }
}
