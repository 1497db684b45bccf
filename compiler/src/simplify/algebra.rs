//! Elementwise algebra: constants together, signs outwards, like terms and branches merged.

use super::Uses;
use crate::graph::traverse::rebuild;
use crate::graph::{Graph, NodeId, Op};
use fgc_program::{BinaryOp, DType, UnaryOp};

/// stop(x) → x.
pub fn drop_stop(graph: &mut Graph, _: &Uses, id: NodeId) -> Option<NodeId> {
    (*graph.op(id) == Op::Stop).then(|| graph.node(id).inputs[0])
}

/// The operands, if the node is this operation.
fn operands(graph: &Graph, id: NodeId, op: BinaryOp) -> Option<[NodeId; 2]> {
    let node = graph.node(id);
    (node.op == Op::Binary(op)).then(|| [node.inputs[0], node.inputs[1]])
}

/// x for −x, also under one reshape or permutation.
fn negated(graph: &mut Graph, id: NodeId) -> Option<NodeId> {
    under_view(graph, id, |graph, id| {
        let node = graph.node(id);
        (node.op == Op::Unary(UnaryOp::Neg)).then(|| (node.inputs[0], ()))
    })
    .map(|(x, ())| x)
}

/// x for −x, also repeated: for rules by which the sign goes altogether.
fn subtracted(graph: &mut Graph, id: NodeId) -> Option<NodeId> {
    if !matches!(graph.op(id), Op::Broadcast { .. }) {
        return negated(graph, id);
    }
    let x = negated(graph, graph.node(id).inputs[0])?;
    Some(rebuild(graph, id, &[x]))
}

/// (x, c) for x·c with a literal c, which stands last; (x, −1) for −x; also under one reshape or permutation. Floats
/// only: integers have no such factors in derivatives.
pub(super) fn scaled(graph: &mut Graph, id: NodeId) -> Option<(NodeId, f64)> {
    under_view(graph, id, direct_scale)
}

fn direct_scale(graph: &Graph, id: NodeId) -> Option<(NodeId, f64)> {
    if !graph.dtype(id).is_float() {
        return None;
    }
    if *graph.op(id) == Op::Unary(UnaryOp::Neg) {
        return Some((graph.node(id).inputs[0], -1.0));
    }
    let [x, c] = operands(graph, id, BinaryOp::Mul)?;
    Some((x, graph.const_value(c)?.as_f64()))
}

/// x^n → products for a small whole n, x^(n + ½) → √x·xⁿ, and their inverses: a general power costs as much as twenty
/// products. (√ differs from the power at −∞ and −0, where neither is used.)
pub fn power_by_constant(graph: &mut Graph, _: &Uses, id: NodeId) -> Option<NodeId> {
    let [x, exponent] = operands(graph, id, BinaryOp::Pow)?;
    let exponent = graph.const_value(exponent)?.as_f64();
    let (size, whole) = (exponent.abs(), exponent.abs().floor());
    let half = size - whole == 0.5;
    if !graph.dtype(x).is_float() || size > 8.0 || !(half || size == whole) {
        return None;
    }
    let mut power = half.then(|| graph.unary(UnaryOp::Sqrt, x));
    let (mut left, mut square) = (whole as u32, x);
    while left > 0 {
        if left & 1 == 1 {
            power = Some(power.map_or(square, |p| graph.mul(p, square)));
        }
        left >>= 1;
        if left > 0 {
            square = graph.mul(square, square);
        }
    }
    let one = graph.constant_like(1.0, x);
    let power = power.unwrap_or(one);
    Some(if exponent < 0.0 { graph.div(one, power) } else { power })
}

fn under_view<T>(
    graph: &mut Graph,
    id: NodeId,
    find: impl Fn(&Graph, NodeId) -> Option<(NodeId, T)>,
) -> Option<(NodeId, T)> {
    if !matches!(graph.op(id), Op::Reshape | Op::Permute { .. }) {
        return find(graph, id);
    }
    let (x, found) = find(graph, graph.node(id).inputs[0])?;
    Some((rebuild(graph, id, &[x]), found))
}

fn scale(graph: &mut Graph, x: NodeId, factor: f64) -> NodeId {
    let factor = graph.constant_like(factor, x);
    graph.mul(x, factor)
}

/// (x·c)·d → x·(cd), −(x·c) → x·(−c), (x·c)·y and (x·c)/y → (xy)·c, x/c → x·(1/c), (x + c) + d → x + (c + d).
pub fn fold_constant_factors(graph: &mut Graph, uses: &Uses, id: NodeId) -> Option<NodeId> {
    if !graph.dtype(id).is_float() {
        return None;
    }
    if let Some((inner, d)) = direct_scale(graph, id)
        && let Some((x, c)) = scaled(graph, inner)
    {
        return Some(scale(graph, x, c * d));
    }
    if let Some([x, y]) = operands(graph, id, BinaryOp::Div) {
        let inverse = graph.const_value(y).map(|c| 1.0 / c.as_f64());
        // Where the inverse has fewer digits than the type it stays a division.
        let smallest = if graph.dtype(id) == DType::F32 { f32::MIN_POSITIVE as f64 } else { f64::MIN_POSITIVE };
        if let Some(inverse) = inverse.filter(|inverse| inverse.is_finite() && inverse.abs() >= smallest) {
            return Some(scale(graph, x, inverse));
        }
    }
    if let Some([inner, d]) = operands(graph, id, BinaryOp::Add)
        && graph.const_value(d).is_some()
        && let Some([x, c]) = operands(graph, inner, BinaryOp::Add)
        && graph.const_value(c).is_some()
    {
        let sum = graph.add(c, d);
        return Some(graph.add(x, sum));
    }
    for op in [BinaryOp::Mul, BinaryOp::Div] {
        if let Some([a, b]) = operands(graph, id, op) {
            if graph.const_value(b).is_some() {
                continue;
            }
            // Of a quotient only the numerator; constants meet outside.
            let factors: &[(NodeId, NodeId)] = if op == BinaryOp::Mul { &[(a, b), (b, a)] } else { &[(a, b)] };
            for &(with, other) in factors {
                if uses.once(with)
                    && let Some((x, c)) = scaled(graph, with)
                    && c != -1.0
                {
                    let product = graph.binary(op, x, other);
                    return Some(scale(graph, product, c));
                }
            }
        }
    }
    None
}

