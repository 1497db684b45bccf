//! The CPU backend against its oracle.

mod build;
mod compile;
mod device;
mod kernels;
mod products;
