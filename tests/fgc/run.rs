//! Training, resuming, sampling, printing.

use crate::process::{Work, failed, ok};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// A quick method on a quick preset, as options of `fgc run`.
const SMALL: [&str; 6] = ["--preset", "tiny.ron", "--threads", "1", "--out", "runs"];

fn small(work: &Work, more: &[&str]) -> std::process::Output {
    work.fgc(&[&["run", "sft.fg"][..], &SMALL, more].concat())
}

#[test]
fn a_run_leaves_all_it_promises() {
    let work = Work::new();
    let output = ok(small(&work, &["--iterations", "12", "--batch", "16"]));
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("12 steps") && shown.contains("sliced W2") && shown.contains("sft-tiny-1"), "{shown}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("compiled sft in"), "{told}");
    let run = work.path("runs/sft-tiny-1");
    for file in ["spec.fg", "preset.ron", "log.jsonl", "curves.png", "summary.json", "samples/step-00000012.png"] {
        assert!(run.join(file).is_file(), "{file}");
    }
    assert!(work.newest("runs/sft-tiny-1").ends_with("step-00000012.safetensors"));
    let events = std::fs::read_dir(&run)
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with("events.out.tfevents"));
    assert_eq!(events.count(), 1);
    let summary: serde_json::Value = serde_json::from_str(&work.read("runs/sft-tiny-1/summary.json")).unwrap();
    assert_eq!(summary["iterations"], 12);
    assert!(summary["quality"]["trained"].as_array().unwrap().iter().any(|row| row["what"] == "samples"));
    assert!(work.read("runs/sft-tiny-1/preset.ron").contains("batch: 16"), "the preset as used");
    // A second run has its own directory.
    ok(small(&work, &["--iterations", "2"]));
    assert!(work.path("runs/sft-tiny-2").is_dir());
}

#[test]
fn a_killed_run_goes_on_as_if_it_had_never_stopped() {
    let work = Work::new();
    let cadence = ["--iterations", "400", "--checkpoint-every", "20", "--sample-every", "1000"];
    ok(small(&work, &[&["--name", "straight"][..], &cadence].concat()));
    let mut child = work.spawn(&[&["run", "sft.fg"][..], &SMALL, &["--name", "killed"], &cadence].concat());
    let begun = Instant::now();
    while !work.path("runs/killed/checkpoints/step-00000020.safetensors").exists()
        && begun.elapsed() < Duration::from_secs(120)
    {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!work.path("runs/killed/summary.json").exists(), "it was killed too late to tell anything");
    ok(work.fgc(&["run", "--resume", "runs/killed", "--threads", "1", "--checkpoint-every", "20"]));
    assert_eq!(work.bytes(&work.newest("runs/straight")), work.bytes(&work.newest("runs/killed")));
    let steps = |run: &str| -> Vec<u64> {
        let step = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64().unwrap();
        work.read(&format!("runs/{run}/log.jsonl")).lines().map(step).collect()
    };
    assert_eq!(steps("straight"), steps("killed"), "the log has every line once");
}

/// Consistency targets meet their predictions where neighbouring times do.
#[test]
fn a_norm_of_zero_has_a_gradient() {
    let work = Work::new();
    work.write(
        "zero.fg",
        "method zero() {
  data x
  net student = denoiser() adamw(lr = 1e-3)
  draw t ~ uniform_time()(student.schedule)
  let y = student.x0(x, t, none)
  step { loss l = mean(norm(y - stop(y))) -> student }
  sample ode(student, x, none, 2)
}
",
    );
    ok(work.fgc(&["run", "zero.fg", "--preset", "tiny.ron", "--iterations", "2"]));
}

