//! `fgc trajectories`

use crate::device;
use crate::kept;
use crate::preset::{self, Preset};
use crate::problem::Problem;
use crate::run::stop_on_signals;
use crate::setup::{setup, trained};
use crate::source::Source;
use fgc_compiler::preset::Setup;
use fgc_runtime::Tensor;
use fgc_runtime::checkpoint::Checkpoint;
use fgc_runtime::data::one_hot;
use fgc_runtime::progress::Progress;
use fgc_runtime::shards::{Shards, npy, npy_bytes};
use fgc_runtime::train::{Model, RunDir, Weights, conditions};
use indexmap::IndexMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

/// The sampler that gives trajectories.
const SAMPLER: &str = "trajectory";
/// Points of `path`; the sampler gives one more, where the ODE ends.
const POINTS: usize = 4;

/// Write a data set of a teacher's trajectories, for kd and causal_kd.
///
/// Runs the sampler that the method calls `trajectory` and writes a directory of .tar files (WebDataset) to train on with
/// --data. A sample has `x`, where the ODE ended; `noise`, where it began; `path`, its first four points; and `c`, its class
/// as a one-hot row, if there are classes.
///
/// The teacher is the student of a run, or a preset's exact one:
///
///   fgc trajectories sft --from runs/teacher --count 10000 --out pairs
///   fgc trajectories kd --preset pairs --count 10000 --out pairs
///   fgc run kd --preset digits --data pairs --teacher runs/teacher
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The method whose sampler to run: a .fg file, or the name of a built-in one.
    method: PathBuf,
    /// A run whose student (its moving average, if it has one) is the teacher. It becomes the method's network `teacher`, or
    /// its `student` where it has no `teacher`; the run's preset is taken unless --preset names one.
    #[arg(long, value_name = "RUN")]
    from: Option<PathBuf>,
    /// Directory to write, which must not exist.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How many trajectories.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Seed of the noise. Which noise a sample gets depends on --batch, too.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Samples of this class only (default: all in turn).
    #[arg(long)]
    class: Option<usize>,
    #[command(flatten)]
    preset: preset::Choice,
    #[command(flatten)]
    device: device::Options,
}

pub fn main(args: Args) -> Result<(), Problem> {
    let source = Source::read(&args.method)?;
    let mut preset = match &args.from {
        Some(run) if args.preset.preset.is_none() => theirs(run, &source.method(), &args.preset)?,
        _ => args.preset.resolve(&source.path, &source.method())?.0,
    };
    let weights = args.from.as_ref().map(|run| trained(run, "teacher", &mut preset)).transpose()?;
    let taught = preset.nets.get("teacher").cloned();
    if args.from.is_some() {
        // The method may have no `teacher`; then its student is what the run trained.
        preset.nets.extend(taught.map(|net| ("student".to_string(), net)));
    }
    preset.batch = preset.batch.min(usize::try_from(args.count).unwrap_or(usize::MAX));
    let mut description = preset.data.describe()?;
    let classes = description.classes();
    conditions(classes, 0, args.class)?;
    // What the method trains on may be what is to be written.
    let shape = description.shape().to_vec();
    description.fields.entry("noise".into()).or_insert_with(|| shape.clone());
    description.fields.entry("path".into()).or_insert_with(|| [&[POINTS], &shape[..]].concat());
    args.device.place.check()?;
    let setup = Setup { target: args.device.place.target(), ..setup(&preset, &description) };
    let program = kept::program(&source.name(), &source.text, &setup)?;
    let method = program.method.clone();
    if !program.samplers.contains_key(SAMPLER) {
        return Err(Problem::new(format!(
            "method `{method}` has no sampler `{SAMPLER}`; give it one (`sample {SAMPLER} = ode_path(teacher, x, c)`, with \
             `use std.sampler.ode_path`), or take `sft` or `kd`, which have one"
        )));
    }
    let teacher = ["teacher", "student"].into_iter().find(|name| program.nets.iter().any(|net| net.name == *name));
    let Some(teacher) = teacher else {
        return Err(Problem::new(format!("method `{method}` has no network `teacher` or `student`")));
    };
    let weights = weights.map(|w| Weights { nets: IndexMap::from([(teacher.to_string(), w)]) });
    let untaught = weights.is_none() && teacher == "student";
    let weights = weights.unwrap_or_default();
    let shards = Shards::create(&args.out)?;
    let (mut model, _) = Model::new(args.device.open(program)?, args.seed, &weights)?;
    if untaught || !model.can_sample(SAMPLER) {
        return Err(Problem::new(format!(
            "the network `{teacher}` of `{method}` has no weights: say whose with --from RUN (make a run with: fgc run sft \
             --preset PRESET), or take kd and a preset with an exact teacher"
        )));
    }
    let job = Job { count: args.count, classes, class: args.class, seed: args.seed, shape };
    let Some(shards) = job.write(&mut model, shards)? else {
        eprintln!("stopped; nothing was written");
        return Err(Problem::Reported);
    };
    let plural = if shards == 1 { "" } else { "s" };
    println!("{} trajectories in {} ({shards} shard{plural})", args.count, args.out.display());
    Ok(())
}

