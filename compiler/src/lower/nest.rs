//! Loop nests: how a kernel computes all elements of a node that one grid iteration is responsible for.
//!
//! The grid runs over a prefix of each node's axes. Of a node with shape `[B, T, C]` at grid `B·T`, an iteration
//! computes one row of C elements; what it has computed, later nodes of the kernel read again.

use super::emit::{Conflict, Emitter, Nest, Slot, Value, clamp, offset};
use super::units::{Kind, Unit};
use crate::graph::{NodeId, Op, ReduceOp};
use fgc_program::{Access, BinaryOp, DType, Expr, Index, Scalar, Stmt, Var};

/// Elements that the innermost loop should have.
const VECTOR: usize = 16;

/// The number of leading axes whose extents multiply to `grid`.
fn prefix(shape: &[usize], grid: usize) -> Option<usize> {
    let mut product = 1;
    for (axis, &extent) in shape.iter().enumerate() {
        if product == grid {
            return Some(axis);
        }
        product *= extent;
    }
    (product == grid).then_some(shape.len())
}

/// Products of the extents of leading axes: the grids at which a node of this shape can be computed.
pub(super) fn prefixes(shape: &[usize]) -> Vec<usize> {
    let mut all = vec![1];
    for extent in shape {
        all.push(all[all.len() - 1] * extent);
    }
    all.dedup();
    all
}

