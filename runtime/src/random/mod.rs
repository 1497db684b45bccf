//! Random numbers as a pure function of (seed, step, draw name, element).
//!
//! Philox 4×32-10 (Salmon et al., *Parallel random numbers: as easy as 1, 2, 3*, SC 2011) maps a 128-bit counter
//! and a 64-bit key to 128 random bits. The key is the 64-bit FNV-1a hash of the seed's eight little-endian bytes
//! followed by the draw's name; the counter is the block number (low 64 bits) and the step (high 64 bits). Which
//! block an element reads is fixed below, so neither the number of threads, nor the device, nor how a draw is split
//! into parts changes it. These layouts are part of what makes old runs reproducible: never change them.

mod normal;

use fgc_program::{DType, Distribution};
pub use normal::Number;
use normal::fill_pairs;
use rayon::prelude::*;

/// Elements below which a draw is not worth spreading over threads.
const PARALLEL: usize = 1 << 13;

/// The ten-round Philox 4×32 block function, of `N` counters side by side, word by word.
#[inline(always)]
pub fn philox<const N: usize>(counters: [[u32; N]; 4], key: [u32; 2]) -> [[u32; N]; 4] {
    let ([mut a, mut b, mut c, mut d], [mut k0, mut k1]) = (counters, key);
    for _ in 0..10 {
        for i in 0..N {
            let x = u64::from(a[i]) * 0xD251_1F53;
            let y = u64::from(c[i]) * 0xCD9E_8D57;
            (a[i], c[i]) = ((y >> 32) as u32 ^ b[i] ^ k0, (x >> 32) as u32 ^ d[i] ^ k1);
            (b[i], d[i]) = (y as u32, x as u32);
        }
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    [a, b, c, d]
}

/// The 64-bit FNV-1a hash.
fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// All the random numbers of one draw in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Philox's key, low word first.
    pub key: [u32; 2],
    pub step: u64,
}

impl Stream {
    pub fn new(seed: u64, step: u64, name: &str) -> Stream {
        let key = fnv1a(seed.to_le_bytes().into_iter().chain(name.bytes()));
        Stream { key: [key as u32, (key >> 32) as u32], step }
    }

    /// 128 random bits.
    pub fn block(&self, number: u64) -> [u32; 4] {
        self.blocks::<1>(number).map(|[word]| word)
    }

    /// The blocks from `first` on, word by word.
    #[inline(always)]
    fn blocks<const N: usize>(&self, first: u64) -> [[u32; N]; 4] {
        let number = |i: usize| first.wrapping_add(i as u64);
        let low = std::array::from_fn(|i| number(i) as u32);
        let high = std::array::from_fn(|i| (number(i) >> 32) as u32);
        philox([low, high, [self.step as u32; N], [(self.step >> 32) as u32; N]], self.key)
    }

    /// 64 random bits: half `element % 2` of block `element / 2`.
    pub fn bits(&self, element: u64) -> u64 {
        let block = self.block(element / 2);
        let half = 2 * (element % 2) as usize;
        u64::from(block[half]) | u64::from(block[half + 1]) << 32
    }

    pub fn normal(&self, element: u64) -> f64 {
        self.normal_pair(element / 2)[(element % 2) as usize]
    }

    /// Uniform in [0, 1) with 53 bits.
    pub fn uniform(&self, element: u64) -> f64 {
        (self.bits(element) >> 11) as f64 * 2f64.powi(-53)
    }

    /// Uniform in [0, 1) with 24 bits: word `element % 4` of block `element / 4`.
    pub fn uniform_f32(&self, element: u64) -> f32 {
        (self.block(element / 4)[(element % 4) as usize] >> 8) as f32 * 2f32.powi(-24)
    }

    /// Uniform in 0..n; the bias is below n/2⁶⁴. `n` must not be 0.
    pub fn index(&self, element: u64, n: usize) -> usize {
        ((u128::from(self.bits(element)) * n as u128) >> 64) as usize
    }

    /// The numbers 0..n in random order: sorted by 64 random bits each.
    pub fn permutation(&self, n: usize) -> Vec<usize> {
        let mut keyed: Vec<(u64, usize)> = (0..n).map(|i| (self.bits(i as u64), i)).collect();
        keyed.sort_unstable();
        keyed.into_iter().map(|(_, i)| i).collect()
    }
}

