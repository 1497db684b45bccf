//! The functions that a declaration names: what stands for the kernel where there is no GPU, and its derivatives.

use super::super::builtin::invoke;
use super::super::call::Args;
use super::super::elaborate::{Elaborator, Result};
use super::super::entry::underived;
use super::super::value::*;
use super::declared::{Clauses, Declared, Types};
use super::{Extents, Shape};
use crate::diagnostic::{Diagnostic, Place};
use crate::graph::{ExternId, FuncId, NodeId, Op, Ty, inline, with_references};
use fgc_program::DType;

/// A tensor to be: its name for messages, element type and axes.
type Wanted = (String, DType, Shape);

impl Elaborator<'_> {
    pub(super) fn derivatives(
        &mut self,
        kernel: &Declared,
        declared: &Types,
        clauses: &Clauses,
        extents: &Extents,
        id: ExternId,
        place: Place,
    ) -> Result<()> {
        let item = &kernel.item;
        let params: Vec<Wanted> = item
            .params
            .iter()
            .zip(&declared.params)
            .map(|(p, (dtype, axes))| (p.name.text.clone(), *dtype, extents.shape(axes)))
            .collect();
        let results: Vec<Wanted> = item
            .results
            .iter()
            .zip(&declared.results)
            .map(|(r, (dtype, axes))| {
                let name = r.name.as_ref().map(|name| name.text.clone()).unwrap_or_default();
                (name, *dtype, extents.shape(axes))
            })
            .collect();
        let floats: Vec<Wanted> = params.iter().filter(|(_, dtype, _)| dtype.is_float()).cloned().collect();
        let with = |more: &[Wanted]| params.iter().chain(more).cloned().collect::<Vec<Wanted>>();
        let roles: [(&str, Vec<Wanted>, &[Wanted]); 3] = [
            ("reference", params.clone(), &results),
            ("jvp", with(&floats), &results),
            ("vjp", with(&results), &floats),
        ];
        for (clause, takes, gives) in roles {
            let Some(found) = clauses.get(clause) else { continue };
            let at = Place { file: kernel.closure.env.file, span: found.value.span };
            let f = self.expr(&found.value, &kernel.closure.env)?;
            let what = format!("`{clause}` of `{}`", item.name.text);
            let func = self.expanded(&f, &what, &takes, gives, at, place)?;
            if clause == "reference" {
                self.alone(func, &what, at)?;
            }
            self.graph.set_extern(id, |kernel| match clause {
                "reference" => kernel.reference = Some(func),
                "jvp" => kernel.jvp = Some(func),
                _ => kernel.vjp = Some(func),
            });
        }
        Ok(())
    }

    /// A function of the graph that calls `f`, and whose outputs are as wanted.
    fn expanded(
        &mut self,
        f: &Value,
        what: &str,
        takes: &[Wanted],
        gives: &[Wanted],
        at: Place,
        call: Place,
    ) -> Result<FuncId> {
        let types: Vec<Ty> = takes.iter().map(|(_, dtype, (_, shape))| Ty::new(*dtype, shape)).collect();
        let func = self.graph.new_func(what, &types);
        let nodes = self.graph.func(func).args.clone();
        let values = takes
            .iter()
            .zip(nodes)
            .map(|((_, _, (axes, _)), node)| Value::Tensor(Tensor { node, axes: axes.clone(), clock: None }));
        let values: Vec<Value> = values.collect();
        let args = Args { positional: Vec::new(), named: Vec::new(), over: None, place: at };
        let value = invoke(self, f, values, &args)?;
        let parts = match (&value, gives) {
            (Value::Record(fields), _) => {
                let find = |(name, ..): &Wanted| fields.get(name).cloned().ok_or_else(|| name.clone());
                gives.iter().map(find).collect::<std::result::Result<Vec<Value>, String>>()
            }
            (other, [_]) => Ok(vec![other.clone()]),
            (_, [first, ..]) => Err(first.0.clone()),
            (_, []) => Ok(Vec::new()),
        };
        let parts = match parts {
            Ok(parts) => parts,
            Err(lacks) => {
                let names: Vec<&str> = gives.iter().map(|(name, ..)| name.as_str()).collect();
                let shown = self.show(&value);
                let d = Diagnostic::error("FG0807", format!("{what} gives no `{lacks}`"));
                let d = d.label(at, format!("gives {shown}"));
                return Err(self.report(d.help(format!("it returns a record: `{{ {} }}`", names.join(", ")))));
            }
        };
        let mut outputs = Vec::new();
        for (part, wanted) in parts.iter().zip(gives) {
            outputs.push(self.fitted(part, wanted, what, at)?);
        }
        let outputs = match inline(&mut self.graph, &outputs) {
            Ok(outputs) => outputs,
            Err(e) => {
                let mut d = underived(&e, &self.places);
                if d.labels.is_empty() {
                    d = d.label(call, "called here");
                }
                return Err(self.report(d));
            }
        };
        self.graph.set_outputs(func, outputs);
        Ok(func)
    }

    /// Replaces the kernels that a reference calls by theirs. Those that have none yet may be the one under way: a
    /// reference that leads back to it would have no end.
    fn alone(&mut self, func: FuncId, what: &str, at: Place) -> Result<()> {
        let outputs = self.graph.func(func).outputs.clone();
        match with_references(&mut self.graph, &outputs) {
            Ok(outputs) => {
                self.graph.set_outputs(func, outputs);
                Ok(())
            }
            Err(node) => {
                let other = match self.graph.op(node) {
                    Op::Extern { kernel } => self.graph.external(*kernel).name.clone(),
                    _ => String::new(),
                };
                let message = format!("{what} calls `{other}`, which has no reference of its own");
                let help = "a reference is written in the language, in the end";
                Err(self.error_help("FG0807", message, at, "this function", help))
            }
        }
    }

    /// What a function gave, as what is wanted of it.
    fn fitted(&mut self, value: &Value, wanted: &Wanted, what: &str, at: Place) -> Result<NodeId> {
        let (name, dtype, (axes, shape)) = wanted;
        let tensor = self.tensor_from(value, *dtype, at)?;
        let fits = tensor.axes.iter().all(|axis| {
            let found = axes.iter().position(|a| a == axis);
            found.is_some_and(|i| self.extent(&tensor, axis) == Some(shape[i]))
        });
        if !fits || self.dtype_of(&tensor) != *dtype {
            let shown = self.show(value);
            let want: Vec<String> = axes.iter().zip(shape).map(|(axis, n)| format!("{axis}={n}")).collect();
            let name = if name.is_empty() { String::new() } else { format!(" as `{name}`") };
            let message = format!("{what} must give {dtype}[{}]{name}, found {shown}", want.join(", "));
            let help = "it has the types of the declaration: a tangent or cotangent that of what it belongs to";
            return Err(self.error_help("FG0807", message, at, &format!("gives {shown}"), help));
        }
        Ok(self.to_axes(&tensor, axes, shape))
    }
}
