//! A model and the data it learns from.

use super::inputs::Pins;
use super::model::Model;
use super::step::{NonFinite, StepReport};
use crate::data::{Dataset, Loader};
use crate::train::TrainError;
use std::sync::Arc;

/// Batches made ready ahead of the step.
const AHEAD: usize = 2;

/// Steps of a model on a data set. Iteration k sees batch k, so that a resumed run goes on where it was.
pub struct Trainer {
    pub model: Model,
    data: Arc<Dataset>,
    loader: Loader,
    non_finite: NonFinite,
    pins: Pins,
}

impl Trainer {
    pub fn new(model: Model, data: Arc<Dataset>, non_finite: NonFinite) -> Trainer {
        let loader = Loader::new(data.clone(), model.program.batch, model.seed, model.iteration, AHEAD);
        Trainer { model, data, loader, non_finite, pins: Pins::new() }
    }

    pub fn data(&self) -> &Arc<Dataset> {
        &self.data
    }

    /// One optimisation step.
    pub fn step(&mut self) -> Result<StepReport, TrainError> {
        let batch = self.loader.next().ok_or(TrainError::Loader)?;
        self.model.step(&batch, &self.pins, self.non_finite)
    }
}
