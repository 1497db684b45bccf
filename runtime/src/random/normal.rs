//! Standard normals from random bits, in additions, multiplications, divisions and square roots of f64 alone, each rounded as
//! IEEE 754 says: the same bits on every processor, in vector code of every width, and on GPUs, whose
//! `program/src/cuda/prelude/random.cuh` does the same operations in the same order.
//!
//! Logarithm, sine and cosine are those of fdlibm (Sun Microsystems, 1993: `e_log.c`, `k_sin.c`, `k_cos.c`), without its
//! branches: arguments are never special. Errors are below two units in the last place.

use super::Stream;
use std::f64::consts::{FRAC_1_SQRT_2, TAU};

const LN2_HI: f64 = 0.6931471803691238;
const LN2_LO: f64 = 1.9082149292705877e-10;
const LOG: [f64; 7] = [
    0.6666666666666735,
    0.3999999999940942,
    0.2857142874366239,
    0.22222198432149784,
    0.1818357216161805,
    0.15313837699209373,
    0.14798198605116586,
];
const SIN: [f64; 6] = [
    -0.16666666666666632,
    0.00833333333332249,
    -0.0001984126982985795,
    2.7557313707070068e-06,
    -2.5050760253406863e-08,
    1.58969099521155e-10,
];
const COS: [f64; 6] = [
    0.0416666666666666,
    -0.001388888888887411,
    2.480158728947673e-05,
    -2.7557314351390663e-07,
    2.087572321298175e-09,
    -1.1359647557788195e-11,
];

/// Pairs that are computed side by side.
const LANES: usize = 8;

#[inline(always)]
fn each<const N: usize>(f: impl Fn(usize) -> f64) -> [f64; N] {
    std::array::from_fn(f)
}

/// `c[0] + c[1]·x + c[2]·x² + …`, from the last term on.
#[inline(always)]
fn polynomial<const N: usize, const C: usize>(c: &[f64; C], x: &[f64; N]) -> [f64; N] {
    c[..C - 1].iter().rev().fold([c[C - 1]; N], |sum, c| each(|i| sum[i] * x[i] + c))
}

/// ln u for 2⁻⁵³ ≤ u ≤ 1.
#[inline(always)]
fn ln<const N: usize>(u: &[f64; N]) -> [f64; N] {
    // u = m·2ᵏ with m from √½ up to √2.
    let low = FRAC_1_SQRT_2.to_bits();
    let bits = u.map(|u| u.to_bits().wrapping_add((1023 << 52) - low));
    let f: [f64; N] = each(|i| f64::from_bits((bits[i] & ((1 << 52) - 1)) + low) - 1.0);
    let s: [f64; N] = each(|i| f[i] / (2.0 + f[i]));
    let z = s.map(|s| s * s);
    let r = polynomial(&LOG, &z);
    each(|i| {
        let k = ((bits[i] >> 52) as i64 - 1023) as f64;
        let half = 0.5 * f[i] * f[i];
        k * LN2_HI - ((half - (s[i] * (half + z[i] * r[i]) + k * LN2_LO)) - f[i])
    })
}

/// Cosine and sine of so many turns, 0 ≤ v < 1.
#[inline(always)]
fn cos_sin<const N: usize>(v: &[f64; N]) -> [[f64; N]; 2] {
    // The nearest quarter, and what is left of it: exact, an eighth at most. Adding 1.5·2⁵² rounds to a whole number, which is
    // then the last bits.
    const WHOLE: f64 = 6755399441055744.0;
    let shifted = v.map(|v| 4.0 * v + WHOLE);
    let x: [f64; N] = each(|i| (v[i] - 0.25 * (shifted[i] - WHOLE)) * TAU);
    let z = x.map(|x| x * x);
    let (sin, cos) = (polynomial(&SIN, &z), polynomial(&COS, &z));
    let sin: [f64; N] = each(|i| x[i] + x[i] * (z[i] * sin[i]));
    let cos: [f64; N] = each(|i| (1.0 - 0.5 * z[i]) + z[i] * z[i] * cos[i]);
    // After an odd number of quarters they change places, after two their signs; the last bits of `shifted` are quarters.
    let choose = |i: usize, even: f64, odd: f64, negative: u64| {
        let value = if shifted[i].to_bits() & 1 == 0 { even } else { odd };
        f64::from_bits(value.to_bits() ^ ((negative >> 1) & 1) << 63)
    };
    let quarter = shifted.map(f64::to_bits);
    [each(|i| choose(i, cos[i], sin[i], quarter[i] + 1)), each(|i| choose(i, sin[i], cos[i], quarter[i]))]
}

impl Stream {
    /// Pairs of standard normals, from `first` on: elements `2·pair` and `2·pair + 1` by Box and Muller's method from the
    /// halves of block `pair`.
    #[inline(always)]
    fn pairs<const N: usize>(&self, first: u64) -> [[f64; N]; 2] {
        let words = self.blocks::<N>(first);
        let bits = |i: usize, half: usize| (u64::from(words[half][i]) | u64::from(words[half + 1][i]) << 32) >> 11;
        const UNIT: f64 = 1.0 / (1u64 << 53) as f64;
        // (0, 1], so that the logarithm is finite.
        let u: [f64; N] = each(|i| (bits(i, 0) + 1) as f64 * UNIT);
        let v: [f64; N] = each(|i| bits(i, 2) as f64 * UNIT);
        let radius = ln(&u).map(|ln| (-2.0 * ln).sqrt());
        cos_sin(&v).map(|x| each(|i| radius[i] * x[i]))
    }

