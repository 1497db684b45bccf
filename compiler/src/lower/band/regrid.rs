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

#[cfg(test)]
mod tests {
    use super::*;
    use fgc_program::{Atom, DType, Expr, KernelBuffer, Reg};
    use rustc_hash::FxHashMap;

    fn at(terms: &[(u32, i64)]) -> Index {
        Index { terms: terms.iter().map(|(var, times)| (Atom::Var(Var(*var)), *times)).collect(), offset: 0 }
    }

    /// What is stored where, made of which elements, over all iterations.
    fn stores(kernel: &Kernel) -> Vec<(i64, Vec<i64>)> {
        fn loads(expr: &Expr, at: &FxHashMap<Var, i64>, regs: &FxHashMap<Reg, Vec<i64>>) -> Vec<i64> {
            match expr {
                Expr::Load { index, .. } => vec![index.eval(&|var| at[&var])],
                Expr::Reg(reg) => regs[reg].clone(),
                Expr::Binary(_, a, b) => [loads(a, at, regs), loads(b, at, regs)].concat(),
                _ => Vec::new(),
            }
        }
        fn walk(
            body: &[Stmt],
            at: &mut FxHashMap<Var, i64>,
            regs: &mut FxHashMap<Reg, Vec<i64>>,
            found: &mut Vec<(i64, Vec<i64>)>,
        ) {
            for stmt in body {
                match stmt {
                    Stmt::Let { reg, value, .. } => _ = regs.insert(*reg, loads(value, at, regs)),
                    Stmt::Store { index, value, .. } => {
                        found.push((index.eval(&|var| at[&var]), loads(value, at, regs)));
                    }
                    Stmt::For { var, extent, body, .. } => {
                        for i in 0..*extent as i64 {
                            at.insert(*var, i);
                            walk(body, at, regs, found);
                        }
                    }
                    _ => panic!("{stmt:?}"),
                }
            }
        }
        let mut found = Vec::new();
        for i in 0..kernel.extent as i64 {
            walk(&kernel.body, &mut [(Var::GRID, i)].into_iter().collect(), &mut FxHashMap::default(), &mut found);
        }
        found.sort();
        found
    }

    /// b1[30i + 6j + k] = b0[30i + 6j + k]·b0[4i + j], for i in 4, j in 5 and k in 6.
    fn kernel() -> Kernel {
        let buffer = |len, access| KernelBuffer { dtype: DType::F32, len, access };
        let place = at(&[(0, 30), (1, 6), (2, 1)]);
        let value = Expr::Binary(
            fgc_program::BinaryOp::Mul,
            Expr::Load { buffer: 0, index: place.clone() }.into(),
            Expr::Reg(Reg(0)).into(),
        );
        let store = Stmt::Store { buffer: 1, index: place, value };
        let inner = Stmt::For { var: Var(2), extent: 6, vector: true, body: vec![store] };
        let factor = Expr::Load { buffer: 0, index: at(&[(0, 4), (1, 1)]) };
        let factor = Stmt::Let { reg: Reg(0), dtype: DType::F32, value: factor };
        let body = vec![Stmt::For { var: Var(1), extent: 5, vector: false, body: vec![factor, inner] }];
        let buffers = vec![buffer(120, Access::Read), buffer(120, Access::Write)];
        Kernel { name: "mul".into(), buffers, extent: 4, body }
    }

    #[test]
    fn another_grid_computes_the_same() {
        let kernel = kernel();
        let rows = regrid(&kernel, 20).expect("loops join the grid");
        assert_eq!((rows.extent, stores(&rows)), (20, stores(&kernel)));
        let all = regrid(&kernel, 120).expect("all loops join the grid");
        assert_eq!((all.extent, stores(&all)), (120, stores(&kernel)));
        let back = regrid(&all, 20).expect("iterations become a loop");
        assert_eq!((back.extent, stores(&back)), (20, stores(&kernel)));
        // A grid that it has, one that no loops make, and rows that write each other's elements.
        assert_eq!(regrid(&kernel, 4), None);
        assert_eq!(regrid(&kernel, 8), None);
        let mut mixed = kernel.clone();
        let Stmt::For { body, .. } = &mut mixed.body[0] else { unreachable!() };
        let Stmt::For { body, .. } = &mut body[1] else { unreachable!() };
        let Stmt::Store { index, .. } = &mut body[0] else { unreachable!() };
        *index = at(&[(0, 30), (1, 1), (2, 5)]);
        assert_eq!(regrid(&mixed, 20), None);
    }
}
