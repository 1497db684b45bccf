//! Replays recorded cases from the command line.

use clap::{Parser, ValueEnum};
use fgc_compiler::level::{Level, Target};
use fgc_program::Program;
use fgc_program::cuda::{Precision, module};
use fgc_runtime::cpu::{Backend, DeviceError};
use fgc_runtime::cuda::CudaError;
use fgc_runtime::tensorfile::{self, Metadata};
use fgc_runtime::{Device, cuda};
use parity::{Agreement, Case, Open, ReplayError, Tensors, compare_rounded, on, replay, samples};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Replays recorded training steps and compares losses, gradients and updated weights.
///
/// Prints a line a case; exit status 1 unless all agree.
#[derive(Parser)]
struct Args {
    /// Case directories.
    #[arg(required = true, value_name = "DIR")]
    cases: Vec<PathBuf>,
    /// Write what was computed to OUT/<case>.safetensors.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Write each case's samples and averages (seed 0) to DIR/<case>.safetensors, too.
    #[arg(long, value_name = "DIR")]
    samples: Option<PathBuf>,
    /// Directory of the methods.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../methods"))]
    methods: PathBuf,
    #[arg(long, value_enum, default_value = "compiled")]
    backend: Kind,
    /// Run nothing: compile each case's kernels for a GPU of this architecture into the cache.
    #[arg(long, value_name = "sm_90")]
    cubins: Option<String>,
    /// What numbers are on a GPU; the more they are rounded, the more may differ.
    #[arg(long, value_enum, default_value = "f32")]
    precision: Numbers,
    /// How far steps are optimised.
    #[arg(long, value_name = "LEVEL", default_value_t = 2, value_parser = clap::value_parser!(u8).range(..3))]
    opt: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Compiled,
    Interpreter,
    /// Kernels interpreted, products by their definition.
    Reference,
    /// An NVIDIA GPU.
    Cuda,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Numbers {
    F32,
    Tf32,
    Bf16,
}

impl Numbers {
    fn precision(self) -> Precision {
        match self {
            Numbers::F32 => Precision::F32,
            Numbers::Tf32 => Precision::Tf32,
            Numbers::Bf16 => Precision::Bf16,
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.precision != Numbers::F32 && args.backend != Kind::Cuda {
        eprintln!("--precision is about GPUs: with --backend cuda");
        return ExitCode::FAILURE;
    }
    let precision = args.precision.precision();
    let gpu = |program| {
        let gpu = Box::new(cuda::Gpu::open(0)?);
        Ok(cuda::Device::new(Arc::new(program), precision, gpu)?.into())
    };
    let prepare = |program: Program| {
        let architecture = args.cubins.as_deref().unwrap_or_default();
        cuda::nvrtc::cubins(&module(&program, precision).functions, architecture)?;
        Err(CudaError::Missing("kernels are in the cache".into()).into())
    };
    let open: Box<dyn Fn(Program) -> Result<Device, DeviceError>> = match args.backend {
        Kind::Compiled => Box::new(on(Backend::Compiled)),
        Kind::Interpreter => Box::new(on(Backend::Interpreter)),
        Kind::Reference => Box::new(on(Backend::Reference)),
        Kind::Cuda if args.cubins.is_some() => Box::new(prepare),
        Kind::Cuda => Box::new(gpu),
    };
    let (mut agree, mut skipped, mut disagree) = (0, 0, 0);
    for dir in &args.cases {
        let name = dir.file_name().unwrap_or(dir.as_os_str()).to_string_lossy();
        match one(dir, &args, &open) {
            Ok(a) if a.wrong.is_empty() => {
                agree += 1;
                println!("ok    {name:<28} {}", numbers(&a));
            }
            Ok(a) => {
                disagree += 1;
                println!("WRONG {name:<28} {}", numbers(&a));
                a.wrong.iter().take(5).for_each(|w| println!("        {w}"));
                if a.wrong.len() > 5 {
                    println!("        and {} more", a.wrong.len() - 5);
                }
            }
            Err(e) if matches!(e.downcast_ref(), Some(ReplayError::NoMethod(_))) => {
                skipped += 1;
                println!("-     {name:<28} {e}");
            }
            Err(e) => {
                disagree += 1;
                println!("ERROR {name:<28} {e}");
            }
        }
    }
    println!("{agree} agree, {disagree} do not, {skipped} have no method");
    if disagree == 0 && skipped == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one(dir: &Path, args: &Args, open: Open) -> Result<Agreement, Box<dyn std::error::Error>> {
    let mut case = Case::load(dir)?;
    case.target = if args.backend == Kind::Cuda { Target::Cuda } else { Target::Cpu };
    case.level = [Level::None, Level::Fuse, Level::Rewrite][args.opt as usize];
    let write = |to: &Path, tensors: &Tensors| -> Result<(), Box<dyn std::error::Error>> {
        std::fs::create_dir_all(to)?;
        let path = to.join(format!("{}.safetensors", case.recorded.name));
        Ok(tensorfile::write(&path, tensors, &Metadata::new())?)
    };
    if let Some(to) = &args.samples {
        write(to, &samples(&case, &args.methods, open)?)?;
    }
    let replayed = replay(&case, &args.methods, open)?;
    if let Some(to) = &args.out {
        write(to, &replayed.tensors)?;
    }
    Ok(compare_rounded(&case, &replayed, args.precision.precision()))
}

fn numbers(a: &Agreement) -> String {
    format!("loss {:.1e}  grad {:.1e}  after {:.1e}  ({} compared)", a.loss, a.grad, a.after, a.compared)
}
