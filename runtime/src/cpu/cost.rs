//! How long a kernel takes, roughly: enough to decide whether sharing it between threads pays.

use fgc_program::{BinaryOp, Expr, Kernel, Stmt, UnaryOp};

/// Nanoseconds of work one task should have at least.
const TASK: f64 = 20_000.0;

/// Tasks of one kernel at most.
const TASKS: usize = 64;

/// Iterations one task runs. Depends on the kernel only, so that results do not depend on the threads.
pub fn chunk(kernel: &Kernel) -> usize {
    let total = block(&kernel.body) * kernel.extent as f64;
    let tasks = ((total / TASK) as usize).clamp(1, TASKS);
    let chunk = kernel.extent.div_ceil(tasks).max(1);
    // Whole vectors and cache lines, where that leaves enough tasks.
    if chunk >= 64 { chunk.next_multiple_of(64) } else { chunk }
}

/// Nanoseconds, as vector code of f32.
fn block(body: &[Stmt]) -> f64 {
    body.iter()
        .map(|stmt| match stmt {
            Stmt::Let { value, .. } | Stmt::Accumulator { init: value, .. } | Stmt::Assign { value, .. } => expr(value),
            Stmt::For { extent, body, .. } => 1.0 + *extent as f64 * block(body),
            Stmt::Store { value, .. } => 0.3 + expr(value),
            Stmt::StoreAt { at, value, .. } => 2.0 + expr(at) + expr(value),
        })
        .sum()
}

fn expr(expr_: &Expr) -> f64 {
    match expr_ {
        Expr::Const(_) | Expr::Reg(_) | Expr::Index(_) => 0.0,
        Expr::Load { .. } => 0.2,
        Expr::LoadAt { at, .. } => 1.0 + expr(at),
        Expr::Unary(op, x) => function(*op) + expr(x),
        Expr::Binary(op, a, b) => {
            let own = match op {
                BinaryOp::StudentCdf => 200.0,
                BinaryOp::StudentQuantile => 2000.0,
                BinaryOp::Pow | BinaryOp::Atan2 | BinaryOp::Rem => 10.0,
                BinaryOp::Div => 0.2,
                _ => 0.05,
            };
            own + expr(a) + expr(b)
        }
        Expr::Select { cond, then, otherwise } => 0.05 + expr(cond) + expr(then) + expr(otherwise),
        Expr::Cast(_, x) => 0.05 + expr(x),
    }
}

fn function(op: UnaryOp) -> f64 {
    match op {
        UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Sign | UnaryOp::Floor | UnaryOp::IsFinite | UnaryOp::Not => 0.05,
        UnaryOp::Sqrt => 0.2,
        UnaryOp::NormalQuantile => 20.0,
        UnaryOp::Softplus => 1.0,
        _ => 0.5,
    }
}
