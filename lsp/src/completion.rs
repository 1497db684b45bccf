//! Completions: names, members, names of arguments, modules, keywords.

use crate::analysis::Analysis;
use crate::context::{Context, Kind as Bracket};
use crate::describe::{Description, members};
use crate::words::{self, Word};
use fgc_compiler::check::builtin;
use fgc_compiler::module::item_name;
use fgc_compiler::names::{SymbolKind, Target};
use fgc_compiler::source::{standard_module, standard_modules};
use fgc_grammar::ast::{Item, ItemKind};
use gen_lsp_types::{CompletionItem, CompletionItemKind as Kind, MarkupContent, MarkupKind, Position};
use std::collections::HashSet;

/// Statements of layers and functions; of methods all but `scan`, `return` and `param`.
const INNER: [&str; 6] = ["let", "var", "if", "for", "scan", "return"];
const NO_METHOD: [&str; 3] = ["scan", "return", "param"];
/// What may begin or join values.
const IN_VALUES: [&str; 9] = ["if", "then", "else", "none", "true", "false", "not", "and", "or"];

pub fn completion(analysis: &Analysis, position: Position) -> Vec<CompletionItem> {
    let offset = analysis.text.offset(position);
    let context = Context::at_end_of(&analysis.text.as_str()[..offset]);
    if context.prose || context.prefix.starts_with(|c: char| c.is_ascii_digit()) {
        return Vec::new();
    }
    let line: Vec<&str> = context.line.iter().map(String::as_str).collect();
    if let ["use", path @ ..] = line.as_slice() {
        return modules(path);
    }
    if !context.path.is_empty() {
        let known = match context.path.as_slice() {
            // The base is no name.
            [base] if base.is_empty() => analysis.value_before_dot(&context, offset),
            path => analysis.known_path(path, offset),
        };
        let found = known.map(|k| members(&k)).unwrap_or_default();
        return found.into_iter().map(|(name, shown, doc)| entry(&name, Kind::Field, &shown, &doc)).collect();
    }
    let bracket = context.open.last();
    let inside = bracket.map(|b| b.kind);
    let mut out = Vec::new();
    match (context.before.as_str(), line.as_slice()) {
        // Not begun yet.
        (_, []) => {
            let words = statements(&context);
            out.extend(words.into_iter().map(|w| word(w, Kind::Keyword)));
            if context.item() == Some("schedule") || context.open.is_empty() {
                return out;
            }
        }
        ("[" | ",", _) if inside == Some(Bracket::Axes) => return axes(analysis),
        ("," | "over" | "not", _) if bracket.is_some_and(|b| b.over) => {
            out.extend(axes(analysis));
            if context.before == "over" {
                out.extend(words::find(&words::JOINING, "not").map(|w| word(w, Kind::Keyword)));
            }
            return out;
        }
        ("->" | "from", ["loss" | "net", ..]) => return networks(analysis, offset),
        (",", ["loss", rest @ ..]) if inside != Some(Bracket::Paren) && rest.contains(&"->") => {
            return networks(analysis, offset);
        }
        // What a name is declared as.
        (":" | "->", _) if inside != Some(Bracket::Record) => {
            return words::TYPES.into_iter().map(|w| word(w, Kind::TypeParameter)).collect();
        }
        // A new name.
        ("(" | ",", _) if inside == Some(Bracket::Params) => return Vec::new(),
        (",", ["data" | "draw" | "metric", ..]) if inside == Some(Bracket::Block) => return Vec::new(),
        (
            "let" | "var" | "fn" | "layer" | "schedule" | "method" | "param" | "state" | "metric" | "data" | "draw"
            | "net" | "loss" | "for" | "scan",
            [_] | ["for" | "scan", ..],
        ) => return Vec::new(),
        ("step", ["step"]) => return joining(&["every", "otherwise"]),
        ("~", ["draw", ..]) => {}
        _ if context.after_value() => return after_value(&context, &line),
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
    if matches!(line.as_slice(), ["net", _, "="]) {
        for item in out.iter_mut().filter(|i| matches!(i.label.as_str(), "denoiser" | "critic")) {
            item.sort_text = Some(format!("0{}", item.label));
        }
    }
    out
}

/// Where a value has ended: what may join it to another, or follow it in its statement.
fn after_value(context: &Context, line: &[&str]) -> Vec<CompletionItem> {
    if let Some(Bracket::Paren | Bracket::Square | Bracket::Record) = context.open.last().map(|b| b.kind) {
        let call = context.open.last().is_some_and(|b| !b.callee.is_empty() && !b.over);
        return joining(if call { &["over", "and", "or", "then", "else"] } else { &["and", "or", "then", "else"] });
    }
    match line {
        ["net", ..] => {
            let attribute = |a: &words::Attribute| {
                let shown: Vec<&str> = a.params.iter().map(|(_, shown, _)| *shown).collect();
                entry(a.name, Kind::Function, &format!("{}({})", a.name, shown.join(", ")), a.doc)
            };
            words::ATTRIBUTES.iter().map(attribute).chain(joining(&["frozen", "from"])).collect()
        }
        ["loss", ..] => joining(&["weight", "and", "or", "then", "else"]),
        ["step", rest @ ..] if !rest.contains(&"every") => joining(&["every", "otherwise"]),
        ["for", rest @ ..] if !rest.contains(&"in") => joining(&["in"]),
        ["scan", rest @ ..] => joining(if rest.contains(&"in") { &["carry"] } else { &["in"] }),
        _ if context.open.last().is_some_and(|b| b.kind == Bracket::Params) => {
            joining(&["in", "and", "or", "then", "else"])
        }
        _ => joining(&["and", "or", "then", "else"]),
    }
}

fn joining(names: &[&str]) -> Vec<CompletionItem> {
    names.iter().filter_map(|n| words::find(&words::JOINING, n)).map(|w| word(w, Kind::Keyword)).collect()
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

/// The data's axes, and those the file names.
fn axes(analysis: &Analysis) -> Vec<CompletionItem> {
    let used = analysis.names.uses.iter().filter(|u| u.target == Target::Axis).map(|u| u.name.as_str());
    let fields = analysis.setup.fields.values().flat_map(|f| f.axes.iter().map(String::as_str));
    let mut seen = HashSet::new();
    let names = std::iter::once("B").chain(fields).chain(used).filter(|n| seen.insert(*n));
    names
        .map(|n| {
            let extent = analysis.setup.extent(n).map_or(String::new(), |n| format!("{n} elements"));
            entry(n, Kind::EnumMember, "", &extent)
        })
        .collect()
}

fn statements(context: &Context) -> Vec<Word> {
    let named = |names: &[&str]| names.iter().filter_map(|n| words::find(&words::STATEMENTS, n)).collect();
    match context.item() {
        _ if context.open.is_empty() => words::ITEMS.to_vec(),
        Some("schedule") => words::ITEMS.into_iter().filter(|(w, ..)| matches!(*w, "let" | "fn")).collect(),
        Some("extern") => Vec::new(),
        Some("fn") => named(&INNER),
        Some("layer") => words::find(&words::STATEMENTS, "param").into_iter().chain(named(&INNER)).collect(),
        _ => words::STATEMENTS.into_iter().filter(|(w, ..)| !NO_METHOD.contains(w)).collect(),
    }
}

fn word((name, written, doc): Word, kind: Kind) -> CompletionItem {
    let mut item = entry(name, kind, written, doc);
    item.documentation = Some(MarkupContent { kind: MarkupKind::Markdown, value: doc.to_owned() }.into());
    item
}

/// Every name that can be read at `offset`.
fn names(analysis: &Analysis, offset: usize, out: &mut Vec<CompletionItem>) {
    let mut seen = HashSet::new();
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
    for mut item in joining(&IN_VALUES).into_iter().chain(joining(&["fn"])) {
        item.sort_text = Some(format!("4{}", item.label));
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
    let given = path[inside.unwrap_or(path.len())..].to_vec();
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
        let new = |i: &&Item| item_name(i).is_some_and(|n| !given.contains(&n.text.as_str()));
        out.extend(items.iter().filter(new).map(|i| of_item(i, text)));
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
