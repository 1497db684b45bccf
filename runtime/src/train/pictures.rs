//! Pictures of samples, by what the samples are.

use super::run_dir::RunDir;
use super::sampling::conditions;
use super::trainer::Trainer;
use crate::Tensor;
use crate::data::{Batch, Dataset, Description, Kind};
use crate::picture::{self, PictureError, RgbImage, animation, frames, grid, scatter, strip};
use crate::tensorboard::EventWriter;
use crate::train::TrainError;
use std::path::{Path, PathBuf};

/// Points of a scatter plot.
const POINTS: usize = 2048;
/// About how many videos are drawn in a run.
const VIDEOS: usize = 8;
/// Seed of the pictures' samples: all pictures of a run start from the same noise.
const SEED: u64 = 0;

/// Samples to look at.
pub struct Drawing {
    /// A grid of images, points over those of the data, or a strip of frames for each video.
    pub still: RgbImage,
    /// Videos as a GIF.
    pub moving: Option<Vec<u8>>,
}

impl Drawing {
    /// Writes the still picture as PNG and, beside it, the moving one as GIF; gives the paths.
    pub fn save(&self, png: &Path) -> Result<Vec<PathBuf>, PictureError> {
        picture::save(&self.still, png)?;
        let mut paths = vec![png.to_path_buf()];
        if let Some(moving) = &self.moving {
            let gif = png.with_extension("gif");
            picture::write(moving, &gif)?;
            paths.push(gif);
        }
        Ok(paths)
    }
}

/// Draws samples made under the conditions `given`; None for data of one dimension. Images and videos have a column for
/// each class where the samples go through the classes in turn; strips say each video's class.
pub fn draw(
    samples: &Tensor,
    given: &Batch,
    description: &Description,
    data: &Dataset,
) -> Result<Option<Drawing>, PictureError> {
    let (values, shape) = (samples.to_f32(), samples.shape());
    let columns = columns(description).filter(|c| shape[0].is_multiple_of(*c));
    let drawing = match description.kind() {
        Kind::Vector => {
            let dim: usize = description.shape().iter().product();
            if dim < 2 {
                return Ok(None);
            }
            let n = data.len().unwrap_or(POINTS).min(POINTS);
            let points = data.batch(n, SEED, 0)["x"].to_f32();
            Drawing { still: scatter(&values, &points, dim)?, moving: None }
        }
        Kind::Image => Drawing { still: grid(&values, shape, columns)?, moving: None },
        Kind::Video => Drawing {
            still: strip(&values, shape, &labels(given))?,
            moving: Some(animation(&frames(&values, shape, columns)?)?),
        },
    };
    Ok(Some(drawing))
}

/// The classes of one-hot conditions, to be read beside the samples; none where conditions are something else.
fn labels(given: &Batch) -> Vec<String> {
    let Some(c) = given.get("c").filter(|c| c.shape().len() == 2 && c.shape()[1] > 0) else { return Vec::new() };
    let label = |row: &[f32]| {
        let one = row.iter().position(|&x| x == 1.0)?;
        row.iter().enumerate().all(|(i, &x)| i == one || x == 0.0).then(|| one.to_string())
    };
    c.to_f32().chunks(c.shape()[1]).map(label).collect::<Option<_>>().unwrap_or_default()
}

/// A column for each class, where they are few.
fn columns(description: &Description) -> Option<usize> {
    Some(description.classes()).filter(|classes| (1..=16).contains(classes))
}

/// Draws samples of the method's own sampler into the run's directory and its TensorBoard events.
pub(super) fn snapshot(
    trainer: &mut Trainer,
    dir: &RunDir,
    data: &Dataset,
    events: &mut EventWriter,
) -> Result<(), TrainError> {
    let Some(name) = trainer.model.program().samplers.keys().next().cloned() else { return Ok(()) };
    let step = trainer.model.iteration();
    let description = trainer.data().description().clone();
    let columns = columns(&description).unwrap_or(8);
    let n = match description.kind() {
        Kind::Vector => POINTS,
        Kind::Image => 8 * columns,
        Kind::Video => VIDEOS.next_multiple_of(columns),
    };
    let given = conditions(description.classes(), n, None)?;
    let samples = trainer.model.sample(&name, n, &given, SEED)?;
    let Some(drawing) = draw(&samples, &given, &description, data)? else { return Ok(()) };
    drawing.save(&dir.samples(step))?;
    let (width, height) = drawing.still.dimensions();
    let png = picture::encode(&drawing.still);
    let written = events.image(step, "samples", width, height, &png);
    let written = written.and_then(|()| match &drawing.moving {
        Some(gif) => events.image(step, "videos", width, height, gif),
        None => Ok(()),
    });
    written.map_err(|source| TrainError::Write { path: dir.path().into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DataSpec, Split, one_hot};

    /// The rest of `draw` is arithmetic of pictures, tested there.
    #[test]
    fn videos_become_a_strip_and_a_moving_picture() {
        let description = Description::new(vec![1, 3, 4, 4], 2);
        let data = Dataset::load(&DataSpec::Digits, Split::Train, &mut |_, _| {}).unwrap();
        let samples = Tensor::f32([4, 1, 3, 4, 4], vec![0.0; 4 * 48]);
        let given = conditions(2, 4, None).unwrap();
        let drawing = draw(&samples, &given, &description, &data).unwrap().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let paths = drawing.save(&dir.path().join("a.png")).unwrap();
        let starts: Vec<Vec<u8>> = paths.iter().map(|p| std::fs::read(p).unwrap()[..4].to_vec()).collect();
        assert_eq!(starts, [b"\x89PNG".to_vec(), b"GIF8".to_vec()]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing temporary is left");
    }

    #[test]
    fn labels_are_the_classes() {
        let given = |c| Batch::from([("c".to_string(), c)]);
        assert_eq!(labels(&given(one_hot(3, &[2, 0]))), ["2", "0"]);
        assert!(labels(&given(Tensor::f32([1, 2], vec![0.5, 0.5]))).is_empty());
        assert!(labels(&Batch::new()).is_empty());
    }
}
