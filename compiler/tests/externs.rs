//! Kernels from outside: what docs/extern.md says of them holds on a machine without a GPU.

use fgc_compiler::diagnostic::render;
use fgc_compiler::level::Target;
use fgc_compiler::preset::{Field, NetSpec, Setup};
use fgc_program::validate::validate;
use fgc_program::{Launch, Program, print};
use fgc_runtime::Tensor;
use fgc_runtime::cpu::{Backend, Device};
use fgc_runtime::data::Batch;
use fgc_runtime::train::{Model, NonFinite, Pins, StepReport, Weights};
use std::path::Path;
use std::sync::Arc;

const SPECS: [(&str, &str); 2] = [
    ("net_of_scales()", include_str!("../../docs/extern/scale_shift.fg")),
    ("net_of_norms()", include_str!("../../docs/extern/rms_silu.fg")),
];

fn setup(network: &str, target: Target) -> Setup {
    let spec = NetSpec {
        network: network.into(),
        schedule: "edm".into(),
        predicts: "x0".into(),
        precondition: "edm".into(),
        sigma_data: 0.5,
    };
    Setup {
        batch: 5,
        fields: [("x".to_owned(), Field { axes: vec!["C".into()], shape: vec![3] })].into(),
        nets: [("denoiser".to_owned(), spec)].into(),
        folder: Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/extern")),
        target,
        ..Setup::default()
    }
}

fn compile(text: &str, setup: &Setup) -> Result<Program, String> {
    match fgc_compiler::compile("spec.fg", text, setup) {
        Ok(compiled) => Ok(compiled.program),
        Err(failure) => Err(failure.diagnostics.iter().map(|d| render(d, &failure.sources, false)).collect()),
    }
}

/// The reports of some steps on the CPU.
fn steps(text: &str, network: &str, count: usize) -> Vec<StepReport> {
    let program = compile(text, &setup(network, Target::Cpu)).unwrap_or_else(|e| panic!("{e}"));
    let device = Device::new(Arc::new(program), Backend::Compiled, 1).expect("a device");
    let (mut model, _) = Model::new(device, 7, &Weights::default()).expect("a model");
    let x = Tensor::f32(vec![5, 3], (0..15).map(|i| (i as f32 * 0.37).sin()).collect());
    let data = Batch::from([("x".to_string(), x)]);
    (0..count).map(|_| model.step(&data, &Pins::new(), NonFinite::Stop).expect("a step")).collect()
}

/// Training through the declared derivatives is training through those of the reference.
#[test]
fn methods_with_kernels_train_as_those_without() {
    for (network, text) in SPECS {
        let kernel = if network.contains("scales") { "scale_shift" } else { "rms_silu" };
        let plain = text.replace(&format!("return {kernel}("), &format!("return {kernel}_reference("));
        assert_ne!(plain, text);
        let (found, wanted) = (steps(text, network, 6), steps(&plain, network, 6));
        for (found, wanted) in found.iter().zip(&wanted) {
            let (found, wanted) = (found.losses["dsm"], wanted.losses["dsm"]);
            assert!((found - wanted).abs() <= 1e-5 * wanted, "{kernel}: {found}, not {wanted}");
        }
        assert_ne!(found[0].losses["dsm"], found[5].losses["dsm"]);
    }
}

