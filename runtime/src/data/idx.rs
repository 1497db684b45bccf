//! IDX, the format of MNIST: a magic number, sizes, bytes; gzipped or not.

use super::dataset::{Elements, Field, Stored};
use super::{DataError, Description, Split};
use flate2::read::GzDecoder;
use indexmap::IndexMap;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

const EXPECTED: &str = "train-images-idx3-ubyte[.gz] and train-labels-idx1-ubyte[.gz], as MNIST has them";

/// The file of a part: `train-images-idx3-ubyte`, with or without `.gz`.
pub(super) fn find(dir: &Path, part: &str, what: &str) -> Option<PathBuf> {
    let dims = if what == "images" { 3 } else { 1 };
    let names = ["", ".gz"].map(|gz| format!("{part}-{what}-idx{dims}-ubyte{gz}"));
    names.into_iter().map(|name| dir.join(name)).find(|path| path.is_file())
}

fn find_split(dir: &Path, split: Split, what: &str) -> Option<PathBuf> {
    match split {
        Split::Train => find(dir, "train", what),
        Split::Test => find(dir, "test", what).or_else(|| find(dir, "t10k", what)),
    }
}

fn images_of(dir: &Path, split: Split) -> Result<PathBuf, DataError> {
    find_split(dir, split, "images").ok_or_else(|| DataError::Missing { path: dir.into(), expected: EXPECTED })
}

/// The shape of the images, and one class more than the largest label of the training part.
pub(super) fn describe(dir: &Path) -> Result<Description, DataError> {
    let path = images_of(dir, Split::Train)?;
    let shape = header(&mut open(&path)?, &path, 3)?;
    let labels = find(dir, "train", "labels").map(|path| load_file(&path, 1)).transpose()?;
    let classes = labels.and_then(|(_, labels)| labels.into_iter().max()).map_or(0, |max| usize::from(max) + 1);
    Ok(Description::new(vec![1, shape[1], shape[2]], classes))
}

pub(super) fn load(dir: &Path, split: Split) -> Result<Stored, DataError> {
    let images = images_of(dir, split)?;
    let pixels = load_file(&images, 3)?;
    let labels = find_split(dir, split, "labels").map(|path| load_file(&path, 1).map(|labels| (path, labels)));
    stored(images, pixels, labels.transpose()?)
}

/// The digits built into the binary.
pub(super) fn digits(split: Split) -> Result<Stored, DataError> {
    macro_rules! file {
        ($name:literal) => {
            ($name, include_bytes!(concat!("../../../stdlib/data/digits/", $name)).as_slice())
        };
    }
    let [images, labels] = match split {
        Split::Train => [file!("train-images-idx3-ubyte.gz"), file!("train-labels-idx1-ubyte.gz")],
        Split::Test => [file!("test-images-idx3-ubyte.gz"), file!("test-labels-idx1-ubyte.gz")],
    };
    let parse = |(name, bytes): (&str, &[u8]), dims| {
        let path = PathBuf::from(name);
        let content = read(&mut GzDecoder::new(bytes), &path, dims)?;
        Ok((path, content))
    };
    let (path, pixels) = parse(images, 3)?;
    stored(path, pixels, Some(parse(labels, 1)?))
}

/// Sizes and bytes.
type Content = (Vec<usize>, Vec<u8>);

fn stored(path: PathBuf, pixels: Content, labels: Option<(PathBuf, Content)>) -> Result<Stored, DataError> {
    let (shape, pixels) = pixels;
    if pixels.is_empty() {
        return Err(DataError::Empty { path });
    }
    let labels = match labels {
        Some((labels, (sizes, _))) if sizes[0] != shape[0] => {
            let (image_count, label_count) = (shape[0], sizes[0]);
            return Err(DataError::Counts { images: path, image_count, labels, label_count });
        }
        Some((_, (_, labels))) => Some(labels.into_iter().map(u32::from).collect()),
        None => None,
    };
    let field = Field { shape: vec![1, shape[1], shape[2]], values: Elements::Bytes(pixels) };
    Ok(Stored { len: shape[0], fields: IndexMap::from([("x".to_string(), field)]), labels })
}

fn open(path: &Path) -> Result<Box<dyn Read>, DataError> {
    let file = File::open(path).map_err(|source| DataError::Read { path: path.into(), source })?;
    let file = BufReader::new(file);
    Ok(if path.extension().is_some_and(|e| e == "gz") { Box::new(GzDecoder::new(file)) } else { Box::new(file) })
}

fn load_file(path: &Path, dims: usize) -> Result<Content, DataError> {
    read(&mut open(path)?, path, dims)
}

fn read(from: &mut dyn Read, path: &Path, dims: usize) -> Result<Content, DataError> {
    let shape = header(from, path, dims)?;
    let invalid = |reason: &str| DataError::Idx { path: path.into(), reason: reason.into() };
    let size =
        shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d as u64)).ok_or_else(|| invalid("its sizes overflow"))?;
    let mut bytes = Vec::new();
    // One more than announced, to notice a file that goes on. A cut-off gzip stream ends early like a cut-off file.
    match from.take(size.saturating_add(1)).read_to_end(&mut bytes) {
        Err(e) if e.kind() != ErrorKind::UnexpectedEof => {
            return Err(DataError::Read { path: path.into(), source: e });
        }
        _ => {}
    }
    match (bytes.len() as u64).cmp(&size) {
        std::cmp::Ordering::Less => {
            Err(DataError::Truncated { path: path.into(), expected: size, found: bytes.len() as u64 })
        }
        std::cmp::Ordering::Equal => Ok((shape, bytes)),
        std::cmp::Ordering::Greater => Err(invalid("it goes on after the data its header announces")),
    }
}

