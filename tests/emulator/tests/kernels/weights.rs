//! Weights that several products of a plan multiply by, in bf16.

use crate::epilogues::ended;
use crate::products::{contraction, tolerance};
use crate::{F, at, check, load};
use fgc_program::cuda::{Precision, stored};
use fgc_program::*;

const SIZE: [usize; 3] = [20, 136, 128];

/// A second product with the right operand of the program's first launch.
fn multiplied_again(mut program: Program) -> Program {
    let [m, n, k] = SIZE;
    let mut add = |len| {
        program.buffers.push(Buffer { dtype: F, narrow: false, len, place: Place::Persistent });
        BufferId(program.buffers.len() as u32 - 1)
    };
    let (a, c) = (add(m * k), add(m * n));
    let Launch::Contract(first) = &program.plans[0].launches[0] else { panic!("a product") };
    let mut second = first.clone();
    (second.a.buffer, second.c.buffer) = (a, c);
    program.plans[0].launches.push(Launch::Contract(second));
    program
}

fn names(program: &Program) -> Vec<&str> {
    let name = |launch: &Launch| match launch {
        Launch::Kernel { kernel, .. } => program.kernels[kernel.0 as usize].name.as_str(),
        _ => "product",
    };
    program.plans[0].launches.iter().map(name).collect()
}

#[test]
fn what_is_multiplied_by_twice_is_rounded_once() {
    let once = contraction(SIZE, &[], [false; 3], 0, F);
    let twice = multiplied_again(once.clone());
    for (precision, launches) in [(Precision::F32, 2), (Precision::Tf32, 2), (Precision::Bf16, 3)] {
        let module = check(&twice, precision, tolerance(precision), 1);
        assert_eq!(module.plans[0].len(), launches, "{precision:?}");
    }
    let program = stored(&twice, Precision::Bf16);
    assert_eq!(names(&program), ["copy", "product", "product"]);
    assert!(program.buffers.last().unwrap().narrow);
    assert_eq!(names(&stored(&once, Precision::Bf16)), ["product"]);
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
    check(&program, Precision::Bf16, tolerance(Precision::Bf16), 1);
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
        check(&program, Precision::Bf16, tolerance(Precision::Bf16), 1);
        let stored = stored(&program, Precision::Bf16);
        assert_eq!(names(&stored), ["copy", "product", "activation", "product"]);
        assert_eq!(
            (stored.plans[0].guards[0].launches.clone(), stored.plans[0].bands[0].launches.clone()),
            (1..3, 1..3)
        );
    }
}
