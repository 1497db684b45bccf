//! A case as recorded, and what its method is compiled for.

use crate::Tensors;
use fgc_compiler::level::{Level, Target};
use fgc_compiler::optimizer::Optimizer;
use fgc_compiler::preset::{Field, NetSpec, Setup};
use fgc_runtime::tensorfile::{self, TensorFileError};
use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Names in a pin file that are data, not draws. `c_neg`, the null condition, is what `none` means: it is not read.
const DATA: [&str; 4] = ["x", "c", "noise", "path"];
const NULL_CONDITION: &str = "c_neg";

/// Methods whose usual law draws from EDM's noise levels, which other schedules do not have.
const POLYNOMIAL: [&str; 3] = ["dmd2", "f_distill", "ladd"];

#[derive(Clone, Debug)]
pub struct Case {
    pub recorded: Recorded,
    pub weights: Tensors,
    pub pins: Tensors,
    pub expected: Tensors,
    pub dir: PathBuf,
    /// How far the step is optimised.
    pub level: Level,
    pub target: Target,
}

/// `case.json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Recorded {
    pub name: String,
    pub method: String,
    /// `mlp(label_dim=4, r_timestep=true), schedule rf, predicts flow, no preconditioning`
    pub network: String,
    pub batch: usize,
    pub iteration: u64,
    pub steps: usize,
    pub hyper: IndexMap<String, Value>,
    /// In place of the spec's, by network.
    pub optimizer: Option<IndexMap<String, Optimizer>>,
}

#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    #[error(transparent)]
    File(#[from] TensorFileError),
    #[error("cannot read {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}", path = path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("{path}: no known network in `{network}`", path = path.display())]
    Network { path: PathBuf, network: String },
}

impl Case {
    pub fn load(dir: &Path) -> Result<Case, CaseError> {
        let path = dir.join("case.json");
        let text = std::fs::read_to_string(&path).map_err(|source| CaseError::Read { path: path.clone(), source })?;
        let recorded = serde_json::from_str(&text).map_err(|source| CaseError::Json { path, source })?;
        let read = |name: &str| Ok::<_, CaseError>(tensorfile::read(&dir.join(name))?.0);
        Ok(Case {
            recorded,
            weights: read("weights.safetensors")?,
            pins: read("pins.safetensors")?,
            expected: read("expected.safetensors")?,
            dir: dir.into(),
            level: Level::default(),
            target: Target::default(),
        })
    }

    /// The data and the draws of step k.
    pub fn inputs(&self, k: usize) -> (Tensors, Tensors) {
        let prefix = format!("step{k}.");
        let here = self.pins.iter().filter_map(|(name, tensor)| match name.strip_prefix(&prefix) {
            Some(rest) => Some((rest.to_owned(), tensor.clone())),
            None if step_of(name).is_none() => Some((name.clone(), tensor.clone())),
            None => None,
        });
        let (data, pins): (Tensors, Tensors) = here.partition(|(name, _)| DATA.contains(&name.as_str()));
        (data, pins.into_iter().filter(|(name, _)| name != NULL_CONDITION).collect())
    }

    /// Data shapes from the pins, the networks of the reference sizes, hyper-parameters as expressions.
    pub fn setup(&self) -> Result<Setup, CaseError> {
        let (data, _) = self.inputs(0);
        let x = data.get("x").map(|x| x.shape()[1..].to_vec()).unwrap_or_default();
        let x_axes: &[&str] = match x.len() {
            1 => &["C"],
            3 => &["C", "H", "W"],
            _ => &["C", "T", "H", "W"],
        };
        let axes = |name: &str| -> Vec<String> {
            let before: &[&str] = if name == "path" { &["P"] } else { &[] };
            let rest: &[&str] = if name == "c" { &["K"] } else { x_axes };
            before.iter().chain(rest).map(|a| a.to_string()).collect()
        };
        let field = |(name, t): (&String, &fgc_runtime::Tensor)| {
            (name.clone(), Field { axes: axes(name), shape: t.shape()[1..].to_vec() })
        };
        let fields = data.iter().map(field).collect();
        let draws = (0..self.recorded.steps.max(1)).flat_map(|k| self.inputs(k).1);
        let pins = draws.map(|(name, t)| (name, (t.dtype(), t.shape().to_vec()))).collect();
        let nets = self.nets()?;
        let mut set: IndexMap<_, _> =
            self.recorded.hyper.iter().map(|(name, value)| (name.clone(), expression(value))).collect();
        // Draws are pinned: any law that the schedule has the range for will do.
        if POLYNOMIAL.contains(&self.recorded.method.as_str()) && nets.values().any(|net| net.schedule != "edm") {
            set.entry("law".to_owned()).or_insert_with(|| "uniform_time()".to_owned());
        }
        Ok(Setup {
            batch: self.recorded.batch,
            fields,
            nets,
            set,
            pins,
            optimizers: self.recorded.optimizer.clone().unwrap_or_default(),
            level: self.level,
            target: self.target,
            ..Setup::default()
        })
    }

