//! Checks on the calls of a module: what a device relies on when it launches them without looking again.

use super::band::SHARED;
use super::store::uses;
use super::{Call, Choice, Module, More, Start, Task};
use crate::{Access, Band, BufferId, ConvRole, Launch, Place, Program};

/// All that is wrong; empty for what [`super::module`] makes.
pub fn problems(program: &Program, module: &Module) -> Vec<String> {
    let mut problems = Vec::new();
    if module.plans.len() != program.plans.len() {
        return vec!["is of another program".into()];
    }
    for (plan, calls) in program.plans.iter().zip(&module.plans) {
        if calls.len() != plan.launches.len() {
            problems.push(format!("plan `{}` has {} launches, not {}", plan.name, plan.launches.len(), calls.len()));
            continue;
        }
        let mut i = 0;
        while i < plan.launches.len() {
            // A band as one function, or a launch.
            let apart = |band: &&Band| calls[band.launches.clone()].iter().skip(1).any(|calls| !calls.is_empty());
            let band =
                plan.bands.iter().find(|band| band.launches.start == i && !band.launches.is_empty() && !apart(band));
            let end = band.map_or(i + 1, |band| band.launches.end);
            let place = format!("plan `{}`, launch {i}", plan.name);
            let found = of_launches(program, &plan.launches[i..end], &calls[i]);
            let found = found.into_iter().chain(calls[i].iter().filter_map(|call| of_call(module, call, 0)));
            problems.extend(found.map(|what| format!("{place}: {what}")));
            i = end;
        }
    }
    problems.extend(module.reports.calls.iter().flatten().filter_map(|call| of_call(module, call, 0)));
    let copies = module.choices.iter().flat_map(|choice| choice.before.iter().chain(&choice.after));
    problems.extend(copies.filter_map(|call| of_call(module, call, 0)));
    problems.extend(module.choices.iter().filter_map(|choice| of_choice(program, module, choice)));
    problems.extend(module.draws.iter().filter_map(|(_, call)| of_call(module, call, 2)));
    problems
}

/// Whether the calls touch what the launches touch, write all that these write, and pass values on only after they were made.
/// Of several launches, those of a band, what lives within it is in no call.
fn of_launches(program: &Program, launches: &[Launch], calls: &[Call]) -> Vec<String> {
    let mut problems = Vec::new();
    let inside = |buffer: &BufferId| {
        launches.len() > 1 && matches!(program.buffers[buffer.0 as usize].place, Place::Band { .. })
    };
    let uses: Vec<(BufferId, Access)> = launches.iter().flat_map(|launch| uses(program, launch)).collect();
    for call in calls {
        let wrong = |buffer: &BufferId| inside(buffer) || !uses.iter().any(|(used, _)| used == buffer);
        for buffer in touched(call).filter(wrong) {
            problems.push(format!("a call touches buffer {}, which is not the launch's", buffer.0));
        }
    }
    let empty = launches.iter().all(|launch| match launch {
        Launch::Kernel { kernel, .. } => program.kernels[kernel.0 as usize].extent == 0,
        Launch::Contract(_) | Launch::Conv(_) | Launch::Extern(_) => false,
    });
    for (buffer, access) in uses {
        let len = program.buffers[buffer.0 as usize].len;
        let written = access != Access::Read && len > 0 && !empty && !inside(&buffer);
        if written && !calls.iter().any(|call| touched(call).any(|touched| touched == buffer)) {
            problems.push(format!("no call writes buffer {}", buffer.0));
        }
    }
    problems
}

