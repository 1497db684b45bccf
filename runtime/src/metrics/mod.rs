//! How far samples are from the data: three distances between sets of points, in f64 and deterministic.
//!
//! Sets are row-major `[n, dim]`; images are points, too, flattened.

mod frechet;

pub use frechet::frechet;

use crate::random::Stream;
use rayon::prelude::*;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MetricError {
    #[error("the two sets have {0} and {1} points: they must have equally many, at least 2")]
    Sizes(usize, usize),
    #[error("{0} values are no whole number of points of dimension {1}")]
    Dimension(usize, usize),
    #[error("a point has a coordinate that is not finite")]
    NotFinite,
}

/// A set of points.
struct Points {
    values: Vec<f64>,
    dim: usize,
}

impl Points {
    fn new(values: &[f32], dim: usize) -> Result<Points, MetricError> {
        if dim == 0 || !values.len().is_multiple_of(dim) {
            return Err(MetricError::Dimension(values.len(), dim));
        }
        if values.iter().any(|x| !x.is_finite()) {
            return Err(MetricError::NotFinite);
        }
        let values = values.iter().map(|&x| x.into()).collect();
        Ok(Points { values, dim })
    }

    fn len(&self) -> usize {
        self.values.len() / self.dim
    }

    fn point(&self, i: usize) -> &[f64] {
        &self.values[i * self.dim..(i + 1) * self.dim]
    }
}

fn pair(x: &[f32], y: &[f32], dim: usize) -> Result<[Points; 2], MetricError> {
    let (x, y) = (Points::new(x, dim)?, Points::new(y, dim)?);
    if x.len() != y.len() || x.len() < 2 {
        return Err(MetricError::Sizes(x.len(), y.len()));
    }
    Ok([x, y])
}

/// Directions that distances are averaged over.
const PROJECTIONS: usize = 256;

/// The sliced Wasserstein-2 distance: the root of the mean, over fixed random directions, of the squared Wasserstein-2
/// distance between the projections (Bonneel et al. 2015). In one dimension that is exact: both sets sorted.
pub fn sliced_wasserstein(x: &[f32], y: &[f32], dim: usize) -> Result<f64, MetricError> {
    let sets = pair(x, y, dim)?;
    let stream = Stream::new(0, 0, "metrics.projections");
    let one = |k: usize| {
        let direction: Vec<f64> = (0..dim).map(|d| stream.normal((k * dim + d) as u64)).collect();
        let norm = direction.iter().map(|d| d * d).sum::<f64>().sqrt();
        let [x, y] = [0, 1].map(|s| {
            let dot = |point: &[f64]| point.iter().zip(&direction).map(|(x, d)| x * d).sum::<f64>() / norm;
            let mut projected: Vec<f64> = sets[s].values.chunks(dim).map(dot).collect();
            projected.sort_unstable_by(f64::total_cmp);
            projected
        });
        x.iter().zip(&y).map(|(x, y)| (x - y).powi(2)).sum::<f64>() / x.len() as f64
    };
    // Collected before they are added: the sum must not depend on the number of threads.
    let squares: Vec<f64> = (0..PROJECTIONS).into_par_iter().map(one).collect();
    Ok((squares.iter().sum::<f64>() / PROJECTIONS as f64).sqrt())
}

/// Bandwidths of the kernel, in units of the median distance between points of the data.
const BANDWIDTHS: [f64; 5] = [0.25, 0.5, 1.0, 2.0, 4.0];
/// Points of the data that the median is taken over.
const MEDIAN_POINTS: usize = 512;

