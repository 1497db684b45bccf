//! Kernels as C99.
//!
//! [`Functions`] prints kernels, and the loops that they share; [`PRELUDE`] defines all that these call and must stand before
//! them, once a file. CUDA shares the prelude's functions.

mod nest;
mod printer;

pub use nest::only_calls;
pub use printer::Functions;

use crate::{BinaryOp, DType, Expr, Reg, Scalar, Stmt, UnaryOp};

/// Scalar functions as `static inline` C.
pub const PRELUDE: &str = include_str!("c/prelude.h");

/// The C type of an element in memory.
pub fn stored(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "uint8_t",
        DType::I64 => "int64_t",
        DType::F32 => "float",
        DType::F64 => "double",
    }
}

pub(crate) fn held(dtype: DType) -> &'static str {
    if dtype == DType::Bool { "_Bool" } else { stored(dtype) }
}

/// A constant, exact: floats are printed as hexadecimal.
pub fn constant(value: Scalar) -> String {
    match value {
        Scalar::Bool(b) => format!("{}", b as u8),
        Scalar::I64(i64::MIN) => "INT64_MIN".into(),
        Scalar::I64(i) => format!("INT64_C({i})"),
        // NAN and INFINITY are floats in C, and convert.
        Scalar::F32(x) => hex_float(x as f64) + if x.is_finite() { "f" } else { "" },
        Scalar::F64(x) if x.is_finite() => hex_float(x),
        Scalar::F64(x) => format!("((double){})", hex_float(x)),
    }
}

fn hex_float(x: f64) -> String {
    let sign = if x.is_sign_negative() { "-" } else { "" };
    if x.is_nan() {
        return "NAN".into();
    } else if x.is_infinite() {
        return format!("({sign}INFINITY)");
    }
    let (exponent, mantissa) = ((x.to_bits() >> 52) & 0x7ff, x.to_bits() & ((1 << 52) - 1));
    match (exponent, mantissa) {
        (0, 0) => format!("{sign}0x0p+0"),
        (0, _) => format!("{sign}0x0.{mantissa:013x}p-1022"),
        _ => {
            let digits = format!("{mantissa:013x}");
            let digits = digits.trim_end_matches('0');
            let dot = if digits.is_empty() { "" } else { "." };
            format!("{sign}0x1{dot}{digits}p{:+}", exponent as i64 - 1023)
        }
    }
}

fn key_type(dtype: DType) -> &'static str {
    if dtype == DType::F64 { "int64_t" } else { "int32_t" }
}

fn extreme(max: bool) -> &'static str {
    if max { "max" } else { "min" }
}

/// Whether `value` is the maximum (true) or minimum of `reg` and a term without it; and that term.
fn extremum(reg: Reg, value: &Expr) -> Option<(bool, &Expr)> {
    let Expr::Binary(op @ (BinaryOp::Max | BinaryOp::Min), a, b) = value else {
        return None;
    };
    let term = match (&**a, &**b) {
        (Expr::Reg(r), term) | (term, Expr::Reg(r)) if *r == reg => term,
        _ => return None,
    };
    (!mentions(term, reg)).then_some((*op == BinaryOp::Max, term))
}

/// Accumulators that `body` only ever raises (or only ever lowers), and reads nowhere else.
///
/// Floats with NaN have no vector maximum; their order as integers has.
fn extremes(body: &[Stmt]) -> Vec<(Reg, bool)> {
    let mut found: Vec<(Reg, bool)> = Vec::new();
    for stmt in body {
        if let Stmt::Assign { reg, value } = stmt
            && let Some((max, _)) = extremum(*reg, value)
        {
            found.push((*reg, max));
        }
    }
    found.retain(|(reg, _)| {
        let uses = body.iter().filter(|stmt| match stmt {
            Stmt::Let { value, .. } | Stmt::Accumulator { init: value, .. } | Stmt::Store { value, .. } => {
                mentions(value, *reg)
            }
            Stmt::Assign { reg: to, value } => to == reg || mentions(value, *reg),
            Stmt::StoreAt { at, value, .. } => mentions(at, *reg) || mentions(value, *reg),
            // Loops within are not looked into: two uses, so not taken.
            Stmt::For { .. } => true,
        });
        uses.count() == 1
    });
    found
}

