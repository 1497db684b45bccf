//! Sessions over standard input and output.

use crate::client::{Client, apply, find, uri};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A method of the repository, open in an editor.
fn open(method: &str) -> (Client, PathBuf, String) {
    let path = root().join("methods").join(method);
    let text = std::fs::read_to_string(&path).unwrap();
    let mut client = Client::start(root());
    client.open(&path, &text);
    (client, path, text)
}

fn labels(completions: &Value) -> Vec<&str> {
    completions.as_array().unwrap().iter().map(|c| c["label"].as_str().unwrap()).collect()
}

fn hover(client: &mut Client, path: &Path, at: [u32; 2]) -> String {
    client.at("textDocument/hover", path, at)["contents"]["value"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn mistakes_are_shown_where_they_are_and_go_when_mended() {
    let (mut client, path, text) = open("dmd2.fg");
    assert_eq!(client.diagnostics(&path), Vec::<Value>::new());

    // `stop(real)` is spelt wrongly; then a bracket goes; then all is well again.
    let [line, character] = find(&text, "stop(real)", 0);
    client.edit(&path, [[line, character], [line, character + 4]], "stpo");
    let found = client.diagnostics(&path);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0]["code"], "FG0104");
    let range =
        json!({"start": {"line": line, "character": character}, "end": {"line": line, "character": character + 4}});
    assert_eq!(found[0]["range"], range);
    assert!(found[0]["message"].as_str().unwrap().contains("did you mean `stop`?"));

    client.edit(&path, [[line, character], [line, character + 5]], "stop");
    let codes: Vec<Value> = client.diagnostics(&path).iter().map(|d| d["code"].clone()).collect();
    assert!(codes.iter().any(|c| c.as_str().unwrap().starts_with("FG00")), "{codes:?}");

    client.edit(&path, [[line, character + 4], [line, character + 4]], "(");
    assert_eq!(client.diagnostics(&path), Vec::<Value>::new());
    client.stop();
}

#[test]
fn hovers_tell_axes_docs_values_and_formulas() {
    let (mut client, path, text) = open("dmd2.fg");
    let mut at = |piece: &str, n: usize| hover(&mut client, &path, find(&text, piece, n));
    assert!(at("x_g =", 0).contains("let x_g: f32[B=256, C=2]"), "{}", at("x_g =", 0));
    assert!(at("t ~ law", 0).contains("time<edm>[B=256]"));
    // A hyper-parameter: as declared, the preset's value, the doc.
    let guidance = at("guidance)", 0);
    assert!(guidance.contains("guidance: f64? = none") && guidance.contains("Value: `none`"), "{guidance}");
    assert!(guidance.contains("Guidance scale of the teacher"));
    assert!(at("student_every {", 0).contains("Value: `4`"), "the ring preset's, not the default");
    // A standard function: its formula.
    let mse = at("mse(", 0);
    assert!(mse.contains("fn mse(a, b) = mean((a - b) ^ 2)") && mse.contains("std.loss"), "{mse}");
    assert!(at("x0, teacher", 0).contains("f32[B=256, C=2]"));
    assert!(at("vsd_loss =", 0).contains("student"));
    assert!(at("student = denoiser", 0).contains("mlp(hidden = 128"));
    client.stop();
}

#[test]
fn definitions_are_found_in_the_file_and_in_the_library() {
    let (mut client, path, text) = open("dmd2.fg");
    let mut at = |piece: &str, n: usize| client.at("textDocument/definition", &path, find(&text, piece, n));
    let defined = at("x_g, stop(real)", 0);
    let [line, character] = find(&text, "x_g =", 0);
    assert_eq!(defined["uri"], uri(&path));
    assert_eq!(defined["range"]["start"], json!({"line": line, "character": character}));
    let vsd = at("vsd(x_g", 0);
    assert_eq!(vsd["uri"], uri(&root().join("stdlib/loss.fg")));
    let library = std::fs::read_to_string(root().join("stdlib/loss.fg")).unwrap();
    let [line, character] = find(&library, "vsd(x_g", 0);
    assert_eq!(vsd["range"]["start"], json!({"line": line, "character": character}));
    // A member of a schedule, which only checking can tell.
    assert_eq!(at("t_list(steps)", 0)["uri"], uri(&root().join("stdlib/schedule/edm.fg")));
    client.stop();

    // Without the sources at hand: in a copy.
    let folder = tempfile::tempdir().unwrap();
    let mut client = Client::start(folder.path());
    let path = folder.path().join("mine.fg");
    client.open(&path, &text);
    let vsd = client.at("textDocument/definition", &path, find(&text, "vsd(x_g", 0));
    let copy = vsd["uri"].as_str().unwrap().strip_prefix("file://").unwrap().to_owned();
    assert_eq!(std::fs::read_to_string(copy).unwrap(), library);
    client.stop();
}

