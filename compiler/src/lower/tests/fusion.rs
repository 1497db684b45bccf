//! What is fused with what, on the shapes that networks are made of.

use super::{check, close, expected, kernels, lower_nodes, plan, program, run, text, trained, values};
use crate::derive::grad;
use crate::graph::op::FlatKind;
use crate::graph::testing::Rng;
use crate::graph::{Graph, NodeId, ReduceOp, Source, Tensor, Ty};
use crate::level::Level;
use crate::lower::{Computed, NetLayout, PlanGraph, Role, lower_plans};
use fgc_program::{DType, Launch, NetId, Stmt};
use fgc_runtime::cpu::compile::{CompileError, Compiler};
use fgc_runtime::cpu::{Backend, Device, DeviceError};
use std::sync::Arc;

fn data(graph: &mut Graph, name: &str, shape: &[usize]) -> NodeId {
    graph.source(Source::Data { name: name.into() }, Ty::new(DType::F32, shape))
}

/// Values for any input, from its name and the shape it has in `graph`.
fn inputs(list: &[(&str, &[usize])]) -> impl Fn(&str) -> Tensor {
    let list: Vec<(String, Vec<usize>)> = list.iter().map(|(name, shape)| (name.to_string(), shape.to_vec())).collect();
    move |name| {
        let (i, shape) =
            list.iter().enumerate().find(|(_, (n, _))| n == name).map(|(i, (_, s))| (i, s)).expect("an input");
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
fn softmax_and_group_norm_are_one_kernel_each() {
    let mut graph = Graph::new();
    let shape = [16, 4, 20];
    let x = data(&mut graph, "x", &shape);
    let max = graph.reduce(ReduceOp::Max, x, &[2]);
    let max = graph.broadcast(max, &[0, 1], &shape);
    let y = graph.sub(x, max);
    let y = graph.exp(y);
    let sum = graph.sum(y, &[2]);
    let sum = graph.broadcast(sum, &[0, 1], &shape);
    let y = graph.div(y, sum);
    let program = check(&graph, &[y], &inputs(&[("x", &shape)]));
    assert_eq!(kernels(&program), 1, "{}", text(&program));

    let mut graph = Graph::new();
    let shape = [16, 4, 4, 32];
    let x = data(&mut graph, "x", &shape);
    let y = graph.reshape(x, &[16, 16, 4, 8]);
    let y = normalize(&mut graph, y, &[1, 3]);
    let y = graph.reshape(y, &shape);
    let w = data(&mut graph, "w", &[32]);
    let w = graph.broadcast(w, &[3], &shape);
    let y = graph.mul(y, w);
    let gate = graph.sigmoid(y);
    let y = graph.mul(y, gate);
    let program = check(&graph, &[y], &inputs(&[("x", &shape), ("w", &[32])]));
    assert_eq!(kernels(&program), 1, "{}", text(&program));
}

/// An MLP's loss and its gradients.
fn mlp(graph: &mut Graph) -> Vec<NodeId> {
    let all: Vec<NodeId> = MLP.iter().map(|(name, shape)| data(graph, name, shape)).collect();
    let mut y = linear(graph, all[0], all[1], all[2]);
    y = graph.tanh(y);
    y = linear(graph, y, all[3], all[4]);
    y = graph.tanh(y);
    y = graph.contract(y, all[5], &[], &[], &[1], &[1]);
    let squares = graph.mul(y, y);
    let loss = graph.sum(squares, &[0, 1]);
    let grads = grad(graph, loss, &all[1..]).expect("differentiable");
    let mut outputs = vec![loss];
    outputs.extend(grads.into_iter().flatten());
    outputs
}

const MLP: [(&str, &[usize]); 6] =
    [("x", &[64, 10]), ("w0", &[32, 10]), ("b0", &[32]), ("w1", &[32, 32]), ("b1", &[32]), ("w2", &[3, 32])];

#[test]
fn gradients_of_an_mlp() {
    let mut graph = Graph::new();
    let outputs = mlp(&mut graph);
    assert_eq!(outputs.len(), 6);
    let program = check(&graph, &outputs, &inputs(&MLP));
    let products = program.plans[0].launches.iter().filter(|launch| matches!(launch, Launch::Contract(_))).count();
    assert_eq!(products, 8);
    assert_eq!(kernels(&program), 8, "{}", text(&program));
}

/// Where there is a C compiler, compiled kernels and tuned products agree with the reference.
#[test]
fn compiled_gradients_agree() {
    let mut graph = Graph::new();
    let outputs = mlp(&mut graph);
    let program = lower_nodes(&graph, &outputs);
    let cache = tempfile::tempdir().expect("a directory");
    let compiler = Compiler::new("cc", cache.path());
    let mut device = match Device::compiled(Arc::new(program.clone()), &compiler, 2) {
        Err(DeviceError::Compile(CompileError::NoCompiler { .. })) => return,
        device => device.expect("compiles"),
    };
    let given = inputs(&MLP);
    for input in &program.inputs {
        device.set_values(input.buffer, &values(&given(&input.name).data)).expect("an input");
    }
    device.run(0).expect("runs");
    for (output, expected) in program.plans[0].outputs.iter().zip(expected(&graph, &outputs, &given)) {
        let found = Tensor::new(&output.shape, super::data(device.values(output.buffer).expect("an output")));
        close(&found, &expected, 1e-4, &|| output.name.clone());
    }
}

/// One statement's loops and all within.
fn loops(body: &[Stmt]) -> usize {
    let within = |stmt: &Stmt| match stmt {
        Stmt::For { body, .. } => 1 + loops(body),
        _ => 0,
    };
    body.iter().map(within).sum()
}

fn flat(graph: &mut Graph, what: FlatKind, len: usize) -> NodeId {
    graph.source(Source::Flat { net: NetId(0), what, start: 16 }, Ty::new(DType::F32, &[len]))
}

/// A moment is updated from the gradient, the weights from both: in place, in one pass.
#[test]
fn an_update_is_one_kernel_in_place() {
    const LEN: usize = 160;
    let mut graph = Graph::new();
    let moment = FlatKind::Moment("m".into());
    let [w, m, g] = [FlatKind::Weights, moment.clone(), FlatKind::Grads].map(|what| flat(&mut graph, what, LEN));
    let half = graph.constant_like(0.5, m);
    let kept = graph.mul(m, half);
    let new_m = graph.add(kept, g);
    let root = graph.tanh(new_m);
    let step = graph.mul(root, m);
    let new_w = graph.sub(w, step);
    let computed =
        |what, node| Computed { name: "w".into(), role: Role::Flat { net: NetId(0), what, start: 16 }, node };
    let outputs = vec![computed(FlatKind::Weights, new_w), computed(moment, new_m)];
    let nets = [NetLayout {
        name: "net".into(),
        params: Vec::new(),
        len: LEN + 16,
        frozen: false,
        from: None,
        ema: false,
        moments: vec!["m"],
    }];
    let lowered = lower_plans(&mut graph, &nets, &[PlanGraph { name: "update".into(), outputs }], Level::default());
    let buffers = lowered.nets[0].clone();
    let program = trained(lowered, &nets, &[(NetId(0), 0)]);
    let gradients = (LEN + 16) * 4;
    assert_eq!((kernels(&program), program.arena), (1, gradients), "{}", text(&program));
    assert_eq!(loops(&program.kernels[0].body), 0, "{}", text(&program));

    let mut device = Device::new(Arc::new(program), Backend::Reference, 1).expect("a valid program");
    let value =
        |salt: u64| -> Vec<f32> { (0..LEN as u64 + 16).map(|i| ((i * 7 + salt) % 13) as f32 / 5.0 - 1.0).collect() };
    let (w, m, g) = (value(1), value(2), value(3));
    device.write(buffers.weights, &w).expect("weights");
    device.write(buffers.moments["m"], &m).expect("a moment");
    device.write(buffers.grads.expect("gradients"), &g).expect("gradients");
    device.run(0).expect("runs");
    let (new_w, new_m) =
        (device.read::<f32>(buffers.weights).expect("weights"), device.read::<f32>(buffers.moments["m"]));
    let new_m = new_m.expect("a moment");
    for i in 0..LEN + 16 {
        let expected_m = if i < 16 { m[i] } else { m[i] * 0.5 + g[i] };
        let expected_w = if i < 16 { w[i] } else { w[i] - expected_m.tanh() * m[i] };
        assert!((new_m[i] - expected_m).abs() < 1e-6 && (new_w[i] - expected_w).abs() < 1e-6, "element {i}");
    }
}

/// What cannot be done in place (each element needs others) goes through a copy.
#[test]
fn an_update_that_mixes_elements_sees_the_old_ones() {
    const LEN: usize = 32;
    let mut graph = Graph::new();
    let w = flat(&mut graph, FlatKind::Weights, LEN);
    let pairs = graph.reshape(w, &[2, LEN / 2]);
    let swapped = graph.permute(pairs, &[1, 0]);
    let swapped = graph.reshape(swapped, &[LEN]);
    let new = graph.sub(w, swapped);
    let role = Role::Flat { net: NetId(0), what: FlatKind::Weights, start: 16 };
    let outputs = vec![Computed { name: "w".into(), role, node: new }];
    let nets = [NetLayout {
        name: "net".into(),
        params: Vec::new(),
        len: LEN + 16,
        frozen: false,
        from: None,
        ema: false,
        moments: Vec::new(),
    }];
    let lowered = lower_plans(&mut graph, &nets, &[PlanGraph { name: "update".into(), outputs }], Level::default());
    let weights = lowered.nets[0].weights;
    let mut device = Device::new(Arc::new(program(lowered)), Backend::Reference, 1).expect("a valid program");
    let old: Vec<f32> = (0..LEN + 16).map(|i| (i * i) as f32).collect();
    device.write(weights, &old).expect("weights");
    device.run(0).expect("runs");
    for (i, new) in device.read::<f32>(weights).expect("weights").iter().enumerate().skip(16) {
        let from = 16 + (i - 16) % 2 * (LEN / 2) + (i - 16) / 2;
        assert_eq!(*new, old[i] - old[from], "element {i}");
    }
}

/// Sums of many f32 are accurate and no single loop, also where the length has no divisors.
#[test]
fn long_sums_are_split() {
    for len in [1 << 16, 65_537, 3 * 40_000, 64 * 4241] {
        let mut graph = Graph::new();
        let x = data(&mut graph, "x", &[len]);
        let sum = graph.sum(x, &[0]);
        let program = lower_nodes(&graph, &[sum]);
        let widest = program.kernels.iter().map(|kernel| kernel.extent).max();
        assert!(widest >= Some(8), "{}", text(&program));
        let given = |_: &str| Tensor::f32(&[len], (0..len).map(|i| 0.1 + (i % 7) as f32).collect());
        let found = run(&program, Backend::Interpreter, &given).remove(0).to_f64()[0];
        let exact: f64 = given("x").to_f64().iter().sum();
        assert!((found - exact).abs() < 1e-5 * exact, "{found}, not {exact}");
    }
}

/// Equal blocks are equal kernels, and plans share the arena.
#[test]
fn equal_layers_share_their_kernels() {
    let mut graph = Graph::new();
    let mut x = data(&mut graph, "x", &[8, 32]);
    let (w, b) = (data(&mut graph, "w", &[32, 32]), data(&mut graph, "b", &[32]));
    for _ in 0..6 {
        let y = normalize(&mut graph, x, &[1]);
        let y = linear(&mut graph, y, w, b);
        x = graph.tanh(y);
    }
    let plans = [plan("one", &[x]), plan("two", &[x])];
    let program = program(lower_plans(&mut graph, &[], &plans, Level::default()));
    // The first norm, the last tanh, and between them tanh and norm together: twice, because the operands of the first
    // sum are the other way round.
    assert_eq!(program.kernels.len(), 4, "{}", text(&program));
    assert_eq!(program.plans[0].launches, program.plans[1].launches);
    assert!(program.arena <= 3 * 8 * 32 * 4, "{}", text(&program));
}
