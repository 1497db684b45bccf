//! Safetensors files as maps from names to [`Tensor`]s.

use crate::{Tensor, Values};
use half::{bf16, f16};
use indexmap::IndexMap;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// A file's text metadata.
pub type Metadata = BTreeMap<String, String>;

#[derive(Debug, thiserror::Error)]
pub enum TensorFileError {
    #[error("cannot read {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {path}: {source}", path = path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{path} is truncated: {has} bytes, but its header describes {expected}", path = path.display())]
    Truncated { path: PathBuf, has: u64, expected: u64 },
    #[error("{path} is not a safetensors file: {reason}", path = path.display())]
    Invalid { path: PathBuf, reason: String },
    #[error("{path}: tensor `{tensor}` has element type {dtype}, which is not supported", path = path.display())]
    DType { path: PathBuf, tensor: String, dtype: Dtype },
}

/// Reads all tensors, in the file's order. 16-bit floats become f32, 32-bit and smaller integers i64.
pub fn read(path: &Path) -> Result<(IndexMap<String, Tensor>, Metadata), TensorFileError> {
    let failed = |source| TensorFileError::Read { path: path.into(), source };
    let mut bytes = Vec::new();
    File::open(path).and_then(|mut f| f.read_to_end(&mut bytes)).map_err(failed)?;
    parse(&bytes, path)
}

/// Reads only the metadata, without the tensors.
pub fn read_metadata(path: &Path) -> Result<Metadata, TensorFileError> {
    let failed = |source| TensorFileError::Read { path: path.into(), source };
    let mut file = File::open(path).map_err(failed)?;
    let has = file.metadata().map_err(failed)?.len();
    let mut length = [0; 8];
    let short = |expected| TensorFileError::Truncated { path: path.into(), has, expected };
    file.read_exact(&mut length).map_err(|_| short(8))?;
    let length = u64::from_le_bytes(length);
    if length > has.saturating_sub(8) {
        return Err(header_error(path, has, length));
    }
    let mut bytes = length.to_le_bytes().to_vec();
    file.take(length).read_to_end(&mut bytes).map_err(failed)?;
    metadata_of(&bytes, has, path)
}

/// A header longer than the file is either cut off or no header at all.
fn header_error(path: &Path, has: u64, length: u64) -> TensorFileError {
    // What the safetensors crate itself accepts.
    if length > 100_000_000 {
        let reason = "its first eight bytes are no header length".to_string();
        return TensorFileError::Invalid { path: path.into(), reason };
    }
    TensorFileError::Truncated { path: path.into(), has, expected: 8 + length }
}

/// Checks the header against the file's size. `bytes` holds at least the header.
fn metadata_of(bytes: &[u8], has: u64, path: &Path) -> Result<Metadata, TensorFileError> {
    let truncated = |expected| TensorFileError::Truncated { path: path.into(), has, expected };
    let invalid = |reason: String| TensorFileError::Invalid { path: path.into(), reason };
    let Some(length) = bytes.first_chunk().map(|b| u64::from_le_bytes(*b)) else {
        return Err(truncated(8));
    };
    if length > has - 8 {
        return Err(header_error(path, has, length));
    }
    // Read here and not by the crate, whose errors do not tell a truncated file from a wrong one.
    let end = 8 + length as usize;
    let header = bytes.get(8..end).ok_or_else(|| truncated(end as u64))?;
    let header: serde_json::Value = serde_json::from_slice(header).map_err(|e| invalid(e.to_string()))?;
    let tensors = header.as_object().ok_or_else(|| invalid("its header is no JSON object".into()))?;
    let ends = tensors
        .iter()
        .filter(|(name, _)| *name != "__metadata__")
        .map(|(_, t)| t["data_offsets"][1].as_u64().unwrap_or(0));
    let expected = ends.max().unwrap_or(0).saturating_add(end as u64);
    if has < expected {
        return Err(truncated(expected));
    }
    let texts = header["__metadata__"].as_object().into_iter().flatten();
    Ok(texts.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_string()))).collect())
}

