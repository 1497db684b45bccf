//! Published architectures agree with recorded outputs, features, gradients and derivatives of other implementations.

use fgc_compiler::diagnostic::render;
use fgc_compiler::preset::{NetSpec, Setup};
use fgc_program::DType;
use fgc_runtime::Tensor;
use fgc_runtime::cpu::{Backend, Device};
use fgc_runtime::data::Batch;
use fgc_runtime::tensorfile;
use fgc_runtime::train::{Model, NonFinite, Pins, Weights};
use indexmap::IndexMap;
use std::path::Path;
use std::sync::Arc;

/// What the recordings call the parameters, and what the published checkpoints do.
const NAMES: [(&str, &str); 8] = [
    (".attention.", ".attn."),
    (".feed_forward.", ".mlp."),
    (".conditioning_net.", ".adaLN_modulation."),
    (".adaptive_params.", ".adaLN_modulation."),
    (".projection.", ".linear."),
    ("t_embedder.proj_net.", "t_embedder.mlp."),
    ("r_embedder.proj_net.", "r_embedder.mlp."),
    (".class_embeddings.", ".embedding_table."),
];

fn published(name: &str) -> String {
    NAMES.iter().fold(name.to_owned(), |name, (recorded, published)| name.replace(recorded, published))
}

fn read(network: &str, file: &str) -> IndexMap<String, Tensor> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/networks").join(network).join(file);
    tensorfile::read(&path).expect("a recording").0
}

/// ‖a − b‖/‖b‖.
fn difference(a: &Tensor, b: &Tensor) -> f64 {
    let (a, b) = (a.to_f64(), b.to_f64());
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut a.iter().zip(&b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied())
}

/// Compiles a method that compares a network with its recording; checks metrics and gradients.
fn agrees(network: &str, call: &str, second_time: bool, backend: Backend) {
    let io = read(network, "io.safetensors");
    let (r, dr, arg) = if second_time { (", r", ", dr", ", s.time(r)") } else { ("", "", "") };
    let draws = if second_time { ", r ~ uniform(B), dr ~ uniform(B)" } else { "" };
    let text = format!(
        "
fn off(a, b) = sqrt(sum((f64(a) - f64(b)) ^ 2) / sum(f64(b) ^ 2))

method m() {{
  data x, c
  net student = denoiser() adamw(lr = 1e-3)
  let s = student.schedule
  draw t ~ uniform(B), dt ~ uniform(B), w ~ normal(x), dx ~ normal(x), out ~ normal(x), along ~ normal(x){draws}
  let f = fn(y, t{r}) = student.flow(y, s.time(t), c{arg})
  let seen = student(x, s.time(t), c{arg})
  step {{
    loss l = sum(seen.flow * w) -> student
    metric out_off = off(seen.flow, out), jvp_off = off(jvp(f, [x, t{r}], [dx, dt{dr}]), along)
    metric logvar = mean(seen.logvar), size = sqrt(sum(seen.features[0] ^ 2))
  }}
}}"
    );
    let mut pins = Pins::new();
    for (name, draw) in
        [("w", "w"), ("dx", "dx"), ("dt", "dt"), ("dr", "dr"), ("t", "t"), ("r", "r"), ("out", "out"), ("jvp", "along")]
    {
        pins.extend(io.get(name).map(|tensor| (draw.to_owned(), tensor.clone())));
    }
    let data = Batch::from(["x", "c"].map(|name| (name.to_owned(), io[name].clone())));
    let field = |name: &str, axes: &[&str]| fgc_compiler::preset::Field {
        axes: axes.iter().map(|a| a.to_string()).collect(),
        shape: io[name].shape()[1..].to_vec(),
    };
    let setup = Setup {
        batch: io["x"].shape()[0],
        fields: [("x".to_owned(), field("x", &["C", "H", "W"])), ("c".to_owned(), field("c", &["K"]))].into(),
        nets: [(
            "denoiser".to_owned(),
            NetSpec {
                network: call.into(),
                schedule: "rf".into(),
                predicts: "flow".into(),
                precondition: "none".into(),
                sigma_data: 0.5,
            },
        )]
        .into(),
        pins: pins.iter().map(|(name, t)| (name.clone(), (t.dtype(), t.shape().to_vec()))).collect(),
        ..Setup::default()
    };
    assert_eq!(io["t"].dtype(), DType::F64);
    let compiled = fgc_compiler::compile("spec.fg", &text, &setup).unwrap_or_else(|failure| {
        let shown: String = failure.diagnostics.iter().map(|d| render(d, &failure.sources, false)).collect();
        panic!("{shown}")
    });
    let named = read(network, "weights.safetensors").into_iter().map(|(name, t)| (published(&name), t)).collect();
    let weights = Weights { nets: [("student".to_owned(), ("weights".to_owned(), named))].into() };
    let device = Device::new(Arc::new(compiled.program), backend, 1).expect("a device");
    let (mut model, _) = Model::new(device, 0, &weights).expect("weights that fit");
    let report = model.step(&data, &pins, NonFinite::Stop).expect("a step");
    assert!(report.metrics["out_off"] < 1e-5, "{:?}", report.metrics);
    assert!(report.metrics["jvp_off"] < 1e-4, "{:?}", report.metrics);
    let logvar = io["logvar"].to_f64();
    let mean = logvar.iter().sum::<f64>() / logvar.len() as f64;
    assert!((report.metrics["logvar"] - mean).abs() < 1e-5, "{:?}", report.metrics);
    let size = io["feature.0"].to_f64().iter().map(|x| x * x).sum::<f64>().sqrt();
    assert!((report.metrics["size"] / size - 1.0).abs() < 1e-5, "{:?}", report.metrics);
    let gradients = model.gradients().expect("gradients");
    let mut compared = 0;
    for (name, expected) in io.iter().filter_map(|(name, t)| Some((name.strip_prefix("grad.")?, t))) {
        let found =
            gradients.get(&format!("student.{}", published(name))).unwrap_or_else(|| panic!("no gradient of {name}"));
        let off = difference(found, expected);
        assert!(off < 1e-4, "gradient of {name}: off by {off:.1e}");
        compared += 1;
    }
    assert_eq!(compared, gradients.len());
}

#[test]
fn dit_is_the_published_one_with_a_second_time() {
    let call = "dit(dim = 32, depth = 2, heads = 2, patch = 2, classes = classes, logvar = true)";
    for backend in [Backend::Compiled, Backend::Reference] {
        agrees("dit", call, true, backend);
    }
}

#[test]
fn sit_is_the_published_one() {
    let call = "dit(dim = 32, depth = 2, heads = 2, patch = 2, classes = classes, learn_sigma = true, sit = true, logvar = true)";
    agrees("sit", call, false, Backend::Compiled);
}
