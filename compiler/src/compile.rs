//! All stages in a row.

use crate::check::{Checked, check, underived};
use crate::diagnostic::{Diagnostic, Failure, Place};
use crate::graph::{NodeId, Source};
use crate::level::{Level, Target};
use crate::lower::lower_for;
use crate::preset::Setup;
use crate::training::{Training, TrainingError, training};
use fgc_program::{Net, Param, Program, Sampler, Schedule, Stage, Turn};
use rustc_hash::FxHashMap;

/// A compiled method with what each stage made of it.
#[derive(Debug)]
pub struct Compiled {
    pub checked: Checked,
    pub training: Training,
    pub program: Program,
}

/// Compiles the method in `text` (of the file `name`) for a setup.
pub fn compile(name: &str, text: &str, setup: &Setup) -> Result<Compiled, Failure> {
    let checked = check(name, text, setup)?;
    let mut training = match training(&checked, setup.batch, setup.level, setup.target) {
        Ok(training) => training,
        Err(e) => {
            let d = refusal(&e, &checked.method.places);
            return Err(Failure { sources: checked.sources, diagnostics: vec![d] });
        }
    };
    let program = assemble(&mut training, setup.level, setup.target);
    Ok(Compiled { checked, training, program })
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
fn assemble(training: &mut Training, level: Level, target: Target) -> Program {
    let lowered = lower_for(target, &mut training.graph, &training.nets, &training.plans, level);
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
