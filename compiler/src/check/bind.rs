//! Hyper-parameters: defaults, what presets and the command line set, types, ranges.

use super::elaborate::{Elaborator, Result};
use super::value::*;
use crate::diagnostic::{Diagnostic, Place};
use crate::preset::OUTSIDE;
use fgc_grammar::Span;
use fgc_grammar::ast::{Expr, ExprKind, Name, ParamDecl, RangeDecl, TypeKind};

impl Elaborator<'_> {
    /// Binds every hyper-parameter of a method in `env`.
    pub fn hyper_parameters(&mut self, method: &Name, params: &[ParamDecl], env: &Env) -> Result<()> {
        let mut failed = false;
        for (name, text) in self.setup.set.clone() {
            if !params.iter().any(|p| p.name.text == name) {
                let known: Vec<&str> = params.iter().map(|p| p.name.text.as_str()).collect();
                let help = super::expr::suggestion(&name, &known);
                let place = self.outside(&name, &text);
                let message = format!("`{}` has no hyper-parameter `{name}`", method.text);
                self.error_help("FG0701", message, place, &format!("what `{name}` is set to"), help);
                failed = true;
            }
        }
        for param in params {
            let value = self.hyper_parameter(param, env);
            failed |= value.is_err();
            let value = value.unwrap_or(Value::Error);
            self.learn_binding(&param.name, &value, env);
            env.bind(&param.name.text, value, false);
        }
        if failed { Err(super::Reported) } else { Ok(()) }
    }

    /// The place of what a preset or the command line sets a hyper-parameter to.
    fn outside(&mut self, name: &str, text: &str) -> Place {
        let file = self.sources.add(&format!("{name}{OUTSIDE}"), text, false);
        Place { file, span: Span::new(0, text.len()) }
    }

    fn hyper_parameter(&mut self, param: &ParamDecl, env: &Env) -> Result<Value> {
        let name = &param.name.text;
        let what = format!("hyper-parameter `{name}`");
        let (value, place) = match (self.setup.set.get(name).cloned(), &param.default) {
            (Some(text), _) => {
                let place = self.outside(name, &text);
                let is_str = matches!(&param.ty, Some(t) if matches!(&t.kind, TypeKind::Named(n) if n.text == "str"));
                if is_str && text != "none" && !text.trim_start().starts_with('"') {
                    (Value::str(text), place)
                } else {
                    (self.given(&text, place.file, env)?, place)
                }
            }
            (None, Some(default)) => (self.expr(default, env)?, Place { file: env.file, span: default.span }),
            (None, None) => {
                let place = Place { file: env.file, span: param.span };
                return Err(self.error_help(
                    "FG0702",
                    format!("{what} has no value"),
                    place,
                    "has no default",
                    format!("give it: `--set {name}=…`, or a default: `{name} = …`"),
                ));
            }
        };
        // A default that is wrong would otherwise show only where nothing replaces it.
        if let (Some(default), Some(ty), true) = (&param.default, &param.ty, self.setup.set.contains_key(name)) {
            let at = Place { file: env.file, span: default.span };
            let default = self.expr(default, env)?;
            self.conform(default, ty, env, at, &format!("the default of {what}"))?;
        }
        let value = match &param.ty {
            Some(ty) => self.conform(value, ty, env, place, &what)?,
            None => value,
        };
        if let Some(range) = &param.range {
            self.in_range(&value, range, param, env, place)?;
        }
        Ok(value)
    }

    /// An expression given from outside, in the method's file.
    fn given(&mut self, text: &str, file: crate::source::FileId, env: &Env) -> Result<Value> {
        match fgc_grammar::parse_expr(text) {
            Ok(e) => self.expr(&e, &Env { file, ..env.clone() }),
            Err(errors) => {
                for e in errors {
                    self.report(crate::module::syntax(e, file));
                }
                Err(super::Reported)
            }
        }
    }

    fn in_range(&mut self, value: &Value, range: &RangeDecl, param: &ParamDecl, env: &Env, place: Place) -> Result<()> {
        if matches!(value, Value::None) {
            return Ok(());
        }
        let declared = Place { file: env.file, span: param.span };
        let outside = match range {
            RangeDecl::Interval { lo, hi } => {
                let lo = self.bound(lo.as_ref(), env)?;
                let hi = self.bound(hi.as_ref(), env)?;
                let x = value.number();
                let fits = x.is_none_or(|x| lo.is_none_or(|lo| x >= lo) && hi.is_none_or(|hi| x <= hi));
                let show = |b: Option<f64>| b.map_or(String::new(), |b| b.to_string());
                (!fits).then(|| format!("in {}..{}", show(lo), show(hi)))
            }
            RangeDecl::OneOf(options) => {
                let mut shown = Vec::new();
                let mut fits = false;
                for option in options {
                    let option = self.expr(option, env)?;
                    fits |= super::operator::same(&option, value);
                    shown.push(self.show(&option));
                }
                (!fits).then(|| format!("one of {}", shown.join(", ")))
            }
        };
        match outside {
            None => Ok(()),
            Some(want) => {
                let shown = self.show(value);
                Err(self.report(
                    Diagnostic::error(
                        "FG0703",
                        format!("hyper-parameter `{}` must be {want}, and is {shown}", param.name.text),
                    )
                    .label(place, "out of range")
                    .label(declared, "declared here"),
                ))
            }
        }
    }

    fn bound(&mut self, e: Option<&Expr>, env: &Env) -> Result<Option<f64>> {
        let Some(e) = e else { return Ok(None) };
        if matches!(&*e.kind, ExprKind::Error) {
            return Err(super::Reported);
        }
        Ok(self.expr(e, env)?.number())
    }
}
