//! Which data set, and what its samples look like.

use super::{DataError, Mixture, Schedule, idx, moving, pairs, shapes, webdataset};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A data set, as presets name it: `Ring(modes: 8)`, `Digits`, `WebDataset("imagenet/")`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum DataSpec {
    /// Gaussians of standard deviation `std` evenly on a circle; the class is the Gaussian.
    Ring {
        #[serde(default = "defaults::modes")]
        modes: usize,
        #[serde(default = "defaults::radius")]
        radius: f64,
        #[serde(default = "defaults::std")]
        std: f64,
    },
    /// The dark squares of a 4×4 board over [−2, 2]²; the class is the square.
    Checkerboard,
    /// Two interleaved half circles; the class is the half circle.
    Moons,
    /// A spiral of two arms; the class is the arm.
    Spiral,
    /// One isotropic Gaussian around 0, without classes.
    Gaussian { dim: usize, std: f64 },
    /// 1,500 grey 8×8 images of digits, built in.
    Digits,
    /// Drawings of circles, squares and triangles, as many as wanted; the class is the shape.
    Shapes {
        #[serde(default = "defaults::size")]
        size: usize,
        #[serde(default = "defaults::channels")]
        channels: usize,
    },
    /// Short videos of a disc, square, bar or cross that moves straight, 256 different ones with Gaussian noise of standard
    /// deviation `std`; the class is the shape.
    MovingShapes {
        #[serde(default = "defaults::frames")]
        frames: usize,
        #[serde(default = "defaults::side")]
        size: usize,
        #[serde(default = "defaults::grey")]
        channels: usize,
        #[serde(default = "defaults::std")]
        std: f64,
    },
    /// Samples of a shape, all noise of standard deviation 0.5 and of random classes: for measuring how fast training is.
    Noise {
        shape: Vec<usize>,
        #[serde(default)]
        classes: usize,
    },
    /// Trajectories of the exact teacher of another data set: `noise` at the schedule's first time, `path` at the times
    /// of a four-step sampler, and `x` where the probability-flow ODE ends; the class is the one conditioned on.
    Pairs {
        of: Box<DataSpec>,
        #[serde(default = "defaults::schedule")]
        schedule: Schedule,
        #[serde(default = "defaults::count")]
        count: usize,
        #[serde(default)]
        seed: u64,
    },
    /// A directory with MNIST's files, `train-images-idx3-ubyte[.gz]` and so on.
    Idx(PathBuf),
    /// Tar files with samples as groups of files: images, classes, arrays.
    WebDataset(Paths),
}

mod defaults {
    use super::Schedule;

    pub fn modes() -> usize {
        8
    }
    pub fn radius() -> f64 {
        2.0
    }
    pub fn std() -> f64 {
        0.1
    }
    pub fn frames() -> usize {
        6
    }
    pub fn side() -> usize {
        8
    }
    pub fn grey() -> usize {
        1
    }
    pub fn schedule() -> Schedule {
        Schedule::Edm
    }
    pub fn count() -> usize {
        4096
    }
    pub fn size() -> usize {
        16
    }
    pub fn channels() -> usize {
        3
    }
}

/// A file, a directory, or a list of files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Paths {
    One(PathBuf),
    Many(Vec<PathBuf>),
}

/// Which part of a data set. Computed data sets have one for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    Train,
    Test,
}

/// What a data set's samples look like.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// The shape of each field of a sample, without the batch axis: `x` first, `c` where there are classes or
    /// conditions, then others (`noise`, `path`).
    pub fields: IndexMap<String, Vec<usize>>,
}

/// What the axes of `x` mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `[D]`, or any rank that is not one of the others.
    Vector,
    /// `[C, H, W]`.
    Image,
    /// `[C, T, H, W]`.
    Video,
}

impl Description {
    pub fn new(x: Vec<usize>, classes: usize) -> Description {
        let mut fields = IndexMap::from([("x".to_string(), x)]);
        if classes > 0 {
            fields.insert("c".to_string(), vec![classes]);
        }
        Description { fields }
    }

    /// The shape of one `x`.
    pub fn shape(&self) -> &[usize] {
        &self.fields["x"]
    }

    /// Classes (the length of `c`); 0 where there is no condition.
    pub fn classes(&self) -> usize {
        self.fields.get("c").map_or(0, |shape| shape.iter().product())
    }

    pub fn kind(&self) -> Kind {
        match self.shape().len() {
            3 => Kind::Image,
            4 => Kind::Video,
            _ => Kind::Vector,
        }
    }
}

/// Modes or dimensions of a density.
const MAX_VALUES: usize = 1 << 16;
/// Values of one video: the exact denoiser knows 256 of them by heart.
const MAX_VIDEO: usize = 1 << 14;
const MAX_PAIRS: usize = 1_000_000;
/// Values of one sample of noise.
const MAX_NOISE: usize = 1 << 24;

fn noise_fits(shape: &[usize]) -> bool {
    let values = shape.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent));
    !shape.is_empty() && values.is_some_and(|n| (1..=MAX_NOISE).contains(&n))
}

