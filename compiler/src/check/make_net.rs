//! `net` statements: a network from what the preset says it is.

use super::elaborate::{Elaborator, Result};
use super::net::{NetKind, NetState, Training};
use super::value::*;
use crate::diagnostic::{Diagnostic, Fix, Place, nearest};
use crate::optimizer::{Ema, Optimizer, OptimizerKind};
use crate::preset::NetSpec;
use fgc_grammar::ast::{Expr, ExprKind, ItemKind, Name, NetAttr, NetAttrKind};
use fgc_program::NetId;
use rustc_hash::FxHashMap;
use std::rc::Rc;

impl Elaborator<'_> {
    pub(super) fn net(&mut self, name: &Name, value: &Expr, attrs: &[NetAttr], env: &Env) -> Result<()> {
        let place = Place { file: env.file, span: name.span };
        let template = match &*value.kind {
            ExprKind::Call { callee, args, .. } => match self.expr(callee, env)? {
                Value::Template(t) => Some((t, args.is_empty())),
                _ => None,
            },
            _ => None,
        };
        let Some((template, true)) = template else {
            let at = Place { file: env.file, span: value.span };
            let bare = matches!(&*value.kind, ExprKind::Name(n) if n == "denoiser" || n == "critic");
            let text = if template.is_some() { "takes no arguments" } else { "not a kind of network" };
            let d = Diagnostic::error("FG0603", "`net` takes a kind of network: `denoiser()` or `critic()`")
                .label(at, text)
                .help("the preset says which network that is, and how large");
            return Err(self.report(match bare {
                true => d.fix(Fix::new("call it").after(at, "()").certain()),
                false => d,
            }));
        };
        let Some(spec) = self.setup.net(&name.text, &template).cloned() else {
            let at = Place { file: env.file, span: value.span };
            return Err(self.error_help(
                "FG0604",
                format!("the preset names no network for `{template}()`"),
                at,
                "",
                format!("add `\"{template}\": (network: \"…\")` to the preset's `nets`"),
            ));
        };
        self.known_words(&spec, place)?;
        let mut state = NetState::new(&name.text, place, NetKind::Plain, Value::Error);
        if &*template == "denoiser" {
            let schedule = self.preset_schedule(&spec, place)?;
            state.kind = NetKind::Denoiser { schedule, spec: spec.clone() };
        }
        state.body = self.net_body(&name.text, &spec, place)?;
        for attr in attrs {
            self.net_attribute(&mut state, attr, env)?;
        }
        if let Some(over) = self.setup.optimizers.get(&name.text) {
            state.training.optimizer = Some(over.clone());
        }
        let calls: Vec<Place> = attrs
            .iter()
            .filter(|a| matches!(a.kind, NetAttrKind::Call { .. }))
            .map(|a| Place { file: env.file, span: a.span })
            .collect();
        if let (Some(frozen), Some(&first)) = (state.frozen_at, calls.first()) {
            let learns = calls.iter().fold(Fix::new("let it stay frozen"), |fix, &at| fix.replace(at, ""));
            return Err(self.report(
                Diagnostic::error("FG0605", format!("`{}` is frozen, so its weights never change", name.text))
                    .label(first, "an optimiser, average or limit of updates has nothing to do")
                    .label(frozen, "frozen here")
                    .help("drop `frozen`, or what follows it")
                    .fix(learns)
                    .fix(Fix::new("let it learn").replace(frozen, "")),
            ));
        }
        state.attributes = calls;
        state.end = Place { file: env.file, span: attrs.last().map_or(value.span, |a| a.span) };
        let id = NetId(self.nets.len() as u32);
        if self.nets.iter().any(|n| n.name == name.text) {
            let first = self.nets.iter().find(|n| n.name == name.text).map_or(place, |n| n.place);
            return Err(self.report(
                Diagnostic::error("FG0101", format!("network `{}` is made twice", name.text))
                    .label(place, "again here")
                    .label(first, "first here")
                    .help("give one of them another name"),
            ));
        }
        self.nets.push(state);
        self.record_binding(name, &Value::Network(id), env);
        env.bind(&name.text, Value::Network(id), false);
        Ok(())
    }

    fn net_attribute(&mut self, state: &mut NetState, attr: &NetAttr, env: &Env) -> Result<()> {
        let at = Place { file: env.file, span: attr.span };
        match &attr.kind {
            NetAttrKind::Frozen => {
                state.frozen = true;
                state.frozen_at = Some(at);
            }
            NetAttrKind::From(source) => {
                let place = Place { file: env.file, span: source.span };
                match self.name(&source.text, env, place)? {
                    Value::Network(net) => state.from = Some(net),
                    v => {
                        let shown = self.show(&v);
                        return Err(self.error(
                            "FG0606",
                            format!("`from` takes a network, found {shown}"),
                            place,
                            &shown,
                        ));
                    }
                }
            }
            NetAttrKind::Call { name, args } => {
                let mut given: Vec<(Option<String>, f64)> = Vec::new();
                for arg in args {
                    let place = Place { file: env.file, span: arg.value.span };
                    let key = arg.name.as_ref().map(|n| n.text.clone());
                    match self.expr(&arg.value, env)? {
                        Value::List(l) if key.as_deref() == Some("betas") && l.len() == 2 => {
                            for (i, v) in l.iter().enumerate() {
                                given.push((Some(format!("beta{}", i + 1)), v.number().unwrap_or(f64::NAN)));
                            }
                        }
                        v => match v.number() {
                            Some(x) => given.push((key, x)),
                            None => {
                                let shown = self.show(&v);
                                return Err(self.error(
                                    "FG0209",
                                    format!("a number is wanted here, found {shown}"),
                                    place,
                                    &shown,
                                ));
                            }
                        },
                    }
                }
                self.training_attribute(&mut state.training, name, &given, at)?;
            }
        }
        Ok(())
    }

    fn training_attribute(
        &mut self,
        training: &mut Training,
        name: &Name,
        given: &[(Option<String>, f64)],
        at: Place,
    ) -> Result<()> {
        let called = Place { span: name.span, ..at };
        let name = name.text.as_str();
        let allowed: &[&str] = match name {
            "adamw" | "adam" | "radam" => &["lr", "beta1", "beta2", "eps", "weight_decay"],
            "ema" => &["decay", "half_life"],
            "clip" => &["norm"],
            "warmup" => &["updates"],
            _ => {
                let known = ["adamw", "adam", "radam", "ema", "clip", "warmup"];
                let d = Diagnostic::error("FG0607", format!("networks take no `{name}`")).label(called, "unknown");
                return Err(self.report(match nearest(name, known) {
                    Some(n) => d.help(format!("did you mean `{n}`?")).fix(Fix::rename(called, name, n)),
                    None => d.help(format!("networks take frozen, from, {}", known.join(", "))),
                }));
            }
        };
        let mut values: FxHashMap<&str, f64> = FxHashMap::default();
        for (i, (key, x)) in given.iter().enumerate() {
            let key = key.as_deref().or(allowed.get(i).copied()).unwrap_or("");
            match allowed.iter().find(|a| **a == key) {
                Some(known) if !x.is_nan() => {
                    values.insert(known, *x);
                }
                _ => {
                    let message = match key {
                        "" => format!(
                            "`{name}` takes {} number{}",
                            allowed.len(),
                            if allowed.len() == 1 { "" } else { "s" }
                        ),
                        key => format!("`{name}` has no setting `{key}`"),
                    };
                    let help = match key {
                        "wd" | "decay" if allowed.contains(&"weight_decay") => "did you mean `weight_decay`?".into(),
                        "learning_rate" | "rate" => "did you mean `lr`?".into(),
                        _ => format!("it has {}", allowed.join(", ")),
                    };
                    return Err(self.error_help("FG0607", message, at, "unknown setting", help));
                }
            }
        }
        for (&key, &x) in &values {
            let (fits, range) = match key {
                "lr" | "weight_decay" | "updates" => (x >= 0.0, "at least 0"),
                "decay" => ((0.0..=1.0).contains(&x), "between 0 and 1"),
                "beta1" | "beta2" => ((0.0..1.0).contains(&x), "at least 0 and below 1"),
                _ => (x > 0.0, "above 0"),
            };
            if !fits {
                let message = format!("`{key}` of `{name}` must be {range}, and is {x}");
                let help = match key {
                    "decay" => "it is the share of the average that each update keeps: `ema(0.999)`",
                    "beta1" | "beta2" => "`betas = [0.9, 0.999]` are usual",
                    "lr" => "`lr = 1e-4` is usual",
                    _ => "",
                };
                return Err(self.error_help("FG0616", message, at, "out of range", help));
            }
        }
        let get = |key: &str, default: f64| values.get(key).copied().unwrap_or(default);
        match name {
            "ema" => {
                training.ema = Some(match values.get("half_life") {
                    Some(&samples) => Ema::HalfLife { samples },
                    None => Ema::Decay(get("decay", 0.999)),
                });
            }
            "clip" => training.clip = Some(get("norm", 1.0)),
            "warmup" => training.warmup = get("updates", 0.0),
            kind => {
                let kind = match kind {
                    "adamw" => OptimizerKind::AdamW,
                    "adam" => OptimizerKind::Adam,
                    _ => OptimizerKind::RAdam,
                };
                training.optimizer = Some(Optimizer {
                    kind,
                    lr: get("lr", 1e-3),
                    betas: [get("beta1", 0.9), get("beta2", 0.999)],
                    eps: get("eps", 1e-8),
                    weight_decay: get("weight_decay", if kind == OptimizerKind::AdamW { 0.01 } else { 0.0 }),
                });
            }
        }
        Ok(())
    }

    /// What a preset says in words, which would otherwise go unnoticed.
    fn known_words(&mut self, spec: &NetSpec, place: Place) -> Result<()> {
        for (field, word, known) in [
            ("predicts", &spec.predicts, &["x0", "eps", "v", "flow"][..]),
            ("precondition", &spec.precondition, &["edm", "none"]),
        ] {
            if !known.contains(&word.as_str()) {
                let message = format!("the preset says `{field}: \"{word}\"`");
                let help = format!("`{field}` is one of {}", known.join(", "));
                return Err(self.error_help("FG0615", message, place, "of this network", help));
            }
        }
        if spec.sigma_data.is_nan() || spec.sigma_data <= 0.0 {
            let message = format!("the preset says `sigma_data: {}`", spec.sigma_data);
            let help = "it is the standard deviation of the data, above 0: `sigma_data: 0.5`";
            return Err(self.error_help("FG0615", message, place, "of this network", help));
        }
        Ok(())
    }

    /// The schedule a preset names, `std.schedule.<name>`.
    fn preset_schedule(&mut self, spec: &NetSpec, place: Place) -> Result<ScheduleId> {
        let name = &spec.schedule;
        let modules = crate::source::standard_modules();
        let known: Vec<&str> = modules.iter().filter_map(|m| m.strip_prefix("std.schedule.")).collect();
        if !known.contains(&name.as_str()) {
            let help = super::expr::suggestion(name, &known).replace("it has", "schedules are");
            let message = format!("the preset names a schedule `{name}`, which does not exist");
            return Err(self.error_help("FG0608", message, place, "this network's", help));
        }
        match self.standard_function(&format!("std.schedule.{name}"), name, place)? {
            Value::Schedule(s) => Ok(s),
            _ => Err(super::Reported),
        }
    }

    /// A network's body from the preset's words: `mlp(hidden = 128, classes = classes)`.
    fn net_body(&mut self, net: &str, spec: &NetSpec, place: Place) -> Result<Value> {
        let file = self.sources.add(&format!("network of {net} in the preset"), &spec.network, false);
        let whole = Place { file, span: fgc_grammar::Span::new(0, spec.network.len()) };
        let parsed = match fgc_grammar::parse_expr(&spec.network) {
            Ok(e) => e,
            Err(errors) => {
                for e in errors {
                    self.report(crate::module::syntax(e, file));
                }
                return Err(super::Reported);
            }
        };
        let ExprKind::Call { callee, args, .. } = &*parsed.kind else {
            return Err(self.error_help(
                "FG0604",
                "a preset's network is a call",
                whole,
                "",
                "`\"mlp(hidden = 128)\"`",
            ));
        };
        let ExprKind::Name(layer) = &*callee.kind else {
            return Err(self.error("FG0604", "a preset's network is a layer's name with sizes", whole, ""));
        };
        let env = Env { module: self.user, file, scope: Rc::default(), schedule: None };
        env.bind("classes", Value::Int(self.setup.classes() as i64), false);
        let schedule = self.preset_schedule(spec, place)?;
        env.bind("schedule", Value::Schedule(schedule), false);
        // A table of every mode takes long to make: only where the words name it.
        if spec.network.contains("mixture")
            && let (Some(mixture), Some(x)) = (&self.setup.mixture, self.setup.fields.get("x"))
        {
            env.bind("mixture", mixture.to_value(x, self.setup.classes()), false);
        }
        let at = Place { file, span: callee.span };
        let value = match self.find_network(layer, &env, at)? {
            Value::Function(f) if f.kind == ClosureKind::Layer => f,
            v => {
                let shown = self.show(&v);
                return Err(self.error("FG0604", format!("`{layer}` is not a network, but {shown}"), at, ""));
            }
        };
        let mut given = Vec::new();
        for arg in args {
            let Some(name) = &arg.name else {
                return Err(self.error_help(
                    "FG0604",
                    "a network's sizes are given by name",
                    whole,
                    "",
                    "`hidden = 128`",
                ));
            };
            if !value.params.iter().any(|p| p.name.text == name.text) {
                // The first ones are what it is called with.
                let sizes = value.params.iter().map(|p| p.name.text.as_str());
                let known: Vec<&str> = sizes.filter(|p| !["x", "t", "c", "r"].contains(p)).collect();
                let at = Place { file, span: name.span };
                let message = format!("the network `{layer}` has no size `{}`", name.text);
                return Err(self
                    .report(Diagnostic::error("FG0216", message).label(at, "unknown").among(at, &name.text, &known)));
            }
            given.push((name.text.clone(), self.expr(&arg.value, &env)?));
        }
        Ok(Value::Body(Rc::new(NetBody { layer: value, given })))
    }

    /// A network by name: what the user's file sees, else the standard networks.
    fn find_network(&mut self, name: &str, env: &Env, place: Place) -> Result<Value> {
        if self.modules.lookup(env.module, name).is_some() {
            return self.name(name, env, place);
        }
        let mut known = Vec::new();
        let modules = crate::source::standard_modules();
        for path in modules.iter().filter(|m| m.starts_with("std.network.")) {
            let mut diagnostics = Vec::new();
            let Some(id) = self.modules.load_standard(self.sources, path, &mut diagnostics) else { continue };
            self.diagnostics.append(&mut diagnostics);
            let layers = self.modules.module(id).items.iter().filter_map(|i| match &i.kind {
                ItemKind::Layer(f) => Some(f.name.text.clone()),
                _ => None,
            });
            let layers: Vec<String> = layers.collect();
            if layers.iter().any(|l| l == name) {
                return self.standard_function(path, name, place);
            }
            known.extend(layers);
        }
        let d = Diagnostic::error("FG0104", format!("there is no network `{name}`")).label(place, "not found");
        Err(self.report(match nearest(name, known.iter().map(String::as_str)) {
            Some(n) => d.help(format!("did you mean `{n}`?")).fix(Fix::rename(place, name, n)),
            None => {
                d.help("networks are mlp, unet, dit, analytic, mlp_critic, unet_critic, and layers of your own file")
            }
        }))
    }
}
