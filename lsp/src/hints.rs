//! What the text does not say, shown in it: axes of what is bound, values from the preset, what a loss reaches.

use crate::analysis::Analysis;
use fgc_compiler::names::{Symbol, SymbolKind};
use gen_lsp_types::{InlayHint, InlayHintKind, Range};

/// Longer values are cut.
pub const LONGEST: usize = 60;

pub fn hints(analysis: &Analysis, range: Range) -> Vec<InlayHint> {
    let (from, to) = (analysis.text.offset(range.start), analysis.text.offset(range.end));
    let mut out = Vec::new();
    for symbol in analysis.names.symbols.iter().filter(|s| !s.name.is_empty()) {
        for (i, site) in symbol.sites.iter().enumerate() {
            let at = match (symbol.kind, symbol.values.get(i)) {
                (SymbolKind::Hyper, Some(Some(default))) => default.end,
                _ => site.end,
            };
            if at < from || to < at {
                continue;
            }
            if let Some((label, kind)) = label(analysis, symbol, i) {
                out.push(InlayHint {
                    position: analysis.text.position(at),
                    label: label.into(),
                    kind,
                    text_edits: None,
                    tooltip: None,
                    padding_left: Some(kind.is_none()),
                    padding_right: None,
                    data: None,
                });
            }
        }
    }
    out.sort_by_key(|h| h.position);
    out
}

fn label(analysis: &Analysis, symbol: &Symbol, site: usize) -> Option<(String, Option<InlayHintKind>)> {
    let shown = || analysis.known(symbol.sites[site]).map(|k| k.shown.as_str());
    match symbol.kind {
        SymbolKind::Let | SymbolKind::Var | SymbolKind::Draw | SymbolKind::Data | SymbolKind::State => {
            let written = symbol.values.get(site).copied().flatten();
            let written = written.and_then(|v| analysis.text.as_str().get(v.start..v.end));
            let shown = shown().filter(|&s| Some(s) != written && !s.starts_with("network "))?;
            Some((format!(": {}", cut(shown, LONGEST)), Some(InlayHintKind::Type)))
        }
        SymbolKind::Hyper => {
            let set = analysis.setup.set.contains_key(&symbol.name);
            let shown = shown().filter(|_| set)?;
            Some((format!("preset: {}", cut(shown, LONGEST)), None))
        }
        SymbolKind::Loss => {
            let loss = analysis.losses.iter().find(|l| l.name == symbol.name)?;
            let reaches = if loss.reaches.is_empty() { "nothing".into() } else { loss.reaches.join(", ") };
            Some((format!("∇ {reaches}"), None))
        }
        _ => None,
    }
}

/// At most so many characters of a value.
pub fn cut(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((i, _)) => format!("{}…", &text[..i]),
        None => text.to_owned(),
    }
}
