//! What is wrong with a preset: how it is written, and what its methods make of it.

use super::{Entry, Misread, Outline, Presets};
use crate::actions::{action, touch};
use crate::text::Text;
use fgc_compiler::check::{Inspection, inspect};
use fgc_compiler::diagnostic::{Diagnostic, Label, Severity};
use fgc_grammar::Span;
use gen_lsp_types as lsp;
use std::path::Path;

/// `thorough`: check every method on it, too. The data of a problem is a name to put in place of the one that is wrong.
pub fn problems(presets: &Presets, path: &Path, text: &Text, thorough: bool) -> Vec<lsp::Diagnostic> {
    if let Err(misread) = (presets.read)(text.as_str()) {
        return vec![unreadable(text, &misread)];
    }
    let outline = Outline::of(text.as_str());
    let mut out = Vec::new();
    for entry in outline.inside(&["methods"]) {
        let name = entry.path.last().map_or("", String::as_str);
        match presets.method(path, name) {
            Some(method) => {
                let known: Vec<&str> = method.params.iter().map(|p| p.name.text.as_str()).collect();
                for set in outline.inside(&["methods", name, "set"]) {
                    let key = set.path.last().map_or("", String::as_str);
                    if !known.contains(&key) {
                        let near = fgc_compiler::diagnostic::nearest(key, known.iter().copied());
                        let help =
                            near.map_or(format!("it has {}", known.join(", ")), |n| format!("did you mean `{n}`?"));
                        let message = format!("`{name}` has no hyper-parameter `{key}`\nhelp: {help}");
                        let problem = diagnostic(text, set.key, "FG0701", Severity::Error, message);
                        out.push(lsp::Diagnostic { data: near.map(Into::into), ..problem });
                    }
                }
            }
            None => out.push(no_method(presets, text, name, entry.key)),
        }
        for first in outline.inside(&["methods", name, "init"]) {
            let value = text.as_str().get(first.value.start..first.value.end).unwrap_or("");
            if presets.method(path, value).is_none() {
                out.push(no_method(presets, text, value, first.value));
            }
        }
        if thorough && out.is_empty() {
            out.extend(of_method(presets, path, text, &outline, entry));
        }
    }
    out
}

fn no_method(presets: &Presets, text: &Text, name: &str, at: Span) -> lsp::Diagnostic {
    let near = fgc_compiler::diagnostic::nearest(name, presets.methods.iter().map(String::as_str));
    let help = near.map_or(String::new(), |n| format!("\nhelp: did you mean `{n}`?"));
    let message = format!("there is no method `{name}` beside the preset or built in{help}");
    let problem = diagnostic(text, at, "FG0902", Severity::Warning, message);
    lsp::Diagnostic { data: near.map(Into::into), ..problem }
}

/// Cures for what is wrong in `range`.
pub fn actions(presets: &Presets, path: &Path, text: &Text, uri: &lsp::Uri, range: lsp::Range) -> Vec<lsp::CodeAction> {
    let cure = |problem: lsp::Diagnostic| {
        let name = problem.data.as_ref()?.as_str()?.to_owned();
        let edit = lsp::TextEdit { range: problem.range, new_text: name.clone() };
        Some(action(format!("replace it by `{name}`"), uri, vec![edit], &problem, true))
    };
    let problems = problems(presets, path, text, false);
    problems.into_iter().filter(|p| touch(p.range, range)).filter_map(cure).collect()
}

/// What checking a method on the preset finds.
fn of_method(presets: &Presets, path: &Path, text: &Text, outline: &Outline, entry: &Entry) -> Vec<lsp::Diagnostic> {
    let name = entry.path.last().map_or("", String::as_str);
    let Some(source) = (presets.method)(path, name) else { return Vec::new() };
    let setup = match (presets.setup)(path, text.as_str(), name) {
        Ok(setup) => setup,
        Err(message) => return vec![diagnostic(text, entry.key, "", Severity::Warning, message)],
    };
    let found = inspect(&format!("{name}.fg"), &source, &setup);
    let errors = found.diagnostics.iter().filter(|d| d.severity == Severity::Error);
    let place = |d: &Diagnostic| {
        let setting = d.labels.iter().find_map(|label| setting(&found, label, text, outline, name));
        let span = setting.unwrap_or(entry.key);
        let help = d.help.as_ref().map_or(String::new(), |h| format!("\nhelp: {h}"));
        diagnostic(text, span, d.code, d.severity, format!("`{name}`: {}{help}", d.message))
    };
    errors.map(place).collect()
}

/// Where in the preset a label's text stands: a setting, or a network.
fn setting(found: &Inspection, label: &Label, text: &Text, outline: &Outline, method: &str) -> Option<Span> {
    outline.origin(text.as_str(), method, found.sources.file(label.place.file), label.place.span)
}

fn unreadable(text: &Text, misread: &Misread) -> lsp::Diagnostic {
    let offset = |(line, column): (usize, usize)| {
        let start = text.offset(lsp::Position { line: line.saturating_sub(1) as u32, character: 0 });
        let rest = text.as_str()[start..].lines().next().unwrap_or("");
        start + rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(i, _)| i)
    };
    let (start, end) = (offset(misread.from), offset(misread.to));
    diagnostic(text, Span::new(start, end.max(start)), "FG0901", Severity::Error, misread.message.clone())
}

fn diagnostic(text: &Text, span: Span, code: &str, severity: Severity, message: String) -> lsp::Diagnostic {
    lsp::Diagnostic {
        range: text.range(span),
        severity: Some(match severity {
            Severity::Error => lsp::DiagnosticSeverity::Error,
            Severity::Warning => lsp::DiagnosticSeverity::Warning,
        }),
        code: (!code.is_empty()).then(|| code.to_owned().into()),
        source: Some("fgc".into()),
        message: message.into(),
        ..Default::default()
    }
}
