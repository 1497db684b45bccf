//! Axes: renaming, splitting, merging, taking apart, convolving, gathering.

use super::super::call::Args;
use super::super::elaborate::{Elaborator, Result};
use super::super::value::*;
use super::Builtin;
use fgc_program::{ConvRole, DType, Scalar};
use std::rc::Rc;

pub const TABLE: &[Builtin] = &[
    Builtin { name: "size", signature: "size(x, AXIS)", doc: "Elements of x along an axis.", run: size },
    Builtin { name: "axes", signature: "axes(x)", doc: "The axes of x, a list.", run: axes },
    Builtin { name: "has_axis", signature: "has_axis(x, AXIS)", doc: "Whether x has the axis.", run: has_axis },
    Builtin { name: "rename", signature: "rename(x, OLD, NEW)", doc: "x with one axis renamed.", run: rename },
    Builtin {
        name: "split",
        signature: "split(x, AXIS, [A, B], [m, n])",
        doc: "x with an axis of m·n elements as two, the first slower.",
        run: split,
    },
    Builtin {
        name: "merge",
        signature: "merge(x, [A, B], AXIS)",
        doc: "x with several axes as one, the first slowest; where they lie apart they are brought together.",
        run: merge,
    },
    Builtin { name: "take", signature: "take(x, AXIS, i)", doc: "Element i along an axis, which goes.", run: take },
    Builtin {
        name: "slice",
        signature: "slice(x, AXIS, start, length)",
        doc: "`length` elements along an axis from `start` on.",
        run: slice,
    },
    Builtin {
        name: "concat",
        signature: "concat([a, b], AXIS)",
        doc: "Tensors one after another along an axis.",
        run: concat,
    },
    Builtin { name: "expand", signature: "expand(x, [A, B], [m, n])", doc: "x repeated along new axes.", run: expand },
    Builtin { name: "zeros", signature: "zeros([A], [n])", doc: "f32 zeros with these axes.", run: zeros },
    Builtin {
        name: "zeros_like",
        signature: "zeros_like(x)",
        doc: "Zeros with the axes and element type of x.",
        run: zeros_like,
    },
    Builtin {
        name: "iota",
        signature: "iota(AXIS, n)",
        doc: "The whole numbers 0..n along an axis.",
        run: |e, args| {
            let axis = e.want_axis(&args, 0, "iota(AXIS, n)")?;
            let n = e.want_int(&args, 1, "iota(AXIS, n)")?;
            let n = positive(e, n, &args)?;
            let node = e.graph.iota(&[n], 0);
            Ok(Value::Tensor(Tensor { node, axes: vec![axis], clock: None }))
        },
    },
    Builtin {
        name: "tensor",
        signature: "tensor(list, AXIS, …)",
        doc: "A list of numbers (of lists, for more axes) as an f64 tensor.",
        run: tensor,
    },
    Builtin {
        name: "gather",
        signature: "gather(table, index, AXIS)",
        doc: "table at the whole numbers `index` along an axis, which the axes of `index` replace.",
        run: gather,
    },
    Builtin {
        name: "conv",
        signature: "conv(x, weight, stride, pad)",
        doc: "2-D convolution over H and W: x [.., C, H, W], weight [O, C, I, J]; the result has C = O.",
        run: conv,
    },
];

fn positive(e: &mut Elaborator, n: i64, args: &Args) -> Result<usize> {
    match usize::try_from(n) {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(e.error("FG0222", format!("an extent must be positive, found {n}"), args.place, "")),
    }
}

fn made(e: &mut Elaborator, node: crate::graph::NodeId, axes: Vec<Axis>, args: &Args) -> Result<Value> {
    e.note(node, args.place);
    Ok(Value::Tensor(Tensor { node, axes, clock: None }))
}

fn size(e: &mut Elaborator, args: Args) -> Result<Value> {
    let t = e.want_tensor(&args, 0, "size(x, AXIS)")?;
    let axis = e.want_axis(&args, 1, "size(x, AXIS)")?;
    let i = e.axis_of(&t, &axis, &args)?;
    Ok(Value::Int(e.graph.shape(t.node)[i] as i64))
}

