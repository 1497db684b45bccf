//! Samples as pixels.

use super::PictureError;

/// Shown where a value is not finite.
pub(super) const ALARM: [u8; 3] = [255, 0, 200];
/// Share of a latent channel's values that lies below black, and above white.
const TAIL: f64 = 0.02;

/// Images `[n, C, H, W]`, or videos `[n, C, T, H, W]`. Up to three channels are pixels in [−1, 1]: with fewer than three
/// the first is shown in grey. More are a latent, of which the first three are shown as colours, each from the least to
/// the greatest of its values (but for the outermost 2 % on either side).
pub(super) struct Images<'a> {
    samples: &'a [f32],
    /// Samples.
    pub n: usize,
    /// 1 for images.
    pub frames: usize,
    pub height: usize,
    pub width: usize,
    channels: usize,
    /// What is black and what is white in each channel shown.
    ranges: [(f32, f32); 3],
}

impl<'a> Images<'a> {
    pub fn new(samples: &'a [f32], shape: &[usize]) -> Result<Images<'a>, PictureError> {
        let (n, channels, frames, height, width) = match *shape {
            [n, c, h, w] => (n, c, 1, h, w),
            [n, c, t, h, w] => (n, c, t, h, w),
            _ => return Err(PictureError::Shape { what: "images", shape: shape.to_vec() }),
        };
        if samples.is_empty() || samples.len() != shape.iter().product::<usize>() {
            return Err(PictureError::Shape { what: "images", shape: shape.to_vec() });
        }
        let mut images = Images { samples, n, frames, height, width, channels, ranges: [(-1.0, 1.0); 3] };
        if channels > 3 {
            images.ranges = [0, 1, 2].map(|channel| images.range(channel));
        }
        Ok(images)
    }

    fn range(&self, channel: usize) -> (f32, f32) {
        let each = self.frames * self.height * self.width;
        let planes = self.samples.chunks(each).skip(channel).step_by(self.channels);
        let mut values: Vec<f32> = planes.flatten().copied().filter(|v| v.is_finite()).collect();
        values.sort_unstable_by(f32::total_cmp);
        let cut = (values.len() as f64 * TAIL) as usize;
        match values.len() {
            0 => (-1.0, 1.0),
            n if values[cut] < values[n - 1 - cut] => (values[cut], values[n - 1 - cut]),
            _ => (values[cut] - 1.0, values[cut] + 1.0),
        }
    }

    /// The colour of one pixel of one frame.
    pub fn colour(&self, sample: usize, frame: usize, y: usize, x: usize) -> [u8; 3] {
        let shown = [0, 1, 2].map(|channel| if self.channels < 3 { 0 } else { channel });
        let values = shown.map(|channel| {
            let plane = (sample * self.channels + channel) * self.frames + frame;
            let value = self.samples[(plane * self.height + y) * self.width + x];
            let (black, white) = self.ranges[channel];
            255.0 * (value - black) / (white - black)
        });
        if values.iter().any(|x| !x.is_finite()) {
            return ALARM;
        }
        values.map(|x| x.round().clamp(0.0, 255.0) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Channels of a latent have ranges of their own, and the few outermost values do not squeeze the others.
    #[test]
    fn latents_are_stretched_to_their_ranges() {
        let mut samples: Vec<f32> =
            (0..4).flat_map(|channel| (0..100).map(move |i| 10.0f32.powi(channel) * i as f32)).collect();
        samples[99] = 1e6;
        samples[150] = f32::NAN;
        let images = Images::new(&samples, &[1, 4, 10, 10]).unwrap();
        let at = |i: usize| images.colour(0, 0, i / 10, i % 10);
        assert_eq!(at(0), [0; 3]);
        assert_eq!(at(99), [255; 3]);
        assert_eq!(at(50), ALARM);
        let middle = at(49);
        assert!(middle.iter().all(|c| (124..=131).contains(c)), "{middle:?}");
        // A constant channel is grey, not a division by zero.
        assert_eq!(Images::new(&[3.0; 4], &[1, 4, 1, 1]).unwrap().colour(0, 0, 0, 0), [128; 3]);
    }
}
