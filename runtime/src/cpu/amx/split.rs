//! f32 as the sum of three bf16.

use std::arch::x86_64::*;

/// The three parts of 16 elements, largest first; each f32 has zeros in its lower half, but for the last, whose lower
/// half is to be dropped.
///
/// Rounds halves away from zero. What is left after two parts has 8 bits at most, so the third is exact. A NaN may be
/// rounded to a number, but stays in the third.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn parts(x: __m512) -> [__m512; 3] {
    let first = rounded(x);
    let rest = _mm512_sub_ps(x, first);
    let second = rounded(rest);
    [first, second, _mm512_sub_ps(rest, second)]
}

/// The nearest bf16.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn rounded(x: __m512) -> __m512 {
    let up = _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x8000));
    _mm512_castsi512_ps(_mm512_and_si512(up, _mm512_set1_epi32(!0xffff)))
}

/// The parts of 32 elements, `low`'s 16 before `high`'s: a row of a left operand's tile.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub fn in_sequence(low: __m512, high: __m512) -> [__m512i; 3] {
    const UPPER_HALVES: [u16; 32] = {
        let mut order = [0; 32];
        let mut i = 0;
        while i < 32 {
            order[i] = 2 * i as u16 + 1;
            i += 1;
        }
        order
    };
    // SAFETY: 64 bytes without invalid values.
    let order = unsafe { std::mem::transmute::<[u16; 32], __m512i>(UPPER_HALVES) };
    let (low, high) = (parts(low), parts(high));
    [0, 1, 2].map(|i| _mm512_permutex2var_epi16(_mm512_castps_si512(low[i]), order, _mm512_castps_si512(high[i])))
}

/// The parts of 32 elements in pairs `(even[j], odd[j])`: a row of a right operand's tile, from two rows of k.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub fn in_pairs(even: __m512, odd: __m512) -> [__m512i; 3] {
    let (even, odd) = (parts(even), parts(odd));
    let upper = _mm512_set1_epi32(!0xffff);
    [0, 1, 2].map(|i| {
        let low = _mm512_srli_epi32::<16>(_mm512_castps_si512(even[i]));
        _mm512_or_si512(low, _mm512_and_si512(_mm512_castps_si512(odd[i]), upper))
    })
}

/// The transpose of 16 rows of 16.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub fn transpose(rows: &mut [__m512; 16]) {
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
