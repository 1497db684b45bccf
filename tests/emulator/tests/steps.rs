//! What the host does between launches: a step waits for the GPU once, which may be after the next was begun, and one that is
//! not finite changes nothing, though nobody looks before its updates are under way.

mod common;

use emulator::Emulator;
use fgc_compiler::level::Target;
use fgc_compiler::preset::Setup;
use fgc_program::Program;
use fgc_program::cuda::{Function, Precision};
use fgc_runtime::cpu::{self, Backend};
use fgc_runtime::cuda::driver::Launch;
use fgc_runtime::cuda::{self, Address, CudaError, Driver, Ticket};
use fgc_runtime::data::{Batch, DataSpec, Dataset, Split};

use fgc_runtime::train::{Model, NonFinite, Pins, StepReport, Trainer, Weights};
use fgc_runtime::{Device, Tensor};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The loss is finite where x is 0, its gradient is not.
const METHOD: &str = "
method fit() {
  data x
  net student = denoiser() adamw(lr = 1e-2) ema(0.9) clip(1.0)
  net guide = denoiser() adamw(lr = 1e-2)
  let s = student.schedule
  draw t ~ uniform_time()(s), eps ~ normal(x), perm ~ permutation(B)
  let y = add_noise(s, x, eps, t)
  let far = (student.x0(y, t, none) - x) * x
  state level = f32(1)
  step {
    level = 0.5 * level + mean(abs(x))
    loss distance = mean(sqrt(sum(far * far over C))) -> student
    loss other = mse(guide.x0(y, t, none), x) -> guide
    metric size = mean(abs(x)) + level
    metric order = sum(f64(perm) * f64(iota(B, size(t, B)))) / 100
  }
}";

/// Only every other step uses the network's `logvar`: in the other its gradient's memory holds something else.
const TURNS: &str = "
method turns() {
  data x
  net student = denoiser() adamw(lr = 1e-2)
  let s = student.schedule
  draw t ~ uniform_time()(s), eps ~ normal(x)
  let out = student(add_noise(s, x, eps, t), t, none)
  step wide every 2 { loss a = mse(out.x0, x) + mean(f64(out.logvar) ^ 2) -> student }
  step narrow { loss b = mse(out.x0, x) -> student }
}";

/// Its samples are of averaged weights.
const SAMPLED: &str = "
fn walk(net: network, like, steps: int) {
  let s = net.schedule
  draw z ~ normal(like)
  var x = latents(s, z)
  scan t, t_next in pairs(s.t_list(steps)) carry x {
    x = f32(f64(x) - (t - t_next) * f64(net.flow(x, s.time(t), none)))
  }
  return x
}
method sampled() {
  data x
  net student = denoiser() adamw(lr = 1e-2) ema(0.5)
  draw t ~ uniform_time()(student.schedule)
  step { loss l = mse(student.x0(x, t, none), x) -> student }
  sample walk(student, x, 3)
}";

const BATCH: usize = 6;

/// An emulator that counts what waits for it, and takes nothing from the host once it is told to fail.
struct Counting(Emulator, Arc<AtomicUsize>, Arc<AtomicBool>);

impl Driver for Counting {
    fn name(&self) -> String {
        self.0.name()
    }
    fn allocate(&mut self, bytes: usize, what: &str) -> Result<Address, CudaError> {
        self.0.allocate(bytes, what)
    }
    fn upload(&mut self, to: Address, bytes: &[u8]) -> Result<(), CudaError> {
        if self.2.load(Ordering::Relaxed) {
            return Err(CudaError::Failed { action: "copy to the GPU", what: "it is gone".into() });
        }
        self.0.upload(to, bytes)
    }
    fn post(&mut self, from: Address, bytes: usize) -> Result<Ticket, CudaError> {
        self.0.post(from, bytes)
    }
    fn collect(&mut self, ticket: Ticket) -> Result<Vec<u8>, CudaError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.collect(ticket)
    }
    fn download(&self, from: Address, bytes: &mut [u8]) -> Result<(), CudaError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.download(from, bytes)
    }
    fn copy(&mut self, from: Address, to: Address, bytes: usize) -> Result<(), CudaError> {
        self.0.copy(from, to, bytes)
    }
    fn load(&mut self, functions: &[Function]) -> Result<(), CudaError> {
        self.0.load(functions)
    }
    fn wait(&mut self) -> Result<(), CudaError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.wait()
    }
    fn run(&mut self, launch: &Launch) -> Result<(), CudaError> {
        self.0.run(launch)
    }
    fn record(&mut self, launches: Vec<Launch>) -> Result<usize, CudaError> {
        self.0.record(launches)
    }
    fn replay(&mut self, recorded: usize) -> Result<(), CudaError> {
        self.0.replay(recorded)
    }
    fn forget(&mut self, recorded: usize) -> Result<(), CudaError> {
        self.0.forget(recorded)
    }
}

