//! All stages in a row.

use crate::check::{Checked, check, underived};
use crate::diagnostic::{Diagnostic, Failure, Place};
use crate::graph::{NodeId, Source};
use crate::lower::{PlanGraph, lower_for};
use crate::optimise::{Optimised, optimise};
use crate::preset::Setup;
use crate::training::{Training, TrainingError, training};
use fgc_program::{Net, Param, Program, Sampler, Schedule, Stage, Turn};
use rustc_hash::FxHashMap;
use std::time::{Duration, Instant};

/// A compiled method with what each stage made of it.
#[derive(Debug)]
pub struct Compiled {
    pub checked: Checked,
    /// What each plan computes, as differentiation leaves it.
    pub derived: Vec<PlanGraph>,
    /// The same, optimised.
    pub training: Training,
    pub optimised: Optimised,
    pub program: Program,
    /// How long each stage took, in order.
    pub stages: Vec<(&'static str, Duration)>,
}

/// Compiles the method in `text` (of the file `name`) for a setup.
pub fn compile(name: &str, text: &str, setup: &Setup) -> Result<Compiled, Failure> {
    let mut done = compiled(name, text, setup);
    if let Some(preset) = &setup.written {
        match &mut done {
            Ok(Compiled { checked, .. }) => preset.rehome(&mut checked.sources, &mut checked.warnings),
            Err(failure) => preset.rehome(&mut failure.sources, &mut failure.diagnostics),
        }
    }
    done
}

fn compiled(name: &str, text: &str, setup: &Setup) -> Result<Compiled, Failure> {
    let mut clock = Clock::default();
    let checked = check(name, text, setup)?;
    clock.lap("check");
    let mut training = match training(&checked, setup.batch, setup.target) {
        Ok(training) => training,
        Err(e) => {
            let d = refusal(&e, &checked.method.places);
            return Err(Failure { sources: checked.sources, diagnostics: vec![d] });
        }
    };
    clock.lap("derive");
    let derived = training.plans.clone();
    let optimised = optimise(&mut training, setup.level, &setup.without, setup.target);
    clock.lap("optimise");
    let program = assemble(&mut training, setup);
    clock.lap("lower");
    Ok(Compiled { checked, derived, training, optimised, program, stages: clock.laps })
}

struct Clock {
    begun: Instant,
    laps: Vec<(&'static str, Duration)>,
}

impl Default for Clock {
    fn default() -> Clock {
        Clock { begun: Instant::now(), laps: Vec::new() }
    }
}

impl Clock {
    /// Ends a stage.
    fn lap(&mut self, name: &'static str) {
        let now = Instant::now();
        self.laps.push((name, now - self.begun));
        self.begun = now;
    }
}

/// What cannot be computed, or not here, at the place that asks for it.
fn refusal(error: &TrainingError, places: &FxHashMap<NodeId, Place>) -> Diagnostic {
    match error {
        TrainingError::Derive(e) => underived(e, places),
        TrainingError::NoReference { kernel, node } => {
            let d =
                Diagnostic::error("FG0803", format!("`{kernel}` is code for a GPU, and this is compiled for the CPU"));
            let d = match places.get(node) {
                Some(&place) => d.label(place, "called here"),
                None => d,
            };
            d.help(
                "add `reference = f` to it, an ordinary function that computes the same; or run with `--device cuda`",
            )
        }
    }
}

/// Lowers every plan and puts the program together.
fn assemble(training: &mut Training, setup: &Setup) -> Program {
    let Setup { level, without, target, .. } = setup;
    let lowered = lower_for(*target, &mut training.graph, &training.nets, &training.plans, *level, without);
    let nets = training.nets.iter().zip(lowered.nets).map(|(layout, buffers)| Net {
        name: layout.name.clone(),
        params: layout
            .params
            .iter()
            .map(|p| Param { name: p.name.clone(), shape: p.shape.clone(), offset: p.offset, init: p.init })
            .collect(),
        len: layout.len,
        frozen: layout.frozen,
        from: layout.from,
        weights: buffers.weights,
        grads: buffers.grads,
        ema: buffers.ema,
        moments: buffers.moments,
        updates: buffers.updates,
    });
    let nets = nets.collect();
    let samplers = training.samplers.iter().map(|s| {
        let stages = s.stages.iter().map(|(plan, stage)| {
            let keeps = stage.keeps.iter().zip(&lowered.plans[*plan].outputs).filter_map(|((slot, node), output)| {
                // What no other stage reads has no place to be kept.
                let ty = training.graph.ty(*node).clone();
                let to = *lowered.sources.get(&(Source::Kept { slot: *slot }, ty))?;
                (output.buffer != to).then_some((output.buffer, to))
            });
            Stage { plan: *plan, rows: stage.rows.clone(), repeats: stage.repeats, keeps: keeps.collect() }
        });
        (s.name.clone(), Sampler { stages: stages.collect() })
    });
    let samplers = samplers.collect();
    let turns = training.turns.iter();
    let steps = turns.map(|t| Turn { every: t.every, plan: t.step, updates: t.updates.clone() }).collect();
    Program {
        method: training.method.clone(),
        batch: training.batch,
        nets,
        inputs: lowered.inputs,
        buffers: lowered.buffers,
        constants: lowered.constants,
        kernels: lowered.kernels,
        codes: lowered.codes,
        plans: lowered.plans,
        schedule: Schedule { steps },
        samplers,
        arena: lowered.arena,
        spill: lowered.spill,
    }
}