/// Where a draw goes.
#[derive(Debug)]
pub enum Fill<'a> {
    F32(&'a mut [f32]),
    F64(&'a mut [f64]),
    I64(&'a mut [i64]),
}

impl Fill<'_> {
    fn dtype(&self) -> DType {
        match self {
            Fill::F32(_) => DType::F32,
            Fill::F64(_) => DType::F64,
            Fill::I64(_) => DType::I64,
        }
    }
}

#[derive(Debug, thiserror::Error, PartialEq)]
pub enum DrawError {
    #[error("a draw from {distribution:?} cannot be {dtype}")]
    DType { distribution: Distribution, dtype: DType },
    #[error("a draw from an empty range")]
    Empty,
}

/// Writes a draw, all its elements.
pub fn fill(distribution: Distribution, stream: &Stream, out: Fill) -> Result<(), DrawError> {
    match (distribution, out) {
        (Distribution::Normal, Fill::F32(out)) => fill_normal(stream, out),
        (Distribution::Normal, Fill::F64(out)) => fill_normal(stream, out),
        (Distribution::Uniform, Fill::F32(out)) => fill_each(out, |i| stream.uniform_f32(i)),
        (Distribution::Uniform, Fill::F64(out)) => fill_each(out, |i| stream.uniform(i)),
        (Distribution::Index { n: 0 }, Fill::I64(_)) => return Err(DrawError::Empty),
        (Distribution::Index { n }, Fill::I64(out)) => fill_each(out, |i| stream.index(i, n) as i64),
        (Distribution::Permutation, Fill::I64(out)) => {
            let order = stream.permutation(out.len());
            out.iter_mut().zip(order).for_each(|(o, i)| *o = i as i64);
        }
        (distribution, out) => {
            return Err(DrawError::DType { distribution, dtype: out.dtype() });
        }
    }
    Ok(())
}

fn fill_each<T: Send>(out: &mut [T], element: impl Fn(u64) -> T + Sync) {
    out.par_iter_mut().with_min_len(PARALLEL).enumerate().for_each(|(i, o)| *o = element(i as u64));
}

/// Writes standard normals, all a draw's elements.
pub fn fill_normal<T: Number>(stream: &Stream, out: &mut [T]) {
    let chunks = out.par_chunks_mut(2 * PARALLEL).enumerate();
    chunks.for_each(|(chunk, out)| fill_pairs(stream, (chunk * PARALLEL) as u64, out));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    /// The vectors published with Random123 (tests/kat_vectors, philox4x32 10).
    #[test]
    fn philox_known_answers() {
        let cases = [
            ([0; 4], [0; 2], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]),
            (
                [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
                [0xa4093822, 0x299f31d0],
                [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
            ),
        ];
        for (counter, key, expected) in cases {
            assert_eq!(philox(counter.map(|word| [word]), key), expected.map(|word| [word]));
        }
    }

    /// The published test values of FNV-1a.
    #[test]
    fn fnv_known_answers() {
        assert_eq!(fnv1a(*b""), 0xcbf29ce484222325);
        assert_eq!(fnv1a(*b"a"), 0xaf63dc4c8601ec8c);
        assert_eq!(fnv1a(*b"foobar"), 0x85944171f73967e8);
    }

    fn normals(n: usize, seed: u64, step: u64, name: &str) -> Vec<f64> {
        let mut out = vec![0.0; n];
        fill(Distribution::Normal, &Stream::new(seed, step, name), Fill::F64(&mut out)).unwrap();
        out
    }

    fn uniforms(n: usize) -> Vec<f64> {
        let mut out = vec![0.0; n];
        fill(Distribution::Uniform, &Stream::new(3, 4, "u"), Fill::F64(&mut out)).unwrap();
        out
    }

    /// The Kolmogorov–Smirnov statistic times √n; above 1.95 with probability 0.001.
    fn kolmogorov_smirnov(mut sample: Vec<f64>, cdf: impl Fn(f64) -> f64) -> f64 {
        sample.sort_by(f64::total_cmp);
        let n = sample.len() as f64;
        let gap = |(i, &x): (usize, &f64)| (cdf(x) - i as f64 / n).abs().max((cdf(x) - (i + 1) as f64 / n).abs());
        sample.iter().enumerate().map(gap).fold(0.0, f64::max) * n.sqrt()
    }

    /// Φ by the integral's Taylor series around 0, accurate for |x| < 6.
    fn normal_cdf(x: f64) -> f64 {
        let (mut term, mut sum, mut n) = (x, x, 0.0);
        while n < 200.0 {
            n += 1.0;
            term *= x * x / (2.0 * n + 1.0);
            sum += term;
        }
        0.5 + sum * (-x * x / 2.0).exp() / TAU.sqrt()
    }

    #[test]
    fn normals_are_normal() {
        let x = normals(100_000, 1, 2, "eps");
        let n = x.len() as f64;
        let moment = |k: i32| x.iter().map(|x| x.powi(k)).sum::<f64>() / n;
        assert!(moment(1).abs() < 4.0 / n.sqrt(), "mean {}", moment(1));
        assert!((moment(2) - 1.0).abs() < 4.0 * (2.0 / n).sqrt(), "variance {}", moment(2));
        assert!(moment(3).abs() < 4.0 * (15.0 / n).sqrt(), "skewness {}", moment(3));
        assert!((moment(4) - 3.0).abs() < 4.0 * (96.0 / n).sqrt(), "kurtosis {}", moment(4));
        let pairs = x.chunks(2).map(|p| p[0] * p[1]).sum::<f64>() / (n / 2.0);
        assert!(pairs.abs() < 4.0 / (n / 2.0).sqrt(), "the two of a pair correlate: {pairs}");
        assert!(kolmogorov_smirnov(x, normal_cdf) < 1.95);
    }

    #[test]
    fn uniforms_are_uniform() {
        assert!(kolmogorov_smirnov(uniforms(100_000), |x| x) < 1.95);
        let mut out = vec![0f32; 100_000];
        fill(Distribution::Uniform, &Stream::new(3, 4, "u"), Fill::F32(&mut out)).unwrap();
        assert!(out.iter().all(|x| (0.0..1.0).contains(x) && (x * 2f32.powi(24)).fract() == 0.0));
        assert!(kolmogorov_smirnov(out.into_iter().map(f64::from).collect(), |x| x) < 1.95);
    }

    #[test]
    fn indices_cover_their_range_evenly() {
        let mut out = vec![0i64; 70_000];
        fill(Distribution::Index { n: 7 }, &Stream::new(5, 6, "i"), Fill::I64(&mut out)).unwrap();
        let counts: Vec<f64> = (0..7).map(|k| out.iter().filter(|&&i| i == k).count() as f64).collect();
        assert_eq!(counts.iter().sum::<f64>(), 70_000.0);
        let chi2: f64 = counts.iter().map(|c| (c - 10_000.0).powi(2) / 10_000.0).sum();
        assert!(chi2 < 22.5, "χ² with 6 degrees of freedom: {chi2}");
    }

    #[test]
    fn permutations_hold_every_number_once_and_move() {
        let mut out = vec![0i64; 1000];
        fill(Distribution::Permutation, &Stream::new(5, 6, "p"), Fill::I64(&mut out)).unwrap();
        let fixed = out.iter().enumerate().filter(|&(i, &o)| i as i64 == o).count();
        assert!(fixed < 8, "{fixed} of 1000 stayed in place");
        out.sort();
        assert!(out.into_iter().eq(0..1000));
    }

    /// What a value is depends on seed, step, name and element alone, not on how many are drawn on how many threads.
    #[test]
    fn elements_are_independent_of_count_and_threads() {
        let long = normals(50_001, 1, 2, "eps");
        assert_eq!(normals(5, 1, 2, "eps"), long[..5]);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        assert_eq!(pool.install(|| normals(50_001, 1, 2, "eps")), long);
        let stream = Stream::new(1, 2, "eps");
        assert_eq!(long[50_000], stream.normal(50_000));
        for other in [normals(5, 2, 2, "eps"), normals(5, 1, 3, "eps"), normals(5, 1, 2, "eps2")] {
            assert!(other.iter().all(|x| !long[..5].contains(x)));
        }
        let mut single = vec![0f32; 5];
        fill(Distribution::Normal, &Stream::new(1, 2, "eps"), Fill::F32(&mut single)).unwrap();
        assert!(single.iter().zip(&long).all(|(&s, &l)| s == l as f32));
    }

    /// Changing any of these breaks the reproducibility of every past run.
    #[test]
    fn first_values_never_change() {
        let stream = Stream::new(42, 7, "eps");
        assert_eq!(stream.block(0), [0x52e5dd80, 0x7f9d301e, 0x7dfb5f9c, 0x39e1b228]);
        assert_eq!(stream.normal_pair(0), [0.17652829662730432, 1.1666928650386925]);
        assert_eq!(stream.uniform(0), 0.49849224796607616);
        assert_eq!(stream.uniform_f32(0), 0.32381994);
        assert_eq!(stream.index(0, 1000), 498);
        assert_eq!(stream.permutation(8), [1, 6, 4, 2, 0, 3, 5, 7]);
    }

    #[test]
    fn mismatched_draws_are_errors() {
        let error = fill(Distribution::Normal, &Stream::new(0, 0, "x"), Fill::I64(&mut [0])).unwrap_err();
        assert_eq!(error.to_string(), "a draw from Normal cannot be i64");
        assert_eq!(
            fill(Distribution::Index { n: 0 }, &Stream::new(0, 0, "x"), Fill::I64(&mut [0])),
            Err(DrawError::Empty)
        );
    }
}
