//! Rules that look at shapes: what is repeated is computed once, views go to the leaves, sums and products join.
//!
//! Each takes a term and gives terms that are equal to it; of each input all terms of its class are looked at.

use super::term::{Head, Term, Terms, add};
use crate::graph::{Op, ReduceOp, Ty, groups};
use egg::Id;
use fgc_program::{BinaryOp, DType, Scalar};

/// A class that repeats another.
struct Repeated {
    source: Id,
    axes: Vec<usize>,
}

fn ty(terms: &Terms, id: Id) -> Ty {
    terms[id].data.ty.clone()
}

fn repeated(terms: &Terms, id: Id) -> Vec<Repeated> {
    let found = terms[id].nodes.iter().filter_map(|term| match terms.analysis.form(term.head) {
        Some((Op::Broadcast { axes }, _)) => Some(Repeated { source: term.inputs[0], axes: axes.to_vec() }),
        _ => None,
    });
    found.collect()
}

/// The operands of each operation of this kind in a class.
fn operands(terms: &Terms, id: Id, ops: &[BinaryOp]) -> Vec<(BinaryOp, [Id; 2])> {
    let found = terms[id].nodes.iter().filter_map(|term| match term.head {
        Head::Binary(op) if ops.contains(&op) => Some((op, [term.inputs[0], term.inputs[1]])),
        _ => None,
    });
    found.collect()
}

/// Each form of a class that `take` accepts, with its inputs.
fn forms<'a>(terms: &'a Terms, id: Id, take: impl Fn(&Op) -> bool + 'a) -> impl Iterator<Item = (&'a Op, &'a Term)> {
    terms[id].nodes.iter().filter_map(move |term| {
        let (op, _) = terms.analysis.form(term.head)?;
        take(op).then_some((op, term))
    })
}

fn binary(terms: &mut Terms, op: BinaryOp, a: Id, b: Id) -> Id {
    terms.add(Term::new(Head::Binary(op), &[a, b]))
}

fn constant(terms: &mut Terms, value: f64, ty: &Ty) -> Id {
    add(terms, &Op::Const(Scalar::new(ty.dtype, value)), ty, &[])
}

fn reshape(terms: &mut Terms, x: Id, shape: &[usize]) -> Id {
    let from = ty(terms, x);
    if from.shape[..] == *shape {
        return x;
    }
    add(terms, &Op::Reshape, &Ty::new(from.dtype, shape), &[x])
}

fn broadcast(terms: &mut Terms, x: Id, axes: &[usize], shape: &[usize]) -> Id {
    if (0..shape.len()).all(|i| axes.contains(&i) || shape[i] == 1) {
        return reshape(terms, x, shape);
    }
    let ty = Ty::new(ty(terms, x).dtype, shape);
    add(terms, &Op::Broadcast { axes: axes.into() }, &ty, &[x])
}

/// The term's inputs if it is elementwise.
fn elementwise<'a>(terms: &Terms, term: &'a Term) -> Option<&'a [Id]> {
    let is = match term.head {
        Head::Unary(_) | Head::Binary(_) | Head::Select => true,
        head => matches!(terms.analysis.form(head), Some((Op::Cast(_), _))),
    };
    is.then_some(&term.inputs[..])
}

/// An elementwise term of other inputs, of this shape.
fn like(terms: &mut Terms, term: &Term, inputs: &[Id], shape: &[usize]) -> Id {
    match terms.analysis.form(term.head).cloned() {
        Some((op, ty)) => add(terms, &op, &Ty::new(ty.dtype, shape), inputs),
        None => terms.add(Term::new(term.head, inputs)),
    }
}

/// f(repeat x, repeat y, c) → repeat f(x, y, c), over the axes that any operand has.
pub fn operate_before_repeating(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let Some(inputs) = elementwise(terms, term) else { return vec![] };
    let whole = ty(terms, inputs[inputs.len() - 1]);
    let shape = &whole.shape;
    let mut sources = Vec::new();
    for &input in inputs {
        match (terms[input].data.constant, repeated(terms, input).into_iter().next()) {
            (Some(value), _) => sources.push(Err(value)),
            (None, Some(found)) => sources.push(Ok(found)),
            (None, None) => return vec![],
        }
    }
    let varies = |axis: &usize| sources.iter().flatten().any(|source| source.axes.contains(axis));
    let kept: Vec<usize> = (0..shape.len()).filter(varies).collect();
    let inner: Vec<usize> = kept.iter().map(|&axis| shape[axis]).collect();
    if sources.iter().all(Result::is_err) || inner.iter().product::<usize>() >= whole.len() {
        return vec![];
    }
    let small: Vec<Id> = sources
        .iter()
        .map(|source| match source {
            Err(value) => add(terms, &Op::Const(*value), &Ty::new(value.dtype(), &inner), &[]),
            Ok(Repeated { source, axes }) => {
                let places: Vec<usize> = axes.iter().filter_map(|axis| kept.iter().position(|k| k == axis)).collect();
                broadcast(terms, *source, &places, &inner)
            }
        })
        .collect();
    let value = like(terms, term, &small, &inner);
    vec![broadcast(terms, value, &kept, shape)]
}