#[test]
fn references_and_renames_cover_branches_not_taken() {
    let text = "method m(a: f64 = 1.0) {\n  data x\n  net student = denoiser() adamw(lr = 1e-3)\n  \
                if a > 2 { let y = x * 2 } else { let y = x }\n  let r = { y }\n  \
                step { loss l = if a > 5 then mean(y + r.y) else mse(student.x0(y, 1.0), x) -> student }\n}\n";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.fg");
    let mut client = Client::start(folder.path());
    client.open(&path, text);
    let y = find(text, "y = x", 0);
    assert_eq!(client.at("textDocument/references", &path, y).as_array().unwrap().len(), 5);
    let position = json!({"line": y[0], "character": y[1]});
    let params = |name: &str| json!({"textDocument": {"uri": uri(&path)}, "position": position, "newName": name});
    let edits = client.request("textDocument/rename", params("noisy"));
    let renamed = apply(text, &edits["changes"][uri(&path)]);
    let wanted = text.replace("let y", "let noisy").replace("{ y }", "{ y: noisy }").replace("(y", "(noisy");
    assert_eq!(renamed, wanted);
    client.replace(&path, &renamed);
    assert_eq!(client.diagnostics(&path), Vec::<Value>::new());
    client.replace(&path, text);
    let refused = client.answer("textDocument/rename", params("x"));
    assert!(refused["error"]["message"].as_str().unwrap().contains("already"), "{refused}");
    assert!(client.answer("textDocument/rename", params("if")).get("error").is_some());
    client.stop();
}

#[test]
fn completions_fit_the_place_in_unfinished_text() {
    let (mut client, path, text) = open("dmd2.fg");
    let [line, _] = find(&text, "let x_g", 0);
    let mut complete = |written: &str| -> Vec<String> {
        client.edit(&path, [[line, 0], [line, 0]], &format!("  {written}\n"));
        let end = [line, 2 + written.len() as u32];
        let found = client.at("textDocument/completion", &path, end);
        client.edit(&path, [[line, 0], [line + 1, 0]], "");
        labels(&found).into_iter().map(String::from).collect()
    };
    let has = |found: &[String], names: &[&str]| {
        for name in names {
            assert!(found.iter().any(|l| l == name), "{name} in {found:?}");
        }
    };
    has(&complete("let a = student."), &["x0", "eps", "features", "schedule"]);
    has(&complete("let a = s."), &["t_max", "alpha", "sigma", "time"]);
    has(&complete("let a = add_no"), &["add_noise", "student", "guidance", "mean", "z"]);
    has(&complete("let a = vsd("), &["h =", "teacher =", "z"]);
    has(&complete(""), &["let", "net", "draw", "loss"]);
    has(&complete("use std."), &["loss", "schedule"]);
    has(&complete("use std.loss.{"), &["vsd", "gan_generator"]);
    let nets = complete("loss a = x ->");
    has(&nets, &["student", "fake_score", "teacher"]);
    assert!(!nets.iter().any(|n| n == "mean" || n == "z"), "{nets:?}");
    assert_eq!(complete("// student."), Vec::<String>::new());
    client.stop();
}

#[test]
fn signatures_follow_the_argument_being_written() {
    let (mut client, path, text) = open("dmd2.fg");
    let [line, _] = find(&text, "let x_g", 0);
    let mut help = |written: &str| {
        client.edit(&path, [[line, 0], [line, 0]], &format!("{written}\n"));
        let found = client.at("textDocument/signatureHelp", &path, [line, written.len() as u32]);
        client.edit(&path, [[line, 0], [line + 1, 0]], "");
        found
    };
    let vsd = help("let a = vsd(z, ");
    assert_eq!(vsd["signatures"][0]["label"], "vsd(x_g, teacher, fake, h = 1.0)");
    assert_eq!(vsd["activeParameter"], 1);
    assert_eq!(help("let a = vsd(z, h = ")["activeParameter"], 3);
    let call = help("let a = student.x0(z, t, (1 + ");
    assert_eq!(
        (call["activeParameter"].as_i64(), &call["signatures"][0]["label"]),
        (Some(2), &json!("student.x0(x, t, c, r)"))
    );
    assert_eq!(help("let a = s.alpha(")["signatures"][0]["label"], "alpha(t: time)");
    client.stop();
}

