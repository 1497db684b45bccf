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
    /// The one thing that can have been meant: `fgc check --fix` applies it unasked.
    pub certain: bool,
}

/// Replaces the text at a place; an empty span inserts.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    pub place: Place,
    pub text: String,
}

impl Fix {
    pub fn new(title: impl Into<String>) -> Fix {
        Fix { title: title.into(), edits: Vec::new(), certain: false }
    }

    /// Another name in place of one that means nothing.
    pub fn rename(place: Place, from: &str, to: &str) -> Fix {
        Fix::new(format!("replace `{from}` by `{to}`")).replace(place, to).certain()
    }

    /// `stop(…)` around the expression at `place`.
    pub fn around(place: Place, function: &str) -> Fix {
        Fix::new(format!("put it under `{function}(…)`")).before(place, format!("{function}(")).after(place, ")")
    }

    pub fn certain(self) -> Fix {
        Fix { certain: true, ..self }
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

/// The text of `file` with the edits that are in it.
pub fn apply(fix: &Fix, file: FileId, sources: &Sources) -> String {
    apply_all([fix], file, sources)
}

/// As [`apply`], of several: one that meets an earlier one's edits is left out, since it may no longer be right.
pub fn apply_all<'a>(fixes: impl IntoIterator<Item = &'a Fix>, file: FileId, sources: &Sources) -> String {
    let source = sources.file(file);
    let mut edits: Vec<(Span, &str)> = Vec::new();
    for fix in fixes {
        let own = fix.edits.iter().filter(|e| e.place.file == file);
        let own: Vec<(Span, &str)> = own.map(|e| (source.clamp(e.place.span), &*e.text)).collect();
        let meets = |a: &Span, b: &Span| a == b || a.start < b.end && b.start < a.end;
        if own.iter().all(|(a, _)| edits.iter().all(|(b, _)| !meets(a, b))) {
            edits.extend(own);
        }
    }
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
