//! Elementwise functions: on numbers while compiling, on tensors in the graph.

use super::super::call::Args;
use super::super::elaborate::{Elaborator, Result};
use super::super::value::*;
use super::Builtin;
use crate::graph::scalar;
use fgc_program::{BinaryOp, DType, Scalar, UnaryOp};

/// A unary builtin by its row.
macro_rules! unary {
    ($name:literal, $op:ident, $doc:literal) => {
        Builtin {
            name: $name,
            signature: concat!($name, "(x)"),
            doc: $doc,
            run: |e, args| unary(e, args, UnaryOp::$op, concat!($name, "(x)")),
        }
    };
}

macro_rules! binary {
    ($name:literal, $op:ident, $doc:literal) => {
        Builtin {
            name: $name,
            signature: concat!($name, "(a, b)"),
            doc: $doc,
            run: |e, args| binary(e, args, BinaryOp::$op, concat!($name, "(a, b)")),
        }
    };
}

pub const TABLE: &[Builtin] = &[
    unary!("abs", Abs, "Absolute value."),
    unary!("sign", Sign, "−1, 0 or 1."),
    unary!("floor", Floor, "Largest whole number not above x."),
    unary!("exp", Exp, "e^x."),
    unary!("log", Log, "Natural logarithm."),
    unary!("log1p", Log1p, "ln(1 + x)."),
    unary!("sqrt", Sqrt, "Square root."),
    unary!("sin", Sin, "Sine, x in radians."),
    unary!("cos", Cos, "Cosine, x in radians."),
    unary!("tanh", Tanh, "Hyperbolic tangent."),
    unary!("sigmoid", Sigmoid, "1/(1 + e^−x)."),
    unary!("softplus", Softplus, "ln(1 + e^x)."),
    unary!("erf", Erf, "The error function."),
    unary!("normal_quantile", NormalQuantile, "The standard normal's quantile function."),
    unary!("is_finite", IsFinite, "True where x is neither NaN nor infinite."),
    binary!("max", Max, "The larger of two."),
    binary!("min", Min, "The smaller of two."),
    binary!("atan2", Atan2, "Angle of the point (b, a)."),
    binary!("student_cdf", StudentCdf, "Student-t's cdf of a with b degrees of freedom."),
    binary!("student_quantile", StudentQuantile, "Student-t's quantile of a with b degrees of freedom."),
    Builtin {
        name: "normal_cdf",
        signature: "normal_cdf(x)",
        doc: "The standard normal's cumulative distribution.",
        run: |e, args| {
            let scaled = Args {
                positional: vec![(times(e, &args, std::f64::consts::FRAC_1_SQRT_2)?, args.place)],
                ..args.clone()
            };
            let erf = unary(e, scaled, UnaryOp::Erf, "normal_cdf(x)")?;
            let half = e.binary_value(fgc_grammar::ast::BinaryOp::Mul, &erf, &Value::Float(0.5), args.place)?;
            e.binary_value(fgc_grammar::ast::BinaryOp::Add, &half, &Value::Float(0.5), args.place)
        },
    },
    Builtin {
        name: "log2",
        signature: "log2(x)",
        doc: "Base-2 logarithm.",
        run: |e, args| {
            if let [(v, _)] = args.positional.as_slice()
                && let Some(x) = v.number()
            {
                return Ok(Value::Float(x.log2()));
            }
            let log = unary(e, args.clone(), UnaryOp::Log, "log2(x)")?;
            e.binary_value(fgc_grammar::ast::BinaryOp::Div, &log, &Value::Float(std::f64::consts::LN_2), args.place)
        },
    },
    Builtin {
        name: "select",
        signature: "select(condition, a, b)",
        doc: "a where the condition holds, b elsewhere.",
        run: select,
    },
    Builtin {
        name: "f32",
        signature: "f32(x)",
        doc: "x in 32-bit floats.",
        run: |e, args| cast(e, args, DType::F32, "f32(x)"),
    },
    Builtin {
        name: "f64",
        signature: "f64(x)",
        doc: "x in 64-bit floats.",
        run: |e, args| cast(e, args, DType::F64, "f64(x)"),
    },
    Builtin {
        name: "i64",
        signature: "i64(x)",
        doc: "x in whole numbers.",
        run: |e, args| cast(e, args, DType::I64, "i64(x)"),
    },
    Builtin {
        name: "stop",
        signature: "stop(x)",
        doc: "x, through which no gradient flows; also of lists and records.",
        run: |e, args| {
            let [value] = e.fixed(&args, "stop(x)", false)?;
            let mut made = Vec::new();
            let stopped = value.map_tensors(&mut |t| {
                let node = e.graph.stop(t.node);
                made.push(node);
                Tensor { node, ..t.clone() }
            });
            for node in made {
                e.note(node, args.place);
            }
            Ok(stopped)
        },
    },
];

