//! Everything the server answers about one file, as snapshots that read like what an editor shows.

use crate::client::{Client, apply, find, uri};
use insta::assert_snapshot;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};

const EXAMPLE: &str = include_str!("example.fg");

struct Editor {
    client: Client,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

/// The example, open in a folder of its own.
fn open() -> Editor {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("example.fg");
    std::fs::write(&path, EXAMPLE).unwrap();
    let mut client = Client::start(folder.path());
    client.open(&path, EXAMPLE);
    assert_eq!(client.diagnostics(&path), Vec::<Value>::new());
    Editor { client, path, _folder: folder }
}

impl Editor {
    /// Asks about the place of a `|` in a piece of the text: `draw t ~ |lognormal`.
    fn at(&mut self, method: &str, marked: &str) -> Value {
        let (before, after) = marked.split_once('|').unwrap();
        let [line, character] = find(EXAMPLE, &format!("{before}{after}"), 0);
        self.client.at(method, &self.path, [line, character + before.chars().count() as u32])
    }

    fn ask(&mut self, method: &str) -> Value {
        let everything = json!({"start": {"line": 0, "character": 0}, "end": {"line": 999, "character": 0}});
        let document = json!({"uri": uri(&self.path)});
        self.client.request(method, json!({"textDocument": document, "range": everything}))
    }

