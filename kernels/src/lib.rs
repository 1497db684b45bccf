//! Device code in Rust: `y = silu(x / rms(x) · scale)` along rows, its derivative along a direction, and backwards.
//!
//! What one thread does is ordinary Rust ([`lane`], [`math`]). For a GPU `device` makes kernels of it, a warp for each row;
//! `rms_silu.ptx` beside this folder's `Cargo.toml` is what the compiler makes of them, and `tests/ptx.rs` makes it again
//! where it can. Elsewhere [`host`] runs the same threads one after the other.

#![cfg_attr(target_arch = "nvptx64", no_std)]
#![cfg_attr(target_arch = "nvptx64", allow(internal_features))]
#![cfg_attr(target_arch = "nvptx64", feature(abi_ptx, asm_experimental_arch, core_intrinsics, stdarch_nvptx))]

pub mod lane;
pub mod math;

#[cfg(target_arch = "nvptx64")]
mod device;
#[cfg(not(target_arch = "nvptx64"))]
pub mod host;

/// Threads that work on one row.
pub const LANES: usize = 32;
