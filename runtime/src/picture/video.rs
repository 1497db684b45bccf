//! Videos: as strips of frames, and as moving pictures.

use super::PictureError;
use super::canvas::{Canvas, INK, Size, WHITE};
use super::grid::{GAP, columns_of, scale, tiled};
use super::images::Images;
use image::RgbImage;

/// Pixels on either side of a label.
const PAD: usize = 8;

/// Videos `[n, C, T, H, W]`, one a row, time from left to right. Colours are [`super::grid()`]'s. `labels` stand before
/// the rows: one for each video, or none at all.
pub fn strip(samples: &[f32], shape: &[usize], labels: &[String]) -> Result<RgbImage, PictureError> {
    let videos = videos(samples, shape)?;
    let widest = labels.iter().map(|label| Size::Small.width(label)).fold(0.0, f64::max);
    let margin = if labels.is_empty() { 0 } else { widest as usize + 2 * PAD };
    let frames = videos.frames;
    let tiles = tiled(&videos, videos.n * frames, frames, margin, |tile| (tile / frames, tile % frames));
    if labels.is_empty() {
        return Ok(tiles);
    }
    let high = scale(&videos, frames) * videos.height + GAP;
    let mut canvas = Canvas::new(margin, tiles.height() as usize, WHITE);
    for (row, label) in labels.iter().enumerate().take(videos.n) {
        let middle = (GAP + row * high) as f64 + (high - GAP) as f64 / 2.0;
        let left = margin as f64 - PAD as f64 - Size::Small.width(label);
        canvas.text(left, middle - Size::Small.height() / 2.0, label, Size::Small, INK);
    }
    let mut picture = tiles;
    image::imageops::replace(&mut picture, &canvas.into_image(), 0, 0);
    Ok(picture)
}

/// Videos `[n, C, T, H, W]` as T pictures, each a grid of all videos at that time.
pub fn frames(samples: &[f32], shape: &[usize], columns: Option<usize>) -> Result<Vec<RgbImage>, PictureError> {
    let videos = videos(samples, shape)?;
    let columns = columns_of(videos.n, columns);
    let frame = |t| tiled(&videos, videos.n, columns, 0, |tile| (tile, t));
    Ok((0..videos.frames).map(frame).collect())
}

fn videos<'a>(samples: &'a [f32], shape: &[usize]) -> Result<Images<'a>, PictureError> {
    if shape.len() != 5 {
        return Err(PictureError::Shape { what: "videos", shape: shape.to_vec() });
    }
    Images::new(samples, shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two videos of three frames and two channels, with frame 2 of video 1 lit.
    fn two() -> (Vec<f32>, [usize; 5]) {
        let mut samples = vec![-1.0; 2 * 2 * 3 * 4];
        samples[24 + 8..24 + 12].fill(1.0);
        (samples, [2, 2, 3, 2, 2])
    }

    #[test]
    fn a_strip_has_a_row_for_each_video() {
        let (samples, shape) = two();
        let picture = strip(&samples, &shape, &[]).unwrap();
        assert_eq!(picture.dimensions(), (3 * 174 + 2, 2 * 174 + 2));
        assert_eq!(picture.get_pixel(2 + 2 * 174, 2 + 174).0, [255; 3]);
        assert_eq!(picture.get_pixel(2 + 174, 2 + 174).0, [0; 3]);
    }

    #[test]
    fn labels_stand_beside_their_rows() {
        let (samples, shape) = two();
        let plain = strip(&samples, &shape, &[]).unwrap();
        let labelled = strip(&samples, &shape, &["".into(), "class 7".into()]).unwrap();
        let margin = labelled.width() - plain.width();
        let tiles = image::imageops::crop_imm(&labelled, margin, 0, plain.width(), plain.height()).to_image();
        assert_eq!(tiles, plain);
        let dark = |rows: std::ops::Range<u32>| {
            rows.flat_map(|y| (0..margin).map(move |x| (x, y))).filter(|&(x, y)| labelled.get_pixel(x, y).0[0] < 100)
        };
        assert_eq!(dark(0..174).count(), 0);
        assert!(dark(174..350).count() > 100);
    }

    #[test]
    fn moving_pictures_show_all_videos_at_once() {
        let (samples, shape) = two();
        let frames = frames(&samples, &shape, None).unwrap();
        assert_eq!(frames.len(), 3);
        let lit: Vec<[u8; 2]> = frames.iter().map(|f| [f.get_pixel(2, 2).0[0], f.get_pixel(2 + 258, 2).0[0]]).collect();
        assert_eq!(lit, [[0, 0], [0, 0], [0, 255]]);
    }

    #[test]
    fn images_are_no_videos() {
        let error = strip(&[0.0; 6], &[1, 1, 2, 3], &[]).unwrap_err().to_string();
        assert_eq!(error, "cannot draw videos of shape [1, 1, 2, 3]");
        assert!(frames(&[], &[1, 1, 0, 2, 2], None).is_err());
    }
}
