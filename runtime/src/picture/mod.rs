//! The pictures a run leaves: grids of images, strips of videos and the videos themselves, scatter plots, curves.

mod animation;
mod canvas;
mod chart;
mod grid;
mod images;
mod scale;
mod scatter;
mod video;

pub use animation::animation;
pub use chart::{Panel, Series, charts};
pub use grid::grid;
pub use image::RgbImage;
pub use scatter::scatter;
pub use video::{frames, strip};

use image::ImageFormat;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    #[error("cannot write {path}: {source}", path = path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot draw {what} of shape {shape:?}")]
    Shape { what: &'static str, shape: Vec<usize> },
}

/// The picture as PNG.
pub fn encode(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    // Writing to memory cannot fail, and PNG holds every picture.
    let written = picture.write_to(&mut bytes, ImageFormat::Png);
    debug_assert!(written.is_ok());
    bytes.into_inner()
}

/// Writes the picture as PNG, whole or not at all, so that viewers that watch the file never see half of it.
pub fn save(picture: &RgbImage, path: &Path) -> Result<(), PictureError> {
    write(&encode(picture), path)
}

/// Writes an encoded picture, whole or not at all.
pub fn write(bytes: &[u8], path: &Path) -> Result<(), PictureError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let write = || {
        std::fs::write(&temporary, bytes)?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(|source| {
        // The first error is the one to report; there may be no file at all.
        let _ = std::fs::remove_file(&temporary);
        PictureError::Write { path: path.into(), source }
    })
}