    /// The reference networks: by the name of a network where the case says so (`student vdit(chunk=2); teacher,
    /// fake_score vdit(bidirectional)`), else one for all denoisers; sizes are section 4's where it says none.
    fn nets(&self) -> Result<IndexMap<String, NetSpec>, CaseError> {
        let text = &self.recorded.network;
        let unknown = || CaseError::Network { path: self.dir.join("case.json"), network: text.clone() };
        let mut nets = IndexMap::new();
        for part in text.split(';') {
            let Some((names, kind, args)) = network(part) else { continue };
            let video = kind == "vdit";
            let said = |key: &str, video_says: &str, otherwise: &str| {
                let usual = if video { video_says } else { otherwise };
                word_after(part, key).or_else(|| word_after(text, key)).unwrap_or(usual).to_owned()
            };
            let bare = video || text.contains("no preconditioning");
            let spec = |network: &str| NetSpec {
                network: network.into(),
                schedule: said("schedule", "rf", "edm"),
                predicts: said("predicts", "flow", "x0"),
                precondition: if bare { "none".into() } else { "edm".into() },
                sigma_data: 0.5,
            };
            let size = |name: &str, usual: &str| format!("{name} = {}", argument(args, name).unwrap_or(usual));
            let classes = format!("classes = {}", argument(args, "label_dim").unwrap_or("0"));
            let layer = match kind {
                "mlp" => {
                    let sizes = [size("hidden", "32"), size("blocks", "3"), size("emb", "16"), classes];
                    format!("mlp({})", sizes.join(", "))
                }
                "unet" => {
                    format!("unet(channels = 8, multipliers = [1, 2], blocks = 4, attention = [4], {classes})")
                }
                _ => {
                    let sizes = [size("patch", "2"), size("dim", "32"), size("heads", "2"), size("blocks", "2")];
                    let chunk = argument(args, "chunk").map(|n| format!(", chunk = {n}")).unwrap_or_default();
                    format!("vdit({}, classes = classes{chunk})", sizes.join(", "))
                }
            };
            let names: Vec<&str> = if names.is_empty() { vec!["denoiser"] } else { names };
            nets.extend(names.into_iter().map(|name| (name.to_owned(), spec(&layer))));
            nets.entry("denoiser".to_owned()).or_insert_with(|| spec(&layer));
            nets.insert("critic".to_owned(), spec(&format!("{kind}_critic()")));
        }
        if nets.is_empty() { Err(unknown()) } else { Ok(nets) }
    }
}

/// `rf` of `schedule` in `mlp(label_dim=4), schedule rf, predicts flow`.
fn word_after<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let rest = text.split_once(key)?.1.trim_start();
    rest.split(|c: char| !c.is_alphanumeric()).next().filter(|word| !word.is_empty())
}

/// The names before, the kind, and the text in the brackets of `teacher, fake_score vdit(bidirectional)`.
fn network(part: &str) -> Option<(Vec<&str>, &str, &str)> {
    ["vdit", "mlp", "unet"].into_iter().find_map(|kind| {
        let (before, after) = part.split_once(&format!("{kind}("))?;
        let names = before.split([',', ' ']).filter(|name| !name.is_empty()).collect();
        Some((names, kind, after.split_once(')')?.0))
    })
}

/// `4` of `label_dim` in `label_dim=4, r_timestep=true`.
fn argument<'a>(args: &'a str, name: &str) -> Option<&'a str> {
    args.split(',').find_map(|a| a.trim().strip_prefix(name)?.trim_start().strip_prefix('=').map(str::trim))
}

/// k of `step<k>.…`.
fn step_of(name: &str) -> Option<usize> {
    name.strip_prefix("step")?.split_once('.')?.0.parse().ok()
}

/// A JSON value as an expression of the language.
pub fn expression(value: &Value) -> String {
    match value {
        Value::Null => "none".into(),
        Value::Array(items) => format!("[{}]", items.iter().map(expression).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_from_their_description() {
        assert_eq!(network("mlp(label_dim=4)"), Some((vec![], "mlp", "label_dim=4")));
        let two = network(" teacher, fake_score vdit(bidirectional)").unwrap();
        assert_eq!(two, (vec!["teacher", "fake_score"], "vdit", "bidirectional"));
        assert_eq!(argument("label_dim=4, r_timestep=true", "label_dim"), Some("4"));
        assert_eq!(argument("bidirectional", "chunk"), None);
        assert_eq!(word_after("mlp(label_dim=4), schedule rf, predicts flow", "predicts"), Some("flow"));
        assert_eq!(word_after("mlp(label_dim=4)", "predicts"), None);
        assert_eq!(step_of("step12.eps"), Some(12));
        assert_eq!(step_of("steps"), None);
    }

    #[test]
    fn json_becomes_expressions() {
        let json = serde_json::json!({ "a": null, "b": [80.0, 2.0, 0.0], "c": "js", "d": true });
        assert_eq!(
            json.as_object().unwrap().values().map(expression).collect::<Vec<_>>(),
            ["none", "[80.0, 2.0, 0.0]", "\"js\"", "true"]
        );
    }
}
