//! From a checked method to what each plan computes: losses, gradients, updates, samples, all as graph nodes.

use crate::check::{Checked, Elaborated, LossTerm, StateSpec, StepSpec};
use crate::derive::{DeriveError, grad};
use crate::graph::{Graph, NodeId, Op, Source, Ty, needed, with_references};
use crate::level::Target;
use crate::lower::{Computed, NetLayout, ParamLayout, PlanGraph, Role};
use crate::optimizer::{self, MOMENTS};
use crate::stages::{StageGraph, stages};
use fgc_program::{DType, NetId};
use rustc_hash::{FxHashMap, FxHashSet};

/// Parameters begin at multiples of this many elements, so that each is aligned in its network's flat buffer.
const ALIGN: usize = 16;

/// Position in `plans` of what one kind of iteration runs.
#[derive(Clone, Debug)]
pub struct TurnGraph {
    pub every: usize,
    pub step: usize,
    /// (network, update plan)
    pub updates: Vec<(NetId, usize)>,
}

/// A sampler's stages: each with its plan, whose first outputs are what it keeps, in the same order.
#[derive(Clone, Debug)]
pub struct SamplerGraph {
    pub name: String,
    pub stages: Vec<(usize, StageGraph)>,
}

/// A method as graphs, ready to lower.
#[derive(Clone, Debug)]
pub struct Training {
    pub method: String,
    pub batch: usize,
    pub graph: Graph,
    pub nets: Vec<NetLayout>,
    pub plans: Vec<PlanGraph>,
    pub turns: Vec<TurnGraph>,
    pub samplers: Vec<SamplerGraph>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrainingError {
    #[error(transparent)]
    Derive(#[from] DeriveError),
    /// A kernel from outside that the target cannot run.
    #[error("`{kernel}` has no reference")]
    NoReference { kernel: String, node: NodeId },
}

/// Differentiates every step, adds updates.
pub fn training(checked: &Checked, batch: usize, target: Target) -> Result<Training, TrainingError> {
    let m = &checked.method;
    let mut graph = m.graph.clone();
    let mut plans = Vec::new();
    let mut steps = Vec::new();
    for step in &m.steps {
        let (outputs, grads) = step_outputs(&mut graph, m, step)?;
        plans.push(PlanGraph { name: format!("step.{}", step.name), outputs });
        steps.push((step, plans.len() - 1, grads));
    }
    let mut samplers = Vec::new();
    let mut slots = m.slots;
    for s in &m.samplers {
        let mut own = Vec::new();
        for stage in stages(&mut graph, s, &mut slots) {
            let keep = |(slot, node): &(usize, NodeId)| (format!("keep{slot}"), *node);
            let outputs = stage.keeps.iter().map(keep).chain(stage.sample.map(|node| ("sample".into(), node)));
            let outputs = outputs.map(|(name, node)| Computed { name, role: Role::Sample, node }).collect();
            plans.push(PlanGraph { name: format!("sample.{}.{}", s.name, stage.part), outputs });
            own.push((plans.len() - 1, stage));
        }
        samplers.push(SamplerGraph { name: s.name.clone(), stages: own });
    }
    if !m.state.is_empty() {
        let initial = |(name, s): (&String, &StateSpec)| Computed {
            name: name.clone(),
            role: Role::State { name: name.clone() },
            node: s.initial,
        };
        plans.push(PlanGraph { name: "start".into(), outputs: m.state.iter().map(initial).collect() });
    }
    let learning: FxHashSet<(NetId, usize)> = steps.iter().flat_map(|(_, _, grads)| grads.iter().copied()).collect();
    let nets = layouts(m, &graph, &plans, &learning);
    let mut turns = Vec::new();
    for (step, plan, grads) in steps {
        let mut updates = Vec::new();
        for net in trained(step) {
            let layout = &nets[net.0 as usize];
            let has: Vec<usize> = grads.iter().filter(|(n, _)| *n == net).map(|(_, p)| *p).collect();
            let ranges = ranges(layout, &has);
            let training = &m.nets[net.0 as usize].training;
            let Some(update) = optimizer::update(&mut graph, net, training, batch, &ranges) else { continue };
            let mut outputs =
                vec![Computed { name: "grad_norm".into(), role: Role::GradNorm { net }, node: update.grad_norm }];
            for w in update.writes {
                let name = format!("{:?}", w.what).to_lowercase();
                outputs.push(Computed { name, role: Role::Flat { net, what: w.what, start: w.start }, node: w.node });
            }
            plans.push(PlanGraph { name: format!("update.{}.{}", step.name, layout.name), outputs });
            updates.push((net, plans.len() - 1));
        }
        turns.push(TurnGraph { every: step.every.unwrap_or(1), step: plan, updates });
    }
    for plan in plans.iter_mut().filter(|_| target == Target::Cpu) {
        let nodes: Vec<NodeId> = plan.outputs.iter().map(|o| o.node).collect();
        let nodes = with_references(&mut graph, &nodes).map_err(|node| unknown(&graph, node))?;
        for (output, node) in plan.outputs.iter_mut().zip(nodes) {
            output.node = node;
        }
    }
    Ok(Training { method: m.name.clone(), batch, graph, nets, plans, turns, samplers })
}

fn unknown(graph: &Graph, node: NodeId) -> TrainingError {
    let kernel = match graph.op(node) {
        Op::Extern { kernel } => graph.external(*kernel).name.clone(),
        _ => String::new(),
    };
    TrainingError::NoReference { kernel, node }
}

/// Parameters that have a gradient.
type Learning = Vec<(NetId, usize)>;

/// The networks a step trains, each once, in order of declaration.
fn trained(step: &StepSpec) -> Vec<NetId> {
    let mut nets: Vec<NetId> = step.losses.iter().flat_map(|l| l.targets.iter().copied()).collect();
    nets.sort_unstable();
    nets.dedup();
    nets
}

/// A step's losses, metrics and gradients; and which parameters have one.
fn step_outputs(graph: &mut Graph, m: &Elaborated, step: &StepSpec) -> Result<(Vec<Computed>, Learning), DeriveError> {
    let mut outputs = Vec::new();
    let mut total = None;
    // One reverse pass for each set of networks that learn together.
    let mut groups: Vec<(Vec<NetId>, NodeId)> = Vec::new();
    for loss in &step.losses {
        outputs.push(Computed { name: loss.name.clone(), role: Role::Loss, node: loss.node });
        let term = weighted(graph, loss);
        total = Some(total.map_or(term, |t| graph.add(t, term)));
        let mut nets = loss.targets.clone();
        nets.sort_unstable();
        nets.dedup();
        match groups.iter().position(|(g, _)| *g == nets) {
            Some(i) => groups[i].1 = graph.add(groups[i].1, term),
            None => groups.push((nets, term)),
        }
    }
    if let Some(node) = total {
        outputs.push(Computed { name: "total_loss".into(), role: Role::Loss, node });
    }
    for (name, node) in &step.metrics {
        outputs.push(Computed { name: name.clone(), role: Role::Metric, node: *node });
    }
    let mut grads: FxHashMap<(NetId, usize), NodeId> = FxHashMap::default();
    for (nets, term) in groups {
        let mut keys = Vec::new();
        let mut wrt = Vec::new();
        for &net in &nets {
            for (param, p) in m.nets[net.0 as usize].params.values().enumerate() {
                keys.push((net, param));
                wrt.push(graph.source(Source::Param { net, param }, Ty::new(DType::F32, &p.shape)));
            }
        }
        for (key, g) in keys.into_iter().zip(grad(graph, term, &wrt)?) {
            if let Some(g) = g {
                let sum = match grads.get(&key) {
                    Some(&before) => graph.add(before, g),
                    None => g,
                };
                grads.insert(key, sum);
            }
        }
    }
    let mut keys: Vec<(NetId, usize)> = grads.keys().copied().collect();
    keys.sort_unstable();
    for &(net, param) in &keys {
        let state = &m.nets[net.0 as usize];
        let name = state.params.get_index(param).map(|(n, _)| format!("{}.{n}", state.name)).unwrap_or_default();
        outputs.push(Computed { name, role: Role::Grad { net, param }, node: grads[&(net, param)] });
    }
    for (name, node) in &step.state {
        outputs.push(Computed { name: name.clone(), role: Role::State { name: name.clone() }, node: *node });
    }
    Ok((outputs, keys))
}

/// A loss times its weight, F64.
fn weighted(graph: &mut Graph, loss: &LossTerm) -> NodeId {
    let node = graph.cast(loss.node, DType::F64);
    match loss.weight {
        Some(w) => {
            let w = graph.cast(w, DType::F64);
            graph.mul(node, w)
        }
        None => node,
    }
}

/// Lays out the networks that some plan reads: parameters that learn first, so that an update is one range.
fn layouts(m: &Elaborated, graph: &Graph, plans: &[PlanGraph], learning: &FxHashSet<(NetId, usize)>) -> Vec<NetLayout> {
    let outputs: Vec<NodeId> = plans.iter().flat_map(|p| p.outputs.iter().map(|o| o.node)).collect();
    let mut read = FxHashSet::default();
    for id in needed(graph, &outputs) {
        if let Op::Source(Source::Param { net, .. }) = &graph.node(id).op {
            read.insert(*net);
        }
    }
    m.nets
        .iter()
        .enumerate()
        .map(|(i, state)| {
            let net = NetId(i as u32);
            let mut layout = NetLayout {
                name: state.name.clone(),
                params: Vec::new(),
                len: 0,
                frozen: state.frozen,
                from: state.from,
                ema: state.training.ema.is_some(),
                moments: Vec::new(),
            };
            if !read.contains(&net) {
                return layout;
            }
            layout.params = state
                .params
                .iter()
                .map(|(name, p)| ParamLayout { name: name.clone(), shape: p.shape.clone(), offset: 0, init: p.init })
                .collect();
            let mut order: Vec<usize> = (0..layout.params.len()).collect();
            order.sort_by_key(|&p| !learning.contains(&(net, p)));
            for p in order {
                layout.params[p].offset = layout.len;
                let elements: usize = layout.params[p].shape.iter().product();
                layout.len += elements.div_ceil(ALIGN) * ALIGN;
            }
            if learning.iter().any(|(n, _)| *n == net) {
                layout.moments = MOMENTS.to_vec();
            }
            layout
        })
        .collect()
}

/// Element ranges (start, length) that hold these parameters and nothing else: of gradients there is no padding.
fn ranges(layout: &NetLayout, params: &[usize]) -> Vec<(usize, usize)> {
    let mut parts: Vec<(usize, usize)> = params
        .iter()
        .map(|&p| {
            let elements: usize = layout.params[p].shape.iter().product();
            (layout.params[p].offset, elements)
        })
        .collect();
    parts.sort_unstable();
    let mut out: Vec<(usize, usize)> = Vec::new();
    for (start, len) in parts {
        match out.last_mut() {
            Some(last) if last.0 + last.1 == start => last.1 += len,
            _ => out.push((start, len)),
        }
    }
    out
}
