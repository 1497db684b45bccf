//! Random graphs of all primitives.

use super::{check, close, lower_nodes, run, text};
use crate::graph::testing::Rng;
use crate::graph::{Graph, NodeId, ReduceOp, Source, Tensor, Ty};
use fgc_program::{BinaryOp, ConvRole, DType, Scalar, UnaryOp};
use fgc_runtime::cpu::Backend;
use proptest::prelude::*;

/// The node most recently made of this dtype, or one before it.
fn some(graph: &Graph, nodes: &[NodeId], rng: &mut Rng, dtype: DType) -> NodeId {
    let fitting: Vec<NodeId> = nodes.iter().copied().filter(|&id| graph.dtype(id) == dtype).collect();
    let back = rng.below(fitting.len().min(6));
    fitting[fitting.len() - 1 - back]
}

/// Another node reshaped, cut or repeated to the shape of `like`.
fn fit(graph: &mut Graph, rng: &mut Rng, mut id: NodeId, shape: &[usize]) -> NodeId {
    let from = graph.shape(id).to_vec();
    if from.iter().product::<usize>() == shape.iter().product::<usize>() {
        return graph.reshape(id, shape);
    }
    // A suffix or prefix of the wanted shape, broadcast.
    let keep = rng.axes(shape.len());
    let wanted: Vec<usize> = keep.iter().map(|&axis| shape[axis]).collect();
    let (have, need): (usize, usize) = (from.iter().product(), wanted.iter().product());
    id = graph.reshape(id, &[have]);
    id = if have >= need { graph.slice(id, 0, have - need, need, 1) } else { graph.pad(id, 0, 0, 1, need) };
    id = graph.reshape(id, &wanted);
    graph.broadcast(id, &keep, shape)
}

fn grow(graph: &mut Graph, rng: &mut Rng, nodes: &[NodeId], real: DType) -> NodeId {
    let x = some(graph, nodes, rng, real);
    let shape = graph.shape(x).to_vec();
    let rank = shape.len();
    let len: usize = shape.iter().product();
    match rng.below(18) {
        0 | 1 => {
            let ops = [UnaryOp::Neg, UnaryOp::Abs, UnaryOp::Tanh, UnaryOp::Sigmoid, UnaryOp::Exp, UnaryOp::Sin];
            let y = graph.unary(ops[rng.below(ops.len())], x);
            let bound = graph.constant_like(3.0, y);
            graph.min(y, bound)
        }
        2..=4 => {
            let other = some(graph, nodes, rng, real);
            let other = fit(graph, rng, other, &shape);
            let ops = [BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul, BinaryOp::Max, BinaryOp::Min];
            graph.binary(ops[rng.below(ops.len())], x, other)
        }
        5 => {
            let axes = rng.axes(rank);
            let op = [ReduceOp::Sum, ReduceOp::Max, ReduceOp::Min][rng.below(3)];
            graph.reduce(op, x, &axes)
        }
        6 => {
            let order = rng.order(rank);
            graph.permute(x, &order)
        }
        7 => {
            let split = (2..=len.min(6)).find(|d| len.is_multiple_of(*d)).unwrap_or(1);
            graph.reshape(x, &[split, len / split])
        }
        8 if rank < 4 => {
            let at = rng.below(rank + 1);
            let mut wide = shape.clone();
            wide.insert(at, 1 + rng.below(4));
            let axes: Vec<usize> = (0..=rank).filter(|&axis| axis != at).collect();
            graph.broadcast(x, &axes, &wide)
        }
        9 if rank > 0 => {
            let axis = rng.below(rank);
            let start = rng.below(shape[axis]);
            let step = 1 + rng.below(2);
            let most = (shape[axis] - start).div_ceil(step);
            let count = 1 + rng.below(most);
            graph.slice(x, axis, start, count, step)
        }
        10 if rank > 0 && len < 200 => {
            let (axis, before, step) = (rng.below(rank), rng.below(3), 1 + rng.below(2));
            let end = before + (shape[axis] - 1) * step + 1 + rng.below(3);
            graph.pad(x, axis, before, step, end)
        }
        11 if rank > 0 && len < 200 => {
            let y = graph.tanh(x);
            let axis = rng.below(rank);
            graph.concat(&[x, y, x], axis)
        }
        12 if rank > 0 => {
            // A free axis of x, the others shared as batch or sum with a y of the same shape.
            let other = some(graph, nodes, rng, real);
            let y = fit(graph, rng, other, &shape);
            let order = rng.order(rank);
            let (batch, rest) = order.split_at(rng.below(rank));
            let sum = &rest[..rng.below(rest.len() + 1)];
            let product: usize = rest[sum.len()..].iter().map(|&axis| shape[axis]).product();
            if len * product > 3000 {
                return graph.neg(x);
            }
            let z = graph.contract(x, y, batch, batch, sum, sum);
            graph.tanh(z)
        }
        13 => {
            let y = graph.constant(Scalar::new(real, 0.3), &shape);
            let above = graph.lt(y, x);
            let other = some(graph, nodes, rng, real);
            let other = fit(graph, rng, other, &shape);
            graph.select(above, x, other)
        }
        14 if rank > 0 => {
            let axis = rng.below(rank);
            let index = some(graph, nodes, rng, DType::I64);
            let index =
                if len * graph.ty(index).len() > 500 { graph.reduce(ReduceOp::Max, index, &[0]) } else { index };
            graph.gather(x, index, axis)
        }
        15 if rank > 0 => {
            let axis = rng.below(rank);
            let positions = graph.iota(&[shape[axis]], 0);
            let two = graph.constant(Scalar::I64(2), &[shape[axis]]);
            let at = graph.rem(positions, two);
            graph.scatter_add(x, at, axis, 3)
        }
        16 if rank > 0 => {
            let axis = rng.below(rank);
            let count = graph.iota(&shape, axis);
            let count = graph.cast(count, real);
            graph.mul(count, x)
        }
        _ => {
            let image = fit(graph, rng, x, &[1, 3, 4, 2]);
            let w = some(graph, nodes, rng, real);
            let w = fit(graph, rng, w, &[2, 2, 2, 3]);
            let stride = [1 + rng.below(2), 1];
            let pad = [[1, 0], [rng.below(2), 1]];
            let y = graph.conv(ConvRole::Forward, [image, w], stride, pad, None);
            let y = graph.tanh(y);
            match rng.below(3) {
                0 => y,
                1 => graph.conv(ConvRole::Input, [w, y], stride, pad, Some(&[1, 3, 4, 2])),
                _ => graph.conv(ConvRole::Weight, [image, y], stride, pad, Some(&[2, 2, 2, 3])),
            }
        }
    }
}

