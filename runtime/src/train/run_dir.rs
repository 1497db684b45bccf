//! What a run leaves on the disk.
//!
//! ```text
//! runs/dmd2-ring-1/
//!   spec.fg  preset.ron       what was run, overrides put in
//!   log.jsonl  events.out.…   numbers; TensorBoard's form of them
//!   samples/  curves.png      pictures
//!   checkpoints/              the newest few
//!   summary.json              when done
//! ```

use crate::checkpoint::{Checkpoint, Checkpoints};
use crate::train::TrainError;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Checkpoints kept.
const KEEP: usize = 3;

#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// A new directory in `out`: `name`, or else the first of `stem-1`, `stem-2`, … that is free.
    pub fn create(out: &Path, name: Option<&str>, stem: &str) -> Result<RunDir, TrainError> {
        let write = |path: &Path| {
            let path = path.to_path_buf();
            move |source| TrainError::Write { path, source }
        };
        fs::create_dir_all(out).map_err(write(out))?;
        let mut number = 1;
        loop {
            let path = out.join(name.map_or_else(|| format!("{stem}-{number}"), String::from));
            match fs::create_dir(&path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && name.is_none() => number += 1,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(TrainError::Exists { path }),
                made => {
                    made.map_err(write(&path))?;
                    let samples = path.join("samples");
                    fs::create_dir(&samples).map_err(write(&samples))?;
                    return Ok(RunDir { path });
                }
            }
        }
    }

    /// A run that exists, with its newest checkpoint and that one's path.
    pub fn open(path: &Path) -> Result<(RunDir, Checkpoint, PathBuf), TrainError> {
        let dir = RunDir { path: path.into() };
        let newest = dir.checkpoints().latest()?.ok_or_else(|| TrainError::NoRun { path: path.into() })?;
        Ok((dir, Checkpoint::load(&newest)?, newest))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn checkpoints(&self) -> Checkpoints {
        Checkpoints::new(self.path.join("checkpoints"), KEEP)
    }

    pub fn log(&self) -> PathBuf {
        self.path.join("log.jsonl")
    }

    pub fn curves(&self) -> PathBuf {
        self.path.join("curves.png")
    }

    pub fn samples(&self, step: u64) -> PathBuf {
        self.path.join("samples").join(format!("step-{step:08}.png"))
    }

    /// Writes a text file, whole or not at all.
    pub fn write(&self, name: &str, text: &str) -> Result<(), TrainError> {
        let (path, temporary) = (self.path.join(name), self.path.join(format!(".{name}.tmp")));
        let write = || {
            let mut file = fs::File::create(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        };
        write().map_err(|source| {
            // The first error is the one to report; there may be no file at all.
            let _ = fs::remove_file(&temporary);
            TrainError::Write { path: path.clone(), source }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_numbered_and_never_overwritten() {
        let out = tempfile::tempdir().unwrap();
        let name = |dir: RunDir| dir.path().file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(name(RunDir::create(out.path(), None, "dmd2-ring").unwrap()), "dmd2-ring-1");
        assert_eq!(name(RunDir::create(out.path(), None, "dmd2-ring").unwrap()), "dmd2-ring-2");
        assert_eq!(name(RunDir::create(out.path(), Some("mine"), "dmd2-ring").unwrap()), "mine");
        let error = RunDir::create(out.path(), Some("mine"), "dmd2-ring").unwrap_err().to_string();
        assert!(error.contains("mine") && error.contains("--resume"), "{error}");
        let error = RunDir::open(&out.path().join("mine")).unwrap_err().to_string();
        assert!(error.contains("a directory with checkpoints"), "{error}");
    }
}