#[test]
fn formatting_is_that_of_fgc_fmt_and_undoes_a_mess() {
    let (mut client, path, text) = open("dmd2.fg");
    let format = json!({"textDocument": {"uri": uri(&path)}, "options": {"tabSize": 8, "insertSpaces": false}});
    assert_eq!(client.request("textDocument/formatting", format.clone()), json!([]));
    let mess = text.replace("  data x, c\n", "      data x,c\n").replace(" + ", "+").replace("let y = ", "let   y=");
    assert_ne!(mess, text);
    client.replace(&path, &mess);
    let edits = client.request("textDocument/formatting", format.clone());
    assert_eq!(apply(&mess, &edits), text);
    client.replace(&path, "method {");
    assert_eq!(client.request("textDocument/formatting", format), Value::Null);
    client.stop();
}

#[test]
fn outlines_hints_colours_and_folds_are_given() {
    let (mut client, path, text) = open("dmd2.fg");
    let document = json!({"textDocument": {"uri": uri(&path)}});
    let outline = client.request("textDocument/documentSymbol", document.clone());
    let method = &outline[0];
    assert_eq!(method["name"], "dmd2");
    let names = |of: &Value| -> Vec<String> {
        of["children"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap().to_owned()).collect()
    };
    for name in ["guidance", "student", "x_g", "critic", "z"] {
        assert!(names(method).contains(&name.to_owned()), "{name}");
    }
    let step =
        method["children"].as_array().unwrap().iter().find(|s| s["name"] == "student" && s["kind"] == 6).unwrap();
    assert_eq!(names(step), ["real", "vsd_loss", "gan_loss_gen"]);

    let all = json!({"start": {"line": 0, "character": 0}, "end": {"line": 99, "character": 0}});
    let mut ranged = document.clone();
    ranged["range"] = all;
    let hints = client.request("textDocument/inlayHint", ranged);
    let mut shown = text.clone();
    let as_edits: Vec<Value> = hints
        .as_array()
        .unwrap()
        .iter()
        .map(|h| json!({"range": {"start": h["position"], "end": h["position"]}, "newText": format!("«{}»", h["label"].as_str().unwrap())}))
        .collect();
    shown = apply(&shown, &json!(as_edits));
    for piece in [
        "let x_g«: f32[B=256, C=2]» = ",
        "draw z«: f32[B=256, C=2]» ~ normal(x), t«: time<edm>[B=256]» ~ law(s)",
        "data x«: f32[B=256, C=2]», c«: f32[B=256, K=8]»",
        "student_every: int = 5«preset: 4» in 1..",
        "loss vsd_loss«∇ student»",
        "loss gan_loss_gen«∇ student, discriminator»",
        "loss fake_score_loss«∇ fake_score»",
    ] {
        assert!(shown.contains(piece), "{piece} in:\n{shown}");
    }

    let folds = client.request("textDocument/foldingRange", document.clone());
    let step = find(&text, "step critic", 0)[0];
    assert!(folds.as_array().unwrap().iter().any(|f| f["startLine"] == step && f["endLine"] == step + 5), "{folds}");

    let colours = client.request("textDocument/semanticTokens/full", document);
    let coloured = tokens(&text, &colours);
    for (piece, kind) in [
        ("vsd", "function"),
        ("B", ""),
        ("student", "variable"),
        ("guidance", "parameter"),
        ("method", "keyword"),
        ("x0", "property"),
    ] {
        let kinds: Vec<&str> = coloured.iter().filter(|(t, _)| t == piece).map(|(_, k)| *k).collect();
        assert!(kinds.contains(&kind) || kind.is_empty() && kinds.is_empty(), "{piece}: {kinds:?}");
    }
    client.stop();
}