/// A truncated consistency model starts from a finished one.
#[test]
fn a_run_can_fill_any_network() {
    let work = Work::new();
    work.write("tcm.fg", include_str!("../../methods/tcm.fg"));
    let tcm = ["run", "tcm.fg", "--preset", "tiny.ron", "--iterations", "2"];
    work.fails(&tcm, &["`stage1` is frozen and has no weights", "--init stage1=RUN", "methods/cm.fg"]);
    ok(small(&work, &["--name", "first", "--iterations", "2"]));
    ok(work.fgc(&[&tcm[..], &["--init", "stage1=runs/first"]].concat()));
    work.fails(&[&tcm[..], &["--init", "stage2=runs/first"]].concat(), &["no network `stage2`"]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_the_run() {
    let work = Work::new();
    let cadence = ["--iterations", "100000", "--checkpoint-every", "100000", "--sample-every", "100000"];
    let child = work.spawn(&[&["run", "sft.fg"][..], &SMALL, &["--name", "r"], &cadence].concat());
    let begun = Instant::now();
    let started = || std::fs::metadata(work.path("runs/r/log.jsonl")).is_ok_and(|log| log.len() > 0);
    while !started() && begun.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(2));
    }
    ok(work.command("kill").args(["-INT", &child.id().to_string()]).output().unwrap());
    let status = child.wait_with_output().unwrap().status;
    assert_eq!(status.code(), Some(1), "what follows in a script must not take the run for a finished one");
    let newest = work.newest("runs/r");
    let step: u64 = newest.file_stem().unwrap().to_str().unwrap().trim_start_matches("step-").parse().unwrap();
    assert!(step >= 1, "saved at {step}");
    let log = work.read("runs/r/log.jsonl");
    let last: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(last["step"], step, "what was done since the last line is noted");
    let output = ok(work.fgc(&["run", "--resume", "runs/r", "--iterations", &(step + 2).to_string()]));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains(&format!("going on at step {step}")), "{told}");
}

#[test]
fn more_steps_can_be_asked_for_later() {
    let work = Work::new();
    ok(small(&work, &["--name", "long", "--iterations", "30"]));
    ok(small(&work, &["--name", "short", "--iterations", "10"]));
    ok(work.fgc(&["run", "--resume", "runs/short", "--iterations", "30"]));
    assert_eq!(work.bytes(&work.newest("runs/long")), work.bytes(&work.newest("runs/short")));
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let work = Work::new();
    for threads in ["1", "2"] {
        let args = ["--name", threads, "--threads", threads, "--iterations", "20"];
        ok(work.fgc(&[&["run", "sft.fg", "--preset", "tiny.ron", "--batch", "300"][..], &args].concat()));
    }
    assert_eq!(work.bytes(&work.newest("runs/1")), work.bytes(&work.newest("runs/2")));
}

#[test]
fn samples_come_from_a_run() {
    let work = Work::new();
    ok(small(&work, &["--name", "r", "--iterations", "5"]));
    ok(work.fgc(&["sample", "runs/r", "-n", "32", "--steps", "3", "-o", "points.png"]));
    assert_eq!(&work.bytes(&work.path("points.png"))[1..4], b"PNG");
    ok(work.fgc(&["sample", "runs/r", "-n", "10", "--class", "1", "--steps", "3", "-o", "a.safetensors"]));
    ok(work.fgc(&["sample", "runs/r", "-n", "10", "--class", "1", "--steps", "3", "-o", "b.safetensors"]));
    assert_eq!(work.bytes(&work.path("a.safetensors")), work.bytes(&work.path("b.safetensors")));
    ok(work.fgc(&["sample", "runs/r", "-n", "10", "--class", "2", "--steps", "3", "-o", "c.safetensors"]));
    assert_ne!(work.bytes(&work.path("a.safetensors")), work.bytes(&work.path("c.safetensors")));
    work.fails(&["sample", "runs/r", "--class", "4"], &["class 4 is out of range"]);
    work.fails(&["sample", "runs/r", "-o", "a.jpg"], &[".jpg", ".png or .safetensors"]);
}

