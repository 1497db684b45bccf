//! What several products of a plan read, copied once as they want it.

use crate::epilogues::ended;
use crate::library;
use crate::products::contraction;
use crate::{F, at, load};
use emulator::library::Library;
use fgc_program::cuda::{Precision, stored};
use fgc_program::*;

/// m, n and k: as many multiplications as a library may be worth.
const SIZE: [usize; 3] = [256, 512, 256];

fn add(program: &mut Program, len: usize) -> BufferId {
    program.buffers.push(Buffer { dtype: F, narrow: false, len, place: Place::Persistent });
    BufferId(program.buffers.len() as u32 - 1)
}

/// A second product with the right operand of the program's first launch.
fn multiplied_again(mut program: Program) -> Program {
    let [m, n, k] = SIZE;
    let (a, c) = (add(&mut program, m * k), add(&mut program, m * n));
    let Launch::Contract(first) = &program.plans[0].launches[0] else { panic!("a product") };
    let mut second = first.clone();
    (second.a.buffer, second.c.buffer) = (a, c);
    program.plans[0].launches.push(Launch::Contract(second));
    program
}

fn names(program: &Program) -> Vec<&str> {
    let name = |launch: &Launch| match launch {
        Launch::Kernel { kernel, .. } => program.kernels[kernel.0 as usize].name.as_str(),
        Launch::Conv(x) if x.turned => "turned",
        _ => "product",
    };
    program.plans[0].launches.iter().map(name).collect()
}

#[test]
fn what_is_multiplied_by_twice_is_rounded_once() {
    let once = contraction(SIZE, &[], [false; 3], 0, F);
    let twice = multiplied_again(once.clone());
    for precision in [Precision::F32, Precision::Tf32] {
        assert_eq!(names(&stored(&twice, precision)), ["product", "product"]);
    }
    let program = stored(&twice, Precision::Bf16);
    assert_eq!(names(&program), ["copy", "product", "product"]);
    assert!(program.buffers.last().unwrap().narrow);
    assert_eq!(names(&stored(&once, Precision::Bf16)), ["product"]);
    library::check(&twice, Precision::Bf16, Library::Right, 2);
    library::check(&twice, Precision::Bf16, Library::Wrong, 0);
}

/// A small product does not wait as long for what it reads as a launch takes.
#[test]
fn small_products_read_what_there_is() {
    let [m, n, k] = [20, 64, 64];
    let mut program = contraction([m, n, k], &[], [false; 3], 0, F);
    for _ in 0..8 {
        let (a, c) = (add(&mut program, m * k), add(&mut program, m * n));
        let Launch::Contract(first) = &program.plans[0].launches[0] else { panic!("a product") };
        let mut next = first.clone();
        (next.a.buffer, next.c.buffer) = (a, c);
        program.plans[0].launches.push(Launch::Contract(next));
    }
    assert_eq!(names(&stored(&program, Precision::Bf16)), ["product"; 9]);
}

/// What a plan writes may be another thing for each product.
#[test]
fn what_is_written_is_not_copied() {
    let mut program = multiplied_again(contraction(SIZE, &[], [false; 3], 0, F));
    let (len, own) = (SIZE[1] * SIZE[2], at(&[(0, 1)]));
    let value = Expr::Binary(BinaryOp::Add, load(0, own.clone()).into(), load(0, own.clone()).into());
    program.kernels = vec![Kernel {
        name: "double".into(),
        buffers: vec![KernelBuffer { dtype: F, len, access: Access::ReadWrite }],
        extent: len,
        body: vec![Stmt::Store { buffer: 0, index: own, value }],
    }];
    program.plans[0].launches.insert(1, Launch::Kernel { kernel: KernelId(0), args: vec![BufferId(1)] });
    assert_eq!(names(&stored(&program, Precision::Bf16)), ["product", "double", "product"]);
}

/// The copy is there, too, where the first product is left out, and is no part of its band.
#[test]
fn copies_are_made_before_what_may_be_left_out() {
    let [m, n, _] = SIZE;
    let band = ended(contraction(SIZE, &[], [false; 3], 0, F), 2, [m, n], [1, m], Along::M, false);
    let mut program = multiplied_again(band);
    for when in [true, false] {
        program.plans[0].guards = vec![Guard { launches: 0..2, when: Expr::Const(Scalar::Bool(when)) }];
        let stored = stored(&program, Precision::Bf16);
        assert_eq!(names(&stored), ["copy", "product", "activation", "product"]);
        let plan = &stored.plans[0];
        assert_eq!((plan.guards[0].launches.clone(), plan.bands[0].launches.clone()), (1..3, 1..3));
        library::check(&program, Precision::Bf16, Library::Wrong, 0);
    }
}

