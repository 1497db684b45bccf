//! The device a program runs on.

use crate::cpu::interpret::Fault;
use crate::cpu::memory::Element;
use crate::cpu::{self, DeviceError};
use crate::cuda::{Note, Ticket, Told};
use crate::random::{self, DrawError, Fill, Stream};
use crate::{Values, cuda};
use fgc_program::{BufferId, DType, Distribution, Known, Program, Scalar};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// A program ready to run.
pub enum Device {
    Cpu(Box<cpu::Device>),
    Cuda(Box<cuda::Device>),
}

impl From<cpu::Device> for Device {
    fn from(device: cpu::Device) -> Device {
        Device::Cpu(Box::new(device))
    }
}

impl From<cuda::Device> for Device {
    fn from(device: cuda::Device) -> Device {
        Device::Cuda(Box::new(device))
    }
}

impl Device {
    pub fn program(&self) -> &Arc<Program> {
        match self {
            Device::Cpu(device) => device.program(),
            Device::Cuda(device) => device.program(),
        }
    }

    /// Bytes of all buffers.
    pub fn bytes(&self) -> usize {
        match self {
            Device::Cpu(device) => device.bytes(),
            Device::Cuda(device) => device.bytes(),
        }
    }

    /// The value of a number that the inputs, as they are now, determine.
    pub fn known(&self, known: &Known) -> Result<Scalar, Fault> {
        match self {
            Device::Cpu(device) => device.known(known),
            Device::Cuda(device) => device.known(known),
        }
    }

    /// Runs the launches of a plan, but for those whose guards do not hold.
    pub fn run(&mut self, plan: usize) -> Result<(), DeviceError> {
        match self {
            Device::Cpu(device) => device.run(plan),
            Device::Cuda(device) => device.run(plan),
        }
    }

    /// The time of each launch of a plan when it last ran; empty if that was not measured.
    pub fn times(&self, plan: usize) -> &[Duration] {
        match self {
            Device::Cpu(device) => device.times(plan),
            Device::Cuda(_) => &[],
        }
    }

    /// The time of each launch of a plan; on a GPU by itself and many times over, after which weights are of no use.
    pub fn measure(&mut self, plan: usize) -> Result<Vec<Duration>, DeviceError> {
        match self {
            Device::Cpu(device) => Ok(device.times(plan).to_vec()),
            Device::Cuda(device) => device.measure(plan),
        }
    }

