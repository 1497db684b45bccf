//! The Fréchet distance, which sees how coordinates go together.

use super::{MetricError, Points, pair};
use nalgebra::DMatrix;

/// The Fréchet distance: the Wasserstein-2 distance between the Gaussians that have the sets' means and covariances (Dowson
/// and Landau 1982), √(‖μ₁ − μ₂‖² + tr(C₁ + C₂ − 2 (C₁ C₂)^½)). FID is this, squared, of an Inception network's features
/// (Heusel et al. 2017); here it is of the points themselves. Estimated from n points it is never 0: compare it with
/// that of other samples of the data.
///
/// Sets are `[n, dim]`, row-major, with equally many points; the distance is in their units.
///
/// # Errors
/// Sets of different or too few points, and points that are not finite.
pub fn frechet(x: &[f32], y: &[f32], dim: usize) -> Result<f64, MetricError> {
    let [(x, x_mean), (y, y_mean)] = pair(x, y, dim)?.map(|points| centred(&points));
    let n = x.nrows();
    let means: f64 = x_mean.iter().zip(&y_mean).map(|(a, b)| (a - b).powi(2)).sum();
    // The trace of (C₁ C₂)^½ is the sum of the singular values of X Yᵀ / (n − 1), which those of triangular factors
    // have, too: n by n, or dim by dim where that is less.
    let product = if dim < n { x.clone().qr().r() * y.clone().qr().r().transpose() } else { &x * y.transpose() };
    let shared = product.singular_values().sum();
    let spread = x.norm_squared() + y.norm_squared() - 2.0 * shared;
    Ok((means + spread.max(0.0) / (n - 1) as f64).sqrt())
}

/// The points less their mean, a row each; the mean.
fn centred(points: &Points) -> (DMatrix<f64>, Vec<f64>) {
    let n = points.len();
    let mean: Vec<f64> = (0..points.dim).map(|d| (0..n).map(|i| points.point(i)[d]).sum::<f64>() / n as f64).collect();
    (DMatrix::from_fn(n, points.dim, |i, d| points.point(i)[d] - mean[d]), mean)
}

#[cfg(test)]
mod tests {
    use super::super::sliced_wasserstein;
    use super::super::tests::gaussian;
    use super::*;

    /// Between N(0, I) and N(m·1, b²·I) the squared distance is d·m² + d·(1 − b)².
    #[test]
    fn frechet_of_gaussians() {
        for (n, dim, mean, std) in [(4000, 1, 3.0, 1.0), (4000, 3, 0.5, 2.0), (400, 8, 2.0, 0.5)] {
            let (x, y) = (gaussian(n, dim, 0.0, 1.0, "x"), gaussian(n, dim, mean, std, "y"));
            let expected = (dim as f64 * (mean * mean + (1.0 - std) * (1.0 - std))).sqrt();
            let found = frechet(&x, &y, dim).unwrap();
            assert!((found - expected).abs() < 0.05 * expected, "dim {dim}: {found}, not {expected}");
        }
    }

    /// The same by either product: with more coordinates than points, and with fewer.
    #[test]
    fn coordinates_without_spread_change_nothing() {
        let (x, y) = (gaussian(12, 5, 0.0, 1.0, "x"), gaussian(12, 5, 1.0, 2.0, "y"));
        let wide = |x: &[f32]| -> Vec<f32> { x.chunks(5).flat_map(|p| [p, &[7.0; 20]].concat()).collect() };
        let (few, many) = (frechet(&x, &y, 5).unwrap(), frechet(&wide(&x), &wide(&y), 25).unwrap());
        assert!((few - many).abs() < 1e-9, "{few}, {many}");
        assert!(frechet(&x, &x, 5).unwrap() < 1e-6);
    }

    /// What sliced distances hardly see: points on a line through many dimensions, and noise of the same variances.
    #[test]
    fn noise_is_far_from_structure() {
        let line =
            |name: &str| -> Vec<f32> { gaussian(200, 1, 0.0, 1.0, name).into_iter().flat_map(|x| [x; 64]).collect() };
        let (data, same, noise) = (line("a"), line("b"), gaussian(200, 64, 0.0, 1.0, "noise"));
        let [same, noise] =
            [same, noise].map(|x| (frechet(&x, &data, 64).unwrap(), sliced_wasserstein(&x, &data, 64).unwrap()));
        assert!(noise.0 > 5.0 * same.0, "{noise:?}, {same:?}");
        assert!(noise.1 < noise.0 / 5.0, "{noise:?}");
    }
}