/// (−x)·y → −(xy), likewise quotients; (−x)·(−y) → xy.
pub fn pull_negation(graph: &mut Graph, uses: &Uses, id: NodeId) -> Option<NodeId> {
    for op in [BinaryOp::Mul, BinaryOp::Div] {
        let Some([a, b]) = operands(graph, id, op) else {
            continue;
        };
        return match (negated(graph, a), negated(graph, b)) {
            (Some(x), Some(y)) => Some(graph.binary(op, x, y)),
            (Some(x), None) if uses.once(a) => {
                let product = graph.binary(op, x, b);
                Some(graph.neg(product))
            }
            (None, Some(y)) if uses.once(b) => {
                let product = graph.binary(op, a, y);
                Some(graph.neg(product))
            }
            _ => None,
        };
    }
    None
}

/// (x/s)·y → (x·y)/s for an s that is repeated: a sum that follows divides once.
pub fn pull_divisor(graph: &mut Graph, uses: &Uses, id: NodeId) -> Option<NodeId> {
    let [a, b] = operands(graph, id, BinaryOp::Mul)?;
    for (quotient, y) in [(a, b), (b, a)] {
        if let Some([x, s]) = operands(graph, quotient, BinaryOp::Div)
            && matches!(graph.op(s), Op::Broadcast { .. })
            && uses.once(quotient)
        {
            let product = graph.mul(x, y);
            return Some(graph.div(product, s));
        }
    }
    None
}

/// x + (−y) → x − y, x − (−y) → x + y, −(x − y) → y − x.
pub fn subtract_instead(graph: &mut Graph, uses: &Uses, id: NodeId) -> Option<NodeId> {
    if let Some([a, b]) = operands(graph, id, BinaryOp::Add) {
        return match (subtracted(graph, a), subtracted(graph, b)) {
            (_, Some(y)) => Some(graph.sub(a, y)),
            (Some(x), None) => Some(graph.sub(b, x)),
            _ => None,
        };
    }
    if let Some([a, b]) = operands(graph, id, BinaryOp::Sub) {
        let y = subtracted(graph, b)?;
        return Some(graph.add(a, y));
    }
    let difference = negated(graph, id)?;
    let [a, b] = operands(graph, difference, BinaryOp::Sub)?;
    uses.once(difference).then(|| graph.sub(b, a))
}

/// x + x → 2x, x·c + x·d → x·(c + d).
pub fn collect_multiples(graph: &mut Graph, _: &Uses, id: NodeId) -> Option<NodeId> {
    if !graph.dtype(id).is_float() {
        return None;
    }
    let [a, b] = operands(graph, id, BinaryOp::Add)?;
    let (x, c) = scaled(graph, a).unwrap_or((a, 1.0));
    let (y, d) = scaled(graph, b).unwrap_or((b, 1.0));
    let (x, y, c, d) = if x == b {
        (x, b, c, 1.0)
    } else if y == a {
        (a, y, 1.0, d)
    } else {
        (x, y, c, d)
    };
    // A factor of 0 would drop an infinity that 0·∞ keeps as NaN.
    (x == y && c + d != 0.0).then(|| scale(graph, x, c + d))
}

/// Branches that the condition has already decided, and masks of complementary parts added.
pub fn merge_selects(graph: &mut Graph, _: &Uses, id: NodeId) -> Option<NodeId> {
    let branches = |graph: &Graph, id| {
        let node = graph.node(id);
        (node.op == Op::Select).then(|| (node.inputs[0], node.inputs[1], node.inputs[2]))
    };
    if let Some([a, b]) = operands(graph, id, BinaryOp::Add) {
        let (cond, then, otherwise) = branches(graph, a)?;
        let (other_cond, other_then, other_otherwise) = branches(graph, b)?;
        if cond != other_cond {
            return None;
        }
        return match [then, otherwise, other_then, other_otherwise].map(|part| graph.is_const(part, 0.0)) {
            [_, true, true, _] => Some(graph.select(cond, then, other_otherwise)),
            [true, _, _, true] => Some(graph.select(cond, other_then, otherwise)),
            _ => None,
        };
    }
    let (cond, then, otherwise) = branches(graph, id)?;
    let decided_then = branches(graph, then).filter(|inner| inner.0 == cond).map(|inner| inner.1);
    let decided_otherwise = branches(graph, otherwise).filter(|inner| inner.0 == cond).map(|inner| inner.2);
    if decided_then.is_none() && decided_otherwise.is_none() {
        return None;
    }
    Some(graph.select(cond, decided_then.unwrap_or(then), decided_otherwise.unwrap_or(otherwise)))
}