fn program(method: &str, target: Target) -> Arc<Program> {
    let setup = Setup { target, ..common::setup("mlp(hidden = 24, blocks = 1, emb = 8)", &[2], BATCH) };
    Arc::new(common::program(method, &setup))
}

/// The model on the CPU, and on the emulated GPU with what has waited for that.
fn models(method: &str) -> (Model, Model, Arc<AtomicUsize>) {
    let waits = Arc::new(AtomicUsize::new(0));
    let driver = Box::new(Counting(Emulator::new(1), waits.clone(), Arc::default()));
    let gpu: Device = cuda::Device::new(program(method, Target::Cuda), Precision::F32, driver).unwrap().into();
    let cpu: Device = cpu::Device::new(program(method, Target::Cpu), Backend::Interpreter, 1).unwrap().into();
    let model = |device| Model::new(device, 3, &Weights::default()).unwrap().0;
    (model(cpu), model(gpu), waits)
}

fn batch(fill: impl Fn(usize) -> f32) -> Batch {
    [("x".to_owned(), Tensor::f32(vec![BATCH, 2], (0..2 * BATCH).map(fill).collect()))].into_iter().collect()
}

fn good(seed: usize) -> Batch {
    batch(|i| 0.5 + ((i * 7 + seed * 3) % 11) as f32 / 11.0)
}

fn step(model: &mut Model, batch: &Batch) -> StepReport {
    model.step(batch, &Pins::new(), NonFinite::Skip).unwrap()
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-4 * (1.0 + a.abs())
}

fn agree(a: &StepReport, b: &StepReport) {
    assert_eq!((&a.turn, &a.skipped), (&b.turn, &b.skipped));
    for (mine, theirs) in [(&a.losses, &b.losses), (&a.metrics, &b.metrics), (&a.grad_norms, &b.grad_norms)] {
        assert!(mine.keys().eq(theirs.keys()), "{mine:?} and {theirs:?}");
        let close = |(x, y): (&f64, &f64)| close(*x, *y) || !x.is_finite() && !y.is_finite();
        assert!(mine.values().zip(theirs.values()).all(close), "{mine:?} and {theirs:?}");
    }
}

/// All that a checkpoint keeps, numbers of updates among it.
fn kept(model: &Model) -> Vec<(String, Vec<f64>)> {
    let checkpoint = model.checkpoint("", "").unwrap();
    checkpoint.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.to_f64())).collect()
}

fn bits(all: Vec<(String, Vec<f64>)>) -> Vec<(String, Vec<u64>)> {
    all.into_iter().map(|(name, values)| (name, values.into_iter().map(f64::to_bits).collect())).collect()
}

#[test]
fn a_step_waits_once() {
    let (mut cpu, mut gpu, waits) = models(METHOD);
    for seed in 0..4 {
        waits.store(0, Ordering::Relaxed);
        let (a, b) = (step(&mut cpu, &good(seed)), step(&mut gpu, &good(seed)));
        assert_eq!(waits.load(Ordering::Relaxed), 1, "step {seed}");
        agree(&a, &b);
        assert!(b.skipped.is_none() && b.losses.len() == 3 && b.grad_norms.len() == 2, "{b:?}");
    }
    for ((name, a), (_, b)) in kept(&cpu).iter().zip(&kept(&gpu)) {
        assert!(a.iter().zip(b).all(|(a, b)| close(*a, *b)), "{name}: {a:?} and {b:?}");
    }
}

