//! A program on a device with its weights, and where training stands.

use crate::cuda::Told;
use crate::train::TrainError;
use crate::{Device, Tensor, Values};
use fgc_program::{BufferId, Launch, Net, NetId, Param, Place, Program};
use std::sync::Arc;
use std::time::Duration;

/// A compiled method with weights.
pub struct Model {
    pub(super) device: Device,
    pub(super) program: Arc<Program>,
    pub(super) seed: u64,
    pub(super) iteration: u64,
    pub(super) skipped: u64,
    /// Frozen networks that have parameters and were given none.
    pub(super) without_weights: Vec<NetId>,
    /// The step plan that ran last.
    pub(super) last_step: Option<usize>,
}

impl Model {
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Optimisation steps done, skipped ones included.
    pub fn iteration(&self) -> u64 {
        self.iteration
    }

    /// Starts counting from here (replay).
    pub fn set_iteration(&mut self, iteration: u64) {
        self.iteration = iteration;
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Steps left out because something was not finite.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    /// As [`Device::measure`].
    pub fn measure(&mut self, plan: usize) -> Result<Vec<Duration>, TrainError> {
        Ok(self.device.measure(plan)?)
    }

    /// A parameter's weights now, or its moving average.
    pub fn parameter(&self, net: &Net, param: &Param, flat: BufferId) -> Result<Tensor, TrainError> {
        debug_assert!(param.offset + elements(param) <= net.len);
        let values = self.device.read_part(flat, param.offset..param.offset + elements(param))?;
        Ok(Tensor::f32(param.shape.clone(), values.to_vec()))
    }

    pub(super) fn set_parameter(&mut self, param: &Param, flat: BufferId, values: &[f32]) -> Result<(), TrainError> {
        Ok(self.device.write_part(flat, param.offset, values)?)
    }

    /// An output that is one number: as it was told, else as it is.
    pub(super) fn number(&self, told: Option<&Told>, plan: usize, output: usize) -> Result<f64, TrainError> {
        match told.and_then(|told| self.device.number(told, plan, output)) {
            Some(number) => Ok(number),
            None => self.scalar(self.program.plans[plan].outputs[output].buffer),
        }
    }

    /// The one element of a scalar buffer.
    pub(super) fn scalar(&self, buffer: BufferId) -> Result<f64, TrainError> {
        let values = self.device.values(buffer)?;
        Ok(first(values))
    }
}

fn first(values: Values) -> f64 {
    let n = values.len();
    Tensor::new(vec![n], values).to_f64().first().copied().unwrap_or(f64::NAN)
}

pub(super) fn elements(param: &Param) -> usize {
    param.shape.iter().product()
}

/// Whether a plan reads or writes the network's weights.
pub(super) fn uses(program: &Program, plan: usize, net: &Net) -> bool {
    let owner = |mut id: BufferId| {
        while let Place::Part { of, .. } = program.buffers[id.0 as usize].place {
            id = of;
        }
        id
    };
    let weights = owner(net.weights);
    let mut buffers = program.plans[plan].launches.iter().flat_map(|launch| match launch {
        Launch::Kernel { args, .. } => args.clone(),
        Launch::Contract(c) => vec![c.a.buffer, c.b.buffer, c.c.buffer],
        Launch::Conv(c) => vec![c.x, c.w, c.y],
        Launch::Extern(e) => e.args.iter().copied().chain([e.out]).collect(),
    });
    !net.params.is_empty() && buffers.any(|b| owner(b) == weights)
}
