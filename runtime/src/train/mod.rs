//! Training: a compiled program with weights, random numbers and data, and what a run leaves on the disk.
//!
//! [`Model`] holds a program's weights on a device and knows a single optimisation step ([`step`]), how to sample
//! ([`sampling`]) and how to be saved ([`snapshot`]). [`Trainer`] feeds it a data set's batches. [`run`] is the loop
//! around it: logs, [`pictures`], checkpoints, evaluation.

pub mod curves;
pub mod error;
pub mod evaluate;
pub mod init;
pub mod inputs;
pub mod model;
pub mod pictures;
pub mod run;
pub mod run_dir;
pub mod sampling;
pub mod snapshot;
pub mod step;
pub mod trainer;

pub use error::TrainError;
pub use evaluate::{Distance, Quality};
pub use init::{Weights, without_weights};
pub use inputs::Pins;
pub use model::Model;
pub use pictures::{Drawing, draw};
pub use run::{Cadence, Job, Summary};
pub use run_dir::RunDir;
pub use sampling::conditions;
pub use step::{Begun, NonFinite, StepReport};
pub use trainer::Trainer;
