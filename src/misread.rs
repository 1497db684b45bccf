//! Mistakes in presets, as diagnostics of the preset's text.

use crate::problem::Problem;
use fgc_compiler::diagnostic::{Diagnostic, Failure, Fix, Place, nearest};
use fgc_compiler::source::Sources;
use fgc_grammar::Span;
use ron::error::{Error, Position, SpannedError};

/// A diagnostic of the preset at `name`: `say` gets the place.
pub fn problem(name: &str, text: &str, span: Span, say: impl FnOnce(Place) -> Diagnostic) -> Problem {
    let mut sources = Sources::default();
    let file = sources.add(name, text, false);
    let diagnostics = vec![say(Place { file, span })];
    Failure { sources, diagnostics }.into()
}

/// Why a preset could not be read.
pub fn unreadable(name: &str, text: &str, error: &SpannedError) -> Problem {
    let start = offset(text, &error.span.start);
    let span = match &error.code {
        // Reported where the reader stands, which is after the word.
        Error::NoSuchStructField { found, .. } | Error::NoSuchEnumVariant { found, .. } => {
            word_before(text, offset(text, &error.span.end), found)
        }
        _ => None,
    };
    let span = span.unwrap_or_else(|| Span::new(start, offset(text, &error.span.end).max(start)));
    problem(name, text, span, |place| diagnostic(error, place))
}

fn diagnostic(error: &SpannedError, place: Place) -> Diagnostic {
    let unknown = |message: String, found: &str, expected: &[&str], all: &str| {
        let d = Diagnostic::error("FG0901", message).label(place, "unknown");
        match nearest(found, expected.iter().copied()) {
            Some(n) => d
                .help(format!("did you mean `{n}`?"))
                .fix(Fix::new(format!("replace `{found}` by `{n}`")).replace(place, n).certain()),
            None => d.help(format!("{all} {}", expected.join(", "))),
        }
    };
    match &error.code {
        Error::NoSuchStructField { expected, found, outer } => {
            let of = match outer.as_deref() {
                Some("NetChoice") => "a network has",
                Some("Override") => "a method's settings have",
                Some("Preset") | None => "a preset has",
                Some(_) => "this kind of data has",
            };
            unknown(format!("{of} no field `{found}`"), found, expected, "fields are")
        }
        Error::NoSuchEnumVariant { expected, found, .. } => {
            unknown(format!("there is no `{found}`"), found, expected, "known are")
        }
        Error::MissingStructField { field, outer } => {
            let of = match outer.as_deref() {
                Some("NetChoice") => "a network",
                Some(kind @ ("Override" | "Preset")) => {
                    if kind == "Preset" {
                        "the preset"
                    } else {
                        "a method's settings"
                    }
                }
                Some(kind) => return missing(&format!("`{kind}`"), field, place),
                None => "this",
            };
            missing(of, field, place)
        }
        Error::DuplicateStructField { field, .. } => {
            Diagnostic::error("FG0901", format!("`{field}` is there twice")).label(place, "again by here")
        }
        Error::Eof => Diagnostic::error("FG0901", "the preset ends too early")
            .label(place, "the end")
            .help("is a `)`, `}` or `]` missing?"),
        Error::ExpectedString => Diagnostic::error("FG0901", "a string is wanted here")
            .label(place, "not a string")
            .help("under `nets`, `set` and `methods`, names and values stand in quotes: `\"lr\": \"1e-3\"`"),
        Error::ExpectedInteger => Diagnostic::error("FG0901", "a whole number is wanted here")
            .label(place, "not a whole number")
            .help("sizes and counts are written without quotes: `batch: 256`"),
        Error::ExpectedFloat => Diagnostic::error("FG0901", "a number is wanted here")
            .label(place, "not a number")
            .help("numbers of the data are written without quotes: `std: 0.05`"),
        Error::ExpectedMapColon => Diagnostic::error("FG0901", "a colon is wanted here")
            .label(place, "not a colon")
            .help("write `\"name\": value`"),
        Error::ExpectedComma => Diagnostic::error("FG0901", "a comma is wanted here")
            .label(place, "not a comma")
            .help("entries are separated by commas: is one missing before this?"),
        Error::InvalidIntegerDigit { .. } => Diagnostic::error("FG0901", "a whole number is wanted here")
            .label(place, "not a digit")
            .help("it is written out: `iterations: 4000`"),
        Error::ExpectedIdentifier => Diagnostic::error("FG0901", "the name of a field is wanted here")
            .label(place, "not a name")
            .help("names of fields are written without quotes: `batch: 256`"),
        other => {
            let text = other.to_string();
            let mut letters = text.chars();
            let lower: String = letters.next().into_iter().flat_map(char::to_lowercase).chain(letters).collect();
            Diagnostic::error("FG0901", format!("the preset cannot be read: {lower}")).label(place, "here")
        }
    }
}

fn missing(of: &str, field: &str, place: Place) -> Diagnostic {
    Diagnostic::error("FG0901", format!("{of} lacks `{field}`"))
        .label(place, "missing by here")
        .help(format!("add `{field}: …`"))
}

/// Where `word` last stands before `end`, whole.
fn word_before(text: &str, end: usize, word: &str) -> Option<Span> {
    let start = text.get(..end)?.rfind(word)?;
    Some(Span::new(start, start + word.len()))
}

fn offset(text: &str, at: &Position) -> usize {
    let line: usize = text.split_inclusive('\n').take(at.line.saturating_sub(1)).map(str::len).sum();
    let rest = &text[line..];
    line + rest.char_indices().nth(at.col.saturating_sub(1)).map_or(rest.len(), |(i, _)| i)
}

/// A preset that trains on nothing.
pub fn no_samples(name: &str, text: &str) -> Problem {
    let at = text.find("batch").map_or(Span::default(), |i| Span::new(i, i + "batch".len()));
    problem(name, text, at, |at| {
        Diagnostic::error("FG0901", "`batch` must be at least 1").label(at, "samples of a step")
    })
}
