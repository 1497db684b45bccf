//! What inputs are checked on: small data and networks.

use fgc_compiler::preset::{Field, NetSpec, Setup};

/// As many take a fraction of a second.
const EVALUATIONS: u64 = 200_000;

/// Videos for what names their axis, points for all else.
pub fn fitting(text: &str) -> Setup {
    if text.contains("[B, T") { video() } else { points() }
}

/// Videos for the methods that need them.
pub fn of_method(name: &str) -> Setup {
    if name.starts_with("caus") || name == "self_forcing" { video() } else { points() }
}

fn points() -> Setup {
    let x = field(&["C"], &[2]);
    let path = field(&["P", "C"], &[4, 2]);
    let fields = [("x", x), ("c", field(&["K"], &[4])), ("path", path)];
    setup(&fields, "edm", "x0", "mlp(hidden = 16, blocks = 1, emb = 8, classes = classes)", "mlp_critic()")
}

fn video() -> Setup {
    let x = field(&["C", "T", "H", "W"], &[1, 4, 4, 4]);
    let path = field(&["P", "C", "T", "H", "W"], &[4, 1, 4, 4, 4]);
    let fields = [("x", x), ("c", field(&["K"], &[2])), ("path", path)];
    let network = "vdit(dim = 8, heads = 2, blocks = 1, patch = 2, classes = classes, chunk = 2)";
    setup(&fields, "rf", "flow", network, "vdit_critic()")
}

fn setup(fields: &[(&str, Field)], schedule: &str, predicts: &str, network: &str, critic: &str) -> Setup {
    let net = |network: &str| NetSpec {
        network: network.into(),
        schedule: schedule.into(),
        predicts: predicts.into(),
        precondition: if schedule == "edm" { "edm" } else { "none" }.into(),
        sigma_data: 0.5,
    };
    Setup {
        batch: 4,
        fields: fields.iter().map(|(name, f)| (name.to_string(), f.clone())).collect(),
        nets: [("denoiser".to_owned(), net(network)), ("critic".to_owned(), net(critic))].into_iter().collect(),
        evaluations: Some(EVALUATIONS),
        ..Setup::default()
    }
}

fn field(axes: &[&str], shape: &[usize]) -> Field {
    Field { axes: axes.iter().map(|a| a.to_string()).collect(), shape: shape.to_vec() }
}
