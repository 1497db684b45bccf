//! Expressions.

use super::elaborate::{Elaborator, Result};
use super::external::Declared;
use super::value::*;
use crate::diagnostic::{Diagnostic, Edit, Fix, Label, Place, nearest};
use crate::module::Definition;
use crate::preset::OUTSIDE;
use fgc_grammar::Span;
use fgc_grammar::ast::*;
use fgc_grammar::code::FOREIGN;
use indexmap::IndexMap;
use std::rc::Rc;

impl Elaborator<'_> {
    pub fn expr(&mut self, e: &Expr, env: &Env) -> Result<Value> {
        let value = self.value_of(e, env)?;
        if let Value::Tensor(t) = &value
            && !self.sources.file(env.file).standard
        {
            self.tensors.entry(Place { file: env.file, span: e.span }).or_insert(t.node);
        }
        self.learn(Place { file: env.file, span: e.span }, &value);
        Ok(value)
    }

    fn value_of(&mut self, e: &Expr, env: &Env) -> Result<Value> {
        let place = Place { file: env.file, span: e.span };
        self.spend(1, place)?;
        Ok(match &*e.kind {
            ExprKind::None => Value::None,
            ExprKind::Bool(b) => Value::Bool(*b),
            ExprKind::Int(i) => Value::Int(*i),
            ExprKind::Float(x) => Value::Float(*x),
            ExprKind::Str(parts) => Value::str(self.text(parts, env)?),
            ExprKind::Name(name) => self.name(name, env, place)?,
            ExprKind::List(items) => {
                Value::list(items.iter().map(|i| self.expr(i, env)).collect::<Result<Vec<Value>>>()?)
            }
            ExprKind::Record(fields) => {
                let mut record = IndexMap::new();
                for (name, value) in fields {
                    record.insert(name.text.clone(), self.expr(value, env)?);
                }
                Value::Record(Rc::new(record))
            }
            ExprKind::Range { lo, hi } => {
                let (lo, hi) = (self.int(lo, env)?, self.int(hi, env)?);
                if hi.saturating_sub(lo) > 1 << 20 {
                    let help = "ranges are expanded while compiling; numbers along an axis are `iota(AXIS, n)`";
                    return Err(self.error_help(
                        "FG0207",
                        "a range of more than a million numbers",
                        place,
                        "too long",
                        help,
                    ));
                }
                self.spend(usize::try_from(hi.saturating_sub(lo)).unwrap_or(0), place)?;
                Value::list((lo..hi).map(Value::Int).collect())
            }
            ExprKind::Unary { op, value } => {
                let value = self.expr(value, env)?;
                self.unary_value(*op, &value, place)?
            }
            ExprKind::Binary { op, left, right, .. } => {
                let a = self.expr(left, env)?;
                // `and` and `or` of static values stop at the first that decides.
                match (op, &a) {
                    (BinaryOp::And, Value::Bool(false)) | (BinaryOp::Or, Value::Bool(true)) => return Ok(a),
                    _ => {}
                }
                let b = self.expr(right, env)?;
                self.binary_value(*op, &a, &b, place)?
            }
            ExprKind::If { cond, then, otherwise } => {
                let before = self.diagnostics.len();
                match self.condition(cond, env) {
                    Ok(true) => self.expr(then, env)?,
                    Ok(false) => self.expr(otherwise, env)?,
                    Err(reported) => {
                        let at = |span| Place { file: env.file, span };
                        let between = |a: Span, b: Span| at(Span::new(a.end, b.start));
                        if let Some(d) = self.diagnostics.get_mut(before).filter(|d| d.code == "FG0210") {
                            d.fixes.push(
                                Fix::new("choose elementwise")
                                    .replace(at(Span::new(e.span.start, cond.span.start)), "select(")
                                    .replace(between(cond.span, then.span), ", ")
                                    .replace(between(then.span, otherwise.span), ", ")
                                    .after(at(otherwise.span), ")"),
                            );
                        }
                        return Err(reported);
                    }
                }
            }
            ExprKind::Lambda { params, body } => Value::Function(Rc::new(Closure {
                name: "fn".into(),
                kind: match env.schedule {
                    Some(s) => ClosureKind::Member(s),
                    None => ClosureKind::Function,
                },
                params: params.clone(),
                result: None,
                body: Code::Expr(body.clone()),
                env: env.clone(),
            })),
            ExprKind::Member { base, name } => {
                let base_value = self.expr(base, env)?;
                self.member(&base_value, name, env, place)?
            }
            ExprKind::Index { base, index } => {
                let base = self.expr(base, env)?;
                let at = self.expr(index, env)?;
                self.index(&base, &at, place)?
            }
            ExprKind::Call { callee, scope, args, over } => {
                self.call_expr(callee, scope.as_ref(), args, over.as_ref(), env, place)?
            }
            ExprKind::Error => return Err(super::Reported),
        })
    }

    pub fn name(&mut self, name: &str, env: &Env, place: Place) -> Result<Value> {
        if let Some(binding) = env.find(name) {
            self.read.insert(name.to_owned());
            return match binding.value {
                Value::Error => Err(super::Reported),
                value => Ok(value),
            };
        }
        if let Some(s) = env.schedule
            && let Some(value) = self.schedule_member(s, name, place)?
        {
            return Ok(value);
        }
        if let Some(found) = self.modules.lookup(env.module, name) {
            return self.definition(&found, place);
        }
        if let Some(value) = self.built_in_name(name) {
            return Ok(value);
        }
        if is_axis(name) {
            return Ok(Value::Axis(name.into()));
        }
        if self.again(name, place) {
            return Err(super::Reported);
        }
        let missing = |message: String| Diagnostic::error("FG0104", message).label(place, "not found here");
        if self.setup.fields.contains_key(name) {
            let help = match name {
                "x" => "it is a field of the data: `data x`".into(),
                _ => format!("it is a field of the data: `data x, {name}`"),
            };
            return Err(self.report(missing(format!("`{name}` is not defined")).help(help)));
        }
        // The syntax said what to write instead of this word.
        let foreign = |d: &Diagnostic| d.code == FOREIGN && d.labels.iter().any(|l| l.place == place);
        if self.diagnostics.iter().any(foreign) {
            return Err(super::Reported);
        }
        if let Some(help) = super::habits::name(name) {
            return Err(self.report(missing(format!("there is no `{name}`")).help(help)));
        }
        let modules = self.standard_items();
        if let Some((path, _)) = modules.iter().find(|(_, items)| items.iter().any(|i| i == name)) {
            let fix = self.import(place, &format!("{path}.{name}"));
            return Err(self.report(
                missing(format!("`{name}` is not defined here"))
                    .help(format!("`{path}` defines it: `use {path}.{name}`"))
                    .fix(fix),
            ));
        }
        let locals = env.locals();
        let module = self.modules.names(env.module);
        let builtins = super::builtin::names();
        let mut all: Vec<&str> = locals.iter().map(String::as_str).collect();
        all.extend(module);
        for builtin in builtins {
            all.push(builtin);
        }
        let d = missing(format!("`{name}` is not defined"));
        if let Some(n) = nearest(name, all.iter().copied()) {
            let fix = Fix::rename(place, name, n);
            let d = d.help(format!("did you mean `{n}`?")).fix(fix);
            return Err(self.report(d));
        }
        // Perhaps of a module that the file does not use.
        let elsewhere = modules.iter().flat_map(|(path, items)| items.iter().map(move |i| (i.as_str(), path)));
        let elsewhere: IndexMap<&str, &String> = elsewhere.collect();
        let d = match nearest(name, elsewhere.keys().copied()) {
            Some(n) => d.help(format!("did you mean `{n}` of `{}`?", elsewhere[n])),
            None if self.is_from_outside(place) => d.help(
                "what is set is a number, `true`, `none`, a list such as `[80, 2, 0]`, or a call such as \
                 `lognormal(-1.2, 1.2)`",
            ),
            None => d.help("names are bound by `let`, `draw`, `data`, `net`, or brought in by `use`"),
        };
        Err(self.report(d))
    }

    /// Whether a place is in a value from a preset or the command line.
    fn is_from_outside(&self, place: Place) -> bool {
        self.sources.file(place.file).name.ends_with(OUTSIDE)
    }

    /// Adds a place to the report of a name that is not defined, if there is one already.
    fn again(&mut self, name: &str, place: Place) -> bool {
        let quoted = format!("`{name}`");
        let same = |d: &&mut Diagnostic| {
            d.code == "FG0104" && d.message.contains(&quoted) && d.labels[0].place.file == place.file
        };
        let Some(d) = self.diagnostics.iter_mut().find(same) else { return false };
        if d.labels.iter().all(|l| l.place != place) {
            d.labels.push(Label { place, text: "and here".into() });
            for fix in d.fixes.iter_mut().filter(|f| f.edits.iter().any(|e| e.place == d.labels[0].place)) {
                let text = fix.edits[0].text.clone();
                fix.edits.push(Edit { place, text });
            }
        }
        true
    }

    /// The standard modules with the names they define.
    fn standard_items(&mut self) -> Vec<(String, Vec<String>)> {
        let items = |path: String| {
            let id = self.modules.load_standard(self.sources, &path, &mut Vec::new())?;
            let names = self.modules.module(id).items.iter().filter_map(|i| crate::module::item_name(i));
            let names = names.map(|n| n.text.clone()).collect();
            Some((path, names))
        };
        crate::source::standard_modules().into_iter().filter_map(items).collect()
    }

    /// `use path` at the top of the file that `place` is in, after what is used already.
    fn import(&self, place: Place, path: &str) -> Fix {
        let text = &self.sources.file(place.file).text;
        let (mut at, mut end) = (0, 0);
        for line in text.split_inclusive('\n') {
            end += line.len();
            if line.starts_with("//!") || line.starts_with("use ") {
                at = end;
            } else if !line.trim().is_empty() && !line.starts_with("//") {
                break;
            }
        }
        let first = text[..at].lines().last().is_none_or(|line| line.starts_with("//!"));
        let line = if first && at > 0 { format!("\nuse {path}\n") } else { format!("use {path}\n") };
        Fix::new(format!("add `use {path}`")).before(Place { span: Span::new(at, at), ..place }, line).certain()
    }

    /// The value of a module's item.
    fn definition(&mut self, found: &Definition, place: Place) -> Result<Value> {
        let module = self.modules.module(found.module);
        let file = module.file;
        let env = Env { module: found.module, file, scope: Rc::default(), schedule: None };
        match &found.item.kind {
            ItemKind::Let { value, .. } => {
                self.enter(place, "let")?;
                let value = self.expr(value, &env);
                self.frames.pop();
                value
            }
            ItemKind::Fn(f) | ItemKind::Layer(f) => {
                let layer = matches!(found.item.kind, ItemKind::Layer(_));
                let kind = if layer { ClosureKind::Layer } else { ClosureKind::Function };
                // One value an item: to copy its tree at every use takes longer than all else.
                let known = self.functions.entry((found.module, f.name.span.start));
                Ok(known.or_insert_with(|| function(f, kind, &env)).clone())
            }
            ItemKind::Schedule { name, members } => {
                Ok(Value::Schedule(self.schedule(found.module, file, &name.text, members)))
            }
            ItemKind::Extern(e) => {
                let known = self.functions.entry((found.module, e.name.span.start));
                Ok(known.or_insert_with(|| Value::Extern(Rc::new(Declared::new(e, &env)))).clone())
            }
            ItemKind::Method { name, .. } => {
                let message = format!("`{}` is a method, and methods cannot be used as values", name.text);
                let help = "what several methods share is a `fn`";
                Err(self.error_help("FG0105", message, place, "a method", help))
            }
            ItemKind::Use { .. } | ItemKind::Error => Err(super::Reported),
        }
    }

    /// A schedule's identity: one an item.
    pub fn schedule(
        &mut self,
        module: crate::module::ModuleId,
        file: crate::source::FileId,
        name: &str,
        members: &[Item],
    ) -> ScheduleId {
        let key = (module, name.to_owned());
        if let Some(&id) = self.schedule_ids.get(&key) {
            return id;
        }
        let id = ScheduleId(self.schedules.len() as u32);
        self.schedules.push(super::elaborate::ScheduleState {
            name: name.into(),
            module,
            file,
            members: members.iter().cloned().map(Rc::new).collect(),
            cache: Default::default(),
        });
        self.schedule_ids.insert(key, id);
        id
    }

    /// A member of a schedule, if it has it.
    pub fn schedule_member(&mut self, id: ScheduleId, name: &str, place: Place) -> Result<Option<Value>> {
        let state = &self.schedules[id.0 as usize];
        if let Some(value) = state.cache.get(name) {
            return Ok(Some(value.clone()));
        }
        let env = Env { module: state.module, file: state.file, scope: Rc::default(), schedule: Some(id) };
        let named = |item: &&Rc<Item>| crate::module::item_name(item).is_some_and(|n| n.text == name);
        let Some(item) = state.members.iter().find(named).cloned() else { return Ok(None) };
        let value = match &item.kind {
            ItemKind::Let { value, .. } => {
                self.enter(place, name)?;
                let value = self.expr(value, &env);
                self.frames.pop();
                value?
            }
            ItemKind::Fn(f) => function(f, ClosureKind::Member(id), &env),
            _ => return Ok(None),
        };
        self.schedules[id.0 as usize].cache.insert(name.into(), value.clone());
        Ok(Some(value))
    }

    fn member(&mut self, base: &Value, name: &Name, env: &Env, place: Place) -> Result<Value> {
        let at = Place { file: env.file, span: name.span };
        match base {
            Value::Error => Err(super::Reported),
            Value::Record(fields) => match fields.get(&name.text) {
                Some(value) => Ok(value.clone()),
                None => {
                    let known: Vec<&str> = fields.keys().map(String::as_str).collect();
                    let d = Diagnostic::error("FG0106", format!("this record has no field `{}`", name.text))
                        .label(at, "not found");
                    Err(self.report(match super::habits::member(&name.text) {
                        Some(help) => d.help(help),
                        None => d.among(at, &name.text, &known),
                    }))
                }
            },
            Value::Schedule(s) => {
                if name.text == "time" {
                    return Ok(Value::TimeOf(*s));
                }
                if name.text == "name" {
                    return Ok(Value::str(self.schedule_name(*s)));
                }
                match self.schedule_member(*s, &name.text, place)? {
                    Some(value) => {
                        self.learn_member(*s, name, env);
                        Ok(value)
                    }
                    None => {
                        let state = &self.schedules[s.0 as usize];
                        let known: Vec<String> = state
                            .members
                            .iter()
                            .filter_map(|i| crate::module::item_name(i).map(|n| n.text.clone()))
                            .collect();
                        let known: Vec<&str> = known.iter().map(String::as_str).collect();
                        let message = format!("schedule `{}` has no `{}`", state.name, name.text);
                        Err(self.report(
                            Diagnostic::error("FG0106", message).label(at, "not found").among(at, &name.text, &known),
                        ))
                    }
                }
            }
            Value::Network(net) => self.net_member(*net, &name.text, at),
            other => {
                let shown = self.show(other);
                let help = super::habits::member(&name.text).unwrap_or("records, networks and schedules have members");
                Err(self.error_help("FG0106", format!("{shown} has no member `{}`", name.text), at, "not found", help))
            }
        }
    }

    fn index(&mut self, base: &Value, at: &Value, place: Place) -> Result<Value> {
        match (base, at) {
            (Value::Error, _) | (_, Value::Error) => Err(super::Reported),
            (Value::List(items), Value::Int(i)) => match usize::try_from(*i).ok().and_then(|i| items.get(i)) {
                Some(value) => Ok(value.clone()),
                None => {
                    let message = format!("there is no entry {i} in a list of {}", items.len());
                    Err(self.error_help("FG0211", message, place, "out of range", "entries count from 0"))
                }
            },
            (Value::List(_), Value::List(indices)) => {
                let picked: Result<Vec<Value>> = indices.iter().map(|i| self.index(base, i, place)).collect();
                Ok(Value::list(picked?))
            }
            (Value::Record(fields), Value::Str(key)) => match fields.get(&**key) {
                Some(value) => Ok(value.clone()),
                None => {
                    let known: Vec<&str> = fields.keys().map(String::as_str).collect();
                    let help = suggestion(key, &known);
                    Err(self.error_help(
                        "FG0106",
                        format!("this record has no field `{key}`"),
                        place,
                        "not found",
                        help,
                    ))
                }
            },
            (base, at) => {
                let (base, at) = (self.show(base), self.show(at));
                Err(self.error_help(
                    "FG0212",
                    format!("{base} cannot be indexed by {at}"),
                    place,
                    "in this index",
                    "lists take a whole number or a list of them; tensors `take(x, AXIS, i)` and `gather`",
                ))
            }
        }
    }
}

fn function(f: &Function, kind: ClosureKind, env: &Env) -> Value {
    Value::Function(Rc::new(Closure {
        name: f.name.text.clone(),
        kind,
        params: f.params.clone(),
        result: f.result.clone(),
        body: Code::Body(f.body.clone()),
        env: env.clone(),
    }))
}

/// Names of axes are words that start with a capital.
pub fn is_axis(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

pub fn suggestion(name: &str, known: &[&str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(n) => format!("did you mean `{n}`?"),
        None if known.is_empty() => "it has none".into(),
        None => format!("it has {}", known.join(", ")),
    }
}
