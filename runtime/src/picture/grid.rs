//! Grids of images.

use super::PictureError;
use image::{Rgb, RgbImage};

/// Pixels between images.
const GAP: usize = 2;
/// Small images are enlarged until the grid is about this wide.
const WIDTH: usize = 512;
const GROUND: [u8; 3] = [255; 3];
/// Shown where a value is not finite.
const ALARM: [u8; 3] = [255, 0, 200];

/// Images in rows: `samples` is `[n, C, H, W]` (or `[n, C, T, H, W]`: one video a row), in [−1, 1]. With fewer than three
/// channels the first is shown in grey, else the first three in colour. `columns` is chosen if not given.
pub fn grid(samples: &[f32], shape: &[usize], columns: Option<usize>) -> Result<RgbImage, PictureError> {
    let wrong = || PictureError::Shape { what: "images", shape: shape.to_vec() };
    let (frames, [channels, height, width]) = match *shape {
        [_, c, h, w] => (1, [c, h, w]),
        [_, c, t, h, w] => (t, [c, h, w]),
        _ => return Err(wrong()),
    };
    let tiles = shape[0] * frames;
    if samples.len() != shape.iter().product::<usize>() || samples.is_empty() {
        return Err(wrong());
    }
    let columns = match columns {
        Some(columns) => columns.clamp(1, tiles),
        None if frames > 1 => frames,
        None => (tiles as f64).sqrt().ceil() as usize,
    };
    let rows = tiles.div_ceil(columns);
    let scale = WIDTH.div_ceil(columns * width).max(1);
    let (wide, high) = (scale * width + GAP, scale * height + GAP);
    let mut picture = RgbImage::from_pixel((columns * wide + GAP) as u32, (rows * high + GAP) as u32, Rgb(GROUND));
    let plane = height * width;
    for tile in 0..tiles {
        let (sample, frame) = (tile / frames, tile % frames);
        let at =
            |channel: usize, pixel: usize| samples[((sample * channels + channel) * frames + frame) * plane + pixel];
        let (left, top) = (GAP + tile % columns * wide, GAP + tile / columns * high);
        for y in 0..scale * height {
            for x in 0..scale * width {
                let pixel = y / scale * width + x / scale;
                let values = [0, 1, 2].map(|channel| at(if channels < 3 { 0 } else { channel }, pixel));
                picture.put_pixel((left + x) as u32, (top + y) as u32, Rgb(colour(values)));
            }
        }
    }
    Ok(picture)
}

fn colour(values: [f32; 3]) -> [u8; 3] {
    if values.iter().any(|x| !x.is_finite()) {
        return ALARM;
    }
    values.map(|x| ((x + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8)
}

#[cfg(test)]
mod tests {
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
    fn grey_images_and_videos() {
        let picture = grid(&[0.0; 64], &[1, 1, 8, 8], None).unwrap();
        assert_eq!((picture.width(), picture.get_pixel(10, 10).0), (516, [128; 3]));
        // Two videos of three frames, two channels: a row each, and frame 2 of video 1 lit.
        let mut samples = vec![-1.0; 2 * 2 * 3 * 4];
        samples[24 + 8..24 + 12].fill(1.0);
        let picture = grid(&samples, &[2, 2, 3, 2, 2], None).unwrap();
        assert_eq!(picture.dimensions(), (3 * 174 + 2, 2 * 174 + 2));
        assert_eq!(picture.get_pixel(2 + 2 * 174, 2 + 174).0, [255; 3]);
        assert_eq!(picture.get_pixel(2 + 174, 2 + 174).0, [0; 3]);
    }

    #[test]
    fn other_shapes_are_errors() {
        let error = grid(&[0.0; 6], &[3, 2], None).unwrap_err().to_string();
        assert_eq!(error, "cannot draw images of shape [3, 2]");
        assert!(grid(&[0.0; 5], &[1, 1, 2, 3], None).is_err());
        assert!(grid(&[], &[0, 1, 2, 3], None).is_err());
    }
}
