//! Causal rollouts: what they compute, and that they do no more than was drawn.

use fgc_compiler::diagnostic::render;
use fgc_compiler::preset::{Field, NetSpec, Setup};
use fgc_program::{InputKind, Launch, Program, Scalar};
use fgc_runtime::Tensor;
use fgc_runtime::cpu::{Backend, Device};
use fgc_runtime::data::Batch;
use fgc_runtime::train::{Model, NonFinite, Pins, Weights};
use std::sync::Arc;

/// Videos [B = 2, C = 1, T, H = 4, W = 4]; the student is causal in chunks of 2 frames.
fn setup(frames: usize) -> Setup {
    let net = |chunk: &str| NetSpec {
        network: format!("vdit(dim = 16, heads = 2, blocks = 2, patch = 2, chunk = {chunk})"),
        schedule: "rf".into(),
        predicts: "flow".into(),
        precondition: "none".into(),
        sigma_data: 0.5,
    };
    let axes = ["C", "T", "H", "W"].map(String::from).to_vec();
    let mut setup = Setup {
        batch: 2,
        fields: [("x".to_owned(), Field { axes, shape: vec![1, frames, 4, 4] })].into_iter().collect(),
        nets: [("denoiser".to_owned(), net("none")), ("student".to_owned(), net("2"))].into_iter().collect(),
        ..Setup::default()
    };
    setup.nets.insert("critic".into(), NetSpec { network: "vdit_critic()".into(), ..net("none") });
    setup
}

fn compile(text: &str, setup: &Setup) -> Program {
    match fgc_compiler::compile("spec.fg", text, setup) {
        Ok(compiled) => compiled.program,
        Err(failure) => {
            let shown: String = failure.diagnostics.iter().map(|d| render(d, &failure.sources, false)).collect();
            panic!("{shown}")
        }
    }
}

fn videos(frames: usize) -> Batch {
    let n = 2 * frames * 16;
    let values = (0..n).map(|i| (i as f32 * 0.37).sin()).collect();
    Batch::from([("x".to_string(), Tensor::f32(vec![2, 1, frames, 4, 4], values))])
}

/// The metrics of one step.
fn metrics(text: &str, frames: usize) -> Vec<(String, f64)> {
    let program = Arc::new(compile(text, &setup(frames)));
    let device = Device::new(program, Backend::Compiled, 1).expect("a device");
    let (mut model, _) = Model::new(device, 7, &Weights::default()).expect("a model");
    let report = model.step(&videos(frames), &Pins::new(), NonFinite::Stop).expect("a step");
    report.metrics.into_iter().collect()
}

