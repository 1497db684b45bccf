//! Launches that go through the rows of the same matrices, or the samples of a batch, together.

use crate::bounds::{Extents, extents, range};
use crate::{Contract, Conv, ConvRole, DType, Expr, Index, Kernel, Operand, Stmt, Var};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Consecutive launches that go along the rows of the same matrices, so that they may run in turn on some rows at a time:
/// what is in [`crate::Place::Band`] buffers then never leaves the cache. Attention is one: scores, softmax, values. Where
/// convolutions are among them the rows are samples, each with all its pixels.
///
/// A launch may do several things for each row, as many for one as for the other. Of what one launch writes, a later one
/// reads only the same rows; the sums of [`Along::K`] no later one reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Band {
    /// Of the plan's.
    pub launches: Range<usize>,
    /// Matrices.
    pub entries: usize,
    /// Rows of each.
    pub rows: usize,
    /// Rows that go through all launches before others do.
    pub block: usize,
    /// For each launch where the rows are.
    pub along: Vec<Along>,
}

/// Which loop of a launch goes along a band's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Along {
    /// A kernel's grid: for each row `entry·rows + row` as many iterations, one row's after the other's.
    Grid,
    /// A product's rows; its batch is the entries.
    M,
    /// A product's columns.
    N,
    /// What a product sums over: each block of rows adds to its result.
    K,
    /// The batch of a convolution or of a product.
    Batch,
}

/// Which operands (a, b, c) of a product, of buffers with so many elements, an entry's row finds in its own equal part of
/// the buffer; None if the product does not go along these rows in this way.
pub fn product_rows(c: &Contract, along: Along, entries: usize, rows: usize, lens: [usize; 3]) -> Option<[bool; 3]> {
    let count = entries.checked_mul(rows).filter(|count| *count > 0)?;
    let all: usize = c.batch.iter().map(|dim| dim.extent).product();
    let fits = match along {
        Along::Grid => false,
        Along::M => all == entries && c.m.is_multiple_of(rows),
        Along::N => all == entries && c.n.is_multiple_of(rows),
        Along::K => all == entries && c.k.is_multiple_of(rows),
        Along::Batch => entries == 1 && all.is_multiple_of(rows),
    };
    if !fits || all == 0 || c.m * c.n * c.k == 0 || c.dtype.size() != 4 {
        return None;
    }
    // The axes that an operand's rows follow, and those within a row.
    let own = |i: usize, operand: &Operand, row: Option<(usize, isize)>, within: &[(usize, isize)]| {
        let batch = c.batch.iter().map(|dim| (dim.extent, [dim.a, dim.b, dim.c][i]));
        let carriers: Vec<(usize, isize)> = batch.chain(row).collect();
        is_own(&carriers, within, operand.offset, count, lens[i])
    };
    let [m, n, k] = [c.m, c.n, c.k];
    let (a, b, out) = (&c.a, &c.b, &c.c);
    Some(match along {
        Along::Grid => return None,
        Along::M => {
            [own(0, a, Some((m, a.row)), &[(k, a.col)]), false, own(2, out, Some((m, out.row)), &[(n, out.col)])]
        }
        Along::N => {
            [false, own(1, b, Some((n, b.col)), &[(k, b.row)]), own(2, out, Some((n, out.col)), &[(m, out.row)])]
        }
        Along::K => [own(0, a, Some((k, a.col)), &[(m, a.row)]), own(1, b, Some((k, b.row)), &[(n, b.col)]), false],
        Along::Batch => [
            own(0, a, None, &[(m, a.row), (k, a.col)]),
            own(1, b, None, &[(k, b.row), (n, b.col)]),
            own(2, out, None, &[(m, out.row), (n, out.col)]),
        ],
    })
}

