//! Quantiles and distribution functions in f64.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// Φ⁻¹: Halley's method on erfc from a rational first guess (P. Acklam), in the tail that is small.
pub fn normal_quantile(p: f64) -> f64 {
    if !(0.0..=1.0).contains(&p) {
        return f64::NAN;
    }
    if p == 0.0 || p == 1.0 {
        return if p == 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    // 1 − p is exact for p ≥ 1/2.
    let (tail, sign) = if p < 0.5 { (p, 1.0) } else { (1.0 - p, -1.0) };
    let mut x = guess(tail);
    for _ in 0..4 {
        let excess = 0.5 * libm::erfc(-x * FRAC_1_SQRT_2) - tail;
        let step = excess * (2.0 * PI).sqrt() * (0.5 * x * x).exp();
        let next = x - step / (1.0 + 0.5 * x * step);
        if next == x || !next.is_finite() {
            break;
        }
        x = next;
    }
    sign * x
}

/// Φ⁻¹(p) for p ≤ 1/2 to nine digits.
fn guess(p: f64) -> f64 {
    let poly = |coefficients: &[f64], x: f64| coefficients.iter().fold(0.0, |sum, c| sum * x + c);
    if p < 0.02425 {
        let q = (-2.0 * p.ln()).sqrt();
        let top = [-7.784894002430293e-3, -3.223964580411365e-1, -2.400758277161838, -2.549732539343734]
            .iter()
            .chain(&[4.374664141464968, 2.938163982698783])
            .fold(0.0, |sum, c| sum * q + c);
        let bottom = [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416, 1.0];
        return top / poly(&bottom, q);
    }
    let q = p - 0.5;
    let r = q * q;
    let top = [
        -3.969683028665376e1,
        2.209460984245205e2,
        -2.759285104469687e2,
        1.38357751867269e2,
        -3.066479806614716e1,
        2.506628277459239,
    ];
    let bottom = [
        -5.447609879822406e1,
        1.615858368580409e2,
        -1.556989798598866e2,
        6.680131188771972e1,
        -1.328068155288572e1,
        1.0,
    ];
    q * poly(&top, r) / poly(&bottom, r)
}

/// ln Γ((v+1)/2) − ln Γ(v/2) − ln(vπ)/2: the logarithm of the Student-t density at 0.
pub fn student_log_scale(v: f64) -> f64 {
    libm::lgamma(0.5 * (v + 1.0)) - libm::lgamma(0.5 * v) - 0.5 * (v * PI).ln()
}

/// Student-t's density at `t` with `v` degrees of freedom.
pub fn student_density(t: f64, v: f64) -> f64 {
    (student_log_scale(v) - 0.5 * (v + 1.0) * (t * t / v).ln_1p()).exp()
}

/// P(T ≤ −|t|): half the regularised incomplete beta function I_x(v/2, 1/2) at x = v/(v + t²).
fn student_tail(t: f64, v: f64) -> f64 {
    if v > 1e8 {
        return 0.5 * libm::erfc(t.abs() * FRAC_1_SQRT_2);
    }
    // Dividing by the larger keeps t² from overflowing: with few degrees of freedom t reaches 1e150 and beyond.
    let (ratio, far) = if t * t < v { (t * t / v, false) } else { (v / t / t, true) };
    let (x, y) =
        if far { (ratio / (1.0 + ratio), 1.0 / (1.0 + ratio)) } else { (1.0 / (1.0 + ratio), ratio / (1.0 + ratio)) };
    let (a, b) = (0.5 * v, 0.5);
    let log_x = if far { ratio.ln() - ratio.ln_1p() } else { -ratio.ln_1p() };
    if t == 0.0 {
        return 0.5;
    }
    if t.is_infinite() {
        return 0.0;
    }
    // ln of v/t² survives where the ratio itself underflows.
    let log_x = if ratio == 0.0 { v.ln() - 2.0 * t.abs().ln() } else { log_x };
    let log_front = libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b) + a * log_x + b * y.ln();
    if x < (a + 1.0) / (a + b + 2.0) {
        0.5 * log_front.exp() * beta_fraction(a, b, x) / a
    } else {
        0.5 * (1.0 - log_front.exp() * beta_fraction(b, a, y) / b)
    }
}

