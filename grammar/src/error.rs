//! Syntax errors.

use crate::Span;
use serde::Serialize;
use thiserror::Error;

/// One mistake in the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Error)]
#[error("{code}: {message}")]
pub struct SyntaxError {
    /// Never empty, except in an empty file.
    pub span: Span,
    /// One of those in [`code`].
    pub code: &'static str,
    pub message: String,
    /// What could stand at `span` instead, in words: "`->`", "an expression".
    pub expected: Vec<String>,
    pub help: Option<String>,
    /// What to write at `span` where that is the whole cure.
    pub instead: Option<String>,
}

impl SyntaxError {
    pub fn new(code: &'static str, span: Span, message: impl Into<String>) -> SyntaxError {
        SyntaxError { span, code, message: message.into(), expected: Vec::new(), help: None, instead: None }
    }

    pub fn instead(self, text: impl Into<String>) -> SyntaxError {
        SyntaxError { instead: Some(text.into()), ..self }
    }

    pub fn help(mut self, help: impl Into<String>) -> SyntaxError {
        self.help = Some(help.into());
        self
    }
}

/// The codes, one for a kind of mistake.
pub mod code {
    /// Something else should stand here.
    pub const UNEXPECTED: &str = "FG0001";
    /// A bracket without its partner.
    pub const UNCLOSED: &str = "FG0002";
    /// A malformed number or string.
    pub const LITERAL: &str = "FG0003";
    /// A notation of another language, understood but not accepted.
    pub const FOREIGN: &str = "FG0004";
    /// A keyword used as a name.
    pub const KEYWORD: &str = "FG0005";
    /// Nested deeper, or chained longer, than the compiler follows.
    pub const TOO_DEEP: &str = "FG0006";
    /// A statement, item or doc comment where none of its kind can stand.
    pub const MISPLACED: &str = "FG0007";
    /// Operators that do not chain.
    pub const CHAINED: &str = "FG0008";
    /// A character that means nothing.
    pub const CHARACTER: &str = "FG0009";
}