/// A method that trains without its teacher neither keeps weights of one nor samples from it, also once it is resumed.
#[test]
fn a_teacher_without_weights_is_not_sampled() {
    let work = Work::new();
    let cm = ["run", "cm.fg", "--preset", "untaught.ron", "--iterations", "4", "--threads", "1", "--name", "r"];
    ok(work.fgc(&cm));
    let resumed = ok(work.fgc(&["run", "--resume", "runs/r", "--iterations", "8"]));
    let shown = String::from_utf8(resumed.stdout).unwrap();
    assert!(shown.contains("samples") && !shown.contains("teacher"), "{shown}");
    let tensors = work.bytes(&work.newest("runs/r"));
    let names = safetensors::SafeTensors::deserialize(&tensors).unwrap();
    assert!(names.names().iter().all(|name| !name.starts_with("teacher.")), "{:?}", names.names());
    work.fails(&["sample", "runs/r", "--sampler", "target"], &["FG0906", "teacher"]);
}

/// A student distilled from a run has its network and starts at its weights.
#[test]
fn a_run_can_be_the_teacher_of_another() {
    let work = Work::new();
    ok(small(&work, &["--name", "t", "--iterations", "5"]));
    let args = ["run", "cm.fg", "--preset", "untaught.ron", "--set", "use_cd=true", "--name", "s", "--iterations", "2"];
    work.fails(&args, &["`teacher`", "--teacher RUN", "fgc run methods/sft.fg"]);
    ok(work.fgc(&[&args[..], &["--teacher", "runs/t", "--out", "distilled"]].concat()));
    let tensors = |path: &std::path::Path| {
        let bytes = work.bytes(path);
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let find = |name: &str| file.tensor(name).ok().map(|t| t.data().to_vec());
        (find("ema.student.out.weight"), find("teacher.out.weight"))
    };
    let (taught, _) = tensors(&work.newest("runs/t"));
    let (_, teacher) = tensors(&work.newest("distilled/s"));
    assert!(taught.is_some() && taught == teacher);
}

/// Writes `first.ron`, whose dmd2 has its teacher trained first by so many steps of sft.
fn with_teacher_first(steps: u32) -> Work {
    let work = Work::new();
    let text = work.read("untaught.ron");
    let (head, _) = text.split_once("methods:").unwrap();
    let methods = format!(
        r#"methods: {{
        "dmd2": (iterations: 4, init: {{"teacher": "sft"}}),
        "sft": (iterations: {steps}, nets: {{"denoiser": (network: "mlp(hidden = 24, blocks = 1, emb = 8)")}}),
    }},
)"#
    );
    work.write("first.ron", &format!("{head}{methods}"));
    work
}

#[test]
fn a_preset_can_have_a_teacher_trained_first() {
    let work = with_teacher_first(10);
    let dmd2 = ["run", "dmd2.fg", "--preset", "first.ron", "--threads", "1"];
    let told = String::from_utf8(ok(work.fgc(&dmd2)).stderr).unwrap();
    assert!(told.contains("training `teacher` first, by sft"), "{told}");
    assert!(work.read("runs/sft-first-1/summary.json").contains("\"iterations\": 10"));
    let preset = work.read("runs/dmd2-first-1/preset.ron");
    assert!(preset.contains("hidden = 24") && preset.contains("iterations: 4"), "the teacher is sft's: {preset}");

    // A run of its own, which another can take instead of training it again.
    ok(work.fgc(&[&dmd2[..], &["--teacher", "runs/sft-first-1"]].concat()));
    assert!(!work.path("runs/sft-first-2").exists());
    assert_eq!(work.bytes(&work.newest("runs/dmd2-first-1")), work.bytes(&work.newest("runs/dmd2-first-2")));

    work.fails(&[&dmd2[..], &["--name", "dmd2-first-1"]].concat(), &["dmd2-first-1", "already holds a run"]);
    assert!(!work.path("runs/dmd2-first-1-teacher").exists(), "what cannot be kept is not begun");

    work.write("wrong.ron", &work.read("first.ron").replace("\"teacher\": \"sft\"", "\"teacher\": \"sftt\""));
    work.fails(&["check", "dmd2.fg", "--preset", "wrong.ron"], &["FG0902", "wrong.ron:11:52", "did you mean `sft`?"]);
}

