//! What waits long in memory is computed again where that is cheap, and only there.

use super::{check, expected, lower_nodes, text};
use crate::derive::grad;
use crate::graph::testing::Rng;
use crate::graph::{Graph, NodeId, Op, Source, Tensor, Ty, needed};
use crate::level::{Level, Target};
use crate::lower::cut::Cut;
use crate::lower::recompute::recompute;
use crate::lower::{lower_plans, tests::plan};
use fgc_program::DType;

const LAYERS: usize = 12;
const X: [usize; 2] = [256, 256];

fn data(graph: &mut Graph, name: &str, shape: &[usize]) -> NodeId {
    graph.source(Source::Data { name: name.into() }, Ty::new(DType::F32, shape))
}

/// h ← gelu(h·w) `LAYERS` times (the tanh form); the gradient of Σh² by all weights.
fn layers(graph: &mut Graph) -> Vec<NodeId> {
    let mut h = data(graph, "x", &X);
    let weights: Vec<NodeId> = (0..LAYERS).map(|i| data(graph, &format!("w{i}"), &[X[1], X[1]])).collect();
    for &w in &weights {
        let a = graph.contract(h, w, &[], &[], &[1], &[0]);
        let [small, half, one] = [0.044715, 0.5, 1.0].map(|value| graph.constant_like(value, a));
        let square = graph.mul(a, a);
        let cube = graph.mul(square, a);
        let cube = graph.mul(small, cube);
        let inner = graph.add(a, cube);
        let bend = graph.tanh(inner);
        let bend = graph.add(one, bend);
        let scaled = graph.mul(half, a);
        h = graph.mul(scaled, bend);
    }
    let squares = graph.mul(h, h);
    let loss = graph.sum(squares, &[0, 1]);
    grad(graph, loss, &weights).expect("has a derivative").into_iter().flatten().collect()
}

fn input(name: &str) -> Tensor {
    let seed = name.bytes().fold(7, |sum: u64, byte| sum * 31 + u64::from(byte));
    let tensor = Rng(seed).tensor(&X, -0.2, 0.2);
    Tensor::f32(&X, tensor.to_f64().into_iter().map(|x| x as f32).collect())
}

fn products(graph: &Graph, outputs: &[NodeId]) -> usize {
    needed(graph, outputs).iter().filter(|id| matches!(graph.op(**id), Op::Contract { .. })).count()
}

#[test]
fn activations_are_computed_again_from_the_products_that_stay() {
    let mut graph = Graph::default();
    let grads = layers(&mut graph);
    let cut = Cut::new(&graph, &grads, Level::Rewrite);
    let before = expected(&graph, &grads, &input);
    let found = recompute(&mut graph, &cut, &grads, Target::Cpu);
    // All but the last few, whose second use comes soon.
    assert!(found.again.len() >= LAYERS / 2, "{}", found.again.len());
    assert_eq!(products(&graph, &found.outputs), products(&graph, &grads), "no product of 256 terms is done again");
    assert!(before == expected(&graph, &found.outputs, &input), "the same operations on the same values");
}

#[test]
fn less_memory_is_needed_then() {
    let mut graph = Graph::default();
    let grads = layers(&mut graph);
    let program = check(&graph, &grads, &input);
    let stored = lower_plans(&mut graph.clone(), &[], &[plan("all", &grads)], Level::Fuse);
    assert!(4 * program.arena < 3 * stored.arena, "{} and {}", program.arena, stored.arena);
}

#[test]
fn what_is_needed_soon_is_kept() {
    let mut graph = Graph::default();
    let x = data(&mut graph, "x", &X);
    let w = data(&mut graph, "w0", &[X[1], X[1]]);
    let bend = graph.tanh(x);
    let product = graph.contract(bend, w, &[], &[], &[1], &[0]);
    let both = graph.add(product, bend);
    let cut = Cut::new(&graph, &[both], Level::Rewrite);
    let found = recompute(&mut graph, &cut, &[both], Target::Cpu);
    assert!(found.again.is_empty());
    assert_eq!(found.outputs, [both]);
    let program = lower_nodes(&graph, &[both]);
    assert_eq!(super::kernels(&program), 2, "{}", text(&program));
}
