//! What programs look like printed.

use fgc_program::*;

fn index(terms: Vec<(Atom, i64)>, offset: i64) -> Index {
    Index { terms, offset }
}

fn var(n: u32) -> Atom {
    Atom::Var(Var(n))
}

/// The greatest of each row of 8, and, padded and turned, the input itself.
fn kernel() -> Kernel {
    let load = Expr::Load { buffer: 0, index: index(vec![(var(0), 8), (var(1), 1)], 0) };
    let divided = |by| Box::new(index(vec![(var(0), 1)], by));
    let first = Expr::Binary(
        BinaryOp::Lt,
        Box::new(Expr::Index(index(vec![(Atom::Div(divided(0), 2), 1)], 0))),
        Box::new(Expr::Const(Scalar::I64(1))),
    );
    let guarded = Expr::Select {
        cond: Box::new(first),
        then: Box::new(Expr::Const(Scalar::F32(0.1))),
        otherwise: Box::new(Expr::Load { buffer: 0, index: index(vec![(Atom::Mod(divided(4), 3), 2)], -1) }),
    };
    let (a, b) = (Box::new(Expr::Reg(Reg(0))), Box::new(load));
    let greatest = Stmt::Assign { reg: Reg(0), value: Expr::Binary(BinaryOp::Max, a, b) };
    let buffer = |dtype, len, access| KernelBuffer { dtype, len, access };
    Kernel {
        name: "row_max".into(),
        buffers: vec![buffer(DType::F32, 32, Access::Read), buffer(DType::F32, 4, Access::Write)],
        extent: 4,
        body: vec![
            Stmt::Accumulator { reg: Reg(0), dtype: DType::F32, init: Expr::Const(Scalar::F32(f32::NEG_INFINITY)) },
            Stmt::For { var: Var(1), extent: 8, vector: true, body: vec![greatest] },
            Stmt::Let { reg: Reg(1), dtype: DType::F32, value: guarded },
            Stmt::Store {
                buffer: 1,
                index: index(vec![(var(0), 1)], 0),
                value: Expr::Unary(
                    UnaryOp::Exp,
                    Box::new(Expr::Binary(
                        BinaryOp::Sub,
                        Box::new(Expr::Reg(Reg(1))),
                        Box::new(Expr::Unary(UnaryOp::Neg, Box::new(Expr::Reg(Reg(0))))),
                    )),
                ),
            },
        ],
    }
}

fn program() -> Program {
    let buffer = |len, place| Buffer { dtype: DType::F32, narrow: false, len, place };
    let operand = |id, row| Operand { buffer: BufferId(id), offset: 0, row, col: 1 };
    let contract = Contract {
        dtype: DType::F32,
        m: 4,
        n: 2,
        k: 8,
        batch: vec![BatchDim { extent: 1, a: 32, b: 0, c: 8 }],
        a: operand(0, 8),
        b: operand(1, 2),
        c: operand(3, 2),
    };
    let drawn = Expr::Load { buffer: 1, index: Index::constant(1) };
    let late = Expr::Binary(BinaryOp::Lt, Expr::Const(Scalar::I64(0)).into(), drawn.into());
    Program {
        method: "printed".into(),
        batch: 4,
        nets: vec![],
        inputs: vec![
            Input {
                name: "x".into(),
                kind: InputKind::Data,
                dtype: DType::F32,
                shape: vec![4, 8],
                buffer: BufferId(0),
                number: None,
            },
            Input {
                name: "exit".into(),
                kind: InputKind::Draw(Distribution::Index { n: 4 }),
                dtype: DType::I64,
                shape: vec![2],
                buffer: BufferId(4),
                number: Some(Expr::Const(Scalar::I64(3))),
            },
        ],
        buffers: vec![
            buffer(32, Place::Persistent),
            buffer(16, Place::Part { of: BufferId(0), start: 16 }),
            buffer(4, Place::Arena { offset: 64 }),
            buffer(8, Place::Arena { offset: 0 }),
            Buffer { dtype: DType::I64, ..buffer(2, Place::Persistent) },
        ],
        constants: vec![],
        kernels: vec![kernel()],
        codes: Vec::new(),
        plans: vec![Plan {
            bands: vec![],
            name: "step.student".into(),
            launches: vec![
                Launch::Contract(contract),
                Launch::Kernel { kernel: KernelId(0), args: vec![BufferId(0), BufferId(2)] },
            ],
            outputs: vec![Output { name: "y".into(), kind: OutputKind::Sample, buffer: BufferId(2), shape: vec![4] }],
            guards: vec![Guard { launches: 1..2, when: late }],
            inputs: vec![PlanInput { input: 1, when: None }, PlanInput { input: 0, when: None }],
        }],
        schedule: Schedule { steps: vec![] },
        samplers: Default::default(),
        arena: 80,
        spill: 0,
    }
}

#[test]
fn printed_programs_are_valid() {
    assert_eq!(validate::validate(&program()), Ok(()));
}

#[test]
fn kernels_as_c() {
    insta::assert_snapshot!(c::Functions::default().kernel(&kernel(), "row_max").0);
}

#[test]
fn kernels_as_text() {
    insta::assert_snapshot!(print::kernels(&program()));
}

#[test]
fn plans_as_text() {
    insta::assert_snapshot!(print::plans(&program()));
}

/// What all iterations share is loaded once, before the loop, where compilers make vector code of the rest; what a guard may
/// keep from being read stays behind it.
#[test]
fn shared_elements_are_loaded_before_the_loop() {
    let buffer = |dtype, len, access| KernelBuffer { dtype, len, access };
    let shared = |buffer, at| Box::new(Expr::Load { buffer, index: Index::constant(at) });
    let value = Expr::Select { cond: shared(0, 0), then: shared(1, 2), otherwise: shared(1, 3) };
    let kernel = Kernel {
        name: "shared".into(),
        buffers: vec![
            buffer(DType::Bool, 1, Access::Read),
            buffer(DType::F32, 3, Access::Read),
            buffer(DType::F32, 64, Access::Write),
        ],
        extent: 64,
        body: vec![Stmt::Store { buffer: 2, index: index(vec![(var(0), 1)], 0), value }],
    };
    let (text, _) = c::Functions::default().kernel(&kernel, "k");
    let (before, within) = text.split_once("for (").expect("a loop");
    assert!(before.contains("_Bool f0 = b0[0] != 0;") && before.contains("float f1 = b1[2];"), "{text}");
    assert!(within.contains("(f0 ? f1 : b1[(INT64_C(3))])"), "{text}");
}
