//! A program on a GPU: its memory, its code, its plans as recorded launches.

use super::choose::Note;
use super::driver::{Address, CudaError, Driver, FunctionLaunch, Launch, Ticket};
use crate::Values;
use crate::cpu::DeviceError;
use crate::cpu::interpret::{self, Fault};
use crate::cpu::memory::{Element, OwnedView, View};
use crate::random::Stream;
use fgc_program::cuda::{self, Machine, Module, More, Precision, Reports, Task};
use fgc_program::validate::{Problem, validate};
use fgc_program::{BufferId, DType, Input, Known, Place, Program, Scalar, known};
use rustc_hash::FxHashMap;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// What plans had to tell when they were asked: the losses, metrics and norms of each as it last ran.
#[derive(Clone, Debug)]
pub struct Told(Vec<f64>);

impl Told {
    /// Whether a loss or a gradient of the last step is not finite.
    pub fn is_withheld(&self) -> bool {
        self.0[Reports::WITHHELD] != 0.0
    }
}

/// A program ready to run on a GPU.
pub struct Device {
    program: Arc<Program>,
    pub(super) module: Module,
    pub(super) driver: Box<dyn Driver>,
    /// Of each buffer.
    pub(super) at: Vec<Address>,
    pub(super) scratch: Address,
    pub(super) report: Address,
    /// The launches of plans that a library does: the choice and its way.
    pub(super) chosen: FxHashMap<(usize, usize), (usize, usize)>,
    /// What was found out of all that it might do.
    pub(super) notes: Vec<Note>,
    /// Whether steps after one that is left out are left out, too.
    halts: bool,
    bytes: usize,
    /// Makes random numbers: for each input that is filled here.
    draws: FxHashMap<BufferId, FunctionLaunch>,
    /// The inputs' values as last written, of those that conditions are evaluated on; the others are empty.
    mirrors: Vec<OwnedView>,
    /// Of those, the one that a buffer is.
    mirror_of: FxHashMap<BufferId, usize>,
    /// Memory to exchange buffers by, once that was asked for; and its bytes.
    pub(super) aside: Option<(Address, usize)>,
    /// What was recorded, by the plan and the launches left out.
    recorded: FxHashMap<(usize, Vec<Range<usize>>), usize>,
}

impl Device {
    /// Checks the program, makes its memory (zero) and its code.
    pub fn new(
        program: Arc<Program>,
        precision: Precision,
        mut driver: Box<dyn Driver>,
    ) -> Result<Device, DeviceError> {
        let program = match cuda::stored(&program, precision) {
            Cow::Borrowed(_) => program,
            Cow::Owned(stored) => Arc::new(stored),
        };
        validate(&program).map_err(DeviceError::Invalid)?;
        let library = driver.library();
        let module =
            cuda::module_for(&program, precision, Machine { shared: driver.shared(), library: library.is_some() });
        let problem = |what| Problem { place: "as CUDA C++".into(), what };
        let problems: Vec<Problem> = cuda::problems(&program, &module).into_iter().map(problem).collect();
        if !problems.is_empty() {
            return Err(DeviceError::Invalid(problems));
        }
        driver.load(&module.functions)?;
        let arena = driver.allocate(program.arena.max(1), "values within a step")?;
        let spills = if module.apart.is_empty() { 0 } else { program.spill };
        let spill = driver.allocate(spills.max(1), "values within a step")?;
        let scratch = driver.allocate(module.scratch.max(1), "scratch memory of kernels")?;
        let report = driver.allocate(module.reports.words.max(1) * 8, "the report of a step")?;
        let mut bytes = program.arena + spills + module.scratch + module.reports.words * 8;
        let mut at = vec![arena; program.buffers.len()];
        for (at, buffer) in at.iter_mut().zip(&program.buffers) {
            *at = match buffer.place {
                Place::Persistent => {
                    let size = buffer.bytes();
                    bytes += size;
                    driver.allocate(size.max(1), "weights, moments and gradients")?
                }
                Place::Arena { offset } => arena.plus(offset),
                Place::Band { offset } => spill.plus(offset),
                Place::Part { .. } => continue,
            };
        }
        for (i, buffer) in program.buffers.iter().enumerate() {
            if let Place::Part { of, start } = buffer.place {
                at[i] = at[of.0 as usize].plus(start * buffer.width());
            }
        }
        let own = |dtype, len| {
            OwnedView::new(dtype, len).ok_or(CudaError::Memory { bytes: usize::MAX, what: "an input".into() })
        };
        let asked = known::asked(&program);
        let len = |(input, asked): (&Input, &bool)| if *asked { input.shape.iter().product() } else { 0 };
        let mirrors = program.inputs.iter().zip(&asked).map(|pair| own(pair.0.dtype, len(pair)));
        let mirrors = mirrors.collect::<Result<Vec<OwnedView>, CudaError>>()?;
        let held = program.inputs.iter().enumerate().filter(|(i, _)| asked[*i]);
        let mirror_of = held.map(|(i, input)| (input.buffer, i)).collect();
        let (recorded, draws, halts, chosen, notes, aside) = Default::default();
        let mut device = Device {
            program,
            module,
            driver,
            at,
            scratch,
            report,
            halts,
            chosen,
            notes,
            draws,
            bytes,
            mirrors,
            mirror_of,
            aside,
            recorded,
        };
        device.draws = device.module.draws.iter().map(|(input, call)| (*input, device.call(call, None))).collect();
        if let Some(library) = library {
            device.choose(&library)?;
        }
        for constant in device.program.clone().constants.iter() {
            device.set_scalars(constant.buffer, &constant.values)?;
        }
        Ok(device)
    }

    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// The functions it runs.
    pub fn module(&self) -> &Module {
        &self.module
    }