/// Whether part i of `count` lies in elements `i·len/count..(i+1)·len/count`. Axes are (extent, stride): `carriers`, the
/// outermost first, tell the parts and what is in each apart; `within` only the latter.
fn is_own(carriers: &[(usize, isize)], within: &[(usize, isize)], offset: usize, count: usize, len: usize) -> bool {
    if !len.is_multiple_of(count) {
        return false;
    }
    let part = len / count;
    let mut left = count;
    let mut inner: Vec<(usize, isize)> = within.to_vec();
    for &(extent, stride) in carriers {
        let outer = if left.is_multiple_of(extent) { extent } else { left };
        if !extent.is_multiple_of(outer) {
            return false;
        }
        left /= outer;
        let of_parts = (stride as i128) * (extent / outer) as i128;
        if outer > 1 && of_parts != part as i128 * left as i128 {
            return false;
        }
        inner.push((extent / outer, stride));
    }
    let last = inner.iter().try_fold(offset as i128, |last, &(extent, stride)| {
        (extent <= 1 || stride >= 0).then(|| last + extent.saturating_sub(1) as i128 * stride as i128)
    });
    left == 1 && last.is_some_and(|last| last < part as i128)
}

/// Which operands (x, w, y) of a convolution each sample has a part of; None if it does not compute sample by sample.
pub fn conv_rows(c: &Conv, along: Along, entries: usize, rows: usize) -> Option<[bool; 3]> {
    let fits = along == Along::Batch && entries == 1 && rows > 0 && c.batch.is_multiple_of(rows);
    let empty = c.lens().is_none_or(|lens| lens.contains(&0));
    (fits && !empty && c.dtype == DType::F32 && c.role != ConvRole::Weight).then_some([true, false, true])
}

/// For each shared buffer of a kernel whether the iterations of row i of `count` read and write only its elements
/// `i·len..(i+1)·len`, len being a row's part of the buffer. All false if rows do not have equally many iterations.
pub fn kernel_rows(kernel: &Kernel, count: usize) -> Vec<bool> {
    if count == 0 || !kernel.extent.is_multiple_of(count) || kernel.extent == 0 {
        return vec![false; kernel.shared().len()];
    }
    let mut own = Own { row: Var::GRID, extents: extents(kernel.extent, &kernel.body), iterations: None };
    let each = kernel.extent / count;
    if each > 1 {
        let next = own.extents.keys().map(|var| var.0).max().unwrap_or(0) + 1;
        let (row, iteration) = (Var(next), Var(next + 1));
        own.extents.extend([(row, count), (iteration, each)]);
        let grid = Index::from(row).scale(each as i64).add(&iteration.into(), &own.extents);
        own = Own { row, iterations: Some(grid), ..own };
    }
    let len = |buffer: usize| {
        let len = kernel.buffers[buffer].len;
        len.is_multiple_of(count).then(|| len / count)
    };
    let mut rows: Vec<bool> = (0..kernel.shared().len()).map(|buffer| len(buffer).is_some()).collect();
    each_access(&kernel.body, &mut |buffer, index| {
        let within = |index: &Index| own.has(index, len(buffer)? as i64);
        if let Some(all) = rows.get_mut(buffer) {
            *all &= *all && index.is_some_and(|index| within(index) == Some(true));
        }
    });
    rows
}

/// Which elements are a row's own.
struct Own {
    row: Var,
    extents: Extents,
    /// The grid's iteration, made of a row and of one of its iterations, if it is not the row itself.
    iterations: Option<Index>,
}

impl Own {
    /// Whether `index` is `len·row + r` with r in 0..len.
    fn has(&self, index: &Index, len: i64) -> Option<bool> {
        let substituted = self
            .iterations
            .as_ref()
            .map(|grid| index.substitute(&|var| (var == Var::GRID).then(|| grid.clone()), &self.extents));
        let index = substituted.as_ref().unwrap_or(index);
        let rest = index.without(self.row);
        if index.coefficient(self.row) != len || rest.mentions(self.row) {
            return Some(
                self.extents.get(&self.row) == Some(&1)
                    && range(index, &self.extents).is_some_and(|r| r.0 >= 0 && r.1 < len),
            );
        }
        let (low, high) = range(&rest, &self.extents)?;
        Some(low >= 0 && high < len)
    }
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
    use crate::{Access, Atom, BatchDim, BufferId, DType, KernelBuffer};

