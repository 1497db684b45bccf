//! Forward mode: one rule a primitive, from the tangents of its inputs to the tangent of its output.
//!
//! An absent tangent is exactly zero. Rules are linear in the tangents and reuse the primal's nodes. Where a function
//! has a kink, the derivative is that of PyTorch: an extremum of two shares a tie equally, except that against a
//! literal constant (a clamp) the tie passes the derivative; a reduced extremum shares it among all equal elements;
//! |x| has derivative 0 at 0.

use super::DeriveError;
use crate::graph::{ExternId, Graph, Node, NodeId, Op, ReduceOp, dependents, special};
use fgc_program::{BinaryOp, UnaryOp};
use rustc_hash::FxHashMap;
use std::f64::consts::PI;

type Tangent = Option<NodeId>;

/// The derivatives of `outputs` along `tangents` (from nodes to tangents of the same types). The nodes given tangents
/// count as independent variables. None: the derivative is exactly zero.
pub fn jvp(
    graph: &mut Graph,
    outputs: &[NodeId],
    tangents: &FxHashMap<NodeId, NodeId>,
) -> Result<Vec<Tangent>, DeriveError> {
    along(graph, outputs, tangents, Purpose::Value)
}

/// As [`jvp`], for reverse mode to transpose.
pub(super) fn linearise(
    graph: &mut Graph,
    outputs: &[NodeId],
    tangents: &FxHashMap<NodeId, NodeId>,
) -> Result<Vec<Tangent>, DeriveError> {
    along(graph, outputs, tangents, Purpose::Transpose)
}

/// What a tangent is wanted for.
#[derive(Clone, Copy, PartialEq)]
enum Purpose {
    Value,
    Transpose,
}

fn along(
    graph: &mut Graph,
    outputs: &[NodeId],
    tangents: &FxHashMap<NodeId, NodeId>,
    purpose: Purpose,
) -> Result<Vec<Tangent>, DeriveError> {
    let mut known: FxHashMap<NodeId, NodeId> = tangents.clone();
    known.retain(|&node, &mut tangent| {
        debug_assert_eq!(graph.ty(node), graph.ty(tangent), "a tangent has its node's type");
        graph.dtype(node).is_float() && !graph.is_const(tangent, 0.0)
    });
    for id in dependents(graph, outputs, |id| tangents.contains_key(&id)) {
        if tangents.contains_key(&id) {
            continue;
        }
        let node = graph.node(id).clone();
        let along: Vec<Tangent> = node.inputs.iter().map(|input| known.get(input).copied()).collect();
        if !node.ty.dtype.is_float() || along.iter().all(Option::is_none) {
            continue;
        }
        if let Some(tangent) = rule(graph, id, &node, &along, purpose)?
            && !graph.is_const(tangent, 0.0)
        {
            known.insert(id, tangent);
        }
    }
    Ok(outputs.iter().map(|id| known.get(id).copied()).collect())
}

