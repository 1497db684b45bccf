//! Presets (`*.ron`): a data set, networks with sizes, hyper-parameters, a length of training; and what a compilation
//! needs of them ([`Setup`]).

pub mod outline;
mod written;

use crate::check::value::Value;
use crate::level::{Level, Pass, Target};
use crate::optimizer::Optimizer;
use fgc_program::DType;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use std::rc::Rc;

pub use written::Written;

/// What a value's source is called that a preset or the command line gives, after the hyper-parameter's name.
pub const OUTSIDE: &str = ", set from outside";

/// A preset as written. `D` describes the data set and is the runtime's.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset<D> {
    pub data: D,
    /// Samples a step.
    pub batch: usize,
    pub iterations: usize,
    #[serde(default = "edm")]
    pub schedule: String,
    /// `x0`, `eps`, `v` or `flow`.
    #[serde(default = "x0")]
    pub predicts: String,
    /// `edm` or `none`.
    #[serde(default = "edm")]
    pub precondition: String,
    #[serde(default = "half")]
    pub sigma_data: f64,
    /// Networks by the name of a `net` (`teacher`) or of what makes it (`denoiser`, `critic`).
    pub nets: IndexMap<String, NetChoice>,
    /// Hyper-parameters, as expressions of the language.
    #[serde(default)]
    pub set: IndexMap<String, String>,
    /// What differs for one method, by its name.
    #[serde(default)]
    pub methods: IndexMap<String, Override>,
    /// Samples compared with as many of the data when training ends.
    #[serde(default = "evaluate")]
    pub evaluate: usize,
    /// Networks that other methods train first, and which; of the method that the preset is for.
    #[serde(skip)]
    pub init: IndexMap<String, String>,
    /// What it was read from.
    #[serde(skip)]
    pub written: Option<Written>,
}

/// A network and where it differs from what the preset says of all.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetChoice {
    /// A layer with its sizes: `mlp(hidden = 128)`.
    pub network: String,
    #[serde(default)]
    pub schedule: Option<String>,
    #[serde(default)]
    pub predicts: Option<String>,
    #[serde(default)]
    pub precondition: Option<String>,
    #[serde(default)]
    pub sigma_data: Option<f64>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Override {
    pub batch: Option<usize>,
    pub iterations: Option<usize>,
    pub nets: IndexMap<String, NetChoice>,
    pub set: IndexMap<String, String>,
    /// Networks that another method of the preset trains first, and which: `{"teacher": "sft"}`. They are what that
    /// method's student is.
    pub init: IndexMap<String, String>,
}

fn edm() -> String {
    "edm".into()
}

fn x0() -> String {
    "x0".into()
}

fn half() -> f64 {
    0.5
}

fn evaluate() -> usize {
    1024
}

impl<D: Clone> Preset<D> {
    /// The preset for one method, what differs for it put in.
    pub fn for_method(mut self, method: &str) -> Preset<D> {
        // Taken out, so that methods that want each other first come to an end here; who trains them refuses that.
        let Some(over) = self.methods.shift_remove(method) else { return self };
        let students = over.init.iter().filter_map(|(net, first)| {
            let first = self.clone().for_method(first);
            Some((net.clone(), first.student()?.clone()))
        });
        let students: Vec<(String, NetChoice)> = students.collect();
        self.batch = over.batch.unwrap_or(self.batch);
        self.iterations = over.iterations.unwrap_or(self.iterations);
        self.nets.extend(over.nets.into_iter().chain(students));
        self.set.extend(over.set);
        self.init = over.init;
        self
    }
}

impl<D> Preset<D> {
    /// The network that a method trains.
    fn student(&self) -> Option<&NetChoice> {
        self.nets.get("student").or_else(|| self.nets.get("denoiser"))
    }