fn axes(e: &mut Elaborator, args: Args) -> Result<Value> {
    let t = e.want_tensor(&args, 0, "axes(x)")?;
    Ok(Value::list(t.axes.into_iter().map(Value::Axis).collect()))
}

fn has_axis(e: &mut Elaborator, args: Args) -> Result<Value> {
    let t = e.want_tensor(&args, 0, "has_axis(x, AXIS)")?;
    let axis = e.want_axis(&args, 1, "has_axis(x, AXIS)")?;
    Ok(Value::Bool(t.axes.contains(&axis)))
}

fn rename(e: &mut Elaborator, args: Args) -> Result<Value> {
    let signature = "rename(x, OLD, NEW)";
    let t = e.want_tensor(&args, 0, signature)?;
    let old = e.want_axis(&args, 1, signature)?;
    let new = e.want_axis(&args, 2, signature)?;
    let i = e.axis_of(&t, &old, &args)?;
    let mut axes = t.axes.clone();
    if old != new && axes.contains(&new) {
        let shown = e.show(&Value::Tensor(t));
        return Err(e.error("FG0223", format!("{shown} already has an axis {new}"), args.place, &shown));
    }
    axes[i] = new;
    Ok(Value::Tensor(Tensor { axes, ..t }))
}

/// Axis names from a list argument.
fn axis_list(e: &mut Elaborator, args: &Args, i: usize, signature: &str) -> Result<Vec<Axis>> {
    let list = e.want_list(args, i, signature)?;
    let mut out = Vec::new();
    for v in list {
        match v {
            Value::Axis(a) => out.push(a),
            v => {
                let shown = e.show(&v);
                return Err(e.error(
                    "FG0213",
                    format!("`{signature}` needs axes, found {shown}"),
                    args.positional[i].1,
                    "",
                ));
            }
        }
    }
    Ok(out)
}

fn extent_list(e: &mut Elaborator, args: &Args, i: usize, signature: &str) -> Result<Vec<usize>> {
    let list = e.want_list(args, i, signature)?;
    let mut out = Vec::new();
    for v in list {
        match v.number() {
            Some(x) if x.fract() == 0.0 && (1.0..1e12).contains(&x) => out.push(x as usize),
            _ => {
                let shown = e.show(&v);
                let message = format!("`{signature}` needs positive whole numbers, found {shown}");
                return Err(e.error("FG0222", message, args.positional[i].1, ""));
            }
        }
    }
    Ok(out)
}

fn split(e: &mut Elaborator, args: Args) -> Result<Value> {
    let signature = "split(x, AXIS, [A, B], [m, n])";
    let t = e.want_tensor(&args, 0, signature)?;
    let axis = e.want_axis(&args, 1, signature)?;
    let names = axis_list(e, &args, 2, signature)?;
    let extents = extent_list(e, &args, 3, signature)?;
    let i = e.axis_of(&t, &axis, &args)?;
    let mut shape = e.shape_of(&t);
    if names.len() != extents.len() || extents.iter().product::<usize>() != shape[i] {
        let message = format!("axis {axis} has {} elements, and {extents:?} do not multiply to that", shape[i]);
        let shown = e.show(&Value::Tensor(t));
        let help = "the extents, multiplied, must be the axis's own";
        return Err(e.error_help("FG0224", message, args.place, &shown, help));
    }
    let mut axes = t.axes.clone();
    axes.splice(i..=i, names.iter().cloned());
    if let Some(twice) = names.iter().find(|n| axes.iter().filter(|a| a == n).count() > 1) {
        let message = format!("axis {twice} would be there twice");
        return Err(e.error_help(
            "FG0223",
            message,
            args.place,
            "in the result",
            "axes of a tensor have different names",
        ));
    }
    shape.splice(i..=i, extents);
    let node = e.graph.reshape(t.node, &shape);
    made(e, node, axes, &args)
}

