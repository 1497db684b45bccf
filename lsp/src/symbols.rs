//! Outlines of files, and names of the whole workspace.

use crate::analysis::Analysis;
use crate::hints::{LONGEST, cut};
use fgc_compiler::module::item_name;
use fgc_compiler::names::{Symbol, SymbolKind as Kind};
use fgc_grammar::Span;
use fgc_grammar::ast::{Item, ItemKind};
use gen_lsp_types::{DocumentSymbol, SymbolKind};

/// The outline: items, in them their parameters, bindings and steps, in those their losses.
pub fn document_symbols(analysis: &Analysis) -> Vec<DocumentSymbol> {
    children(analysis, None)
}

fn children(analysis: &Analysis, parent: Option<usize>) -> Vec<DocumentSymbol> {
    let symbols = analysis.names.symbols.iter().enumerate();
    // What functions bind inside is theirs alone.
    let listed = |s: &Symbol| match parent.map(|p| analysis.names.symbols[p].kind) {
        Some(Kind::Fn | Kind::Layer | Kind::Let) => s.kind == Kind::Weight,
        _ => !matches!(s.kind, Kind::Loop | Kind::Parameter),
    };
    let mine = symbols.filter(|(_, s)| s.parent == parent && !s.name.is_empty() && listed(s));
    let mut out: Vec<DocumentSymbol> = mine.map(|(i, s)| one(analysis, i, s)).collect();
    out.sort_by_key(|s| s.range.start);
    out
}

#[expect(deprecated, reason = "the field has to be named")]
fn one(analysis: &Analysis, index: usize, symbol: &Symbol) -> DocumentSymbol {
    let name = symbol.sites[0];
    let inside = children(analysis, Some(index));
    let known = analysis.known_symbol(symbol, name.start).map(|k| cut(&k.shown, LONGEST));
    DocumentSymbol {
        name: symbol.name.clone(),
        detail: known.filter(|_| !matches!(symbol.kind, Kind::Fn | Kind::Layer | Kind::Schedule | Kind::Method)),
        kind: kind(symbol.kind),
        tags: None,
        deprecated: None,
        range: analysis.text.range(symbol.whole.to(name)),
        selection_range: analysis.text.range(name),
        children: (!inside.is_empty()).then_some(inside),
    }
}

fn kind(kind: Kind) -> SymbolKind {
    match kind {
        Kind::Fn => SymbolKind::Function,
        Kind::Layer | Kind::Schedule => SymbolKind::Class,
        Kind::Method => SymbolKind::Module,
        Kind::Hyper | Kind::Parameter => SymbolKind::Constant,
        Kind::Net => SymbolKind::Object,
        Kind::Data | Kind::State | Kind::Weight => SymbolKind::Field,
        Kind::Draw => SymbolKind::Event,
        Kind::Step | Kind::Sample => SymbolKind::Method,
        Kind::Loss | Kind::Metric => SymbolKind::Property,
        Kind::Let | Kind::Var | Kind::Loop => SymbolKind::Variable,
    }
}

/// The items of a file that a query fits, with the kind and the span of each name.
pub fn matching(items: &[impl AsRef<Item>], query: &str) -> Vec<(String, SymbolKind, Span)> {
    let of = |item: &Item| {
        let name = item_name(item)?;
        let kind = match &item.kind {
            ItemKind::Let { .. } => SymbolKind::Constant,
            ItemKind::Fn(_) | ItemKind::Extern(_) => SymbolKind::Function,
            ItemKind::Layer(_) | ItemKind::Schedule { .. } => SymbolKind::Class,
            ItemKind::Method { .. } => SymbolKind::Module,
            ItemKind::Use { .. } | ItemKind::Error => return None,
        };
        fits(&name.text, query).then(|| (name.text.clone(), kind, name.span))
    };
    items.iter().filter_map(|item| of(item.as_ref())).collect()
}

/// Whether the query's letters occur in the name in that order.
fn fits(name: &str, query: &str) -> bool {
    let mut letters = name.chars().map(|c| c.to_ascii_lowercase());
    query.chars().map(|c| c.to_ascii_lowercase()).all(|wanted| letters.any(|c| c == wanted))
}