/// Whether a class is of fewer elements than it has, or one number.
fn is_small(terms: &Terms, id: Id) -> bool {
    terms[id].data.constant.is_some() || !repeated(terms, id).is_empty()
}

/// (x ± m)·s → x·s ± m·s for m and s that are repeated: m·s is computed once. f32.
pub fn distribute_over_repeated(terms: &mut Terms, term: &Term) -> Vec<Id> {
    if term.head != Head::Binary(BinaryOp::Mul) || ty(terms, term.inputs[0]).dtype != DType::F32 {
        return vec![];
    }
    let mut out = Vec::new();
    for (sum, s) in [(term.inputs[0], term.inputs[1]), (term.inputs[1], term.inputs[0])] {
        if !is_small(terms, s) {
            continue;
        }
        for (op, [x, m]) in operands(terms, sum, &[BinaryOp::Add, BinaryOp::Sub]) {
            if is_small(terms, m) || is_small(terms, x) {
                let (left, right) = (binary(terms, BinaryOp::Mul, x, s), binary(terms, BinaryOp::Mul, m, s));
                out.push(binary(terms, op, left, right));
            }
        }
    }
    out
}

/// x / repeat s → x · repeat 1/s: one division for many. f32.
pub fn multiply_by_inverse(terms: &mut Terms, term: &Term) -> Vec<Id> {
    if term.head != Head::Binary(BinaryOp::Div) || ty(terms, term.inputs[0]).dtype != DType::F32 {
        return vec![];
    }
    let mut out = Vec::new();
    for Repeated { source, axes } in repeated(terms, term.inputs[1]) {
        let (small, whole) = (ty(terms, source), ty(terms, term.inputs[0]));
        let one = constant(terms, 1.0, &small);
        let inverse = binary(terms, BinaryOp::Div, one, source);
        let inverse = broadcast(terms, inverse, &axes, &whole.shape);
        out.push(binary(terms, BinaryOp::Mul, term.inputs[0], inverse));
    }
    out
}

/// x + 0, x − 0, x·1, x/1 → x; x·(−1) → −x.
pub fn neutral_constant(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let Head::Binary(op) = term.head else { return vec![] };
    let [x, c] = [term.inputs[0], term.inputs[1]];
    let Some(value) = terms[c].data.constant.filter(|value| value.dtype().is_float()) else { return vec![] };
    match (op, value.as_f64()) {
        (BinaryOp::Add | BinaryOp::Sub, 0.0) | (BinaryOp::Mul | BinaryOp::Div, 1.0) => vec![x],
        (BinaryOp::Mul | BinaryOp::Div, -1.0) => {
            vec![terms.add(Term::new(Head::Unary(fgc_program::UnaryOp::Neg), &[x]))]
        }
        _ => vec![],
    }
}

/// Repeating twice is repeating.
pub fn repeat_once(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let Some((Op::Broadcast { axes }, whole)) = terms.analysis.form(term.head).cloned() else { return vec![] };
    let inner = repeated(terms, term.inputs[0]).into_iter().map(|inner| {
        let axes: Vec<usize> = inner.axes.iter().map(|&i| axes[i]).collect();
        broadcast(terms, inner.source, &axes, &whole.shape)
    });
    inner.collect()
}

/// Reshaping twice is reshaping once, or not at all.
pub fn reshape_once(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let Some((Op::Reshape, whole)) = terms.analysis.form(term.head).cloned() else { return vec![] };
    let inner: Vec<Id> =
        forms(terms, term.inputs[0], |op| *op == Op::Reshape).map(|(_, inner)| inner.inputs[0]).collect();
    inner.into_iter().map(|source| reshape(terms, source, &whole.shape)).collect()
}

/// reshape f(x, y) → f(reshape x, reshape y).
pub fn reshape_operands(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let Some((Op::Reshape, whole)) = terms.analysis.form(term.head).cloned() else { return vec![] };
    let inner: Vec<Term> =
        terms[term.inputs[0]].nodes.iter().filter(|inner| elementwise(terms, inner).is_some()).cloned().collect();
    let mut out = Vec::new();
    for inner in inner {
        let inputs: Vec<Id> = inner.inputs.iter().map(|&input| reshape(terms, input, &whole.shape)).collect();
        out.push(like(terms, &inner, &inputs, &whole.shape));
    }
    out
}

