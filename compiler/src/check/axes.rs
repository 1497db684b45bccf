//! Broadcasting by axis name, and element types.

use super::elaborate::{Elaborator, Result};
use super::value::*;
use crate::diagnostic::{Diagnostic, Fix, Place};
use crate::graph::NodeId;
use fgc_program::{DType, Scalar};

impl Elaborator<'_> {
    pub fn shape_of(&self, t: &Tensor) -> Vec<usize> {
        self.graph.shape(t.node).to_vec()
    }

    pub fn dtype_of(&self, t: &Tensor) -> DType {
        self.graph.dtype(t.node)
    }

    pub fn extent(&self, t: &Tensor, axis: &str) -> Option<usize> {
        let i = t.axes.iter().position(|a| &**a == axis)?;
        Some(self.graph.shape(t.node)[i])
    }

    /// A constant without axes.
    pub fn scalar(&mut self, dtype: DType, value: f64) -> Tensor {
        let node = self.graph.constant(Scalar::new(dtype, value), &[]);
        Tensor { node, axes: Vec::new(), clock: None }
    }

    /// The axes and extents that hold all of `tensors`: those of the one with most axes, in its order, then what
    /// others add. Extents of one name must be equal.
    pub fn common_axes(&mut self, tensors: &[&Tensor], place: Place) -> Result<(Vec<Axis>, Vec<usize>)> {
        let Some(widest) = tensors.iter().rev().max_by_key(|t| t.axes.len()) else {
            return Ok((Vec::new(), Vec::new()));
        };
        let mut axes = widest.axes.clone();
        let mut shape = self.shape_of(widest);
        for t in tensors {
            for (axis, extent) in t.axes.iter().zip(self.shape_of(t)) {
                match axes.iter().position(|a| a == axis) {
                    None => {
                        axes.push(axis.clone());
                        shape.push(extent);
                    }
                    Some(i) if shape[i] != extent => {
                        let shown: Vec<String> =
                            tensors.iter().map(|t| self.show(&Value::Tensor((*t).clone()))).collect();
                        return Err(self.report(
                            Diagnostic::error(
                                "FG0201",
                                format!("axis {axis} has {} elements on one side and {extent} on another", shape[i]),
                            )
                            .label(place, shown.join("  with  "))
                            .help(format!(
                                "values combine by axis name, and axes of one name must have one extent; `rename(x, {axis}, {})` gives one of them another name",
                                if &**axis == "C" { "D" } else { "C" }
                            )),
                        ));
                    }
                    Some(_) => {}
                }
            }
        }
        Ok((axes, shape))
    }

    /// `t` with exactly these axes, permuted and repeated as needed; its axes must be among them.
    pub fn to_axes(&mut self, t: &Tensor, axes: &[Axis], shape: &[usize]) -> NodeId {
        let position = |axis: &Axis| axes.iter().position(|a| a == axis).expect("axis of the common axes");
        let mut order: Vec<usize> = (0..t.axes.len()).collect();
        order.sort_by_key(|&i| position(&t.axes[i]));
        let places: Vec<usize> = order.iter().map(|&i| position(&t.axes[i])).collect();
        let permuted = self.graph.permute(t.node, &order);
        self.graph.broadcast(permuted, &places, shape)
    }

    /// Tensors brought to common axes.
    pub fn align(&mut self, tensors: &[&Tensor], place: Place) -> Result<(Vec<NodeId>, Vec<Axis>)> {
        let (axes, shape) = self.common_axes(tensors, place)?;
        let nodes = tensors.iter().map(|t| self.to_axes(t, &axes, &shape)).collect();
        Ok((nodes, axes))
    }

    /// The element type two operands meet in: bool < i64 < f32 < f64.
    pub fn promote(a: DType, b: DType) -> DType {
        a.max(b)
    }

    /// A tensor from a tensor or a static number; numbers take `like`.
    pub fn tensor_from(&mut self, value: &Value, like: DType, place: Place) -> Result<Tensor> {
        match value {
            Value::Tensor(t) => Ok(t.clone()),
            Value::Error => Err(super::Reported),
            other => match other.number() {
                Some(x) => {
                    let like = match other {
                        Value::Float(_) if !like.is_float() => DType::F64,
                        Value::Bool(_) if like == DType::F32 => DType::Bool,
                        _ => like,
                    };
                    Ok(self.scalar(like, x))
                }
                None => {
                    let kind = other.kind();
                    let help = self.uncalled(other).unwrap_or_else(|| "arithmetic works on tensors and numbers".into());
                    let message = format!("expected a number or a tensor, found {kind}");
                    Err(self.error_help("FG0202", message, place, kind, help))
                }
            },
        }
    }

    /// Networks compute in the element type they are given, and f64 is many times slower.
    pub fn narrow(&mut self, name: &str, value: &Value, place: Place) -> Result<()> {
        let Value::Tensor(t) = value else { return Ok(()) };
        if self.dtype_of(t) != DType::F64 || self.sources.file(place.file).standard {
            return Ok(());
        }
        let shown = self.show(value);
        // Where it is made, one change serves all networks that are asked about it.
        let made = self.places.get(&t.node).copied().filter(|p| p.file == place.file && p.span != place.span);
        let at = made.unwrap_or(place);
        let known = self.diagnostics.iter().any(|d| d.code == "FG0231" && d.labels.iter().any(|l| l.place == at));
        if known {
            return Err(super::Reported);
        }
        let mut d = Diagnostic::error("FG0231", format!("`{name}` computes in f32, and is asked about f64 numbers"))
            .label(place, format!("this is {shown}"))
            .help("arithmetic with a time gives f64: round the result with `f32(…)`")
            .fix(Fix::around(at, "f32").certain());
        if let Some(made) = made {
            d = d.label(made, "it is made here");
        }
        Err(self.report(d))
    }

    /// How to get a number of what was not called.
    pub fn uncalled(&self, value: &Value) -> Option<String> {
        Some(match value {
            Value::Network(net) => format!("a network is asked: `{}(…)`", self.nets[net.0 as usize].name),
            Value::View(net, view) => format!("a view is asked: `{}.{view}(y, t, c)`", self.nets[net.0 as usize].name),
            Value::Function(f) => format!("call it: `{}(…)`", f.name),
            Value::Record(fields) => {
                format!("take one of its fields: {}", fields.keys().cloned().collect::<Vec<_>>().join(", "))
            }
            Value::List(_) => "take one of its entries: `list[0]`".into(),
            Value::None => "nothing was given: compare with `none` first".into(),
            _ => return None,
        })
    }

    /// The element type numbers beside `values` take.
    pub fn dtype_among(&self, values: &[&Value]) -> DType {
        values
            .iter()
            .filter_map(|v| match v {
                Value::Tensor(t) => Some(self.dtype_of(t)),
                _ => None,
            })
            .max()
            .unwrap_or(DType::F64)
    }
}