/// A chunk denoised with the keys and values of the finished ones is that chunk of the whole video denoised under the
/// causal mask with the finished ones at time 0, also where the frames are no multiple of a chunk.
#[test]
fn cached_keys_and_values_are_those_of_the_whole_video() {
    let text = "
use std.video.{chunk_of, roll}
method m() {
  data x
  net student = denoiser() adamw(lr = 1e-3)
  let s = student.schedule
  draw z ~ normal(x)
  let made = roll(student, z, none, [0.9, 0.0], 2, \"sde\", 0.0)
  let place = chunk_of(size(x, T), 2)
  var seen = z
  var difference = 0.0
  for k in 0..2 {
    let t = s.time(select(place < k, 0.0, 0.9))
    let whole = student.x0(seen, t, none)
    difference = max(difference, reduce_max(select(place == k, abs(whole - made), 0.0)))
    seen = select(place == k, whole, seen)
  }
  step {
    loss l = mse(student.x0(z, s.time(0.9), none), x) -> student
    metric difference = difference, size = reduce_max(abs(made))
  }
}";
    for frames in [4, 5] {
        let found = metrics(text, frames);
        assert!(found[0].1 < 1e-5 && found[1].1 > 0.1, "{frames} frames: {found:?}");
    }
}

/// Launches of the step that run when every chunk is done after step `exit`, and products among them.
fn work(program: &Program, exit: i64) -> (usize, usize) {
    let program = Arc::new(program.clone());
    let mut device = Device::new(program.clone(), Backend::Interpreter, 1).expect("a device");
    let drawn = program.inputs.iter().find(|input| input.name == "exit_step").expect("exits are drawn");
    assert!(matches!(drawn.kind, InputKind::Draw(_)));
    device.write(drawn.buffer, &vec![exit; drawn.shape[0]]).expect("exits");
    let plan = &program.plans[program.schedule.steps[0].plan];
    let mut run = vec![true; plan.launches.len()];
    for guard in &plan.guards {
        if device.known(&guard.when) == Ok(Scalar::Bool(false)) {
            run[guard.launches.clone()].fill(false);
        }
    }
    let ran = plan.launches.iter().zip(&run).filter(|(_, run)| **run);
    let products = ran.clone().filter(|(launch, _)| matches!(launch, Launch::Contract(_))).count();
    (ran.count(), products)
}

/// Each step before the drawn one costs one pass of the network a chunk, and steps after it nothing.
#[test]
fn work_follows_the_drawn_exit_step() {
    let text = include_str!("../methods/self_forcing.fg");
    let mut setup = setup(6);
    setup.set.extend([("gan_weight", "0"), ("steps", "4")].map(|(name, value)| (name.to_string(), value.to_string())));
    let program = compile(text, &setup);
    let products: Vec<usize> = (0..4).map(|exit| work(&program, exit).1).collect();
    // A pass: patches, two of the time, the last layer and its modulation, and in each of two blocks six products.
    let pass = 5 + 2 * 6;
    for (exit, pair) in products.windows(2).enumerate() {
        let more = pair[1] - pair[0];
        assert!((3 * (pass - 3)..=3 * pass).contains(&more), "step {exit}: {products:?}");
    }
    let text = text.replace("last_step_only: bool = false", "last_step_only: bool = true");
    let always = compile(&text, &setup);
    let plan = &always.plans[always.schedule.steps[0].plan];
    assert!(plan.guards.is_empty(), "nothing is drawn");
    let all = plan.launches.iter().filter(|launch| matches!(launch, Launch::Contract(_))).count();
    assert_eq!(products[3], all, "after the last step all is run");
}

/// The noise a chunk uses is numbered by use: where the first chunk used none, the second's first is number 0.
#[test]
fn noise_is_numbered_in_order_of_use() {
    let mut setup = setup(4);
    setup.set.extend([("gan_weight", "0"), ("steps", "4")].map(|(name, value)| (name.to_string(), value.to_string())));
    setup.set.extend([("same_step_across_blocks".to_string(), "false".to_string())]);
    let program = Arc::new(compile(include_str!("../methods/self_forcing.fg"), &setup));
    let mut device = Device::new(program.clone(), Backend::Interpreter, 1).expect("a device");
    let drawn = program.inputs.iter().find(|input| input.name == "exit_step").expect("exits are drawn");
    let plan = &program.plans[program.schedule.steps[0].plan];
    let mut used = |exits: [i64; 2]| {
        device.write(drawn.buffer, &exits).expect("exits");
        let noise = plan.inputs.iter().filter(|read| program.inputs[read.input].name.starts_with("rollout_noise"));
        let needed = noise.filter(|read| read.when.as_ref().is_none_or(|w| device.known(w) == Ok(Scalar::Bool(true))));
        let mut numbers: Vec<String> = needed
            .map(|read| &program.inputs[read.input])
            .map(|input| match &input.number {
                Some(number) => device.known(number).expect("a number").to_string(),
                None => input.name.replace("rollout_noise_", ""),
            })
            .collect();
        numbers.sort();
        numbers.join(" ")
    };
    assert_eq!(used([0, 0]), "");
    assert_eq!(used([0, 2]), "0 1");
    assert_eq!(used([1, 2]), "0 1 2");
    assert_eq!(used([3, 3]), "0 1 2 3 4 5");
}

/// A sampler's steps are rows of one plan: the number of each step's noise is that of its own row.
#[test]
fn samplers_number_noise_as_rollouts_do() {
    let mut setup = setup(5);
    setup.set.extend([("gan_weight", "0"), ("steps", "4")].map(|(name, value)| (name.to_string(), value.to_string())));
    let program = Arc::new(compile(include_str!("../methods/self_forcing.fg"), &setup));
    let mut device = Device::new(program.clone(), Backend::Interpreter, 1).expect("a device");
    let sampler = program.samplers.values().next().expect("a sampler");
    let mut drawn = Vec::new();
    for stage in &sampler.stages {
        for row in &stage.rows {
            // In the order in which they are written.
            for read in &program.plans[stage.plan].inputs {
                let input = &program.inputs[read.input];
                match (&input.kind, &input.number) {
                    (InputKind::Row { position }, _) => device.write(input.buffer, &[row[*position]]).expect("a row"),
                    (_, Some(number)) => drawn.push(device.known(number).expect("a number").to_string()),
                    (InputKind::Draw(_), None) => drawn.push(input.name.clone()),
                    _ => {}
                }
            }
        }
    }
    assert_eq!(drawn.join(" "), "sample.z 0 1 2 3 4 5");
    // Written later, a row would number the noise of the step after it.
    let mut broken = program.as_ref().clone();
    for plan in &mut broken.plans {
        plan.inputs.reverse();
    }
    let problems = fgc_program::validate::validate(&broken).expect_err("is wrong");
    assert!(problems.iter().any(|p| p.what.contains("depends on one that is written after it")), "{problems:?}");
}
