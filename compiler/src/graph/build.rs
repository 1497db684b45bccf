//! The store: hash-consing, functions, and the leaves. The primitives' own builder methods, which infer the output's
//! type and fold what is free to fold, are in [`elementwise`](super::elementwise), [`views`](super::views) and
//! [`products`](super::products).
//!
//! The methods assert the typing rules: what breaks them is a bug of the caller, never of a user's spec.

use super::external::Extern;
use super::op::*;
use fgc_program::{DType, Scalar};
use indexmap::IndexSet;
use rustc_hash::FxBuildHasher;

/// A function: its arguments are `Op::Argument { func, index }` nodes of these types.
#[derive(Clone, Debug)]
pub struct Func {
    pub name: String,
    pub args: Vec<NodeId>,
    pub outputs: Vec<NodeId>,
}

/// An append-only store of nodes, each there once.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: IndexSet<Node, FxBuildHasher>,
    funcs: Vec<Func>,
    externs: Vec<Extern>,
}

impl Graph {
    pub fn new() -> Graph {
        Graph::default()
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    pub fn op(&self, id: NodeId) -> &Op {
        &self.node(id).op
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

    pub fn external(&self, id: ExternId) -> &Extern {
        &self.externs[id.0 as usize]
    }

    /// A kernel from outside; its derivatives, which may call it, come afterwards (`set_extern`).
    pub fn new_extern(&mut self, kernel: Extern) -> ExternId {
        self.externs.push(kernel);
        ExternId(self.externs.len() as u32 - 1)
    }

    pub fn set_extern(&mut self, id: ExternId, change: impl FnOnce(&mut Extern)) {
        change(&mut self.externs[id.0 as usize]);
    }

    /// The node of this op, inputs and type, without inference or folding. Prefer the methods below.
    pub fn intern(&mut self, op: Op, inputs: &[NodeId], ty: Ty) -> NodeId {
        let node = Node { op, inputs: inputs.into(), ty };
        debug_assert!(inputs.iter().all(|&i| (i.0 as usize) < self.nodes.len()), "{node:?} comes before an input");
        NodeId(self.nodes.insert_full(node).0 as u32)
    }

    /// `value` everywhere.
    pub fn constant(&mut self, value: Scalar, shape: &[usize]) -> NodeId {
        self.intern(Op::Const(value), &[], Ty::new(value.dtype(), shape))
    }

    /// `value`, converted to `like`'s dtype, everywhere in `like`'s shape.
    pub fn constant_like(&mut self, value: f64, like: NodeId) -> NodeId {
        let Ty { dtype, shape } = self.ty(like).clone();
        self.constant(Scalar::new(dtype, value), &shape)
    }

    pub fn zeros(&mut self, ty: &Ty) -> NodeId {
        self.constant(Scalar::new(ty.dtype, 0.0), &ty.shape)
    }

    /// Row-major constants, all of one dtype. A table of equal values becomes a `Const`.
    pub fn table(&mut self, values: Vec<Scalar>, shape: &[usize]) -> NodeId {
        let &first = values.first().expect("a table has at least one element");
        assert_eq!(values.len(), shape.iter().product::<usize>(), "a table of shape {shape:?}");
        assert!(values.iter().all(|v| v.dtype() == first.dtype()), "a table's elements have one dtype");
        if values.iter().all(|&v| v == first) {
            return self.constant(first, shape);
        }
        self.intern(Op::Table(values), &[], Ty::new(first.dtype(), shape))
    }

    pub fn source(&mut self, source: Source, ty: Ty) -> NodeId {
        self.intern(Op::Source(source), &[], ty)
    }

    /// The index along axis `axis`, I64.
    pub fn iota(&mut self, shape: &[usize], axis: usize) -> NodeId {
        assert!(axis < shape.len(), "iota along axis {axis} of {shape:?}");
        if shape[axis] == 1 {
            return self.constant(Scalar::I64(0), shape);
        }
        self.intern(Op::Iota { axis }, &[], Ty::new(DType::I64, shape))
    }

    /// The value of a `Const` node.
    pub fn const_value(&self, id: NodeId) -> Option<Scalar> {
        match self.op(id) {
            Op::Const(value) => Some(*value),
            _ => None,
        }
    }

    /// Whether the node is a literal constant equal to `value` (−0 equals 0).
    pub fn is_const(&self, id: NodeId, value: f64) -> bool {
        self.const_value(id).is_some_and(|c| c.dtype() != DType::Bool && c.as_f64() == value)
    }
}
