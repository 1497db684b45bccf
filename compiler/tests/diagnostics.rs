//! What users read when a spec is wrong: one file a kind of mistake, with everything reported.

use fgc_compiler::check::check;
use fgc_compiler::diagnostic::render;
use fgc_compiler::preset::{Field, NetSpec, Setup};

fn setup() -> Setup {
    let spec = |network: &str| NetSpec {
        network: network.into(),
        schedule: "edm".into(),
        predicts: "x0".into(),
        precondition: "edm".into(),
        sigma_data: 0.5,
    };
    let field = |axis: &str, n: usize| Field { axes: vec![axis.into()], shape: vec![n] };
    Setup {
        batch: 6,
        fields: [("x".to_owned(), field("C", 2)), ("c".to_owned(), field("K", 4))].into_iter().collect(),
        nets: [
            ("denoiser".to_owned(), spec("mlp(hidden = 16, blocks = 2, emb = 8, classes = classes)")),
            ("critic".to_owned(), spec("mlp_critic()")),
        ]
        .into_iter()
        .collect(),
        ..Setup::default()
    }
}

fn report(name: &str, text: &str, setup: &Setup) -> String {
    match check(name, text, setup) {
        Ok(checked) => checked.warnings.iter().map(|d| render(d, &checked.sources, false)).collect(),
        Err(failure) => failure.diagnostics.iter().map(|d| render(d, &failure.sources, false)).collect(),
    }
}

#[test]
fn mistakes_are_explained() {
    insta::glob!("ui/*.fg", |path| {
        let text = std::fs::read_to_string(path).expect("a readable file");
        let name = path.file_name().expect("a file").to_string_lossy();
        insta::assert_snapshot!(report(&name, &text, &setup()));
    });
}

#[test]
fn settings_from_outside_are_checked() {
    let mut out = String::new();
    for (key, value) in [
        ("weigting", "one"),
        ("weighting", "two"),
        ("ratio", "3"),
        ("ratio", "1 +"),
        ("law", "lognorm(1, 2)"),
        ("steps", "x"),
    ] {
        let mut setup = setup();
        setup.set.insert(key.into(), value.into());
        out += &format!("--set {key}={value}\n{}", report("cm.fg", include_str!("../../methods/cm.fg"), &setup));
    }
    insta::assert_snapshot!(out);
}

#[test]
fn a_misfit_network_is_explained() {
    let mut out = String::new();
    for network in ["mpl()", "mlp(hiden = 3)", "mlp(64)", "unet()", "mlp(hidden = 1.5)", "linear(out = 3)"] {
        let mut setup = setup();
        setup.nets.entry("denoiser".into()).and_modify(|n| n.network = network.into());
        out += &format!("network {network:?}\n{}", report("sft.fg", include_str!("../../methods/sft.fg"), &setup));
    }
    insta::assert_snapshot!(out);
}
