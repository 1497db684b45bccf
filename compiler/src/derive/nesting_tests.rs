//! Derivatives of derivatives, and of networks.

use super::{grad, jvp, vjp};
use crate::graph::testing::{
    Rng, assert_close, check, dot, example_values, fitted, random_graph, run, variable, variables,
};
use crate::graph::{Graph, NodeId, ReduceOp, Tensor, Ty, inline, print};
use fgc_program::{ConvRole, DType, Scalar};
use proptest::prelude::*;

/// x[B, 3] → tanh(x w₁ + b)·w₂ [B, 2], a sum of squares away from a loss.
fn network(g: &mut Graph, x: NodeId, w: &[NodeId]) -> NodeId {
    let batch = g.shape(x)[0];
    let hidden = g.contract(x, w[0], &[], &[], &[1], &[0]);
    let bias = g.broadcast(w[1], &[1], &[batch, 4]);
    let hidden = g.add(hidden, bias);
    let hidden = g.tanh(hidden);
    g.contract(hidden, w[2], &[], &[], &[1], &[0])
}

fn loss(g: &mut Graph, y: NodeId) -> NodeId {
    let square = g.mul(y, y);
    g.sum(square, &[0, 1])
}

fn network_values(rng: &mut Rng) -> Vec<Tensor> {
    [&[2, 3][..], &[3, 4], &[4], &[4, 2]].map(|shape| rng.tensor(shape, -1.0, 1.0)).into()
}

/// The sum of squares of what is there: a scalar that has seen every element.
fn measure(g: &mut Graph, nodes: &[Option<NodeId>]) -> NodeId {
    let mut total = g.constant(Scalar::F64(0.0), &[]);
    for &node in nodes.iter().flatten() {
        let axes: Vec<usize> = (0..g.shape(node).len()).collect();
        let cube = g.sin(node);
        let sum = g.sum(cube, &axes);
        total = g.add(total, sum);
    }
    total
}

#[test]
fn network_gradients() {
    let rng = &mut Rng(1);
    let values = network_values(rng);
    check("network", rng, &values, |g, v| {
        let y = network(g, v[0], &v[1..]);
        loss(g, y)
    });
}

#[test]
fn derivatives_of_a_gradient() {
    let rng = &mut Rng(2);
    let values = network_values(rng);
    check("gradient", rng, &values, |g, v| {
        let y = network(g, v[0], &v[1..]);
        let l = loss(g, y);
        let gradients = grad(g, l, v).unwrap();
        measure(g, &gradients)
    });
}

#[test]
fn derivatives_of_a_jvp() {
    let rng = &mut Rng(3);
    let mut values = network_values(rng);
    values.push(rng.tensor(&[2, 3], -1.0, 1.0));
    check("jvp", rng, &values, |g, v| {
        let y = network(g, v[0], &v[1..4]);
        jvp(g, &[y], &[(v[0], v[4])].into_iter().collect()).unwrap()[0].unwrap()
    });
}

#[test]
fn derivatives_of_a_gradient_of_a_jvp() {
    let rng = &mut Rng(4);
    let mut values = network_values(rng);
    values.push(rng.tensor(&[2, 3], -1.0, 1.0));
    check("gradient of jvp", rng, &values, |g, v| {
        let y = network(g, v[0], &v[1..4]);
        let tangent = jvp(g, &[y], &[(v[0], v[4])].into_iter().collect()).unwrap()[0].unwrap();
        let l = loss(g, tangent);
        let gradients = grad(g, l, &v[1..]).unwrap();
        measure(g, &gradients)
    });
}

#[test]
fn convolutional_network() {
    let rng = &mut Rng(5);
    let values: Vec<Tensor> =
        [&[1, 5, 4, 2][..], &[3, 3, 2, 3], &[2, 2, 3, 2]].map(|shape| rng.tensor(shape, -1.0, 1.0)).into();
    let build = |g: &mut Graph, v: &[NodeId]| {
        let hidden = g.conv(ConvRole::Forward, [v[0], v[1]], [1, 1], [[1, 1], [1, 1]], None);
        let gate = g.sigmoid(hidden);
        let hidden = g.mul(hidden, gate);
        g.conv(ConvRole::Forward, [hidden, v[2]], [2, 2], [[0, 1], [0, 0]], None)
    };
    check("convolutions", rng, &values, build);
    check("gradient of convolutions", rng, &values, |g, v| {
        let y = build(g, v);
        let square = g.mul(y, y);
        let l = g.sum(square, &[0, 1, 2, 3]);
        let gradients = grad(g, l, v).unwrap();
        measure(g, &gradients)
    });
}

