//! Kernels, interpreted: the meaning that compiled kernels are held to.
//!
//! f32 operations are computed in f64 and rounded, so each is correctly rounded or nearly so. Every access is checked.

use crate::cpu::memory::{OwnedView, View};
use crate::cpu::special;
use fgc_program::{Atom, BinaryOp, DType, Expr, Index, Kernel, Reg, Scalar, Stmt, UnaryOp, Var};
use thiserror::Error;

/// Why a kernel cannot go on.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum Fault {
    #[error("position {at} of buffer {buffer} is outside its {len} elements")]
    Bounds { buffer: usize, at: i64, len: usize },
    #[error("{0}")]
    IllTyped(String),
}

/// Runs all iterations of `kernel` on `views`, one for each of its buffers.
///
/// # Safety
/// The views' memory lives, and nobody else uses it meanwhile.
pub unsafe fn run(kernel: &Kernel, views: &[View]) -> Result<(), Fault> {
    let fits = |(view, buffer): (&View, &fgc_program::KernelBuffer)| view.dtype() == buffer.dtype;
    if views.len() != kernel.shared().len() || !views.iter().zip(&kernel.buffers).all(fits) {
        return Err(Fault::IllTyped("buffers of other dtypes than the kernel's".into()));
    }
    let too_large = || Fault::IllTyped("local buffers larger than an address space".into());
    let locals = kernel.locals().iter().map(|b| OwnedView::new(b.dtype, b.len).ok_or_else(too_large));
    let locals = locals.collect::<Result<Vec<_>, _>>()?;
    let views: Vec<View> = views.iter().copied().chain(locals.iter().map(OwnedView::view)).collect();
    let views = &views[..];
    let mut sizes = Sizes { regs: 0, vars: 1 };
    sizes.block(&kernel.body);
    let mut frame = Frame { views, vars: vec![0; sizes.vars], regs: vec![Scalar::Bool(false); sizes.regs] };
    for i in 0..kernel.extent {
        frame.vars[Var::GRID.0 as usize] = i as i64;
        frame.block(&kernel.body)?;
    }
    Ok(())
}

/// The value of an expression without registers and variables; its loads are of `views`.
///
/// # Safety
/// The views' memory lives, and nobody writes it meanwhile.
pub unsafe fn evaluate(expr: &Expr, views: &[View]) -> Result<Scalar, Fault> {
    Frame { views, vars: Vec::new(), regs: Vec::new() }.expr(expr)
}

/// How many registers and variables a kernel numbers.
struct Sizes {
    regs: usize,
    vars: usize,
}

impl Sizes {
    fn block(&mut self, body: &[Stmt]) {
        for stmt in body {
            match stmt {
                Stmt::Let { reg, .. } | Stmt::Accumulator { reg, .. } => self.regs = self.regs.max(reg.0 as usize + 1),
                Stmt::For { var, body, .. } => {
                    self.vars = self.vars.max(var.0 as usize + 1);
                    self.block(body);
                }
                Stmt::Assign { .. } | Stmt::Store { .. } | Stmt::StoreAt { .. } => {}
            }
        }
    }
}

struct Frame<'a> {
    views: &'a [View],
    vars: Vec<i64>,
    regs: Vec<Scalar>,
}

