//! One optimisation step.

use super::inputs::{Feed, Pins};
use super::model::{Model, elements};
use crate::Tensor;
use crate::cuda::{Ticket, Told};
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

/// A step that was begun; [`Model::end`] tells what came out of it.
#[derive(Debug)]
pub struct Begun {
    iteration: u64,
    report: StepReport,
    /// None if the step is over, and the report whole.
    under_way: Option<UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    /// Position in the program's schedule.
    turn: usize,
    non_finite: NonFinite,
    ticket: Option<Ticket>,
}

impl Begun {
    /// Whether nothing of it is under way any more.
    pub fn is_over(&self) -> bool {
        self.under_way.is_none()
    }
}

impl Model {
    /// Runs the step whose turn it is, and updates the networks it trains. Where a loss or a gradient is not finite no
    /// weight, moment, average or state changes.
    pub fn step(&mut self, batch: &Batch, pins: &Pins, non_finite: NonFinite) -> Result<StepReport, TrainError> {
        let begun = self.begin(batch, pins, non_finite)?;
        self.end(begun)
    }

    /// Begins the step whose turn it is. Where the device leaves out by itself what is not to be done, the step may be under
    /// way afterwards, and the next be begun before this one is ended; elsewhere it is over.
    pub fn begin(&mut self, batch: &Batch, pins: &Pins, non_finite: NonFinite) -> Result<Begun, TrainError> {
        let program = self.program.clone();
        let iteration = self.iteration;
        let due = |turn: &Turn| turn.every != 0 && iteration.is_multiple_of(turn.every as u64);
        let Some(number) = program.schedule.steps.iter().position(due) else {
            self.iteration += 1;
            return Ok(Begun { iteration, report: StepReport::default(), under_way: None });
        };
        let turn = &program.schedule.steps[number];
        let plan = &program.plans[turn.plan];
        let name = plan.name.strip_prefix("step.").unwrap_or(&plan.name).to_owned();
        let mut report = StepReport { turn: name, ..StepReport::default() };
        self.device.set_halts(non_finite == NonFinite::Stop)?;
        let (seed, step) = (self.seed, iteration);
        self.feed(turn.plan, Feed { batch, pins, domain: "", seed, step, row: &[] })?;
        self.device.run(turn.plan)?;
        self.last_step = Some(turn.plan);
        let looks_first = !self.device.withholds();
        if looks_first {
            let told = self.told()?;
            if let Some(why) = self.judge(turn, told.as_ref(), iteration, &mut report, non_finite)? {
                self.iteration += 1;
                return Ok(Begun { iteration, report: self.skip(report, why), under_way: None });
            }
            // Before the updates: a step's outputs live until the next plan runs.
            for output in &plan.outputs {
                if let OutputKind::State { state } = output.kind {
                    self.device.copy(output.buffer, state)?;
                }
            }
        }
        for &(net, update) in &turn.updates {
            let empty = IndexMap::new();
            self.feed(update, Feed { batch: &empty, pins, domain: "", seed, step, row: &[] })?;
            self.device.run(update)?;
            if looks_first {
                let told = self.told()?;
                self.read_norms(net, update, told.as_ref(), &mut report)?;
            }
        }
        self.iteration += 1;
        let ticket = if looks_first { None } else { self.device.post()? };
        let under_way = (!looks_first).then_some(UnderWay { turn: number, non_finite, ticket });
        Ok(Begun { iteration, report, under_way })
    }

    /// Waits for a step that was begun, not for those after it. Where it was not finite and is an error, those after it have
    /// changed nothing, and the model is as before it.
    pub fn end(&mut self, begun: Begun) -> Result<StepReport, TrainError> {
        let Begun { iteration, mut report, under_way } = begun;
        let Some(UnderWay { turn, non_finite, ticket }) = under_way else { return Ok(report) };
        let told = self.device.told(ticket)?;
        let program = self.program.clone();
        let turn = &program.schedule.steps[turn];
        let is_last = self.iteration == iteration + 1;
        let judged = self.judge(turn, told.as_ref(), iteration, &mut report, non_finite);
        if judged.is_err() && !is_last {
            // Its gradients are gone.
            self.last_step = None;
        }
        if let Some(why) = judged? {
            return Ok(self.skip(report, why));
        }
        turn.updates.iter().try_for_each(|&(net, update)| self.read_norms(net, update, told.as_ref(), &mut report))?;
        Ok(report)
    }

