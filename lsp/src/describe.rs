//! Names and values in words, for hovers and completions.

use crate::analysis::{Analysis, Entity};
use crate::context::{Context, Kind, is_word};
use crate::hints::cut;
use crate::words;
use fgc_compiler::check::builtin;
use fgc_compiler::check::facts::{Known, Members, NETWORK_MEMBERS, Signature};
use fgc_compiler::diagnostic::Place;
use fgc_compiler::module::item_name;
use fgc_compiler::names::{Symbol, SymbolKind, Target};
use fgc_compiler::source::FileId;
use fgc_grammar::Span;
use fgc_grammar::ast::{Body, Item, ItemKind, ParamDecl};

/// Code, and prose below it.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    pub code: String,
    pub doc: String,
}

impl Description {
    pub fn new(code: impl Into<String>, doc: impl Into<String>) -> Description {
        Description { code: code.into(), doc: doc.into() }
    }

    pub fn markdown(&self) -> String {
        let code = format!("```fg\n{}\n```", self.code);
        if self.doc.is_empty() { code } else { format!("{code}\n\n{}", self.doc) }
    }
}

/// Values are shown up to this many characters.
const VALUE: usize = 200;
/// Functions are shown whole up to this many characters and lines: the formula says it best.
const FORMULA: (usize, usize) = (700, 12);

impl Analysis {
    /// What stands at `offset`, and its span.
    pub fn describe(&self, offset: usize) -> Option<(Description, Span)> {
        if let Some((entity, span)) = self.entity_at(offset) {
            return Some((self.describe_entity(&entity, offset)?, span));
        }
        if let Some(found) = self.word(offset) {
            return Some(found);
        }
        if let Some(used) = self.names.use_at(offset) {
            let (name, span) = (used.name.as_str(), used.span);
            return match used.target {
                Target::Builtin => builtin::document(name).map(|(code, doc)| (Description::new(code, doc), span)),
                Target::Axis => Some((Description::new(format!("axis {name}"), self.extent(name)), span)),
                _ => self.member(span).map(|description| (description, span)),
            };
        }
        let (span, known) = self.expression(offset)?;
        Some((Description::new(cut(&known.shown, VALUE), ""), span))
    }

    pub fn describe_entity(&self, entity: &Entity, offset: usize) -> Option<Description> {
        match entity {
            Entity::Local(i) => Some(self.symbol(&self.names.symbols[*i], offset)),
            Entity::Standard { place, name } => {
                let home = self.found.sources.file(place.file);
                match self.item_at(*place) {
                    Some(item) => {
                        let code = header(item, &home.text);
                        let module = home.name.trim_end_matches(".fg").replace('/', ".");
                        Some(Description::new(code, format!("{}\n\n*{module}*", item.doc.trim()).trim_start()))
                    }
                    // A module, or a parameter.
                    None if place.span == Span::default() => {
                        let module = home.name.trim_end_matches(".fg").replace('/', ".");
                        let items = fgc_grammar::parse(&home.text).file.items;
                        let names: Vec<String> =
                            items.iter().filter_map(|i| Some(format!("`{}`", item_name(i)?.text))).collect();
                        let doc = format!("{}\n\n{}", file_doc(&home.text), names.join(", "));
                        Some(Description::new(format!("use {module}"), doc.trim()))
                    }
                    None => {
                        let param = self.parameter(*place)?;
                        Some(Description::new(declaration(param, &home.text), param.doc.clone()))
                    }
                }
                .or_else(|| Some(Description::new(name, "")))
            }
        }
    }

