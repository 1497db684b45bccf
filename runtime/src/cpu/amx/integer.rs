//! The kernel for digits: blocks of 32×16 of the output, from two left panels and a right one each.

use super::digits::{HEAD, LINES, STEP, STEP_BYTES, panel_len};
use crate::cpu::contract::Matrix;
use std::arch::asm;
use std::arch::x86_64::*;

/// Rows and columns of an output block.
pub const ROWS: usize = 2 * LINES;
pub const COLS: usize = LINES;

/// Sums of products of digits, by their place: h·h, then h·m + m·h, then h·l + m·m + l·h. Of each, 32 rows.
#[repr(C, align(64))]
struct Sums([[i32; ROWS * COLS]; 3]);

/// A block of the output, or what of it there is.
struct Block {
    /// Multiply the block's rows; those of the second panel are `apart` bytes on.
    left: *const f32,
    apart: usize,
    /// Multiply its columns.
    right: *const f32,
    c: Matrix<f32>,
    size: [usize; 2],
    add: bool,
}

/// `c[m,n] = a·b` of packed operands of `k` elements a line, or added to what `c` holds.
///
/// # Safety
/// Tiles are configured; both are packed to these sizes; the rows of `c` are runs of memory that nobody else uses.
#[target_feature(enable = "avx512f,avx512bw")]
pub unsafe fn multiply([a, b]: [*const u8; 2], [m, n, k]: [usize; 3], c: Matrix<f32>, add: bool) {
    let (panel, steps) = (panel_len(k), k.div_ceil(STEP));
    let mut sums = std::mem::MaybeUninit::<Sums>::uninit();
    let mut last: Option<Block> = None;
    // A pair of left panels stays in the first-level cache while the right ones pass. While the tile units sum up one
    // block, the vector units finish the one before: a share of it with each step, because more than a step does not fit
    // into what the processor reorders.
    let share = ROWS.div_ceil(steps.max(1));
    for i in (0..m).step_by(ROWS) {
        let left = a.wrapping_add(i / LINES * panel);
        for j in (0..n).step_by(COLS) {
            let right = b.wrapping_add(j / LINES * panel);
            // SAFETY: the caller's promise; nothing else here or in `finish` uses tiles, so what they hold stays.
            unsafe {
                zero();
                for i in 0..steps {
                    let at = HEAD + i * STEP_BYTES;
                    step(left.add(at), left.add(at + panel), right.add(at));
                    if let Some(block) = &last {
                        finish(block, i * share..ROWS.min((i + 1) * share), sums.as_ptr());
                    }
                }
                store(sums.as_mut_ptr());
            }
            let size = [ROWS.min(m - i), COLS.min(n - j)];
            last = Some(Block { left: left.cast(), apart: panel, right: right.cast(), c: c.from(i, j), size, add });
        }
    }
    if let Some(block) = last {
        // SAFETY: the sums are stored.
        unsafe { finish(&block, 0..ROWS, sums.as_ptr()) };
    }
}

/// Writes some rows of a block from its sums.
///
/// # Safety
/// As [`multiply`]; `sums` are the block's.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn finish(block: &Block, rows: std::ops::Range<usize>, sums: *const Sums) {
    let mask = ((1u32 << block.size[1]) - 1) as u16;
    let (middle, low) = (_mm512_set1_ps(1.0 / 256.0), _mm512_set1_ps(1.0 / 65536.0));
    // SAFETY: the caller's promise.
    unsafe {
        let right = _mm512_load_ps(block.right);
        let mut to = block.c.from(rows.start, 0).at;
        let mut sums = sums.cast::<i32>().add(rows.start * COLS);
        for row in rows.start..rows.end.min(block.size[0]) {
            let place = |i: usize| _mm512_cvtepi32_ps(_mm512_load_si512(sums.add(i * ROWS * COLS).cast()));
            let left = *block.left.byte_add(row / LINES * block.apart).add(row % LINES);
            let whole = _mm512_fmadd_ps(place(2), low, _mm512_fmadd_ps(place(1), middle, place(0)));
            let mut value = _mm512_mul_ps(_mm512_mul_ps(whole, _mm512_set1_ps(left)), right);
            if block.add {
                value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, to));
            }
            _mm512_mask_storeu_ps(to, mask, value);
            to = to.wrapping_offset(block.c.row);
            sums = sums.add(COLS);
        }
    }
}

