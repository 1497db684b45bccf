//! What libraries can do to the elements of a product or a convolution before they store them: kernels that do no more than
//! that need not run.

use super::epilogue::{Elementwise, elementwise};
use super::tree::{Node, each_expr, exprs};
use crate::{BinaryOp, DType, Expr, Index, Kernel, Reg, Scalar, Stmt, UnaryOp};
use rustc_hash::FxHashMap;
use std::fmt;

/// result = act(scale·element + share·matrix + bias), where act is GELU or nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Finish {
    pub scale: Factor,
    /// Whether a matrix that lies as the result does is added, and times what.
    pub matrix: Option<Factor>,
    /// Whether a vector is added, its nth element to column n, or to filter n of each pixel.
    pub bias: bool,
    /// GELU by its tanh approximation (arXiv:1606.08415).
    pub gelu: bool,
}

/// An f32 that is compared by its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Factor(u32);

impl Factor {
    pub const ONE: Factor = Factor(1.0f32.to_bits());

    pub fn get(self) -> f32 {
        f32::from_bits(self.0)
    }
}

impl From<f32> for Factor {
    fn from(factor: f32) -> Factor {
        Factor(factor.to_bits())
    }
}

impl Default for Factor {
    fn default() -> Factor {
        Factor::ONE
    }
}

impl Finish {
    /// Whether elements are stored as they are.
    pub fn is_plain(&self) -> bool {
        *self == Finish::default()
    }
}

impl fmt::Display for Finish {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let times = |f: &mut fmt::Formatter, factor: Factor| match factor.get() {
            1.0 => Ok(()),
            factor => write!(f, " × {factor}"),
        };
        times(f, self.scale)?;
        if let Some(share) = self.matrix {
            f.write_str(" + matrix")?;
            times(f, share)?;
        }
        f.write_str(if self.bias { " + bias" } else { "" })?;
        f.write_str(if self.gelu { ", GELU" } else { "" })
    }
}

/// A kernel as something that a library can do; buffers by their positions among the kernel's.
pub(super) struct Finishing {
    pub finish: Finish,
    pub matrix: Option<usize>,
    /// And what it is multiplied by before it is added.
    pub bias: Option<(usize, Factor)>,
    pub result: usize,
}

/// What a kernel does to the elements of its buffer `own`, whose rows are `columns` long, if libraries can do that.
///
/// Its formula is recognised by its values, as there are many ways to write one down.
pub(super) fn finishing(kernel: &Kernel, own: usize, columns: usize) -> Option<Finishing> {
    let Elementwise { stage, index, loops } = elementwise(kernel, own)?;
    let (Node::Plain(Stmt::Store { buffer: result, index: to, value }), lets) = stage.body.split_last()? else {
        return None;
    };
    let len = |buffer: usize| kernel.buffers[buffer].len;
    if *to != index || len(*result) != len(own) {
        return None;
    }
    let (column, _, extent) = *loops.first()?;
    let along = |index: &Index| index.offset == 0 && index.terms.len() == 1 && index.coefficient(column) == 1;
    let (mut matrix, mut bias) = (None, None);
    for (buffer, from) in loads(&stage.body)? {
        let role = match () {
            () if buffer == own => continue,
            () if *from == index && len(buffer) == len(own) => &mut matrix,
            () if along(from) && [extent, len(buffer)] == [columns, columns] => &mut bias,
            () => return None,
        };
        // One of each.
        if *role.get_or_insert(buffer) != buffer {
            return None;
        }
    }
    let used = [Some(own), matrix, bias, Some(*result)];
    if used.into_iter().flatten().any(|buffer| kernel.buffers[buffer].dtype != DType::F32) {
        return None;
    }
    let formula = |element: f64, added: f64, vector: f64| {
        let load = |buffer: usize| match buffer {
            _ if buffer == own => element,
            _ if Some(buffer) == matrix => added,
            _ => vector,
        };
        let mut regs = FxHashMap::default();
        for node in lets {
            let Node::Plain(Stmt::Let { reg, value, .. }) = node else { return None };
            let value = evaluated(value, &regs, &load)?;
            regs.insert(*reg, value);
        }
        evaluated(value, &regs, &load)
    };
    let (finish, share) = recognised(formula, matrix.is_some(), bias.is_some())?;
    Some(Finishing { finish, matrix, bias: bias.map(|bias| (bias, share)), result: *result })
}

/// What is read, and where; None if a position is computed.
fn loads(body: &[Node]) -> Option<Vec<(usize, &Index)>> {
    let (mut found, mut plain) = (Vec::new(), true);
    for node in body {
        let Node::Plain(stmt) = node else { return None };
        for x in exprs(stmt) {
            each_expr(x, &mut |x| match x {
                Expr::Load { buffer, index } => found.push((*buffer, index)),
                Expr::LoadAt { .. } | Expr::Index(_) => plain = false,
                _ => {}
            });
        }
    }
    plain.then_some(found)
}

