//! The syntax of `.fg` for tree-sitter: `grammar.js`, of which `tree-sitter generate --abi 14` makes `src/parser.c`.

use tree_sitter_language::LanguageFn;

unsafe extern "C" {
    fn tree_sitter_fg() -> *const ();
}

/// For `tree_sitter::Parser::set_language`.
// SAFETY: the generated parser gives its one static table, which is a language of the ABI that tree-sitter reads.
pub const LANGUAGE: LanguageFn = unsafe { LanguageFn::from_raw(tree_sitter_fg) };

/// Which nodes are drawn how.
pub const HIGHLIGHTS: &str = include_str!("../../queries/highlights.scm");
