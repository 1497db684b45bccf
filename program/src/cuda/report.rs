//! What steps tell the host, in one piece of memory: so that it reads once a step, when all is done.
//!
//! The report's first word says whether the last step is to be left out, because a loss or a gradient is not finite: then
//! it is not 0, and the functions of updates, which begin by looking at it, do nothing. So the host need not look before
//! it has updates run. The other words are the losses, metrics and norms of all plans, as f64.

use super::{Builder, Call, More, gaps};
use crate::{BufferId, Launch, OutputKind, Plan, c};
use std::ops::Range;

/// Where a program's reports are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reports {
    /// Of 8 bytes each.
    pub words: usize,
    /// For each plan and each of its outputs that is a number of a step or an update, its word.
    pub places: Vec<Vec<Option<usize>>>,
    /// For each plan, the calls that come after those of its launches.
    pub calls: Vec<Vec<Call>>,
    /// Whether a step that is to be left out changes nothing by itself. Not where code from outside writes weights, or the
    /// host copies states.
    pub withholds: bool,
}

const WITHHELD: More = More::Report { word: 0 };

/// Whether a number goes into reports, and is one that must be finite.
fn reported(kind: &OutputKind) -> Option<bool> {
    match kind {
        OutputKind::Loss => Some(true),
        OutputKind::Metric | OutputKind::GradNorm { .. } => Some(false),
        OutputKind::Grad { .. } | OutputKind::Sample | OutputKind::State { .. } => None,
    }
}

impl Builder<'_> {
    /// For each plan, whether it is an update that may be withheld.
    pub(super) fn withheld(&self) -> Vec<bool> {
        let turns = &self.program.schedule.steps;
        let update = |plan: &usize| turns.iter().flat_map(|turn| &turn.updates).any(|(_, update)| update == plan);
        let plans = &self.program.plans;
        let updates: Vec<bool> = (0..plans.len()).map(|plan| update(&plan)).collect();
        let outside = |plan: &Plan| plan.launches.iter().any(|launch| matches!(launch, Launch::Extern(_)));
        let keeps = |plan: &Plan| plan.outputs.iter().any(|output| matches!(output.kind, OutputKind::State { .. }));
        let foreign = plans.iter().zip(&updates).any(|(plan, update)| *update && outside(plan));
        if foreign || turns.iter().any(|turn| keeps(&plans[turn.plan])) { vec![false; plans.len()] } else { updates }
    }

    /// What comes after the launches of each plan.
    pub(super) fn reports(&mut self, withheld: &[bool]) -> Reports {
        let program = self.program;
        let mut reports = Reports { words: 1, withholds: withheld.contains(&true), ..Reports::default() };
        for (number, plan) in program.plans.iter().enumerate() {
            let first = reports.words;
            let places = plan.outputs.iter().map(|output| {
                reported(&output.kind)?;
                reports.words += 1;
                Some(reports.words - 1)
            });
            let places: Vec<Option<usize>> = places.collect();
            reports.places.push(places);
            let is_step = program.schedule.steps.iter().any(|turn| turn.plan == number);
            self.gated = withheld[number];
            let mut calls = Vec::new();
            if is_step || reports.words > first {
                calls.push(self.report(plan, first, is_step));
            }
            if is_step {
                let learns = |net: usize| {
                    let own =
                        |kind: &OutputKind| matches!(kind, OutputKind::Grad { net: of, .. } if of.0 as usize == net);
                    plan.outputs.iter().any(|output| own(&output.kind))
                };
                for net in (0..program.nets.len()).filter(|net| learns(*net)) {
                    if let Some(grads) = program.nets[net].grads {
                        calls.push(self.check(grads, gaps(program, plan, net)));
                    }
                }
            }
            self.gate(&mut calls);
            reports.calls.push(calls);
        }
        self.gated = false;
        reports
    }

    /// Copies a plan's numbers to words from `first` on; of a step, says anew whether all that must be finite are.
    fn report(&mut self, plan: &Plan, first: usize, is_step: bool) -> Call {
        let mut parameters = String::new();
        let mut body = String::new();
        let mut buffers: Vec<BufferId> = Vec::new();
        let mut good = String::from("1");
        for output in &plan.outputs {
            let Some(finite) = reported(&output.kind) else { continue };
            let (i, dtype) = (buffers.len(), self.program.buffers[output.buffer.0 as usize].dtype);
            parameters += &format!("const {} *__restrict__ v{i}, ", c::stored(dtype));
            body += &format!("  out[{i}] = (double)v{i}[0];\n");
            if finite {
                good += &format!(" && isfinite_f64(out[{i}])");
            }
            buffers.push(output.buffer);
        }
        let mut more = vec![More::Report { word: first }];
        let mut last = "double *out";
        if is_step {
            more.push(WITHHELD);
            last = "double *out, double *withheld";
            body += &format!("  *withheld = ({good}) ? 0.0 : 1.0;\n");
        }
        let text = format!("({parameters}{last}) {{\n  if (threadIdx.x != 0) return;\n{body}}}\n");
        let function = self.function("a report", 32, text);
        Call { function, blocks: 1, buffers, scratches: false, more }
    }

    /// `gaps`: where there may be anything.
    fn check(&mut self, grads: BufferId, gaps: Vec<Range<usize>>) -> Call {
        let len = self.program.buffers[grads.0 as usize].len;
        let gaps: String = gaps.iter().map(|gap| format!(" && !(i >= {} && i < {})", gap.start, gap.end)).collect();
        let text = format!(
            "(const float *__restrict__ grads, double *withheld) {{\n  \
             for (int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x; i < {len}; i += (int64_t)gridDim.x * 256)\n    \
             if (!isfinite_f32(grads[i]){gaps}) *withheld = 1.0;\n}}\n"
        );
        let function = self.function("whether gradients are finite", 256, text);
        let blocks = len.div_ceil(1024).clamp(1, 4096);
        Call { function, blocks, buffers: vec![grads], scratches: false, more: vec![WITHHELD] }
    }

    /// Gives calls of gated functions what these look at.
    pub(super) fn gate(&self, calls: &mut [Call]) {
        if self.gated {
            calls.iter_mut().for_each(|call| call.more.push(WITHHELD));
        }
    }
}

/// A function's parameters and body, with a last parameter: where this does not point to 0, nothing happens.
pub(super) fn gated(text: &str) -> String {
    let (parameters, body) = text.split_once(") {\n").expect("a function's parameters, then its body");
    let comma = if parameters.len() > 1 { ", " } else { "" };
    format!("{parameters}{comma}const double *withheld) {{\n  if (*withheld != 0.0) return;\n{body}")
}
