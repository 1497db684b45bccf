//! One optimisation step.

use super::inputs::{Feed, Pins};
use super::model::{Model, elements};
use crate::Tensor;
use crate::data::Batch;
use crate::train::TrainError;
use fgc_program::program::Turn;
use fgc_program::{NetId, OutputKind};
use indexmap::IndexMap;
use rustc_hash::FxHashMap;
use std::borrow::Cow;
use std::collections::hash_map::Entry;

/// What to do when a loss or a gradient is not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonFinite {
    /// Stop with an error.
    Stop,
    /// Leave the step out and count it.
    Skip,
}

/// What a step found.
#[derive(Clone, Debug, Default)]
pub struct StepReport {
    /// The step's name in the spec (`student`).
    pub turn: String,
    /// Minimised terms, unweighted; last their weighted sum `total_loss`.
    pub losses: IndexMap<String, f64>,
    pub metrics: IndexMap<String, f64>,
    /// L2 norms of the gradients by network.
    pub grad_norms: IndexMap<String, f64>,
    /// Why the step changed nothing.
    pub skipped: Option<String>,
}

impl Model {
    /// Runs the step whose turn it is, and updates the networks it trains. Where a loss or a gradient is not finite no
    /// weight, moment, average or state changes.
    pub fn step(&mut self, batch: &Batch, pins: &Pins, non_finite: NonFinite) -> Result<StepReport, TrainError> {
        let program = self.program.clone();
        let mut report = StepReport::default();
        let due = |turn: &&Turn| turn.every != 0 && self.iteration.is_multiple_of(turn.every as u64);
        let Some(turn) = program.schedule.steps.iter().find(due) else {
            self.iteration += 1;
            return Ok(report);
        };
        let plan = &program.plans[turn.plan];
        report.turn = plan.name.strip_prefix("step.").unwrap_or(&plan.name).to_owned();
        let (seed, step) = (self.seed, self.iteration);
        self.feed(turn.plan, Feed { batch, pins, domain: "", seed, step, row: &[] })?;
        self.device.run(turn.plan)?;
        self.last_step = Some(turn.plan);
        // A device that withholds updates by itself goes on before anybody looks.
        let looks_first = !self.device.withholds();
        if looks_first && let Some(why) = self.judge(turn, &mut report, non_finite)? {
            return Ok(self.skip(report, why));
        }
        // Before the updates: a step's outputs live until the next plan runs.
        for output in &plan.outputs {
            if let OutputKind::State { state } = output.kind {
                self.device.copy(output.buffer, state)?;
            }
        }
        for &(net, update) in &turn.updates {
            self.count_updates(net, 1.0)?;
            let empty = IndexMap::new();
            self.feed(update, Feed { batch: &empty, pins, domain: "", seed, step, row: &[] })?;
            self.device.run(update)?;
            if looks_first {
                self.read_norms(net, update, &mut report)?;
            }
        }
        if !looks_first {
            let judged = self.judge(turn, &mut report, non_finite);
            if matches!(judged, Ok(Some(_)) | Err(TrainError::Loss { .. } | TrainError::Gradient { .. })) {
                turn.updates.iter().try_for_each(|&(net, _)| self.count_updates(net, -1.0))?;
            }
            if let Some(why) = judged? {
                return Ok(self.skip(report, why));
            }
            turn.updates.iter().try_for_each(|&(net, update)| self.read_norms(net, update, &mut report))?;
        }
        self.iteration += 1;
        Ok(report)
    }

