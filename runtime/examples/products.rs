//! Speed and accuracy of f32 products on this machine, against f64.
//!
//! `cargo run --release -p fgc-runtime --example products [THREADS [MxNxK…]]`; `FGC_AMX=0` keeps to the vector
//! units, and with `FGC_VECTOR=0` to the `gemm` crate.

use fgc_program::*;
use fgc_runtime::cpu::{Backend, Device, DeviceError};
use std::sync::Arc;
use std::time::Instant;

fn main() -> Result<(), DeviceError> {
    let threads = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1);
    println!("{:>5} {:>5} {:>5}  order  GFLOP/s   error / f32 rounding of |a||b|: rms, largest", "m", "n", "k");
    let sizes = std::env::args().skip(2).filter_map(|size| {
        let size: Vec<usize> = size.split('x').filter_map(|n| n.parse().ok()).collect();
        <[usize; 3]>::try_from(size).ok()
    });
    let sizes: Vec<[usize; 3]> = sizes.collect();
    const USUAL: [[usize; 3]; 9] = [
        [1024, 1024, 1024],
        [1024, 256, 256],
        [256, 256, 1024],
        [1024, 384, 1536],
        [1024, 1536, 384],
        [384, 1536, 1024],
        [4096, 64, 64],
        [64, 64, 16384],
        [128, 64, 64],
    ];
    for &[m, n, k] in if sizes.is_empty() { &USUAL[..] } else { &sizes } {
        for order in ["nn", "nt", "tn"] {
            measure([m, n, k], order, threads)?;
        }
    }
    Ok(())
}

fn measure([m, n, k]: [usize; 3], order: &str, threads: usize) -> Result<(), DeviceError> {
    // Several, so that operands come from where a training step finds them: beyond the second-level cache.
    const SETS: usize = 8;
    let operand = |id: usize, rows: usize, cols: usize, turned: bool| {
        let (row, col) = if turned { (1, rows as isize) } else { (cols as isize, 1) };
        Operand { buffer: BufferId(id as u32), offset: 0, row, col }
    };
    let launch = |set: usize| {
        Launch::Contract(Contract {
            dtype: DType::F32,
            m,
            n,
            k,
            batch: vec![],
            a: operand(3 * set, m, k, order.starts_with('t')),
            b: operand(3 * set + 1, k, n, order.ends_with('t')),
            c: operand(3 * set + 2, m, n, false),
        })
    };
    let lens = [m * k, k * n, m * n].repeat(SETS);
    let program = Program {
        method: "speed".into(),
        batch: 1,
        nets: vec![],
        inputs: vec![],
        buffers: lens
            .iter()
            .map(|&len| Buffer { dtype: DType::F32, narrow: false, len, place: Place::Persistent })
            .collect(),
        kernels: vec![],
        constants: vec![],
        codes: Vec::new(),
        plans: vec![Plan { name: "step".into(), launches: (0..SETS).map(launch).collect(), ..Plan::default() }],
        schedule: Schedule { steps: vec![] },
        samplers: Default::default(),
        arena: 0,
        spill: 0,
    };
    let mut device = Device::new(Arc::new(program), Backend::Interpreter, threads)?;
    let mut seed = 1u64;
    for id in 0..lens.len() as u32 {
        for x in device.read_mut::<f32>(BufferId(id))? {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            *x = (seed >> 40) as f32 / (1 << 23) as f32 - 1.0;
        }
    }
    device.run(0)?;
    let repeat = (100_000_000 / (SETS * m * n * k)).max(1);
    let best = (0..30)
        .map(|_| {
            let begun = Instant::now();
            (0..repeat).try_for_each(|_| device.run(0)).map(|()| begun.elapsed().as_secs_f64() / (repeat * SETS) as f64)
        })
        .try_fold(f64::INFINITY, |best, time| time.map(|time| best.min(time)))?;
    let [a, b, c] = [0, 1, 2].map(|id| device.read::<f32>(BufferId(id)).map(<[f32]>::to_vec));
    let (a, b, c) = (a?, b?, c?);
    let (mut squares, mut largest, mut count) = (0.0f64, 0.0f64, 0.0);
    for (i, j) in (0..m).step_by(7).flat_map(|i| (0..n).step_by(5).map(move |j| (i, j))) {
        let (mut sum, mut size) = (0.0, 0.0);
        for l in 0..k {
            let x = f64::from(if order.starts_with('t') { a[l * m + i] } else { a[i * k + l] });
            let y = f64::from(if order.ends_with('t') { b[j * k + l] } else { b[l * n + j] });
            sum += x * y;
            size += (x * y).abs();
        }
        let error = (f64::from(c[i * n + j]) - sum).abs() / (size * f64::from(f32::EPSILON) / 2.0);
        squares += error * error;
        largest = largest.max(error);
        count += 1.0;
    }
    let rate = 2e-9 * (m * n * k) as f64 / best;
    println!("{m:5} {n:5} {k:5}  {order}     {rate:7.0}   {:.3}, {largest:.2}", (squares / count).sqrt());
    Ok(())
}
