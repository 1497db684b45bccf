//! Data sets: named in presets ([`DataSpec`]), loaded into memory or computed ([`Dataset`]), and turned into batches
//! that are a pure function of (seed, step), so that a resumed run sees what it would have seen.

mod dataset;
mod error;
mod flow;
mod idx;
mod loader;
mod mixture;
mod moving;
mod npy;
mod pairs;
mod sample;
mod shapes;
mod spec;
mod webdataset;

pub use dataset::{Batch, Dataset, one_hot};
pub use error::{DataError, Skipped};
pub use flow::{Flow, FlowError, Schedule};
pub use loader::Loader;
pub use mixture::Mixture;
pub use spec::{DataSpec, Description, Kind, Paths, Split};
