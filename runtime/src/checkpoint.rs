//! Checkpoints that survive crashes and full disks.
//!
//! A checkpoint is one safetensors file, `step-00001000.safetensors`: weights (`<net>.<param>`), moving averages
//! (`ema.<net>.<param>`), optimiser moments (`moment.<what>.<net>.<param>`), counters and state buffers, with the
//! run's identity in the file's metadata. It is written under a temporary name, synced and renamed, so under its
//! own name a file is always whole. The file `latest` names the newest one.

use crate::Tensor;
use crate::names::closest;
use crate::tensorfile::{self, Metadata, TensorFileError};
use indexmap::IndexMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Everything needed to go on as if training had never stopped.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Optimisation steps done.
    pub step: u64,
    pub seed: u64,
    /// The method's source text.
    pub spec: String,
    /// The preset it was trained with, as RON; empty if none.
    pub preset: String,
    pub tensors: IndexMap<String, Tensor>,
}

#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error(transparent)]
    File(#[from] TensorFileError),
    #[error("no space left on the disk while writing {path}; earlier checkpoints are intact", path = path.display())]
    DiskFull { path: PathBuf, source: io::Error },
    #[error("cannot write {path}: {source}; earlier checkpoints are intact", path = path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read the checkpoint directory {path}: {source}", path = path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("{path} is not a checkpoint: its metadata has no valid `{key}`", path = path.display())]
    Metadata { path: PathBuf, key: &'static str },
    #[error("{path} is damaged: its spec does not have the hash recorded with it", path = path.display())]
    Hash { path: PathBuf },
}

/// The hash that identifies a method's source, in hexadecimal.
pub fn spec_hash(spec: &str) -> String {
    blake3::hash(spec.as_bytes()).to_hex().to_string()
}

impl Checkpoint {
    /// Reads one checkpoint file whole.
    pub fn load(path: &Path) -> Result<Checkpoint, CheckpointError> {
        let (tensors, mut metadata) = tensorfile::read(path)?;
        let number = |key: &'static str| {
            let value = metadata.get(key).and_then(|v| v.parse().ok());
            value.ok_or(CheckpointError::Metadata { path: path.into(), key })
        };
        let (step, seed) = (number("step")?, number("seed")?);
        let mut text = |key| metadata.remove(key).ok_or(CheckpointError::Metadata { path: path.into(), key });
        let (spec, hash, preset) = (text("spec")?, text("spec_hash")?, text("preset")?);
        if hash != spec_hash(&spec) {
            return Err(CheckpointError::Hash { path: path.into() });
        }
        Ok(Checkpoint { step, seed, spec, preset, tensors })
    }

    fn metadata(&self) -> Metadata {
        let entries = [
            ("step", self.step.to_string()),
            ("seed", self.seed.to_string()),
            ("spec", self.spec.clone()),
            ("spec_hash", spec_hash(&self.spec)),
            ("preset", self.preset.clone()),
        ];
        entries.into_iter().map(|(key, value)| (key.to_string(), value)).collect()
    }
}

/// A directory of checkpoints, of which the newest few are kept.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    dir: PathBuf,
    keep: usize,
}

