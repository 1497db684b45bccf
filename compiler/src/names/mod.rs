//! Names: what each name of a file defines or refers to, from the syntax alone, so that branches not taken and
//! functions nobody calls are covered too. Scopes are those of [`check`](crate::check): a function, a loop, a step and
//! an anonymous function open one, the branches of an `if` do not.

mod resolve;
mod scopes;

use crate::diagnostic::Place;
use crate::module::{ModuleId, Modules};
use crate::source::Sources;
use fgc_grammar::Span;
use fgc_grammar::ast::{ItemKind, ParamDecl};

/// Every name of one file.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pub symbols: Vec<Symbol>,
    /// In the order of the walk; every place at most once.
    pub uses: Vec<Use>,
}

/// Something a file defines.
#[derive(Clone, Debug, PartialEq)]
pub struct Symbol {
    pub name: String,
    pub kind: SymbolKind,
    /// Where it is bound: more than once by the branches of an `if`, or by a later binding of the same name.
    pub sites: Vec<Span>,
    /// What is bound at each site, where that is written beside it.
    pub values: Vec<Option<Span>>,
    /// The item, statement or parameter of the first site.
    pub whole: Span,
    /// Where it can be referred to.
    pub scope: Span,
    pub doc: String,
    /// Of functions and layers: their parameters among the symbols.
    pub params: Vec<usize>,
    /// The function, schedule, method or step it stands in.
    pub parent: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SymbolKind {
    Let,
    Var,
    Fn,
    Layer,
    Schedule,
    Method,
    /// A parameter of a method.
    Hyper,
    /// A parameter of a function or layer.
    Parameter,
    /// What a `for` or `scan` binds.
    Loop,
    Data,
    Net,
    Draw,
    State,
    /// `param` of a layer.
    Weight,
    Loss,
    Metric,
    Step,
    Sample,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Use {
    pub span: Span,
    pub name: String,
    pub target: Target,
    /// `{ out }`, which stands for `{ out: out }`.
    pub shorthand: bool,
    /// Assigned, not read.
    pub assigned: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// Of the same file.
    Symbol(usize),
    /// Of another file.
    Item {
        module: ModuleId,
        item: usize,
    },
    /// A parameter, named in a call, of an item of another file.
    Parameter {
        module: ModuleId,
        item: usize,
        param: usize,
    },
    /// A segment of the path of a `use`.
    Module(ModuleId),
    /// `mean`, `pi`, `denoiser`.
    Builtin,
    Axis,
    /// A member, or a parameter, of a value that only checking knows; or nothing at all.
    Unknown,
}

impl Symbol {
    /// Whether other names of the file can refer to it.
    pub fn is_referable(&self) -> bool {
        !matches!(
            self.kind,
            SymbolKind::Loss | SymbolKind::Metric | SymbolKind::Step | SymbolKind::Sample | SymbolKind::Method
        )
    }

    /// The binding that holds at `offset`: the last one before it, else, and outside the scope, the first.
    pub fn site_at(&self, offset: usize) -> Span {
        let inside = offset <= self.scope.end;
        let before = self.sites.iter().rev().find(|s| s.start <= offset).filter(|_| inside);
        before.or(self.sites.first()).copied().unwrap_or(self.whole)
    }
}

impl Names {
    /// The names of a loaded module.
    pub fn of(module: ModuleId, modules: &Modules, sources: &Sources) -> Names {
        resolve::resolve(module, modules, sources)
    }

    /// The use whose name holds `offset`, or ends there.
    pub fn use_at(&self, offset: usize) -> Option<&Use> {
        self.uses.iter().find(|u| u.span.start <= offset && offset <= u.span.end)
    }

    /// The symbol bound at `offset`.
    pub fn symbol_at(&self, offset: usize) -> Option<usize> {
        self.symbols.iter().position(|s| s.sites.iter().any(|site| site.start <= offset && offset <= site.end))
    }

    /// What can be referred to at `offset`, the innermost of each name.
    pub fn visible(&self, offset: usize) -> Vec<usize> {
        let mut found: Vec<usize> = (0..self.symbols.len())
            .filter(|&i| {
                let s = &self.symbols[i];
                let bound = s.sites.iter().any(|site| site.end <= offset) || s.parent.is_none();
                s.is_referable() && bound && s.scope.start <= offset && offset <= s.scope.end
            })
            .collect();
        found.sort_by_key(|&i| self.symbols[i].scope.end - self.symbols[i].scope.start);
        let mut seen = std::collections::HashSet::new();
        found.retain(|&i| seen.insert(self.symbols[i].name.as_str()));
        found
    }

    /// Whether a value bound at a place has parameters to name: those of the item at `place` in another module.
    pub fn item_params(modules: &Modules, module: ModuleId, item: usize) -> &[ParamDecl] {
        match modules.module(module).items.get(item).map(|i| &i.kind) {
            Some(ItemKind::Fn(f) | ItemKind::Layer(f)) => &f.params,
            Some(ItemKind::Extern(e)) => &e.params,
            Some(ItemKind::Method { params, .. }) => params,
            _ => &[],
        }
    }

    /// Where a target is defined; of symbols, the binding that holds at `offset`.
    pub fn place(&self, target: &Target, offset: usize, module: ModuleId, modules: &Modules) -> Option<Place> {
        match target {
            Target::Symbol(i) => {
                Some(Place { file: modules.module(module).file, span: self.symbols[*i].site_at(offset) })
            }
            Target::Item { module, item } => {
                let home = modules.module(*module);
                let name = crate::module::item_name(home.items.get(*item)?)?;
                Some(Place { file: home.file, span: name.span })
            }
            Target::Parameter { module, item, param } => {
                let span = Names::item_params(modules, *module, *item).get(*param)?.name.span;
                Some(Place { file: modules.module(*module).file, span })
            }
            Target::Module(module) => Some(Place { file: modules.module(*module).file, span: Span::default() }),
            Target::Builtin | Target::Axis | Target::Unknown => None,
        }
    }
}
