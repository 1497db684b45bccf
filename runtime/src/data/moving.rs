//! Short videos of a shape that moves and comes in again at the other side: a mixture of Gaussians like the densities in
//! the plane, so that video has an exact teacher, too.

use super::Mixture;

/// Disc, square, bar, cross.
pub const KINDS: usize = 4;

/// Start positions along an axis.
const PLACES: usize = 4;
/// In pixels of an eighth of the picture a frame: (x, y).
const VELOCITIES: [(f64, f64); 4] = [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)];
/// Points per pixel and axis that decide how much of the pixel a shape covers.
const SUBPIXELS: usize = 4;
/// Ground and shape are as far from 0, so that noise seldom leaves [−1, 1].
const LEVEL: f64 = 0.8;

/// A centre `[channels, frames, size, size]` for each shape, start and velocity; the class is the shape.
pub(super) fn mixture(frames: usize, size: usize, channels: usize, std: f64) -> Mixture {
    let mut centres = Vec::new();
    let mut class_of = Vec::new();
    for kind in 0..KINDS {
        for start in 0..PLACES * PLACES {
            for velocity in VELOCITIES {
                let film: Vec<Vec<f64>> =
                    (0..frames).map(|frame| picture(kind, at(start, velocity, frame), size)).collect();
                for channel in 0..channels {
                    let values = film.iter().flatten().map(|cover| LEVEL * (2.0 * cover * paint(kind, channel) - 1.0));
                    centres.extend(values);
                }
                class_of.push(kind);
            }
        }
    }
    Mixture { shape: vec![channels, frames, size, size], centres, std, class_of, classes: KINDS }
}

/// How bright a shape is in a channel: the first is the same for all, the others give each its colour.
fn paint(kind: usize, channel: usize) -> f64 {
    match channel {
        0 => 1.0,
        1 => kind as f64 / (KINDS - 1) as f64,
        _ => (kind % 2) as f64,
    }
}

/// The centre in a frame, in units of the picture.
fn at(start: usize, velocity: (f64, f64), frame: usize) -> (f64, f64) {
    let place = |index: usize, speed: f64| (index as f64 + 0.5) / PLACES as f64 + speed * frame as f64 / 8.0;
    (place(start % PLACES, velocity.0), place(start / PLACES, velocity.1))
}

/// How much of each pixel the shape covers, row by row.
fn picture(kind: usize, centre: (f64, f64), size: usize) -> Vec<f64> {
    // Distance along an axis of a picture whose ends meet.
    let along = |p: f64, c: f64| (p - c + 0.5).rem_euclid(1.0) - 0.5;
    let inside = |px: f64, py: f64| {
        let (u, v) = (along(px, centre.0).abs(), along(py, centre.1).abs());
        match kind {
            0 => u.hypot(v) < 0.25,
            1 => u.max(v) < 0.19,
            2 => u < 0.4 && v < 0.1,
            _ => u.min(v) < 0.07 && u.max(v) < 0.38,
        }
    };
    let point = |pixel: usize, i: usize| (pixel as f64 + (i as f64 + 0.5) / SUBPIXELS as f64) / size as f64;
    let cover = |pixel: usize| {
        let points = (0..SUBPIXELS * SUBPIXELS)
            .filter(|i| inside(point(pixel % size, i % SUBPIXELS), point(pixel / size, i / SUBPIXELS)));
        points.count() as f64 / (SUBPIXELS * SUBPIXELS) as f64
    };
    (0..size * size).map(cover).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_move_by_an_eighth_of_the_picture_a_frame() {
        let moving = mixture(6, 8, 1, 0.1);
        assert_eq!((moving.components(), moving.dim(), moving.classes), (256, 384, 4));
        // A disc that starts at the upper left and moves right.
        let frames: Vec<&[f64]> = moving.centres[..384].chunks(64).collect();
        for pair in frames.windows(2) {
            for pixel in 0..64 {
                let moved = pixel / 8 * 8 + (pixel + 1) % 8;
                assert!((pair[0][pixel] - pair[1][moved]).abs() < 1e-12);
            }
        }
        assert!(moving.centres.iter().all(|x| x.abs() <= LEVEL + 1e-12));
    }

    #[test]
    fn no_two_modes_are_alike() {
        let moving = mixture(6, 8, 1, 0.1);
        let film = |k: usize| &moving.centres[k * 384..(k + 1) * 384];
        for a in 0..moving.components() {
            for b in 0..a {
                let square: f64 = film(a).iter().zip(film(b)).map(|(x, y)| (x - y).powi(2)).sum();
                assert!(square.sqrt() > 10.0 * moving.std, "{a} and {b}: {square}");
            }
        }
    }
}
