//! The kernel language: one loop nest over scalars.
//!
//! A kernel's outermost loop is [`Var::GRID`], from 0 to [`Kernel::extent`]; its iterations are independent and
//! may run in any order and on any thread. Everything inside is sequential. Registers are single-assignment
//! ([`Stmt::Let`]) except accumulators, which only [`Stmt::Assign`] changes.

use crate::{DType, Index, Scalar, Var};
use serde::{Deserialize, Serialize};

/// A fused loop nest reading and writing whole buffers, which never overlap each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kernel {
    /// Says what it computes, for people: `mean_sub_mul`. Not unique.
    pub name: String,
    /// Those that a launch gives, in its order; then local ones.
    pub buffers: Vec<KernelBuffer>,
    /// Iterations of the outermost loop.
    pub extent: usize,
    pub body: Vec<Stmt>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelBuffer {
    pub dtype: DType,
    /// Elements.
    pub len: usize,
    pub access: Access,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    Read,
    Write,
    /// Written, and what this kernel wrote is read again (accumulation in memory).
    ReadWrite,
    /// Memory of each iteration of the grid for itself, with any values at its start.
    Local,
}

impl Kernel {
    /// The buffers that a launch gives.
    pub fn shared(&self) -> &[KernelBuffer] {
        let count = self.buffers.iter().take_while(|buffer| buffer.access != Access::Local).count();
        &self.buffers[..count]
    }

    /// The local buffers, which are numbered on from the shared ones.
    pub fn locals(&self) -> &[KernelBuffer] {
        &self.buffers[self.shared().len()..]
    }
}

/// A scalar register, unique within its kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reg(pub u32);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Stmt {
    /// Defines `reg` once; visible to later statements of the same block and blocks inside it.
    Let {
        reg: Reg,
        dtype: DType,
        value: Expr,
    },
    /// Defines an accumulator.
    Accumulator {
        reg: Reg,
        dtype: DType,
        init: Expr,
    },
    /// Changes an accumulator defined in this block or one around it.
    Assign {
        reg: Reg,
        value: Expr,
    },
    /// Runs `body` for `var` in 0..extent, in order. `vector`: the iterations are independent, or combine only in
    /// accumulators by a reassociable operation, so a printer may ask for vector code.
    For {
        var: Var,
        extent: usize,
        vector: bool,
        body: Vec<Stmt>,
    },
    Store {
        buffer: usize,
        index: Index,
        value: Expr,
    },
    /// `buffer[at] = value` where `at` is computed (i64), which must be in bounds.
    StoreAt {
        buffer: usize,
        at: Expr,
        value: Expr,
    },
}

impl Stmt {
    /// The same with what `change` makes of every index.
    pub fn with_indices(&self, change: &impl Fn(&Index) -> Index) -> Stmt {
        let mut new = self.clone();
        match &mut new {
            Stmt::Let { value, .. } | Stmt::Accumulator { init: value, .. } | Stmt::Assign { value, .. } => {
                value.change_indices(change);
            }
            Stmt::For { body, .. } => body.iter_mut().for_each(|stmt| *stmt = stmt.with_indices(change)),
            Stmt::Store { index, value, .. } => {
                *index = change(index);
                value.change_indices(change);
            }
            Stmt::StoreAt { at, value, .. } => {
                at.change_indices(change);
                value.change_indices(change);
            }
        }
        new
    }
}

impl Expr {
    fn change_indices(&mut self, change: &impl Fn(&Index) -> Index) {
        match self {
            Expr::Const(_) | Expr::Reg(_) => {}
            Expr::Index(index) | Expr::Load { index, .. } => *index = change(index),
            Expr::LoadAt { at: x, .. } | Expr::Unary(_, x) | Expr::Cast(_, x) => x.change_indices(change),
            Expr::Binary(_, a, b) => {
                a.change_indices(change);
                b.change_indices(change);
            }
            Expr::Select { cond, then, otherwise } => {
                cond.change_indices(change);
                then.change_indices(change);
                otherwise.change_indices(change);
            }
        }
    }
}

/// A scalar expression. Types are exact: operands of a binary operation have one dtype; comparisons give Bool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Expr {
    Const(Scalar),
    Reg(Reg),
    /// The value of an index as i64.
    Index(Index),
    Load {
        buffer: usize,
        index: Index,
    },
    /// A load at a computed position (i64), which must be in bounds.
    LoadAt {
        buffer: usize,
        at: Box<Expr>,
    },
    Unary(UnaryOp, Box<Expr>),
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// Evaluates only the branch taken: a guarded load may be out of bounds when its guard is false.
    Select {
        cond: Box<Expr>,
        then: Box<Expr>,
        otherwise: Box<Expr>,
    },
    /// Float to integer truncates toward zero; to Bool is `!= 0`.
    Cast(DType, Box<Expr>),
}

/// Elementwise functions of one argument, on f32 and f64 unless said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum UnaryOp {
    /// Also on i64.
    Neg,
    /// Also on i64.
    Abs,
    /// −1, 0 or 1; NaN stays NaN.
    Sign,
    Floor,
    Exp,
    Log,
    Log1p,
    Sqrt,
    Sin,
    Cos,
    Tanh,
    /// 1/(1+e^−x), without overflow.
    Sigmoid,
    /// ln(1+e^x), without overflow.
    Softplus,
    /// The error function.
    Erf,
    /// The standard normal's quantile function Φ⁻¹.
    NormalQuantile,
    /// True where neither NaN nor infinite.
    IsFinite,
    /// On Bool.
    Not,
}

/// Elementwise functions of two arguments of one dtype.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    /// Integers: Euclidean.
    Div,
    /// Euclidean remainder.
    Rem,
    /// NaN if either is.
    Max,
    /// NaN if either is.
    Min,
    Pow,
    /// atan2(a, b).
    Atan2,
    /// Student-t's cumulative distribution of `a` with `b` degrees of freedom.
    StudentCdf,
    /// Student-t's quantile of probability `a` with `b` degrees of freedom.
    StudentQuantile,
    /// Comparisons: Bool from two of one dtype.
    Lt,
    Le,
    Eq,
    Ne,
    /// On Bool.
    And,
    /// On Bool.
    Or,
}

impl BinaryOp {
    pub fn is_comparison(self) -> bool {
        matches!(self, BinaryOp::Lt | BinaryOp::Le | BinaryOp::Eq | BinaryOp::Ne)
    }
}
