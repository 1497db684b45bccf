//! What a device needs of CUDA.

use super::Library;
use fgc_program::cuda::{Function, Task};
use std::sync::Arc;
use std::time::Instant;
use thiserror::Error;

/// How often launches are timed, each time at most so often in a row, for about so many seconds.
const ROUNDS: usize = 4;
const RUNS: f64 = 200.0;
const LONG: f64 = 0.005;

/// Of a byte in the device's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address(pub u64);

impl Address {
    pub fn plus(self, bytes: usize) -> Address {
        Address(self.0 + bytes as u64)
    }
}

#[derive(Debug, Error)]
pub enum CudaError {
    /// Something that `--device cuda` needs is not there; the text says what, and how to get it.
    #[error("{0}")]
    Missing(String),
    #[error("the GPU has no {bytes} bytes left ({what})")]
    Memory { bytes: usize, what: String },
    #[error("NVRTC rejects generated code:\n{log}")]
    Compile { log: String },
    #[error("NVRTC rejects {file}:\n{log}")]
    Outside { file: String, log: String },
    #[error("{file} defines no kernel `{entry}` (`extern \"C\" __global__`)")]
    NoEntry { file: String, entry: String },
    #[error("CUDA failed to {action}: {what}")]
    Failed { action: &'static str, what: String },
}

/// What runs at once.
#[derive(Clone, Debug)]
pub enum Launch {
    Function(FunctionLaunch),
    /// A product or a convolution by a library.
    Library {
        /// Its place among those given to [`Driver::prepare`].
        task: usize,
        /// Which of the ways that there are.
        way: usize,
        operands: Operands,
    },
}

/// Where what a library works on begins.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    pub left: Address,
    pub right: Address,
    pub result: Address,
    /// What is added, as the task's [`fgc_program::cuda::Finish`] says.
    pub matrix: Option<Address>,
    pub bias: Option<Address>,
}

/// One launch of a function.
#[derive(Clone, Debug)]
pub struct FunctionLaunch {
    /// Its place among those given to [`Driver::load`].
    pub function: usize,
    pub blocks: usize,
    pub threads: usize,
    /// Bytes of shared memory of a block, besides what its function declares.
    pub shared: usize,
    /// Pointers; then, for hand-written code, numbers, which are as wide.
    pub arguments: Vec<u64>,
}

/// Bytes on their way to the host.
#[derive(Debug)]
pub struct Ticket {
    /// By which the driver knows them.
    pub number: usize,
    /// The memory they come to is theirs as long as this is held.
    pub held: Arc<()>,
}

/// The ways in which a library does a task, each by what tells it from others, another day, too; or why there is none.
pub type Ways = Result<Vec<String>, String>;

/// A GPU, or what stands for one. Everything runs in the order of the calls.
pub trait Driver: Send {
    /// What it is, for people.
    fn name(&self) -> String;
    /// Bytes of shared memory that a block of a band may take. Code that is made elsewhere, for the cache, takes the default.
    fn shared(&self) -> usize {
        fgc_program::cuda::SHARED
    }
    /// Zeroed memory at a multiple of [`fgc_program::cuda::ALIGN`]; it lives as long as the driver.
    fn allocate(&mut self, bytes: usize, what: &str) -> Result<Address, CudaError>;
    fn upload(&mut self, to: Address, bytes: &[u8]) -> Result<(), CudaError>;
    /// Begins to bring these bytes to the host, as they are after all that came before; what to ask for them by, once.
    fn post(&mut self, from: Address, bytes: usize) -> Result<Ticket, CudaError>;
    /// Waits for bytes that were posted, not for what came after them.
    fn collect(&mut self, ticket: Ticket) -> Result<Vec<u8>, CudaError>;
    /// Waits for all that came before.
    fn download(&self, from: Address, bytes: &mut [u8]) -> Result<(), CudaError>;
    /// The two do not overlap.
    fn copy(&mut self, from: Address, to: Address, bytes: usize) -> Result<(), CudaError>;
    /// The libraries for products and convolutions that are here.
    fn library(&self) -> Option<Library> {
        None
    }
    /// Prepares what libraries may do.
    fn prepare(&mut self, tasks: &[Task]) -> Result<Vec<Ways>, CudaError> {
        Ok(vec![Err("there is no library".into()); tasks.len()])
    }
    /// Makes code of all functions.
    fn load(&mut self, functions: &[Function]) -> Result<(), CudaError>;
    /// Waits for all that runs.
    fn wait(&mut self) -> Result<(), CudaError>;
    /// How long launches take that run one after the other, recorded as in a step: starting them one by one may take longer than
    /// they do.
    fn seconds(&mut self, launches: &[Launch]) -> Result<f64, CudaError> {
        let (mut best, mut runs) = (f64::INFINITY, 1);
        // Once to know about how long, then often enough to be more than starting them all.
        for _ in 0..ROUNDS {
            let recorded = self.record(vec![launches; runs].concat())?;
            let timed = self.timed(recorded);
            self.forget(recorded)?;
            let seconds = timed? / runs as f64;
            best = best.min(seconds);
            runs = (LONG / seconds.max(1e-9)).clamp(1.0, RUNS) as usize;
        }
        Ok(best)
    }
    /// How long recorded launches take, but for the first time.
    fn timed(&mut self, recorded: usize) -> Result<f64, CudaError> {
        self.replay(recorded)?;
        self.wait()?;
        let start = Instant::now();
        self.replay(recorded)?;
        self.wait()?;
        Ok(start.elapsed().as_secs_f64())
    }
    /// Runs a launch once.
    fn run(&mut self, launch: &Launch) -> Result<(), CudaError>;
    /// Prepares launches that run together often; gives their number.
    fn record(&mut self, launches: Vec<Launch>) -> Result<usize, CudaError>;
    /// Runs recorded launches.
    fn replay(&mut self, recorded: usize) -> Result<(), CudaError>;
    /// Gives back what was recorded: its number means nothing from here on.
    fn forget(&mut self, recorded: usize) -> Result<(), CudaError>;
}