impl DataSpec {
    /// The data set at a path: a directory of IDX files or of tar files, or one tar file.
    pub fn detect(path: &Path) -> Result<DataSpec, DataError> {
        if idx::find(path, "train", "images").is_some() {
            Ok(DataSpec::Idx(path.into()))
        } else if webdataset::holds_tars(path) {
            Ok(DataSpec::WebDataset(Paths::One(path.into())))
        } else {
            let expected = "train-images-idx3-ubyte[.gz], a .tar file, or a directory of .tar files";
            Err(DataError::Missing { path: path.into(), expected })
        }
    }

    /// What the samples look like, from no more than a few of them.
    pub fn describe(&self) -> Result<Description, DataError> {
        self.check()?;
        Ok(match self {
            DataSpec::Digits => Description::new(vec![1, 8, 8], 10),
            DataSpec::Shapes { size, channels } => Description::new(vec![*channels, *size, *size], shapes::CLASSES),
            DataSpec::Noise { shape, classes } => Description::new(shape.clone(), *classes),
            DataSpec::Idx(path) => idx::describe(path)?,
            DataSpec::WebDataset(paths) => webdataset::describe(paths)?,
            DataSpec::Pairs { of, .. } => {
                let mut description = of.describe()?;
                let shape = description.shape().to_vec();
                let path = [&[pairs::POINTS], &shape[..]].concat();
                description.fields.extend([("noise".to_string(), shape), ("path".to_string(), path)]);
                description
            }
            _ => {
                let mixture = self.mixture().expect("the other data sets are all mixtures");
                Description::new(mixture.shape, mixture.classes)
            }
        })
    }

    /// The exact density, where the data set is defined by one; for pairs, that of the teacher's data.
    pub fn mixture(&self) -> Option<Mixture> {
        match *self {
            DataSpec::MovingShapes { frames, size, channels, std } => {
                Some(moving::mixture(frames, size, channels, std))
            }
            DataSpec::Pairs { ref of, .. } => of.mixture(),
            DataSpec::Ring { modes, radius, std } => Some(Mixture::ring(modes, radius, std)),
            DataSpec::Checkerboard => Some(Mixture::checkerboard()),
            DataSpec::Moons => Some(Mixture::moons()),
            DataSpec::Spiral => Some(Mixture::spiral()),
            DataSpec::Gaussian { dim, std } => Some(Mixture::gaussian(dim, std)),
            _ => None,
        }
    }

    fn is_mixture(&self) -> bool {
        use DataSpec::*;
        matches!(self, Ring { .. } | Checkerboard | Moons | Spiral | Gaussian { .. } | MovingShapes { .. })
    }

