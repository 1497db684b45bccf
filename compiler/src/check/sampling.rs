//! `sample` statements, and `scan`: a loop over rows of numbers.

use super::elaborate::{Elaborator, LayerScope, Result};
use super::value::*;
use crate::diagnostic::Place;
use crate::graph::{NodeId, Source, Ty};
use fgc_grammar::ast::{Block, Expr, Name};
use fgc_program::DType;
use rustc_hash::FxHashMap;

/// A sampler: what it answers, in terms of what its loops carry.
#[derive(Clone, Debug)]
pub struct SampleSpec {
    pub name: String,
    /// In the order they run.
    pub scans: Vec<ScanSpec>,
    /// Draws: after how many loops they are made; None: in a loop's body, for each row.
    pub draws: FxHashMap<NodeId, Option<usize>>,
    pub result: NodeId,
    pub place: Place,
}

/// A loop that the runtime repeats.
#[derive(Clone, Debug)]
pub struct ScanSpec {
    /// Where its carried value is kept.
    pub slot: usize,
    pub init: NodeId,
    pub body: NodeId,
    pub rows: Vec<Vec<f64>>,
}

/// A sampler while it is elaborated.
#[derive(Clone, Debug, Default)]
pub struct SamplerState {
    pub scans: Vec<ScanSpec>,
    pub draws: FxHashMap<NodeId, Option<usize>>,
    in_body: bool,
}

impl SamplerState {
    /// Notes a draw.
    pub fn drawn(&mut self, node: NodeId) {
        let when = if self.in_body { None } else { Some(self.scans.len()) };
        self.draws.insert(node, when);
    }
}

impl Elaborator<'_> {
    pub(super) fn sample(&mut self, name: Option<&Name>, value: &Expr, env: &Env, place: Place) -> Result<()> {
        let label = name.map_or("method".to_owned(), |n| n.text.clone());
        // All samplers share their draws: from one seed the student and the teacher start from the same noise.
        let prefix = std::mem::replace(&mut self.draw_prefix, "sample.".into());
        self.draws.retain(|name, _| !name.starts_with("sample."));
        let outer = self.sampler.replace(SamplerState::default());
        let layer: Option<LayerScope> = self.layer.take();
        let result = self.expr(value, env);
        self.layer = layer;
        self.draw_prefix = prefix;
        let SamplerState { scans, draws, .. } = std::mem::replace(&mut self.sampler, outer).unwrap_or_default();
        let at = Place { file: env.file, span: value.span };
        let Value::Tensor(t) = result? else {
            let help = "call a sampler: `sample few_step(student, x, c, s.t_list(2))`";
            return Err(self.error_help("FG0611", "`sample` takes a tensor of samples", at, "not a tensor", help));
        };
        self.samplers.push(SampleSpec { name: label, scans, draws, result: t.node, place });
        Ok(())
    }

    /// `scan t, u in rows carry x { … }`. In a sampler the body is elaborated once, for the runtime to repeat over the
    /// rows; elsewhere once for each row.
    pub fn scan(
        &mut self,
        names: &[Name],
        iter: &Expr,
        carry: &Name,
        body: &Block,
        env: &Env,
        place: Place,
    ) -> Result<()> {
        let at = Place { file: env.file, span: iter.span };
        let Value::List(items) = self.expr(iter, env)? else {
            let help = "such as `s.t_list(10)`, or `pairs(s.t_list(10))` for each time with the next";
            return Err(self.error_help("FG0219", "`scan` runs over a list of numbers", at, "not a list", help));
        };
        let mut rows: Vec<Vec<Value>> = Vec::new();
        for item in items.iter() {
            let row = match item {
                Value::List(l) => l.to_vec(),
                v => vec![v.clone()],
            };
            if row.len() != names.len() || row.iter().any(|v| v.number().is_none()) {
                let shown = self.show(item);
                return Err(self.error("FG0220", format!("{} names for {shown}", names.len()), at, ""));
            }
            rows.push(row);
        }
        let at = Place { file: env.file, span: carry.span };
        let Value::Tensor(init) = self.name(&carry.text, env, at)? else {
            let help = "`carry` names a variable that holds samples: `var x = latents(s, z)`";
            return Err(self.error_help("FG0611", "`carry` takes a tensor", at, "not a tensor", help));
        };
        if !env.find(&carry.text).is_some_and(|found| found.mutable) {
            return Err(self.unassignable(carry, at, "carried, so assigned"));
        }
        let Some(sampler) = &mut self.sampler else {
            for row in rows {
                let inner = env.child();
                for (name, value) in names.iter().zip(row) {
                    self.learn_binding(name, &value, &inner);
                    inner.bind(&name.text, value, false);
                }
                self.block(body, &inner)?;
                let after = self.carried(carry, &init, env, at)?;
                env.assign(&carry.text, Value::Tensor(after));
            }
            return Ok(());
        };
        if std::mem::replace(&mut sampler.in_body, true) {
            return Err(self.error_help(
                "FG0612",
                "`scan` stands in the body of another",
                place,
                "",
                "make one `scan` over a list of all rows, or use `for` for the outer loop",
            ));
        }
        if rows.is_empty() {
            sampler.in_body = false;
            return Ok(());
        }
        let slot = self.slots;
        self.slots += 1;
        let node = self.graph.source(Source::Kept { slot }, self.graph.ty(init.node).clone());
        let carried = Tensor { node, ..init.clone() };
        env.assign(&carry.text, Value::Tensor(carried.clone()));
        let inner = env.child();
        for (position, name) in names.iter().enumerate() {
            let node = self.graph.source(Source::Row { position }, Ty::new(DType::F64, &[]));
            inner.bind(&name.text, Value::Tensor(Tensor { node, axes: Vec::new(), clock: None }), false);
        }
        let outcome = self.block(body, &inner);
        if let Some(sampler) = &mut self.sampler {
            sampler.in_body = false;
        }
        outcome?;
        let after = self.carried(carry, &init, env, at)?;
        env.assign(&carry.text, Value::Tensor(carried));
        let rows = rows.iter().map(|row| row.iter().filter_map(Value::number).collect()).collect();
        if let Some(sampler) = &mut self.sampler {
            sampler.scans.push(ScanSpec { slot, init: init.node, body: after.node, rows });
        }
        Ok(())
    }

    /// What the body has made of the carried variable, with the axes and the dtype it started with.
    fn carried(&mut self, carry: &Name, init: &Tensor, env: &Env, at: Place) -> Result<Tensor> {
        let Value::Tensor(after) = self.name(&carry.text, env, at)? else {
            return Err(self.error("FG0611", "`carry` must stay a tensor", at, ""));
        };
        if after.axes.iter().any(|a| !init.axes.contains(a)) {
            let (a, b) = (self.show(&Value::Tensor(init.clone())), self.show(&Value::Tensor(after)));
            return Err(self.error("FG0201", format!("`{}` starts as {a} and becomes {b}", carry.text), at, ""));
        }
        let shape = self.shape_of(init);
        let node = self.to_axes(&after, &init.axes, &shape);
        let node = self.graph.cast(node, self.graph.dtype(init.node));
        Ok(Tensor { node, ..init.clone() })
    }
}