/// A convolution and the gradient of its input, of the same filters: these are turned once, as libraries want them, and read so
/// by functions of ours, too.
#[test]
fn filters_are_turned_once() {
    let mut program = library::convolution(ConvRole::Forward, false);
    let Launch::Conv(forward) = program.plans[0].launches[0].clone() else { panic!("a convolution") };
    let [x, w, y] = forward.lens().unwrap();
    let (y, x) = (add(&mut program, y), add(&mut program, x));
    program.plans[0].launches.push(Launch::Conv(Conv { role: ConvRole::Input, x, y, ..forward.clone() }));
    // Or what a launch makes of them first.
    let mut made = program.clone();
    let own = at(&[(0, 1)]);
    let negated = Expr::Unary(UnaryOp::Neg, load(0, own.clone()).into());
    let buffer = |access| KernelBuffer { dtype: F, len: w, access };
    made.kernels = vec![Kernel {
        name: "negate".into(),
        buffers: vec![buffer(Access::Read), buffer(Access::Write)],
        extent: w,
        body: vec![Stmt::Store { buffer: 1, index: own, value: negated }],
    }];
    let filters = BufferId(made.buffers.len() as u32);
    made.buffers.push(Buffer { dtype: F, narrow: false, len: w, place: Place::Arena { offset: 0 } });
    made.arena = (4 * w).next_multiple_of(64);
    let negate = Launch::Kernel { kernel: KernelId(0), args: vec![forward.w, filters] };
    for launch in &mut made.plans[0].launches {
        launch.each_buffer(|id| *id = if *id == forward.w { filters } else { *id });
    }
    made.plans[0].launches.insert(0, negate.clone());
    for (program, expected) in
        [(&program, &["turn", "turned", "turned"][..]), (&made, &["negate", "turn", "turned", "turned"])]
    {
        for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
            let stored = stored(program, precision);
            assert_eq!(names(&stored), expected);
            assert_eq!(stored.buffers.last().unwrap().narrow, precision == Precision::Bf16);
        }
        // Of a library's results in bf16 f32 ones would be rounded.
        for (precision, does) in [(Precision::F32, 2), (Precision::Bf16, 0)] {
            library::check(program, precision, Library::Right, does);
        }
        library::check(program, Precision::F32, Library::Wrong, 0);
    }
    // Made anew for the second.
    made.plans[0].launches.insert(2, negate);
    assert_eq!(names(&stored(&made, Precision::F32)), ["negate", "product", "negate", "product"]);
}

/// Two plans use one place of the arena: what a sampler keeps of the second is what that leaves, wherever it lies now.
#[test]
fn what_samplers_keep_moves_with_its_plan() {
    let len = 2048;
    let mut program = crate::program(vec![(F, len), (F, len)], vec![], vec![]);
    let shared = BufferId(2);
    program.buffers.push(Buffer { dtype: F, narrow: false, len, place: Place::Arena { offset: 0 } });
    program.arena = 4 * len;
    let buffer = |access| KernelBuffer { dtype: F, len, access };
    program.kernels = vec![Kernel {
        name: "copy".into(),
        buffers: vec![buffer(Access::Read), buffer(Access::Write)],
        extent: len,
        body: vec![Stmt::Store { buffer: 1, index: at(&[(0, 1)]), value: load(0, at(&[(0, 1)])) }],
    }];
    let copy = |from, to| Launch::Kernel { kernel: KernelId(0), args: vec![from, to] };
    program.plans[0].launches = vec![copy(BufferId(0), shared), copy(shared, BufferId(1))];
    let output = Output { name: "sample".into(), kind: OutputKind::Sample, buffer: shared, shape: vec![len] };
    program.plans.push(Plan {
        name: "sample".into(),
        launches: vec![copy(BufferId(0), shared)],
        outputs: vec![output],
        ..Plan::default()
    });
    let stage = Stage { plan: 1, rows: vec![vec![]], repeats: false, keeps: vec![(shared, BufferId(1))] };
    program.samplers.insert("method".into(), Sampler { stages: vec![stage] });
    let stored = stored(&program, Precision::Bf16);
    let left = stored.plans[1].outputs[0].buffer;
    assert_ne!(left, shared, "the first plan has that");
    assert_eq!(stored.samplers["method"].stages[0].keeps, [(left, BufferId(1))]);
}