fn merge(e: &mut Elaborator, args: Args) -> Result<Value> {
    let signature = "merge(x, [A, B], AXIS)";
    let t = e.want_tensor(&args, 0, signature)?;
    let names = axis_list(e, &args, 1, signature)?;
    let new = e.want_axis(&args, 2, signature)?;
    let positions = names.iter().map(|a| e.axis_of(&t, a, &args)).collect::<Result<Vec<usize>>>()?;
    let Some(&first) = positions.iter().min() else {
        return Err(e.error("FG0216", format!("`{signature}` needs axes to merge"), args.place, ""));
    };
    let before = (0..first).filter(|i| !positions.contains(i));
    let after = (first..t.axes.len()).filter(|i| !positions.contains(i));
    let order: Vec<usize> = before.clone().chain(positions.iter().copied()).chain(after.clone()).collect();
    if order.len() != t.axes.len() {
        return Err(e.error("FG0223", "an axis is named twice", args.place, ""));
    }
    let shape = e.shape_of(&t);
    let merged: usize = positions.iter().map(|&i| shape[i]).product();
    let mut axes: Vec<Axis> = before.clone().map(|i| t.axes[i].clone()).collect();
    let mut out: Vec<usize> = before.map(|i| shape[i]).collect();
    axes.push(new.clone());
    out.push(merged);
    axes.extend(after.clone().map(|i| t.axes[i].clone()));
    out.extend(after.map(|i| shape[i]));
    if axes.iter().filter(|a| **a == new).count() > 1 {
        let message = format!("axis {new} would be there twice");
        return Err(e.error_help(
            "FG0223",
            message,
            args.place,
            "in the result",
            "axes of a tensor have different names",
        ));
    }
    let permuted = e.graph.permute(t.node, &order);
    let node = e.graph.reshape(permuted, &out);
    made(e, node, axes, &args)
}

fn take(e: &mut Elaborator, args: Args) -> Result<Value> {
    let signature = "take(x, AXIS, i)";
    let t = e.want_tensor(&args, 0, signature)?;
    let axis = e.want_axis(&args, 1, signature)?;
    let at = e.want_int(&args, 2, signature)?;
    let i = e.axis_of(&t, &axis, &args)?;
    let mut shape = e.shape_of(&t);
    let Some(at) = usize::try_from(at).ok().filter(|&at| at < shape[i]) else {
        let message = format!("there is no element {at} along {axis}, which has {}", shape[i]);
        return Err(e.error("FG0211", message, args.place, "out of range"));
    };
    let one = e.graph.slice(t.node, i, at, 1, 1);
    shape.remove(i);
    let node = e.graph.reshape(one, &shape);
    let axes = t.axes.iter().filter(|a| **a != axis).cloned().collect();
    made(e, node, axes, &args)
}

fn slice(e: &mut Elaborator, args: Args) -> Result<Value> {
    let signature = "slice(x, AXIS, start, length)";
    let t = e.want_tensor(&args, 0, signature)?;
    let axis = e.want_axis(&args, 1, signature)?;
    let (start, length) = (e.want_int(&args, 2, signature)?, e.want_int(&args, 3, signature)?);
    let i = e.axis_of(&t, &axis, &args)?;
    let extent = e.shape_of(&t)[i] as i64;
    if start < 0 || length < 1 || start.saturating_add(length) > extent {
        let message = format!("{length} elements from {start} on, along {axis} of {extent}");
        return Err(e.error("FG0211", message, args.place, "out of range"));
    }
    let node = e.graph.slice(t.node, i, start as usize, length as usize, 1);
    made(e, node, t.axes, &args)
}

fn concat(e: &mut Elaborator, args: Args) -> Result<Value> {
    let signature = "concat([a, b], AXIS)";
    let list = e.want_list(&args, 0, signature)?;
    let axis = e.want_axis(&args, 1, signature)?;
    let mut tensors = Vec::new();
    for v in &list {
        match v {
            Value::Tensor(t) => tensors.push(t.clone()),
            v => {
                let shown = e.show(v);
                return Err(e.error(
                    "FG0202",
                    format!("`{signature}` needs tensors, found {shown}"),
                    args.place,
                    &shown,
                ));
            }
        }
    }
    let Some(dtype) = tensors.iter().map(|t| e.dtype_of(t)).max() else {
        return Err(e.error_help(
            "FG0225",
            "`concat` of nothing",
            args.place,
            "an empty list",
            "give it at least one tensor",
        ));
    };
    // Other axes broadcast by name: gather them without the one that is joined.
    let mut others = Vec::new();
    for t in &tensors {
        let i = e.axis_of(t, &axis, &args)?;
        let mut shape = e.shape_of(t);
        shape[i] = 1;
        let node = e.graph.slice(t.node, i, 0, 1, 1);
        others.push(Tensor { node, ..t.clone() });
    }
    let (axes, shape) = e.common_axes(&others.iter().collect::<Vec<_>>(), args.place)?;
    let at = axes.iter().position(|a| *a == axis).expect("every part has it");
    let parts: Vec<_> = tensors
        .iter()
        .map(|t| {
            let mut whole = shape.clone();
            whole[at] = e.extent(t, &axis).expect("checked above");
            let node = e.to_axes(t, &axes, &whole);
            e.graph.cast(node, dtype)
        })
        .collect();
    let node = e.graph.concat(&parts, at);
    made(e, node, axes, &args)
}

