//! WebDataset: tar files in which consecutive files with one name up to the first dot are a sample.

use super::dataset::{Field, Stored};
use super::sample::{Content, RawSample, Sample, label_of};
use super::{DataError, Description, Paths, Skipped, Split};
use indexmap::IndexMap;
use rayon::prelude::*;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use tar::Archive;

/// Samples decoded at a time.
const CHUNK: usize = 1024;
/// Samples that decide whether the images are in colour.
const PROBE: usize = 64;
const EXPECTED: &str = "a .tar file or a directory of .tar files (WebDataset)";

pub(super) struct Loaded {
    pub stored: Stored,
    pub skipped: Vec<Skipped>,
}

fn is_tar(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("tar")) && path.is_file()
}

pub(super) fn holds_tars(path: &Path) -> bool {
    is_tar(path) || std::fs::read_dir(path).is_ok_and(|mut entries| entries.any(|e| e.is_ok_and(|e| is_tar(&e.path()))))
}

/// The tars of one part, sorted. Where a directory's tars are named after parts (`train-…`, `test-…` or `val-…`), those
/// of the part; else all of them for either part.
fn shards(paths: &Paths, split: Split) -> Result<Vec<PathBuf>, DataError> {
    let missing = |path: &Path| DataError::Missing { path: path.into(), expected: EXPECTED };
    let dir = match paths {
        Paths::Many(files) => {
            if let Some(file) = files.iter().find(|file| !file.is_file()) {
                return Err(missing(file));
            }
            return if files.is_empty() { Err(missing(Path::new("[]"))) } else { Ok(files.clone()) };
        }
        Paths::One(path) if path.is_file() => return Ok(vec![path.clone()]),
        Paths::One(path) => path,
    };
    let entries = std::fs::read_dir(dir).map_err(|_| missing(dir))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>();
    let mut tars = paths.map_err(|source| DataError::Read { path: dir.clone(), source })?;
    tars.retain(|path| is_tar(path));
    tars.sort();
    if tars.is_empty() {
        return Err(missing(dir));
    }
    let is_part = |path: &PathBuf, parts: &[&str]| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        parts.iter().any(|part| name.starts_with(part))
    };
    let (train, test) = (["train"], ["test", "val"]);
    let wanted = if split == Split::Train { &train[..] } else { &test[..] };
    if tars.iter().any(|path| is_part(path, &train)) && tars.iter().any(|path| is_part(path, &test)) {
        tars.retain(|path| is_part(path, wanted));
    }
    Ok(tars)
}

/// Sample key and extension: a path up to, and from, the first dot of its file name. None for hidden files.
fn split_name(path: &str) -> Option<(&str, &str)> {
    let start = path.rfind('/').map_or(0, |slash| slash + 1);
    let dot = start + path[start..].find('.')?;
    (dot > start).then(|| (&path[..dot], &path[dot + 1..]))
}

/// Calls `visit` with a sample after another, until it says false, and the position in the file.
fn each_sample(path: &Path, mut visit: impl FnMut(RawSample, u64) -> Result<bool, DataError>) -> Result<(), DataError> {
    let broken = |source| DataError::Archive { path: path.into(), source };
    let file = File::open(path).map_err(|source| DataError::Read { path: path.into(), source })?;
    let mut archive = Archive::new(BufReader::with_capacity(1 << 18, file));
    let mut sample = RawSample::default();
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let Some((key, extension)) = split_name(&name) else {
            continue;
        };
        if sample.key != key {
            let next = RawSample { key: key.into(), files: Vec::new() };
            let done = std::mem::replace(&mut sample, next);
            if !done.files.is_empty() && !visit(done, entry.raw_header_position())? {
                return Ok(());
            }
        }
        let (size, mut bytes) = (entry.size(), Vec::new());
        entry.read_to_end(&mut bytes).map_err(broken)?;
        if (bytes.len() as u64) < size {
            return Err(broken(std::io::Error::other(format!("`{name}` is cut off"))));
        }
        sample.files.push((extension.into(), bytes));
    }
    if !sample.files.is_empty() {
        visit(sample, 0)?;
    }
    Ok(())
}

/// The labels of a tar, read without the rest of it; unreadable ones are left to loading to report.
fn largest_label(path: &Path) -> Result<Option<u32>, DataError> {
    let broken = |source| DataError::Archive { path: path.into(), source };
    let file = File::open(path).map_err(|source| DataError::Read { path: path.into(), source })?;
    let mut archive = Archive::new(file);
    let mut largest = None;
    for entry in archive.entries_with_seek().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let content = split_name(&name).and_then(|(_, extension)| Content::of(extension)).map(|(_, content)| content);
        if let Some(content) = content.filter(|c| c.is_label()) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(broken)?;
            largest = largest.max(label_of(content, &bytes).ok().flatten());
        }
    }
    Ok(largest)
}

