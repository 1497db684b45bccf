//! Building: one method a primitive, which infers the output's type, folds what is free to fold, and hash-conses.

use super::op::*;
use fgc_program::{BinaryOp, ConvRole, DType, Scalar, UnaryOp};
use rustc_hash::FxHashMap;

/// A function: its arguments are `Op::Argument { func, index }` nodes of these types.
#[derive(Clone, Debug)]
pub struct Func {
    pub name: String,
    pub args: Vec<NodeId>,
    pub outputs: Vec<NodeId>,
}

/// An append-only store of nodes.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: Vec<Node>,
    memo: FxHashMap<Node, NodeId>,
    funcs: Vec<Func>,
}

impl Graph {
    pub fn new() -> Graph {
        Graph::default()
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    pub fn ty(&self, id: NodeId) -> &Ty {
        &self.node(id).ty
    }

    pub fn shape(&self, id: NodeId) -> &[usize] {
        &self.node(id).ty.shape
    }

    pub fn dtype(&self, id: NodeId) -> DType {
        self.node(id).ty.dtype
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub fn func(&self, id: FuncId) -> &Func {
        &self.funcs[id.0 as usize]
    }

    /// A new function with arguments of these types and no outputs yet (`set_outputs` gives them).
    pub fn new_func(&mut self, name: &str, args: &[Ty]) -> FuncId {
        let func = FuncId(self.funcs.len() as u32);
        let args = args
            .iter()
            .enumerate()
            .map(|(index, ty)| self.intern(Op::Argument { func, index }, &[], ty.clone()))
            .collect();
        self.funcs.push(Func { name: name.into(), args, outputs: Vec::new() });
        func
    }

    pub fn set_outputs(&mut self, func: FuncId, outputs: Vec<NodeId>) {
        self.funcs[func.0 as usize].outputs = outputs;
    }

    /// The node of this op, inputs and type, without inference or folding. Prefer the methods below.
    pub fn intern(&mut self, op: Op, inputs: &[NodeId], ty: Ty) -> NodeId {
        let node = Node { op, inputs: inputs.into(), ty };
        if let Some(&id) = self.memo.get(&node) {
            return id;
        }
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(node.clone());
        self.memo.insert(node, id);
        id
    }

    pub fn source(&mut self, source: Source, ty: Ty) -> NodeId {
        self.intern(Op::Source(source), &[], ty)
    }
}
