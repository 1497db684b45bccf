//! Kernels from outside: calls of what `extern kernel` declares.
//!
//! A call fixes the extents of the declared axes, and with them the types, the launch and what the kernel is told. The
//! declared reference and derivatives are functions of the language, expanded for those types once.

mod declared;
mod derivatives;
mod launch;

pub use declared::Declared;

use super::call::Args;
use super::elaborate::{Elaborator, Result};
use super::value::*;
use crate::diagnostic::{Diagnostic, Place, nearest};
use crate::graph::{Extern, ExternId, NodeId, Ty};
use crate::module::ModuleId;
use fgc_grammar::ast::AxisDecl;
use fgc_program::DType;
use indexmap::IndexMap;
use std::rc::Rc;
use std::sync::Arc;

/// One declaration at one set of argument types: where its name is, types, and the axes that `..` stands for.
pub type Key = (ModuleId, usize, Vec<Ty>, Vec<Axis>);

/// What the axes of a declaration are in one call.
#[derive(Clone, Debug, Default)]
pub(super) struct Extents {
    /// In the order in which the declaration names them.
    named: IndexMap<Axis, usize>,
    /// Those that `..` stands for.
    rest: Option<(Vec<Axis>, Vec<usize>)>,
    /// What the kernel is told, in the order in which the declaration names it.
    told: Vec<i64>,
}

/// Axes with their extents.
type Shape = (Vec<Axis>, Vec<usize>);

impl Extents {
    /// The number of elements of `..`.
    fn rest_len(&self) -> usize {
        self.rest.as_ref().map_or(1, |(_, shape)| shape.iter().product())
    }

    fn learn(&mut self, axis: Axis, extent: usize) {
        if !self.named.contains_key(&axis) {
            self.named.insert(axis, extent);
            self.told.push(extent as i64);
        }
    }

    /// The declared axes, in the declared order. All must be known.
    fn shape(&self, axes: &[AxisDecl]) -> Shape {
        let mut shape: Shape = Default::default();
        for axis in axes {
            match axis {
                AxisDecl::Axis { name, .. } => {
                    shape.0.push(name.text.as_str().into());
                    shape.1.push(self.named.get(name.text.as_str()).copied().unwrap_or(1));
                }
                AxisDecl::Rest { .. } => {
                    let (axes, extents) = self.rest.clone().unwrap_or_default();
                    shape.0.extend(axes);
                    shape.1.extend(extents);
                }
            }
        }
        shape
    }
}

