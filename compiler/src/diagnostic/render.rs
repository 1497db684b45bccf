//! Diagnostics for terminals, by miette.

use super::{Diagnostic, Severity};
use crate::source::Sources;
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report};

/// The text of one diagnostic; `color` for terminals that have it.
pub fn render(diagnostic: &Diagnostic, sources: &Sources, color: bool) -> String {
    let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false).with_width(110);
    let primary = diagnostic.labels.first().map(|l| l.place.file);
    let mut report = MietteDiagnostic::new(&diagnostic.message).with_code(diagnostic.code).with_severity(
        match diagnostic.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        },
    );
    if let Some(help) = &diagnostic.help {
        report = report.with_help(help);
    }
    let mut elsewhere = Vec::new();
    for (i, label) in diagnostic.labels.iter().enumerate() {
        if Some(label.place.file) != primary {
            let one = Diagnostic { labels: vec![label.clone()], ..diagnostic.clone() };
            elsewhere.push(format!("{}: {}", one.position(sources).unwrap_or_default(), label.text));
            continue;
        }
        // miette panics on a label past the end and hides an empty one there.
        let length = sources.file(label.place.file).text.len();
        let start = label.place.span.start.min(length.saturating_sub(1));
        let end = label.place.span.end.clamp(start, length);
        let span = start..end.max(start + usize::from(length > 0));
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
    let result = match primary {
        Some(file) => {
            let file = sources.file(file);
            let report = Report::new(report).with_source_code(NamedSource::new(&file.name, file.text.to_string()));
            handler.render_report(&mut out, report.as_ref())
        }
        None => handler.render_report(&mut out, &report),
    };
    match result {
        Ok(()) => out,
        Err(_) => format!("{}: {}\n", diagnostic.code, diagnostic.message),
    }
}
