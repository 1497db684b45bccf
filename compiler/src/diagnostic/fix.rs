//! Changes of the text that cure a mistake.

use super::Place;
use crate::source::{FileId, Sources};
use fgc_grammar::Span;

/// A cure that a program can apply: all its edits at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Fix {
    /// What it does, as an imperative: "replace `studnt` by `student`".
    pub title: String,
    pub edits: Vec<Edit>,
}

/// Replaces the text at a place; an empty span inserts.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    pub place: Place,
    pub text: String,
}

impl Fix {
    pub fn new(title: impl Into<String>) -> Fix {
        Fix { title: title.into(), edits: Vec::new() }
    }

    pub fn replace(mut self, place: Place, text: impl Into<String>) -> Fix {
        self.edits.push(Edit { place, text: text.into() });
        self
    }

    pub fn before(self, place: Place, text: impl Into<String>) -> Fix {
        self.replace(Place { span: Span::new(place.span.start, place.span.start), ..place }, text)
    }

    pub fn after(self, place: Place, text: impl Into<String>) -> Fix {
        self.replace(Place { span: Span::new(place.span.end, place.span.end), ..place }, text)
    }
}

/// The text of `file` with the edits that are in it; where two overlap, the later one in the text is left out.
pub fn apply(fix: &Fix, file: FileId, sources: &Sources) -> String {
    let source = sources.file(file);
    let mut edits: Vec<(Span, &str)> =
        fix.edits.iter().filter(|e| e.place.file == file).map(|e| (source.clamp(e.place.span), &*e.text)).collect();
    edits.sort_by_key(|(span, _)| *span);
    let mut out = String::with_capacity(source.text.len());
    let mut at = 0;
    for (span, text) in edits.into_iter() {
        if span.start >= at {
            out += &source.text[at..span.start];
            out += text;
            at = span.end;
        }
    }
    out + &source.text[at..]
}
