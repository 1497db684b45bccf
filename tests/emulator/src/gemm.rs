//! A library for products, by definition.

use fgc_program::cuda::{Gemm, Matrix};

/// Ways to do a product: the first is wrong where the library is.
pub const WAYS: usize = 2;

/// How good a library is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    Right,
    Slow,
    /// The first of its ways leaves out the last term of each sum.
    FirstWrong,
    Wrong,
}

/// Multiplies.
///
/// # Safety
/// The places are of memory in which the product's matrices fit, the result's apart from the others.
pub(crate) unsafe fn run(gemm: &Gemm, library: Option<Library>, way: usize, [a, b, c]: [u64; 3]) {
    let wrong = library == Some(Library::Wrong) || library == Some(Library::FirstWrong) && way == 0;
    let terms = gemm.k - wrong as usize;
    for z in 0..gemm.batch {
        for m in 0..gemm.m {
            for n in 0..gemm.n {
                // SAFETY: the caller's promise.
                let sum =
                    (0..terms).map(|k| unsafe { get(a, &gemm.a, z, m, k) * get(b, &gemm.b, z, k, n) }).sum::<f32>();
                let at = place(&gemm.c, z, m, n);
                // SAFETY: the caller's promise.
                unsafe {
                    if gemm.c.bf16 {
                        *(c as *mut u16).add(at) = rounded(sum);
                    } else {
                        *(c as *mut f32).add(at) = sum;
                    }
                }
            }
        }
    }
}

fn place(matrix: &Matrix, z: usize, row: usize, column: usize) -> usize {
    let (far, near) = if matrix.by_columns { (column, row) } else { (row, column) };
    z * matrix.batch + far * matrix.stride + near
}

/// # Safety
/// The element is there.
unsafe fn get(from: u64, matrix: &Matrix, z: usize, row: usize, column: usize) -> f32 {
    let at = place(matrix, z, row, column);
    // SAFETY: the caller's promise.
    unsafe {
        if matrix.bf16 {
            f32::from_bits(u32::from(*(from as *const u16).add(at)) << 16)
        } else {
            *(from as *const f32).add(at)
        }
    }
}

/// To the nearest, ties to even.
fn rounded(x: f32) -> u16 {
    let bits = x.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}
