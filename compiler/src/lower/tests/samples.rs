//! Which launches run together sample by sample, and that they compute the same.

use super::{close, data, expected, lower_nodes, text, values};
use crate::derive::grad;
use crate::graph::testing::Rng;
use crate::graph::{Graph, NodeId, Source, Tensor, Ty};
use fgc_program::validate::validate;
use fgc_program::{Along, ConvRole, DType, Launch, Place, Program};
use fgc_runtime::cpu::{Backend, Device};
use std::sync::Arc;

const SAMPLES: usize = 9;
const IMAGES: [usize; 4] = [SAMPLES, 16, 16, 16];

fn shape(name: &str) -> Vec<usize> {
    match name {
        "x" => IMAGES.to_vec(),
        "near" | "apart" => vec![3, 3, 16, 16],
        _ => vec![1, 1, 16, 16],
    }
}

fn input(name: &str) -> Tensor {
    let tensor = Rng(name.len() as u64 + u64::from(name.as_bytes()[0])).tensor(&shape(name), -1.0, 1.0);
    Tensor::f32(&shape(name), tensor.to_f64().into_iter().map(|x| x as f32 * 0.3).collect())
}

/// A norm of each sample, then x·sigmoid(x).
fn norm(graph: &mut Graph, x: NodeId) -> NodeId {
    let shape = graph.shape(x).to_vec();
    let squares = graph.mul(x, x);
    let sum = graph.sum(squares, &[1, 2, 3]);
    let most = graph.sqrt(sum);
    let most = graph.broadcast(most, &[0], &shape);
    let x = graph.div(x, most);
    let gate = graph.sigmoid(x);
    graph.mul(x, gate)
}

/// Norms between convolutions: at stride 1, of pixels by themselves, at stride 2.
fn network(graph: &mut Graph) -> [NodeId; 5] {
    let mut source = |name: &str| graph.source(Source::Data { name: name.into() }, Ty::new(DType::F32, &shape(name)));
    let [x, near, pixel, apart] = ["x", "near", "pixel", "apart"].map(&mut source);
    let same = [[1, 1], [1, 1]];
    let h = graph.conv(ConvRole::Forward, [x, near], [1, 1], same, None);
    let h = norm(graph, h);
    let h = graph.conv(ConvRole::Forward, [h, pixel], [1, 1], [[0, 0], [0, 0]], None);
    let h = norm(graph, h);
    [graph.conv(ConvRole::Forward, [h, apart], [2, 2], same, None), x, near, pixel, apart]
}

fn outputs(program: &Program, backend: Backend, threads: usize) -> Vec<Tensor> {
    let mut device = Device::new(Arc::new(program.clone()), backend, threads).expect("a valid program");
    for given in &program.inputs {
        device.set_values(given.buffer, &values(&input(&given.name).data)).expect("an input");
    }
    device.run(0).expect("runs");
    let outputs = program.plans[0].outputs.iter();
    outputs.map(|o| Tensor::new(&o.shape, data(device.values(o.buffer).expect("an output")))).collect()
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
fn convolutions_and_norms_are_one_band_of_samples() {
    let mut graph = Graph::default();
    let [out, ..] = network(&mut graph);
    let program = check(&graph, &[out]);
    let [band] = &program.plans[0].bands[..] else { panic!("{}", text(&program)) };
    assert_eq!((band.entries, band.rows, band.launches.clone()), (1, SAMPLES, 0..program.plans[0].launches.len()));
    assert_eq!(program.arena, SAMPLES * 8 * 8 * 16 * 4, "only the result takes memory");
}

#[test]
fn their_gradient_leaves_out_the_weights() {
    let mut graph = Graph::default();
    let [out, inputs @ ..] = network(&mut graph);
    let squares = graph.mul(out, out);
    let loss = graph.sum(squares, &[0, 1, 2, 3]);
    let grads = grad(&mut graph, loss, &inputs).expect("has a derivative");
    let grads: Vec<NodeId> = grads.into_iter().flatten().collect();
    let program = check(&graph, &grads);
    let plan = &program.plans[0];
    let roles = |within: bool| {
        let all = plan
            .launches
            .iter()
            .enumerate()
            .filter(|(i, _)| within == plan.bands.iter().any(|band| band.launches.contains(i)));
        let roles = all.filter_map(|(_, launch)| match launch {
            Launch::Conv(conv) => Some(conv.role),
            _ => None,
        });
        roles.collect::<Vec<ConvRole>>()
    };
    assert!(roles(true).contains(&ConvRole::Input), "{}", text(&program));
    assert_eq!(roles(false).iter().filter(|role| **role == ConvRole::Weight).count(), 3, "{}", text(&program));
}

#[test]
fn few_samples_are_no_band() {
    let mut graph = Graph::default();
    let ty = |shape: &[usize]| Ty::new(DType::F32, shape);
    let x = graph.source(Source::Data { name: "few".into() }, ty(&[4, 64, 64, 16]));
    let w = graph.source(Source::Data { name: "w".into() }, ty(&[3, 3, 16, 16]));
    let h = graph.conv(ConvRole::Forward, [x, w], [1, 1], [[1, 1], [1, 1]], None);
    let h = norm(&mut graph, h);
    let program = lower_nodes(&graph, &[h]);
    assert!(program.plans[0].bands.is_empty(), "{}", text(&program));
}

#[test]
fn what_reads_other_samples_is_not_taken_for_a_band() {
    let mut graph = Graph::default();
    let [out, ..] = network(&mut graph);
    let program = lower_nodes(&graph, &[out]);
    type Change = fn(&mut Program);
    let cases: [(Change, &str); 4] = [
        (|p| p.plans[0].bands[0].rows = 2, "does not go along its band's rows"),
        (|p| p.plans[0].bands[0].along[0] = Along::M, "does not go along its band's rows"),
        (|p| p.plans[0].bands[0].block = 0, "a band of launches"),
        (
            |p| {
                // The weights of the last convolution among what is kept by samples.
                let Some(Launch::Conv(c)) = p.plans[0].launches.last() else { return };
                p.buffers[c.w.0 as usize].place = Place::Band { offset: 0 };
            },
            "uses more of buffer",
        ),
    ];
    for (change, message) in cases {
        let mut broken = program.clone();
        change(&mut broken);
        let problems = validate(&broken).expect_err("is wrong");
        assert!(problems.iter().any(|p| p.what.contains(message)), "wanted `{message}`: {problems:?}");
    }
}
