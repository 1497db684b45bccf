//! Compiled kernels mean what interpreted ones do.

use crate::build::*;
use fgc_program::*;
use fgc_runtime::Values;
use fgc_runtime::cpu::Backend;

const UNARY: [UnaryOp; 16] = [
    UnaryOp::Neg,
    UnaryOp::Abs,
    UnaryOp::Sign,
    UnaryOp::Floor,
    UnaryOp::Exp,
    UnaryOp::Log,
    UnaryOp::Log1p,
    UnaryOp::Sqrt,
    UnaryOp::Sin,
    UnaryOp::Cos,
    UnaryOp::Tanh,
    UnaryOp::Sigmoid,
    UnaryOp::Softplus,
    UnaryOp::Erf,
    UnaryOp::NormalQuantile,
    UnaryOp::IsFinite,
];

const BINARY: [BinaryOp; 13] = [
    BinaryOp::Add,
    BinaryOp::Sub,
    BinaryOp::Mul,
    BinaryOp::Div,
    BinaryOp::Rem,
    BinaryOp::Max,
    BinaryOp::Min,
    BinaryOp::Pow,
    BinaryOp::Atan2,
    BinaryOp::Lt,
    BinaryOp::Le,
    BinaryOp::Eq,
    BinaryOp::Ne,
];

fn edges() -> Vec<f64> {
    let mut values =
        vec![0.0, f64::INFINITY, f64::NAN, 1e-45, 1e-40, 1.2e-38, 1e-20, 1e-8, 0.29, 0.3, 0.41, 0.5, 0.625];
    values.extend([0.7072, 0.9277, 0.975, 0.999, 1.0, 1.5, 2.0, 3.0, 9.5, 16.6, 50.0, 87.4, 88.7, 88.8, 90.0, 103.9]);
    values.extend([105.0, 1e3, 9999.5, 1e6, 2147483648.0, 1e10, 1e20, 3.4e38]);
    values.extend((1..60).map(|i| i as f64 * 0.0637));
    let negative: Vec<f64> = values.iter().map(|x| -x).collect();
    values.extend(negative);
    values
}

#[test]
fn unary_functions_agree_on_every_kind_of_number() {
    let values = edges();
    let n = values.len();
    for (dtype, relative, absolute) in [(DType::F32, 4e-7, 1.2e-38), (DType::F64, 1e-13, 1e-300)] {
        let out = |op| if op == UnaryOp::IsFinite { DType::Bool } else { dtype };
        let mut buffers = vec![(dtype, n, Access::Read)];
        buffers.extend(UNARY.map(|op| (out(op), n, Access::Write)));
        let body = UNARY.iter().enumerate().map(|(i, op)| store(i + 1, var(0), un(*op, load(0, var(0)))));
        let program = single(kernel(n, buffers, body.collect()));
        let inputs = [floats(dtype, &values)];
        let expected = run(&program, Backend::Interpreter, 1, &inputs);
        let found = run(&program, Backend::Compiled, 1, &inputs);
        for (i, op) in UNARY.iter().enumerate() {
            for (j, (a, b)) in as_f64(&expected[i + 1]).into_iter().zip(as_f64(&found[i + 1])).enumerate() {
                let x = as_f64(&inputs[0])[j];
                let periodic = matches!(op, UnaryOp::Sin | UnaryOp::Cos) && dtype == DType::F32;
                if periodic && x.abs() > 1e12 && x.is_finite() {
                    assert!(b.abs() <= 1.0, "{op:?} of {x} is {b}");
                    continue;
                }
                // Zeros of sine and cosine, and of the quantile, are absolute matters.
                let near_zero = matches!(op, UnaryOp::Sin | UnaryOp::Cos | UnaryOp::NormalQuantile);
                let absolute = if near_zero { relative } else { absolute };
                assert!(close(a, b, relative, absolute), "{op:?} of {dtype} {x}: interpreted {a}, compiled {b}");
            }
        }
    }
}

