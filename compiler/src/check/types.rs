//! Declared types against values: parameters, results, bindings.

use super::elaborate::{Elaborator, Result};
use super::value::*;
use crate::diagnostic::{Diagnostic, Fix, Place};
use fgc_grammar::ast::{AxisDecl, Type, TypeKind};
use fgc_program::DType;

impl Elaborator<'_> {
    /// Checks `value` against a declared type, and gives it as the declaration has it: a tensor declared `f32` or
    /// `f64` leaves its clock, a whole number where a number is wanted becomes one. `what`: `parameter t of alpha`.
    pub fn conform(&mut self, value: Value, ty: &Type, env: &Env, place: Place, what: &str) -> Result<Value> {
        let declared = Place { file: env.file, span: ty.span };
        if matches!(value, Value::Error) {
            return Err(super::Reported);
        }
        if matches!(value, Value::None) {
            if ty.optional {
                return Ok(value);
            }
            let at = Place { span: fgc_grammar::Span::new(ty.span.end, ty.span.end), ..declared };
            return Err(self.report(
                Diagnostic::error("FG0206", format!("{what} cannot be none"))
                    .label(place, "this is none")
                    .label(declared, "its type")
                    .help("a `?` after a type allows none: `f64?`")
                    .fix(Fix::new("allow none").before(at, "?")),
            ));
        }
        match &ty.kind {
            TypeKind::Tensor { dtype, axes } => {
                let want = match dtype.as_str() {
                    "f32" => DType::F32,
                    "f64" => DType::F64,
                    "i64" => DType::I64,
                    "bool" => DType::Bool,
                    other => {
                        let message = format!("there is no element type `{other}`");
                        let help = "element types are f32, f64, i64 and bool";
                        return Err(self.error_help("FG0205", message, declared, "unknown", help));
                    }
                };
                match value {
                    Value::Tensor(t) => {
                        let have = self.dtype_of(&t);
                        if axes.is_some() && have != want {
                            let value = Value::Tensor(t);
                            let message = format!("{what} must have element type {want}, found {}", self.show(&value));
                            let shown = format!("this is {}", self.show(&value));
                            return Err(self.report(
                                Diagnostic::error("FG0206", message)
                                    .label(place, shown)
                                    .label(declared, "declared here")
                                    .help(format!("`{want}(…)` converts it"))
                                    .fix(Fix::around(place, &want.to_string())),
                            ));
                        }
                        self.conform_axes(&t, axes.as_deref(), env, place, declared, what)?;
                        Ok(Value::Tensor(Tensor { clock: None, ..t }))
                    }
                    Value::Bool(b) => Ok(Value::Bool(b)),
                    v if want == DType::Bool => Err(self.mismatch(&v, "be true or false", place, declared, what)),
                    v if v.number().is_some() => Ok(v),
                    v => Err(self.mismatch(&v, "be a number or a tensor", place, declared, what)),
                }
            }
            TypeKind::Time { schedule, axes } => {
                let clock = match schedule {
                    Some(name) => match self.name(&name.text, env, Place { file: env.file, span: name.span })? {
                        Value::Schedule(s) => Some(s),
                        _ => None,
                    },
                    None => env.schedule,
                };
                match value {
                    Value::Tensor(t) => {
                        match (t.clock, clock) {
                            (None, _) => {
                                let value = Value::Tensor(t);
                                let shown = self.show(&value);
                                return Err(self.report(
                                    Diagnostic::error("FG0302", format!("{what} is a time, and {shown} is not"))
                                        .label(place, format!("this is {shown}"))
                                        .label(declared, "a time is wanted here")
                                        .help("draw it from a time law, or mark it with its schedule: `s.time(…)`"),
                                ));
                            }
                            (Some(have), Some(want)) if have != want => {
                                return Err(self.wrong_clock(have, want, place, Some(declared)));
                            }
                            _ => {}
                        }
                        self.conform_axes(&t, axes.as_deref(), env, place, declared, what)?;
                        Ok(Value::Tensor(t))
                    }
                    v if v.number().is_some() => Ok(v),
                    v => Err(self.mismatch(&v, "be a time", place, declared, what)),
                }
            }
            TypeKind::Named(name) if name.text == "times" => {
                let decreases = |l: &[f64]| l.windows(2).all(|pair| pair[0] > pair[1]);
                let numbers: Option<Vec<f64>> = match &value {
                    Value::List(l) => l.iter().map(Value::number).collect(),
                    _ => None,
                };
                match numbers {
                    Some(l) if l.len() >= 2 && decreases(&l) && l.last() == Some(&0.0) => Ok(value),
                    _ => {
                        let shown = self.show(&value);
                        Err(self.report(
                            Diagnostic::error(
                                "FG0230",
                                format!("{what} must be decreasing times that end in 0, found {shown}"),
                            )
                            .label(place, "not such a list")
                            .label(declared, "declared here")
                            .help("from noise to data, with a last 0 where the sample is: `[80.0, 2.0, 0.0]`"),
                        ))
                    }
                }
            }
            TypeKind::Named(name) => {
                let fits = match (name.text.as_str(), &value) {
                    ("int", Value::Int(_)) => true,
                    ("int", Value::Float(x)) if x.fract() == 0.0 && x.abs() < 9e15 => return Ok(Value::Int(*x as i64)),
                    ("bool", Value::Bool(_)) | ("str", Value::Str(_)) | ("list", Value::List(_)) => true,
                    ("record", Value::Record(_)) | ("schedule", Value::Schedule(_)) | ("law", Value::Law(_)) => true,
                    ("network", Value::Network(_)) => true,
                    (
                        "fn",
                        Value::Function(_)
                        | Value::Builtin(_)
                        | Value::Extern(_)
                        | Value::Body(_)
                        | Value::View(..)
                        | Value::Network(_),
                    ) => true,
                    ("int" | "bool" | "str" | "list" | "record" | "schedule" | "law" | "network" | "fn", _) => false,
                    (other, _) => {
                        let known = [
                            "f32", "f64", "i64", "bool", "time", "int", "str", "list", "record", "fn", "network",
                            "schedule", "law", "times",
                        ];
                        let at = Place { span: name.span, ..declared };
                        let d = Diagnostic::error("FG0205", format!("there is no type `{other}`")).label(at, "unknown");
                        let ours = match other {
                            "float" | "double" | "number" => Some("f64"),
                            "string" => Some("str"),
                            "boolean" => Some("bool"),
                            "dict" => Some("record"),
                            "Tensor" | "tensor" => Some("f32"),
                            _ => crate::diagnostic::nearest(other, known),
                        };
                        return Err(self.report(match ours {
                            Some(n) => d.help(format!("did you mean `{n}`?")).fix(Fix::rename(at, other, n)),
                            None => d.help(format!("types are {}", known.join(", "))),
                        }));
                    }
                };
                if fits {
                    Ok(value)
                } else {
                    Err(self.mismatch(&value, &format!("be {}", with_article(&name.text)), place, declared, what))
                }
            }
        }
    }

    fn conform_axes(
        &mut self,
        t: &Tensor,
        axes: Option<&[AxisDecl]>,
        env: &Env,
        place: Place,
        declared: Place,
        what: &str,
    ) -> Result<()> {
        let Some(axes) = axes else { return Ok(()) };
        let rest = axes.iter().any(|a| matches!(a, AxisDecl::Rest { .. }));
        let mut named = Vec::new();
        for axis in axes {
            let AxisDecl::Axis { name, extent } = axis else { continue };
            named.push(name.text.clone());
            let Some(have) = self.extent(t, &name.text) else {
                let value = Value::Tensor(t.clone());
                if self.sources.file(declared.file).name.starts_with("std/network/") {
                    let shown = self.show(&value);
                    return Err(self.report(
                        Diagnostic::error("FG0206", format!("{what} must have an axis {}, found {shown}", name.text))
                            .label(place, format!("this is {shown}"))
                            .label(declared, "declared here")
                            .help(
                                "this network is made for data of another shape: the preset can name another one (mlp \
                                 for points, unet for pictures, vdit for videos); or are arguments in another order?",
                            ),
                    ));
                }
                return Err(self.mismatch(&value, &format!("have an axis {}", name.text), place, declared, what));
            };
            if let Some(extent) = extent
                && let Value::Int(want) = self.expr(extent, env)?
                && want != have as i64
            {
                let value = Value::Tensor(t.clone());
                return Err(self.mismatch(
                    &value,
                    &format!("have {want} elements along {}", name.text),
                    place,
                    declared,
                    what,
                ));
            }
        }
        if !rest && let Some(extra) = t.axes.iter().find(|a| !named.iter().any(|n| **n == ***a)) {
            let value = Value::Tensor(t.clone());
            let want = format!("have axes {} only, without {extra}", named.join(", "));
            return Err(self.mismatch(&value, &want, place, declared, what));
        }
        Ok(())
    }

    fn mismatch(&mut self, value: &Value, want: &str, place: Place, declared: Place, what: &str) -> super::Reported {
        let shown = self.show(value);
        self.report(
            Diagnostic::error("FG0206", format!("{what} must {want}, found {shown}"))
                .label(place, format!("this is {shown}"))
                .label(declared, "declared here")
                .maybe_help(match value {
                    Value::Schedule(_) => Some(
                        "a time law is called with its numbers before its schedule: `lognormal(-1.2, 1.2)(s)`".into(),
                    ),
                    Value::Function(_) | Value::Network(_) | Value::View(..) => self.uncalled(value),
                    Value::Str(_) if want.contains("number") => Some("numbers are written without quotes".into()),
                    Value::Tensor(_) if what.starts_with("data ") => Some(
                        "the preset's data are of another shape: choose another preset (`moving` has videos, [B, C, T, \
                         H, W]), or declare the axes that these data have"
                            .into(),
                    ),
                    _ => None,
                }),
        )
    }

    /// A time of one schedule where another's is wanted.
    pub fn wrong_clock(
        &mut self,
        have: ScheduleId,
        want: ScheduleId,
        place: Place,
        declared: Option<Place>,
    ) -> super::Reported {
        let (have, want) = (self.schedule_name(have).to_owned(), self.schedule_name(want).to_owned());
        let mut d = Diagnostic::error("FG0301", format!("a time of `{have}` where a time of `{want}` is wanted"))
            .label(place, format!("this is time<{have}>"))
            .help(format!(
                "draw the time on {want}'s clock, or convert it: `{want}.time(…)` of the time with the same signal-to-noise ratio"
            ));
        if let Some(declared) = declared {
            d = d.label(declared, format!("time<{want}> is wanted here"));
        }
        self.report(d)
    }
}

fn with_article(word: &str) -> String {
    match word {
        "int" => "a whole number".into(),
        "bool" => "true or false".into(),
        "str" => "a string".into(),
        "fn" => "a function".into(),
        other => format!("a {other}"),
    }
}
