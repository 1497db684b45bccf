//! Kernels.

use crate::{check, load, single};
use fgc_program::cuda::Precision;
use fgc_program::*;

fn index(terms: &[(u32, i64)], offset: i64) -> Index {
    let mut terms: Vec<(Atom, i64)> = terms.iter().map(|(v, c)| (Atom::Var(Var(*v)), *c)).collect();
    terms.sort();
    Index { terms, offset }
}

fn store(buffer: usize, index: Index, value: Expr) -> Stmt {
    Stmt::Store { buffer, index, value }
}

fn un(op: UnaryOp, x: Expr) -> Expr {
    Expr::Unary(op, Box::new(x))
}

fn bin(op: BinaryOp, a: Expr, b: Expr) -> Expr {
    Expr::Binary(op, Box::new(a), Box::new(b))
}

fn reg(n: u32) -> Expr {
    Expr::Reg(Reg(n))
}

fn f32(x: f32) -> Expr {
    Expr::Const(Scalar::F32(x))
}

fn each(var: u32, extent: usize, vector: bool, body: Vec<Stmt>) -> Stmt {
    Stmt::For { var: Var(var), extent, vector, body }
}

fn sum(register: u32, value: Expr) -> Stmt {
    Stmt::Assign { reg: Reg(register), value: bin(BinaryOp::Add, reg(register), value) }
}

fn kernel(extent: usize, buffers: &[(DType, usize, Access)], body: Vec<Stmt>) -> Kernel {
    let buffers = buffers.iter().map(|&(dtype, len, access)| KernelBuffer { dtype, len, access }).collect();
    Kernel { name: "test".into(), buffers, extent, body }
}

use Access::{Local, Read, ReadWrite, Write};
use DType::{Bool, F32, F64, I64};

/// The number of functions that the kernel became.
fn functions(kernel: Kernel) -> usize {
    check(&single(kernel), Precision::F32, 2e-6, 7).functions.len()
}

/// Padding by a guard, a division and a remainder, a detour through f64, comparisons.
#[test]
fn elementwise() {
    for n in [1003, 1024] {
        let quotient = Index { terms: vec![(Atom::Div(Box::new(index(&[(0, 1)], 0)), 17), 1)], offset: 0 };
        let remainder = Index { terms: vec![(Atom::Mod(Box::new(index(&[(0, 1)], 0)), 17), 1)], offset: 0 };
        let inside = bin(BinaryOp::Le, Expr::Const(Scalar::I64(5)), Expr::Index(index(&[(0, 1)], 0)));
        let before = load(0, index(&[(0, 1)], -5));
        let guarded = Expr::Select { cond: Box::new(inside), then: Box::new(before), otherwise: Box::new(f32(-1.0)) };
        let wide = un(UnaryOp::Exp, bin(BinaryOp::Mul, load(1, remainder), load(1, quotient)));
        let at = || index(&[(0, 1)], 0);
        let body = vec![
            Stmt::Let { reg: Reg(0), dtype: F32, value: bin(BinaryOp::Add, guarded, load(2, at())) },
            store(2, at(), un(UnaryOp::Tanh, reg(0))),
            store(3, at(), Expr::Cast(F32, Box::new(wide))),
            store(4, at(), bin(BinaryOp::Lt, reg(0), f32(0.1))),
        ];
        let buffers = [(F32, n, Read), (F64, 64, Read), (F32, n, ReadWrite), (F32, n, Write), (Bool, n, Write)];
        assert_eq!(functions(kernel(n, &buffers, body)), 1);
    }
}

/// Rows with a bias: 16 bytes at a time where rows have a multiple of four elements.
#[test]
fn rows_and_columns() {
    for (rows, columns) in [(37, 64), (50, 13), (300, 4)] {
        let at = || index(&[(0, columns as i64), (1, 1)], 0);
        let value = bin(BinaryOp::Mul, bin(BinaryOp::Add, load(0, at()), load(1, index(&[(1, 1)], 0))), reg(0));
        let body = vec![
            Stmt::Let { reg: Reg(0), dtype: F32, value: load(2, index(&[(0, 1)], 0)) },
            each(1, columns, true, vec![store(3, at(), value)]),
        ];
        let len = rows * columns;
        let buffers = [(F32, len, Read), (F32, columns, Read), (F32, rows, Read), (F32, len, Write)];
        let kernel = kernel(rows, &buffers, body);
        let text = check(&single(kernel), Precision::F32, 1e-6, 7).functions[0].text.clone();
        assert_eq!(text.contains("Pack<float>"), columns % 4 == 0, "{text}");
    }
}

