//! Names that stand in text the tree does not cover, looked up where they would be.

use crate::analysis::{Analysis, Entity};
use crate::describe::{declaration, params_of};
use crate::words;
use fgc_compiler::check::builtin;
use fgc_compiler::check::facts::{Known, Members};
use fgc_compiler::module::item_name;
use fgc_compiler::names::SymbolKind;
use fgc_grammar::ast::{Item, ItemKind};
use std::rc::Rc;

/// Something that can be called.
#[derive(Clone, Debug, PartialEq)]
pub struct Callable {
    pub label: String,
    pub doc: String,
    /// Name, declaration and doc of each parameter.
    pub params: Vec<(String, String, String)>,
}

impl Analysis {
    /// The value that names joined by dots have at `offset`.
    pub fn known_path(&self, path: &[String], offset: usize) -> Option<Known> {
        let (first, rest) = path.split_first()?;
        let mut known = self.known_name(first, offset)?;
        for name in rest {
            known = match &known.members {
                Members::Record(fields) => fields.get(name)?.clone(),
                Members::Network { denoiser: true } => self.network_member(name)?,
                _ => return None,
            };
        }
        Some(known)
    }

    fn known_name(&self, name: &str, offset: usize) -> Option<Known> {
        if let Some(symbol) = self.visible(name, offset) {
            let symbol = &self.names.symbols[symbol];
            if let Some(known) = self.known_symbol(symbol, offset) {
                return Some(known.clone());
            }
            let place = self.place(symbol.site_at(offset));
            return self.item_at(place).and_then(schedule);
        }
        match self.found.modules.item(self.found.user, name) {
            Some((module, item)) => schedule(&self.found.modules.module(module).items[item]),
            None => self.remembered(name).cloned(),
        }
    }

    /// A member of some denoiser: what another use of it was.
    fn network_member(&self, name: &str) -> Option<Known> {
        match name {
            "schedule" => {
                let values = self.found.facts.values.values().chain(self.all_remembered());
                values.into_iter().find(|k| matches!(k.members, Members::Schedule(_))).cloned()
            }
            "predicts" => None,
            view => Some(Known { shown: format!("view {view}"), members: Members::View }),
        }
    }

    /// The innermost symbol of a name.
    pub fn visible(&self, name: &str, offset: usize) -> Option<usize> {
        self.names.visible(offset).into_iter().find(|&i| self.names.symbols[i].name == name)
    }

    /// What names joined by dots call at `offset`.
    pub fn callable(&self, path: &[String], offset: usize) -> Option<Callable> {
        if let [name] = path {
            if let Some(symbol) = self.visible(name, offset) {
                let symbol = &self.names.symbols[symbol];
                if matches!(symbol.kind, SymbolKind::Fn | SymbolKind::Layer) {
                    let place = self.place(symbol.site_at(offset));
                    return self.item_at(place).map(|item| self.callable_item(item, self.text.as_str()));
                }
            } else if let Some((module, item)) = self.found.modules.item(self.found.user, name) {
                let module = self.found.modules.module(module);
                return Some(self.callable_item(&module.items[item], self.source(module.file)));
            } else if let Some((label, doc)) = builtin::document(name) {
                return Some(built_in(label, doc));
            }
            if let Some(attribute) = attribute(name) {
                return Some(attribute);
            }
        }
        if let [base @ .., name] = path
            && let Some(member) = self.schedule_function(base, name, offset)
        {
            return Some(member);
        }
        let known = self.known_path(path, offset)?;
        match &known.members {
            Members::Function(f) => {
                if let Some((label, doc)) = f.text {
                    return Some(built_in(label, doc));
                }
                let (label, shown) = self.signature(f);
                let params = f.params.iter().zip(shown);
                let params = params.map(|(p, shown)| (p.name.text.clone(), shown, p.doc.clone())).collect();
                Some(Callable { label, doc: String::new(), params })
            }
            Members::Network { denoiser: true } | Members::View => {
                let name = path.join(".");
                let params = [
                    ("x", "Noisy samples."),
                    ("t", "Their times, on the network's clock."),
                    ("c", "The condition; none asks without one."),
                    ("r", "The time to go to, for networks that take one."),
                ];
                let params = params.map(|(n, doc)| (n.to_owned(), n.to_owned(), doc.to_owned()));
                Some(Callable { label: format!("{name}(x, t, c, r)"), doc: known.shown, params: params.to_vec() })
            }
            _ => None,
        }
    }

    /// A function that is a schedule's member, with its doc.
    fn schedule_function(&self, base: &[String], name: &str, offset: usize) -> Option<Callable> {
        let schedule_name = match base {
            [] => return None,
            [one] if self.visible(one, offset).is_none() => one.clone(),
            path => self.known_path(path, offset)?.shown.strip_prefix("schedule ")?.to_owned(),
        };
        let modules = (0..self.found.modules.len() as u32).map(fgc_compiler::module::ModuleId);
        for module in modules.map(|m| self.found.modules.module(m)) {
            for item in &module.items {
                if let ItemKind::Schedule { name: of, members } = &item.kind
                    && of.text == schedule_name
                {
                    let found = members.iter().find(|m| item_name(m).is_some_and(|n| n.text == name))?;
                    return matches!(found.kind, ItemKind::Fn(_))
                        .then(|| self.callable_item(found, self.source(module.file)));
                }
            }
        }
        None
    }

    fn callable_item(&self, item: &Item, text: &str) -> Callable {
        let params: Vec<(String, String, String)> =
            params_of(item).iter().map(|p| (p.name.text.clone(), declaration(p, text), p.doc.clone())).collect();
        let shown: Vec<&str> = params.iter().map(|(_, shown, _)| shown.as_str()).collect();
        let name = item_name(item).map_or("", |n| n.text.as_str());
        Callable { label: format!("{name}({})", shown.join(", ")), doc: item.doc.clone(), params }
    }

    /// The item that an entity is, for its parameters.
    pub fn item_of(&self, entity: &Entity, offset: usize) -> Option<&Item> {
        self.item_at(self.definition(entity, offset))
    }
}

/// A built-in function, its parameters as its signature has them.
fn built_in(label: &str, doc: &str) -> Callable {
    let inside = label.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')).map_or("", |(inside, _)| inside);
    let mut params = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (i, c) in inside.char_indices().chain([(inside.len(), ',')]) {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                let shown = inside[start..i].trim();
                if !shown.is_empty() {
                    params.push((String::new(), shown.to_owned(), String::new()));
                }
                start = i + 1;
            }
            _ => {}
        }
    }
    Callable { label: label.into(), doc: doc.into(), params }
}

/// What may follow a network, called.
fn attribute(name: &str) -> Option<Callable> {
    let attribute = words::attribute(name)?;
    let params: Vec<_> =
        attribute.params.iter().map(|(n, shown, doc)| (n.to_string(), shown.to_string(), doc.to_string())).collect();
    let shown: Vec<&str> = params.iter().map(|(_, shown, _)| shown.as_str()).collect();
    Some(Callable { label: format!("{name}({})", shown.join(", ")), doc: attribute.doc.to_owned(), params })
}

/// A schedule as a value.
fn schedule(item: &Item) -> Option<Known> {
    let ItemKind::Schedule { name, members } = &item.kind else { return None };
    let named = members.iter().filter_map(|m| Some((item_name(m)?.text.clone(), m.doc.clone())));
    let members = Members::Schedule(Rc::new(named.collect()));
    Some(Known { shown: format!("schedule {}", name.text), members })
}
