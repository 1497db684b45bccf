//! Quick fixes: the cures that diagnostics carry.

use crate::analysis::Analysis;
use fgc_compiler::diagnostic::{Diagnostic, Fix};
use gen_lsp_types as lsp;

/// The cures of diagnostics that touch `range`; `sent`: the diagnostics as the editor has them.
pub fn actions(
    analysis: &Analysis,
    uri: &lsp::Uri,
    range: lsp::Range,
    sent: &[lsp::Diagnostic],
) -> Vec<lsp::CodeAction> {
    let file = analysis.file();
    let (from, to) = (analysis.text.offset(range.start), analysis.text.offset(range.end));
    let touched = |d: &&Diagnostic| {
        let own = d.labels.iter().filter(|l| l.place.file == file);
        own.map(|l| l.place.span).any(|s| s.start <= to && from <= s.end)
    };
    let mut out = Vec::new();
    for d in analysis.diagnostics().filter(touched) {
        let code = lsp::Code::from(d.code.to_owned());
        let cured: Vec<lsp::Diagnostic> = sent.iter().filter(|s| s.code.as_ref() == Some(&code)).cloned().collect();
        for fix in d.fixes.iter().filter(|f| f.edits.iter().all(|e| e.place.file == file)) {
            out.push(action(analysis, uri, fix, &cured));
        }
    }
    out
}

fn action(analysis: &Analysis, uri: &lsp::Uri, fix: &Fix, cured: &[lsp::Diagnostic]) -> lsp::CodeAction {
    let edits = fix
        .edits
        .iter()
        .map(|edit| lsp::TextEdit { range: analysis.text.range(edit.place.span), new_text: edit.text.clone() });
    let changes = [(uri.clone(), edits.collect())].into_iter().collect();
    lsp::CodeAction {
        title: fix.title.clone(),
        kind: Some(lsp::CodeActionKind::QuickFix),
        diagnostics: (!cured.is_empty()).then(|| cured.to_vec()),
        is_preferred: Some(fix.certain),
        edit: Some(lsp::WorkspaceEdit { changes: Some(changes), ..Default::default() }),
        ..Default::default()
    }
}
