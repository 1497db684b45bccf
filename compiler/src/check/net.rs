//! Networks: how `net` makes one, what its calls mean, how layers declare its parameters.

use super::call::Args;
use super::elaborate::{Elaborator, LayerScope, Result};
use super::value::*;
use crate::diagnostic::{Diagnostic, Fix, Place};
use crate::graph::{FuncId, NodeId, Source, Ty};
use crate::preset::NetSpec;
use fgc_grammar::ast::{AxisDecl, Expr, Name, Type, TypeKind};
use fgc_program::{DType, Init, NetId};
use indexmap::IndexMap;
use std::rc::Rc;

/// A network of the method.
#[derive(Debug)]
pub struct NetState {
    pub name: String,
    pub place: Place,
    pub kind: NetKind,
    pub body: Value,
    pub frozen: bool,
    /// Where that is said.
    pub frozen_at: Option<Place>,
    /// `adamw(…)`, `ema(…)` and so on.
    pub attributes: Vec<Place>,
    /// The end of its statement.
    pub end: Place,
    pub from: Option<NetId>,
    pub training: Training,
    /// A loss would train it, but has weight 0.
    pub excused: bool,
    pub params: IndexMap<String, ParamState>,
    calls: Vec<CachedCall>,
}

#[derive(Clone, Debug)]
pub enum NetKind {
    /// Predicts what noise hides: called with (x, t, c, r), answers with every view of its prediction.
    Denoiser { schedule: ScheduleId, spec: NetSpec },
    /// Called with whatever its layer takes, answers with what that returns.
    Plain,
}

#[derive(Clone, Debug)]
pub struct ParamState {
    pub shape: Vec<usize>,
    pub axes: Vec<Axis>,
    pub init: Init,
    pub place: Place,
}

/// How a network learns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Training {
    pub optimizer: Option<crate::optimizer::Optimizer>,
    pub ema: Option<crate::optimizer::Ema>,
    /// Largest norm of all its gradients together.
    pub clip: Option<f64>,
    /// Updates over which the learning rate rises from 0.
    pub warmup: f64,
}

#[derive(Debug)]
struct CachedCall {
    signature: String,
    func: FuncId,
    /// The result, its tensors inside the function.
    result: Value,
    outputs: Vec<NodeId>,
}

impl NetState {
    pub fn new(name: &str, place: Place, kind: NetKind, body: Value) -> NetState {
        NetState {
            name: name.into(),
            place,
            kind,
            body,
            frozen: false,
            frozen_at: None,
            attributes: Vec::new(),
            end: place,
            from: None,
            training: Training::default(),
            excused: false,
            params: IndexMap::new(),
            calls: Vec::new(),
        }
    }

    /// The graph's functions that calls of it are.
    pub fn functions(&self) -> impl Iterator<Item = FuncId> {
        self.calls.iter().map(|c| c.func)
    }
}

const VIEWS: [&str; 7] = ["out", "x0", "eps", "v", "flow", "features", "logvar"];

