//! A model and the data it learns from.

use super::inputs::Pins;
use super::model::Model;
use super::step::{Begun, NonFinite, StepReport};
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
    /// The step before, where the device works on it while the host prepares the next.
    under_way: Option<Begun>,
    /// Why the next step could not be begun, when the one before had something to tell.
    failed: Option<TrainError>,
}

impl Trainer {
    pub fn new(model: Model, data: Arc<Dataset>, non_finite: NonFinite) -> Trainer {
        let loader = loader(&model, &data);
        Trainer { model, data, loader, non_finite, pins: Pins::new(), under_way: None, failed: None }
    }

    pub fn data(&self) -> &Arc<Dataset> {
        &self.data
    }

    /// Begins one optimisation step; what came out of the steps that are over now, at most two: on a GPU this one is under
    /// way until the next is begun.
    ///
    /// # Errors
    /// A step that is not finite, where that is an error: the model is as before it, and goes on from there.
    pub fn step(&mut self) -> Result<Vec<StepReport>, TrainError> {
        self.failed.take().map_or(Ok(()), Err)?;
        let batch = self.loader.next().ok_or(TrainError::Loader)?;
        let begun = self.model.begin(&batch, &self.pins, self.non_finite);
        let mut reports: Vec<StepReport> = self.settle()?.into_iter().collect();
        match begun.or_else(|error| self.undo(error)) {
            Ok(begun) if begun.is_over() => reports.push(self.model.end(begun)?),
            Ok(begun) => self.under_way = Some(begun),
            Err(error) if reports.is_empty() => return Err(error),
            // Told when it is asked for next.
            Err(error) => self.failed = Some(error),
        }
        Ok(reports)
    }

    /// Waits for the step that is under way, if one is.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn settle(&mut self) -> Result<Option<StepReport>, TrainError> {
        self.failed.take().map_or(Ok(()), Err)?;
        let Some(begun) = self.under_way.take() else { return Ok(None) };
        let ended = self.model.end(begun);
        ended.or_else(|error| self.undo(error)).map(Some)
    }

    /// The next step sees the batch of the model's iteration.
    fn undo<T>(&mut self, error: TrainError) -> Result<T, TrainError> {
        self.loader = loader(&self.model, &self.data);
        Err(error)
    }
}

fn loader(model: &Model, data: &Arc<Dataset>) -> Loader {
    Loader::new(data.clone(), model.program.batch, model.seed, model.iteration, AHEAD)
}
