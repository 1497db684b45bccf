//! Whatever is given to it, the binary says which file and place is wrong, exits with 1 (wrong usage: 2), and leaves
//! what was there before.

use crate::process::{Work, failed, ok};
use std::process::Output;

/// `fgc check` of sft.fg with one thing changed.
fn check_changed(from: &str, to: &str) -> (Work, Output) {
    let work = Work::new();
    let text = work.read("sft.fg");
    assert!(text.contains(from), "sft.fg has no `{from}`");
    work.write("bad.fg", &text.replacen(from, to, 1));
    let output = work.fgc(&["check", "bad.fg", "--preset", "tiny.ron"]);
    (work, output)
}

/// The line of sft.fg where a text first stands.
fn line(of: &str) -> String {
    let text = Work::new().read("sft.fg");
    let before = text.split(of).next().unwrap_or_default();
    format!("bad.fg:{}:", before.matches('\n').count() + 1)
}

#[test]
fn a_syntax_error_is_shown_at_its_place() {
    let (_work, output) = check_changed("data x, c", "data x, , c");
    failed(&output, &["FG00", &line("data x, c")]);
}

#[test]
fn an_unknown_name_is_shown_with_the_nearest() {
    let (_work, output) = check_changed("add_noise(s, x, eps, t)", "add_nose(s, x, eps, t)");
    failed(&output, &["add_nose", "add_noise", &line("add_noise(s, x")]);
}

#[test]
fn axes_that_do_not_match_are_named() {
    let (_work, output) = check_changed("data x, c", "data x: f32[B, C, H, W], c");
    failed(&output, &["FG0", "[B=32, C=2]", "[B, C, H, W]", &line("data x, c")]);
}

#[test]
fn a_loss_that_cannot_reach_its_network_shows_why() {
    let (_work, output) =
        check_changed("= dsm(student, add_noise(s, x, eps, t), t, condition, x, eps)", "= mean(x * eps)");
    failed(&output, &["student", &line("loss dsm_loss")]);
}

#[test]
fn an_unknown_hyper_parameter_gets_a_suggestion() {
    let work = Work::new();
    let args = ["check", "sft.fg", "--preset", "tiny.ron", "--set", "guidence=2"];
    work.fails(&args, &["guidence", "guidance"]);
    assert_eq!(work.fgc(&["check", "sft.fg", "--set", "guidance"]).status.code(), Some(2), "no value is wrong usage");
}

