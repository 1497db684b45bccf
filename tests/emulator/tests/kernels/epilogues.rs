//! Products and convolutions that hand their elements to a kernel.

use crate::products::{contraction, image, tolerance};
use crate::{ALL, F, at, check, load, program};
use fgc_program::cuda::{Precision, ends_in};
use fgc_program::*;

fn binary(op: BinaryOp, a: Expr, b: Expr) -> Expr {
    Expr::Binary(op, a.into(), b.into())
}

/// With c of [rows, cols]: y = −(c + bias), and z = c·x, where `turned` kernels go through c's columns.
/// Buffers: c, bias, x, y, z.
fn activation(rows: usize, cols: usize, turned: bool) -> Kernel {
    let (outer, inner) = if turned { (cols, rows) } else { (rows, cols) };
    let own = if turned { at(&[(0, 1), (1, cols as i64)]) } else { at(&[(0, cols as i64), (1, 1)]) };
    let column = at(&[(if turned { 0 } else { 1 }, 1)]);
    let biased = binary(BinaryOp::Add, load(0, own.clone()), load(1, column));
    let body = vec![
        Stmt::Let { reg: Reg(0), dtype: F, value: Expr::Unary(UnaryOp::Neg, biased.into()) },
        Stmt::Store { buffer: 3, index: own.clone(), value: Expr::Reg(Reg(0)) },
        Stmt::Store { buffer: 4, index: own.clone(), value: binary(BinaryOp::Mul, load(0, own.clone()), load(2, own)) },
    ];
    let buffer = |len, access| KernelBuffer { dtype: F, len, access };
    let (read, write) = (|len| buffer(len, Access::Read), |len| buffer(len, Access::Write));
    let all = rows * cols;
    Kernel {
        name: "activation".into(),
        buffers: vec![read(all), read(cols), read(all), write(all), write(all)],
        extent: outer,
        body: vec![Stmt::For { var: Var(1), extent: inner, vector: true, body }],
    }
}

/// A product or a convolution whose result is `result`, [rows, cols], and [`activation`] as a band of so many rows. Where the
/// result is `local`, it takes the place of the last buffer.
pub fn ended(
    mut program: Program,
    result: u32,
    [rows, cols]: [usize; 2],
    band: [usize; 2],
    along: Along,
    local: bool,
) -> Program {
    program.kernels = vec![activation(rows, cols, false)];
    let mut add = |len, place| {
        program.buffers.push(Buffer { dtype: F, narrow: false, len, place });
        BufferId(program.buffers.len() as u32 - 1)
    };
    let args = [cols, rows * cols, rows * cols, rows * cols].map(|len| add(len, Place::Persistent));
    let mut c = BufferId(result);
    if local {
        c = add(rows * cols, Place::Band { offset: 0 });
        program.spill = (rows * cols * 4).next_multiple_of(64);
        program.plans[0].launches[0].each_buffer(|id| *id = if id.0 == result { c } else { *id });
    }
    let args = [c].into_iter().chain(args).collect();
    program.plans[0].launches.push(Launch::Kernel { kernel: KernelId(0), args });
    let [entries, rows] = band;
    program.plans[0].bands = vec![Band { launches: 0..2, entries, rows, block: 8, along: vec![along, Along::Grid] }];
    program
}

/// In one call each, or in two where the sum is cut; the result stored if others may read it, else not at all.
#[test]
fn products_hand_their_elements_on() {
    let sizes = [([33, 17, 45], vec![], 1), ([20, 24, 3000], vec![], 2), ([70, 130, 40], vec![2], 1)];
    for (size, batch, calls) in sizes {
        for (precision, local) in ALL.into_iter().flat_map(|p| [(p, false), (p, true)]) {
            let [m, n, _] = size;
            let entries: usize = batch.iter().product();
            let product = contraction(size, &batch, [false; 3], 0, F);
            let program = ended(product, 2, [m * entries, n], [entries, m], Along::M, local);
            let module = check(&program, precision, tolerance(precision), 1);
            assert_eq!(module.plans[0].iter().map(Vec::len).collect::<Vec<_>>(), [calls, 0], "{:?}", module.apart);
            let last = &module.functions[module.plans[0][0][calls - 1].function];
            assert_eq!(last.text.contains("put(kept"), !local);
        }
    }
}

#[test]
fn convolutions_hand_their_elements_on() {
    for role in [ConvRole::Forward, ConvRole::Input] {
        let conv = Conv { role, batch: 3, ..image() };
        let lens = conv.lens().unwrap().map(|len| (F, len));
        let (result, cols) = if role == ConvRole::Forward { (2, conv.filters) } else { (0, conv.channels) };
        let (batch, rows) = (conv.batch, conv.batch * conv.height * conv.width);
        for precision in ALL {
            let program = program(lens.to_vec(), vec![], vec![Launch::Conv(conv.clone())]);
            let program = ended(program, result, [rows, cols], [1, batch], Along::Batch, false);
            let module = check(&program, precision, tolerance(precision), 1);
            assert!(module.plans[0][1].is_empty(), "{:?}", module.apart);
        }
    }
}

/// A product of a part of a buffer, all of which the kernel reads.
#[test]
fn a_part_of_a_result_is_not_handed_on() {
    let mut program = ended(contraction([20, 24, 8], &[], [false; 3], 0, F), 2, [20, 24], [1, 20], Along::M, false);
    let Launch::Contract(product) = &mut program.plans[0].launches[0] else { panic!("a product") };
    product.n = 12;
    let module = check(&program, Precision::F32, tolerance(Precision::F32), 1);
    assert!(!module.plans[0].iter().flatten().any(|call| module.functions[call.function].text.contains("Epilogue")));
}

/// What a kernel must be: for each element once, in any order, and nothing else.
#[test]
fn kernels_that_are_of_elements() {
    let kernel = activation(6, 10, false);
    assert!(ends_in(&kernel, 0) && ends_in(&kernel, 2) && ends_in(&activation(6, 10, true), 0));
    // A bias is read for each row.
    assert!(!ends_in(&kernel, 1));
    // What is written.
    assert!(!ends_in(&kernel, 3));
    let longer = |buffer: usize| {
        let mut kernel = kernel.clone();
        kernel.buffers[buffer].len += 10;
        ends_in(&kernel, 0)
    };
    assert!(!longer(0) && longer(1));
    // Sums go through several elements.
    let sum = Kernel {
        name: "sum".into(),
        buffers: vec![
            KernelBuffer { dtype: F, len: 60, access: Access::Read },
            KernelBuffer { dtype: F, len: 6, access: Access::Write },
        ],
        extent: 6,
        body: vec![
            Stmt::Accumulator { reg: Reg(0), dtype: F, init: Expr::Const(Scalar::new(F, 0.0)) },
            Stmt::For {
                var: Var(1),
                extent: 10,
                vector: true,
                body: vec![Stmt::Assign {
                    reg: Reg(0),
                    value: binary(BinaryOp::Add, Expr::Reg(Reg(0)), load(0, at(&[(0, 10), (1, 1)]))),
                }],
            },
            Stmt::Store { buffer: 1, index: at(&[(0, 1)]), value: Expr::Reg(Reg(0)) },
        ],
    };
    assert!(!ends_in(&sum, 0));
}
