//! Runs programs on NVIDIA GPUs.
//!
//! [`Device`] holds a program's memory and runs its plans through a [`Driver`]: the functions that
//! [`fgc_program::cuda`] prints, one after the other on one stream. The order, arguments and memory are the same whatever
//! the driver: CUDA's ([`Gpu`]), or the tests' emulation on the CPU. Nothing of CUDA is needed to build or start: its libraries
//! are loaded ([`libraries`]) when a device is opened.

mod choose;
pub mod device;
mod dnn;
pub mod driver;
mod exchange;
pub mod gpu;
pub mod libraries;
mod lt;
pub mod nvrtc;
mod staging;
mod vendor;

pub use choose::{Library, Note};
pub use device::{Device, Told};
pub use driver::{Address, CudaError, Driver, Ticket};
pub use gpu::Gpu;
