//! `fgc run`

use crate::device;
use crate::kept;
use crate::plan::Plan;
use crate::preset;
use crate::problem::Problem;
use crate::setup::{level, setup, trained};
use crate::source::Source;
use fgc_compiler::device_code;
use fgc_compiler::level::Level;
use fgc_compiler::preset::Setup;
use fgc_program::Program;
use fgc_runtime::Device;
use fgc_runtime::data::{DataSpec, Dataset, Split};
use fgc_runtime::names::closest;
use fgc_runtime::progress::clock;
use fgc_runtime::train::{Cadence, Model, NonFinite, RunDir, TrainError, Trainer, evaluate, run, without_weights};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Copies the files of the spec's kernels to where its copy looks for them.
fn keep_kernels(dir: &RunDir, source: &Source, setup: &Setup) -> Result<(), Problem> {
    for name in device_code::named(&source.text) {
        let from = device_code::locate(setup, &source.name(), &name);
        let Some(to) = from.file_name().map(|bare| dir.path().join(bare)) else { continue };
        if from != to {
            let failed = |e| Problem::new(format!("cannot keep {} in {}: {e}", from.display(), dir.path().display()));
            std::fs::copy(&from, &to).map_err(failed)?;
        }
    }
    Ok(())
}

/// Train with a method.
///
/// Leaves a directory runs/METHOD-PRESET-N with the spec and preset used, log.jsonl, TensorBoard events, samples/*.png,
/// curves.png, checkpoints/ and, at the end, summary.json with distances of the samples to the data. Ctrl-C saves a
/// checkpoint and says how to go on.
///
/// A method that distils needs a teacher. Presets of densities in the plane have an exact one; others (digits, moving)
/// train one first, as a run of its own, unless --teacher names one that is there already. It is trained as the preset says:
/// --set, --batch and --iterations are the method's own.
///
///   fgc run dmd2 --preset digits
///   fgc run cm --preset digits --teacher runs/sft-digits-1
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The method: a .fg file, or the name of a built-in one (sft, cm, dmd2, …).
    #[arg(required_unless_present = "resume")]
    method: Option<PathBuf>,
    #[command(flatten)]
    preset: preset::Choice,
    /// A run whose student (its moving average, if it has one) becomes the network `teacher`.
    #[arg(long, value_name = "RUN")]
    teacher: Option<PathBuf>,
    /// A run whose student becomes the network NET, such as `stage1=runs/cm-ring-1` for tcm. May be repeated.
    #[arg(long, value_name = "NET=RUN", value_parser = preset::assignment)]
    init: Vec<(String, String)>,
    /// Steps of training in all, those before --resume included (default: the preset's).
    #[arg(long, value_name = "N")]
    iterations: Option<usize>,
    /// Seed of all random numbers.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Name of the run's directory (default: METHOD-PRESET-N).
    #[arg(long)]
    name: Option<String>,
    /// Directory of runs.
    #[arg(long, default_value = "runs", value_name = "DIR")]
    out: PathBuf,
    /// Go on with a run from its newest checkpoint, exactly as if it had never stopped.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["preset", "data", "set", "batch", "teacher", "init", "seed", "name", "out"])]
    resume: Option<PathBuf>,
    /// How far to optimise: 0 each operation by itself, 1 fused kernels, 2 rewritten and fused.
    #[arg(long, value_name = "LEVEL", default_value = "2", value_parser = level)]
    opt: Level,
    #[command(flatten)]
    device: device::Options,
    /// Leave out steps whose losses or gradients are not finite instead of stopping.
    #[arg(long)]
    skip_nonfinite: bool,
    /// Save every so many steps (default: a tenth of the run).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_every: Option<u64>,
    /// Draw samples and curves every so many steps (default: a tenth of the run, at least 10).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    sample_every: Option<u64>,
}

pub fn main(args: Args) -> Result<(), Problem> {
    let plan = match &args.resume {
        Some(run) => Plan::resumed(run, args.method.as_deref(), args.iterations)?,
        None => {
            let teacher = args.teacher.iter().map(|run| ("teacher".to_string(), run.clone()));
            let init = teacher.chain(args.init.iter().map(|(net, run)| (net.clone(), run.into()))).collect();
            let method = args.method.as_deref().unwrap_or_else(|| "".as_ref());
            let mut plan = Plan::new(method, &args.preset, args.name.as_deref(), &init)?;
            plan.preset.iterations = args.iterations.unwrap_or(plan.preset.iterations);
            plan
        }
    };
    args.device.place.check()?;
    plan.free(&args.out)?;
    compile_first(&plan, &args)?;
    match (Session { args: &args, stop: stop_on_signals()?, done: HashMap::new() }).train(plan)? {
        Ended::Done(_) => Ok(()),
        Ended::Stopped(_) => Err(Problem::Reported),
    }
}

