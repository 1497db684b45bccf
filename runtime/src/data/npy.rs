//! NumPy's .npy and .npz files, read as f32.
//!
//! An own reader of the little there is to read (numpy.lib.format: a magic number, a Python dictionary with three keys,
//! the elements): files may be hostile, and a general parser of Python literals recurses as deep as its input says.

use super::dataset::{Elements, Field};
use half::f16;
use std::io::{Cursor, Read};

/// Bytes one array may take unpacked.
const MAX_ARRAY: u64 = 1 << 30;

/// The array, as floats; the error is what is wrong with the file.
pub(super) fn npy(bytes: &[u8]) -> Result<Field, String> {
    let cut_off = || "the file is cut off".to_string();
    let rest = bytes.strip_prefix(b"\x93NUMPY").ok_or("not a NumPy array")?;
    let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(cut_off)?;
    let (length, rest) = match version[0] {
        1 => rest.split_first_chunk().map(|(n, rest)| (u16::from_le_bytes(*n) as usize, rest)),
        _ => rest.split_first_chunk().map(|(n, rest)| (u32::from_le_bytes(*n) as usize, rest)),
    }
    .ok_or_else(cut_off)?;
    let (header, content) = rest.split_at_checked(length).ok_or_else(cut_off)?;
    let header = std::str::from_utf8(header).map_err(|_| "the header is not text")?;
    let entry = |key: &str| {
        let after = header.split_once(&format!("'{key}':")).map(|(_, after)| after.trim_start());
        after.ok_or_else(|| format!("the header has no `{key}`"))
    };
    let dtype = entry("descr")?.strip_prefix('\'').and_then(|text| text.split_once('\''));
    let (dtype, _) = dtype.ok_or("arrays of records are not supported")?;
    let shape = entry("shape")?.strip_prefix('(').and_then(|text| text.split_once(')'));
    let (shape, _) = shape.ok_or("the header has no valid `shape`")?;
    let sizes = shape.split(',').map(str::trim).filter(|size| !size.is_empty()).map(str::parse::<usize>);
    let shape: Vec<usize> = sizes.collect::<Result<_, _>>().map_err(|_| "the header has no valid `shape`")?;
    if entry("fortran_order")?.starts_with("True") && shape.len() > 1 {
        return Err("arrays in Fortran order are not supported".into());
    }
    let len = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).ok_or("its shape overflows")?;
    let values = elements(dtype, content, len)?;
    if values.iter().any(|x| !x.is_finite()) {
        return Err("the array holds values that are not finite".into());
    }
    Ok(Field { shape, values: Elements::Floats(values) })
}

fn elements(dtype: &str, bytes: &[u8], len: usize) -> Result<Vec<f32>, String> {
    fn each<const N: usize>(bytes: &[u8], len: usize, value: impl Fn([u8; N]) -> f32) -> Result<Vec<f32>, String> {
        if len.checked_mul(N) != Some(bytes.len()) {
            return Err(format!("the file is cut off, or too long: {} bytes for {len} elements", bytes.len()));
        }
        Ok(bytes.as_chunks().0.iter().map(|b| value(*b)).collect())
    }
    match dtype {
        "<f2" => each(bytes, len, |b| f16::from_le_bytes(b).to_f32()),
        "<f4" => each(bytes, len, f32::from_le_bytes),
        "<f8" => each(bytes, len, |b| f64::from_le_bytes(b) as f32),
        "|u1" => each(bytes, len, |b| u8::from_le_bytes(b).into()),
        "|i1" => each(bytes, len, |b| i8::from_le_bytes(b).into()),
        "|b1" => each(bytes, len, |b: [u8; 1]| f32::from(b[0] != 0)),
        "<i2" => each(bytes, len, |b| i16::from_le_bytes(b).into()),
        "<i4" => each(bytes, len, |b| i32::from_le_bytes(b) as f32),
        "<i8" => each(bytes, len, |b| i64::from_le_bytes(b) as f32),
        _ => Err(format!("arrays of element type `{dtype}` are not supported")),
    }
}

