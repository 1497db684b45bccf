//! The runtime: what a compiled [`fgc_program::Program`] needs to train and sample.
//!
//! Everything here is deterministic: random numbers ([`random`]) and batches ([`data`]) are pure functions of
//! (seed, step), so that a run resumed from a [`checkpoint`] equals one that never stopped.

pub mod checkpoint;
pub mod cpu;
pub mod cuda;
pub mod data;
pub mod device;
pub mod log;
pub mod metrics;
pub mod names;
pub mod picture;
pub mod progress;
pub mod random;
pub mod shards;
pub mod tensor;
pub mod tensorboard;
pub mod tensorfile;
pub mod train;

pub use device::Device;
pub use tensor::{Tensor, Values};
