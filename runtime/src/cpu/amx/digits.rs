//! Lines of a matrix as whole numbers of 24 bits times a power of two of the line's own, in three digits of 8 bits.
//!
//! `x = 2⁻ᵉ (65536 h + 256 m + l)` with digits from −128 to 127, e as large as the line's largest element allows: what is
//! lost is at most 2⁻²³ of that element.

use super::split::transpose;
use crate::cpu::contract::Matrix;
use std::arch::x86_64::*;

/// Lines (rows of a left operand, columns of a right one) of a panel.
pub const LINES: usize = 16;

/// Elements of k in a step: what one tile holds of each line.
pub const STEP: usize = 64;

/// Lines to fetch ahead from memory: where a line ends, so does what the processor foresees.
const AHEAD: usize = 2;

/// Bytes of a tile, and of a step's three.
pub const TILE: usize = LINES * STEP;
pub const STEP_BYTES: usize = 3 * TILE;

/// Bytes before a panel's first step: what each line's `65536 (65536 h + …)` is to be multiplied by, f32.
pub const HEAD: usize = 4 * LINES;

/// Which side of a product an operand is on: a tile of the left one holds a line in each row, one of the right one a line
/// in each column of four bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
}

impl Side {
    pub fn other(self) -> Side {
        match self {
            Side::Left => Side::Right,
            Side::Right => Side::Left,
        }
    }

    /// Panels that `lines` take; those of a left operand go in pairs.
    pub fn panels(self, lines: usize) -> usize {
        match self {
            Side::Left => lines.div_ceil(2 * LINES) * 2,
            Side::Right => lines.div_ceil(LINES),
        }
    }
}

/// Bytes of a panel of `k` elements a line.
pub fn panel_len(k: usize) -> usize {
    HEAD + k.div_ceil(STEP) * STEP_BYTES
}

/// Packs `lines` lines of `k` elements each into [`Side::panels`] panels, with zeros to fill the last panel and step.
/// `source.row` steps from line to line, `source.col` along k.
///
/// The four bytes that lie together are 16 elements of k apart, in both sides' tiles: so each digit of 4 × 16 elements is
/// a matter of bytes that stay in their lanes.
///
/// # Safety
/// [`super::available`]; the source's elements are valid, and `packed`, aligned to 64, has room.
#[target_feature(enable = "avx512f,avx512bw")]
pub unsafe fn pack(side: Side, source: Matrix<f32>, lines: usize, k: usize, packed: *mut u8) {
    for panel in 0..side.panels(lines) {
        let source = source.from(panel * LINES, 0);
        let lines = lines.saturating_sub(panel * LINES).min(LINES);
        let packed = packed.wrapping_add(panel * panel_len(k));
        // SAFETY: the caller's promise.
        unsafe {
            match (source.row == 1 && source.col != 1, side) {
                (false, Side::Left) => pack_panel::<false, false>(source, lines, k, packed),
                (false, Side::Right) => pack_panel::<false, true>(source, lines, k, packed),
                (true, Side::Left) => pack_panel::<true, true>(source, lines, k, packed),
                (true, Side::Right) => pack_panel::<true, false>(source, lines, k, packed),
            }
        }
    }
}

/// One panel; a vector holds 16 lines where they lie `ABREAST`, else 16 elements of one. Tiles are as loaded, or `TURNED`.
///
/// # Safety
/// As [`pack`].
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn pack_panel<const ABREAST: bool, const TURNED: bool>(
    source: Matrix<f32>,
    lines: usize,
    k: usize,
    packed: *mut u8,
) {
    // SAFETY: the caller's promise; loads are masked to the matrix.
    unsafe {
        let largest = if ABREAST { largest_abreast(source, lines, k) } else { largest_along(source, lines, k) };
        let (factors, heads) = scales(largest);
        _mm512_store_ps(packed.cast(), heads);
        let mut own = [0.0f32; LINES];
        _mm512_storeu_ps(own.as_mut_ptr(), factors);
        for step in 0..k.div_ceil(STEP) {
            let mut tiles = [[_mm512_setzero_ps(); LINES]; 3];
            let to = packed.add(HEAD + step * STEP_BYTES);
            for row in 0..LINES {
                let quad = [0, 1, 2, 3].map(|i| {
                    let from = step * STEP + 16 * i;
                    if ABREAST {
                        let at = from + row;
                        load(source.from(0, at).at, if at < k { lines } else { 0 })
                    } else {
                        let count = if row < lines { k.saturating_sub(from) } else { 0 };
                        load_strided(source.from(row, from), count)
                    }
                });
                let factor = if ABREAST { factors } else { _mm512_set1_ps(own[row]) };
                for (digit, bytes) in digits(quad, factor).into_iter().enumerate() {
                    if TURNED {
                        tiles[digit][row] = _mm512_castsi512_ps(bytes);
                    } else {
                        _mm512_store_si512(to.add(digit * TILE + row * 64).cast(), bytes);
                    }
                }
            }
            if TURNED {
                for (digit, mut tile) in tiles.into_iter().enumerate() {
                    transpose(&mut tile);
                    for (row, values) in tile.into_iter().enumerate() {
                        _mm512_store_ps(to.add(digit * TILE + row * 64).cast(), values);
                    }
                }
            }
        }
    }
}

