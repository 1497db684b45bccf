//! Checks on a program: what the runtime relies on to run it without looking again.
//!
//! A program that passes reads and writes only inside its buffers, except through guarded loads (their guards are not
//! proven) and computed positions (checked when they run).

mod bands;
mod external;
mod kernel;
pub(crate) mod memory;

use crate::known;
use crate::{
    Access, Buffer, BufferId, Contract, Conv, ConvRole, DType, Known, Launch, Operand, Place, Plan, PlanInput, Program,
};
use thiserror::Error;

/// Something wrong with a program: where and what.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{place}: {what}")]
pub struct Problem {
    pub place: String,
    pub what: String,
}

/// All problems found, in the program's order.
pub fn validate(program: &Program) -> Result<(), Vec<Problem>> {
    let mut check = Check { program, problems: Vec::new() };
    check.buffers();
    // Everything after this looks up buffers' storage.
    if check.problems.is_empty() {
        for (i, kernel) in program.kernels.iter().enumerate() {
            let problems = kernel::problems(kernel);
            check.problems.extend(
                problems.into_iter().map(|what| Problem { place: format!("kernel {i} ({})", kernel.name), what }),
            );
        }
        check.interface();
        for plan in &program.plans {
            check.plan(plan);
        }
    }
    if check.problems.is_empty() { Ok(()) } else { Err(check.problems) }
}

/// What one launch does to a buffer.
pub(crate) struct Use {
    pub buffer: BufferId,
    pub access: Access,
}

/// The buffers of a launch, in its order.
pub(crate) fn uses(program: &Program, launch: &Launch) -> Vec<Use> {
    let read = |buffer| Use { buffer, access: Access::Read };
    let write = |buffer| Use { buffer, access: Access::Write };
    match launch {
        Launch::Kernel { kernel, args } => {
            let buffers = program.kernels.get(kernel.0 as usize).map_or(&[][..], |k| &k.buffers);
            args.iter().zip(buffers).map(|(arg, b)| Use { buffer: *arg, access: b.access }).collect()
        }
        Launch::Contract(c) => vec![read(c.a.buffer), read(c.b.buffer), write(c.c.buffer)],
        Launch::Conv(conv) => {
            let (computed, others) = conv.operands();
            vec![read(others[0]), read(others[1]), write(computed)]
        }
        Launch::Extern(e) => e.args.iter().copied().map(read).chain([write(e.out)]).collect(),
    }
}

struct Check<'a> {
    program: &'a Program,
    problems: Vec<Problem>,
}

impl<'a> Check<'a> {
    fn problem(&mut self, place: &str, what: String) {
        self.problems.push(Problem { place: place.into(), what });
    }

