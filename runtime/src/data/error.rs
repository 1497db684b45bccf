//! What can be wrong with a data set.

use super::FlowError;
use std::fmt;
use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("no data set at {path}: expected {expected}; say where it is with --data DIR", path = path.display())]
    Missing { path: PathBuf, expected: &'static str },
    #[error("cannot read {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is not a valid IDX file: {reason}", path = path.display())]
    Idx { path: PathBuf, reason: String },
    #[error("{path} is truncated: its header announces {expected} bytes of data, it has {found}", path = path.display())]
    Truncated { path: PathBuf, expected: u64, found: u64 },
    #[error("{images} holds {image_count} images, but {labels} holds {label_count} labels",
        images = images.display(), labels = labels.display())]
    Counts { images: PathBuf, image_count: usize, labels: PathBuf, label_count: usize },
    #[error("{path} is not a valid tar file, or truncated: {source}", path = path.display())]
    Archive { path: PathBuf, source: io::Error },
    #[error("`{key}` in {path} has a `{field}` of shape {found:?}, but the samples before it have {expected:?}",
        path = path.display())]
    Shape { path: PathBuf, key: String, field: String, expected: Vec<usize>, found: Vec<usize> },
    #[error("`{key}` in {path} has class {label}, but the data set has only {classes}", path = path.display())]
    Class { path: PathBuf, key: String, label: u32, classes: usize },
    #[error("{path} holds no samples", path = path.display())]
    Empty { path: PathBuf },
    #[error("{} of {total} samples are unusable, more than 1 %:{}", skipped.len(), first(skipped))]
    Corrupt { skipped: Vec<Skipped>, total: usize },
    #[error("cannot make a teacher's trajectories: {0}")]
    Flow(FlowError),
    #[error("a data set of `{spec}` is impossible: {reason}")]
    Spec { spec: String, reason: &'static str },
}

/// A sample left out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    pub path: PathBuf,
    pub key: String,
    pub reason: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "`{}` in {}: {}", self.key, self.path.display(), self.reason)
    }
}

fn first(skipped: &[Skipped]) -> String {
    skipped.iter().take(3).map(|s| format!("\n  {s}")).collect()
}