#[test]
fn attention() {
    let rng = &mut Rng(6);
    // [batch, heads, tokens, channels]
    let shape = [2, 2, 3, 4];
    let values = [0; 3].map(|_| rng.tensor(&shape, -1.0, 1.0));
    check("attention", rng, &values, |g, v| {
        let scores = g.contract(v[0], v[1], &[0, 1], &[0, 1], &[3], &[3]);
        let half = g.constant_like(0.5, scores);
        let scores = g.mul(scores, half);
        let top = g.reduce(ReduceOp::Max, scores, &[3]);
        let top = g.stop(top);
        let top = g.broadcast(top, &[0, 1, 2], &[2, 2, 3, 3]);
        let shifted = g.sub(scores, top);
        let e = g.exp(shifted);
        let sum = g.sum(e, &[3]);
        let sum = g.broadcast(sum, &[0, 1, 2], &[2, 2, 3, 3]);
        let weights = g.div(e, sum);
        g.contract(weights, v[2], &[0, 1], &[0, 1], &[3], &[2])
    });
}

fn f64s(shape: &[usize]) -> Ty {
    Ty::new(DType::F64, shape)
}

/// f(x, k) = (sin(x·k), x + k, i64 input unused): two outputs.
fn function(g: &mut Graph) -> crate::graph::FuncId {
    let func = g.new_func("f", &[f64s(&[3]), f64s(&[3])]);
    let args = g.func(func).args.clone();
    let product = g.mul(args[0], args[1]);
    let (first, second) = (g.sin(product), g.add(args[0], args[1]));
    g.set_outputs(func, vec![first, second]);
    func
}

#[test]
fn inlining_keeps_values_and_only_what_is_needed() {
    let mut g = Graph::new();
    let f = function(&mut g);
    // h(x) = f(f(x, c).0, x).1, with c from outside.
    let captured = variable(&mut g, 1, &[3]);
    let h = g.new_func("h", &[f64s(&[3])]);
    let x = g.func(h).args[0];
    let inner = g.call(f, &[x, captured], 0);
    let outer = g.call(f, &[inner, x], 1);
    g.set_outputs(h, vec![outer]);

    let v = variable(&mut g, 0, &[3]);
    let square = g.mul(v, v);
    let y = g.call(h, &[square], 0);
    let z = g.call(h, &[y], 0);
    let values = [Tensor::f64(&[3], vec![0.3, -1.0, 2.0]), Tensor::f64(&[3], vec![1.5, 0.2, -0.7])];
    let flat = inline(&mut g, &[z, y]).unwrap();
    assert!(!print(&g, &flat).contains("call"));
    // square, then twice: mul, sin, add.
    let ops = crate::graph::needed(&g, &flat).len();
    assert_eq!(ops, 2 + 1 + 2 * 3, "{}", print(&g, &flat));
    assert_eq!(run(&g, &flat, &values), run(&g, &[z, y], &values));
}

#[test]
fn derivatives_of_functions_expand_innermost_first() {
    let rng = &mut Rng(7);
    let values = [rng.tensor(&[3], -1.0, 1.0), rng.tensor(&[3], -1.0, 1.0), rng.tensor(&[3], -1.0, 1.0)];
    // h(x) = d/ds f(x + s·k, x·x) at s = 0; what follows differentiates h itself.
    let build = |g: &mut Graph, v: &[NodeId]| {
        let f = function(g);
        let h = g.new_func("h", &[f64s(&[3])]);
        let x = g.func(h).args[0];
        let (square, zero) = (g.mul(x, x), g.constant_like(0.0, x));
        let inner = g.jvp(f, &[x, square], &[v[1], zero], 0);
        g.set_outputs(h, vec![inner]);
        let outer = g.jvp(h, &[v[0]], &[v[2]], 0);
        inline(g, &[outer]).unwrap()[0]
    };
    check("jvp of jvp", rng, &values, build);

    let mut g = Graph::new();
    let v: Vec<NodeId> = (0..3).map(|i| variable(&mut g, i, &[3])).collect();
    let found = build(&mut g, &v);
    // ∂/∂x [cos(x³)·x²·k] along t = (2x cos(x³) − 3x⁴ sin(x³))·k·t.
    let [x, k, t] = values.clone().map(|tensor| tensor.to_f64());
    let exact = (0..3).map(|i| {
        let (x, k, t) = (x[i], k[i], t[i]);
        (2.0 * x * x.powi(3).cos() - 3.0 * x.powi(4) * x.powi(3).sin()) * k * t
    });
    assert_close(&run(&g, &[found], &values)[0], &Tensor::f64(&[3], exact.collect()), 1e-12, "second derivative");
}

