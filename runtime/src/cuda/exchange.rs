//! Two buffers change places without the host: weights and their averages, around sampling.

use super::device::{Device, lasts};
use crate::cpu::DeviceError;
use fgc_program::BufferId;

/// Bytes of buffers that are exchanged at a time, at most.
const ASIDE: usize = 64 << 20;

impl Device {
    /// Exchanges two buffers of the same dtype and length, part by part, by way of memory of the GPU's own.
    pub fn swap(&mut self, a: BufferId, b: BufferId) -> Result<(), DeviceError> {
        let buffer = |id: BufferId| self.program().buffers.get(id.0 as usize);
        let alike = match (buffer(a), buffer(b)) {
            (Some(x), Some(y)) => {
                let same = x.dtype == y.dtype && x.len == y.len && x.narrow == y.narrow;
                same && a != b && lasts(x.place) && lasts(y.place)
            }
            _ => false,
        };
        if !alike {
            return Err(DeviceError::Copy { from: a, to: b });
        }
        let bytes = self.size(a);
        let (a, b) = (self.at[a.0 as usize], self.at[b.0 as usize]);
        let (aside, room) = match self.aside {
            Some(aside) => aside,
            None => {
                let room = bytes.clamp(1, ASIDE);
                *self.aside.insert((self.driver.allocate(room, "exchanging weights")?, room))
            }
        };
        for from in (0..bytes).step_by(room) {
            let (a, b, bytes) = (a.plus(from), b.plus(from), room.min(bytes - from));
            self.driver.copy(a, aside, bytes)?;
            self.driver.copy(b, a, bytes)?;
            self.driver.copy(aside, b, bytes)?;
        }
        Ok(())
    }
}
