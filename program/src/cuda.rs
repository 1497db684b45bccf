//! Programs as CUDA C++.
//!
//! [`module`] makes functions of all kernels, products and convolutions of a program, and of each launch of a plan the
//! calls that carry it out, one after the other. [`source`] is the text of functions for NVRTC; `extern "C"`, so that
//! they are found by name.
//!
//! A kernel's loops are looked at anew ([`tree`]: which of them are parallel), it is cut into stages of thousands of
//! threads each ([`stage`]), and these are printed ([`print`], [`scalar`], with wide accesses where [`vector`] finds them).
//! The launches of a band become one function ([`band`]).

mod band;
mod check;
mod context;
mod disjoint;
mod epilogue;
mod filtering;
mod finish;
mod gemm;
mod kernel;
mod library;
mod operands;
mod print;
mod product;
mod random;
mod report;
mod scalar;
mod stage;
mod starts;
mod store;
mod tree;
mod vector;

pub use check::problems;
pub use epilogue::ends_in;
pub use report::Reports;
pub use store::stored;

use crate::{Band, BufferId, DeviceCode, Extern, Kernel, Launch, Place, Program, c};
pub use band::SHARED;
use band::{Banded, Maker};
use epilogue::Epilogue;
pub use filtering::Filtering;
pub use finish::{Factor, Finish};
pub use gemm::{Gemm, Matrix};
pub use library::{ALIGNED, Choice, Start, Task};
use product::{Functions, Shape};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Bytes that the scratch memory and every persistent buffer must be aligned to.
pub const ALIGN: usize = 256;

/// How numbers are stored and multiplied. Sums are f32 in all, losses and times f64 where the method says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Precision {
    /// f32 throughout.
    #[default]
    F32,
    /// f32 in memory; products of numbers rounded to 10 bits of mantissa, on tensor cores.
    Tf32,
    /// bf16 in memory for what lives within a step, f32 for weights; products of bf16, on tensor cores.
    Bf16,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::Tf32 => "tf32",
            Precision::Bf16 => "bf16",
        })
    }
}

/// All that a program needs of a GPU.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Module {
    pub functions: Vec<Function>,
    /// For each plan and each of its launches, the calls that carry it out, in order. Those of a band that is one function
    /// are its first launch's.
    pub plans: Vec<Vec<Vec<Call>>>,
    pub reports: Reports,
    /// For each input that the GPU fills with random numbers itself, the call that does, but for its last two parameters: the
    /// stream's key and step, 64 bits each.
    pub draws: Vec<(BufferId, Call)>,
    /// Bytes that functions use while they run, and pass to the next call of the same launch.
    pub scratch: usize,
    /// Products and convolutions that a library may do, and the launches that are such.
    pub tasks: Vec<Task>,
    pub choices: Vec<Choice>,
    /// Bands whose launches run one after the other, what is in [`Place::Band`] in memory.
    pub apart: Vec<Apart>,
}

/// A band that is not one function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apart {
    /// Of the program's.
    pub plan: usize,
    /// Of the plan's.
    pub launches: Range<usize>,
    pub why: String,
}

/// One `__global__` function.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Unique in its module; no part of what makes functions equal.
    pub name: String,
    /// What it computes, for people.
    pub about: String,
    /// Parameters and body; empty for what comes from outside.
    pub text: String,
    /// Of a block.
    pub threads: usize,
    /// Bytes of a block's shared memory, besides what the text declares.
    pub shared: usize,
    /// Hand-written code that it is an entry of, instead of a text of its own.
    pub outside: Option<Outside>,
}

/// An entry of hand-written code.
#[derive(Clone, Debug, PartialEq)]
pub struct Outside {
    pub code: Arc<DeviceCode>,
    pub entry: String,
    /// How many it takes.
    pub parameters: usize,
}

/// One launch of a function.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Position in [`Module::functions`].
    pub function: usize,
    pub blocks: usize,
    /// Its first parameters, pointers.
    pub buffers: Vec<BufferId>,
    /// Whether the next parameter is the scratch memory.
    pub scratches: bool,
    /// Its last parameters.
    pub more: Vec<More>,
}

