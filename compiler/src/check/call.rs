//! Calls: functions, layers, builtins, networks.

use super::elaborate::{Elaborator, Frame, LayerScope, Result};
use super::value::*;
use crate::diagnostic::{Diagnostic, Fix, Place};
use fgc_grammar::ast::{Arg, Body, Expr, Over};
use std::rc::Rc;

/// Evaluated arguments with the places they were written at.
#[derive(Clone, Debug)]
pub struct Args {
    pub positional: Vec<(Value, Place)>,
    pub named: Vec<(String, Value, Place)>,
    pub over: Option<(bool, Vec<Axis>)>,
    pub place: Place,
}

/// Calls deeper than this are taken for endless recursion. Small enough for a thread's stack.
const DEPTH: usize = 96;

impl Elaborator<'_> {
    /// Opens a call frame.
    pub fn enter(&mut self, place: Place, callee: &str) -> Result<()> {
        if self.frames.len() >= DEPTH {
            return Err(self.error_help(
                "FG0107",
                format!("more than {DEPTH} calls inside each other, here of `{callee}`"),
                place,
                "too deep",
                "functions are expanded while compiling, so recursion must end: use `for` over a list",
            ));
        }
        self.frames.push(Frame { place, callee: callee.into() });
        Ok(())
    }

    pub fn call_expr(
        &mut self,
        callee: &Expr,
        scope: Option<&fgc_grammar::ast::Scope>,
        args: &[Arg],
        over: Option<&Over>,
        env: &Env,
        place: Place,
    ) -> Result<Value> {
        let f = self.expr(callee, env)?;
        let args = self.arguments(args, over, env, place)?;
        let prefix = match scope {
            Some(scope) => Some(self.text(&scope.parts, env)?),
            None => None,
        };
        self.call(&f, args, prefix.as_deref())
    }

    fn arguments(&mut self, args: &[Arg], over: Option<&Over>, env: &Env, place: Place) -> Result<Args> {
        let mut out = Args { positional: Vec::new(), named: Vec::new(), over: None, place };
        let mut failed = false;
        for arg in args {
            let at = Place { file: env.file, span: arg.value.span };
            match (self.expr(&arg.value, env), &arg.name) {
                (Err(_), _) => failed = true,
                (Ok(v), None) => out.positional.push((v, at)),
                (Ok(v), Some(name)) => out.named.push((name.text.clone(), v, at)),
            }
        }
        if let Some(over) = over {
            let mut axes = Vec::new();
            for e in &over.axes {
                let at = Place { file: env.file, span: e.span };
                match self.expr(e, env)? {
                    Value::Axis(a) => axes.push(a),
                    Value::List(l) if l.iter().all(|v| matches!(v, Value::Axis(_))) => axes
                        .extend(l.iter().filter_map(|v| if let Value::Axis(a) = v { Some(a.clone()) } else { None })),
                    v => {
                        let shown = self.show(&v);
                        return Err(self.error(
                            "FG0213",
                            format!("`over` takes axes, found {shown}"),
                            at,
                            "not an axis",
                        ));
                    }
                }
            }
            out.over = Some((over.not, axes));
        }
        if failed { Err(super::Reported) } else { Ok(out) }
    }

    /// Calls a value. `prefix`: the name a layer's parameters get.
    pub fn call(&mut self, f: &Value, args: Args, prefix: Option<&str>) -> Result<Value> {
        let place = args.place;
        if let Some(prefix) = prefix
            && !matches!(f, Value::Function(c) if c.kind == ClosureKind::Layer)
        {
            let shown = self.show(f);
            return Err(self.error_help(
                "FG0214",
                format!("`@{prefix}` names the parameters of a layer, and this is {shown}"),
                place,
                "not a layer",
                "call it without `@…`; products of matrices are `dot(a, b over C)`",
            ));
        }
        match f {
            Value::Error => Err(super::Reported),
            Value::Function(closure) => {
                let values = self.bind_arguments(closure, args)?;
                self.call_closure(closure, values, place, prefix)
            }
            Value::Builtin(b) => (b.run)(self, args),
            Value::Extern(kernel) => self.call_extern(&kernel.clone(), args),
            Value::TimeOf(s) => self.stamp(*s, args),
            Value::Network(net) => self.call_net(*net, args),
            Value::View(net, view) => {
                let record = self.call_net(*net, args)?;
                match &record {
                    Value::Record(fields) => match fields.get(&**view) {
                        Some(v) => Ok(v.clone()),
                        None => Err(self.error_help(
                            "FG0106",
                            format!("this network has no view `{view}`"),
                            place,
                            "asked for here",
                            "its layer returns no such field: choose another network in the preset",
                        )),
                    },
                    _ => Err(super::Reported),
                }
            }
            Value::Template(name) => {
                let name = name.to_string();
                self.error_help(
                    "FG0108",
                    format!("`{name}()` makes a network, and only `net` may"),
                    place,
                    "not in a `net`",
                    format!("write `net student = {name}()` and use `student`"),
                );
                Err(super::Reported)
            }
            Value::Body(body) => {
                let body = body.clone();
                self.call_body(&body, args)
            }
            other => {
                let shown = self.show(other);
                let help = "is an operator missing before the `(`?";
                Err(self.error_help("FG0215", format!("{shown} cannot be called"), place, "not a function", help))
            }
        }
    }

    /// `schedule.time(x)`: the number or tensor x as a time of the schedule.
    fn stamp(&mut self, s: ScheduleId, args: Args) -> Result<Value> {
        let place = args.place;
        let [(value, _)] = args.positional.as_slice() else {
            return Err(self.error("FG0216", "`time` takes one argument", place, ""));
        };
        let t = self.tensor_from(value, fgc_program::DType::F64, place)?;
        if let Some(have) = t.clock
            && have != s
        {
            return Err(self.wrong_clock(have, s, place, None));
        }
        let node = self.graph.cast(t.node, fgc_program::DType::F64);
        self.note(node, place);
        Ok(Value::Tensor(Tensor { node, axes: t.axes, clock: Some(s) }))
    }

    /// Arguments in the order of the parameters, defaults filled in, types checked.
    pub(super) fn bind_arguments(&mut self, closure: &Rc<Closure>, args: Args) -> Result<Vec<(String, Value)>> {
        let place = args.place;
        let signature = || {
            let shown: Vec<String> = closure
                .params
                .iter()
                .map(|p| if p.default.is_some() { format!("{} = …", p.name.text) } else { p.name.text.clone() })
                .collect();
            format!("`{}({})`", closure.name, shown.join(", "))
        };
        if args.over.is_some() {
            let help = "`over` belongs to `sum`, `mean`, `reduce_max`, `reduce_min` and `dot`";
            let message = format!("`{}` takes no `over`", closure.name);
            return Err(self.error_help("FG0217", message, place, "`over` in this call", help));
        }
        if args.positional.len() > closure.params.len() {
            let message = format!("{} arguments for {}", args.positional.len(), signature());
            let help = "the ones with `= …` may be left out, or given by name: `f(x, scale = 2.0)`";
            return Err(self.error_help("FG0216", message, place, "too many arguments", help));
        }
        let mut slots: Vec<Option<(Value, Place)>> = args.positional.into_iter().map(Some).collect();
        slots.resize(closure.params.len(), None);
        for (name, value, at) in args.named {
            match closure.params.iter().position(|p| p.name.text == name) {
                Some(i) if slots[i].is_none() => slots[i] = Some((value, at)),
                Some(_) => {
                    let message = format!("`{name}` is given twice to {}", signature());
                    return Err(self.error_help(
                        "FG0216",
                        message,
                        at,
                        "again here",
                        "once by its place, once by name",
                    ));
                }
                None => {
                    let known: Vec<&str> = closure.params.iter().map(|p| p.name.text.as_str()).collect();
                    let message = format!("{} has no parameter `{name}`", signature());
                    let word = self.name_before(at, &name);
                    let mut d = Diagnostic::error("FG0216", message)
                        .label(word.unwrap_or(at), "unknown parameter")
                        .among(word.unwrap_or(at), &name, &known);
                    d.fixes.retain(|_| word.is_some());
                    return Err(self.report(d));
                }
            }
        }
        self.shifted(closure, &slots, place)?;
        let env = closure.env.child();
        let mut out = Vec::new();
        for (param, slot) in closure.params.iter().zip(slots) {
            let name = &param.name.text;
            let value = match (slot, &param.default) {
                (Some((value, at)), _) => match &param.ty {
                    Some(ty) => self.conform(value, ty, &env, at, &format!("`{name}` of `{}`", closure.name))?,
                    None => value,
                },
                (None, Some(default)) => self.expr(default, &env)?,
                (None, None) => {
                    let message = format!("{} needs `{name}`", signature());
                    let fix = self.pass_on(name, place);
                    return Err(self.report(
                        Diagnostic::error("FG0216", message)
                            .label(place, format!("`{name}` is missing"))
                            .label(Place { file: closure.env.file, span: param.name.span }, "this parameter")
                            .maybe_help(fix.as_ref().map(|fix| fix.title.clone()))
                            .maybe_fix(fix),
                    ));
                }
            };
            self.learn_binding(&param.name, &value, &env);
            env.bind(name, value.clone(), false);
            out.push((name.clone(), value));
        }
        Ok(out)
    }

    /// An argument left out in the middle moves those after it: `add_noise(s, x, t)` lacks `eps`, not `t`.
    fn shifted(&mut self, closure: &Closure, slots: &[Option<(Value, Place)>], place: Place) -> Result<()> {
        let written = |at: &Place| self.sources.file(at.file).text.get(at.span.start..at.span.end).unwrap_or("");
        let params = &closure.params;
        let missing = |i: usize| slots[i].is_none() && params[i].default.is_none();
        let moved = slots.iter().enumerate().find_map(|(i, slot)| {
            let (_, at) = slot.as_ref()?;
            let meant = params.iter().position(|p| p.name.text == written(at))?;
            (meant > i && missing(meant)).then_some((i, meant, *at))
        });
        let Some((i, meant, at)) = moved else { return Ok(()) };
        let (lacks, name) = (params[i].name.text.clone(), &params[meant].name.text);
        let fix = self
            .bindings
            .iter()
            .any(|b| b.name == lacks)
            .then(|| Fix::new(format!("pass your `{lacks}` before it")).before(at, format!("{lacks}, ")).certain());
        let all: Vec<&str> = params.iter().map(|p| p.name.text.as_str()).collect();
        Err(self.report(
            Diagnostic::error("FG0216", format!("`{}({})` needs `{lacks}`", closure.name, all.join(", ")))
                .label(at, format!("`{name}` stands where `{lacks}` is wanted"))
                .label(place, "in this call")
                .help(format!("is `{lacks}` missing before it?"))
                .maybe_fix(fix),
        ))
    }

    /// Where the name stands that an argument is given by: before its value.
    fn name_before(&self, value: Place, name: &str) -> Option<Place> {
        let text = &self.sources.file(value.file).text;
        let before = text.get(..value.span.start)?.trim_end().strip_suffix('=')?.trim_end();
        let start = before.strip_suffix(name)?.len();
        Some(Place { span: fgc_grammar::Span::new(start, before.len()), ..value })
    }

    /// Gives a call the argument that it lacks, where the caller has a value of that name.
    fn pass_on(&self, name: &str, call: Place) -> Option<Fix> {
        self.bindings.iter().find(|b| b.name == name && b.place.file == call.file)?;
        let text = self.sources.file(call.file).text.get(call.span.start..call.span.end)?;
        let inside = text.strip_suffix(')')?.trim_end();
        let comma = if inside.ends_with(['(', ',']) { "" } else { ", " };
        let at = call.span.start + inside.len();
        let at = Place { span: fgc_grammar::Span::new(at, at), ..call };
        Some(Fix::new(format!("pass your `{name}`: `{name} = {name}`")).before(at, format!("{comma}{name} = {name}")))
    }

    pub fn call_closure(
        &mut self,
        closure: &Rc<Closure>,
        values: Vec<(String, Value)>,
        place: Place,
        prefix: Option<&str>,
    ) -> Result<Value> {
        self.enter(place, &closure.name)?;
        let outer = self.layer.clone();
        if let (Some(prefix), Some(layer)) = (prefix, &outer) {
            let prefix = format!("{}{prefix}.", layer.prefix);
            self.layer = Some(LayerScope { net: layer.net, prefix });
        }
        let env = closure.env.child();
        for (name, value) in values {
            env.bind(&name, value, false);
        }
        let result = match &closure.body {
            Code::Expr(e) | Code::Body(Body::Expr(e)) => self.expr(e, &env),
            Code::Body(Body::Block(block)) => match self.block(block, &env) {
                Ok(Some(value)) => Ok(value),
                Ok(None) => {
                    let at = Place { file: env.file, span: block.span };
                    Err(self.error_help(
                        "FG0218",
                        format!("`{}` ends without `return`", closure.name),
                        at,
                        "its body",
                        "end it with `return` and its value",
                    ))
                }
                Err(e) => Err(e),
            },
        };
        let result = match (result, &closure.result) {
            (Ok(value), Some(ty)) => self.conform(value, ty, &env, place, &format!("the result of `{}`", closure.name)),
            (result, _) => result,
        };
        self.layer = outer;
        self.frames.pop();
        result
    }
}
