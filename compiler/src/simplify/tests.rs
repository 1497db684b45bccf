//! Both sides of every rule are evaluated, alone and in random graphs.

use super::{RULES, Simplifier, simplify};
use crate::derive::grad;
use crate::graph::testing::{
    Rng, assert_close, example_values, fitted, number, random_graph, run, variable as var, variables,
};
use crate::graph::{Graph, NodeId, Op, ReduceOp, Tensor, needed, print};
use fgc_program::{BinaryOp, ConvRole, UnaryOp};
use proptest::prelude::*;

/// A graph to which the rule of this name applies, over variables x: [2, 3], y: [2, 3], v: [3], w: [3, 4], q: [2, 3, 4].
type Example = (&'static str, fn(&mut Graph, [NodeId; 5]) -> NodeId);

const EXAMPLES: &[Example] = &[
    ("drop-stop", |g, [x, ..]| {
        let still = g.stop(x);
        g.sin(still)
    }),
    ("power-by-constant", |g, [x, ..]| {
        let base = g.exp(x);
        let powers = [3.0, -2.0, 1.5, -0.5, 7.0].map(|exponent| {
            let exponent = number(g, exponent, &[2, 3]);
            g.binary(BinaryOp::Pow, base, exponent)
        });
        powers.into_iter().reduce(|a, b| g.add(a, b)).unwrap_or(x)
    }),
    ("fold-constant-factors", |g, [x, y, ..]| {
        let (two, three) = (number(g, 2.0, &[2, 3]), number(g, 3.0, &[2, 3]));
        let (double, third) = (g.mul(x, two), g.div(y, three));
        let product = g.mul(double, third);
        let shifted = g.add(product, two);
        g.add(shifted, three)
    }),
    ("pull-negation", |g, [x, y, ..]| {
        let minus = g.neg(x);
        let product = g.mul(minus, y);
        g.exp(product)
    }),
    ("pull-divisor", |g, [_, _, v, _, q]| {
        let s = g.broadcast(v, &[1], &[2, 3, 4]);
        let (sin, quotient) = (g.sin(q), g.div(q, s));
        g.mul(quotient, sin)
    }),
    ("subtract-instead", |g, [x, y, ..]| {
        let (a, b) = (g.neg(x), g.neg(y));
        let (first, second) = (g.add(x, b), g.sub(y, a));
        let difference = g.sub(first, second);
        g.neg(difference)
    }),
    ("collect-multiples", |g, [x, ..]| {
        let two = number(g, 2.5, &[2, 3]);
        let part = g.mul(x, two);
        let sum = g.add(x, part);
        let minus = g.neg(x);
        g.add(minus, sum)
    }),
    ("merge-selects", |g, [x, y, ..]| {
        let (zero, cond) = (number(g, 0.0, &[2, 3]), g.lt(x, y));
        let (a, b) = (g.select(cond, x, zero), g.select(cond, zero, y));
        let sum = g.add(b, a);
        let nested = g.select(cond, y, sum);
        g.select(cond, nested, x)
    }),
    ("lift-broadcast", |g, [_, _, v, _, q]| {
        let (sin, row) = (g.broadcast(v, &[1], &[2, 3, 4]), g.slice(q, 1, 0, 1, 1));
        let row = g.reshape(row, &[2, 4]);
        let row = g.broadcast(row, &[0, 2], &[2, 3, 4]);
        let three = number(g, 3.0, &[2, 3, 4]);
        let (sin, scaled) = (g.sin(sin), g.mul(row, three));
        let sum = g.add(sin, scaled);
        g.mul(sum, q)
    }),
    ("lift-view", |g, [x, y, ..]| {
        let (a, b) = (g.permute(x, &[1, 0]), g.permute(y, &[1, 0]));
        let sum = g.add(a, b);
        let flat = g.reshape(sum, &[6]);
        g.tanh(flat)
    }),
    ("broadcast-of-reshape", |g, [_, _, v, _, _]| {
        let column = g.reshape(v, &[1, 3, 1]);
        let wide = g.broadcast(column, &[0, 2, 3], &[1, 5, 3, 1]);
        g.sin(wide)
    }),
    ("slice-of-view", |g, [x, y, v, ..]| {
        let both = g.concat(&[x, y], 0);
        let part = g.slice(both, 0, 2, 1, 1);
        let padded = g.pad(x, 1, 1, 2, 8);
        let picked = g.slice(padded, 1, 3, 2, 2);
        let picked = g.slice(picked, 0, 0, 1, 1);
        let wide = g.broadcast(v, &[1], &[4, 3]);
        let row = g.slice(wide, 0, 1, 1, 1);
        g.concat(&[part, picked, row], 1)
    }),
    ("sum-of-pads", |g, [x, y, ..]| {
        let (a, b) = (g.pad(x, 1, 1, 1, 7), g.pad(y, 1, 4, 1, 7));
        g.add(b, a)
    }),
    ("concat-of-slices", |g, [.., q]| {
        let (a, b) = (g.slice(q, 2, 1, 1, 1), g.slice(q, 2, 2, 2, 1));
        g.concat(&[a, b, q], 2)
    }),
    ("reduce-of-reduce", |g, [.., q]| {
        let inner = g.reduce(ReduceOp::Max, q, &[1]);
        g.reduce(ReduceOp::Max, inner, &[1])
    }),
    ("reduce-of-broadcast", |g, [x, ..]| {
        let wide = g.broadcast(x, &[1, 2], &[5, 2, 3, 4]);
        let (sum, most) = (g.sum(wide, &[0, 1]), g.reduce(ReduceOp::Max, wide, &[0, 1]));
        g.add(sum, most)
    }),
    ("reduce-of-permute", |g, [.., q]| {
        let turned = g.permute(q, &[2, 0, 1]);
        g.sum(turned, &[1])
    }),
    ("reduce-of-reshape", |g, [.., q]| {
        let groups = g.reshape(q, &[1, 2, 2, 6]);
        g.sum(groups, &[2, 3])
    }),
    ("sum-of-pad", |g, [x, ..]| {
        let padded = g.pad(x, 1, 2, 1, 6);
        g.sum(padded, &[1])
    }),
    ("sum-of-scaled", |g, [x, _, _, _, q]| {
        let wide = g.broadcast(x, &[0, 1], &[2, 3, 4]);
        let (product, minus) = (g.mul(q, wide), g.neg(q));
        let (a, b) = (g.sum(product, &[2]), g.sum(minus, &[2]));
        g.mul(a, b)
    }),
    ("contract-of-permute", |g, [.., w, q]| {
        let turned = g.permute(q, &[2, 0, 1]);
        g.contract(w, turned, &[0], &[2], &[1], &[0])
    }),
    ("contract-of-broadcast", |g, [x, _, v, w, q]| {
        // Repeated along a batch axis, a summed axis and a free one.
        let wide = g.broadcast(w, &[2, 3], &[2, 5, 3, 4]);
        let batch = g.contract(wide, q, &[0, 2], &[0, 1], &[3], &[2]);
        let summed = g.broadcast(v, &[0], &[3, 4]);
        let summed = g.contract(summed, q, &[0], &[1], &[1], &[2]);
        let (batch, summed) = (g.sum(batch, &[2]), g.permute(summed, &[1, 0]));
        let both = g.add(batch, summed);
        g.add(both, x)
    }),
    ("permute-of-contract", |g, [_, _, _, w, q]| {
        let product = g.contract(w, q, &[], &[], &[1], &[2]);
        g.permute(product, &[1, 2, 0])
    }),
    ("contract-of-scaled", |g, [x, y, ..]| {
        let minus = g.neg(x);
        g.contract(minus, y, &[], &[], &[1], &[1])
    }),
    ("contract-of-repeated", |g, [x, y, v, _, q]| {
        // To the result; to the other operand, two axes of it the other way round; from beneath a product.
        let sums = g.broadcast(x, &[0, 1], &[2, 3, 4]);
        let weights = g.div(q, sums);
        let result = g.contract(weights, q, &[0], &[0], &[2], &[2]);
        let result = g.sum(result, &[2]);
        let turned = g.permute(y, &[1, 0]);
        let other = g.contract(weights, turned, &[0], &[1], &[1], &[0]);
        let other = g.sum(other, &[1]);
        let wide = g.broadcast(v, &[1], &[2, 3, 4]);
        let beneath = g.mul(wide, q);
        let product = g.mul(beneath, q);
        let beneath = g.contract(product, v, &[], &[], &[1], &[0]);
        let beneath = g.sum(beneath, &[0, 1]);
        let beneath = g.broadcast(beneath, &[], &[2, 3]);
        let other = g.broadcast(other, &[0], &[2, 3]);
        let sum = g.add(result, other);
        g.add(sum, beneath)
    }),
    ("contract-of-merged", |g, [.., q]| {
        let root = g.sin(q);
        let moved = g.permute(root, &[1, 2, 0]);
        let merged = g.reshape(moved, &[12, 2]);
        let other = g.reshape(q, &[2, 12]);
        g.contract(merged, other, &[], &[], &[0], &[1])
    }),
];

#[test]
fn every_rule_keeps_values() {
    let covered: Vec<&str> = EXAMPLES.iter().map(|(name, _)| *name).collect();
    assert_eq!(covered, RULES.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "an example of each rule");
    for (name, build) in EXAMPLES {
        let mut g = Graph::new();
        let values = example_values(&mut Rng(7));
        let v: Vec<NodeId> = variables(&mut g, &values);
        let before = build(&mut g, [v[0], v[1], v[2], v[3], v[4]]);
        let result = Simplifier::default().simplify(&mut g, &[before]);
        assert!(result.converged, "{name} does not end");
        assert!(result.applied.contains_key(name), "{name} did not apply:\n{}", print(&g, &[before]));
        let [old, new] = [before, result.outputs[0]].map(|id| run(&g, &[id], &values).remove(0));
        assert_close(&new, &old, 1e-12, name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..Default::default() })]

    #[test]
    fn random_graphs_keep_their_values(seed: u64) {
        let rng = &mut Rng(seed);
        let mut g = Graph::new();
        let outputs = random_graph(&mut g, rng, 40, true);
        let values = example_values(rng);
        let before = run(&g, &outputs, &values);
        let result = Simplifier::default().simplify(&mut g, &outputs);
        prop_assert!(result.converged, "applied {:?}", result.applied);
        for (new, old) in run(&g, &result.outputs, &values).iter().zip(&before) {
            assert_close(new, old, 1e-8, "output");
        }
    }

    #[test]
    fn random_gradients_keep_their_values(seed: u64) {
        let rng = &mut Rng(seed);
        let mut g = Graph::new();
        let outputs = random_graph(&mut g, rng, 25, true);
        let mut total = number(&mut g, 0.0, &[]);
        for id in outputs {
            let part = fitted(&mut g, rng, id, &[]);
            let part = g.sin(part);
            total = g.add(total, part);
        }
        let values = example_values(rng);
        let inputs: Vec<NodeId> = variables(&mut g, &values);
        let gradients: Vec<NodeId> = grad(&mut g, total, &inputs).unwrap().into_iter().flatten().collect();
        let before = run(&g, &gradients, &values);
        let after = simplify(&mut g, &gradients);
        for (new, old) in run(&g, &after, &values).iter().zip(&before) {
            assert_close(new, old, 1e-8, "gradient");
        }
    }
}

