//! The walk that resolves.

use super::scopes::Scopes;
use super::{Names, Symbol, SymbolKind, Target, Use};
use crate::check::{builtin, is_axis};
use crate::module::{ModuleId, Modules, item_name};
use crate::source::Sources;
use fgc_grammar::Span;
use fgc_grammar::ast::*;
use rustc_hash::FxHashMap;

pub fn resolve(module: ModuleId, modules: &Modules, sources: &Sources) -> Names {
    let here = modules.module(module);
    let text = sources.file(here.file).text.clone();
    let mut walk = Walk {
        modules,
        module,
        text: &text,
        names: Names::default(),
        scopes: Scopes::default(),
        own: FxHashMap::default(),
        members: FxHashMap::default(),
        calls: Vec::new(),
    };
    for item in &here.items {
        walk.declare_item(item);
    }
    for item in &here.items {
        walk.item(item);
    }
    walk.keywords();
    walk.names
}

struct Walk<'a> {
    modules: &'a Modules,
    module: ModuleId,
    text: &'a str,
    names: Names,
    scopes: Scopes,
    /// Items of this file.
    own: FxHashMap<String, usize>,
    /// Members of the schedule under way.
    members: FxHashMap<String, usize>,
    /// Names given in calls, by position among the uses, and what is called.
    calls: Vec<(usize, Target)>,
}

