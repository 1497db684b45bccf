//! Files of the repository as material.

use std::path::{Path, PathBuf};

/// The files in these folders and all below, by their paths in the repository, sorted; those whose names end so.
pub fn files(folders: &[&str], endings: &[&str]) -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pending: Vec<PathBuf> = folders.iter().map(|f| root.join(f)).collect();
    let mut found = Vec::new();
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(&root).unwrap().display().to_string();
            if path.is_dir() {
                pending.push(path);
            } else if endings.iter().any(|e| name.ends_with(e)) {
                found.push((name, std::fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// Specs, good and bad, as texts.
pub fn specs() -> Vec<(String, String)> {
    let found = files(&["methods", "stdlib", "compiler/tests/ui"], &[".fg"]);
    assert!(found.len() > 40);
    found.into_iter().map(|(name, bytes)| (name, String::from_utf8(bytes).unwrap())).collect()
}
