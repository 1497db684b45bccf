//! A program on the CPU: its memory, its code, its threads.

use crate::Values;
use crate::cpu::band::Band;
use crate::cpu::compile::{CompileError, Compiled, Compiler, Entry};
use crate::cpu::interpret::{self, Fault};
use crate::cpu::memory::{Element, Memory, View};
use crate::cpu::packs::{Packable, Packs};
use crate::cpu::pool::Pool;
use crate::cpu::{contract, conv, cost, naive};
use crate::cuda::CudaError;
use fgc_program::validate::{Problem, validate};
use fgc_program::{BufferId, Contract, Conv, DType, Kernel, Known, Launch, Program, Scalar};
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use thiserror::Error;

/// How launches run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Kernels as native code; tuned products.
    Compiled,
    /// Kernels interpreted, some hundred times slower; tuned products. For machines without a C compiler.
    Interpreter,
    /// Kernels interpreted; products by their definition. The oracle.
    Reference,
}

#[derive(Debug, Error)]
pub enum DeviceError {
    #[error("the program is not valid: {}", list(.0))]
    Invalid(Vec<Problem>),
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error("kernel `{kernel}`: {fault}")]
    Fault { kernel: String, fault: Fault },
    #[error("a condition of plan {plan}: {fault}")]
    Condition { plan: usize, fault: Fault },
    #[error("`{kernel}` is code for a GPU, and so is a program that launches it: compile it for the CPU")]
    ForGpus { kernel: String },
    #[error("there is no plan {0}")]
    NoPlan(usize),
    #[error("buffer {} is not a {dtype}[{len}]", .buffer.0)]
    Mismatch { buffer: BufferId, dtype: DType, len: usize },
    #[error("buffers {} and {} differ in dtype or length", .from.0, .to.0)]
    Copy { from: BufferId, to: BufferId },
    #[error(transparent)]
    Cuda(#[from] CudaError),
}

fn list(problems: &[Problem]) -> String {
    let shown: Vec<String> = problems.iter().take(5).map(Problem::to_string).collect();
    let more = problems.len().saturating_sub(shown.len());
    shown.join("; ") + &if more > 0 { format!("; and {more} more") } else { String::new() }
}

/// A program ready to run.
pub struct Device {
    program: Arc<Program>,
    memory: Memory,
    pool: Pool,
    plans: Vec<Vec<Step>>,
    packs: Packs,
    /// Where the program's inputs lie.
    inputs: Vec<View>,
    /// Keeps the code that steps call.
    compiled: Option<Compiled>,
    /// For each plan the time of each launch when it last ran, if asked for.
    times: Option<Vec<Vec<Duration>>>,
}

/// A launch with its buffers found.
enum Step {
    Native {
        entry: Entry,
        buffers: Addresses,
        extent: usize,
        chunk: usize,
    },
    Interpreted {
        kernel: usize,
        views: Vec<View>,
    },
    Contract {
        contract: Contract,
        views: [View; 3],
        naive: bool,
        /// The right operand's place among what stays packed, if it does.
        kept: Option<usize>,
    },
    Conv {
        conv: Conv,
        views: [View; 3],
        naive: bool,
    },
    /// The launches of a band, at the place of its first.
    Band(Band),
    /// Another launch of a band.
    Banded,
}

impl Step {
    /// Right operands that could stay packed.
    fn packable(&self) -> Vec<Packable> {
        match self {
            Step::Contract { contract, views, naive: false, .. } => {
                contract::packable(contract, views[1]).into_iter().collect()
            }
            Step::Band(band) => band.packable(),
            _ => Vec::new(),
        }
    }

    /// Takes note of those that do.
    fn keep(&mut self, packs: &Packs) {
        match self {
            Step::Contract { contract, views, naive: false, kept } => {
                *kept = contract::packable(contract, views[1]).and_then(|right| packs.find(&right));
            }
            Step::Band(band) => band.keep(packs),
            _ => {}
        }
    }
}

/// The buffers of a native kernel.
struct Addresses(Vec<*mut c_void>);

// SAFETY: addresses within the device's own memory, used only while the device is borrowed to run.
unsafe impl Send for Addresses {}
// SAFETY: as above.
unsafe impl Sync for Addresses {}