fn count(g: &Graph, outputs: &[NodeId], wanted: impl Fn(&Op) -> bool) -> usize {
    needed(g, outputs).into_iter().filter(|&id| wanted(g.op(id))).count()
}

/// Loss and gradients of x → silu(x w₁ + b₁) w₂ + b₂ …, with what named axes and means leave behind.
fn perceptron(g: &mut Graph, layers: usize) -> Vec<NodeId> {
    let (batch, width) = (8, 4);
    let mut x = var(g, 0, &[batch, width]);
    let mut parameters = Vec::new();
    for layer in 0..layers {
        let (w, b) = (var(g, 2 * layer + 1, &[width, width]), var(g, 2 * layer + 2, &[width]));
        parameters.extend([w, b]);
        // A published weight is [out, in].
        let wt = g.permute(w, &[1, 0]);
        let y = g.contract(x, wt, &[], &[], &[1], &[0]);
        let b = g.broadcast(b, &[1], &[batch, width]);
        let y = g.add(y, b);
        let gate = g.sigmoid(y);
        x = g.mul(y, gate);
    }
    let square = g.mul(x, x);
    let inverse = number(g, 1.0 / (batch * width) as f64, &[batch, width]);
    let scaled = g.mul(square, inverse);
    let loss = g.sum(scaled, &[0, 1]);
    let gradients = grad(g, loss, &parameters).unwrap();
    [loss].into_iter().chain(gradients.into_iter().flatten()).collect()
}

