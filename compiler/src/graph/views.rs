//! Reductions and views: what only regroups, repeats, moves or drops elements.

use super::build::Graph;
use super::op::*;
use fgc_program::{DType, Scalar};
use smallvec::SmallVec;
use std::ops::Range;

impl Graph {
    /// Removes `axes` (in any order, no axis twice). Sum and extrema of floats and integers. The sum over an axis of
    /// extent 0 is 0; extrema need at least one element.
    pub fn reduce(&mut self, op: ReduceOp, a: NodeId, axes: &[usize]) -> NodeId {
        let Ty { dtype, shape } = self.ty(a).clone();
        let mut axes: SmallVec<[usize; 4]> = axes.into();
        axes.sort_unstable();
        assert!(dtype != DType::Bool, "{op:?} of {}", self.ty(a));
        assert!(axes.windows(2).all(|w| w[0] < w[1]), "{op:?} over {axes:?}: an axis twice");
        assert!(axes.last().is_none_or(|&last| last < shape.len()), "{op:?} over {axes:?} of {}", self.ty(a));
        let count: usize = axes.iter().map(|&axis| shape[axis]).product();
        assert!(count > 0 || op == ReduceOp::Sum, "{op:?} of no elements: {}", self.ty(a));
        let out: SmallVec<[usize; 6]> = (0..shape.len()).filter(|i| !axes.contains(i)).map(|i| shape[i]).collect();
        if let Some(value) = self.const_value(a) {
            let value = match (op, value) {
                (ReduceOp::Sum, Scalar::I64(i)) => Scalar::I64(i.wrapping_mul(count as i64)),
                (ReduceOp::Sum, _) => Scalar::new(dtype, value.as_f64() * count as f64),
                _ => value,
            };
            return self.constant(value, &out);
        }
        if axes.iter().any(|&axis| shape[axis] == 1) {
            // Axes of extent 1 go by a reshape.
            let kept: Vec<usize> = (0..shape.len()).filter(|i| !(axes.contains(i) && shape[*i] == 1)).collect();
            let squeezed: Vec<usize> = kept.iter().map(|&i| shape[i]).collect();
            let left: Vec<usize> = (0..kept.len()).filter(|&i| axes.contains(&kept[i])).collect();
            let a = self.reshape(a, &squeezed);
            return self.reduce(op, a, &left);
        }
        if axes.is_empty() {
            return a;
        }
        self.intern(Op::Reduce { op, axes }, &[a], Ty { dtype, shape: out })
    }

    pub fn sum(&mut self, a: NodeId, axes: &[usize]) -> NodeId {
        self.reduce(ReduceOp::Sum, a, axes)
    }

    /// Row-major reinterpretation.
    pub fn reshape(&mut self, a: NodeId, shape: &[usize]) -> NodeId {
        let ty = Ty::new(self.dtype(a), shape);
        assert_eq!(ty.len(), self.ty(a).len(), "reshape of {} to {shape:?}", self.ty(a));
        if self.shape(a) == shape {
            return a;
        }
        match self.op(a) {
            Op::Const(value) => {
                let value = *value;
                self.constant(value, shape)
            }
            Op::Table(values) => {
                let values = values.clone();
                self.table(values, shape)
            }
            Op::Reshape => {
                let inner = self.node(a).inputs[0];
                self.reshape(inner, shape)
            }
            _ => self.intern(Op::Reshape, &[a], ty),
        }
    }

