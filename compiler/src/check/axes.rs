//! Broadcasting by axis name, and element types.

use super::elaborate::{Elaborator, Result};
use super::value::*;
use crate::diagnostic::{Diagnostic, Place};
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
                    Err(self.error_help(
                        "FG0202",
                        format!("expected a number or a tensor, found {kind}"),
                        place,
                        kind,
                        "arithmetic works on tensors and numbers",
                    ))
                }
            },
        }
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
