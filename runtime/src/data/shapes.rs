//! Drawings of circles, squares and triangles: images without files.

use crate::random::Stream;

/// Circle, square, triangle.
pub const CLASSES: usize = 3;

/// Points per pixel and axis that decide how much of the pixel a shape covers.
const SUBPIXELS: usize = 4;

/// Drawing number `index` as `[channels, size, size]` in [−1, 1]; returns its class. The shape's place, size, angle
/// and colour and the darker background's colour are random.
pub(super) fn draw(seed: u64, index: u64, size: usize, channels: usize, x: &mut [f32]) -> usize {
    const NUMBERS: u64 = 16;
    let stream = Stream::new(seed, 0, "data.shapes");
    let uniform = |k: u64| stream.uniform(NUMBERS * index + k);
    let class = stream.index(NUMBERS * index, CLASSES);
    let radius = 0.22 + 0.16 * uniform(1);
    let centre = [2, 3].map(|k| radius + (1.0 - 2.0 * radius) * uniform(k));
    let turn = std::f64::consts::TAU * uniform(4);
    let shape: Vec<f64> = (0..3).map(|k| 0.55 + 0.45 * uniform(5 + k)).collect();
    let ground: Vec<f64> = (0..3).map(|k| 0.35 * uniform(8 + k)).collect();
    let inside = |px: f64, py: f64| {
        let (dx, dy) = ((px - centre[0]) / radius, (py - centre[1]) / radius);
        let (u, v) = (dx * turn.cos() + dy * turn.sin(), dy * turn.cos() - dx * turn.sin());
        match class {
            0 => u * u + v * v < 1.0,
            1 => u.abs().max(v.abs()) < 0.8,
            // An equilateral triangle whose corners are at distance 1.1.
            _ => v > -0.55 && 3f64.sqrt() * u.abs() + v < 1.1,
        }
    };
    for row in 0..size {
        for column in 0..size {
            let at = |pixel: usize, i: usize| (pixel as f64 + (i as f64 + 0.5) / SUBPIXELS as f64) / size as f64;
            let points = (0..SUBPIXELS * SUBPIXELS).map(|i| (at(column, i % SUBPIXELS), at(row, i / SUBPIXELS)));
            let cover = points.filter(|&(px, py)| inside(px, py)).count() as f64 / (SUBPIXELS * SUBPIXELS) as f64;
            for channel in 0..channels {
                let value = ground[channel] + cover * (shape[channel] - ground[channel]);
                x[(channel * size + row) * size + column] = (2.0 * value - 1.0) as f32;
            }
        }
    }
    class
}
