//! A method's own statements: data, networks, losses, steps, samplers.

use super::elaborate::{Elaborator, LayerScope, Result};
use super::net::{NetKind, NetState, Training};
use super::value::*;
use crate::diagnostic::{Diagnostic, Place, nearest};
use crate::graph::{Graph, NodeId, Source, Ty};
use crate::optimizer::{Ema, Optimizer, OptimizerKind};
use crate::preset::NetSpec;
use fgc_grammar::ast::*;
use fgc_program::{DType, NetId};
use indexmap::IndexMap;
use rustc_hash::FxHashMap;
use std::rc::Rc;

/// A term of what a step minimises.
#[derive(Clone, Debug)]
pub struct LossTerm {
    pub name: String,
    /// A scalar.
    pub node: NodeId,
    /// What it is multiplied by in the total; 1 when absent.
    pub weight: Option<NodeId>,
    pub targets: Vec<NetId>,
    pub place: Place,
}

#[derive(Clone, Debug)]
pub struct StepSpec {
    pub name: String,
    /// Runs at iterations divisible by this; None: at all others.
    pub every: Option<usize>,
    pub losses: Vec<LossTerm>,
    pub metrics: Vec<(String, NodeId)>,
    /// New values of state buffers.
    pub state: Vec<(String, NodeId)>,
    pub place: Place,
}

/// A sampler: a start, and a step repeated over rows of numbers.
#[derive(Clone, Debug)]
pub struct SampleSpec {
    pub name: String,
    pub init: NodeId,
    pub repeat: Option<(NodeId, Vec<Vec<f64>>)>,
    pub place: Place,
}

/// A `scan` met while a sampler is elaborated.
#[derive(Clone, Debug, Default)]
pub struct ScanState {
    pub init: Option<NodeId>,
    pub body: Option<NodeId>,
    pub carry: Option<NodeId>,
    pub rows: Vec<Vec<f64>>,
}

/// `state bins = …`: a buffer kept from step to step.
#[derive(Clone, Debug)]
pub struct StateSpec {
    /// The first step's.
    pub initial: NodeId,
    /// What steps read.
    pub value: Tensor,
}

/// A name the method binds, for the typed printing and editors.
#[derive(Clone, Debug)]
pub struct TypedBinding {
    pub name: String,
    pub place: Place,
    pub shown: String,
    pub node: Option<NodeId>,
}

/// A checked method, ready to differentiate.
#[derive(Debug)]
pub struct Elaborated {
    pub name: String,
    pub graph: Graph,
    pub nets: Vec<NetState>,
    pub steps: Vec<StepSpec>,
    pub samplers: Vec<SampleSpec>,
    pub bindings: Vec<TypedBinding>,
    pub places: FxHashMap<NodeId, Place>,
    pub state: IndexMap<String, StateSpec>,
}

