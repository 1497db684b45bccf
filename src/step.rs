//! `fgc step`

use crate::device;
use crate::kept;
use crate::preset;
use crate::problem::Problem;
use crate::setup::{fields, level, setup};
use crate::source::Source;
use fgc_compiler::level::Level;
use fgc_runtime::Tensor;
use fgc_runtime::data::Batch;
use fgc_runtime::tensorfile::{self, Metadata};
use fgc_runtime::train::{Model, NonFinite, Pins, Weights};
use indexmap::IndexMap;
use std::path::PathBuf;

/// Fields of data that a pin file may hold; everything else in it is a draw.
const DATA: [&str; 4] = ["x", "c", "noise", "path"];

/// Compute one step from given weights, data and random numbers, and write losses and gradients.
///
/// For comparing with another implementation: nothing is drawn that the pins give.
#[derive(clap::Args)]
pub struct Args {
    /// The method: a .fg file, or the name of a built-in one.
    method: PathBuf,
    /// Weights, safetensors named `<net>.<parameter>`. Networks that are absent start at random.
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// Data (x, c, noise, path) and draws by their names in the spec, as safetensors.
    #[arg(long, value_name = "FILE")]
    pins: PathBuf,
    /// Steps done before this one.
    #[arg(long, default_value_t = 0)]
    iteration: u64,
    /// Where to write `loss.<term>` (f64) and `grad.<net>.<parameter>`.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    preset: preset::Choice,
    /// How far to optimise: 0 each operation by itself, 1 fused kernels, 2 rewritten and fused.
    #[arg(long, value_name = "LEVEL", default_value = "2", value_parser = level)]
    opt: Level,
    #[command(flatten)]
    device: device::Options,
}

pub fn main(args: Args) -> Result<(), Problem> {
    args.device.place.check()?;
    let source = Source::read(&args.method)?;
    let (preset, _) = args.preset.resolve(&source.path, &source.method())?;
    let (pins, _) = tensorfile::read(&args.pins)?;
    let (data, pins): (Batch, Pins) = pins.into_iter().partition(|(name, _)| DATA.contains(&name.as_str()));
    let shapes = data.iter().map(|(name, t)| (name.clone(), t.shape().get(1..).unwrap_or_default().to_vec())).collect();
    let Some(x) = data.get("x").filter(|x| x.shape().len() > 1) else {
        return Err(Problem::new(format!("{} has no data `x` with a batch axis", args.pins.display())));
    };
    let mut setup = setup(&preset, &preset.data.describe()?);
    setup.level = args.opt;
    setup.target = args.device.place.target();
    setup.batch = x.shape()[0];
    setup.fields = fields(&shapes);
    setup.pins = pins.iter().map(|(name, t)| (name.clone(), (t.dtype(), t.shape().to_vec()))).collect();
    let program = kept::program(&source.name(), &source.text, &setup)?;
    let (weights, _) = tensorfile::read(&args.weights)?;
    let nets: Vec<&str> = program.nets.iter().map(|net| net.name.as_str()).collect();
    let weights = Weights::from_file(&args.weights.display().to_string(), weights, &nets);
    let (mut model, _) = Model::new(args.device.open(program)?, 0, &weights)?;
    model.check_weights()?;
    model.set_iteration(args.iteration);
    let report = model.step(&data, &pins, NonFinite::Stop)?;
    let mut out: IndexMap<String, Tensor> = IndexMap::new();
    for (name, &value) in report.losses.iter().chain(&report.metrics) {
        println!("{name} {value}");
        out.insert(format!("loss.{name}"), Tensor::f64([], vec![value]));
    }
    out.extend(model.gradients()?.into_iter().map(|(name, gradient)| (format!("grad.{name}"), gradient)));
    Ok(tensorfile::write(&args.out, &out, &Metadata::new())?)
}
