//! The examples in `test/corpus`, which `tree-sitter test` reads, too.

use tree_sitter::Parser;

#[test]
fn examples_have_the_trees_they_show() {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_fgc::LANGUAGE.into()).unwrap();
    let mut examples = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/test/corpus")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let parts: Vec<&str> = text.split(&"=".repeat(80)).skip(1).collect();
        for example in parts.chunks(2) {
            let [title, body] = example else { panic!("no example after {example:?}") };
            let (code, tree) = body.split_once(&"-".repeat(80)).unwrap();
            let found = parser.parse(code.trim(), None).unwrap().root_node().to_sexp();
            assert_eq!(without_fields(&found), without_fields(tree), "{}", title.trim());
            examples += 1;
        }
    }
    assert!(examples > 10);
}

/// On one line, names of fields left out.
fn without_fields(tree: &str) -> String {
    let words = tree.split_whitespace().filter(|word| !word.ends_with(':'));
    words.collect::<Vec<_>>().join(" ").replace(" )", ")")
}
