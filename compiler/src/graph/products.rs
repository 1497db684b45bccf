//! Contractions, convolutions, indexing, and what has to do with functions and derivatives.

use super::build::{Func, Graph};
use super::op::*;
use fgc_program::{ConvRole, DType};
use smallvec::SmallVec;

impl Graph {
    /// Σ over the `sum` axes, for every index of the `batch` axes: output axes are the batch axes, `a`'s free axes,
    /// `b`'s free axes. `a_batch[i]` pairs with `b_batch[i]`, likewise the sums. F32 or F64.
    pub fn contract(
        &mut self,
        a: NodeId,
        b: NodeId,
        a_batch: &[usize],
        b_batch: &[usize],
        a_sum: &[usize],
        b_sum: &[usize],
    ) -> NodeId {
        let dtype = self.dtype(a);
        assert!(dtype.is_float() && dtype == self.dtype(b), "contraction of {} and {}", self.ty(a), self.ty(b));
        let pairs = |x: &[usize], y: &[usize]| {
            let extent = |id, i: usize| self.shape(id).get(i).copied();
            x.len() == y.len() && x.iter().zip(y).all(|(&i, &j)| extent(a, i).is_some() && extent(a, i) == extent(b, j))
        };
        let fits = pairs(a_batch, b_batch) && pairs(a_sum, b_sum);
        let once = |x: &[usize], y: &[usize]| {
            let mut all: SmallVec<[usize; 8]> = x.iter().chain(y).copied().collect();
            all.sort_unstable();
            all.windows(2).all(|w| w[0] < w[1])
        };
        assert!(
            fits && once(a_batch, a_sum) && once(b_batch, b_sum),
            "contraction of {} and {} over {a_sum:?} and {b_sum:?}, batch {a_batch:?} and {b_batch:?}",
            self.ty(a),
            self.ty(b)
        );
        let mut shape: SmallVec<[usize; 6]> = a_batch.iter().map(|&i| self.shape(a)[i]).collect();
        for (id, batch, sum) in [(a, a_batch, a_sum), (b, b_batch, b_sum)] {
            let extents = self.shape(id);
            shape.extend((0..extents.len()).filter(|i| !batch.contains(i) && !sum.contains(i)).map(|i| extents[i]));
        }
        let ty = Ty { dtype, shape };
        if self.is_const(a, 0.0) || self.is_const(b, 0.0) {
            return self.zeros(&ty);
        }
        let op =
            Op::Contract { a_batch: a_batch.into(), b_batch: b_batch.into(), a_sum: a_sum.into(), b_sum: b_sum.into() };
        self.intern(op, &[a, b], ty)
    }

    /// See [`fgc_program::Conv`] for the layouts. `inputs` are the two that are given, in the order x, w, y. `out` is
    /// the shape of the third, which `Forward` can infer (None) and the others cannot.
    pub fn conv(
        &mut self,
        role: ConvRole,
        inputs: [NodeId; 2],
        stride: [usize; 2],
        pad: [[usize; 2]; 2],
        out: Option<&[usize]>,
    ) -> NodeId {
        let dtype = self.dtype(inputs[0]);
        let describe = || format!("convolution {role:?} of {} and {}", self.ty(inputs[0]), self.ty(inputs[1]));
        assert!(dtype.is_float() && dtype == self.dtype(inputs[1]), "{}", describe());
        let dims = |id| <[usize; 4]>::try_from(self.shape(id)).unwrap_or_else(|_| panic!("{}: not rank 4", describe()));
        let given = out.map(|shape| <[usize; 4]>::try_from(shape).expect("a convolution's shape has rank 4"));
        let missing = || given.unwrap_or_else(|| panic!("{} needs its output's shape", describe()));
        let (first, second) = (dims(inputs[0]), dims(inputs[1]));
        let (x, w, y) = match role {
            ConvRole::Forward => (first, second, None),
            ConvRole::Input => (missing(), first, Some(second)),
            ConvRole::Weight => (first, missing(), Some(second)),
        };
        assert!(x[3] == w[2] && stride.iter().all(|&s| s > 0), "{}: channels, strides", describe());
        let [height, width] = [0, 1].map(|i| {
            let padded = x[i + 1] + pad[i][0] + pad[i][1];
            assert!(w[i] >= 1 && padded >= w[i], "{}: the kernel is larger than the padded input", describe());
            (padded - w[i]) / stride[i] + 1
        });
        let inferred = [x[0], height, width, w[3]];
        assert!(y.is_none_or(|y| y == inferred), "{}: y should be {inferred:?}", describe());
        let shape = match role {
            ConvRole::Forward => inferred,
            ConvRole::Input => x,
            ConvRole::Weight => w,
        };
        assert!(given.is_none_or(|given| given == shape), "{}: output should be {shape:?}", describe());
        let ty = Ty::new(dtype, &shape);
        if inputs.iter().any(|&input| self.is_const(input, 0.0)) {
            return self.zeros(&ty);
        }
        self.intern(Op::Conv { role, stride, pad }, &inputs, ty)
    }

