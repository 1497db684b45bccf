//! Replacing calls by what they call, and derivatives of functions by their graphs.

use super::build::Graph;
use super::op::*;
use super::traverse::{dependents, needed, rebuild, rebuild_all};
use crate::derive::{DeriveError, jvp};
use rustc_hash::{FxHashMap, FxHashSet};
use std::rc::Rc;

/// `outputs` without any `Call` or `Jvp`: bodies are copied with their arguments replaced, only as far as the outputs
/// asked for need them; derivatives are expanded innermost first and share the primal.
pub fn inline(graph: &mut Graph, outputs: &[NodeId]) -> Result<Vec<NodeId>, DeriveError> {
    inline_with(graph, outputs, &mut |_, _| {})
}

/// Like [`inline`]; `on_new` hears which old node a new one was made from: (old, new).
pub fn inline_with(
    graph: &mut Graph,
    outputs: &[NodeId],
    on_new: &mut impl FnMut(NodeId, NodeId),
) -> Result<Vec<NodeId>, DeriveError> {
    Inliner { graph, on_new, bodies: FxHashMap::default(), instances: FxHashMap::default() }.expand(outputs)
}

/// What is copied where a function is called: an output without calls, and the nodes that depend on the arguments.
struct Body {
    params: Vec<NodeId>,
    output: NodeId,
    nodes: Vec<NodeId>,
}

/// An output of a function, or its derivative with respect to the arguments marked.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    func: FuncId,
    output: usize,
    along: Option<Vec<bool>>,
}

/// Parameters and the nodes that take their place.
type Binding = (Vec<NodeId>, Vec<NodeId>);

struct Inliner<'a, F> {
    graph: &'a mut Graph,
    on_new: &'a mut F,
    bodies: FxHashMap<Key, Rc<Body>>,
    /// The nodes copied so far, per parameters and arguments, so that outputs of one call share them.
    instances: FxHashMap<Binding, FxHashMap<NodeId, NodeId>>,
}

impl<F: FnMut(NodeId, NodeId)> Inliner<'_, F> {
    /// Recurses once a call nested in a function.
    fn expand(&mut self, outputs: &[NodeId]) -> Result<Vec<NodeId>, DeriveError> {
        let mut new: FxHashMap<NodeId, NodeId> = FxHashMap::default();
        for old in needed(self.graph, outputs) {
            let op = self.graph.op(old).clone();
            let inputs: Vec<NodeId> = self.graph.node(old).inputs.iter().map(|input| new[input]).collect();
            let id = match op {
                Op::Call { func, output } => {
                    let body = self.body(Key { func, output, along: None })?;
                    self.instantiate(&body, &inputs)
                }
                Op::Jvp { func, output } => self.derivative(func, output, &inputs)?,
                _ => rebuild(self.graph, old, &inputs),
            };
            if id != old {
                (self.on_new)(old, id);
            }
            new.insert(old, id);
        }
        Ok(outputs.iter().map(|id| new[id]).collect())
    }

    fn derivative(&mut self, func: FuncId, output: usize, inputs: &[NodeId]) -> Result<NodeId, DeriveError> {
        let (args, tangents) = inputs.split_at(inputs.len() / 2);
        let moves = |&t: &NodeId| self.graph.dtype(t).is_float() && !self.graph.is_const(t, 0.0);
        let along: Vec<bool> = tangents.iter().map(moves).collect();
        let moving = along.iter().zip(tangents).filter(|(moves, _)| **moves).map(|(_, &t)| t);
        let inputs: Vec<NodeId> = args.iter().copied().chain(moving).collect();
        let body = self.body(Key { func, output, along: Some(along) })?;
        Ok(self.instantiate(&body, &inputs))
    }

    fn body(&mut self, key: Key) -> Result<Rc<Body>, DeriveError> {
        if let Some(body) = self.bodies.get(&key) {
            return Ok(body.clone());
        }
        let function = self.graph.func(key.func).clone();
        let (params, output) = match &key.along {
            None => {
                let output = self.expand(&[function.outputs[key.output]])?[0];
                (function.args, output)
            }
            Some(along) => {
                let primal = self.body(Key { along: None, ..key.clone() })?.output;
                let moving: Vec<NodeId> =
                    function.args.iter().zip(along).filter(|(_, moves)| **moves).map(|(&arg, _)| arg).collect();
                let types: Vec<Ty> = moving.iter().map(|&arg| self.graph.ty(arg).clone()).collect();
                let name = format!("{}.tangent", function.name);
                let variables = self.graph.new_func(&name, &types);
                let tangents = self.graph.func(variables).args.clone();
                let seeds = moving.iter().copied().zip(tangents.iter().copied()).collect();
                let output = match jvp(self.graph, &[primal], &seeds)?[0] {
                    Some(tangent) => tangent,
                    None => {
                        let ty = self.graph.ty(primal).clone();
                        self.graph.zeros(&ty)
                    }
                };
                self.graph.set_outputs(variables, vec![output]);
                (function.args.into_iter().chain(tangents).collect(), output)
            }
        };
        let seeds: FxHashSet<NodeId> = params.iter().copied().collect();
        let nodes = dependents(self.graph, &[output], |id| seeds.contains(&id));
        let body = Rc::new(Body { params, output, nodes });
        self.bodies.insert(key, body.clone());
        Ok(body)
    }

    fn instantiate(&mut self, body: &Body, args: &[NodeId]) -> NodeId {
        let binding = (body.params.clone(), args.to_vec());
        let mut new = self.instances.remove(&binding).unwrap_or_default();
        new.extend(body.params.iter().copied().zip(args.iter().copied()));
        rebuild_all(self.graph, &body.nodes, &mut new, self.on_new);
        let output = *new.get(&body.output).unwrap_or(&body.output);
        self.instances.insert(binding, new);
        output
    }
}
