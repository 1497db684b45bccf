//! What checking learns about the user's text, kept for editors: the value of every expression and binding it reaches,
//! what members mean, what losses reach. Written while checking, so a mistake does not lose what was known before it.

use super::elaborate::Elaborator;
use super::net::{NetKind, NetState};
use super::value::{Env, ScheduleId, Value};
use crate::diagnostic::Place;
use crate::module::item_name;
use crate::source::FileId;
use fgc_grammar::ast::{Name, ParamDecl};
use indexmap::IndexMap;
use rustc_hash::FxHashMap;
use std::rc::Rc;

#[derive(Debug, Default)]
pub struct Facts {
    /// Of expressions and of names where they are bound; of several values (in a loop) the first.
    pub values: FxHashMap<Place, Known>,
    /// Where members of schedules that are used at a place (the name's) are defined.
    pub targets: FxHashMap<Place, Place>,
    pub losses: Vec<LossFact>,
}

/// A value as editors show it.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// `f32[B=8, C=2]`, `3`, `schedule edm`.
    pub shown: String,
    pub members: Members,
}

/// What may stand after `value.` or in the parentheses of `value(…)`.
#[derive(Clone, Debug, PartialEq)]
pub enum Members {
    None,
    Record(Rc<IndexMap<String, Known>>),
    /// `denoiser`: answers with views, and has a schedule.
    Network {
        denoiser: bool,
    },
    /// A view of a network, not yet called.
    View,
    /// Names and docs.
    Schedule(Rc<Vec<(String, String)>>),
    Function(Rc<Signature>),
}

/// How a function is called.
#[derive(Clone, Debug, PartialEq)]
pub struct Signature {
    pub name: String,
    pub params: Vec<ParamDecl>,
    /// The file of the parameters.
    pub file: FileId,
    /// Where it has one: of built-in functions.
    pub text: Option<(&'static str, &'static str)>,
}

/// A loss and the networks its value depends on differentiably.
#[derive(Clone, Debug, PartialEq)]
pub struct LossFact {
    pub name: String,
    pub place: Place,
    pub reaches: Vec<String>,
    pub trains: Vec<String>,
}

/// What stands after a denoiser's name and a dot.
pub const NETWORK_MEMBERS: [(&str, &str); 9] = [
    ("out", "What the network predicts, as it is."),
    ("x0", "The prediction as clean data."),
    ("eps", "The prediction as noise."),
    ("v", "The prediction as velocity: alpha·eps − sigma·x0."),
    ("flow", "The prediction as the slope dx_t/dt of the probability-flow ODE."),
    ("features", "A list of inner activations."),
    ("logvar", "The network's own estimate of its loss's logarithm, per sample."),
    ("schedule", "The schedule whose times it takes."),
    ("predicts", "What it predicts: `\"x0\"`, `\"eps\"`, `\"v\"` or `\"flow\"`."),
];

/// Records deeper than this are shown and not taken apart.
const DEPTH: usize = 4;

impl Elaborator<'_> {
    /// Notes a value of the user's text.
    pub fn learn(&mut self, place: Place, value: &Value) {
        if self.sources.file(place.file).standard || self.facts.values.contains_key(&place) {
            return;
        }
        if !matches!(value, Value::Error) {
            let known = self.known(value, 0);
            self.facts.values.insert(place, known);
        }
    }

    /// Notes the value that a name is bound to.
    pub fn learn_binding(&mut self, name: &Name, value: &Value, env: &Env) {
        self.learn(Place { file: env.file, span: name.span }, value);
    }

    /// Notes which member of a schedule a name is.
    pub fn learn_member(&mut self, schedule: ScheduleId, name: &Name, env: &Env) {
        if self.sources.file(env.file).standard {
            return;
        }
        let state = &self.schedules[schedule.0 as usize];
        let found = state.members.iter().filter_map(|item| item_name(item)).find(|n| n.text == name.text);
        if let Some(found) = found {
            let target = Place { file: state.file, span: found.span };
            self.facts.targets.insert(Place { file: env.file, span: name.span }, target);
        }
    }

    fn known(&self, value: &Value, depth: usize) -> Known {
        let members = match value {
            Value::Record(fields) if depth < DEPTH => {
                let fields = fields.iter().map(|(name, v)| (name.clone(), self.known(v, depth + 1)));
                Members::Record(Rc::new(fields.collect()))
            }
            Value::Network(net) => {
                let kind = &self.nets[net.0 as usize].kind;
                Members::Network { denoiser: matches!(kind, NetKind::Denoiser { .. }) }
            }
            Value::View(..) => Members::View,
            Value::Schedule(s) => {
                let members = self.schedules[s.0 as usize].members.iter();
                let named = members.filter_map(|m| Some((item_name(m)?.text.clone(), m.doc.clone())));
                Members::Schedule(Rc::new(named.collect()))
            }
            Value::Function(f) => Members::Function(Rc::new(Signature {
                name: f.name.clone(),
                params: f.params.clone(),
                file: f.env.file,
                text: None,
            })),
            Value::Extern(kernel) => Members::Function(Rc::new(Signature {
                name: kernel.closure.name.clone(),
                params: kernel.closure.params.clone(),
                file: kernel.closure.env.file,
                text: None,
            })),
            Value::Builtin(b) => Members::Function(Rc::new(Signature {
                name: b.name.into(),
                params: Vec::new(),
                file: FileId(0),
                text: Some((b.signature, b.doc)),
            })),
            _ => Members::None,
        };
        let shown = match value {
            Value::Extern(kernel) => {
                let params: Vec<&str> = kernel.closure.params.iter().map(|p| p.name.text.as_str()).collect();
                format!("{}({})", kernel.closure.name, params.join(", "))
            }
            Value::Function(f) => {
                let params: Vec<&str> = f.params.iter().map(|p| p.name.text.as_str()).collect();
                format!("{}({})", f.name, params.join(", "))
            }
            Value::Builtin(b) => b.signature.into(),
            Value::Network(net) => self.describe(&self.nets[net.0 as usize]),
            Value::View(net, view) => format!("view {view} of {}", self.nets[net.0 as usize].name),
            other => self.show(other),
        };
        Known { shown, members }
    }

    /// `network student: mlp(hidden = 128), schedule edm, predicts x0`
    fn describe(&self, net: &NetState) -> String {
        let body = match &net.body {
            Value::Body(body) => {
                let given: Vec<String> = body.given.iter().map(|(n, v)| format!("{n} = {}", self.show(v))).collect();
                format!(": {}({})", body.layer.name, given.join(", "))
            }
            _ => String::new(),
        };
        match &net.kind {
            NetKind::Denoiser { spec, .. } => {
                format!("network {}{body}, schedule {}, predicts {}", net.name, spec.schedule, spec.predicts)
            }
            NetKind::Plain => format!("network {}{body}", net.name),
        }
    }
}