impl Device {
    /// Checks the program, makes its memory (zero) and, for [`Backend::Compiled`], its code. `threads` 0 takes all cores.
    ///
    /// # Errors
    /// [`DeviceError::Compile`] where there is no C compiler, among others: fall back to [`Backend::Interpreter`].
    pub fn new(program: Arc<Program>, backend: Backend, threads: usize) -> Result<Device, DeviceError> {
        let compiler = if backend == Backend::Compiled { Some(Compiler::from_env()?) } else { None };
        Device::build(program, backend, compiler.as_ref(), threads)
    }

    /// With native kernels from this compiler.
    pub fn compiled(program: Arc<Program>, compiler: &Compiler, threads: usize) -> Result<Device, DeviceError> {
        Device::build(program, Backend::Compiled, Some(compiler), threads)
    }

    fn build(
        program: Arc<Program>,
        backend: Backend,
        compiler: Option<&Compiler>,
        threads: usize,
    ) -> Result<Device, DeviceError> {
        validate(&program).map_err(DeviceError::Invalid)?;
        if let Some(i) = program.buffers.iter().position(|buffer| buffer.narrow) {
            let what = "is bf16, which no CPU device stores".into();
            return Err(DeviceError::Invalid(vec![Problem { place: format!("buffer {i}"), what }]));
        }
        let unfit =
            || DeviceError::Invalid(vec![Problem { place: "buffers".into(), what: "do not fit memory".into() }]);
        let mut memory = Memory::new(&program, compiler.is_none()).ok_or_else(unfit)?;
        for constant in &program.constants {
            memory.fill(constant.buffer, &constant.values);
        }
        let shares = compiler.map_or_else(Vec::new, |_| fgc_program::cost::scalar_shares(&program));
        let compiled = compiler.map(|compiler| compiler.compile(&program.kernels, &shares)).transpose()?;
        let chunks: Vec<usize> = program.kernels.iter().map(cost::chunk).collect();
        let naive = backend == Backend::Reference;
        let step = |launch: &Launch| {
            let view = |id: &BufferId| memory.view(*id).ok_or_else(unfit);
            Ok(match launch {
                Launch::Kernel { kernel, args } => {
                    let kernel = kernel.0 as usize;
                    let views = args.iter().map(view).collect::<Result<Vec<View>, DeviceError>>()?;
                    match compiled.as_ref().and_then(|c| c.entries.get(kernel)) {
                        Some(entry) => Step::Native {
                            entry: *entry,
                            buffers: Addresses(views.iter().map(|view| view.as_ptr().cast()).collect()),
                            extent: program.kernels[kernel].extent,
                            chunk: chunks[kernel],
                        },
                        None => Step::Interpreted { kernel, views },
                    }
                }
                Launch::Contract(c) => {
                    let views = [view(&c.a.buffer)?, view(&c.b.buffer)?, view(&c.c.buffer)?];
                    Step::Contract { contract: c.clone(), views, naive, kept: None }
                }
                Launch::Conv(c) => {
                    Step::Conv { conv: c.clone(), views: [view(&c.x)?, view(&c.w)?, view(&c.y)?], naive }
                }
                Launch::Extern(e) => return Err(DeviceError::ForGpus { kernel: e.entry.clone() }),
            })
        };
        let steps = |plan: &fgc_program::Plan| {
            // Interpreters run a band's launches one after the other.
            let bands = if compiled.is_some() { &plan.bands[..] } else { &[] };
            let each = plan.launches.iter().enumerate().map(|(i, launch)| {
                let Some(band) = bands.iter().find(|band| band.launches.contains(&i)) else { return step(launch) };
                if band.launches.start != i {
                    return Ok(Step::Banded);
                }
                let code = compiled.as_ref().map_or(&[][..], |compiled| &compiled.entries);
                Band::new(&program, plan, band, code, &memory).map(Step::Band).ok_or_else(unfit)
            });
            each.collect::<Result<Vec<Step>, DeviceError>>()
        };
        let mut plans = program.plans.iter().map(steps).collect::<Result<Vec<_>, DeviceError>>()?;
        let read: Vec<Vec<Packable>> =
            plans.iter().map(|steps| steps.iter().flat_map(Step::packable).collect()).collect();
        let packs = Packs::choose(&program, &read, memory.bytes());
        plans.iter_mut().flatten().for_each(|step| step.keep(&packs));
        let inputs = program.inputs.iter().map(|input| memory.view(input.buffer).ok_or_else(unfit));
        let inputs = inputs.collect::<Result<Vec<View>, DeviceError>>()?;
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let pool = Pool::new(if threads == 0 { cores } else { threads });
        Ok(Device { program, memory, pool, plans, packs, inputs, compiled, times: None })
    }

    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Bytes of all buffers, and of operands that stay packed.
    pub fn bytes(&self) -> usize {
        self.memory.bytes() + self.packs.bytes()
    }

