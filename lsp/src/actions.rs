//! Changes that cure what is wrong, offered where it is shown.

use crate::analysis::Analysis;
use crate::diagnostics::{Locate, one};
use fgc_compiler::diagnostic::{Diagnostic, Fix};
use fgc_grammar::ast::{Block, Body, ItemKind};
use gen_lsp_types as lsp;

/// Cures for what is wrong in `range`, the likeliest first.
pub fn actions(analysis: &Analysis, uri: &lsp::Uri, range: lsp::Range, location: Locate) -> Vec<lsp::CodeAction> {
    let mut out = Vec::new();
    for diagnostic in analysis.diagnostics() {
        let mut own = diagnostic.labels.iter().filter(|l| l.place.file == analysis.file());
        if !own.any(|l| touch(analysis.text.range(l.place.span), range)) {
            continue;
        }
        let shown = one(analysis, diagnostic, uri, location);
        let mut fixes: Vec<Fix> = diagnostic.fixes.clone();
        fixes.extend(missing_parameter(analysis, diagnostic));
        // The standard library is not the user's to change.
        fixes.retain(|fix| fix.edits.iter().all(|e| e.place.file == analysis.file()));
        for fix in fixes {
            let edits = fix.edits.iter();
            let edits =
                edits.map(|e| lsp::TextEdit { range: analysis.text.range(e.place.span), new_text: e.text.clone() });
            out.push(action(fix.title, uri, edits.collect(), &shown, fix.certain));
        }
    }
    out
}

/// Whether two ranges have a position in common.
pub fn touch(a: lsp::Range, b: lsp::Range) -> bool {
    a.start <= b.end && b.start <= a.end
}

/// A change that cures `wrong`. `preferred`: there is none better.
pub fn action(
    title: String,
    uri: &lsp::Uri,
    edits: Vec<lsp::TextEdit>,
    wrong: &lsp::Diagnostic,
    preferred: bool,
) -> lsp::CodeAction {
    let changes = [(uri.clone(), edits)].into_iter().collect();
    lsp::CodeAction {
        title,
        kind: Some(lsp::CodeActionKind::QuickFix),
        diagnostics: Some(vec![wrong.clone()]),
        is_preferred: preferred.then_some(true),
        edit: Some(lsp::WorkspaceEdit { changes: Some(changes), ..Default::default() }),
        ..Default::default()
    }
}

/// A name that nothing has, as a new parameter of the method or function around it.
fn missing_parameter(analysis: &Analysis, diagnostic: &Diagnostic) -> Option<Fix> {
    let place = diagnostic.labels.first().filter(|l| l.place.file == analysis.file())?.place;
    let text = analysis.text.as_str();
    let name = text.get(place.span.start..place.span.end)?;
    let called = text[place.span.end..].trim_start().starts_with(['(', '@']);
    // A hint of what it is meant to be comes first: what resembles another name is no parameter.
    if diagnostic.code != "FG0104" || called || !crate::navigate::is_name(name) {
        return None;
    }
    let items = &analysis.module().items;
    let item = items.iter().find(|i| i.span.start <= place.span.start && place.span.end <= i.span.end)?;
    let inside = |b: &Block| b.span.start <= place.span.start;
    let (owner, params, written) = match &item.kind {
        ItemKind::Method { name: owner, params, body } if inside(body) => (owner, params, format!("{name}: f64 = 1.0")),
        ItemKind::Fn(f) | ItemKind::Layer(f) => match &f.body {
            Body::Block(b) if !inside(b) => return None,
            Body::Expr(e) if place.span.start < e.span.start => return None,
            _ => (&f.name, &f.params, name.to_owned()),
        },
        _ => return None,
    };
    let title = format!("add the parameter `{name}` to `{}`", owner.text);
    let fix = Fix::new(title);
    Some(match params.last() {
        Some(last) => fix.after(analysis.place(last.span), format!(", {written}")),
        None => {
            let open = owner.span.end + text[owner.span.end..].find('(')?;
            fix.after(analysis.place(fgc_grammar::Span::new(open, open + 1)), written)
        }
    })
}