    /// Refuses numbers that make no data set.
    pub(super) fn check(&self) -> Result<(), DataError> {
        let reason = match *self {
            DataSpec::Ring { modes: 0, .. } => "there must be at least one mode",
            DataSpec::Ring { modes, .. } if modes > MAX_VALUES => "there may be at most 65,536 modes",
            DataSpec::Gaussian { dim, .. } if dim > MAX_VALUES => "there may be at most 65,536 dimensions",
            DataSpec::Ring { radius, .. } if !radius.is_finite() => "the radius must be finite",
            DataSpec::Gaussian { dim: 0, .. } => "there must be at least one dimension",
            DataSpec::Ring { std, .. } | DataSpec::Gaussian { std, .. } | DataSpec::MovingShapes { std, .. }
                if !(std > 0.0 && std.is_finite()) =>
            {
                "the standard deviation must be positive"
            }
            DataSpec::Shapes { channels, .. } if channels != 1 && channels != 3 => "images have 1 or 3 channels",
            DataSpec::Shapes { size, .. } if !(4..=4096).contains(&size) => "the size must be from 4 to 4096",
            DataSpec::MovingShapes { frames: 0, .. } => "there must be at least one frame",
            DataSpec::MovingShapes { size, .. } if !(4..=64).contains(&size) => "the size must be from 4 to 64",
            DataSpec::MovingShapes { channels, .. } if !(1..=3).contains(&channels) => "there are 1, 2 or 3 channels",
            DataSpec::MovingShapes { frames, .. } if frames > 64 => "there may be at most 64 frames",
            DataSpec::MovingShapes { frames, size, channels, .. } if frames * size * size * channels > MAX_VIDEO => {
                "a video may have at most 16,384 values: take fewer frames or a smaller size"
            }
            DataSpec::Noise { ref shape, classes } if classes > MAX_VALUES || !noise_fits(shape) => {
                "a sample has from 1 to 16,777,216 values, and at most 65,536 classes"
            }
            DataSpec::Pairs { ref of, .. } if matches!(**of, DataSpec::Pairs { .. }) => {
                "pairs of pairs; name the data set itself"
            }
            DataSpec::Pairs { ref of, .. } if !of.is_mixture() => {
                "only mixtures have an exact teacher: Ring, Checkerboard, Moons, Spiral, Gaussian, MovingShapes; \
                 for other data store a teacher's trajectories in a WebDataset with fields `noise` and `path`"
            }
            DataSpec::Pairs { count, .. } if !(1..=MAX_PAIRS).contains(&count) => {
                "the count must be from 1 to 1,000,000"
            }
            DataSpec::Pairs { ref of, .. } => return of.check(),
            _ => return Ok(()),
        };
        Err(DataError::Spec { spec: format!("{self:?}"), reason })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Dataset;
    use super::*;

    #[test]
    fn presets_name_data_sets_in_ron() {
        let cases = [
            ("Ring()", DataSpec::Ring { modes: 8, radius: 2.0, std: 0.1 }),
            ("Ring(modes: 3, std: 0.2)", DataSpec::Ring { modes: 3, radius: 2.0, std: 0.2 }),
            ("Moons", DataSpec::Moons),
            ("Gaussian(dim: 2, std: 0.5)", DataSpec::Gaussian { dim: 2, std: 0.5 }),
            ("MovingShapes(size: 12)", DataSpec::MovingShapes { frames: 6, size: 12, channels: 1, std: 0.1 }),
            (
                "Pairs(of: Moons, schedule: rf)",
                DataSpec::Pairs { of: Box::new(DataSpec::Moons), schedule: Schedule::Rf, count: 4096, seed: 0 },
            ),
            ("Noise(shape: [3, 8, 8])", DataSpec::Noise { shape: vec![3, 8, 8], classes: 0 }),
            ("Shapes(size: 32)", DataSpec::Shapes { size: 32, channels: 3 }),
            ("Idx(\"mnist\")", DataSpec::Idx("mnist".into())),
            ("WebDataset(\"tars\")", DataSpec::WebDataset(Paths::One("tars".into()))),
            ("WebDataset([\"a.tar\"])", DataSpec::WebDataset(Paths::Many(vec!["a.tar".into()]))),
        ];
        for (text, spec) in cases {
            assert_eq!(ron::from_str::<DataSpec>(text).unwrap(), spec, "{text}");
            assert_eq!(ron::from_str::<DataSpec>(&ron::to_string(&spec).unwrap()).unwrap(), spec);
        }
    }

    #[test]
    fn descriptions_know_shape_classes_and_kind() {
        let ring = ron::from_str::<DataSpec>("Ring()").unwrap().describe().unwrap();
        assert_eq!((ring.shape(), ring.classes(), ring.kind()), (&[2][..], 8, Kind::Vector));
        let digits = DataSpec::Digits.describe().unwrap();
        assert_eq!((digits.shape(), digits.classes(), digits.kind()), (&[1, 8, 8][..], 10, Kind::Image));
        let gaussian = DataSpec::Gaussian { dim: 3, std: 1.0 }.describe().unwrap();
        assert_eq!((gaussian.classes(), gaussian.fields.len()), (0, 1));
        let moving = ron::from_str::<DataSpec>("Pairs(of: MovingShapes(channels: 2))").unwrap().describe().unwrap();
        assert_eq!((moving.shape(), moving.classes(), moving.kind()), (&[2, 6, 8, 8][..], 4, Kind::Video));
        assert!(moving.fields.keys().eq(["x", "c", "noise", "path"]));
        assert_eq!(moving.fields["path"], [4, 2, 6, 8, 8]);
    }

    #[test]
    fn impossible_numbers_are_errors() {
        let error = DataSpec::Gaussian { dim: 2, std: 0.0 }.describe().unwrap_err().to_string();
        assert!(error.ends_with("the standard deviation must be positive"), "{error}");
        for text in ["Ring(modes: 0)", "Ring(std: -1)", "Ring(radius: inf)", "Shapes(channels: 2)", "Shapes(size: 0)"] {
            assert!(ron::from_str::<DataSpec>(text).unwrap().describe().is_err(), "{text}");
        }
        let cases = [
            ("MovingShapes(frames: 0)", "at least one frame"),
            ("MovingShapes(size: 3)", "the size must be from 4 to 64"),
            ("MovingShapes(channels: 4)", "1, 2 or 3 channels"),
            ("MovingShapes(std: 0)", "the standard deviation must be positive"),
            ("MovingShapes(frames: 64, size: 64)", "fewer frames or a smaller size"),
            ("MovingShapes(frames: 18446744073709551615)", "at most 64 frames"),
            ("Ring(modes: 18446744073709551615)", "at most 65,536 modes"),
            ("Pairs(of: Digits)", "`noise` and `path`"),
            ("Pairs(of: Pairs(of: Moons))", "name the data set itself"),
            ("Noise(shape: [])", "from 1 to 16,777,216 values"),
            ("Noise(shape: [2, 0])", "from 1 to 16,777,216 values"),
            ("Noise(shape: [4294967296, 4294967296])", "from 1 to 16,777,216 values"),
            ("Pairs(of: Moons, count: 0)", "the count must be from 1"),
            ("Pairs(of: Ring(std: -1))", "the standard deviation must be positive"),
        ];
        for (text, reason) in cases {
            let spec = ron::from_str::<DataSpec>(text).unwrap();
            let error = Dataset::load(&spec, Split::Train, &mut |_, _| {}).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_missing_data_set_says_where_it_was_looked_for() {
        let error = DataSpec::detect(Path::new("/nowhere/mnist")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/mnist") && error.contains("--data DIR"), "{error}");
    }
}
