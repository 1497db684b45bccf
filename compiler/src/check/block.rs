//! Statements of functions, layers and methods.

use super::elaborate::{Elaborator, Result};
use super::value::*;
use crate::diagnostic::{Diagnostic, Fix, Place, nearest};
use fgc_grammar::ast::*;
use fgc_program::DType;

impl Elaborator<'_> {
    /// Runs a block in `env`; the value is what it returned. A mistake in one statement does not hide those in others:
    /// names it would have bound are bound to the error.
    pub fn block(&mut self, block: &Block, env: &Env) -> Result<Option<Value>> {
        let mut failed = false;
        for stmt in &block.stmts {
            match self.statement(stmt, env) {
                Ok(Some(value)) => return if failed { Err(super::Reported) } else { Ok(Some(value)) },
                Ok(None) => {}
                Err(_) => {
                    // The user's mistake shows once; what a standard function makes of it helps nobody.
                    if self.sources.file(env.file).standard {
                        return Err(super::Reported);
                    }
                    failed = true;
                    // One slot of several may be wrong; those bound before it stay.
                    let several = matches!(stmt.kind, StmtKind::Data(_) | StmtKind::Draw(_));
                    for name in bound_names(stmt) {
                        if !several || env.find(&name.text).is_none() {
                            env.bind(&name.text, Value::Error, true);
                        }
                    }
                    if matches!(stmt.kind, StmtKind::Error) {
                        self.bind_unread(stmt, env);
                    }
                }
            }
        }
        if failed { Err(super::Reported) } else { Ok(None) }
    }

    /// Text that is no statement would have bound something, had it been right: names that nothing else binds are not
    /// reported again where they are used.
    fn bind_unread(&mut self, stmt: &Stmt, env: &Env) {
        let text = self.sources.file(env.file).text.clone();
        let text = text.get(stmt.span.start..stmt.span.end).unwrap_or("");
        let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|w| !w.is_empty());
        for word in words.filter(|w| w.starts_with(|c: char| c.is_lowercase() || c == '_')) {
            let known = env.find(word).is_some()
                || self.modules.lookup(env.module, word).is_some()
                || super::builtin::names().any(|b| b == word);
            if !known {
                env.bind(word, Value::Error, true);
            }
        }
    }

    fn statement(&mut self, stmt: &Stmt, env: &Env) -> Result<Option<Value>> {
        let place = Place { file: env.file, span: stmt.span };
        match &stmt.kind {
            StmtKind::Let { names, ty, value } => {
                let at = Place { file: env.file, span: value.span };
                let mut result = self.expr(value, env)?;
                if let Some(ty) = ty {
                    result = self.conform(result, ty, env, at, &format!("`{}`", names[0].text))?;
                }
                self.bind_names(names, result, env, at)?;
            }
            StmtKind::Var { name, ty, value } => {
                let at = Place { file: env.file, span: value.span };
                let mut result = self.expr(value, env)?;
                if let Some(ty) = ty {
                    result = self.conform(result, ty, env, at, &format!("`{}`", name.text))?;
                }
                self.learn_binding(name, &result, env);
                env.bind(&name.text, result, true);
            }
            StmtKind::Assign { name, op, value } => {
                let at = Place { file: env.file, span: name.span };
                let mut result = self.expr(value, env)?;
                if *op == AssignOp::Add {
                    let before = self.name(&name.text, env, at)?;
                    result = self.binary_value(BinaryOp::Add, &before, &result, place)?;
                }
                match env.assign(&name.text, result) {
                    Some(Binding { mutable: true, .. }) => {}
                    Some(_) => {
                        return Err(self.unassignable(name, at, "assigned here"));
                    }
                    None => {
                        let locals = env.locals();
                        let d = Diagnostic::error("FG0104", format!("`{}` is not defined", name.text))
                            .label(at, "assigned here");
                        return Err(self.report(match nearest(&name.text, locals.iter().map(String::as_str)) {
                            Some(n) => d.help(format!("did you mean `{n}`?")).fix(Fix::rename(at, &name.text, n)),
                            None => d.help(format!("declare it first: `var {} = …`", name.text)),
                        }));
                    }
                }
            }
            StmtKind::If { cond, then, otherwise } => {
                // No scope of its own: what the branch taken binds stays bound.
                if self.condition(cond, env)? {
                    return self.block(then, env);
                } else if let Some(otherwise) = otherwise {
                    return self.block(otherwise, env);
                }
            }
            StmtKind::For { names, iter, body } => {
                let at = Place { file: env.file, span: iter.span };
                let Value::List(items) = self.expr(iter, env)? else {
                    return Err(self.error_help(
                        "FG0219",
                        "`for` runs over a list",
                        at,
                        "not a list",
                        "ranges are lists: `0..n`",
                    ));
                };
                for item in items.iter() {
                    self.spend(1, at)?;
                    let inner = env.child();
                    self.bind_names(names, item.clone(), &inner, at)?;
                    if let Some(value) = self.block(body, &inner)? {
                        return Ok(Some(value));
                    }
                }
            }
            StmtKind::Return(value) => return Ok(Some(self.expr(value, env)?)),
            StmtKind::Draw(draws) => {
                for draw in draws {
                    self.draw(draw, env)?;
                }
            }
            StmtKind::Param { name, ty, init } => self.param(name, ty, init.as_ref(), env, place)?,
            StmtKind::Scan { names, iter, carry, body } => self.scan(names, iter, carry, body, env, place)?,
            StmtKind::Data(_)
            | StmtKind::Net { .. }
            | StmtKind::State { .. }
            | StmtKind::Loss { .. }
            | StmtKind::Metric(_)
            | StmtKind::Step { .. }
            | StmtKind::Sample { .. } => self.method_statement(stmt, env)?,
            StmtKind::Error => return Err(super::Reported),
        }
        Ok(None)
    }

    /// `name` is assigned and was bound by `let`.
    pub(super) fn unassignable(&mut self, name: &Name, at: Place, text: &str) -> super::Reported {
        let bound = self.bindings.iter().rev().find(|b| b.name == name.text && b.place.file == at.file);
        let mut d =
            Diagnostic::error("FG0109", format!("`{}` keeps its first value, and cannot be assigned", name.text))
                .label(at, text)
                .help(format!("what changes is declared with `var {} = …`", name.text));
        if let Some(place) = bound.map(|b| b.place) {
            d = d.label(place, "bound here");
            let before = self.sources.file(place.file).text[..place.span.start].trim_end();
            if before.ends_with("let") {
                let word = fgc_grammar::Span::new(before.len() - 3, before.len());
                d = d.fix(Fix::new("declare it with `var`").replace(Place { span: word, ..place }, "var").certain());
            }
        }
        self.report(d)
    }

    /// One name takes the value; several take a list apart.
    pub fn bind_names(&mut self, names: &[Name], value: Value, env: &Env, place: Place) -> Result<()> {
        if let [name] = names {
            self.record_binding(name, &value, env);
            env.bind(&name.text, value, false);
            return Ok(());
        }
        match &value {
            Value::List(items) if items.len() == names.len() => {
                for (name, item) in names.iter().zip(items.iter()) {
                    self.record_binding(name, item, env);
                    env.bind(&name.text, item.clone(), false);
                }
                Ok(())
            }
            other => {
                let shown = self.show(other);
                let message = format!("{} names for {shown}", names.len());
                Err(self.error("FG0220", message, place, "a list of as many entries is wanted here"))
            }
        }
    }

    /// Noise without the batch's axis is the same for every sample, which hardly anyone means.
    fn warn_shared(&mut self, name: &str, law: &Law, place: Place) {
        let noise = law.base == fgc_program::Distribution::Normal && !law.axes.iter().any(|a| &**a == "B");
        if noise && !self.sources.file(place.file).standard && self.draw_prefix.is_empty() {
            let axes = law.axes.iter().map(|a| &**a).collect::<Vec<_>>().join(", ");
            self.report(
                Diagnostic::warning("FG0405", format!("every sample of the batch gets the same `{name}`"))
                    .label(place, format!("has axes [{axes}], without B"))
                    .help("`normal(x)` draws with all axes of x, one noise for each sample"),
            );
        }
    }

    /// `draw name ~ law`: a new input of the program, or a pinned one.
    fn draw(&mut self, draw: &DrawDecl, env: &Env) -> Result<()> {
        let place = Place { file: env.file, span: draw.name.span };
        let law_place = Place { file: env.file, span: draw.law.span };
        let law = match self.expr(&draw.law, env)? {
            Value::Law(law) => law,
            Value::Error => return Err(super::Reported),
            v => {
                let shown = self.show(&v);
                let help = match v {
                    Value::Function(_) => "time laws are functions of a schedule: `lognormal(-1.2, 1.2)(s)`",
                    Value::Tensor(_) => "values that are computed are bound with `let`",
                    _ => "laws are normal(x), uniform(B), index(n, B), permutation(B) and the time laws of std.law",
                };
                return Err(self.error_help(
                    "FG0401",
                    format!("`draw` takes a law, found {shown}"),
                    law_place,
                    &shown,
                    help,
                ));
            }
        };
        let mut name = format!("{}{}", self.draw_prefix, draw.name.text);
        let mut number = None;
        if let Some(index) = &draw.index {
            match self.expr(index, env)? {
                Value::Tensor(t) if t.axes.is_empty() => {
                    let node = self.graph.cast(t.node, DType::I64);
                    match self.graph.const_value(node) {
                        Some(n) => name = format!("{name}_{n}"),
                        None => number = Some(node),
                    }
                }
                _ => name = format!("{name}_{}", self.int(index, env)?),
            }
        }
        let key = number.map_or(name.clone(), |n| format!("{name}_{{{}}}", n.0));
        if let Some(before) = self.draws.get(&key) {
            let first = before.place;
            return Err(self.report(
                Diagnostic::error("FG0402", format!("`{name}` is drawn twice"))
                    .label(place, "drawn again here")
                    .label(first, "first drawn here")
                    .help(
                        "a draw is known by its name, so this would be the same numbers again: use the first, or give \
                         this one another name",
                    ),
            ));
        }
        let value = self.make_draw(&name, number, draw.index.is_some(), &law, place)?;
        let Value::Tensor(t) = &value else { return Err(super::Reported) };
        let shape = self.shape_of(t);
        let local = draw.name.text.clone();
        self.warn_shared(&local, &law, place);
        let whole = Place { file: env.file, span: draw.name.span.to(draw.law.span) };
        self.draws.insert(key, super::elaborate::DrawState { local, place, whole, node: t.node, shape });
        self.record_binding(&draw.name, &value, env);
        env.bind(&draw.name.text, value, false);
        Ok(())
    }
}

/// The names a statement would bind.
fn bound_names(stmt: &Stmt) -> Vec<&Name> {
    match &stmt.kind {
        StmtKind::Let { names, .. } => names.iter().collect(),
        StmtKind::Var { name, .. }
        | StmtKind::Net { name, .. }
        | StmtKind::State { name, .. }
        | StmtKind::Param { name, .. } => vec![name],
        StmtKind::Draw(draws) => draws.iter().map(|d| &d.name).collect(),
        StmtKind::Data(slots) => slots.iter().map(|(n, _)| n).collect(),
        StmtKind::If { then, otherwise, .. } => {
            then.stmts.iter().chain(otherwise.iter().flat_map(|b| &b.stmts)).flat_map(bound_names).collect()
        }
        _ => Vec::new(),
    }
}