/// The sizes. The magic number is two zeros, 8 for bytes, and the number of sizes.
fn header(from: &mut dyn Read, path: &Path, dims: usize) -> Result<Vec<usize>, DataError> {
    let mut word = || {
        let mut bytes = [0; 4];
        from.read_exact(&mut bytes).map(|()| bytes).map_err(|source| match source.kind() {
            ErrorKind::UnexpectedEof => DataError::Idx { path: path.into(), reason: "its header is cut off".into() },
            _ => DataError::Read { path: path.into(), source },
        })
    };
    let (magic, expected) = (word()?, [0, 0, 8, dims as u8]);
    if magic != expected {
        let reason = format!("it starts with {magic:02x?} instead of {expected:02x?} (bytes in {dims} dimensions)");
        return Err(DataError::Idx { path: path.into(), reason });
    }
    (0..dims).map(|_| Ok(u32::from_be_bytes(word()?) as usize)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{DataSpec, Dataset};
    use super::*;
    use std::io::Write;

    fn idx(sizes: &[u32], bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![0, 0, 8, sizes.len() as u8];
        out.extend(sizes.iter().flat_map(|s| s.to_be_bytes()));
        out.extend(bytes);
        out
    }

    fn directory(images: &[u8], labels: &[u8]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("train-images-idx3-ubyte"), images).unwrap();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(labels).unwrap();
        std::fs::write(dir.path().join("train-labels-idx1-ubyte.gz"), gz.finish().unwrap()).unwrap();
        dir
    }

    fn load_error(dir: &Path) -> String {
        Dataset::load(&DataSpec::Idx(dir.into()), Split::Train, &mut |_, _| {}).unwrap_err().to_string()
    }

    #[test]
    fn a_directory_loads_with_and_without_gzip() {
        let dir = directory(&idx(&[2, 1, 2], &[0, 255, 51, 204]), &idx(&[2], &[0, 3]));
        let spec = DataSpec::detect(dir.path()).unwrap();
        assert_eq!(spec, DataSpec::Idx(dir.path().into()));
        let description = spec.describe().unwrap();
        assert_eq!((description.shape(), description.classes()), (&[1, 1, 2][..], 4));
        let data = Dataset::load(&spec, Split::Train, &mut |_, _| {}).unwrap();
        assert_eq!(data.len(), Some(2));
        let batch = data.batch(2, 0, 0);
        let x = batch["x"].as_f32().unwrap();
        let first = if x[0] == -1.0 { 0 } else { 2 };
        assert_eq!(x[first..first + 2], [-1.0, 1.0]);
        assert!((x[2 - first] + 0.6).abs() < 1e-6 && (x[3 - first] - 0.6).abs() < 1e-6, "{x:?}");
    }

    #[test]
    fn damage_names_the_file() {
        let good = idx(&[2, 1, 2], &[0, 255, 51, 204]);
        let labels = idx(&[2], &[0, 3]);
        let error = load_error(directory(&good[..good.len() - 1], &labels).path());
        assert!(error.contains("train-images-idx3-ubyte is truncated") && error.ends_with("4 bytes of data, it has 3"));
        let error = load_error(directory(&good[..9], &labels).path());
        assert!(error.ends_with("its header is cut off"), "{error}");
        let error = load_error(directory(b"GIF89a and so on", &labels).path());
        assert!(error.contains("instead of [00, 00, 08, 03]"), "{error}");
        let error = load_error(directory(&good, &idx(&[3], &[0, 3, 1])).path());
        assert!(error.contains("holds 2 images, but") && error.ends_with("holds 3 labels"), "{error}");
        let error = load_error(directory(&idx(&[u32::MAX; 3], &[1]), &labels).path());
        assert!(error.contains("overflow"), "{error}");
        let error = load_error(directory(&idx(&[1, 1, 1], &[1, 2]), &idx(&[1], &[0])).path());
        assert!(error.contains("goes on after"), "{error}");
        let dir = directory(&good, &labels);
        let gz = dir.path().join("train-labels-idx1-ubyte.gz");
        let bytes = std::fs::read(&gz).unwrap();
        std::fs::write(&gz, &bytes[..bytes.len() / 2]).unwrap();
        assert!(load_error(dir.path()).contains("train-labels-idx1-ubyte.gz"));
    }

    #[test]
    fn the_built_in_digits_fill_their_range() {
        let train = Dataset::load(&DataSpec::Digits, Split::Train, &mut |_, _| {}).unwrap();
        let test = Dataset::load(&DataSpec::Digits, Split::Test, &mut |_, _| {}).unwrap();
        assert_eq!((train.len(), test.len()), (Some(1500), Some(297)));
        let batch = train.batch(1500, 0, 0);
        let x = batch["x"].as_f32().unwrap();
        assert_eq!(x.iter().copied().fold(f32::MAX, f32::min), -1.0);
        assert_eq!(x.iter().copied().fold(f32::MIN, f32::max), 1.0);
        let c = batch["c"].as_f32().unwrap();
        for class in 0..10 {
            let count = c.iter().skip(class).step_by(10).sum::<f32>();
            assert!((130.0..170.0).contains(&count), "{count} of class {class}");
        }
    }
}
