//! AVX2 with FMA: vectors of 8, of which 16 registers hold 6×2 sums, two of the right operand and one of the left.

use super::kernel::{Block, Isa, kernels};
use super::transform::{Grid, Transforms, transforms};
use crate::cpu::contract::Matrix;
use std::arch::x86_64::*;

type Vector = __m256;

const LANES: usize = 8;

kernels!("avx2,fma", 1 2 3 4 5 6);
transforms!("avx2,fma");

#[inline]
#[target_feature(enable = "avx2,fma")]
fn zero() -> Vector {
    _mm256_setzero_ps()
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn add(a: Vector, b: Vector) -> Vector {
    _mm256_add_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn subtract(a: Vector, b: Vector) -> Vector {
    _mm256_sub_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn constant(x: f32) -> Vector {
    _mm256_set1_ps(x)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn multiply_add(a: Vector, b: Vector, c: Vector) -> Vector {
    _mm256_fmadd_ps(a, b, c)
}

/// # Safety
/// The element is valid.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn broadcast(at: *const f32) -> Vector {
    // SAFETY: the caller's promise.
    _mm256_set1_ps(unsafe { *at })
}

/// # Safety
/// The elements are valid.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn load(at: *const f32) -> Vector {
    // SAFETY: the caller's promise.
    unsafe { _mm256_loadu_ps(at) }
}

/// # Safety
/// The elements are the caller's to write.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn store(at: *mut f32, x: Vector) {
    // SAFETY: the caller's promise.
    unsafe { _mm256_storeu_ps(at, x) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn first(count: usize) -> __m256i {
    let places = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_cmpgt_epi32(_mm256_set1_epi32(count.min(LANES) as i32), places)
}

/// The first `count` elements, then zeros.
///
/// # Safety
/// These are valid.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn load_some(at: *const f32, count: usize) -> Vector {
    // SAFETY: the mask keeps to them.
    unsafe { _mm256_maskload_ps(at, first(count)) }
}

/// # Safety
/// The first `count` elements are the caller's to write.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn store_some(at: *mut f32, count: usize, x: Vector) {
    // SAFETY: the mask keeps to them.
    unsafe { _mm256_maskstore_ps(at, first(count), x) }
}

/// The transpose of 8 rows of 8.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn transpose(rows: &mut [Vector; LANES]) {
    let pd = |x: __m256| _mm256_castps_pd(x);
    let ps = |x: __m256d| _mm256_castpd_ps(x);
    // 2×2 blocks, then 4×4 within lanes of 128 bits, then lanes.
    for i in (0..8).step_by(2) {
        let (a, b) = (rows[i], rows[i + 1]);
        rows[i] = _mm256_unpacklo_ps(a, b);
        rows[i + 1] = _mm256_unpackhi_ps(a, b);
    }
    for i in (0..8).step_by(4) {
        let [a, b, c, d] = [rows[i], rows[i + 1], rows[i + 2], rows[i + 3]];
        rows[i] = ps(_mm256_unpacklo_pd(pd(a), pd(c)));
        rows[i + 1] = ps(_mm256_unpackhi_pd(pd(a), pd(c)));
        rows[i + 2] = ps(_mm256_unpacklo_pd(pd(b), pd(d)));
        rows[i + 3] = ps(_mm256_unpackhi_pd(pd(b), pd(d)));
    }
    for i in 0..4 {
        let (a, b) = (rows[i], rows[i + 4]);
        rows[i] = _mm256_permute2f128_ps::<0x20>(a, b);
        rows[i + 4] = _mm256_permute2f128_ps::<0x31>(a, b);
    }
}
