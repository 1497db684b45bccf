//! log.jsonl: a line of numbers for each step that is logged.

use crate::picture::Series;
use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// What is logged of a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Optimisation steps done, this one included.
    pub step: u64,
    /// Seconds of training so far, resumed runs included.
    pub seconds: f64,
    /// Steps a second since the line before.
    pub steps_per_second: f64,
    /// Losses and metrics by name. Those that are not finite are written as null and read as NaN.
    #[serde(deserialize_with = "numbers")]
    pub losses: IndexMap<String, f64>,
    /// Learning rates by network.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty", deserialize_with = "numbers")]
    pub learning_rates: IndexMap<String, f64>,
    /// Steps left out so far because something was not finite.
    #[serde(default)]
    pub skipped: u64,
}

fn numbers<'de, D: Deserializer<'de>>(from: D) -> Result<IndexMap<String, f64>, D::Error> {
    let numbers = IndexMap::<String, Option<f64>>::deserialize(from)?;
    Ok(numbers.into_iter().map(|(name, value)| (name, value.unwrap_or(f64::NAN))).collect())
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("cannot write {path}: {source}", path = path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
}

/// Appends lines; each is whole on the disk's side of the program when `write` returns.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Opens the log of a run that has done `step` steps: lines past that step, and one cut off by a crash, go away.
    /// A new run has done none.
    pub fn open(path: &Path, step: u64) -> Result<Log, LogError> {
        let open = || {
            let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
            let keep = kept(&file, step)?;
            file.set_len(keep)?;
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        };
        let file = open().map_err(|source| LogError::Write { path: path.into(), source })?;
        Ok(Log { path: path.into(), file })
    }

    pub fn write(&mut self, record: &Record) -> Result<(), LogError> {
        let line = serde_json::to_string(record).map_err(io::Error::from);
        // One write, so that a reader never sees half a line for long.
        let written = line.and_then(|line| self.file.write_all(format!("{line}\n").as_bytes()));
        written.map_err(|source| LogError::Write { path: self.path.clone(), source })
    }
}

/// Bytes of the whole lines up to `step`.
fn kept(file: &File, step: u64) -> io::Result<u64> {
    let (mut reader, mut line, mut keep) = (BufReader::new(file), Vec::new(), 0);
    while reader.read_until(b'\n', &mut line)? > 0 {
        match serde_json::from_slice::<Record>(&line) {
            Ok(record) if record.step <= step && line.ends_with(b"\n") => keep += line.len() as u64,
            _ => break,
        }
        line.clear();
    }
    Ok(keep)
}

/// Reads a log, of a run under way too: a last line that is cut off is left out. A log that is not there is empty.
pub fn read(path: &Path) -> Result<Vec<Record>, LogError> {
    match std::fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(LogError::Read { path: path.into(), source }),
        Ok(bytes) => {
            let records = bytes.split(|&b| b == b'\n').map_while(|line| serde_json::from_slice(line).ok());
            Ok(records.collect())
        }
    }
}

/// A log's losses as curves over steps, in the order their names first appear.
pub fn curves(records: &[Record]) -> Vec<Series> {
    let mut curves: IndexMap<&str, Vec<(f64, f64)>> = IndexMap::new();
    for record in records {
        for (name, &value) in &record.losses {
            curves.entry(name).or_default().push((record.step as f64, value));
        }
    }
    let series = |(name, points): (&str, _)| Series { name: name.into(), points };
    curves.into_iter().map(series).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(step: u64, loss: f64) -> Record {
        let losses = IndexMap::from([("vsd_loss".to_string(), loss)]);
        let learning_rates = IndexMap::from([("student".to_string(), 1e-4)]);
        Record { step, seconds: step as f64 / 10.0, steps_per_second: 10.0, losses, learning_rates, skipped: 0 }
    }

    fn steps(path: &Path) -> Vec<u64> {
        read(path).unwrap().iter().map(|r| r.step).collect()
    }

    #[test]
    fn a_resumed_run_continues_at_its_step() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        assert!(steps(&path).is_empty());
        let mut log = Log::open(&path, 0).unwrap();
        for step in 1..=5 {
            log.write(&record(step, 1.0 / step as f64)).unwrap();
        }
        drop(log);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend(br#"{"step":6,"secon"#);
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(steps(&path), [1, 2, 3, 4, 5], "a cut-off line is left out");
        let mut log = Log::open(&path, 3).unwrap();
        log.write(&record(4, 7.0)).unwrap();
        let records = read(&path).unwrap();
        assert_eq!(steps(&path), [1, 2, 3, 4]);
        assert_eq!(records[3], record(4, 7.0));
        assert_eq!(curves(&records)[0].points[1..], [(2.0, 0.5), (3.0, 1.0 / 3.0), (4.0, 7.0)]);
        Log::open(&path, 0).unwrap();
        assert!(steps(&path).is_empty(), "a new run starts anew");
    }

    #[test]
    fn numbers_that_are_not_finite_survive_as_nan() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        let mut log = Log::open(&path, 0).unwrap();
        log.write(&record(1, f64::INFINITY)).unwrap();
        log.write(&record(2, 0.5)).unwrap();
        let records = read(&path).unwrap();
        assert!(records[0].losses["vsd_loss"].is_nan());
        assert_eq!(records[1].losses["vsd_loss"], 0.5);
    }
}