/// The unbiased estimate of the squared maximum mean discrepancy (Gretton et al. 2012) between samples and data, for a
/// mean of Gaussian kernels whose bandwidths are fixed multiples of the data's median distance. 0 in expectation
/// for equal distributions, so an estimate may be negative.
pub fn mmd(samples: &[f32], data: &[f32], dim: usize) -> Result<f64, MetricError> {
    let [samples, data] = pair(samples, data, dim)?;
    let n = data.len().min(MEDIAN_POINTS);
    let mut distances: Vec<f64> =
        (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| square(data.point(i), data.point(j))).collect();
    let middle = distances.len() / 2;
    let (_, median, _) = distances.select_nth_unstable_by(middle, f64::total_cmp);
    // Data that is mostly one point has no scale; any will do.
    let scale = if *median > 0.0 { median.sqrt() } else { 1.0 };
    Ok(mmd_of(&samples, &data, &BANDWIDTHS.map(|b| b * scale)))
}

fn mmd_of(x: &Points, y: &Points, bandwidths: &[f64]) -> f64 {
    let kernel = |a: &[f64], b: &[f64]| {
        let square = square(a, b);
        let each = bandwidths.iter().map(|h| (-square / (2.0 * h * h)).exp());
        each.sum::<f64>() / bandwidths.len() as f64
    };
    // Rows are added in order, whatever thread computed them.
    let mean = |a: &Points, b: &Points, same: bool| {
        let row = |i: usize| {
            let end = if same { i } else { b.len() };
            (0..end).map(|j| kernel(a.point(i), b.point(j))).sum::<f64>()
        };
        let rows: Vec<f64> = (0..a.len()).into_par_iter().map(row).collect();
        let pairs = if same { a.len() * (a.len() - 1) / 2 } else { a.len() * b.len() };
        rows.iter().sum::<f64>() / pairs as f64
    };
    mean(x, x, true) + mean(y, y, true) - 2.0 * mean(x, y, false)
}