    /// Units of native code that were compiled rather than found in the cache.
    pub fn units_built(&self) -> usize {
        self.compiled.as_ref().map_or(0, |compiled| compiled.built)
    }

    /// The value of a number that the inputs, as they are now, determine.
    pub fn known(&self, known: &Known) -> Result<Scalar, Fault> {
        // SAFETY: the device's memory; writing it takes `&mut self`.
        unsafe { interpret::evaluate(known, &self.inputs) }
    }

    /// Runs the launches of a plan, but for those whose guards do not hold.
    pub fn run(&mut self, plan: usize) -> Result<(), DeviceError> {
        let steps = self.plans.get(plan).ok_or(DeviceError::NoPlan(plan))?;
        let mut left_out = Vec::new();
        for guard in &self.program.plans[plan].guards {
            let holds = self.known(&guard.when).map_err(|fault| DeviceError::Condition { plan, fault })?;
            if holds != Scalar::Bool(true) {
                left_out.push(guard.launches.clone());
            }
        }
        let mut left_out = left_out.into_iter().peekable();
        let mut times = self.times.as_mut().map(|times| &mut times[plan]);
        if let Some(times) = &mut times {
            times.clear();
        }
        self.packs.forget();
        for (i, step) in steps.iter().enumerate() {
            let begun = times.is_some().then(Instant::now);
            left_out.next_if(|range| range.end <= i);
            if left_out.peek().is_none_or(|range| !range.contains(&i)) {
                run_step(step, &self.program.kernels, &mut self.packs, &mut self.pool)?;
            }
            if let (Some(times), Some(begun)) = (&mut times, begun) {
                times.push(begun.elapsed());
            }
        }
        Ok(())
    }

    /// Whether to measure each launch.
    pub fn set_profiling(&mut self, on: bool) {
        self.times = on.then(|| vec![Vec::new(); self.plans.len()]);
    }

    /// The time of each launch of a plan when it last ran; empty if that was not measured.
    pub fn times(&self, plan: usize) -> &[Duration] {
        self.times.as_ref().and_then(|times| times.get(plan)).map_or(&[], Vec::as_slice)
    }

    /// The elements of a buffer; booleans are bytes.
    pub fn read<T: Element>(&self, buffer: BufferId) -> Result<&[T], DeviceError> {
        self.memory.slice(buffer).ok_or(DeviceError::Mismatch { buffer, dtype: T::DTYPE, len: 0 })
    }

    /// The elements of a buffer, to change; booleans are bytes, 0 or 1.
    pub fn read_mut<T: Element>(&mut self, buffer: BufferId) -> Result<&mut [T], DeviceError> {
        self.memory.slice_mut(buffer).ok_or(DeviceError::Mismatch { buffer, dtype: T::DTYPE, len: 0 })
    }

    /// Whether all of a buffer's elements are finite; on all threads.
    pub fn is_finite(&mut self, buffer: BufferId) -> Result<bool, DeviceError> {
        /// Elements of a task, and of a block that is looked through whole: vector code.
        const TASK: usize = 1 << 16;
        const BLOCK: usize = 1 << 12;
        let mismatch = DeviceError::Mismatch { buffer, dtype: DType::F32, len: 0 };
        let values: &[f32] = self.memory.slice(buffer).ok_or(mismatch)?;
        let finite = AtomicBool::new(true);
        self.pool.run(values.len().div_ceil(TASK), &|task| {
            let own = &values[task * TASK..values.len().min((task + 1) * TASK)];
            let good = |block: &[f32]| block.iter().fold(true, |all, x| all & x.is_finite());
            if !own.chunks(BLOCK).all(good) {
                finite.store(false, Ordering::Relaxed);
            }
        });
        Ok(finite.into_inner())
    }

