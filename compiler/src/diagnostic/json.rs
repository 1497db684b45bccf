//! Diagnostics for programs: one JSON object a line, in the manner of rustc's.

use super::{Diagnostic, Place, Severity};
use crate::source::Sources;
use serde::Serialize;

#[derive(Serialize)]
struct Message<'a> {
    code: &'a str,
    /// `error` or `warning`.
    level: &'a str,
    message: &'a str,
    spans: Vec<Span<'a>>,
    notes: &'a [String],
    help: Option<&'a str>,
    fixes: Vec<Fix<'a>>,
}

/// Bytes count from 0, lines and columns (in characters) from 1; ends are exclusive.
#[derive(Serialize)]
struct Range<'a> {
    file: &'a str,
    byte_start: usize,
    byte_end: usize,
    line_start: usize,
    column_start: usize,
    line_end: usize,
    column_end: usize,
}

#[derive(Serialize)]
struct Span<'a> {
    #[serde(flatten)]
    range: Range<'a>,
    is_primary: bool,
    label: &'a str,
}

#[derive(Serialize)]
struct Fix<'a> {
    title: &'a str,
    /// Whether `fgc check --fix` applies it.
    certain: bool,
    edits: Vec<Edit<'a>>,
}

#[derive(Serialize)]
struct Edit<'a> {
    #[serde(flatten)]
    range: Range<'a>,
    text: &'a str,
}

/// One line, with its end.
pub fn render_json(diagnostic: &Diagnostic, sources: &Sources) -> String {
    let labels = diagnostic.labels.iter().enumerate();
    let message = Message {
        code: diagnostic.code,
        level: match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        message: &diagnostic.message,
        spans: labels
            .map(|(i, l)| Span { range: range(l.place, sources), is_primary: i == 0, label: &l.text })
            .collect(),
        notes: &diagnostic.notes,
        help: diagnostic.help.as_deref(),
        fixes: diagnostic
            .fixes
            .iter()
            .map(|fix| Fix {
                title: &fix.title,
                certain: fix.certain,
                edits: fix.edits.iter().map(|e| Edit { range: range(e.place, sources), text: &e.text }).collect(),
            })
            .collect(),
    };
    let line = serde_json::to_string(&message).expect("strings and numbers are JSON");
    line + "\n"
}

fn range(place: Place, sources: &Sources) -> Range<'_> {
    let file = sources.file(place.file);
    let span = file.clamp(place.span);
    let (line_start, column_start) = file.line_column(span.start);
    let (line_end, column_end) = file.line_column(span.end);
    Range {
        file: &file.name,
        byte_start: span.start,
        byte_end: span.end,
        line_start,
        column_start,
        line_end,
        column_end,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Fix, apply, render};
    use super::*;
    use fgc_grammar::Span;

    fn place(file: crate::source::FileId, start: usize, end: usize) -> Place {
        Place { file, span: Span::new(start, end) }
    }

    #[test]
    fn a_diagnostic_is_one_line_of_json() {
        let mut sources = Sources::default();
        let file = sources.add("é\u{1}.fg", "let é = stop(x)\nlet b = studnt\n", false);
        let d = Diagnostic::error("FG0104", "`studnt` is not\n\u{1}\"defined\"")
            .label(place(file, 25, 31), "not found here")
            .label(place(file, 4, 6), "")
            .note("a note")
            .help("did you mean `student`?")
            .fix(Fix::new("replace").replace(place(file, 25, 31), "student"));
        let line = render_json(&d, &sources);
        assert_eq!(line.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["message"], "`studnt` is not\n\u{1}\"defined\"");
        assert_eq!(value["level"], "error");
        assert_eq!(value["spans"][0]["is_primary"], true);
        assert_eq!([&value["spans"][0]["line_start"], &value["spans"][0]["column_start"]], [2, 9]);
        assert_eq!([&value["spans"][1]["column_start"], &value["spans"][1]["column_end"]], [5, 6]);
        assert_eq!(value["fixes"][0]["edits"][0]["text"], "student");
        assert_eq!(apply(&d.fixes[0], file, &sources), "let é = stop(x)\nlet b = student\n");
    }

    /// Renderers take any span: past the end, inside a character, empty, backwards.
    #[test]
    fn any_span_is_shown() {
        for text in ["", "é", "a é\n", "\n\n", "x"] {
            let mut sources = Sources::default();
            let file = sources.add("a.fg", text, false);
            for start in 0..text.len() + 3 {
                for end in 0..text.len() + 3 {
                    let d = Diagnostic::error("FG0001", "no")
                        .label(place(file, start, end), "here")
                        .fix(Fix::new("mend").replace(place(file, start, end), "y"));
                    assert!(render(&d, &sources, false).contains("FG0001"), "{text:?} {start}..{end}");
                    assert!(render_json(&d, &sources).ends_with("}\n"));
                    apply(&d.fixes[0], file, &sources);
                }
            }
        }
    }
}
