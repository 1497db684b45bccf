//! Methods compiled for tests of what runs them.

use fgc_compiler::diagnostic::render;
use fgc_compiler::preset::{Field, NetSpec, Setup};
use fgc_program::Program;

/// A method's data, of these axes after B, and the setup of its one network, by flow from noise to data.
pub fn setup(network: &str, shape: &[usize], batch: usize) -> Setup {
    let axes: &[&str] = match shape.len() {
        1 => &["C"],
        3 => &["C", "H", "W"],
        _ => &["C", "T", "H", "W"],
    };
    let net = NetSpec {
        network: network.into(),
        schedule: "rf".into(),
        predicts: "flow".into(),
        precondition: "none".into(),
        sigma_data: 0.5,
    };
    let axes = axes.iter().map(|axis| axis.to_string()).collect();
    Setup {
        batch,
        fields: [("x".to_owned(), Field { axes, shape: shape.to_vec() })].into_iter().collect(),
        nets: [("denoiser".to_owned(), net)].into_iter().collect(),
        ..Setup::default()
    }
}

/// The method's program; what is wrong with it is a test's failure.
pub fn program(method: &str, setup: &Setup) -> Program {
    match fgc_compiler::compile("spec.fg", method, setup) {
        Ok(compiled) => compiled.program,
        Err(failure) => {
            panic!("{}", failure.diagnostics.iter().map(|d| render(d, &failure.sources, false)).collect::<String>())
        }
    }
}