    /// Output axis i is input axis `order[i]`. One that moves only axes of extent 1 is a reshape.
    pub fn permute(&mut self, a: NodeId, order: &[usize]) -> NodeId {
        let Ty { dtype, shape } = self.ty(a).clone();
        let mut sorted: SmallVec<[usize; 6]> = order.into();
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(0..shape.len()), "permute of {} by {order:?}", self.ty(a));
        let out: SmallVec<[usize; 6]> = order.iter().map(|&i| shape[i]).collect();
        let long: SmallVec<[usize; 6]> = order.iter().copied().filter(|&i| shape[i] != 1).collect();
        if long.windows(2).all(|w| w[0] < w[1]) {
            return self.reshape(a, &out);
        }
        match self.op(a) {
            Op::Const(value) => {
                let value = *value;
                self.constant(value, &out)
            }
            Op::Permute { order: inner } => {
                let both: Vec<usize> = order.iter().map(|&i| inner[i]).collect();
                let a = self.node(a).inputs[0];
                self.permute(a, &both)
            }
            Op::Iota { axis } => {
                let axis = order.iter().position(|i| i == axis).unwrap_or(0);
                self.iota(&out, axis)
            }
            _ => self.intern(Op::Permute { order: order.into() }, &[a], Ty { dtype, shape: out }),
        }
    }

    /// Repeats: input axis i becomes output axis `axes[i]` (strictly increasing, equal extents); the other axes of
    /// `shape` are new. One whose new axes all have extent 1 is a reshape.
    pub fn broadcast(&mut self, a: NodeId, axes: &[usize], shape: &[usize]) -> NodeId {
        let Ty { dtype, shape: from } = self.ty(a).clone();
        let fits = axes.len() == from.len()
            && axes.windows(2).all(|w| w[0] < w[1])
            && axes.iter().zip(&from).all(|(&axis, &extent)| shape.get(axis) == Some(&extent));
        assert!(fits, "broadcast of {} to axes {axes:?} of {shape:?}", self.ty(a));
        if (0..shape.len()).all(|i| axes.contains(&i) || shape[i] == 1) {
            return self.reshape(a, shape);
        }
        match self.op(a) {
            Op::Const(value) => {
                let value = *value;
                self.constant(value, shape)
            }
            Op::Iota { axis } => {
                let axis = axes[*axis];
                self.iota(shape, axis)
            }
            Op::Broadcast { axes: inner } => {
                let both: Vec<usize> = inner.iter().map(|&i| axes[i]).collect();
                let a = self.node(a).inputs[0];
                self.broadcast(a, &both, shape)
            }
            _ => self.intern(Op::Broadcast { axes: axes.into() }, &[a], Ty::new(dtype, shape)),
        }
    }

    /// Along `axis`: the `len` elements start, start+step, ….
    pub fn slice(&mut self, a: NodeId, axis: usize, start: usize, len: usize, step: usize) -> NodeId {
        let Ty { dtype, mut shape } = self.ty(a).clone();
        let fits = axis < shape.len() && step > 0 && (len == 0 || start + (len - 1) * step < shape[axis]);
        assert!(fits, "slice {start}..+{len} step {step} along {axis} of {}", self.ty(a));
        if len == shape[axis] {
            return a;
        }
        shape[axis] = len;
        let step = if len < 2 { 1 } else { step };
        match self.op(a) {
            Op::Const(value) => {
                let value = *value;
                self.constant(value, &shape)
            }
            &Op::Slice { axis: inner, start: first, step: stride } if inner == axis => {
                let a = self.node(a).inputs[0];
                self.slice(a, axis, first + start * stride, len, step * stride)
            }
            _ => self.intern(Op::Slice { axis, start, step }, &[a], Ty { dtype, shape }),
        }
    }

    /// Along `axis`: `before` zeros, then `a`'s elements with `step − 1` zeros between, then zeros up to `len`.
    pub fn pad(&mut self, a: NodeId, axis: usize, before: usize, step: usize, len: usize) -> NodeId {
        let Ty { dtype, mut shape } = self.ty(a).clone();
        assert!(axis < shape.len() && step > 0, "pad along {axis} of {}", self.ty(a));
        let extent = shape[axis];
        let fits = extent == 0 || before + (extent - 1) * step < len;
        assert!(fits, "pad of {} along {axis} after {before} by {step} to {len}", self.ty(a));
        if len == extent {
            return a;
        }
        shape[axis] = len;
        if extent == 0 || self.is_const(a, 0.0) {
            return self.zeros(&Ty { dtype, shape });
        }
        let step = if extent < 2 { 1 } else { step };
        match self.op(a) {
            &Op::Pad { axis: inner, before: first, step: stride } if inner == axis => {
                let a = self.node(a).inputs[0];
                self.pad(a, axis, before + first * step, step * stride, len)
            }
            _ => self.intern(Op::Pad { axis, before, step }, &[a], Ty { dtype, shape }),
        }
    }

    /// One after another along `axis`. At least one part; nested concatenations along the same axis become one.
    pub fn concat(&mut self, parts: &[NodeId], axis: usize) -> NodeId {
        let &first = parts.first().expect("a concat of at least one part");
        let Ty { dtype, mut shape } = self.ty(first).clone();
        assert!(axis < shape.len(), "concat along {axis} of {}", self.ty(first));
        shape[axis] = 0;
        let mut flat = SmallVec::<[NodeId; 8]>::new();
        for &part in parts {
            let ty = self.ty(part);
            let agrees = ty.dtype == dtype
                && ty.shape.len() == shape.len()
                && (0..shape.len()).all(|i| i == axis || ty.shape[i] == shape[i]);
            assert!(agrees, "concat along {axis} of {} and {ty}", self.ty(first));
            shape[axis] += ty.shape[axis];
            match self.op(part) {
                _ if self.shape(part)[axis] == 0 => {}
                Op::Concat { axis: inner } if *inner == axis => flat.extend_from_slice(&self.node(part).inputs),
                _ => flat.push(part),
            }
        }
        let [one, rest @ ..] = &flat[..] else { return first };
        if rest.is_empty() {
            return *one;
        }
        if let Some(value) = self.const_value(*one)
            && rest.iter().all(|&part| self.const_value(part) == Some(value))
        {
            return self.constant(value, &shape);
        }
        self.intern(Op::Concat { axis }, &flat, Ty { dtype, shape })
    }
}

/// Splits a reshape of at least one element into the smallest runs of axes, before and after, with equal numbers of
/// elements.
pub fn groups(before: &[usize], after: &[usize]) -> Vec<(Range<usize>, Range<usize>)> {
    let mut all = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < before.len() || j < after.len() {
        let (start, first) = (i, j);
        let (mut left, mut right) = (1, 1);
        let mut begun = false;
        // As long as one side has less, the other's total says that it has axes left.
        while !begun || left != right {
            if i < before.len() && (left < right || !begun) {
                left *= before[i];
                i += 1;
            }
            if j < after.len() && (right < left || !begun) {
                right *= after[j];
                j += 1;
            }
            begun = true;
        }
        all.push((start..i, first..j));
    }
    all
}
