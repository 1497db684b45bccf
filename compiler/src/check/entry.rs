//! Checking one method of a file.

use super::elaborate::Elaborator;
use super::facts::{Facts, LossFact};
use super::flow;
use super::method::Elaborated;
use super::value::*;
use crate::diagnostic::{Diagnostic, Failure, Place, Severity};
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
    let called = elaborated.as_ref().filter(|_| keep).map(|m| (m.graph.clone(), outputs(m)));
    let mut diagnostics = std::mem::take(&mut e.diagnostics);
    if let Some(method) = &mut elaborated {
        match inline_method(method) {
            Ok(()) => diagnostics.extend(check_flow(method, &mut facts)),
            Err(message) => diagnostics
                .push(Diagnostic::error("FG0801", message).help("this is a limit of the compiler's derivative rules")),
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
fn inline_method(m: &mut Elaborated) -> Result<(), String> {
    let before = outputs(m);
    let mut places: FxHashMap<NodeId, Place> = std::mem::take(&mut m.places);
    let after = inline_with(&mut m.graph, &before, &mut |old, new| {
        if let Some(&place) = places.get(&old) {
            places.entry(new).or_insert(place);
        }
    })
    .map_err(|e| e.to_string())?;
    m.places = places;
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

/// Losses must reach what they train; what can learn should be trained by something.
fn check_flow(m: &Elaborated, facts: &mut Facts) -> Vec<Diagnostic> {
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
            let names: Vec<&str> = reached.nets.iter().map(|n| m.nets[n.0 as usize].name.as_str()).collect();
            d = d.help(match (cuts.is_empty(), names.is_empty()) {
                (false, _) => format!("remove the `stop`, or train another network than `{net}`"),
                (true, false) => format!("it depends on {}: is one of those meant?", names.join(", ")),
                (true, true) => "it depends on no network".into(),
            });
            out.push(d);
        }
    }
    for (i, net) in m.nets.iter().enumerate() {
        let trained = m.steps.iter().flat_map(|s| &s.losses).any(|l| l.targets.iter().any(|t| t.0 as usize == i));
        let used = !net.params.is_empty();
        if used && !net.frozen && !trained && !net.excused {
            out.push(
                Diagnostic::warning("FG0305", format!("no loss trains `{}`", net.name))
                    .label(net.place, "never learns")
                    .help("say `frozen` if that is meant"),
            );
        }
        if trained && net.training.optimizer.is_none() {
            out.push(
                Diagnostic::error("FG0306", format!("`{}` is trained and has no optimiser", net.name))
                    .label(net.place, "made here")
                    .help("add one: `adamw(lr = 1e-4)`"),
            );
        }
    }
    out
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
            let message = if methods.is_empty() { "this file has no method" } else { "a file has one method" };
            self.error_help("FG0613", message, place, "", "`method name(…) { … }`");
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
                "",
                "`step { loss l = … -> student }`",
            );
            return None;
        }
        self.warn_unused(params, file);
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