/// The shapes of the first good sample's fields; classes are one more than the largest label of the training part.
pub(super) fn describe(paths: &Paths) -> Result<Description, DataError> {
    let shards = shards(paths, Split::Train)?;
    let mut probe = Vec::new();
    for path in &shards {
        each_sample(path, |raw, _| {
            probe.extend(raw.decode());
            Ok(probe.len() < PROBE)
        })?;
        if probe.len() >= PROBE {
            break;
        }
    }
    let coloured = |name: &str| {
        let mut fields = probe.iter().flat_map(|sample| &sample.fields);
        fields.any(|(n, field)| n == name && field.is_colour_image())
    };
    let Some(sample) = probe.first() else {
        return Err(DataError::Empty { path: shards[0].clone() });
    };
    let mut fields: IndexMap<String, Vec<usize>> = IndexMap::new();
    for (name, field) in &sample.fields {
        let field = field.clone();
        fields.insert(name.clone(), if coloured(name) { field.into_colour() } else { field }.shape);
    }
    if sample.label.is_some() && !fields.contains_key("c") {
        let largest = shards.par_iter().map(|path| largest_label(path)).collect::<Result<Vec<_>, _>>()?;
        let classes = largest.into_iter().flatten().max().map_or(0, |max| max as usize + 1);
        fields.insert("c".into(), vec![classes]);
    }
    let order = |name: &str| ["x", "c"].iter().position(|n| *n == name).unwrap_or(2);
    fields.sort_by(|a, _, b, _| (order(a), a).cmp(&(order(b), b)));
    Ok(Description { fields })
}

pub(super) fn load(
    paths: &Paths,
    split: Split,
    description: &Description,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Loaded, DataError> {
    let shards = shards(paths, split)?;
    let sizes: Vec<u64> = shards.iter().map(|path| path.metadata().map_or(0, |m| m.len())).collect();
    let total = sizes.iter().sum();
    let mut builder = Builder::new(description);
    let mut before = 0;
    for (path, size) in shards.iter().zip(sizes) {
        let mut chunk = Vec::with_capacity(CHUNK);
        each_sample(path, |raw, position| {
            chunk.push(raw);
            if chunk.len() == CHUNK {
                builder.add(path, std::mem::take(&mut chunk))?;
                progress(before + position, total);
            }
            Ok(true)
        })?;
        builder.add(path, chunk)?;
        before += size;
        progress(before, total);
    }
    builder.finish(&shards[0])
}

/// Collects decoded samples into fields.
struct Builder<'a> {
    description: &'a Description,
    stored: Stored,
    skipped: Vec<Skipped>,
}

impl<'a> Builder<'a> {
    fn new(description: &'a Description) -> Builder<'a> {
        let stored = Stored { len: 0, fields: IndexMap::new(), labels: None };
        Builder { description, stored, skipped: Vec::new() }
    }

    fn add(&mut self, path: &Path, raw: Vec<RawSample>) -> Result<(), DataError> {
        let decoded: Vec<_> = raw.par_iter().map(RawSample::decode).collect();
        for (raw, sample) in raw.into_iter().zip(decoded) {
            let added = match sample {
                Ok(sample) => self.push(path, &raw.key, sample)?,
                Err(reason) => Err(reason),
            };
            if let Err(reason) = added {
                self.skipped.push(Skipped { path: path.into(), key: raw.key, reason });
            }
        }
        Ok(())
    }

    /// Appends a sample; the inner error is why it is left out.
    fn push(&mut self, path: &Path, key: &str, mut sample: Sample) -> Result<Result<(), String>, DataError> {
        let mut accepted = Vec::with_capacity(self.description.fields.len());
        let mut label = None;
        for (name, expected) in &self.description.fields {
            let Some(at) = sample.fields.iter().position(|(n, _)| n == name) else {
                label = sample.label.filter(|_| name == "c");
                match label {
                    Some(label) if label as usize >= self.description.classes() => {
                        let classes = self.description.classes();
                        return Err(DataError::Class { path: path.into(), key: key.into(), label, classes });
                    }
                    Some(_) => continue,
                    None => return Ok(Err(format!("no `{name}`"))),
                }
            };
            let (_, field) = sample.fields.swap_remove(at);
            let field = if expected.first() == Some(&3) { field.into_colour() } else { field };
            if field.shape != *expected {
                let (field, expected, found) = (name.clone(), expected.clone(), field.shape);
                return Err(DataError::Shape { path: path.into(), key: key.into(), field, expected, found });
            }
            accepted.push((name, field));
        }
        if let Some((name, _)) = sample.fields.first() {
            return Ok(Err(format!("a field `{name}` that the first sample does not have")));
        }
        let stored = &mut self.stored;
        let alike = |(name, field): &(&String, Field)| {
            let before = stored.fields.get(*name).map(|f| std::mem::discriminant(&f.values));
            before.is_none_or(|before| before == std::mem::discriminant(&field.values))
        };
        if stored.len > 0 && (stored.labels.is_some() != label.is_some() || !accepted.iter().all(alike)) {
            return Ok(Err("a field stored differently from the first sample's".into()));
        }
        for (name, field) in accepted {
            match stored.fields.get_mut(name) {
                Some(all) => all.values.append(field.values),
                None => {
                    stored.fields.insert(name.clone(), field);
                }
            }
        }
        if let Some(label) = label {
            stored.labels.get_or_insert_default().push(label);
        }
        stored.len += 1;
        Ok(Ok(()))
    }

    fn finish(self, first: &Path) -> Result<Loaded, DataError> {
        let total = self.stored.len + self.skipped.len();
        if 100 * self.skipped.len() > total {
            return Err(DataError::Corrupt { skipped: self.skipped, total });
        }
        if self.stored.len == 0 {
            return Err(DataError::Empty { path: first.into() });
        }
        Ok(Loaded { stored: self.stored, skipped: self.skipped })
    }
}

#[cfg(test)]
mod tests;