impl Frame<'_> {
    fn block(&mut self, body: &[Stmt]) -> Result<(), Fault> {
        body.iter().try_for_each(|stmt| self.stmt(stmt))
    }

    fn stmt(&mut self, stmt: &Stmt) -> Result<(), Fault> {
        match stmt {
            Stmt::Let { reg, value, .. } | Stmt::Accumulator { reg, init: value, .. } | Stmt::Assign { reg, value } => {
                let value = self.expr(value)?;
                match self.regs.get_mut(reg.0 as usize) {
                    Some(slot) => *slot = value,
                    None => return Err(unknown(*reg)),
                }
                Ok(())
            }
            Stmt::For { var, extent, body, .. } => {
                for i in 0..*extent {
                    self.vars[var.0 as usize] = i as i64;
                    self.block(body)?;
                }
                Ok(())
            }
            Stmt::Store { buffer, index, value } => {
                let value = self.expr(value)?;
                self.store(*buffer, self.index(index), value)
            }
            Stmt::StoreAt { buffer, at, value } => {
                let (at, value) = (self.position(at)?, self.expr(value)?);
                self.store(*buffer, at, value)
            }
        }
    }

    fn store(&mut self, buffer: usize, at: i64, value: Scalar) -> Result<(), Fault> {
        let Some(view) = self.views.get(buffer) else {
            return Err(no_buffer(buffer));
        };
        if value.dtype() != view.dtype() {
            return Err(Fault::IllTyped(format!("{} stored in a buffer of {}", value.dtype(), view.dtype())));
        }
        // SAFETY: the caller of `run` gave this memory to us alone.
        let done = usize::try_from(at).is_ok_and(|i| unsafe { view.set(i, value) });
        if done { Ok(()) } else { Err(Fault::Bounds { buffer, at, len: view.len() }) }
    }

    fn load(&self, buffer: usize, at: i64) -> Result<Scalar, Fault> {
        let Some(view) = self.views.get(buffer) else {
            return Err(no_buffer(buffer));
        };
        // SAFETY: the caller of `run` gave this memory to us alone.
        let value = usize::try_from(at).ok().and_then(|i| unsafe { view.get(i) });
        value.ok_or(Fault::Bounds { buffer, at, len: view.len() })
    }

    fn position(&self, at: &Expr) -> Result<i64, Fault> {
        match self.expr(at)? {
            Scalar::I64(at) => Ok(at),
            other => Err(Fault::IllTyped(format!("a position of type {}", other.dtype()))),
        }
    }

    fn index(&self, index: &Index) -> i64 {
        index.terms.iter().fold(index.offset, |sum, (atom, coefficient)| {
            let value = match atom {
                Atom::Var(var) => self.vars.get(var.0 as usize).copied().unwrap_or(0),
                // A divisor of 0 gives 0, as division of integers does.
                Atom::Div(inner, by) => self.index(inner).checked_div_euclid(*by).unwrap_or(0),
                Atom::Mod(inner, by) => self.index(inner).checked_rem_euclid(*by).unwrap_or(0),
            };
            sum.wrapping_add(value.wrapping_mul(*coefficient))
        })
    }

    fn expr(&self, expr: &Expr) -> Result<Scalar, Fault> {
        match expr {
            Expr::Const(value) => Ok(*value),
            Expr::Reg(reg) => self.regs.get(reg.0 as usize).copied().ok_or_else(|| unknown(*reg)),
            Expr::Index(index) => Ok(Scalar::I64(self.index(index))),
            Expr::Load { buffer, index } => self.load(*buffer, self.index(index)),
            Expr::LoadAt { buffer, at } => self.load(*buffer, self.position(at)?),
            Expr::Unary(op, x) => unary(*op, self.expr(x)?),
            Expr::Binary(op, a, b) => binary(*op, self.expr(a)?, self.expr(b)?),
            Expr::Select { cond, then, otherwise } => match self.expr(cond)? {
                Scalar::Bool(true) => self.expr(then),
                Scalar::Bool(false) => self.expr(otherwise),
                other => Err(Fault::IllTyped(format!("a condition of type {}", other.dtype()))),
            },
            Expr::Cast(to, x) => Ok(cast(*to, self.expr(x)?)),
        }
    }
}

fn unknown(reg: Reg) -> Fault {
    Fault::IllTyped(format!("register r{} is not defined", reg.0))
}

fn no_buffer(buffer: usize) -> Fault {
    Fault::IllTyped(format!("there is no buffer {buffer}"))
}

/// One elementwise operation.
pub fn unary(op: UnaryOp, x: Scalar) -> Result<Scalar, Fault> {
    Ok(match (op, x) {
        (UnaryOp::IsFinite, Scalar::F32(x)) => Scalar::Bool(x.is_finite()),
        (UnaryOp::IsFinite, Scalar::F64(x)) => Scalar::Bool(x.is_finite()),
        (UnaryOp::Not, Scalar::Bool(x)) => Scalar::Bool(!x),
        (UnaryOp::Neg, Scalar::I64(x)) => Scalar::I64(x.wrapping_neg()),
        (UnaryOp::Abs, Scalar::I64(x)) => Scalar::I64(x.wrapping_abs()),
        (UnaryOp::Not | UnaryOp::IsFinite, _) | (_, Scalar::Bool(_) | Scalar::I64(_)) => {
            return Err(Fault::IllTyped(format!("{op:?} of {}", x.dtype())));
        }
        (_, Scalar::F32(x)) => Scalar::F32(special::unary(op, x as f64) as f32),
        (_, Scalar::F64(x)) => Scalar::F64(special::unary(op, x)),
    })
}

