//! Expressions whose value the compiler itself needs.

use super::elaborate::{Elaborator, Result};
use super::value::{Env, Value};
use crate::diagnostic::Place;
use fgc_grammar::ast::{Expr, StrPart};

impl Elaborator<'_> {
    /// A string with its `{…}` pieces put in.
    pub fn text(&mut self, parts: &[StrPart], env: &Env) -> Result<String> {
        let mut out = String::new();
        for part in parts {
            match part {
                StrPart::Text(t) => out.push_str(t),
                StrPart::Expr(e) => match self.expr(e, env)? {
                    Value::Str(s) => {
                        self.spend(s.len(), Place { file: env.file, span: e.span })?;
                        out.push_str(&s);
                    }
                    v @ (Value::Int(_) | Value::Float(_) | Value::Bool(_) | Value::None) => {
                        out.push_str(&self.show(&v))
                    }
                    v => {
                        let place = Place { file: env.file, span: e.span };
                        let shown = self.show(&v);
                        return Err(self.error(
                            "FG0208",
                            "only numbers, strings, true, false and none can stand in a string",
                            place,
                            &shown,
                        ));
                    }
                },
            }
        }
        Ok(out)
    }

    /// A whole number.
    pub fn int(&mut self, e: &Expr, env: &Env) -> Result<i64> {
        match self.expr(e, env)? {
            Value::Int(i) => Ok(i),
            Value::Float(x) if x.fract() == 0.0 && x.abs() < 9e15 => Ok(x as i64),
            Value::Error => Err(super::Reported),
            v => {
                let shown = self.show(&v);
                let place = Place { file: env.file, span: e.span };
                Err(self.error("FG0209", format!("a whole number is wanted here, found {shown}"), place, &shown))
            }
        }
    }

    /// A condition of `if`.
    pub fn condition(&mut self, e: &Expr, env: &Env) -> Result<bool> {
        let place = Place { file: env.file, span: e.span };
        match self.expr(e, env)? {
            Value::Bool(b) => Ok(b),
            Value::Error => Err(super::Reported),
            v @ Value::Tensor(_) => {
                let shown = self.show(&v);
                Err(self.error_help(
                    "FG0210",
                    format!("`if` decides while compiling, and this is only known when training: {shown}"),
                    place,
                    &shown,
                    "choose elementwise with `select(condition, a, b)`",
                ))
            }
            v => {
                let shown = self.show(&v);
                Err(self.error_help(
                    "FG0210",
                    format!("a condition must be true or false, found {shown}"),
                    place,
                    &shown,
                    "compare it with something: `!= none`, `> 0`",
                ))
            }
        }
    }
}