    /// The networks, with everything said.
    pub fn net_specs(&self) -> IndexMap<String, NetSpec> {
        let spec = |n: &NetChoice| NetSpec {
            network: n.network.clone(),
            schedule: n.schedule.clone().unwrap_or_else(|| self.schedule.clone()),
            predicts: n.predicts.clone().unwrap_or_else(|| self.predicts.clone()),
            precondition: n.precondition.clone().unwrap_or_else(|| self.precondition.clone()),
            sigma_data: n.sigma_data.unwrap_or(self.sigma_data),
        };
        self.nets.iter().map(|(name, n)| (name.clone(), spec(n))).collect()
    }
}

/// A network, fully said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetSpec {
    pub network: String,
    pub schedule: String,
    pub predicts: String,
    pub precondition: String,
    /// Standard deviation of the data that EDM preconditioning assumes.
    pub sigma_data: f64,
}

/// A field of the data: axes after B and their extents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Field {
    pub axes: Vec<String>,
    pub shape: Vec<usize>,
}

/// A mixture of isotropic Gaussians, where the data are one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mixture {
    /// [modes][dims]
    pub centres: Vec<Vec<f64>>,
    /// Of every mode.
    pub std: f64,
    /// Class of each mode.
    pub classes: Vec<usize>,
    /// Sum to 1.
    pub weights: Vec<f64>,
}

/// What a method is compiled for: data, networks, hyper-parameters, and for replay the draws that are given.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    pub batch: usize,
    /// `x`, `c`, …
    pub fields: IndexMap<String, Field>,
    pub mixture: Option<Mixture>,
    pub nets: IndexMap<String, NetSpec>,
    /// Hyper-parameters as expressions, later ones winning.
    pub set: IndexMap<String, String>,
    /// Element type and shape of each pinned draw.
    pub pins: IndexMap<String, (DType, Vec<usize>)>,
    /// How long checking may take ([`EVALUATIONS`](crate::check::budget::EVALUATIONS) without).
    pub evaluations: Option<u64>,
    /// Optimisers in place of the spec's, by network.
    pub optimizers: IndexMap<String, Optimizer>,
    pub level: Level,
    /// Parts of the optimiser to leave out.
    pub without: Vec<Pass>,
    pub target: Target,
    /// Of the preset, for places of mistakes in its values.
    pub written: Option<Written>,
    /// Where the files of `extern kernel`s are looked for; beside the spec without.
    pub folder: Option<std::path::PathBuf>,
}

impl Setup {
    /// The network a `net` statement gets: by its own name, else by what makes it.
    pub fn net(&self, net: &str, template: &str) -> Option<&NetSpec> {
        self.nets.get(net).or_else(|| self.nets.get(template))
    }

    /// Classes of the condition `c`; 0 without.
    pub fn classes(&self) -> usize {
        self.fields.get("c").and_then(|f| f.shape.first()).copied().unwrap_or(0)
    }

    /// Extent of an axis of the data.
    pub fn extent(&self, axis: &str) -> Option<usize> {
        if axis == "B" {
            return Some(self.batch);
        }
        self.fields.values().find_map(|f| f.axes.iter().position(|a| a == axis).map(|i| f.shape[i]))
    }
}

impl Mixture {
    /// The record `analytic` takes; `x`: the samples' axes, `classes`: of the condition.
    pub fn to_value(&self, x: &Field, classes: usize) -> Value {
        let numbers = |v: &[f64]| Value::list(v.iter().map(|&x| Value::Float(x)).collect());
        let membership = |&class: &usize| {
            Value::list((0..classes.max(1)).map(|k| Value::Float((k == class) as u8 as f64)).collect())
        };
        let fields = [
            ("centres", Value::list(self.centres.iter().map(|c| numbers(c)).collect())),
            ("axes", Value::list(x.axes.iter().map(|a| Value::Axis(a.as_str().into())).collect())),
            ("extents", Value::list(x.shape.iter().map(|&n| Value::Int(n as i64)).collect())),
            ("std", Value::Float(self.std)),
            ("weights", numbers(&self.weights)),
            ("membership", Value::list(self.classes.iter().map(membership).collect())),
        ];
        Value::Record(Rc::new(fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()))
    }
}