impl Elaborator<'_> {
    /// `student.x0`, `student.schedule`, …
    pub fn net_member(&mut self, net: NetId, name: &str, place: Place) -> Result<Value> {
        let state = &self.nets[net.0 as usize];
        let NetKind::Denoiser { schedule, spec } = &state.kind else {
            let name = state.name.clone();
            let message = format!("`{name}` is a critic, and only denoisers have views such as `.x0`");
            return Err(self.error_help("FG0106", message, place, "no view", format!("call it: `{name}(…)`")));
        };
        Ok(match name {
            "schedule" => Value::Schedule(*schedule),
            "predicts" => Value::str(&spec.predicts),
            view if VIEWS.contains(&view) => Value::View(net, view.into()),
            other => {
                let known: Vec<&str> = VIEWS.iter().copied().chain(["schedule", "predicts"]).collect();
                let d =
                    Diagnostic::error("FG0106", format!("networks have no view `{other}`")).label(place, "not found");
                return Err(self.report(match super::habits::member(other) {
                    Some(help) => d.help(help),
                    None => d.among(place, other, &known),
                }));
            }
        })
    }

    /// Calls a network: one graph function for each combination of argument types.
    pub fn call_net(&mut self, net: NetId, args: Args) -> Result<Value> {
        let place = args.place;
        let index = net.0 as usize;
        let values = self.net_arguments(net, args)?;
        let mut tensors = Vec::new();
        let mut signature = String::new();
        for (name, value) in &values {
            signature += &format!("{name}: {}; ", self.show_exact(value));
            value.clone().map_tensors(&mut |t| {
                tensors.push(t.clone());
                t.clone()
            });
        }
        let found = self.nets[index].calls.iter().position(|c| c.signature == signature);
        let call = match found {
            Some(i) => i,
            None => {
                let call = self.build_call(net, signature, &values, &tensors, place)?;
                self.nets[index].calls.push(call);
                self.nets[index].calls.len() - 1
            }
        };
        let CachedCall { func, outputs, result, .. } = &self.nets[index].calls[call];
        let (func, outputs, result) = (*func, outputs.clone(), result.clone());
        let inputs: Vec<NodeId> = tensors.iter().map(|t| t.node).collect();
        let mut made = Vec::new();
        let value = result.map_tensors(&mut |t| {
            let output = outputs.iter().position(|&n| n == t.node).expect("an output of the function");
            let node = self.graph.call(func, &inputs, output);
            made.push(node);
            Tensor { node, axes: t.axes.clone(), clock: t.clock }
        });
        for node in made {
            self.note(node, place);
        }
        Ok(value)
    }

    /// Named arguments of a network's call, its time checked against its clock.
    fn net_arguments(&mut self, net: NetId, args: Args) -> Result<Vec<(String, Value)>> {
        let state = &self.nets[net.0 as usize];
        let (name, kind, place) = (state.name.clone(), state.kind.clone(), args.place);
        let NetKind::Denoiser { schedule, .. } = kind else {
            let mut values: Vec<(String, Value)> =
                args.positional.into_iter().enumerate().map(|(i, (v, _))| (format!("{i}"), v)).collect();
            values.extend(args.named.into_iter().map(|(n, v, _)| (n, v)));
            return Ok(values);
        };
        let names = ["x", "t", "c", "r"];
        if args.positional.len() > names.len() {
            return Err(self.error("FG0216", format!("`{name}` takes (x, t, c, r)"), place, "too many arguments"));
        }
        let layer = match &state.body {
            Value::Body(body) => Some(body.layer.clone()),
            _ => None,
        };
        let mut slots: Vec<Option<(Value, Place)>> = args.positional.into_iter().map(Some).collect();
        slots.resize(names.len(), None);
        let mut more: Vec<(String, Value)> = Vec::new();
        for (given, value, at) in args.named {
            let of_layer = layer.iter().any(|l| l.params.iter().any(|p| p.name.text == given));
            match names.iter().position(|n| *n == given) {
                Some(i) if slots[i].is_none() => slots[i] = Some((value, at)),
                // What only this kind of network takes: `cache` of one that attends to earlier frames.
                None if of_layer && more.iter().all(|(n, _)| *n != given) => more.push((given, value)),
                _ => {
                    let message = format!("`{name}(x, t, c, r)` cannot take `{given}` here");
                    let network =
                        layer.map_or(String::new(), |l| format!("the network `{}` has no such input", l.name));
                    return Err(self.error_help("FG0216", message, at, "unknown or given twice", network));
                }
            }
        }
        let mut values = Vec::new();
        for (what, slot) in names.iter().zip(slots) {
            let value = match (*what, slot) {
                ("x" | "t", None) => {
                    let message =
                        format!("`{name}` needs {}", if *what == "x" { "the noisy data `x`" } else { "the time `t`" });
                    let help = "networks are called with (x, t, c, r): noisy data, its time, and where there are any the \
                                condition and a second time";
                    return Err(self.error_help("FG0216", message, place, "missing argument", help));
                }
                ("t" | "r", Some((value, at))) => self.net_time(&name, value, schedule, at)?,
                ("x", Some((value, at))) => {
                    self.narrow(&name, &value, at)?;
                    value
                }
                (_, Some((value, _))) => value,
                (_, None) => Value::None,
            };
            values.push((what.to_string(), value));
        }
        values.extend(more);
        Ok(values)
    }

    fn net_time(&mut self, name: &str, value: Value, schedule: ScheduleId, place: Place) -> Result<Value> {
        match value {
            Value::None => Ok(value),
            Value::Tensor(t) => match t.clock {
                Some(have) if have != schedule => Err(self.wrong_clock(have, schedule, place, None)),
                Some(_) => Ok(Value::Tensor(t)),
                None => {
                    let t_axes = t.axes.clone();
                    let shown = self.show(&Value::Tensor(t));
                    let clock = self.schedule_name(schedule).to_owned();
                    let stamp = format!("{name}.schedule.time");
                    if t_axes.iter().any(|a| !["B", "T"].contains(&&**a)) {
                        let message = format!("the second argument of `{name}` is a time, and {shown} is not");
                        let help =
                            format!("the arguments are `{name}(x, t, c, r)`: noisy data, its time, the condition");
                        return Err(self.error_help("FG0302", message, place, "not a time", help));
                    }
                    Err(self.report(
                        Diagnostic::error(
                            "FG0302",
                            format!("`{name}` takes a time of `{clock}`, and {shown} is not a time"),
                        )
                        .label(place, &shown)
                        .help(format!("draw it from a time law, or say that it is one: `{stamp}(…)`"))
                        .fix(Fix::around(place, &stamp)),
                    ))
                }
            },
            other => {
                let t = self.tensor_from(&other, DType::F64, place)?;
                Ok(Value::Tensor(Tensor { clock: Some(schedule), ..t }))
            }
        }
    }

    fn build_call(
        &mut self,
        net: NetId,
        signature: String,
        values: &[(String, Value)],
        tensors: &[Tensor],
        place: Place,
    ) -> Result<CachedCall> {
        let state = &self.nets[net.0 as usize];
        let (name, kind, body) = (state.name.clone(), state.kind.clone(), state.body.clone());
        let types: Vec<Ty> = tensors.iter().map(|t| self.graph.ty(t.node).clone()).collect();
        let func = self.graph.new_func(&name, &types);
        let formal = self.graph.func(func).args.clone();
        let mut next = formal.iter();
        let inner: Vec<(String, Value)> = values
            .iter()
            .map(|(n, v)| {
                let value = v.map_tensors(&mut |t| Tensor { node: *next.next().expect("an argument"), ..t.clone() });
                (n.clone(), value)
            })
            .collect();
        let outer = self.layer.replace(LayerScope { net: net.0 as usize, prefix: String::new() });
        let result = match kind {
            NetKind::Denoiser { schedule, spec } => {
                let views = self.standard_function("std.diffusion", "views", place)?;
                let mut inner = inner;
                let more = inner.split_off(4.min(inner.len()));
                let body = match body {
                    Value::Body(b) => {
                        let given = b.given.iter().filter(|(n, _)| more.iter().all(|(m, _)| m != n)).cloned();
                        Value::Body(Rc::new(NetBody {
                            layer: b.layer.clone(),
                            given: given.chain(more.clone()).collect(),
                        }))
                    }
                    other => other,
                };
                let mut positional = vec![
                    body,
                    Value::Schedule(schedule),
                    Value::str(&spec.predicts),
                    Value::str(&spec.precondition),
                    Value::Float(spec.sigma_data),
                ];
                positional.extend(inner.into_iter().map(|(_, v)| v));
                let positional = positional.into_iter().map(|v| (v, place)).collect();
                self.call(&views, Args { positional, named: Vec::new(), over: None, place }, None)
            }
            NetKind::Plain => {
                let (positional, named): (Vec<_>, Vec<_>) =
                    inner.into_iter().partition(|(n, _)| n.starts_with(|c: char| c.is_ascii_digit()));
                let args = Args {
                    positional: positional.into_iter().map(|(_, v)| (v, place)).collect(),
                    named: named.into_iter().map(|(n, v)| (n, v, place)).collect(),
                    over: None,
                    place,
                };
                self.call(&body, args, None)
            }
        };
        self.layer = outer;
        let result = result?;
        let mut outputs = Vec::new();
        result.map_tensors(&mut |t| {
            if !outputs.contains(&t.node) {
                outputs.push(t.node);
            }
            t.clone()
        });
        self.graph.set_outputs(func, outputs.clone());
        Ok(CachedCall { signature, func, result, outputs })
    }

    /// A function of the standard library that the compiler itself calls.
    pub fn standard_function(&mut self, module: &str, name: &str, place: Place) -> Result<Value> {
        let mut diagnostics = Vec::new();
        let id = self.modules.load_standard(self.sources, module, &mut diagnostics);
        self.diagnostics.append(&mut diagnostics);
        let Some(module) = id else {
            return Err(self.error("FG0102", format!("the standard library lacks `{module}`"), place, ""));
        };
        let file = self.modules.module(module).file;
        let env = Env { module, file, scope: Rc::default(), schedule: None };
        self.name(name, &env, place)
    }

    /// A network's layer on its inputs: those it names among (x, t, c, r), in that order, and its given sizes.
    pub fn call_body(&mut self, body: &NetBody, args: Args) -> Result<Value> {
        let place = args.place;
        let takes = |name: &str| body.layer.params.iter().any(|p| p.name.text == name);
        let mut named: Vec<(String, Value, Place)> =
            body.given.iter().map(|(n, v)| (n.clone(), v.clone(), place)).collect();
        let mut positional = Vec::new();
        if takes("x") {
            for (name, (value, at)) in ["x", "t", "c", "r"].iter().zip(args.positional) {
                if takes(name) {
                    named.push((name.to_string(), value, at));
                } else if !matches!(value, Value::None) {
                    let message = format!("the network `{}` takes no `{name}`", body.layer.name);
                    return Err(self.error_help(
                        "FG0216",
                        message,
                        at,
                        "given here",
                        "choose a network that does in the preset",
                    ));
                }
            }
        } else {
            positional = args.positional;
        }
        named.extend(args.named);
        let args = Args { positional, named, over: None, place };
        self.call(&Value::Function(body.layer.clone()), args, None)
    }

    /// `param weight: f32[O = out, C = n] ~ init` inside a layer.
    pub fn param(&mut self, name: &Name, ty: &Type, init: Option<&Expr>, env: &Env, place: Place) -> Result<()> {
        let Some(layer) = self.layer.clone() else {
            return Err(self.error_help(
                "FG0501",
                "`param` outside a network",
                place,
                "no network owns it",
                "parameters belong to layers that a `net` calls",
            ));
        };
        let TypeKind::Tensor { axes: Some(decls), .. } = &ty.kind else {
            return Err(self.error_help(
                "FG0502",
                "a parameter needs axes with extents",
                place,
                "of which shape?",
                "`param w: f32[O = out, C = n]`",
            ));
        };
        let mut axes: Vec<Axis> = Vec::new();
        let mut shape = Vec::new();
        for decl in decls {
            let AxisDecl::Axis { name, extent: Some(extent) } = decl else {
                return Err(self.error_help(
                    "FG0502",
                    "each axis of a parameter needs an extent",
                    place,
                    "how many elements?",
                    "`C = n`",
                ));
            };
            let n = self.int(extent, env)?;
            if n < 1 || axes.iter().any(|a| **a == *name.text) {
                let at = Place { file: env.file, span: extent.span };
                return Err(self.error(
                    "FG0502",
                    format!("axis {} = {n} of a parameter", name.text),
                    at,
                    "must be positive, each axis once",
                ));
            }
            axes.push(name.text.as_str().into());
            shape.push(n as usize);
        }
        let init = match init {
            None => Init::Constant(0.0),
            Some(e) => match self.expr(e, env)? {
                Value::Init(init) => init,
                v => match v.number() {
                    Some(x) => Init::Constant(x),
                    None => {
                        let at = Place { file: env.file, span: e.span };
                        let shown = self.show(&v);
                        return Err(self.error_help(
                            "FG0503",
                            format!("initial values cannot be {shown}"),
                            at,
                            "not initial values",
                            "a number, uniform_init(bound) or normal_init(std)",
                        ));
                    }
                },
            },
        };
        let full = format!("{}{}", layer.prefix, name.text);
        let params = &mut self.nets[layer.net].params;
        let at = self.frames.iter().rev().map(|f| f.place).next().unwrap_or(place);
        if let Some(before) = params.get(&full) {
            if before.shape != shape {
                let (shape_before, first) = (before.shape.clone(), before.place);
                return Err(self.report(
                    Diagnostic::error(
                        "FG0504",
                        format!("parameter `{full}` is {shape:?} here and {shape_before:?} elsewhere"),
                    )
                    .label(at, "this use")
                    .label(first, "the other use")
                    .help("give the two layers different names: `linear@first(…)`, `linear@second(…)`"),
                ));
            }
        } else {
            params.insert(full.clone(), ParamState { shape: shape.clone(), axes: axes.clone(), init, place: at });
        }
        let index = self.nets[layer.net].params.get_index_of(&full).expect("just inserted");
        let source = Source::Param { net: NetId(layer.net as u32), param: index };
        let node = self.graph.source(source, Ty::new(DType::F32, &shape));
        self.note(node, at);
        let value = Value::Tensor(Tensor { node, axes, clock: None });
        self.learn_binding(name, &value, env);
        env.bind(&name.text, value, false);
        Ok(())
    }

    /// As `show`, with all that distinguishes one call from another.
    fn show_exact(&self, value: &Value) -> String {
        match value {
            Value::List(l) => format!("[{}]", l.iter().map(|v| self.show_exact(v)).collect::<Vec<_>>().join(",")),
            Value::Float(x) => format!("{:x}", x.to_bits()),
            Value::Tensor(t) => format!("{}{}", self.show(value), self.graph.dtype(t.node)),
            other => self.show(other),
        }
    }
}
