//! Products and convolutions by a library: where it is faster and comes out the same, for operands in bf16 and f32, by rows and by columns.

use crate::epilogues::ended;
use crate::products::contraction;
use crate::{as_f64, at, load, noise};
use emulator::Emulator;
use emulator::library::Library;
use fgc_program::cuda::{Factor, Finish, Precision, Task};
use fgc_program::*;
use fgc_runtime::Values;
use fgc_runtime::cpu::{self, Backend};
use fgc_runtime::cuda::Device;
use std::sync::Arc;

/// The last buffer's values after the plan, and the launches that the library did.
fn multiplied(program: &Program, precision: Precision, library: Library, inputs: &[Values]) -> (Vec<f64>, Vec<Task>) {
    let emulator = Box::new(Emulator::new(0).with(library));
    let mut device = Device::new(Arc::new(program.clone()), precision, emulator).unwrap_or_else(|e| panic!("{e}"));
    // What was measured has left nothing behind.
    for buffer in 0..inputs.len() {
        assert!(as_f64(&device.values(BufferId(buffer as u32)).unwrap()).iter().all(|x| *x == 0.0));
    }
    for (i, values) in inputs.iter().enumerate() {
        device.set_values(BufferId(i as u32), values).unwrap();
    }
    device.run(0).unwrap();
    let done = device.by_library(0).into_iter().cloned().collect();
    (as_f64(&device.values(BufferId(inputs.len() as u32 - 1)).unwrap()), done)
}

/// Checks what a device with such a library makes of a program; what the library does of it.
pub fn check(program: &Program, precision: Precision, library: Library, does: usize) -> Vec<Task> {
    let lasting = program.buffers.iter().take_while(|buffer| buffer.place == Place::Persistent).enumerate();
    let random =
        |(i, b): (usize, &Buffer)| Values::F32(noise(i as u64 + 1, b.len).into_iter().map(|x| x as f32).collect());
    let inputs: Vec<Values> = lasting.map(random).collect();
    let mut reference = cpu::Device::new(Arc::new(program.clone()), Backend::Compiled, 2).unwrap();
    for (i, values) in inputs.iter().enumerate() {
        reference.set_values(BufferId(i as u32), values).unwrap();
    }
    reference.run(0).unwrap();
    let expected = as_f64(&reference.values(BufferId(inputs.len() as u32 - 1)).unwrap());
    let (found, done) = multiplied(program, precision, library, &inputs);
    assert_eq!(done.len(), does, "{precision:?}, {library:?}");
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    let off = norm(&mut found.iter().zip(&expected).map(|(a, b)| a - b)) / norm(&mut expected.iter().copied());
    let allowed = if precision == Precision::Bf16 { 1e-2 } else { 1e-3 };
    assert!(off < allowed, "{precision:?}, {library:?}: {off:.1e}");
    done
}

/// (a·b)·d with the first product between launches only, so that bf16 is where it lies.
fn chain() -> Program {
    let (m, n, k) = (256, 256, 512);
    let mut program = contraction([m, k, n], &[], [false, true, false], 0, DType::F32);
    // Buffers: a, b, d, result; then a·b.
    let buffer = |len, place| Buffer { dtype: DType::F32, narrow: false, len, place };
    program.buffers = vec![
        buffer(m * n, Place::Persistent),
        buffer(n * k, Place::Persistent),
        buffer(k * n, Place::Persistent),
        buffer(m * n, Place::Persistent),
        buffer(m * k, Place::Arena { offset: 0 }),
    ];
    program.arena = m * k * 4;
    let operand = |id, row, col| Operand { buffer: BufferId(id), offset: 0, row, col };
    let Launch::Contract(first) = &mut program.plans[0].launches[0] else { unreachable!() };
    first.c.buffer = BufferId(4);
    let second = Contract {
        m,
        n,
        k,
        a: operand(4, k as isize, 1),
        b: operand(2, n as isize, 1),
        c: operand(3, 1, m as isize),
        ..first.clone()
    };
    program.plans[0].launches.push(Launch::Contract(second));
    program
}