/// One operation on two operands of one dtype.
pub fn binary(op: BinaryOp, a: Scalar, b: Scalar) -> Result<Scalar, Fault> {
    let found = match (a, b) {
        (Scalar::Bool(a), Scalar::Bool(b)) => boolean(op, a, b).map(Scalar::Bool),
        (Scalar::I64(a), Scalar::I64(b)) => match compare(op, &a, &b) {
            Some(truth) => Some(Scalar::Bool(truth)),
            None => integer(op, a, b).map(Scalar::I64),
        },
        (Scalar::F32(x), Scalar::F32(y)) => match compare(op, &x, &y) {
            Some(truth) => Some(Scalar::Bool(truth)),
            None => float(op, x as f64, y as f64).map(|z| Scalar::F32(z as f32)),
        },
        (Scalar::F64(x), Scalar::F64(y)) => match compare(op, &x, &y) {
            Some(truth) => Some(Scalar::Bool(truth)),
            None => float(op, x, y).map(Scalar::F64),
        },
        _ => None,
    };
    found.ok_or_else(|| Fault::IllTyped(format!("{op:?} of {} and {}", a.dtype(), b.dtype())))
}

fn compare<T: PartialOrd>(op: BinaryOp, a: &T, b: &T) -> Option<bool> {
    match op {
        BinaryOp::Lt => Some(a < b),
        BinaryOp::Le => Some(a <= b),
        BinaryOp::Eq => Some(a == b),
        BinaryOp::Ne => Some(a != b),
        _ => None,
    }
}

fn boolean(op: BinaryOp, a: bool, b: bool) -> Option<bool> {
    match op {
        BinaryOp::And => Some(a & b),
        BinaryOp::Or => Some(a | b),
        BinaryOp::Eq => Some(a == b),
        BinaryOp::Ne => Some(a != b),
        _ => None,
    }
}

/// Wrapping; division by 0 and its remainder are 0.
fn integer(op: BinaryOp, a: i64, b: i64) -> Option<i64> {
    Some(match op {
        BinaryOp::Add => a.wrapping_add(b),
        BinaryOp::Sub => a.wrapping_sub(b),
        BinaryOp::Mul => a.wrapping_mul(b),
        BinaryOp::Div if b == 0 => 0,
        BinaryOp::Div => a.wrapping_div_euclid(b),
        BinaryOp::Rem if b == 0 => 0,
        BinaryOp::Rem => a.wrapping_rem_euclid(b),
        BinaryOp::Max => a.max(b),
        BinaryOp::Min => a.min(b),
        BinaryOp::Pow if b < 0 => match a {
            1 => 1,
            -1 => 1 - 2 * (b & 1),
            _ => 0,
        },
        BinaryOp::Pow => {
            let (mut base, mut left, mut result) = (a, b, 1i64);
            while left > 0 {
                if left & 1 == 1 {
                    result = result.wrapping_mul(base);
                }
                (base, left) = (base.wrapping_mul(base), left >> 1);
            }
            result
        }
        _ => return None,
    })
}

fn float(op: BinaryOp, a: f64, b: f64) -> Option<f64> {
    Some(match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Rem => {
            let rest = a % b;
            if rest < 0.0 { rest + b.abs() } else { rest }
        }
        BinaryOp::Max => special::max(a, b),
        BinaryOp::Min => special::min(a, b),
        BinaryOp::Pow => a.powf(b),
        BinaryOp::Atan2 => a.atan2(b),
        BinaryOp::StudentCdf => special::student_cdf(a, b),
        BinaryOp::StudentQuantile => special::student_quantile(a, b),
        _ => return None,
    })
}

/// Floats become integers by truncation, at the ends of the range where they lie outside it, NaN as 0.
pub fn cast(to: DType, x: Scalar) -> Scalar {
    match (to, x) {
        (DType::Bool, Scalar::I64(x)) => Scalar::Bool(x != 0),
        (DType::I64, Scalar::I64(_)) | (DType::Bool, Scalar::Bool(_)) => x,
        (DType::F32, Scalar::I64(x)) => Scalar::F32(x as f32),
        _ => Scalar::new(to, x.as_f64()),
    }
}
