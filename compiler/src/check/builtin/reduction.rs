//! Reductions and contractions over named axes.

use super::super::call::Args;
use super::super::elaborate::{Elaborator, Result};
use super::super::value::*;
use super::Builtin;
use crate::graph::ReduceOp;
use fgc_program::DType;

pub const TABLE: &[Builtin] = &[
    Builtin {
        name: "sum",
        signature: "sum(x over AXES)",
        doc: "Sum over the axes named (`over not B`: all but B; none named: all).",
        run: |e, args| Ok(Value::Tensor(reduce(e, &args, ReduceOp::Sum, "sum(x over AXES)")?.0)),
    },
    Builtin {
        name: "mean",
        signature: "mean(x over AXES)",
        doc: "Mean over the axes named (`over not B`: all but B; none named: all).",
        run: |e, args| {
            let (sum, count) = reduce(e, &args, ReduceOp::Sum, "mean(x over AXES)")?;
            let scale = e.scalar(e.dtype_of(&sum), 1.0 / count as f64);
            let factor = e.to_axes(&scale, &sum.axes, &e.shape_of(&sum));
            let node = e.graph.mul(sum.node, factor);
            e.note(node, args.place);
            Ok(Value::Tensor(Tensor { node, ..sum }))
        },
    },
    Builtin {
        name: "reduce_max",
        signature: "reduce_max(x over AXES)",
        doc: "Largest value over the axes named.",
        run: |e, args| Ok(Value::Tensor(reduce(e, &args, ReduceOp::Max, "reduce_max(x over AXES)")?.0)),
    },
    Builtin {
        name: "reduce_min",
        signature: "reduce_min(x over AXES)",
        doc: "Smallest value over the axes named.",
        run: |e, args| Ok(Value::Tensor(reduce(e, &args, ReduceOp::Min, "reduce_min(x over AXES)")?.0)),
    },
    Builtin {
        name: "dot",
        signature: "dot(a, b over AXES)",
        doc: "Sum over the axes named of a·b; other axes in common pair up, the rest multiply out. A matrix product is \
              dot(x, w over C).",
        run: dot,
    },
];

/// The reduced tensor and how many elements went into each of its own.
fn reduce(e: &mut Elaborator, args: &Args, op: ReduceOp, signature: &str) -> Result<(Tensor, usize)> {
    let [value] = e.fixed(args, signature, true)?;
    let t = match value {
        Value::Tensor(t) => t,
        v => e.tensor_from(&v, DType::F64, args.place)?,
    };
    let t = if e.dtype_of(&t) == DType::Bool { Tensor { node: e.graph.cast(t.node, DType::I64), ..t } } else { t };
    let axes: Vec<usize> = match &args.over {
        None => (0..t.axes.len()).collect(),
        Some((true, keep)) => (0..t.axes.len()).filter(|&i| !keep.contains(&t.axes[i])).collect(),
        Some((false, over)) => {
            let mut positions = over.iter().map(|a| e.axis_of(&t, a, args)).collect::<Result<Vec<usize>>>()?;
            positions.sort_unstable();
            positions.dedup();
            positions
        }
    };
    let shape = e.shape_of(&t);
    let count = axes.iter().map(|&i| shape[i]).product();
    let node = e.graph.reduce(op, t.node, &axes);
    e.note(node, args.place);
    let left = t.axes.iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, a)| a.clone()).collect();
    Ok((Tensor { node, axes: left, clock: None }, count))
}

fn dot(e: &mut Elaborator, args: Args) -> Result<Value> {
    let signature = "dot(a, b over AXES)";
    let _: [Value; 2] = e.fixed(&args, signature, true)?;
    let a = e.want_tensor(&args, 0, signature)?;
    let b = e.want_tensor(&args, 1, signature)?;
    let Some((false, over)) = &args.over else {
        return Err(e.error_help(
            "FG0213",
            "`dot` needs the axes it sums",
            args.place,
            "over which?",
            "`dot(a, b over C)`",
        ));
    };
    e.common_axes(&[&a, &b], args.place)?;
    let (mut a_batch, mut b_batch, mut a_sum, mut b_sum) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for axis in over {
        a_sum.push(e.axis_of(&a, axis, &args)?);
        b_sum.push(e.axis_of(&b, axis, &args)?);
    }
    let mut axes = Vec::new();
    for (i, axis) in a.axes.iter().enumerate().filter(|(_, x)| !over.contains(x)) {
        if let Some(j) = b.axes.iter().position(|x| x == axis) {
            a_batch.push(i);
            b_batch.push(j);
            axes.push(axis.clone());
        }
    }
    let free = |t: &Tensor, other: &Tensor| -> Vec<Axis> {
        t.axes.iter().filter(|x| !over.contains(x) && !other.axes.contains(x)).cloned().collect()
    };
    axes.extend(free(&a, &b));
    axes.extend(free(&b, &a));
    let mut dtype = Elaborator::promote(e.dtype_of(&a), e.dtype_of(&b));
    if !dtype.is_float() {
        dtype = DType::F64;
    }
    let (x, y) = (e.graph.cast(a.node, dtype), e.graph.cast(b.node, dtype));
    let node = e.graph.contract(x, y, &a_batch, &b_batch, &a_sum, &b_sum);
    e.note(node, args.place);
    Ok(Value::Tensor(Tensor { node, axes, clock: None }))
}
