//! What steps tell the host, in one piece of memory: so that it reads once a step, and may be a step ahead.
//!
//! The report's first word says whether the last step is to be left out, because a loss or a gradient is not finite: then
//! it is not 0, and the functions of updates, which begin by looking at it, do nothing, nor do those that keep states. So the
//! host need not look before it has updates run. Where the second word, which the host writes, is not 0, steps after one
//! that is left out are left out too: so that the host, which finds out while the next is under way, can stop just before
//! it. The other words are the losses, metrics and norms of all plans, as f64; and of each gradient whether it is not finite.

use super::{Builder, Call, More};
use crate::{BufferId, Launch, NetId, Output, OutputKind, Plan, c};
use std::ops::Range;

/// Where a program's reports are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reports {
    /// Of 8 bytes each.
    pub words: usize,
    /// For each plan and each of its outputs that is a number of a step or an update, its word; of a gradient, the word that
    /// is not 0 where it is not finite.
    pub places: Vec<Vec<Option<usize>>>,
    /// For each plan, the calls that come after those of its launches.
    pub calls: Vec<Vec<Call>>,
    /// Whether a step that is to be left out changes nothing by itself. Not where code from outside writes weights.
    pub withholds: bool,
}

impl Reports {
    /// The word that says whether the last step is left out.
    pub const WITHHELD: usize = 0;
    /// The word that says whether steps after one that is left out are left out, too.
    pub const HALTS: usize = 1;
}

const WITHHELD: More = More::Report { word: Reports::WITHHELD };

/// Whether a number goes into reports, and is one that must be finite.
fn reported(kind: &OutputKind) -> Option<bool> {
    match kind {
        OutputKind::Loss => Some(true),
        OutputKind::Metric | OutputKind::GradNorm { .. } => Some(false),
        OutputKind::Grad { .. } | OutputKind::Sample | OutputKind::State { .. } => None,
    }
}

/// A gradient's elements, and the word that is to say whether one of them is not finite.
struct Flagged {
    elements: Range<usize>,
    word: usize,
}