    /// Asks at the end of a line that is being written before the one that begins with `before`.
    fn writing(&mut self, method: &str, before: &str, written: &str) -> Value {
        let [line, _] = find(EXAMPLE, before, 0);
        self.client.edit(&self.path, [[line, 0], [line, 0]], &format!("{written}\n"));
        let answer = self.client.at(method, &self.path, [line, written.chars().count() as u32]);
        self.client.edit(&self.path, [[line, 0], [line + 1, 0]], "");
        answer
    }
}

/// `file:line:column text`, of a location.
fn place(location: &Value, opened: &Path) -> String {
    let path = location["uri"].as_str().unwrap().strip_prefix("file://").unwrap();
    let name = if Path::new(path) == opened { "example.fg" } else { path.split_once("/stdlib-").unwrap().1 };
    let name = name.split_once('/').map_or(name, |(_, rest)| rest);
    let text = std::fs::read_to_string(path).unwrap();
    let start = &location["range"]["start"];
    let line = start["line"].as_u64().unwrap() as usize;
    format!("{name}: {}", text.lines().nth(line).unwrap().trim())
}

/// The example with labels put in where they belong.
fn labelled(labels: impl Iterator<Item = (Value, String)>) -> String {
    let edits: Vec<Value> =
        labels.map(|(at, label)| json!({"range": {"start": at, "end": at}, "newText": label})).collect();
    apply(EXAMPLE, &json!(edits))
}

#[test]
fn hovers() {
    let mut editor = open();
    let mut out = String::new();
    for marked in [
        "method |imitate",
        "  |guidance: f64?",
        "|steps: int",
        "net |student",
        "net |teacher",
        "let |y =",
        "draw |t ~",
        "|eps ~",
        "loss |imitation",
        "= |cfg(",
        "~ |lognormal",
        "fn |gap",
        "layer |shift",
        "teacher.|x0",
        "s.|t_list",
        "std.|loss",
        "|adamw(",
        "adamw(|lr",
        "  |draw t",
        "|frozen",
        "mean((a - b) ^ 2 |over",
        "bias: |f32",
        "|stop(",
    ] {
        let found = editor.at("textDocument/hover", marked);
        let shown = found["contents"]["value"].as_str().unwrap_or("nothing");
        writeln!(out, "{marked}\n{}", shown.lines().map(|l| format!("    {l}\n")).collect::<String>()).unwrap();
    }
    editor.client.stop();
    assert_snapshot!(out);
}

#[test]
fn definitions_and_references() {
    let mut editor = open();
    let mut out = String::new();
    for marked in ["add_noise(s, |x", "(|gap(", "|cfg(", "|few_step(", "s.|t_list", "|vsd", "teacher.x0(|y"] {
        let defined = editor.at("textDocument/definition", marked);
        writeln!(out, "{marked}\n  is defined in\n    {}\n  is used in", place(&defined, &editor.path)).unwrap();
        for used in editor.at("textDocument/references", marked).as_array().unwrap() {
            writeln!(out, "    {}", place(used, &editor.path)).unwrap();
        }
    }
    editor.client.stop();
    assert_snapshot!(out);
}

#[test]
fn completions() {
    let mut editor = open();
    let mut out = String::new();
    for (before, written) in [
        ("method imitate", ""),
        ("method imitate", "use std."),
        ("method imitate", "use std.schedule."),
        ("method imitate", "use std.loss.{vsd, "),
        ("  step {", "  "),
        ("  step {", "  let a = teacher."),
        ("  step {", "  let a = teacher(y, t, c)."),
        ("  step {", "  let a = s."),
        ("  step {", "  net other = "),
        ("  step {", "  net other = denoiser() "),
        ("  step {", "  net other = denoiser() adamw("),
        ("  step {", "  net other = denoiser() from "),
        ("  step {", "  loss other = mean(y) -> "),
        ("  step {", "  let a = mean(y over "),
        ("  step {", "  let a: "),
        ("  step {", "  let a = y "),
        ("  step {", "  let a = few_step(student, x, c, "),
    ] {
        let found = editor.writing("textDocument/completion", before, written);
        let mut items = found.as_array().unwrap().clone();
        let order = |c: &Value| c.get("sortText").unwrap_or(&c["label"]).as_str().unwrap().to_owned();
        items.sort_by_key(order);
        let labels: Vec<&str> = items.iter().map(|c| c["label"].as_str().unwrap()).collect();
        writeln!(out, "{written}|\n    {}\n", labels.join(", ")).unwrap();
    }
    editor.client.stop();
    assert_snapshot!(out);
}

#[test]
fn signatures() {
    let mut editor = open();
    let mut out = String::new();
    for written in [
        "  let a = gap(x, ",
        "  let a = cfg(y, y, ",
        "  let a = few_step(student, kind = ",
        "  let a = student.x0(",
        "  net other = denoiser() adamw(lr = ",
        "  draw u ~ lognormal(",
        "  let a = s.alpha(",
        "  let a = stop(",
    ] {
        let found = editor.writing("textDocument/signatureHelp", "  step {", written);
        let signature = &found["signatures"][0];
        let active = found["activeParameter"].as_u64().map(|i| &signature["parameters"][i as usize]["label"]);
        let doc = signature["documentation"]["value"].as_str().unwrap_or_default();
        let active = active.map_or("-", |a| a.as_str().unwrap());
        writeln!(out, "{written}|\n    {}\n    now: {active}\n    {doc}\n", signature["label"].as_str().unwrap())
            .unwrap();
    }
    editor.client.stop();
    assert_snapshot!(out);
}

#[test]
fn renames() {
    let mut editor = open();
    let mut out = String::new();
    for (marked, new) in
        [("let |y =", "noised"), ("fn |gap", "distance"), ("|guidance: f64?", "scale"), ("|t ~", "time_of")]
    {
        let (before, after) = marked.split_once('|').unwrap();
        let [line, character] = find(EXAMPLE, &format!("{before}{after}"), 0);
        let position = json!({"line": line, "character": character + before.len() as u32});
        let document = json!({"uri": uri(&editor.path)});
        let params = json!({"textDocument": document, "position": position, "newName": new});
        let edits = editor.client.request("textDocument/rename", params);
        let renamed = apply(EXAMPLE, &edits["changes"][uri(&editor.path)]);
        editor.client.replace(&editor.path, &renamed);
        assert_eq!(editor.client.diagnostics(&editor.path), Vec::<Value>::new());
        editor.client.replace(&editor.path, EXAMPLE);
        writeln!(out, "{marked} -> {new}").unwrap();
        for (old, new) in EXAMPLE.lines().zip(renamed.lines()).filter(|(a, b)| a != b) {
            writeln!(out, "  - {}\n  + {}", old.trim(), new.trim()).unwrap();
        }
    }
    let refused = editor.at("textDocument/prepareRename", "|cfg(");
    writeln!(out, "|cfg( can be renamed: {}", !refused.is_null()).unwrap();
    editor.client.stop();
    assert_snapshot!(out);
}

#[test]
fn outlines_and_folds() {
    fn symbols(list: &Value, depth: usize, out: &mut String) {
        for s in list.as_array().into_iter().flatten() {
            let detail = s["detail"].as_str().unwrap_or_default();
            let line = format!("{:depth$}{} ({}) {detail}", "", s["name"].as_str().unwrap(), s["kind"]);
            writeln!(out, "{}", line.trim_end()).unwrap();
            symbols(&s["children"], depth + 2, out);
        }
    }
    let mut editor = open();
    let mut out = String::new();
    symbols(&editor.ask("textDocument/documentSymbol"), 0, &mut out);
    out += "\n";
    for fold in editor.ask("textDocument/foldingRange").as_array().unwrap() {
        let line = |key: &str| EXAMPLE.lines().nth(fold[key].as_u64().unwrap() as usize).unwrap().trim();
        let kind = fold["kind"].as_str().unwrap_or("block");
        writeln!(out, "{kind}: {} … {}", line("startLine"), line("endLine")).unwrap();
    }
    let found = editor.client.request("workspace/symbol", json!({"query": "imit"}));
    let names: Vec<&str> = found.as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    writeln!(out, "\n`imit` in the workspace: {}", names.join(", ")).unwrap();
    editor.client.stop();
    assert_snapshot!(out);
}

#[test]
fn inlay_hints() {
    let mut editor = open();
    let hints = editor.ask("textDocument/inlayHint");
    let hints = hints.as_array().unwrap().iter();
    let shown = labelled(hints.map(|h| (h["position"].clone(), format!("«{}»", h["label"].as_str().unwrap()))));
    editor.client.stop();
    assert_snapshot!(shown);
}

#[test]
fn semantic_tokens() {
    let mut editor = open();
    let answer = editor.ask("textDocument/semanticTokens/full");
    let legend = editor.client.capabilities["semanticTokensProvider"]["legend"]["tokenTypes"].clone();
    let numbers: Vec<u64> = answer["data"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
    let (mut line, mut at) = (0, 0);
    let ends = numbers.chunks(5).map(|t| {
        at = if t[0] == 0 { at + t[1] } else { t[1] };
        line += t[0];
        let kind = legend[t[3] as usize].as_str().unwrap();
        (json!({"line": line, "character": at + t[2]}), format!("‹{kind}›"))
    });
    let shown = labelled(ends);
    editor.client.stop();
    assert_snapshot!(shown);
}