    fn symbol(&self, symbol: &Symbol, offset: usize) -> Description {
        let text = self.text.as_str();
        let known = self.known_symbol(symbol, offset);
        let shown = known.map(|k| cut(&k.shown, VALUE));
        let shown = shown.as_deref();
        let name = &symbol.name;
        let mut doc = symbol.doc.clone();
        let code = match symbol.kind {
            SymbolKind::Method => {
                doc = format!("{}\n\n{doc}", file_doc(text)).trim().to_owned();
                format!("method {name}")
            }
            SymbolKind::Fn | SymbolKind::Layer | SymbolKind::Schedule => {
                let place = self.place(symbol.site_at(offset));
                self.item_at(place).map_or_else(|| name.clone(), |item| header(item, text))
            }
            SymbolKind::Hyper => {
                if let Some(shown) = shown {
                    doc = format!("Value: `{shown}`\n\n{doc}").trim_end().to_owned();
                }
                let param = self.parameter(self.place(symbol.site_at(offset)));
                param.map_or_else(|| name.clone(), |p| declaration(p, text))
            }
            SymbolKind::Parameter => match (shown, self.parameter(self.place(symbol.site_at(offset)))) {
                (Some(shown), _) => format!("{name}: {shown}"),
                (None, Some(param)) => declaration(param, text),
                (None, None) => name.clone(),
            },
            SymbolKind::Loss => {
                if let Some(loss) = self.losses.iter().find(|l| l.name == *name) {
                    let all = |nets: &[String]| if nets.is_empty() { "none".into() } else { nets.join(", ") };
                    let (reaches, trains) = (all(&loss.reaches), all(&loss.trains));
                    doc = format!("Gradient reaches: {reaches}. Trains: {trains}.\n\n{doc}").trim_end().to_owned();
                }
                format!("loss {name}")
            }
            SymbolKind::Metric => format!("metric {name}"),
            SymbolKind::Step => format!("step {name}"),
            SymbolKind::Sample => format!("sample {name}"),
            SymbolKind::Net if shown.is_some() => {
                let shown = shown.unwrap_or_default();
                let prefix = format!("network {name}");
                format!("net {name}{}", shown.strip_prefix(&prefix).unwrap_or(shown))
            }
            kind => {
                let word = match kind {
                    SymbolKind::Var => "var",
                    SymbolKind::Loop => "for",
                    SymbolKind::Data => "data",
                    SymbolKind::Net => "net",
                    SymbolKind::Draw => "draw",
                    SymbolKind::State => "state",
                    SymbolKind::Weight => "param",
                    _ => "let",
                };
                match shown {
                    Some(shown) => format!("{word} {name}: {shown}"),
                    None => format!("{word} {name}"),
                }
            }
        };
        Description::new(code, doc)
    }

    /// The parameter whose name stands at a place.
    pub fn parameter(&self, place: Place) -> Option<&ParamDecl> {
        let here = |p: &&ParamDecl| p.name.span == place.span;
        let of = |item: &'_ Item| -> Option<usize> { params_of(item).iter().position(|p| here(&p)) };
        for module in (0..self.found.modules.len() as u32).map(fgc_compiler::module::ModuleId) {
            let module = self.found.modules.module(module);
            if module.file != place.file {
                continue;
            }
            for item in &module.items {
                if let Some(i) = of(item) {
                    return params_of(item).get(i);
                }
                if let ItemKind::Schedule { members, .. } = &item.kind {
                    for member in members {
                        if let Some(i) = of(member) {
                            return params_of(member).get(i);
                        }
                    }
                }
            }
        }
        None
    }

    /// `name` of `base.name`.
    fn member(&self, span: Span) -> Option<Description> {
        let name = self.text.as_str().get(span.start..span.end)?;
        let file = self.file();
        let whole = self
            .found
            .facts
            .values
            .iter()
            .filter(|(p, _)| p.file == file && p.span.end == span.end && p.span.start < span.start);
        let (_, known) = whole.max_by_key(|(p, _)| p.span.start)?;
        let doc = NETWORK_MEMBERS.iter().find(|(n, _)| *n == name && known.shown.starts_with("view "));
        Some(Description::new(format!("{name}: {}", known.shown), doc.map_or("", |(_, doc)| doc)))
    }

    /// A word of the language: a keyword, a type, what a network learns with and its settings.
    fn word(&self, offset: usize) -> Option<(Description, Span)> {
        let text = self.text.as_str();
        let start = offset - text[..offset].chars().rev().take_while(|&c| is_word(c)).count();
        let name = &text[start..start + text[start..].find(|c| !is_word(c)).unwrap_or(text.len() - start)];
        let context = Context::at_end_of(&text[..start]);
        if name.is_empty() || context.prose {
            return None;
        }
        let line: Vec<&str> = context.line.iter().map(String::as_str).collect();
        let given =
            context.call().filter(|call| matches!(call.callee.as_slice(), [name] if words::attribute(name).is_some()));
        let inside = context.open.last().is_some_and(|b| b.kind == Kind::Paren);
        let (_, written, doc) = match (context.before.as_str(), line.as_slice()) {
            (":" | "->", _) if words::find(&words::TYPES, name).is_some() && line.first() != Some(&"loss") => {
                words::find(&words::TYPES, name)?
            }
            ("(" | ",", ["net", ..]) if text[start + name.len()..].trim_start().starts_with('=') => {
                words::find(words::attribute(&given?.callee[0])?.params, name)?
            }
            (_, ["net", _, "=", _, ..]) if !inside && words::attribute(name).is_some() => {
                let callable = self.callable(&[name.to_owned()], offset)?;
                let span = Span::new(start, start + name.len());
                return Some((Description::new(callable.label, callable.doc), span));
            }
            _ if self.names.use_at(offset).is_some() || self.names.symbol_at(offset).is_some() => return None,
            (_, []) if context.open.is_empty() => words::find(&words::ITEMS, name)?,
            (_, []) => words::find(&words::STATEMENTS, name).or_else(|| words::find(&words::JOINING, name))?,
            _ => words::find(&words::JOINING, name)?,
        };
        Some((Description::new(written, doc), Span::new(start, start + name.len())))
    }

