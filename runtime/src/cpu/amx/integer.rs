//! The kernel for digits: a 32×16 block of the output from two left panels and a right one.

use super::digits::{HEAD, LINES, STEP_BYTES};
use crate::cpu::contract::Matrix;
use std::arch::asm;
use std::arch::x86_64::*;

/// Rows and columns of an output block.
pub const ROWS: usize = 2 * LINES;
pub const COLS: usize = LINES;

/// Sums of products of digits, by their place: h·h, then h·m + m·h, then h·l + m·m + l·h. Of each, 32 rows.
#[repr(C, align(64))]
struct Sums([[i32; ROWS * COLS]; 3]);

/// `c = a·b` of packed panels of `steps` steps, or added to what `c` holds; `a` is the first of two panels that far apart.
/// Only `rows × cols` of the block are written.
///
/// # Safety
/// Tiles are configured; the panels are there; the rows of `c` are runs of memory that nobody else uses.
#[target_feature(enable = "avx512f,avx512bw")]
pub unsafe fn multiply(
    a: *const u8,
    apart: usize,
    b: *const u8,
    steps: usize,
    c: Matrix<f32>,
    [rows, cols]: [usize; 2],
    add: bool,
) {
    let mut sums = std::mem::MaybeUninit::<Sums>::uninit();
    // SAFETY: the caller's promise; all sums are stored before they are read.
    unsafe {
        sum(a.add(HEAD), a.add(HEAD + apart), b.add(HEAD), steps, sums.as_mut_ptr().cast());
        let sums = sums.as_ptr().cast::<i32>();
        let mask = ((1u32 << cols) - 1) as u16;
        let right = _mm512_load_ps(b.cast());
        let (middle, low) = (_mm512_set1_ps(1.0 / 256.0), _mm512_set1_ps(1.0 / 65536.0));
        for row in 0..rows {
            let place = |i: usize| _mm512_cvtepi32_ps(_mm512_load_si512(sums.add(i * ROWS * COLS + row * COLS).cast()));
            let left = *a.add(row / LINES * apart).cast::<f32>().add(row % LINES);
            let whole = _mm512_fmadd_ps(place(2), low, _mm512_fmadd_ps(place(1), middle, place(0)));
            let mut value = _mm512_mul_ps(_mm512_mul_ps(whole, _mm512_set1_ps(left)), right);
            let to = c.from(row, 0).at;
            if add {
                value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, to));
            }
            _mm512_mask_storeu_ps(to, mask, value);
        }
    }
}

/// Stores the [`Sums`] of two left panels and a right one, heads left out.
///
/// # Safety
/// As [`multiply`]; `to` has room.
unsafe fn sum(a0: *const u8, a1: *const u8, b: *const u8, steps: usize, to: *mut u8) {
    // Tiles 0 and 1 are the sums of the first place, 2 and 3 of the second, 4 and 5 of the third; 6 holds a digit of `a`,
    // 7 one of `b`. Their order: each product changes one operand only, and meets a sum that is four products old.
    // SAFETY: reads and writes what the caller promises and nothing else; all registers it changes are named.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "tilezero tmm4",
            "tilezero tmm5",
            "2:",
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
            "add {a0}, {step}",
            "add {a1}, {step}",
            "add {b}, {step}",
            "dec {count}",
            "jnz 2b",
            "tilestored [{to} + {unit}*1], tmm0",
            "tilestored [{to} + {unit}*1 + 1024], tmm1",
            "tilestored [{to} + {unit}*1 + 2048], tmm2",
            "tilestored [{to} + {unit}*1 + 3072], tmm3",
            "tilestored [{to} + {unit}*1 + 4096], tmm4",
            "tilestored [{to} + {unit}*1 + 5120], tmm5",
            a0 = inout(reg) a0 => _,
            a1 = inout(reg) a1 => _,
            b = inout(reg) b => _,
            unit = in(reg) 64usize,
            count = inout(reg) steps => _,
            to = in(reg) to,
            step = const STEP_BYTES,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