#[test]
fn binary_functions_agree_on_pairs() {
    let some: Vec<f64> =
        edges().into_iter().filter(|x| !(x.abs() > 0.02 && x.abs() < 3.9 && (x * 4.0).fract() != 0.0)).collect();
    let pairs: Vec<(f64, f64)> = some.iter().flat_map(|a| some.iter().map(move |b| (*a, *b))).collect();
    let n = pairs.len();
    for (dtype, relative) in [(DType::F32, 3e-7), (DType::F64, 1e-14)] {
        let out = |op: BinaryOp| if op.is_comparison() { DType::Bool } else { dtype };
        let mut buffers = vec![(dtype, n, Access::Read), (dtype, n, Access::Read)];
        buffers.extend(BINARY.map(|op| (out(op), n, Access::Write)));
        let body = BINARY.iter().enumerate();
        let body = body.map(|(i, op)| store(i + 2, var(0), bin(*op, load(0, var(0)), load(1, var(0)))));
        let program = single(kernel(n, buffers, body.collect()));
        let (a, b): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        let inputs = [floats(dtype, &a), floats(dtype, &b)];
        let expected = run(&program, Backend::Interpreter, 1, &inputs);
        let found = run(&program, Backend::Compiled, 1, &inputs);
        for (i, op) in BINARY.iter().enumerate() {
            for (j, (a, b)) in as_f64(&expected[i + 2]).into_iter().zip(as_f64(&found[i + 2])).enumerate() {
                let (x, y) = pairs[j];
                // The sign of a zero may be lost, and with it a quarter of atan2's turn or the sign of 1/0.
                if matches!(op, BinaryOp::Atan2 | BinaryOp::Div | BinaryOp::Pow) && (x == 0.0 || y == 0.0) {
                    continue;
                }
                assert!(close(a, b, relative, 1.2e-38), "{op:?} of {dtype} {x}, {y}: interpreted {a}, compiled {b}");
            }
        }
    }
}

#[test]
fn student_distributions_agree() {
    let cases: Vec<(f64, f64)> =
        [0.01, 0.3, 0.5, 0.9, 0.9999].into_iter().flat_map(|p| [0.5, 1.0, 3.0, 40.0, 1e5].map(|v| (p, v))).collect();
    let n = cases.len();
    let buffers = vec![
        (DType::F64, n, Access::Read),
        (DType::F64, n, Access::Read),
        (DType::F64, n, Access::Write),
        (DType::F64, n, Access::Write),
    ];
    let (p, v) = (load(0, var(0)), load(1, var(0)));
    let body = vec![
        Stmt::Let { reg: Reg(0), dtype: DType::F64, value: bin(BinaryOp::StudentQuantile, p, v.clone()) },
        store(2, var(0), reg(0)),
        store(3, var(0), bin(BinaryOp::StudentCdf, reg(0), v)),
    ];
    let program = single(kernel(n, buffers, body));
    let (p, v): (Vec<f64>, Vec<f64>) = cases.iter().copied().unzip();
    let inputs = [Values::F64(p.clone()), Values::F64(v)];
    let expected = run(&program, Backend::Interpreter, 1, &inputs);
    let found = run(&program, Backend::Compiled, 1, &inputs);
    for (i, (p, v)) in cases.iter().enumerate() {
        let (a, b) = (as_f64(&expected[2])[i], as_f64(&found[2])[i]);
        assert!(close(a, b, 1e-9, 1e-12), "quantile of {p} with {v} degrees: {a}, {b}");
        assert!(close(as_f64(&found[3])[i], *p, 1e-9, 0.0), "cdf of the quantile of {p} with {v} degrees");
    }
}

#[test]
fn integers_wrap_and_divide_by_euclid() {
    let some = [0, 1, -1, 2, -2, 3, 7, -7, 100, i64::MAX, i64::MIN, 1 << 40];
    let pairs: Vec<(i64, i64)> = some.iter().flat_map(|a| some.map(|b| (*a, b))).collect();
    let n = pairs.len();
    let ops = BINARY.iter().copied().filter(|op| *op != BinaryOp::Atan2);
    let mut buffers = vec![(DType::I64, n, Access::Read), (DType::I64, n, Access::Read)];
    let mut body = Vec::new();
    for op in ops {
        let dtype = if op.is_comparison() { DType::Bool } else { DType::I64 };
        body.push(store(buffers.len(), var(0), bin(op, load(0, var(0)), load(1, var(0)))));
        buffers.push((dtype, n, Access::Write));
    }
    for op in [UnaryOp::Neg, UnaryOp::Abs] {
        body.push(store(buffers.len(), var(0), un(op, load(0, var(0)))));
        buffers.push((DType::I64, n, Access::Write));
    }
    let program = single(kernel(n, buffers, body));
    let (a, b) = pairs.into_iter().unzip();
    let inputs = [Values::I64(a), Values::I64(b)];
    assert_eq!(run(&program, Backend::Interpreter, 1, &inputs), run(&program, Backend::Compiled, 1, &inputs));
}