#[test]
fn a_faster_library_does_products() {
    for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
        check(&chain(), precision, Library::Right, 2);
    }
    // A batch with one right operand; more of what lies by columns.
    check(
        &contraction([128, 128, 512], &[2, 2], [true, false, true], 0, DType::F32),
        Precision::Bf16,
        Library::Right,
        1,
    );
    // Rows that do not begin at multiples of 16 bytes, and too little to do.
    check(&contraction([256, 258, 513], &[], [false; 3], 0, DType::F32), Precision::F32, Library::Right, 0);
    check(&contraction([128, 128, 128], &[], [false; 3], 0, DType::F32), Precision::F32, Library::Right, 0);
}

/// A convolution with a stride, in a role; `between`: its filters and its result between launches only, doubled before and
/// after. Buffers: two operands and the result; then what is between.
pub fn convolution(role: ConvRole, between: bool) -> Program {
    let id = BufferId(0);
    let conv = Conv {
        role,
        dtype: DType::F32,
        batch: 3,
        height: 21,
        width: 18,
        channels: 64,
        filters: 72,
        kernel: [5, 3],
        stride: [1, 2],
        pad: [[2, 2], [1, 1]],
        x: id,
        w: id,
        y: id,
        turned: false,
    };
    let [x, w, y] = conv.lens().unwrap();
    let (mut ids, lens) = match role {
        ConvRole::Forward => ([0, 1, 2], [x, w, y]),
        ConvRole::Input => ([2, 0, 1], [w, y, x]),
        ConvRole::Weight => ([0, 2, 1], [x, y, w]),
    };
    let mut program = contraction([4, 4, 4], &[], [false; 3], 0, DType::F32);
    let buffer = |len, place| Buffer { dtype: DType::F32, narrow: false, len, place };
    program.buffers = lens.map(|len| buffer(len, Place::Persistent)).into();
    let mut launches: Vec<Launch> = Vec::new();
    if between {
        let mut doubled = |program: &mut Program, len: usize, from: u32, to: u32| {
            let twice = Expr::Binary(BinaryOp::Add, load(0, at(&[(0, 1)])).into(), load(0, at(&[(0, 1)])).into());
            let buffer = |access| KernelBuffer { dtype: DType::F32, len, access };
            program.kernels.push(Kernel {
                name: "twice".into(),
                buffers: vec![buffer(Access::Read), buffer(Access::Write)],
                extent: len,
                body: vec![Stmt::Store { buffer: 1, index: at(&[(0, 1)]), value: twice }],
            });
            let kernel = KernelId(program.kernels.len() as u32 - 1);
            launches.push(Launch::Kernel { kernel, args: vec![BufferId(from), BufferId(to)] });
        };
        let offset = (lens[2] * 4).next_multiple_of(64);
        program.buffers.push(buffer(lens[2], Place::Arena { offset: 0 }));
        program.arena = offset;
        if role != ConvRole::Weight {
            program.buffers.push(buffer(w, Place::Arena { offset }));
            program.arena = offset + w * 4;
            doubled(&mut program, w, ids[1], 4);
            ids[1] = 4;
        }
        doubled(&mut program, lens[2], 3, 2);
        ids.iter_mut().filter(|id| **id == 2).for_each(|id| *id = 3);
    }
    let [x, w, y] = ids.map(BufferId);
    // Before what reads its result.
    let place = launches.len().saturating_sub(1);
    launches.insert(place, Launch::Conv(Conv { x, w, y, ..conv }));
    program.plans[0].launches = launches;
    program
}

#[test]
fn a_faster_library_does_convolutions() {
    for role in [ConvRole::Forward, ConvRole::Input, ConvRole::Weight] {
        check(&convolution(role, false), Precision::F32, Library::Right, 1);
        check(&convolution(role, true), Precision::Tf32, Library::FirstWrong, 1);
        check(&convolution(role, true), Precision::Bf16, Library::Right, 1);
        // A library's result would be rounded.
        check(&convolution(role, false), Precision::Bf16, Library::Right, 0);
    }
}