/// A parameter that is no whole buffer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum More {
    /// A pointer to this byte of a buffer.
    Within {
        buffer: BufferId,
        byte: usize,
    },
    Number(i64),
    /// A pointer to this word of the report.
    Report {
        word: usize,
    },
}

impl Function {
    fn declaration(&self) -> String {
        // Without a second number the assembler prefers many threads to no spills. Products need all registers.
        let blocks = if self.shared > 0 || self.text.contains("product<") { 1 } else { (512 / self.threads).max(1) };
        format!("extern \"C\" __global__ void __launch_bounds__({}, {blocks}) {}", self.threads, self.name)
    }
}

/// The text that defines `functions`, complete.
pub fn source<'a>(functions: impl IntoIterator<Item = &'a Function>) -> String {
    let mut text = prelude();
    for function in functions.into_iter().filter(|function| function.outside.is_none()) {
        text += &format!("\n/* {} */\n{}{}", function.about, function.declaration(), function.text);
    }
    text
}

/// What must stand before functions.
pub fn prelude() -> String {
    [
        include_str!("cuda/prelude/head.cuh"),
        c::PRELUDE,
        include_str!("cuda/prelude/tail.cuh"),
        include_str!("cuda/prelude/random.cuh"),
        include_str!("cuda/prelude/tensor.cuh"),
        include_str!("cuda/prelude/product.cuh"),
        include_str!("cuda/prelude/band.cuh"),
    ]
    .concat()
}

/// The functions and calls of a valid program, which is [`stored`] at this precision.
pub fn module(program: &Program, precision: Precision) -> Module {
    module_for(program, precision, Machine::default())
}

/// What a program runs on, as far as its code depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Bytes of shared memory that a band's block has at most.
    pub shared: usize,
    /// Whether there is a library for products or convolutions, which the module then says how to use.
    pub library: bool,
}

impl Default for Machine {
    fn default() -> Machine {
        Machine { shared: SHARED, library: false }
    }
}

/// As [`module`] for this machine. Its functions do not depend on whether there is a library.
pub fn module_for(program: &Program, precision: Precision, machine: Machine) -> Module {
    let mut builder = Builder {
        program,
        precision,
        shared: machine.shared,
        module: Module::default(),
        known: FxHashMap::default(),
        kernels: FxHashMap::default(),
        gated: false,
        codes: program.codes.iter().cloned().map(Arc::new).collect(),
        aligned: program.buffers.iter().map(|buffer| is_aligned(program, buffer.place)).collect(),
    };
    let withheld = builder.withheld();
    let mut large: Vec<(usize, Range<usize>)> = Vec::new();
    for (number, plan) in program.plans.iter().enumerate() {
        builder.gated = withheld[number];
        let mut calls: Vec<Vec<Call>> = vec![Vec::new(); plan.launches.len()];
        let mut together = vec![false; plan.launches.len()];
        for band in &plan.bands {
            let launches = &plan.launches[band.launches.clone()];
            let ended = builder.ended(launches);
            if ended.is_some() && !withheld[number] {
                large.push((number, band.launches.clone()));
            }
            match ended.map_or_else(|| builder.band(launches, band), Ok) {
                Ok(all) => {
                    calls[band.launches.start] = all;
                    together[band.launches.clone()].fill(true);
                }
                Err(why) => {
                    builder.module.apart.push(Apart { plan: number, launches: band.launches.clone(), why });
                }
            }
        }
        for (i, launch) in plan.launches.iter().enumerate().filter(|(i, _)| !together[*i]) {
            calls[i] = builder.calls(launch);
            if !withheld[number] {
                large.push((number, i..i + 1));
            }
        }
        calls.iter_mut().for_each(|calls| builder.gate(calls));
        builder.module.plans.push(calls);
    }
    builder.gated = false;
    builder.copying();
    let scratch = builder.module.scratch;
    large.into_iter().for_each(|(plan, launches)| builder.choice(plan, launches));
    if !machine.library {
        // What is compiled does not depend on it.
        (builder.module.scratch, builder.module.choices, builder.module.tasks) = (scratch, Vec::new(), Vec::new());
    }
    builder.module.reports = builder.reports(&withheld);
    builder.module.draws = builder.draws();
    builder.module
}

