//! Filling a plan's inputs: data, random numbers, counters, pinned draws.

use super::model::Model;
use crate::cpu::DeviceError;
use crate::data::Batch;
use crate::random::Stream;
use crate::train::TrainError;
use crate::{Tensor, Values};
use fgc_program::{DType, Distribution, Input, InputKind, Known, Scalar};
use indexmap::IndexMap;

/// Draws given from outside, by name.
pub type Pins = IndexMap<String, Tensor>;

/// Where a plan's inputs come from.
#[derive(Clone, Copy)]
pub(super) struct Feed<'a> {
    pub batch: &'a Batch,
    pub pins: &'a Pins,
    /// Before the names of draws, so that training and sampling draw different numbers.
    pub domain: &'a str,
    pub seed: u64,
    /// Step of the draws.
    pub step: u64,
    /// Numbers of a sampler's row.
    pub row: &'a [f64],
}

impl Model {
    pub(super) fn feed(&mut self, plan: usize, feed: Feed) -> Result<(), TrainError> {
        let program = self.program.clone();
        for read in &program.plans[plan].inputs {
            if let Some(when) = &read.when
                && self.known(plan, when)? != Scalar::Bool(true)
            {
                continue;
            }
            let input = &program.inputs[read.input];
            let mut name = input.name.clone();
            if let Some(number) = &input.number {
                name = format!("{name}_{}", self.known(plan, number)?);
            }
            let missing = || TrainError::NoInput { name: name.clone() };
            match input.kind {
                InputKind::Data => {
                    let value = feed.batch.get(&name).ok_or_else(missing)?;
                    self.write_input(input, &name, value)?;
                }
                InputKind::Pin => {
                    let value = feed.pins.get(&name).ok_or_else(missing)?;
                    self.write_input(input, &name, value)?;
                }
                InputKind::Iteration => self.device.write(input.buffer, &[self.iteration as f64])?,
                InputKind::Row { position } => {
                    let value = feed.row.get(position).copied().ok_or_else(missing)?;
                    self.device.write(input.buffer, &[value])?;
                }
                InputKind::Draw(distribution) => self.draw(input, &name, distribution, feed)?,
            }
        }
        Ok(())
    }

    /// The value of a number that inputs fed so far determine.
    fn known(&self, plan: usize, known: &Known) -> Result<Scalar, TrainError> {
        Ok(self.device.known(known).map_err(|fault| DeviceError::Condition { plan, fault })?)
    }

    fn draw(&mut self, input: &Input, name: &str, distribution: Distribution, feed: Feed) -> Result<(), TrainError> {
        let stream = Stream::new(feed.seed, feed.step, &format!("{}{name}", feed.domain));
        let drawn = self.device.draw(input.buffer, input.dtype, distribution, &stream)?;
        drawn.map_err(|source| TrainError::Draw { name: input.name.clone(), source })
    }

    fn write_input(&mut self, input: &Input, name: &str, value: &Tensor) -> Result<(), TrainError> {
        if value.shape() != input.shape {
            return Err(TrainError::InputShape {
                name: name.to_owned(),
                expected: input.shape.clone(),
                found: value.shape().to_vec(),
            });
        }
        if value.dtype() == input.dtype {
            return Ok(self.device.set_values(input.buffer, value.values())?);
        }
        let wrong = || TrainError::InputValues { name: name.to_owned(), dtype: input.dtype };
        let values = match (input.dtype, value.values()) {
            (DType::F32, _) => Values::F32(value.to_f32()),
            (DType::F64, _) => Values::F64(value.to_f64()),
            (DType::I64, Values::Bool(_)) => Values::I64(value.to_f64().into_iter().map(|x| x as i64).collect()),
            (DType::I64, _) => {
                let whole = |x: f64| (x.fract() == 0.0 && x.abs() < 2f64.powi(53)).then_some(x as i64);
                Values::I64(value.to_f64().into_iter().map(whole).collect::<Option<_>>().ok_or_else(wrong)?)
            }
            (DType::Bool, _) => Values::Bool(value.to_f64().into_iter().map(|x| x != 0.0).collect()),
        };
        Ok(self.device.set_values(input.buffer, &values)?)
    }
}
