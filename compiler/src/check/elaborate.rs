//! The elaborator's state, and how it reports.

use super::method::{LossTerm, StepSpec, TypedBinding};
use super::net::NetState;
use super::value::*;
use crate::diagnostic::{Diagnostic, Label, Place};
use crate::graph::{Graph, NodeId};
use crate::module::{ModuleId, Modules};
use crate::preset::Setup;
use crate::source::{FileId, Sources};
use indexmap::{IndexMap, IndexSet};
use rustc_hash::FxHashMap;
use std::rc::Rc;
use std::sync::Arc;

/// The mistake is already in the diagnostics.
#[derive(Clone, Copy, Debug)]
pub struct Reported;

pub type Result<T> = std::result::Result<T, Reported>;

/// A call under way: where it was written, and what it called.
#[derive(Clone, Debug)]
pub struct Frame {
    pub place: Place,
    pub callee: String,
}

/// Whose parameters a layer declares, under which prefix (`blocks.0.`).
#[derive(Clone, Debug)]
pub struct LayerScope {
    pub net: usize,
    pub prefix: String,
}

/// A schedule's members; the values of `let`s are filled in when first asked for.
#[derive(Debug)]
pub struct ScheduleState {
    pub name: String,
    pub module: ModuleId,
    pub file: FileId,
    pub members: Vec<Rc<fgc_grammar::ast::Item>>,
    pub cache: FxHashMap<String, Value>,
}

/// A draw as first made, for repeated names and unused ones.
#[derive(Clone, Debug)]
pub struct DrawState {
    /// As written, without prefix and index.
    pub local: String,
    pub place: Place,
    /// The name and its law.
    pub whole: Place,
    pub node: NodeId,
    pub shape: Vec<usize>,
}

/// Tables made of lists so far, by where the list is and how deep; it is kept, so that no other comes to be there.
pub type Tables = FxHashMap<(*const Vec<Value>, usize), (Rc<Vec<Value>>, NodeId)>;

pub struct Elaborator<'a> {
    pub sources: &'a mut Sources,
    pub modules: &'a mut Modules,
    pub setup: &'a Setup,
    pub graph: Graph,
    pub diagnostics: Vec<Diagnostic>,
    /// Where a node was first made.
    pub places: FxHashMap<NodeId, Place>,
    pub schedules: Vec<ScheduleState>,
    pub schedule_ids: FxHashMap<(ModuleId, String), ScheduleId>,
    /// Functions and layers of modules, by where their names start.
    pub functions: FxHashMap<(ModuleId, usize), Value>,
    /// Kernels from outside, by the declaration's place and the arguments' types.
    pub externs: FxHashMap<super::external::Key, crate::graph::ExternId>,
    /// Their files.
    pub codes: FxHashMap<std::path::PathBuf, Arc<fgc_program::DeviceCode>>,
    pub nets: Vec<NetState>,
    pub draws: IndexMap<String, DrawState>,
    pub tables: Tables,
    /// Names read so far, for what is never used.
    pub read: IndexSet<String>,
    pub frames: Vec<Frame>,
    pub layer: Option<LayerScope>,
    /// Prefix of draw names (`sample.` while a sampler is elaborated).
    pub draw_prefix: String,
    /// What steps, losses and bindings of the method have been seen.
    pub steps: Vec<StepSpec>,
    pub pending: Vec<LossTerm>,
    pub metrics: Vec<(String, NodeId)>,
    pub bindings: Vec<TypedBinding>,
    /// The sampler being elaborated.
    pub sampler: Option<super::sampling::SamplerState>,
    /// Values that samplers keep, so far.
    pub slots: usize,
    pub state: IndexMap<String, super::method::StateSpec>,
    pub samplers: Vec<super::sampling::SampleSpec>,
    /// The method's file.
    pub user: ModuleId,
    /// Evaluations so far.
    pub spent: u64,
    /// The tensors of the user's expressions, for places of what is found later.
    pub tensors: FxHashMap<Place, NodeId>,
    /// For editors.
    pub facts: super::facts::Facts,
}