/// Whether a buffer starts at a multiple of 16 bytes.
fn is_aligned(program: &Program, place: Place) -> bool {
    match place {
        Place::Persistent => true,
        Place::Arena { offset } | Place::Band { offset } => offset % 16 == 0,
        Place::Part { of, start } => {
            let whole = &program.buffers[of.0 as usize];
            (start * whole.dtype.size()).is_multiple_of(16)
        }
    }
}

struct Builder<'a> {
    program: &'a Program,
    precision: Precision,
    shared: usize,
    module: Module,
    /// Functions by their threads, shared memory and text.
    known: FxHashMap<(usize, usize, String), usize>,
    /// What a kernel needs, by its number, whether it is gated, whether its buffers are aligned, and which are bf16.
    kernels: FxHashMap<(u32, bool, bool, Vec<bool>), Vec<kernel::Step>>,
    /// Whether functions made now are [`report::gated`].
    gated: bool,
    aligned: Vec<bool>,
    codes: Vec<Arc<DeviceCode>>,
}

impl Builder<'_> {
    fn calls(&mut self, launch: &Launch) -> Vec<Call> {
        match launch {
            Launch::Kernel { kernel, args } => {
                let aligned = args.iter().all(|arg| self.aligned[arg.0 as usize]);
                let narrow: Vec<bool> = args.iter().map(|arg| self.program.buffers[arg.0 as usize].narrow).collect();
                let found = &self.program.kernels[kernel.0 as usize];
                let key = (kernel.0, self.gated, aligned, narrow);
                let steps = match self.kernels.get(&key) {
                    Some(steps) => steps.clone(),
                    None => {
                        let steps = self.kernel(found, aligned, &key.3);
                        self.kernels.insert(key, steps.clone());
                        steps
                    }
                };
                let call = |step: kernel::Step| Call {
                    function: step.function,
                    blocks: step.blocks,
                    buffers: step.buffers.iter().map(|&buffer| args[buffer]).collect(),
                    scratches: step.scratches,
                    more: Vec::new(),
                };
                steps.into_iter().map(call).collect()
            }
            Launch::Contract(_) | Launch::Conv(_) => match self.shape(launch) {
                Some((shape, about)) => self.product(&shape, &about, None),
                None => Vec::new(),
            },
            Launch::Extern(e) => vec![self.external(e)],
        }
    }

    fn external(&mut self, e: &Extern) -> Call {
        let outside = Outside { code: self.codes[e.code].clone(), entry: e.entry.clone(), parameters: e.parameters() };
        let same = |f: &Function| f.threads == e.threads && f.outside.as_ref() == Some(&outside);
        let functions = &mut self.module.functions;
        let function = functions.iter().position(same).unwrap_or_else(|| {
            let name = format!("f{}", functions.len());
            let about = format!("{} of {}", e.entry, plain(&outside.code.name));
            functions.push(Function {
                name,
                about,
                text: String::new(),
                threads: e.threads,
                shared: 0,
                outside: Some(outside),
            });
            functions.len() - 1
        });
        let size = self.program.buffers[e.out.0 as usize].dtype.size();
        let results = e.results.iter().map(|start| More::Within { buffer: e.out, byte: start * size });
        let more = results.chain(e.numbers.iter().copied().map(More::Number)).collect();
        Call { function, blocks: e.blocks, buffers: e.args.clone(), scratches: false, more }
    }

    /// The calls of a product or a convolution and the kernel that takes its elements; None if the launches are something
    /// else.
    fn ended(&mut self, launches: &[Launch]) -> Option<Vec<Call>> {
        let [first, Launch::Kernel { kernel, args }] = launches else { return None };
        let (shape, about) = self.shape(first)?;
        let kernel = &self.program.kernels[kernel.0 as usize];
        // The kernel reads all of the buffer; so much must be computed.
        if shape.results() != self.program.buffers[shape.buffers[2].0 as usize].len {
            return None;
        }
        let epilogue = Epilogue::new(self.program, kernel, args, shape.buffers[2])?;
        Some(self.product(&shape, &format!("{about}, {}", plain(&kernel.name)), Some(&epilogue)))
    }

    /// What a product or a convolution multiplies, unless that is nothing; and what it is called.
    fn shape(&self, launch: &Launch) -> Option<(Shape, String)> {
        let aligned = |buffers: [BufferId; 3]| buffers.map(|buffer| self.aligned[buffer.0 as usize]);
        let found = match launch {
            Launch::Contract(x) => {
                (Shape::contract(x, aligned([x.a.buffer, x.b.buffer, x.c.buffer])), "product".to_owned())
            }
            Launch::Conv(x) => (Shape::conv(x, aligned([x.x, x.w, x.y])), format!("convolution, {:?}", x.role)),
            Launch::Kernel { .. } | Launch::Extern(_) => return None,
        };
        (found.0.results() > 0).then_some(found)
    }

    /// The calls of a band, if it can be one function; else why not.
    fn band(&mut self, launches: &[Launch], band: &Band) -> Result<Vec<Call>, String> {
        let maker =
            Maker { program: self.program, precision: self.precision, aligned: &self.aligned, shared: self.shared };
        let Banded { about, text, shared, blocks, buffers, scratch, sums } = maker.make(launches, band)?;
        self.module.scratch = self.module.scratch.max(scratch);
        let function = self.sharing(&about, band::THREADS, shared, text);
        let mut calls = vec![Call { function, blocks, buffers, scratches: scratch > 0, more: vec![] }];
        for sum in sums {
            let function = self.function("product in a band, its parts added", 256, sum.text);
            calls.push(Call { function, blocks: sum.blocks, buffers: vec![sum.result], scratches: true, more: vec![] });
        }
        Ok(calls)
    }

    /// `end`: what takes the results' elements instead of their buffer.
    fn product(&mut self, shape: &Shape, about: &str, end: Option<&Epilogue>) -> Vec<Call> {
        let types = shape.buffers.map(|buffer| {
            let buffer = &self.program.buffers[buffer.0 as usize];
            if buffer.narrow { "bf16" } else { c::stored(buffer.dtype) }
        });
        let Functions { product, threads, blocks, sum } = shape.functions(self.precision, types, end);
        let function = self.function(about, threads, product);
        let [a, b, c] = shape.buffers;
        let places = end.map_or(vec![c], |end| end.buffers.clone());
        let Some((adds, sum_blocks, bytes)) = sum else {
            let buffers = [vec![a, b], places].concat();
            return vec![Call { function, blocks, buffers, scratches: false, more: Vec::new() }];
        };
        self.module.scratch = self.module.scratch.max(bytes);
        let parts = Call { function, blocks, buffers: vec![a, b], scratches: true, more: Vec::new() };
        let function = self.function(&format!("{about}, its parts added"), 256, adds);
        vec![parts, Call { function, blocks: sum_blocks, buffers: places, scratches: true, more: Vec::new() }]
    }

    fn kernel(&mut self, kernel: &Kernel, aligned: bool, narrow: &[bool]) -> Vec<kernel::Step> {
        let (stages, scratch) = kernel::stages(kernel, aligned, narrow);
        self.module.scratch = self.module.scratch.max(scratch);
        let about = plain(&kernel.name);
        let stages = stages.into_iter().map(|printed| kernel::Step {
            function: self.function(&about, printed.threads, printed.text),
            blocks: printed.blocks,
            buffers: printed.buffers,
            scratches: printed.scratches,
        });
        stages.collect()
    }

    /// The function with this text; equal ones are one.
    fn function(&mut self, about: &str, threads: usize, text: String) -> usize {
        self.sharing(about, threads, 0, text)
    }

    fn sharing(&mut self, about: &str, threads: usize, shared: usize, text: String) -> usize {
        let text = if self.gated { report::gated(&text) } else { text };
        let functions = &mut self.module.functions;
        *self.known.entry((threads, shared, text.clone())).or_insert_with(|| {
            let name = format!("f{}", functions.len());
            functions.push(Function { name, about: about.into(), text, threads, shared, outside: None });
            functions.len() - 1
        })
    }
}

/// A name from outside as part of a comment, which must not end early.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "_-. ".contains(c) { c } else { '_' }).collect()
}