/// reshape (repeat x) → repeat (reshape (repeat x)), the inner repetition only over axes that are merged with axes of x.
pub fn reshape_repeated(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let Some((Op::Reshape, whole)) = terms.analysis.form(term.head).cloned() else { return vec![] };
    let before = ty(terms, term.inputs[0]).shape;
    if whole.is_empty() {
        return vec![];
    }
    let mut out = Vec::new();
    for Repeated { source, axes } in repeated(terms, term.inputs[0]) {
        let (mut from, mut to): (Vec<usize>, Vec<usize>) = (vec![], vec![]);
        for (run, becomes) in groups(&before, &whole.shape) {
            if run.clone().any(|axis| axes.contains(&axis)) {
                from.extend(run);
                to.extend(becomes);
            }
        }
        let extents = |axes: &[usize], shape: &[usize]| axes.iter().map(|&axis| shape[axis]).collect::<Vec<_>>();
        let (inner, outer) = (extents(&from, &before), extents(&to, &whole.shape));
        if inner.iter().product::<usize>() >= whole.len() {
            continue;
        }
        let places: Vec<usize> = axes.iter().filter_map(|axis| from.iter().position(|f| f == axis)).collect();
        let value = broadcast(terms, source, &places, &inner);
        let value = reshape(terms, value, &outer);
        out.push(broadcast(terms, value, &to, &whole.shape));
    }
    out
}

/// Σx ± Σy → Σ(x ± y) over the same axes.
pub fn sum_together(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let Head::Binary(op @ (BinaryOp::Add | BinaryOp::Sub)) = term.head else { return vec![] };
    let sums = |id| {
        let found = forms(terms, id, |op| matches!(op, Op::Reduce { op: ReduceOp::Sum, .. }));
        found.map(|(op, sum)| (op.clone(), sum.inputs[0])).collect::<Vec<_>>()
    };
    let (left, right) = (sums(term.inputs[0]), sums(term.inputs[1]));
    let whole = ty(terms, term.inputs[0]);
    let mut out = Vec::new();
    for (over, x) in &left {
        for (other, y) in &right {
            if other == over && terms[*x].data.ty == terms[*y].data.ty {
                let both = binary(terms, op, *x, *y);
                out.push(add(terms, over, &whole, &[both]));
            }
        }
    }
    out
}

/// Σ x·s → s·Σx for an s that does not vary over the sum.
pub fn scale_sum(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let Some((over, whole)) = terms.analysis.form(term.head).cloned() else { return vec![] };
    let Op::Reduce { op: ReduceOp::Sum, axes: gone } = &over else { return vec![] };
    if !whole.dtype.is_float() {
        return vec![];
    }
    let place = |axis: usize| axis - gone.iter().filter(|&&g| g < axis).count();
    let mut out = Vec::new();
    for (_, [a, b]) in operands(terms, term.inputs[0], &[BinaryOp::Mul]) {
        for (x, s) in [(a, b), (b, a)] {
            for Repeated { source, axes } in repeated(terms, s) {
                if axes.iter().any(|axis| gone.contains(axis)) {
                    continue;
                }
                let sum = add(terms, &over, &whole, &[x]);
                let places: Vec<usize> = axes.iter().map(|&axis| place(axis)).collect();
                let s = broadcast(terms, source, &places, &whole.shape);
                out.push(binary(terms, BinaryOp::Mul, sum, s));
            }
        }
    }
    out
}

/// x·w ± y·w → (x ± y)·w: one product for two. f32 and f64.
pub fn contract_together(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let Head::Binary(op @ (BinaryOp::Add | BinaryOp::Sub)) = term.head else { return vec![] };
    let products = |id| {
        let found = forms(terms, id, |op| matches!(op, Op::Contract { .. }));
        found.map(|(op, product)| (op.clone(), [product.inputs[0], product.inputs[1]])).collect::<Vec<_>>()
    };
    let (left, right) = (products(term.inputs[0]), products(term.inputs[1]));
    let whole = ty(terms, term.inputs[0]);
    let mut out = Vec::new();
    for (how, [a, b]) in &left {
        for (other, [c, d]) in &right {
            let shared = |x: Id, y: Id| terms.find(x) == terms.find(y);
            if other != how || terms[*a].data.ty != terms[*c].data.ty || terms[*b].data.ty != terms[*d].data.ty {
                continue;
            }
            if shared(*b, *d) {
                let both = binary(terms, op, *a, *c);
                out.push(add(terms, how, &whole, &[both, *b]));
            } else if shared(*a, *c) {
                let both = binary(terms, op, *b, *d);
                out.push(add(terms, how, &whole, &[*a, both]));
            }
        }
    }
    out
}