/// Sets all sums to zero.
///
/// # Safety
/// Tiles are configured.
#[inline]
unsafe fn zero() {
    // SAFETY: changes tiles only.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "tilezero tmm4",
            "tilezero tmm5",
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _, out("tmm5") _,
            options(nostack, nomem),
        );
    }
}

/// Adds a step of two left panels and a right one to sums in tiles: 0 and 1 are the [`Sums`] of the first place, 2 and 3
/// of the second, 4 and 5 of the third.
///
/// # Safety
/// As [`multiply`].
#[inline]
unsafe fn step(a0: *const u8, a1: *const u8, b: *const u8) {
    // Tile 6 holds a digit of `a`, 7 one of `b`. Each product changes one operand only, and meets a sum that is four
    // products old.
    // SAFETY: reads what the caller promises and nothing else; all registers it changes are named.
    unsafe {
        asm!(
            "tileloadd tmm7, [{b} + {unit}*1 + 2048]",
            "tileloadd tmm6, [{a0} + {unit}*1]",
            "tdpbssd tmm4, tmm6, tmm7",
            "tileloadd tmm6, [{a1} + {unit}*1]",
            "tdpbssd tmm5, tmm6, tmm7",
            "tileloadd tmm7, [{b} + {unit}*1 + 1024]",
            "tdpbssd tmm3, tmm6, tmm7",
            "tileloadd tmm6, [{a0} + {unit}*1]",
            "tdpbssd tmm2, tmm6, tmm7",
            "tileloadd tmm6, [{a0} + {unit}*1 + 1024]",
            "tdpbssd tmm4, tmm6, tmm7",
            "tileloadd tmm6, [{a1} + {unit}*1 + 1024]",
            "tdpbssd tmm5, tmm6, tmm7",
            "tileloadd tmm7, [{b} + {unit}*1]",
            "tdpbssd tmm3, tmm6, tmm7",
            "tileloadd tmm6, [{a0} + {unit}*1 + 1024]",
            "tdpbssd tmm2, tmm6, tmm7",
            "tileloadd tmm6, [{a0} + {unit}*1 + 2048]",
            "tdpbssd tmm4, tmm6, tmm7",
            "tileloadd tmm6, [{a1} + {unit}*1 + 2048]",
            "tdpbssd tmm5, tmm6, tmm7",
            "tileloadd tmm6, [{a1} + {unit}*1]",
            "tdpbssd tmm1, tmm6, tmm7",
            "tileloadd tmm6, [{a0} + {unit}*1]",
            "tdpbssd tmm0, tmm6, tmm7",
            a0 = in(reg) a0,
            a1 = in(reg) a1,
            b = in(reg) b,
            unit = in(reg) 64usize,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, readonly),
        );
    }
}

/// Stores the sums that [`step`] has left in tiles.
///
/// # Safety
/// Nothing has used tiles since; `to` has room.
#[inline]
unsafe fn store(to: *mut Sums) {
    // SAFETY: writes what the caller promises and nothing else.
    unsafe {
        asm!(
            "tilestored [{to} + {unit}*1], tmm0",
            "tilestored [{to} + {unit}*1 + 1024], tmm1",
            "tilestored [{to} + {unit}*1 + 2048], tmm2",
            "tilestored [{to} + {unit}*1 + 3072], tmm3",
            "tilestored [{to} + {unit}*1 + 4096], tmm4",
            "tilestored [{to} + {unit}*1 + 5120], tmm5",
            to = in(reg) to,
            unit = in(reg) 64usize,
            options(nostack),
        );
    }
}
