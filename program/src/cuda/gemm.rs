//! Products that a matrix library may do instead of a function of ours: cuBLASLt is faster at large ones, ours need neither it
//! nor copies of operands. A device that has the library measures both ([`Choice`]).

use super::{Builder, Call, More, Precision};
use crate::{BufferId, Contract, DType, Launch, Operand};

/// Multiplications and additions of a product that a library may be worth.
const LARGE: usize = 1 << 26;
/// What a library wants operands to start at, in bytes.
pub const ALIGNED: usize = 16;

/// c\[m, n\] = Σₖ a\[m, k\]·b\[k, n\] for each matrix of a batch; sums in f32.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Gemm {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub batch: usize,
    pub precision: Precision,
    pub a: Matrix,
    pub b: Matrix,
    pub c: Matrix,
}

/// Where a product finds or leaves its elements: bf16 or f32.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Matrix {
    /// Whether neighbours in memory are those of a column rather than a row.
    pub by_columns: bool,
    /// Elements from one row, or column, to the next.
    pub stride: usize,
    /// Elements from one matrix of the batch to the next.
    pub batch: usize,
    pub bf16: bool,
}

/// Another way to carry out a launch.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Of the program's.
    pub plan: usize,
    /// Of the plan's.
    pub launch: usize,
    /// Copies operands in bf16 to scratch memory, first.
    pub copies: Vec<Call>,
    /// Position in [`super::Module::gemms`].
    pub gemm: usize,
    /// Where its a, b and c begin.
    pub starts: [Start; 3],
    /// What the launch reads and, last, writes.
    pub buffers: [BufferId; 3],
}

/// Where a matrix begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A byte of a buffer.
    Within(BufferId, usize),
    /// A byte of the scratch memory.
    Scratch(usize),
}

impl Gemm {
    /// The product as a library takes it; None where it is small, or its matrices lie otherwise.
    fn new(x: &Contract, precision: Precision, bf16: [bool; 3]) -> Option<Gemm> {
        let batch = Batch::of(x)?;
        let count = batch.extent.checked_mul(x.m)?.checked_mul(x.n)?.checked_mul(x.k)?;
        if x.dtype != DType::F32 || count < LARGE / 2 {
            return None;
        }
        let matrix = |operand: &Operand, [rows, columns]: [usize; 2], i: usize| {
            let by_columns = operand.row == 1 && operand.col != 1;
            let (near, far, along) =
                if by_columns { (operand.row, operand.col, rows) } else { (operand.col, operand.row, columns) };
            let stride = usize::try_from(far).ok().filter(|stride| near == 1 && *stride >= along)?;
            let matrix = Matrix { by_columns, stride, batch: batch.strides[i], bf16: bf16[i] };
            // Sixteen bytes are loaded at once.
            let width = ALIGNED / if bf16[i] { 2 } else { 4 };
            let aligned = [stride, matrix.batch, operand.offset].iter().all(|elements| elements.is_multiple_of(width));
            aligned.then_some(matrix)
        };
        Some(Gemm {
            m: x.m,
            n: x.n,
            k: x.k,
            batch: batch.extent,
            precision,
            a: matrix(&x.a, [x.m, x.k], 0)?,
            b: matrix(&x.b, [x.k, x.n], 1)?,
            c: matrix(&x.c, [x.m, x.n], 2)?,
        })
    }
}

/// A batch whose matrices follow each other in one way.
struct Batch {
    extent: usize,
    strides: [usize; 3],
}

impl Batch {
    fn of(x: &Contract) -> Option<Batch> {
        let mut batch = Batch { extent: 1, strides: [0; 3] };
        for dim in x.batch.iter().rev().filter(|dim| dim.extent != 1) {
            let strides = [dim.a, dim.b, dim.c].map(|stride| usize::try_from(stride).ok());
            let [Some(a), Some(b), Some(c)] = strides else { return None };
            let strides = [a, b, c];
            let follows = batch.strides.iter().zip(strides).all(|(inner, outer)| batch.extent * inner == outer);
            if batch.extent == 1 {
                batch.strides = strides;
            } else if !follows {
                return None;
            }
            batch.extent *= dim.extent;
        }
        Some(batch)
    }
}

impl Builder<'_> {
    /// Notes for launch number `launch` of a plan how a library may do it.
    pub(super) fn choice(&mut self, plan: usize, number: usize, launch: &Launch) {
        let Launch::Contract(x) = launch else { return };
        let buffers = [x.a.buffer, x.b.buffer, x.c.buffer];
        if buffers.iter().any(|buffer| !self.aligned[buffer.0 as usize]) || buffers[..2].contains(&buffers[2]) {
            return;
        }
        let narrow = buffers.map(|buffer| self.program.buffers[buffer.0 as usize].narrow);
        // Of a bf16 product's operands those that are f32 are copied, all of their buffer.
        let copied = [0, 1].map(|i| self.precision == Precision::Bf16 && !narrow[i]);
        let bf16 = [narrow[0] || copied[0], narrow[1] || copied[1], narrow[2]];
        let Some(gemm) = Gemm::new(x, self.precision, bf16) else { return };
        let (mut copies, mut scratch) = (Vec::new(), 0);
        let mut starts = [&x.a, &x.b, &x.c].map(|operand| {
            let narrow = self.program.buffers[operand.buffer.0 as usize].narrow;
            Start::Within(operand.buffer, operand.offset * if narrow { 2 } else { 4 })
        });
        for (i, operand) in [&x.a, &x.b].into_iter().enumerate().filter(|(i, _)| copied[*i]) {
            let len = self.program.buffers[operand.buffer.0 as usize].len;
            copies.push(self.copy(operand.buffer, len, scratch));
            starts[i] = Start::Scratch(scratch + 2 * operand.offset);
            scratch += (2 * len).next_multiple_of(super::ALIGN);
        }
        self.module.scratch = self.module.scratch.max(scratch);
        let gemms = &mut self.module.gemms;
        let gemm = gemms.iter().position(|other| *other == gemm).unwrap_or_else(|| {
            gemms.push(gemm);
            gemms.len() - 1
        });
        self.module.choices.push(Choice { plan, launch: number, copies, gemm, starts, buffers });
    }

    /// A call that copies a buffer to this byte of the scratch memory, in bf16.
    fn copy(&mut self, buffer: BufferId, len: usize, byte: usize) -> Call {
        let function = self.copying();
        let blocks = len.div_ceil(4 * 256).clamp(1, 4096);
        let more = vec![More::Number(byte as i64), More::Number(len as i64)];
        Call { function, blocks, buffers: vec![buffer], scratches: true, more }
    }

    /// The function that copies f32 to bf16.
    pub(super) fn copying(&mut self) -> usize {
        self.function("copy in bf16", 256, COPY.into())
    }
}

/// What begins at multiples of 16 bytes, four at a time.
const COPY: &str = "(const float *__restrict__ x, char *scratch, int64_t byte, int64_t len) {
  bf16 *const y = (bf16 *)(scratch + byte);
  const int64_t fours = len / 4, step = (int64_t)gridDim.x * 256;
  const int64_t first = (int64_t)blockIdx.x * 256 + threadIdx.x;
  for (int64_t i = first; i < fours; i += step) {
    const Pack<float> from = *(const Pack<float> *)(x + 4 * i);
    Pack<bf16> to;
#pragma unroll
    for (int j = 0; j < 4; ++j) to.x[j] = narrow(from.x[j]);
    *(Pack<bf16> *)(y + 4 * i) = to;
  }
  for (int64_t i = 4 * fours + first; i < len; i += step) y[i] = narrow(x[i]);
}
";
