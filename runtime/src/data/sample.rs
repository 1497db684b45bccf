//! One sample of a tar: its files' bytes, each turned into a field by its extension.
//!
//! | extension            | field                                                                    |
//! |----------------------|--------------------------------------------------------------------------|
//! | `jpg`, `jpeg`, `png` | `x`: the image, `[1 or 3, H, W]` in [−1, 1]                               |
//! | `npy`                | `x`: the array as it is                                                  |
//! | `npz`                | one for each array, by the array's name                                  |
//! | `cls`                | the class: a number in text                                              |
//! | `json`               | the class: the number under `label`, `cls` or `class`                    |
//!
//! A name before the extension names the field: `000017.noise.npy` is field `noise` of sample `000017`.
//! Files with other extensions are ignored.

use super::dataset::{Elements, Field};
use super::npy::{npy, npz};
use image::ImageReader;
use std::io::Cursor;

/// The largest class accepted: one-hot rows are this long.
const MAX_LABEL: u32 = 65_535;

/// A sample's files, undecoded.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RawSample {
    pub key: String,
    /// Extension (what follows the first dot) and content.
    pub files: Vec<(String, Vec<u8>)>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sample {
    pub fields: Vec<(String, Field)>,
    pub label: Option<u32>,
}

/// What a file holds, by its extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Image,
    Npy,
    Npz,
    Label,
    Json,
}

impl Content {
    /// The field's name, and what it is; None for files that are no field.
    pub fn of(extension: &str) -> Option<(&str, Content)> {
        let (name, last) = extension.rsplit_once('.').unwrap_or(("x", extension));
        let content = match last.to_ascii_lowercase().as_str() {
            "jpg" | "jpeg" | "png" => Content::Image,
            "npy" => Content::Npy,
            "npz" => Content::Npz,
            "cls" => Content::Label,
            "json" => Content::Json,
            _ => return None,
        };
        Some((name, content))
    }

    pub fn is_label(self) -> bool {
        matches!(self, Content::Label | Content::Json)
    }
}

impl RawSample {
    /// Decodes the files; the error is the reason why the sample is unusable.
    pub fn decode(&self) -> Result<Sample, String> {
        let mut sample = Sample::default();
        for (extension, bytes) in &self.files {
            let Some((name, content)) = Content::of(extension) else {
                continue;
            };
            let failed = |reason: String| format!("{extension}: {reason}");
            match content {
                Content::Image => sample.fields.push((name.into(), image(bytes).map_err(failed)?)),
                Content::Npy => sample.fields.push((name.into(), npy(bytes).map_err(failed)?)),
                Content::Npz => sample.fields.extend(npz(bytes).map_err(failed)?),
                Content::Label => sample.label = Some(label(bytes).map_err(failed)?),
                Content::Json => sample.label = json_label(bytes).map_err(failed)?.or(sample.label),
            }
        }
        for (i, (name, _)) in sample.fields.iter().enumerate() {
            if sample.fields[..i].iter().any(|(earlier, _)| earlier == name) {
                return Err(format!("two files for `{name}`"));
            }
        }
        if sample.fields.iter().any(|(_, field)| field.shape.contains(&0)) {
            return Err("an empty array".into());
        }
        if !sample.fields.iter().any(|(name, _)| name == "x") {
            return Err("no image or array `x`".into());
        }
        Ok(sample)
    }
}

/// The class a label file holds.
pub(super) fn label_of(content: Content, bytes: &[u8]) -> Result<Option<u32>, String> {
    match content {
        Content::Label => label(bytes).map(Some),
        Content::Json => json_label(bytes),
        _ => Ok(None),
    }
}

fn image(bytes: &[u8]) -> Result<Field, String> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    let image = reader.decode().map_err(|e| e.to_string())?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    if !image.color().has_color() {
        let values = Elements::Bytes(image.into_luma8().into_raw());
        return Ok(Field { shape: vec![1, height, width], values });
    }
    let pixels = image.into_rgb8().into_raw();
    let planes = (0..3).flat_map(|channel| pixels.iter().skip(channel).step_by(3).copied());
    Ok(Field { shape: vec![3, height, width], values: Elements::Bytes(planes.collect()) })
}

impl Field {
    /// A grey image as a coloured one; anything else as it is.
    pub fn into_colour(self) -> Field {
        match self.values {
            Elements::Bytes(grey) if self.shape[0] == 1 => {
                Field { shape: vec![3, self.shape[1], self.shape[2]], values: Elements::Bytes(grey.repeat(3)) }
            }
            _ => self,
        }
    }

    pub fn is_colour_image(&self) -> bool {
        matches!(self.values, Elements::Bytes(_)) && self.shape[0] == 3
    }
}

fn label(bytes: &[u8]) -> Result<u32, String> {
    let text = String::from_utf8_lossy(bytes);
    let label: u32 = text.trim().parse().map_err(|_| "not the number of a class".to_string())?;
    in_range(u64::from(label))
}

fn json_label(bytes: &[u8]) -> Result<Option<u32>, String> {
    let json: serde_json::Value = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    let value = ["label", "cls", "class"].iter().find_map(|key| json.get(key));
    let Some(value) = value else { return Ok(None) };
    let number = value.as_u64().ok_or_else(|| format!("{value} is not the number of a class"))?;
    in_range(number).map(Some)
}

fn in_range(label: u64) -> Result<u32, String> {
    let known = u32::try_from(label).ok().filter(|&l| l <= MAX_LABEL);
    known.ok_or_else(|| format!("class {label} is above the largest allowed, {MAX_LABEL}"))
}

#[cfg(test)]
mod tests {
    use super::super::npy::array;
    use super::*;

    fn decode(files: Vec<(&str, Vec<u8>)>) -> Result<Sample, String> {
        let files = files.into_iter().map(|(extension, bytes)| (extension.to_string(), bytes)).collect();
        RawSample { key: "k".into(), files }.decode()
    }

    #[test]
    fn a_sample_has_one_of_each_field_and_an_x() {
        let good = || array("(2,)", &[1.0, 2.0]);
        assert_eq!(decode(vec![("npy", good()), ("x.npy", good())]).unwrap_err(), "two files for `x`");
        assert_eq!(decode(vec![("noise.npy", good())]).unwrap_err(), "no image or array `x`");
    }

    #[test]
    fn classes_are_numbers_in_range() {
        assert_eq!(label(b" 7\n"), Ok(7));
        assert!(label(b"-1").is_err() && label(b"cat").is_err() && label(b"4000000000").is_err());
        assert_eq!(json_label(br#"{"caption": "a cat", "class": 3}"#), Ok(Some(3)));
        assert_eq!(json_label(br#"{"caption": "a cat"}"#), Ok(None));
        assert!(json_label(br#"{"label": "cat"}"#).is_err() && json_label(b"{").is_err());
    }
}