fn times(e: &mut Elaborator, args: &Args, factor: f64) -> Result<Value> {
    let [x] = e.fixed(args, "normal_cdf(x)", false)?;
    e.binary_value(fgc_grammar::ast::BinaryOp::Mul, &x, &Value::Float(factor), args.place)
}

fn unary(e: &mut Elaborator, args: Args, op: UnaryOp, signature: &str) -> Result<Value> {
    let [value] = e.fixed(&args, signature, false)?;
    if let Some(x) = value.number() {
        let Some(result) = scalar::unary(op, Scalar::F64(x)) else {
            return Err(e.error("FG0203", format!("`{signature}` of {x}"), args.place, ""));
        };
        return Ok(match result {
            Scalar::Bool(b) => Value::Bool(b),
            s if op == UnaryOp::Floor || matches!((op, &value), (UnaryOp::Abs | UnaryOp::Sign, Value::Int(_))) => {
                Value::Int(s.as_f64() as i64)
            }
            s => Value::Float(s.as_f64()),
        });
    }
    let t = e.want_tensor(&args, 0, signature)?;
    let float = match (op, e.dtype_of(&t)) {
        (UnaryOp::Abs, _) | (_, DType::F32 | DType::F64) => t.clone(),
        _ => Tensor { node: e.graph.cast(t.node, DType::F64), ..t },
    };
    Ok(e.apply(op, &float, args.place))
}

fn binary(e: &mut Elaborator, args: Args, op: BinaryOp, signature: &str) -> Result<Value> {
    let [a, b] = e.fixed(&args, signature, false)?;
    if let (Some(x), Some(y)) = (a.number(), b.number()) {
        let Some(result) = scalar::binary(op, Scalar::F64(x), Scalar::F64(y)).map(Scalar::as_f64) else {
            return Err(e.error("FG0203", format!("`{signature}` of {x} and {y}"), args.place, ""));
        };
        let whole = matches!((&a, &b), (Value::Int(_), Value::Int(_))) && matches!(op, BinaryOp::Max | BinaryOp::Min);
        return Ok(if whole { Value::Int(result as i64) } else { Value::Float(result) });
    }
    let like = e.dtype_among(&[&a, &b]);
    let x = e.tensor_from(&a, like, args.place)?;
    let y = e.tensor_from(&b, like, args.place)?;
    let clock = match op {
        BinaryOp::Max | BinaryOp::Min => x.clock.or(y.clock),
        _ => None,
    };
    let mut dtype = Elaborator::promote(e.dtype_of(&x), e.dtype_of(&y));
    if !dtype.is_float() && !matches!(op, BinaryOp::Max | BinaryOp::Min) {
        dtype = DType::F64;
    }
    let (nodes, axes) = e.align(&[&x, &y], args.place)?;
    let (x, y) = (e.graph.cast(nodes[0], dtype), e.graph.cast(nodes[1], dtype));
    let node = e.graph.binary(op, x, y);
    e.note(node, args.place);
    Ok(Value::Tensor(Tensor { node, axes, clock }))
}

fn select(e: &mut Elaborator, args: Args) -> Result<Value> {
    let [c, a, b] = e.fixed(&args, "select(condition, a, b)", false)?;
    if let Value::Bool(c) = c {
        return Ok(if c { a } else { b });
    }
    let c = e.want_tensor(&args, 0, "select(condition, a, b)")?;
    if e.dtype_of(&c) != DType::Bool {
        let shown = e.show(&Value::Tensor(c));
        let at = args.positional[0].1;
        return Err(e.error_help(
            "FG0204",
            format!("a condition must be true or false, found {shown}"),
            at,
            &shown,
            "compare it: `x > 0`",
        ));
    }
    let like = e.dtype_among(&[&a, &b]);
    let like = if matches!((&a, &b), (Value::Tensor(_), _) | (_, Value::Tensor(_))) { like } else { DType::F64 };
    let x = e.tensor_from(&a, like, args.place)?;
    let y = e.tensor_from(&b, like, args.place)?;
    let clock = x.clock.or(y.clock);
    let dtype = Elaborator::promote(e.dtype_of(&x), e.dtype_of(&y));
    // The branches lead: the result has their axis order.
    let (nodes, axes) = e.align(&[&x, &y, &c], args.place)?;
    let (x, y) = (e.graph.cast(nodes[0], dtype), e.graph.cast(nodes[1], dtype));
    let node = e.graph.select(nodes[2], x, y);
    e.note(node, args.place);
    Ok(Value::Tensor(Tensor { node, axes, clock }))
}

fn cast(e: &mut Elaborator, args: Args, dtype: DType, signature: &str) -> Result<Value> {
    let [value] = e.fixed(&args, signature, false)?;
    let t = e.tensor_from(&value, dtype, args.place)?;
    let node = e.graph.cast(t.node, dtype);
    e.note(node, args.place);
    Ok(Value::Tensor(Tensor { node, axes: t.axes, clock: None }))
}