    pub fn name(&self) -> String {
        self.driver.name()
    }

    /// Bytes of all buffers.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The value of a number that the inputs, as they are now, determine.
    pub fn known(&self, known: &Known) -> Result<Scalar, Fault> {
        let views: Vec<View> = self.mirrors.iter().map(OwnedView::view).collect();
        // SAFETY: memory of this device's own; writing it takes `&mut self`.
        unsafe { interpret::evaluate(known, &views) }
    }

    /// Runs the launches of a plan, but for those whose guards do not hold.
    pub fn run(&mut self, plan: usize) -> Result<(), DeviceError> {
        let key = (plan, self.left_out(plan)?);
        let recorded = match self.recorded.get(&key) {
            Some(recorded) => *recorded,
            None => {
                let recorded = self.driver.record(self.launches(plan, &key.1))?;
                self.recorded.insert(key, recorded);
                recorded
            }
        };
        Ok(self.driver.replay(recorded)?)
    }

    /// The launches of a plan whose guards do not hold.
    fn left_out(&self, plan: usize) -> Result<Vec<Range<usize>>, DeviceError> {
        let Some(launches) = self.program.plans.get(plan) else { return Err(DeviceError::NoPlan(plan)) };
        let mut left_out: Vec<Range<usize>> = Vec::new();
        for guard in &launches.guards {
            let holds = self.known(&guard.when).map_err(|fault| DeviceError::Condition { plan, fault })?;
            if holds != Scalar::Bool(true) {
                left_out.push(guard.launches.clone());
            }
        }
        Ok(left_out)
    }

    /// The calls of a plan without the launches `left_out`, then those of its report.
    fn launches(&self, plan: usize, left_out: &[Range<usize>]) -> Vec<Launch> {
        let kept = (0..self.module.plans[plan].len()).filter(|i| !left_out.iter().any(|range| range.contains(i)));
        let launches = kept.flat_map(|i| self.carried_out(plan, i));
        launches.chain(self.module.reports.calls[plan].iter().map(|call| self.launch(call))).collect()
    }

    /// The calls that carry out a launch of a plan.
    fn carried_out(&self, plan: usize, launch: usize) -> Vec<Launch> {
        match self.chosen.get(&(plan, launch)) {
            Some(&(choice, way)) => self.library_launches(&self.module.choices[choice], way),
            None => self.module.plans[plan][launch].iter().map(|call| self.launch(call)).collect(),
        }
    }

