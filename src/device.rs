//! The device a command computes on.

use crate::problem::Problem;
use clap::ValueEnum;
use fgc_compiler::level::Target;
use fgc_program::Program;
use fgc_program::cuda::Precision;
use fgc_runtime::cpu::compile::CompileError;
use fgc_runtime::cpu::{self, Backend, DeviceError};
use fgc_runtime::{Device, cuda};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Kernels as C, compiled by `cc` (or $CC) and kept in the cache ($FGC_CACHE_DIR, else ~/.cache/fgc).
    Compiled,
    /// Kernels interpreted: needs nothing, a hundred times slower.
    Interpreter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Place {
    Cpu,
    /// An NVIDIA GPU; `fgc doctor` says what that needs.
    Cuda,
}

/// What numbers are on a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Numbers {
    /// f32.
    F32,
    /// f32, but products of numbers rounded to tf32.
    Tf32,
    /// bf16 for what lives within a step, and in products; f32 for weights, sums and losses.
    Bf16,
}

impl From<Numbers> for Precision {
    fn from(numbers: Numbers) -> Precision {
        match numbers {
            Numbers::F32 => Precision::F32,
            Numbers::Tf32 => Precision::Tf32,
            Numbers::Bf16 => Precision::Bf16,
        }
    }
}

/// Where to compute.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Where {
    /// What to compute on.
    #[arg(long, value_enum, default_value = "cpu")]
    pub device: Place,
    /// The GPU's number, with --device cuda.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub gpu: i32,
    /// What numbers are on a GPU; the CPU computes in f32.
    #[arg(long, value_enum, default_value = "f32")]
    pub precision: Numbers,
}

impl Where {
    pub fn target(&self) -> Target {
        match self.device {
            Place::Cpu => Target::Cpu,
            Place::Cuda => Target::Cuda,
        }
    }

    /// Refuses what cannot be before anything is compiled.
    pub fn check(&self) -> Result<(), Problem> {
        match self.device {
            Place::Cuda => Ok(cuda::gpu::list().map(|_| ()).map_err(missing)?),
            Place::Cpu if self.precision != Numbers::F32 => {
                Err(Problem::new("--precision is for --device cuda: the CPU computes in f32"))
            }
            Place::Cpu => Ok(()),
        }
    }

    /// The GPU with a program.
    pub fn gpu(&self, program: Arc<Program>) -> Result<cuda::Device, Problem> {
        let gpu = cuda::Gpu::open(self.gpu).map_err(missing)?;
        Ok(cuda::Device::new(program, self.precision.into(), Box::new(gpu))?)
    }
}

fn missing(error: cuda::CudaError) -> Problem {
    Problem::new(format!("--device cuda cannot run here: {error}. `fgc doctor` shows what is there"))
}

#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub place: Where,
    /// How kernels run on the CPU.
    #[arg(long, value_enum, default_value = "compiled")]
    pub backend: Kind,
    /// Threads to compute on; 0 takes all cores. Results do not depend on it.
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
}

impl Options {
    /// The program's device. Without a C compiler it is the interpreter, and a warning says so.
    pub fn open(&self, program: Program) -> Result<Device, Problem> {
        let program = Arc::new(program);
        if self.place.device == Place::Cuda {
            return Ok(self.place.gpu(program)?.into());
        }
        if self.backend == Kind::Compiled {
            match cpu::Device::new(program.clone(), Backend::Compiled, self.threads) {
                Err(DeviceError::Compile(CompileError::NoCompiler { command, .. })) => eprintln!(
                    "warning: there is no C compiler `{command}`: kernels are interpreted, a hundred times slower. \
                     Install one (apt install gcc), or name one in $CC"
                ),
                other => return Ok(other?.into()),
            }
        }
        Ok(cpu::Device::new(program, Backend::Interpreter, self.threads)?.into())
    }
}