impl Walk<'_> {
    fn declare_item(&mut self, item: &Item) {
        let (name, kind) = match &item.kind {
            ItemKind::Let { name, .. } => (name, SymbolKind::Let),
            ItemKind::Fn(f) => (&f.name, SymbolKind::Fn),
            ItemKind::Layer(f) => (&f.name, SymbolKind::Layer),
            ItemKind::Extern(e) => (&e.name, SymbolKind::Fn),
            ItemKind::Schedule { name, .. } => (name, SymbolKind::Schedule),
            ItemKind::Method { name, .. } => (name, SymbolKind::Method),
            ItemKind::Use { .. } | ItemKind::Error => return,
        };
        let value = match &item.kind {
            ItemKind::Let { value, .. } => Some(value.span),
            _ => None,
        };
        let id = self.scopes.declare(&mut self.names, name, kind, value, item.span);
        self.names.symbols[id].doc = item.doc.clone();
        self.own.entry(name.text.clone()).or_insert(id);
    }

    /// The symbol of an item or member, declared before.
    fn declared(&self, name: &Name) -> Option<usize> {
        self.names.symbols.iter().position(|s| s.sites.first() == Some(&name.span))
    }

    fn item(&mut self, item: &Item) {
        match &item.kind {
            ItemKind::Use { path, names } => self.import(path, names),
            ItemKind::Let { name, ty, value } => {
                self.scopes.parents.extend(self.declared(name));
                self.scopes.enter(item.span, true);
                ty.iter().for_each(|t| self.ty(t));
                self.expr(value);
                self.scopes.leave();
                self.scopes.parents.pop();
            }
            ItemKind::Fn(f) | ItemKind::Layer(f) => self.function(f, item.span),
            ItemKind::Schedule { name, members } => {
                self.scopes.parents.extend(self.declared(name));
                for member in members {
                    let before = self.names.symbols.len();
                    let shadowed = item_name(member).and_then(|n| self.own.get(&n.text).copied());
                    self.declare_item(member);
                    if let (Some(member_name), true) = (item_name(member), self.names.symbols.len() > before) {
                        self.members.entry(member_name.text.clone()).or_insert(before);
                        // Not an item: seen in the schedule only.
                        self.names.symbols[before].scope = item.span;
                        match shadowed {
                            Some(own) => self.own.insert(member_name.text.clone(), own),
                            None => self.own.remove(&member_name.text),
                        };
                    }
                }
                for member in members {
                    self.item(member);
                }
                self.members.clear();
                self.scopes.parents.pop();
            }
            ItemKind::Method { name, params, body } => {
                self.scopes.parents.extend(self.declared(name));
                self.scopes.enter(item.span, true);
                let ids = self.params(params, SymbolKind::Hyper);
                if let Some(&me) = self.scopes.parents.last() {
                    self.names.symbols[me].params = ids;
                }
                self.block(body);
                self.scopes.leave();
                self.scopes.parents.pop();
            }
            ItemKind::Extern(e) => {
                self.scopes.parents.extend(self.declared(&e.name));
                self.scopes.enter(item.span, true);
                let ids = self.params(&e.params, SymbolKind::Parameter);
                if let Some(&me) = self.scopes.parents.last() {
                    self.names.symbols[me].params = ids;
                }
                e.results.iter().for_each(|r| self.ty(&r.ty));
                self.parts(&e.file);
                self.scopes.leave();
                e.clauses.iter().for_each(|clause| self.expr(&clause.value));
                self.scopes.parents.pop();
            }
            ItemKind::Error => {}
        }
    }

    fn import(&mut self, path: &[Name], names: &[Name]) {
        let joined = |parts: &[Name]| parts.iter().map(|p| p.text.as_str()).collect::<Vec<_>>().join(".");
        let (mut parts, mut wanted) = (path, names);
        if names.is_empty() && path.len() >= 2 {
            let (home, last) = path.split_at(path.len() - 1);
            if self.modules.find(&joined(home)).is_some() {
                (parts, wanted) = (home, last);
            } else {
                // The one item of a module of the same name.
                wanted = last;
            }
        }
        let home = self.modules.find(&joined(parts));
        if let (Some(module), Some(last)) = (home, parts.last())
            && !wanted.iter().any(|w| w.span == last.span)
        {
            self.used(last, Target::Module(module));
        }
        for name in wanted {
            let target = home.and_then(|home| self.modules.item(home, &name.text));
            let target = target.map_or(Target::Unknown, |(module, item)| Target::Item { module, item });
            self.used(name, target);
        }
    }

    fn function(&mut self, f: &Function, whole: Span) {
        let me = self.declared(&f.name);
        self.scopes.parents.extend(me);
        self.scopes.enter(whole, true);
        let ids = self.params(&f.params, SymbolKind::Parameter);
        if let Some(me) = me {
            self.names.symbols[me].params = ids;
        }
        f.result.iter().for_each(|t| self.ty(t));
        match &f.body {
            Body::Expr(e) => self.expr(e),
            Body::Block(block) => self.block(block),
        }
        self.scopes.leave();
        if me.is_some() {
            self.scopes.parents.pop();
        }
    }

    fn params(&mut self, params: &[ParamDecl], kind: SymbolKind) -> Vec<usize> {
        let mut ids = Vec::new();
        for param in params {
            param.ty.iter().for_each(|t| self.ty(t));
            param.default.iter().for_each(|e| self.expr(e));
            match &param.range {
                Some(RangeDecl::Interval { lo, hi }) => lo.iter().chain(hi).for_each(|e| self.expr(e)),
                Some(RangeDecl::OneOf(options)) => options.iter().for_each(|e| self.expr(e)),
                None => {}
            }
            let default = param.default.as_ref().map(|e| e.span);
            let id = self.scopes.bind(&mut self.names, &param.name, kind, default, param.span);
            self.names.symbols[id].doc = param.doc.clone();
            ids.push(id);
        }
        ids
    }

    fn ty(&mut self, ty: &Type) {
        let axes = match &ty.kind {
            TypeKind::Tensor { axes, .. } => axes,
            TypeKind::Time { schedule, axes } => {
                schedule.iter().for_each(|name| self.name(name, false));
                axes
            }
            TypeKind::Named(_) => return,
        };
        for axis in axes.iter().flatten() {
            if let AxisDecl::Axis { name, extent } = axis {
                self.used(name, Target::Axis);
                extent.iter().for_each(|e| self.expr(e));
            }
        }
    }

    fn block(&mut self, block: &Block) {
        for stmt in &block.stmts {
            self.statement(stmt);
        }
    }

    fn bind(&mut self, name: &Name, kind: SymbolKind, value: Option<Span>, stmt: &Stmt) {
        let id = self.scopes.bind(&mut self.names, name, kind, value, stmt.span);
        self.document(id, stmt);
    }

    fn declare(&mut self, name: &Name, kind: SymbolKind, value: Option<Span>, stmt: &Stmt) -> usize {
        let id = self.scopes.declare(&mut self.names, name, kind, value, stmt.span);
        self.document(id, stmt);
        id
    }

    fn document(&mut self, id: usize, stmt: &Stmt) {
        let symbol = &mut self.names.symbols[id];
        if symbol.doc.is_empty() {
            symbol.doc = stmt.doc.clone();
        }
    }

    fn statement(&mut self, stmt: &Stmt) {
        match &stmt.kind {
            StmtKind::Let { names, ty, value } => {
                ty.iter().for_each(|t| self.ty(t));
                self.expr(value);
                for name in names {
                    self.bind(name, SymbolKind::Let, Some(value.span), stmt);
                }
            }
            StmtKind::Var { name, ty, value } => {
                ty.iter().for_each(|t| self.ty(t));
                self.expr(value);
                self.bind(name, SymbolKind::Var, Some(value.span), stmt);
            }
            StmtKind::Assign { name, value, .. } => {
                self.expr(value);
                self.name(name, true);
            }
            StmtKind::If { cond, then, otherwise } => {
                self.expr(cond);
                self.block(then);
                otherwise.iter().for_each(|b| self.block(b));
            }
            StmtKind::For { names, iter, body } => {
                self.expr(iter);
                self.scopes.enter(stmt.span, false);
                for name in names {
                    self.bind(name, SymbolKind::Loop, None, stmt);
                }
                self.block(body);
                self.scopes.leave();
            }
            StmtKind::Scan { names, iter, carry, body } => {
                self.expr(iter);
                self.name(carry, false);
                self.scopes.enter(stmt.span, false);
                for name in names {
                    self.bind(name, SymbolKind::Loop, None, stmt);
                }
                self.block(body);
                self.scopes.leave();
            }
            StmtKind::Return(value) => self.expr(value),
            StmtKind::Draw(draws) => {
                for draw in draws {
                    self.expr(&draw.law);
                    draw.index.iter().for_each(|e| self.expr(e));
                    self.bind(&draw.name, SymbolKind::Draw, Some(draw.law.span), stmt);
                }
            }
            StmtKind::Data(slots) => {
                for (name, ty) in slots {
                    ty.iter().for_each(|t| self.ty(t));
                    self.bind(name, SymbolKind::Data, None, stmt);
                }
            }
            StmtKind::Net { name, value, attrs } => {
                self.expr(value);
                for attr in attrs {
                    match &attr.kind {
                        NetAttrKind::Frozen => {}
                        NetAttrKind::From(source) => self.name(source, false),
                        NetAttrKind::Call { args, .. } => args.iter().for_each(|a| self.expr(&a.value)),
                    }
                }
                self.bind(name, SymbolKind::Net, Some(value.span), stmt);
            }
            StmtKind::Param { name, ty, init } => {
                self.ty(ty);
                init.iter().for_each(|e| self.expr(e));
                self.bind(name, SymbolKind::Weight, None, stmt);
            }
            StmtKind::State { name, ty, value } => {
                ty.iter().for_each(|t| self.ty(t));
                self.expr(value);
                self.bind(name, SymbolKind::State, Some(value.span), stmt);
            }
            StmtKind::Loss { name, value, weight, targets } => {
                self.expr(value);
                weight.iter().for_each(|e| self.expr(e));
                targets.iter().for_each(|t| self.name(t, false));
                self.declare(name, SymbolKind::Loss, Some(value.span), stmt);
            }
            StmtKind::Metric(metrics) => {
                for (name, value) in metrics {
                    self.expr(value);
                    self.declare(name, SymbolKind::Metric, Some(value.span), stmt);
                }
            }
            StmtKind::Step { name, every, body } => {
                every.iter().for_each(|e| self.expr(e));
                let me = name.as_ref().map(|name| self.declare(name, SymbolKind::Step, None, stmt));
                self.scopes.parents.extend(me);
                self.scopes.enter(stmt.span, false);
                self.block(body);
                self.scopes.leave();
                if me.is_some() {
                    self.scopes.parents.pop();
                }
            }
            StmtKind::Sample { name, value } => {
                self.expr(value);
                if let Some(name) = name {
                    self.declare(name, SymbolKind::Sample, Some(value.span), stmt);
                }
            }
            StmtKind::Error => {}
        }
    }

    fn expr(&mut self, e: &Expr) {
        match &*e.kind {
            ExprKind::None | ExprKind::Bool(_) | ExprKind::Int(_) | ExprKind::Float(_) | ExprKind::Error => {}
            ExprKind::Str(parts) => self.parts(parts),
            ExprKind::Name(name) => {
                let name = Name { text: name.clone(), span: self.word(e.span, name) };
                self.name(&name, false);
            }
            ExprKind::List(items) => items.iter().for_each(|e| self.expr(e)),
            ExprKind::Record(fields) => {
                for (name, value) in fields {
                    let before = self.names.uses.len();
                    self.expr(value);
                    if name.span == value.span
                        && let Some(used) = self.names.uses.get_mut(before)
                    {
                        used.shorthand = true;
                    }
                }
            }
            ExprKind::Range { lo, hi } => {
                self.expr(lo);
                self.expr(hi);
            }
            ExprKind::Unary { value, .. } => self.expr(value),
            ExprKind::Binary { left, right, .. } => {
                self.expr(left);
                self.expr(right);
            }
            ExprKind::If { cond, then, otherwise } => {
                self.expr(cond);
                self.expr(then);
                self.expr(otherwise);
            }
            ExprKind::Lambda { params, body } => {
                self.scopes.enter(e.span, false);
                self.params(params, SymbolKind::Parameter);
                self.expr(body);
                self.scopes.leave();
            }
            ExprKind::Member { base, name } => {
                self.expr(base);
                self.used(name, Target::Unknown);
            }
            ExprKind::Index { base, index } => {
                self.expr(base);
                self.expr(index);
            }
            ExprKind::Call { callee, scope, args, over } => {
                let before = self.names.uses.len();
                self.expr(callee);
                let called = match &*callee.kind {
                    ExprKind::Name(_) => self.names.uses.get(before).map(|u| u.target.clone()),
                    _ => None,
                };
                scope.iter().for_each(|s| self.parts(&s.parts));
                for arg in args {
                    if let Some(name) = &arg.name {
                        self.calls.push((self.names.uses.len(), called.clone().unwrap_or(Target::Unknown)));
                        self.used(name, Target::Unknown);
                    }
                    self.expr(&arg.value);
                }
                over.iter().flat_map(|o| &o.axes).for_each(|e| self.expr(e));
            }
        }
    }

    fn parts(&mut self, parts: &[StrPart]) {
        for part in parts {
            if let StrPart::Expr(e) = part {
                self.expr(e);
            }
        }
    }

    /// A name that is read or assigned.
    fn name(&mut self, name: &Name, assigned: bool) {
        let target = self.target(&name.text);
        self.used(name, target);
        if let Some(last) = self.names.uses.last_mut() {
            last.assigned = assigned;
        }
    }

    fn target(&self, name: &str) -> Target {
        let near = self.scopes.find(name).or_else(|| self.members.get(name).copied());
        if let Some(found) = near.or_else(|| self.own.get(name).copied()) {
            return Target::Symbol(found);
        }
        if let Some((module, item)) = self.modules.item(self.module, name) {
            return Target::Item { module, item };
        }
        if builtin::names().any(|b| b == name) {
            return Target::Builtin;
        }
        if is_axis(name) { Target::Axis } else { Target::Unknown }
    }

    fn used(&mut self, name: &Name, target: Target) {
        let name = Name { text: name.text.clone(), span: name.span };
        self.names.uses.push(Use { span: name.span, name: name.text, target, shorthand: false, assigned: false });
    }

    /// Where the name `word` stands in `span`, which may hold parentheses and comments around it.
    fn word(&self, span: Span, word: &str) -> Span {
        let text = self.text.get(span.start..span.end).unwrap_or("");
        if text.len() == word.len() {
            return span;
        }
        let mut at = span.start;
        for line in text.split_inclusive('\n') {
            let code = line.split("//").next().unwrap_or(line);
            if let Some(i) = code.find(word) {
                return Span::new(at + i, at + i + word.len());
            }
            at += line.len();
        }
        span
    }

    /// Names given in calls, now that every function's parameters are known.
    fn keywords(&mut self) {
        for (position, called) in std::mem::take(&mut self.calls) {
            let wanted = &self.names.uses[position].name;
            let found = match called {
                Target::Symbol(f) => {
                    let params = &self.names.symbols[f].params;
                    let own = |&&i: &&usize| -> bool {
                        let symbol: &Symbol = &self.names.symbols[i];
                        symbol.name == *wanted
                    };
                    params.iter().find(own).map(|&i| Target::Symbol(i))
                }
                Target::Item { module, item } => Names::item_params(self.modules, module, item)
                    .iter()
                    .position(|p| p.name.text == *wanted)
                    .map(|param| Target::Parameter { module, item, param }),
                _ => None,
            };
            if let Some(found) = found {
                self.names.uses[position].target = found;
            }
        }
    }
}
