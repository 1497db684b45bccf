//! `fgc bench`

mod memory;

use crate::device::{Place, Where};
use crate::kept;
use crate::preset;
use crate::problem::Problem;
use crate::profile::Profile;
use crate::setup::{compiled, level, part, setup};
use crate::source::Source;
use fgc_compiler::level::{Level, Pass};
use fgc_compiler::preset::Setup;
use fgc_program::cost::Rates;
use fgc_program::{Program, Turn, cost};
use fgc_runtime::Device;
use fgc_runtime::cpu::compile::Compiler;
use fgc_runtime::cpu::{self, Backend, DeviceError};
use fgc_runtime::cuda::Note;
use fgc_runtime::data::{Dataset, Split};
use fgc_runtime::train::{Model, NonFinite, Pins, StepReport, TrainError, Weights};
use indexmap::IndexMap;
use memory::{Memory, mib};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// GFLOP/s of single-precision matrix products on the reference machine (two cores, AVX-512): what a step could reach there.
/// On a GPU it is an H200's.
const LIMIT: f64 = 439.0;

/// Steps before those that count.
const WARMUP: usize = 2;

/// Measure how fast a method trains.
///
/// A bench is a preset with settings for one method, on data `Noise(shape: …, classes: …)` mostly; its `iterations` are the
/// steps to measure. Where a method has several kinds of step (student and critics), one of each makes a step here. Networks
/// start at random, frozen ones too.
///
///   fgc bench benches/cm-unet.ron
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The preset.
    #[arg(value_name = "PRESET.ron")]
    preset: PathBuf,
    /// Steps to measure (default: the preset's iterations).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    steps: Option<u32>,
    /// Set a hyper-parameter of the method. May be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = preset::assignment)]
    set: Vec<(String, String)>,
    /// Samples a step (default: the preset's).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,
    /// Threads to compute on; 0 takes all cores.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// How far to optimise: 0 each operation by itself, 1 fused kernels, 2 rewritten and fused.
    #[arg(long, value_name = "LEVEL", default_value = "2", value_parser = level)]
    opt: Level,
    /// Leave out a part of level 2: rules, regions, recompute or bands. May be repeated.
    #[arg(long, value_name = "PART", value_parser = part)]
    without: Vec<Pass>,
    #[command(flatten)]
    place: Where,
    /// Do not measure compiling without kept kernels.
    #[arg(long)]
    warm: bool,
    /// Print the result as one JSON object; in it losses and norms of gradients of the first step, which are the same everywhere
    /// but for rounding, and on a GPU what was found out about libraries.
    #[arg(long)]
    json: bool,
    /// Print where the time goes: the N kinds of launch that take most of it. On a GPU each launch is timed by itself, after the
    /// steps.
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "20", conflicts_with = "json")]
    profile: Option<usize>,
}

/// One measurement.
struct Report {
    name: String,
    method: String,
    batch: usize,
    /// Milliseconds of each step, ascending.
    steps: Vec<f64>,
    /// What came out of the first step, by the kinds of step: the same everywhere, but for rounding.
    first: Vec<StepReport>,
    kernels: usize,
    /// Launches of one step.
    launches: usize,
    /// Those that a library does.
    by_library: usize,
    /// Arithmetic and bytes of one step.
    cost: cost::Cost,
    /// Seconds from the text to the program: compiled, and where it was kept.
    front: [f64; 2],
    /// Seconds from the program to its device: with no compiled kernels kept, and with all.
    native: Option<[f64; 2]>,
    memory: Memory,
    /// Bytes of all buffers of the program.
    buffers: usize,
    /// What was found out about what libraries might do, and how often.
    notes: IndexMap<String, usize>,
    /// GFLOP/s that the device could reach.
    limit: f64,
}

