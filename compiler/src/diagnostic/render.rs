//! Diagnostics for terminals, by miette.

use super::snippet::Snippets;
use super::{Diagnostic, Severity};
use crate::source::{SourceFile, Sources};
use fgc_grammar::Span;
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, Report};

/// The text of one diagnostic; `color` for terminals that have it.
pub fn render(diagnostic: &Diagnostic, sources: &Sources, color: bool) -> String {
    let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false).with_width(110);
    let Some(primary) = diagnostic.labels.first().map(|l| l.place.file) else { return plain(diagnostic) };
    let mut report = MietteDiagnostic::new(&diagnostic.message).with_code(diagnostic.code).with_severity(
        match diagnostic.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        },
    );
    report.help = diagnostic.help.clone().or_else(|| Some(diagnostic.fixes.first()?.title.clone()));
    let mut elsewhere = Vec::new();
    let inner = |outer: Span| {
        let others = diagnostic.labels.iter().filter(|l| l.place.file == primary).map(|l| l.place.span);
        others.filter(|s| outer.start <= s.start && s.end <= outer.end && *s != outer).collect::<Vec<_>>()
    };
    for (i, label) in diagnostic.labels.iter().enumerate() {
        if label.place.file != primary {
            let one = Diagnostic { labels: vec![label.clone()], ..diagnostic.clone() };
            elsewhere.push(format!("{}: {}", one.position(sources).unwrap_or_default(), label.text));
            continue;
        }
        let file = sources.file(label.place.file);
        let span = visible(file, uncovered(file, label.place.span, &inner(label.place.span)));
        let text = (!label.text.is_empty()).then(|| label.text.clone());
        report = report.and_label(if i == 0 {
            LabeledSpan::new_primary_with_span(text, span)
        } else {
            LabeledSpan::new_with_span(text, span)
        });
    }
    if !elsewhere.is_empty() {
        let note = elsewhere.iter().map(|e| format!("see {e}")).collect::<Vec<_>>().join("\n");
        report.help = Some(report.help.map_or(note.clone(), |h| format!("{h}\n{note}")));
    }
    let mut out = String::new();
    let file = sources.file(primary);
    let source = Snippets { name: file.name.to_string(), text: file.text.to_string() };
    let report = Report::new(report).with_source_code(source);
    if handler.render_report(&mut out, report.as_ref()).is_err() {
        return plain(diagnostic);
    }
    out + &notes(diagnostic)
}

/// Of what has no place: `error[FG0904]: …`.
fn plain(diagnostic: &Diagnostic) -> String {
    let level = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let code = if diagnostic.code.is_empty() { String::new() } else { format!("[{}]", diagnostic.code) };
    let help = diagnostic.help.as_ref().map_or(String::new(), |h| format!("  help: {}\n", indented(h)));
    format!("{level}{code}: {}\n{help}{}", diagnostic.message, notes(diagnostic))
}

fn notes(diagnostic: &Diagnostic) -> String {
    diagnostic.notes.iter().map(|note| format!("  note: {}\n", indented(note))).collect()
}

fn indented(text: &str) -> String {
    text.replace('\n', "\n        ")
}

/// Of what a label underlines, the part before (else after) the places in it that have labels of their own: miette draws
/// one line under both, and puts the inner ones past its end.
fn uncovered(file: &SourceFile, outer: Span, inner: &[Span]) -> Span {
    let Some(first) = inner.iter().map(|s| s.start).min() else { return outer };
    let last = inner.iter().map(|s| s.end).max().unwrap_or(outer.end);
    let (outer, [first, last]) = (file.clamp(outer), [first, last].map(|at| file.clamp(Span::new(at, at)).start));
    let (before, after) = (file.text[outer.start..first].trim_end(), file.text[last..outer.end].trim_start());
    match (before.is_empty(), after.is_empty()) {
        (false, _) => Span::new(outer.start, outer.start + before.len()),
        (true, false) => Span::new(outer.end - after.len(), outer.end),
        (true, true) => outer,
    }
}

/// What to underline: miette panics on a label past the end, and hides an empty one there.
fn visible(file: &SourceFile, span: Span) -> std::ops::Range<usize> {
    let span = file.clamp(span);
    if span.start < span.end {
        return span.start..span.end;
    }
    match file.text[span.start..].chars().next() {
        Some(c) => span.start..span.start + c.len_utf8(),
        None => span.start - file.text.chars().next_back().map_or(0, char::len_utf8)..span.start,
    }
}
