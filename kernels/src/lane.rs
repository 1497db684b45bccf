//! What one of the threads of a row does: it takes every 32nd element, from its own number on. Between the parts the
//! threads add up what they have.

use crate::LANES;
use crate::math::{sigmoid, silu_slope, sqrt};

/// Added to the mean of squares.
pub const EPSILON: f32 = 1e-6;

/// One over the root of the mean of squares.
pub fn inverse_rms(squares: f32, len: usize) -> f32 {
    1.0 / sqrt(squares / len as f32 + EPSILON)
}

/// The thread's own of some places. Without numbers that index, nothing is left that could panic: a kernel has nowhere to
/// report it.
fn own<I: Iterator>(lane: usize, places: I) -> impl Iterator<Item = I::Item> {
    places.skip(lane).step_by(LANES)
}

/// Σ a·b over the thread's elements.
pub fn dot(lane: usize, a: &[f32], b: &[f32]) -> f32 {
    own(lane, a.iter().zip(b)).map(|(a, b)| a * b).sum()
}

pub fn forward(lane: usize, x: &[f32], scale: &[f32], inverse: f32, y: &mut [f32]) {
    for ((y, x), scale) in own(lane, y.iter_mut().zip(x).zip(scale)) {
        let v = x * inverse * scale;
        *y = v * sigmoid(v);
    }
}

/// A row, and the direction along which it moves.
pub struct Moving<'a> {
    pub x: &'a [f32],
    pub scale: &'a [f32],
    pub dx: &'a [f32],
    pub dscale: &'a [f32],
}

/// `along`: Σ x·dx over the row.
pub fn jvp(lane: usize, row: &Moving, inverse: f32, along: f32, dy: &mut [f32]) {
    let slope = -inverse * inverse * inverse * along / row.x.len() as f32;
    let places = dy.iter_mut().zip(row.x).zip(row.scale).zip(row.dx).zip(row.dscale);
    for ((((dy, x), scale), dx), dscale) in own(lane, places) {
        let u = x * inverse;
        let du = dx * inverse + x * slope;
        *dy = silu_slope(u * scale) * (du * scale + u * dscale);
    }
}

/// What `u = x/rms(x)` receives, times u, over the thread's elements.
pub fn received(lane: usize, x: &[f32], scale: &[f32], inverse: f32, dy: &[f32]) -> f32 {
    let terms = own(lane, x.iter().zip(scale).zip(dy)).map(|((x, scale), dy)| {
        let u = x * inverse;
        dy * silu_slope(u * scale) * scale * u
    });
    terms.sum()
}

/// What x and, from this row, scale receive. `along`: the sum of all [`received`].
pub fn vjp(lane: usize, [x, scale, dy]: [&[f32]; 3], inverse: f32, along: f32, [dx, dscale]: [&mut [f32]; 2]) {
    let mean = along / x.len() as f32;
    let places = dx.iter_mut().zip(dscale.iter_mut()).zip(x).zip(scale).zip(dy);
    for ((((dx, dscale), x), scale), dy) in own(lane, places) {
        let u = x * inverse;
        let received = dy * silu_slope(u * scale);
        *dscale = received * u;
        *dx = inverse * (received * scale - u * mean);
    }
}
