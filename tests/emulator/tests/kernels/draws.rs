//! Random numbers made by a GPU, bit by bit those that the CPU makes.

use super::program;
use emulator::Emulator;
use fgc_program::cuda::Precision;
use fgc_program::*;
use fgc_runtime::Values;
use fgc_runtime::cpu::{self, Backend};
use fgc_runtime::cuda;
use fgc_runtime::device::Device;
use fgc_runtime::random::Stream;
use std::sync::Arc;

const KINDS: [(Distribution, DType, usize); 8] = [
    (Distribution::Normal, DType::F32, 4097),
    (Distribution::Normal, DType::F64, 1),
    (Distribution::Normal, DType::F64, 2000),
    (Distribution::Uniform, DType::F32, 1030),
    (Distribution::Uniform, DType::F64, 33),
    (Distribution::Index { n: 1000 }, DType::I64, 77),
    (Distribution::Index { n: 7 }, DType::I64, 2),
    (Distribution::Permutation, DType::I64, 50),
];

/// A program that does nothing but read these draws; the plan's launches wait for the first index below 7.
fn drawing() -> Program {
    let mut program = program(KINDS.map(|(_, dtype, len)| (dtype, len)).to_vec(), vec![], vec![]);
    let input = |(i, (distribution, dtype, len)): (usize, (Distribution, DType, usize))| Input {
        name: format!("draw{i}"),
        kind: InputKind::Draw(distribution),
        dtype,
        shape: vec![len],
        buffer: BufferId(i as u32),
        number: None,
    };
    program.inputs = KINDS.into_iter().enumerate().map(input).collect();
    let first = Expr::Load { buffer: 6, index: Index::constant(0) };
    let when = Expr::Binary(BinaryOp::Lt, Box::new(first), Box::new(Expr::Const(Scalar::I64(3))));
    let read = |input: usize| PlanInput { input, when: (input == 0).then(|| when.clone()) };
    program.plans[0].inputs = [6, 0, 1, 2, 3, 4, 5, 7].map(read).to_vec();
    program
}

fn drawn(mut device: Device, stream: &Stream) -> Vec<Values> {
    for (i, (distribution, dtype, _)) in KINDS.into_iter().enumerate() {
        device.draw(BufferId(i as u32), dtype, distribution, stream).unwrap().unwrap();
    }
    (0..KINDS.len()).map(|i| device.values(BufferId(i as u32)).unwrap()).collect()
}

#[test]
fn draws_are_those_of_the_cpu() {
    let program = Arc::new(drawing());
    for (seed, stream) in [(0, Stream::new(1, 2, "eps")), (1, Stream::new(u64::MAX, u64::MAX, "t"))] {
        let host = cpu::Device::new(program.clone(), Backend::Reference, 1).unwrap();
        let device = cuda::Device::new(program.clone(), Precision::Bf16, Box::new(Emulator::new(seed))).unwrap();
        assert!(drawn(host.into(), &stream) == drawn(device.into(), &stream));
    }
}

/// What the host must know before a plan runs it draws itself, and what it would have to sort.
#[test]
fn the_host_draws_what_it_needs() {
    let program = drawing();
    let module = cuda::Device::new(Arc::new(program.clone()), Precision::F32, Box::new(Emulator::new(0))).unwrap();
    let here: Vec<u32> = module.module().draws.iter().map(|(input, _)| input.0).collect();
    assert_eq!(here, [0, 1, 2, 3, 4, 5]);
    let mut device: Device = module.into();
    let stream = Stream::new(3, 0, "exits");
    device.draw(BufferId(6), DType::I64, Distribution::Index { n: 7 }, &stream).unwrap().unwrap();
    let when = program.plans[0].inputs[1].when.as_ref().unwrap();
    assert_eq!(device.known(when).unwrap(), Scalar::Bool(stream.index(0, 7) < 3));
}