fn expand(e: &mut Elaborator, args: Args) -> Result<Value> {
    let signature = "expand(x, [A, B], [m, n])";
    let t = e.want_tensor(&args, 0, signature)?;
    let names = axis_list(e, &args, 1, signature)?;
    let extents = extent_list(e, &args, 2, signature)?;
    let mut axes = t.axes.clone();
    let mut shape = e.shape_of(&t);
    for (name, extent) in names.into_iter().zip(extents) {
        if axes.contains(&name) {
            return Err(e.error("FG0223", format!("axis {name} is already there"), args.place, ""));
        }
        axes.push(name);
        shape.push(extent);
    }
    let node = e.to_axes(&t, &axes, &shape);
    made(e, node, axes, &args)
}

fn zeros(e: &mut Elaborator, args: Args) -> Result<Value> {
    let axes = axis_list(e, &args, 0, "zeros([A], [n])")?;
    let shape = extent_list(e, &args, 1, "zeros([A], [n])")?;
    if axes.len() != shape.len() {
        return Err(e.error("FG0216", "`zeros` needs as many extents as axes", args.place, ""));
    }
    let node = e.graph.constant(Scalar::F32(0.0), &shape);
    made(e, node, axes, &args)
}

fn zeros_like(e: &mut Elaborator, args: Args) -> Result<Value> {
    let t = e.want_tensor(&args, 0, "zeros_like(x)")?;
    let node = e.graph.constant(Scalar::new(e.dtype_of(&t), 0.0), &e.shape_of(&t));
    made(e, node, t.axes, &args)
}

fn tensor(e: &mut Elaborator, args: Args) -> Result<Value> {
    fn flatten(v: &Value, depth: usize, shape: &mut Vec<usize>, level: usize, out: &mut Vec<Scalar>) -> bool {
        match v {
            Value::List(l) if level < depth => {
                if shape.len() == level {
                    shape.push(l.len());
                }
                shape[level] == l.len() && l.iter().all(|v| flatten(v, depth, shape, level + 1, out))
            }
            v if level == depth => v.number().map(|x| out.push(Scalar::F64(x))).is_some(),
            _ => false,
        }
    }
    let axes = (1..args.positional.len())
        .map(|i| e.want_axis(&args, i, "tensor(list, AXIS, …)"))
        .collect::<Result<Vec<_>>>()?;
    let (mut shape, mut values) = (Vec::new(), Vec::new());
    let source = args.positional.first().map(|(v, _)| v.clone()).unwrap_or(Value::None);
    let list = if let Value::List(list) = &source { Some(list) } else { None };
    let key = list.map(|list| (Rc::as_ptr(list), axes.len()));
    if let Some((_, node)) = key.and_then(|key| e.tables.get(&key)) {
        return made(e, *node, axes, &args);
    }
    if axes.is_empty() || !flatten(&source, axes.len(), &mut shape, 0, &mut values) || values.is_empty() {
        let shown = e.show(&source);
        let message = format!("`tensor` needs numbers nested as deep as it has axes ({}), found {shown}", axes.len());
        return Err(e.error_help("FG0226", message, args.place, "in this call", "`tensor([[1, 2], [3, 4]], I, J)`"));
    }
    let node = e.graph.table(values, &shape);
    if let (Some(key), Some(list)) = (key, list) {
        e.tables.insert(key, (list.clone(), node));
    }
    made(e, node, axes, &args)
}

