//! Arithmetic, comparison and logic on values: static where both sides are, otherwise nodes of the graph.

use super::elaborate::{Elaborator, Result};
use super::value::*;
use crate::diagnostic::{Diagnostic, Place};
use fgc_grammar::ast::{BinaryOp as Sign, UnaryOp as Mark};
use fgc_program::{BinaryOp, DType, UnaryOp};

impl Elaborator<'_> {
    pub fn unary_value(&mut self, op: Mark, value: &Value, place: Place) -> Result<Value> {
        Ok(match (op, value) {
            (_, Value::Error) => return Err(super::Reported),
            (Mark::Neg, Value::Int(i)) => Value::Int(i.wrapping_neg()),
            (Mark::Neg, Value::Float(x)) => Value::Float(-x),
            (Mark::Not, Value::Bool(b)) => Value::Bool(!b),
            (Mark::Neg, Value::Tensor(t)) if self.dtype_of(t) != DType::Bool => self.apply(UnaryOp::Neg, t, place),
            (Mark::Not, Value::Tensor(t)) if self.dtype_of(t) == DType::Bool => self.apply(UnaryOp::Not, t, place),
            (op, other) => {
                let (sign, want) = if op == Mark::Neg { ("-", "a number") } else { ("not", "a truth value") };
                let shown = self.show(other);
                let message = format!("`{sign}` needs {want}, found {shown}");
                let d = Diagnostic::error("FG0203", message).label(place, &shown).maybe_help(self.uncalled(other));
                return Err(self.report(d));
            }
        })
    }

    /// An elementwise function, dropping the clock.
    pub fn apply(&mut self, op: UnaryOp, t: &Tensor, place: Place) -> Value {
        let node = self.graph.unary(op, t.node);
        self.note(node, place);
        Value::Tensor(Tensor { node, axes: t.axes.clone(), clock: None })
    }

    pub fn binary_value(&mut self, op: Sign, a: &Value, b: &Value, place: Place) -> Result<Value> {
        if matches!(a, Value::Error) || matches!(b, Value::Error) {
            return Err(super::Reported);
        }
        if let Some(value) = static_binary(op, a, b) {
            return Ok(value);
        }
        match (op, a, b) {
            (Sign::Add, Value::List(x), Value::List(y)) => {
                self.spend(x.len() + y.len(), place)?;
                return Ok(Value::list(x.iter().chain(y.iter()).cloned().collect()));
            }
            (Sign::Add, Value::Str(x), Value::Str(y)) => {
                self.spend(x.len() + y.len(), place)?;
                return Ok(Value::str(format!("{x}{y}")));
            }
            // Only tensors and numbers are compared elementwise; anything else is equal or not.
            (Sign::Eq | Sign::Ne, x, y) if !elementwise(x) || !elementwise(y) => {
                return Ok(Value::Bool(same(x, y) == (op == Sign::Eq)));
            }
            _ => {}
        }
        self.tensor_binary(op, a, b, place)
    }

    fn tensor_binary(&mut self, op: Sign, a: &Value, b: &Value, place: Place) -> Result<Value> {
        // Squares are by far the most frequent power, and exact as products.
        if let (Sign::Pow, Value::Tensor(t), Some(2.0)) = (op, a, b.number()) {
            let node = self.graph.binary(BinaryOp::Mul, t.node, t.node);
            self.note(node, place);
            return Ok(Value::Tensor(Tensor { node, axes: t.axes.clone(), clock: None }));
        }
        let like = self.dtype_among(&[a, b]);
        let x = self.tensor_from(a, like, place)?;
        let y = self.tensor_from(b, like, place)?;
        let clock = self.combined_clock(op, (a, &x), (b, &y), place)?;
        self.threshold(op, (a, &x), (b, &y), place)?;
        if matches!(op, Sign::Add | Sign::Sub) {
            self.warn_crossed((a, &x), (b, &y), place);
        }
        let (nodes, axes) = self.align(&[&x, &y], place)?;
        let (dx, dy) = (self.dtype_of(&x), self.dtype_of(&y));
        let logic = matches!(op, Sign::And | Sign::Or);
        if logic != (dx == DType::Bool && dy == DType::Bool) && (logic || !matches!(op, Sign::Eq | Sign::Ne)) {
            let message = if logic { "`and` and `or` join truth values" } else { "arithmetic on truth values" };
            let shown = format!("{} and {}", self.show(a), self.show(b));
            return Err(self.error_help("FG0204", message, place, &shown, "`f32(mask)` makes numbers of a mask"));
        }
        let mut dtype = Self::promote(dx, dy);
        if matches!(op, Sign::Div | Sign::Pow) && !dtype.is_float() {
            dtype = DType::F64;
        }
        let x = self.graph.cast(nodes[0], dtype);
        let y = self.graph.cast(nodes[1], dtype);
        let node = match op {
            Sign::Add => self.graph.binary(BinaryOp::Add, x, y),
            Sign::Sub => self.graph.binary(BinaryOp::Sub, x, y),
            Sign::Mul => self.graph.binary(BinaryOp::Mul, x, y),
            Sign::Div => self.graph.binary(BinaryOp::Div, x, y),
            Sign::Pow => self.graph.binary(BinaryOp::Pow, x, y),
            Sign::Eq => self.graph.binary(BinaryOp::Eq, x, y),
            Sign::Ne => self.graph.binary(BinaryOp::Ne, x, y),
            Sign::Lt => self.graph.binary(BinaryOp::Lt, x, y),
            Sign::Le => self.graph.binary(BinaryOp::Le, x, y),
            Sign::Gt => self.graph.binary(BinaryOp::Lt, y, x),
            Sign::Ge => self.graph.binary(BinaryOp::Le, y, x),
            Sign::And => self.graph.binary(BinaryOp::And, x, y),
            Sign::Or => self.graph.binary(BinaryOp::Or, x, y),
        };
        self.note(node, place);
        Ok(Value::Tensor(Tensor { node, axes, clock }))
    }

    /// A sum or difference of which each side has axes that the other lacks repeats both: every element of one meets
    /// every element of the other.
    fn warn_crossed(&mut self, (a, x): (&Value, &Tensor), (b, y): (&Value, &Tensor), place: Place) {
        let own = |t: &Tensor, other: &Tensor| t.axes.iter().find(|a| !other.axes.contains(a)).cloned();
        let (Some(p), Some(q)) = (own(x, y), own(y, x)) else { return };
        // Layers and the insides of functions do so on purpose; what the user writes, or asks a distance of, hardly.
        let distance = self.frames.last().is_some_and(|f| f.callee == "mse");
        if self.layer.is_some() || self.frames.len() > 1 && !distance {
            return;
        }
        let (a, b) = (self.show(a), self.show(b));
        self.report(
            Diagnostic::warning("FG0233", format!("every {p} meets every {q}: {a} with {b}"))
                .label(place, format!("has both axes, {p} and {q}"))
                .help(format!(
                    "were the same axis meant, `rename(…, {q}, {p})` makes it so; if this is, `expand` one of them first"
                )),
        );
    }

    /// A time compared with a number that no time of its schedule reaches is a mistake.
    fn threshold(
        &mut self,
        op: Sign,
        (a, x): (&Value, &Tensor),
        (b, y): (&Value, &Tensor),
        place: Place,
    ) -> Result<()> {
        if !matches!(op, Sign::Lt | Sign::Le | Sign::Gt | Sign::Ge) {
            return Ok(());
        }
        let (clock, number) = match (x.clock, y.clock, a.number(), b.number()) {
            (Some(clock), None, _, Some(number)) | (None, Some(clock), Some(number), _) => (clock, number),
            _ => return Ok(()),
        };
        let mut bound = |name| Ok(self.schedule_member(clock, name, place)?.and_then(|v| v.number()));
        let (Some(low), Some(high)) = (bound("t_min")?, bound("t_max")?) else { return Ok(()) };
        // `t > 0` is how one asks for any noise at all.
        let any_noise =
            number == 0.0 && matches!((op, a.number()), (Sign::Gt | Sign::Le, None) | (Sign::Lt | Sign::Ge, Some(_)));
        if (low..=high).contains(&number) || any_noise {
            return Ok(());
        }
        let name = self.schedule_name(clock).to_owned();
        Err(self.error_help(
            "FG0307",
            format!("a time of `{name}` is compared with {number}, which is outside its range"),
            place,
            "the same for all times",
            format!("times of `{name}` lie in [{low}, {high}]"),
        ))
    }

    /// The clock of a result. Sums and differences of a time stay on its clock; so do products with plain numbers;
    /// other products and all functions leave it. Times of two clocks do not mix.
    fn combined_clock(
        &mut self,
        op: Sign,
        (a, x): (&Value, &Tensor),
        (b, y): (&Value, &Tensor),
        place: Place,
    ) -> Result<Option<ScheduleId>> {
        if let (Some(s), Some(t)) = (x.clock, y.clock)
            && s != t
        {
            let (s, t) = (self.schedule_name(s).to_owned(), self.schedule_name(t).to_owned());
            return Err(self.report(
                Diagnostic::error("FG0301", format!("a time of `{s}` meets a time of `{t}`"))
                    .label(place, format!("time<{s}> with time<{t}>"))
                    .help(format!(
                        "draw both on one clock; the number itself, as a time of {s}, is `{s}.time(f64(…))`"
                    )),
            ));
        }
        let is_static = |v: &Value| !matches!(v, Value::Tensor(_));
        Ok(match op {
            Sign::Add | Sign::Sub => x.clock.or(y.clock),
            Sign::Mul if is_static(b) => x.clock,
            Sign::Mul if is_static(a) => y.clock,
            Sign::Div if is_static(b) => x.clock,
            _ => None,
        })
    }
}

