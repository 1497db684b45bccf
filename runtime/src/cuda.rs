//! Runs programs on NVIDIA GPUs.
//!
//! [`Device`] holds a program's memory and runs its plans through a [`Driver`]: the functions that
//! [`fgc_program::cuda`] prints, one after the other on one stream. The order, arguments and memory are the same whatever
//! the driver: CUDA's, or the tests' emulation on the CPU.

pub mod device;
pub mod driver;

pub use device::Device;
pub use driver::{Address, CudaError, Driver};