/// A product or a convolution and the kernel that takes its elements: the library does the first, then the kernel runs by
/// itself, on a result that may have no memory of its own. The last buffer but the result is compared.
#[test]
fn a_faster_library_does_what_hands_its_elements_on() {
    let size = [256, 256, 512];
    for (precision, local) in
        [Precision::F32, Precision::Tf32, Precision::Bf16].map(|p| [(p, false), (p, true)]).concat()
    {
        let product = contraction(size, &[], [false; 3], 0, DType::F32);
        let program = ended(product, 2, [256, 256], [1, 256], Along::M, local);
        check(&program, precision, Library::Right, 1);
        check(&program, precision, Library::FirstWrong, 1);
        check(&program, precision, Library::Wrong, 0);
    }
    let conv = convolution(ConvRole::Forward, false);
    let Launch::Conv(c) = &conv.plans[0].launches[0] else { panic!("a convolution") };
    let rows = conv.buffers[2].len / c.filters;
    let (filters, batch) = (c.filters, c.batch);
    check(&ended(conv, 2, [rows, filters], [1, batch], Along::Batch, true), Precision::F32, Library::Right, 1);
}

fn binary(op: BinaryOp, a: Expr, b: Expr) -> Expr {
    Expr::Binary(op, a.into(), b.into())
}

fn add(a: Expr, b: Expr) -> Expr {
    binary(BinaryOp::Add, a, b)
}

fn times(a: Expr, factor: f32) -> Expr {
    binary(BinaryOp::Mul, a, Expr::Const(Scalar::F32(factor)))
}

/// By its definition, and as a sigmoid.
fn gelu(x: Expr, by_sigmoid: bool) -> Expr {
    let cube = binary(BinaryOp::Mul, binary(BinaryOp::Mul, x.clone(), x.clone()), x.clone());
    let inner = add(x.clone(), times(cube, 0.044715));
    let root = (2.0 / std::f32::consts::PI).sqrt();
    if by_sigmoid {
        return binary(BinaryOp::Mul, Expr::Unary(UnaryOp::Sigmoid, times(inner, 2.0 * root).into()), x);
    }
    let one = Expr::Const(Scalar::F32(1.0));
    binary(BinaryOp::Mul, times(x, 0.5), add(one, Expr::Unary(UnaryOp::Tanh, times(inner, root).into())))
}

/// Of an element, a matrix's and a vector's.
type Formula = fn(Expr, Expr, Expr) -> Expr;

/// A product or a convolution, whose result of [m, n] is buffer 2, as a band with a kernel that works on its elements.
fn finished(program: Program, [m, n]: [usize; 2], band: [usize; 2], along: Along, formula: Formula) -> Program {
    let own = at(&[(0, n as i64), (1, 1)]);
    let value = formula(load(0, own.clone()), load(2, own.clone()), load(1, at(&[(1, 1)])));
    let mut program = ended(program, 2, [m, n], band, along, true);
    let buffer = |len, access| KernelBuffer { dtype: DType::F32, len, access };
    let read = |len| buffer(len, Access::Read);
    program.kernels = vec![Kernel {
        name: "finish".into(),
        buffers: vec![read(m * n), read(n), read(m * n), buffer(m * n, Access::Write)],
        extent: m,
        body: vec![Stmt::For {
            var: Var(1),
            extent: n,
            vector: true,
            body: vec![Stmt::Store { buffer: 3, index: own, value }],
        }],
    }];
    // Buffers of `ended`: a, b, c, then a vector and three matrices; then the result.
    let Launch::Kernel { args, .. } = &mut program.plans[0].launches[1] else { unreachable!() };
    args.remove(3);
    program
}

/// What [`finished`] makes, with the matrix and the result between launches only, so that bf16 is what they are in.
fn between(mut program: Program) -> Program {
    let [Launch::Contract(_) | Launch::Conv(_), Launch::Kernel { args, .. }] = &mut program.plans[0].launches[..]
    else {
        panic!("a product and a kernel")
    };
    let [matrix, result] = [args[2], args[3]];
    let len = program.buffers[result.0 as usize].len;
    let first = program.buffers.len() as u32;
    (args[2], args[3]) = (BufferId(first), BufferId(first + 1));
    for i in 0..2 {
        let place = Place::Arena { offset: i * (len * 4).next_multiple_of(64) };
        program.buffers.push(Buffer { dtype: DType::F32, narrow: false, len, place });
    }
    program.arena = 2 * (len * 4).next_multiple_of(64);
    let buffer = |access| KernelBuffer { dtype: DType::F32, len, access };
    program.kernels.push(Kernel {
        name: "copy".into(),
        buffers: vec![buffer(Access::Read), buffer(Access::Write)],
        extent: len,
        body: vec![Stmt::Store { buffer: 1, index: at(&[(0, 1)]), value: load(0, at(&[(0, 1)])) }],
    });
    let copy = |from, to| Launch::Kernel { kernel: KernelId(1), args: vec![from, to] };
    let plan = &mut program.plans[0];
    plan.launches.insert(0, copy(matrix, BufferId(first)));
    plan.launches.push(copy(BufferId(first + 1), result));
    plan.bands[0].launches = 1..3;
    program
}

