//! Checking one method of a file.

use super::elaborate::Elaborator;
use super::facts::{Facts, LossFact};
use super::flow;
use super::leak;
use super::method::Elaborated;
use super::value::*;
use crate::derive::DeriveError;
use crate::diagnostic::{Diagnostic, Failure, Fix, Place, Severity};
use crate::graph::{Graph, NodeId, inline_with};
use crate::module::{ModuleId, Modules};
use crate::preset::Setup;
use crate::source::Sources;
use fgc_grammar::ast::ItemKind;
use fgc_program::NetId;
use rustc_hash::FxHashMap;
use std::rc::Rc;

/// A method that passed all checks; its graph has no calls left.
#[derive(Debug)]
pub struct Checked {
    pub sources: Sources,
    pub method: Elaborated,
    pub warnings: Vec<Diagnostic>,
    /// The graph as elaborated, networks as calls: for printing.
    pub called: (Graph, Vec<NodeId>),
}

/// All that checking a file found out, whether it is right or not.
#[derive(Debug)]
pub struct Inspection {
    pub sources: Sources,
    pub modules: Modules,
    /// The file.
    pub user: ModuleId,
    pub facts: Facts,
    /// Errors first.
    pub diagnostics: Vec<Diagnostic>,
    /// None if it failed.
    method: Option<Elaborated>,
    /// Its graph as elaborated, where that was asked for.
    called: Option<(Graph, Vec<NodeId>)>,
}

/// Checks the method in `text` (the file `name`) for a setup.
pub fn check(name: &str, text: &str, setup: &Setup) -> Result<Checked, Failure> {
    let Inspection { sources, diagnostics, method, called, .. } = run(name, text, setup, true);
    match (method, called) {
        (Some(method), Some(called)) if diagnostics.iter().all(|d| d.severity != Severity::Error) => {
            Ok(Checked { sources, method, warnings: diagnostics, called })
        }
        _ => Err(Failure { sources, diagnostics }),
    }
}

/// As [`check`], keeping what is known of a file with mistakes too.
pub fn inspect(name: &str, text: &str, setup: &Setup) -> Inspection {
    run(name, text, setup, false)
}

/// `keep`: the graph as elaborated, too.
fn run(name: &str, text: &str, setup: &Setup, keep: bool) -> Inspection {
    let mut sources = Sources::default();
    let mut modules = Modules::default();
    let mut diagnostics = Vec::new();
    let user = modules.load_user(&mut sources, name, text, &mut diagnostics);
    let mut e = Elaborator::new(&mut sources, &mut modules, setup, user);
    e.diagnostics = diagnostics;
    let mut elaborated = e.method();
    let mut facts = std::mem::take(&mut e.facts);
    let tensors = std::mem::take(&mut e.tensors);
    let called = elaborated.as_ref().filter(|_| keep).map(|m| (m.graph.clone(), outputs(m)));
    let mut diagnostics = std::mem::take(&mut e.diagnostics);
    if let Some(method) = &mut elaborated {
        let leaks = leak::warnings(method, &tensors);
        match inline_method(method) {
            Ok(()) => {
                diagnostics.extend(check_flow(method, &sources, &mut facts));
                diagnostics.extend(leaks);
            }
            Err(e) => diagnostics.push(underived(&e, &method.places)),
        }
    }
    diagnostics.sort_by_key(|d| d.severity == Severity::Warning);
    Inspection { sources, modules, user, facts, diagnostics, method: elaborated, called }
}

/// Everything a method computes, in a fixed order.
fn outputs(m: &Elaborated) -> Vec<NodeId> {
    let mut out = Vec::new();
    for step in &m.steps {
        for loss in &step.losses {
            out.push(loss.node);
            out.extend(loss.weight);
        }
        out.extend(step.metrics.iter().chain(&step.state).map(|(_, n)| *n));
    }
    for s in &m.samplers {
        out.push(s.result);
        out.extend(s.scans.iter().flat_map(|scan| [scan.init, scan.body]));
    }
    for s in m.state.values() {
        out.push(s.initial);
    }
    out
}

/// Replaces calls by bodies; places of nodes go along.
fn inline_method(m: &mut Elaborated) -> Result<(), DeriveError> {
    let before = outputs(m);
    let mut places: FxHashMap<NodeId, Place> = m.places.clone();
    let after = inline_with(&mut m.graph, &before, &mut |old, new| {
        if let Some(&place) = places.get(&old) {
            places.entry(new).or_insert(place);
        }
    });
    m.places = places;
    let after = after?;
    let mut next = after.into_iter();
    let mut take = |n: &mut NodeId| *n = next.next().unwrap_or(*n);
    for step in &mut m.steps {
        for loss in &mut step.losses {
            take(&mut loss.node);
            if let Some(weight) = &mut loss.weight {
                take(weight);
            }
        }
        step.metrics.iter_mut().chain(&mut step.state).for_each(|(_, n)| take(n));
    }
    for s in &mut m.samplers {
        take(&mut s.result);
        for scan in &mut s.scans {
            take(&mut scan.init);
            take(&mut scan.body);
        }
    }
    for s in m.state.values_mut() {
        take(&mut s.initial);
    }
    Ok(())
}

