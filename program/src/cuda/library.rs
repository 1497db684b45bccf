//! Products and convolutions that a library may do instead of functions of ours: cuBLASLt and cuDNN are faster at large ones,
//! ours need neither these nor copies of operands. A device that has the library measures both ([`Choice`]).

use super::filtering::Filtering;
use super::finish::{Factor, Finish, finishing};
use super::gemm::Gemm;
use super::store::uses;
use super::{ALIGN, Builder, Call, More, Precision};
use crate::{Access, BufferId, Contract, Conv, ConvRole, DType, Launch, Operand, Place, Scalar, c};
use std::fmt;
use std::ops::Range;

/// Multiplications that a library may be worth.
pub(super) const LARGE: usize = 1 << 25;
/// Bytes of scratch memory that a library's operands may take, where functions of ours do not take more.
const ROOM: usize = 1 << 29;
/// What a library wants operands to start at, in bytes.
pub const ALIGNED: usize = 16;

/// What a library does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    Gemm(Gemm),
    Filtering(Filtering),
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let finish = self.finish();
        match self {
            Task::Gemm(Gemm { m, n, k, batch, precision, .. }) => {
                write!(f, "product {batch} × [{m}, {k}]·[{k}, {n}]{finish} in {precision}")
            }
            Task::Filtering(Filtering { role, kernel, batch, height, width, channels, filters, precision, .. }) => {
                let [down, across] = kernel;
                let image = format!("{batch}×{height}×{width}×{channels}");
                write!(f, "convolution {role:?} {down}×{across} {image} → {filters}{finish} in {precision}")
            }
        }
    }
}

impl Task {
    /// How it multiplies.
    pub fn precision(&self) -> Precision {
        match self {
            Task::Gemm(gemm) => gemm.precision,
            Task::Filtering(filtering) => filtering.precision,
        }
    }

    /// What is done to its elements.
    pub fn finish(&self) -> Finish {
        match self {
            Task::Gemm(gemm) => gemm.finish,
            Task::Filtering(filtering) => filtering.finish,
        }
    }

    /// How many products each of its elements is the sum of.
    pub fn terms(&self) -> usize {
        match self {
            Task::Gemm(gemm) => gemm.k,
            Task::Filtering(f) => match f.role {
                ConvRole::Forward => f.kernel[0] * f.kernel[1] * f.channels,
                ConvRole::Input => f.kernel[0] * f.kernel[1] * f.filters,
                ConvRole::Weight => f.batch * f.out[0] * f.out[1],
            },
        }
    }

    /// The task with something done to its elements, if libraries can do that.
    fn finishing(self, finish: Finish) -> Option<Task> {
        match self {
            Task::Gemm(gemm) => {
                let along_rows = !gemm.c.by_columns && gemm.batch == 1;
                (along_rows || !finish.bias).then_some(Task::Gemm(Gemm { finish, ..gemm }))
            }
            Task::Filtering(filtering) => {
                let scales = Finish { scale: finish.scale, ..Finish::default() };
                // Only with a vector is there a function for more.
                let fits = finish == scales || finish.bias && !finish.gelu && filtering.role == ConvRole::Forward;
                fits.then_some(Task::Filtering(Filtering { finish, ..filtering }))
            }
        }
    }
}

/// Another way to carry out a product or a convolution, and the kernel that it hands its elements to, if it does.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Of the program's.
    pub plan: usize,
    /// Of the plan's; the kernel is the next.
    pub launch: usize,
    /// Copies operands to scratch memory, as the library wants them.
    pub before: Vec<Call>,
    /// Position in [`super::Module::tasks`].
    pub task: usize,
    /// Where its two operands and its result begin: a, b and c; of x, w and y those that are given, in this order, then the
    /// computed one.
    pub starts: [Start; 3],
    /// Where what is added begins, as the task's [`Finish`] says.
    pub matrix: Option<Start>,
    pub bias: Option<Start>,
    /// Copies the result from scratch memory; then the kernel.
    pub after: Vec<Call>,
    /// A result that only the kernel reads and that has no memory of its own, and the byte of the scratch memory where these
    /// calls find it.
    pub lent: Option<(BufferId, usize)>,
    /// What is multiplied.
    pub operands: [BufferId; 2],
    /// What the launches read and write of f32 or bf16, but for the result that is lent.
    pub reads: Vec<BufferId>,
    pub writes: Vec<BufferId>,
    /// Bytes of the scratch memory that it takes, from its start.
    pub scratch: usize,
}

/// Where an operand begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A byte of a buffer.
    Within(BufferId, usize),
    /// A byte of the scratch memory.
    Scratch(usize),
}

/// Calls of copies before and after, with the scratch memory they take so far.
#[derive(Default)]
struct Copies {
    before: Vec<Call>,
    after: Vec<Call>,
    bytes: usize,
}

