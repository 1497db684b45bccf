//! The one style: two blanks a level, lines of at most 120 characters, every comment kept.
//!
//! Printed from the tree, with literals and parentheses as they were written. A comment stays on the line of what it
//! follows or above what it precedes; one in the middle of a statement moves above it.

mod doc;
mod expr;
mod external;
mod item;
mod params;
mod stmt;

use crate::Span;
use crate::ast::Comment;
use crate::error::SyntaxError;
use crate::lex::{Token, TokenKind};
use crate::parse::parse_with_tokens;
use doc::{Doc, render};

/// `source` in the one style; its errors if it has any.
pub fn format(source: &str) -> Result<String, Vec<SyntaxError>> {
    let (parsed, lexed) = parse_with_tokens(source);
    if !parsed.errors.is_empty() {
        return Err(parsed.errors);
    }
    let mut printer = Printer {
        source,
        tokens: &lexed.tokens,
        comments: &parsed.file.comments,
        next_comment: 0,
        out: String::new(),
        printed: None,
    };
    printer.file(&parsed.file);
    Ok(printer.out)
}

struct Printer<'a> {
    source: &'a str,
    tokens: &'a [Token],
    comments: &'a [Comment],
    /// The first comment not yet printed.
    next_comment: usize,
    out: String,
    /// End in the source of what was printed last in this block; None at its start.
    printed: Option<usize>,
}

impl<'a> Printer<'a> {
    /// Takes the comments that start before `end`.
    fn comments_before(&mut self, end: usize) -> &'a [Comment] {
        let first = self.next_comment;
        while self.comments.get(self.next_comment).is_some_and(|c| c.span.start < end) {
            self.next_comment += 1;
        }
        &self.comments[first..self.next_comment]
    }

    fn comment_text(&self, comment: &Comment) -> String {
        let text = &self.source[comment.span.start..comment.span.end];
        match text.strip_prefix("//") {
            Some(rest) if !rest.is_empty() && !rest.starts_with([' ', '\t', '/', '!']) => format!("// {rest}"),
            _ => text.to_string(),
        }
    }

    /// A line of its own for each comment that starts before `end`.
    fn own_line_comments(&mut self, end: usize, indent: usize) {
        for comment in self.comments_before(end) {
            self.blank_line(comment.span.start);
            let text = self.comment_text(comment);
            self.line(&Doc::text(text), indent);
            self.printed = Some(comment.span.end);
        }
    }

    /// The comment on the rest of the line that ends with `end` in the source.
    fn trailing_comment(&mut self, end: usize) {
        let Some(comment) = self.comments.get(self.next_comment) else { return };
        let start = comment.span.start;
        if start < end || self.source[end..start].contains(|c: char| !c.is_whitespace() || c == '\n') {
            return;
        }
        self.next_comment += 1;
        let text = self.comment_text(comment);
        if self.out.ends_with('\n') {
            self.out.pop();
        }
        self.out.push(' ');
        self.out.push_str(&text);
        self.out.push('\n');
        self.printed = Some(comment.span.end);
    }

    /// A blank line where the source has one or more between what was printed last and `start`.
    fn blank_line(&mut self, start: usize) {
        let Some(printed) = self.printed.filter(|&p| p < start) else { return };
        let gap = &self.source[printed..start];
        let mut lines = gap.split('\n');
        lines.next();
        lines.next_back();
        if lines.any(|line| line.trim().is_empty()) {
            self.out.push('\n');
        }
    }

    fn line(&mut self, doc: &Doc, indent: usize) {
        self.out.extend(std::iter::repeat_n(' ', indent));
        render(doc, indent, indent, &mut self.out);
        self.out.push('\n');
    }

    /// The doc lines right before `start`, with where they begin.
    fn docs(&self, start: usize) -> (Vec<String>, usize) {
        let end = self.tokens.partition_point(|t| t.span.start < start);
        let is_doc = |t: &&Token| t.kind == TokenKind::Doc && self.source[t.span.start..].starts_with("///");
        let count = self.tokens[..end].iter().rev().take_while(is_doc).count();
        let docs = &self.tokens[end - count..end];
        let lines = docs.iter().map(|t| doc_line("///", &self.source[t.span.start + 3..t.span.end])).collect();
        (lines, docs.first().map_or(start, |t| t.span.start))
    }

    /// Source text of `span` without parentheses around it.
    fn unwrapped(&self, span: Span) -> &'a str {
        let first = self.tokens.partition_point(|t| t.span.start < span.start);
        let last = self.tokens.partition_point(|t| t.span.start < span.end);
        let tokens = &self.tokens[first..last];
        let open = tokens.iter().take_while(|t| t.kind == TokenKind::Open(b'(')).count();
        match (tokens.get(open), tokens.len().checked_sub(open + 1).and_then(|i| tokens.get(i))) {
            (Some(first), Some(last)) => &self.source[first.span.start..last.span.end],
            _ => &self.source[span.start..span.end],
        }
    }
}

/// `mark` and the text after it, with one blank between them.
fn doc_line(mark: &str, text: &str) -> String {
    let text = text.trim_end();
    let gap = if text.is_empty() || text.starts_with(' ') { "" } else { " " };
    format!("{mark}{gap}{text}")
}