#[test]
fn forward_mode_passes_through_calls() {
    let mut g = Graph::new();
    let f = function(&mut g);
    let (x, k, t) = (variable(&mut g, 0, &[3]), variable(&mut g, 1, &[3]), variable(&mut g, 2, &[3]));
    let y = g.call(f, &[x, k], 0);
    let through = jvp(&mut g, &[y], &[(x, t)].into_iter().collect()).unwrap()[0].unwrap();
    let flat = inline(&mut g, &[y]).unwrap()[0];
    let direct = jvp(&mut g, &[flat], &[(x, t)].into_iter().collect()).unwrap()[0].unwrap();
    assert_eq!(inline(&mut g, &[through]).unwrap(), [direct]);
    // The primal is shared: a derivative next to its function costs a cosine and two products.
    let both = inline(&mut g, &[y, through]).unwrap();
    assert_eq!(crate::graph::needed(&g, &both).len(), 3 + 2 + 3);
    assert!(vjp(&mut g, &[y], &[t], &[x]).is_err(), "reverse mode asks for inlining");
}

/// A scalar of everything a random graph gave, its variables, and tangents u and v of these.
fn random_scalar(g: &mut Graph, rng: &mut Rng, stops: bool) -> (NodeId, Vec<NodeId>, [Vec<NodeId>; 2], Vec<Tensor>) {
    let mut total = g.constant(Scalar::F64(0.0), &[]);
    for id in random_graph(g, rng, 25, stops) {
        let part = fitted(g, rng, id, &[]);
        let part = g.sin(part);
        total = g.add(total, part);
    }
    let mut values = example_values(rng);
    let inputs = variables(g, &values);
    let tangents = [1, 2].map(|k| {
        let more = example_values(rng);
        let nodes = more.iter().enumerate().map(|(i, t)| variable(g, k * inputs.len() + i, &t.shape)).collect();
        values.extend(more);
        nodes
    });
    (total, inputs, tangents, values)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..Default::default() })]

    #[test]
    fn both_modes_agree_on_random_graphs(seed: u64) {
        let (g, rng) = (&mut Graph::new(), &mut Rng(seed));
        let (total, inputs, [u, _], values) = random_scalar(g, rng, true);
        prop_assume!(run(g, &[total], &values)[0].to_f64()[0].is_finite());
        let seeds = inputs.iter().copied().zip(u).collect();
        let forward = jvp(g, &[total], &seeds).unwrap()[0];
        let forward = forward.map_or(0.0, |node| run(g, &[node], &values)[0].to_f64()[0]);
        let gradients = grad(g, total, &inputs).unwrap();
        let parts = gradients.iter().enumerate().filter_map(|(i, node)| {
            node.map(|node| dot(&run(g, &[node], &values)[0], &values[inputs.len() + i]))
        });
        let backward: f64 = parts.sum();
        prop_assert!((forward - backward).abs() <= 1e-9 * (1.0 + forward.abs()), "{forward} and {backward}");
    }

    /// ⟨u, H v⟩ = ⟨v, H u⟩, with H v as the forward derivative of the gradient and as the gradient of the forward one.
    #[test]
    fn second_derivatives_are_symmetric(seed: u64) {
        let (g, rng) = (&mut Graph::new(), &mut Rng(seed));
        let (total, inputs, tangents, values) = random_scalar(g, rng, false);
        let count = inputs.len();
        let along = |g: &Graph, nodes: &[Option<NodeId>], k: usize| -> f64 {
            let parts = nodes.iter().enumerate().filter_map(|(i, node)| {
                node.map(|node| dot(&run(g, &[node], &values)[0], &values[k * count + i]))
            });
            parts.sum()
        };
        let gradients = grad(g, total, &inputs).unwrap();
        let mut found = Vec::new();
        for (k, other) in [(0, 2), (1, 1)] {
            let seeds = inputs.iter().copied().zip(tangents[k].iter().copied()).collect();
            let present: Vec<NodeId> = gradients.iter().flatten().copied().collect();
            let mut moved = jvp(g, &present, &seeds).unwrap().into_iter();
            let product: Vec<Option<NodeId>> = gradients.iter().map(|node| node.and_then(|_| moved.next()?)).collect();
            found.push(along(g, &product, other));
            if let Some(slope) = jvp(g, &[total], &seeds).unwrap()[0] {
                let product = grad(g, slope, &inputs).unwrap();
                found.push(along(g, &product, other));
            }
        }
        // At a singular point no way has a value.
        prop_assume!(!found.iter().all(|x| x.is_nan()));
        let first = found[0];
        prop_assert!(found.iter().all(|x| (x - first).abs() <= 1e-8 * (1.0 + first.abs())), "{found:?}");
    }
}