/// Whether a choice is of a launch that it may be of, and its operands have room.
fn of_choice(program: &Program, module: &Module, choice: &Choice) -> Option<String> {
    let plan = program.plans.get(choice.plan);
    let launch = plan.and_then(|plan| plan.launches.get(choice.launch));
    let bytes = match (launch, module.tasks.get(choice.task)) {
        (Some(Launch::Contract(_)), Some(Task::Gemm(gemm))) => {
            let sides = [(&gemm.a, gemm.m, gemm.k), (&gemm.b, gemm.k, gemm.n), (&gemm.c, gemm.m, gemm.n)];
            sides.map(|(matrix, rows, columns)| {
                let (far, near) = if matrix.by_columns { (columns, rows) } else { (rows, columns) };
                let last = (gemm.batch - 1) * matrix.batch + (far - 1) * matrix.stride + near;
                last * if matrix.bf16 { 2 } else { 4 }
            })
        }
        (Some(Launch::Conv(_)), Some(Task::Filtering(f))) => {
            let x = f.batch * f.height * f.width * f.channels;
            let w = f.kernel[0] * f.kernel[1] * f.channels * f.filters;
            let y = f.batch * f.out[0] * f.out[1] * f.filters;
            let all = match f.role {
                ConvRole::Forward => [x, w, y],
                ConvRole::Input => [w, y, x],
                ConvRole::Weight => [x, y, w],
            };
            all.map(|elements| elements * if f.bf16 { 2 } else { 4 })
        }
        _ => return Some(format!("launch {} of plan {} is no task of a library", choice.launch, choice.plan)),
    };
    let too_long = |(start, bytes): (&Start, usize)| {
        let (start, room) = match start {
            Start::Within(buffer, byte) => (*byte, program.buffers[buffer.0 as usize].bytes()),
            Start::Scratch(byte) => (*byte, module.scratch),
        };
        start + bytes > room
    };
    let task = &module.tasks[choice.task];
    let vector = match task {
        Task::Gemm(gemm) => gemm.n * if gemm.c.bf16 { 2 } else { 4 },
        Task::Filtering(f) => f.filters * if f.bf16 { 2 } else { 4 },
    };
    let finish = task.finish();
    if [finish.matrix.is_some(), finish.bias] != [choice.matrix.is_some(), choice.bias.is_some()] {
        return Some(format!("task {} is not given what it adds", choice.task));
    }
    let added = choice.matrix.iter().zip([bytes[2]]).chain(choice.bias.iter().zip([vector]));
    let next = plan.and_then(|plan| plan.launches.get(choice.launch + 1));
    if !finish.is_plain() && !matches!(next, Some(Launch::Kernel { .. })) {
        return Some(format!("no kernel follows what task {} finishes", choice.task));
    }
    if choice.lent.is_some_and(|(lent, _)| !choice.after.iter().any(|call| touched(call).any(|b| b == lent))) {
        return Some(format!("nothing reads what is lent to task {}", choice.task));
    }
    let wrong = choice.starts.iter().zip(bytes).chain(added).any(too_long);
    wrong.then(|| format!("an operand of task {} ends after its memory", choice.task))
}

fn touched(call: &Call) -> impl Iterator<Item = BufferId> {
    let within = |more: &More| match more {
        More::Within { buffer, .. } => Some(*buffer),
        More::Number(_) | More::Report { .. } => None,
    };
    call.buffers.iter().copied().chain(call.more.iter().filter_map(within))
}

/// Whether a call fits its function, with so many parameters to come, and CUDA's limits.
fn of_call(module: &Module, call: &Call, to_come: usize) -> Option<String> {
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
    let given = call.buffers.len() + call.scratches as usize + call.more.len() + to_come;
    if count != given {
        return Some(format!("`{}` takes {count} parameters, not {given}", function.name));
    }
    if parameters.contains("char *scratch") != call.scratches || call.scratches && module.scratch == 0 {
        return Some(format!("`{}` and its call disagree on scratch memory", function.name));
    }
    if call.blocks == 0 || call.blocks > i32::MAX as usize || function.threads == 0 || function.threads > 1024 {
        return Some(format!("`{}` in {} blocks of {} threads", function.name, call.blocks, function.threads));
    }
    if function.shared > SHARED {
        return Some(format!("`{}` with {} bytes of shared memory", function.name, function.shared));
    }
    if function.threads % 32 != 0 {
        return Some(format!("`{}` has blocks of {} threads, no whole warps", function.name, function.threads));
    }
    None
}