    /// Two standard normals, elements `2·pair` and `2·pair + 1`.
    pub fn normal_pair(&self, pair: u64) -> [f64; 2] {
        self.pairs::<1>(pair).map(|[x]| x)
    }
}

/// Numbers that the pairs of a draw can be written as.
pub trait Number: Copy + Send {
    fn from_f64(x: f64) -> Self;
}

impl Number for f64 {
    fn from_f64(x: f64) -> f64 {
        x
    }
}

impl Number for f32 {
    fn from_f64(x: f64) -> f32 {
        x as f32
    }
}

/// Writes the pairs from `first` on; an odd last element is half of one.
pub fn fill_pairs<T: Number>(stream: &Stream, first: u64, out: &mut [T]) {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512dq") && std::arch::is_x86_feature_detected!("avx512vl") {
            // SAFETY: the processor has the instructions.
            return unsafe { wide::avx512(stream, first, out) };
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { wide::avx2(stream, first, out) };
        }
    }
    pairs(stream, first, out);
}

/// Loops over lanes, which compilers make vector code of.
#[inline(always)]
fn pairs<T: Number>(stream: &Stream, first: u64, out: &mut [T]) {
    for (n, out) in out.chunks_mut(2 * LANES).enumerate() {
        let [a, b] = stream.pairs::<LANES>(first + (n * LANES) as u64);
        for (i, out) in out.iter_mut().enumerate() {
            *out = T::from_f64(if i % 2 == 0 { a[i / 2] } else { b[i / 2] });
        }
    }
}

/// The same loop for wider vectors.
#[cfg(target_arch = "x86_64")]
mod wide {
    use super::{Number, Stream, pairs};

    #[target_feature(enable = "avx512f,avx512dq,avx512vl")]
    pub fn avx512<T: Number>(stream: &Stream, first: u64, out: &mut [T]) {
        pairs(stream, first, out);
    }

    #[target_feature(enable = "avx2")]
    pub fn avx2<T: Number>(stream: &Stream, first: u64, out: &mut [T]) {
        pairs(stream, first, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where they are most delicate: at the ends, where an octave or a quarter begins; and all over.
    fn arguments() -> Vec<u64> {
        let edges = [0, 1, 2, 1 << 50, 1 << 51, 1 << 52, 3 << 51, (1 << 53) - 2, (1 << 53) - 1, 0x16_A09E_667F_3BCC];
        let near = edges.iter().flat_map(|&x: &u64| (0..5).map(move |d| (x + d).saturating_sub(2).min((1 << 53) - 1)));
        let stream = Stream::new(5, 0, "arguments");
        near.chain((0..20_000).map(|i| stream.bits(i) >> 11 >> (i % 53))).collect()
    }

    const UNIT: f64 = 1.0 / (1u64 << 53) as f64;

    #[test]
    fn logarithms_are_those_of_the_library() {
        for bits in arguments() {
            let u = (bits + 1) as f64 * UNIT;
            let (found, expected) = (ln(&[u])[0], u.ln());
            assert!((found - expected).abs() <= 4e-16 * expected.abs(), "ln({u}) = {expected}, not {found}");
        }
    }

    #[test]
    fn turns_are_those_of_the_library() {
        for bits in arguments() {
            let v = bits as f64 * UNIT;
            let (sin, cos) = (TAU * v).sin_cos();
            let [[a], [b]] = cos_sin(&[v]);
            // The library is given an angle that is rounded already.
            assert!((a - cos).abs() < 1e-15 && (b - sin).abs() < 1e-15, "{v} turns: {cos}, {sin}, not {a}, {b}");
        }
        assert_eq!(
            [0.0, 0.25, 0.5, 0.75].map(|v| cos_sin(&[v]).map(|[x]| x)),
            [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]
        );
    }

    #[test]
    fn vectors_of_every_width_give_the_same_bits() {
        let stream = Stream::new(1, 2, "eps");
        for len in [0, 1, 2, 15, 16, 17, 1001] {
            let (mut one, mut plain, mut best) = (vec![0.0f64; len], vec![0.0; len], vec![0.0; len]);
            for (i, x) in one.iter_mut().enumerate() {
                *x = stream.normal(9 * 2 + i as u64);
            }
            pairs(&stream, 9, &mut plain);
            fill_pairs(&stream, 9, &mut best);
            assert_eq!((&plain, &best), (&one, &one));
            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("avx2") {
                let mut narrower = vec![0.0; len];
                // SAFETY: the processor has the instructions.
                unsafe { wide::avx2(&stream, 9, &mut narrower) };
                assert_eq!(narrower, one);
            }
        }
    }
}