/// What a library can do with the elements of a product needs no kernel of its own; however it is written.
#[test]
fn a_library_finishes_what_it_multiplies() {
    let (one, half) = (Some(Factor::ONE), Factor::from(0.5));
    let plain = Finish::default();
    let formulas: [(Formula, Finish); 8] = [
        (|e, _, b| add(b, e), Finish { bias: true, ..plain }),
        (|e, x, _| add(e, x), Finish { matrix: one, ..plain }),
        (|e, _, _| times(e, 0.5), Finish { scale: half, ..plain }),
        (|e, x, b| times(add(x, add(b, e)), 0.5), Finish { scale: half, matrix: Some(half), bias: true, gelu: false }),
        (|e, _, b| gelu(add(e, b), true), Finish { bias: true, gelu: true, ..plain }),
        (|e, x, b| gelu(add(add(e, x), b), false), Finish { matrix: one, bias: true, gelu: true, ..plain }),
        // What no library does: it does the product, then the kernel runs.
        (|e, _, b| times(gelu(add(e, b), false), 2.0), plain),
        (|e, _, b| Expr::Unary(UnaryOp::Sigmoid, add(e, b).into()), plain),
    ];
    for (formula, finish) in formulas {
        let product = contraction([256, 256, 512], &[], [false; 3], 0, DType::F32);
        let program = finished(product, [256, 256], [1, 256], Along::M, formula);
        let precision = if finish.bias { Precision::Tf32 } else { Precision::F32 };
        let done = check(&program, precision, Library::FirstWrong, 1);
        assert_eq!(done[0].finish(), finish);
        // In bf16 what is added is, too: a vector is copied.
        if finish.bias && finish.matrix.is_some() != finish.gelu {
            let done = check(&between(program), Precision::Bf16, Library::FirstWrong, 1);
            assert_eq!(done[0].finish(), finish);
        }
    }
}

#[test]
fn a_library_finishes_convolutions() {
    let half = Factor::from(0.5);
    let plain = Finish::default();
    let formulas: [(Formula, Finish); 5] = [
        (|e, _, b| add(b, e), Finish { bias: true, ..plain }),
        (|e, _, _| times(e, 0.5), Finish { scale: half, ..plain }),
        (|e, x, b| times(add(x, add(b, e)), 0.5), Finish { scale: half, matrix: Some(half), bias: true, gelu: false }),
        // A residual without a bias, and GELU: the kernel runs.
        (|e, x, _| add(e, x), plain),
        (|e, _, b| gelu(add(e, b), true), plain),
    ];
    for (formula, finish) in formulas {
        let conv = convolution(ConvRole::Forward, false);
        let Launch::Conv(c) = &conv.plans[0].launches[0] else { panic!("a convolution") };
        let (rows, filters, batch) = (conv.buffers[2].len / c.filters, c.filters, c.batch);
        let program = finished(conv, [rows, filters], [1, batch], Along::Batch, formula);
        let done = check(&program, Precision::F32, Library::FirstWrong, 1);
        assert_eq!(done[0].finish(), finish);
        if finish.bias {
            let done = check(&between(program), Precision::Bf16, Library::FirstWrong, 1);
            assert_eq!(done[0].finish(), finish);
        }
    }
}

#[test]
fn a_library_scales_gradients_of_convolutions() {
    let conv = convolution(ConvRole::Input, false);
    let Launch::Conv(c) = &conv.plans[0].launches[0] else { panic!("a convolution") };
    let (rows, channels, batch) = (conv.buffers[2].len / c.channels, c.channels, c.batch);
    for (formula, finish) in [
        ((|e, _, _| times(e, 0.5)) as Formula, Finish { scale: 0.5.into(), ..Finish::default() }),
        (|e, _, b| add(e, b), Finish::default()),
    ] {
        let program = finished(conv.clone(), [rows, channels], [1, batch], Along::Batch, formula);
        for (program, precision) in [(program.clone(), Precision::F32), (between(program), Precision::Bf16)] {
            assert_eq!(check(&program, precision, Library::FirstWrong, 1)[0].finish(), finish);
        }
    }
}