/// Grows a graph of its own inputs, named from `prefix` on: three outputs, and the inputs' values by name.
fn plant(
    graph: &mut Graph,
    rng: &mut Rng,
    steps: usize,
    real: DType,
    prefix: &str,
) -> (Vec<NodeId>, Vec<(String, Tensor)>) {
    let mut nodes = Vec::new();
    let mut inputs = Vec::new();
    for i in 0..4 {
        let rank = rng.below(4);
        let shape = rng.shape(rank);
        let tensor = rng.tensor(&shape, -1.5, 1.5);
        let tensor = match (i, real) {
            (3, _) => Tensor::new(&[5], crate::graph::Data::I64((0..5).map(|_| rng.below(4) as i64).collect())),
            (_, DType::F32) => Tensor::f32(&shape, tensor.to_f64().into_iter().map(|x| x as f32).collect()),
            _ => tensor,
        };
        let name = format!("{prefix}{i}");
        nodes.push(graph.source(Source::Data { name: name.clone() }, Ty::new(tensor.dtype(), &tensor.shape)));
        inputs.push((name, tensor));
    }
    for _ in 0..steps {
        let node = grow(graph, rng, &nodes, real);
        if graph.ty(node).len() < 5000 {
            nodes.push(node);
        }
    }
    ((0..3).map(|_| some(graph, &nodes, rng, real)).collect(), inputs)
}

fn named<'a>(inputs: &'a [(String, Tensor)]) -> impl Fn(&str) -> Tensor + 'a {
    |name| inputs.iter().find(|(n, _)| n == name).expect("an input").1.clone()
}

fn one_graph(seed: u64, steps: usize, real: DType) {
    let mut graph = Graph::new();
    let (outputs, inputs) = plant(&mut graph, &mut Rng(seed), steps, real, "");
    check(&graph, &outputs, &named(&inputs));
}

/// Many graphs in one program, since the C compiler's start-up would dominate: compiled against interpreted.
fn compiled_graphs(seed: u64) {
    let mut rng = Rng(seed);
    let mut graph = Graph::new();
    let (mut outputs, mut inputs) = (Vec::new(), Vec::new());
    for i in 0..10 {
        let real = if i % 2 == 0 { DType::F32 } else { DType::F64 };
        let steps = 2 + rng.below(10);
        let (more, of) = plant(&mut graph, &mut rng, steps, real, &format!("{i}."));
        outputs.extend(more);
        inputs.extend(of);
    }
    let program = lower_nodes(&graph, &outputs);
    let interpreted = run(&program, Backend::Reference, &named(&inputs));
    let compiled = run(&program, Backend::Compiled, &named(&inputs));
    for (i, (a, b)) in compiled.iter().zip(&interpreted).enumerate() {
        let tolerance = if a.dtype() == DType::F64 { 1e-9 } else { 2e-4 };
        close(a, b, tolerance, &|| format!("output {i}\n{}", text(&program)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn graphs_of_doubles_keep_their_values(seed: u64, steps in 1..14usize) {
        one_graph(seed, steps, DType::F64);
    }

    #[test]
    fn graphs_of_floats_keep_their_values(seed: u64, steps in 1..14usize) {
        one_graph(seed, steps, DType::F32);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn compiled_kernels_agree_with_the_interpreter(seed: u64) {
        compiled_graphs(seed);
    }
}
