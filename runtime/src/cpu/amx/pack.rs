//! Operands in the kernel's order: panels of 32 rows (or columns), in chunks of 32 elements of k, in three parts.

use super::split::{in_pairs, in_sequence, transpose};
use super::tile::{BLOCK, CHUNK};
use crate::cpu::contract::Matrix;
use std::arch::x86_64::*;

/// Which side of a product an operand is on: tiles of the left one hold rows of k, those of the right one rows of pairs
/// of k.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
}

/// bf16 elements that `lines × k` elements take, packed.
pub fn packed_len(lines: usize, k: usize) -> usize {
    lines.div_ceil(BLOCK) * k.div_ceil(BLOCK) * CHUNK
}

/// Packs `lines` rows (of a left operand) or columns (of a right one) of `k` elements each, with zeros to fill the last
/// panel and chunk. `source.row` steps from line to line, `source.col` along k.
///
/// # Safety
/// [`super::available`]; the source's elements are valid, and `packed` has room for [`packed_len`].
#[target_feature(enable = "avx512f,avx512bw")]
pub unsafe fn pack(side: Side, source: Matrix<f32>, lines: usize, k: usize, packed: *mut u16) {
    let mut at = packed;
    for line in (0..lines).step_by(BLOCK) {
        for chunk in (0..k).step_by(BLOCK) {
            for half in 0..2 {
                let first = line + 16 * half;
                let block = [16.min(lines.saturating_sub(first)), BLOCK.min(k - chunk)];
                let (source, to) = (source.from(first, chunk), at.wrapping_add(512 * half));
                // SAFETY: the caller's promise; a chunk is two halves' tiles in each of three parts.
                unsafe {
                    match side {
                        Side::Left => left(source, block, to),
                        Side::Right => right(source, block, to),
                    }
                }
            }
            at = at.wrapping_add(CHUNK);
        }
    }
}

/// Packs 16 rows by 32 of k into the three tiles at `to` and 1024 and 2048 elements further on, rows along k.
///
/// # Safety
/// [`super::available`]; `source` has `lines × k` elements, and `to` room for three tiles.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn left(source: Matrix<f32>, [lines, k]: [usize; 2], to: *mut u16) {
    let mut buffer = [0.0; 16 * BLOCK];
    // SAFETY: the caller's promise.
    let (at, row) = unsafe { runs(source, [lines, k], &mut buffer, BLOCK) };
    let (low, high) = (mask(k.min(16)), mask(k.saturating_sub(16)));
    for i in 0..lines {
        let at = at.wrapping_offset(i as isize * row);
        // SAFETY: masks keep to the elements of the tile.
        let halves = unsafe { [_mm512_maskz_loadu_ps(low, at), _mm512_maskz_loadu_ps(high, at.wrapping_add(16))] };
        // SAFETY: row i of the tiles.
        unsafe { store(in_sequence(halves[0], halves[1]), to.add(i * 32)) };
    }
    for i in lines..16 {
        // SAFETY: as above.
        unsafe { store([_mm512_setzero_si512(); 3], to.add(i * 32)) };
    }
}

/// Packs 16 columns by 32 of k likewise, in rows of pairs along k.
///
/// # Safety
/// As [`left`].
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn right(source: Matrix<f32>, [lines, k]: [usize; 2], to: *mut u16) {
    let mut buffer = [0.0; 16 * BLOCK];
    // SAFETY: the caller's promise.
    let (at, row) = unsafe { runs(source.transposed(), [k, lines], &mut buffer, 16) };
    let all = mask(lines);
    for i in 0..16 {
        let line = |i: usize| {
            let at = at.wrapping_offset(i as isize * row);
            // SAFETY: the mask keeps to the elements of the tile.
            unsafe { _mm512_maskz_loadu_ps(if i < k { all } else { 0 }, at) }
        };
        // SAFETY: row i of the tiles.
        unsafe { store(in_pairs(line(2 * i), line(2 * i + 1)), to.add(i * 32)) };
    }
}

/// Stores a row of the three tiles that start at distances of 1024 elements.
///
/// # Safety
/// [`super::available`]; there is room.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn store(parts: [__m512i; 3], to: *mut u16) {
    for (p, part) in parts.into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_si512(to.add(p * 1024).cast(), part) };
    }
}

/// A tile as runs of memory: itself, or a copy in `buffer` with rows of `width`. The address and from row to row.
///
/// # Safety
/// [`super::available`]; `source` has these elements.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn runs(
    source: Matrix<f32>,
    size: [usize; 2],
    buffer: &mut [f32; 16 * BLOCK],
    width: usize,
) -> (*const f32, isize) {
    if source.col == 1 {
        return (source.at, source.row);
    }
    // SAFETY: the caller's promise.
    unsafe { turned(source.at, size, [source.row, source.col], buffer, width) };
    (buffer.as_ptr(), width as isize)
}

/// Copies a tile whose columns are not next to one another into `buffer`, rows of `width`.
///
/// # Safety
/// [`super::available`]; `source` has these elements.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn turned(
    source: *const f32,
    [rows, cols]: [usize; 2],
    [row, col]: [isize; 2],
    buffer: &mut [f32; 16 * BLOCK],
    width: usize,
) {
    if row != 1 {
        for (i, j) in (0..rows).flat_map(|i| (0..cols).map(move |j| (i, j))) {
            // SAFETY: an element of the tile.
            buffer[i * width + j] = unsafe { *source.wrapping_offset(i as isize * row + j as isize * col) };
        }
        return;
    }
    // Squares of 16×16, columns of the tile read as runs of memory.
    for (i, j) in (0..rows).step_by(16).flat_map(|i| (0..cols).step_by(16).map(move |j| (i, j))) {
        let mut square = [_mm512_setzero_ps(); 16];
        for (n, run) in square.iter_mut().enumerate().take((cols - j).min(16)) {
            let at = source.wrapping_offset(i as isize + (j + n) as isize * col);
            // SAFETY: the mask keeps to the elements of the tile.
            *run = unsafe { _mm512_maskz_loadu_ps(mask((rows - i).min(16)), at) };
        }
        transpose(&mut square);
        for (n, run) in square.into_iter().enumerate() {
            // SAFETY: a tile has 16 rows of 32 or 32 of 16, so row i + n from column j on lies within the buffer.
            unsafe { _mm512_storeu_ps(buffer.as_mut_ptr().add((i + n) * width + j), run) };
        }
    }
}

/// The first `count` of 16.
fn mask(count: usize) -> __mmask16 {
    ((1u32 << count) - 1) as __mmask16
}
