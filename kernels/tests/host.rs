//! The kernels' own code, its threads run one after the other, against formulas in f64.

use fgc_kernels::host::{rms_silu, rms_silu_jvp, rms_silu_vjp};

/// Numbers in [−1, 1).
fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 11) as f64 / (1u64 << 52) as f64 - 1.0) as f32
    };
    (0..len).map(next).collect()
}

/// silu(x / rms(x) · scale) of rows, in f64.
fn exact(x: &[f64], scale: &[f64]) -> Vec<f64> {
    let row = |x: &[f64]| -> Vec<f64> {
        let rms = (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + 1e-6).sqrt();
        x.iter().zip(scale).map(|(x, s)| x / rms * s).map(|v| v / (1.0 + (-v).exp())).collect()
    };
    x.chunks(scale.len()).flat_map(row).collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| *x as f64).collect()
}

fn moved(x: &[f32], dx: &[f32], by: f64) -> Vec<f64> {
    x.iter().zip(dx).map(|(x, dx)| *x as f64 + by * *dx as f64).collect()
}

/// Central differences of [`exact`].
fn difference(x: &[f32], scale: &[f32], dx: &[f32], dscale: &[f32]) -> Vec<f64> {
    let at = |by: f64| exact(&moved(x, dx, by), &moved(scale, dscale, by));
    at(1e-5).iter().zip(at(-1e-5)).map(|(a, b)| (a - b) / 2e-5).collect()
}

fn close(found: &[f32], wanted: &[f64]) {
    assert_eq!(found.len(), wanted.len());
    let largest = wanted.iter().fold(1e-3, |most: f64, x| most.max(x.abs()));
    for (i, (a, b)) in found.iter().zip(wanted).enumerate() {
        assert!((*a as f64 - b).abs() <= 2e-5 * largest, "element {i}: {a}, not {b}");
    }
}

/// Rows shorter than a warp, as long, and of odd lengths.
const SIZES: [(usize, usize); 5] = [(1, 1), (3, 5), (2, 32), (4, 33), (3, 257)];

#[test]
fn rows_are_normed_scaled_and_gated() {
    for (rows, len) in SIZES {
        let (x, scale) = (noise(1, rows * len), noise(2, len));
        let mut y = vec![f32::NAN; rows * len];
        rms_silu(&x, &scale, &mut y);
        close(&y, &exact(&wide(&x), &wide(&scale)));
    }
}

#[test]
fn derivatives_are_central_differences() {
    for (rows, len) in SIZES {
        let (x, scale, dx, dscale) = (noise(1, rows * len), noise(2, len), noise(3, rows * len), noise(4, len));
        let mut dy = vec![f32::NAN; rows * len];
        rms_silu_jvp(&x, &scale, &dx, &dscale, &mut dy);
        close(&dy, &difference(&x, &scale, &dx, &dscale));
    }
}

/// ⟨g, J d⟩ = ⟨Jᵀ g, d⟩.
#[test]
fn backwards_is_the_transpose() {
    for (rows, len) in SIZES {
        let (x, scale, dx, dscale) = (noise(1, rows * len), noise(2, len), noise(3, rows * len), noise(4, len));
        let g = noise(5, rows * len);
        let forward: f64 = difference(&x, &scale, &dx, &dscale).iter().zip(&g).map(|(a, b)| a * *b as f64).sum();
        let (mut to_x, mut to_scale) = (vec![f32::NAN; rows * len], vec![f32::NAN; rows * len]);
        rms_silu_vjp(&x, &scale, &g, &mut to_x, &mut to_scale);
        let along_x: f64 = to_x.iter().zip(&dx).map(|(a, b)| (a * b) as f64).sum();
        let along_scale: f64 = to_scale.iter().enumerate().map(|(i, a)| (a * dscale[i % len]) as f64).sum();
        assert!((along_x + along_scale - forward).abs() < 1e-4 * (1.0 + forward.abs()), "{rows} × {len}");
    }
}
