//! Updates in place: a kernel that reads each element of a buffer and writes the new one at the same position.

use super::emit::Slot;
use super::nest::each_load;
use super::tidy::exprs;
use fgc_program::{Access, Expr, Index, Kernel, Reg, Stmt, Var};

/// Lets the kernel write what it computes for slot `new` over `old`, if it runs flat over both. Whether it does.
pub(super) fn write_over(kernel: &mut Kernel, slots: &mut Vec<Slot>, old: Slot, new: Slot) -> bool {
    let at = |slot| slots.iter().position(|s| *s == slot);
    let (Some(from), Some(to)) = (at(old), at(new)) else { return false };
    let element = Index::from(Var::GRID);
    let mut same = true;
    for stmt in &kernel.body {
        match stmt {
            Stmt::For { .. } => same = false,
            Stmt::Store { buffer, index, .. } if *buffer == to || *buffer == from => same &= *index == element,
            Stmt::StoreAt { .. } => same = false,
            _ => {}
        }
        for expr in exprs(stmt) {
            each_load(expr, &mut |buffer, index| same &= buffer != from && buffer != to || *index == element);
            same &= !computed(expr);
        }
    }
    let (a, b) = (&kernel.buffers[from], &kernel.buffers[to]);
    if !same || (a.dtype, a.len) != (b.dtype, b.len) || b.access != Access::Write || a.access != Access::Read {
        return false;
    }
    // All is computed before anything is overwritten.
    let mut next = 0;
    for stmt in &kernel.body {
        if let Stmt::Let { reg, .. } | Stmt::Accumulator { reg, .. } = stmt {
            next = next.max(reg.0 + 1);
        }
    }
    let mut stores = Vec::new();
    let mut body = Vec::new();
    for stmt in std::mem::take(&mut kernel.body) {
        match stmt {
            Stmt::Store { buffer, index, value } => {
                let dtype = kernel.buffers[buffer].dtype;
                let value = match value {
                    Expr::Const(_) | Expr::Reg(_) => value,
                    _ => {
                        let reg = Reg(next);
                        next += 1;
                        body.push(Stmt::Let { reg, dtype, value });
                        Expr::Reg(reg)
                    }
                };
                stores.push(Stmt::Store { buffer, index, value });
            }
            stmt => body.push(stmt),
        }
    }
    body.extend(stores);
    for stmt in &mut body {
        rename(stmt, from, to);
    }
    kernel.body = body;
    kernel.buffers[to].access = Access::ReadWrite;
    kernel.buffers.remove(from);
    slots.remove(from);
    true
}

fn computed(expr: &Expr) -> bool {
    matches!(expr, Expr::LoadAt { .. }) || super::tidy::parts(expr).into_iter().any(computed)
}

/// Buffer `to` in place of `from`, and numbers after `from` one less.
fn rename(stmt: &mut Stmt, from: usize, to: usize) {
    let new = |buffer: usize| {
        let buffer = if buffer == from { to } else { buffer };
        if buffer > from { buffer - 1 } else { buffer }
    };
    fn expr(x: &mut Expr, new: &impl Fn(usize) -> usize) {
        if let Expr::Load { buffer, .. } | Expr::LoadAt { buffer, .. } = x {
            *buffer = new(*buffer);
        }
        super::tidy::parts_mut(x).into_iter().for_each(|part| expr(part, new));
    }
    super::tidy::exprs_mut(stmt).into_iter().for_each(|x| expr(x, &new));
    if let Stmt::Store { buffer, .. } | Stmt::StoreAt { buffer, .. } = stmt {
        *buffer = new(*buffer);
    }
}
