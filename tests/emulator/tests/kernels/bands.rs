//! Bands of products and kernels as one function: rows in shared memory, sums over rows, what does not fit.

use crate::{F, at, check, check_within, load, program};
use fgc_program::cuda::{Module, Precision};
use fgc_program::*;

fn float(x: f64) -> Expr {
    Expr::Const(Scalar::new(F, x))
}

/// Each row's exponentials, divided by their sum; of the first `hidden` columns they are 0.
fn softmax(rows: usize, len: usize, hidden: usize) -> Kernel {
    let (most, sum) = (Reg(0), Reg(1));
    let own = |var| at(&[(0, len as i64), (var, 1)]);
    let score = |var| {
        let column = Expr::Index(Index::from(Var(var)));
        let first = Expr::Const(Scalar::I64(hidden as i64));
        Expr::Select {
            cond: Expr::Binary(BinaryOp::Lt, column.into(), first.into()).into(),
            then: float(f64::NEG_INFINITY).into(),
            otherwise: load(0, own(var)).into(),
        }
    };
    let weight = |var| {
        let shifted = Expr::Binary(BinaryOp::Sub, score(var).into(), Expr::Reg(most).into());
        Expr::Unary(UnaryOp::Exp, shifted.into())
    };
    let each = |var, body| Stmt::For { var: Var(var), extent: len, vector: true, body };
    let combine =
        |reg: Reg, op, value: Expr| Stmt::Assign { reg, value: Expr::Binary(op, Expr::Reg(reg).into(), value.into()) };
    let share = Expr::Binary(BinaryOp::Div, weight(3).into(), Expr::Reg(sum).into());
    Kernel {
        name: "softmax".into(),
        buffers: [Access::Read, Access::Write].map(|access| KernelBuffer { dtype: F, len: rows * len, access }).into(),
        extent: rows,
        body: vec![
            Stmt::Accumulator { reg: most, dtype: F, init: float(f64::NEG_INFINITY) },
            each(1, vec![combine(most, BinaryOp::Max, score(1))]),
            Stmt::Accumulator { reg: sum, dtype: F, init: float(0.0) },
            each(2, vec![combine(sum, BinaryOp::Add, weight(2))]),
            each(3, vec![Stmt::Store { buffer: 1, index: own(3), value: share }]),
        ],
    }
}

struct Sizes {
    entries: usize,
    queries: usize,
    keys: usize,
    features: usize,
}

/// q·kᵀ, softmax, ·v; and as a gradient of values the weights' transpose times q. Buffers: q, k, v, out, sums.
fn attention(sizes: Sizes, turned: bool) -> Program {
    masked(sizes, turned, 0)
}

/// The same with the first keys hidden.
fn masked(Sizes { entries, queries, keys, features }: Sizes, turned: bool, hidden: usize) -> Program {
    let (e, r, s, d) = (entries, queries, keys, features);
    let operand = |buffer, row: usize, col: usize| Operand {
        buffer: BufferId(buffer),
        offset: 0,
        row: row as isize,
        col: col as isize,
    };
    let batch =
        |a: usize, b: usize, c: usize| vec![BatchDim { extent: e, a: a as isize, b: b as isize, c: c as isize }];
    let contract =
        |m, n, k, batch, [a, b, c]: [Operand; 3]| Launch::Contract(Contract { dtype: F, m, n, k, batch, a, b, c });
    // Scores as kᵀ's columns, or q's rows.
    let scores = if turned {
        contract(s, r, d, batch(s * d, r * d, r * s), [operand(1, d, 1), operand(0, 1, d), operand(5, 1, s)])
    } else {
        contract(r, s, d, batch(r * d, s * d, r * s), [operand(0, d, 1), operand(1, 1, d), operand(5, s, 1)])
    };
    let out = contract(r, d, s, batch(r * s, s * d, r * d), [operand(6, s, 1), operand(2, d, 1), operand(3, d, 1)]);
    let sums = contract(s, d, r, batch(r * s, r * d, s * d), [operand(6, 1, s), operand(0, d, 1), operand(4, d, 1)]);
    let launches =
        vec![scores, Launch::Kernel { kernel: KernelId(0), args: vec![BufferId(5), BufferId(6)] }, out, sums];
    let lens = [e * r * d, e * s * d, e * s * d, e * r * d, e * s * d];
    let mut program = program(lens.map(|len| (F, len)).to_vec(), vec![softmax(e * r, s, hidden)], launches);
    let local = e * r * s * 4;
    let second = local.next_multiple_of(64);
    for offset in [0, second] {
        program.buffers.push(Buffer { dtype: F, narrow: false, len: e * r * s, place: Place::Band { offset } });
    }
    program.spill = second + local;
    let first = if turned { Along::N } else { Along::M };
    let along = vec![first, Along::Grid, Along::M, Along::K];
    program.plans[0].bands = vec![Band { launches: 0..4, entries, rows: queries, block: 64, along }];
    program
}

