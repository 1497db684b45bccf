//! Launches that go through the rows of the same matrices together.

use crate::bounds::{Extents, extents, range};
use crate::{BatchDim, Contract, Expr, Index, Kernel, Operand, Stmt, Var};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Consecutive launches that go along the rows of the same matrices, so that they may run in turn on some rows at a time:
/// what is in [`crate::Place::Band`] buffers then never leaves the cache. Attention is one: scores, softmax, values.
///
/// Of what one launch writes, a later one reads only the same rows; the sums of [`Along::K`] no later one reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Band {
    /// Of the plan's.
    pub launches: Range<usize>,
    /// Matrices.
    pub entries: usize,
    /// Rows of each.
    pub rows: usize,
    /// For each launch where the rows are.
    pub along: Vec<Along>,
}

/// Which loop of a launch goes along a band's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Along {
    /// A kernel's grid: iteration `entry·rows + row`.
    Grid,
    /// A product's rows; its batch is the entries.
    M,
    /// A product's columns.
    N,
    /// What a product sums over: each block of rows adds to its result.
    K,
}

/// Which operands (a, b, c) of a product have an entry's row at elements `(entry·rows + row)·len..` for some len; None if
/// the product does not go along these rows in this way.
pub fn product_rows(c: &Contract, along: Along, entries: usize, rows: usize) -> Option<[bool; 3]> {
    let extent = match along {
        Along::Grid => return None,
        Along::M => c.m,
        Along::N => c.n,
        Along::K => c.k,
    };
    let all: usize = c.batch.iter().map(|dim| dim.extent).product();
    if extent != rows || all != entries || c.dtype.size() != 4 {
        return None;
    }
    // Row-major in (entries, rows, len), given the strides of rows and of the other axis.
    let dense = |operand: &Operand, row: isize, (len, col): (usize, isize), stride: fn(&BatchDim) -> isize| {
        let mut expected = (rows * len) as isize;
        let batch = c.batch.iter().rev().all(|dim| {
            let fits = dim.extent == 1 || stride(dim) == expected;
            expected *= dim.extent as isize;
            fits
        });
        batch && operand.offset == 0 && (len == 1 || col == 1) && (rows == 1 || row == len as isize)
    };
    let [a, b, out]: [fn(&BatchDim) -> isize; 3] = [|d| d.a, |d| d.b, |d| d.c];
    Some(match along {
        Along::Grid => return None,
        Along::M => [dense(&c.a, c.a.row, (c.k, c.a.col), a), false, dense(&c.c, c.c.row, (c.n, c.c.col), out)],
        Along::N => [false, dense(&c.b, c.b.col, (c.k, c.b.row), b), dense(&c.c, c.c.col, (c.m, c.c.row), out)],
        Along::K => [dense(&c.a, c.a.col, (c.m, c.a.row), a), dense(&c.b, c.b.row, (c.n, c.b.col), b), false],
    })
}

/// For each shared buffer of a kernel whether iteration i reads and writes only its elements `i·len..(i+1)·len`, len being
/// the extent's part of the buffer.
pub fn kernel_rows(kernel: &Kernel) -> Vec<bool> {
    let extents = extents(kernel.extent, &kernel.body);
    let len = |buffer: usize| {
        let len = kernel.buffers[buffer].len;
        (kernel.extent > 0 && len.is_multiple_of(kernel.extent)).then(|| len / kernel.extent)
    };
    let mut rows: Vec<bool> = (0..kernel.shared().len()).map(|buffer| len(buffer).is_some()).collect();
    each_access(&kernel.body, &mut |buffer, index| {
        let within = |index: &Index| own(index, len(buffer)? as i64, &extents);
        if let Some(all) = rows.get_mut(buffer) {
            *all &= index.is_some_and(|index| within(index) == Some(true));
        }
    });
    rows
}

/// Whether `index` is `len·grid + r` with r in 0..len.
fn own(index: &Index, len: i64, extents: &Extents) -> Option<bool> {
    let rest = index.without(Var::GRID);
    if index.coefficient(Var::GRID) != len || rest.mentions(Var::GRID) {
        return Some(
            extents.get(&Var::GRID) == Some(&1) && range(index, extents).is_some_and(|r| r.0 >= 0 && r.1 < len),
        );
    }
    let (low, high) = range(&rest, extents)?;
    Some(low >= 0 && high < len)
}