/// The arrays of an archive with their names.
pub(super) fn npz(bytes: &[u8]) -> Result<Vec<(String, Field)>, String> {
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|e| e.to_string())?;
    let mut fields = Vec::new();
    for i in 0..zip.len() {
        let mut file = zip.by_index(i).map_err(|e| e.to_string())?;
        let name = file.name().map_err(|e| e.to_string())?.into_owned();
        let Some(name) = name.strip_suffix(".npy") else {
            continue;
        };
        if file.size() > MAX_ARRAY {
            return Err(format!("{name}: {} bytes are more than an array may have", file.size()));
        }
        let mut content = Vec::new();
        // The size is only what the archive says.
        file.by_ref().take(MAX_ARRAY).read_to_end(&mut content).map_err(|e| format!("{name}: {e}"))?;
        let field = npy(&content).map_err(|e| format!("{name}: {e}"))?;
        fields.push((name.into(), field));
    }
    Ok(fields)
}

/// An .npy file with the given shape and f32 elements.
#[cfg(test)]
pub(super) fn array(shape: &str, values: &[f32]) -> Vec<u8> {
    array_of(shape, "<f4", &values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>())
}

#[cfg(test)]
fn array_of(shape: &str, dtype: &str, elements: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\0".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(elements);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn element_types_become_floats() {
        let cases: [(&str, &[u8], f32); 5] = [
            ("<f2", &[0, 0x3E], 1.5),
            ("<f8", &[0, 0, 0, 0, 0, 0, 0xF8, 0x3F], 1.5),
            ("|u1", &[200], 200.0),
            ("<i8", &[0xFE, 255, 255, 255, 255, 255, 255, 255], -2.0),
            ("|b1", &[1], 1.0),
        ];
        for (dtype, bytes, value) in cases {
            let field = npy(&array_of("()", dtype, bytes)).unwrap();
            assert_eq!(field, Field { shape: vec![], values: Elements::Floats(vec![value]) }, "{dtype}");
        }
    }

    /// What numpy writes for `np.arange(6, dtype='f4').reshape(2, 3)`.
    #[test]
    fn files_of_numpy_are_read() {
        let mut bytes = b"\x93NUMPY\x01\0v\0{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }".to_vec();
        bytes.resize(127, b' ');
        bytes.push(b'\n');
        bytes.extend((0..6).flat_map(|i| (i as f32).to_le_bytes()));
        let field = npy(&bytes).unwrap();
        assert_eq!(field.shape, [2, 3]);
        assert_eq!(field.values, Elements::Floats(vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
    }

    #[test]
    fn hostile_arrays_are_refused() {
        let good = array("(2,)", &[1.0, 2.0]);
        assert!(npy(&good).is_ok());
        let cases = [
            (array("(99999999999999,)", &[0.0; 2]), "cut off"),
            (array("(4294967296, 4294967296, 16)", &[0.0; 2]), "overflows"),
            (array("(3,)", &[0.0; 2]), "cut off"),
            (array("(2,)", &[1.0, f32::NAN]), "not finite"),
            (array_of("(1,)", "|O", &[0; 8]), "element type `|O`"),
            (array("(-2,)", &[0.0; 2]), "no valid `shape`"),
            (array(&"(".repeat(10_000), &[0.0; 2]), "no valid `shape`"),
        ];
        for (bytes, reason) in cases {
            let error = npy(&bytes).unwrap_err();
            assert!(error.contains(reason), "{error} instead of {reason}");
        }
        assert!((0..good.len()).all(|n| npy(&good[..n]).is_err()));
    }

    proptest! {
        /// Whatever bytes are changed, reading gives an array or a reason.
        #[test]
        fn damage_never_panics(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
            let mut bytes = array("(2, 3)", &[0.5; 6]);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(field) = npy(&bytes) {
                let Elements::Floats(values) = field.values else { panic!("arrays are floats") };
                assert_eq!(values.len(), field.shape.iter().product::<usize>());
            }
        }
    }
}
