//! What can go wrong in training.

use crate::checkpoint::CheckpointError;
use crate::cpu::DeviceError;
use crate::data::DataError;
use crate::log::LogError;
use crate::metrics::MetricError;
use crate::picture::PictureError;
use crate::random::DrawError;
use crate::tensorfile::TensorFileError;
use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    File(#[from] TensorFileError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Picture(#[from] PictureError),
    #[error(transparent)]
    Metric(#[from] MetricError),
    #[error("draw `{name}`: {source}")]
    Draw { name: String, source: DrawError },
    #[error(
        "loss `{loss}` is {value} at iteration {iteration}; no weight was changed. \
         Lower the learning rate, or go on past such steps with --skip-nonfinite"
    )]
    Loss { iteration: u64, loss: String, value: f64 },
    #[error(
        "the gradient of `{net}` is not finite at iteration {iteration}, first in `{param}`; no weight was changed. \
         Lower the learning rate, or go on past such steps with --skip-nonfinite"
    )]
    Gradient { iteration: u64, net: String, param: String },
    #[error("iteration {iteration} was left out, as a step before it was not finite")]
    LeftOut { iteration: u64 },
    #[error(
        "the sampler `{sampler}` gives numbers that are not finite after {iteration} steps. Its times may lie outside what \
         the network was trained on, or the training has diverged"
    )]
    Samples { iteration: u64, sampler: String },
    #[error("`{name}` must be given: the program reads it and nothing provides it")]
    NoInput { name: String },
    #[error("`{name}` has shape {found:?}, and the program wants {expected:?}")]
    InputShape { name: String, expected: Vec<usize>, found: Vec<usize> },
    #[error("`{name}` holds values that are no {dtype}")]
    InputValues { name: String, dtype: fgc_program::DType },
    #[error(
        "network `{net}` is frozen and has no weights: give it a trained network with {} \
         (make one with: fgc run methods/{}.fg --preset PRESET)",
        if net == "teacher" { "--teacher RUN".to_string() } else { format!("--init {net}=RUN") },
        if net == "teacher" { "sft" } else { "cm" },
    )]
    NoWeights { net: String },
    #[error("{from} does not hold the weights of `{net}`:\n{}", list.join("\n"))]
    Tensors {
        from: String,
        net: String,
        /// A line for each tensor that is missing, of another shape, or too many.
        list: Vec<String>,
    },
    #[error("{from} has no `{tensor}`{hint}")]
    Missing { from: String, tensor: String, hint: String },
    #[error("{from}: `{tensor}` has shape {found:?}, and the network's is {expected:?}")]
    Shape { from: String, tensor: String, expected: Vec<usize>, found: Vec<usize> },
    #[error("there is no sampler `{name}`; there is {known}")]
    NoSampler { name: String, known: String },
    #[error("class {class} is out of range: the data have {classes}")]
    Class { class: usize, classes: usize },
    #[error("the data set's thread ended unexpectedly")]
    Loader,
    #[error("{path} already holds a run; choose another name with --name, or go on with --resume", path = path.display())]
    Exists { path: PathBuf },
    #[error("there is no run at {path}: a run is a directory with checkpoints, such as runs/sft-ring-1", path = path.display())]
    NoRun { path: PathBuf },
    #[error("cannot write {path}: {source}", path = path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
}
