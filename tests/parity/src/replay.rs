//! Running a case's steps.

use crate::Tensors;
use crate::case::{Case, CaseError};
use fgc_compiler::compile;
use fgc_compiler::diagnostic::render;
use fgc_program::Program;
use fgc_runtime::cpu::{self, Backend, DeviceError};
use fgc_runtime::train::{Model, NonFinite, TrainError, Weights};
use fgc_runtime::{Device, Tensor};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// State buffers are recorded as if they were this network's.
const BUFFERS_OF: &str = "student";

/// What a case's steps computed, named as its expected values.
#[derive(Clone, Debug, Default)]
pub struct Replayed {
    pub tensors: Tensors,
    /// Which of them are updated state buffers.
    pub buffers: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Case(#[from] CaseError),
    #[error("there is no {path}", path = .0.display())]
    NoMethod(PathBuf),
    #[error("cannot compile:\n{0}")]
    Compile(String),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Train(#[from] TrainError),
}

/// Makes the device that a case runs on.
pub type Open<'a> = &'a dyn Fn(Program) -> Result<Device, DeviceError>;

/// The CPU.
pub fn on(backend: Backend) -> impl Fn(Program) -> Result<Device, DeviceError> {
    move |program| Ok(cpu::Device::new(Arc::new(program), backend, 0)?.into())
}

/// Compiles the case's method from the directory `methods` and runs its steps.
pub fn replay(case: &Case, methods: &Path, open: Open) -> Result<Replayed, ReplayError> {
    let recorded = &case.recorded;
    let mut model = model(case, methods, open)?;
    let mut out = Replayed::default();
    let several = recorded.steps > 1;
    for k in 0..recorded.steps {
        let (data, pins) = case.inputs(k);
        let report = model.step(&data, &pins, NonFinite::Stop)?;
        let prefix = if several { format!("step{k}.") } else { String::new() };
        for (name, &value) in report.losses.iter().chain(&report.metrics) {
            out.tensors.insert(format!("{prefix}loss.{name}"), Tensor::f64([], vec![value]));
        }
    }
    if !several {
        out.tensors.extend(model.gradients()?.into_iter().map(|(name, g)| (format!("grad.{name}"), g)));
    }
    for net in model.program().clone().nets.iter().filter(|net| !net.frozen) {
        for param in &net.params {
            let name = format!("after.{}.{}", net.name, param.name);
            if several {
                out.tensors.insert(name, model.parameter(net, param, net.weights)?);
            }
        }
    }
    for (name, state) in model.states()? {
        let name = format!("after.{BUFFERS_OF}.{name}");
        out.buffers.push(name.clone());
        out.tensors.insert(name, state);
    }
    Ok(out)
}

/// What each sampler of the case's method makes of the case's weights and data, as `sample.<name>`; `ema.<net>.<param>`,
/// the averages after the case's steps.
pub fn samples(case: &Case, methods: &Path, open: Open) -> Result<Tensors, ReplayError> {
    let mut model = model(case, methods, open)?;
    let mut out = Tensors::new();
    let mut names: Vec<String> = model.program().samplers.keys().cloned().collect();
    names.retain(|name| model.can_sample(name));
    let (data, _) = case.inputs(0);
    for name in names {
        out.insert(format!("sample.{name}"), model.sample(&name, case.recorded.batch, &data, 0)?);
    }
    for k in 0..case.recorded.steps {
        let (data, pins) = case.inputs(k);
        model.step(&data, &pins, NonFinite::Stop)?;
    }
    let averages = model.checkpoint("", "")?.tensors.into_iter().filter(|(name, _)| name.starts_with("ema."));
    out.extend(averages);
    Ok(out)
}

/// The case's method with its weights, at its iteration.
fn model(case: &Case, methods: &Path, open: Open) -> Result<Model, ReplayError> {
    let recorded = &case.recorded;
    let path = methods.join(format!("{}.fg", recorded.method));
    let text = std::fs::read_to_string(&path).map_err(|_| ReplayError::NoMethod(path.clone()))?;
    let compiled = compile(&path.display().to_string(), &text, &case.setup()?).map_err(|failure| {
        let texts = failure.diagnostics.iter().map(|d| render(d, &failure.sources, false));
        ReplayError::Compile(texts.collect())
    })?;
    let device = open(compiled.program)?;
    let nets: Vec<String> = device.program().nets.iter().map(|net| net.name.clone()).collect();
    let nets: Vec<&str> = nets.iter().map(String::as_str).collect();
    let weights = Weights::from_file("weights.safetensors", case.weights.clone(), &nets);
    let (mut model, _) = Model::new(device, 0, &weights)?;
    model.check_weights()?;
    restore_states(&mut model, &case.weights)?;
    model.set_iteration(recorded.iteration);
    Ok(model)
}

/// State buffers start as recorded, where they are among the weights.
fn restore_states(model: &mut Model, weights: &Tensors) -> Result<(), TrainError> {
    let mut checkpoint = model.checkpoint("", "")?;
    for name in model.states()?.keys() {
        if let Some(recorded) = weights.get(&format!("{BUFFERS_OF}.{name}")) {
            let flat = Tensor::new(vec![recorded.len()], recorded.values().clone());
            checkpoint.tensors.insert(format!("state.{name}"), flat);
        }
    }
    model.restore(&checkpoint, "weights.safetensors")
}
