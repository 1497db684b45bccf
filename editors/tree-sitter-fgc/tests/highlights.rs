//! Colours of a method, as editors take them from `queries/`.

use tree_sitter::{Parser, Query, QueryCursor, StreamingIterator};

const TEXT: &str = include_str!("../../../methods/dmd2.fg");

/// The last capture of each node: pieces of text with their names.
fn captures(query: &str) -> Vec<(&'static str, String)> {
    let language = tree_sitter_fgc::LANGUAGE.into();
    let mut parser = Parser::new();
    parser.set_language(&language).unwrap();
    let tree = parser.parse(TEXT, None).unwrap();
    let query = Query::new(&language, query).unwrap();
    let mut cursor = QueryCursor::new();
    let mut found = std::collections::BTreeMap::new();
    let mut all = cursor.captures(&query, tree.root_node(), TEXT.as_bytes());
    while let Some((matched, i)) = all.next() {
        let capture = matched.captures()[*i];
        let at = (capture.node.start_byte(), capture.node.end_byte());
        let pattern = matched.pattern_index;
        let best = found.entry(at).or_insert((pattern, capture.index));
        *best = (*best).max((pattern, capture.index));
    }
    let name = |i: u32| query.capture_names()[i as usize].to_owned();
    found.into_iter().map(|((start, end), (_, i))| (&TEXT[start..end], name(i))).collect()
}

#[test]
fn names_are_coloured_by_what_they_are() {
    let found = captures(tree_sitter_fgc::HIGHLIGHTS);
    for (piece, colour) in [
        ("method", "keyword"),
        ("dmd2", "function"),
        ("guidance", "variable.parameter"),
        ("f64", "type"),
        ("none", "constant.builtin"),
        ("1e-3", "number"),
        ("\"sde\"", "string"),
        ("false", "boolean"),
        ("adversarial", "module"),
        ("judged", "function"),
        ("teacher", "type"),
        ("frozen", "keyword"),
        ("adamw", "attribute"),
        ("every", "keyword"),
        ("vsd_loss", "label"),
        ("vsd", "function.call"),
        ("stop", "function.builtin"),
        ("x0", "function.method.call"),
        ("x0", "property"),
        ("->", "operator"),
        ("x_g", "variable"),
        ("schedule", "property"),
    ] {
        assert!(found.contains(&(piece, colour.to_owned())), "{piece} is not {colour}");
    }
    let doc = found.iter().filter(|(_, colour)| colour == "comment.documentation").count();
    assert_eq!(doc, TEXT.matches("//").count());
}

#[test]
fn all_queries_fit_the_grammar() {
    for query in [
        include_str!("../queries/folds.scm"),
        include_str!("../queries/indents.scm"),
        include_str!("../queries/locals.scm"),
        include_str!("../../zed/languages/fg/brackets.scm"),
        include_str!("../../zed/languages/fg/indents.scm"),
        include_str!("../../zed/languages/fg/outline.scm"),
    ] {
        assert!(!captures(query).is_empty());
    }
}
