//! The compiler's diagnostics as the editor wants them.

use crate::analysis::Analysis;
use fgc_compiler::diagnostic::{Diagnostic, Place, Severity};
use gen_lsp_types as lsp;

/// Where a place of another file is.
pub type Locate<'a> = &'a dyn Fn(Place) -> Option<lsp::Location>;

/// Diagnostics of the file.
pub fn diagnostics(analysis: &Analysis, uri: &lsp::Uri, location: Locate) -> Vec<lsp::Diagnostic> {
    let mut out: Vec<lsp::Diagnostic> = analysis.diagnostics().map(|d| one(analysis, d, uri, location)).collect();
    if let Some(message) = &analysis.no_setup {
        let top = lsp::Range::default();
        out.push(lsp::Diagnostic {
            range: top,
            severity: Some(lsp::DiagnosticSeverity::Information),
            source: Some("fgc".into()),
            message: format!("the method is not checked: {message}").into(),
            ..Default::default()
        });
    }
    out
}

/// One of them.
pub fn one(analysis: &Analysis, d: &Diagnostic, uri: &lsp::Uri, location: Locate) -> lsp::Diagnostic {
    let file = analysis.file();
    // The first label is the primary one; where that is elsewhere (in a setting), another of this file will do.
    let primary = d.labels.iter().position(|l| l.place.file == file);
    let range = primary.map_or_else(lsp::Range::default, |i| analysis.text.range(d.labels[i].place.span));
    let mut message = d.message.clone();
    if let Some(label) = primary.map(|i| &d.labels[i]).filter(|l| !l.text.is_empty()) {
        message += &format!("\n{}", label.text);
    }
    for note in &d.notes {
        message += &format!("\nnote: {note}");
    }
    if let Some(help) = &d.help {
        message += &format!("\nhelp: {help}");
    }
    let others = d.labels.iter().enumerate().filter(|(i, _)| Some(*i) != primary).map(|(_, l)| l);
    let related: Vec<lsp::DiagnosticRelatedInformation> = others
        .filter_map(|label| {
            let location = match label.place.file == file {
                true => Some(lsp::Location { uri: uri.clone(), range: analysis.text.range(label.place.span) }),
                false => location(label.place),
            };
            let message = if label.text.is_empty() { d.message.clone() } else { label.text.clone() };
            Some(lsp::DiagnosticRelatedInformation { location: location?, message })
        })
        .collect();
    lsp::Diagnostic {
        range,
        severity: Some(match d.severity {
            Severity::Error => lsp::DiagnosticSeverity::Error,
            Severity::Warning => lsp::DiagnosticSeverity::Warning,
        }),
        code: Some(d.code.to_owned().into()),
        source: Some("fgc".into()),
        message: message.into(),
        tags: (matches!(d.code, "FG0404" | "FG0704")).then(|| vec![lsp::DiagnosticTag::Unnecessary]),
        related_information: (!related.is_empty()).then_some(related),
        ..Default::default()
    }
}
