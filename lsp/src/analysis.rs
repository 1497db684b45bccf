//! What is known of one `.fg` file.

use crate::context::{Context, value_start};
use crate::text::Text;
use fgc_compiler::check::facts::{Known, LossFact};
use fgc_compiler::check::{Inspection, inspect};
use fgc_compiler::diagnostic::{Diagnostic, Place};
use fgc_compiler::module::{Module, ModuleId};
use fgc_compiler::names::{Names, Symbol, Target};
use fgc_compiler::preset::Setup;
use fgc_compiler::source::FileId;
use fgc_grammar::Span;
use fgc_grammar::ast::{Item, ItemKind};
use rustc_hash::FxHashMap;
use std::cell::OnceCell;
use std::rc::Rc;

/// One version of a file, analysed.
#[derive(Debug)]
pub struct Analysis {
    pub text: Text,
    pub found: Inspection,
    pub names: Names,
    /// Why there is no preset to check the method on.
    pub no_setup: Option<String>,
    /// Part of the standard library: functions for others, and no method.
    pub library: bool,
    /// What it is checked on.
    pub setup: Rc<Setup>,
    /// What names were last known to be, kept while the text around them is broken.
    remembered: FxHashMap<String, Known>,
    /// As `remembered`: the losses of the last version that checked.
    pub losses: Vec<LossFact>,
    /// Names of the other modules, as far as asked for.
    others: OnceCell<Vec<(ModuleId, Names)>>,
}

/// What takes longer than a person waits is a mistake while it is typed: as many evaluations take a second or two.
pub fn limited(setup: Setup) -> Rc<Setup> {
    Rc::new(Setup { evaluations: Some(4_000_000), ..setup })
}

/// Something that can be jumped to, found everywhere, renamed.
#[derive(Clone, Debug, PartialEq)]
pub enum Entity {
    /// Of this file.
    Local(usize),
    /// Something of a standard module: where its name is.
    Standard { place: Place, name: String },
}

impl Analysis {
    /// Analyses `text`, the file `name`. `before`: an earlier version.
    pub fn new(
        name: &str,
        text: Text,
        setup: Result<Rc<Setup>, String>,
        library: bool,
        before: Option<&Analysis>,
    ) -> Analysis {
        let (setup, no_setup) = match setup {
            Ok(setup) => (setup, None),
            Err(message) => (limited(Setup::default()), Some(message)),
        };
        let found = inspect(name, text.as_str(), &setup);
        let names = Names::of(found.user, &found.modules, &found.sources);
        let mut remembered = before.map(|b| b.remembered.clone()).unwrap_or_default();
        let file = found.modules.module(found.user).file;
        for symbol in &names.symbols {
            for &span in &symbol.sites {
                if let Some(known) = found.facts.values.get(&Place { file, span }) {
                    remembered.insert(symbol.name.clone(), known.clone());
                }
            }
        }
        let losses = match &found.facts.losses {
            none if none.is_empty() => before.map(|b| b.losses.clone()).unwrap_or_default(),
            losses => losses.clone(),
        };
        Analysis { text, found, names, no_setup, library, setup, remembered, losses, others: OnceCell::new() }
    }

    pub fn module(&self) -> &Module {
        self.found.modules.module(self.found.user)
    }

    pub fn file(&self) -> FileId {
        self.module().file
    }

    pub fn place(&self, span: Span) -> Place {
        Place { file: self.file(), span }
    }

    /// What is wrong with the file, as far as it is its own fault.
    pub fn diagnostics(&self) -> impl Iterator<Item = &Diagnostic> {
        self.found.diagnostics.iter().filter(|d| match d.code {
            "FG0613" if self.library => false,
            // Without a preset nothing but syntax and modules can be checked.
            code => self.no_setup.is_none() || code < "FG0104",
        })
    }

    /// The value of the expression or the binding at `span`.
    pub fn known(&self, span: Span) -> Option<&Known> {
        self.found.facts.values.get(&self.place(span))
    }

    /// What a symbol was bound to, at the binding that holds at `offset` or at any.
    pub fn known_symbol(&self, symbol: &Symbol, offset: usize) -> Option<&Known> {
        let at = self.known(symbol.site_at(offset));
        at.or_else(|| symbol.sites.iter().find_map(|&s| self.known(s))).or_else(|| self.remembered.get(&symbol.name))
    }

