//! Programs made by hand.

use fgc_program::*;
use fgc_runtime::Values;
use fgc_runtime::cpu::compile::Compiler;
use fgc_runtime::cpu::{Backend, Device};
use std::path::Path;
use std::sync::{Arc, LazyLock};

/// A program of persistent buffers, one plan and nothing else.
pub fn program(buffers: Vec<(DType, usize)>, kernels: Vec<Kernel>, launches: Vec<Launch>) -> Program {
    let buffers =
        buffers.into_iter().map(|(dtype, len)| Buffer { dtype, narrow: false, len, place: Place::Persistent });
    Program {
        method: "test".into(),
        batch: 1,
        nets: vec![],
        inputs: vec![],
        buffers: buffers.collect(),
        kernels,
        constants: vec![],
        codes: Vec::new(),
        plans: vec![Plan { name: "step".into(), launches, ..Plan::default() }],
        schedule: Schedule { steps: vec![] },
        samplers: Default::default(),
        arena: 0,
        spill: 0,
    }
}

/// A program of one kernel, its buffers in order.
pub fn single(kernel: Kernel) -> Program {
    let buffers: Vec<_> = kernel.buffers.iter().map(|b| (b.dtype, b.len)).collect();
    let args = (0..buffers.len() as u32).map(BufferId).collect();
    program(buffers, vec![kernel], vec![Launch::Kernel { kernel: KernelId(0), args }])
}

pub fn kernel(extent: usize, buffers: Vec<(DType, usize, Access)>, body: Vec<Stmt>) -> Kernel {
    let buffers = buffers.into_iter().map(|(dtype, len, access)| KernelBuffer { dtype, len, access }).collect();
    Kernel { name: "test".into(), buffers, extent, body }
}

static CACHE: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a temporary directory"));

/// `CC`, so that other compilers can be tested, too.
pub fn compiler(cache: &Path) -> Compiler {
    Compiler::new(std::env::var("CC").as_deref().unwrap_or("cc"), cache)
}

/// `program` on a backend, with the first buffers written.
pub fn device(program: &Program, backend: Backend, threads: usize, inputs: &[Values]) -> Device {
    let program = Arc::new(program.clone());
    let device = match backend {
        Backend::Compiled => Device::compiled(program, &compiler(CACHE.path()), threads),
        _ => Device::new(program, backend, threads),
    };
    let mut device = device.unwrap_or_else(|e| panic!("{e}"));
    for (i, values) in inputs.iter().enumerate() {
        device.set_values(BufferId(i as u32), values).unwrap();
    }
    device
}

/// All buffers after the plan has run.
pub fn run(program: &Program, backend: Backend, threads: usize, inputs: &[Values]) -> Vec<Values> {
    let mut device = device(program, backend, threads, inputs);
    device.run(0).unwrap_or_else(|e| panic!("{e}"));
    (0..program.buffers.len()).map(|i| device.values(BufferId(i as u32)).unwrap()).collect()
}

/// Numbers in [−1, 1) from a seed.
pub fn noise(seed: u64, len: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..len).map(next).collect()
}

pub fn floats(dtype: DType, values: &[f64]) -> Values {
    match dtype {
        DType::F32 => Values::F32(values.iter().map(|x| *x as f32).collect()),
        _ => Values::F64(values.to_vec()),
    }
}

pub fn as_f64(values: &Values) -> Vec<f64> {
    match values {
        Values::Bool(v) => v.iter().map(|b| *b as u8 as f64).collect(),
        Values::I64(v) => v.iter().map(|x| *x as f64).collect(),
        Values::F32(v) => v.iter().map(|x| *x as f64).collect(),
        Values::F64(v) => v.clone(),
    }
}

/// Same NaNs, same infinities, and otherwise within this relative error or this absolute one.
pub fn close(a: f64, b: f64, relative: f64, absolute: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= (relative * a.abs().max(b.abs())).max(absolute)
}

// Short forms of expressions.

pub fn var(n: u32) -> Index {
    affine(&[(n, 1)], 0)
}

pub fn affine(terms: &[(u32, i64)], offset: i64) -> Index {
    Index { terms: terms.iter().map(|(v, c)| (Atom::Var(Var(*v)), *c)).collect(), offset }
}

pub fn load(buffer: usize, index: Index) -> Expr {
    Expr::Load { buffer, index }
}

pub fn store(buffer: usize, index: Index, value: Expr) -> Stmt {
    Stmt::Store { buffer, index, value }
}

pub fn un(op: UnaryOp, x: Expr) -> Expr {
    Expr::Unary(op, Box::new(x))
}

pub fn bin(op: BinaryOp, a: Expr, b: Expr) -> Expr {
    Expr::Binary(op, Box::new(a), Box::new(b))
}

pub fn reg(n: u32) -> Expr {
    Expr::Reg(Reg(n))
}

pub fn select(cond: Expr, then: Expr, otherwise: Expr) -> Expr {
    Expr::Select { cond: Box::new(cond), then: Box::new(then), otherwise: Box::new(otherwise) }
}

/// Rows × cols softmax of buffer 0 into buffer 1: a maximum, a sum, a division.
pub fn softmax(rows: usize, cols: usize) -> Kernel {
    let at = || affine(&[(0, cols as i64), (1, 1)], 0);
    let f32 = |x: f32| Expr::Const(Scalar::F32(x));
    let each = |var: u32, body: Vec<Stmt>| Stmt::For { var: Var(var), extent: cols, vector: true, body };
    let at2 = |v: u32| affine(&[(0, cols as i64), (v, 1)], 0);
    let shifted = |v: u32| un(UnaryOp::Exp, bin(BinaryOp::Sub, load(0, at2(v)), reg(0)));
    kernel(
        rows,
        vec![(DType::F32, rows * cols, Access::Read), (DType::F32, rows * cols, Access::Write)],
        vec![
            Stmt::Accumulator { reg: Reg(0), dtype: DType::F32, init: f32(f32::NEG_INFINITY) },
            each(1, vec![Stmt::Assign { reg: Reg(0), value: bin(BinaryOp::Max, reg(0), load(0, at())) }]),
            Stmt::Accumulator { reg: Reg(1), dtype: DType::F32, init: f32(0.0) },
            each(2, vec![Stmt::Assign { reg: Reg(1), value: bin(BinaryOp::Add, reg(1), shifted(2)) }]),
            each(3, vec![store(1, at2(3), bin(BinaryOp::Div, shifted(3), reg(1)))]),
        ],
    )
}
