//! A method's own statements: data, networks, losses, steps, samplers.

use super::elaborate::{Elaborator, Result};
use super::net::NetState;
use super::sampling::SampleSpec;
use super::value::*;
use crate::diagnostic::{Diagnostic, Fix, Place};
use crate::graph::{Graph, NodeId, Source, Ty};
use fgc_grammar::ast::{Block, Expr, Name, Stmt, StmtKind, Type};
use fgc_program::{DType, NetId};
use indexmap::IndexMap;
use rustc_hash::FxHashMap;

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

/// `state bins = …`: a buffer kept from step to step.
#[derive(Clone, Debug)]
pub struct StateSpec {
    /// The first step's.
    pub initial: NodeId,
    /// What steps read.
    pub value: Tensor,
    pub place: Place,
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
    /// Values that samplers keep.
    pub slots: usize,
}

impl Elaborator<'_> {
    pub fn record_binding(&mut self, name: &Name, value: &Value, env: &Env) {
        if self.sources.file(env.file).standard {
            return;
        }
        self.learn_binding(name, value, env);
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
                "functions and layers compute values; `data`, `net`, `loss`, `step` and `sample` stand in the method",
            ));
        }
        match &stmt.kind {
            StmtKind::Data(slots) => {
                let results: Vec<Result<()>> =
                    slots.iter().map(|(name, ty)| self.data(name, ty.as_ref(), env)).collect();
                results.into_iter().collect()
            }
            StmtKind::Net { name, value, attrs } => self.net(name, value, attrs, env),
            StmtKind::State { name, value, .. } => self.state_buffer(name, value, env),
            StmtKind::Loss { name, value, weight, targets } => {
                self.loss(name, value, weight.as_ref(), targets, env, place)
            }
            StmtKind::Metric(metrics) => {
                for (name, value) in metrics {
                    let node = self.scalar_value(value, env, &format!("metric `{}`", name.text))?;
                    self.metrics.push((name.text.clone(), node));
                }
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
            let mut help = super::expr::suggestion(&name.text, &known);
            if ["noise", "path"].contains(&&*name.text) {
                help += "; `fgc trajectories` writes data with a teacher's `noise` and `path`";
            }
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

    fn state_buffer(&mut self, name: &Name, value: &Expr, env: &Env) -> Result<()> {
        let place = Place { file: env.file, span: name.span };
        let value = self.expr(value, env)?;
        let t = self.tensor_from(&value, DType::F64, place)?;
        let source = Source::State { name: name.text.clone() };
        let node = self.graph.source(source, self.graph.ty(t.node).clone());
        let held = Tensor { node, ..t.clone() };
        self.state.insert(name.text.clone(), StateSpec { initial: t.node, value: held.clone(), place });
        let held = Value::Tensor(held);
        self.learn_binding(name, &held, env);
        env.bind(&name.text, held, true);
        Ok(())
    }

    /// A value without axes, as a loss or metric must be.
    fn scalar_value(&mut self, value: &Expr, env: &Env, what: &str) -> Result<NodeId> {
        let place = Place { file: env.file, span: value.span };
        let v = self.expr(value, env)?;
        let t = self.tensor_from(&v, DType::F64, place)?;
        if !t.axes.is_empty() {
            let shown = self.show(&v);
            return Err(self.report(
                Diagnostic::error("FG0228", format!("{what} must be one number, found {shown}"))
                    .label(place, &shown)
                    .help("`mean(…)` averages over all axes")
                    .fix(Fix { title: "average over all axes".into(), ..Fix::around(place, "mean") }),
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
                    Some(0.0) => {
                        for target in targets {
                            let at = Place { file: env.file, span: target.span };
                            if let Value::Network(net) = self.name(&target.text, env, at)? {
                                self.nets[net.0 as usize].excused = true;
                            }
                        }
                        return Ok(());
                    }
                    Some(1.0) => None,
                    _ => Some(self.tensor_from(&v, DType::F64, at)?.node),
                }
            }
        };
        let node = self.scalar_value(value, env, &format!("loss `{}`", name.text));
        let mut nets = Vec::new();
        for target in targets {
            let at = Place { file: env.file, span: target.span };
            if env.find(&target.text).is_none() {
                let known: Vec<&str> = self.nets.iter().filter(|n| !n.frozen).map(|n| n.name.as_str()).collect();
                let d = Diagnostic::error("FG0104", format!("there is no network `{}`", target.text))
                    .label(at, "not found here")
                    .among(at, &target.text, &known);
                let help = d.help.clone().map(|h| h.replace("it has", "networks that learn are"));
                return Err(self.report(d.maybe_help(help)));
            }
            match self.name(&target.text, env, at)? {
                Value::Network(net) if self.nets[net.0 as usize].frozen => {
                    let state = &self.nets[net.0 as usize];
                    let frozen = state.frozen_at.unwrap_or(state.place);
                    return Err(self.report(
                        Diagnostic::error("FG0304", format!("`{}` is frozen and learns from no loss", target.text))
                            .label(at, "asked to learn here")
                            .label(frozen, "frozen here")
                            .help("name the network that learns after `->`, or replace `frozen` by an optimiser")
                            .fix(Fix::new(format!("let `{}` learn", target.text)).replace(frozen, "adamw(lr = 1e-4)")),
                    ));
                }
                Value::Network(net) => nets.push(net),
                // Nobody learns from it; it counts in the total.
                Value::None => {}
                v => {
                    let shown = self.show(&v);
                    let known: Vec<&str> = self.nets.iter().filter(|n| !n.frozen).map(|n| n.name.as_str()).collect();
                    let message = format!("a loss trains networks, and `{}` is {shown}", target.text);
                    let d = Diagnostic::error("FG0606", message)
                        .label(at, "not a network")
                        .help(format!("networks that learn are {}", known.join(", ")));
                    let fix = match known.as_slice() {
                        [only] => Some(Fix::new(format!("train `{only}`")).replace(at, *only)),
                        _ => None,
                    };
                    return Err(self.report(d.maybe_fix(fix)));
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
                    .label(first, "first here")
                    .help("losses are reported by name: give one of them another"),
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
                    let help = "`step every 5 { … }` runs at iterations 0, 5, 10, …; `step { … }` at each";
                    return Err(self.error_help(
                        "FG0609",
                        format!("a step cannot run every {n} iterations"),
                        at,
                        "must be at least 1",
                        help,
                    ));
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
        // Of the steps that are due, the first runs.
        let takes = |before: &&StepSpec| match (before.every, every) {
            (None, _) => true,
            (Some(b), Some(n)) => n % b == 0,
            (Some(b), None) => b == 1,
        };
        if let Some(before) = self.steps.iter().find(takes) {
            let why = match before.every {
                None => "takes all other iterations".into(),
                Some(1) => "runs at every iteration".into(),
                Some(n) => format!("runs at every iteration divisible by {n}, and comes first"),
            };
            let first = before.place;
            let head = |place: Place, text: &str| {
                let end = text[place.span.start..].find('{').map_or(place.span.end, |i| place.span.start + i);
                Place { span: fgc_grammar::Span::new(place.span.start, end), ..place }
            };
            let text = self.sources.file(place.file).text.clone();
            self.report(
                Diagnostic::warning("FG0610", format!("step `{label}` never runs"))
                    .label(head(place, &text), "never reached")
                    .label(head(first, &text), format!("this step {why}"))
                    .help(
                        "at each iteration one step runs, the first that is due: put losses that belong together in \
                         one step, or say `step every k { … }` of the rarer one and `step otherwise { … }` after it",
                    ),
            );
        }
        let state = self.state_updates(env, place)?;
        self.steps.push(StepSpec { name: label, every, losses, metrics, state, place });
        Ok(())
    }

    /// What a step assigned to state buffers; the next step starts from the buffers again.
    fn state_updates(&mut self, env: &Env, place: Place) -> Result<Vec<(String, NodeId)>> {
        let mut out = Vec::new();
        for (name, spec) in self.state.clone() {
            let Some(Binding { value: Value::Tensor(now), .. }) = env.assign(&name, Value::Tensor(spec.value.clone()))
            else {
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
            let (had, has) = (self.dtype_of(&spec.value), self.dtype_of(&now));
            if has > had {
                let (was, is) = (self.show(&Value::Tensor(spec.value.clone())), self.show(&Value::Tensor(now.clone())));
                let at = self.places.get(&now.node).copied().filter(|p| p.file == place.file).unwrap_or(place);
                self.report(
                    Diagnostic::warning(
                        "FG0232",
                        format!("state `{name}` is {was}, and what it becomes, {is}, is rounded to that"),
                    )
                    .label(at, format!("{is} is made here"))
                    .label(spec.place, format!("{was} from here on"))
                    .help(format!("start it as `{has}(…)`, or say `{had}(…)` of its new value")),
                );
            }
            let node = self.to_axes(&now, &spec.value.axes, &shape);
            let node = self.graph.cast(node, self.dtype_of(&spec.value));
            let node = self.graph.stop(node);
            out.push((name, node));
        }
        Ok(out)
    }
}