impl Builder<'_> {
    /// For each plan, whether it is an update that may be withheld.
    pub(super) fn withheld(&self) -> Vec<bool> {
        let turns = &self.program.schedule.steps;
        let update = |plan: &usize| turns.iter().flat_map(|turn| &turn.updates).any(|(_, update)| update == plan);
        let plans = &self.program.plans;
        let updates: Vec<bool> = (0..plans.len()).map(|plan| update(&plan)).collect();
        let outside = |plan: &Plan| plan.launches.iter().any(|launch| matches!(launch, Launch::Extern(_)));
        let foreign = plans.iter().zip(&updates).any(|(plan, update)| *update && outside(plan));
        if foreign { vec![false; plans.len()] } else { updates }
    }

    /// What comes after the launches of each plan.
    pub(super) fn reports(&mut self, withheld: &[bool]) -> Reports {
        let program = self.program;
        let mut reports = Reports { words: 2, withholds: withheld.contains(&true), ..Reports::default() };
        for (number, plan) in program.plans.iter().enumerate() {
            let is_step = program.schedule.steps.iter().any(|turn| turn.plan == number);
            let first = reports.words;
            // Numbers, then flags.
            let mut places = vec![None; plan.outputs.len()];
            for flags in [false, true] {
                for (place, output) in places.iter_mut().zip(&plan.outputs) {
                    let is_flag = is_step && matches!(output.kind, OutputKind::Grad { .. });
                    if if flags { is_flag } else { reported(&output.kind).is_some() } {
                        *place = Some(reports.words);
                        reports.words += 1;
                    }
                }
            }
            self.gated = withheld[number];
            let mut calls = Vec::new();
            if is_step || reports.words > first {
                calls.push(self.report(plan, first..reports.words, is_step));
            }
            if is_step {
                for (net, grads) in program.nets.iter().enumerate().filter_map(|(i, net)| Some((i, net.grads?))) {
                    let net = NetId(net as u32);
                    let flagged: Vec<Flagged> = places
                        .iter()
                        .zip(&plan.outputs)
                        .filter_map(|(place, output)| self.flagged(net, output, (*place)?))
                        .collect();
                    if !flagged.is_empty() {
                        calls.push(self.check(grads, flagged));
                    }
                }
            }
            self.gate(&mut calls);
            if is_step && reports.withholds {
                let kept = plan.outputs.iter().filter_map(|output| match output.kind {
                    OutputKind::State { state } => Some((output.buffer, state)),
                    _ => None,
                });
                self.gated = true;
                let mut keeping: Vec<Call> = kept.map(|(from, to)| self.keep(from, to)).collect();
                self.gate(&mut keeping);
                calls.extend(keeping);
            }
            reports.places.push(places);
            reports.calls.push(calls);
        }
        self.gated = false;
        reports
    }

    /// Copies a plan's numbers to the first of `words`; of a step, says anew whether its losses are finite, and that all its
    /// gradients are.
    fn report(&mut self, plan: &Plan, words: Range<usize>, is_step: bool) -> Call {
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
        let mut more = vec![More::Report { word: words.start }];
        let mut last = "double *out";
        if is_step {
            more.push(WITHHELD);
            last = "double *out, double *report";
            let counts = format!("{good} && !(report[{}] != 0.0 && report[0] != 0.0)", Reports::HALTS);
            body += &format!(
                "  report[0] = ({counts}) ? 0.0 : 1.0;\n  \
                 for (int i = {}; i < {}; ++i) out[i] = 0.0;\n",
                buffers.len(),
                words.len()
            );
        }
        let text = format!("({parameters}{last}) {{\n  if (threadIdx.x != 0) return;\n{body}}}\n");
        let function = self.function("a report", 32, text);
        Call { function, blocks: 1, buffers, scratches: false, more }
    }

    /// A gradient of this network, if the output is one.
    fn flagged(&self, net: NetId, output: &Output, word: usize) -> Option<Flagged> {
        let OutputKind::Grad { net: of, param } = output.kind else { return None };
        let param = self.program.nets[net.0 as usize].params.get(param).filter(|_| of == net)?;
        let end = param.offset + param.shape.iter().product::<usize>();
        Some(Flagged { elements: param.offset..end, word })
    }

    /// Looks through the gradients of a network. What lies between them may be anything.
    fn check(&mut self, grads: BufferId, mut flagged: Vec<Flagged>) -> Call {
        let len = self.program.buffers[grads.0 as usize].len;
        flagged.sort_by_key(|flagged| flagged.elements.start);
        let rows: Vec<String> = flagged
            .iter()
            .map(|Flagged { elements, word }| format!("{{{}, {}, {word}}}", elements.start, elements.end))
            .collect();
        let (count, rows) = (rows.len(), rows.join(", "));
        let text = format!(
            "(const float *__restrict__ grads, double *report) {{\n  \
             static const long long flagged[{count}][3] = {{{rows}}};\n  \
             for (int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x; i < {len}; i += (int64_t)gridDim.x * 256) {{\n    \
             if (isfinite_f32(grads[i])) continue;\n    \
             for (int j = 0; j < {count}; ++j)\n      \
             if (i >= flagged[j][0] && i < flagged[j][1]) report[0] = report[flagged[j][2]] = 1.0;\n  }}\n}}\n"
        );
        let function = self.function("whether gradients are finite", 256, text);
        let blocks = len.div_ceil(1024).clamp(1, 4096);
        Call { function, blocks, buffers: vec![grads], scratches: false, more: vec![WITHHELD] }
    }

    /// Copies what a step computes to where the next one finds it.
    fn keep(&mut self, from: BufferId, to: BufferId) -> Call {
        let ty = |buffer: BufferId| {
            let found = &self.program.buffers[buffer.0 as usize];
            if found.narrow { "bf16" } else { c::stored(found.dtype) }
        };
        let len = self.program.buffers[to.0 as usize].len;
        let (source, target) = (ty(from), ty(to));
        let value = match (source, target) {
            (a, b) if a == b => "from[i]",
            (_, "bf16") => "narrow(from[i])",
            _ => "widen(from[i])",
        };
        let text = format!(
            "(const {source} *__restrict__ from, {target} *__restrict__ to) {{\n  \
             for (int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x; i < {len}; i += (int64_t)gridDim.x * 256)\n    \
             to[i] = {value};\n}}\n"
        );
        let function = self.function("a state", 256, text);
        let blocks = len.div_ceil(256).clamp(1, 4096);
        Call { function, blocks, buffers: vec![from, to], scratches: false, more: Vec::new() }
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
