//! What launches do, counted: arithmetic and bytes, for reports.

use crate::cuda::Precision;
use crate::validate::uses;
use crate::{Access, BinaryOp, BufferId, Expr, Kernel, Launch, Place, Plan, Program, Stmt, UnaryOp};
use std::iter::Sum;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Arithmetic operations; an exponential or the like is ten.
    pub flops: f64,
    /// Read and written, each buffer once, or as many of its elements as there are accesses if these are fewer. What stays
    /// within a band is not counted.
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

    /// An NVIDIA H200: products in bf16 and copies as measured, the rest by its data sheet; a launch as one of a graph.
    pub fn h200(precision: Precision) -> Rates {
        let flops = match precision {
            Precision::F32 => 67e12,
            Precision::Tf32 => 494e12,
            Precision::Bf16 => 790e12,
        };
        Rates { flops, bytes: 4.3e12, launch: 2e-6 }
    }
}

/// Operations a second of scalar code that a compiler has hardly looked at, on two cores.
const SCALAR: f64 = 2e9;

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

/// The cost of each launch of a plan. What a launch of a band reads of what an earlier one has written it finds in the
/// cache, stored or not: a block's values fit there.
pub fn plan(program: &Program, plan: &Plan) -> Vec<Cost> {
    let mut costs = Vec::with_capacity(plan.launches.len());
    let mut near: Vec<BufferId> = Vec::new();
    for (i, launch) in plan.launches.iter().enumerate() {
        let band = plan.bands.iter().find(|band| band.launches.contains(&i));
        if band.is_none_or(|band| band.launches.start == i) {
            near.clear();
        }
        let width = |buffer: BufferId, access: Access| match program.buffers.get(buffer.0 as usize) {
            Some(found) if matches!(found.place, Place::Band { .. }) => 0,
            _ if access == Access::Read && near.contains(&buffer) => 0,
            found => found.map_or(0, |found| found.width()),
        };
        costs.push(self::launch(program, launch, &width));
        if band.is_some() {
            let written = uses(program, launch).into_iter().filter(|used| used.access != Access::Read);
            near.extend(written.map(|used| used.buffer));
        }
    }
    costs
}

/// For each kernel the time of its launches in scalar code, as a share of the plan's, where that is largest.
pub fn scalar_shares(program: &Program) -> Vec<f64> {
    let mut shares = vec![0.0f64; program.kernels.len()];
    for plan in &program.plans {
        let costs = self::plan(program, plan);
        let whole: f64 = costs.iter().map(|cost| cost.seconds(Rates::CPU)).sum();
        let mut own = vec![0.0f64; shares.len()];
        for (launch, cost) in plan.launches.iter().zip(&costs) {
            if let Launch::Kernel { kernel, .. } = launch
                && let (Some(own), Some(kernel)) =
                    (own.get_mut(kernel.0 as usize), program.kernels.get(kernel.0 as usize))
            {
                // Moving an element is an operation, too.
                *own += (cost.flops + bytes(kernel, |_| 1)) / SCALAR / whole;
            }
        }
        shares.iter_mut().zip(own).for_each(|(share, own)| *share = share.max(own));
    }
    shares
}

/// The cost of a launch. `width`: bytes of an element of a buffer, 0 if it is not moved.
fn launch(program: &Program, launch: &Launch, width: &dyn Fn(BufferId, Access) -> usize) -> Cost {
    match launch {
        Launch::Kernel { kernel: id, args } => {
            let Some(kernel) = program.kernels.get(id.0 as usize) else { return Cost::default() };
            let width = |i: usize| args.get(i).map_or(0, |buffer| width(*buffer, kernel.buffers[i].access));
            Cost { bytes: bytes(kernel, width), ..self::kernel(kernel) }
        }
        Launch::Contract(c) => {
            let size = |dims: [usize; 2], stride: fn(&crate::BatchDim) -> isize, buffer: BufferId, access: Access| {
                let batch = c.batch.iter().filter(|dim| stride(dim) != 0).map(|dim| dim.extent as f64);
                batch.product::<f64>() * dims[0] as f64 * dims[1] as f64 * width(buffer, access) as f64
            };
            let bytes = size([c.m, c.k], |d| d.a, c.a.buffer, Access::Read)
                + size([c.k, c.n], |d| d.b, c.b.buffer, Access::Read)
                + size([c.m, c.n], |d| d.c, c.c.buffer, Access::Write);
            let batch: f64 = c.batch.iter().map(|dim| dim.extent as f64).product();
            let flops = 2.0 * batch * c.m as f64 * c.n as f64 * c.k as f64;
            Cost { flops, bytes }
        }
        Launch::Conv(c) => {
            let Some(lens) = c.lens() else { return Cost::default() };
            let taps = (c.kernel[0] * c.kernel[1] * c.channels) as f64;
            let computed = c.operands().0;
            let access = |buffer: BufferId| if buffer == computed { Access::Write } else { Access::Read };
            let each = lens.into_iter().zip([c.x, c.w, c.y]);
            let bytes: usize = each.map(|(len, buffer)| len * width(buffer, access(buffer))).sum();
            Cost { flops: 2.0 * lens[2] as f64 * taps, bytes: bytes as f64 }
        }
        // What it computes is not known.
        Launch::Extern(e) => {
            let size = |id: &BufferId| program.buffers.get(id.0 as usize).map_or(0, |b| b.bytes());
            Cost { flops: 0.0, bytes: e.args.iter().chain([&e.out]).map(size).sum::<usize>() as f64 }
        }
    }
}

