//! Completions: names, members, names of arguments, modules, keywords.

use crate::analysis::Analysis;
use crate::context::Context;
use crate::describe::{Description, members};
use crate::resolve::ATTRIBUTES;
use fgc_compiler::check::builtin;
use fgc_compiler::module::item_name;
use fgc_compiler::names::SymbolKind;
use fgc_compiler::source::{standard_module, standard_modules};
use fgc_grammar::ast::{Item, ItemKind};
use gen_lsp_types::{CompletionItem, CompletionItemKind as Kind, MarkupContent, MarkupKind, Position};

/// Words a statement of a method begins with.
const STATEMENTS: [&str; 12] =
    ["let", "var", "draw", "data", "net", "state", "loss", "metric", "step", "sample", "if", "for"];
/// … of a file.
const ITEMS: [&str; 6] = ["use", "let", "fn", "layer", "schedule", "method"];
/// … of a layer or function.
const INNER: [&str; 7] = ["let", "var", "if", "for", "scan", "return", "param"];
const TYPES: [&str; 14] =
    ["f32", "f64", "i64", "bool", "int", "str", "list", "record", "time", "times", "fn", "network", "schedule", "law"];

pub fn completion(analysis: &Analysis, position: Position) -> Vec<CompletionItem> {
    let offset = analysis.text.offset(position);
    let context = Context::at_end_of(&analysis.text.as_str()[..offset]);
    if context.prose {
        return Vec::new();
    }
    let words: Vec<&str> = context.line.iter().map(String::as_str).collect();
    if let ["use", path @ ..] = words.as_slice() {
        return modules(path);
    }
    if !context.path.is_empty() {
        let known = analysis.known_path(&context.path, offset);
        let found = known.map(|k| members(&k)).unwrap_or_default();
        return found.into_iter().map(|(name, shown, doc)| entry(&name, Kind::Field, &shown, &doc)).collect();
    }
    let mut out = Vec::new();
    match (context.before.as_str(), words.as_slice()) {
        ("->" | "from", ["loss", ..] | ["net", ..]) => return networks(analysis, offset),
        (_, ["loss", .., "->", _, ","]) => return networks(analysis, offset),
        // What a name is declared as.
        (":", [.., _, ":"]) if context.open.last().is_none_or(|b| b.kind != '[') => {
            return TYPES.iter().map(|t| entry(t, Kind::TypeParameter, "", "")).collect();
        }
        (")", ["net", ..]) | ("frozen", ["net", ..]) => {
            out.extend(ATTRIBUTES.iter().map(|(name, _, doc)| entry(name, Kind::Function, "", doc)));
            out.push(entry("frozen", Kind::Keyword, "", "Does not learn; gradients pass through it."));
            out.push(entry("from", Kind::Keyword, "", "Starts from another network's weights."));
            return out;
        }
        (_, []) => out.extend(statements(&context)),
        // A new name.
        ("let" | "var" | "fn" | "layer" | "schedule" | "method" | "param" | "state" | "metric" | "data", _) => {
            return Vec::new();
        }
        _ => {}
    }
    if let Some(call) = context.call()
        && matches!(context.before.as_str(), "(" | ",")
        && let Some(callable) = analysis.callable(&call.callee, offset)
    {
        let given = |name: &String| call.named.contains(name);
        for (name, shown, doc) in callable.params.iter().filter(|(n, ..)| !n.is_empty() && !given(n)) {
            let mut item = entry(name, Kind::Property, shown, doc);
            item.label = format!("{name} =");
            item.insert_text = Some(format!("{name} = "));
            item.filter_text = Some(name.clone());
            item.sort_text = Some(format!("0{name}"));
            out.push(item);
        }
    }
    names(analysis, offset, &mut out);
    out
}

fn networks(analysis: &Analysis, offset: usize) -> Vec<CompletionItem> {
    let visible = analysis.names.visible(offset);
    let nets = visible.into_iter().map(|i| &analysis.names.symbols[i]).filter(|s| s.kind == SymbolKind::Net);
    nets.map(|s| {
        let known = analysis.known_symbol(s, offset).map(|k| k.shown.clone());
        entry(&s.name, Kind::Variable, &known.unwrap_or_default(), &s.doc)
    })
    .collect()
}

fn statements(context: &Context) -> Vec<CompletionItem> {
    let blocks = context.open.iter().filter(|b| b.kind == '{').count();
    let words: Vec<&str> = match blocks {
        0 => ITEMS.to_vec(),
        _ => STATEMENTS.iter().chain(INNER.iter().filter(|w| !STATEMENTS.contains(w))).copied().collect(),
    };
    words.into_iter().map(|w| entry(w, Kind::Keyword, "", "")).collect()
}