    /// The time of each launch of a plan, as it would run now, by itself and many times over: afterwards what it writes is of no
    /// use. Those of a band that is one function are its first one's.
    pub fn measure(&mut self, plan: usize) -> Result<Vec<Duration>, DeviceError> {
        let left_out = self.left_out(plan)?;
        let mut times = Vec::new();
        for i in 0..self.module.plans[plan].len() {
            let runs = !left_out.iter().any(|range| range.contains(&i));
            let launches = if runs { self.carried_out(plan, i) } else { Vec::new() };
            let seconds = if launches.is_empty() { 0.0 } else { self.driver.seconds(&launches)? };
            times.push(Duration::from_secs_f64(seconds));
        }
        Ok(times)
    }

    /// What a library does of a plan.
    pub fn by_library(&self, plan: usize) -> Vec<&Task> {
        let of_plan = self.chosen.iter().filter(|((of, _), _)| *of == plan);
        of_plan.map(|(_, (choice, _))| &self.module.tasks[self.module.choices[*choice].task]).collect()
    }

    /// What was found out of all that libraries might do.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    pub(super) fn launch(&self, call: &cuda::Call) -> Launch {
        Launch::Function(self.call(call, None))
    }

    /// `lent`: a buffer that is elsewhere for this call, and where.
    pub(super) fn call(&self, call: &cuda::Call, lent: Option<(BufferId, Address)>) -> FunctionLaunch {
        let at = |buffer: &BufferId| match lent {
            Some((other, at)) if other == *buffer => at.0,
            _ => self.at[buffer.0 as usize].0,
        };
        let buffers = call.buffers.iter().map(at);
        let more = call.more.iter().map(|more| match more {
            More::Within { buffer, byte } => self.at[buffer.0 as usize].plus(*byte).0,
            More::Number(number) => *number as u64,
            More::Report { word } => self.report.plus(8 * word).0,
        });
        let function = &self.module.functions[call.function];
        FunctionLaunch {
            function: call.function,
            blocks: call.blocks,
            threads: function.threads,
            shared: function.shared,
            arguments: buffers.chain(call.scratches.then_some(self.scratch.0)).chain(more).collect(),
        }
    }

    /// Fills an input with a stream's numbers; false if that is the host's to do.
    pub fn draw(&mut self, input: BufferId, stream: &Stream) -> Result<bool, DeviceError> {
        let Some(launch) = self.draws.get(&input) else { return Ok(false) };
        let mut launch = launch.clone();
        launch.arguments.extend([u64::from(stream.key[0]) | u64::from(stream.key[1]) << 32, stream.step]);
        self.driver.run(&Launch::Function(launch))?;
        Ok(true)
    }

    /// Whether updates after a step that is to be left out do nothing.
    pub fn withholds(&self) -> bool {
        self.module.reports.withholds
    }

    /// Whether steps after one that is left out are to be left out too, until [`Device::go_on`].
    pub fn set_halts(&mut self, halts: bool) -> Result<(), DeviceError> {
        if halts != self.halts {
            self.halts = halts;
            self.go_on()?;
            let word = f64::from(u8::from(halts)).to_le_bytes();
            self.driver.upload(self.report.plus(8 * Reports::HALTS), &word)?;
        }
        Ok(())
    }

    /// Forgets that a step was left out.
    pub fn go_on(&mut self) -> Result<(), DeviceError> {
        Ok(self.driver.upload(self.report.plus(8 * Reports::WITHHELD), &0f64.to_le_bytes())?)
    }

    /// Begins to bring what plans that ran so far have to tell.
    pub fn post(&mut self) -> Result<Ticket, DeviceError> {
        Ok(self.driver.post(self.report, 8 * self.module.reports.words)?)
    }

    /// Waits for what was posted.
    pub fn told(&mut self, ticket: Ticket) -> Result<Told, DeviceError> {
        let raw = self.driver.collect(ticket)?;
        Ok(Told(elements(&raw, self.module.reports.words)))
    }

    /// An output that is one number, of a step or an update; of a step's gradient, not 0 where it is not finite: None if it
    /// is not told.
    pub fn number(&self, told: &Told, plan: usize, output: usize) -> Option<f64> {
        let word = (*self.module.reports.places.get(plan)?.get(output)?)?;
        told.0.get(word).copied()
    }

    /// Bytes that a buffer takes on the device.
    pub(super) fn size(&self, buffer: BufferId) -> usize {
        self.program.buffers[buffer.0 as usize].bytes()
    }

    fn check(&self, buffer: BufferId, dtype: DType, len: Option<usize>) -> Result<(), DeviceError> {
        let found = self.program.buffers.get(buffer.0 as usize);
        match found {
            Some(b) if b.dtype == dtype && len.is_none_or(|len| len == b.len) && lasts(b.place) => Ok(()),
            _ => Err(DeviceError::Mismatch { buffer, dtype, len: len.unwrap_or(0) }),
        }
    }

    /// The elements of a buffer; booleans are bytes.
    pub fn read<T: Element>(&self, buffer: BufferId) -> Result<Vec<T>, DeviceError> {
        self.check(buffer, T::DTYPE, None)?;
        if let Some(&mirror) = self.mirror_of.get(&buffer) {
            return Ok(self.mirrored(mirror));
        }
        let found = &self.program.buffers[buffer.0 as usize];
        let mut raw = vec![0; self.size(buffer)];
        self.driver.download(self.at[buffer.0 as usize], &mut raw)?;
        if self.program.buffers[buffer.0 as usize].narrow {
            let wide = raw.chunks_exact(2).flat_map(|b| [0, 0, b[0], b[1]]);
            raw = wide.collect();
        }
        Ok(elements(&raw, found.len))
    }

    /// What only the host writes is known here. The caller has checked the dtype.
    fn mirrored<T: Element>(&self, mirror: usize) -> Vec<T> {
        let view = self.mirrors[mirror].view();
        // SAFETY: the mirror's own memory, `len` elements of its buffer's dtype, which the caller has checked.
        unsafe { std::slice::from_raw_parts(view.as_ptr().cast::<T>(), view.len()) }.to_vec()
    }

    /// Some of a buffer's elements.
    pub fn read_part<T: Element>(&self, buffer: BufferId, range: Range<usize>) -> Result<Vec<T>, DeviceError> {
        self.check_part(buffer, T::DTYPE, range.end)?;
        if self.program.buffers[buffer.0 as usize].narrow {
            return Ok(self.read(buffer)?[range].to_vec());
        }
        let size = size_of::<T>();
        let mut raw = vec![0; range.len() * size];
        self.driver.download(self.at[buffer.0 as usize].plus(range.start * size), &mut raw)?;
        Ok(elements(&raw, range.len()))
    }

    /// Overwrites a buffer's elements from `start` on.
    pub fn write_part<T: Element>(&mut self, buffer: BufferId, start: usize, values: &[T]) -> Result<(), DeviceError> {
        self.check_part(buffer, T::DTYPE, start + values.len())?;
        if self.program.buffers[buffer.0 as usize].narrow || self.mirror_of.contains_key(&buffer) {
            let range = start..start + values.len();
            return self.update(buffer, |all: &mut [T]| all[range].copy_from_slice(values));
        }
        let at = self.at[buffer.0 as usize].plus(start * size_of::<T>());
        Ok(self.driver.upload(at, bytes_of(values))?)
    }

    fn check_part(&self, buffer: BufferId, dtype: DType, end: usize) -> Result<(), DeviceError> {
        let found = self.program.buffers.get(buffer.0 as usize);
        match found {
            Some(b) if b.dtype == dtype && end <= b.len && lasts(b.place) => Ok(()),
            _ => Err(DeviceError::Mismatch { buffer, dtype, len: end }),
        }
    }

    /// Overwrites a whole buffer.
    pub fn write<T: Element>(&mut self, buffer: BufferId, values: &[T]) -> Result<(), DeviceError> {
        self.check(buffer, T::DTYPE, Some(values.len()))?;
        if let Some(&mirror) = self.mirror_of.get(&buffer) {
            let view = self.mirrors[mirror].view();
            // SAFETY: the mirror's own memory, as long as its buffer and of its dtype, borrowed to write.
            unsafe { std::ptr::copy_nonoverlapping(values.as_ptr().cast::<u8>(), view.as_ptr(), size_of_val(values)) };
        }
        self.upload(buffer, bytes_of(values))
    }

    fn upload(&mut self, buffer: BufferId, bytes: &[u8]) -> Result<(), DeviceError> {
        let at = self.at[buffer.0 as usize];
        if !self.program.buffers[buffer.0 as usize].narrow {
            return Ok(self.driver.upload(at, bytes)?);
        }
        let floats: Vec<f32> = elements(bytes, bytes.len() / 4);
        let halves: Vec<u8> = floats.iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()).collect();
        Ok(self.driver.upload(at, &halves)?)
    }

    /// Lets `change` change a buffer's elements.
    pub fn update<T: Element, R>(
        &mut self,
        buffer: BufferId,
        change: impl FnOnce(&mut [T]) -> R,
    ) -> Result<R, DeviceError> {
        let mut values = self.read::<T>(buffer)?;
        let result = change(&mut values);
        self.write(buffer, &values)?;
        Ok(result)
    }

    fn set_scalars(&mut self, buffer: BufferId, values: &[Scalar]) -> Result<(), DeviceError> {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| match value {
                Scalar::Bool(b) => vec![*b as u8],
                Scalar::I64(i) => i.to_le_bytes().to_vec(),
                Scalar::F32(x) => x.to_le_bytes().to_vec(),
                Scalar::F64(x) => x.to_le_bytes().to_vec(),
            })
            .collect();
        self.upload(buffer, &bytes)
    }

    /// A copy of a buffer's elements, whatever their dtype.
    pub fn values(&self, buffer: BufferId) -> Result<Values, DeviceError> {
        let dtype = self.program.buffers.get(buffer.0 as usize).map_or(DType::F32, |b| b.dtype);
        Ok(match dtype {
            DType::Bool => Values::Bool(self.read::<u8>(buffer)?.iter().map(|b| *b != 0).collect()),
            DType::I64 => Values::I64(self.read(buffer)?),
            DType::F32 => Values::F32(self.read(buffer)?),
            DType::F64 => Values::F64(self.read(buffer)?),
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
        let buffer = |id: BufferId| self.program.buffers.get(id.0 as usize);
        let (Some(a), Some(b)) = (buffer(from), buffer(to)) else { return Err(DeviceError::Copy { from, to }) };
        if a.dtype != b.dtype || a.len != b.len || !lasts(a.place) || !lasts(b.place) {
            return Err(DeviceError::Copy { from, to });
        }
        if a.narrow != b.narrow {
            let values = self.values(from)?;
            return self.set_values(to, &values);
        }
        let bytes = self.size(from);
        Ok(self.driver.copy(self.at[from.0 as usize], self.at[to.0 as usize], bytes)?)
    }
}

/// Whether a buffer has memory of its own: what lives within a band may have none.
pub(super) fn lasts(place: Place) -> bool {
    !matches!(place, Place::Band { .. })
}

fn bytes_of<T: Element>(values: &[T]) -> &[u8] {
    // SAFETY: elements are numbers without padding, and any bytes may be read.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// The `len` elements that `bytes` are.
fn elements<T: Element>(bytes: &[u8], len: usize) -> Vec<T> {
    let mut values: Vec<T> = Vec::with_capacity(len);
    assert!(bytes.len() >= len * size_of::<T>(), "a buffer's bytes");
    // SAFETY: there is room for `len` elements and as many bytes to copy; every bit pattern is a number.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), values.as_mut_ptr().cast(), len * size_of::<T>());
        values.set_len(len);
    }
    values
}
