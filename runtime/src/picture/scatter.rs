//! Scatter plots of samples over data.

use super::PictureError;
use super::canvas::{Canvas, Colour, FADED, GRID, INK, PALETTE, Size, WHITE};
use super::scale::Scale;
use image::RgbImage;

const SIDE: f64 = 960.0;
const LEFT: f64 = 96.0;
const TOP: f64 = 92.0;
const BOTTOM: f64 = 68.0;
const RIGHT: f64 = 36.0;

const DATA: Colour = [160, 170, 186];
const SAMPLES: Colour = PALETTE[1];
/// Cells an axis is divided into to see how crowded a point's place is.
const CELLS: usize = 80;

/// Samples over data, both `[n, dim]` with `dim` ≥ 2; the first two coordinates are shown. The frame is the data's;
/// samples that fall outside are counted below it.
pub fn scatter(samples: &[f32], data: &[f32], dim: usize) -> Result<RgbImage, PictureError> {
    for points in [samples, data] {
        if dim < 2 || !points.len().is_multiple_of(dim) {
            return Err(PictureError::Shape { what: "points", shape: vec![points.len() / dim.max(1), dim] });
        }
    }
    let [samples, data] = [samples, data]
        .map(|points| points.chunks(dim).map(|p| (f64::from(p[0]), f64::from(p[1]))).collect::<Vec<_>>());
    let (x, y) = frame(if data.is_empty() { &samples } else { &data });
    let mut canvas = Canvas::new((SIDE + LEFT + RIGHT) as usize, (SIDE + TOP + BOTTOM) as usize, WHITE);
    for (place, label) in x.ticks(7) {
        let at = LEFT + place * SIDE;
        canvas.rectangle(at - 1.0, TOP, 2.0, SIDE, GRID);
        canvas.text(at - Size::Small.width(&label) / 2.0, TOP + SIDE + 14.0, &label, Size::Small, FADED);
    }
    for (place, label) in y.ticks(7) {
        let at = TOP + (1.0 - place) * SIDE;
        canvas.rectangle(LEFT, at - 1.0, SIDE, 2.0, GRID);
        canvas.text(LEFT - 14.0 - Size::Small.width(&label), at - 12.0, &label, Size::Small, FADED);
    }
    let unit = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
        let inside = |p: &(f64, f64)| (0.0..1.0).contains(&p.0) && (0.0..1.0).contains(&p.1);
        points.iter().map(|&(px, py)| (x.place(px), y.place(py))).filter(inside).collect()
    };
    dots(&mut canvas, &unit(&data), 4.0, DATA);
    let shown = unit(&samples);
    dots(&mut canvas, &shown, 3.4, SAMPLES);

    let mut at = LEFT;
    for (colour, name) in [(DATA, "data"), (SAMPLES, "samples")] {
        canvas.disc(at + 10.0, 46.0, 9.0, colour, 1.0);
        canvas.text(at + 30.0, 34.0, name, Size::Small, INK);
        at += 30.0 + Size::Small.width(name) + 36.0;
    }
    let outside = samples.len() - shown.len();
    if outside > 0 {
        let text = format!("{outside} of {} samples outside", samples.len());
        canvas.text(LEFT + SIDE - Size::Small.width(&text), 34.0, &text, Size::Small, PALETTE[3]);
    }
    Ok(canvas.into_image())
}

/// Equal units on both axes, around all but the most extreme points.
fn frame(points: &[(f64, f64)]) -> (Scale, Scale) {
    let range = |pick: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = points.iter().map(pick).filter(|v| v.is_finite()).collect();
        values.sort_unstable_by(f64::total_cmp);
        let cut = values.len() / 500;
        match values.len() {
            0 => (-1.0, 1.0),
            n => (values[cut], values[n - 1 - cut]),
        }
    };
    let (x, y) = (range(|p| p.0), range(|p| p.1));
    let half = 0.58 * (x.1 - x.0).max(y.1 - y.0).max(1e-6);
    let axis = |(low, high): (f64, f64)| {
        let middle = (low + high) / 2.0;
        Scale::new(middle - half, middle + half, false, 0.0)
    };
    (axis(x), axis(y))
}

/// Dots, the fainter the more crowded their place, so that dense places do not turn into flat patches.
fn dots(canvas: &mut Canvas, points: &[(f64, f64)], radius: f64, colour: Colour) {
    let cell = |v: f64| ((v * CELLS as f64) as usize).min(CELLS - 1);
    let mut counts = vec![0usize; CELLS * CELLS];
    for &(x, y) in points {
        counts[cell(y) * CELLS + cell(x)] += 1;
    }
    for &(x, y) in points {
        let crowd = counts[cell(y) * CELLS + cell(x)] as f64;
        let alpha = (4.0 / (crowd + 3.0)).clamp(0.12, 0.85);
        canvas.disc(LEFT + x * SIDE, TOP + (1.0 - y) * SIDE, radius, colour, alpha);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_drawn_where_they_are() {
        let data: Vec<f32> = (0..100).flat_map(|i| [(i % 10) as f32, (i / 10) as f32]).collect();
        let picture = scatter(&[0.0, 9.0, 1e9, 0.0, f32::NAN, 1.0], &data, 2).unwrap();
        let orange = |p: &image::Rgb<u8>| p.0[0] > 200 && p.0[2] < 100;
        let dots: Vec<(u32, u32)> = picture
            .enumerate_pixels()
            .filter(|(_, y, p)| f64::from(*y) > TOP && orange(p))
            .map(|(x, y, _)| (x, y))
            .collect();
        // (0, 9) is the top left corner of the data, whose range takes 1/1.16 of the frame.
        let corner = SIDE * 0.08 / 1.16;
        assert!(!dots.is_empty());
        for (x, y) in dots {
            let (dx, dy) = (f64::from(x) - LEFT - corner, f64::from(y) - TOP - corner);
            assert!(dx.hypot(dy) < 8.0, "{dx} {dy}");
        }
        let red = picture.pixels().filter(|p| p.0 == PALETTE[3]).count();
        assert!(red > 100, "says that two samples are outside");
    }

    #[test]
    fn odd_sets_are_drawn_or_refused() {
        assert!(scatter(&[], &[], 2).is_ok());
        assert!(scatter(&[1.0; 6], &[1.0; 6], 3).is_ok());
        assert!(scatter(&[1.0; 4], &[1.0; 4], 1).is_err());
        assert!(scatter(&[1.0; 5], &[1.0; 4], 2).is_err());
    }
}
