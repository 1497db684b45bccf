//! From a `.fg` spec to a [`Program`](fgc_program::Program).
//!
//! The modules are the stages, in this order: [`source`] and [`module`] read files, [`check`] turns a method into a
//! [`graph`], [`stages`] cuts samplers at their loops, [`training`] adds derivatives ([`derive`]) and updates ([`optimizer`]),
//! [`optimise`] rewrites ([`simplify`], [`saturate`]), [`lower`] makes kernels and plans. [`compile()`] runs them all. What is wrong with a spec is a value ([`diagnostic`]).

pub mod check;
mod compile;
pub mod derive;
pub mod device_code;
pub mod diagnostic;
pub mod graph;
pub mod level;
pub mod lower;
pub mod module;
pub mod names;
pub mod optimise;
pub mod optimizer;
pub mod preset;
pub mod saturate;
pub mod simplify;
pub mod source;
pub mod stages;
pub mod training;

pub use compile::{Compiled, compile};
