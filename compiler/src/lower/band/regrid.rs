//! Kernels with another grid: one iteration for each row of a band.

use fgc_program::band::kernel_rows;
use fgc_program::bounds::extents;
use fgc_program::{Access, Index, Kernel, Stmt, Var};

/// The kernel with a grid of `rows` iterations, which run apart: of a shorter grid's loops the outer ones join it, a longer
/// one's iterations become a loop. None if it has that grid, or cannot.
pub(super) fn regrid(kernel: &Kernel, rows: usize) -> Option<Kernel> {
    if kernel.extent == rows || rows == 0 || kernel.extent == 0 || !kernel.locals().is_empty() {
        return None;
    }
    let new = if rows.is_multiple_of(kernel.extent) {
        joined(kernel, rows)?
    } else if kernel.extent.is_multiple_of(rows) {
        divided(kernel, rows)
    } else {
        return None;
    };
    // Rows that touch what others write would not be apart.
    let own = kernel_rows(&new, rows);
    let apart = new.shared().iter().zip(own).all(|(buffer, own)| own || buffer.access == Access::Read);
    apart.then_some(new)
}

fn joined(kernel: &Kernel, rows: usize) -> Option<Kernel> {
    let mut left = rows / kernel.extent;
    let (mut lets, mut loops, mut body) = (Vec::new(), Vec::new(), &kernel.body[..]);
    while left > 1 {
        let (Stmt::For { var, extent, body: inner, .. }, before) = body.split_last()? else { return None };
        let plain = before.iter().all(|stmt| matches!(stmt, Stmt::Let { .. }));
        if !plain || *extent == 0 || !left.is_multiple_of(*extent) {
            return None;
        }
        lets.extend(before);
        loops.push((*var, *extent as i64));
        left /= extent;
        body = inner;
    }
    let all = extents(rows, body);
    let mut inner = 1;
    let mut numbers: Vec<(Var, Index)> = Vec::new();
    for &(var, extent) in loops.iter().rev() {
        numbers.push((var, Index::from(Var::GRID).div(inner, &all).rem(extent, &all)));
        inner *= extent;
    }
    numbers.push((Var::GRID, Index::from(Var::GRID).div(inner, &all)));
    let with = |var: Var| numbers.iter().find(|(from, _)| *from == var).map(|(_, to)| to.clone());
    let change = |index: &Index| index.substitute(&with, &all);
    let body = lets.into_iter().chain(body).map(|stmt| stmt.with_indices(&change)).collect();
    Some(Kernel { extent: rows, body, ..kernel.clone() })
}

fn divided(kernel: &Kernel, rows: usize) -> Kernel {
    let each = kernel.extent / rows;
    let mut all = extents(rows, &kernel.body);
    let var = Var(all.keys().map(|var| var.0).max().unwrap_or(0) + 1);
    all.insert(var, each);
    let number = Index::from(Var::GRID).scale(each as i64).add(&var.into(), &all);
    let with = |from: Var| (from == Var::GRID).then(|| number.clone());
    let change = |index: &Index| index.substitute(&with, &all);
    let body: Vec<Stmt> = kernel.body.iter().map(|stmt| stmt.with_indices(&change)).collect();
    let vector = !body.iter().any(|stmt| matches!(stmt, Stmt::For { .. }));
    Kernel { extent: rows, body: vec![Stmt::For { var, extent: each, vector, body }], ..kernel.clone() }
}
