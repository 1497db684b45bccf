//! Checks on the calls of a module: what a device relies on when it launches them without looking again.

use super::narrow::uses;
use super::{Call, Module, More};
use crate::{Access, BufferId, Launch, Program};

/// All that is wrong; empty for what [`super::module`] makes.
pub fn problems(program: &Program, module: &Module) -> Vec<String> {
    let mut problems = Vec::new();
    if module.plans.len() != program.plans.len() || module.narrow.len() != program.buffers.len() {
        return vec!["is of another program".into()];
    }
    for (plan, calls) in program.plans.iter().zip(&module.plans) {
        if calls.len() != plan.launches.len() {
            problems.push(format!("plan `{}` has {} launches, not {}", plan.name, plan.launches.len(), calls.len()));
            continue;
        }
        for (i, (launch, calls)) in plan.launches.iter().zip(calls).enumerate() {
            let place = format!("plan `{}`, launch {i}", plan.name);
            problems.extend(of_launch(program, launch, calls).into_iter().map(|what| format!("{place}: {what}")));
            problems
                .extend(calls.iter().filter_map(|call| of_call(module, call)).map(|what| format!("{place}: {what}")));
        }
    }
    problems.extend(module.checks.iter().filter_map(|(_, call)| of_call(module, call)));
    problems
}

/// Whether the calls touch what the launch touches, write all that it writes, and pass values on only after they were made.
fn of_launch(program: &Program, launch: &Launch, calls: &[Call]) -> Vec<String> {
    let mut problems = Vec::new();
    let uses = uses(program, launch);
    for call in calls {
        for buffer in touched(call).filter(|buffer| !uses.iter().any(|(used, _)| used == buffer)) {
            problems.push(format!("a call touches buffer {}, which is not the launch's", buffer.0));
        }
    }
    let empty = match launch {
        Launch::Kernel { kernel, .. } => program.kernels[kernel.0 as usize].extent == 0,
        Launch::Contract(_) | Launch::Conv(_) | Launch::Extern(_) => false,
    };
    for (buffer, access) in uses {
        let len = program.buffers[buffer.0 as usize].len;
        let written = access != Access::Read && len > 0 && !empty;
        if written && !calls.iter().any(|call| touched(call).any(|touched| touched == buffer)) {
            problems.push(format!("no call writes buffer {}", buffer.0));
        }
    }
    problems
}

fn touched(call: &Call) -> impl Iterator<Item = BufferId> {
    let within = |more: &More| match more {
        More::Within { buffer, .. } => Some(*buffer),
        More::Number(_) => None,
    };
    call.buffers.iter().copied().chain(call.more.iter().filter_map(within))
}

/// Whether a call fits its function and CUDA's limits.
fn of_call(module: &Module, call: &Call) -> Option<String> {
    let Some(function) = module.functions.get(call.function) else {
        return Some(format!("there is no function {}", call.function));
    };
    if let Some(outside) = &function.outside {
        let given = call.buffers.len() + call.more.len();
        if outside.parameters != given || call.scratches {
            return Some(format!("`{}` takes {} parameters, not {given}", outside.entry, outside.parameters));
        }
        // Nothing but CUDA's own limits holds for it; the program's validation has looked at those.
        return None;
    }
    let parameters = function.text.split(')').next().unwrap_or_default();
    let count = if parameters.contains('*') { parameters.split(',').count() } else { 0 };
    let given = call.buffers.len() + call.scratches as usize;
    if count != given {
        return Some(format!("`{}` takes {count} pointers, not {given}", function.name));
    }
    if parameters.contains("char *scratch") != call.scratches || call.scratches && module.scratch == 0 {
        return Some(format!("`{}` and its call disagree on scratch memory", function.name));
    }
    if call.blocks == 0 || call.blocks > i32::MAX as usize || function.threads == 0 || function.threads > 1024 {
        return Some(format!("`{}` in {} blocks of {} threads", function.name, call.blocks, function.threads));
    }
    if function.threads % 32 != 0 {
        return Some(format!("`{}` has blocks of {} threads, no whole warps", function.name, function.threads));
    }
    None
}
