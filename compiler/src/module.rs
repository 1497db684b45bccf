//! Modules: files by path, their items by name, what `use` brings in.

use crate::diagnostic::{Diagnostic, Fix, Place, nearest};
use crate::source::{FileId, SourceFile, Sources, standard_module, standard_modules};
use fgc_grammar::SyntaxError;
use fgc_grammar::ast::{Item, ItemKind, Name};
use indexmap::IndexMap;
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::rc::Rc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleId(pub u32);

/// One parsed file.
#[derive(Debug)]
pub struct Module {
    /// `std.loss`, or the user's file.
    pub path: String,
    pub file: FileId,
    pub items: Vec<Rc<Item>>,
    /// Index into `items`.
    own: IndexMap<String, usize>,
    imported: IndexMap<String, Import>,
}

#[derive(Clone, Debug)]
enum Import {
    Item { module: ModuleId, item: usize },
}

/// A found definition.
#[derive(Clone, Debug)]
pub struct Definition {
    pub module: ModuleId,
    pub item: Rc<Item>,
}

/// All modules of a compilation.
#[derive(Debug, Default)]
pub struct Modules {
    modules: Vec<Module>,
    by_path: IndexMap<String, ModuleId>,
    prelude: Option<ModuleId>,
}

const PRELUDE: &str = "std.prelude";

