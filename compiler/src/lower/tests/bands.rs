//! Which launches run together on some rows at a time, and that they compute the same.

use super::{close, data, expected, lower_nodes, text, values};
use crate::derive::grad;
use crate::graph::testing::Rng;
use crate::graph::{Graph, NodeId, ReduceOp, Source, Tensor, Ty};
use fgc_program::validate::validate;
use fgc_program::{Along, BufferId, DType, Launch, Place, Program};
use fgc_runtime::cpu::{Backend, Device};
use std::sync::Arc;

const SHAPE: [usize; 3] = [4, 150, 32];

/// softmax(q·kᵀ)·v of [head, query, feature].
fn attention(graph: &mut Graph) -> [NodeId; 4] {
    let mut source = |name: &str| graph.source(Source::Data { name: name.into() }, Ty::new(DType::F32, &SHAPE));
    let [q, k, v] = ["q", "k", "v"].map(&mut source);
    let scores = graph.contract(q, k, &[0], &[0], &[2], &[2]);
    let shape = graph.shape(scores).to_vec();
    let most = graph.reduce(ReduceOp::Max, scores, &[2]);
    let most = graph.broadcast(most, &[0, 1], &shape);
    let shifted = graph.sub(scores, most);
    let weights = graph.exp(shifted);
    let sum = graph.sum(weights, &[2]);
    let sum = graph.broadcast(sum, &[0, 1], &shape);
    let weights = graph.div(weights, sum);
    [graph.contract(weights, v, &[0], &[0], &[2], &[1]), q, k, v]
}

fn input(name: &str) -> Tensor {
    let tensor = Rng(name.len() as u64 + u64::from(name.as_bytes()[0])).tensor(&SHAPE, -1.0, 1.0);
    Tensor::f32(&SHAPE, tensor.to_f64().into_iter().map(|x| x as f32).collect())
}

/// The outputs as this backend computes them.
fn outputs(program: &Program, backend: Backend, threads: usize) -> Vec<Tensor> {
    let mut device = Device::new(Arc::new(program.clone()), backend, threads).expect("a valid program");
    for given in &program.inputs {
        device.set_values(given.buffer, &values(&input(&given.name).data)).expect("an input");
    }
    device.run(0).expect("runs");
    let read = |buffer: BufferId, shape: &[usize]| Tensor::new(shape, data(device.values(buffer).expect("an output")));
    program.plans[0].outputs.iter().map(|output| read(output.buffer, &output.shape)).collect()
}

fn check(graph: &Graph, nodes: &[NodeId]) -> Program {
    let program = lower_nodes(graph, nodes);
    if let Err(problems) = validate(&program) {
        panic!("{problems:#?}\n{}", text(&program));
    }
    let wanted = expected(graph, nodes, &input);
    let compiled = outputs(&program, Backend::Compiled, 1);
    for found in [&compiled, &outputs(&program, Backend::Reference, 1)] {
        for (found, wanted) in found.iter().zip(&wanted) {
            close(found, wanted, 2e-5, &|| text(&program));
        }
    }
    assert!(compiled == outputs(&program, Backend::Compiled, 3), "1 and 3 threads differ");
    program
}

#[test]
fn attention_is_one_band() {
    let mut graph = Graph::default();
    let [out, ..] = attention(&mut graph);
    let program = check(&graph, &[out]);
    let [band] = &program.plans[0].bands[..] else { panic!("{}", text(&program)) };
    assert_eq!((band.entries, band.rows, &band.along[..]), (4, 150, &[Along::M, Along::Grid, Along::M][..]));
    assert_eq!(program.arena, out_bytes(&SHAPE), "scores and weights take no memory");
}

fn out_bytes(shape: &[usize]) -> usize {
    shape.iter().product::<usize>() * 4
}

#[test]
fn its_gradient_sums_over_rows_within_a_band() {
    let mut graph = Graph::default();
    let [out, q, k, v] = attention(&mut graph);
    let squares = graph.mul(out, out);
    let loss = graph.sum(squares, &[0, 1, 2]);
    let grads = grad(&mut graph, loss, &[q, k, v]).expect("has a derivative");
    let grads: Vec<NodeId> = grads.into_iter().flatten().collect();
    let program = check(&graph, &grads);
    let along: Vec<Along> = program.plans[0].bands.iter().flat_map(|band| band.along.clone()).collect();
    assert!(along.contains(&Along::K), "{}", text(&program));
}

#[test]
fn what_does_not_go_along_the_rows_is_not_taken_for_a_band() {
    let mut graph = Graph::default();
    let [out, ..] = attention(&mut graph);
    let program = lower_nodes(&graph, &[out]);
    type Change = fn(&mut Program);
    let cases: [(Change, &str); 5] = [
        (|p| p.plans[0].bands[0].rows = 77, "does not go along its band's rows"),
        (|p| p.plans[0].bands[0].along[0] = Along::N, "uses more of buffer"),
        (|p| p.plans[0].bands[0].launches.end = 99, "a band of launches 0..99"),
        (|p| drop(p.plans[0].bands.pop()), "outside a band"),
        (
            |p| {
                // The second product reads the scores of all rows.
                let Launch::Contract(c) = &mut p.plans[0].launches[2] else { return };
                (c.a.row, c.a.col) = (1, 150);
            },
            "rows of buffer",
        ),
    ];
    for (change, message) in cases {
        let mut broken = program.clone();
        change(&mut broken);
        let problems = validate(&broken).expect_err("is wrong");
        assert!(problems.iter().any(|p| p.what.contains(message)), "wanted `{message}`: {problems:?}");
    }
    assert!(program.buffers.iter().any(|buffer| matches!(buffer.place, Place::Band { .. })));
}
