//! Scalar code for nodes: what the element of a node at given indices is, as an expression over loads.
//!
//! Every value is bound to a register in the outermost loop where its variables are known, so what does not depend on
//! a loop is computed before it. The one exception are the branches of a guard (padding, concatenation): they stay
//! whole, because their loads may be out of bounds where the guard is false.

use super::cut::Cut;
use crate::graph::{Graph, NodeId, Op, Ty};
use fgc_program::bounds::{Extents, range};
use fgc_program::{Access, BinaryOp, DType, Expr, Index, Kernel, KernelBuffer, Reg, Scalar, Stmt, Var};
use rustc_hash::FxHashMap;
use std::cell::RefCell;

/// The nodes cannot be computed in one kernel at this grid: one needs elements of another that other iterations
/// compute, or that are not there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict;

/// What a kernel's buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    /// A stored node, row-major.
    Node(NodeId),
    /// Another copy of a node: of the unit with this number.
    Copy(usize),
}

/// The element of a node: an expression and the innermost loop (by depth, 0 the grid) it depends on.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub expr: Expr,
    pub depth: usize,
}

/// A loop being filled.
#[derive(Clone, Debug)]
struct Block {
    var: Var,
    stmts: Vec<Stmt>,
    /// Values already computed here: of which node, at which row-major position.
    memo: FxHashMap<(NodeId, Index), Value>,
}

/// A row-major position in a tensor of this shape.
type Flat = (Vec<usize>, Index);

/// Loops over the inner axes of one or more nodes, still open.
#[derive(Clone, Debug)]
pub(super) struct Nest {
    pub extents: Vec<usize>,
    pub vars: Vec<Var>,
    pub nodes: Vec<NodeId>,
}

/// Builds one kernel's body.
#[derive(Clone)]
pub(super) struct Emitter<'a> {
    pub graph: &'a Graph,
    pub cut: &'a Cut,
    pub grid: usize,
    pub extents: Extents,
    pub slots: Vec<(Slot, KernelBuffer)>,
    pub nest: Option<Nest>,
    /// Nodes that this kernel has computed, with the elements one grid iteration computes.
    pub done: FxHashMap<NodeId, usize>,
    blocks: Vec<Block>,
    guards: usize,
    regs: u32,
    /// Row-major positions that are known, by indices: a kernel's nodes mostly have few of them in common.
    flats: RefCell<FxHashMap<Vec<Index>, Vec<Flat>>>,
}