    /// What there is to be told of what ran so far.
    fn told(&mut self) -> Result<Option<Told>, TrainError> {
        let ticket = self.device.post()?;
        Ok(self.device.told(ticket)?)
    }

    /// Reads a step's losses and metrics; why it is to be left out, if it is.
    fn judge(
        &mut self,
        turn: &Turn,
        told: Option<&Told>,
        iteration: u64,
        report: &mut StepReport,
        non_finite: NonFinite,
    ) -> Result<Option<String>, TrainError> {
        for (i, output) in self.program.clone().plans[turn.plan].outputs.iter().enumerate() {
            let numbers = match output.kind {
                OutputKind::Loss => &mut report.losses,
                OutputKind::Metric => &mut report.metrics,
                _ => continue,
            };
            numbers.insert(output.name.clone(), self.number(told, turn.plan, i)?);
        }
        match self.check_finite(turn, told, iteration, report) {
            Ok(()) => Ok(None),
            Err(error) if non_finite == NonFinite::Stop => {
                self.iteration = self.iteration.min(iteration);
                self.device.go_on()?;
                Err(error)
            }
            Err(error) => Ok(Some(error.to_string())),
        }
    }

    fn skip(&mut self, mut report: StepReport, why: String) -> StepReport {
        report.skipped = Some(why);
        self.skipped += 1;
        report
    }

    fn read_norms(
        &self,
        net: NetId,
        update: usize,
        told: Option<&Told>,
        report: &mut StepReport,
    ) -> Result<(), TrainError> {
        for (i, output) in self.program.plans[update].outputs.iter().enumerate() {
            if let OutputKind::GradNorm { .. } = output.kind {
                let name = self.program.nets[net.0 as usize].name.clone();
                report.grad_norms.insert(name, self.number(told, update, i)?);
            }
        }
        Ok(())
    }

    /// All losses, then all gradients. Finite f32 gradients have a finite norm in f64.
    fn check_finite(
        &mut self,
        turn: &Turn,
        told: Option<&Told>,
        iteration: u64,
        report: &StepReport,
    ) -> Result<(), TrainError> {
        if let Some((loss, &value)) = report.losses.iter().find(|(_, value)| !value.is_finite()) {
            return Err(TrainError::Loss { iteration, loss: loss.clone(), value });
        }
        if told.is_some_and(|told| !told.is_withheld()) {
            return Ok(());
        }
        // The whole of a network's gradients may be quicker to look at.
        let mut good: FxHashMap<NetId, bool> = FxHashMap::default();
        for (i, output) in self.program.plans[turn.plan].outputs.iter().enumerate() {
            let OutputKind::Grad { net, param } = output.kind else { continue };
            let finite = match told.and_then(|told| self.device.number(told, turn.plan, i)) {
                Some(flag) => flag == 0.0,
                None => {
                    if let Entry::Vacant(unknown) = good.entry(net) {
                        let grads = self.program.nets[net.0 as usize].grads;
                        let all = grads.map(|grads| self.device.is_finite(grads)).transpose()?;
                        unknown.insert(all == Some(true));
                    }
                    // Blocks that are looked through whole are vector code.
                    let finite = |block: &[f32]| block.iter().fold(true, |all, g| all & g.is_finite());
                    good[&net] || self.gradient_of(net, param)?.chunks(4096).all(finite)
                }
            };
            if !finite {
                let net = &self.program.nets[net.0 as usize];
                let param = net.params[param].name.clone();
                return Err(TrainError::Gradient { iteration, net: net.name.clone(), param });
            }
        }
        if told.is_some() { Err(TrainError::LeftOut { iteration }) } else { Ok(()) }
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
