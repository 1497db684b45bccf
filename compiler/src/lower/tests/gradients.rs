//! Gradients lie in the arena from a step's plan to the updates after it.

use super::{close, text, trained};
use crate::derive::grad;
use crate::graph::op::FlatKind;
use crate::graph::testing::Rng;
use crate::graph::{Graph, NodeId, Source, Tensor, Ty, eval};
use crate::level::Level;
use crate::lower::{Computed, NetLayout, ParamLayout, PlanGraph, Role, lower_plans};
use fgc_program::validate::validate;
use fgc_program::{DType, Init, NetId, Place, Program};
use fgc_runtime::Values;
use fgc_runtime::cpu::{Backend, Device};
use std::sync::Arc;

const SIDE: usize = 64;
const LEN: usize = SIDE * SIDE;
const LAYERS: usize = 6;

fn net(name: &str, params: usize) -> NetLayout {
    let param =
        |i| ParamLayout { name: format!("w{i}"), shape: vec![SIDE, SIDE], offset: i * LEN, init: Init::Constant(0.0) };
    NetLayout {
        name: name.into(),
        params: (0..params).map(param).collect(),
        len: params * LEN,
        frozen: false,
        from: None,
        ema: false,
        moments: vec!["m"],
    }
}

/// A step of Σ(tanh(… tanh(x·a₀) …)·b)² and the updates of both networks, w ← w − g.
fn step(graph: &mut Graph) -> (Vec<PlanGraph>, Vec<NodeId>) {
    let ty = Ty::new(DType::F32, &[SIDE, SIDE]);
    let param = |net, param| Source::Param { net: NetId(net), param };
    let params: Vec<Source> = (0..LAYERS).map(|i| param(0, i)).chain([param(1, 0)]).collect();
    let wrt: Vec<NodeId> = params.iter().map(|source| graph.source(source.clone(), ty.clone())).collect();
    let mut h = graph.source(Source::Data { name: "x".into() }, ty);
    for &w in &wrt {
        let a = graph.contract(h, w, &[], &[], &[1], &[0]);
        h = graph.tanh(a);
    }
    let squares = graph.mul(h, h);
    let loss = graph.sum(squares, &[0, 1]);
    let grads: Vec<NodeId> = grad(graph, loss, &wrt).expect("has a derivative").into_iter().flatten().collect();
    let role = |source: &Source| match source {
        Source::Param { net, param } => Role::Grad { net: *net, param: *param },
        _ => Role::Sample,
    };
    let outputs =
        params.iter().zip(&grads).map(|(source, &node)| Computed { name: "g".into(), role: role(source), node });
    let mut plans = vec![PlanGraph { name: "step".into(), outputs: outputs.collect() }];
    for (net, len) in [(0, LAYERS * LEN), (1, LEN)] {
        let net = NetId(net);
        let flat = |what| Source::Flat { net, what, start: 0 };
        let [w, g] =
            [FlatKind::Weights, FlatKind::Grads].map(|what| graph.source(flat(what), Ty::new(DType::F32, &[len])));
        let squares = graph.mul(g, g);
        let norm = graph.sum(squares, &[0]);
        let new = graph.sub(w, g);
        let role = Role::Flat { net, what: FlatKind::Weights, start: 0 };
        let outputs = vec![
            Computed { name: "norm".into(), role: Role::Sample, node: norm },
            Computed { name: "w".into(), role, node: new },
        ];
        plans.push(PlanGraph { name: format!("update{}", net.0), outputs });
    }
    (plans, grads)
}

/// Lowered as a method's plans are.
fn lowered(graph: &mut Graph, plans: &[PlanGraph]) -> Program {
    let nets = [net("a", LAYERS), net("b", 1)];
    trained(lower_plans(graph, &nets, plans, Level::default()), &nets, &[(NetId(0), 1), (NetId(1), 2)])
}

fn input(salt: u64, len: usize) -> Vec<f32> {
    Rng(salt).tensor(&[len], -0.2, 0.2).to_f64().into_iter().map(|x| x as f32).collect()
}

#[test]
fn updates_find_the_gradients_of_the_step_before() {
    let mut graph = Graph::new();
    let (plans, grads) = step(&mut graph);
    let program = lowered(&mut graph, &plans);
    if let Err(problems) = validate(&program) {
        panic!("{problems:#?}\n{}", text(&program));
    }
    let (x, old) = (input(1, LEN), [input(2, LAYERS * LEN), input(3, LEN)]);
    let wanted = eval(&graph, &grads, |source, _| {
        let values = match source {
            Source::Param { net, param } => &old[net.0 as usize][param * LEN..][..LEN],
            _ => &x[..],
        };
        Some(Tensor::f32(&[SIDE, SIDE], values.to_vec()))
    });
    let wanted = wanted.expect("every source has a value");
    let mut device = Device::new(Arc::new(program.clone()), Backend::Reference, 1).expect("a valid program");
    device.set_values(program.inputs[0].buffer, &Values::F32(x)).expect("an input");
    for (net, old) in program.nets.iter().zip(&old) {
        device.write(net.weights, old).expect("weights");
    }
    for plan in 0..3 {
        device.run(plan).expect("runs");
    }
    let gradient = |i: usize| wanted[i].to_f64().into_iter().map(|x| x as f32);
    for (net, (old, of)) in program.nets.iter().zip(old.iter().zip([0..LAYERS, LAYERS..LAYERS + 1])) {
        let new: Vec<f32> = old.iter().zip(of.flat_map(gradient)).map(|(w, g)| w - g).collect();
        let found = device.read::<f32>(net.weights).expect("weights").to_vec();
        close(&Tensor::f32(&[new.len()], found), &Tensor::f32(&[new.len()], new), 1e-5, &|| net.name.clone());
    }
}

#[test]
fn they_take_the_place_of_what_the_backward_pass_has_read() {
    let mut graph = Graph::new();
    let (plans, _) = step(&mut graph);
    let program = lowered(&mut graph, &plans);
    // As many activations wait as there are gradients to come, and some values are under way.
    let gradients = (LAYERS + 1) * LEN * 4;
    assert!(program.arena < gradients * 3 / 2, "{} for {gradients} of gradients\n{}", program.arena, text(&program));
}

#[test]
fn an_update_that_writes_over_gradients_is_found() {
    let mut graph = Graph::new();
    let (plans, _) = step(&mut graph);
    let program = lowered(&mut graph, &plans);
    // The norm that the first network's update gives lies in the arena; put it where the second's gradients wait.
    let norm = program.plans[1].outputs[0].buffer.0 as usize;
    let Place::Arena { offset } = program.buffers[program.nets[1].grads.expect("learns").0 as usize].place else {
        panic!("gradients lie in the arena")
    };
    let mut broken = program.clone();
    broken.buffers[norm].place = Place::Arena { offset };
    let problems = validate(&broken).expect_err("is wrong");
    assert!(problems.iter().any(|p| p.what.contains("share arena memory")), "{problems:?}");
}