impl<'a> Emitter<'a> {
    pub fn new(graph: &'a Graph, cut: &'a Cut, grid: usize) -> Emitter<'a> {
        let block = Block { var: Var::GRID, stmts: Vec::new(), memo: FxHashMap::default() };
        Emitter {
            graph,
            cut,
            grid,
            extents: Extents::from_iter([(Var::GRID, grid)]),
            slots: Vec::new(),
            nest: None,
            done: FxHashMap::default(),
            blocks: vec![block],
            guards: 0,
            regs: 0,
            flats: RefCell::default(),
        }
    }

    pub fn finish(mut self, name: String) -> (Kernel, Vec<Slot>) {
        self.close_nest();
        let body = self.blocks.pop().map_or_else(Vec::new, |block| block.stmts);
        let (slots, buffers) = self.slots.into_iter().unzip();
        (Kernel { name, buffers, extent: self.grid, body }, slots)
    }

    pub fn depth(&self) -> usize {
        self.blocks.len() - 1
    }

    pub fn open(&mut self, extent: usize) -> Var {
        let var = Var(self.extents.len() as u32);
        self.extents.insert(var, extent);
        self.blocks.push(Block { var, stmts: Vec::new(), memo: FxHashMap::default() });
        var
    }

    /// Ends the innermost `count` loops.
    pub fn close(&mut self, count: usize) {
        for _ in 0..count {
            if let Some(Block { var, stmts, .. }) = self.blocks.pop() {
                let vector = !stmts.iter().any(|stmt| matches!(stmt, Stmt::For { .. }));
                self.push(Stmt::For { var, extent: self.extents[&var], vector, body: stmts });
            }
        }
    }

    pub fn close_nest(&mut self) {
        if let Some(nest) = self.nest.take() {
            self.close(nest.vars.len());
        }
    }

    /// Appends to the innermost loop.
    pub fn push(&mut self, stmt: Stmt) {
        if let Some(block) = self.blocks.last_mut() {
            block.stmts.push(stmt);
        }
    }

    /// All statements so far of all open loops.
    pub fn all_open(&self) -> impl Iterator<Item = &Stmt> {
        self.blocks.iter().flat_map(|block| &block.stmts)
    }

    pub fn accumulator(&mut self, dtype: DType, init: Scalar) -> Reg {
        let reg = self.reg();
        self.push(Stmt::Accumulator { reg, dtype, init: Expr::Const(init) });
        reg
    }

    fn reg(&mut self) -> Reg {
        self.regs += 1;
        Reg(self.regs - 1)
    }

    /// The kernel's buffer for `slot`, which is accessed so (too).
    pub fn slot(&mut self, slot: Slot, ty: &Ty, access: Access) -> usize {
        match self.slots.iter().position(|(s, _)| *s == slot) {
            Some(at) => {
                let found = &mut self.slots[at].1.access;
                if *found != access {
                    *found = Access::ReadWrite;
                }
                at
            }
            None => {
                self.slots.push((slot, KernelBuffer { dtype: ty.dtype, len: ty.len(), access }));
                self.slots.len() - 1
            }
        }
    }

    /// The depth at which all variables of `index` are known.
    pub fn index_depth(&self, index: &Index) -> usize {
        let mut depth = 0;
        index.each_var(&mut |var| {
            depth = depth.max(self.blocks.iter().rposition(|block| block.var == var).unwrap_or(0));
        });
        depth
    }

    fn recall(&self, key: &(NodeId, Index)) -> Option<Value> {
        self.blocks.iter().rev().find_map(|block| block.memo.get(key)).cloned()
    }

    /// Makes `value` known as the element of `node` at `flat`.
    pub fn remember(&mut self, node: NodeId, flat: Index, value: Value) {
        let depth = value.depth.min(self.depth());
        self.blocks[depth].memo.insert((node, flat), value);
    }

    /// `value` in a register, unless it is trivial or stands under a guard.
    pub fn bind(&mut self, value: Value, dtype: DType) -> Value {
        if self.guards > 0 || matches!(value.expr, Expr::Const(_) | Expr::Reg(_) | Expr::Index(_)) {
            return value;
        }
        let reg = self.reg();
        self.blocks[value.depth].stmts.push(Stmt::Let { reg, dtype, value: value.expr });
        Value { expr: Expr::Reg(reg), depth: value.depth }
    }

    fn bind_as(&mut self, node: NodeId, flat: Index, value: Value) -> Value {
        let value = self.bind(value, self.graph.dtype(node));
        if self.guards == 0 {
            self.remember(node, flat, value.clone());
        }
        value
    }

    fn flat(&self, node: NodeId, at: &[Index]) -> Index {
        self.linear(at, self.graph.shape(node))
    }

    /// The row-major position of `at` in a tensor of this shape.
    pub fn linear(&self, at: &[Index], shape: &[usize]) -> Index {
        let mut flats = self.flats.borrow_mut();
        let known = flats.get(at).and_then(|all| all.iter().find(|(other, _)| other == shape));
        if let Some((_, flat)) = known {
            return flat.clone();
        }
        let flat = Index::linear(at, shape, &self.extents);
        flats.entry(at.to_vec()).or_default().push((shape.to_vec(), flat.clone()));
        flat
    }

    fn index_value(&self, index: Index) -> Value {
        Value { depth: self.index_depth(&index), expr: Expr::Index(index) }
    }

    /// The element of `node` at the indices `at`.
    pub fn value(&mut self, node: NodeId, at: &[Index]) -> Result<Value, Conflict> {
        let graph = self.graph;
        let flat = match graph.op(node) {
            Op::Const(value) => return Ok(Value { expr: Expr::Const(*value), depth: 0 }),
            Op::Iota { axis } => return Ok(self.index_value(at[*axis].clone())),
            _ if self.cut.is_stored(node) => return self.load(node, self.flat(node, at)),
            _ => match self.through_view(node, at) {
                Some((input, at)) => return self.value(input, &at),
                None => self.flat(node, at),
            },
        };
        if let Some(known) = self.recall(&(node, flat.clone())) {
            return Ok(known);
        }
        let value = self.compute(node, at)?;
        Ok(self.bind_as(node, flat, value))
    }

    /// The element of a stored node at a row-major position.
    pub fn load(&mut self, node: NodeId, flat: Index) -> Result<Value, Conflict> {
        if let Some(known) = self.recall(&(node, flat.clone())) {
            return Ok(known);
        }
        if let Some(&row) = self.done.get(&node) {
            let open = self.nest.as_ref().is_some_and(|nest| nest.nodes.contains(&node));
            let own = flat.div(row as i64, &self.extents) == Var::GRID.into() || self.grid == 1;
            if row == 1 || open || !own {
                return Err(Conflict);
            }
        }
        let buffer = self.slot(Slot::Node(node), self.graph.ty(node), Access::Read);
        let depth = self.index_depth(&flat);
        let value = Value { expr: Expr::Load { buffer, index: flat.clone() }, depth };
        Ok(self.bind_as(node, flat, value))
    }

    /// For a view: where in its input the element is.
    fn through_view(&self, node: NodeId, at: &[Index]) -> Option<(NodeId, Vec<Index>)> {
        let input = *self.graph.node(node).inputs.first()?;
        let at = match self.graph.op(node) {
            Op::Stop => at.to_vec(),
            Op::Reshape => self.flat(node, at).unravel(self.graph.shape(input), &self.extents),
            Op::Permute { order } => {
                let mut inner = vec![Index::default(); order.len()];
                for (to, from) in at.iter().zip(order) {
                    inner[*from] = to.clone();
                }
                inner
            }
            Op::Broadcast { axes } => {
                let shape = self.graph.shape(input);
                let pick = |(axis, &extent): (&usize, &usize)| match extent {
                    1 => Index::default(),
                    _ => at[*axis].clone(),
                };
                axes.iter().zip(shape).map(pick).collect()
            }
            Op::Slice { axis, start, step } => {
                let mut inner = at.to_vec();
                inner[*axis] = at[*axis].scale(*step as i64).plus(*start as i64);
                inner
            }
            _ => return None,
        };
        Some((input, at))
    }

    /// The element of `node` by its definition, whether or not it is stored.
    pub fn compute(&mut self, node: NodeId, at: &[Index]) -> Result<Value, Conflict> {
        if let Some((input, at)) = self.through_view(node, at) {
            return self.value(input, &at);
        }
        let graph = self.graph;
        let inputs = &graph.node(node).inputs;
        match graph.op(node) {
            Op::Const(value) => Ok(Value { expr: Expr::Const(*value), depth: 0 }),
            Op::Iota { axis } => Ok(self.index_value(at[*axis].clone())),
            Op::Unary(op) => {
                let x = self.value(inputs[0], at)?;
                Ok(Value { expr: Expr::Unary(*op, x.expr.into()), depth: x.depth })
            }
            Op::Binary(op) => {
                let (a, b) = (self.value(inputs[0], at)?, self.value(inputs[1], at)?);
                Ok(Value { expr: Expr::Binary(*op, a.expr.into(), b.expr.into()), depth: a.depth.max(b.depth) })
            }
            Op::Select => {
                let cond = self.value(inputs[0], at)?;
                let (then, otherwise) = (self.value(inputs[1], at)?, self.value(inputs[2], at)?);
                Ok(select(cond, then, otherwise))
            }
            Op::Cast(dtype) => {
                let x = self.value(inputs[0], at)?;
                Ok(Value { expr: Expr::Cast(*dtype, x.expr.into()), depth: x.depth })
            }
            Op::Pad { axis, before, step } => self.pad(node, at, [*axis, *before, *step]),
            Op::Concat { axis } => self.concat(node, at, *axis),
            Op::Gather { axis } => self.gather(node, at, *axis),
            Op::Reduce { .. } => Ok(zero(graph.dtype(node))),
            op => unreachable!("{op:?} is always stored"),
        }
    }

    fn pad(&mut self, node: NodeId, at: &[Index], [axis, before, step]: [usize; 3]) -> Result<Value, Conflict> {
        let input = self.graph.node(node).inputs[0];
        let (extent, step) = (self.graph.shape(input)[axis] as i64, step as i64);
        let from_start = at[axis].plus(-(before as i64));
        let (low, high) = range(&from_start, &self.extents).unwrap_or((i64::MIN, i64::MAX));
        let number = |n: i64| Expr::Const(Scalar::I64(n)).into();
        let mut guards = Vec::new();
        if low < 0 {
            guards.push(Expr::Binary(BinaryOp::Le, number(0), Expr::Index(from_start.clone()).into()));
        }
        let end = (extent - 1) * step + 1;
        if high >= end {
            guards.push(Expr::Binary(BinaryOp::Lt, Expr::Index(from_start.clone()).into(), number(end)));
        }
        if step > 1 {
            let phase = from_start.rem(step, &self.extents);
            if phase.as_constant() != Some(0) {
                guards.push(Expr::Binary(BinaryOp::Eq, Expr::Index(phase).into(), number(0)));
            }
        }
        let mut inner = at.to_vec();
        inner[axis] = from_start.div(step, &self.extents);
        let all = guards.into_iter().reduce(|a, b| Expr::Binary(BinaryOp::And, a.into(), b.into()));
        let Some(cond) = all else { return self.value(input, &inner) };
        let then = self.guarded(input, &inner)?;
        let cond = Value { expr: cond, depth: self.index_depth(&at[axis]) };
        Ok(select(cond, then, zero(self.graph.dtype(node))))
    }

    fn concat(&mut self, node: NodeId, at: &[Index], axis: usize) -> Result<Value, Conflict> {
        let (low, high) = range(&at[axis], &self.extents).unwrap_or((i64::MIN, i64::MAX));
        let mut parts = Vec::new();
        let mut start = 0;
        for &part in &self.graph.node(node).inputs {
            let end = start + self.graph.shape(part)[axis] as i64;
            if low < end && high >= start {
                let mut inner = at.to_vec();
                inner[axis] = at[axis].plus(-start);
                parts.push((part, inner, end));
            }
            start = end;
        }
        let Some((last, inner, _)) = parts.pop() else { return Ok(zero(self.graph.dtype(node))) };
        if parts.is_empty() {
            return self.value(last, &inner);
        }
        let mut value = self.guarded(last, &inner)?;
        for (part, inner, end) in parts.into_iter().rev() {
            let then = self.guarded(part, &inner)?;
            let bound = Expr::Const(Scalar::I64(end));
            let cond = Expr::Binary(BinaryOp::Lt, Expr::Index(at[axis].clone()).into(), bound.into());
            value = select(Value { expr: cond, depth: self.index_depth(&at[axis]) }, then, value);
        }
        Ok(value)
    }

    fn guarded(&mut self, node: NodeId, at: &[Index]) -> Result<Value, Conflict> {
        self.guards += 1;
        let value = self.value(node, at);
        self.guards -= 1;
        value
    }

    fn gather(&mut self, node: NodeId, at: &[Index], axis: usize) -> Result<Value, Conflict> {
        let graph = self.graph;
        let &[table, positions] = &graph.node(node).inputs[..] else { unreachable!("gather has two inputs") };
        let rank = graph.shape(positions).len();
        let shape = graph.shape(table);
        let position = self.value(positions, &at[axis..axis + rank])?;
        let mut inner = at[..axis].to_vec();
        inner.push(Index::default());
        inner.extend_from_slice(&at[axis + rank..]);
        let store = self.cut.storage(graph, table).ok_or(Conflict)?;
        if let Expr::Index(index) = &position.expr
            && range(index, &self.extents).is_some_and(|(low, high)| low >= 0 && high < shape[axis] as i64)
        {
            inner[axis] = index.clone();
            let flat = self.linear(&inner, shape);
            return self.load(store, flat);
        }
        if self.done.contains_key(&store) {
            return Err(Conflict);
        }
        let base = self.linear(&inner, shape);
        let depth = position.depth.max(self.index_depth(&base));
        let stride: usize = shape[axis + 1..].iter().product();
        let at = offset(base, clamp(position.expr, shape[axis]), stride);
        let buffer = self.slot(Slot::Node(store), graph.ty(store), Access::Read);
        Ok(Value { expr: Expr::LoadAt { buffer, at: at.into() }, depth })
    }
}

/// `position` clamped to 0..extent.
pub(super) fn clamp(position: Expr, extent: usize) -> Expr {
    let number = |n: i64| Expr::Const(Scalar::I64(n)).into();
    let low = Expr::Binary(BinaryOp::Max, position.into(), number(0));
    Expr::Binary(BinaryOp::Min, low.into(), number(extent as i64 - 1))
}

/// `base + position·stride`.
pub(super) fn offset(base: Index, position: Expr, stride: usize) -> Expr {
    let stride = Expr::Const(Scalar::I64(stride as i64));
    let scaled = Expr::Binary(BinaryOp::Mul, position.into(), stride.into());
    Expr::Binary(BinaryOp::Add, Expr::Index(base).into(), scaled.into())
}

fn zero(dtype: DType) -> Value {
    Value { expr: Expr::Const(Scalar::new(dtype, 0.0)), depth: 0 }
}

fn select(cond: Value, then: Value, otherwise: Value) -> Value {
    Value {
        depth: cond.depth.max(then.depth).max(otherwise.depth),
        expr: Expr::Select { cond: cond.expr.into(), then: then.expr.into(), otherwise: otherwise.expr.into() },
    }
}
