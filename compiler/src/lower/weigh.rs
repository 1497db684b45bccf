//! How long a kernel takes, roughly, in vector instructions: enough to choose between two ways to loop.

use super::tidy::{exprs, parts};
use fgc_program::{BinaryOp, Expr, Index, Kernel, Stmt, UnaryOp, Var};

/// Starting a kernel.
const LAUNCH: f64 = 500.0;
/// Bringing 64 bytes from memory; what a kernel touches again is near.
const MEMORY: f64 = 4.0;
/// Grid iterations below which threads idle.
pub(super) const PARALLEL: usize = 8;
const LANES: usize = 16;

pub(super) fn weigh(kernel: &Kernel) -> f64 {
    let flat = !kernel.body.iter().any(|stmt| matches!(stmt, Stmt::For { .. }));
    let total = if flat {
        kernel.extent.div_ceil(LANES) as f64 * block(&kernel.body, Some(Var::GRID))
    } else {
        kernel.extent as f64 * (2.0 + block(&kernel.body, None))
    };
    let bytes: usize = kernel.shared().iter().map(|buffer| buffer.len * buffer.dtype.size()).sum();
    LAUNCH + MEMORY * bytes as f64 / 64.0 + total * PARALLEL as f64 / kernel.extent.clamp(1, PARALLEL) as f64
}

/// `lane`: the loop whose iterations run together.
fn block(body: &[Stmt], lane: Option<Var>) -> f64 {
    body.iter()
        .map(|stmt| match stmt {
            Stmt::For { var, extent, vector: true, body } => {
                4.0 + extent.div_ceil(LANES) as f64 * (0.5 + block(body, Some(*var)))
            }
            Stmt::For { extent, body, .. } => *extent as f64 * (1.0 + block(body, None)),
            Stmt::Store { index, value, .. } => access(index, lane) + expr(value, lane),
            Stmt::StoreAt { .. } => exprs(stmt).into_iter().map(|x| expr(x, lane)).sum::<f64>() + 10.0,
            _ => exprs(stmt).into_iter().map(|x| expr(x, lane)).sum(),
        })
        .sum()
}

/// Of one vector of elements, the loop over `lane` being vector code.
pub(super) fn weight(x: &Expr, lane: Var) -> f64 {
    expr(x, Some(lane))
}

fn access(index: &Index, lane: Option<Var>) -> f64 {
    match lane {
        None => 1.0,
        Some(var) if !index.mentions(var) => 0.3,
        Some(var) if index.coefficient(var) == 1 && index.terms.iter().all(|(atom, _)| only(atom, var)) => 1.0,
        Some(var) if index.terms.iter().all(|(atom, _)| only(atom, var)) => 8.0,
        Some(_) => 14.0,
    }
}

/// Whether `var` is not inside a division.
fn only(atom: &fgc_program::Atom, var: Var) -> bool {
    match atom {
        fgc_program::Atom::Var(_) => true,
        fgc_program::Atom::Div(inner, _) | fgc_program::Atom::Mod(inner, _) => !inner.mentions(var),
    }
}

fn expr(x: &Expr, lane: Option<Var>) -> f64 {
    let own = match x {
        Expr::Const(_) | Expr::Reg(_) => 0.0,
        Expr::Index(index) => index.terms.len() as f64,
        Expr::Load { index, .. } => access(index, lane),
        Expr::LoadAt { .. } => 10.0,
        Expr::Unary(op, _) => match op {
            UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Sign | UnaryOp::Floor | UnaryOp::IsFinite | UnaryOp::Not => 1.0,
            UnaryOp::Sqrt => 4.0,
            UnaryOp::NormalQuantile => 500.0,
            _ => 15.0,
        },
        Expr::Binary(op, ..) => match op {
            BinaryOp::Div => 4.0,
            BinaryOp::Rem | BinaryOp::Pow | BinaryOp::Atan2 => 100.0,
            BinaryOp::StudentCdf | BinaryOp::StudentQuantile => 10000.0,
            _ => 1.0,
        },
        Expr::Select { .. } | Expr::Cast(..) => 1.0,
    };
    own + parts(x).into_iter().map(|part| expr(part, lane)).sum::<f64>()
}