fn parse(bytes: &[u8], path: &Path) -> Result<(IndexMap<String, Tensor>, Metadata), TensorFileError> {
    let metadata = metadata_of(bytes, bytes.len() as u64, path)?;
    let invalid = |e: SafeTensorError| TensorFileError::Invalid { path: path.into(), reason: e.to_string() };
    let file = SafeTensors::deserialize(bytes).map_err(invalid)?;
    let mut views = file.tensors();
    views.sort_by_key(|(_, view)| view.data().as_ptr());
    let tensors = views.into_iter().map(|(name, view)| {
        let tensor = decode(&view).ok_or_else(|| TensorFileError::DType {
            path: path.into(),
            tensor: name.clone(),
            dtype: view.dtype(),
        })?;
        Ok((name, tensor))
    });
    Ok((tensors.collect::<Result<_, _>>()?, metadata))
}

fn decode(view: &TensorView) -> Option<Tensor> {
    fn each<const N: usize, T>(bytes: &[u8], value: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks().0.iter().map(|b| value(*b)).collect()
    }
    let bytes = view.data();
    let values = match view.dtype() {
        Dtype::BOOL => Values::Bool(bytes.iter().map(|&b| b != 0).collect()),
        Dtype::U8 => Values::I64(bytes.iter().map(|&b| b.into()).collect()),
        Dtype::I8 => Values::I64(each(bytes, |b| i8::from_le_bytes(b).into())),
        Dtype::U16 => Values::I64(each(bytes, |b| u16::from_le_bytes(b).into())),
        Dtype::I16 => Values::I64(each(bytes, |b| i16::from_le_bytes(b).into())),
        Dtype::U32 => Values::I64(each(bytes, |b| u32::from_le_bytes(b).into())),
        Dtype::I32 => Values::I64(each(bytes, |b| i32::from_le_bytes(b).into())),
        Dtype::I64 => Values::I64(each(bytes, i64::from_le_bytes)),
        Dtype::F16 => Values::F32(each(bytes, |b| f16::from_le_bytes(b).to_f32())),
        Dtype::BF16 => Values::F32(each(bytes, |b| bf16::from_le_bytes(b).to_f32())),
        Dtype::F32 => Values::F32(each(bytes, f32::from_le_bytes)),
        Dtype::F64 => Values::F64(each(bytes, f64::from_le_bytes)),
        _ => return None,
    };
    Some(Tensor::new(view.shape().to_vec(), values))
}

fn dtype_of(tensor: &Tensor) -> Dtype {
    match tensor.values() {
        Values::Bool(_) => Dtype::BOOL,
        Values::I64(_) => Dtype::I64,
        Values::F32(_) => Dtype::F32,
        Values::F64(_) => Dtype::F64,
    }
}

/// Writes a file, flushed to the disk when this returns. Not atomic: see [`crate::checkpoint`] for that.
pub fn write(path: &Path, tensors: &IndexMap<String, Tensor>, metadata: &Metadata) -> Result<(), TensorFileError> {
    let failed = |source| TensorFileError::Write { path: path.into(), source };
    let mut file = File::create(path).map_err(failed)?;
    write_to(&mut file, tensors, metadata).map_err(failed)?;
    file.sync_all().map_err(failed)
}

