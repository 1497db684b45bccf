//! Writing data sets: WebDataset shards of arrays, as [`crate::data`] reads them.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use tar::{Builder, Header};

/// Bytes after which a shard is full.
const SHARD: u64 = 256 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    #[error("{path} exists already; choose another directory, or remove it first", path = path.display())]
    Exists { path: PathBuf },
    #[error("cannot write {path}: {source}", path = path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// A directory of tar files under way. It has its name once it is finished; until then, and for good if it never is,
/// there is nothing under that name.
pub struct Shards {
    dir: PathBuf,
    /// Where the shards are until all are there.
    partial: PathBuf,
    current: Option<Shard>,
    shards: usize,
    finished: bool,
}

struct Shard {
    path: PathBuf,
    tar: Builder<BufWriter<File>>,
    bytes: u64,
}

impl Shards {
    /// Starts a directory.
    ///
    /// # Errors
    /// If anything has its name, or nothing can be written beside it.
    pub fn create(dir: &Path) -> Result<Shards, ShardError> {
        let dir = std::path::absolute(dir).map_err(failed(dir))?;
        if dir.symlink_metadata().is_ok() {
            return Err(ShardError::Exists { path: dir });
        }
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let partial = dir.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
        fs::create_dir_all(&partial).map_err(failed(&dir))?;
        Ok(Shards { dir, partial, current: None, shards: 0, finished: false })
    }

    /// Adds a sample: its fields as the contents of files `KEY.NAME.npy`.
    pub fn add(&mut self, key: &str, fields: &[(&str, Vec<u8>)]) -> Result<(), ShardError> {
        let mut shard = match self.current.take() {
            Some(shard) => shard,
            None => {
                let path = self.partial.join(format!("{:05}.tar", self.shards));
                let file = File::create(&path).map_err(failed(&path))?;
                self.shards += 1;
                Shard { path, tar: Builder::new(BufWriter::with_capacity(1 << 18, file)), bytes: 0 }
            }
        };
        for (name, content) in fields {
            let mut header = Header::new_ustar();
            header.set_mode(0o644);
            header.set_size(content.len() as u64);
            let added = shard.tar.append_data(&mut header, format!("{key}.{name}.npy"), content.as_slice());
            added.map_err(failed(&shard.path))?;
            shard.bytes += content.len() as u64;
        }
        if shard.bytes < SHARD {
            self.current = Some(shard);
            return Ok(());
        }
        shard.close()
    }

    /// Gives the directory its name; answers how many shards it has.
    pub fn finish(mut self) -> Result<usize, ShardError> {
        if let Some(shard) = self.current.take() {
            shard.close()?;
        }
        if self.dir.symlink_metadata().is_ok() {
            return Err(ShardError::Exists { path: self.dir.clone() });
        }
        fs::rename(&self.partial, &self.dir).map_err(failed(&self.dir))?;
        self.finished = true;
        Ok(self.shards)
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing can be said from here; what is left has a hidden name.
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}

impl Shard {
    fn close(self) -> Result<(), ShardError> {
        let Shard { path, tar, .. } = self;
        let close = || {
            let mut writer = tar.into_inner()?;
            writer.flush()?;
            writer.get_ref().sync_all()
        };
        close().map_err(failed(&path))
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> ShardError {
    let path = path.to_path_buf();
    move |source| ShardError::Write { path: path.clone(), source }
}

/// A NumPy file of f32.
///
/// # Panics
/// If the values do not fill the shape.
pub fn npy(shape: &[usize], values: &[f32]) -> Vec<u8> {
    assert_eq!(values.len(), shape.iter().product::<usize>());
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    array("<f4", shape, &bytes)
}

/// A NumPy file of bytes.
///
/// # Panics
/// If the values do not fill the shape.
pub fn npy_bytes(shape: &[usize], values: &[u8]) -> Vec<u8> {
    assert_eq!(values.len(), shape.iter().product::<usize>());
    array("|u1", shape, values)
}

/// numpy.lib.format, version 1.0: elements start at a multiple of 64 bytes.
fn array(dtype: &str, shape: &[usize], elements: &[u8]) -> Vec<u8> {
    let sizes: String = shape.iter().map(|n| format!("{n},")).collect();
    let header = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({sizes}), }}");
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\0".to_vec();
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(format!("{header:<width$}\n", width = length - 1).bytes());
    bytes.extend(elements);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DataSpec, Dataset, Split};

    #[test]
    fn shards_are_read_back_as_written() {
        let out = tempfile::tempdir().unwrap();
        let dir = out.path().join("pairs");
        let mut shards = Shards::create(&dir).unwrap();
        for i in 0..5u8 {
            let x = f32::from(i);
            let path: Vec<f32> = (0..8).map(|k| x + 0.125 * k as f32).collect();
            let class = [u8::from(i % 2 == 0), u8::from(i % 2 == 1), 0];
            let fields = [("x", npy(&[2], &[x, -x])), ("path", npy(&[4, 2], &path)), ("c", npy_bytes(&[3], &class))];
            shards.add(&format!("{i:08}"), &fields).unwrap();
        }
        assert!(!dir.exists(), "not before it is whole");
        assert_eq!(shards.finish().unwrap(), 1);
        let spec = DataSpec::detect(&dir).unwrap();
        let data = Dataset::load(&spec, Split::Train, &mut |_, _| {}).unwrap();
        let batch = data.batch(5, 0, 0);
        assert_eq!(batch["path"].shape(), [5, 4, 2]);
        assert_eq!(batch["c"].shape(), [5, 3], "classes without samples count");
        let (x, path, c) = (batch["x"].to_f32(), batch["path"].to_f32(), batch["c"].to_f32());
        for (i, x) in x.chunks(2).enumerate() {
            assert_eq!(x[1], -x[0]);
            assert_eq!(path[8 * i..8 * (i + 1)], (0..8).map(|k| x[0] + 0.125 * k as f32).collect::<Vec<_>>());
            assert_eq!(c[3 * i + (x[0] as usize) % 2], 1.0);
        }
    }

    #[test]
    fn what_is_not_finished_leaves_nothing() {
        let out = tempfile::tempdir().unwrap();
        let dir = out.path().join("pairs");
        let mut shards = Shards::create(&dir).unwrap();
        shards.add("0", &[("x", npy(&[], &[1.0]))]).unwrap();
        drop(shards);
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
    }

    #[test]
    fn nothing_is_overwritten() {
        let out = tempfile::tempdir().unwrap();
        let dir = out.path().join("pairs");
        let shards = Shards::create(&dir).unwrap();
        fs::write(&dir, "mine").unwrap();
        let error = shards.finish().unwrap_err().to_string();
        assert!(error.contains("pairs exists already"), "{error}");
        assert!(Shards::create(&dir).is_err());
        assert_eq!(fs::read_to_string(&dir).unwrap(), "mine");
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1);
    }
}
