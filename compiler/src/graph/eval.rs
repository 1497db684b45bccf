//! The reference evaluator: every primitive by its definition, one after another. Slow and plain, it is what
//! derivatives, rewrites and generated kernels are tested against. Sums accumulate in f64 and are rounded once.

use super::build::Graph;
use super::external::with_references;
use super::inline::inline;
use super::op::*;
use super::tensor::{Data, positions, strides};
use super::{scalar, traverse};
use crate::derive::DeriveError;
use fgc_program::{ConvRole, DType, Scalar};
use rustc_hash::FxHashMap;
use std::rc::Rc;

pub use super::tensor::Tensor;

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EvalError {
    #[error("no value for {0}")]
    Missing(String),
    #[error("the value for {what} should be {expected}, not {found}")]
    WrongType { what: String, expected: String, found: String },
    #[error(transparent)]
    Derive(#[from] DeriveError),
}

/// The values of `outputs`; `lookup` gives those of the sources.
pub fn eval(
    graph: &Graph,
    outputs: &[NodeId],
    lookup: impl Fn(&Source, &Ty) -> Option<Tensor>,
) -> Result<Vec<Tensor>, EvalError> {
    eval_with(graph, outputs, &FxHashMap::default(), &lookup)
}

/// Like [`eval`], with the values of some leaves given.
pub fn eval_with(
    graph: &Graph,
    outputs: &[NodeId],
    given: &FxHashMap<NodeId, Tensor>,
    lookup: &dyn Fn(&Source, &Ty) -> Option<Tensor>,
) -> Result<Vec<Tensor>, EvalError> {
    let nodes = traverse::needed(graph, outputs);
    if nodes.iter().any(|&id| matches!(graph.op(id), Op::Extern { .. })) {
        let mut expanded = graph.clone();
        let unknown = |id| EvalError::Missing(format!("{:?}", graph.op(id)));
        let outputs = with_references(&mut expanded, outputs).map_err(unknown)?;
        return eval_with(&expanded, &outputs, given, lookup);
    }
    if nodes.iter().any(|&id| matches!(graph.op(id), Op::Jvp { .. })) {
        let mut expanded = graph.clone();
        let outputs = inline(&mut expanded, outputs)?;
        return eval_with(&expanded, &outputs, given, lookup);
    }
    let given = given.iter().map(|(&id, tensor)| (id, Rc::new(tensor.clone()))).collect();
    let values = evaluate(graph, outputs, &given, lookup)?;
    Ok(values.into_iter().map(Rc::unwrap_or_clone).collect())
}

type Values = FxHashMap<NodeId, Rc<Tensor>>;

/// `given` holds the arguments of the functions around. Recurses once a call nested in a function.
fn evaluate(
    graph: &Graph,
    outputs: &[NodeId],
    given: &Values,
    lookup: &dyn Fn(&Source, &Ty) -> Option<Tensor>,
) -> Result<Vec<Rc<Tensor>>, EvalError> {
    let mut values = given.clone();
    for id in traverse::needed(graph, outputs) {
        if values.contains_key(&id) {
            continue;
        }
        let Node { op, inputs, ty } = graph.node(id);
        let operands: Vec<Rc<Tensor>> = inputs.iter().map(|input| values[input].clone()).collect();
        let value = match op {
            Op::Source(source) => {
                let tensor = lookup(source, ty).ok_or_else(|| missing(graph, id))?;
                let found = Ty::new(tensor.dtype(), &tensor.shape);
                if found != *ty {
                    let (expected, found) = (ty.to_string(), found.to_string());
                    return Err(EvalError::WrongType { what: format!("{source:?}"), expected, found });
                }
                Rc::new(tensor)
            }
            Op::Argument { .. } => return Err(missing(graph, id)),
            &Op::Call { func, output } => {
                let function = graph.func(func);
                let mut frame = given.clone();
                frame.extend(function.args.iter().copied().zip(operands));
                evaluate(graph, &[function.outputs[output]], &frame, lookup)?.remove(0)
            }
            _ => {
                let operands: Vec<&Tensor> = operands.iter().map(|t| t.as_ref()).collect();
                Rc::new(Tensor::new(&ty.shape, apply(op, &operands, ty)))
            }
        };
        values.insert(id, value);
    }
    Ok(outputs.iter().map(|id| values[id].clone()).collect())
}

fn missing(graph: &Graph, id: NodeId) -> EvalError {
    EvalError::Missing(format!("{:?}", graph.op(id)))
}

/// One primitive. Types have been checked when the node was built.
fn apply(op: &Op, inputs: &[&Tensor], ty: &Ty) -> Data {
    let shape = &ty.shape[..];
    let scalars = |f: &dyn Fn(usize) -> Scalar| Data::collect(ty.dtype, (0..ty.len()).map(f));
    let defined = |value: Option<Scalar>| value.unwrap_or_else(|| panic!("{op:?} is not defined on its operands"));
    match op {
        Op::Const(value) => Data::filled(*value, ty.len()),
        Op::Table(values) => scalars(&|i| values[i]),
        Op::Iota { axis } => {
            let mut only = vec![0; shape.len()];
            only[*axis] = 1;
            Data::I64(positions(shape, &only, 0).into_iter().map(|i| i as i64).collect())
        }
        Op::Unary(unary) => scalars(&|i| defined(scalar::unary(*unary, inputs[0].data.at(i)))),
        Op::Binary(binary) => {
            scalars(&|i| defined(scalar::binary(*binary, inputs[0].data.at(i), inputs[1].data.at(i))))
        }
        Op::Select => scalars(&|i| match inputs[0].data.at(i) {
            Scalar::Bool(true) => inputs[1].data.at(i),
            _ => inputs[2].data.at(i),
        }),
        Op::Cast(dtype) => scalars(&|i| scalar::cast(*dtype, inputs[0].data.at(i))),
        Op::Reduce { op, axes } => reduce(*op, inputs[0], axes, ty),
        Op::Reshape | Op::Stop => inputs[0].data.clone(),
        Op::Permute { order } => {
            let from = strides(&inputs[0].shape);
            let to: Vec<usize> = order.iter().map(|&i| from[i]).collect();
            inputs[0].data.pick(&positions(shape, &to, 0))
        }
        Op::Broadcast { axes } => {
            let mut to = vec![0; shape.len()];
            for (&axis, stride) in axes.iter().zip(strides(&inputs[0].shape)) {
                to[axis] = stride;
            }
            inputs[0].data.pick(&positions(shape, &to, 0))
        }
        &Op::Slice { axis, start, step } => {
            let mut from = strides(&inputs[0].shape);
            let offset = start * from[axis];
            from[axis] *= step;
            inputs[0].data.pick(&positions(shape, &from, offset))
        }
        &Op::Pad { axis, before, step } => {
            let mut to = strides(shape);
            let offset = before * to[axis];
            to[axis] *= step;
            let mut data = Data::filled(Scalar::new(ty.dtype, 0.0), ty.len());
            data.place(&inputs[0].data, &positions(&inputs[0].shape, &to, offset));
            data
        }
        &Op::Concat { axis } => {
            let to = strides(shape);
            let mut data = Data::filled(Scalar::new(ty.dtype, 0.0), ty.len());
            let mut start = 0;
            for part in inputs {
                data.place(&part.data, &positions(&part.shape, &to, start * to[axis]));
                start += part.shape[axis];
            }
            data
        }
        Op::Contract { a_batch, b_batch, a_sum, b_sum } => {
            contract(inputs[0], inputs[1], [a_batch, b_batch], [a_sum, b_sum], ty)
        }
        &Op::Conv { role, stride, pad } => conv(role, inputs, stride, pad, ty),
        &Op::Gather { axis } => inputs[0].data.pick(&indexed(&inputs[0].shape, inputs[1], axis)),
        &Op::ScatterAdd { axis } => {
            let mut sums = vec![0.0; ty.len()];
            for (i, to) in indexed(shape, inputs[1], axis).into_iter().enumerate() {
                sums[to] += inputs[0].data.at(i).as_f64();
            }
            floats(ty.dtype, sums)
        }
        Op::Source(_)
        | Op::Call { .. }
        | Op::Jvp { .. }
        | Op::Argument { .. }
        | Op::Extern { .. }
        | Op::Along { .. } => {
            unreachable!("{op:?} is not a primitive")
        }
    }
}

fn floats(dtype: DType, values: Vec<f64>) -> Data {
    Data::collect(dtype, values.into_iter().map(|x| Scalar::new(dtype, x)))
}

fn reduce(op: ReduceOp, a: &Tensor, axes: &[usize], ty: &Ty) -> Data {
    let kept = strides(&ty.shape);
    let mut next = kept.iter();
    let to: Vec<usize> =
        (0..a.shape.len()).map(|i| if axes.contains(&i) { 0 } else { *next.next().unwrap_or(&0) }).collect();
    let at = positions(&a.shape, &to, 0);
    if let Data::I64(values) = &a.data {
        let start = match op {
            ReduceOp::Sum => 0,
            ReduceOp::Max => i64::MIN,
            ReduceOp::Min => i64::MAX,
        };
        let mut out = vec![start; ty.len()];
        for (&to, &x) in at.iter().zip(values) {
            out[to] = match op {
                ReduceOp::Sum => out[to].wrapping_add(x),
                ReduceOp::Max => out[to].max(x),
                ReduceOp::Min => out[to].min(x),
            };
        }
        return Data::I64(out);
    }
    let start = match op {
        ReduceOp::Sum => 0.0,
        ReduceOp::Max => f64::NEG_INFINITY,
        ReduceOp::Min => f64::INFINITY,
    };
    let mut out = vec![start; ty.len()];
    for (&to, x) in at.iter().zip(a.to_f64()) {
        let nan = x.is_nan() || out[to].is_nan();
        out[to] = match op {
            ReduceOp::Sum => out[to] + x,
            _ if nan => f64::NAN,
            ReduceOp::Max => out[to].max(x),
            ReduceOp::Min => out[to].min(x),
        };
    }
    floats(ty.dtype, out)
}

/// Position in the table of every element of gather's output.
fn indexed(table: &[usize], at: &Tensor, axis: usize) -> Vec<usize> {
    let stride = strides(table);
    let outer = positions(&table[..axis], &stride[..axis], 0);
    let inner = positions(&table[axis + 1..], &stride[axis + 1..], 0);
    let rows: Vec<usize> = at
        .to_f64()
        .into_iter()
        .map(|i| (i.max(0.0) as usize).min(table[axis].saturating_sub(1)) * stride[axis])
        .collect();
    let mut all = Vec::with_capacity(outer.len() * rows.len() * inner.len());
    for o in &outer {
        for r in &rows {
            all.extend(inner.iter().map(|i| o + r + i));
        }
    }
    all
}

fn contract(a: &Tensor, b: &Tensor, batch: [&[usize]; 2], sum: [&[usize]; 2], ty: &Ty) -> Data {
    let part = |t: &Tensor, axes: &[usize]| {
        let stride = strides(&t.shape);
        let pick = |from: &[usize]| axes.iter().map(|&i| from[i]).collect::<Vec<_>>();
        positions(&pick(&t.shape), &pick(&stride), 0)
    };
    let free = |t: &Tensor, batch: &[usize], sum: &[usize]| {
        (0..t.shape.len()).filter(|i| !batch.contains(i) && !sum.contains(i)).collect::<Vec<_>>()
    };
    let (a_values, b_values) = (a.to_f64(), b.to_f64());
    let (a_sum, b_sum) = (part(a, sum[0]), part(b, sum[1]));
    let (a_free, b_free) = (part(a, &free(a, batch[0], sum[0])), part(b, &free(b, batch[1], sum[1])));
    let mut out = Vec::with_capacity(ty.len());
    for (a_base, b_base) in part(a, batch[0]).into_iter().zip(part(b, batch[1])) {
        for i in &a_free {
            for j in &b_free {
                let terms = a_sum.iter().zip(&b_sum).map(|(k, l)| a_values[a_base + i + k] * b_values[b_base + j + l]);
                out.push(terms.sum());
            }
        }
    }
    floats(ty.dtype, out)
}

/// The trilinear form of `fgc_program::Conv`: every term of Σ x·w·y goes to the operand that `role` computes.
fn conv(role: ConvRole, inputs: &[&Tensor], stride: [usize; 2], pad: [[usize; 2]; 2], ty: &Ty) -> Data {
    let (first, second) = (inputs[0].to_f64(), inputs[1].to_f64());
    let out_shape: &[usize] = &ty.shape;
    let (x, w, y) = match role {
        ConvRole::Forward => (&inputs[0].shape[..], &inputs[1].shape[..], out_shape),
        ConvRole::Input => (out_shape, &inputs[0].shape[..], &inputs[1].shape[..]),
        ConvRole::Weight => (&inputs[0].shape[..], out_shape, &inputs[1].shape[..]),
    };
    let (xs, ws, ys) = (strides(x), strides(w), strides(y));
    let mut out = vec![0.0; ty.len()];
    for index in 0..y.iter().product::<usize>() * w[..3].iter().product::<usize>() {
        let (y_at, k) = (index / w[..3].iter().product::<usize>(), index % w[..3].iter().product::<usize>());
        let [n, oh, ow, f] = [0, 1, 2, 3].map(|i| y_at / ys[i] % y[i]);
        let [kh, kw, c] = [k / (w[1] * w[2]), k / w[2] % w[1], k % w[2]];
        let (h, v) = (oh * stride[0] + kh, ow * stride[1] + kw);
        let inside = h >= pad[0][0] && h - pad[0][0] < x[1] && v >= pad[1][0] && v - pad[1][0] < x[2];
        if !inside {
            continue;
        }
        let x_at = n * xs[0] + (h - pad[0][0]) * xs[1] + (v - pad[1][0]) * xs[2] + c;
        let w_at = kh * ws[0] + kw * ws[1] + c * ws[2] + f;
        match role {
            ConvRole::Forward => out[y_at] += first[x_at] * second[w_at],
            ConvRole::Input => out[x_at] += first[w_at] * second[y_at],
            ConvRole::Weight => out[w_at] += first[x_at] * second[y_at],
        }
    }
    floats(ty.dtype, out)
}