fn mentions(expr: &Expr, reg: Reg) -> bool {
    match expr {
        Expr::Reg(r) => *r == reg,
        Expr::Const(_) | Expr::Index(_) | Expr::Load { .. } => false,
        Expr::LoadAt { at: x, .. } | Expr::Unary(_, x) | Expr::Cast(_, x) => mentions(x, reg),
        Expr::Binary(_, a, b) => mentions(a, reg) || mentions(b, reg),
        Expr::Select { cond, then, otherwise } => [cond, then, otherwise].iter().any(|x| mentions(x, reg)),
    }
}

pub(crate) fn unary(op: UnaryOp, x: &str, dtype: DType) -> (String, DType) {
    let name = match op {
        UnaryOp::Neg => "neg",
        UnaryOp::Abs => "abs",
        UnaryOp::Sign => "sign",
        UnaryOp::Floor => "floor",
        UnaryOp::Exp => "exp",
        UnaryOp::Log => "log",
        UnaryOp::Log1p => "log1p",
        UnaryOp::Sqrt => "sqrt",
        UnaryOp::Sin => "sin",
        UnaryOp::Cos => "cos",
        UnaryOp::Tanh => "tanh",
        UnaryOp::Sigmoid => "sigmoid",
        UnaryOp::Softplus => "softplus",
        UnaryOp::Erf => "erf",
        UnaryOp::NormalQuantile => "normal_quantile",
        UnaryOp::IsFinite => return (format!("isfinite_{dtype}({x})"), DType::Bool),
        UnaryOp::Not => return (format!("(!{x})"), DType::Bool),
    };
    (format!("{name}_{dtype}({x})"), dtype)
}

pub(crate) fn binary(op: BinaryOp, a: &str, b: &str, dtype: DType) -> (String, DType) {
    let infix = |op: &str, dtype| (format!("({a} {op} {b})"), dtype);
    let call = |name: &str| (format!("{name}_{dtype}({a}, {b})"), dtype);
    let float = dtype.is_float();
    match op {
        BinaryOp::Add if float => infix("+", dtype),
        BinaryOp::Sub if float => infix("-", dtype),
        BinaryOp::Mul if float => infix("*", dtype),
        BinaryOp::Div if float => infix("/", dtype),
        BinaryOp::Add => call("add"),
        BinaryOp::Sub => call("sub"),
        BinaryOp::Mul => call("mul"),
        BinaryOp::Div => call("div"),
        BinaryOp::Rem => call("rem"),
        BinaryOp::Max => call("max"),
        BinaryOp::Min => call("min"),
        BinaryOp::Pow => call("pow"),
        BinaryOp::Atan2 => call("atan2"),
        BinaryOp::StudentCdf => call("student_cdf"),
        BinaryOp::StudentQuantile => call("student_quantile"),
        BinaryOp::Lt => infix("<", DType::Bool),
        BinaryOp::Le => infix("<=", DType::Bool),
        BinaryOp::Eq => infix("==", DType::Bool),
        BinaryOp::Ne => infix("!=", DType::Bool),
        BinaryOp::And => infix("&", DType::Bool),
        BinaryOp::Or => infix("|", DType::Bool),
    }
}

pub(crate) fn cast(to: DType, x: &str, from: DType) -> String {
    match (from, to) {
        _ if from == to => x.into(),
        (_, DType::Bool) => format!("({x} != 0)"),
        (DType::F32 | DType::F64, DType::I64) => format!("i64_of_{from}({x})"),
        _ => format!("(({}){x})", held(to)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_exact_and_honest() {
        assert_eq!(constant(Scalar::F32(0.1)), "0x1.99999ap-4f");
        assert_eq!(constant(Scalar::F64(1.0)), "0x1p+0");
        assert_eq!(constant(Scalar::F64(-0.0)), "-0x0p+0");
        assert_eq!(constant(Scalar::F64(5e-324)), "0x0.0000000000001p-1022");
        assert_eq!(constant(Scalar::F32(f32::NEG_INFINITY)), "(-INFINITY)");
        assert_eq!(constant(Scalar::F64(f64::NAN)), "((double)NAN)");
        assert_eq!(constant(Scalar::I64(i64::MIN)), "INT64_MIN");
    }
}
