//! `sample` statements and the `scan` inside the functions they call.

use super::elaborate::{Elaborator, LayerScope, Result};
use super::value::*;
use crate::diagnostic::Place;
use crate::graph::{NodeId, Source, Ty};
use fgc_grammar::ast::{Block, Expr, Name};
use fgc_program::DType;

/// A sampler: a start, and a step repeated over rows of numbers.
#[derive(Clone, Debug)]
pub struct SampleSpec {
    pub name: String,
    pub init: NodeId,
    pub repeat: Option<(NodeId, Vec<Vec<f64>>)>,
    pub place: Place,
}

/// A `scan` met while a sampler is elaborated.
#[derive(Clone, Debug, Default)]
pub struct ScanState {
    pub init: Option<NodeId>,
    pub body: Option<NodeId>,
    pub carry: Option<NodeId>,
    pub rows: Vec<Vec<f64>>,
}

impl Elaborator<'_> {
    pub(super) fn sample(&mut self, name: Option<&Name>, value: &Expr, env: &Env, place: Place) -> Result<()> {
        let label = name.map_or("method".to_owned(), |n| n.text.clone());
        // All samplers share their draws: from one seed the student and the teacher start from the same noise.
        let prefix = std::mem::replace(&mut self.draw_prefix, "sample.".into());
        self.draws.retain(|name, _| !name.starts_with("sample."));
        let outer = self.scan.replace(ScanState::default());
        let layer: Option<LayerScope> = self.layer.take();
        let result = self.expr(value, env);
        self.layer = layer;
        self.draw_prefix = prefix;
        let scan = std::mem::replace(&mut self.scan, outer).unwrap_or_default();
        let at = Place { file: env.file, span: value.span };
        let Value::Tensor(t) = result? else {
            return Err(self.error("FG0611", "a sampler gives a tensor of samples", at, ""));
        };
        let spec = match (scan.init, scan.body, scan.carry) {
            (Some(init), Some(body), Some(carry)) => {
                if t.node != carry {
                    return Err(self.error("FG0611", "a sampler returns what its `scan` carries, as it is", at, ""));
                }
                SampleSpec { name: label, init, repeat: Some((body, scan.rows)), place }
            }
            _ => SampleSpec { name: label, init: t.node, repeat: None, place },
        };
        self.samplers.push(spec);
        Ok(())
    }

    /// `scan t, u in rows carry x { … }`: the body once, to be repeated over the rows.
    pub fn scan(
        &mut self,
        names: &[Name],
        iter: &Expr,
        carry: &Name,
        body: &Block,
        env: &Env,
        place: Place,
    ) -> Result<()> {
        if self.scan.as_ref().is_none_or(|s| s.init.is_some()) {
            return Err(self.error_help(
                "FG0612",
                "`scan` stands once, in a function that `sample` calls",
                place,
                "",
                "elsewhere `for` repeats while compiling",
            ));
        }
        let at = Place { file: env.file, span: iter.span };
        let Value::List(items) = self.expr(iter, env)? else {
            return Err(self.error("FG0219", "`scan` runs over a list of numbers", at, ""));
        };
        let mut rows = Vec::new();
        for item in items.iter() {
            let numbers: Option<Vec<f64>> = match item {
                Value::List(l) => l.iter().map(Value::number).collect(),
                v => v.number().map(|x| vec![x]),
            };
            match numbers {
                Some(row) if row.len() == names.len() => rows.push(row),
                _ => {
                    let shown = self.show(item);
                    return Err(self.error("FG0220", format!("{} names for {shown}", names.len()), at, ""));
                }
            }
        }
        let at = Place { file: env.file, span: carry.span };
        let Value::Tensor(init) = self.name(&carry.text, env, at)? else {
            return Err(self.error("FG0611", "`carry` takes a tensor", at, ""));
        };
        let node = self.graph.source(Source::Carry, self.graph.ty(init.node).clone());
        let carried = Tensor { node, ..init.clone() };
        if !matches!(env.assign(&carry.text, Value::Tensor(carried.clone())), Some(Binding { mutable: true, .. })) {
            return Err(self.error("FG0109", format!("`{}` is fixed", carry.text), at, "declare it with `var`"));
        }
        let inner = env.child();
        for (position, name) in names.iter().enumerate() {
            let node = self.graph.source(Source::Repeat { position }, Ty::new(DType::F64, &[]));
            inner.bind(&name.text, Value::Tensor(Tensor { node, axes: Vec::new(), clock: None }), false);
        }
        self.block(body, &inner)?;
        let Value::Tensor(after) = self.name(&carry.text, env, at)? else {
            return Err(self.error("FG0611", "`carry` must stay a tensor", at, ""));
        };
        let shape = self.shape_of(&init);
        if after.axes.iter().any(|a| !init.axes.contains(a)) {
            let (a, b) = (self.show(&Value::Tensor(init)), self.show(&Value::Tensor(after)));
            return Err(self.error("FG0201", format!("`{}` starts as {a} and becomes {b}", carry.text), at, ""));
        }
        let body = self.to_axes(&after, &init.axes, &shape);
        let body = self.graph.cast(body, self.graph.dtype(init.node));
        env.assign(&carry.text, Value::Tensor(carried.clone()));
        self.scan = Some(ScanState { init: Some(init.node), body: Some(body), carry: Some(carried.node), rows });
        Ok(())
    }
}