/// What several methods want first is trained once, by a method beside the preset if there is one.
#[test]
fn what_is_trained_first_is_trained_once() {
    let work = with_teacher_first(10);
    let chain = r#""cm": (iterations: 3, set: {"use_cd": "true"}, init: {"teacher": "own"}),
        "own": (iterations: 5), "dmd2": (iterations: 4, init: {"teacher": "own", "fake_score": "cm"}),"#;
    let text = work.read("first.ron");
    let entry = r#""dmd2": (iterations: 4, init: {"teacher": "sft"}),"#;
    assert!(text.contains(entry));
    std::fs::create_dir(work.path("elsewhere")).unwrap();
    work.write("elsewhere/chain.ron", &text.replace(entry, chain));
    work.write("elsewhere/own.fg", &work.read("sft.fg").replace("method sft(", "method own("));
    let dmd2 = ["run", "dmd2", "--preset", "elsewhere/chain.ron", "--threads", "1"];
    ok(work.fgc(&dmd2));
    let mut runs: Vec<String> = std::fs::read_dir(work.path("runs"))
        .unwrap()
        .map(|run| run.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    runs.sort();
    assert_eq!(runs, ["cm-chain-1", "dmd2-chain-1", "own-chain-1"]);

    // Nothing is begun that could not end.
    work.write("elsewhere/chain.ron", &work.read("elsewhere/chain.ron").replace("use_cd", "use_dc"));
    work.fails(&dmd2, &["FG0701", "use_dc"]);
    work.write("elsewhere/chain.ron", &text);
    work.write("sft.fg", &work.read("cm.fg"));
    work.fails(&dmd2, &["sft.fg declares `cm`"]);
    assert_eq!(std::fs::read_dir(work.path("runs")).unwrap().count(), 3);
}

#[cfg(unix)]
#[test]
fn ctrl_c_in_a_teachers_training_says_how_to_go_on() {
    let work = with_teacher_first(1_000_000);
    let mut command = work.command(env!("CARGO_BIN_EXE_fgc"));
    command.args(["run", "dmd2.fg", "--preset", "first.ron", "--threads", "1", "--name", "r"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    let started = || std::fs::metadata(work.path("runs/r-teacher/log.jsonl")).is_ok_and(|log| log.len() > 0);
    while !started() && begun.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(2));
    }
    ok(work.command("kill").args(["-INT", &child.id().to_string()]).output().unwrap());
    let output = child.wait_with_output().unwrap();
    failed(&output, &["--resume runs/r-teacher", "then start dmd2 again, with --init teacher=runs/r-teacher"]);
    assert!(!work.path("runs/r").exists());
}

#[test]
fn every_stage_prints_itself() {
    let work = Work::new();
    let shows = [
        ("ast", "Method"),
        ("typed", "eps: f32[B=32, C=2]"),
        ("graph", "call student"),
        ("grad", "plan step."),
        ("opt", "plan step."),
        ("kernels", "grid i0 in"),
        ("c", "void k0("),
        ("plan", "plan step."),
    ];
    for (emit, text) in shows {
        let output = ok(work.fgc(&["build", "sft.fg", "--preset", "tiny.ron", "--emit", emit]));
        let shown = String::from_utf8(output.stdout).unwrap();
        assert!(shown.contains(text), "{emit} does not show `{text}`:\n{}", &shown[..shown.len().min(2000)]);
    }
}

#[test]
fn compilation_is_reported() {
    let work = Work::new();
    let output = ok(work.fgc(&["build", "sft.fg", "--preset", "tiny.ron", "--report"]));
    let shown = String::from_utf8(output.stdout).unwrap();
    for part in ["optimise", "regions", "limits:", "rules applied", "kernels", "model", "all of class kernel"] {
        assert!(shown.contains(part), "no `{part}` in:\n{shown}");
    }
    let output = work.fgc(&["build", "sft.fg", "--preset", "tiny.ron"]);
    assert_eq!(output.status.code(), Some(2), "one of --emit and --report must be given");
}

#[test]
fn parts_of_the_optimiser_can_be_left_out() {
    let work = Work::new();
    let bench =
        "(data: Noise(shape: [2]), batch: 64, iterations: 2, nets: {\"denoiser\": (network: \"mlp(hidden = 32)\")},
        methods: {\"sft\": ()})";
    work.write("bench.ron", bench);
    let moved = |more: &[&str]| {
        let output = ok(work.fgc(&[&["bench", "bench.ron", "--warm", "--json"], more].concat()));
        let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        found["gigabytes"].as_f64().unwrap()
    };
    let (with, without) = (moved(&[]), moved(&["--without", "bands", "--without", "recompute"]));
    assert!(with > 0.0 && with <= without, "{with} and {without}");
    let output = work.fgc(&["bench", "bench.ron", "--without", "everything"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("rules, regions, recompute, bands"));
}

#[test]
fn methods_are_formatted_and_checked() {
    let work = Work::new();
    ok(work.fgc(&["check", "sft.fg", "cm.fg", "--preset", "tiny.ron"]));
    let text = work.read("sft.fg").replace("  data x, c", "      data   x,c // both");
    work.write("messy.fg", &text);
    work.fails_quietly(&["fmt", "--check", "messy.fg"]);
    assert_eq!(work.read("messy.fg"), text, "--check changes nothing");
    ok(work.fgc(&["fmt", "messy.fg"]));
    assert!(work.read("messy.fg").contains("  data x, c // both"));
    ok(work.fgc(&["fmt", "--check", "messy.fg"]));
}

#[test]
fn a_folder_stands_for_the_methods_in_it() {
    let work = Work::new();
    let checked = String::from_utf8(ok(work.fgc(&["check", ".", "--preset", "tiny.ron"])).stdout).unwrap();
    let lines: Vec<_> = checked.lines().collect();
    assert!(lines.len() == 3 && lines[0].contains("cm is correct") && lines[2].contains("sft is correct"), "{checked}");
    std::fs::create_dir(work.path("deeper")).unwrap();
    work.write("deeper/messy.fg", &work.read("sft.fg").replace("  data x, c", "    data x,c"));
    let output = work.fgc(&["fmt", "--check", "."]);
    assert!(String::from_utf8(output.stdout).unwrap().contains("deeper/messy.fg is not formatted"));
}

/// A recorded step through the command line: the loss that was recorded.
#[test]
fn one_step_can_be_replayed() {
    let work = Work::new();
    let case = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/sft-mlp");
    let file = |name: &str| case.join(format!("{name}.safetensors")).display().to_string();
    let reference = "mlp(hidden = 32, blocks = 3, emb = 16, classes = classes)";
    work.write(
        "case.ron",
        &work.read("tiny.ron").replace("mlp(hidden = 16, blocks = 1, emb = 8, classes = classes)", reference),
    );
    let (weights, pins) = (file("weights"), file("pins"));
    let args = ["step", "sft.fg", "--preset", "case.ron", "--set", "cond_dropout_prob=0.3", "--out", "out.safetensors"];
    ok(work.fgc(&[&args[..], &["--weights", &weights, "--pins", &pins]].concat()));
    let bytes = work.bytes(&work.path("out.safetensors"));
    let out = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let loss = f64::from_le_bytes(out.tensor("loss.dsm_loss").unwrap().data().try_into().unwrap());
    assert!((loss - 0.3477102816104889).abs() < 1e-6, "{loss}");
    assert_eq!(out.tensor("grad.student.out.weight").unwrap().shape(), [2, 32]);
}

#[test]
fn without_a_compiler_kernels_are_interpreted() {
    let work = Work::new();
    let run = |name: &str, compiler: &str| {
        let mut command = work.command(env!("CARGO_BIN_EXE_fgc"));
        command.args(["run", "sft.fg"]).args(SMALL).args(["--name", name, "--iterations", "2"]).env("CC", compiler);
        String::from_utf8(ok(command.output().unwrap()).stderr).unwrap()
    };
    let told = run("slow", "no-such-compiler");
    assert_eq!(told.matches("warning:").count(), 1, "{told}");
    assert!(told.contains("there is no C compiler `no-such-compiler`") && told.contains("$CC"), "{told}");
    assert!(!run("fast", "cc").contains("warning:"));
}