#[test]
fn casts_and_logic_agree() {
    let values = vec![0.0, 0.4, -0.4, 1.9, -1.9, 1e10, -1e30, 1e30, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    let n = values.len();
    let all = [DType::Bool, DType::I64, DType::F32, DType::F64];
    let mut buffers = vec![(DType::F64, n, Access::Read)];
    let mut body = Vec::new();
    for (from, to) in all.into_iter().flat_map(|from| all.map(|to| (from, to))) {
        let value = Expr::Cast(to, Box::new(Expr::Cast(from, Box::new(load(0, var(0))))));
        body.push(store(buffers.len(), var(0), value));
        buffers.push((to, n, Access::Write));
    }
    let small = bin(BinaryOp::Lt, load(0, var(0)), Expr::Const(Scalar::F64(1.0)));
    let finite = un(UnaryOp::IsFinite, load(0, var(0)));
    for op in [BinaryOp::And, BinaryOp::Or, BinaryOp::Eq, BinaryOp::Ne] {
        body.push(store(buffers.len(), var(0), un(UnaryOp::Not, bin(op, small.clone(), finite.clone()))));
        buffers.push((DType::Bool, n, Access::Write));
    }
    let program = single(kernel(n, buffers, body));
    let inputs = [Values::F64(values)];
    let expected = run(&program, Backend::Interpreter, 1, &inputs);
    let found = run(&program, Backend::Compiled, 1, &inputs);
    for (i, (a, b)) in expected.iter().zip(&found).enumerate() {
        let same = as_f64(a).into_iter().zip(as_f64(b)).all(|(a, b)| close(a, b, 0.0, 0.0));
        assert!(same, "cast {i}: interpreted {a:?}, compiled {b:?}");
    }
}

/// Padding by a guard, a transpose by division and remainder, a gather and a scatter.
#[test]
fn indices_guards_and_computed_positions_agree() {
    let (h, w) = (13, 7);
    let n = h * w;
    let row = Index { terms: vec![(Atom::Div(Box::new(var(0)), w as i64), 1)], offset: 0 };
    let transposed = Index {
        terms: vec![(Atom::Div(Box::new(var(0)), h as i64), 1), (Atom::Mod(Box::new(var(0)), h as i64), w as i64)],
        offset: 0,
    };
    let inside = bin(BinaryOp::Le, Expr::Const(Scalar::I64(2)), Expr::Index(row));
    let body = vec![
        store(2, var(0), select(inside, load(0, affine(&[(0, 1)], -2 * w as i64)), Expr::Const(Scalar::F32(-1.0)))),
        store(3, var(0), load(0, transposed)),
        store(4, var(0), Expr::LoadAt { buffer: 0, at: Box::new(load(1, var(0))) }),
        Stmt::StoreAt { buffer: 5, at: load(1, var(0)), value: load(0, var(0)) },
    ];
    let mut buffers = vec![(DType::F32, n, Access::Read), (DType::I64, n, Access::Read)];
    buffers.extend([(DType::F32, n, Access::Write); 4]);
    let program = single(kernel(n, buffers, body));
    let order = (0..n as i64).map(|i| (i * 5 + 3) % n as i64).collect();
    let inputs = [floats(DType::F32, &noise(1, n)), Values::I64(order)];
    let found = run(&program, Backend::Compiled, 1, &inputs);
    assert_eq!(run(&program, Backend::Interpreter, 1, &inputs), found);
    let (x, padded, turned) = (as_f64(&found[0]), as_f64(&found[2]), as_f64(&found[3]));
    assert_eq!((padded[0], padded[2 * w + 3], turned[1]), (-1.0, x[3], x[w]));
}

/// Elements that all iterations share, of each type, in the grid's loop and in a nest's; one of them past the end, where its
/// guard keeps it from being read.
#[test]
fn shared_elements_under_guards_agree() {
    let n = 100;
    let shared = |buffer, at| load(buffer, Index::constant(at));
    let flag = |at| select(shared(1, at), shared(2, 1), shared(3, 99));
    let scaled = |x| bin(BinaryOp::Mul, x, bin(BinaryOp::Add, flag(0), flag(1)));
    let nest = Stmt::For {
        var: Var(1),
        extent: n,
        vector: true,
        body: vec![store(5, affine(&[(0, n as i64), (1, 1)], 0), scaled(load(0, var(1))))],
    };
    let wide = Expr::Cast(DType::F32, Box::new(shared(4, 2)));
    let body = vec![store(6, var(0), bin(BinaryOp::Sub, scaled(load(0, var(0))), wide)), nest];
    let mut buffers = vec![(DType::F32, n, Access::Read), (DType::Bool, 2, Access::Read)];
    buffers.extend([(DType::F32, 2, Access::Read), (DType::F32, 2, Access::Read), (DType::F64, 3, Access::Read)]);
    buffers.extend([(DType::F32, n * n, Access::Write), (DType::F32, n, Access::Write)]);
    let program = single(kernel(n, buffers, body));
    let inputs = [
        floats(DType::F32, &noise(1, n)),
        Values::Bool(vec![true, true]),
        floats(DType::F32, &[7.0, 0.5]),
        floats(DType::F32, &[3.0, 2.0]),
        floats(DType::F64, &[0.0, 0.0, -0.25]),
    ];
    let found = run(&program, Backend::Compiled, 1, &inputs);
    assert_eq!(run(&program, Backend::Interpreter, 1, &inputs), found);
    let (x, nested, own) = (as_f64(&found[0]), as_f64(&found[5]), as_f64(&found[6]));
    assert_eq!((nested[3 * n + 2], own[4]), (x[2], x[4] + 0.25));
}

#[test]
fn a_position_out_of_bounds_is_a_fault_or_nan_but_never_foreign_memory() {
    let gather = Expr::LoadAt { buffer: 0, at: Box::new(load(1, var(0))) };
    let scatter = Stmt::StoreAt { buffer: 3, at: load(1, var(0)), value: Expr::Const(Scalar::F32(1.0)) };
    let buffers = vec![
        (DType::F32, 4, Access::Read),
        (DType::I64, 3, Access::Read),
        (DType::F32, 3, Access::Write),
        (DType::F32, 4, Access::Write),
    ];
    let program = single(kernel(3, buffers, vec![store(2, var(0), gather), scatter]));
    let inputs = [Values::F32(vec![5.0; 4]), Values::I64(vec![-1, 2, 1 << 50])];
    let found = run(&program, Backend::Compiled, 1, &inputs);
    let gathered = as_f64(&found[2]);
    assert!(gathered[0].is_nan() && gathered[1] == 5.0 && gathered[2].is_nan());
    assert_eq!(as_f64(&found[3]), [0.0, 0.0, 1.0, 0.0]);
    let message = device(&program, Backend::Interpreter, 1, &inputs).run(0).unwrap_err().to_string();
    assert!(message.contains("position -1 of buffer 0"), "{message}");
}

#[test]
fn softmax_agrees_and_nan_stays_in_its_row() {
    let (rows, cols) = (9, 77);
    let program = single(softmax(rows, cols));
    let mut x = noise(3, rows * cols);
    x[4 * cols + 5] = f64::NAN;
    x[5 * cols] = f64::NEG_INFINITY;
    let inputs = [floats(DType::F32, &x)];
    let expected = as_f64(&run(&program, Backend::Interpreter, 1, &inputs)[1]);
    let found = as_f64(&run(&program, Backend::Compiled, 1, &inputs)[1]);
    for (i, (a, b)) in expected.iter().zip(&found).enumerate() {
        assert_eq!(b.is_nan(), i / cols == 4, "element {i} is {b}");
        assert!(close(*a, *b, 2e-6, 0.0), "element {i}: interpreted {a}, compiled {b}");
    }
    assert_eq!(found[5 * cols], 0.0);
}

#[test]
fn minima_keep_nan_and_infinity() {
    for (row, expected) in
        [(vec![3.0, -0.5, 2.0], -0.5), (vec![1.0, f64::NAN, -2.0], f64::NAN), (vec![f64::INFINITY; 3], f64::INFINITY)]
    {
        for dtype in [DType::F32, DType::F64] {
            let least = Stmt::Assign { reg: Reg(0), value: bin(BinaryOp::Min, load(0, var(1)), reg(0)) };
            let body = vec![
                Stmt::Accumulator { reg: Reg(0), dtype, init: Expr::Const(Scalar::new(dtype, f64::INFINITY)) },
                Stmt::For { var: Var(1), extent: 3, vector: true, body: vec![least] },
                store(1, var(0), reg(0)),
            ];
            let program = single(kernel(1, vec![(dtype, 3, Access::Read), (dtype, 1, Access::Write)], body));
            for backend in [Backend::Compiled, Backend::Interpreter] {
                let found = as_f64(&run(&program, backend, 1, &[floats(dtype, &row)])[1])[0];
                assert!(close(found, expected, 0.0, 0.0), "{backend:?}: the least of {row:?} is {found}");
            }
        }
    }
}