/// What a preset says is shown in the preset; what the command line says, by its name.
#[test]
fn wrong_values_are_shown_where_they_are_given() {
    let work = Work::new();
    let preset = work.read("tiny.ron");
    let with = |set: &str| work.write("wrong.ron", &preset.replace(r#""steps": "4""#, set));
    let check = |more: &[&str]| work.fgc(&[&["check", "sft.fg", "--preset", "wrong.ron"], more].concat());
    with(r#""steps": "0""#);
    failed(&check(&[]), &["FG0703", "[wrong.ron:11:", "and is 0"]);
    failed(&check(&["--set", "steps=-1"]), &["[steps, set from outside:1:1]", "and is -1"]);
    with(r#""lr": "1e-3 + nothing""#);
    failed(&check(&[]), &["FG0104", "[wrong.ron:11:", "`nothing` is not defined"]);
    work.write("wrong.ron", &preset.replace("hidden = 16", "hiden = 16"));
    failed(&check(&[]), &["FG0216", "[wrong.ron:6:", "did you mean `hidden`?"]);
}

#[test]
fn missing_files_are_named() {
    let work = Work::new();
    work.fails(&["run", "nowhere.fg"], &["nowhere.fg"]);
    work.fails(&["run", "sft.fg", "--preset", "rings"], &["`rings`", "did you mean `ring`"]);
    work.fails(&["run", "sft.fg", "--preset", "tiny.ron", "--data", "nowhere"], &["nowhere", "--data DIR"]);
    work.fails(&["sample", "runs/nothing"], &["runs/nothing"]);
    work.fails(&["run", "--resume", "runs/nothing"], &["runs/nothing"]);
    assert!(!work.path("runs").exists(), "a run that cannot start leaves nothing");
}

#[test]
fn a_damaged_preset_is_shown_at_its_place() {
    let work = Work::new();
    let text = work.read("tiny.ron");
    work.write("bad.ron", &text.replace("batch: 32", "bach: 32"));
    work.fails(&["run", "sft.fg", "--preset", "bad.ron"], &["bad.ron:3:", "bach"]);
    work.write("bad.ron", &text[..60]);
    work.fails(&["run", "sft.fg", "--preset", "bad.ron"], &["bad.ron:"]);
    work.write("bad.ron", &text.replace("\"sft\": (", "\"sftt\": ("));
    work.fails(&["run", "sft.fg", "--preset", "bad.ron"], &["bad.ron", "`sftt`", "did you mean `sft`?"]);
    // Methods beside the preset are known, too.
    work.write("bad.ron", &text.replace("\"sft\": (", "\"own\": ("));
    work.fails(&["check", "sft.fg", "--preset", "bad.ron"], &["`own`"]);
    work.write("mine.fg", &work.read("sft.fg").replace("method sft", "method own"));
    ok(work.fgc(&["check", "sft.fg", "--preset", "bad.ron"]));
    work.write("bad.ron", &text.replace("std: 0.1", "std: -1.0"));
    work.fails(&["run", "sft.fg", "--preset", "bad.ron"], &["standard deviation must be positive"]);
    work.write("bad.ron", &text.replace("mlp(", "mpl("));
    work.fails(&["run", "sft.fg", "--preset", "bad.ron"], &["mpl", "mlp"]);
}

/// A run of a few steps, and its newest checkpoint.
fn trained() -> (Work, std::path::PathBuf) {
    let work = Work::new();
    ok(work.fgc(&["run", "sft.fg", "--preset", "tiny.ron", "--name", "r", "--iterations", "4"]));
    let newest = work.newest("runs/r");
    (work, newest)
}

#[test]
fn a_truncated_checkpoint_is_refused() {
    let (work, newest) = trained();
    let bytes = work.bytes(&newest);
    std::fs::write(&newest, &bytes[..bytes.len() / 2]).unwrap();
    for args in [&["sample", "runs/r"][..], &["run", "--resume", "runs/r"]] {
        work.fails(args, &["step-00000004.safetensors is truncated"]);
    }
    std::fs::write(&newest, b"PK\x03\x04 no tensors at all").unwrap();
    work.fails(&["sample", "runs/r"], &["step-00000004.safetensors is not a safetensors file"]);
}

/// Weights of another shape: the file, the tensor, both shapes.
#[test]
fn a_checkpoint_of_another_network_is_refused() {
    let (work, newest) = trained();
    let bytes = work.bytes(&newest);
    let (n, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let mut metadata = header.metadata().clone().unwrap();
    let preset = metadata["preset"].replace("hidden = 16", "hidden = 24");
    metadata.insert("preset".into(), preset);
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert!(n > 0);
    std::fs::write(&newest, safetensors::serialize(file.tensors(), Some(metadata)).unwrap()).unwrap();
    let says = ["step-00000004.safetensors", "student.", "16", "24"];
    work.fails(&["run", "--resume", "runs/r", "--iterations", "8"], &says);
    work.fails(&["sample", "runs/r"], &says);
}

#[test]
fn a_corrupt_image_in_a_tar_is_named() {
    let work = Work::new();
    let sample = |key: usize, bytes: &[u8]| -> Vec<u8> {
        let entry = |name: String, bytes: &[u8]| {
            let mut header = vec![0u8; 512];
            header[..name.len()].copy_from_slice(name.as_bytes());
            header[100..107].copy_from_slice(b"0000644");
            header[124..135].copy_from_slice(format!("{:011o}", bytes.len()).as_bytes());
            header[136..147].copy_from_slice(b"00000000000");
            header[156] = b'0';
            header[257..263].copy_from_slice(b"ustar\0");
            header[263..265].copy_from_slice(b"00");
            header[148..156].fill(b' ');
            let sum: u32 = header.iter().map(|&b| u32::from(b)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            header.extend(bytes);
            header.resize(header.len().next_multiple_of(512), 0);
            header
        };
        [entry(format!("{key:04}.png"), bytes), entry(format!("{key:04}.cls"), b"1")].concat()
    };
    let good = {
        let picture = fgc_runtime::picture::RgbImage::from_pixel(8, 8, [10, 200, 30].into());
        fgc_runtime::picture::encode(&picture)
    };
    let mut tar: Vec<u8> = (0..10).flat_map(|k| sample(k, if k == 7 { &good[..40] } else { &good })).collect();
    tar.extend([0; 1024]);
    std::fs::write(work.path("train.tar"), tar).unwrap();
    let text = work.read("tiny.ron").replace(
        "mlp(hidden = 16, blocks = 1, emb = 8, classes = classes)",
        "unet(channels = 8, multipliers = [1], blocks = 1, classes = classes)",
    );
    work.write("images.ron", &text.replace("\"mlp_critic()\"", "\"unet_critic()\""));
    let args = ["run", "sft.fg", "--preset", "images.ron", "--data", "train.tar", "--iterations", "1"];
    work.fails(&args, &["train.tar", "0007"]);
}

/// A limit on file sizes stands in for a full disk: writing fails in the middle either way.
#[cfg(unix)]
#[test]
fn a_full_disk_ends_a_run_and_keeps_its_checkpoints() {
    let (work, newest) = trained();
    let before = work.bytes(&newest);
    let limited = |command: &str| {
        let script = format!("trap '' XFSZ; ulimit -f 8; exec {command}");
        work.command("bash").args(["-c", &script]).output().unwrap()
    };
    let binary = env!("CARGO_BIN_EXE_fgc");
    let output = limited(&format!("{binary} run --resume runs/r --iterations 8"));
    failed(&output, &["cannot write", "checkpoints/step-", "earlier checkpoints are intact"]);
    assert_eq!(work.bytes(&newest), before);
    assert_eq!(work.newest("runs/r"), newest);
    let left: Vec<_> =
        std::fs::read_dir(work.path("runs/r/checkpoints")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".tmp")), "{left:?}");
    // With room again, it goes on.
    ok(work.fgc(&["run", "--resume", "runs/r", "--iterations", "8"]));
}

#[test]
fn steps_that_are_not_finite_stop_the_run_or_are_left_out() {
    let work = Work::new();
    // Every tenth step is logged.
    let args = ["run", "sft.fg", "--preset", "tiny.ron", "--name", "r", "--iterations", "3000", "--set", "lr=1e30"];
    let output = work.fgc(&args);
    failed(&output, &["loss `dsm_loss` is NaN at iteration 1;", "--resume runs/", " --skip-nonfinite"]);
    // What was done since is not lost.
    let log = work.read("runs/r/log.jsonl");
    let last: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!((log.lines().count(), &last["step"]), (1, &1.into()), "{log}");
    assert!(last["losses"]["dsm_loss"].as_f64().unwrap().is_finite(), "{log}");
    let output = work
        .fgc(&[&args[..4], &["--name", "s", "--iterations", "30", "--set", "lr=1e30", "--skip-nonfinite"]].concat());
    failed(&output, &["skipped: ", "gives numbers that are not finite after 30 steps"]);
    let summary: serde_json::Value = serde_json::from_str(&work.read("runs/s/summary.json")).unwrap();
    assert!(summary["skipped"].as_u64().unwrap() > 20, "{summary}");
}

#[test]
fn wrong_usage_exits_with_2() {
    let work = Work::new();
    for args in
        [&["run"][..], &["run", "sft.fg", "--resume", "runs/r", "--seed", "3"], &["build", "sft.fg"], &["nothing"]]
    {
        assert_eq!(work.fgc(args).status.code(), Some(2), "{args:?}");
    }
}
