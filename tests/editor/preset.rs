//! Presets in an editor.

use crate::client::{Client, find};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn open(name: &str) -> (Client, PathBuf, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("methods/presets").join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    let mut client = Client::start(root);
    client.open(&path, &text);
    (client, path, text)
}

#[test]
fn the_presets_of_the_repository_have_no_mistakes() {
    for name in ["ring.ron", "moving.ron", "pairs.ron"] {
        let (mut client, path, _) = open(name);
        assert_eq!(client.diagnostics(&path), Vec::<Value>::new(), "{name}");
        client.stop();
    }
}

#[test]
fn mistakes_are_shown_at_the_key_the_value_or_the_letter() {
    let (mut client, path, text) = open("ring.ron");
    let mut at = |old: &str, new: &str| -> Vec<(Value, String, String)> {
        client.replace(&path, &text.replacen(old, new, 1));
        client.notify("textDocument/didSave", json!({"textDocument": {"uri": crate::client::uri(&path)}}));
        let changed = text.replacen(old, new, 1);
        let piece = |d: &Value| {
            let [start, end] = ["start", "end"].map(|k| d["range"][k]["character"].as_u64().unwrap() as usize);
            changed.lines().nth(d["range"]["start"]["line"].as_u64().unwrap() as usize).unwrap()[start..end].to_owned()
        };
        // The first answer may be of before the save.
        client.at("textDocument/hover", &path, [0, 0]);
        let found = client.diagnostics(&path);
        found.iter().map(|d| (d["code"].clone(), piece(d), d["message"].as_str().unwrap().to_owned())).collect()
    };
    let found = at("student_every", "student_evry");
    assert_eq!((&found[0].0, found[0].1.as_str()), (&json!("FG0701"), "student_evry"));
    assert!(found[0].2.contains("did you mean `student_every`?"));
    let found = at("\"dmd2\"", "\"dmd3\"");
    assert_eq!(found[0].1, "dmd3");
    assert!(found[0].2.contains("did you mean `dmd2`?"));
    let found = at("blocks = 3", "blcks = 3");
    assert_eq!((&found[0].0, found[0].1.as_str()), (&json!("FG0216"), "blcks"), "{found:?}");
    let found = at("batch: 256", "batch: many");
    assert_eq!(found.len(), 1);
    client.stop();
}

#[test]
fn keys_and_values_are_completed_and_explained() {
    let (mut client, path, text) = open("ring.ron");
    let mut labels = |before: &str, written: &str| -> Vec<String> {
        let at = text.find(before).unwrap();
        let unfinished = format!("{}{written}", &text[..at]);
        client.replace(&path, &unfinished);
        let line = unfinished.matches('\n').count() as u32;
        let character = unfinished.len() - unfinished.rfind('\n').unwrap() - 1;
        let found = client.at("textDocument/completion", &path, [line, character as u32]);
        found.as_array().unwrap().iter().map(|c| c["label"].as_str().unwrap().to_owned()).collect()
    };
    let has = |found: Vec<String>, names: &[&str]| {
        assert!(names.iter().all(|n| found.iter().any(|f| f == n)), "{names:?} in {found:?}");
    };
    has(labels("\"lr\"", "\""), &["guidance", "student_every", "gan_weight"]);
    has(labels("batch", ""), &["batch", "nets", "methods"]);
    has(labels("\"dmd2\"", ""), &["dmd2", "sft"]);
    has(labels("mlp(hidden", ""), &["mlp", "unet", "analytic"]);
    has(labels("hidden", "hidden = 1, "), &["blocks", "emb"]);
    has(labels("\"denoiser\"", ""), &["denoiser", "teacher", "student"]);
    client.replace(&path, &text);
    let key = find(&text, "student_every", 0);
    let hover = client.at("textDocument/hover", &path, key);
    assert!(hover["contents"]["value"].as_str().unwrap().contains("The student learns every so many"), "{hover}");
    client.stop();
}
