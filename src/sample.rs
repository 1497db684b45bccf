//! `fgc sample`

use crate::device;
use crate::kept;
use crate::preset;
use crate::problem::Problem;
use crate::setup::setup;
use fgc_compiler::preset::Setup;
use fgc_runtime::data::{Dataset, Split};
use fgc_runtime::tensorfile::{self, Metadata};
use fgc_runtime::train::{Model, RunDir, Weights, conditions, draw};
use indexmap::IndexMap;
use std::path::PathBuf;

/// Samples computed at once.
const BATCH: usize = 512;

/// Draw samples from a trained run.
///
/// Uses the newest checkpoint and the moving average of the weights, if there is one. Images become a grid, points a
/// scatter plot over the data, videos a strip of frames each with all of them moving in a .gif beside it; a name that ends in
/// .safetensors gets the numbers instead, as tensor `x`.
#[derive(clap::Args)]
pub struct Args {
    /// Directory of the run.
    run: PathBuf,
    /// How many samples.
    #[arg(short, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    n: u32,
    /// Steps of the sampler: sets the method's hyper-parameter `steps`.
    #[arg(long)]
    steps: Option<usize>,
    /// Set another hyper-parameter, such as `guidance=2`. May be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = preset::assignment)]
    set: Vec<(String, String)>,
    /// Samples of this class only (default: all in turn).
    #[arg(long)]
    class: Option<usize>,
    /// Sampler, by its name in the spec (default: its first; `teacher` samples the teacher).
    #[arg(long)]
    sampler: Option<String>,
    /// Seed of the noise.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where to write: PNG, or .safetensors [default: RUN/samples.png].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    device: device::Options,
}

pub fn main(args: Args) -> Result<(), Problem> {
    let (dir, checkpoint, path) = RunDir::open(&args.run)?;
    let place = path.display().to_string();
    let n = args.n as usize;
    let suffix = args.output.as_ref().and_then(|path| path.extension()).unwrap_or("png".as_ref());
    if suffix != "png" && suffix != "safetensors" {
        let suffix = suffix.to_string_lossy();
        return Err(Problem::new(format!(
            "samples are not written as .{suffix}; end the name in .png or .safetensors"
        )));
    }
    let mut preset = preset::parse(&checkpoint.preset, &place)?;
    preset.batch = n.min(BATCH);
    preset.set.extend(args.set);
    preset.set.extend(args.steps.map(|steps| ("steps".to_string(), steps.to_string())));
    let description = preset.data.describe()?;
    let spec = dir.path().join("spec.fg").display().to_string();
    args.device.place.check()?;
    let setup = Setup { target: args.device.place.target(), ..setup(&preset, &description) };
    let program = kept::program(&spec, &checkpoint.spec, &setup)?;
    let sampler = args.sampler.or_else(|| program.samplers.keys().next().cloned()).unwrap_or_default();
    let (mut model, _) = Model::new(args.device.open(program)?, checkpoint.seed, &Weights::default())?;
    model.restore(&checkpoint, &place)?;
    let given = conditions(description.classes(), n, args.class)?;
    let samples = model.sample(&sampler, n, &given, args.seed)?;
    let output = args.output.unwrap_or_else(|| dir.path().join("samples.png"));
    let mut written = vec![output.clone()];
    if output.extension().is_some_and(|e| e == "safetensors") {
        tensorfile::write(&output, &IndexMap::from([("x".to_string(), samples)]), &Metadata::new())?;
    } else {
        let data = Dataset::load(&preset.data, Split::Train, &mut |_, _| {})?;
        let Some(drawing) = draw(&samples, &given, &description, &data)? else {
            return Err(Problem::new("data of one dimension have no picture; write them with -o FILE.safetensors"));
        };
        written = drawing.save(&output)?;
    }
    let written: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
    let whose = if sampler == "method" { String::new() } else { format!(" of `{sampler}`") };
    println!("{n} samples{whose} at step {} in {}", checkpoint.step, written.join(" and "));
    Ok(())
}