/// Weights and their averages change places on the GPU, and are afterwards what they were.
#[test]
fn sampling_waits_for_the_samples_alone() {
    let (mut cpu, mut gpu, waits) = models(SAMPLED);
    for seed in 0..3 {
        agree(&step(&mut cpu, &good(seed)), &step(&mut gpu, &good(seed)));
    }
    let before = bits(kept(&gpu));
    waits.store(0, Ordering::Relaxed);
    let samples = [&mut cpu, &mut gpu].map(|model| model.sample("method", BATCH, &Batch::new(), 5).unwrap().to_f64());
    assert_eq!(waits.load(Ordering::Relaxed), 1);
    assert!(samples[0].iter().zip(&samples[1]).all(|(a, b)| close(*a, *b)), "{samples:?}");
    assert_eq!(before, bits(kept(&gpu)));
    // Without averages they are others.
    let (_, mut plain, _) = models(&SAMPLED.replace(" ema(0.5)", ""));
    (0..3).for_each(|seed| _ = step(&mut plain, &good(seed)));
    assert_ne!(plain.sample("method", BATCH, &Batch::new(), 5).unwrap().to_f64(), samples[1]);
}

/// What a step found is told, though the next cannot be begun.
#[test]
fn a_report_outlives_the_step_after_it() {
    let fails = Arc::new(AtomicBool::new(false));
    let driver = Box::new(Counting(Emulator::new(1), Arc::default(), fails.clone()));
    let gpu: Device = cuda::Device::new(program(METHOD, Target::Cuda), Precision::F32, driver).unwrap().into();
    let data = Dataset::load(&DataSpec::Gaussian { dim: 2, std: 0.5 }, Split::Train, &mut |_, _| {}).unwrap();
    let (model, _) = Model::new(gpu, 3, &Weights::default()).unwrap();
    let mut trainer = Trainer::new(model, Arc::new(data), NonFinite::Stop);
    assert_eq!(trainer.step().unwrap().len(), 0);
    fails.store(true, Ordering::Relaxed);
    let reports = trainer.step().unwrap();
    assert!(reports.len() == 1 && reports[0].losses["distance"].is_finite(), "{reports:?}");
    assert!(trainer.settle().unwrap_err().to_string().contains("it is gone"));
}

/// The next step is begun before the host waits for the one before, and that waits for nothing else.
#[test]
fn the_host_is_a_step_ahead() {
    let (mut cpu, mut gpu, waits) = models(METHOD);
    let bad = batch(|i| if i == 3 { f32::NAN } else { 0.25 });
    let batches = [good(0), good(1), bad, good(2), batch(|_| 0.0), batch(|_| 0.0), good(3)];
    let begin = |gpu: &mut Model, batch| gpu.begin(batch, &Pins::new(), NonFinite::Skip).unwrap();
    let expected: Vec<StepReport> = batches.iter().map(|batch| step(&mut cpu, batch)).collect();
    waits.store(0, Ordering::Relaxed);
    let mut under_way = begin(&mut gpu, &batches[0]);
    for (i, batch) in batches.iter().enumerate().skip(1) {
        assert!(!under_way.is_over());
        let next = begin(&mut gpu, batch);
        assert_eq!(waits.load(Ordering::Relaxed), i - 1);
        agree(&expected[i - 1], &gpu.end(std::mem::replace(&mut under_way, next)).unwrap());
    }
    agree(&expected[6], &gpu.end(under_way).unwrap());
    assert_eq!((cpu.iteration(), cpu.skipped()), (gpu.iteration(), gpu.skipped()));
    assert_eq!(cpu.skipped(), 3);
    for ((name, a), (_, b)) in kept(&cpu).iter().zip(&kept(&gpu)) {
        assert!(a.iter().zip(b).all(|(a, b)| close(*a, *b)), "{name}: {a:?} and {b:?}");
    }
}