pub fn main(args: Args) -> Result<(), Problem> {
    let mut memory = Memory::at_start();
    let place = args.preset.display().to_string();
    let text = std::fs::read_to_string(&args.preset).map_err(|e| Problem::new(format!("cannot read {place}: {e}")))?;
    let methods = preset::parse(&text, &place)?.methods;
    let [method] = &methods.keys().collect::<Vec<_>>()[..] else {
        return Err(Problem::new(format!(
            "{place}: a bench has settings for the one method it measures: `methods: {{\"cm\": ()}}`"
        )));
    };
    let source = Source::read(&PathBuf::from(format!("methods/{method}.fg")))?;
    let choice = preset::Choice { preset: Some(place.clone()), data: None, set: args.set.clone(), batch: args.batch };
    let (preset, name) = choice.resolve(&source.path, method)?;

    args.place.check()?;
    let begun = Instant::now();
    let setup = Setup {
        level: args.opt,
        without: args.without.clone(),
        target: args.place.target(),
        ..setup(&preset, &preset.data.describe()?)
    };
    let program = compiled(&source.name(), &source.text, &setup)?.program;
    let front = begun.elapsed().as_secs_f64();
    let front = [front, if args.warm { front } else { kept_seconds(&source, &setup)? }];
    let program = Arc::new(program);
    let on_cpu = args.place.device == Place::Cpu;
    let native = if args.warm || !on_cpu { None } else { Some(native_seconds(&program, args.threads)?) };
    let device: Device = if on_cpu {
        let mut device = cpu::Device::new(program.clone(), Backend::Compiled, args.threads)?;
        device.set_profiling(args.profile.is_some());
        device.into()
    } else {
        args.place.gpu(program.clone())?.into()
    };
    let buffers = device.bytes();
    memory.compiled();

    let (mut model, _) = Model::new(device, 0, &Weights::default())?;
    let data = Dataset::load(&preset.data, Split::Train, &mut |_, _| {})?;
    let turns = first_iterations(&program.schedule.steps);
    let batches: Vec<_> = turns.iter().map(|&(at, _)| data.batch(preset.batch, 0, at)).collect();
    let wanted = args.steps.map_or(preset.iterations, |n| n as usize).max(1);
    let mut profile = Profile::default();
    let rates = if on_cpu { Rates::CPU } else { Rates::h200(args.place.precision.into()) };
    let mut steps = Vec::with_capacity(wanted);
    let mut under_way = None;
    let mut first = Vec::new();
    let mut ended = |model: &mut Model, step| -> Result<(), Problem> {
        let report = model.end(step).map_err(not_finite)?;
        if first.len() < turns.len() {
            first.push(report);
        }
        Ok(())
    };
    for i in 0..WARMUP + wanted {
        let begun = Instant::now();
        for ((at, _), batch) in turns.iter().zip(&batches) {
            model.set_iteration(*at);
            // As in training: what a GPU works on is waited for when the next is under way.
            let step = model.begin(batch, &Pins::new(), NonFinite::Stop).map_err(not_finite)?;
            under_way.replace(step).map_or(Ok(()), |step| ended(&mut model, step))?;
        }
        let took = begun.elapsed();
        if i >= WARMUP {
            steps.push(took.as_secs_f64() * 1e3);
            plans(&turns).for_each(|plan| profile.add(&program, plan, model.device().times(plan), rates));
        }
    }
    under_way.map_or(Ok(()), |step| ended(&mut model, step))?;
    memory.trained();
    let all: f64 = steps.iter().sum();
    steps.sort_by(f64::total_cmp);
    // A GPU is not asked while it runs: each launch is measured once, by itself.
    let profiled = if on_cpu { (wanted, all) } else { (1, steps[steps.len() / 2]) };
    if !on_cpu && args.profile.is_some() {
        // With buffers as they are there, some in bf16.
        let stored = model.program().clone();
        for plan in plans(&turns) {
            profile.add(&stored, plan, &model.measure(plan)?, rates);
        }
    }
    // As it runs: with copies of weights, some values in bf16.
    let program = model.program();
    let costs: Vec<cost::Cost> = plans(&turns).flat_map(|plan| cost::plan(program, &program.plans[plan])).collect();
    let report = Report {
        name,
        method: method.to_string(),
        batch: preset.batch,
        kernels: program.kernels.len(),
        launches: costs.len(),
        by_library: plans(&turns).map(|plan| model.device().by_library(plan)).sum(),
        cost: costs.into_iter().sum(),
        front,
        native,
        memory,
        first,
        buffers,
        notes: notes(model.device().notes(plans(&turns))),
        limit: if on_cpu { LIMIT } else { rates.flops * 1e-9 },
        steps,
    };
    if args.json {
        println!("{}", report.json());
    } else {
        print!("{}", report.text());
    }
    if let Some(rows) = args.profile {
        print!("\n{}", profile.table(profiled.0, profiled.1, rows));
        if !report.notes.is_empty() {
            println!("\n       n  what a library might do");
            report.notes.iter().for_each(|(what, times)| println!("{times:>8}  {what}"));
        }
    }
    Ok(())
}

