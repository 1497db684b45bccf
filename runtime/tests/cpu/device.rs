//! Whole programs.

use crate::build::*;
use fgc_program::*;
use fgc_runtime::Values;
use fgc_runtime::cpu::{Backend, Device, DeviceError};
use std::sync::Arc;

/// y = softmax(x·w) over an arena: a product, then a kernel; w is a part of a larger buffer.
fn network() -> Program {
    let (m, n, k) = (300, 200, 96);
    let mut program = program(
        vec![(DType::F32, m * k), (DType::F32, k * n + 16), (DType::F32, m * n)],
        vec![softmax(m, n)],
        vec![
            Launch::Contract(Contract {
                dtype: DType::F32,
                m,
                n,
                k,
                batch: vec![],
                a: Operand { buffer: BufferId(0), offset: 0, row: k as isize, col: 1 },
                b: Operand { buffer: BufferId(3), offset: 0, row: n as isize, col: 1 },
                c: Operand { buffer: BufferId(4), offset: 0, row: n as isize, col: 1 },
            }),
            Launch::Kernel { kernel: KernelId(0), args: vec![BufferId(4), BufferId(2)] },
        ],
    );
    program.buffers.push(Buffer {
        dtype: DType::F32,
        narrow: false,
        len: k * n,
        place: Place::Part { of: BufferId(1), start: 16 },
    });
    program.buffers.push(Buffer { dtype: DType::F32, narrow: false, len: m * n, place: Place::Arena { offset: 64 } });
    program.arena = 64 + m * n * 4;
    program
}

fn inputs(program: &Program) -> Vec<Values> {
    (0..2).map(|i| floats(DType::F32, &noise(i as u64 + 7, program.buffers[i].len))).collect()
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let program = network();
    let inputs = inputs(&program);
    let one = run(&program, Backend::Compiled, 1, &inputs);
    for threads in [2, 3, 8] {
        let many = run(&program, Backend::Compiled, threads, &inputs);
        let bits = |values: &Values| as_f64(values).into_iter().map(f64::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(&one[2]), bits(&many[2]), "{threads} threads");
    }
    let expected = as_f64(&run(&program, Backend::Reference, 1, &inputs)[2]);
    assert!(expected.iter().zip(as_f64(&one[2])).all(|(a, b)| close(*a, b, 1e-4, 1e-7)));
}

#[test]
fn buffers_are_read_and_written_by_dtype() {
    let program = network();
    let mut device = device(&program, Backend::Interpreter, 1, &inputs(&program));
    assert_eq!(device.read::<f32>(BufferId(3)).unwrap()[0], device.read::<f32>(BufferId(1)).unwrap()[16]);
    assert!(matches!(device.read::<f64>(BufferId(0)), Err(DeviceError::Mismatch { .. })));
    assert!(matches!(device.read::<f32>(BufferId(99)), Err(DeviceError::Mismatch { .. })));
    assert!(matches!(device.write(BufferId(0), &[0f32; 3]), Err(DeviceError::Mismatch { .. })));
    assert!(matches!(device.copy(BufferId(0), BufferId(1)), Err(DeviceError::Copy { .. })));
    device.copy(BufferId(2), BufferId(4)).unwrap();
    assert!(matches!(device.run(1), Err(DeviceError::NoPlan(1))));
    device.set_profiling(true);
    device.run(0).unwrap();
    assert_eq!(device.times(0).len(), 2);
}

fn problems(program: Program) -> String {
    match Device::new(Arc::new(program), Backend::Interpreter, 1) {
        Err(error @ DeviceError::Invalid(_)) => error.to_string(),
        Err(error) => panic!("another error: {error}"),
        Ok(_) => String::new(),
    }
}

type Change = fn(&mut Program);

#[test]
fn an_invalid_program_does_not_run() {
    assert_eq!(problems(network()), "");
    let broken = |change: Change| {
        let mut program = network();
        change(&mut program);
        problems(program)
    };
    let cases: [(Change, &str); 12] = [
        (|p| p.arena -= 1, "outside the arena"),
        (|p| p.buffers[4].place = Place::Arena { offset: 4 }, "no multiple of 64"),
        (|p| p.buffers[3].place = Place::Part { of: BufferId(1), start: 17 }, "past the end of buffer 1"),
        (|p| p.buffers[3].place = Place::Part { of: BufferId(4), start: 0 }, "no f32 that has any"),
        (|p| p.plans[0].launches.swap(0, 1), "reads buffer 4 before it is written"),
        (|p| p.kernels[0].extent += 1, "goes over 0..=60199"),
        (|p| p.kernels[0].buffers[1].len -= 1, "not f32[59999]"),
        (|p| p.kernels[0].buffers[1].access = Access::Read, "not there to be written"),
        (|p| drop(p.kernels[0].body.remove(2)), "r1 is"),
        (
            |p| {
                let Launch::Contract(c) = &mut p.plans[0].launches[0] else {
                    return;
                };
                c.a.col = 2;
            },
            "operand a reaches outside",
        ),
        (
            |p| {
                let Launch::Contract(c) = &mut p.plans[0].launches[0] else {
                    return;
                };
                (c.c.row, c.c.col) = (1, 1);
            },
            "writes an element of c twice",
        ),
        (
            |p| {
                let Launch::Kernel { args, .. } = &mut p.plans[0].launches[1] else {
                    return;
                };
                args[1] = args[0];
            },
            "overlaps its buffer 4",
        ),
    ];
    for (change, message) in cases {
        let found = broken(change);
        assert!(found.contains(message), "wanted `{message}`, found `{found}`");
    }
}

#[test]
fn arena_buffers_in_use_at_once_must_not_share_memory() {
    let mut program = network();
    // A second buffer at the same place, written while the first is still to be read.
    program.buffers.push(Buffer { place: Place::Arena { offset: 128 }, ..program.buffers[4].clone() });
    program.arena += 64;
    let Launch::Contract(mut again) = program.plans[0].launches[0].clone() else { panic!("no product") };
    again.c.buffer = BufferId(5);
    program.plans[0].launches.insert(1, Launch::Contract(again.clone()));
    let message = problems(program.clone());
    assert!(message.contains("buffers 4 and 5 share arena memory"), "{message}");
    // After the first was read it may.
    program.plans[0].launches.swap(1, 2);
    assert_eq!(problems(program), "");
}
