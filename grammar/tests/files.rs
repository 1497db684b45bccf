//! The standard library and the methods, as test material.

use std::path::{Path, PathBuf};

/// Every `.fg` file of the repository, by path.
fn files() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pending = vec![root.join("stdlib"), root.join("methods")];
    let mut found = Vec::new();
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|e| e == "fg") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_file_is_read_without_errors() {
    let files = files();
    assert!(files.len() > 10);
    for (path, text) in files {
        let parsed = fgc_grammar::parse(&text);
        for e in &parsed.errors {
            let line = 1 + text[..e.span.start].matches('\n').count();
            println!("{}:{line}: {:?}: {e} / {:?}", path.display(), &text[e.span.start..e.span.end], e.help);
        }
        assert!(parsed.errors.is_empty());
    }
}
