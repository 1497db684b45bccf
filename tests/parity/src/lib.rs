//! Replays recorded training steps of another implementation and compares losses, gradients and updated weights.
//!
//! A case is a directory: `case.json` (method, network, hyper-parameters, iteration), `weights.safetensors`
//! (`<net>.<param>`), `pins.safetensors` (data, and every draw by its name; after `step<k>.` where there are several
//! steps), `expected.safetensors` (`loss.<term>`, `grad.<net>.<param>`, `after.<net>.<param>` or buffers).

pub mod case;
pub mod compare;
pub mod replay;

pub use case::{Case, CaseError};
pub use compare::{Agreement, compare, compare_rounded};
pub use replay::{Open, ReplayError, Replayed, on, replay, samples};

/// Tensors by name.
pub type Tensors = indexmap::IndexMap<String, fgc_runtime::Tensor>;