fn elementwise(v: &Value) -> bool {
    matches!(v, Value::Tensor(_)) || v.number().is_some()
}

/// Equality of static values; tensors equal nothing.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::None, Value::None) => true,
        (Value::Str(x), Value::Str(y)) => x == y,
        (Value::Axis(x), Value::Axis(y)) => x == y,
        (Value::Schedule(x), Value::Schedule(y)) => x == y,
        (Value::Network(x), Value::Network(y)) => x == y,
        (Value::Bool(x), Value::Bool(y)) => x == y,
        (Value::List(x), Value::List(y)) => x.len() == y.len() && x.iter().zip(y.iter()).all(|(a, b)| same(a, b)),
        _ => match (a.number(), b.number()) {
            (Some(x), Some(y)) => x == y,
            _ => false,
        },
    }
}

fn static_binary(op: Sign, a: &Value, b: &Value) -> Option<Value> {
    if let (Value::Bool(x), Value::Bool(y)) = (a, b) {
        match op {
            Sign::And => return Some(Value::Bool(*x && *y)),
            Sign::Or => return Some(Value::Bool(*x || *y)),
            _ => {}
        }
    }
    if let (Value::Int(x), Value::Int(y)) = (a, b) {
        let exact = match op {
            Sign::Add => x.checked_add(*y),
            Sign::Sub => x.checked_sub(*y),
            Sign::Mul => x.checked_mul(*y),
            Sign::Div if *y != 0 && x.checked_rem(*y) == Some(0) => x.checked_div(*y),
            Sign::Pow if *y >= 0 => u32::try_from(*y).ok().and_then(|y| x.checked_pow(y)),
            _ => None,
        };
        if let Some(value) = exact {
            return Some(Value::Int(value));
        }
    }
    let (x, y) = (a.number()?, b.number()?);
    Some(match op {
        Sign::Add => Value::Float(x + y),
        Sign::Sub => Value::Float(x - y),
        Sign::Mul => Value::Float(x * y),
        Sign::Div => Value::Float(x / y),
        Sign::Pow => Value::Float(x.powf(y)),
        Sign::Eq => Value::Bool(x == y),
        Sign::Ne => Value::Bool(x != y),
        Sign::Lt => Value::Bool(x < y),
        Sign::Le => Value::Bool(x <= y),
        Sign::Gt => Value::Bool(x > y),
        Sign::Ge => Value::Bool(x >= y),
        Sign::And | Sign::Or => return None,
    })
}
