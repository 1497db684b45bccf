//! Students trained on a Gaussian learn its flow map, which is known in closed form.
//!
//! Along the probability-flow ODE of N(0, d²) a point keeps its place relative to the spread: f_{t→s}(x) = x·√(V_s/V_t),
//! with V_t = d² + t² under EDM's schedule and V_t = (1−t)²d² + t² under rectified flow. At t = 0 the spread is d, so that
//! a sample drawn as √V_t·z must come out as d·z.

use fgc_compiler::diagnostic::render;
use fgc_compiler::preset::{Field, Mixture, NetSpec, Setup};
use fgc_runtime::cpu::{Backend, Device};
use fgc_runtime::data::{Batch, DataSpec, Dataset, Split};
use fgc_runtime::train::{Model, NonFinite, Trainer, Weights};
use std::sync::Arc;

/// Standard deviation of the data.
const D: f64 = 0.5;

/// A consistency model's errors at four times, relative to the data's spread.
const CONSISTENCY: &str = "
  sample error = consistency_error(student, x)
}

fn consistency_error(net: network, like) {
  draw z ~ normal(like)
  var errors = []
  for t in [80.0, 10.0, 2.0, 1.0] {
    let x_t = f32(sqrt(0.25 + t * t)) * z
    errors += [expand((net.x0(x_t, t) - 0.5 * z) / 0.5, [P], [1])]
  }
  return concat(errors, P)
}
";

/// MeanFlow's, over four intervals.
const MEAN_FLOW: &str = "
  sample error = flow_error(student, x)
}

fn spread(t) = sqrt(0.25 * (1 - t) ^ 2 + t ^ 2)

fn flow_error(net: network, like) {
  draw z ~ normal(like)
  var errors = []
  for pair in [[0.999, 0.0], [0.8, 0.2], [0.5, 0.0], [0.9, 0.6]] {
    let x_t = f32(spread(pair[0])) * z
    let x_r = x_t - (pair[0] - pair[1]) * net.flow(x_t, pair[0], none, pair[1])
    errors += [expand((x_r - spread(pair[1]) * z) / spread(pair[1]), [P], [1])]
  }
  return concat(errors, P)
}
";

fn setup(set: &[(&str, &str)]) -> Setup {
    let net = |network: &str| NetSpec {
        network: network.into(),
        schedule: "edm".into(),
        predicts: "x0".into(),
        precondition: "edm".into(),
        sigma_data: D,
    };
    let exact = |network: &str| NetSpec { precondition: "none".into(), ..net(network) };
    let nets = [
        ("denoiser", net("mlp(hidden = 64, blocks = 2, emb = 16)")),
        ("teacher", exact("analytic(s = schedule, mixture = mixture)")),
        ("stage1", exact("analytic_flow(s = schedule, mixture = mixture)")),
    ];
    Setup {
        batch: 256,
        fields: [("x".to_owned(), Field { axes: vec!["C".into()], shape: vec![2] })].into_iter().collect(),
        mixture: Some(Mixture { centres: vec![vec![0.0; 2]], std: D, classes: vec![0], weights: vec![1.0] }),
        nets: nets.into_iter().map(|(name, spec)| (name.to_owned(), spec)).collect(),
        set: set.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        ..Setup::default()
    }
}

/// The relative error (root of the mean square) of a student before and after training.
fn errors(method: &str, sampler: &str, setup: &Setup, steps: usize) -> (f64, f64) {
    let end = method.trim_end().strip_suffix('}').expect("a method's end");
    let program = match fgc_compiler::compile("method.fg", &format!("{end}{sampler}"), setup) {
        Ok(compiled) => Arc::new(compiled.program),
        Err(failure) => {
            let shown: String = failure.diagnostics.iter().map(|d| render(d, &failure.sources, false)).collect();
            panic!("{shown}")
        }
    };
    let device = Device::new(program, Backend::Compiled, 0).expect("a device");
    let (model, _) = Model::new(device, 1, &Weights::default()).expect("a model");
    let data = Dataset::load(&DataSpec::Gaussian { dim: 2, std: D }, Split::Train, &mut |_, _| {}).expect("data");
    let mut trainer = Trainer::new(model, Arc::new(data), NonFinite::Stop);
    let error = |model: &mut Model| {
        let errors = model.sample("error", 512, &Batch::new(), 3).expect("samples").to_f32();
        (errors.iter().map(|e| f64::from(*e).powi(2)).sum::<f64>() / errors.len() as f64).sqrt()
    };
    let before = error(&mut trainer.model);
    for _ in 0..steps {
        trainer.step().expect("a step");
    }
    (before, error(&mut trainer.model))
}

#[test]
fn consistency_distillation_learns_the_flow_map() {
    let set = [("use_cd", "true"), ("lr", "1e-3"), ("ema_decay", "0.99"), ("kimg_per_stage", "80")];
    let (before, after) = errors(include_str!("../methods/cm.fg"), CONSISTENCY, &setup(&set), 3000);
    assert!(before > 0.5 && after < 0.25, "{before} → {after}");
}

#[test]
fn continuous_time_consistency_distillation_learns_the_flow_map() {
    let set = [("use_cd", "true"), ("lr", "1e-3"), ("ema_half_life", "20000"), ("tangent_warmup_steps", "500")];
    let (before, after) = errors(include_str!("../methods/scm.fg"), CONSISTENCY, &setup(&set), 3000);
    assert!(before > 0.5 && after < 0.1, "{before} → {after}");
}

#[test]
fn truncated_consistency_learns_the_flow_map_above_its_transition() {
    let set = [("use_cd", "true"), ("lr", "1e-3"), ("ema_decay", "0.99"), ("ratio", "0.75")];
    let (before, after) = errors(include_str!("../methods/tcm.fg"), CONSISTENCY, &setup(&set), 3000);
    assert!(before > 0.5 && after < 0.2, "{before} → {after}");
}

#[test]
fn mean_flow_learns_the_flow_map_between_any_two_times() {
    let mut setup = setup(&[("lr", "1e-3"), ("ema_decay", "0.99"), ("r_sample_ratio", "0.5")]);
    for net in setup.nets.values_mut() {
        net.schedule = "rf".into();
        net.precondition = "none".into();
    }
    setup.nets["denoiser"].predicts = "flow".into();
    let (before, after) = errors(include_str!("../methods/meanflow.fg"), MEAN_FLOW, &setup, 3000);
    assert!(before > 0.3 && after < 0.1, "{before} → {after}");
}