/// A derivative that is asked for and cannot be had.
pub fn underived(error: &DeriveError, places: &FxHashMap<NodeId, Place>) -> Diagnostic {
    let d = match error {
        DeriveError::Undeclared { kernel, missing, .. } => {
            let (what, how) = match *missing {
                "jvp" => ("along a direction", "its arguments, then a tangent for each"),
                _ => ("backwards", "its arguments, then a cotangent for each result"),
            };
            Diagnostic::error("FG0802", format!("`{kernel}` is differentiated {what}, and declares no `{missing}`"))
                .help(format!("add `{missing} = f` to it: a function of {how}; or put the call under `stop(…)`"))
        }
        _ => Diagnostic::error("FG0801", format!("the loss cannot be differentiated: {error}"))
            .help("put it under `stop(…)`, or write it with operations that have derivatives"),
    };
    match places.get(&error.node()) {
        Some(&place) => d.label(place, "made here"),
        None => d,
    }
}

/// Losses must reach what they train; what can learn should be trained by something.
fn check_flow(m: &Elaborated, sources: &Sources, facts: &mut Facts) -> Vec<Diagnostic> {
    let mut out = Vec::new();
    let name_of = |net: &NetId| m.nets[net.0 as usize].name.clone();
    for loss in m.steps.iter().flat_map(|s| &s.losses) {
        let reached = flow::reach(&m.graph, loss.node);
        facts.losses.push(LossFact {
            name: loss.name.clone(),
            place: loss.place,
            reaches: reached.nets.iter().map(name_of).collect(),
            trains: loss.targets.iter().map(name_of).collect(),
        });
        for target in &loss.targets {
            if reached.nets.contains(target) {
                continue;
            }
            let net = &m.nets[target.0 as usize].name;
            let mut d = Diagnostic::error("FG0303", format!("loss `{}` cannot reach `{net}`", loss.name))
                .label(loss.place, format!("no gradient arrives at `{net}`"));
            let cuts: Vec<Place> = reached
                .stops
                .iter()
                .filter(|&&s| flow::reach(&m.graph, m.graph.node(s).inputs[0]).nets.contains(target))
                .filter_map(|s| m.places.get(s).copied())
                .filter(|p| p.file == loss.place.file)
                .collect();
            for cut in &cuts {
                d = d.label(*cut, "this `stop` cuts it off");
            }
            // Comparisons and the like have no derivative.
            let flat = reached.flat.iter().filter(|f| flow::behind(&m.graph, **f).nets.contains(target));
            let flat: Vec<Place> = flat.filter_map(|f| m.places.get(f).copied()).collect();
            for place in flat.iter().filter(|p| p.file == loss.place.file) {
                d = d.label(*place, "this has no derivative");
            }
            let names: Vec<&str> = reached.nets.iter().map(|n| m.nets[n.0 as usize].name.as_str()).collect();
            d = d.help(match (cuts.is_empty(), flat.is_empty(), names.is_empty()) {
                (false, ..) => format!("remove the `stop`, or train another network than `{net}`"),
                (true, false, _) => {
                    "comparisons, `sign`, `floor` and whole numbers pass no gradient: use a smooth function".into()
                }
                (true, true, false) => {
                    format!("it depends differentiably on {}: is one of those meant?", names.join(", "))
                }
                (true, true, true) => format!("its value depends on no network: compute it from what `{net}` answers"),
            });
            if let Some(fix) = without_stops(&cuts, sources) {
                d = d.fix(fix);
            }
            out.push(d);
        }
    }
    for (i, net) in m.nets.iter().enumerate() {
        let trained = m.steps.iter().flat_map(|s| &s.losses).any(|l| l.targets.iter().any(|t| t.0 as usize == i));
        let used = !net.params.is_empty();
        if used && !net.frozen && !trained && !net.excused {
            let fix = match net.attributes.split_first() {
                Some((&first, more)) => {
                    let fix = Fix::new(format!("freeze `{}`", net.name)).replace(first, "frozen");
                    more.iter().fold(fix, |fix, &at| fix.replace(at, ""))
                }
                None => Fix::new(format!("freeze `{}`", net.name)).after(net.end, " frozen"),
            };
            out.push(
                Diagnostic::warning("FG0305", format!("no loss trains `{}`", net.name))
                    .label(net.place, "never learns")
                    .help(format!("write `frozen` if that is meant, or a loss that ends in `-> {}`", net.name))
                    .fix(fix),
            );
        }
        if trained && net.training.optimizer.is_none() {
            out.push(
                Diagnostic::error("FG0306", format!("`{}` is trained and has no optimiser", net.name))
                    .label(net.place, "made here")
                    .help("add one: `adamw(lr = 1e-4)`")
                    .fix(Fix::new("add `adamw(lr = 1e-4)`").after(net.end, " adamw(lr = 1e-4)")),
            );
        }
    }
    out
}