/// Where a step that is not finite is an error, the one that was begun after it changes nothing.
#[test]
fn an_error_leaves_the_model_as_it_was_before_the_step() {
    let (_, mut gpu, _) = models(METHOD);
    step(&mut gpu, &good(1));
    for bad in [batch(|i| if i == 3 { f32::NAN } else { 0.25 }), batch(|_| 0.0)] {
        let (before, at) = (bits(kept(&gpu)), gpu.iteration());
        let begin = |gpu: &mut Model, batch| gpu.begin(batch, &Pins::new(), NonFinite::Stop).unwrap();
        let (failing, next) = (begin(&mut gpu, &bad), begin(&mut gpu, &good(2)));
        gpu.end(failing).unwrap_err();
        assert_eq!((&before, at), (&bits(kept(&gpu)), gpu.iteration()));
        // The one after it says so.
        let left_out = gpu.end(next).unwrap_err().to_string();
        assert_eq!(left_out, format!("iteration {} was left out, as a step before it was not finite", at + 1));
        assert_eq!((before, at), (bits(kept(&gpu)), gpu.iteration()));
        assert!(gpu.step(&good(2), &Pins::new(), NonFinite::Stop).is_ok());
    }
}

/// A loss that is no number, a gradient that is none though its loss is one: both are found after the updates were run, and
/// leave weights, moments, averages and counts as they were; what comes after them goes on as on the CPU.
#[test]
fn a_step_that_is_not_finite_changes_nothing() {
    let (mut cpu, mut gpu, _) = models(METHOD);
    for bad in [batch(|i| if i == 3 { f32::NAN } else { 0.25 }), batch(|_| 0.0)] {
        agree(&step(&mut cpu, &good(9)), &step(&mut gpu, &good(9)));
        let before = kept(&gpu);
        let (a, b) = (step(&mut cpu, &bad), step(&mut gpu, &bad));
        agree(&a, &b);
        assert!(b.skipped.is_some(), "{b:?}");
        let own = |all: Vec<(String, Vec<f64>)>| all.into_iter().filter(|(name, _)| name.contains('.')).collect();
        assert_eq!(bits(own(before)), bits(own(kept(&gpu))));
        agree(&step(&mut cpu, &good(4)), &step(&mut gpu, &good(4)));
    }
    let stop = |model: &mut Model| model.step(&batch(|_| 0.0), &Pins::new(), NonFinite::Stop).unwrap_err().to_string();
    let (a, b) = (stop(&mut cpu), stop(&mut gpu));
    assert_eq!(a, b);
    agree(&step(&mut cpu, &good(2)), &step(&mut gpu, &good(2)));
    assert_eq!((cpu.iteration(), cpu.skipped()), (gpu.iteration(), gpu.skipped()));
}

/// Steps look through the gradients that they have computed, each its own.
#[test]
fn a_step_looks_at_its_own_gradients() {
    let (mut cpu, mut gpu, _) = models(TURNS);
    let Device::Cuda(device) = gpu.device() else { panic!("not the emulated GPU") };
    let (turns, calls) = (&device.program().schedule.steps, &device.module().reports.calls);
    let checks: Vec<usize> = turns.iter().map(|turn| calls[turn.plan].last().unwrap().function).collect();
    assert!(checks.len() == 2 && checks[0] != checks[1], "{checks:?}");
    for seed in 0..4 {
        agree(&step(&mut cpu, &good(seed)), &step(&mut gpu, &good(seed)));
    }
}

/// Each launch of a plan is measured by itself, what is left out and what another's function does is not.
#[test]
fn launches_are_measured_by_themselves() {
    let (_, mut gpu, _) = models(METHOD);
    step(&mut gpu, &good(0));
    let Device::Cuda(device) = gpu.device() else { panic!("not the emulated GPU") };
    let module = device.module().clone();
    for (plan, launches) in module.plans.iter().enumerate() {
        let times = gpu.measure(plan).unwrap();
        assert_eq!(times.len(), launches.len());
        assert!(times.iter().zip(launches).all(|(time, calls)| time.is_zero() == calls.is_empty()), "{times:?}");
    }
}