/// Pieces of a text with the kinds of their tokens.
fn tokens(text: &str, answer: &Value) -> Vec<(String, &'static str)> {
    let kinds = [
        "keyword",
        "comment",
        "string",
        "number",
        "namespace",
        "class",
        "function",
        "parameter",
        "variable",
        "property",
    ];
    let numbers: Vec<usize> = answer["data"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
    let lines: Vec<Vec<u16>> = text.lines().map(|l| l.encode_utf16().collect()).collect();
    let (mut line, mut at) = (0, 0);
    let token = |t: &[usize]| {
        at = if t[0] == 0 { at + t[1] } else { t[1] };
        line += t[0];
        let piece = String::from_utf16(&lines[line][at..at + t[2]]).unwrap();
        (piece, kinds.get(t[3]).copied().unwrap_or("other"))
    };
    numbers.chunks(5).map(token).collect()
}

#[test]
fn names_are_found_across_the_workspace() {
    let (mut client, path, text) = open("dmd2.fg");
    let uses = client.at("textDocument/references", &path, find(&text, "vsd(x_g", 0));
    let mut files: Vec<&str> =
        uses.as_array().unwrap().iter().map(|l| l["uri"].as_str().unwrap().rsplit('/').next().unwrap()).collect();
    files.sort();
    files.dedup();
    for file in ["dmd2.fg", "causvid.fg", "loss.fg", "prelude.fg"] {
        assert!(files.contains(&file), "{file} in {files:?}");
    }
    let found = client.request("workspace/symbol", json!({"query": "gangener"}));
    let found: Vec<&str> = found.as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(found, ["gan_generator"]);
    client.stop();
}

#[test]
fn files_of_the_library_are_no_methods_and_have_no_mistakes() {
    let path = root().join("stdlib/loss.fg");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut client = Client::start(root());
    client.open(&path, &text);
    assert_eq!(client.diagnostics(&path), Vec::<Value>::new());
    assert!(hover(&mut client, &path, find(&text, "target_of(", 0)).contains("What a network of the kind named"));
    client.stop();
}

/// Types a whole method character by character, with a request of each kind at every one.
#[test]
fn every_keystroke_is_answered() {
    let text = std::fs::read_to_string(root().join("methods/sft.fg")).unwrap();
    let path = root().join("methods/typed.fg");
    let mut client = Client::start(root());
    client.open(&path, "");
    let mut end = [0u32, 0];
    for c in text.chars() {
        client.edit(&path, [end, end], &c.to_string());
        end = if c == '\n' { [end[0] + 1, 0] } else { [end[0], end[1] + c.len_utf16() as u32] };
        client.at("textDocument/completion", &path, end);
        client.at("textDocument/hover", &path, [end[0], end[1].saturating_sub(1)]);
        client.at("textDocument/signatureHelp", &path, end);
    }
    assert_eq!(client.diagnostics(&path), Vec::<Value>::new());
    client.stop();
}

/// The cures of diagnostics are offered where they are, and applying one leaves nothing to report.
#[test]
fn mistakes_are_mended_by_quick_fixes() {
    let (mut client, path, text) = open("dmd2.fg");
    let [line, character] = find(&text, "stop(real)", 0);
    client.edit(&path, [[line, character], [line, character + 4]], "stpo");
    let found = client.diagnostics(&path);
    let params = json!({
        "textDocument": {"uri": uri(&path)},
        "range": found[0]["range"],
        "context": {"diagnostics": found},
    });
    let actions = client.request("textDocument/codeAction", params);
    assert_eq!(actions[0]["title"], "replace `stpo` by `stop`");
    assert_eq!((&actions[0]["kind"], &actions[0]["isPreferred"]), (&json!("quickfix"), &json!(true)));
    assert_eq!(actions[0]["diagnostics"][0]["code"], "FG0104");
    let wrong = text.replacen("stop(real)", "stpo(real)", 1);
    let edits = &actions[0]["edit"]["changes"][uri(&path)];
    assert_eq!(apply(&wrong, edits), text);
    let elsewhere = json!({"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 1}});
    let params = json!({"textDocument": {"uri": uri(&path)}, "range": elsewhere, "context": {"diagnostics": []}});
    assert_eq!(client.request("textDocument/codeAction", params), json!([]));
    client.stop();
}