/// A maximum, a sum over what is stored, a division: teams of threads with barriers, or one launch after the other.
#[test]
fn softmax() {
    for (rows, columns) in [(9, 77), (300, 5), (200, 300), (130, 40), (4, 6000)] {
        let at = |v: u32| index(&[(0, columns as i64), (v, 1)], 0);
        let least = Expr::Const(Scalar::F32(f32::NEG_INFINITY));
        let most = bin(BinaryOp::Max, reg(0), load(0, at(1)));
        let body = vec![
            Stmt::Accumulator { reg: Reg(0), dtype: F32, init: least },
            each(1, columns, true, vec![Stmt::Assign { reg: Reg(0), value: most }]),
            each(2, columns, true, vec![store(1, at(2), un(UnaryOp::Exp, bin(BinaryOp::Sub, load(0, at(2)), reg(0))))]),
            Stmt::Accumulator { reg: Reg(1), dtype: F32, init: f32(0.0) },
            each(3, columns, true, vec![sum(1, load(1, at(3)))]),
            store(2, index(&[(0, 1)], 0), reg(1)),
            each(4, columns, true, vec![store(1, at(4), bin(BinaryOp::Div, load(1, at(4)), reg(1)))]),
        ];
        let buffers = [(F32, rows * columns, Read), (F32, rows * columns, ReadWrite), (F32, rows, Write)];
        let functions = functions(kernel(rows, &buffers, body));
        assert_eq!(functions > 1, columns == 6000, "{rows} × {columns}: {functions} functions");
    }
}

/// Sums of columns in memory, of f32, f64 and integers, in one pass.
#[test]
fn columns_are_summed() {
    for (rows, columns) in [(37, 130), (5, 3), (1000, 64), (3, 2000)] {
        for dtype in [F32, F64, I64] {
            let body = vec![
                each(1, columns, true, vec![store(0, index(&[(1, 1)], 0), Expr::Const(Scalar::new(dtype, 0.0)))]),
                each(
                    2,
                    rows,
                    false,
                    vec![each(
                        3,
                        columns,
                        true,
                        vec![store(
                            0,
                            index(&[(3, 1)], 0),
                            bin(
                                BinaryOp::Add,
                                load(0, index(&[(3, 1)], 0)),
                                load(1, index(&[(2, columns as i64), (3, 1)], 0)),
                            ),
                        )],
                    )],
                ),
            ];
            let buffers = [(dtype, columns, ReadWrite), (dtype, rows * columns, Read)];
            assert_eq!(functions(kernel(1, &buffers, body)), 1, "the start is part of the sum");
        }
    }
}

/// One long row, several registers.
#[test]
fn long_rows_are_summed() {
    for n in [5000, 33, 6] {
        let smaller = bin(BinaryOp::Min, reg(1), load(0, index(&[(0, n), (1, 1)], 0)));
        let body = vec![
            Stmt::Accumulator { reg: Reg(0), dtype: F32, init: f32(1.0) },
            Stmt::Accumulator { reg: Reg(1), dtype: F32, init: f32(0.5) },
            each(
                1,
                n as usize,
                true,
                vec![sum(0, load(0, index(&[(0, n), (1, 1)], 0))), Stmt::Assign { reg: Reg(1), value: smaller }],
            ),
            store(1, index(&[(0, 2)], 0), reg(0)),
            store(1, index(&[(0, 2)], 1), reg(1)),
        ];
        functions(kernel(3, &[(F32, 3 * n as usize, Read), (F32, 6, Write)], body));
    }
}

