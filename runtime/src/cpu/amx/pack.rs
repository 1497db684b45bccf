//! Filters in the kernel's order: panels of 32 columns, in chunks of 32 elements of k, in three parts.

use super::split::{in_pairs, transpose};
use super::tile::{BLOCK, CHUNK};
use crate::cpu::contract::Matrix;
use std::arch::x86_64::*;

/// Packs `lines` columns of a right operand of `k` elements each into the first chunks of each panel, with zeros to fill
/// the last panel and chunk. `source.row` steps from column to column, `source.col` along k.
///
/// Reads run along memory, whichever way the operand lies in it: the processor foresees that.
///
/// # Safety
/// [`super::available`]; the source's elements are valid, and the buffer has room.
#[target_feature(enable = "avx512f,avx512bw")]
pub unsafe fn pack(source: Matrix<f32>, lines: usize, k: usize, to: Packed) {
    let (halves, pairs) = (lines.div_ceil(BLOCK) * 2, k.div_ceil(BLOCK) * 16);
    // SAFETY: the caller's promise; every row of every tile is stored once.
    unsafe {
        if source.col != 1 && source.row == 1 {
            for pair in 0..pairs {
                for half in 0..halves {
                    let count = lines.saturating_sub(half * 16);
                    let [even, odd] = [2 * pair, 2 * pair + 1]
                        .map(|i| load(source.from(half * 16, i).at, if i < k { count } else { 0 }));
                    to.store(half, pair / 16, pair % 16, in_pairs(even, odd));
                }
            }
            return;
        }
        for half in 0..halves {
            for pair in (0..pairs).step_by(8) {
                let rows = square(source.transposed(), [2 * pair, half * 16], [k, lines]);
                for i in 0..8 {
                    to.store(half, pair / 16, pair % 16 + i, in_pairs(rows[2 * i], rows[2 * i + 1]));
                }
            }
        }
    }
}

/// Where packed tiles go.
#[derive(Clone, Copy)]
pub struct Packed {
    pub at: *mut u16,
    /// Chunks of a panel.
    pub chunks: usize,
}

impl Packed {
    /// Stores a row of the three tiles of 16 lines (half a panel) and 32 of k.
    ///
    /// # Safety
    /// [`super::available`]; the buffer has that row.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub unsafe fn store(self, half: usize, chunk: usize, row: usize, parts: [__m512i; 3]) {
        let tile = (half / 2 * self.chunks + chunk) * CHUNK + half % 2 * 512 + row * 32;
        for (p, part) in parts.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { _mm512_storeu_si512(self.at.add(tile + p * 1024).cast(), part) };
        }
    }
}

/// The first `count` of 16 elements, then zeros.
///
/// # Safety
/// [`super::available`]; these elements are valid.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn load(at: *const f32, count: usize) -> __m512 {
    // SAFETY: the mask keeps to the elements.
    unsafe { if count >= 16 { _mm512_loadu_ps(at) } else { _mm512_maskz_loadu_ps((1 << count) - 1, at) } }
}

/// Rows of 16 elements of a matrix of this size, from this place on, where columns lie along memory; zeros beyond.
///
/// # Safety
/// [`super::available`]; the elements are valid.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub unsafe fn square(source: Matrix<f32>, [row, col]: [usize; 2], [rows, cols]: [usize; 2]) -> [__m512; 16] {
    let (rows, cols) = (rows.saturating_sub(row).min(16), cols.saturating_sub(col).min(16));
    let mut square = [_mm512_setzero_ps(); 16];
    for (j, column) in square.iter_mut().enumerate().take(cols) {
        let at = source.from(row, col + j).at;
        // SAFETY: elements of the matrix.
        *column = unsafe {
            if source.row == 1 {
                load(at, rows)
            } else {
                let mut elements = [0.0f32; 16];
                for (i, element) in elements.iter_mut().enumerate().take(rows) {
                    *element = *at.wrapping_offset(i as isize * source.row);
                }
                load(elements.as_ptr(), 16)
            }
        };
    }
    transpose(&mut square);
    square
}
