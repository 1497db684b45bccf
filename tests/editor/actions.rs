//! What is wrong is cured by what is offered.

use crate::client::{Client, apply, find, uri};
use serde_json::{Value, json};
use std::path::Path;

/// Titles of what is offered at the mistakes of a text, and the edits of each.
fn offered(client: &mut Client, path: &Path) -> Vec<(String, Value)> {
    let wrong = client.diagnostics(path);
    let mut out = Vec::new();
    for one in wrong {
        let range = one["range"].clone();
        let params = json!({"textDocument": {"uri": uri(path)}, "range": range, "context": {"diagnostics": [one]}});
        for action in client.request("textDocument/codeAction", params).as_array().unwrap() {
            assert_eq!((action["kind"].as_str(), &action["diagnostics"][0]["range"]), (Some("quickfix"), &range));
            out.push((action["title"].as_str().unwrap().to_owned(), action["edit"]["changes"][uri(path)].clone()));
        }
    }
    out
}

/// Applies the action of that title, and gives the text: it has no mistake left.
fn cure(client: &mut Client, path: &Path, text: &str, title: &str) -> String {
    let offered = offered(client, path);
    let (_, edits) = offered.iter().find(|(t, _)| t == title).unwrap_or_else(|| panic!("no {title} in {offered:#?}"));
    let cured = apply(text, edits);
    client.replace(path, &cured);
    assert_eq!(client.diagnostics(path), Vec::<Value>::new(), "{cured}");
    cured
}

/// A text of which one piece is another, open in an editor, cured.
fn cured(title: &str, wrong: impl Fn(&str) -> String) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("example.fg");
    let text = wrong(include_str!("example.fg"));
    let mut client = Client::start(folder.path());
    client.open(&path, &text);
    let cured = cure(&mut client, &path, &text, title);
    client.stop();
    cured
}

#[test]
fn a_missing_parameter_is_added() {
    let text = cured("add the parameter `weight_of_it` to `imitate`", |t| {
        t.replace("= mean(gap", "= weight_of_it * mean(gap")
    });
    assert!(text.contains("  steps: int = 2 in 1.., weight_of_it: f64 = 1.0,\n)"), "{text}");
}

#[test]
fn functions_get_parameters_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("example.fg");
    let text = include_str!("example.fg").replace("mean((a", "by * mean((a");
    let mut client = Client::start(folder.path());
    client.open(&path, &text);
    let offered = offered(&mut client, &path);
    let (_, edits) = offered.iter().find(|(title, _)| title == "add the parameter `by` to `gap`").unwrap();
    assert_eq!(apply(&text, edits), text.replace("gap(a, b) =", "gap(a, b, by) ="));
    client.stop();
}

#[test]
fn nothing_is_offered_where_all_is_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("example.fg");
    let text = include_str!("example.fg");
    let mut client = Client::start(folder.path());
    client.open(&path, text);
    let [line, character] = find(text, "stop(wanted)", 0);
    let at = json!({"line": line, "character": character});
    let ask = |only: &[&str]| {
        let range = json!({"start": at, "end": at});
        json!({"textDocument": {"uri": uri(&path)}, "range": range, "context": {"diagnostics": [], "only": only}})
    };
    assert_eq!(client.request("textDocument/codeAction", ask(&["quickfix"])), json!([]));
    assert_eq!(client.request("textDocument/codeAction", ask(&["refactor"])), json!([]));
    client.stop();
}

#[test]
fn names_in_presets_are_corrected() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("methods/presets/ring.ron");
    let text = std::fs::read_to_string(&path).unwrap();
    let wrong = text.replacen("student_every", "student_evry", 1);
    assert_ne!(wrong, text);
    let mut client = Client::start(root);
    client.open(&path, &wrong);
    assert_eq!(cure(&mut client, &path, &wrong, "replace it by `student_every`"), text);
    client.stop();
}