/// The tangent of `node` from those of its inputs, of which at least one is present.
fn rule(
    graph: &mut Graph,
    id: NodeId,
    node: &Node,
    along: &[Tangent],
    purpose: Purpose,
) -> Result<Tangent, DeriveError> {
    let inputs = &node.inputs;
    let shape = &node.ty.shape;
    Ok(match &node.op {
        Op::Unary(op) => unary(graph, *op, inputs[0], id, present(along[0])),
        Op::Binary(op) => return binary(graph, *op, [inputs[0], inputs[1]], id, [along[0], along[1]]),
        // The tangent is masked, not the coefficients: a branch not taken may have any derivative.
        Op::Select => {
            let [then, otherwise] = [1, 2].map(|i| or_zeros(graph, along[i], inputs[i]));
            Some(graph.select(inputs[0], then, otherwise))
        }
        Op::Cast(dtype) => along[0].map(|t| graph.cast(t, *dtype)),
        Op::Reduce { op: ReduceOp::Sum, axes } => along[0].map(|t| graph.sum(t, axes)),
        Op::Reduce { axes, .. } => Some(extremum(graph, inputs[0], id, axes, present(along[0]))),
        Op::Reshape => along[0].map(|t| graph.reshape(t, shape)),
        Op::Permute { order } => along[0].map(|t| graph.permute(t, order)),
        Op::Broadcast { axes } => along[0].map(|t| graph.broadcast(t, axes, shape)),
        &Op::Slice { axis, start, step } => along[0].map(|t| graph.slice(t, axis, start, shape[axis], step)),
        &Op::Pad { axis, before, step } => along[0].map(|t| graph.pad(t, axis, before, step, shape[axis])),
        Op::Concat { axis } => {
            let parts: Vec<NodeId> = inputs.iter().zip(along).map(|(&input, &t)| or_zeros(graph, t, input)).collect();
            Some(graph.concat(&parts, *axis))
        }
        Op::Contract { a_batch, b_batch, a_sum, b_sum } => {
            bilinear(graph, inputs, along, |graph, a, b| graph.contract(a, b, a_batch, b_batch, a_sum, b_sum))
        }
        &Op::Conv { role, stride, pad } => {
            bilinear(graph, inputs, along, |graph, a, b| graph.conv(role, [a, b], stride, pad, Some(shape)))
        }
        &Op::Gather { axis } => along[0].map(|t| graph.gather(t, inputs[1], axis)),
        &Op::ScatterAdd { axis } => along[0].map(|t| graph.scatter_add(t, inputs[1], axis, shape[axis])),
        Op::Stop => None,
        &Op::Call { func, output } => {
            let tangents: Vec<NodeId> = inputs.iter().zip(along).map(|(&arg, &t)| or_zeros(graph, t, arg)).collect();
            Some(graph.jvp(func, inputs, &tangents, output))
        }
        Op::Jvp { func, .. } => {
            let op = format!("the derivative of the function {} (not inlined)", graph.func(*func).name);
            return Err(DeriveError::Unsupported { op, node: id });
        }
        &Op::Extern { kernel } => Some(external(graph, kernel, id, inputs, along, purpose)?),
        Op::Along { .. } => {
            let op = "a derivative under way".to_owned();
            return Err(DeriveError::Unsupported { op, node: id });
        }
        Op::Const(_) | Op::Table(_) | Op::Source(_) | Op::Iota { .. } | Op::Argument { .. } => None,
    })
}

/// What the kernel declares: its `jvp`; or, if it is to be transposed, a stand-in for it that `vjp` transposes.
fn external(
    graph: &mut Graph,
    kernel: ExternId,
    id: NodeId,
    inputs: &[NodeId],
    along: &[Tangent],
    purpose: Purpose,
) -> Result<NodeId, DeriveError> {
    let found = graph.external(kernel);
    let (jvp, vjp, floats, name, ty) = (found.jvp, found.vjp, found.floats(), found.name.clone(), found.ty());
    let tangents: Vec<NodeId> = floats.iter().map(|&i| or_zeros(graph, along[i], inputs[i])).collect();
    let all: Vec<NodeId> = inputs.iter().copied().chain(tangents).collect();
    match (purpose, jvp, vjp) {
        (Purpose::Transpose, _, Some(_)) => Ok(graph.intern(Op::Along { kernel }, &all, ty)),
        (_, Some(jvp), _) => {
            let results = graph.instantiate(jvp, &all);
            Ok(graph.pack(kernel, &results))
        }
        (Purpose::Transpose, None, None) => Err(DeriveError::Undeclared { kernel: name, missing: "vjp", node: id }),
        (Purpose::Value, None, _) => Err(DeriveError::Undeclared { kernel: name, missing: "jvp", node: id }),
    }
}

/// The tangent of the only input that can have one.
fn present(tangent: Tangent) -> NodeId {
    tangent.expect("a rule is applied only where an input has a tangent")
}

fn or_zeros(graph: &mut Graph, tangent: Tangent, like: NodeId) -> NodeId {
    tangent.unwrap_or_else(|| {
        let ty = graph.ty(like).clone();
        graph.zeros(&ty)
    })
}

fn plus(graph: &mut Graph, a: Tangent, b: Tangent) -> Tangent {
    match (a, b) {
        (Some(a), Some(b)) => Some(graph.add(a, b)),
        _ => a.or(b),
    }
}

