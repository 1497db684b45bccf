//! The device a command computes on.

use crate::problem::Problem;
use clap::ValueEnum;
use fgc_program::Program;
use fgc_runtime::cpu::compile::CompileError;
use fgc_runtime::cpu::{Backend, Device, DeviceError};
use std::sync::Arc;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Kernels as C, compiled by `cc` (or $CC) and kept in the cache ($FGC_CACHE_DIR, else ~/.cache/fgc).
    Compiled,
    /// Kernels interpreted: needs nothing, a hundred times slower.
    Interpreter,
}

#[derive(clap::Args)]
pub struct Options {
    /// How kernels run.
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
        if self.backend == Kind::Compiled {
            match Device::new(program.clone(), Backend::Compiled, self.threads) {
                Err(DeviceError::Compile(CompileError::NoCompiler { command, .. })) => eprintln!(
                    "warning: there is no C compiler `{command}`: kernels are interpreted, a hundred times slower. \
                     Install one (apt install gcc), or name one in $CC"
                ),
                other => return Ok(other?),
            }
        }
        Ok(Device::new(program, Backend::Interpreter, self.threads)?)
    }
}
