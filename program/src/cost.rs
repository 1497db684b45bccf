//! What launches do, counted: arithmetic and bytes, for reports.

use crate::{Access, BinaryOp, BufferId, Expr, Kernel, Launch, Place, Program, Stmt, UnaryOp};
use std::iter::Sum;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Arithmetic operations; an exponential or the like is ten.
    pub flops: f64,
    /// Read and written, each buffer once. What stays within a band is not counted.
    pub bytes: f64,
}

/// What a device does in a second.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    pub flops: f64,
    pub bytes: f64,
    /// Seconds to start a launch.
    pub launch: f64,
}

impl Rates {
    /// Two cores with AVX-512, measured: `cargo run --release -p fgc-runtime --example cpu_speed`.
    pub const CPU: Rates = Rates { flops: 300e9, bytes: 25e9, launch: 3e-6 };
}

impl Cost {
    /// How long this takes at best, as one launch.
    pub fn seconds(&self, rates: Rates) -> f64 {
        rates.launch + (self.flops / rates.flops).max(self.bytes / rates.bytes)
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Cost>>(all: I) -> Cost {
        all.fold(Cost::default(), |a, b| Cost { flops: a.flops + b.flops, bytes: a.bytes + b.bytes })
    }
}

/// The cost of a launch of this program.
pub fn launch(program: &Program, launch: &Launch) -> Cost {
    match launch {
        Launch::Kernel { kernel: id, args } => {
            let Some(kernel) = program.kernels.get(id.0 as usize) else { return Cost::default() };
            let stays: Vec<bool> = args.iter().map(|buffer| stays(program, *buffer)).collect();
            Cost { bytes: bytes(kernel, |i| !stays.get(i).copied().unwrap_or(false)), ..self::kernel(kernel) }
        }
        Launch::Contract(c) => {
            let size = |dims: [usize; 2], stride: fn(&crate::BatchDim) -> isize, operand: &crate::Operand| {
                if stays(program, operand.buffer) {
                    return 0.0;
                }
                let batch = c.batch.iter().filter(|dim| stride(dim) != 0).map(|dim| dim.extent as f64);
                batch.product::<f64>() * dims[0] as f64 * dims[1] as f64
            };
            let elements =
                size([c.m, c.k], |d| d.a, &c.a) + size([c.k, c.n], |d| d.b, &c.b) + size([c.m, c.n], |d| d.c, &c.c);
            let batch: f64 = c.batch.iter().map(|dim| dim.extent as f64).product();
            let flops = 2.0 * batch * c.m as f64 * c.n as f64 * c.k as f64;
            Cost { flops, bytes: elements * c.dtype.size() as f64 }
        }
        Launch::Conv(c) => {
            let Some([x, w, y]) = c.lens() else { return Cost::default() };
            let taps = (c.kernel[0] * c.kernel[1] * c.channels) as f64;
            Cost { flops: 2.0 * y as f64 * taps, bytes: ((x + w + y) * c.dtype.size()) as f64 }
        }
        // What it computes is not known.
        Launch::Extern(e) => {
            let size = |id: &BufferId| program.buffers.get(id.0 as usize).map_or(0, |b| b.len * b.dtype.size());
            Cost { flops: 0.0, bytes: e.args.iter().chain([&e.out]).map(size).sum::<usize>() as f64 }
        }
    }
}

/// Whether a buffer never leaves the cache.
fn stays(program: &Program, buffer: BufferId) -> bool {
    program.buffers.get(buffer.0 as usize).is_some_and(|buffer| matches!(buffer.place, Place::Band { .. }))
}

/// The cost of one run of a kernel.
pub fn kernel(kernel: &Kernel) -> Cost {
    Cost { flops: kernel.extent as f64 * block(&kernel.body), bytes: bytes(kernel, |_| true) }
}

/// Bytes that one run of a kernel moves of those of its shared buffers that `counts`.
fn bytes(kernel: &Kernel, counts: impl Fn(usize) -> bool) -> f64 {
    let buffers = kernel.shared().iter().enumerate().filter(|(i, _)| counts(*i));
    let bytes = buffers.map(|(_, buffer)| {
        let times = if buffer.access == Access::ReadWrite { 2 } else { 1 };
        (times * buffer.len * buffer.dtype.size()) as f64
    });
    bytes.sum()
}

fn block(body: &[Stmt]) -> f64 {
    body.iter()
        .map(|stmt| match stmt {
            Stmt::For { extent, body, .. } => *extent as f64 * block(body),
            Stmt::Let { value: x, .. }
            | Stmt::Accumulator { init: x, .. }
            | Stmt::Assign { value: x, .. }
            | Stmt::Store { value: x, .. } => expr(x),
            Stmt::StoreAt { at, value, .. } => expr(at) + expr(value),
        })
        .sum()
}

fn expr(x: &Expr) -> f64 {
    match x {
        Expr::Const(_) | Expr::Reg(_) | Expr::Index(_) | Expr::Load { .. } => 0.0,
        Expr::LoadAt { at, .. } => expr(at),
        Expr::Cast(_, x) => expr(x),
        Expr::Unary(op, x) => {
            let own = match op {
                UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Sign | UnaryOp::Floor | UnaryOp::Sqrt => 1.0,
                UnaryOp::IsFinite | UnaryOp::Not => 1.0,
                _ => 10.0,
            };
            own + expr(x)
        }
        Expr::Binary(op, a, b) => {
            let own = match op {
                BinaryOp::Pow | BinaryOp::Atan2 | BinaryOp::StudentCdf | BinaryOp::StudentQuantile => 10.0,
                _ => 1.0,
            };
            own + expr(a) + expr(b)
        }
        Expr::Select { cond, then, otherwise } => expr(cond) + expr(then).max(expr(otherwise)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Index, KernelBuffer, Var};

    #[test]
    fn work_is_multiplied_by_its_loops() {
        let load = |index| Expr::Load { buffer: 0, index };
        let element = Index { terms: vec![(crate::Atom::Var(Var(0)), 4), (crate::Atom::Var(Var(1)), 1)], offset: 0 };
        let square = Expr::Binary(BinaryOp::Mul, load(element.clone()).into(), load(element.clone()).into());
        let value = Expr::Unary(UnaryOp::Exp, square.into());
        let store = Stmt::Store { buffer: 1, index: element, value };
        let buffer = |access| KernelBuffer { dtype: DType::F32, len: 40, access };
        let found = kernel(&Kernel {
            name: "exp".into(),
            buffers: vec![buffer(Access::Read), buffer(Access::Write)],
            extent: 10,
            body: vec![Stmt::For { var: Var(1), extent: 4, vector: true, body: vec![store] }],
        });
        assert_eq!(found, Cost { flops: 40.0 * 11.0, bytes: 320.0 });
    }
}