fn bilinear(
    graph: &mut Graph,
    inputs: &[NodeId],
    along: &[Tangent],
    f: impl Fn(&mut Graph, NodeId, NodeId) -> NodeId,
) -> Tangent {
    let first = along[0].map(|t| f(graph, t, inputs[1]));
    let second = along[1].map(|t| f(graph, inputs[0], t));
    plus(graph, first, second)
}

/// `t` times the derivative of `op` at `x`, where it is `y`.
fn unary(graph: &mut Graph, op: UnaryOp, x: NodeId, y: NodeId, t: NodeId) -> Tangent {
    let g = graph;
    let number = |g: &mut Graph, value: f64| g.constant_like(value, x);
    let slope = match op {
        UnaryOp::Neg => return Some(g.neg(t)),
        UnaryOp::Log => return Some(g.div(t, x)),
        UnaryOp::Log1p => {
            let one = number(g, 1.0);
            let shifted = g.add(x, one);
            return Some(g.div(t, shifted));
        }
        UnaryOp::Sqrt => {
            let two = number(g, 2.0);
            let double = g.mul(y, two);
            return Some(g.div(t, double));
        }
        UnaryOp::Floor | UnaryOp::Sign | UnaryOp::IsFinite | UnaryOp::Not => return None,
        UnaryOp::Abs => g.sign(x),
        UnaryOp::Exp => y,
        UnaryOp::Sin => g.cos(x),
        UnaryOp::Cos => {
            let sin = g.sin(x);
            g.neg(sin)
        }
        UnaryOp::Tanh => {
            let (one, square) = (number(g, 1.0), g.mul(y, y));
            g.sub(one, square)
        }
        UnaryOp::Sigmoid => {
            let one = number(g, 1.0);
            let rest = g.sub(one, y);
            g.mul(y, rest)
        }
        UnaryOp::Softplus => g.sigmoid(x),
        UnaryOp::Erf => {
            let (square, scale) = (g.mul(x, x), number(g, 2.0 / PI.sqrt()));
            let exponent = g.neg(square);
            let bell = g.exp(exponent);
            g.mul(bell, scale)
        }
        // One over the density at the quantile.
        UnaryOp::NormalQuantile => {
            let (half, scale) = (number(g, 0.5), number(g, (2.0 * PI).sqrt()));
            let square = g.mul(y, y);
            let exponent = g.mul(square, half);
            let inverse = g.exp(exponent);
            g.mul(inverse, scale)
        }
    };
    Some(g.mul(t, slope))
}

fn binary(
    graph: &mut Graph,
    op: BinaryOp,
    [a, b]: [NodeId; 2],
    y: NodeId,
    [ta, tb]: [Tangent; 2],
) -> Result<Tangent, DeriveError> {
    let g = graph;
    let unsupported = |operand: &str| Err(DeriveError::Unsupported { op: format!("{operand} of {op:?}"), node: y });
    Ok(match op {
        BinaryOp::Add => plus(g, ta, tb),
        BinaryOp::Sub => match (ta, tb) {
            (Some(ta), Some(tb)) => Some(g.sub(ta, tb)),
            (None, Some(tb)) => Some(g.neg(tb)),
            _ => ta,
        },
        BinaryOp::Mul => {
            let first = ta.map(|t| g.mul(t, b));
            let second = tb.map(|t| g.mul(t, a));
            plus(g, first, second)
        }
        BinaryOp::Div => {
            let first = ta.map(|t| g.div(t, b));
            let second = tb.map(|t| {
                let ratio = g.div(y, b);
                let part = g.mul(t, ratio);
                g.neg(part)
            });
            plus(g, first, second)
        }
        // a − b·q with a constant quotient q = (a − y)/b.
        BinaryOp::Rem => {
            let second = tb.map(|t| {
                let whole = g.sub(a, y);
                let quotient = g.div(whole, b);
                let part = g.mul(t, quotient);
                g.neg(part)
            });
            plus(g, ta, second)
        }
        BinaryOp::Max | BinaryOp::Min => {
            let (first, second) = (or_zeros(g, ta, a), or_zeros(g, tb, b));
            // Operands of max and min are in canonical order, a constant last: a clamp passes its argument's tie.
            let tie = if g.const_value(b).is_some() { first } else { halfway(g, first, second) };
            let (greater, less) = if op == BinaryOp::Max { (first, second) } else { (second, first) };
            let (above, equal) = (g.lt(b, a), g.eq(a, b));
            let rest = g.select(equal, tie, less);
            Some(g.select(above, greater, rest))
        }
        BinaryOp::Pow => {
            let first = ta.map(|t| power_of_base(g, a, b, t));
            // y·ln(a), but 0 at a = 0, where y·ln(a) has no value and its limit is 0.
            let second = tb.map(|t| {
                let (zero, log) = (g.constant_like(0.0, a), g.log(a));
                let (at_zero, slope) = (g.eq(a, zero), g.mul(y, log));
                let slope = g.select(at_zero, zero, slope);
                g.mul(t, slope)
            });
            plus(g, first, second)
        }
        BinaryOp::Atan2 => {
            let (aa, bb) = (g.mul(a, a), g.mul(b, b));
            let square = g.add(aa, bb);
            let first = ta.map(|t| {
                let slope = g.div(b, square);
                g.mul(t, slope)
            });
            let second = tb.map(|t| {
                let slope = g.div(a, square);
                let part = g.mul(t, slope);
                g.neg(part)
            });
            plus(g, first, second)
        }
        BinaryOp::StudentCdf | BinaryOp::StudentQuantile => {
            if tb.is_some() {
                return unsupported("the degrees of freedom");
            }
            let Some(freedom) = g.const_value(b) else {
                return unsupported("the variable with computed degrees");
            };
            let at = if op == BinaryOp::StudentCdf { a } else { y };
            let density = student_density(g, at, freedom.as_f64());
            match op {
                BinaryOp::StudentCdf => ta.map(|t| g.mul(t, density)),
                _ => ta.map(|t| g.div(t, density)),
            }
        }
        BinaryOp::Lt | BinaryOp::Le | BinaryOp::Eq | BinaryOp::Ne | BinaryOp::And | BinaryOp::Or => None,
    })
}

