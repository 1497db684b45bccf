//! The scopes under way, and what they bind.

use super::{Names, Symbol, SymbolKind};
use fgc_grammar::Span;
use fgc_grammar::ast::Name;
use indexmap::IndexMap;

#[derive(Debug, Default)]
pub struct Scopes {
    open: Vec<Scope>,
    /// The symbols that what is bound belongs to.
    pub parents: Vec<usize>,
}

#[derive(Debug)]
struct Scope {
    span: Span,
    names: IndexMap<String, usize>,
    /// Names of scopes further out are not seen from here.
    closed: bool,
}

impl Scopes {
    /// `closed`: a function of its own, which sees no locals of others.
    pub fn enter(&mut self, span: Span, closed: bool) {
        self.open.push(Scope { span, names: IndexMap::new(), closed });
    }

    pub fn leave(&mut self) {
        self.open.pop();
    }

    pub fn find(&self, name: &str) -> Option<usize> {
        for scope in self.open.iter().rev() {
            if let Some(&found) = scope.names.get(name) {
                return Some(found);
            }
            if scope.closed {
                return None;
            }
        }
        None
    }

    /// Binds `name` in the innermost scope; there, a second binding of a name is another site of the first.
    pub fn bind(
        &mut self,
        names: &mut Names,
        name: &Name,
        kind: SymbolKind,
        value: Option<Span>,
        whole: Span,
    ) -> usize {
        let Some(scope) = self.open.last_mut() else { return self.declare(names, name, kind, value, whole) };
        if let Some(&before) = scope.names.get(&name.text) {
            names.symbols[before].sites.push(name.span);
            names.symbols[before].values.push(value);
            return before;
        }
        let id = self.declare(names, name, kind, value, whole);
        if let Some(scope) = self.open.last_mut()
            && !name.text.is_empty()
        {
            scope.names.insert(name.text.clone(), id);
        }
        id
    }

    /// A symbol that nothing refers to by its bare name: a loss, a step.
    pub fn declare(&self, names: &mut Names, name: &Name, kind: SymbolKind, value: Option<Span>, whole: Span) -> usize {
        names.symbols.push(Symbol {
            name: name.text.clone(),
            kind,
            sites: vec![name.span],
            values: vec![value],
            whole,
            scope: self.open.last().map_or(Span::new(0, usize::MAX), |s| s.span),
            doc: String::new(),
            params: Vec::new(),
            parent: self.parents.last().copied(),
        });
        names.symbols.len() - 1
    }
}
