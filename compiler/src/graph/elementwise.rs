//! Elementwise primitives.
//!
//! Folding keeps values except in two deliberate cases: a literal zero added is dropped even where it would turn −0
//! into 0, and a literal zero factor (or numerator) gives zero even where the other operand is infinite or NaN — a
//! term with weight 0 is absent, and autodiff relies on it.

use super::build::Graph;
use super::op::*;
use super::scalar;
use fgc_program::{BinaryOp, DType, Scalar, UnaryOp};

macro_rules! short_forms {
    ($($unary:ident => $u:ident),*; $($binary:ident => $b:ident),* $(,)?) => {
        /// Short forms.
        impl Graph {
            $(pub fn $unary(&mut self, a: NodeId) -> NodeId {
                self.unary(UnaryOp::$u, a)
            })*
            $(pub fn $binary(&mut self, a: NodeId, b: NodeId) -> NodeId {
                self.binary(BinaryOp::$b, a, b)
            })*
        }
    };
}

short_forms! {
    neg => Neg, abs => Abs, sign => Sign, floor => Floor, exp => Exp, log => Log, log1p => Log1p, sqrt => Sqrt,
    sin => Sin, cos => Cos, tanh => Tanh, sigmoid => Sigmoid, softplus => Softplus, erf => Erf,
    is_finite => IsFinite, not => Not;
    add => Add, sub => Sub, mul => Mul, div => Div, rem => Rem, max => Max, min => Min, pow => Pow, lt => Lt,
    le => Le, eq => Eq, ne => Ne, and => And, or => Or,
}

impl Graph {
    pub fn unary(&mut self, op: UnaryOp, a: NodeId) -> NodeId {
        let Ty { dtype, shape } = self.ty(a).clone();
        let fits = match op {
            UnaryOp::Neg | UnaryOp::Abs => dtype != DType::Bool,
            UnaryOp::Not => dtype == DType::Bool,
            _ => dtype.is_float(),
        };
        assert!(fits, "{op:?} of {}", self.ty(a));
        if let Some(value) = self.const_value(a).and_then(|value| scalar::unary(op, value)) {
            return self.constant(value, &shape);
        }
        let undoes = matches!(op, UnaryOp::Neg | UnaryOp::Not) && *self.op(a) == Op::Unary(op);
        let repeats = matches!(op, UnaryOp::Abs | UnaryOp::Floor | UnaryOp::Sign) && *self.op(a) == Op::Unary(op);
        if undoes {
            return self.node(a).inputs[0];
        }
        if repeats {
            return a;
        }
        let out = if op == UnaryOp::IsFinite { DType::Bool } else { dtype };
        self.intern(Op::Unary(op), &[a], Ty { dtype: out, shape })
    }

    /// Operands of commutative operations are put in a canonical order, constants last.
    pub fn binary(&mut self, op: BinaryOp, a: NodeId, b: NodeId) -> NodeId {
        let Ty { dtype, shape } = self.ty(a).clone();
        assert_eq!(self.ty(a), self.ty(b), "operands of {op:?}");
        let fits = match op {
            BinaryOp::And | BinaryOp::Or => dtype == DType::Bool,
            BinaryOp::Eq | BinaryOp::Ne => true,
            BinaryOp::Atan2 | BinaryOp::StudentCdf | BinaryOp::StudentQuantile => dtype.is_float(),
            _ => dtype != DType::Bool,
        };
        assert!(fits, "{op:?} of {}", self.ty(a));
        if let (Some(x), Some(y)) = (self.const_value(a), self.const_value(b))
            && let Some(value) = scalar::binary(op, x, y)
        {
            return self.constant(value, &shape);
        }
        let commutes = matches!(
            op,
            BinaryOp::Add
                | BinaryOp::Mul
                | BinaryOp::Max
                | BinaryOp::Min
                | BinaryOp::Eq
                | BinaryOp::Ne
                | BinaryOp::And
                | BinaryOp::Or
        );
        let rank = |id| (self.const_value(id).is_some(), id);
        let (a, b) = if commutes && rank(b) < rank(a) { (b, a) } else { (a, b) };
        if let Some(folded) = self.fold_binary(op, a, b) {
            return folded;
        }
        let out = if op.is_comparison() { DType::Bool } else { dtype };
        self.intern(Op::Binary(op), &[a, b], Ty { dtype: out, shape })
    }

    fn fold_binary(&mut self, op: BinaryOp, a: NodeId, b: NodeId) -> Option<NodeId> {
        let truth = |graph: &Graph, id| match graph.const_value(id) {
            Some(Scalar::Bool(value)) => Some(value),
            _ => None,
        };
        Some(match op {
            BinaryOp::Add | BinaryOp::Sub if self.is_const(b, 0.0) => a,
            BinaryOp::Sub if self.is_const(a, 0.0) => self.neg(b),
            BinaryOp::Mul if self.is_const(b, 0.0) => b,
            BinaryOp::Div if self.is_const(a, 0.0) => a,
            BinaryOp::Mul | BinaryOp::Div if self.is_const(b, 1.0) => a,
            BinaryOp::Mul | BinaryOp::Div if self.is_const(b, -1.0) => self.neg(a),
            BinaryOp::Pow if self.is_const(b, 1.0) => a,
            BinaryOp::Pow if self.is_const(b, 0.0) => self.constant_like(1.0, a),
            BinaryOp::Max | BinaryOp::Min | BinaryOp::And | BinaryOp::Or if a == b => a,
            BinaryOp::And if truth(self, b) == Some(true) => a,
            BinaryOp::And if truth(self, b) == Some(false) => b,
            BinaryOp::Or if truth(self, b) == Some(false) => a,
            BinaryOp::Or if truth(self, b) == Some(true) => b,
            _ => return None,
        })
    }

    /// `then` where `cond` (Bool), else `otherwise`; all of one shape.
    pub fn select(&mut self, cond: NodeId, then: NodeId, otherwise: NodeId) -> NodeId {
        assert_eq!(self.dtype(cond), DType::Bool, "the condition of a select");
        assert_eq!(self.ty(then), self.ty(otherwise), "the branches of a select");
        assert_eq!(self.shape(cond), self.shape(then), "the condition's shape in a select");
        if then == otherwise {
            return then;
        }
        match self.op(cond) {
            Op::Const(Scalar::Bool(true)) => then,
            Op::Const(Scalar::Bool(false)) => otherwise,
            Op::Unary(UnaryOp::Not) => {
                let cond = self.node(cond).inputs[0];
                self.select(cond, otherwise, then)
            }
            _ => {
                let ty = self.ty(then).clone();
                self.intern(Op::Select, &[cond, then, otherwise], ty)
            }
        }
    }

    /// Float to integer truncates toward zero; to Bool is `!= 0`.
    pub fn cast(&mut self, a: NodeId, dtype: DType) -> NodeId {
        let Ty { dtype: from, shape } = self.ty(a).clone();
        if from == dtype {
            return a;
        }
        if let Some(value) = self.const_value(a) {
            return self.constant(scalar::cast(dtype, value), &shape);
        }
        if *self.op(a) == Op::Cast(from) {
            let inner = self.node(a).inputs[0];
            let narrow = self.dtype(inner);
            // Going through a type that holds every value of the first changes nothing.
            let exact = matches!(
                (narrow, from),
                (DType::F32, DType::F64) | (DType::Bool, DType::I64 | DType::F32 | DType::F64)
            );
            if exact {
                return self.cast(inner, dtype);
            }
        }
        self.intern(Op::Cast(dtype), &[a], Ty { dtype, shape })
    }
}
