//! The elementwise primitives on single values: what constant folding and the reference evaluator compute.

use super::special;
use fgc_program::{BinaryOp, DType, Scalar, UnaryOp};

/// None where the op is not defined on the value's dtype.
pub fn unary(op: UnaryOp, a: Scalar) -> Option<Scalar> {
    Some(match a {
        Scalar::Bool(a) => match op {
            UnaryOp::Not => Scalar::Bool(!a),
            _ => return None,
        },
        Scalar::I64(a) => match op {
            UnaryOp::Neg => Scalar::I64(a.wrapping_neg()),
            UnaryOp::Abs => Scalar::I64(a.wrapping_abs()),
            _ => return None,
        },
        Scalar::F32(_) | Scalar::F64(_) => match op {
            UnaryOp::IsFinite => Scalar::Bool(a.as_f64().is_finite()),
            _ => Scalar::new(a.dtype(), unary_f64(op, a.as_f64())?),
        },
    })
}

fn unary_f64(op: UnaryOp, x: f64) -> Option<f64> {
    Some(match op {
        UnaryOp::Neg => -x,
        UnaryOp::Abs => x.abs(),
        UnaryOp::Sign => {
            if x > 0.0 {
                1.0
            } else if x < 0.0 {
                -1.0
            } else {
                x
            }
        }
        UnaryOp::Floor => x.floor(),
        UnaryOp::Exp => x.exp(),
        UnaryOp::Log => x.ln(),
        UnaryOp::Log1p => x.ln_1p(),
        UnaryOp::Sqrt => x.sqrt(),
        UnaryOp::Sin => x.sin(),
        UnaryOp::Cos => x.cos(),
        UnaryOp::Tanh => x.tanh(),
        UnaryOp::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        UnaryOp::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        UnaryOp::Erf => libm::erf(x),
        UnaryOp::NormalQuantile => special::normal_quantile(x),
        UnaryOp::IsFinite | UnaryOp::Not => return None,
    })
}

/// None where the op is not defined on the values' dtypes, or these differ.
pub fn binary(op: BinaryOp, a: Scalar, b: Scalar) -> Option<Scalar> {
    Some(match (a, b) {
        (Scalar::Bool(a), Scalar::Bool(b)) => Scalar::Bool(match op {
            BinaryOp::And => a && b,
            BinaryOp::Or => a || b,
            BinaryOp::Eq => a == b,
            BinaryOp::Ne => a != b,
            BinaryOp::Lt => !a & b,
            BinaryOp::Le => a <= b,
            _ => return None,
        }),
        (Scalar::I64(a), Scalar::I64(b)) => match compare(op, &a, &b) {
            Some(result) => Scalar::Bool(result),
            None => Scalar::I64(binary_i64(op, a, b)?),
        },
        (Scalar::F32(x), Scalar::F32(y)) => match compare(op, &x, &y) {
            Some(result) => Scalar::Bool(result),
            None => Scalar::F32(binary_f64(op, x as f64, y as f64)? as f32),
        },
        (Scalar::F64(x), Scalar::F64(y)) => match compare(op, &x, &y) {
            Some(result) => Scalar::Bool(result),
            None => Scalar::F64(binary_f64(op, x, y)?),
        },
        _ => return None,
    })
}

fn compare<T: PartialOrd>(op: BinaryOp, a: &T, b: &T) -> Option<bool> {
    Some(match op {
        BinaryOp::Lt => a < b,
        BinaryOp::Le => a <= b,
        BinaryOp::Eq => a == b,
        BinaryOp::Ne => a != b,
        _ => return None,
    })
}

/// Wrapping; x/0 and x mod 0 are 0, as in generated code.
fn binary_i64(op: BinaryOp, a: i64, b: i64) -> Option<i64> {
    Some(match op {
        BinaryOp::Add => a.wrapping_add(b),
        BinaryOp::Sub => a.wrapping_sub(b),
        BinaryOp::Mul => a.wrapping_mul(b),
        BinaryOp::Div if b == 0 => 0,
        BinaryOp::Div => a.wrapping_div_euclid(b),
        BinaryOp::Rem if b == 0 => 0,
        BinaryOp::Rem => a.wrapping_rem_euclid(b),
        BinaryOp::Max => a.max(b),
        BinaryOp::Min => a.min(b),
        BinaryOp::Pow => power_i64(a, b),
        _ => return None,
    })
}

fn power_i64(a: i64, b: i64) -> i64 {
    match (a, b) {
        (1, _) => 1,
        (-1, _) => 1 - 2 * (b & 1),
        (_, ..0) => 0,
        _ => {
            let (mut base, mut left, mut result) = (a, b, 1i64);
            while left > 0 {
                if left & 1 == 1 {
                    result = result.wrapping_mul(base);
                }
                base = base.wrapping_mul(base);
                left >>= 1;
            }
            result
        }
    }
}

fn binary_f64(op: BinaryOp, a: f64, b: f64) -> Option<f64> {
    Some(match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Rem => a.rem_euclid(b),
        BinaryOp::Max if a.is_nan() || b.is_nan() => f64::NAN,
        BinaryOp::Max => a.max(b),
        BinaryOp::Min if a.is_nan() || b.is_nan() => f64::NAN,
        BinaryOp::Min => a.min(b),
        BinaryOp::Pow => a.powf(b),
        BinaryOp::Atan2 => a.atan2(b),
        BinaryOp::StudentCdf => special::student_cdf(a, b),
        BinaryOp::StudentQuantile => special::student_quantile(a, b),
        _ => return None,
    })
}

/// Float to integer truncates toward zero (saturating, NaN gives 0); to Bool is `!= 0`.
pub fn cast(dtype: DType, a: Scalar) -> Scalar {
    match (dtype, a) {
        (DType::I64, Scalar::I64(_)) => a,
        (DType::F32, Scalar::I64(i)) => Scalar::F32(i as f32),
        (DType::F64, Scalar::I64(i)) => Scalar::F64(i as f64),
        (DType::Bool, Scalar::I64(i)) => Scalar::Bool(i != 0),
        _ => Scalar::new(dtype, a.as_f64()),
    }
}
