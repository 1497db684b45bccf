//! Statements of functions, layers and methods.

use super::elaborate::{Elaborator, Result};
use super::value::*;
use crate::diagnostic::{Diagnostic, Place, nearest};
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
                }
            }
        }
        if failed { Err(super::Reported) } else { Ok(None) }
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
                        return Err(self.error_help(
                            "FG0109",
                            format!("`{}` is fixed", name.text),
                            at,
                            "assigned here",
                            format!("declare it with `var {} = …` to assign it again", name.text),
                        ));
                    }
                    None => {
                        let locals = env.locals();
                        let help = match nearest(&name.text, locals.iter().map(String::as_str)) {
                            Some(n) => format!("did you mean `{n}`?"),
                            None => format!("declare it first: `var {} = …`", name.text),
                        };
                        return Err(self.error_help("FG0104", format!("`{}` is not defined", name.text), at, "", help));
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
                        "",
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
                    Value::Function(_) => "time laws are functions of a schedule: `law(s)`",
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
                    .help("one name is one draw: use the first, or give this one another name"),
            ));
        }
        let value = self.make_draw(&name, number, &law, place)?;
        let Value::Tensor(t) = &value else { return Err(super::Reported) };
        let shape = self.shape_of(t);
        let local = draw.name.text.clone();
        self.draws.insert(key, super::elaborate::DrawState { local, place, node: t.node, shape });
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
