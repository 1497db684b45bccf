//! AVX-512: vectors of 16, of which 32 registers hold 14×2 sums, two of the right operand and one of the left.

use super::kernel::{Block, Isa, kernels};
use super::transform::{Grid, Transforms, transforms};
use crate::cpu::contract::Matrix;
use std::arch::x86_64::*;

type Vector = __m512;

const LANES: usize = 16;

kernels!("avx512f", 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
transforms!("avx512f");

#[inline]
#[target_feature(enable = "avx512f")]
fn zero() -> Vector {
    _mm512_setzero_ps()
}

#[inline]
#[target_feature(enable = "avx512f")]
fn add(a: Vector, b: Vector) -> Vector {
    _mm512_add_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn subtract(a: Vector, b: Vector) -> Vector {
    _mm512_sub_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn constant(x: f32) -> Vector {
    _mm512_set1_ps(x)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn multiply_add(a: Vector, b: Vector, c: Vector) -> Vector {
    _mm512_fmadd_ps(a, b, c)
}

/// # Safety
/// The element is valid.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn broadcast(at: *const f32) -> Vector {
    // SAFETY: the caller's promise.
    _mm512_set1_ps(unsafe { *at })
}

/// # Safety
/// The elements are valid.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load(at: *const f32) -> Vector {
    // SAFETY: the caller's promise.
    unsafe { _mm512_loadu_ps(at) }
}

/// # Safety
/// The elements are the caller's to write.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store(at: *mut f32, x: Vector) {
    // SAFETY: the caller's promise.
    unsafe { _mm512_storeu_ps(at, x) }
}

fn first(count: usize) -> __mmask16 {
    ((1u32 << count.min(LANES)) - 1) as __mmask16
}

/// The first `count` elements, then zeros.
///
/// # Safety
/// These are valid.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_some(at: *const f32, count: usize) -> Vector {
    // SAFETY: the mask keeps to them.
    unsafe { _mm512_maskz_loadu_ps(first(count), at) }
}

/// # Safety
/// The first `count` elements are the caller's to write.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store_some(at: *mut f32, count: usize, x: Vector) {
    // SAFETY: the mask keeps to them.
    unsafe { _mm512_mask_storeu_ps(at, first(count), x) }
}

/// The transpose of 16 rows of 16.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn transpose(rows: &mut [Vector; LANES]) {
    let pd = |x: __m512| _mm512_castps_pd(x);
    let ps = |x: __m512d| _mm512_castpd_ps(x);
    // 2×2 blocks, then 4×4 within lanes of 128 bits, then lanes.
    for i in (0..16).step_by(2) {
        let (a, b) = (rows[i], rows[i + 1]);
        rows[i] = _mm512_unpacklo_ps(a, b);
        rows[i + 1] = _mm512_unpackhi_ps(a, b);
    }
    for i in (0..16).step_by(4) {
        let [a, b, c, d] = [rows[i], rows[i + 1], rows[i + 2], rows[i + 3]];
        rows[i] = ps(_mm512_unpacklo_pd(pd(a), pd(c)));
        rows[i + 1] = ps(_mm512_unpackhi_pd(pd(a), pd(c)));
        rows[i + 2] = ps(_mm512_unpacklo_pd(pd(b), pd(d)));
        rows[i + 3] = ps(_mm512_unpackhi_pd(pd(b), pd(d)));
    }
    for i in 0..4 {
        let [a, b, c, d] = [rows[i], rows[i + 4], rows[i + 8], rows[i + 12]];
        let (ab_even, ab_odd) = (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b));
        let (cd_even, cd_odd) = (_mm512_shuffle_f32x4::<0x88>(c, d), _mm512_shuffle_f32x4::<0xdd>(c, d));
        rows[i] = _mm512_shuffle_f32x4::<0x88>(ab_even, cd_even);
        rows[i + 8] = _mm512_shuffle_f32x4::<0xdd>(ab_even, cd_even);
        rows[i + 4] = _mm512_shuffle_f32x4::<0x88>(ab_odd, cd_odd);
        rows[i + 12] = _mm512_shuffle_f32x4::<0xdd>(ab_odd, cd_odd);
    }
}
