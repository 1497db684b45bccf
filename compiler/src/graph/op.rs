//! Primitives and their types.

use fgc_program::{BinaryOp, ConvRole, DType, Distribution, NetId, Scalar, UnaryOp};
use smallvec::SmallVec;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// A kernel from outside, at given argument types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExternId(pub u32);

/// A function of the graph: a network at given argument types, or a function under `jvp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FuncId(pub u32);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ty {
    pub dtype: DType,
    /// Extents; empty for a scalar.
    pub shape: SmallVec<[usize; 6]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    pub op: Op,
    pub inputs: SmallVec<[NodeId; 3]>,
    pub ty: Ty,
}

/// A primitive. Shapes must agree exactly: broadcasting, casting and reordering are nodes of their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// The same value everywhere.
    Const(Scalar),
    /// A table of constants, row-major, of the node's shape.
    Table(Vec<Scalar>),
    /// A value from outside the graph.
    Source(Source),
    /// The index along axis `axis`, I64.
    Iota {
        axis: usize,
    },
    Unary(UnaryOp),
    Binary(BinaryOp),
    /// (cond: Bool, then, otherwise).
    Select,
    Cast(DType),
    /// Removes `axes` (sorted).
    Reduce {
        op: ReduceOp,
        axes: SmallVec<[usize; 4]>,
    },
    /// Row-major reinterpretation.
    Reshape,
    /// Output axis i is input axis `order[i]`.
    Permute {
        order: SmallVec<[usize; 6]>,
    },
    /// Repeats: input axis i becomes output axis `axes[i]` (strictly increasing, equal extents); others are new.
    Broadcast {
        axes: SmallVec<[usize; 6]>,
    },
    /// Along `axis`: elements start, start+step, … as many as the output's extent.
    Slice {
        axis: usize,
        start: usize,
        step: usize,
    },
    /// Along `axis`: `before` zeros, then the input's elements with `step − 1` zeros between, then zeros up to the
    /// output's extent. The transpose of `Slice`.
    Pad {
        axis: usize,
        before: usize,
        step: usize,
    },
    Concat {
        axis: usize,
    },
    /// (a, b) → batch axes, then a's free axes, then b's. `a_batch[i]` pairs with `b_batch[i]`, likewise `*_sum`.
    /// F32 or F64.
    Contract {
        a_batch: SmallVec<[usize; 4]>,
        b_batch: SmallVec<[usize; 4]>,
        a_sum: SmallVec<[usize; 4]>,
        b_sum: SmallVec<[usize; 4]>,
    },
    /// See `fgc_program::Conv`. Inputs are the two that are given, in the order x, w, y; the output is the third.
    Conv {
        role: ConvRole,
        stride: [usize; 2],
        pad: [[usize; 2]; 2],
    },
    /// (table, at: I64) → the table with axis `axis` replaced by `at`'s axes; indices must be in range (they are
    /// clamped).
    Gather {
        axis: usize,
    },
    /// (values, at: I64) → zeros of the output's shape with `values` added at `at` along `axis`: the transpose of
    /// `Gather`.
    ScatterAdd {
        axis: usize,
    },
    /// The identity, through which no derivative passes.
    Stop,
    /// Result `output` of function `func` at the inputs.
    Call {
        func: FuncId,
        output: usize,
    },
    /// The derivative of result `output` of `func` at the first half of the inputs along the second half.
    Jvp {
        func: FuncId,
        output: usize,
    },
    /// A kernel from outside; the one value is all its results, as [`Extern`](super::Extern) lays them out.
    Extern {
        kernel: ExternId,
    },
    /// The derivative of `Extern` along the tangents that follow the arguments, one for each float argument. Only while
    /// reverse mode is at work: its transpose is the kernel's `vjp`.
    Along {
        kernel: ExternId,
    },
    /// Parameter `index` of a function, only inside its body; also the variables of a linearisation.
    Argument {
        func: FuncId,
        index: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReduceOp {
    Sum,
    Max,
    Min,
}

/// What a graph reads from outside. Names index the compiler's tables.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Parameter `param` of `net`, by position in the network's declaration order; F32.
    Param {
        net: NetId,
        param: usize,
    },
    /// What updates read and write of a network, from element `start` on. Only in update plans.
    Flat {
        net: NetId,
        what: FlatKind,
        start: usize,
    },
    Data {
        name: String,
    },
    Draw {
        name: String,
        /// Of one of many draws of that name: which, an I64 scalar.
        number: Option<NodeId>,
        distribution: Distribution,
    },
    /// A draw given from outside.
    Pin {
        name: String,
        number: Option<NodeId>,
    },
    /// F64 scalar.
    Iteration,
    /// F64 scalar of a sampler's row.
    Row {
        position: usize,
    },
    /// A value that a sampler keeps from run to run.
    Kept {
        slot: usize,
    },
    State {
        name: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FlatKind {
    /// A flat F32 vector, as the three after it.
    Weights,
    Grads,
    Ema,
    Moment(String),
    /// How many updates were done: F64 scalar.
    Updates,
}

impl Ty {
    pub fn new(dtype: DType, shape: &[usize]) -> Ty {
        Ty { dtype, shape: shape.into() }
    }

    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for Ty {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let dims: Vec<String> = self.shape.iter().map(|d| d.to_string()).collect();
        write!(f, "{}[{}]", self.dtype, dims.join(", "))
    }
}
