//! Scalar functions in f64, as the interpreter computes them.

use fgc_program::UnaryOp;
use libm::{erf, erfc, lgamma};
use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// An elementwise float function; booleans are not its business.
pub fn unary(op: UnaryOp, x: f64) -> f64 {
    match op {
        UnaryOp::Neg => -x,
        UnaryOp::Abs => x.abs(),
        UnaryOp::Sign if x > 0.0 => 1.0,
        UnaryOp::Sign if x < 0.0 => -1.0,
        UnaryOp::Sign => x,
        UnaryOp::Floor => x.floor(),
        UnaryOp::Exp => x.exp(),
        UnaryOp::Log => x.ln(),
        UnaryOp::Log1p => x.ln_1p(),
        UnaryOp::Sqrt => x.sqrt(),
        UnaryOp::Sin => x.sin(),
        UnaryOp::Cos => x.cos(),
        UnaryOp::Tanh => x.tanh(),
        UnaryOp::Sigmoid if x >= 0.0 => 1.0 / (1.0 + (-x).exp()),
        UnaryOp::Sigmoid => x.exp() / (1.0 + x.exp()),
        UnaryOp::Softplus => max(x, 0.0) + (-x.abs()).exp().ln_1p(),
        UnaryOp::Erf => erf(x),
        UnaryOp::NormalQuantile => normal_quantile(x),
        UnaryOp::IsFinite => x.is_finite() as u8 as f64,
        UnaryOp::Not => (x == 0.0) as u8 as f64,
    }
}

/// The larger; NaN if either is.
pub fn max(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

/// The smaller; NaN if either is.
pub fn min(a: f64, b: f64) -> f64 {
    if a.is_nan() || a < b { a } else { b }
}

/// Φ⁻¹(p): bisection on erfc, then Newton's steps. NaN outside 0..=1.
pub fn normal_quantile(p: f64) -> f64 {
    let tail = p.min(1.0 - p);
    if p.is_nan() || tail < 0.0 {
        return f64::NAN;
    } else if tail == 0.0 {
        return if p < 0.5 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    let upper = |x: f64| 0.5 * erfc(x * FRAC_1_SQRT_2);
    let (mut low, mut high) = (0.0, 40.0);
    while high - low > 1e-3 {
        let middle = 0.5 * (low + high);
        if upper(middle) > tail { low = middle } else { high = middle }
    }
    let mut x = 0.5 * (low + high);
    for _ in 0..4 {
        x += (upper(x) - tail) / ((-0.5 * x * x).exp() / (2.0 * PI).sqrt());
    }
    if p < 0.5 { -x } else { x }
}

/// The continued fraction of the incomplete beta function (DLMF 8.17.22), by Lentz's method.
fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    let away = |v: f64| if v.abs() < 1e-300 { 1e-300 } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut f = d;
    for i in 1..20_000 {
        let i = i as f64;
        let even = i * (b - i) * x / ((a + 2.0 * i - 1.0) * (a + 2.0 * i));
        let odd = -(a + i) * (a + b + i) * x / ((a + 2.0 * i) * (a + 2.0 * i + 1.0));
        for e in [even, odd] {
            d = 1.0 / away(1.0 + e * d);
            c = away(1.0 + e / c);
            f *= c * d;
        }
        if (c * d - 1.0).abs() < 1e-16 {
            break;
        }
    }
    f
}

/// P(T ≤ −|t|) with `v` degrees of freedom: half of I_x(v/2, 1/2), x = v/(v + t²).
fn student_tail(t: f64, v: f64) -> f64 {
    if v > 1e8 {
        return 0.5 * erfc(t.abs() * FRAC_1_SQRT_2);
    }
    let (a, b, square) = (0.5 * v, 0.5, t * t);
    let (x, y) = (v / (v + square), square / (v + square));
    if square.is_infinite() || x == 0.0 {
        return 0.0;
    } else if y == 0.0 {
        return 0.5;
    }
    let log = |part: f64, rest: f64| if part < 0.5 { part.ln() } else { (-rest).ln_1p() };
    let front = (lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x, y) + b * log(y, x)).exp();
    if x < (a + 1.0) / (a + b + 2.0) {
        0.5 * front * beta_fraction(a, b, x) / a
    } else {
        0.5 * (1.0 - front * beta_fraction(b, a, y) / b)
    }
}

/// P(T ≤ t) of Student's t with `v` > 0 degrees of freedom.
pub fn student_cdf(t: f64, v: f64) -> f64 {
    if t.is_nan() || v.is_nan() || v <= 0.0 {
        f64::NAN
    } else if t > 0.0 {
        1.0 - student_tail(t, v)
    } else {
        student_tail(t, v)
    }
}

/// The t with `student_cdf(t, v) == p`, by bisection.
pub fn student_quantile(p: f64, v: f64) -> f64 {
    let q = p.min(1.0 - p);
    if p.is_nan() || v.is_nan() || v <= 0.0 || q < 0.0 {
        return f64::NAN;
    } else if q == 0.0 {
        return if p < 0.5 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    let (mut low, mut high) = (0.0, 1.0);
    while student_tail(high, v) > q && high < 1e300 {
        (low, high) = (high, 2.0 * high);
    }
    loop {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            return if p < 0.5 { -middle } else { middle };
        }
        if student_tail(middle, v) > q { low = middle } else { high = middle }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        let close = |a: f64, b: f64| assert!((a - b).abs() <= 1e-12 * b.abs(), "{a} is not {b}");
        close(normal_quantile(0.975), 1.959_963_984_540_054);
        close(normal_quantile(1e-12), -7.034_483_825_301_131);
        close(student_cdf(2.0, 5.0), 0.949_030_260_585_071);
        close(student_cdf(1.0, 1.0), 0.75);
        close(student_quantile(0.975, 3.0), 3.182_446_305_284_263);
        close(student_quantile(0.25, 1.0), -1.0);
        assert_eq!(student_quantile(1.0, 3.0), f64::INFINITY);
        assert!(student_cdf(1.0, 0.0).is_nan());
    }
}