impl Builder<'_> {
    /// Notes how a library may do a plan's launch, and a kernel after it, if there are two.
    pub(super) fn choice(&mut self, plan: usize, launches: Range<usize>) {
        let program = self.program;
        let all = &program.plans[plan].launches[launches.clone()];
        let mut copies = Copies::default();
        let lent = if all.len() > 1 { self.lent(&all[0], &mut copies) } else { None };
        let found = match &all[0] {
            Launch::Contract(x) => self.gemm(x, &mut copies),
            Launch::Conv(x) => self.filtering(x, &mut copies),
            Launch::Kernel { .. } | Launch::Extern(_) => None,
        };
        let Some((task, mut starts, [a, b, _])) = found else { return };
        for start in &mut starts {
            if let (Start::Within(buffer, byte), Some((own, first))) = (*start, lent)
                && buffer == own
            {
                *start = Start::Scratch(first + byte);
            }
        }
        // First what does more.
        self.finishing(plan, launches.clone());
        for launch in &all[1..] {
            let calls = self.calls(launch);
            // They would write over the result.
            if calls.iter().any(|call| call.scratches) {
                return;
            }
            copies.after.extend(calls);
        }
        if copies.bytes > self.module.scratch.max(ROOM) {
            return;
        }
        let (mut reads, mut writes): (Vec<BufferId>, Vec<BufferId>) = Default::default();
        for (buffer, access) in all.iter().flat_map(|launch| uses(program, launch)) {
            let is_number = program.buffers[buffer.0 as usize].dtype == DType::F32;
            if !is_number && access != Access::Read {
                // It would not be compared.
                return;
            }
            if !is_number || lent.is_some_and(|(lent, _)| lent == buffer) {
                continue;
            }
            for (list, other) in [(&mut reads, Access::Write), (&mut writes, Access::Read)] {
                if access != other && !list.contains(&buffer) {
                    list.push(buffer);
                }
            }
        }
        let (task, launch) = (self.task(task, &copies), launches.start);
        let Copies { before, after, bytes: scratch } = copies;
        self.module.choices.push(Choice {
            plan,
            launch,
            before,
            task,
            starts,
            matrix: None,
            bias: None,
            after,
            lent,
            operands: [a, b],
            reads,
            writes,
            scratch,
        });
    }

    /// Notes how a library may do a product or a convolution and the kernel that takes its elements, both at once.
    fn finishing(&mut self, plan: usize, launches: Range<usize>) {
        let program = self.program;
        let launch = launches.start;
        let [first, Launch::Kernel { kernel, args }] = &program.plans[plan].launches[launches] else { return };
        let (result, columns) = match first {
            Launch::Contract(x) => (x.c.buffer, x.n),
            Launch::Conv(x) => (x.operands().0, x.filters),
            Launch::Kernel { .. } | Launch::Extern(_) => return,
        };
        let is_local = matches!(program.buffers[result.0 as usize].place, Place::Band { .. });
        let own = args.iter().position(|arg| *arg == result).filter(|_| is_local);
        let kernel = &program.kernels[kernel.0 as usize];
        let Some(found) = own.and_then(|own| finishing(kernel, own, columns)) else { return };
        // The kernel's results lie as the product would.
        let (results, mut copies) = (args[found.result], Copies::default());
        let mut whole = first.clone();
        whole.each_buffer(|buffer| *buffer = if *buffer == result { results } else { *buffer });
        let task = match &whole {
            Launch::Contract(x) => self.gemm(x, &mut copies),
            Launch::Conv(x) => self.filtering(x, &mut copies),
            Launch::Kernel { .. } | Launch::Extern(_) => None,
        };
        let Some((task, starts, [a, b, _])) =
            task.and_then(|(task, starts, buffers)| Some((task.finishing(found.finish)?, starts, buffers)))
        else {
            return;
        };
        let (matrix, vector) = (found.matrix.map(|at| args[at]), found.bias.map(|(at, share)| (args[at], share)));
        let added: Vec<BufferId> = matrix.into_iter().chain(vector.map(|(buffer, _)| buffer)).collect();
        if added.iter().any(|buffer| !self.aligned[buffer.0 as usize] || *buffer == results) {
            return;
        }
        // What is added is of the result's type.
        let narrow = self.is_narrow(results);
        if matrix.is_some_and(|matrix| self.is_narrow(matrix) != narrow) {
            return;
        }
        let bias = match vector {
            None => None,
            Some((bias, Factor::ONE)) if self.is_narrow(bias) == narrow => Some(Start::Within(bias, 0)),
            Some((bias, _)) if self.is_narrow(bias) => return,
            Some((bias, Factor::ONE)) => Some(Start::Scratch(self.copy(bias, &mut copies))),
            Some((bias, share)) => Some(Start::Scratch(self.scale(bias, share, narrow, &mut copies))),
        };
        if copies.bytes > self.module.scratch.max(ROOM) {
            return;
        }
        let task = self.task(task, &copies);
        self.module.choices.push(Choice {
            plan,
            launch,
            before: copies.before,
            task,
            starts,
            matrix: matrix.map(|matrix| Start::Within(matrix, 0)),
            bias,
            after: copies.after,
            lent: None,
            operands: [a, b],
            reads: [a, b].into_iter().chain(added).collect(),
            writes: vec![results],
            scratch: copies.bytes,
        });
    }

    /// The position of a task that takes these copies; equal ones are one.
    fn task(&mut self, task: Task, copies: &Copies) -> usize {
        self.module.scratch = self.module.scratch.max(copies.bytes);
        let tasks = &mut self.module.tasks;
        tasks.iter().position(|other| *other == task).unwrap_or_else(|| {
            tasks.push(task);
            tasks.len() - 1
        })
    }

    /// Scratch memory for the result of a launch, where it has none of its own.
    fn lent(&self, launch: &Launch, copies: &mut Copies) -> Option<(BufferId, usize)> {
        let result = match launch {
            Launch::Contract(x) => x.c.buffer,
            Launch::Conv(x) => x.operands().0,
            Launch::Kernel { .. } | Launch::Extern(_) => return None,
        };
        let buffer = &self.program.buffers[result.0 as usize];
        if !matches!(buffer.place, Place::Band { .. }) {
            return None;
        }
        let byte = copies.bytes;
        copies.bytes += buffer.bytes().next_multiple_of(ALIGN);
        Some((result, byte))
    }

    /// Functions that copies need, there or not: what is compiled does not depend on the library.
    pub(super) fn copying(&mut self) {
        if self.precision == Precision::Bf16 {
            self.function("copy in bf16", 256, COPY.into());
        }
        if self.program.plans.iter().flat_map(|plan| &plan.launches).any(|launch| matches!(launch, Launch::Conv(_))) {
            self.turning(false);
            if self.precision == Precision::Bf16 {
                self.turning(true);
            }
            self.turning_back();
        }
    }

    fn is_narrow(&self, buffer: BufferId) -> bool {
        self.program.buffers[buffer.0 as usize].narrow
    }

    fn usable(&self, buffers: [BufferId; 3]) -> bool {
        buffers.iter().all(|buffer| self.aligned[buffer.0 as usize]) && !buffers[..2].contains(&buffers[2])
    }

    fn gemm(&mut self, x: &Contract, copies: &mut Copies) -> Option<(Task, [Start; 3], [BufferId; 3])> {
        let buffers = [x.a.buffer, x.b.buffer, x.c.buffer];
        if !self.usable(buffers) {
            return None;
        }
        let narrow = buffers.map(|buffer| self.is_narrow(buffer));
        // Of a bf16 product's operands those that are f32 are copied, all of their buffer.
        let copied = [0, 1].map(|i| self.precision == Precision::Bf16 && !narrow[i]);
        let gemm = Gemm::new(x, self.precision, [narrow[0] || copied[0], narrow[1] || copied[1], narrow[2]])?;
        let within = |operand: &Operand, narrow: bool| {
            Start::Within(operand.buffer, operand.offset * if narrow { 2 } else { 4 })
        };
        let mut starts = [within(&x.a, narrow[0]), within(&x.b, narrow[1]), within(&x.c, narrow[2])];
        for (i, operand) in [&x.a, &x.b].into_iter().enumerate().filter(|(i, _)| copied[*i]) {
            starts[i] = Start::Scratch(self.copy(operand.buffer, copies) + 2 * operand.offset);
        }
        Some((Task::Gemm(gemm), starts, buffers))
    }

    fn filtering(&mut self, x: &Conv, copies: &mut Copies) -> Option<(Task, [Start; 3], [BufferId; 3])> {
        let (computed, [first, second]) = x.operands();
        let buffers = [first, second, computed];
        let filtering = Filtering::new(x, self.precision).filter(|_| self.usable(buffers))?;
        // A library's result is as its operands, and not narrower than it was to be.
        if x.w == x.x || x.w == x.y || filtering.bf16 != self.is_narrow(computed) {
            return None;
        }
        let matrix = [x.kernel[0] * x.kernel[1] * x.channels, x.filters];
        let starts = buffers.map(|buffer| match (buffer == x.w && !x.turned, buffer == computed) {
            (true, false) => Start::Scratch(self.turn(buffer, matrix, copies)),
            (true, true) => Start::Scratch(self.turn_back(buffer, matrix, copies)),
            (false, false) if filtering.bf16 && !self.is_narrow(buffer) => Start::Scratch(self.copy(buffer, copies)),
            (false, _) => Start::Within(buffer, 0),
        });
        Some((Task::Filtering(filtering), starts, buffers))
    }

    /// Copies all of a buffer to scratch memory, in bf16; to which byte.
    fn copy(&mut self, buffer: BufferId, copies: &mut Copies) -> usize {
        let (len, byte) = (self.program.buffers[buffer.0 as usize].len, copies.bytes);
        let function = self.function("copy in bf16", 256, COPY.into());
        let (blocks, more) = (blocks(len / 4), numbers([byte, len]));
        copies.before.push(Call { function, blocks, buffers: vec![buffer], scratches: true, more });
        copies.bytes += (2 * len).next_multiple_of(ALIGN);
        byte
    }

    /// Copies all of an f32 buffer to scratch memory, times a factor, in bf16 or f32; to which byte.
    fn scale(&mut self, buffer: BufferId, factor: Factor, narrow: bool, copies: &mut Copies) -> usize {
        let (len, byte) = (self.program.buffers[buffer.0 as usize].len, copies.bytes);
        let factor = c::constant(Scalar::F32(factor.get()));
        let (to, value) = match narrow {
            true => ("bf16", format!("narrow(x[i] * {factor})")),
            false => ("float", format!("x[i] * {factor}")),
        };
        let text = format!(
            "(const float *__restrict__ x, char *scratch, int64_t byte, int64_t len) {{\n  \
             {to} *const y = ({to} *)(scratch + byte);\n  \
             for (int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x; i < len; i += (int64_t)gridDim.x * 256) \
             y[i] = {value};\n}}\n"
        );
        let function = self.function("copy scaled", 256, text);
        let (blocks, more) = (blocks(len), numbers([byte, len]));
        copies.before.push(Call { function, blocks, buffers: vec![buffer], scratches: true, more });
        copies.bytes += (4 * len).next_multiple_of(ALIGN);
        byte
    }

    /// Copies a matrix's transpose to scratch memory, as it is multiplied; to which byte.
    fn turn(&mut self, buffer: BufferId, [rows, columns]: [usize; 2], copies: &mut Copies) -> usize {
        let (len, byte) = (rows * columns, copies.bytes);
        let function = self.turning(self.is_narrow(buffer));
        let (blocks, more) = (blocks(len), numbers([byte, rows, columns]));
        copies.before.push(Call { function, blocks, buffers: vec![buffer], scratches: true, more });
        copies.bytes += (4 * len).next_multiple_of(ALIGN);
        byte
    }

    /// Copies to a matrix its transpose, which is to be in scratch memory; at which byte.
    fn turn_back(&mut self, buffer: BufferId, [rows, columns]: [usize; 2], copies: &mut Copies) -> usize {
        let (len, byte) = (rows * columns, copies.bytes);
        let (function, blocks, more) = (self.turning_back(), blocks(len), numbers([byte, rows, columns]));
        copies.after.push(Call { function, blocks, buffers: vec![buffer], scratches: true, more });
        copies.bytes += (4 * len).next_multiple_of(ALIGN);
        byte
    }

    /// The function that copies a matrix's transpose, of what is `narrow` or not, as it is multiplied.
    fn turning(&mut self, narrow: bool) -> usize {
        let from = if narrow { "bf16" } else { "float" };
        let (to, value) = match (self.precision, narrow) {
            (Precision::Bf16, false) => ("bf16", "narrow(x[r * columns + c])"),
            _ => (from, "x[r * columns + c]"),
        };
        let text = format!(
            "(const {from} *__restrict__ x, char *scratch, int64_t byte, int64_t rows, int64_t columns) {{\n  \
             {to} *const y = ({to} *)(scratch + byte);\n  \
             for (int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x; i < rows * columns; i += (int64_t)gridDim.x * 256) {{\n    \
             const int64_t r = i % rows, c = i / rows;\n    \
             y[i] = {value};\n  }}\n}}\n"
        );
        self.function("copy turned", 256, text)
    }

    /// The function that copies a result's transpose to where it belongs.
    fn turning_back(&mut self) -> usize {
        let ty = if self.precision == Precision::Bf16 { "bf16" } else { "float" };
        let text = format!(
            "({ty} *__restrict__ x, char *scratch, int64_t byte, int64_t rows, int64_t columns) {{\n  \
             const {ty} *const y = (const {ty} *)(scratch + byte);\n  \
             for (int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x; i < rows * columns; i += (int64_t)gridDim.x * 256) {{\n    \
             const int64_t r = i / columns, c = i % columns;\n    \
             x[i] = y[c * rows + r];\n  }}\n}}\n"
        );
        self.function("copy turned back", 256, text)
    }
}

fn blocks(threads: usize) -> usize {
    threads.div_ceil(256).clamp(1, 4096)
}

fn numbers<const N: usize>(numbers: [usize; N]) -> Vec<More> {
    numbers.map(|number| More::Number(number as i64)).into()
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