impl Elaborator<'_> {
    /// Reports a mistake at a place; where that is inside the standard library, the user's call becomes the primary
    /// label and the place inside a secondary one.
    pub fn report(&mut self, mut diagnostic: Diagnostic) -> Reported {
        if let Some(first) = diagnostic.labels.first().cloned()
            && self.sources.file(first.place.file).standard
        {
            let user = self.frames.iter().rev().find(|f| !self.sources.file(f.place.file).standard);
            if let Some(frame) = user {
                let text = if first.text.is_empty() { "in this call" } else { &first.text };
                let label = Label { place: frame.place, text: format!("`{}`: {text}", frame.callee) };
                diagnostic.labels[0].text = "found here".into();
                diagnostic.labels.insert(0, label);
            }
        }
        // The standard library is not the user's to change.
        diagnostic.fixes.retain(|fix| fix.edits.iter().all(|e| !self.sources.file(e.place.file).standard));
        if !self.diagnostics.contains(&diagnostic) && !self.joined(&diagnostic) {
            self.diagnostics.push(diagnostic);
        }
        Reported
    }

    /// What is wrong inside a network is wrong in every call of it: one mistake, with a label at each call. Whether it was
    /// known.
    fn joined(&mut self, diagnostic: &Diagnostic) -> bool {
        let [call, cause, ..] = &diagnostic.labels[..] else { return false };
        if self.layer.is_none() || !self.sources.file(cause.place.file).standard {
            return false;
        }
        let same = |d: &&mut Diagnostic| {
            d.code == diagnostic.code && d.message == diagnostic.message && d.labels.get(1) == Some(cause)
        };
        let Some(known) = self.diagnostics.iter_mut().find(same) else { return false };
        if known.labels.iter().all(|label| label.place != call.place) {
            known.labels.push(Label { place: call.place, text: "and here".into() });
        }
        true
    }

    /// `report` of an error with one label.
    pub fn error(&mut self, code: &'static str, message: impl Into<String>, place: Place, text: &str) -> Reported {
        self.report(Diagnostic::error(code, message).label(place, text))
    }

    /// As `error`, with a cure.
    pub fn error_help(
        &mut self,
        code: &'static str,
        message: impl Into<String>,
        place: Place,
        text: &str,
        help: impl Into<String>,
    ) -> Reported {
        let help = Some(help.into()).filter(|help: &String| !help.is_empty());
        self.report(Diagnostic::error(code, message).label(place, text).maybe_help(help))
    }

    /// Remembers where a node comes from, the first place counting.
    pub fn note(&mut self, node: NodeId, place: Place) {
        let user = |p: &Place| !self.sources.file(p.file).standard;
        let place = match self.frames.iter().rev().find(|f| user(&f.place)) {
            Some(frame) if !user(&place) => frame.place,
            _ => place,
        };
        self.places.entry(node).or_insert(place);
    }

    pub fn schedule_name(&self, id: ScheduleId) -> &str {
        &self.schedules[id.0 as usize].name
    }

    /// A value as people write it: `f32[B=8, C=2]`, `3`, `"sde"`.
    pub fn show(&self, value: &Value) -> String {
        match value {
            Value::Tensor(t) => {
                let ty = self.graph.ty(t.node);
                let axes: Vec<String> = t.axes.iter().zip(&ty.shape).map(|(a, n)| format!("{a}={n}")).collect();
                let axes = if axes.is_empty() { String::new() } else { format!("[{}]", axes.join(", ")) };
                match t.clock {
                    Some(s) => format!("time<{}>{axes}", self.schedule_name(s)),
                    None => format!("{}{axes}", ty.dtype),
                }
            }
            Value::Int(i) => i.to_string(),
            Value::Float(x) => format!("{x:?}"),
            Value::Bool(b) => b.to_string(),
            Value::Str(s) => format!("{s:?}"),
            Value::List(l) if l.len() <= 8 => {
                format!("[{}]", l.iter().map(|v| self.show(v)).collect::<Vec<_>>().join(", "))
            }
            Value::List(l) => format!("list of {}", l.len()),
            Value::Record(r) => {
                let fields: Vec<String> = r.iter().map(|(k, v)| format!("{k}: {}", self.show(v))).collect();
                format!("{{ {} }}", fields.join(", "))
            }
            Value::Schedule(s) => format!("schedule {}", self.schedule_name(*s)),
            Value::Network(n) => format!("network {}", self.nets[n.0 as usize].name),
            other => other.kind().into(),
        }
    }
}
