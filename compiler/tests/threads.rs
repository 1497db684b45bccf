//! A program does not depend on how many threads have compiled it.

use fgc_compiler::compile;
use fgc_compiler::preset::{Field, NetSpec, Setup};
use fgc_program::Program;
use rayon::ThreadPoolBuilder;

/// A rollout: plans for the student's step, the critic's, and each stage of a sampler, alike in parts.
fn compiled(threads: usize) -> Program {
    let axes = ["C", "T", "H", "W"].map(String::from).to_vec();
    let net = |network: &str| NetSpec {
        network: network.into(),
        schedule: "rf".into(),
        predicts: "flow".into(),
        precondition: "none".into(),
        sigma_data: 0.5,
    };
    let networks = [
        ("denoiser", "vdit(dim = 16, heads = 2, blocks = 2, patch = 2, classes = classes)"),
        ("student", "vdit(dim = 16, heads = 2, blocks = 2, patch = 2, classes = classes, chunk = 1)"),
        ("critic", "vdit_critic()"),
    ];
    let fields = [
        ("x".to_owned(), Field { axes, shape: vec![2, 2, 4, 4] }),
        ("c".to_owned(), Field { axes: vec!["K".into()], shape: vec![3] }),
    ];
    let setup = Setup {
        batch: 2,
        fields: fields.into_iter().collect(),
        nets: networks.iter().map(|(name, network)| (name.to_string(), net(network))).collect(),
        set: [("chunk".to_owned(), "1".to_owned()), ("guidance".to_owned(), "3".to_owned())].into_iter().collect(),
        ..Setup::default()
    };
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../methods/self_forcing.fg")).unwrap();
    let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| compile("self_forcing.fg", &text, &setup).map(|done| done.program)).unwrap()
}

#[test]
fn programs_do_not_depend_on_threads() {
    let alone = compiled(1);
    assert!(alone.plans.len() > 4 && alone.kernels.len() > 50);
    for threads in [2, 3, 8] {
        assert!(compiled(threads) == alone, "{threads} threads");
    }
}
