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

/// Data and settings that a method cannot work with are refused before anything runs, at the place in the spec or in what
/// was set.
#[test]
fn data_and_methods_must_fit() {
    let video = |frames: usize| {
        let axes = ["C", "T", "H", "W"].map(String::from).to_vec();
        let mut setup = setup();
        setup.fields.insert("x".into(), Field { axes, shape: vec![1, frames, 4, 4] });
        for (name, net) in &mut setup.nets {
            net.network = if name == "critic" { "vdit_critic()" } else { "vdit(dim = 8, classes = classes)" }.into();
            net.schedule = "rf".into();
            net.precondition = "none".into();
        }
        setup
    };
    let method = |name: &str| match name {
        "kd" => include_str!("../../methods/kd.fg"),
        "causal_kd" => include_str!("../../methods/causal_kd.fg"),
        "tcm" => include_str!("../../methods/tcm.fg"),
        _ => include_str!("../../methods/self_forcing.fg"),
    };
    let mut out = String::new();
    for (name, setup, set) in [
        ("self_forcing", setup(), ""),
        ("kd", setup(), ""),
        ("causal_kd", video(6), ""),
        ("self_forcing", video(6), "chunk=7"),
        ("self_forcing", video(6), "chunk=3"),
        ("self_forcing", video(6), "t_list=[0.9, 0.95, 0]"),
        ("self_forcing", video(6), "t_list=[0.9, 0.5]"),
        ("tcm", setup(), "transition_t=100"),
    ] {
        let mut setup = setup;
        if let Some((key, value)) = set.split_once('=') {
            setup.set.insert(key.into(), value.into());
        }
        out += &format!("{name}.fg {set}\n{}\n", report(&format!("{name}.fg"), method(name), &setup));
    }
    insta::assert_snapshot!(out);
}
