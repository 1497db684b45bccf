//! Products and convolutions, in every precision.

use crate::{ALL, check, program};
use fgc_program::cuda::Precision;
use fgc_program::*;

/// Errors allowed, as a part of the largest result: rounded operands, and sums in f32.
pub fn tolerance(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 2e-6,
        Precision::Tf32 => 1e-3,
        Precision::Bf16 => 8e-3,
    }
}

fn strides(rows: usize, cols: usize, column_major: bool) -> (isize, isize) {
    if column_major { (1, rows as isize) } else { (cols as isize, 1) }
}

/// `offset`: where a starts.
pub fn contraction([m, n, k]: [usize; 3], batch: &[usize], orders: [bool; 3], offset: usize, dtype: DType) -> Program {
    let count: usize = batch.iter().product();
    let mut dims = Vec::new();
    let mut inner = 1;
    for extent in batch.iter().rev() {
        let step = |len: usize| (inner * len) as isize;
        dims.insert(0, BatchDim { extent: *extent, a: step(m * k), b: 0, c: step(m * n) });
        inner *= extent;
    }
    let operand = |id, (row, col), offset| Operand { buffer: BufferId(id), offset, row, col };
    let contract = Contract {
        dtype,
        m,
        n,
        k,
        batch: dims,
        a: operand(0, strides(m, k, orders[0]), offset),
        b: operand(1, strides(k, n, orders[1]), 0),
        c: operand(2, strides(m, n, orders[2]), 0),
    };
    let buffers = vec![(dtype, m * k * count + offset), (dtype, k * n), (dtype, m * n * count)];
    program(buffers, vec![], vec![Launch::Contract(contract)])
}

#[test]
fn products_of_any_layout() {
    let sizes = [([33, 17, 45], vec![]), ([64, 72, 36], vec![2]), ([5, 3, 2], vec![2, 3]), ([1, 40, 700], vec![])];
    for (n, (size, batch)) in sizes.into_iter().enumerate() {
        let orders = [n % 2 == 1, n / 2 == 1, n == 1];
        for precision in ALL {
            check(&contraction(size, &batch, orders, 0, DType::F32), precision, tolerance(precision), 1);
        }
    }
    check(&contraction([20, 30, 40], &[], [true, true, false], 1, DType::F32), Precision::Tf32, 1e-3, 1);
    check(&contraction([20, 30, 40], &[2], [false; 3], 0, DType::F64), Precision::Bf16, 1e-14, 1);
}

/// Large tiles, on tensor cores and not.
#[test]
fn large_products() {
    for precision in ALL {
        let program = contraction([130, 140, 40], &[40], [false; 3], 0, DType::F32);
        let module = check(&program, precision, tolerance(precision), 1);
        assert!(module.functions[0].text.contains("128, 128"), "{}", module.functions[0].text);
    }
}

/// Few tiles with long sums are cut along the sum.
#[test]
fn long_products() {
    for precision in ALL {
        let program = contraction([20, 24, 3000], &[], [true, false, false], 0, DType::F32);
        let module = check(&program, precision, tolerance(precision), 1);
        assert_eq!(module.plans[0][0].len(), 2, "a product in parts, then their sum");
    }
}

/// A convolution of two small images whose x, w and y are the first buffers.
pub fn image() -> Conv {
    Conv {
        role: ConvRole::Forward,
        dtype: DType::F32,
        batch: 2,
        height: 9,
        width: 7,
        channels: 4,
        filters: 6,
        kernel: [3, 3],
        stride: [1, 1],
        pad: [[1, 1], [1, 1]],
        x: BufferId(0),
        w: BufferId(1),
        y: BufferId(2),
        turned: false,
    }
}

#[test]
fn convolutions() {
    let geometries = [
        // Channels, filters, kernel, stride, padding.
        (4, 8, [3, 3], [1, 1], [[1, 1], [1, 1]]),
        (3, 5, [3, 3], [2, 2], [[1, 1], [1, 1]]),
        (8, 4, [2, 3], [2, 1], [[0, 1], [2, 0]]),
        (5, 7, [1, 1], [1, 1], [[0, 0], [0, 0]]),
    ];
    for (n, (channels, filters, kernel, stride, pad)) in geometries.into_iter().enumerate() {
        for role in [ConvRole::Forward, ConvRole::Input, ConvRole::Weight] {
            let conv = Conv { role, channels, filters, kernel, stride, pad, ..image() };
            let lens = conv.lens().unwrap().map(|len| (DType::F32, len));
            let program = program(lens.to_vec(), vec![], vec![Launch::Conv(conv)]);
            let precisions = if n < 2 { &ALL[..] } else { &ALL[..2] };
            for &precision in precisions {
                check(&program, precision, tolerance(precision), 1);
            }
        }
    }
}