/// A kernel that writes over what it reads runs twice while the library is looked at, and comes out the same for that.
#[test]
fn a_library_hands_on_to_what_is_written_in_place() {
    let product = contraction([256, 256, 512], &[], [false; 3], 0, DType::F32);
    let mut program = finished(product, [256, 256], [1, 256], Along::M, |e, x, _| add(e, x));
    let kernel = &mut program.kernels[0];
    kernel.buffers.truncate(3);
    kernel.buffers[2].access = Access::ReadWrite;
    let Stmt::For { body, .. } = &mut kernel.body[0] else { unreachable!() };
    let Stmt::Store { buffer, .. } = &mut body[0] else { unreachable!() };
    *buffer = 2;
    let Launch::Kernel { args, .. } = &mut program.plans[0].launches[1] else { unreachable!() };
    args.remove(2);
    check(&program, Precision::F32, Library::Right, 1);
}

/// What was measured is known to the next run; what is kept is not trusted where it cannot be right.
#[test]
fn what_was_measured_is_kept() {
    let program = Arc::new(contraction([256, 256, 512], &[], [false; 3], 0, DType::F32));
    let folder = tempfile::tempdir().unwrap();
    let does = |library: Library| {
        let emulator = Box::new(Emulator::new(0).with(library).keeping(folder.path()));
        let device = Device::new(program.clone(), Precision::F32, emulator).unwrap();
        let [note] = device.notes() else { panic!("{:?}", device.notes()) };
        (device.by_library(0).len(), note.why.clone())
    };
    let measured = "the library takes 600000.0 µs, fgc's own 2000000.0 µs";
    let kept = || {
        let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path()).collect();
        let [file] = &files[..] else { panic!("{files:?}") };
        file.clone()
    };
    assert_eq!(does(Library::FirstWrong), (1, measured.into()));
    assert_eq!(std::fs::read_to_string(kept()).unwrap(), format!("library b 6e-1\n{measured}\n"));
    std::fs::write(kept(), "own\nas I say\n").unwrap();
    assert_eq!(does(Library::FirstWrong), (0, "as I say".into()));
    // What is right stays so when the library offers its ways in another order.
    std::fs::write(kept(), "library b 1\nfast\n").unwrap();
    assert_eq!(does(Library::LastWrong), (1, "fast".into()));
    // A way that there is not, one that is wrong, and what is none.
    for text in ["library c 1\nfast\n", "library a 1\nfast\n", "library b\nfast\n", "library\n", "library b", ""] {
        std::fs::write(kept(), text).unwrap();
        assert_eq!(does(Library::FirstWrong), (1, measured.into()), "{text:?}");
        assert_eq!(std::fs::read_to_string(kept()).unwrap(), format!("library b 6e-1\n{measured}\n"));
    }
}

#[test]
fn a_slower_or_wrong_library_does_none() {
    let program = contraction([256, 256, 512], &[], [false; 3], 0, DType::F32);
    for (library, does) in [(Library::Slow, 0), (Library::Wrong, 0), (Library::FirstWrong, 1), (Library::LastWrong, 1)]
    {
        check(&program, Precision::F32, library, does);
    }
}

/// Of all that it might do it is told why it does not.
#[test]
fn a_library_that_fails_ends_nothing() {
    let program = contraction([256, 256, 512], &[], [false; 3], 0, DType::F32);
    let why = |library: Library| {
        let emulator = Box::new(Emulator::new(0).with(library));
        let device = Device::new(Arc::new(program.clone()), Precision::F32, emulator).unwrap();
        let [note] = device.notes() else { panic!("{:?}", device.notes()) };
        note.why.clone()
    };
    assert_eq!(why(Library::Unrecorded), "no way of the library will do: CUDA failed to multiply: NOT_WHILE_RECORDING");
    check(&program, Precision::F32, Library::Unrecorded, 0);
    assert_eq!(why(Library::Slow), "the library takes 2000000.0 µs, fgc's own 2000000.0 µs");
    let wrong = why(Library::Wrong);
    assert!(wrong.contains("results that are") && wrong.contains("more than 1e-4"), "{wrong}");
}