#[test]
fn a_perceptron_step_is_its_products() {
    let mut g = Graph::new();
    let outputs = perceptron(&mut g, 3);
    let before = needed(&g, &outputs).len();
    let after = simplify(&mut g, &outputs);
    // Forward 3, weights 3, inputs 2; nothing transposed.
    assert_eq!(count(&g, &after, |op| matches!(op, Op::Contract { .. })), 8);
    assert_eq!(count(&g, &after, |op| matches!(op, Op::Permute { .. })), 0, "{}", print(&g, &after));
    assert!(needed(&g, &after).len() <= before - 6);
}

#[test]
fn a_convolutional_step_is_its_convolutions() {
    let mut g = Graph::new();
    let (mut x, mut parameters) = (var(&mut g, 0, &[2, 6, 6, 4]), Vec::new());
    for layer in 0..3 {
        let (w, b) = (var(&mut g, 2 * layer + 1, &[4, 4, 3, 3]), var(&mut g, 2 * layer + 2, &[4]));
        parameters.extend([w, b]);
        // [filters, channels, height, width] as published.
        let w = g.permute(w, &[2, 3, 1, 0]);
        let y = g.conv(ConvRole::Forward, [x, w], [1, 1], [[1, 1], [1, 1]], None);
        let b = g.broadcast(b, &[3], &[2, 6, 6, 4]);
        let y = g.add(y, b);
        // Group normalisation with two groups.
        let groups = g.reshape(y, &[2, 36, 2, 2]);
        let inverse = number(&mut g, 1.0 / 72.0, &[2, 2]);
        let spread = |g: &mut Graph, v| g.broadcast(v, &[0, 2], &[2, 36, 2, 2]);
        let sum = g.sum(groups, &[1, 3]);
        let mean = g.mul(sum, inverse);
        let mean = spread(&mut g, mean);
        let centred = g.sub(groups, mean);
        let square = g.mul(centred, centred);
        let sum = g.sum(square, &[1, 3]);
        let (variance, eps) = (g.mul(sum, inverse), number(&mut g, 1e-5, &[2, 2]));
        let variance = g.add(variance, eps);
        let deviation = g.sqrt(variance);
        let deviation = spread(&mut g, deviation);
        let normal = g.div(centred, deviation);
        let normal = g.reshape(normal, &[2, 6, 6, 4]);
        let gate = g.sigmoid(normal);
        x = g.mul(normal, gate);
    }
    let square = g.mul(x, x);
    let loss = g.sum(square, &[0, 1, 2, 3]);
    let gradients = grad(&mut g, loss, &parameters).unwrap();
    let outputs: Vec<NodeId> = [loss].into_iter().chain(gradients.into_iter().flatten()).collect();
    let before = needed(&g, &outputs).len();
    let result = Simplifier::default().simplify(&mut g, &outputs);
    assert_eq!(count(&g, &result.outputs, |op| matches!(op, Op::Conv { .. })), 8);
    assert!(needed(&g, &result.outputs).len() <= before - 4 && result.converged);
    // Each layer divides twice at full size, forward and backward; the statistics' divisions are small.
    let large = |id: &&NodeId| *g.op(**id) == Op::Binary(BinaryOp::Div) && g.ty(**id).len() > 4;
    assert_eq!(needed(&g, &result.outputs).iter().filter(large).count(), 6);
}

