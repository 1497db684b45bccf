//! docs/tutorial.md is true: its specs are the files beside it, they train, and its commands print what it shows.

use crate::process::{Work, ok};
use std::fs;
use std::path::{Path, PathBuf};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

/// Fenced blocks of a kind: their texts.
fn blocks<'a>(page: &'a str, kind: &str) -> Vec<&'a str> {
    let open = format!("```{kind}\n");
    page.split(open.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap_or(rest)).collect()
}

/// The tutorial's folder copied to where runs leave nothing behind.
fn copied() -> Work {
    let work = Work::new();
    fs::create_dir(work.path("mistakes")).unwrap();
    for folder in ["", "mistakes"] {
        for entry in fs::read_dir(docs().join("tutorial").join(folder)).unwrap().map(Result::unwrap) {
            if entry.path().is_file() {
                fs::copy(entry.path(), work.path(folder).join(entry.file_name())).unwrap();
            }
        }
    }
    work
}

#[test]
fn its_code_is_that_of_the_files_beside_it() {
    let page = fs::read_to_string(docs().join("tutorial.md")).unwrap();
    let text = |name: &str| fs::read_to_string(docs().join("tutorial").join(name)).unwrap();
    let files = ["mistakes/FG0614.fg", "copy.fg", "two_step.fg", "spiral.ron"].map(text);
    let code = [blocks(&page, "fg"), blocks(&page, "ron")].concat();
    assert!(code.len() >= 5, "the page shows its specs");
    for block in code {
        assert!(files.iter().any(|file| file.contains(block)), "in no file of docs/tutorial:\n{block}");
    }
}

#[test]
fn its_specs_train() {
    let work = copied();
    for (spec, preset) in [("copy.fg", "moons"), ("two_step.fg", "moons"), ("two_step.fg", "spiral.ron")] {
        ok(work.fgc(&["run", spec, "--preset", preset, "--iterations", "3", "--batch", "16"]));
    }
    assert!(work.path("runs/two_step-spiral-1/summary.json").is_file());
}

/// Each mistake gets the diagnostic its file is named after; what the page shows of `fgc check` and of what fails at once is
/// what is printed. INSTA_UPDATE=always writes that into the page.
#[test]
fn its_commands_print_what_it_shows() {
    let work = copied();
    let path = docs().join("tutorial.md");
    let mut page = fs::read_to_string(&path).unwrap();
    let commands: Vec<String> = blocks(&page, "console")
        .iter()
        .filter_map(|block| block.strip_prefix("$ fgc ")?.lines().next())
        .filter(|command| command.starts_with("check ") || command.contains("teacher_stesp"))
        .map(String::from)
        .collect();
    for entry in fs::read_dir(work.path("mistakes")).unwrap().map(|entry| entry.unwrap().path()) {
        let code = entry.file_stem().unwrap().to_str().unwrap();
        let command = format!("check mistakes/{code}.fg --preset moons");
        assert!(commands.contains(&command), "the page does not show `fgc {command}`");
        work.fails(&command.split(' ').collect::<Vec<_>>(), &[code]);
    }
    for command in commands {
        let output = work.fgc(&command.split(' ').collect::<Vec<_>>());
        let printed = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        let start = page.find(&format!("```console\n$ fgc {command}\n")).unwrap();
        let end = start + 3 + page[start + 3..].find("```").unwrap();
        let block = format!("```console\n$ fgc {command}\n{}\n", printed.trim_end());
        if std::env::var("INSTA_UPDATE").is_ok_and(|v| v == "always") {
            page.replace_range(start..end, &block);
        } else {
            assert_eq!(&page[start..end], block, "docs/tutorial.md is out of date: INSTA_UPDATE=always rewrites it");
        }
    }
    if page != fs::read_to_string(&path).unwrap() {
        fs::write(&path, page).unwrap();
    }
}