impl Emitter<'_> {
    /// Computes all elements of a unit for one grid iteration; `keep`: another kernel or a row needs them in memory.
    pub fn unit(&mut self, number: usize, unit: &Unit, keep: bool) -> Result<(), Conflict> {
        let row = self.graph.ty(unit.node).len() / self.grid.max(1);
        match unit.kind {
            Kind::Map | Kind::Copy => {
                let copy = unit.kind == Kind::Copy;
                let slot = if copy { Slot::Copy(number) } else { Slot::Node(unit.node) };
                self.map(unit.node, copy, (keep || row > 1).then_some(slot))?;
            }
            Kind::Reduce => {
                self.close_nest();
                self.reduce(unit.node, keep || row > 1)?;
            }
            Kind::Scatter => self.scatter(unit.node)?,
            Kind::Contract | Kind::Conv | Kind::Extern => return Err(Conflict),
        }
        if unit.kind != Kind::Copy {
            self.done.insert(unit.node, row);
        }
        Ok(())
    }

    fn store(&mut self, slot: Slot, node: NodeId, flat: Index, value: Expr) {
        let buffer = self.slot(slot, self.graph.ty(node), Access::Write);
        self.push(Stmt::Store { buffer, index: flat, value });
    }

    /// An elementwise node, a view or a copy.
    fn map(&mut self, node: NodeId, copy: bool, slot: Option<Slot>) -> Result<(), Conflict> {
        let shape = self.graph.shape(node);
        let leading = prefix(shape, self.grid).ok_or(Conflict)?;
        let mut inner: Vec<usize> = shape[leading..].iter().copied().filter(|&extent| extent != 1).collect();
        // Short innermost axes make one loop: vector code needs length.
        let mut tail = inner.pop().map_or_else(Vec::new, |extent| vec![extent]);
        while tail.iter().product::<usize>() < VECTOR
            && let Some(extent) = inner.pop()
        {
            tail.insert(0, extent);
        }
        inner.extend((!tail.is_empty()).then(|| tail.iter().product::<usize>()));
        if self.nest.as_ref().is_none_or(|nest| nest.extents != inner) {
            self.close_nest();
            if !inner.is_empty() {
                let vars = inner.iter().map(|&extent| self.open(extent)).collect();
                self.nest = Some(Nest { extents: inner, vars, nodes: Vec::new() });
            }
        }
        let mut at = Index::from(Var::GRID).unravel(&shape[..leading], &self.extents);
        let mut places: Vec<Index> =
            self.nest.iter().flat_map(|nest| &nest.vars).map(|&var| Index::from(var)).collect();
        if let Some(last) = places.pop() {
            places.extend(last.unravel(&tail, &self.extents));
        }
        let mut places = places.into_iter();
        at.extend(shape[leading..].iter().map(|&extent| match extent {
            1 => Index::default(),
            _ => places.next().unwrap_or_default(),
        }));
        let flat = self.linear(&at, shape);
        let value = if copy { self.value(node, &at)? } else { self.compute(node, &at)? };
        let value = self.bind(value, self.graph.dtype(node));
        if let Some(slot) = slot {
            self.store(slot, node, flat.clone(), value.expr.clone());
        }
        if !copy {
            self.remember(node, flat, value);
            if let Some(nest) = &mut self.nest {
                nest.nodes.push(node);
            }
        }
        Ok(())
    }

    fn reduce(&mut self, node: NodeId, keep: bool) -> Result<(), Conflict> {
        let graph = self.graph;
        let Op::Reduce { op, axes } = graph.op(node) else { return Err(Conflict) };
        let input = graph.node(node).inputs[0];
        let (shape, dtype) = (graph.shape(input), graph.dtype(node));
        let fixed = axes.first().copied().unwrap_or(shape.len());
        let leading = prefix(&shape[..fixed], self.grid).ok_or(Conflict)?;
        let inner: Vec<usize> = (leading..shape.len()).filter(|&axis| shape[axis] != 1).collect();
        let along = self.contiguous(input, leading)?;
        let mut at = Index::from(Var::GRID).unravel(&shape[..leading], &self.extents);
        at.resize(shape.len(), Index::default());

        let is_kept = |axis: &usize| !axes.contains(axis);
        let last = |mut list: Vec<usize>| {
            // The contiguous axis innermost, where it is in the list.
            list.sort_by_key(|axis| Some(*axis) == along);
            list
        };
        let kept: Vec<usize> = inner.iter().copied().filter(is_kept).collect();
        let summed: Vec<usize> = inner.iter().copied().filter(|axis| !is_kept(axis)).collect();
        let in_register = kept.is_empty() || along.is_some_and(|axis| !is_kept(&axis));
        if in_register {
            for &axis in &kept {
                at[axis] = self.open(shape[axis]).into();
            }
            let acc = self.accumulator(dtype, neutral(*op, dtype));
            let depth = self.depth();
            for axis in last(summed.clone()) {
                at[axis] = self.open(shape[axis]).into();
            }
            let x = self.value(input, &at)?;
            self.push(Stmt::Assign { reg: acc, value: combine(*op, Expr::Reg(acc), x.expr) });
            self.close(summed.len());
            let flat = self.reduced(node, &at, axes);
            if keep {
                self.store(Slot::Node(node), node, flat.clone(), Expr::Reg(acc));
            }
            self.remember(node, flat, Value { expr: Expr::Reg(acc), depth });
            self.close(kept.len());
            return Ok(());
        }
        // Accumulates in memory: rows are added to the row of results, element by element.
        let first = summed.first().copied().unwrap_or(shape.len());
        let (outer, across): (Vec<usize>, Vec<usize>) =
            kept.into_iter().partition(|&axis| axis < first && Some(axis) != along);
        for &axis in &outer {
            at[axis] = self.open(shape[axis]).into();
        }
        let buffer = self.slot(Slot::Node(node), graph.ty(node), Access::ReadWrite);
        let across = last(across);
        for &axis in &across {
            at[axis] = self.open(shape[axis]).into();
        }
        let start = self.reduced(node, &at, axes);
        self.push(Stmt::Store { buffer, index: start, value: Expr::Const(neutral(*op, dtype)) });
        self.close(across.len());
        for &axis in summed.iter().chain(&across) {
            at[axis] = self.open(shape[axis]).into();
        }
        let x = self.value(input, &at)?;
        let index = self.reduced(node, &at, axes);
        let value = combine(*op, Expr::Load { buffer, index: index.clone() }, x.expr);
        self.push(Stmt::Store { buffer, index, value });
        self.close(summed.len() + across.len() + outer.len());
        Ok(())
    }

    /// Position in a reduction's result of what `at` in its input adds to.
    fn reduced(&self, node: NodeId, at: &[Index], axes: &[usize]) -> Index {
        let kept: Vec<Index> = (0..at.len()).filter(|axis| !axes.contains(axis)).map(|axis| at[axis].clone()).collect();
        self.linear(&kept, self.graph.shape(node))
    }

    /// The axis from `leading` on along which most of what computing `node` reads lies next to each other.
    fn contiguous(&self, node: NodeId, leading: usize) -> Result<Option<usize>, Conflict> {
        let mut probe = self.clone();
        let shape = self.graph.shape(node);
        let mut at = Index::from(Var::GRID).unravel(&shape[..leading], &self.extents);
        let mut axes = Vec::new();
        for (axis, &extent) in shape.iter().enumerate().skip(leading) {
            if extent == 1 {
                at.push(Index::default());
            } else {
                let var = probe.open(extent);
                axes.push((var, axis, 0));
                at.push(var.into());
            }
        }
        probe.value(node, &at)?;
        for stmt in probe.all_open() {
            if let Stmt::Let { value, .. } = stmt {
                each_load(value, &mut |buffer, index| {
                    for (var, _, weight) in &mut axes {
                        if index.coefficient(*var) == 1 {
                            *weight += probe.slots[buffer].1.len;
                        }
                    }
                });
            }
        }
        Ok(axes.into_iter().max_by_key(|(_, axis, weight)| (*weight, *axis)).map(|(_, axis, _)| axis))
    }

    /// Sums in the order of the values, for blocks of the axes after the indexed one in parallel.
    fn scatter(&mut self, node: NodeId) -> Result<(), Conflict> {
        let graph = self.graph;
        let Op::ScatterAdd { axis } = *graph.op(node) else { return Err(Conflict) };
        let &[values, positions] = &graph.node(node).inputs[..] else { return Err(Conflict) };
        let (shape, from) = (graph.shape(node), graph.shape(positions));
        let (outer, inner) = (&shape[..axis], &shape[axis + 1..]);
        let (rows, columns): (usize, usize) = (outer.iter().product(), inner.iter().product());
        let blocks = self.grid / rows.max(1);
        let width = columns / blocks.max(1);
        let grid = Index::from(Var::GRID);
        let outer = grid.div(blocks as i64, &self.extents).unravel(outer, &self.extents);
        let first = grid.rem(blocks as i64, &self.extents).scale(width as i64);
        let buffer = self.slot(Slot::Node(node), graph.ty(node), Access::ReadWrite);
        let place = |column: &Index, row: Index, extents: &_| {
            let mut at = outer.clone();
            at.push(row);
            at.extend(column.unravel(inner, extents));
            at
        };

        let (row, j) = (self.open(shape[axis]), self.open(width));
        let column = first.add(&j.into(), &self.extents);
        let index = Index::linear(&place(&column, row.into(), &self.extents), shape, &self.extents);
        self.push(Stmt::Store { buffer, index, value: Expr::Const(Scalar::new(graph.dtype(node), 0.0)) });
        self.close(2);

        let loops: Vec<Index> = from.iter().map(|&extent| self.open(extent).into()).collect();
        let position = self.value(positions, &loops)?;
        let row = self.bind(Value { expr: clamp(position.expr, shape[axis]), depth: self.depth() }, DType::I64);
        let column = first.add(&self.open(width).into(), &self.extents);
        let base = Index::linear(&place(&column, Index::default(), &self.extents), shape, &self.extents);
        let mut at = outer.clone();
        at.extend(loops.iter().cloned());
        at.extend(column.unravel(inner, &self.extents));
        let x = self.value(values, &at)?;
        let depth = self.depth();
        let to = self.bind(Value { expr: offset(base, row.expr, columns), depth }, DType::I64);
        let old = Expr::LoadAt { buffer, at: to.expr.clone().into() };
        let value = Expr::Binary(BinaryOp::Add, old.into(), x.expr.into());
        self.push(Stmt::StoreAt { buffer, at: to.expr, value });
        self.close(loops.len() + 1);
        Ok(())
    }
}