    /// The value that `context`, which holds at `offset`, has before its dot: the statement so far gives way to one that
    /// binds it.
    pub fn value_before_dot(&self, context: &Context, offset: usize) -> Option<Known> {
        context.item()?;
        let text = self.text.as_str();
        let dot = offset - context.prefix.len() - 1;
        let value = &text[..dot][value_start(&text[..dot])..];
        let rest = text[offset..].find('\n').map_or("", |i| &text[offset + i..]);
        let before = &text[..context.start];
        let name = &self.found.sources.file(self.found.modules.module(self.found.user).file).name;
        let found = inspect(name, &format!("{before}let it = {value}{rest}"), &self.setup);
        let bound = Span::new(before.len() + "let ".len(), before.len() + "let it".len());
        found.facts.values.get(&Place { file: found.modules.module(found.user).file, span: bound }).cloned()
    }

    /// What a name was last known to be.
    pub fn remembered(&self, name: &str) -> Option<&Known> {
        self.remembered.get(name)
    }

    pub fn all_remembered(&self) -> impl Iterator<Item = &Known> {
        self.remembered.values()
    }

    /// Names with what they were last known to be, sorted.
    pub fn remembered_names(&self) -> Vec<(&str, &Known)> {
        let mut all: Vec<_> = self.remembered.iter().map(|(name, known)| (name.as_str(), known)).collect();
        all.sort_by_key(|(name, _)| *name);
        all
    }

    /// What the name or member at `offset` is, and where it stands.
    pub fn entity_at(&self, offset: usize) -> Option<(Entity, Span)> {
        if let Some(used) = self.names.use_at(offset) {
            let entity = match &used.target {
                Target::Symbol(i) => Some(Entity::Local(*i)),
                Target::Builtin | Target::Axis => None,
                Target::Unknown => self.standard_target(used.span),
                target => self
                    .names
                    .place(target, offset, self.found.user, &self.found.modules)
                    .map(|place| Entity::Standard { place, name: used.name.clone() }),
            };
            return Some((entity?, used.span));
        }
        let symbol = self.names.symbol_at(offset)?;
        let sites = &self.names.symbols[symbol].sites;
        let span = sites.iter().copied().find(|s| s.start <= offset && offset <= s.end)?;
        Some((Entity::Local(symbol), span))
    }

    /// What only checking knows a use to be: a member of a schedule, a parameter of a value that is called.
    fn standard_target(&self, span: Span) -> Option<Entity> {
        let place = *self.found.facts.targets.get(&self.place(span))?;
        let name = self.text.as_str().get(span.start..span.end)?.to_owned();
        if place.file == self.file() {
            return self.names.symbol_at(place.span.start).map(Entity::Local);
        }
        Some(Entity::Standard { place, name })
    }

    /// Where an entity is defined; of local ones, the binding that holds at `offset`.
    pub fn definition(&self, entity: &Entity, offset: usize) -> Place {
        match entity {
            Entity::Local(i) => self.place(self.names.symbols[*i].site_at(offset)),
            Entity::Standard { place, .. } => *place,
        }
    }

    /// The item, or member of a schedule, whose name stands at a place.
    pub fn item_at(&self, place: Place) -> Option<&Item> {
        let module = self.modules().find(|&m| self.found.modules.module(m).file == place.file)?;
        let items = &self.found.modules.module(module).items;
        let named = |item: &Item| fgc_compiler::module::item_name(item).is_some_and(|n| n.span == place.span);
        let member = |item: &'_ std::rc::Rc<Item>| match &item.kind {
            ItemKind::Schedule { members, .. } => members.iter().position(named),
            _ => None,
        };
        if let Some(item) = items.iter().find(|i| named(i)) {
            return Some(item);
        }
        items.iter().find_map(|item| match (&item.kind, member(item)) {
            (ItemKind::Schedule { members, .. }, Some(i)) => members.get(i),
            _ => None,
        })
    }

    fn modules(&self) -> impl Iterator<Item = ModuleId> + '_ {
        (0..self.found.modules.len() as u32).map(ModuleId)
    }

    /// Names of the standard modules that are loaded.
    pub fn others(&self) -> &[(ModuleId, Names)] {
        let names = |m: ModuleId| (m, Names::of(m, &self.found.modules, &self.found.sources));
        self.others.get_or_init(|| self.modules().filter(|&m| m != self.found.user).map(names).collect())
    }
}
