use super::*;
use crate::data::npy::array;
use crate::data::{DataSpec, Dataset};
use image::{ImageFormat, RgbImage};
use std::io::Cursor;

fn picture(format: ImageFormat, side: u32, colour: [u8; 3]) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::from_pixel(side, side, image::Rgb(colour)).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn write_tar(path: &Path, files: &[(String, Vec<u8>)]) {
    let mut tar = tar::Builder::new(File::create(path).unwrap());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    tar.finish().unwrap();
}

/// `n` red 4×4 JPEGs of classes 0, 1, 2, 0, …
fn red(n: usize) -> Vec<(String, Vec<u8>)> {
    let jpeg = picture(ImageFormat::Jpeg, 4, [255, 0, 0]);
    let sample = |i: usize| {
        [(format!("{i:06}.jpg"), jpeg.clone()), (format!("{i:06}.cls"), format!("{}\n", i % 3).into_bytes())]
    };
    (0..n).flat_map(sample).collect()
}

fn load(path: &Path, split: Split) -> Result<Dataset, DataError> {
    Dataset::load(&DataSpec::WebDataset(Paths::One(path.into())), split, &mut |_, _| {})
}

fn load_files(files: &[(String, Vec<u8>)]) -> Result<Dataset, DataError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("some.tar");
    write_tar(&path, files);
    load(&path, Split::Train)
}

#[test]
fn parts_of_a_directory_load_apart() {
    let dir = tempfile::tempdir().unwrap();
    write_tar(&dir.path().join("train-0.tar"), &red(5));
    write_tar(&dir.path().join("train-1.tar"), &red(4));
    write_tar(&dir.path().join("test-0.tar"), &red(2));
    assert_eq!(DataSpec::detect(dir.path()).unwrap(), DataSpec::WebDataset(Paths::One(dir.path().into())));
    let mut told = Vec::new();
    let spec = DataSpec::detect(dir.path()).unwrap();
    let train = Dataset::load(&spec, Split::Train, &mut |done, total| told.push((done, total))).unwrap();
    assert_eq!(train.len(), Some(9));
    assert!(told.is_sorted() && told.last().is_some_and(|(done, total)| done == total), "{told:?}");
    let test = load(dir.path(), Split::Test).unwrap();
    assert_eq!(test.len(), Some(2));
    assert_eq!(test.description().classes(), 3, "as many as in training");
    let batch = train.batch(9, 0, 0);
    assert_eq!(batch["x"].shape(), [9, 3, 4, 4]);
    let x = batch["x"].as_f32().unwrap();
    assert!(x[0] > 0.95 && x[16] < -0.95 && x[32] < -0.95, "red: {x:?}");
    assert_eq!(batch["c"].shape(), [9, 3]);
}

#[test]
fn a_corrupt_image_is_left_out_and_reported() {
    let mut files = red(100);
    files[2 * 17].1.truncate(100);
    let data = load_files(&files).unwrap();
    assert_eq!(data.len(), Some(99));
    let [skipped] = data.skipped() else { panic!("{:?}", data.skipped()) };
    assert_eq!(skipped.key, "000017");
    assert!(skipped.path.ends_with("some.tar") && skipped.reason.starts_with("jpg: "), "{skipped}");
}

#[test]
fn more_than_one_percent_corrupt_is_an_error() {
    let mut files = red(100);
    files[2 * 17].1 = b"not a picture".to_vec();
    files[2 * 55 + 1].1 = b"cat".to_vec();
    let error = load_files(&files).unwrap_err().to_string();
    assert!(error.starts_with("2 of 100 samples are unusable, more than 1 %"), "{error}");
    assert!(error.contains("`000017` in") && error.contains("cls: not the number of a class"), "{error}");
}

#[test]
fn another_size_is_an_error_that_names_the_file() {
    let mut files = red(3);
    files[4].1 = picture(ImageFormat::Png, 5, [0; 3]);
    let error = load_files(&files).unwrap_err().to_string();
    assert!(error.starts_with("`000002` in ") && error.contains("[3, 5, 5]"), "{error}");
}

#[test]
fn a_truncated_tar_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("some.tar");
    write_tar(&path, &red(5));
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..1024 + 300]).unwrap();
    let error = load(&path, Split::Train).unwrap_err().to_string();
    assert!(error.contains("some.tar is not a valid tar file, or truncated"), "{error}");
    std::fs::write(&path, b"").unwrap();
    assert!(matches!(load(&path, Split::Train).unwrap_err(), DataError::Empty { .. }));
}

#[test]
fn grey_images_among_coloured_ones_become_coloured() {
    let mut grey = Cursor::new(Vec::new());
    image::GrayImage::from_pixel(4, 4, image::Luma([255])).write_to(&mut grey, ImageFormat::Png).unwrap();
    let mut files = red(2);
    files[0] = ("000000.png".into(), grey.clone().into_inner());
    assert_eq!(load_files(&files).unwrap().description().shape(), [3, 4, 4]);
    let only = load_files(&[("a.png".into(), grey.into_inner())]).unwrap();
    assert_eq!(only.description().shape(), [1, 4, 4]);
    assert_eq!(only.description().classes(), 0);
    assert!(!only.batch(1, 0, 0).contains_key("c"));
}

/// Teacher pairs and latents are fields like any other.
#[test]
fn arrays_are_fields_by_their_names() {
    let sample = |i: usize| {
        let value = i as f32;
        vec![
            (format!("dir.v1/{i}.npy"), array("(2, 1, 3, 3)", &[value; 18])),
            (format!("dir.v1/{i}.noise.npy"), array("(2,)", &[value + 0.5; 2])),
            (format!("dir.v1/{i}.json"), format!("{{\"label\": {i}}}").into_bytes()),
            (format!("dir.v1/{i}.txt"), b"a caption".to_vec()),
        ]
    };
    let data = load_files(&(0..4).flat_map(sample).collect::<Vec<_>>()).unwrap();
    assert!(data.description().fields.keys().eq(["x", "c", "noise"]));
    assert_eq!(data.description().shape(), [2, 1, 3, 3]);
    let batch = data.batch(4, 0, 0);
    for row in 0..4 {
        let value = batch["x"].as_f32().unwrap()[18 * row];
        assert_eq!(batch["noise"].as_f32().unwrap()[2 * row], value + 0.5);
        assert_eq!(batch["c"].as_f32().unwrap()[4 * row + value as usize], 1.0);
    }
}

#[test]
fn npz_members_are_fields() {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, values) in [("x.npy", [1.0, 2.0]), ("c.npy", [0.25, 0.75])] {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut zip, &array("(2,)", &values)).unwrap();
    }
    let data = load_files(&[("a.npz".into(), zip.finish().unwrap().into_inner())]).unwrap();
    let batch = data.batch(1, 0, 0);
    assert_eq!(batch["x"], crate::Tensor::f32([1, 2], vec![1.0, 2.0]));
    assert_eq!(batch["c"], crate::Tensor::f32([1, 2], vec![0.25, 0.75]), "conditions need not be classes");
}

#[test]
fn names_split_at_the_first_dot_of_the_file() {
    assert_eq!(split_name("a.b/c.noise.npy"), Some(("a.b/c", "noise.npy")));
    assert_eq!(split_name("a/._c.jpg"), None);
    assert_eq!(split_name("README"), None);
}
