//! Kernels from outside: an opaque call with declared shapes, a declared derivative, and a reference for where the kernel
//! itself cannot run.

use super::build::{Func, Graph};
use super::op::*;
use super::traverse::substitute;
use fgc_program::DeviceCode;
use std::sync::Arc;

/// Elements that results start at multiples of: 64 bytes or more.
const ALIGN: usize = 16;

/// One kernel for one set of argument types.
#[derive(Clone, Debug)]
pub struct Extern {
    pub name: String,
    pub code: Arc<DeviceCode>,
    pub entry: String,
    pub args: Vec<Ty>,
    /// All of one element type.
    pub results: Vec<Ty>,
    pub numbers: Vec<i64>,
    pub blocks: usize,
    pub threads: usize,
    /// Of the arguments: the results.
    pub reference: Option<FuncId>,
    /// Of the arguments, then a tangent for each float argument: the results' tangents.
    pub jvp: Option<FuncId>,
    /// Of the arguments, then a cotangent for each result: the float arguments' cotangents.
    pub vjp: Option<FuncId>,
}

impl Extern {
    /// Where each result starts in the one value, and its length.
    pub fn starts(&self) -> (Vec<usize>, usize) {
        let mut end = 0usize;
        let starts = self.results.iter().map(|ty| {
            let start = end.next_multiple_of(ALIGN);
            end = start + ty.len();
            start
        });
        let starts = starts.collect();
        (starts, end)
    }

    /// Of the one value: a single result has its own shape.
    pub fn ty(&self) -> Ty {
        match &self.results[..] {
            [only] => only.clone(),
            _ => Ty::new(self.results[0].dtype, &[self.starts().1]),
        }
    }

    /// Positions of arguments that have derivatives.
    pub fn floats(&self) -> Vec<usize> {
        (0..self.args.len()).filter(|&i| self.args[i].dtype.is_float()).collect()
    }
}

impl Graph {
    /// The kernel at these arguments, all results in one.
    pub fn call_extern(&mut self, kernel: ExternId, args: &[NodeId]) -> NodeId {
        let ty = self.external(kernel).ty();
        debug_assert!(args.iter().zip(&self.external(kernel).args).all(|(arg, ty)| self.ty(*arg) == ty));
        self.intern(Op::Extern { kernel }, args, ty)
    }

    /// The results in what a kernel gives.
    pub fn unpack(&mut self, kernel: ExternId, packed: NodeId) -> Vec<NodeId> {
        let found = self.external(kernel);
        if let [_] = &found.results[..] {
            return vec![packed];
        }
        let (results, (starts, _)) = (found.results.clone(), found.starts());
        let part = |(ty, start): (&Ty, usize)| {
            let flat = self.slice(packed, 0, start, ty.len(), 1);
            self.reshape(flat, &ty.shape)
        };
        results.iter().zip(starts).map(part).collect()
    }

    /// Values for the results as a kernel gives them.
    pub fn pack(&mut self, kernel: ExternId, results: &[NodeId]) -> NodeId {
        if let [only] = results {
            return *only;
        }
        let (starts, len) = self.external(kernel).starts();
        let mut parts = Vec::new();
        let mut end = 0;
        for (&result, start) in results.iter().zip(starts) {
            let ty = self.ty(result).clone();
            if start > end {
                parts.push(self.zeros(&Ty::new(ty.dtype, &[start - end])));
            }
            parts.push(self.reshape(result, &[ty.len()]));
            end = start + ty.len();
        }
        debug_assert_eq!(end, len, "every result has its place");
        self.concat(&parts, 0)
    }

    /// The outputs of a function without calls at these arguments.
    pub fn instantiate(&mut self, func: FuncId, args: &[NodeId]) -> Vec<NodeId> {
        let Func { args: params, outputs, .. } = self.func(func).clone();
        let map = params.into_iter().zip(args.iter().copied()).collect();
        substitute(self, &outputs, &map)
    }
}

/// `outputs` with every kernel replaced by its reference.
///
/// # Errors
/// A call of a kernel that has none.
pub fn with_references(graph: &mut Graph, outputs: &[NodeId]) -> Result<Vec<NodeId>, NodeId> {
    let mut outputs = outputs.to_vec();
    // A reference may call another kernel.
    loop {
        let nodes = super::needed(graph, &outputs);
        let calls = nodes.into_iter().find_map(|id| match graph.op(id) {
            &Op::Extern { kernel } => Some((id, kernel)),
            _ => None,
        });
        let Some((id, kernel)) = calls else { return Ok(outputs) };
        let Some(reference) = graph.external(kernel).reference else { return Err(id) };
        let args = graph.node(id).inputs.to_vec();
        let results = graph.instantiate(reference, &args);
        let value = graph.pack(kernel, &results);
        outputs = substitute(graph, &outputs, &[(id, value)].into_iter().collect());
    }
}