/// The largest magnitude of each line, as bits (NaN above infinity above numbers), where lines lie abreast.
///
/// # Safety
/// As [`pack_panel`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn largest_abreast(source: Matrix<f32>, lines: usize, k: usize) -> __m512i {
    let mut largest = [_mm512_setzero_si512(); 4];
    for i in 0..k {
        // SAFETY: the caller's promise.
        let x = unsafe { load(source.from(0, i).at, lines) };
        _mm_prefetch::<_MM_HINT_T0>(source.from(0, i + 16 * AHEAD).at.cast());
        largest[i % 4] = _mm512_max_epu32(largest[i % 4], magnitude(x));
    }
    let [a, b, c, d] = largest;
    _mm512_max_epu32(_mm512_max_epu32(a, b), _mm512_max_epu32(c, d))
}

/// As [`largest_abreast`], where each line lies along memory.
///
/// # Safety
/// As [`pack_panel`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn largest_along(source: Matrix<f32>, lines: usize, k: usize) -> __m512i {
    let mut all = [0u32; LINES];
    for (line, largest) in all.iter_mut().enumerate().take(lines) {
        let mut most = [_mm512_setzero_si512(); 2];
        for from in (0..k).step_by(16) {
            // SAFETY: the caller's promise.
            let x = unsafe { load_strided(source.from(line, from), k - from) };
            _mm_prefetch::<_MM_HINT_T0>(source.from(line + AHEAD, from).at.cast());
            most[from / 16 % 2] = _mm512_max_epu32(most[from / 16 % 2], magnitude(x));
        }
        *largest = _mm512_reduce_max_epu32(_mm512_max_epu32(most[0], most[1]));
    }
    // SAFETY: 16 numbers.
    unsafe { _mm512_loadu_si512(all.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn magnitude(x: __m512) -> __m512i {
    _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fff_ffff))
}

/// What makes whole numbers of lines with these largest magnitudes (powers of two), and what undoes it, 65536-fold. The
/// latter is NaN for a line that is not finite.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn scales(largest: __m512i) -> (__m512, __m512) {
    // The first digit goes up to 127: a significand above 2 − 2⁻⁷ − … counts as the next power of two.
    let exponent = _mm512_srli_epi32::<23>(_mm512_add_epi32(largest, _mm512_set1_epi32(0x1_0101)));
    // Smaller ones would need factors beyond the largest power of two.
    let exponent = _mm512_max_epi32(exponent, _mm512_set1_epi32(23));
    let power = |biased: __m512i| _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased));
    let factor = power(_mm512_sub_epi32(_mm512_set1_epi32(276), exponent));
    let head = power(_mm512_sub_epi32(exponent, _mm512_set1_epi32(6)));
    let wrong = _mm512_cmpge_epu32_mask(largest, _mm512_set1_epi32(0x7f80_0000));
    (factor, _mm512_mask_mov_ps(head, wrong, _mm512_set1_ps(f32::NAN)))
}

/// The digits of four vectors, highest first; in each lane one byte of each.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn digits(quad: [__m512; 4], factor: __m512) -> [__m512i; 3] {
    // Half a digit more in each place, taken from each byte again: digits from −128 to 127 instead of 0 to 255.
    let bias = _mm512_set1_epi32(0x80_8080);
    let [a, b, c, d] = quad.map(|x| {
        let whole = _mm512_cvtps_epi32(_mm512_mul_ps(x, factor));
        _mm512_xor_si512(_mm512_add_epi32(whole, bias), bias)
    });
    const ODD_BYTES: u64 = 0xaaaa_aaaa_aaaa_aaaa;
    const UPPER_HALVES: u32 = 0xaaaa_aaaa;
    let (ab_even, ab_odd) = (
        _mm512_mask_blend_epi8(ODD_BYTES, a, _mm512_slli_epi32::<8>(b)),
        _mm512_mask_blend_epi8(ODD_BYTES, _mm512_srli_epi32::<8>(a), b),
    );
    let (cd_even, cd_odd) = (
        _mm512_mask_blend_epi8(ODD_BYTES, c, _mm512_slli_epi32::<8>(d)),
        _mm512_mask_blend_epi8(ODD_BYTES, _mm512_srli_epi32::<8>(c), d),
    );
    [
        _mm512_mask_blend_epi16(UPPER_HALVES, _mm512_srli_epi32::<16>(ab_even), cd_even),
        _mm512_mask_blend_epi16(UPPER_HALVES, ab_odd, _mm512_slli_epi32::<16>(cd_odd)),
        _mm512_mask_blend_epi16(UPPER_HALVES, ab_even, _mm512_slli_epi32::<16>(cd_even)),
    ]
}

/// The first `count` of 16 elements along memory, then zeros.
///
/// # Safety
/// These elements are valid.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn load(at: *const f32, count: usize) -> __m512 {
    // SAFETY: the mask keeps to the elements.
    unsafe { if count >= 16 { _mm512_loadu_ps(at) } else { _mm512_maskz_loadu_ps((1 << count) - 1, at) } }
}

/// The first `count` of 16 elements of a line, then zeros.
///
/// # Safety
/// These elements are valid.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn load_strided(line: Matrix<f32>, count: usize) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        if line.col == 1 {
            return load(line.at, count);
        }
        let mut elements = [0.0f32; 16];
        for (i, element) in elements.iter_mut().enumerate().take(count) {
            *element = *line.from(0, i).at;
        }
        _mm512_loadu_ps(elements.as_ptr())
    }
}
