//! What is lowered computes what the graph says: random graphs, run on the interpreter, against the reference evaluator.

mod bands;
mod fusion;
mod gradients;
mod random;
mod recompute;
mod samples;

use super::{Computed, Lowered, NetLayout, PlanGraph, Role, lower_plans};
use crate::graph::{Data, Graph, NodeId, Source, Tensor, Ty, eval};
use crate::level::Level;
use fgc_program::validate::validate;
use fgc_program::{BufferId, Launch, Net, NetId, Program, Schedule, Turn};
use fgc_runtime::Values;
use fgc_runtime::cpu::{Backend, Device};
use std::sync::Arc;

/// A program of these plans and nothing else.
fn program(lowered: Lowered) -> Program {
    Program {
        method: "test".into(),
        batch: 1,
        nets: Vec::new(),
        inputs: lowered.inputs,
        buffers: lowered.buffers,
        constants: lowered.constants,
        codes: vec![],
        kernels: lowered.kernels,
        plans: lowered.plans,
        schedule: Schedule { steps: Vec::new() },
        samplers: Default::default(),
        arena: lowered.arena,
        spill: lowered.spill,
    }
}

/// With the networks these layouts are of; plan 0 is a step, these are the updates after it.
fn trained(lowered: Lowered, layouts: &[NetLayout], updates: &[(NetId, usize)]) -> Program {
    let nets = layouts.iter().zip(lowered.nets.clone()).map(|(layout, buffers)| Net {
        name: layout.name.clone(),
        params: Vec::new(),
        len: layout.len,
        frozen: layout.frozen,
        from: layout.from,
        weights: buffers.weights,
        grads: buffers.grads,
        ema: buffers.ema,
        moments: buffers.moments,
        updates: buffers.updates,
    });
    let nets = nets.collect();
    let turn = Turn { every: 1, plan: 0, updates: updates.to_vec() };
    Program { nets, schedule: Schedule { steps: vec![turn] }, ..program(lowered) }
}

fn plan(name: &str, nodes: &[NodeId]) -> PlanGraph {
    let computed = |(i, &node): (usize, &NodeId)| Computed { name: format!("out{i}"), role: Role::Sample, node };
    PlanGraph { name: name.into(), outputs: nodes.iter().enumerate().map(computed).collect() }
}

fn lower_nodes(graph: &Graph, outputs: &[NodeId]) -> Program {
    program(lower_plans(&mut graph.clone(), &[], &[plan("all", outputs)], Level::default()))
}

fn values(data: &Data) -> Values {
    match data {
        Data::Bool(v) => Values::Bool(v.clone()),
        Data::I64(v) => Values::I64(v.clone()),
        Data::F32(v) => Values::F32(v.clone()),
        Data::F64(v) => Values::F64(v.clone()),
    }
}

fn data(values: Values) -> Data {
    match values {
        Values::Bool(v) => Data::Bool(v),
        Values::I64(v) => Data::I64(v),
        Values::F32(v) => Data::F32(v),
        Values::F64(v) => Data::F64(v),
    }
}

/// Runs plan 0 with these data inputs; the outputs in order.
fn run(program: &Program, backend: Backend, inputs: &dyn Fn(&str) -> Tensor) -> Vec<Tensor> {
    let mut device = Device::new(Arc::new(program.clone()), backend, 1).expect("a valid program");
    for input in &program.inputs {
        device.set_values(input.buffer, &values(&inputs(&input.name).data)).expect("an input");
    }
    device.run(0).expect("runs");
    let read = |buffer: BufferId, shape: &[usize]| {
        let mut tensor = Tensor::new(shape, data(device.values(buffer).expect("an output")));
        // Booleans and floats alike are compared by their values.
        tensor.shape = shape.to_vec();
        tensor
    };
    program.plans[0].outputs.iter().map(|output| read(output.buffer, &output.shape)).collect()
}

/// The reference's values.
fn expected(graph: &Graph, outputs: &[NodeId], inputs: &dyn Fn(&str) -> Tensor) -> Vec<Tensor> {
    let lookup = |source: &Source, _: &Ty| match source {
        Source::Data { name } => Some(inputs(name)),
        _ => None,
    };
    eval(graph, outputs, lookup).expect("every source has a value")
}

/// Lowers, checks, runs and compares; the program, to look at.
fn check(graph: &Graph, outputs: &[NodeId], inputs: &dyn Fn(&str) -> Tensor) -> Program {
    let program = lower_nodes(graph, outputs);
    if let Err(problems) = validate(&program) {
        panic!("{problems:#?}\n{}", text(&program));
    }
    let found = run(&program, Backend::Reference, inputs);
    for (i, (found, expected)) in found.iter().zip(expected(graph, outputs, inputs)).enumerate() {
        let tolerance = if found.dtype() == fgc_program::DType::F64 { 1e-9 } else { 2e-4 };
        close(found, &expected, tolerance, &|| format!("output {i}\n{}", text(&program)));
    }
    program
}

fn close(found: &Tensor, expected: &Tensor, tolerance: f64, what: &dyn Fn() -> String) {
    assert_eq!(found.shape, expected.shape, "{}", what());
    for (i, (a, b)) in found.to_f64().into_iter().zip(expected.to_f64()).enumerate() {
        let same = a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= tolerance * (1.0 + b.abs());
        assert!(same, "element {i} is {a}, should be {b}: {}", what());
    }
}

fn text(program: &Program) -> String {
    format!("{}\n{}", fgc_program::print::kernels(program), fgc_program::print::plans(program))
}

/// Kernels launched by plan 0.
fn kernels(program: &Program) -> usize {
    program.plans[0].launches.iter().filter(|launch| matches!(launch, Launch::Kernel { .. })).count()
}
