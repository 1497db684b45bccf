//! Speed of the CPU backend: products, convolutions, a fused kernel, the cost of a launch.
//!
//! `cargo run --release -p fgc-runtime --example cpu_speed`

use fgc_program::*;
use fgc_runtime::cpu::{Backend, Device, DeviceError};
use std::sync::Arc;
use std::time::Instant;

const F32: DType = DType::F32;

fn main() -> Result<(), DeviceError> {
    for threads in [1, 2] {
        println!("{threads} thread(s)");
        for [m, n, k] in [[1024, 1024, 1024], [64, 1152, 288], [256, 1152, 288], [256, 288, 1152], [4096, 64, 64]] {
            let buffers = [m * k, k * n, m * n];
            let seconds = time(program(&buffers, vec![], vec![product(m, n, k, vec![])]), threads)?;
            println!("  contract {m}×{n}×{k}: {:.0} GFLOP/s", 2e-9 * (m * n * k) as f64 / seconds);
        }
        let (heads, t, d) = (256, 64, 32);
        let stride = |n: usize| n as isize;
        let batch = vec![BatchDim { extent: heads, a: stride(t * d), b: stride(d * t), c: stride(t * t) }];
        let buffers = [heads * t * d, heads * d * t, heads * t * t];
        let seconds = time(program(&buffers, vec![], vec![product(t, t, d, batch)]), threads)?;
        println!("  {heads} products {t}×{t}×{d}: {:.0} GFLOP/s", 2e-9 * (heads * t * t * d) as f64 / seconds);
        for (size, channels, kernel, stride, pad) in
            [(32, 64, 3, 1, 1), (16, 128, 3, 1, 1), (32, 64, 4, 2, 1), (32, 64, 1, 1, 0)]
        {
            for role in [ConvRole::Forward, ConvRole::Input, ConvRole::Weight] {
                let conv = convolution(role, size, channels, kernel, stride, pad);
                let Some([x, w, y]) = conv.lens() else { continue };
                let flops = 2.0 * (y * kernel * kernel * channels) as f64;
                let seconds = time(program(&[x, w, y], vec![], vec![Launch::Conv(conv)]), threads)?;
                let name = format!("conv {kernel}×{kernel}/{stride} {size}×{size}×{channels} batch 8 {role:?}");
                println!("  {name}: {:.2} ms, {:.0} GFLOP/s", seconds * 1e3, flops * 1e-9 / seconds);
            }
        }
        for len in [8, 256 * 1152, 1 << 24] {
            let kernels = vec![silu_residual(len)];
            let args = vec![BufferId(0), BufferId(1), BufferId(2)];
            let launch = Launch::Kernel { kernel: KernelId(0), args };
            let seconds = time(program(&[len; 3], kernels, vec![launch]), threads)?;
            let rate = 12e-9 * len as f64 / seconds;
            println!("  silu(a) + b of {len}: {:.3} µs, {rate:.1} GB/s", seconds * 1e6);
        }
    }
    Ok(())
}

fn program(buffers: &[usize], kernels: Vec<Kernel>, launches: Vec<Launch>) -> Program {
    let buffer = |len: &usize| Buffer { dtype: F32, narrow: false, len: *len, place: Place::Persistent };
    Program {
        method: "speed".into(),
        batch: 1,
        nets: vec![],
        inputs: vec![],
        buffers: buffers.iter().map(buffer).collect(),
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

/// Seconds one run takes: the best of many.
fn time(program: Program, threads: usize) -> Result<f64, DeviceError> {
    let buffers = program.buffers.len() as u32;
    let mut device = Device::new(Arc::new(program), Backend::Compiled, threads)?;
    for id in 0..buffers {
        for (i, x) in device.read_mut::<f32>(BufferId(id))?.iter_mut().enumerate() {
            *x = (i * 7 % 31) as f32 * 0.1 - 1.5;
        }
    }
    let begun = Instant::now();
    device.run(0)?;
    let repeat = (0.001 / begun.elapsed().as_secs_f64()).ceil() as usize;
    let mut best = f64::INFINITY;
    for _ in 0..100 {
        let begun = Instant::now();
        for _ in 0..repeat {
            device.run(0)?;
        }
        best = best.min(begun.elapsed().as_secs_f64() / repeat as f64);
    }
    Ok(best)
}

fn product(m: usize, n: usize, k: usize, batch: Vec<BatchDim>) -> Launch {
    let operand = |id, cols: usize| Operand { buffer: BufferId(id), offset: 0, row: cols as isize, col: 1 };
    Launch::Contract(Contract { dtype: F32, m, n, k, batch, a: operand(0, k), b: operand(1, n), c: operand(2, n) })
}

fn convolution(role: ConvRole, size: usize, channels: usize, kernel: usize, stride: usize, pad: usize) -> Conv {
    Conv {
        role,
        dtype: F32,
        batch: 8,
        height: size,
        width: size,
        channels,
        filters: channels,
        kernel: [kernel; 2],
        stride: [stride; 2],
        pad: [[pad; 2]; 2],
        x: BufferId(0),
        w: BufferId(1),
        y: BufferId(2),
        turned: false,
    }
}

fn silu_residual(len: usize) -> Kernel {
    let at = || Index { terms: vec![(Atom::Var(Var::GRID), 1)], offset: 0 };
    let a = || Box::new(Expr::Load { buffer: 0, index: at() });
    let silu = Expr::Binary(BinaryOp::Mul, a(), Box::new(Expr::Unary(UnaryOp::Sigmoid, a())));
    let b = Expr::Load { buffer: 1, index: at() };
    let value = Expr::Binary(BinaryOp::Add, Box::new(silu), Box::new(b));
    let buffer = |access| KernelBuffer { dtype: F32, len, access };
    Kernel {
        name: "silu_add".into(),
        buffers: vec![buffer(Access::Read), buffer(Access::Read), buffer(Access::Write)],
        extent: len,
        body: vec![Stmt::Store { buffer: 2, index: at(), value }],
    }
}