/// The continued fraction of the incomplete beta function (DLMF 8.17.22) by the modified Lentz method.
fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    let guard = |z: f64| if z.abs() < 1e-300 { 1e-300 } else { z };
    let (mut c, mut d) = (1.0, 1.0 / guard(1.0 - (a + b) * x / (a + 1.0)));
    let mut result = d;
    for i in 1..20_000 {
        let i = i as f64;
        let even = i * (b - i) * x / ((a + 2.0 * i - 1.0) * (a + 2.0 * i));
        let odd = -(a + i) * (a + b + i) * x / ((a + 2.0 * i) * (a + 2.0 * i + 1.0));
        for e in [even, odd] {
            d = 1.0 / guard(1.0 + e * d);
            c = guard(1.0 + e / c);
            result *= c * d;
        }
        if (c * d - 1.0).abs() < 1e-16 {
            break;
        }
    }
    result
}

/// P(T ≤ t) with `v` degrees of freedom; NaN unless v > 0.
pub fn student_cdf(t: f64, v: f64) -> f64 {
    if t.is_nan() || v.is_nan() || v <= 0.0 {
        return f64::NAN;
    }
    if t > 0.0 { 1.0 - student_tail(t, v) } else { student_tail(t, v) }
}

/// The t with P(T ≤ t) = p: bisection on ln t, which reaches the 1e150 of few degrees of freedom, then Newton.
pub fn student_quantile(p: f64, v: f64) -> f64 {
    if !(0.0..=1.0).contains(&p) || v.is_nan() || v <= 0.0 {
        return f64::NAN;
    }
    if p == 0.0 || p == 1.0 {
        return if p == 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    if p == 0.5 {
        return 0.0;
    }
    let (tail, sign) = if p < 0.5 { (p, -1.0) } else { (1.0 - p, 1.0) };
    let (mut low, mut high) = (f64::MIN_POSITIVE.ln(), f64::MAX.ln());
    if student_tail(high.exp(), v) > tail {
        return sign * f64::INFINITY;
    }
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if student_tail(middle.exp(), v) > tail {
            low = middle;
        } else {
            high = middle;
        }
    }
    let mut t = (0.5 * (low + high)).exp();
    for _ in 0..3 {
        let step = (student_tail(t, v) - tail) / student_density(t, v);
        if !step.is_finite() || step.abs() > 1e-6 * t {
            break;
        }
        t += step;
    }
    sign * t
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64, tolerance: f64) {
        assert!((a - b).abs() <= tolerance * b.abs().max(1e-300), "{a} is not {b}");
    }

    #[test]
    fn normal_quantiles_are_those_of_tables() {
        close(normal_quantile(0.975), 1.959963984540054, 1e-14);
        close(normal_quantile(1e-10), -6.361340902404056, 1e-13);
        close(normal_quantile(0.2), -0.8416212335729142, 1e-14);
        assert_eq!(normal_quantile(0.5), 0.0);
        assert_eq!(normal_quantile(1.0), f64::INFINITY);
        assert!(normal_quantile(1.5).is_nan());
    }

    /// One and two degrees of freedom have closed forms.
    #[test]
    fn student_matches_closed_forms() {
        for t in [-30.0, -1.5, -1e-3, 0.0, 0.2, 1.0, 7.0, 1e5] {
            close(student_cdf(t, 1.0), 0.5 + f64::atan(t) / PI, 1e-11);
            close(student_cdf(t, 2.0), 0.5 + 0.5 * t / (2.0 + t * t).sqrt(), 1e-9);
        }
        for p in [0.01, 0.3, 0.5, 0.77, 0.999] {
            let exact = if p == 0.5 { 0.0 } else { (PI * (p - 0.5)).tan() };
            close(student_quantile(p, 1.0), exact, 1e-12);
        }
    }

    #[test]
    fn quantile_inverts_cdf_at_extreme_degrees_of_freedom() {
        for v in [0.01, 0.3, 1.0, 4.0, 50.0, 1e9] {
            for p in [0.05, 0.3, 0.46, 0.51, 0.8, 0.95] {
                let t = student_quantile(p, v);
                close(student_cdf(t, v), p, 1e-10);
            }
        }
    }
}