    fn product(batch: Vec<BatchDim>, [a, b, c]: [(isize, isize); 3]) -> Contract {
        let operand = |(row, col)| Operand { buffer: BufferId(0), offset: 0, row, col };
        Contract { dtype: DType::F32, m: 6, n: 5, k: 4, batch, a: operand(a), b: operand(b), c: operand(c) }
    }

    #[test]
    fn rows_of_products_follow_each_other() {
        let heads = vec![BatchDim { extent: 3, a: 24, b: 20, c: 30 }];
        let plain = product(heads.clone(), [(4, 1), (5, 1), (5, 1)]);
        assert_eq!(product_rows(&plain, Along::M, 3, 6, [72, 60, 90]), Some([true, false, true]));
        assert_eq!(product_rows(&plain, Along::K, 3, 4, [72, 60, 90]), Some([false, true, false]));
        assert_eq!(product_rows(&plain, Along::M, 6, 3, [72, 60, 90]), None);
        let turned = product(heads, [(1, 6), (1, 4), (1, 6)]);
        assert_eq!(product_rows(&turned, Along::N, 3, 5, [72, 60, 90]), Some([false, true, true]));
        assert_eq!(product_rows(&turned, Along::K, 3, 4, [72, 60, 90]), Some([true, false, false]));
        // A head's rows are apart.
        let apart = product(vec![BatchDim { extent: 3, a: 4, b: 20, c: 5 }], [(12, 1), (5, 1), (15, 1)]);
        assert_eq!(product_rows(&apart, Along::M, 3, 6, [72, 60, 90]), Some([false, false, false]));
        // What is longer than the product has rows elsewhere.
        assert_eq!(product_rows(&plain, Along::M, 3, 6, [144, 60, 90]), Some([false, false, true]));
    }

    #[test]
    fn samples_have_several_rows_or_entries() {
        // 2 samples of 3 rows each; and of 2 heads each, which lie side by side.
        let plain = product(Vec::new(), [(4, 1), (5, 1), (5, 1)]);
        assert_eq!(product_rows(&plain, Along::M, 1, 2, [24, 20, 30]), Some([true, false, true]));
        assert_eq!(product_rows(&plain, Along::M, 1, 4, [24, 20, 30]), None);
        let heads = [BatchDim { extent: 2, a: 48, b: 0, c: 60 }, BatchDim { extent: 2, a: 4, b: 20, c: 30 }];
        let sides = product(heads.to_vec(), [(8, 1), (5, 1), (5, 1)]);
        assert_eq!(product_rows(&sides, Along::Batch, 1, 2, [96, 40, 120]), Some([true, false, true]));
        assert_eq!(product_rows(&sides, Along::Batch, 1, 4, [96, 40, 120]), Some([false, false, true]));
        assert_eq!(product_rows(&sides, Along::Batch, 1, 3, [96, 40, 120]), None);
    }

    #[test]
    fn samples_of_convolutions_are_their_own_but_for_weights() {
        let id = BufferId(0);
        let conv = Conv {
            role: ConvRole::Input,
            dtype: DType::F32,
            batch: 4,
            height: 5,
            width: 5,
            channels: 2,
            filters: 3,
            kernel: [3, 3],
            stride: [1, 1],
            pad: [[1, 1], [1, 1]],
            x: id,
            w: id,
            y: id,
            turned: false,
        };
        assert_eq!(conv_rows(&conv, Along::Batch, 1, 4), Some([true, false, true]));
        assert_eq!(conv_rows(&conv, Along::Batch, 1, 3), None);
        assert_eq!(conv_rows(&conv, Along::M, 1, 4), None);
        assert_eq!(conv_rows(&Conv { role: ConvRole::Weight, ..conv }, Along::Batch, 1, 4), None);
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
        assert_eq!(kernel_rows(&kernel, 10), [true, false, true]);
        // Two iterations a row.
        assert_eq!(kernel_rows(&kernel, 5), [true, false, true]);
        assert_eq!(kernel_rows(&kernel, 3), [false, false, false]);
        // Reaching into the next row.
        let Stmt::For { extent, .. } = &mut kernel.body[0] else { unreachable!() };
        *extent = 9;
        assert_eq!(kernel_rows(&kernel, 10), [false, false, false]);
    }
}