/// ‖a − b‖², added in eight lanes so that it can be vectorised without depending on the machine.
fn square(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut lanes = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            lanes[lane] += (a[lane] - b[lane]) * (a[lane] - b[lane]);
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| (a - b) * (a - b));
    lanes.iter().sum::<f64>() + rest.sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `n` points of an isotropic Gaussian around `mean`·(1, …, 1).
    pub(super) fn gaussian(n: usize, dim: usize, mean: f64, std: f64, name: &str) -> Vec<f32> {
        let stream = Stream::new(1, 0, name);
        (0..n * dim).map(|i| (mean + std * stream.normal(i as u64)) as f32).collect()
    }

    /// Between N(0, a²) and N(m·1, b²) the squared distance along a direction u is (u·m·1)² + (a − b)², whose mean over
    /// directions is m² + (a − b)².
    #[test]
    fn sliced_wasserstein_of_gaussians() {
        for (dim, mean, std) in [(1, 3.0, 1.0), (2, 0.0, 2.0), (4, 1.0, 0.5), (64, 0.5, 2.0)] {
            let (x, y) = (gaussian(4000, dim, 0.0, 1.0, "x"), gaussian(4000, dim, mean, std, "y"));
            let expected = (mean * mean + (1.0 - std) * (1.0 - std)).sqrt();
            let found = sliced_wasserstein(&x, &y, dim).unwrap();
            assert!((found - expected).abs() < 0.06 * expected.max(1.0), "dim {dim}: {found}, not {expected}");
        }
    }

    #[test]
    fn equal_sets_have_distance_zero_in_any_order() {
        let x = gaussian(100, 3, 0.0, 1.0, "x");
        let reversed: Vec<f32> = x.chunks(3).rev().flatten().copied().collect();
        assert!(sliced_wasserstein(&x, &reversed, 3).unwrap() < 1e-12);
        let moved: Vec<f32> = x.iter().map(|x| x + 0.5).collect();
        assert!(sliced_wasserstein(&x, &moved, 3).unwrap() > 0.3);
    }

    /// For x ~ N(0, a²), y ~ N(m·1, b²) in d dimensions, E k(x, y) = (h²/s)^(d/2)·exp(−d·m²/(2s)), s = h² + a² + b².
    #[test]
    fn mmd_of_gaussians() {
        let mean_kernel = |h: f64, a: f64, b: f64, m: f64, d: f64| {
            let s = h * h + a * a + b * b;
            (h * h / s).powf(d / 2.0) * (-d * m * m / (2.0 * s)).exp()
        };
        for (dim, mean, std) in [(1, 1.0, 1.0), (2, 0.5, 2.0), (5, 0.0, 1.5)] {
            let (x, y) = (gaussian(2000, dim, 0.0, 1.0, "x"), gaussian(2000, dim, mean, std, "y"));
            let bandwidths = [0.7, 1.9];
            let d = dim as f64;
            let expected = bandwidths
                .map(|h| {
                    mean_kernel(h, 1.0, 1.0, 0.0, d) + mean_kernel(h, std, std, 0.0, d)
                        - 2.0 * mean_kernel(h, 1.0, std, mean, d)
                })
                .iter()
                .sum::<f64>()
                / 2.0;
            let [x, y] = pair(&x, &y, dim).unwrap();
            let found = mmd_of(&x, &y, &bandwidths);
            assert!((found - expected).abs() < 0.01, "dim {dim}: {found}, not {expected}");
        }
    }

    /// The estimate is unbiased: over pairs of equally distributed sets its mean is 0 within the error of the mean.
    #[test]
    fn mmd_of_equal_distributions_is_zero_in_the_mean() {
        let estimate = |k: usize| {
            let [x, y] = ["x", "y"].map(|side| gaussian(100, 2, 0.0, 1.0, &format!("{side}{k}")));
            mmd(&x, &y, 2).unwrap()
        };
        let estimates: Vec<f64> = (0..40).map(estimate).collect();
        let mean = estimates.iter().sum::<f64>() / 40.0;
        let variance = estimates.iter().map(|e| (e - mean).powi(2)).sum::<f64>() / 39.0;
        assert!(mean.abs() < 3.0 * (variance / 40.0).sqrt(), "{mean} ± {}", (variance / 40.0).sqrt());
        assert!(estimates.iter().any(|&e| e < 0.0));
    }

    #[test]
    fn a_missing_mode_shows() {
        let ring = crate::data::Mixture::ring(8, 2.0, 0.1);
        let all = |skip: Option<usize>| -> Vec<f32> {
            let kept = (0..8).filter(|&k| Some(k) != skip).flat_map(|k| {
                let centre = &ring.centres[2 * k..2 * k + 2];
                let near = gaussian(56, 2, 0.0, 0.1, &format!("{k}{skip:?}"));
                near.into_iter().zip(centre.iter().cycle()).map(|(x, c)| x + *c as f32).collect::<Vec<_>>()
            });
            kept.take(2 * 56 * 7).collect()
        };
        let (data, same, lacking) = (all(Some(9)), all(Some(10)), all(Some(3)));
        assert!(mmd(&lacking, &data, 2).unwrap() > mmd(&same, &data, 2).unwrap());
    }

    #[test]
    fn results_do_not_depend_on_threads() {
        let (x, y) = (gaussian(300, 3, 0.0, 1.0, "x"), gaussian(300, 3, 0.1, 1.0, "y"));
        let both = || (mmd(&x, &y, 3).unwrap(), sliced_wasserstein(&x, &y, 3).unwrap(), frechet(&x, &y, 3).unwrap());
        let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
        assert_eq!(pool(1).install(both), pool(3).install(both));
    }

    #[test]
    fn sets_that_do_not_fit_are_errors() {
        assert_eq!(mmd(&[0.0; 4], &[0.0; 6], 2), Err(MetricError::Sizes(2, 3)));
        assert_eq!(sliced_wasserstein(&[0.0; 5], &[0.0; 5], 2), Err(MetricError::Dimension(5, 2)));
        assert_eq!(mmd(&[0.0, f32::NAN], &[0.0; 2], 1), Err(MetricError::NotFinite));
        assert!(mmd(&[1.0; 8], &[1.0; 8], 2).unwrap().abs() < 1e-12, "all points equal");
    }
}