    fn buffer(&mut self, place: &str, id: BufferId) -> Option<&'a Buffer> {
        let found = self.program.buffers.get(id.0 as usize);
        if found.is_none() {
            self.problem(place, format!("there is no buffer {}", id.0));
        }
        found
    }

    /// As `buffer`, and of this dtype and length.
    fn expect(&mut self, place: &str, id: BufferId, dtype: DType, len: usize) {
        if let Some(b) = self.buffer(place, id)
            && (b.dtype != dtype || b.len != len)
        {
            self.problem(place, format!("buffer {} is {}[{}], not {dtype}[{len}]", id.0, b.dtype, b.len));
        }
    }

    fn buffers(&mut self) {
        for (i, buffer) in self.program.buffers.iter().enumerate() {
            let place = format!("buffer {i}");
            let Some(bytes) = buffer.len.checked_mul(buffer.width()).filter(|b| *b <= isize::MAX as usize) else {
                self.problem(&place, "is longer than memory".into());
                continue;
            };
            if buffer.narrow && buffer.dtype != DType::F32 {
                self.problem(&place, format!("is {} and cannot be stored as bf16", buffer.dtype));
            }
            match buffer.place {
                Place::Persistent => {}
                Place::Arena { offset } => {
                    if offset % 64 != 0 {
                        self.problem(&place, format!("starts at byte {offset} of the arena, no multiple of 64"));
                    }
                    if offset.checked_add(bytes).is_none_or(|end| end > self.program.arena) {
                        let arena = self.program.arena;
                        self.problem(&place, format!("{bytes} bytes at {offset} are outside the arena of {arena}"));
                    }
                }
                Place::Band { offset } => {
                    let end = offset.checked_add(bytes);
                    if offset % 64 != 0 || end.is_none_or(|end| end > self.program.spill) {
                        self.problem(&place, format!("{bytes} bytes at {offset} do not fit what bands may spill"));
                    }
                }
                Place::Part { of, start } => {
                    let Some(parent) = self.buffer(&place, of) else {
                        continue;
                    };
                    let whole = match parent.place {
                        Place::Persistent => true,
                        Place::Arena { .. } => self.program.nets.iter().any(|net| net.grads == Some(of)),
                        _ => false,
                    };
                    if !whole || parent.dtype != buffer.dtype || parent.narrow != buffer.narrow {
                        let what = format!("is a part of buffer {}, which is no {} that has any", of.0, buffer.dtype);
                        self.problem(&place, what);
                    } else if start.checked_add(buffer.len).is_none_or(|end| end > parent.len) {
                        self.problem(&place, format!("reaches past the end of buffer {}", of.0));
                    }
                }
            }
        }
    }

    /// Networks, inputs, schedule, samplers.
    fn interface(&mut self) {
        let program = self.program;
        let plan_exists = |plan: usize| plan < program.plans.len();
        for net in &program.nets {
            let place = format!("network `{}`", net.name);
            for buffer in
                [Some(net.weights), net.grads, net.ema].into_iter().flatten().chain(net.moments.values().copied())
            {
                self.expect(&place, buffer, DType::F32, net.len);
            }
            if let Some(updates) = net.updates {
                self.expect(&place, updates, DType::F64, 1);
            }
            for param in &net.params {
                let len = param.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
                if len.and_then(|n| n.checked_add(param.offset)).is_none_or(|end| end > net.len) {
                    self.problem(&place, format!("parameter `{}` reaches past its end", param.name));
                }
            }
            if net.from.is_some_and(|n| n.0 as usize >= program.nets.len()) {
                self.problem(&place, "starts from a network that does not exist".into());
            }
        }
        for input in &program.inputs {
            let place = format!("input `{}`", input.name);
            self.shaped(&place, input.buffer, &input.shape, Some(input.dtype));
            if let Some(number) = &input.number {
                self.known(&place, number, DType::I64);
            }
        }
        for constant in &program.constants {
            let place = format!("constant in buffer {}", constant.buffer.0);
            let dtype = constant.values.first().map_or(DType::F32, |value| value.dtype());
            self.expect(&place, constant.buffer, dtype, constant.values.len());
            if constant.values.iter().any(|value| value.dtype() != dtype) {
                self.problem(&place, "is of several dtypes".into());
            }
        }
        for turn in &program.schedule.steps {
            let nets = turn.updates.iter().all(|(n, plan)| (n.0 as usize) < program.nets.len() && plan_exists(*plan));
            if turn.every == 0 || !plan_exists(turn.plan) || !nets {
                self.problem("schedule", format!("turn {turn:?} cannot run"));
            }
        }
        for (name, sampler) in &program.samplers {
            let place = format!("sampler `{name}`");
            for stage in &sampler.stages {
                if !plan_exists(stage.plan) {
                    self.problem(&place, "names a plan that does not exist".into());
                }
                for &(from, to) in &stage.keeps {
                    if let (Some(from), Some(to)) = (self.buffer(&place, from), self.buffer(&place, to))
                        && (from.dtype != to.dtype || from.len != to.len || to.place != Place::Persistent)
                    {
                        self.problem(&place, "keeps a value where it cannot be".into());
                    }
                }
            }
            let last = sampler.stages.last().and_then(|stage| program.plans.get(stage.plan));
            if last.is_none_or(|plan| plan.outputs.iter().all(|output| output.name != "sample")) {
                self.problem(&place, "does not end with samples".into());
            }
        }
    }

    fn known(&mut self, place: &str, known: &Known, dtype: DType) {
        match known::dtype(self.program, known) {
            Ok(found) if found == dtype => {}
            Ok(found) => self.problem(place, format!("depends on a number of type {found}, not {dtype}")),
            Err(what) => self.problem(place, what),
        }
    }

    fn shaped(&mut self, place: &str, id: BufferId, shape: &[usize], dtype: Option<DType>) {
        let Some(buffer) = self.buffer(place, id) else { return };
        let len = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        if len != Some(buffer.len) || dtype.is_some_and(|d| d != buffer.dtype) {
            self.problem(
                place,
                format!("shape {shape:?} is not that of buffer {} ({}[{}])", id.0, buffer.dtype, buffer.len),
            );
        }
    }

    fn plan(&mut self, plan: &'a Plan) {
        let before = self.problems.len();
        for (i, launch) in plan.launches.iter().enumerate() {
            let place = format!("plan `{}`, launch {i}", plan.name);
            self.launch(&place, launch);
        }
        for output in &plan.outputs {
            self.shaped(&format!("plan `{}`, output `{}`", plan.name, output.name), output.buffer, &output.shape, None);
        }
        let place = format!("plan `{}`", plan.name);
        for (at, PlanInput { input, when }) in plan.inputs.iter().enumerate() {
            let Some(read) = self.program.inputs.get(*input) else {
                self.problem(&place, format!("there is no input {input}"));
                continue;
            };
            if let Some(when) = when {
                self.known(&place, when, DType::Bool);
            }
            let mut first = Vec::new();
            [&read.number, when].into_iter().flatten().for_each(|known| known::inputs(known, &mut first));
            let fed = |input: &usize| plan.inputs[..at].iter().any(|before| before.input == *input);
            if !first.iter().all(fed) {
                self.problem(&place, format!("input `{}` depends on one that is written after it", read.name));
            }
        }
        let mut free = 0;
        for guard in &plan.guards {
            if guard.launches.start < free || guard.launches.end > plan.launches.len() || guard.launches.is_empty() {
                self.problem(&place, format!("guards launches {:?}", guard.launches));
            }
            free = guard.launches.end;
            self.known(&place, &guard.when, DType::Bool);
        }
        if self.problems.len() == before {
            let problems = memory::problems(self.program, plan).into_iter();
            for what in problems.chain(bands::problems(self.program, plan)) {
                self.problem(&place, what);
            }
        }
    }

    fn launch(&mut self, place: &str, launch: &Launch) {
        let before = self.problems.len();
        match launch {
            Launch::Kernel { kernel, args } => {
                let Some(kernel) = self.program.kernels.get(kernel.0 as usize) else {
                    return self.problem(place, format!("there is no kernel {}", kernel.0));
                };
                if kernel.shared().len() != args.len() {
                    let (want, given) = (kernel.shared().len(), args.len());
                    return self.problem(place, format!("kernel `{}` takes {want} buffers, not {given}", kernel.name));
                }
                for (arg, buffer) in args.iter().zip(&kernel.buffers) {
                    self.expect(place, *arg, buffer.dtype, buffer.len);
                }
            }
            Launch::Contract(contract) => self.contract(place, contract),
            Launch::Conv(conv) => self.conv(place, conv),
            Launch::Extern(launch) => self.external(place, launch),
        }
        if self.problems.len() > before {
            return;
        }
        // What is written overlaps nothing else of the launch. Parts of a contraction's buffers may be disjoint.
        let uses = uses(self.program, launch);
        for (i, written) in uses.iter().enumerate().filter(|(_, u)| u.access != Access::Read) {
            for (j, other) in uses.iter().enumerate() {
                let both_written = other.access != Access::Read;
                if i != j && !(both_written && j < i) && memory::overlap(self.program, written.buffer, other.buffer) {
                    let (a, b) = (written.buffer.0, other.buffer.0);
                    self.problem(place, format!("writes buffer {a}, which overlaps its buffer {b}"));
                }
            }
            for constant in &self.program.constants {
                if memory::overlap(self.program, written.buffer, constant.buffer) {
                    self.problem(place, format!("writes buffer {}, which is constant", written.buffer.0));
                }
            }
        }
    }

    fn contract(&mut self, place: &str, c: &Contract) {
        if !c.dtype.is_float() {
            return self.problem(place, format!("a product of {}", c.dtype));
        }
        let strides = |of: fn(&crate::BatchDim) -> isize| c.batch.iter().map(move |d| (d.extent, of(d)));
        let dims = |operand: &Operand, rows, cols, batch: Vec<(usize, isize)>| {
            let mut dims = batch;
            dims.extend([(rows, operand.row), (cols, operand.col)]);
            dims
        };
        let a = dims(&c.a, c.m, c.k, strides(|d| d.a).collect());
        let b = dims(&c.b, c.k, c.n, strides(|d| d.b).collect());
        let out = dims(&c.c, c.m, c.n, strides(|d| d.c).collect());
        for (name, operand, dims) in [("a", &c.a, &a), ("b", &c.b, &b), ("c", &c.c, &out)] {
            let Some(buffer) = self.buffer(place, operand.buffer) else {
                continue;
            };
            if buffer.dtype != c.dtype {
                self.problem(place, format!("operand {name} is {}, not {}", buffer.dtype, c.dtype));
            }
            if !memory::strided_fits(operand.offset, dims, buffer.len) {
                self.problem(place, format!("operand {name} reaches outside buffer {}", operand.buffer.0));
            }
        }
        if !memory::distinct(&out) {
            self.problem(place, "writes an element of c twice".into());
        }
    }

    fn conv(&mut self, place: &str, conv: &Conv) {
        if !conv.dtype.is_float() {
            return self.problem(place, format!("a convolution of {}", conv.dtype));
        }
        let Some([x, w, y]) = conv.lens() else {
            return self.problem(place, format!("impossible geometry: {conv:?}"));
        };
        if conv.turned && conv.role == ConvRole::Weight {
            self.problem(place, "computes filters that lie the other way round".into());
        }
        for (buffer, len) in [(conv.x, x), (conv.w, w), (conv.y, y)] {
            self.expect(place, buffer, conv.dtype, len);
        }
    }
}
