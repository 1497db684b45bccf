//! The functions built into the language, as one table.

use super::call::Args;
use super::elaborate::{Elaborator, Result};
use super::value::*;

mod derivative;
mod elementwise;
mod lists;
mod random;
mod reduction;
mod shape;

pub(super) use lists::invoke;

/// One built-in function.
#[derive(Debug)]
pub struct Builtin {
    pub name: &'static str,
    /// As users write a call: `mean(x over AXES)`.
    pub signature: &'static str,
    pub doc: &'static str,
    pub run: fn(&mut Elaborator, Args) -> Result<Value>,
}

fn tables() -> impl Iterator<Item = &'static Builtin> {
    [elementwise::TABLE, reduction::TABLE, shape::TABLE, lists::TABLE, random::TABLE, derivative::TABLE]
        .into_iter()
        .flatten()
}

/// The built-in function of this name.
pub fn find(name: &str) -> Option<&'static Builtin> {
    tables().find(|b| b.name == name)
}

/// Names that need no definition.
pub fn names() -> impl Iterator<Item = &'static str> {
    tables().map(|b| b.name).chain(["pi", "iteration", "denoiser", "critic"])
}

/// How a built-in name is written, and what it means.
pub fn document(name: &str) -> Option<(&'static str, &'static str)> {
    if let Some(b) = find(name) {
        return Some((b.signature, b.doc));
    }
    Some(match name {
        "pi" => ("pi", "3.14159…"),
        "iteration" => ("iteration", "The number of the iteration, from 0: f64, known when training."),
        "denoiser" => ("denoiser()", "A network that predicts what noise hides; the preset says which."),
        "critic" => ("critic()", "A network that judges features; the preset says which."),
        _ => return None,
    })
}

impl Elaborator<'_> {
    /// Values every spec knows: functions, `pi`, `iteration`, what presets make networks of.
    pub fn built_in_name(&mut self, name: &str) -> Option<Value> {
        if let Some(b) = find(name) {
            return Some(Value::Builtin(b));
        }
        Some(match name {
            "pi" => Value::Float(std::f64::consts::PI),
            "denoiser" | "critic" => Value::Template(name.into()),
            "iteration" => {
                let ty = crate::graph::Ty::new(fgc_program::DType::F64, &[]);
                let node = self.graph.source(crate::graph::Source::Iteration, ty);
                Value::Tensor(Tensor { node, axes: Vec::new(), clock: None })
            }
            _ => return None,
        })
    }

    /// The only arguments of a builtin: exactly `n`, none named, no `over` unless allowed.
    pub(super) fn fixed<const N: usize>(&mut self, args: &Args, signature: &str, over: bool) -> Result<[Value; N]> {
        if args.positional.len() != N || !args.named.is_empty() || (args.over.is_some() && !over) {
            let plural = |n: usize| format!("{n} argument{}", if n == 1 { "" } else { "s" });
            let message = match (args.named.first(), &args.over) {
                (Some((name, ..)), _) => {
                    format!("`{signature}` takes its arguments by their place, not as `{name} = …`")
                }
                (None, Some(_)) if !over => format!("`{signature}` takes no `over`"),
                _ => format!("`{signature}` takes {}, and has {}", plural(N), plural(args.positional.len())),
            };
            let help = match args.named.first() {
                Some((name, ..)) if over && ["dim", "axis", "axes", "dims"].contains(&&**name) => {
                    "axes have names, and stand after `over`: `sum(x over C)`, `mean(x over not B)`"
                }
                _ => "",
            };
            return Err(self.error_help("FG0216", message, args.place, "in this call", help));
        }
        if args.positional.iter().any(|(v, _)| matches!(v, Value::Error)) {
            return Err(super::Reported);
        }
        Ok(std::array::from_fn(|i| args.positional[i].0.clone()))
    }

    /// Argument `i` as a tensor.
    pub(super) fn want_tensor(&mut self, args: &Args, i: usize, signature: &str) -> Result<Tensor> {
        match args.positional.get(i) {
            Some((Value::Tensor(t), _)) => Ok(t.clone()),
            Some((Value::Error, _)) => Err(super::Reported),
            Some((v, at)) => {
                let shown = self.show(v);
                Err(self.error("FG0202", format!("`{signature}` needs a tensor, found {shown}"), *at, &shown))
            }
            None => {
                Err(self.error("FG0216", format!("`{signature}` needs more arguments"), args.place, "in this call"))
            }
        }
    }

    /// Argument `i` as an axis name.
    pub(super) fn want_axis(&mut self, args: &Args, i: usize, signature: &str) -> Result<Axis> {
        match args.positional.get(i) {
            Some((Value::Axis(a), _)) => Ok(a.clone()),
            Some((v, at)) => {
                let shown = self.show(v);
                Err(self.error_help(
                    "FG0213",
                    format!("`{signature}` needs an axis, found {shown}"),
                    *at,
                    "not an axis",
                    "axes are words in capitals: B, C, H",
                ))
            }
            None => {
                Err(self.error("FG0216", format!("`{signature}` needs more arguments"), args.place, "in this call"))
            }
        }
    }

    /// Argument `i` as a whole number.
    pub(super) fn want_int(&mut self, args: &Args, i: usize, signature: &str) -> Result<i64> {
        match args.positional.get(i) {
            Some((Value::Int(n), _)) => Ok(*n),
            Some((Value::Float(x), _)) if x.fract() == 0.0 && x.abs() < 9e15 => Ok(*x as i64),
            Some((Value::Error, _)) => Err(super::Reported),
            Some((v, at)) => {
                let shown = self.show(v);
                Err(self.error("FG0209", format!("`{signature}` needs a whole number, found {shown}"), *at, &shown))
            }
            None => {
                Err(self.error("FG0216", format!("`{signature}` needs more arguments"), args.place, "in this call"))
            }
        }
    }

    /// Argument `i` as a list.
    pub(super) fn want_list(&mut self, args: &Args, i: usize, signature: &str) -> Result<Vec<Value>> {
        match args.positional.get(i) {
            Some((Value::List(l), _)) => Ok(l.to_vec()),
            Some((Value::Error, _)) => Err(super::Reported),
            Some((v, at)) => {
                let shown = self.show(v);
                Err(self.error("FG0219", format!("`{signature}` needs a list, found {shown}"), *at, &shown))
            }
            None => {
                Err(self.error("FG0216", format!("`{signature}` needs more arguments"), args.place, "in this call"))
            }
        }
    }

    /// An axis of `t`, by position; an error names those it has.
    pub(super) fn axis_of(&mut self, t: &Tensor, axis: &Axis, args: &Args) -> Result<usize> {
        match t.axes.iter().position(|a| a == axis) {
            Some(i) => Ok(i),
            None => {
                let shown = self.show(&Value::Tensor(t.clone()));
                Err(self.error_help(
                    "FG0221",
                    format!("there is no axis {axis} in {shown}"),
                    args.place,
                    &shown,
                    "the axes of a value stand in its type; `rename(x, OLD, NEW)` renames one",
                ))
            }
        }
    }
}