/// Streams the safetensors format: a tensor at a time, so that no second copy of all weights is needed, and with
/// everything sorted, so that equal contents are equal files (the crate's own writer shuffles the metadata).
fn write_to(out: &mut impl Write, tensors: &IndexMap<String, Tensor>, metadata: &Metadata) -> io::Result<()> {
    let mut header = serde_json::Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".into(), serde_json::to_value(metadata)?);
    }
    // The format wants wide elements first, so that all are aligned.
    let mut sorted: Vec<(&String, &Tensor)> = tensors.iter().collect();
    sorted.sort_by_key(|(name, t)| (std::cmp::Reverse(t.dtype().size()), *name));
    let mut offset = 0;
    for (name, tensor) in &sorted {
        let end = offset + tensor.len() * tensor.dtype().size();
        let dtype = serde_json::to_value(dtype_of(tensor))?;
        let entry = serde_json::json!({ "dtype": dtype, "shape": tensor.shape(), "data_offsets": [offset, end] });
        header.insert((*name).clone(), entry);
        offset = end;
    }
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    for (_, tensor) in &sorted {
        out.write_all(&tensor.to_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn example() -> IndexMap<String, Tensor> {
        let tensors = [
            ("net.b", Tensor::bool([3], vec![true, false, true])),
            ("net.w", Tensor::f32([2, 2], vec![1.0, -0.0, f32::MIN_POSITIVE, 4.0])),
            ("count", Tensor::i64([], vec![-7])),
            ("t", Tensor::f64([2], vec![0.1, f64::INFINITY])),
            ("empty", Tensor::f32([0, 5], vec![])),
        ];
        tensors.into_iter().map(|(n, t)| (n.to_string(), t)).collect()
    }

    fn written() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        write(&path, &example(), &Metadata::from([("step".into(), "3".into())])).unwrap();
        (dir, path)
    }

    #[test]
    fn what_is_written_is_read() {
        let (_dir, path) = written();
        let (tensors, metadata) = read(&path).unwrap();
        assert_eq!(tensors, example());
        assert_eq!(metadata["step"], "3");
        assert_eq!(read_metadata(&path).unwrap(), metadata);
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(SafeTensors::deserialize(&bytes).unwrap().len(), 5, "the reference reader accepts it");
    }

    #[test]
    fn sixteen_bit_floats_and_small_integers_widen() {
        let halves: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
        let brains: Vec<u8> = [3.0f32, 0.5].iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect();
        let ints: Vec<u8> = [5i32, -6].iter().flat_map(|x| x.to_le_bytes()).collect();
        let views = [("h", Dtype::F16, &halves), ("b", Dtype::BF16, &brains), ("i", Dtype::I32, &ints)]
            .map(|(name, dtype, bytes)| (name, TensorView::new(dtype, vec![2], bytes).unwrap()));
        let bytes = safetensors::serialize(views, None).unwrap();
        let (tensors, _) = parse(&bytes, Path::new("x")).unwrap();
        assert_eq!(tensors["h"], Tensor::f32([2], vec![1.5, -2.0]));
        assert_eq!(tensors["b"], Tensor::f32([2], vec![3.0, 0.5]));
        assert_eq!(tensors["i"], Tensor::i64([2], vec![5, -6]));
    }

    #[test]
    fn every_truncation_is_an_error_that_says_so() {
        let (_dir, path) = written();
        let bytes = std::fs::read(&path).unwrap();
        for n in 0..bytes.len() {
            let error = parse(&bytes[..n], &path).unwrap_err();
            assert!(matches!(error, TensorFileError::Truncated { .. }), "{n} bytes: {error}");
        }
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let message = read_metadata(&path).unwrap_err().to_string();
        assert!(message.contains("w.safetensors is truncated"), "{message}");
    }

    #[test]
    fn other_files_are_refused_with_their_name() {
        let error = parse(b"PK\x03\x04 this is some zip file and no safetensors", Path::new("model.pt")).unwrap_err();
        assert!(error.to_string().starts_with("model.pt is not a safetensors file"), "{error}");
        let text = b"\x10\0\0\0\0\0\0\0{\"a\":[1, 2, 3]} ";
        assert!(matches!(parse(text, Path::new("x")).unwrap_err(), TensorFileError::Invalid { .. }));
        assert!(matches!(read(Path::new("/nowhere/x")).unwrap_err(), TensorFileError::Read { .. }));
    }

    #[test]
    fn unsupported_element_types_name_the_tensor() {
        let view = TensorView::new(Dtype::F8_E4M3, vec![2], &[0, 0]).unwrap();
        let bytes = safetensors::serialize([("w", view)], None).unwrap();
        let error = parse(&bytes, Path::new("m.safetensors")).unwrap_err().to_string();
        assert_eq!(error, "m.safetensors: tensor `w` has element type F8_E4M3, which is not supported");
    }

    proptest! {
        /// Whatever bytes are changed, reading gives tensors or an error.
        #[test]
        fn damage_never_panics(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
            let mut bytes = Vec::new();
            write_to(&mut bytes, &example(), &Metadata::new()).unwrap();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = parse(&bytes, Path::new("x"));
        }
    }
}