#[test]
fn a_long_chain_is_simplified_without_recursion() {
    let mut g = Graph::new();
    let x = var(&mut g, 0, &[]);
    let mut y = x;
    for _ in 0..100_000 {
        let minus = g.neg(y);
        y = g.sin(minus);
    }
    let value = [Tensor::f64(&[], vec![0.4])];
    let after = simplify(&mut g, &[y]);
    assert_close(&run(&g, &after, &value)[0], &run(&g, &[y], &value)[0], 1e-12, "chain");
}
/// Layer normalisation, packed queries, keys and values, two heads, a projection, a residual.
fn attention_block(g: &mut Graph, v: &[NodeId]) -> NodeId {
    let (b, t, h, d) = (2, 4, 2, 3);
    let c = h * d;
    let (inverse, eps) = (number(g, 1.0 / c as f64, &[b, t]), number(g, 1e-5, &[b, t]));
    let spread = |g: &mut Graph, x| g.broadcast(x, &[0, 1], &[b, t, c]);
    let sum = g.sum(v[0], &[2]);
    let mean = g.mul(sum, inverse);
    let mean = spread(g, mean);
    let centred = g.sub(v[0], mean);
    let square = g.mul(centred, centred);
    let sum = g.sum(square, &[2]);
    let variance = g.mul(sum, inverse);
    let variance = g.add(variance, eps);
    let deviation = g.sqrt(variance);
    let deviation = spread(g, deviation);
    let normal = g.div(centred, deviation);
    let packed = g.contract(normal, v[1], &[], &[], &[2], &[1]);
    let [q, k, value] = [0, 1, 2].map(|i| {
        let part = g.slice(packed, 2, i * c, c, 1);
        g.reshape(part, &[b, t, h, d])
    });
    let scores = g.contract(q, k, &[0, 2], &[0, 2], &[3], &[3]);
    let wide = |g: &mut Graph, x| g.broadcast(x, &[0, 1, 2], &[b, h, t, t]);
    let top = g.reduce(ReduceOp::Max, scores, &[3]);
    let top = g.stop(top);
    let top = wide(g, top);
    let shifted = g.sub(scores, top);
    let e = g.exp(shifted);
    let sum = g.sum(e, &[3]);
    let sum = wide(g, sum);
    let weights = g.div(e, sum);
    let out = g.contract(weights, value, &[0, 1], &[0, 2], &[3], &[1]);
    let out = g.permute(out, &[0, 2, 1, 3]);
    let out = g.reshape(out, &[b, t, c]);
    let out = g.contract(out, v[2], &[], &[], &[2], &[1]);
    g.add(out, v[0])
}

