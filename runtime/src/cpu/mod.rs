//! Runs programs on the CPU.
//!
//! [`device`] is the way in. Fused kernels run as compiled C ([`compile`]) or, slowly and exactly, interpreted
//! ([`interpret`]); products and convolutions run tuned ([`contract`], [`conv`]) or naive ([`naive`]);
//! products of f32 on tiles or vectors, whichever the processor has ([`units`]);
//! bands of both run together on some rows at a time ([`band`]). What many of them multiply by stays packed ([`packs`]).
//! Work is split over threads ([`pool`]) in pieces that do not depend on how many there are, so neither do results.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
mod band;
pub mod compile;
mod contract;
pub mod conv;
pub mod cost;
pub mod device;
mod flags;
pub mod interpret;
pub mod memory;
pub mod naive;
mod packs;
pub mod pool;
mod scratch;
pub mod special;
mod units;
#[cfg(target_arch = "x86_64")]
mod vector;

pub use device::{Backend, Device, DeviceError};