fn halfway(graph: &mut Graph, a: NodeId, b: NodeId) -> NodeId {
    let half = graph.constant_like(0.5, a);
    let sum = graph.add(a, b);
    graph.mul(sum, half)
}

/// `t·b·a^(b−1)`, and 0 where b is 0.
fn power_of_base(graph: &mut Graph, a: NodeId, b: NodeId, t: NodeId) -> NodeId {
    let g = graph;
    let (zero, one) = (g.constant_like(0.0, a), g.constant_like(1.0, a));
    let below = g.sub(b, one);
    let power = if g.is_const(b, 0.5) {
        let root = g.sqrt(a);
        g.div(one, root)
    } else {
        g.pow(a, below)
    };
    let slope = g.mul(power, b);
    let masked = if g.const_value(b).is_some() {
        slope
    } else {
        let flat = g.eq(b, zero);
        g.select(flat, zero, slope)
    };
    g.mul(t, masked)
}

/// Student-t's density at `t` for a constant number of degrees of freedom.
fn student_density(graph: &mut Graph, t: NodeId, freedom: f64) -> NodeId {
    let g = graph;
    let inverse = g.constant_like(1.0 / freedom, t);
    let square = g.mul(t, t);
    let ratio = g.mul(square, inverse);
    let log = g.log1p(ratio);
    let power = g.constant_like(-0.5 * (freedom + 1.0), t);
    let exponent = g.mul(log, power);
    let bell = g.exp(exponent);
    let scale = g.constant_like(special::student_log_scale(freedom).exp(), t);
    g.mul(bell, scale)
}

/// The mean of the tangents of those elements of `x` that equal the extremum `y` over `axes`.
fn extremum(graph: &mut Graph, x: NodeId, y: NodeId, axes: &[usize], t: NodeId) -> NodeId {
    let g = graph;
    let shape = g.shape(x).to_vec();
    let kept: Vec<usize> = (0..shape.len()).filter(|i| !axes.contains(i)).collect();
    let spread = g.broadcast(y, &kept, &shape);
    let hits = g.eq(x, spread);
    let zero = g.constant_like(0.0, x);
    let picked = g.select(hits, t, zero);
    let total = g.sum(picked, axes);
    // Counted in the tangent's type: exact up to 2^24 ties.
    let ones = g.cast(hits, g.dtype(x));
    let count = g.sum(ones, axes);
    g.div(total, count)
}