    /// The smallest expression around `offset` that is more than a word or a number.
    fn expression(&self, offset: usize) -> Option<(Span, &Known)> {
        let (file, text) = (self.file(), self.text.as_str());
        let around = self.found.facts.values.iter().filter(|(p, _)| {
            let word = |c: char| c.is_alphanumeric() || "_.\"".contains(c);
            p.file == file
                && p.span.start <= offset
                && offset < p.span.end
                && !text.get(p.span.start..p.span.end).is_none_or(|t| t.chars().all(word))
        });
        around.min_by_key(|(p, _)| p.span.end - p.span.start).map(|(p, known)| (p.span, known))
    }

    /// `C = 2`
    fn extent(&self, axis: &str) -> String {
        let pattern = format!("{axis}=");
        let shown = self.found.facts.values.values().map(|k| &k.shown);
        let extent = shown.filter_map(|s| {
            let inside = &s[s.find('[')? + 1..s.find(']')?];
            inside.split(", ").find_map(|a| a.strip_prefix(&pattern))
        });
        extent.min().map_or(String::new(), |n| format!("{n} elements"))
    }

    /// A signature in a line, with its doc and its parameters in words.
    pub fn signature(&self, signature: &Signature) -> (String, Vec<String>) {
        let home = &self.found.sources.file(signature.file).text;
        let params: Vec<String> = signature.params.iter().map(|p| declaration(p, home)).collect();
        (format!("{}({})", signature.name, params.join(", ")), params)
    }

    pub fn source(&self, file: FileId) -> &str {
        &self.found.sources.file(file).text
    }
}

pub fn params_of(item: &Item) -> &[ParamDecl] {
    match &item.kind {
        ItemKind::Fn(f) | ItemKind::Layer(f) => &f.params,
        ItemKind::Method { params, .. } => params,
        ItemKind::Extern(e) => &e.params,
        _ => &[],
    }
}

/// `name: type = default in range` as written, on one line.
pub fn declaration(param: &ParamDecl, text: &str) -> String {
    let written = text.get(param.name.span.start..param.span.end).unwrap_or(&param.name.text);
    one_line(written)
}

/// A declaration as written, without its body where that is long.
pub fn header(item: &Item, text: &str) -> String {
    let slice = |start: usize, end: usize| text.get(start..end).unwrap_or("");
    let whole = slice(item.span.start, item.span.end);
    let until = |start: usize| slice(item.span.start, start).trim_end().trim_end_matches(['=', '{']).trim_end();
    match &item.kind {
        ItemKind::Let { .. } => one_line(whole),
        ItemKind::Fn(_) if whole.len() <= FORMULA.0 && whole.lines().count() <= FORMULA.1 => whole.to_owned(),
        ItemKind::Fn(f) | ItemKind::Layer(f) => undocumented(until(match &f.body {
            Body::Expr(e) => e.span.start,
            Body::Block(b) => b.span.start,
        })),
        ItemKind::Extern(e) => undocumented(slice(item.span.start, e.file_span.end)),
        ItemKind::Method { name, .. } => format!("method {}", name.text),
        ItemKind::Schedule { name, .. } => format!("schedule {}", name.text),
        ItemKind::Use { .. } | ItemKind::Error => one_line(whole),
    }
}

/// What a file's `//!` lines say.
fn file_doc(text: &str) -> String {
    let lines = text.lines().map_while(|l| l.strip_prefix("//!"));
    lines.map(str::trim).collect::<Vec<_>>().join("\n")
}

fn undocumented(code: &str) -> String {
    code.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn one_line(code: &str) -> String {
    undocumented(code).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What may follow `value.`: names, what they are, and their docs.
pub fn members(known: &Known) -> Vec<(String, String, String)> {
    match &known.members {
        Members::Record(fields) => fields.iter().map(|(n, k)| (n.clone(), k.shown.clone(), String::new())).collect(),
        Members::Network { denoiser: true } => {
            NETWORK_MEMBERS.iter().map(|(n, doc)| (n.to_string(), String::new(), doc.to_string())).collect()
        }
        Members::Schedule(members) => {
            let own = members.iter().map(|(n, doc)| (n.clone(), String::new(), doc.clone()));
            let time = ("time", "A number or tensor as a time of this schedule.");
            let more = [time, ("name", "The schedule's name.")].map(|(n, d)| (n.into(), String::new(), d.into()));
            own.chain(more).collect()
        }
        _ => Vec::new(),
    }
}