/// The cost of one run of a kernel.
pub fn kernel(kernel: &Kernel) -> Cost {
    Cost { flops: kernel.extent as f64 * block(&kernel.body), bytes: bytes(kernel, |i| kernel.buffers[i].dtype.size()) }
}

/// Bytes that one run of a kernel moves, with so many for each element of its shared buffers.
fn bytes(kernel: &Kernel, width: impl Fn(usize) -> usize) -> f64 {
    let mut accesses = vec![[0.0f64; 2]; kernel.shared().len()];
    each_access(&kernel.body, kernel.extent as f64, &mut |buffer, write, times| {
        if let Some(of) = accesses.get_mut(buffer) {
            of[write as usize] += times;
        }
    });
    let buffers = kernel.shared().iter().zip(accesses).enumerate();
    let bytes = buffers.map(|(i, (buffer, accesses))| {
        let elements: f64 = accesses.into_iter().map(|times| times.min(buffer.len as f64)).sum();
        elements * width(i) as f64
    });
    bytes.sum()
}

/// Calls `visit` with the buffer of each load (false) and store (true), and how often it is run at most.
fn each_access(body: &[Stmt], times: f64, visit: &mut impl FnMut(usize, bool, f64)) {
    for stmt in body {
        match stmt {
            Stmt::For { extent, body, .. } => each_access(body, times * *extent as f64, visit),
            Stmt::Let { value, .. } | Stmt::Accumulator { init: value, .. } | Stmt::Assign { value, .. } => {
                each_load(value, times, visit);
            }
            Stmt::Store { buffer, value, .. } => {
                visit(*buffer, true, times);
                each_load(value, times, visit);
            }
            Stmt::StoreAt { buffer, at, value } => {
                visit(*buffer, true, times);
                each_load(at, times, visit);
                each_load(value, times, visit);
            }
        }
    }
}

fn each_load(expr: &Expr, times: f64, visit: &mut impl FnMut(usize, bool, f64)) {
    match expr {
        Expr::Const(_) | Expr::Reg(_) | Expr::Index(_) => {}
        Expr::Load { buffer, .. } => visit(*buffer, false, times),
        Expr::LoadAt { buffer, at } => {
            visit(*buffer, false, times);
            each_load(at, times, visit);
        }
        Expr::Unary(_, x) | Expr::Cast(_, x) => each_load(x, times, visit),
        Expr::Binary(_, a, b) => [a, b].into_iter().for_each(|x| each_load(x, times, visit)),
        Expr::Select { cond, then, otherwise } => {
            [cond, then, otherwise].into_iter().for_each(|x| each_load(x, times, visit));
        }
    }
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
        let mut kernel = Kernel {
            name: "exp".into(),
            buffers: vec![buffer(Access::Read), buffer(Access::Write)],
            extent: 10,
            body: vec![Stmt::For { var: Var(1), extent: 4, vector: true, body: vec![store] }],
        };
        let found = super::kernel(&kernel);
        assert_eq!(found, Cost { flops: 40.0 * 11.0, bytes: 320.0 });
        // Of a long buffer no more than there are loads: two an element.
        kernel.buffers[0].len = 4000;
        assert_eq!(super::kernel(&kernel).bytes, 480.0);
        kernel.buffers[0].len = 20;
        assert_eq!(super::kernel(&kernel).bytes, 240.0);
    }
}