impl Elaborator<'_> {
    pub(super) fn call_extern(&mut self, kernel: &Rc<Declared>, args: Args) -> Result<Value> {
        let place = args.place;
        let declared = kernel.types(self)?;
        let values = self.bind_arguments(&kernel.closure, args)?;
        let mut extents = Extents::default();
        let mut tensors = Vec::new();
        for ((name, value), (dtype, axes)) in values.iter().zip(&declared.params) {
            let tensor = self.tensor_from(value, *dtype, place)?;
            self.match_axes(kernel, name, &tensor, axes, &mut extents, place)?;
            tensors.push(tensor);
        }
        for (_, axes) in &declared.results {
            self.result_axes(kernel, axes, &mut extents)?;
        }
        let mut nodes = Vec::new();
        for (tensor, (dtype, axes)) in tensors.iter().zip(&declared.params) {
            let (axes, shape) = extents.shape(axes);
            let node = self.to_axes(tensor, &axes, &shape);
            nodes.push(self.graph.cast(node, *dtype));
        }
        let id = self.external(kernel, &declared, &extents, &nodes, place)?;
        let packed = self.graph.call_extern(id, &nodes);
        self.note(packed, place);
        let results = self.graph.unpack(id, packed);
        for node in &results {
            self.note(*node, place);
        }
        let tensor = |(node, (_, axes)): (NodeId, &(DType, Vec<AxisDecl>))| {
            Value::Tensor(Tensor { node, axes: extents.shape(axes).0, clock: None })
        };
        let values = results.into_iter().zip(&declared.results).map(tensor);
        let names = kernel.item.results.iter().map(|r| r.name.as_ref().map(|name| name.text.clone()));
        Ok(match names.collect::<Option<Vec<String>>>() {
            Some(names) => Value::Record(Rc::new(names.into_iter().zip(values).collect())),
            None => values.into_iter().next().unwrap_or(Value::Error),
        })
    }

    /// Learns the extents of an argument's axes, which were declared so.
    fn match_axes(
        &mut self,
        kernel: &Declared,
        name: &str,
        tensor: &Tensor,
        axes: &[AxisDecl],
        extents: &mut Extents,
        place: Place,
    ) -> Result<()> {
        for axis in axes {
            match axis {
                AxisDecl::Axis { name: axis, .. } => {
                    let Some(extent) = self.extent(tensor, &axis.text) else {
                        let shown = self.show(&Value::Tensor(tensor.clone()));
                        let message =
                            format!("`{name}` of `{}` must have an axis {}", kernel.item.name.text, axis.text);
                        return Err(self.error("FG0206", message, place, &format!("`{name}` is {shown}")));
                    };
                    match extents.named.get(axis.text.as_str()) {
                        Some(&known) if known != extent => {
                            let message = format!(
                                "axis {} has {known} elements in an argument of `{}` and {extent} in `{name}`",
                                axis.text, kernel.item.name.text
                            );
                            return Err(self.error("FG0201", message, place, "in this call"));
                        }
                        _ => extents.learn(axis.text.as_str().into(), extent),
                    }
                }
                AxisDecl::Rest { .. } => {
                    let named = |axis: &Axis| {
                        axes.iter().any(|a| matches!(a, AxisDecl::Axis { name, .. } if *name.text == **axis))
                    };
                    let shape = self.shape_of(tensor);
                    let (found, lens): Shape =
                        tensor.axes.iter().cloned().zip(shape).filter(|(axis, _)| !named(axis)).unzip();
                    match &extents.rest {
                        None => {
                            extents.rest = Some((found, lens));
                            extents.told.push(extents.rest_len() as i64);
                        }
                        Some((known, shape)) => {
                            let same = known.len() == found.len()
                                && known.iter().zip(shape).all(|(axis, n)| self.extent(tensor, axis) == Some(*n));
                            if !same {
                                let message = format!(
                                    "`..` of `{}` is {} in one argument and {} in `{name}`",
                                    kernel.item.name.text,
                                    known.join(", "),
                                    found.join(", ")
                                );
                                return Err(self.error("FG0201", message, place, "in this call"));
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Learns the extents that results declare themselves: `K = 4`.
    fn result_axes(&mut self, kernel: &Declared, axes: &[AxisDecl], extents: &mut Extents) -> Result<()> {
        for axis in axes {
            let AxisDecl::Axis { name, extent } = axis else { continue };
            if extents.named.contains_key(name.text.as_str()) {
                continue;
            }
            let at = Place { file: kernel.closure.env.file, span: name.span };
            let known = match extent {
                Some(e) => self.expr(e, &kernel.closure.env)?,
                None => Value::None,
            };
            match known {
                Value::Int(n) if n > 0 && n < 1 << 40 => extents.learn(name.text.as_str().into(), n as usize),
                _ => {
                    let message = format!("the extent of axis {} of a result is not known", name.text);
                    let help = format!("no parameter has it: write it down, `{} = 4`", name.text);
                    return Err(self.error_help("FG0806", message, at, "how many?", help));
                }
            }
        }
        Ok(())
    }

    /// The kernel of the graph for these types.
    fn external(
        &mut self,
        kernel: &Rc<Declared>,
        declared: &declared::Types,
        extents: &Extents,
        args: &[NodeId],
        place: Place,
    ) -> Result<ExternId> {
        let args: Vec<Ty> = args.iter().map(|&arg| self.graph.ty(arg).clone()).collect();
        let rest = extents.rest.clone().unwrap_or_default().0;
        let item = &kernel.item;
        let key = (kernel.closure.env.module, item.name.span.start, args.clone(), rest);
        if let Some(&known) = self.externs.get(&key) {
            return Ok(known);
        }
        let code = self.device_code(kernel)?;
        let results: Vec<Ty> =
            declared.results.iter().map(|(dtype, axes)| Ty::new(*dtype, &extents.shape(axes).1)).collect();
        let clauses = kernel.clauses(self)?;
        let entry = self.entry(kernel, &clauses, &code, args.len() + results.len() + extents.told.len())?;
        let (blocks, threads) = self.grid(kernel, &clauses, extents, &results[0])?;
        let id = self.graph.new_extern(Extern {
            name: item.name.text.clone(),
            code,
            entry,
            args,
            results,
            numbers: extents.told.clone(),
            blocks,
            threads,
            reference: None,
            jvp: None,
            vjp: None,
        });
        // Known before its derivatives are, which may call it.
        self.externs.insert(key, id);
        self.enter(place, &item.name.text)?;
        let done = self.derivatives(kernel, declared, &clauses, extents, id, place);
        self.frames.pop();
        done?;
        Ok(id)
    }

    /// The file of a declaration, read once.
    fn device_code(&mut self, kernel: &Declared) -> Result<Arc<fgc_program::DeviceCode>> {
        let env = &kernel.closure.env;
        let at = Place { file: env.file, span: kernel.item.file_span };
        let named = self.text(&kernel.item.file, env)?;
        let path = crate::device_code::locate(self.setup, &self.sources.file(env.file).name, &named);
        if let Some(known) = self.codes.get(&path) {
            return Ok(known.clone());
        }
        match crate::device_code::read(&path) {
            Ok(code) => {
                let code = Arc::new(code);
                self.codes.insert(path, code.clone());
                Ok(code)
            }
            Err(e) => {
                let help = "the path is relative to the spec; a file ends in `.cu` or `.ptx`";
                Err(self.error_help("FG0804", e.to_string(), at, "this file", help))
            }
        }
    }

    /// The kernel's name in its file, which must be there and take what it will be given.
    fn entry(
        &mut self,
        kernel: &Declared,
        clauses: &declared::Clauses,
        code: &fgc_program::DeviceCode,
        parameters: usize,
    ) -> Result<String> {
        let env = &kernel.closure.env;
        let (entry, span) = match clauses.get("entry") {
            Some(clause) => match self.expr(&clause.value, env)? {
                Value::Str(name) => (name.to_string(), clause.value.span),
                other => {
                    let at = Place { file: env.file, span: clause.value.span };
                    let message = format!("`entry` is the kernel's name in its file, found {}", self.show(&other));
                    return Err(self.error("FG0806", message, at, "not a string"));
                }
            },
            None => (kernel.item.name.text.clone(), kernel.item.name.span),
        };
        let at = Place { file: env.file, span };
        let all = crate::device_code::entries(code);
        let names: Vec<&str> = all.iter().map(|e| e.name.as_str()).collect();
        let Some(found) = all.iter().find(|e| e.name == entry) else {
            let message = format!("{} defines no kernel `{entry}`", code.name);
            let help = match nearest(&entry, names.iter().copied()) {
                Some(n) => format!("is `entry = \"{n}\"` meant?"),
                None if names.is_empty() => "a kernel is `extern \"C\" __global__ void …`, or `.entry` in PTX".into(),
                None => format!("it defines {}: `entry = \"…\"` names one of them", names.join(", ")),
            };
            return Err(self.error_help("FG0805", message, at, "this name", help));
        };
        let narrow = found.wide.iter().position(|wide| !wide);
        let d = if found.wide.len() != parameters {
            format!("`{entry}` of {} takes {} parameters, and is given {parameters}", code.name, found.wide.len())
        } else if let Some(narrow) = narrow {
            format!("parameter {} of `{entry}` in {} has not 64 bits", narrow + 1, code.name)
        } else {
            return Ok(entry);
        };
        let order = "pointers to its arguments, pointers to its results, then the extent of each axis (`long long`)";
        let told = kernel.told();
        let help = format!("a kernel takes {order}; here the extents are {}", told.join(", "));
        Err(self.report(Diagnostic::error("FG0805", d).label(at, "declared here").help(help)))
    }
}