/// Calls `visit` with the buffer of every load and store, and its place unless that is computed.
fn each_access(body: &[Stmt], visit: &mut impl FnMut(usize, Option<&Index>)) {
    for stmt in body {
        match stmt {
            Stmt::Let { value, .. } | Stmt::Accumulator { init: value, .. } | Stmt::Assign { value, .. } => {
                each_load(value, visit);
            }
            Stmt::For { body, .. } => each_access(body, visit),
            Stmt::Store { buffer, index, value } => {
                visit(*buffer, Some(index));
                each_load(value, visit);
            }
            Stmt::StoreAt { buffer, at, value } => {
                visit(*buffer, None);
                each_load(at, visit);
                each_load(value, visit);
            }
        }
    }
}

fn each_load(expr: &Expr, visit: &mut impl FnMut(usize, Option<&Index>)) {
    match expr {
        Expr::Const(_) | Expr::Reg(_) | Expr::Index(_) => {}
        Expr::Load { buffer, index } => visit(*buffer, Some(index)),
        Expr::LoadAt { buffer, at } => {
            visit(*buffer, None);
            each_load(at, visit);
        }
        Expr::Unary(_, x) | Expr::Cast(_, x) => each_load(x, visit),
        Expr::Binary(_, a, b) => {
            each_load(a, visit);
            each_load(b, visit);
        }
        Expr::Select { cond, then, otherwise } => {
            each_load(cond, visit);
            each_load(then, visit);
            each_load(otherwise, visit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Access, Atom, BufferId, DType, KernelBuffer};

    fn product(batch: Vec<BatchDim>, [a, b, c]: [(isize, isize); 3]) -> Contract {
        let operand = |(row, col)| Operand { buffer: BufferId(0), offset: 0, row, col };
        Contract { dtype: DType::F32, m: 6, n: 5, k: 4, batch, a: operand(a), b: operand(b), c: operand(c) }
    }

    #[test]
    fn rows_of_products_follow_each_other() {
        let heads = vec![BatchDim { extent: 3, a: 24, b: 20, c: 30 }];
        let plain = product(heads.clone(), [(4, 1), (5, 1), (5, 1)]);
        assert_eq!(product_rows(&plain, Along::M, 3, 6), Some([true, false, true]));
        assert_eq!(product_rows(&plain, Along::K, 3, 4), Some([false, true, false]));
        assert_eq!(product_rows(&plain, Along::M, 6, 3), None);
        let turned = product(heads, [(1, 6), (1, 4), (1, 6)]);
        assert_eq!(product_rows(&turned, Along::N, 3, 5), Some([false, true, true]));
        assert_eq!(product_rows(&turned, Along::K, 3, 4), Some([true, false, false]));
        // A head's rows are apart.
        let apart = product(vec![BatchDim { extent: 3, a: 4, b: 20, c: 5 }], [(12, 1), (5, 1), (15, 1)]);
        assert_eq!(product_rows(&apart, Along::M, 3, 6), Some([false, false, false]));
    }

    #[test]
    fn rows_of_kernels_are_their_own() {
        let grid = |factor| Index { terms: vec![(Atom::Var(Var(0)), factor), (Atom::Var(Var(1)), 1)], offset: 0 };
        let load = |buffer, index| Expr::Load { buffer, index };
        let value = Expr::Binary(crate::BinaryOp::Add, load(0, grid(8)).into(), load(1, grid(0)).into());
        let body = vec![Stmt::Store { buffer: 2, index: grid(8), value }];
        let buffer = |len, access| KernelBuffer { dtype: DType::F32, len, access };
        let mut kernel = Kernel {
            name: "add".into(),
            buffers: vec![buffer(80, Access::Read), buffer(10, Access::Read), buffer(80, Access::Write)],
            extent: 10,
            body: vec![Stmt::For { var: Var(1), extent: 8, vector: true, body }],
        };
        assert_eq!(kernel_rows(&kernel), [true, false, true]);
        // Reaching into the next row.
        let Stmt::For { extent, .. } = &mut kernel.body[0] else { unreachable!() };
        *extent = 9;
        assert_eq!(kernel_rows(&kernel), [false, false, false]);
    }
}
