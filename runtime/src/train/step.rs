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
        for output in &plan.outputs {
            match output.kind {
                OutputKind::Loss => _ = report.losses.insert(output.name.clone(), self.scalar(output.buffer)?),
                OutputKind::Metric => _ = report.metrics.insert(output.name.clone(), self.scalar(output.buffer)?),
                _ => {}
            }
        }
        if let Err(error) = self.check_finite(turn, &report) {
            if non_finite == NonFinite::Stop {
                return Err(error);
            }
            report.skipped = Some(error.to_string());
            self.skipped += 1;
            self.iteration += 1;
            return Ok(report);
        }
        // Before the updates: a step's outputs live until the next plan runs.
        for output in &plan.outputs {
            if let OutputKind::State { state } = output.kind {
                self.device.copy(output.buffer, state)?;
            }
        }
        for &(net, update) in &turn.updates {
            let net = &program.nets[net.0 as usize];
            if let Some(updates) = net.updates {
                let done = self.scalar(updates)?;
                self.device.write(updates, &[done + 1.0])?;
            }
            let empty = IndexMap::new();
            self.feed(update, Feed { batch: &empty, pins, domain: "", seed, step, row: &[] })?;
            self.device.run(update)?;
            for output in &program.plans[update].outputs {
                if let OutputKind::GradNorm { .. } = output.kind {
                    report.grad_norms.insert(net.name.clone(), self.scalar(output.buffer)?);
                }
            }
        }
        self.iteration += 1;
        Ok(report)
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