#[test]
fn an_attention_step_is_its_products() {
    let mut g = Graph::new();
    let rng = &mut Rng(8);
    let values = [&[2, 4, 6][..], &[18, 6], &[6, 6]].map(|shape| rng.tensor(shape, -1.0, 1.0));
    let v = variables(&mut g, &values);
    let y = attention_block(&mut g, &v);
    let square = g.mul(y, y);
    let loss = g.sum(square, &[0, 1, 2]);
    let gradients: Vec<NodeId> = grad(&mut g, loss, &v).unwrap().into_iter().flatten().collect();
    let after = simplify(&mut g, &gradients);
    for (new, old) in run(&g, &after, &values).iter().zip(&run(&g, &gradients, &values)) {
        assert_close(new, old, 1e-10, "gradient");
    }
    // Forward 4, and two for each of them backward; the three parts' gradients are written side by side.
    assert_eq!(count(&g, &after, |op| matches!(op, Op::Contract { .. })), 12);
    assert_eq!(count(&g, &after, |op| matches!(op, Op::Concat { .. })), 1);
    assert_eq!(count(&g, &after, |op| matches!(op, Op::Pad { .. } | Op::Stop | Op::Unary(UnaryOp::Neg))), 0);
    // Heads are moved behind tokens, forward once and backward for each part; channels stay innermost. (Sums of weights,
    // by which results are divided instead of weights, have no channels.)
    assert_eq!(count(&g, &after, |op| matches!(op, Op::Permute { order } if order.len() == 4)), 4);
    assert_eq!(count(&g, &after, |op| matches!(op, Op::Permute { order } if order.len() == 4 && order[3] != 3)), 0);
}