    /// Reads a step's losses and metrics; why it is to be left out, if it is.
    fn judge(
        &mut self,
        turn: &Turn,
        report: &mut StepReport,
        non_finite: NonFinite,
    ) -> Result<Option<String>, TrainError> {
        for (i, output) in self.program.clone().plans[turn.plan].outputs.iter().enumerate() {
            let numbers = match output.kind {
                OutputKind::Loss => &mut report.losses,
                OutputKind::Metric => &mut report.metrics,
                _ => continue,
            };
            numbers.insert(output.name.clone(), self.number(turn.plan, i)?);
        }
        match self.check_finite(turn, report) {
            Ok(()) => Ok(None),
            Err(error) if non_finite == NonFinite::Stop => Err(error),
            Err(error) => Ok(Some(error.to_string())),
        }
    }

    fn skip(&mut self, mut report: StepReport, why: String) -> StepReport {
        report.skipped = Some(why);
        self.skipped += 1;
        self.iteration += 1;
        report
    }

    /// Adds to the updates that a network has had.
    fn count_updates(&mut self, net: NetId, more: f64) -> Result<(), TrainError> {
        if let Some(updates) = self.program.nets[net.0 as usize].updates {
            let done = self.scalar(updates)?;
            self.device.write(updates, &[done + more])?;
        }
        Ok(())
    }

    fn read_norms(&mut self, net: NetId, update: usize, report: &mut StepReport) -> Result<(), TrainError> {
        let program = self.program.clone();
        for (i, output) in program.plans[update].outputs.iter().enumerate() {
            if let OutputKind::GradNorm { .. } = output.kind {
                let name = program.nets[net.0 as usize].name.clone();
                report.grad_norms.insert(name, self.number(update, i)?);
            }
        }
        Ok(())
    }

    /// All losses, then all gradients. Finite f32 gradients have a finite norm in f64.
    fn check_finite(&mut self, turn: &Turn, report: &StepReport) -> Result<(), TrainError> {
        let iteration = self.iteration;
        if let Some((loss, &value)) = report.losses.iter().find(|(_, value)| !value.is_finite()) {
            return Err(TrainError::Loss { iteration, loss: loss.clone(), value });
        }
        // The whole of a network's gradients may be quicker to look at.
        let mut good: FxHashMap<NetId, bool> = FxHashMap::default();
        for output in &self.program.plans[turn.plan].outputs {
            let OutputKind::Grad { net, param } = output.kind else { continue };
            if let Entry::Vacant(unknown) = good.entry(net) {
                let grads = self.program.nets[net.0 as usize].grads;
                let all = grads.map(|grads| self.device.is_finite(grads)).transpose()?;
                unknown.insert(all == Some(true));
            }
            if good[&net] {
                continue;
            }
            // Blocks that are looked through whole are vector code.
            let finite = |block: &[f32]| block.iter().fold(true, |all, g| all & g.is_finite());
            if !self.gradient_of(net, param)?.chunks(4096).all(finite) {
                let net = &self.program.nets[net.0 as usize];
                let param = net.params[param].name.clone();
                return Err(TrainError::Gradient { iteration, net: net.name.clone(), param });
            }
        }
        Ok(())
    }

    fn gradient_of(&self, net: NetId, param: usize) -> Result<Cow<'_, [f32]>, TrainError> {
        let net = &self.program.nets[net.0 as usize];
        let param = &net.params[param];
        let Some(grads) = net.grads else { return Ok(Cow::default()) };
        Ok(self.device.read_part(grads, param.offset..param.offset + elements(param))?)
    }

    /// The gradients that the last step computed, as `<net>.<param>`. A parameter that no loss depends on has none.
    pub fn gradients(&self) -> Result<IndexMap<String, Tensor>, TrainError> {
        let mut gradients = IndexMap::new();
        for output in self.last_step.iter().flat_map(|&plan| &self.program.plans[plan].outputs) {
            let OutputKind::Grad { net: id, param: index } = output.kind else { continue };
            let net = &self.program.nets[id.0 as usize];
            let param = &net.params[index];
            let values = self.gradient_of(id, index)?.into_owned();
            gradients.insert(format!("{}.{}", net.name, param.name), Tensor::f32(param.shape.clone(), values));
        }
        Ok(gradients)
    }
}