/// Each once, with how often.
fn notes(notes: Vec<&Note>) -> IndexMap<String, usize> {
    let mut found: IndexMap<String, usize> = IndexMap::new();
    for note in notes {
        *found.entry(format!("{}: {}", note.task, note.why)).or_default() += 1;
    }
    found
}

/// Numbers by the kind of step and their names.
fn numbers(reports: &[StepReport], of: fn(&StepReport) -> &IndexMap<String, f64>) -> IndexMap<String, f64> {
    let all = reports
        .iter()
        .flat_map(|report| of(report).iter().map(move |(name, value)| (format!("{}.{name}", report.turn), *value)));
    all.collect()
}

fn not_finite(error: TrainError) -> Problem {
    Problem::new(format!("{error} (a bench trains random networks on noise: try other hyper-parameters)"))
}

/// Seconds to find the program that was compiled before.
fn kept_seconds(source: &Source, setup: &Setup) -> Result<f64, Problem> {
    let find = || kept::program(&source.name(), &source.text, setup);
    find()?;
    let begun = Instant::now();
    find()?;
    Ok(begun.elapsed().as_secs_f64())
}

/// Seconds to make the program's device without and with its kernels compiled before.
fn native_seconds(program: &Arc<Program>, threads: usize) -> Result<[f64; 2], Problem> {
    let cache = std::env::temp_dir().join(format!("fgc-bench-{}", std::process::id()));
    let command = std::env::var("CC").ok().filter(|cc| !cc.trim().is_empty()).unwrap_or_else(|| "cc".into());
    let compiler = Compiler::new(&command, &cache);
    let timed = || -> Result<f64, DeviceError> {
        let begun = Instant::now();
        drop(cpu::Device::compiled(program.clone(), &compiler, threads)?);
        Ok(begun.elapsed().as_secs_f64())
    };
    let seconds = timed().and_then(|cold| Ok([cold, timed()?]));
    // What is left there is small, and the system's to clean up.
    _ = std::fs::remove_dir_all(&cache);
    Ok(seconds?)
}

/// Each turn that comes, with the first iteration it comes at.
pub fn first_iterations(steps: &[Turn]) -> Vec<(u64, &Turn)> {
    let due = |at: u64| steps.iter().position(|turn| turn.every != 0 && at.is_multiple_of(turn.every as u64));
    let longest = steps.iter().map(|turn| turn.every as u64).max().unwrap_or(0);
    let mut first: Vec<(u64, &Turn)> = Vec::new();
    for (i, turn) in steps.iter().enumerate() {
        first.extend((0..=longest + 1).find(|&at| due(at) == Some(i)).map(|at| (at, turn)));
    }
    first
}

/// The plans one step runs.
pub fn plans<'a>(turns: &'a [(u64, &Turn)]) -> impl Iterator<Item = usize> + 'a {
    turns.iter().flat_map(|(_, turn)| std::iter::once(turn.plan).chain(turn.updates.iter().map(|update| update.1)))
}

