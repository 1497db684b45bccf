//! The kernels without a GPU: rows one after the other, and of each the threads one after the other, adding up in the order
//! in which a warp does.

use crate::LANES;
use crate::lane::{self, Moving};

/// What every thread of a warp has after adding up, partner by partner.
fn warp_sum(mut values: [f32; LANES]) -> f32 {
    for step in [16, 8, 4, 2, 1] {
        values = std::array::from_fn(|i| values[i] + values[i ^ step]);
    }
    values[0]
}

fn inverse_rms(x: &[f32]) -> f32 {
    lane::inverse_rms(warp_sum(std::array::from_fn(|i| lane::dot(i, x, x))), x.len())
}

/// `x` and `y`: rows as long as `scale`.
pub fn rms_silu(x: &[f32], scale: &[f32], y: &mut [f32]) {
    for (x, y) in x.chunks_exact(scale.len()).zip(y.chunks_exact_mut(scale.len())) {
        let inverse = inverse_rms(x);
        (0..LANES).for_each(|i| lane::forward(i, x, scale, inverse, y));
    }
}

pub fn rms_silu_jvp(x: &[f32], scale: &[f32], dx: &[f32], dscale: &[f32], dy: &mut [f32]) {
    let len = scale.len();
    let rows = x.chunks_exact(len).zip(dx.chunks_exact(len)).zip(dy.chunks_exact_mut(len));
    for ((x, dx), dy) in rows {
        let row = Moving { x, scale, dx, dscale };
        let along = warp_sum(std::array::from_fn(|i| lane::dot(i, x, dx)));
        let inverse = inverse_rms(x);
        (0..LANES).for_each(|i| lane::jvp(i, &row, inverse, along, dy));
    }
}

pub fn rms_silu_vjp(x: &[f32], scale: &[f32], dy: &[f32], dx: &mut [f32], dscale: &mut [f32]) {
    let len = scale.len();
    let rows = x.chunks_exact(len).zip(dy.chunks_exact(len));
    for ((x, dy), (dx, dscale)) in rows.zip(dx.chunks_exact_mut(len).zip(dscale.chunks_exact_mut(len))) {
        let inverse = inverse_rms(x);
        let along = warp_sum(std::array::from_fn(|i| lane::received(i, x, scale, inverse, dy)));
        (0..LANES).for_each(|i| lane::vjp(i, [x, scale, dy], inverse, along, [&mut *dx, &mut *dscale]));
    }
}
