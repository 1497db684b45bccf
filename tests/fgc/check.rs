//! `fgc check` and `fgc explain`: JSON, folders, exit status, cures.

use crate::process::{Work, failed, ok};
use serde_json::Value;

fn stdout(output: &std::process::Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn lines(output: &std::process::Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

#[test]
fn json_has_a_line_for_each_mistake_and_nothing_else() {
    let work = Work::new();
    let correct = work.fgc(&["check", "sft.fg", "--preset", "tiny.ron", "--format", "json"]);
    assert_eq!((correct.status.code(), stdout(&correct)), (Some(0), String::new()));

    let text = work.read("sft.fg");
    work.write(
        "bad.fg",
        &text.replace("add_noise(s, x, eps, t)", "add_nose(s, x, eps, t)").replace("normal(x)", "norml(x)"),
    );
    let output = work.fgc(&["check", "bad.fg", "--preset", "tiny.ron", "--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = lines(&output);
    assert_eq!(found.len(), 2, "{found:#?}");
    for mistake in &found {
        assert_eq!((&mistake["code"], &mistake["level"]), (&"FG0104".into(), &"error".into()));
        let span = &mistake["spans"][0];
        assert_eq!((&span["file"], &span["is_primary"]), (&"bad.fg".into(), &true.into()));
        let line = text.lines().nth(span["line_start"].as_u64().unwrap() as usize - 1).unwrap();
        assert!(line.contains("eps"), "{line}");
        assert_eq!(mistake["fixes"][0]["certain"], true);
    }
    // What has no code and no place is a line, too.
    let output = work.fgc(&["check", "nowhere.fg", "--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(lines(&output)[0]["message"].as_str().unwrap().contains("nowhere.fg"));
}

#[test]
fn a_folder_is_every_method_in_it() {
    let work = Work::new();
    let output = work.fgc(&["check", ".", "--preset", "tiny.ron"]);
    let said = stdout(&output);
    ok(output);
    for method in ["cm", "dmd2", "sft"] {
        assert!(said.contains(&format!("{method} is correct on tiny")), "{said}");
    }
    work.write("bad.fg", "method bad() { data x }");
    let output = work.fgc(&["check", ".", "--preset", "tiny.ron"]);
    assert!(stdout(&output).contains("dmd2 is correct"), "one wrong method does not hide the others");
    failed(&output, &["FG0614", "bad.fg", "fgc explain FG0614"]);
}

#[test]
fn certain_cures_are_applied_on_request() {
    let work = Work::new();
    let text = work.read("dmd2.fg");
    let wrong = text
        .replace("add_noise(", "add_nose(")
        .replace("gan_discriminator(on", "gan_discriminater(on")
        .replace("let real =", "let real =  ");
    work.write("bad.fg", &wrong);
    let args = ["check", "bad.fg", "--preset", "tiny.ron"];
    failed(&work.fgc(&args), &["add_nose"]);
    assert_eq!(work.read("bad.fg"), wrong, "only --fix changes files");
    let output = work.fgc(&[&args[..], &["--fix"]].concat());
    assert!(stdout(&output).contains("2 mistakes mended"), "{}", stdout(&output));
    ok(output);
    assert_eq!(work.read("bad.fg").replace("real =  ", "real ="), text);
    // Nothing is certain here, so nothing changes.
    let frozen = text.replace("-> student", "-> teacher");
    work.write("bad.fg", &frozen);
    failed(&work.fgc(&[&args[..], &["--fix"]].concat()), &["FG0304"]);
    assert_eq!(work.read("bad.fg"), frozen);
}

#[test]
fn codes_are_explained() {
    let work = Work::new();
    for code in ["FG0303", "fg303", "303"] {
        let output = work.fgc(&["explain", code]);
        assert!(stdout(&output).starts_with("# FG0303: ") && stdout(&output).contains("## Repaired"));
        ok(output);
    }
    let list = stdout(&work.fgc(&["explain"]));
    assert!(list.lines().count() > 80 && list.lines().all(|l| l.starts_with("FG")), "{list}");
    failed(&work.fgc(&["explain", "FG9999"]), &["FG9999"]);
}

/// The pages of presets' mistakes: their examples give their code, the repaired ones nothing.
#[test]
fn preset_examples_give_their_code() {
    let work = Work::new();
    let list = stdout(&work.fgc(&["explain"]));
    let mut tried = 0;
    for code in list.lines().filter_map(|l| l.split(' ').next()).filter(|c| c.starts_with("FG09")) {
        let page = stdout(&work.fgc(&["explain", code]));
        let examples: Vec<&str> =
            page.split("```ron\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
        let [bad, good] = examples.as_slice() else { continue };
        work.write("example.ron", bad);
        let found = lines(&work.fgc(&["check", "sft.fg", "--preset", "example.ron", "--format", "json"]));
        assert!(!found.is_empty() && found.iter().all(|d| d["code"] == code), "{code}: {found:#?}");
        work.write("example.ron", good);
        ok(work.fgc(&["check", "sft.fg", "--preset", "example.ron"]));
        tried += 1;
    }
    assert_eq!(tried, 5);
}

/// Weights of another network: every tensor that is missing, too many or of another shape, with the nearest name.
#[test]
fn weights_that_do_not_fit_are_listed() {
    let work = Work::new();
    ok(work.fgc(&["run", "sft.fg", "--preset", "untaught.ron", "--name", "r", "--iterations", "2"]));
    ok(work.fgc(&["sample", "runs/r", "-o", "x.safetensors"]));
    let weights = work.newest("runs/r");
    work.write("other.ron", &work.read("untaught.ron").replace("hidden = 16, blocks = 1", "hidden = 24, blocks = 2"));
    let files = ["--pins", "x.safetensors", "--out", "out.safetensors", "--weights", weights.to_str().unwrap()];
    let output = work.fgc(&[&["step", "sft.fg", "--preset", "other.ron"], &files[..]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let kinds =
        ["FG0905", "does not hold the weights of `student`", "  missing  ", "  shape    ", "and the network's is [24"];
    failed(&output, &kinds);
    assert!(said.lines().any(|l| l.contains("missing") && l.contains("blocks.1")), "{said}");
    failed(&work.fgc(&["run", "cm.fg", "--preset", "untaught.ron", "--set", "use_cd=true"]), &["FG0906", "--teacher"]);
}