impl Report {
    fn median(&self) -> f64 {
        let n = self.steps.len();
        (self.steps[(n - 1) / 2] + self.steps[n / 2]) / 2.0
    }

    fn gflops(&self) -> f64 {
        self.cost.flops * 1e-6 / self.median()
    }

    fn json(&self) -> String {
        let median = self.median();
        json!({
            "bench": self.name,
            "method": self.method,
            "batch": self.batch,
            "steps": self.steps.len(),
            "median_ms": median,
            "fastest_ms": self.steps[0],
            "samples_per_second": self.batch as f64 * 1e3 / median,
            "peak_mib": self.memory.train.map(mib),
            "compile_peak_mib": self.memory.compile.map(mib),
            "buffers_mib": mib(self.buffers),
            "kernels": self.kernels,
            "launches": self.launches,
            "by_library": self.by_library,
            "gflop": self.cost.flops * 1e-9,
            "gigabytes": self.cost.bytes * 1e-9,
            "gflop_per_second": self.gflops(),
            "fraction_of_limit": self.gflops() / self.limit,
            "notes": self.notes,
            "losses": numbers(&self.first, |report| &report.losses),
            "grad_norms": numbers(&self.first, |report| &report.grad_norms),
            "compile_cold_seconds": self.native.map(|native| self.front[0] + native[0]),
            "compile_cached_seconds": self.native.map(|native| self.front[1] + native[1]),
        })
        .to_string()
    }

    fn text(&self) -> String {
        let median = self.median();
        let peak = |bytes: Option<usize>| bytes.map_or("unknown".into(), |bytes| format!("{:.0} MiB", mib(bytes)));
        let compile = match self.native {
            Some([cold, cached]) => format!(
                "{:.2} s cold ({:.2} s of it before the C compiler), {:.2} s cached",
                self.front[0] + cold,
                self.front[0],
                self.front[1] + cached
            ),
            None => format!("{:.2} s before the C compiler", self.front[0]),
        };
        let by_library = match self.by_library {
            0 => String::new(),
            some => format!(", {some} of them by libraries"),
        };
        let rows = [
            ("step", format!("{median:.3} ms (fastest {:.3}, {} measured)", self.steps[0], self.steps.len())),
            ("samples", format!("{:.0} a second, {} a step", self.batch as f64 * 1e3 / median, self.batch)),
            ("work", format!("{:.3} GFLOP, {:.3} GB a step", self.cost.flops * 1e-9, self.cost.bytes * 1e-9)),
            (
                "speed",
                format!(
                    "{:.1} GFLOP/s, {:.0} % of {:.0}",
                    self.gflops(),
                    self.gflops() / self.limit * 100.0,
                    self.limit
                ),
            ),
            ("code", format!("{} kernels, {} launches a step{by_library}", self.kernels, self.launches)),
            (
                "memory",
                format!(
                    "{} at most while training, {} while compiling; {:.0} MiB of buffers",
                    peak(self.memory.train),
                    peak(self.memory.compile),
                    mib(self.buffers)
                ),
            ),
            ("compile", compile),
        ];
        let lines: String = rows.iter().map(|(name, value)| format!("  {name:<8} {value}\n")).collect();
        format!("{} ({})\n{lines}", self.name, self.method)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_one_of_each_turn() {
        let turn = |every| Turn { every, plan: 0, updates: vec![] };
        let firsts = |every: &[usize]| -> Vec<u64> {
            let steps: Vec<Turn> = every.iter().map(|&n| turn(n)).collect();
            first_iterations(&steps).iter().map(|first| first.0).collect()
        };
        assert_eq!(firsts(&[1]), [0]);
        assert_eq!(firsts(&[5, 1]), [0, 1]);
        assert_eq!(firsts(&[4, 2, 1]), [0, 2, 1]);
        assert_eq!(firsts(&[1, 1]), [0], "the second never comes");
        assert_eq!(firsts(&[0, 2]), [0], "0 is never");
    }
}
