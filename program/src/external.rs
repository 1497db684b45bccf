//! Hand-written device code, and its launches.

use crate::BufferId;
use serde::{Deserialize, Serialize};

/// The text of a file, which a program carries along.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DeviceCode {
    pub language: Language,
    /// The file's name, for people.
    pub name: String,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Language {
    /// CUDA C++ for NVRTC; what it defines must be `extern "C"` to be found.
    Cuda,
    /// Loaded by the driver as it is.
    Ptx,
}

impl DeviceCode {
    /// Of the text alone: the same in another file is the same code.
    pub fn hash(&self) -> String {
        blake3::hash(self.text.as_bytes()).to_hex()[..32].to_string()
    }
}

/// A launch of code from outside. The entry's parameters are pointers to `args`, pointers to the results, then `numbers`
/// as 64-bit integers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Extern {
    /// Position in [`Program::codes`](crate::Program::codes).
    pub code: usize,
    pub entry: String,
    /// Read, row-major.
    pub args: Vec<BufferId>,
    /// Holds all results, overwritten.
    pub out: BufferId,
    /// Where in `out` each result starts, in elements; in rising order.
    pub results: Vec<usize>,
    /// The extents that the kernel is told.
    pub numbers: Vec<i64>,
    pub blocks: usize,
    /// Of a block.
    pub threads: usize,
}

impl Extern {
    /// How many parameters the entry has.
    pub fn parameters(&self) -> usize {
        self.args.len() + self.results.len() + self.numbers.len()
    }
}