fn tolerance(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 2e-6,
        Precision::Tf32 => 2e-3,
        Precision::Bf16 => 3e-2,
    }
}

fn is_one(module: &Module) -> bool {
    module.apart.is_empty() && module.plans[0][1..].iter().all(Vec::is_empty)
}

#[test]
fn attention_of_any_size_is_one_function() {
    // Queries, keys and features: even and odd, more and fewer than a tile; caches have more keys than queries.
    let sizes = [(3, 40, 40, 32), (2, 33, 57, 64), (1, 7, 130, 24), (2, 50, 21, 128), (1, 20, 36, 256)];
    for (n, (entries, queries, keys, features)) in sizes.into_iter().enumerate() {
        for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
            let program = attention(Sizes { entries, queries, keys, features }, n % 2 == 1);
            let module = check(&program, precision, tolerance(precision), 1);
            assert!(is_one(&module), "{:?}", module.apart);
        }
    }
}

/// Many matrices: as many rows at a time as there are, and one block for all of a matrix's sums.
#[test]
fn many_matrices_are_taken_in_large_tiles() {
    for precision in [Precision::F32, Precision::Tf32] {
        let program = attention(Sizes { entries: 260, queries: 64, keys: 20, features: 16 }, false);
        let module = check(&program, precision, tolerance(precision), 1);
        assert!(is_one(&module) && module.functions[0].about.contains("64 at a time"), "{}", module.functions[0].about);
        assert_eq!(module.plans[0][0].len(), 1, "sums need no parts");
    }
}

/// Rows that are too long go through the launches in columns, in a pass for each sum that others wait for: the sum of
/// exponentials is made beside their maximum, the weights wait for it.
#[test]
fn long_rows_are_taken_in_columns() {
    // More and fewer columns than a chunk, at its end, and an odd number; queries more and fewer than a tile.
    let sizes = [(2, 40, 300, 32), (1, 7, 330, 24), (2, 33, 257, 64), (1, 20, 384, 40)];
    for (n, (entries, queries, keys, features)) in sizes.into_iter().enumerate() {
        for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
            let program = attention(Sizes { entries, queries, keys, features }, n % 2 == 1);
            let shared = if precision == Precision::Bf16 { 27 << 10 } else { 32 << 10 };
            let module = check_within(shared, &program, precision, tolerance(precision), 1);
            assert!(is_one(&module), "{:?}", module.apart);
            let about = &module.functions[0].about;
            assert!(about.contains(&format!("of {keys} columns, 2 passes")), "{about}");
        }
    }
}

/// Chunks in which a mask of −∞ hides everything count for nothing.
#[test]
fn hidden_columns_count_for_nothing() {
    let program = masked(Sizes { entries: 2, queries: 20, keys: 300, features: 32 }, false, 200);
    for precision in [Precision::F32, Precision::Tf32] {
        let module = check_within(32 << 10, &program, precision, tolerance(precision), 1);
        assert!(module.functions[0].about.contains(" of 300 columns, 2 passes"), "{}", module.functions[0].about);
    }
}

/// Sums that take more than a block has run apart, and the module says so.
#[test]
fn what_does_not_fit_runs_apart() {
    let program = attention(Sizes { entries: 1, queries: 20, keys: 2000, features: 2000 }, false);
    let module = check(&program, Precision::F32, 1e-4, 1);
    assert!(module.plans[0].iter().all(|calls| !calls.is_empty()));
    assert!(module.apart[0].why.contains("of which a block has"), "{:?}", module.apart);
}
