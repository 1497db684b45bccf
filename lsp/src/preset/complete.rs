//! Completions in presets.

use super::{FIELDS, INIT, NETWORK, OVERRIDE, Outline, Presets, layers, name_of, nets};
use crate::context::Context;
use crate::describe::{declaration, header, params_of};
use crate::text::Text;
use fgc_grammar::ast::RangeDecl;
use gen_lsp_types::{CompletionItem, CompletionItemKind as Kind, MarkupContent, MarkupKind, Position};
use std::path::Path;

pub fn completion(presets: &Presets, path: &Path, text: &Text, position: Position) -> Vec<CompletionItem> {
    let before = &text.as_str()[..text.offset(position)];
    let here = Outline::of(before);
    let keys: Vec<&str> = here.open.iter().map(String::as_str).collect();
    let quoted = here.string.is_some();
    if let Some(key) = &here.key {
        return values(presets, path, &keys, key, here.string.as_deref());
    }
    let of = |fields: &[(&str, &str)]| fields.iter().map(|(n, doc)| entry(n, Kind::Field, "", doc, false)).collect();
    match keys.as_slice() {
        [] => of(&FIELDS),
        ["nets", _] | ["methods", _, "nets", _] => of(&NETWORK),
        ["methods", _] => {
            let fields: Vec<_> = FIELDS.into_iter().filter(|(n, _)| OVERRIDE.contains(n)).chain([INIT]).collect();
            of(&fields)
        }
        ["methods"] => {
            let doc = |name: &str| presets.method(path, name).map_or(String::new(), |m| m.doc);
            presets.methods.iter().map(|name| entry(name, Kind::Module, "", &doc(name), !quoted)).collect()
        }
        ["nets"] | ["methods", _, "nets" | "init"] => {
            let mut names = vec!["denoiser".to_owned(), "critic".to_owned()];
            names.retain(|_| keys.last() == Some(&"nets"));
            let methods: Vec<&str> = match keys.as_slice() {
                ["methods", method, _] => vec![method],
                _ => presets.methods.iter().map(String::as_str).collect(),
            };
            for text in methods.iter().filter_map(|m| (presets.method)(path, m)) {
                names.extend(nets(&text));
            }
            names.sort();
            names.dedup();
            names.iter().map(|name| entry(name, Kind::Field, "", "", !quoted)).collect()
        }
        ["set"] | ["methods", _, "set"] => hyper_parameters(presets, path, &keys, !quoted),
        _ => Vec::new(),
    }
}

fn hyper_parameters(presets: &Presets, path: &Path, keys: &[&str], quote: bool) -> Vec<CompletionItem> {
    let methods: Vec<&str> = match keys {
        ["methods", method, ..] => vec![method],
        _ => presets.methods.iter().map(String::as_str).collect(),
    };
    let mut out: Vec<CompletionItem> = Vec::new();
    for method in methods.iter().filter_map(|m| presets.method(path, m)) {
        for param in &method.params {
            if !out.iter().any(|i| i.label == param.name.text) {
                let shown = declaration(param, &method.text);
                out.push(entry(&param.name.text, Kind::Property, &shown, &param.doc, quote));
            }
        }
    }
    out
}

/// What may stand as the value of `key`. `string`: what is written of it, if it is in quotes.
fn values(presets: &Presets, path: &Path, keys: &[&str], key: &str, string: Option<&str>) -> Vec<CompletionItem> {
    let words = |words: &[&str]| words.iter().map(|w| entry(w, Kind::EnumMember, "", "", string.is_none())).collect();
    match (keys, key) {
        (_, "schedule") if keys.first() != Some(&"data") => words(&["edm", "rf", "trig", "vp"]),
        (_, "predicts") => words(&["x0", "eps", "v", "flow"]),
        (_, "precondition") => words(&["edm", "none"]),
        (_, "network") => {
            let context = Context::at_end_of(string.unwrap_or(""));
            let layers = layers();
            if let Some(call) = context.call() {
                let Some((item, text)) = layers.iter().find(|(i, _)| call.callee == [name_of(i)]) else {
                    return Vec::new();
                };
                let free = params_of(item).iter().filter(|p| !call.named.contains(&p.name.text));
                let free = free.filter(|p| !["x", "t", "c", "r", "features"].contains(&p.name.text.as_str()));
                let item = |p: &fgc_grammar::ast::ParamDecl| CompletionItem {
                    insert_text: Some(format!("{} = ", p.name.text)),
                    ..entry(&p.name.text, Kind::Property, &declaration(p, text), &p.doc, false)
                };
                return free.map(item).collect();
            }
            layers
                .iter()
                .map(|(i, text)| entry(name_of(i), Kind::Class, &header(i, text), &i.doc, string.is_none()))
                .collect()
        }
        (["methods", _, "init"], _) => {
            presets.methods.iter().map(|m| entry(m, Kind::Module, "", "", string.is_none())).collect()
        }
        (["methods", method, "set"], name) => {
            let Some(method) = presets.method(path, method) else { return Vec::new() };
            let Some(param) = method.params.iter().find(|p| p.name.text == *name) else { return Vec::new() };
            let written =
                |e: &fgc_grammar::ast::Expr| method.text.get(e.span.start..e.span.end).unwrap_or("").to_owned();
            let mut found: Vec<String> = param.default.iter().map(written).collect();
            if let Some(RangeDecl::OneOf(options)) = &param.range {
                found.extend(options.iter().map(written));
            }
            // Strings need no quotes of their own there.
            let plain = found.iter().map(|w| w.trim_matches('"').to_owned());
            plain.map(|w| entry(&w, Kind::Value, "", "", string.is_none())).collect()
        }
        _ => Vec::new(),
    }
}

fn entry(name: &str, kind: Kind, shown: &str, doc: &str, quote: bool) -> CompletionItem {
    let markdown = |value: &str| MarkupContent { kind: MarkupKind::Markdown, value: value.to_owned() };
    CompletionItem {
        label: name.into(),
        kind: Some(kind),
        detail: shown.lines().next().map(String::from),
        documentation: (!doc.is_empty()).then(|| markdown(doc).into()),
        insert_text: quote.then(|| format!("\"{name}\"")),
        ..Default::default()
    }
}