/// A norm of groups: sums into local memory, then of neighbours, then all elements; few images and many.
#[test]
fn norms_of_groups() {
    let (pixels, channels, groups) = (50i64, 12i64, 3i64);
    let per = channels / groups;
    for images in [3, 150] {
        let pixel = |p: u32, c: u32| index(&[(0, pixels * channels), (p, channels), (c, 1)], 0);
        let add = |b: usize, at: Index, x: Expr| store(b, at.clone(), bin(BinaryOp::Add, load(b, at), x));
        let own = |v: u32| index(&[(v, 1)], 0);
        let group = Index { terms: vec![(Atom::Div(Box::new(own(8)), per), 1)], offset: 0 };
        let body = vec![
            each(1, channels as usize, true, vec![store(3, own(1), f32(0.0))]),
            each(
                2,
                pixels as usize,
                false,
                vec![each(3, channels as usize, true, vec![add(3, own(3), load(0, pixel(2, 3)))])],
            ),
            each(
                4,
                groups as usize,
                false,
                vec![
                    Stmt::Accumulator { reg: Reg(0), dtype: F32, init: f32(0.0) },
                    each(5, per as usize, true, vec![sum(0, load(3, index(&[(4, per), (5, 1)], 0)))]),
                    store(2, index(&[(0, groups), (4, 1)], 0), bin(BinaryOp::Mul, reg(0), f32(0.005))),
                ],
            ),
            each(
                7,
                pixels as usize,
                false,
                vec![each(
                    8,
                    channels as usize,
                    true,
                    vec![store(
                        1,
                        pixel(7, 8),
                        bin(
                            BinaryOp::Sub,
                            load(0, pixel(7, 8)),
                            Expr::Load {
                                buffer: 2,
                                index: Index {
                                    terms: {
                                        let mut terms = vec![(Atom::Var(Var(0)), groups)];
                                        terms.extend(group.terms.clone());
                                        terms.sort();
                                        terms
                                    },
                                    offset: 0,
                                },
                            },
                        ),
                    )],
                )],
            ),
        ];
        let len = images * (pixels * channels) as usize;
        let buffers = [
            (F32, len, Read),
            (F32, len, Write),
            (F32, images * groups as usize, ReadWrite),
            (F32, channels as usize, Local),
        ];
        functions(kernel(images, &buffers, body));
    }
}

/// Rows go where another buffer says; several to one place.
#[test]
fn rows_are_gathered_and_scattered() {
    let (rows, columns, places) = (40i64, 18i64, 7i64);
    let at = |v: u32| Expr::Index(index(&[(v, 1)], 0));
    let place = |row: u32, column: u32| {
        let start = bin(BinaryOp::Mul, load(1, index(&[(row, 1)], 0)), Expr::Const(Scalar::I64(columns)));
        bin(BinaryOp::Add, start, at(column))
    };
    let old = Expr::LoadAt { buffer: 2, at: Box::new(reg(0)) };
    let body = vec![
        each(
            1,
            places as usize,
            false,
            vec![each(2, columns as usize, true, vec![store(2, index(&[(1, columns), (2, 1)], 0), f32(0.0))])],
        ),
        each(
            3,
            rows as usize,
            false,
            vec![each(
                4,
                columns as usize,
                true,
                vec![
                    Stmt::Let { reg: Reg(0), dtype: I64, value: place(3, 4) },
                    Stmt::StoreAt {
                        buffer: 2,
                        at: reg(0),
                        value: bin(BinaryOp::Add, old, load(0, index(&[(3, columns), (4, 1)], 0))),
                    },
                ],
            )],
        ),
        each(
            5,
            rows as usize,
            false,
            vec![each(
                6,
                columns as usize,
                true,
                vec![store(
                    3,
                    index(&[(5, columns), (6, 1)], 0),
                    Expr::LoadAt { buffer: 2, at: Box::new(place(5, 6)) },
                )],
            )],
        ),
    ];
    let len = (rows * columns) as usize;
    let buffers = [
        (F32, len, Read),
        (I64, rows as usize, Read),
        (F32, (places * columns) as usize, ReadWrite),
        (F32, len, Write),
    ];
    functions(kernel(1, &buffers, body));
}