fn neutral(op: ReduceOp, dtype: DType) -> Scalar {
    match (op, dtype) {
        (ReduceOp::Sum, _) => Scalar::new(dtype, 0.0),
        (ReduceOp::Max, DType::I64) => Scalar::I64(i64::MIN),
        (ReduceOp::Min, DType::I64) => Scalar::I64(i64::MAX),
        (ReduceOp::Max, _) => Scalar::new(dtype, f64::NEG_INFINITY),
        (ReduceOp::Min, _) => Scalar::new(dtype, f64::INFINITY),
    }
}

fn combine(op: ReduceOp, a: Expr, b: Expr) -> Expr {
    let op = match op {
        ReduceOp::Sum => BinaryOp::Add,
        ReduceOp::Max => BinaryOp::Max,
        ReduceOp::Min => BinaryOp::Min,
    };
    Expr::Binary(op, a.into(), b.into())
}

/// Calls `visit` on every load of known position.
pub(super) fn each_load(expr: &Expr, visit: &mut impl FnMut(usize, &Index)) {
    match expr {
        Expr::Const(_) | Expr::Reg(_) | Expr::Index(_) => {}
        Expr::Load { buffer, index } => visit(*buffer, index),
        Expr::LoadAt { at: x, .. } | Expr::Unary(_, x) | Expr::Cast(_, x) => each_load(x, visit),
        Expr::Binary(_, a, b) => {
            each_load(a, visit);
            each_load(b, visit);
        }
        Expr::Select { cond, then, otherwise } => {
            each_load(cond, visit);
            each_load(then, visit);
            each_load(otherwise, visit);
        }
    }
}