/// Every name that can be read at `offset`.
fn names(analysis: &Analysis, offset: usize, out: &mut Vec<CompletionItem>) {
    let mut seen = std::collections::HashSet::new();
    for i in analysis.names.visible(offset) {
        let symbol = &analysis.names.symbols[i];
        if symbol.name.is_empty() || !seen.insert(symbol.name.clone()) {
            continue;
        }
        let kind = match symbol.kind {
            SymbolKind::Fn | SymbolKind::Layer => Kind::Function,
            SymbolKind::Schedule => Kind::Class,
            SymbolKind::Hyper | SymbolKind::Parameter => Kind::Constant,
            _ => Kind::Variable,
        };
        let known = analysis.known_symbol(symbol, offset).map(|k| k.shown.clone()).unwrap_or_default();
        let mut item = entry(&symbol.name, kind, &known, &symbol.doc);
        item.sort_text = Some(format!("1{}", symbol.name));
        out.push(item);
    }
    // Where the text is too broken to say what is in scope: what was, when it was whole.
    if seen.is_empty() {
        for (name, known) in analysis.remembered_names() {
            seen.insert(name.to_owned());
            out.push(entry(name, Kind::Variable, &known.shown, ""));
        }
    }
    for name in analysis.found.modules.names(analysis.found.user) {
        let Some((module, item)) = analysis.found.modules.item(analysis.found.user, name) else { continue };
        if !seen.insert(name.to_owned()) {
            continue;
        }
        let module = analysis.found.modules.module(module);
        let mut item = of_item(&module.items[item], analysis.source(module.file));
        item.sort_text = Some(format!("2{name}"));
        out.push(item);
    }
    for name in builtin::names().filter(|n| seen.insert(n.to_string())) {
        let (code, doc) = builtin::document(name).unwrap_or_default();
        let mut item = entry(name, Kind::Function, code, doc);
        item.sort_text = Some(format!("3{name}"));
        out.push(item);
    }
    for word in ["if", "then", "else", "none", "true", "false", "not", "and", "or", "over", "fn"] {
        let mut item = entry(word, Kind::Keyword, "", "");
        item.sort_text = Some(format!("4{word}"));
        out.push(item);
    }
}

fn of_item(item: &Item, text: &str) -> CompletionItem {
    let kind = match &item.kind {
        ItemKind::Schedule { .. } => Kind::Class,
        ItemKind::Let { .. } => Kind::Constant,
        _ => Kind::Function,
    };
    let name = item_name(item).map_or("", |n| n.text.as_str());
    entry(name, kind, &crate::describe::header(item, text), &item.doc)
}

/// After `use`: modules, and what they define.
fn modules(path: &[&str]) -> Vec<CompletionItem> {
    let inside = path.iter().position(|p| *p == "{");
    let path: Vec<&str> = path[..inside.unwrap_or(path.len())].iter().copied().filter(|p| *p != ".").collect();
    let prefix = path.join(".");
    if path.is_empty() {
        return vec![entry("std", Kind::Module, "", "The standard library.")];
    }
    let mut out = Vec::new();
    if inside.is_none() {
        let mut segments: Vec<String> = standard_modules()
            .iter()
            .filter_map(|m| {
                m.strip_prefix(&format!("{prefix}.")).map(|rest| rest.split('.').next().unwrap_or(rest).to_owned())
            })
            .collect();
        segments.dedup();
        out.extend(segments.iter().map(|s| entry(s, Kind::Module, "", "")));
    }
    let home: Vec<&str> = path.iter().skip(1).copied().collect();
    if let Some(text) = standard_module(&home).filter(|_| path[0] == "std") {
        let items = fgc_grammar::parse(text).file.items;
        out.extend(items.iter().filter(|i| item_name(i).is_some()).map(|i| of_item(i, text)));
    }
    out
}

fn entry(name: &str, kind: Kind, shown: &str, doc: &str) -> CompletionItem {
    let one_line = shown.lines().next().unwrap_or("");
    let documentation = match (shown.contains('\n') || shown.contains('('), doc.is_empty()) {
        (true, _) => Some(Description::new(shown, doc).markdown()),
        (false, false) => Some(doc.to_owned()),
        (false, true) => None,
    };
    CompletionItem {
        label: name.into(),
        kind: Some(kind),
        detail: (!one_line.is_empty()).then(|| one_line.to_owned()),
        documentation: documentation.map(|value| MarkupContent { kind: MarkupKind::Markdown, value }.into()),
        ..Default::default()
    }
}
