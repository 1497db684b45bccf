//! Winograd's transforms for 3×3 windows and tiles of 4×4 outputs, F(4×4, 3×3): many channels at once.
//!
//! With `y = d ∗ g` along one axis, `y = Aᵀ[(G·g) ⊙ (Bᵀ·d)]`; the matrices are those of the points 0, ±1, ±2, ∞ (Lavin and
//! Gray 2016, arXiv:1509.09308). Adjoints give the weights' gradient: `ḡ = Gᵀ[(Bᵀ·d) ⊙ (A·ȳ)]`.

use std::ops::Range;

/// A small grid of pixels; each a run of channels.
pub struct Grid {
    pub at: *mut f32,
    /// Elements from a row, and from a column, to the next.
    pub step: [isize; 2],
    /// Rows and columns that exist; others read as zero and are not written.
    pub valid: [Range<usize>; 2],
}

impl Grid {
    pub fn has(&self, row: usize, col: usize) -> bool {
        self.valid[0].contains(&row) && self.valid[1].contains(&col)
    }

    pub fn pixel(&self, row: usize, col: usize) -> *mut f32 {
        self.at.wrapping_offset(row as isize * self.step[0] + col as isize * self.step[1])
    }
}

/// From one grid to another, of so many channels, a multiple of the vector's.
pub type Transform = unsafe fn(&Grid, &Grid, usize);

/// Along both axes.
#[derive(Clone, Copy)]
pub struct Transforms {
    /// `Bᵀ`: 6×6 pixels to 6×6 factors.
    pub input: Transform,
    /// `G`: 3×3 weights to 6×6 factors.
    pub weights: Transform,
    /// `Aᵀ`: 6×6 products to 4×4 outputs.
    pub output: Transform,
    /// `A`: 4×4 outputs' gradients to 6×6 products'.
    pub output_adjoint: Transform,
    /// `Gᵀ`: 6×6 factors' gradients to 3×3 weights'.
    pub weights_adjoint: Transform,
}

/// Defines, from a vector type and its operations in scope, the [`Transforms`].
macro_rules! transforms {
    ($features:literal) => {
        const TRANSFORMS: Transforms = Transforms { input, weights, output, output_adjoint, weights_adjoint };

        /// # Safety
        /// The processor has the instructions; pixels of `from` that exist are valid, those of `to` are nobody else's,
        /// each of `channels` elements.
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn transform<const I: usize, const O: usize>(
            from: &Grid,
            to: &Grid,
            channels: usize,
            along: impl Fn([Vector; I]) -> [Vector; O],
        ) {
            for channel in (0..channels).step_by(LANES) {
                let mut half = [[zero(); O]; I];
                for (i, half) in half.iter_mut().enumerate() {
                    let mut row = [zero(); I];
                    for (j, x) in row.iter_mut().enumerate() {
                        if from.has(i, j) {
                            // SAFETY: the pixel exists.
                            *x = unsafe { load(from.pixel(i, j).wrapping_add(channel)) };
                        }
                    }
                    *half = along(row);
                }
                for j in 0..O {
                    let mut column = [zero(); I];
                    for (x, half) in column.iter_mut().zip(&half) {
                        *x = half[j];
                    }
                    for (i, x) in along(column).into_iter().enumerate() {
                        if to.has(i, j) {
                            // SAFETY: the pixel exists.
                            unsafe { store(to.pixel(i, j).wrapping_add(channel), x) };
                        }
                    }
                }
            }
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn times(c: f32, x: Vector, plus: Vector) -> Vector {
            multiply_add(constant(c), x, plus)
        }

        /// # Safety
        /// As [`transform`].
        #[target_feature(enable = $features)]
        unsafe fn input(from: &Grid, to: &Grid, channels: usize) {
            let along = |[a, b, c, d, e, f]: [Vector; 6]| {
                let (even, odd) = (times(-4.0, c, e), times(-4.0, b, d));
                let (near, apart) = (subtract(e, c), subtract(d, b));
                [
                    times(4.0, a, times(-5.0, c, e)),
                    add(even, odd),
                    subtract(even, odd),
                    times(2.0, apart, near),
                    times(-2.0, apart, near),
                    times(4.0, b, times(-5.0, d, f)),
                ]
            };
            // SAFETY: the caller's promise.
            unsafe { transform(from, to, channels, along) }
        }

        /// # Safety
        /// As [`transform`].
        #[target_feature(enable = $features)]
        unsafe fn weights(from: &Grid, to: &Grid, channels: usize) {
            let along = |[a, b, c]: [Vector; 3]| {
                let outer = times(-1.0 / 6.0, add(a, c), zero());
                let far = times(1.0 / 24.0, a, times(1.0 / 6.0, c, zero()));
                [
                    times(0.25, a, zero()),
                    times(-1.0 / 6.0, b, outer),
                    times(1.0 / 6.0, b, outer),
                    times(1.0 / 12.0, b, far),
                    times(-1.0 / 12.0, b, far),
                    c,
                ]
            };
            // SAFETY: the caller's promise.
            unsafe { transform(from, to, channels, along) }
        }

        /// # Safety
        /// As [`transform`].
        #[target_feature(enable = $features)]
        unsafe fn output(from: &Grid, to: &Grid, channels: usize) {
            let along = |[a, b, c, d, e, f]: [Vector; 6]| {
                let (near, far) = (add(b, c), add(d, e));
                let (near_odd, far_odd) = (subtract(b, c), subtract(d, e));
                [
                    add(a, add(near, far)),
                    times(2.0, far_odd, near_odd),
                    times(4.0, far, near),
                    add(f, times(8.0, far_odd, near_odd)),
                ]
            };
            // SAFETY: the caller's promise.
            unsafe { transform(from, to, channels, along) }
        }

        /// # Safety
        /// As [`transform`].
        #[target_feature(enable = $features)]
        unsafe fn output_adjoint(from: &Grid, to: &Grid, channels: usize) {
            let along = |[a, b, c, d]: [Vector; 4]| {
                let (even, odd) = (add(a, c), add(b, d));
                let (far_even, far_odd) = (times(4.0, c, a), times(8.0, d, add(b, b)));
                [a, add(even, odd), subtract(even, odd), add(far_even, far_odd), subtract(far_even, far_odd), d]
            };
            // SAFETY: the caller's promise.
            unsafe { transform(from, to, channels, along) }
        }

        /// # Safety
        /// As [`transform`].
        #[target_feature(enable = $features)]
        unsafe fn weights_adjoint(from: &Grid, to: &Grid, channels: usize) {
            let along = |[a, b, c, d, e, f]: [Vector; 6]| {
                let (near, far) = (times(-1.0 / 6.0, add(b, c), zero()), add(d, e));
                [
                    times(0.25, a, times(1.0 / 24.0, far, near)),
                    times(1.0 / 6.0, subtract(c, b), times(1.0 / 12.0, subtract(d, e), zero())),
                    add(f, times(1.0 / 6.0, far, near)),
                ]
            };
            // SAFETY: the caller's promise.
            unsafe { transform(from, to, channels, along) }
        }
    };
}

pub(super) use transforms;