/// A run's directory.
enum Ended {
    Done(PathBuf),
    /// By the user; None where something that is trained first was under way.
    Stopped(Option<PathBuf>),
}

/// Finds mistakes in what is trained first before any of it is.
fn compile_first(plan: &Plan, args: &Args) -> Result<(), Problem> {
    for (first, _) in &plan.first {
        compile_first(first, args)?;
        let setup = described(first, args)?;
        kept::program(&first.source.name(), &first.source.text, &setup)?;
    }
    Ok(())
}

/// What a plan's method is compiled for.
fn described(plan: &Plan, args: &Args) -> Result<Setup, Problem> {
    let setup = setup(&plan.preset, &plan.preset.data.describe()?);
    Ok(Setup { level: args.opt, target: args.device.place.target(), ..setup })
}

/// What all runs of one command share.
struct Session<'a> {
    args: &'a Args,
    stop: Arc<AtomicBool>,
    /// Runs of methods that have been trained first.
    done: HashMap<String, PathBuf>,
}

impl Session<'_> {
    /// Trains what the plan wants first, then its method.
    fn train(&mut self, mut plan: Plan) -> Result<Ended, Problem> {
        let begun = Instant::now();
        let setup = described(&plan, self.args)?;
        let program = kept::program(&plan.source.name(), &plan.source.text, &setup)?;
        let front = begun.elapsed();
        check_nets(&plan, &program)?;
        if !self.train_first(&mut plan, &program.method)? {
            return Ok(Ended::Stopped(None));
        }
        let begun = Instant::now();
        let (method, kernels) = (program.method.clone(), program.kernels.len());
        let device = self.args.device.open(program)?;
        let native = begun.elapsed();
        let compile_seconds = (front + native).as_secs_f64();
        eprintln!(
            "compiled {method} in {compile_seconds:.1} s: {kernels} kernels, {:.1} s of it in the C compiler, {} MiB",
            native.as_secs_f64(),
            device.bytes().div_ceil(1 << 20),
        );
        let model = model(device, &plan, self.args.seed)?;
        let (data, held_out) = load(&plan.preset.data)?;
        let text = preset::print(&plan.preset)?;
        let dir = match plan.from {
            Some((dir, ..)) => dir,
            None => RunDir::create(&self.args.out, plan.name.as_deref(), &plan.stem)?,
        };
        dir.write("spec.fg", &plan.source.text)?;
        keep_kernels(&dir, &plan.source, &setup)?;
        dir.write("preset.ron", &text)?;
        eprintln!("run {}", dir.path().display());
        let iterations = plan.preset.iterations as u64;
        let cadence = Cadence::of(iterations);
        let job = run::Job {
            method,
            spec: plan.source.text,
            preset: text,
            iterations,
            cadence: Cadence {
                checkpoint: self.args.checkpoint_every.unwrap_or(cadence.checkpoint),
                sample: self.args.sample_every.unwrap_or(cadence.sample),
                ..cadence
            },
            evaluate: plan.preset.evaluate,
            held_out,
            compile_seconds,
        };
        let non_finite = if self.args.skip_nonfinite { NonFinite::Skip } else { NonFinite::Stop };
        go(&mut Trainer::new(model, data, non_finite), &dir, &job, &self.stop)
    }

    /// Trains what the plan wants first, unless that was done already, for the networks that start from it; false if the
    /// user has stopped that.
    fn train_first(&mut self, plan: &mut Plan, method: &str) -> Result<bool, Problem> {
        // Options that take what is trained, for messages.
        let mut ready = String::new();
        for (first, nets) in std::mem::take(&mut plan.first) {
            let by = first.source.method();
            let run = match self.done.get(&by) {
                Some(run) => run.clone(),
                None => {
                    let names = nets.iter().map(|net| format!("`{net}`")).collect::<Vec<_>>().join(" and ");
                    eprintln!("training {names} first, by {by}, {} steps", first.preset.iterations);
                    match self.train(first)? {
                        Ended::Done(run) => run,
                        Ended::Stopped(run) => {
                            let run = run.map_or_else(|| format!("<the run of {by}>"), |run| run.display().to_string());
                            ready.extend(nets.iter().map(|net| format!(" --init {net}={run}")));
                            eprintln!("then start {method} again, with{ready}");
                            return Ok(false);
                        }
                    }
                }
            };
            for net in nets {
                ready += &format!(" --init {net}={}", run.display());
                plan.weights.nets.insert(net.clone(), trained(&run, &net, &mut plan.preset)?);
            }
            self.done.insert(by, run);
        }
        Ok(true)
    }
}