fn gather(e: &mut Elaborator, args: Args) -> Result<Value> {
    let signature = "gather(table, index, AXIS)";
    let table = e.want_tensor(&args, 0, signature)?;
    let index = args.positional.get(1).map(|(v, _)| v.clone()).unwrap_or(Value::None);
    let at = e.tensor_from(&index, DType::I64, args.place)?;
    let axis = e.want_axis(&args, 2, signature)?;
    let i = e.axis_of(&table, &axis, &args)?;
    let shared: Vec<&Axis> = at.axes.iter().filter(|a| table.axes.contains(a)).collect();
    if let Some(shared) = shared.first() {
        let message = format!("axis {shared} is in the table and in the index");
        return Err(e.error_help("FG0223", message, args.place, "in this call", "`rename` it in one of them"));
    }
    let node = e.graph.cast(at.node, DType::I64);
    let node = e.graph.gather(table.node, node, i);
    let mut axes = table.axes.clone();
    axes.splice(i..=i, at.axes.iter().cloned());
    made(e, node, axes, &args)
}

fn conv(e: &mut Elaborator, args: Args) -> Result<Value> {
    let signature = "conv(x, weight, stride, pad)";
    let x = e.want_tensor(&args, 0, signature)?;
    let w = e.want_tensor(&args, 1, signature)?;
    let (stride, pad) = (e.want_int(&args, 2, signature)?, e.want_int(&args, 3, signature)?);
    let named = |name: &str| -> Axis { Rc::from(name) };
    // Channels last, everything else in front of H as one batch axis.
    let inner = ["H", "W", "C"].map(named);
    for axis in &inner {
        e.axis_of(&x, axis, &args)?;
    }
    let outer: Vec<Axis> = x.axes.iter().filter(|a| !inner.contains(a)).cloned().collect();
    let axes: Vec<Axis> = outer.iter().chain(&inner).cloned().collect();
    let shape: Vec<usize> = axes.iter().map(|a| e.extent(&x, a).expect("its own axis")).collect();
    let weight_axes = ["I", "J", "C", "O"].map(named);
    let mut weight_shape = Vec::new();
    for axis in &weight_axes {
        let i = e.axis_of(&w, axis, &args)?;
        weight_shape.push(e.shape_of(&w)[i]);
    }
    let [height, width, channels] = [0, 1, 2].map(|i| shape[outer.len() + i]);
    if weight_shape[2] != channels {
        let message = format!("the weight takes {} channels, and x has {channels}", weight_shape[2]);
        return Err(e.error("FG0201", message, args.place, ""));
    }
    let (Ok(stride), Ok(pad)) = (usize::try_from(stride), usize::try_from(pad)) else {
        return Err(e.error("FG0222", "stride and padding cannot be negative", args.place, ""));
    };
    if stride == 0 || height + 2 * pad < weight_shape[0] || width + 2 * pad < weight_shape[1] {
        let message = format!(
            "a {}×{} kernel on {height}×{width} pixels with padding {pad}, stride {stride}",
            weight_shape[0], weight_shape[1]
        );
        let help = "the kernel must fit into the padded picture, and the stride be at least 1";
        return Err(e.error_help("FG0227", message, args.place, "the kernel does not fit", help));
    }
    let dtype = Elaborator::promote(e.dtype_of(&x), e.dtype_of(&w));
    let batch: usize = shape[..outer.len()].iter().product();
    let xs = e.to_axes(&x, &axes, &shape);
    let xs = e.graph.cast(xs, dtype);
    let xs = e.graph.reshape(xs, &[batch, height, width, channels]);
    let ws = e.to_axes(&w, &weight_axes, &weight_shape);
    let ws = e.graph.cast(ws, dtype);
    let y = e.graph.conv(ConvRole::Forward, [xs, ws], [stride, stride], [[pad, pad], [pad, pad]], None);
    let out = e.graph.shape(y).to_vec();
    let mut full = shape[..outer.len()].to_vec();
    full.extend(&out[1..]);
    let node = e.graph.reshape(y, &full);
    made(e, node, axes, &args)
}
