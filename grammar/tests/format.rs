//! The formatter changes layout only.

#[path = "common/files.rs"]
mod files;
#[path = "common/tree.rs"]
mod tree;

use fgc_grammar::{format, parse};
use files::files;
use proptest::prelude::*;
use tree::tree;

fn comments(text: &str) -> Vec<String> {
    let mut comments: Vec<String> = parse(text).file.comments.into_iter().map(|c| c.text).collect();
    comments.sort();
    comments
}

fn check(text: &str) {
    let formatted = format(text).unwrap();
    assert_eq!(tree(&parse(&formatted).file), tree(&parse(text).file), "{text}\n----\n{formatted}");
    assert_eq!(comments(&formatted), comments(text), "{text}\n----\n{formatted}");
    assert_eq!(format(&formatted).unwrap(), formatted);
    assert!(!formatted.lines().any(|l| l.ends_with(' ')), "{formatted}");
}

#[test]
fn files_keep_trees_and_comments() {
    for (_, text) in files() {
        check(&text);
        // From one line a file, too.
        let bare: Vec<&str> = text.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
        check(&bare.join(" "));
        check(&bare.join("\n\n\n"));
    }
}

#[test]
fn layout() {
    insta::assert_snapshot!(format(include_str!("layout.fg")).unwrap());
}

#[test]
fn mistakes_are_not_formatted() {
    assert_eq!(format("let a = \n").unwrap_err().len(), 1);
}

/// A file with blanks doubled or broken, and comments after some of them.
fn spaced() -> impl Strategy<Value = String> {
    let texts: Vec<String> = files().into_iter().map(|(_, text)| text).collect();
    let gap = prop::sample::select(vec!["  ", "\n", "\n\n\n", " // aside\n", "\n  // above\n", "\t"]);
    let edits = prop::collection::vec((any::<prop::sample::Index>(), gap), 0..12);
    (prop::sample::select(texts), edits).prop_map(|(text, edits)| {
        // Blanks between tokens: not in comments, docs or strings.
        let mut places = Vec::new();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let code = if line.trim_start().starts_with("//") { "" } else { line };
            let mut quoted = false;
            for (i, c) in code.char_indices() {
                quoted ^= c == '"';
                if c == ' ' && !quoted {
                    places.push(start + i);
                }
            }
            start += line.len();
        }
        let mut edits: Vec<_> = edits.into_iter().map(|(at, gap)| (places[at.index(places.len())], gap)).collect();
        edits.sort();
        edits.dedup_by_key(|e| e.0);
        let mut text = text;
        for (at, gap) in edits.into_iter().rev() {
            text.replace_range(at..at + 1, gap);
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn blanks_and_comments_do_not_matter(text in spaced()) {
        check(&text);
    }
}