    /// `table` with axis `axis` replaced by the axes of `at` (I64), whose indices are clamped into range.
    pub fn gather(&mut self, table: NodeId, at: NodeId, axis: usize) -> NodeId {
        let Ty { dtype, shape } = self.ty(table).clone();
        assert_eq!(self.dtype(at), DType::I64, "the indices of a gather");
        assert!(axis < shape.len() && shape[axis] > 0, "gather along {axis} of {}", self.ty(table));
        let mut out: SmallVec<[usize; 6]> = shape[..axis].into();
        out.extend_from_slice(self.shape(at));
        out.extend_from_slice(&shape[axis + 1..]);
        if let Some(value) = self.const_value(table) {
            return self.constant(value, &out);
        }
        self.intern(Op::Gather { axis }, &[table, at], Ty { dtype, shape: out })
    }

    /// Zeros with extent `len` along `axis`, to which `values` are added at `at` (I64, clamped): the transpose of
    /// `gather`. The axes of `at` stand in `values` from `axis` on.
    pub fn scatter_add(&mut self, values: NodeId, at: NodeId, axis: usize, len: usize) -> NodeId {
        let Ty { dtype, shape } = self.ty(values).clone();
        let rank = self.shape(at).len();
        assert_eq!(self.dtype(at), DType::I64, "the indices of a scatter");
        let fits = dtype != DType::Bool && len > 0 && shape.get(axis..axis + rank) == Some(self.shape(at));
        assert!(fits, "scatter of {} at {} along {axis}", self.ty(values), self.ty(at));
        let mut out: SmallVec<[usize; 6]> = shape[..axis].into();
        out.push(len);
        out.extend_from_slice(&shape[axis + rank..]);
        let ty = Ty { dtype, shape: out };
        if self.is_const(values, 0.0) {
            return self.zeros(&ty);
        }
        self.intern(Op::ScatterAdd { axis }, &[values, at], ty)
    }

    /// The identity, through which no derivative passes.
    pub fn stop(&mut self, a: NodeId) -> NodeId {
        match self.op(a) {
            Op::Stop | Op::Const(_) | Op::Table(_) | Op::Iota { .. } => a,
            _ => {
                let ty = self.ty(a).clone();
                self.intern(Op::Stop, &[a], ty)
            }
        }
    }

    /// Result `output` of `func`, whose outputs are set, at `args`.
    pub fn call(&mut self, func: FuncId, args: &[NodeId], output: usize) -> NodeId {
        let ty = self.output_ty(func, args, output);
        self.intern(Op::Call { func, output }, args, ty)
    }

    /// The derivative of result `output` of `func` at `args` along `tangents`, which have the types of `args`; those
    /// of integers and booleans are ignored.
    pub fn jvp(&mut self, func: FuncId, args: &[NodeId], tangents: &[NodeId], output: usize) -> NodeId {
        let ty = self.output_ty(func, args, output);
        assert_eq!(args.len(), tangents.len(), "tangents of {}", self.func(func).name);
        for (&arg, &tangent) in args.iter().zip(tangents) {
            assert_eq!(self.ty(arg), self.ty(tangent), "a tangent of {}", self.func(func).name);
        }
        if !ty.dtype.is_float() || tangents.iter().all(|&t| !self.dtype(t).is_float() || self.is_const(t, 0.0)) {
            return self.zeros(&ty);
        }
        let inputs: SmallVec<[NodeId; 8]> = args.iter().chain(tangents).copied().collect();
        self.intern(Op::Jvp { func, output }, &inputs, ty)
    }

    fn output_ty(&self, func: FuncId, args: &[NodeId], output: usize) -> Ty {
        let Func { name, args: expected, outputs } = self.func(func);
        let agrees = expected.len() == args.len() && expected.iter().zip(args).all(|(&e, &a)| self.ty(e) == self.ty(a));
        assert!(agrees, "arguments of {name}");
        assert!(output < outputs.len(), "{name} has {} outputs, not output {output}", outputs.len());
        self.ty(outputs[output]).clone()
    }
}