/// Takes these calls of `stop` away, if they are all written as such.
fn without_stops(cuts: &[Place], sources: &Sources) -> Option<Fix> {
    let mut fix = Fix::new("remove the `stop`");
    for cut in cuts {
        let text = sources.file(cut.file).text.get(cut.span.start..cut.span.end)?;
        let open = "stop(".len();
        let inside = text.strip_prefix("stop(")?.strip_suffix(')')?;
        // Parentheses that close before the end are not those of this call.
        let mut depth = 0i32;
        if inside.bytes().any(|b| {
            depth += i32::from(b == b'(') - i32::from(b == b')');
            depth < 0
        }) {
            return None;
        }
        // What needs no parentheses: names, members, calls.
        let simple = inside.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.(), =".contains(&b));
        let keep = usize::from(!simple);
        let start = fgc_grammar::Span::new(cut.span.start, cut.span.start + open - keep);
        let end = fgc_grammar::Span::new(cut.span.end - 1 + keep, cut.span.end);
        fix = fix.replace(Place { span: start, ..*cut }, "").replace(Place { span: end, ..*cut }, "");
    }
    (!cuts.is_empty()).then_some(fix)
}

impl<'a> Elaborator<'a> {
    pub fn new(
        sources: &'a mut Sources,
        modules: &'a mut Modules,
        setup: &'a Setup,
        user: crate::module::ModuleId,
    ) -> Self {
        Elaborator {
            sources,
            modules,
            setup,
            graph: Graph::new(),
            diagnostics: Vec::new(),
            places: FxHashMap::default(),
            schedules: Vec::new(),
            schedule_ids: FxHashMap::default(),
            functions: FxHashMap::default(),
            externs: FxHashMap::default(),
            codes: FxHashMap::default(),
            nets: Vec::new(),
            draws: Default::default(),
            read: Default::default(),
            frames: Vec::new(),
            layer: None,
            draw_prefix: String::new(),
            steps: Vec::new(),
            pending: Vec::new(),
            metrics: Vec::new(),
            bindings: Vec::new(),
            sampler: None,
            slots: 0,
            state: Default::default(),
            samplers: Vec::new(),
            user,
            spent: 0,
            tensors: FxHashMap::default(),
            tables: FxHashMap::default(),
            facts: Default::default(),
        }
    }

    /// Elaborates the file's method; None when that failed (and is reported).
    fn method(&mut self) -> Option<Elaborated> {
        let module = self.modules.module(self.user);
        let file = module.file;
        let methods: Vec<_> =
            module.items.iter().filter(|i| matches!(i.kind, ItemKind::Method { .. })).cloned().collect();
        let [item] = methods.as_slice() else {
            let end = fgc_grammar::Span::new(0, 0);
            let place = methods.get(1).map_or(Place { file, span: end }, |i| Place { file, span: i.span });
            // Perhaps what could not be read was to be one.
            if methods.is_empty()
                && self.modules.module(self.user).items.iter().any(|i| matches!(i.kind, ItemKind::Error))
            {
                return None;
            }
            let (message, text, help) = match methods.is_empty() {
                true => ("this file has no method", "none in this file", "a method is written `method name(…) { … }`"),
                false => ("a file has one method", "another one", "move it to a file of its own"),
            };
            self.error_help("FG0613", message, place, text, help);
            return None;
        };
        let ItemKind::Method { name, params, body } = &item.kind else { return None };
        let env = Env { module: self.user, file, scope: Rc::default(), schedule: None };
        let bound = self.hyper_parameters(name, params, &env);
        let ran = self.block(body, &env);
        if bound.is_err() || ran.is_err() {
            return None;
        }
        let place = Place { file, span: name.span };
        if self.steps.iter().all(|s| s.losses.is_empty()) {
            self.error_help(
                "FG0614",
                format!("`{}` minimises nothing", name.text),
                place,
                "has no loss",
                "a step has losses: `step { loss l = … -> student }`",
            );
            return None;
        }
        self.warn_unused(params, file);
        self.warn_unclaimed(place);
        Some(Elaborated {
            name: name.text.clone(),
            graph: std::mem::take(&mut self.graph),
            nets: std::mem::take(&mut self.nets),
            steps: std::mem::take(&mut self.steps),
            samplers: std::mem::take(&mut self.samplers),
            bindings: std::mem::take(&mut self.bindings),
            places: std::mem::take(&mut self.places),
            state: std::mem::take(&mut self.state),
            slots: self.slots,
        })
    }
}