/// Every network that is to be filled exists, and every one that must be is.
fn check_nets(plan: &Plan, program: &Program) -> Result<(), Problem> {
    let nets: Vec<&str> = program.nets.iter().map(|net| net.name.as_str()).collect();
    let filled = plan.weights.nets.keys().chain(plan.first.iter().flat_map(|(_, nets)| nets));
    let filled: Vec<&str> = filled.map(String::as_str).collect();
    if let Some(net) = filled.iter().find(|net| !nets.contains(net)) {
        let help = closest(net, nets.iter().copied())
            .map_or_else(|| format!("it has {}", nets.join(", ")), |near| format!("did you mean `{near}`?"));
        return Err(Problem::new(format!(
            "method `{}` has no network `{net}` for --teacher, --init or the preset's `init` to fill; {help}",
            program.method
        )));
    }
    // Before what is trained first takes its time; the model itself finds this otherwise.
    match without_weights(program, &filled).filter(|_| plan.from.is_none() && !plan.first.is_empty()) {
        Some(net) => Err(TrainError::NoWeights { net: net.name.clone() }.into()),
        None => Ok(()),
    }
}

/// The model at the plan's beginning, or where it goes on.
fn model(device: Device, plan: &Plan, seed: u64) -> Result<Model, Problem> {
    let from = plan.from.as_ref();
    let (mut model, notes) = Model::new(device, from.map_or(seed, |from| from.1.seed), &plan.weights)?;
    notes.iter().for_each(|note| eprintln!("note: {note}"));
    if let Some((_, checkpoint, place)) = from {
        model.restore(checkpoint, place)?;
        let most = plan.preset.iterations;
        if checkpoint.step > most as u64 {
            let done = checkpoint.step;
            return Err(Problem::new(format!(
                "the run has done {done} steps already, and --iterations {most} are steps in all: ask for more"
            )));
        }
        eprintln!("going on at step {}", checkpoint.step);
    }
    model.check_weights()?;
    Ok(model)
}

/// The data to train on and to measure against, which are the same where there is no test part.
fn load(spec: &DataSpec) -> Result<(Arc<Dataset>, Arc<Dataset>), Problem> {
    let data = Arc::new(Dataset::load(spec, Split::Train, &mut |_, _| {})?);
    let skipped = data.skipped();
    skipped.iter().take(3).for_each(|s| eprintln!("warning: left out {s}"));
    if skipped.len() > 3 {
        eprintln!("warning: left out {} more samples that could not be read", skipped.len() - 3);
    }
    let held_out = Dataset::load(spec, Split::Test, &mut |_, _| {}).map_or_else(|_| data.clone(), Arc::new);
    Ok((data, held_out))
}

/// Runs the job, and tells what came of it and how to go on.
fn go(trainer: &mut Trainer, dir: &RunDir, job: &run::Job, stop: &AtomicBool) -> Result<Ended, Problem> {
    let resume = format!("fgc run --resume {}", dir.path().display());
    let summary = match run::run(trainer, dir, job, stop) {
        Ok(Some(summary)) => summary,
        Ok(None) => {
            eprintln!("stopped and saved; go on with: {resume}");
            return Ok(Ended::Stopped(Some(dir.path().into())));
        }
        Err(error @ (TrainError::Loss { .. } | TrainError::Gradient { .. })) => {
            return Err(Problem::new(format!("{error}. The steps before are saved: {resume} --skip-nonfinite")));
        }
        Err(error) => return Err(error.into()),
    };
    let time = clock(Duration::from_secs_f64(summary.seconds));
    println!("{} steps in {time} ({:.0} a second)", summary.iterations, summary.steps_per_second);
    if !summary.quality.trained.is_empty() {
        print!("{}", evaluate::table(&summary.quality));
    }
    println!("{}", dir.path().display());
    Ok(Ended::Done(dir.path().into()))
}

/// Set by the first Ctrl-C or termination signal; the second ends the process.
pub fn stop_on_signals() -> Result<Arc<AtomicBool>, Problem> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let handler = move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step (again: at once, losing what is not saved)");
    };
    ctrlc::set_handler(handler).map_err(|e| Problem::new(format!("cannot watch for Ctrl-C: {e}")))?;
    Ok(stop)
}