impl Modules {
    /// Loads the user's file `text`, all that it uses, and the prelude.
    pub fn load_user(
        &mut self,
        sources: &mut Sources,
        name: &str,
        text: &str,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> ModuleId {
        self.prelude = self.load_standard(sources, PRELUDE, diagnostics);
        let file = sources.add(name, text, false);
        self.load(sources, name, file, diagnostics)
    }

    /// Loads `std.…`; None if there is no such module.
    pub fn load_standard(
        &mut self,
        sources: &mut Sources,
        path: &str,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<ModuleId> {
        if let Some(&id) = self.by_path.get(path) {
            return Some(id);
        }
        let parts: Vec<&str> = path.strip_prefix("std.")?.split('.').collect();
        let text = standard_module(&parts)?;
        let file = sources.add(&format!("std/{}.fg", parts.join("/")), text, true);
        Some(self.load(sources, path, file, diagnostics))
    }

    fn load(&mut self, sources: &mut Sources, path: &str, file: FileId, diagnostics: &mut Vec<Diagnostic>) -> ModuleId {
        let items = parse(sources.file(file), file, diagnostics);
        let id = ModuleId(self.modules.len() as u32);
        self.modules.push(Module {
            path: path.into(),
            file,
            items: items.clone(),
            own: IndexMap::new(),
            imported: IndexMap::new(),
        });
        self.by_path.insert(path.into(), id);
        for (index, item) in items.iter().enumerate() {
            if let Some(name) = item_name(item) {
                let own = &mut self.modules[id.0 as usize].own;
                if let Some(&first) = own.get(&name.text) {
                    let before = item_name(&items[first]).map(|n| n.span).unwrap_or_default();
                    diagnostics.push(
                        Diagnostic::error("FG0101", format!("`{}` is defined twice", name.text))
                            .label(Place { file, span: name.span }, "defined again here")
                            .label(Place { file, span: before }, "first defined here")
                            .help("rename one of them"),
                    );
                } else {
                    own.insert(name.text.clone(), index);
                }
            }
        }
        for item in &items {
            if let ItemKind::Use { path, names } = &item.kind {
                self.import(sources, id, file, path, names, diagnostics);
            }
        }
        id
    }

    fn import(
        &mut self,
        sources: &mut Sources,
        into: ModuleId,
        file: FileId,
        path: &[Name],
        names: &[Name],
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        let joined = |parts: &[Name]| parts.iter().map(|p| p.text.as_str()).collect::<Vec<_>>().join(".");
        let (module_path, wanted) = match names {
            [] if path.len() >= 2 => (&path[..path.len() - 1], &path[path.len() - 1..]),
            _ => (path, names),
        };
        let span = path.iter().map(|p| p.span).reduce(|a, b| a.to(b)).unwrap_or_default();
        // `use std.schedule.edm` may name an item of a module or the module's one item of the same name.
        let same = joined(path);
        let (module, wanted) = match self.load_standard(sources, &joined(module_path), diagnostics) {
            Some(m) => (Some(m), wanted),
            None if names.is_empty() => (self.load_standard(sources, &same, diagnostics), &path[path.len() - 1..]),
            None => (None, wanted),
        };
        let Some(module) = module else {
            let known = standard_modules();
            let place = Place { file, span };
            let d = Diagnostic::error("FG0102", format!("there is no module `{}`", joined(module_path)))
                .label(place, "not found");
            // The last part of the path may be a name in the module.
            let near = |path: &str| nearest(path, known.iter().map(String::as_str)).map(str::to_owned);
            let home = joined(module_path);
            diagnostics.push(match (near(&home), near(&same)) {
                (Some(n), _) if names.is_empty() => {
                    let n = format!("{n}.{}", wanted[0].text);
                    d.help(format!("did you mean `{n}`?")).fix(Fix::rename(place, &same, &n))
                }
                (Some(n), _) | (None, Some(n)) => {
                    d.help(format!("did you mean `{n}`?")).fix(Fix::rename(place, &same, &n))
                }
                (None, None) => d.help(format!("modules are {}", known.join(", "))),
            });
            return;
        };
        for name in wanted {
            let target = &self.modules[module.0 as usize];
            let import = match (target.own.get(&name.text), target.imported.get(&name.text)) {
                (Some(&item), _) => Import::Item { module, item },
                (None, Some(import)) => import.clone(),
                (None, None) => {
                    let known: Vec<&str> = target.own.keys().map(String::as_str).collect();
                    let place = Place { file, span: name.span };
                    diagnostics.push(
                        Diagnostic::error("FG0103", format!("`{}` defines no `{}`", target.path, name.text))
                            .label(place, "not found there")
                            .among(place, &name.text, &known),
                    );
                    continue;
                }
            };
            self.modules[into.0 as usize].imported.insert(name.text.clone(), import);
        }
    }

    pub fn module(&self, id: ModuleId) -> &Module {
        &self.modules[id.0 as usize]
    }

    /// How many are loaded; their ids are 0, 1, …
    pub fn len(&self) -> usize {
        self.modules.len()
    }

    pub fn is_empty(&self) -> bool {
        self.modules.is_empty()
    }

    /// The module of a path, if it is loaded.
    pub fn find(&self, path: &str) -> Option<ModuleId> {
        self.by_path.get(path).copied()
    }

    /// What `name` means in `module`: its own items, its imports, then the prelude.
    pub fn lookup(&self, module: ModuleId, name: &str) -> Option<Definition> {
        let (module, item) = self.item(module, name)?;
        Some(Definition { module, item: self.module(module).items[item].clone() })
    }

    /// As `lookup`: the module that defines it, and which of its items it is.
    pub fn item(&self, module: ModuleId, name: &str) -> Option<(ModuleId, usize)> {
        let here = self.module(module);
        if let Some(&item) = here.own.get(name) {
            return Some((module, item));
        }
        if let Some(Import::Item { module, item }) = here.imported.get(name) {
            return Some((*module, *item));
        }
        let prelude = self.prelude.filter(|&p| p != module && !here.path.starts_with(PRELUDE))?;
        let Import::Item { module, item } = self.module(prelude).imported.get(name)?;
        Some((*module, *item))
    }

    /// Every name `module` sees, for suggestions.
    pub fn names(&self, module: ModuleId) -> Vec<&str> {
        let here = self.module(module);
        let prelude = self.prelude.map(|p| self.module(p));
        here.own
            .keys()
            .chain(here.imported.keys())
            .chain(prelude.into_iter().flat_map(|p| p.imported.keys()))
            .map(String::as_str)
            .collect()
    }
}

thread_local! {
    /// The items of standard modules: an editor checks a file at every keystroke, and they never change.
    static STANDARD: RefCell<FxHashMap<String, Vec<Rc<Item>>>> = RefCell::default();
}

fn parse(source: &SourceFile, file: FileId, diagnostics: &mut Vec<Diagnostic>) -> Vec<Rc<Item>> {
    if source.standard
        && let Some(items) = STANDARD.with_borrow(|parsed| parsed.get(&source.name).cloned())
    {
        return items;
    }
    let parsed = fgc_grammar::parse(&source.text);
    for e in parsed.errors {
        diagnostics.push(syntax(e, file));
    }
    let items: Vec<Rc<Item>> = parsed.file.items.into_iter().map(Rc::new).collect();
    if source.standard {
        STANDARD.with_borrow_mut(|known| known.insert(source.name.clone(), items.clone()));
    }
    items
}

/// A syntax error of the file.
pub fn syntax(error: SyntaxError, file: FileId) -> Diagnostic {
    let place = Place { file, span: error.span };
    let fix = error.instead.map(|text| {
        let title = if text.is_empty() { "remove it".into() } else { format!("write `{text}`") };
        Fix::new(title).replace(place, text).certain()
    });
    Diagnostic::error(error.code, error.message).label(place, "").maybe_help(error.help).maybe_fix(fix)
}

/// The name an item defines.
pub fn item_name(item: &Item) -> Option<&Name> {
    match &item.kind {
        ItemKind::Let { name, .. } | ItemKind::Schedule { name, .. } | ItemKind::Method { name, .. } => Some(name),
        ItemKind::Fn(f) | ItemKind::Layer(f) => Some(&f.name),
        ItemKind::Extern(e) => Some(&e.name),
        ItemKind::Use { .. } | ItemKind::Error => None,
    }
}