/// Along a direction, what a kernel declares is what central differences of the kernel give; and that derivative can be
/// differentiated again, to train on.
#[test]
fn declared_derivatives_are_central_differences() {
    for (network, text) in SPECS {
        let (kernel, args) = match network {
            "net_of_scales()" => ("scale_shift", "1.5 * x + 0.1, take(x, B, 0), take(x, B, 1)"),
            _ => ("rms_silu", "1.5 * x + 0.1, take(x, B, 0)"),
        };
        let count = args.matches("take").count();
        let names: Vec<String> = (0..=count).map(|i| format!("a{i}")).collect();
        let list = |sign: &str| {
            let each = names.iter().enumerate().map(|(i, name)| format!("{name}{sign}d{i}"));
            each.collect::<Vec<_>>().join(", ")
        };
        let tangents: Vec<String> = (0..=count).map(|i| format!("let d{i} = cos(3 * a{i})\n")).collect();
        let points: Vec<&str> = args.split(", take").collect();
        let points: Vec<String> = points
            .iter()
            .enumerate()
            .map(|(i, p)| format!("let a{i} = f32({}{p})\n", if i == 0 { "" } else { "take" }))
            .collect();
        let (points, tangents) = (points.concat(), tangents.concat());
        let (all, ds) = (names.join(", "), (0..=count).map(|i| format!("d{i}")).collect::<Vec<_>>().join(", "));
        let (plus, minus) = (list(" + 0.01 * "), list(" - 0.01 * "));
        // A kernel that is a derivative declares none of its own.
        let second = match kernel {
            "scale_shift" => format!("jvp({kernel}, [guess, {}], [{ds}])", names[1..].join(", ")),
            _ => format!("{kernel}(guess, {})", names[1..].join(", ")),
        };
        let end = format!(
            "method m() {{
  data x
  net student = denoiser() adamw(lr = 1e-3)
  {points}{tangents}
  let along = jvp({kernel}, [{all}], [{ds}])
  let difference = ({kernel}({plus}) - {kernel}({minus})) / 0.02
  let guess = student.x0(x, 1.0)
  let second = {second}
  step {{
    loss l = mean(second ^ 2) -> student
    metric off = reduce_max(abs(along - difference)), size = reduce_max(abs(along))
  }}
}}"
        );
        let start = text.split("method ").next().expect("what is before the method");
        let report = steps(&format!("{start}{end}"), network, 1).remove(0);
        let (off, size) = (report.metrics["off"], report.metrics["size"]);
        assert!(size > 0.1 && off < 1e-3 * size, "{kernel}: off by {off} of {size}");
    }
}

/// For a GPU the kernels stay calls; they are saved and read with the program.
#[test]
fn programs_carry_their_kernels() {
    for (network, text) in SPECS {
        let program = compile(text, &setup(network, Target::Cuda)).unwrap_or_else(|e| panic!("{e}"));
        validate(&program).expect("a valid program");
        let launches = || program.plans.iter().flat_map(|plan| &plan.launches);
        let entries: Vec<&str> = launches()
            .filter_map(|launch| if let Launch::Extern(e) = launch { Some(e.entry.as_str()) } else { None })
            .collect();
        let kernel = if network.contains("scales") { "scale_shift" } else { "rms_silu" };
        assert!(entries.contains(&kernel) && entries.contains(&&*format!("{kernel}_vjp")), "{entries:?}");
        assert_eq!(program.codes.len(), 1, "one file");
        let text = ron::to_string(&program).expect("text");
        assert!(ron::from_str::<Program>(&text).expect("a program") == program, "{kernel}: not what was saved");
        assert!(print::plans(&program).contains(&format!("extern {kernel} of ")), "{}", print::plans(&program));
        let refused = Device::new(Arc::new(program), Backend::Reference, 1).err().expect("no CPU runs it").to_string();
        assert!(refused.contains("code for a GPU"), "{refused}");
    }
}

/// The code on the page is that of the files beside it.
#[test]
fn the_page_shows_its_files() {
    let page = include_str!("../../docs/extern.md");
    let files = [SPECS[0].1, include_str!("../../docs/extern/scale_shift.cu")];
    for (kind, file) in ["fg", "cuda"].into_iter().zip(files) {
        let blocks: Vec<&str> = page.split(&format!("```{kind}\n")).skip(1).collect();
        assert!(!blocks.is_empty(), "the page shows {kind}");
        for block in blocks {
            let block = block.split("```").next().expect("the block");
            assert!(file.contains(block), "not in the file:\n{block}");
        }
    }
}
