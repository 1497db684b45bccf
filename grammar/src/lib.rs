//! The syntax of `.fg`: text to tree, with every mistake reported at its place, and tree back to text.
//!
//! [`parse`] always gives a tree: a statement or an item it cannot read becomes an `Error` node, and what stands
//! around it is intact. The steps: `lex` finds comments, malformed literals and other languages' habits; `brackets`
//! pairs brackets and bounds nesting; pest reads the text by `fg.pest`; `parse` builds the tree; `message` words the
//! errors. [`format()`] prints a tree in the one style.

pub mod ast;
mod brackets;
mod error;
mod format;
mod lex;
mod message;
pub(crate) mod parse;
pub mod span;

pub use error::{SyntaxError, code};
pub use format::format;
pub use parse::{Parsed, parse, parse_expr};
pub use span::Span;