/// An expression's value in exact arithmetic; None for what occurs in nothing that libraries do.
fn evaluated(x: &Expr, regs: &FxHashMap<Reg, f64>, load: &impl Fn(usize) -> f64) -> Option<f64> {
    let of = |x: &Expr| evaluated(x, regs, load);
    match x {
        Expr::Const(Scalar::F32(value)) => Some(f64::from(*value)),
        Expr::Const(Scalar::F64(value)) => Some(*value),
        Expr::Reg(reg) => regs.get(reg).copied(),
        Expr::Load { buffer, .. } => Some(load(*buffer)),
        Expr::Cast(DType::F32 | DType::F64, x) => of(x),
        Expr::Unary(op, x) => match (op, of(x)?) {
            (UnaryOp::Neg, x) => Some(-x),
            (UnaryOp::Exp, x) => Some(x.exp()),
            (UnaryOp::Tanh, x) => Some(x.tanh()),
            (UnaryOp::Sigmoid, x) => Some(1.0 / (1.0 + (-x).exp())),
            _ => None,
        },
        Expr::Binary(op, a, b) => match (op, of(a)?, of(b)?) {
            (BinaryOp::Add, a, b) => Some(a + b),
            (BinaryOp::Sub, a, b) => Some(a - b),
            (BinaryOp::Mul, a, b) => Some(a * b),
            (BinaryOp::Div, a, b) => Some(a / b),
            _ => None,
        },
        _ => None,
    }
}

/// A formula of an element, a matrix's and a vector's, the latter two where there are such; with the vector's factor.
fn recognised(formula: impl Fn(f64, f64, f64) -> Option<f64>, matrix: bool, bias: bool) -> Option<(Finish, Factor)> {
    let factors = [formula(1.0, 0.0, 0.0)?, formula(0.0, 1.0, 0.0)?, formula(0.0, 0.0, 1.0)?];
    let linear = |x: [f64; 3]| x.iter().zip(factors).map(|(x, factor)| x * factor).sum::<f64>();
    let gelu = |x: [f64; 3]| {
        let x: f64 = x.iter().sum();
        x / (1.0 + (-(8.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).exp())
    };
    let places: Vec<[f64; 3]> = points()
        .map(|[element, added, vector]| [element, if matrix { added } else { 0.0 }, if bias { vector } else { 0.0 }])
        .collect();
    let values: Vec<f64> = places.iter().map(|x| formula(x[0], x[1], x[2])).collect::<Option<_>>()?;
    let largest = values.iter().fold(0.0f64, |most, value| most.max(value.abs()));
    // Constants are f32.
    let is = |f: &dyn Fn([f64; 3]) -> f64| {
        places.iter().zip(&values).all(|(x, value)| (value - f(*x)).abs() <= 1e-6 * largest.min(1.0).max(value.abs()))
    };
    if is(&linear) && factors[0] != 0.0 {
        let [scale, of_matrix, of_bias] = factors.map(|factor| Factor::from(factor as f32));
        return Some((Finish { scale, matrix: matrix.then_some(of_matrix), bias, gelu: false }, of_bias));
    }
    let one = Factor::ONE;
    is(&gelu).then_some((Finish { scale: one, matrix: matrix.then_some(one), bias, gelu: true }, one))
}

/// Where formulas are compared: in [−4, 4] and in [−4000, 4000], at points of Halton's sequence.
fn points() -> impl Iterator<Item = [f64; 3]> {
    let inverse = |mut n: u32, base: u32| {
        let (mut value, mut digit) = (0.0, 1.0);
        while n > 0 {
            digit /= f64::from(base);
            value += digit * f64::from(n % base);
            n /= base;
        }
        8.0 * value - 4.0
    };
    [1.0, 1e3].into_iter().flat_map(move |far| (1..=32).map(move |n| [2, 3, 5].map(|base| far * inverse(n, base))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(formula: impl Fn(f64, f64, f64) -> f64) -> Option<Finish> {
        recognised(|e, x, b| Some(formula(e, x, b)), true, true).map(|(finish, _)| finish)
    }

    #[test]
    fn formulas_are_told_apart_however_small() {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let gelu = |x: f64| x * sigmoid(2.0 * (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3)));
        let one = Some(Factor::ONE);
        let linear = of(|e, x, b| (e + 2.0 * x + b) * 1e-9).unwrap();
        assert_eq!((linear.scale, linear.matrix), (Factor::from(1e-9), Some(Factor::from(2e-9))));
        let found = of(|e, x, b| gelu(e + x + b)).unwrap();
        assert_eq!(found, Finish { scale: Factor::ONE, matrix: one, bias: true, gelu: true });
        for (n, none) in [
            of(|e, x, _| 1e-9 * e * sigmoid(x)),
            of(|e, x, b| 1e4 * ((e + x + b) / 1e4).tanh()),
            of(|e, x, b| 1.0 + e + x + b),
            of(|_, x, b| x + b),
            of(|e, x, b| 1.7 * gelu(e + x + b)),
            of(|e, x, b| gelu(e) + x + b),
            of(|e, x, b| (e + x + b) * sigmoid(1.702 * (e + x + b))),
            of(|e, x, b| (e + x + b).max(0.0)),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(none, None, "{n}");
        }
    }
}
