//! Grids of images.

use super::PictureError;
use super::images::Images;
use image::{Rgb, RgbImage};

/// Pixels between images.
pub(super) const GAP: usize = 2;
pub(super) const GROUND: [u8; 3] = [255; 3];
/// Small images are enlarged until the grid is about this wide.
const WIDTH: usize = 512;

/// Images `[n, C, H, W]` in rows, in [−1, 1]. With fewer than three channels the first is shown in grey, with three all in
/// colour, with more the first three, stretched to their ranges. `columns` is chosen if not given.
pub fn grid(samples: &[f32], shape: &[usize], columns: Option<usize>) -> Result<RgbImage, PictureError> {
    if shape.len() != 4 {
        return Err(PictureError::Shape { what: "images", shape: shape.to_vec() });
    }
    let images = Images::new(samples, shape)?;
    Ok(tiled(&images, images.n, columns_of(images.n, columns), 0, |tile| (tile, 0)))
}

/// How many columns `n` tiles get: as wanted, else as many as rows.
pub(super) fn columns_of(n: usize, wanted: Option<usize>) -> usize {
    wanted.map_or((n as f64).sqrt().ceil() as usize, |columns| columns.clamp(1, n))
}

/// Tiles in rows, with a margin of so many pixels on the left; `of` says which sample and frame a tile shows.
pub(super) fn tiled(
    images: &Images,
    tiles: usize,
    columns: usize,
    margin: usize,
    of: impl Fn(usize) -> (usize, usize),
) -> RgbImage {
    let (rows, scale) = (tiles.div_ceil(columns), scale(images, columns));
    let (wide, high) = (scale * images.width + GAP, scale * images.height + GAP);
    let (width, height) = (margin + columns * wide + GAP, rows * high + GAP);
    let mut picture = RgbImage::from_pixel(width as u32, height as u32, Rgb(GROUND));
    for tile in 0..tiles {
        let (sample, frame) = of(tile);
        let (left, top) = (margin + GAP + tile % columns * wide, GAP + tile / columns * high);
        for y in 0..scale * images.height {
            for x in 0..scale * images.width {
                let colour = images.colour(sample, frame, y / scale, x / scale);
                picture.put_pixel((left + x) as u32, (top + y) as u32, Rgb(colour));
            }
        }
    }
    picture
}

/// How many times images are enlarged.
pub(super) fn scale(images: &Images, columns: usize) -> usize {
    WIDTH.div_ceil(columns * images.width).max(1)
}

#[cfg(test)]
mod tests {
    use super::super::images::ALARM;
    use super::*;

    #[test]
    fn images_are_enlarged_and_laid_out_in_rows() {
        let mut samples = vec![-1.0; 5 * 3 * 2 * 2];
        samples[12..16].fill(1.0);
        samples[24] = f32::NAN;
        let picture = grid(&samples, &[5, 3, 2, 2], None).unwrap();
        // 3 columns of 2 pixels: enlarged 86 times.
        assert_eq!(picture.dimensions(), (3 * 174 + 2, 2 * 174 + 2));
        assert_eq!(picture.get_pixel(2, 2).0, [0, 0, 0]);
        assert_eq!(picture.get_pixel(2 + 174, 2).0, [255, 0, 0]);
        assert_eq!(picture.get_pixel(2 + 2 * 174, 2).0, ALARM);
        assert_eq!(picture.get_pixel(2 + 2 * 174 + 86, 2).0, [0, 0, 0]);
        assert_eq!(picture.get_pixel(2 + 2 * 174, 2 + 174).0, GROUND, "no sixth image");
        assert_eq!(picture.get_pixel(0, 0).0, GROUND);
    }

    #[test]
    fn grey_images_stay_grey() {
        let picture = grid(&[0.0; 64], &[1, 1, 8, 8], None).unwrap();
        assert_eq!((picture.width(), picture.get_pixel(10, 10).0), (516, [128; 3]));
    }

    #[test]
    fn other_shapes_are_errors() {
        let error = grid(&[0.0; 6], &[3, 2], None).unwrap_err().to_string();
        assert_eq!(error, "cannot draw images of shape [3, 2]");
        assert!(grid(&[0.0; 5], &[1, 1, 2, 3], None).is_err());
        assert!(grid(&[], &[0, 1, 2, 3], None).is_err());
    }
}
