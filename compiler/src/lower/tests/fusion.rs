//! What is fused with what, on the shapes that networks are made of.

use super::{check, kernels, lower_nodes, plan, program, run, text};
use crate::derive::grad;
use crate::graph::op::FlatKind;
use crate::graph::testing::Rng;
use crate::graph::{Data, Graph, NodeId, ReduceOp, Source, Tensor, Ty};
use crate::lower::{Computed, NetLayout, PlanGraph, Role, lower_plans};
use fgc_program::{DType, Kernel, Launch, NetId, Program, Stmt, UnaryOp};
use fgc_runtime::cpu::{Backend, Device};
use std::sync::Arc;

fn data(graph: &mut Graph, name: &str, shape: &[usize]) -> NodeId {
    graph.source(Source::Data { name: name.into() }, Ty::new(DType::F32, shape))
}

/// Values for any input, from its name and the shape it has in `graph`.
fn inputs(list: &[(&str, &[usize])]) -> impl Fn(&str) -> Tensor {
    let list: Vec<(String, Vec<usize>)> = list.iter().map(|(name, shape)| (name.to_string(), shape.to_vec())).collect();
    move |name| {
        let (i, shape) = list.iter().enumerate().find(|(_, (n, _))| n == name).map(|(i, (_, s))| (i, s)).expect("an input");
        let tensor = Rng(i as u64 + 7).tensor(shape, -1.0, 1.0);
        Tensor::f32(shape, tensor.to_f64().into_iter().map(|x| x as f32).collect())
    }
}

/// (x − mean)/√(var + ε) over the last axis.
fn normalize(graph: &mut Graph, x: NodeId, axes: &[usize]) -> NodeId {
    let shape = graph.shape(x).to_vec();
    let count: usize = axes.iter().map(|&axis| shape[axis]).product();
    let kept: Vec<usize> = (0..shape.len()).filter(|axis| !axes.contains(axis)).collect();
    let sum = graph.sum(x, axes);
    let scale = graph.constant_like(1.0 / count as f64, sum);
    let mean = graph.mul(sum, scale);
    let mean = graph.broadcast(mean, &kept, &shape);
    let centred = graph.sub(x, mean);
    let squares = graph.mul(centred, centred);
    let sum = graph.sum(squares, axes);
    let variance = graph.mul(sum, scale);
    let eps = graph.constant_like(1e-5, variance);
    let variance = graph.add(variance, eps);
    let deviation = graph.sqrt(variance);
    let one = graph.constant_like(1.0, deviation);
    let inverse = graph.div(one, deviation);
    let inverse = graph.broadcast(inverse, &kept, &shape);
    graph.mul(centred, inverse)
}

fn linear(graph: &mut Graph, x: NodeId, w: NodeId, b: NodeId) -> NodeId {
    let last = graph.shape(x).len() - 1;
    let y = graph.contract(x, w, &[], &[], &[last], &[1]);
    let shape = graph.shape(y).to_vec();
    let b = graph.broadcast(b, &[last], &shape);
    graph.add(y, b)
}

#[test]
fn layer_norm_linear_and_silu_are_two_kernels_around_a_product() {
    let mut graph = Graph::new();
    let x = data(&mut graph, "x", &[4, 6, 32]);
    let w = data(&mut graph, "w", &[48, 32]);
    let b = data(&mut graph, "b", &[48]);
    let y = normalize(&mut graph, x, &[2]);
    let y = linear(&mut graph, y, w, b);
    let gate = graph.sigmoid(y);
    let y = graph.mul(y, gate);
    let program = check(&graph, &[y], &inputs(&[("x", &[4, 6, 32]), ("w", &[48, 32]), ("b", &[48])]));
    insta::assert_snapshot!(text(&program));
}
#[test]
fn softmax_and_group_norm() {
    let mut graph = Graph::new();
    let x = data(&mut graph, "x", &[16, 4, 20]);
    let max = graph.reduce(ReduceOp::Max, x, &[2]);
    let max = graph.broadcast(max, &[0, 1], &[16, 4, 20]);
    let y = graph.sub(x, max);
    let y = graph.exp(y);
    let sum = graph.sum(y, &[2]);
    let sum = graph.broadcast(sum, &[0, 1], &[16, 4, 20]);
    let y = graph.div(y, sum);
    let program = check(&graph, &[y], &inputs(&[("x", &[16, 4, 20])]));
    println!("{}", text(&program));
    let mut graph = Graph::new();
    let x = data(&mut graph, "x", &[16, 4, 4, 32]);
    let y = graph.reshape(x, &[16,16, 4, 8]);
    let y = normalize(&mut graph, y, &[1,3]);
    let y = graph.reshape(y, &[16,4,4,32]);
    let w = data(&mut graph, "w", &[32]);
    let w = graph.broadcast(w, &[3], &[16,4,4,32]);
    let y = graph.mul(y, w);
    let gate = graph.sigmoid(y);
    let y = graph.mul(y, gate);
    let program = check(&graph, &[y], &inputs(&[("x", &[16, 4,4,32]), ("w", &[32])]));
    println!("{}", text(&program));
}