impl Checkpoints {
    /// Keeps the newest `keep` checkpoints, at least one. The directory is created by the first save.
    pub fn new(dir: impl Into<PathBuf>, keep: usize) -> Checkpoints {
        Checkpoints { dir: dir.into(), keep: keep.max(1) }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes a checkpoint, makes it the latest, then deletes those older than the newest `keep`. When this fails
    /// nothing that was there before is lost.
    pub fn save(&self, checkpoint: &Checkpoint) -> Result<PathBuf, CheckpointError> {
        let name = file_name(checkpoint.step);
        let path = self.dir.join(&name);
        let failed = |source: io::Error| write_error(&path, source);
        fs::create_dir_all(&self.dir).map_err(failed)?;
        self.replace(&name, |temporary| {
            match tensorfile::write(temporary, &checkpoint.tensors, &checkpoint.metadata()) {
                Err(TensorFileError::Write { source, .. }) => Err(write_error(&path, source)),
                other => Ok(other?),
            }
        })?;
        self.replace("latest", |temporary| {
            let mut file = File::create(temporary).map_err(failed)?;
            file.write_all(name.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
        })?;
        self.delete_old(checkpoint.step).map_err(failed)?;
        Ok(path)
    }

    /// The newest checkpoint: the one `latest` names, else the one with the highest step; None if there is none.
    pub fn latest(&self) -> Result<Option<PathBuf>, CheckpointError> {
        let named = fs::read_to_string(self.dir.join("latest")).ok().filter(|name| step_of(name).is_some());
        if let Some(path) = named.map(|name| self.dir.join(name)).filter(|path| path.is_file()) {
            return Ok(Some(path));
        }
        let failed = |source| CheckpointError::Directory { path: self.dir.clone(), source };
        let newest = self.steps().map_err(failed)?.into_iter().max();
        Ok(newest.map(|step| self.dir.join(file_name(step))))
    }

    /// Runs `write` on a temporary name and renames the result; removes what it left if it fails.
    fn replace(
        &self,
        name: &str,
        write: impl FnOnce(&Path) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
        let (path, temporary) = (self.dir.join(name), self.dir.join(format!(".{name}.tmp")));
        let result = write(&temporary).and_then(|()| {
            let renamed = fs::rename(&temporary, &path).and_then(|()| sync_dir(&self.dir));
            renamed.map_err(|source| write_error(&path, source))
        });
        if result.is_err() {
            // The first error is the one to report; there may be no file at all.
            let _ = fs::remove_file(&temporary);
        }
        result
    }

    /// The steps of the checkpoints there are; none if there is no directory.
    fn steps(&self) -> io::Result<Vec<u64>> {
        match fs::read_dir(&self.dir) {
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Vec::new()),
            entries => {
                let names = entries?.map(|entry| Ok(entry?.file_name()));
                let names: Vec<_> = names.collect::<io::Result<_>>()?;
                Ok(names.iter().filter_map(|name| step_of(name.to_str()?)).collect())
            }
        }
    }

    /// Deletes all but the newest `keep` up to the saved step (one with a later step belongs to a run that was
    /// rewound, and goes first), and what killed runs left under temporary names.
    fn delete_old(&self, saved: u64) -> io::Result<()> {
        let mut steps = self.steps()?;
        steps.sort_unstable_by_key(|&step| (step > saved, std::cmp::Reverse(step)));
        for &step in steps.iter().skip(self.keep) {
            fs::remove_file(self.dir.join(file_name(step)))?;
        }
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_str().is_some_and(|n| n.starts_with(".step-") && n.ends_with(".tmp")) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

fn file_name(step: u64) -> String {
    format!("step-{step:08}.safetensors")
}

fn step_of(file_name: &str) -> Option<u64> {
    file_name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok()
}

/// Makes a rename durable. Directories cannot be opened on Windows, where a rename already is.
fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

fn write_error(path: &Path, source: io::Error) -> CheckpointError {
    let path = path.to_path_buf();
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => CheckpointError::DiskFull { path, source },
        _ => CheckpointError::Write { path, source },
    }
}

/// How a file's tensors differ from those a program wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mismatch {
    /// Wanted, not in the file; with the closest name in the file that nothing else claims.
    pub missing: Vec<(String, Option<String>)>,
    /// In the file, not wanted.
    pub extra: Vec<String>,
    /// Name, wanted shape, shape in the file.
    pub misshaped: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl Mismatch {
    /// Compares `wanted` names and shapes with what there is.
    pub fn between(wanted: &IndexMap<String, Vec<usize>>, has: &IndexMap<String, Tensor>) -> Mismatch {
        let extra: Vec<String> = has.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        let mut mismatch = Mismatch::default();
        for (name, shape) in wanted {
            match has.get(name) {
                None => {
                    let near = closest(name, extra.iter().map(String::as_str));
                    mismatch.missing.push((name.clone(), near.map(str::to_string)));
                }
                Some(tensor) if tensor.shape() != shape => {
                    mismatch.misshaped.push((name.clone(), shape.clone(), tensor.shape().to_vec()));
                }
                Some(_) => {}
            }
        }
        mismatch.extra = extra;
        mismatch
    }

    /// Whether everything wanted is there; extra tensors do no harm.
    pub fn is_harmless(&self) -> bool {
        self.missing.is_empty() && self.misshaped.is_empty()
    }
}

impl std::fmt::Display for Mismatch {
    /// One difference a line, at most eight of a kind.
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        const SHOWN: usize = 8;
        let mut lines = Vec::new();
        let mut list = |what: &str, entries: Vec<String>| {
            let more = entries.len().saturating_sub(SHOWN);
            lines.extend(entries.into_iter().take(SHOWN).map(|entry| format!("{what} {entry}")));
            if more > 0 {
                lines.push(format!("{what} {more} more"));
            }
        };
        let missing = self.missing.iter().map(|(name, near)| match near {
            Some(near) => format!("`{name}`; the file has `{near}`"),
            None => format!("`{name}`"),
        });
        list("missing", missing.collect());
        let misshaped =
            self.misshaped.iter().map(|(name, want, has)| format!("`{name}`: expected {want:?}, found {has:?}"));
        list("wrong shape of", misshaped.collect());
        list("not used:", self.extra.iter().map(|name| format!("`{name}`")).collect());
        f.write_str(&lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(step: u64) -> Checkpoint {
        let tensors = [
            ("student.lin.weight", Tensor::f32([2, 2], vec![1.0, 2.0, 3.0, step as f32])),
            ("updates.student", Tensor::f64([], vec![step as f64])),
        ];
        let tensors = tensors.into_iter().map(|(n, t)| (n.to_string(), t)).collect();
        Checkpoint { step, seed: u64::MAX, spec: "method m {}\n".into(), preset: "()".into(), tensors }
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_newest_few_are_kept_and_load_as_saved() {
        let dir = tempfile::tempdir().unwrap();
        let store = Checkpoints::new(dir.path().join("checkpoints"), 2);
        assert_eq!(store.latest().unwrap(), None);
        for step in [5, 10, 15] {
            store.save(&checkpoint(step)).unwrap();
        }
        assert_eq!(names(store.dir()), ["latest", "step-00000010.safetensors", "step-00000015.safetensors"]);
        let latest = store.latest().unwrap().unwrap();
        assert_eq!(Checkpoint::load(&latest).unwrap(), checkpoint(15));
        fs::remove_file(store.dir().join("latest")).unwrap();
        assert_eq!(store.latest().unwrap().unwrap(), latest);
    }

    #[test]
    fn equal_checkpoints_are_equal_files() {
        let [a, b] = [(); 2].map(|()| {
            let dir = tempfile::tempdir().unwrap();
            fs::read(Checkpoints::new(dir.path(), 1).save(&checkpoint(3)).unwrap()).unwrap()
        });
        assert!(a == b);
    }

    /// A rewound run saves steps lower than those there are: its own checkpoint must not be the one deleted.
    #[test]
    fn a_rewound_run_keeps_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let store = Checkpoints::new(dir.path(), 1);
        store.save(&checkpoint(100)).unwrap();
        store.save(&checkpoint(50)).unwrap();
        assert_eq!(names(dir.path()), ["latest", "step-00000050.safetensors"]);
    }

    #[test]
    fn leftovers_of_killed_runs_are_ignored_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Checkpoints::new(dir.path(), 2);
        store.save(&checkpoint(1)).unwrap();
        fs::write(dir.path().join(".step-00000002.safetensors.tmp"), b"half").unwrap();
        assert_eq!(Checkpoint::load(&store.latest().unwrap().unwrap()).unwrap().step, 1);
        store.save(&checkpoint(3)).unwrap();
        assert!(names(dir.path()).iter().all(|name| !name.ends_with(".tmp")));
    }

    /// Every write to /dev/full fails as on a full disk.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_leaves_the_previous_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let store = Checkpoints::new(dir.path(), 1);
        store.save(&checkpoint(1)).unwrap();
        std::os::unix::fs::symlink("/dev/full", dir.path().join(".step-00000002.safetensors.tmp")).unwrap();
        let error = store.save(&checkpoint(2)).unwrap_err();
        assert!(matches!(error, CheckpointError::DiskFull { .. }), "{error}");
        assert!(error.to_string().contains("no space left on the disk"), "{error}");
        assert_eq!(Checkpoint::load(&store.latest().unwrap().unwrap()).unwrap(), checkpoint(1));
        assert_eq!(names(dir.path()), ["latest", "step-00000001.safetensors"]);
        store.save(&checkpoint(2)).unwrap();
    }

    #[test]
    fn damage_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = Checkpoints::new(dir.path(), 1).save(&checkpoint(1)).unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        let error = Checkpoint::load(&path).unwrap_err().to_string();
        assert!(error.contains("step-00000001.safetensors is truncated"), "{error}");
        let changed = String::from_utf8_lossy(&bytes[8..]).find("method").unwrap() + 8;
        let mut other = bytes.clone();
        other[changed] = b'M';
        fs::write(&path, other).unwrap();
        assert!(matches!(Checkpoint::load(&path).unwrap_err(), CheckpointError::Hash { .. }));
        tensorfile::write(&path, &checkpoint(1).tensors, &Metadata::new()).unwrap();
        let error = Checkpoint::load(&path).unwrap_err().to_string();
        assert!(error.ends_with("is not a checkpoint: its metadata has no valid `step`"), "{error}");
    }

    #[test]
    fn mismatches_are_listed_with_the_closest_name() {
        let wanted = [("net.blocks.0.weight", vec![2, 2]), ("net.head", vec![3]), ("net.lin", vec![1])];
        let wanted = wanted.into_iter().map(|(n, s)| (n.to_string(), s)).collect();
        let has = [("net.block.0.weight", vec![2, 2]), ("net.head", vec![4]), ("net.lin", vec![1])];
        let has = has.into_iter().map(|(n, s)| (n.to_string(), Tensor::f32(s.clone(), vec![0.0; s.iter().product()])));
        let mismatch = Mismatch::between(&wanted, &has.collect());
        assert!(!mismatch.is_harmless());
        assert_eq!(
            mismatch.to_string(),
            "missing `net.blocks.0.weight`; the file has `net.block.0.weight`\n\
             wrong shape of `net.head`: expected [3], found [4]\n\
             not used: `net.block.0.weight`"
        );
    }
}