/// The preset of a run, for another method: its hyper-parameters stay only if the method is the run's own.
fn theirs(run: &Path, method: &str, given: &preset::Choice) -> Result<Preset, Problem> {
    let (dir, checkpoint, path): (RunDir, Checkpoint, PathBuf) = RunDir::open(run)?;
    let mut preset = preset::parse(&checkpoint.preset, &path.display().to_string())?;
    let own = Source { path: dir.path().join("spec.fg"), text: checkpoint.spec };
    if own.method() != method {
        preset.set.clear();
    }
    preset.set.extend(given.set.iter().cloned());
    preset.batch = given.batch.map_or(preset.batch, |batch| batch as usize);
    Ok(preset)
}

/// What to write.
struct Job {
    count: u64,
    classes: usize,
    class: Option<usize>,
    seed: u64,
    /// Of one `x`.
    shape: Vec<usize>,
}

impl Job {
    /// Samples batch by batch, so that any number fits into memory; how many files there are, or None if interrupted.
    fn write(&self, model: &mut Model, mut shards: Shards) -> Result<Option<usize>, Problem> {
        let size = model.program().batch.max(1) as u64;
        let stop = stop_on_signals()?;
        let mut progress = Progress::new(0, self.count);
        let begun = Instant::now();
        for (batch, first) in (0..self.count).step_by(size as usize).enumerate() {
            let n = size.min(self.count - first) as usize;
            let c = self.conditions(first, n);
            let given = c.iter().map(|c| ("c".to_string(), c.clone())).collect();
            // The first batch has the noise of `fgc sample --seed`.
            let seed = self.seed.wrapping_add((batch as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let points = model.sample(SAMPLER, n, &given, seed)?;
            if points.shape() != [&[n, POINTS + 1], &self.shape[..]].concat() {
                let (found, shape) = (&points.shape()[1..], &self.shape);
                return Err(Problem::new(format!(
                    "a trajectory of samples of shape {shape:?} has {} points of that shape, as `ode_path` gives it; \
                     the sampler `{SAMPLER}` gives {found:?}",
                    POINTS + 1
                )));
            }
            let (points, classes) = (points.to_f32(), c.map(|c| c.to_f32().to_vec()));
            for (i, key) in (0..n).zip(first..) {
                let own = |all: &[f32]| all[i * all.len() / n..(i + 1) * all.len() / n].to_vec();
                let key = format!("{key:08}");
                shards.add(&key, &self.fields(&key, &own(&points), classes.as_deref().map(own))?)?;
            }
            progress.update(first + n as u64, begun.elapsed(), []);
            if stop.load(Ordering::Relaxed) {
                progress.finish();
                return Ok(None);
            }
        }
        progress.finish();
        Ok(Some(shards.finish()?))
    }

    /// One-hot rows of `n` samples from `first` on.
    fn conditions(&self, first: u64, n: usize) -> Option<Tensor> {
        let classes = self.classes as u64;
        let label = |i| self.class.unwrap_or_else(|| (i % classes) as usize);
        (classes > 0).then(|| one_hot(self.classes, &(first..).take(n).map(label).collect::<Vec<_>>()))
    }

    /// A sample's files, from its five points.
    fn fields(&self, key: &str, points: &[f32], c: Option<Vec<f32>>) -> Result<Vec<(&'static str, Vec<u8>)>, Problem> {
        if points.iter().any(|x| !x.is_finite()) {
            return Err(Problem::new(format!(
                "trajectory {key} is not finite: the teacher diverges; ask it for more steps, or train it longer"
            )));
        }
        let each = points.len() / (POINTS + 1);
        let (path, x) = points.split_at(POINTS * each);
        let mut fields = vec![
            ("x", npy(&self.shape, x)),
            ("noise", npy(&self.shape, &path[..each])),
            ("path", npy(&[&[POINTS], &self.shape[..]].concat(), path)),
        ];
        fields.extend(c.map(|c| ("c", npy_bytes(&[c.len()], &c.iter().map(|&x| x as u8).collect::<Vec<_>>()))));
        Ok(fields)
    }
}