    /// The elements of a buffer; booleans are bytes.
    pub fn read<T: Element>(&self, buffer: BufferId) -> Result<Cow<'_, [T]>, DeviceError> {
        match self {
            Device::Cpu(device) => device.read(buffer).map(Cow::Borrowed),
            Device::Cuda(device) => device.read(buffer).map(Cow::Owned),
        }
    }

    /// Some of a buffer's elements.
    pub fn read_part<T: Element>(&self, buffer: BufferId, range: Range<usize>) -> Result<Cow<'_, [T]>, DeviceError> {
        let error = DeviceError::Mismatch { buffer, dtype: T::DTYPE, len: range.end };
        match self {
            Device::Cpu(device) => device.read(buffer)?.get(range).map(Cow::Borrowed).ok_or(error),
            Device::Cuda(device) => device.read_part(buffer, range).map(Cow::Owned),
        }
    }

    /// Overwrites a buffer's elements from `start` on.
    pub fn write_part<T: Element>(&mut self, buffer: BufferId, start: usize, values: &[T]) -> Result<(), DeviceError> {
        let error = DeviceError::Mismatch { buffer, dtype: T::DTYPE, len: start + values.len() };
        match self {
            Device::Cpu(device) => {
                let part = device.read_mut(buffer)?.get_mut(start..start + values.len()).ok_or(error)?;
                part.copy_from_slice(values);
                Ok(())
            }
            Device::Cuda(device) => device.write_part(buffer, start, values),
        }
    }

    /// What was found out of all that libraries might do in these plans.
    pub fn notes(&self, plans: impl Iterator<Item = usize>) -> Vec<&Note> {
        let all = match self {
            Device::Cpu(_) => &[],
            Device::Cuda(device) => device.notes(),
        };
        plans.flat_map(|plan| all.iter().filter(move |note| note.plan == plan)).collect()
    }

    /// Launches of a plan that a library does instead of code of ours.
    pub fn by_library(&self, plan: usize) -> usize {
        match self {
            Device::Cpu(_) => 0,
            Device::Cuda(device) => device.by_library(plan).len(),
        }
    }

    /// Whether updates after a step with a loss or a gradient that is not finite do nothing by themselves, so that they
    /// may run before anybody looks.
    pub fn withholds(&self) -> bool {
        match self {
            Device::Cpu(_) => false,
            Device::Cuda(device) => device.withholds(),
        }
    }

    /// Whether steps after one that is not finite are to be left out too, until [`Device::go_on`]. Nothing to do on the CPU,
    /// whose host looks before it goes on.
    pub fn set_halts(&mut self, halts: bool) -> Result<(), DeviceError> {
        match self {
            Device::Cpu(_) => Ok(()),
            Device::Cuda(device) => device.set_halts(halts),
        }
    }

    /// Forgets that a step was not finite.
    pub fn go_on(&mut self) -> Result<(), DeviceError> {
        match self {
            Device::Cpu(_) => Ok(()),
            Device::Cuda(device) => device.go_on(),
        }
    }

    /// Begins to bring the numbers of plans that ran so far to the host; None where they are there.
    pub fn post(&mut self) -> Result<Option<Ticket>, DeviceError> {
        match self {
            Device::Cpu(_) => Ok(None),
            Device::Cuda(device) => device.post().map(Some),
        }
    }

    /// Waits for numbers that are on their way, not for what runs since.
    pub fn told(&mut self, ticket: Option<Ticket>) -> Result<Option<Told>, DeviceError> {
        match (self, ticket) {
            (Device::Cuda(device), Some(ticket)) => device.told(ticket).map(Some),
            _ => Ok(None),
        }
    }

    /// An output that is one number, if it was told; of a step's gradient, not 0 where it is not finite.
    pub fn number(&self, told: &Told, plan: usize, output: usize) -> Option<f64> {
        match self {
            Device::Cpu(_) => None,
            Device::Cuda(device) => device.number(told, plan, output),
        }
    }

    /// Whether all of a network's gradients, which the last step has computed, are known to be finite: they may be though
    /// this says no, as what lies between them may be anything.
    pub fn is_finite(&mut self, grads: BufferId) -> Result<bool, DeviceError> {
        match self {
            Device::Cpu(device) => device.is_finite(grads),
            Device::Cuda(_) => Ok(false),
        }
    }

    /// Fills an input of this dtype with random numbers, here or on the GPU: the same ones.
    pub fn draw(
        &mut self,
        input: BufferId,
        dtype: DType,
        distribution: Distribution,
        stream: &Stream,
    ) -> Result<Result<(), DrawError>, DeviceError> {
        match dtype {
            DType::F32 => self.filled(input, distribution, stream, |out| Fill::F32(out)),
            DType::F64 => self.filled(input, distribution, stream, |out| Fill::F64(out)),
            _ => self.filled(input, distribution, stream, |out| Fill::I64(out)),
        }
    }

    fn filled<T: Element>(
        &mut self,
        input: BufferId,
        distribution: Distribution,
        stream: &Stream,
        as_fill: fn(&mut [T]) -> Fill<'_>,
    ) -> Result<Result<(), DrawError>, DeviceError> {
        let fill = |out: &mut [T]| random::fill(distribution, stream, as_fill(out));
        match self {
            Device::Cpu(device) => device.read_mut(input).map(fill),
            Device::Cuda(device) => {
                if device.draw(input, stream)? {
                    return Ok(Ok(()));
                }
                // Written whole: what the GPU has of it is not waited for.
                let len = device.program().buffers.get(input.0 as usize).map_or(0, |buffer| buffer.len);
                let mut values = vec![T::default(); len];
                let filled = fill(&mut values);
                device.write(input, &values).map(|()| filled)
            }
        }
    }

    /// Overwrites a whole buffer.
    pub fn write<T: Element>(&mut self, buffer: BufferId, values: &[T]) -> Result<(), DeviceError> {
        match self {
            Device::Cpu(device) => device.write(buffer, values),
            Device::Cuda(device) => device.write(buffer, values),
        }
    }

    /// A copy of a buffer's elements, whatever their dtype.
    pub fn values(&self, buffer: BufferId) -> Result<Values, DeviceError> {
        match self {
            Device::Cpu(device) => device.values(buffer),
            Device::Cuda(device) => device.values(buffer),
        }
    }

    /// Overwrites a whole buffer, whatever its dtype.
    pub fn set_values(&mut self, buffer: BufferId, values: &Values) -> Result<(), DeviceError> {
        match self {
            Device::Cpu(device) => device.set_values(buffer, values),
            Device::Cuda(device) => device.set_values(buffer, values),
        }
    }

    /// Copies one buffer over another of the same dtype and length.
    pub fn copy(&mut self, from: BufferId, to: BufferId) -> Result<(), DeviceError> {
        match self {
            Device::Cpu(device) => device.copy(from, to),
            Device::Cuda(device) => device.copy(from, to),
        }
    }

    /// Exchanges the elements of two buffers of the same dtype and length.
    pub fn swap(&mut self, a: BufferId, b: BufferId) -> Result<(), DeviceError> {
        match self {
            Device::Cpu(device) => device.swap(a, b),
            Device::Cuda(device) => device.swap(a, b),
        }
    }
}