impl Elaborator<'_> {
    pub fn record_binding(&mut self, name: &Name, value: &Value, env: &Env) {
        if self.sources.file(env.file).standard {
            return;
        }
        let shown = self.show(value);
        let node = if let Value::Tensor(t) = value { Some(t.node) } else { None };
        let place = Place { file: env.file, span: name.span };
        self.bindings.push(TypedBinding { name: name.text.clone(), place, shown, node });
    }

    pub fn method_statement(&mut self, stmt: &Stmt, env: &Env) -> Result<()> {
        let place = Place { file: env.file, span: stmt.span };
        if !self.frames.is_empty() {
            return Err(self.error_help(
                "FG0601",
                "this statement belongs in a method",
                place,
                "",
                "functions and layers compute values; data, net, loss, step and sample are the method's",
            ));
        }
        match &stmt.kind {
            StmtKind::Data(slots) => {
                let results: Vec<Result<()>> = slots.iter().map(|(name, ty)| self.data(name, ty.as_ref(), env)).collect();
                results.into_iter().collect()
            }
            StmtKind::Net { name, value, attrs } => self.net(name, value, attrs, env),
            StmtKind::State { name, value, .. } => self.state_buffer(name, value, env),
            StmtKind::Loss { name, value, weight, targets } => self.loss(name, value, weight.as_ref(), targets, env, place),
            StmtKind::Metric { name, value } => {
                let node = self.scalar_value(value, env, &format!("metric `{}`", name.text))?;
                self.metrics.push((name.text.clone(), node));
                Ok(())
            }
            StmtKind::Step { name, every, body } => self.step(name.as_ref(), every.as_ref(), body, env, place),
            StmtKind::Sample { name, value } => self.sample(name.as_ref(), value, env, place),
            _ => Ok(()),
        }
    }

    fn data(&mut self, name: &Name, ty: Option<&Type>, env: &Env) -> Result<()> {
        let place = Place { file: env.file, span: name.span };
        let Some(field) = self.setup.fields.get(&name.text).cloned() else {
            // Data without classes have no condition: every network is asked without one.
            if name.text == "c" {
                env.bind("c", Value::None, false);
                return Ok(());
            }
            if ty.is_some_and(|t| t.optional) {
                env.bind(&name.text, Value::None, false);
                return Ok(());
            }
            let known: Vec<&str> = self.setup.fields.keys().map(String::as_str).collect();
            let help = super::expr::suggestion(&name.text, &known);
            return Err(self.error_help(
                "FG0602",
                format!("the data set has no field `{}`", name.text),
                place,
                "not in the data",
                help,
            ));
        };
        let mut axes: Vec<Axis> = vec!["B".into()];
        axes.extend(field.axes.iter().map(|a| Axis::from(a.as_str())));
        let mut shape = vec![self.setup.batch];
        shape.extend(&field.shape);
        let node = self.graph.source(Source::Data { name: name.text.clone() }, Ty::new(DType::F32, &shape));
        self.note(node, place);
        let mut value = Value::Tensor(Tensor { node, axes, clock: None });
        if let Some(ty) = ty {
            value = self.conform(value, ty, env, place, &format!("data `{}`", name.text))?;
        }
        self.record_binding(name, &value, env);
        env.bind(&name.text, value, false);
        Ok(())
    }

    fn net(&mut self, name: &Name, value: &Expr, attrs: &[NetAttr], env: &Env) -> Result<()> {
        let place = Place { file: env.file, span: name.span };
        let template = match &*value.kind {
            ExprKind::Call { callee, args, .. } if args.is_empty() => match self.expr(callee, env)? {
                Value::Template(t) => Some(t),
                _ => None,
            },
            _ => None,
        };
        let Some(template) = template else {
            let at = Place { file: env.file, span: value.span };
            return Err(self.error_help(
                "FG0603",
                "`net` takes a kind of network",
                at,
                "",
                "`denoiser()` or `critic()`: the preset says which network that is",
            ));
        };
        let Some(spec) = self.setup.net(&name.text, &template).cloned() else {
            let at = Place { file: env.file, span: value.span };
            return Err(self.error_help(
                "FG0604",
                format!("the preset names no network for `{template}()`"),
                at,
                "",
                format!("add `{template}: \"…\"` to the preset"),
            ));
        };
        let mut state = NetState::new(&name.text, place, NetKind::Plain, Value::Error);
        if &*template == "denoiser" {
            let schedule = self.preset_schedule(&spec, place)?;
            state.kind = NetKind::Denoiser { schedule, spec: spec.clone() };
        }
        state.body = self.net_body(&name.text, &spec, place)?;
        for attr in attrs {
            self.net_attribute(&mut state, attr, env)?;
        }
        if let Some(over) = self.setup.optimizers.get(&name.text) {
            state.training.optimizer = Some(over.clone());
        }
        if state.frozen && let Some(attr) = attrs.iter().find(|a| matches!(a.kind, NetAttrKind::Call { .. })) {
            let at = Place { file: env.file, span: attr.span };
            return Err(self.error_help(
                "FG0605",
                format!("`{}` is frozen and cannot learn", name.text),
                at,
                "learns here",
                "drop `frozen` or this",
            ));
        }
        let id = NetId(self.nets.len() as u32);
        if self.nets.iter().any(|n| n.name == name.text) {
            return Err(self.error("FG0101", format!("network `{}` is made twice", name.text), place, "again here"));
        }
        self.nets.push(state);
        self.record_binding(name, &Value::Network(id), env);
        env.bind(&name.text, Value::Network(id), false);
        Ok(())
    }

    fn net_attribute(&mut self, state: &mut NetState, attr: &NetAttr, env: &Env) -> Result<()> {
        let at = Place { file: env.file, span: attr.span };
        match &attr.kind {
            NetAttrKind::Frozen => state.frozen = true,
            NetAttrKind::From(source) => {
                let place = Place { file: env.file, span: source.span };
                match self.name(&source.text, env, place)? {
                    Value::Network(net) => state.from = Some(net),
                    v => {
                        let shown = self.show(&v);
                        return Err(self.error("FG0606", format!("`from` takes a network, found {shown}"), place, &shown));
                    }
                }
            }
            NetAttrKind::Call { name, args } => {
                let mut given: Vec<(Option<String>, f64)> = Vec::new();
                for arg in args {
                    let place = Place { file: env.file, span: arg.value.span };
                    let key = arg.name.as_ref().map(|n| n.text.clone());
                    match self.expr(&arg.value, env)? {
                        Value::List(l) if key.as_deref() == Some("betas") && l.len() == 2 => {
                            for (i, v) in l.iter().enumerate() {
                                given.push((Some(format!("beta{}", i + 1)), v.number().unwrap_or(f64::NAN)));
                            }
                        }
                        v => match v.number() {
                            Some(x) => given.push((key, x)),
                            None => {
                                let shown = self.show(&v);
                                return Err(self.error("FG0209", format!("a number is wanted here, found {shown}"), place, &shown));
                            }
                        },
                    }
                }
                self.training_attribute(&mut state.training, &name.text, &given, at)?;
            }
        }
        Ok(())
    }

    fn training_attribute(&mut self, training: &mut Training, name: &str, given: &[(Option<String>, f64)], at: Place) -> Result<()> {
        let allowed: &[&str] = match name {
            "adamw" | "adam" | "radam" => &["lr", "beta1", "beta2", "eps", "weight_decay"],
            "ema" => &["decay", "half_life"],
            "clip" => &["norm"],
            "warmup" => &["updates"],
            _ => {
                let known = ["adamw", "adam", "radam", "ema", "clip", "warmup"];
                let help = match nearest(name, known) {
                    Some(n) => format!("did you mean `{n}`?"),
                    None => format!("networks take frozen, from, {}", known.join(", ")),
                };
                return Err(self.error_help("FG0607", format!("networks take no `{name}`"), at, "", help));
            }
        };
        let mut values: FxHashMap<&str, f64> = FxHashMap::default();
        for (i, (key, x)) in given.iter().enumerate() {
            let key = key.as_deref().or(allowed.get(i).copied()).unwrap_or("");
            match allowed.iter().find(|a| **a == key) {
                Some(known) if !x.is_nan() => {
                    values.insert(known, *x);
                }
                _ => {
                    let message = format!("`{name}` takes {}", allowed.join(", "));
                    return Err(self.error("FG0607", message, at, &format!("not `{key}`")));
                }
            }
        }
        let get = |key: &str, default: f64| values.get(key).copied().unwrap_or(default);
        match name {
            "ema" => {
                training.ema = Some(match values.get("half_life") {
                    Some(&samples) => Ema::HalfLife { samples },
                    None => Ema::Decay(get("decay", 0.999)),
                });
            }
            "clip" => training.clip = Some(get("norm", 1.0)),
            "warmup" => training.warmup = get("updates", 0.0),
            kind => {
                let kind = match kind {
                    "adamw" => OptimizerKind::AdamW,
                    "adam" => OptimizerKind::Adam,
                    _ => OptimizerKind::RAdam,
                };
                training.optimizer = Some(Optimizer {
                    kind,
                    lr: get("lr", 1e-3),
                    betas: [get("beta1", 0.9), get("beta2", 0.999)],
                    eps: get("eps", 1e-8),
                    weight_decay: get("weight_decay", if kind == OptimizerKind::AdamW { 0.01 } else { 0.0 }),
                });
            }
        }
        Ok(())
    }

    /// The schedule a preset names, `std.schedule.<name>`.
    fn preset_schedule(&mut self, spec: &NetSpec, place: Place) -> Result<ScheduleId> {
        match self.standard_function(&format!("std.schedule.{}", spec.schedule), &spec.schedule, place)? {
            Value::Schedule(s) => Ok(s),
            _ => Err(self.error("FG0608", format!("there is no schedule `{}`", spec.schedule), place, "")),
        }
    }

    /// A network's body from the preset's words: `mlp(hidden = 128, classes = classes)`.
    fn net_body(&mut self, net: &str, spec: &NetSpec, place: Place) -> Result<Value> {
        let file = self.sources.add(&format!("network of {net} in the preset"), &spec.network, false);
        let whole = Place { file, span: fgc_grammar::Span::new(0, spec.network.len()) };
        let parsed = match fgc_grammar::parse_expr(&spec.network) {
            Ok(e) => e,
            Err(errors) => {
                for e in errors {
                    let d = Diagnostic::error(e.code, e.message).label(Place { file, span: e.span }, "").maybe_help(e.help);
                    self.report(d);
                }
                return Err(super::Reported);
            }
        };
        let ExprKind::Call { callee, args, .. } = &*parsed.kind else {
            return Err(self.error_help("FG0604", "a preset's network is a call", whole, "", "`\"mlp(hidden = 128)\"`"));
        };
        let ExprKind::Name(layer) = &*callee.kind else {
            return Err(self.error("FG0604", "a preset's network is a layer's name with sizes", whole, ""));
        };
        let env = Env { module: self.user, file, scope: Rc::default(), schedule: None };
        env.bind("classes", Value::Int(self.setup.classes() as i64), false);
        let schedule = self.preset_schedule(spec, place)?;
        env.bind("schedule", Value::Schedule(schedule), false);
        if let Some(mixture) = &self.setup.mixture {
            env.bind("mixture", mixture.to_value(self.setup.classes()), false);
        }
        let at = Place { file, span: callee.span };
        let value = match self.find_network(layer, &env, at)? {
            Value::Function(f) if f.kind == ClosureKind::Layer => f,
            v => {
                let shown = self.show(&v);
                return Err(self.error("FG0604", format!("`{layer}` is not a network, but {shown}"), at, ""));
            }
        };
        let mut given = Vec::new();
        for arg in args {
            let Some(name) = &arg.name else {
                return Err(self.error_help("FG0604", "a network's sizes are given by name", whole, "", "`hidden = 128`"));
            };
            if !value.params.iter().any(|p| p.name.text == name.text) {
                let known: Vec<&str> = value.params.iter().map(|p| p.name.text.as_str()).collect();
                let help = super::expr::suggestion(&name.text, &known);
                let at = Place { file, span: name.span };
                return Err(self.error_help("FG0216", format!("`{layer}` has no `{}`", name.text), at, "unknown", help));
            }
            given.push((name.text.clone(), self.expr(&arg.value, &env)?));
        }
        Ok(Value::Body(Rc::new(NetBody { layer: value, given })))
    }

    /// A network by name: what the user's file sees, else the standard networks.
    fn find_network(&mut self, name: &str, env: &Env, place: Place) -> Result<Value> {
        if self.modules.lookup(env.module, name).is_some() {
            return self.name(name, env, place);
        }
        let mut known = Vec::new();
        let modules = crate::source::standard_modules();
        for path in modules.iter().filter(|m| m.starts_with("std.network.")) {
            let mut diagnostics = Vec::new();
            let Some(id) = self.modules.load_standard(self.sources, path, &mut diagnostics) else { continue };
            self.diagnostics.append(&mut diagnostics);
            let layers = self.modules.module(id).items.iter().filter_map(|i| match &i.kind {
                ItemKind::Layer(f) => Some(f.name.text.clone()),
                _ => None,
            });
            let layers: Vec<String> = layers.collect();
            if layers.iter().any(|l| l == name) {
                return self.standard_function(path, name, place);
            }
            known.extend(layers);
        }
        let help = match nearest(name, known.iter().map(String::as_str)) {
            Some(n) => format!("did you mean `{n}`?"),
            None => "networks are mlp, unet, analytic, mlp_critic, unet_critic, and layers of your own file".into(),
        };
        Err(self.error_help("FG0104", format!("there is no network `{name}`"), place, "not found", help))
    }

    fn state_buffer(&mut self, name: &Name, value: &Expr, env: &Env) -> Result<()> {
        let place = Place { file: env.file, span: name.span };
        let value = self.expr(value, env)?;
        let t = self.tensor_from(&value, DType::F64, place)?;
        let source = Source::State { name: name.text.clone() };
        let node = self.graph.source(source, self.graph.ty(t.node).clone());
        let held = Tensor { node, ..t.clone() };
        self.state.insert(name.text.clone(), StateSpec { initial: t.node, value: held.clone() });
        env.bind(&name.text, Value::Tensor(held), true);
        Ok(())
    }

    /// A value without axes, as a loss or metric must be.
    fn scalar_value(&mut self, value: &Expr, env: &Env, what: &str) -> Result<NodeId> {
        let place = Place { file: env.file, span: value.span };
        let v = self.expr(value, env)?;
        let t = self.tensor_from(&v, DType::F64, place)?;
        if !t.axes.is_empty() {
            let shown = self.show(&v);
            return Err(self.error_help(
                "FG0228",
                format!("{what} must be one number, found {shown}"),
                place,
                &shown,
                "`mean(…)` averages over all axes",
            ));
        }
        if self.dtype_of(&t).is_float() { Ok(t.node) } else { Ok(self.graph.cast(t.node, DType::F64)) }
    }

    fn loss(
        &mut self,
        name: &Name,
        value: &Expr,
        weight: Option<&Expr>,
        targets: &[Name],
        env: &Env,
        place: Place,
    ) -> Result<()> {
        let weight = match weight {
            None => None,
            Some(e) => {
                let at = Place { file: env.file, span: e.span };
                let v = self.expr(e, env)?;
                match v.number() {
                    Some(0.0) => return Ok(()),
                    Some(1.0) => None,
                    _ => Some(self.tensor_from(&v, DType::F64, at)?.node),
                }
            }
        };
        let node = self.scalar_value(value, env, &format!("loss `{}`", name.text));
        let mut nets = Vec::new();
        for target in targets {
            let at = Place { file: env.file, span: target.span };
            match self.name(&target.text, env, at)? {
                Value::Network(net) if self.nets[net.0 as usize].frozen => {
                    let made = self.nets[net.0 as usize].place;
                    return Err(self.report(
                        Diagnostic::error("FG0304", format!("`{}` is frozen and learns from no loss", target.text))
                            .label(at, "asked to learn here")
                            .label(made, "frozen here")
                            .help("drop `frozen`, or name the network that learns"),
                    ));
                }
                Value::Network(net) => nets.push(net),
                v => {
                    let shown = self.show(&v);
                    let known: Vec<String> = self.nets.iter().map(|n| n.name.clone()).collect();
                    let help = format!("networks are {}", known.join(", "));
                    return Err(self.error_help("FG0606", format!("a loss trains networks, and this is {shown}"), at, &shown, help));
                }
            }
        }
        let node = node?;
        self.note(node, place);
        if let Some(before) = self.pending.iter().find(|l| l.name == name.text) {
            let first = before.place;
            return Err(self.report(
                Diagnostic::error("FG0101", format!("loss `{}` is there twice", name.text))
                    .label(Place { file: env.file, span: name.span }, "again here")
                    .label(first, "first here"),
            ));
        }
        self.pending.push(LossTerm { name: name.text.clone(), node, weight, targets: nets, place });
        Ok(())
    }

    fn step(&mut self, name: Option<&Name>, every: Option<&Expr>, body: &Block, env: &Env, place: Place) -> Result<()> {
        let every = match every {
            // `step { … }` is written without a count.
            Some(e) if e.span.start == e.span.end => Some(1),
            Some(e) => {
                let n = self.int(e, env)?;
                if n < 1 {
                    let at = Place { file: env.file, span: e.span };
                    return Err(self.error("FG0609", format!("a step every {n} iterations"), at, "must be positive"));
                }
                Some(n as usize)
            }
            None => None,
        };
        let label = match (name, every) {
            (Some(n), _) => n.text.clone(),
            (None, Some(_)) => format!("step{}", self.steps.len()),
            (None, None) => "otherwise".into(),
        };
        let inner = env.child();
        let outcome = self.block(body, &inner);
        let losses = std::mem::take(&mut self.pending);
        let metrics = std::mem::take(&mut self.metrics);
        outcome?;
        if let Some(before) = self.steps.iter().find(|s| s.every.is_none() || s.every == Some(1)) {
            let (first, why) = (before.place, if before.every.is_none() { "takes all other iterations" } else { "runs at every iteration" });
            let message = format!("step `{label}` never runs");
            return Err(self.report(
                Diagnostic::error("FG0610", message).label(place, "never reached").label(first, format!("this step {why}")),
            ));
        }
        let state = self.state_updates(env, place)?;
        self.steps.push(StepSpec { name: label, every, losses, metrics, state, place });
        Ok(())
    }

    /// What a step assigned to state buffers; the next step starts from the buffers again.
    fn state_updates(&mut self, env: &Env, place: Place) -> Result<Vec<(String, NodeId)>> {
        let mut out = Vec::new();
        for (name, spec) in self.state.clone() {
            let Some(Binding { value: Value::Tensor(now), .. }) = env.assign(&name, Value::Tensor(spec.value.clone())) else {
                continue;
            };
            if now.node == spec.value.node {
                continue;
            }
            if now.axes.iter().any(|a| !spec.value.axes.contains(a)) {
                let (was, is) = (self.show(&Value::Tensor(spec.value)), self.show(&Value::Tensor(now)));
                return Err(self.error("FG0201", format!("state `{name}` is {was} and becomes {is}"), place, ""));
            }
            let shape = self.shape_of(&spec.value);
            let node = self.to_axes(&now, &spec.value.axes, &shape);
            let node = self.graph.cast(node, self.dtype_of(&spec.value));
            let node = self.graph.stop(node);
            out.push((name, node));
        }
        Ok(out)
    }

    fn sample(&mut self, name: Option<&Name>, value: &Expr, env: &Env, place: Place) -> Result<()> {
        let label = name.map_or("method".to_owned(), |n| n.text.clone());
        let prefix = std::mem::replace(&mut self.draw_prefix, format!("sample.{label}."));
        let outer = self.scan.replace(ScanState::default());
        let layer: Option<LayerScope> = self.layer.take();
        let result = self.expr(value, env);
        self.layer = layer;
        self.draw_prefix = prefix;
        let scan = std::mem::replace(&mut self.scan, outer).unwrap_or_default();
        let at = Place { file: env.file, span: value.span };
        let Value::Tensor(t) = result? else {
            return Err(self.error("FG0611", "a sampler gives a tensor of samples", at, ""));
        };
        let spec = match (scan.init, scan.body, scan.carry) {
            (Some(init), Some(body), Some(carry)) => {
                if t.node != carry {
                    return Err(self.error("FG0611", "a sampler returns what its `scan` carries, as it is", at, ""));
                }
                SampleSpec { name: label, init, repeat: Some((body, scan.rows)), place }
            }
            _ => SampleSpec { name: label, init: t.node, repeat: None, place },
        };
        self.samplers.push(spec);
        Ok(())
    }

    /// `scan t, u in rows carry x { … }`: the body once, to be repeated over the rows.
    pub fn scan(&mut self, names: &[Name], iter: &Expr, carry: &Name, body: &Block, env: &Env, place: Place) -> Result<()> {
        if self.scan.as_ref().is_none_or(|s| s.init.is_some()) {
            return Err(self.error_help(
                "FG0612",
                "`scan` stands once, in a function that `sample` calls",
                place,
                "",
                "elsewhere `for` repeats while compiling",
            ));
        }
        let at = Place { file: env.file, span: iter.span };
        let Value::List(items) = self.expr(iter, env)? else {
            return Err(self.error("FG0219", "`scan` runs over a list of numbers", at, ""));
        };
        let mut rows = Vec::new();
        for item in items.iter() {
            let numbers: Option<Vec<f64>> = match item {
                Value::List(l) => l.iter().map(Value::number).collect(),
                v => v.number().map(|x| vec![x]),
            };
            match numbers {
                Some(row) if row.len() == names.len() => rows.push(row),
                _ => {
                    let shown = self.show(item);
                    return Err(self.error("FG0220", format!("{} names for {shown}", names.len()), at, ""));
                }
            }
        }
        let at = Place { file: env.file, span: carry.span };
        let Value::Tensor(init) = self.name(&carry.text, env, at)? else {
            return Err(self.error("FG0611", "`carry` takes a tensor", at, ""));
        };
        let node = self.graph.source(Source::Carry, self.graph.ty(init.node).clone());
        let carried = Tensor { node, ..init.clone() };
        if !matches!(env.assign(&carry.text, Value::Tensor(carried.clone())), Some(Binding { mutable: true, .. })) {
            return Err(self.error("FG0109", format!("`{}` is fixed", carry.text), at, "declare it with `var`"));
        }
        let inner = env.child();
        for (position, name) in names.iter().enumerate() {
            let node = self.graph.source(Source::Repeat { position }, Ty::new(DType::F64, &[]));
            inner.bind(&name.text, Value::Tensor(Tensor { node, axes: Vec::new(), clock: None }), false);
        }
        self.block(body, &inner)?;
        let Value::Tensor(after) = self.name(&carry.text, env, at)? else {
            return Err(self.error("FG0611", "`carry` must stay a tensor", at, ""));
        };
        let shape = self.shape_of(&init);
        if after.axes.iter().any(|a| !init.axes.contains(a)) {
            let (a, b) = (self.show(&Value::Tensor(init)), self.show(&Value::Tensor(after)));
            return Err(self.error("FG0201", format!("`{}` starts as {a} and becomes {b}", carry.text), at, ""));
        }
        let body = self.to_axes(&after, &init.axes, &shape);
        let body = self.graph.cast(body, self.graph.dtype(init.node));
        env.assign(&carry.text, Value::Tensor(carried.clone()));
        self.scan = Some(ScanState { init: Some(init.node), body: Some(body), carry: Some(carried.node), rows });
        Ok(())
    }
}
