//! Products as a matrix library takes them.

use super::Precision;
use super::finish::Finish;
use super::library::{ALIGNED, LARGE};
use crate::{Contract, DType, Operand};

/// c\[m, n\] = Σₖ a\[m, k\]·b\[k, n\] for each matrix of a batch, then what is done to its elements; sums in f32.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Gemm {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub batch: usize,
    pub precision: Precision,
    pub a: Matrix,
    pub b: Matrix,
    pub c: Matrix,
    /// What is added is of c's type.
    pub finish: Finish,
}

/// Where a product finds or leaves its elements: bf16 or f32.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Matrix {
    /// Whether neighbours in memory are those of a column rather than a row.
    pub by_columns: bool,
    /// Elements from one row, or column, to the next.
    pub stride: usize,
    /// Elements from one matrix of the batch to the next.
    pub batch: usize,
    pub bf16: bool,
}

impl Gemm {
    /// The product as a library takes it; None where it is small, or its matrices lie otherwise.
    pub(super) fn new(x: &Contract, precision: Precision, bf16: [bool; 3]) -> Option<Gemm> {
        let batch = Batch::of(x)?;
        let count = batch.extent.checked_mul(x.m)?.checked_mul(x.n)?.checked_mul(x.k)?;
        if x.dtype != DType::F32 || count < LARGE {
            return None;
        }
        let matrix = |operand: &Operand, [rows, columns]: [usize; 2], i: usize| {
            let by_columns = operand.row == 1 && operand.col != 1;
            let (near, far, along) =
                if by_columns { (operand.row, operand.col, rows) } else { (operand.col, operand.row, columns) };
            let stride = usize::try_from(far).ok().filter(|stride| near == 1 && *stride >= along)?;
            let matrix = Matrix { by_columns, stride, batch: batch.strides[i], bf16: bf16[i] };
            // Sixteen bytes are loaded at once.
            let width = ALIGNED / if bf16[i] { 2 } else { 4 };
            let aligned = [stride, matrix.batch, operand.offset].iter().all(|elements| elements.is_multiple_of(width));
            aligned.then_some(matrix)
        };
        Some(Gemm {
            m: x.m,
            n: x.n,
            k: x.k,
            batch: batch.extent,
            precision,
            a: matrix(&x.a, [x.m, x.k], 0)?,
            b: matrix(&x.b, [x.k, x.n], 1)?,
            c: matrix(&x.c, [x.m, x.n], 2)?,
            finish: Finish::default(),
        })
    }
}

/// A batch whose matrices follow each other in one way.
struct Batch {
    extent: usize,
    strides: [usize; 3],
}

impl Batch {
    fn of(x: &Contract) -> Option<Batch> {
        let mut batch = Batch { extent: 1, strides: [0; 3] };
        for dim in x.batch.iter().rev().filter(|dim| dim.extent != 1) {
            let strides = [dim.a, dim.b, dim.c].map(|stride| usize::try_from(stride).ok());
            let [Some(a), Some(b), Some(c)] = strides else { return None };
            let strides = [a, b, c];
            let follows = batch.strides.iter().zip(strides).all(|(inner, outer)| batch.extent * inner == outer);
            if batch.extent == 1 {
                batch.strides = strides;
            } else if !follows {
                return None;
            }
            batch.extent *= dim.extent;
        }
        Some(batch)
    }
}
