//! Moving pictures as GIF, which every viewer, browser and TensorBoard plays.

use super::PictureError;
use color_quant::NeuQuant;
use gif::{Encoder, EncodingError, Frame, Repeat};
use image::RgbImage;
use rustc_hash::FxHashMap;

/// Hundredths of a second a frame is shown: about 8 frames a second.
const DELAY: u16 = 12;
/// Colours a GIF can have.
const COLOURS: usize = 256;
/// Pixels that the colours are chosen from where there are too many.
const CHOSEN_FROM: usize = 1 << 18;

/// Frames of one size as a GIF that starts over at its end. All frames share one palette, so that nothing flickers: up to
/// 256 colours are exact, and more are replaced by the nearest of 256 chosen ones.
pub fn animation(frames: &[RgbImage]) -> Result<Vec<u8>, PictureError> {
    let (width, height) = frames.first().map_or((0, 0), RgbImage::dimensions);
    let wrong = || PictureError::Shape { what: "frames", shape: vec![frames.len(), height as usize, width as usize] };
    let (Ok(wide), Ok(high)) = (u16::try_from(width), u16::try_from(height)) else { return Err(wrong()) };
    if wide == 0 || high == 0 || frames.iter().any(|frame| frame.dimensions() != (width, height)) {
        return Err(wrong());
    }
    let (palette, index) = palette(frames);
    let write = || -> Result<Vec<u8>, EncodingError> {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, wide, high, &palette)?;
        encoder.set_repeat(Repeat::Infinite)?;
        for frame in frames {
            let pixels: Vec<u8> = frame.pixels().map(|pixel| index[&pixel.0]).collect();
            let mut frame = Frame::from_indexed_pixels(wide, high, pixels, None);
            frame.delay = DELAY;
            encoder.write_frame(&frame)?;
        }
        drop(encoder);
        Ok(bytes)
    };
    write().map_err(|_| wrong())
}

/// Colours as RGB triples, and the place of each of the frames' colours among them.
fn palette(frames: &[RgbImage]) -> (Vec<u8>, FxHashMap<[u8; 3], u8>) {
    let mut colours: Vec<[u8; 3]> = Vec::new();
    let mut index = FxHashMap::default();
    for pixel in frames.iter().flat_map(RgbImage::pixels) {
        index.entry(pixel.0).or_insert_with(|| {
            colours.push(pixel.0);
            // Those past the 256th are placed anew below.
            (colours.len() - 1) as u8
        });
    }
    if colours.len() <= COLOURS {
        return (colours.concat(), index);
    }
    let pixels: usize = frames.iter().map(|frame| frame.len() / 3).sum();
    let chosen_from = frames.iter().flat_map(RgbImage::pixels).step_by(pixels.div_ceil(CHOSEN_FROM));
    let rgba: Vec<u8> = chosen_from.flat_map(|p| [p.0[0], p.0[1], p.0[2], 255]).collect();
    let chosen = NeuQuant::new(1, COLOURS, &rgba);
    for ([r, g, b], place) in &mut index {
        *place = chosen.index_of(&[*r, *g, *b, 255]) as u8;
    }
    (chosen.color_map_rgb(), index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    /// The frames of a GIF, with their delays.
    fn decode(bytes: &[u8]) -> Vec<(RgbImage, u16)> {
        let mut options = gif::DecodeOptions::new();
        options.set_color_output(gif::ColorOutput::RGBA);
        let mut decoder = options.read_info(bytes).unwrap();
        assert_eq!(decoder.repeat(), Repeat::Infinite);
        let mut frames = Vec::new();
        while let Some(frame) = decoder.read_next_frame().unwrap() {
            let rgb = frame.buffer.chunks(4).flat_map(|p| [p[0], p[1], p[2]]).collect();
            let picture = RgbImage::from_raw(frame.width.into(), frame.height.into(), rgb).unwrap();
            frames.push((picture, frame.delay));
        }
        frames
    }

    #[test]
    fn few_colours_are_kept_exactly() {
        let frame = |t: u32| RgbImage::from_fn(20, 10, |x, y| Rgb([(x + 20 * (y / 4)) as u8 * 4, t as u8 * 50, 7]));
        let frames: Vec<RgbImage> = (0..4).map(frame).collect();
        let back = decode(&animation(&frames).unwrap());
        assert!(back.iter().all(|(_, delay)| *delay == DELAY));
        assert_eq!(back.into_iter().map(|(frame, _)| frame).collect::<Vec<_>>(), frames);
    }

    #[test]
    fn many_colours_are_kept_nearly() {
        let frame = |t: u32| RgbImage::from_fn(32, 32, |x, y| Rgb([8 * x as u8, 8 * y as u8, 60 * t as u8]));
        let frames: Vec<RgbImage> = (0..4).map(frame).collect();
        let back = decode(&animation(&frames).unwrap());
        for ((shown, _), frame) in back.iter().zip(&frames) {
            let off = shown.iter().zip(frame.iter()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum::<u64>();
            assert!(off as f64 / (shown.len() as f64) < 16.0, "off by {off} in all");
        }
        assert_eq!(animation(&frames).unwrap(), animation(&frames).unwrap());
    }

    #[test]
    fn frames_have_one_size() {
        assert!(animation(&[]).is_err());
        assert!(animation(&[RgbImage::new(2, 2), RgbImage::new(2, 3)]).is_err());
        assert!(animation(&[RgbImage::new(70_000, 1)]).is_err());
    }
}