    /// Overwrites a whole buffer.
    pub fn write<T: Element>(&mut self, buffer: BufferId, values: &[T]) -> Result<(), DeviceError> {
        let error = DeviceError::Mismatch { buffer, dtype: T::DTYPE, len: values.len() };
        let slice = self.memory.slice_mut(buffer).filter(|slice| slice.len() == values.len()).ok_or(error)?;
        slice.copy_from_slice(values);
        Ok(())
    }

    /// A copy of a buffer's elements, whatever their dtype.
    pub fn values(&self, buffer: BufferId) -> Result<Values, DeviceError> {
        let dtype = self.memory.view(buffer).map_or(DType::F32, |view| view.dtype());
        Ok(match dtype {
            DType::Bool => Values::Bool(self.read::<u8>(buffer)?.iter().map(|b| *b != 0).collect()),
            DType::I64 => Values::I64(self.read(buffer)?.to_vec()),
            DType::F32 => Values::F32(self.read(buffer)?.to_vec()),
            DType::F64 => Values::F64(self.read(buffer)?.to_vec()),
        })
    }

    /// Overwrites a whole buffer, whatever its dtype.
    pub fn set_values(&mut self, buffer: BufferId, values: &Values) -> Result<(), DeviceError> {
        match values {
            Values::Bool(v) => self.write(buffer, &v.iter().map(|b| *b as u8).collect::<Vec<u8>>()),
            Values::I64(v) => self.write(buffer, v),
            Values::F32(v) => self.write(buffer, v),
            Values::F64(v) => self.write(buffer, v),
        }
    }

    /// Copies one buffer over another of the same dtype and length.
    pub fn copy(&mut self, from: BufferId, to: BufferId) -> Result<(), DeviceError> {
        if self.memory.copy(from, to) { Ok(()) } else { Err(DeviceError::Copy { from, to }) }
    }

    /// Exchanges the elements of two buffers of the same dtype and length.
    pub fn swap(&mut self, a: BufferId, b: BufferId) -> Result<(), DeviceError> {
        if self.memory.swap(a, b) { Ok(()) } else { Err(DeviceError::Copy { from: a, to: b }) }
    }
}

/// Runs one step of a validated program, whose memory the caller has borrowed to write.
fn run_step(step: &Step, kernels: &[Kernel], packs: &mut Packs, pool: &mut Pool) -> Result<(), DeviceError> {
    match step {
        Step::Native { entry, buffers, extent, chunk } => {
            let run = |task: usize| {
                let (from, to) = (task * chunk, extent.min(&((task + 1) * chunk)).to_owned());
                // SAFETY: the kernel was compiled for buffers of these dtypes and lengths, and validated to stay within
                // them; its iterations are independent, so ranges of them may run at once.
                unsafe { entry(buffers.0.as_ptr(), from as i64, to as i64) }
            };
            // One thread at a time borrows the addresses; they are only read.
            pool.run(extent.div_ceil(*chunk), &run);
            Ok(())
        }
        Step::Interpreted { kernel, views } => {
            let kernel = &kernels[*kernel];
            // SAFETY: the device's memory, borrowed to write by the caller.
            let result = unsafe { interpret::run(kernel, views) };
            result.map_err(|fault| DeviceError::Fault { kernel: kernel.name.clone(), fault })
        }
        Step::Contract { contract: launch, views, naive, kept } => {
            // SAFETY: the device's memory, borrowed to write by the caller; the launch is validated.
            unsafe {
                if *naive {
                    naive::contract(launch, views[0], views[1], views[2]);
                } else {
                    let packed = kept.and_then(|kept| packs.packed(kept, pool));
                    contract::run(launch, *views, packed, pool);
                }
            }
            Ok(())
        }
        Step::Band(band) => {
            // SAFETY: the device's memory, borrowed to write by the caller; the program is validated.
            unsafe { band.run(packs, pool) };
            Ok(())
        }
        Step::Banded => Ok(()),
        Step::Conv { conv: launch, views, naive } => {
            // SAFETY: the device's memory, borrowed to write by the caller; the launch is validated.
            unsafe {
                if *naive {
                    naive::conv(launch, views[0], views[1], views[2]);
                } else {
                    conv::run(launch, *views, pool);
                }
            }
            Ok(())
        }
    }
}
