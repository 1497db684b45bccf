//! A library for products and convolutions, by definition.

use fgc_program::ConvRole;
use fgc_program::cuda::{Filtering, Finish, Gemm, Matrix, Task};
use fgc_runtime::cuda::driver::Operands;

/// How good a library is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    Right,
    Slow,
    /// The first of its ways leaves out the last term of each sum.
    FirstWrong,
    /// The same library, which numbers its ways otherwise today.
    LastWrong,
    Wrong,
    /// Does not run where launches are recorded.
    Unrecorded,
}

/// The ways to do any task.
pub fn ways(library: Library) -> Vec<String> {
    let names = if library == Library::LastWrong { ["b", "a"] } else { ["a", "b"] };
    names.map(String::from).to_vec()
}

impl Library {
    /// With a version.
    pub fn name(self) -> String {
        match self {
            Library::FirstWrong | Library::LastWrong => "partly wrong".into(),
            library => format!("{library:?}"),
        }
    }

    fn is_wrong(self, way: usize) -> bool {
        match self {
            Library::Wrong => true,
            Library::FirstWrong => way == 0,
            Library::LastWrong => way == 1,
            Library::Right | Library::Slow | Library::Unrecorded => false,
        }
    }
}

/// Carries out a task.
///
/// # Safety
/// The places are of memory in which the task's operands fit, the result's apart from the others.
pub(crate) unsafe fn run(task: &Task, library: Option<Library>, way: usize, operands: &Operands) {
    let wrong = library.is_some_and(|library| library.is_wrong(way));
    // SAFETY: the caller's promise.
    unsafe {
        match task {
            Task::Gemm(gemm) => multiply(gemm, wrong, operands),
            Task::Filtering(filtering) => convolve(filtering, wrong, operands),
        }
    }
}

/// # Safety
/// As of [`run`].
unsafe fn multiply(gemm: &Gemm, wrong: bool, operands: &Operands) {
    let [a, b, c] = [operands.left.0, operands.right.0, operands.result.0];
    let terms = gemm.k - wrong as usize;
    for z in 0..gemm.batch {
        for m in 0..gemm.m {
            for n in 0..gemm.n {
                // SAFETY: the caller's promise.
                let left = |k| unsafe { get(a, place(&gemm.a, z, m, k), gemm.a.bf16) };
                // SAFETY: the caller's promise.
                let right = |k| unsafe { get(b, place(&gemm.b, z, k, n), gemm.b.bf16) };
                let sum = (0..terms).map(|k| left(k) * right(k)).sum::<f32>();
                let at = place(&gemm.c, z, m, n);
                // SAFETY: the caller's promise.
                let sum = unsafe { finished(sum, gemm.finish, operands, [at, n], gemm.c.bf16) };
                // SAFETY: the caller's promise.
                unsafe { put(c, at, gemm.c.bf16, sum) };
            }
        }
    }
}

/// # Safety
/// As of [`run`].
unsafe fn convolve(f: &Filtering, wrong: bool, operands: &Operands) {
    let [first, second, to] = [operands.left.0, operands.right.0, operands.result.0];
    let x = |n: usize, h: usize, w: usize, c: usize| ((n * f.height + h) * f.width + w) * f.channels + c;
    let w = |o: usize, i: usize, j: usize, c: usize| ((o * f.kernel[0] + i) * f.kernel[1] + j) * f.channels + c;
    let y = |n: usize, h: usize, w: usize, o: usize| ((n * f.out[0] + h) * f.out[1] + w) * f.filters + o;
    let len = match f.role {
        ConvRole::Forward => f.batch * f.out[0] * f.out[1] * f.filters,
        ConvRole::Input => f.batch * f.height * f.width * f.channels,
        ConvRole::Weight => f.filters * f.kernel[0] * f.kernel[1] * f.channels,
    };
    let mut sums = vec![0.0f32; len];
    for n in 0..f.batch {
        for (h, v) in (0..f.out[0]).flat_map(|h| (0..f.out[1]).map(move |v| (h, v))) {
            for (i, j) in (0..f.kernel[0]).flat_map(|i| (0..f.kernel[1]).map(move |j| (i, j))) {
                let [Some(row), Some(column)] = [(h, i, 0), (v, j, 1)].map(|(out, tap, axis)| {
                    let at = (out * f.stride[axis] + tap).checked_sub(f.pad[axis])?;
                    (at < [f.height, f.width][axis]).then_some(at)
                }) else {
                    continue;
                };
                if wrong && i + j == 0 {
                    continue;
                }
                for (o, c) in (0..f.filters).flat_map(|o| (0..f.channels).map(move |c| (o, c))) {
                    let (x, w, y) = (x(n, row, column, c), w(o, i, j, c), y(n, h, v, o));
                    let (a, b, sum) = match f.role {
                        ConvRole::Forward => (x, w, y),
                        ConvRole::Input => (w, y, x),
                        ConvRole::Weight => (x, y, w),
                    };
                    // SAFETY: the caller's promise.
                    sums[sum] += unsafe { get(first, a, f.bf16) * get(second, b, f.bf16) };
                }
            }
        }
    }
    for (i, sum) in sums.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *sum = unsafe { finished(*sum, f.finish, operands, [i, i % f.filters], f.bf16) };
    }
    // SAFETY: the caller's promise.
    sums.into_iter().enumerate().for_each(|(i, sum)| unsafe { put(to, i, f.bf16, sum) });
}

/// What is stored: of the matrix and the vector that are added, the elements at these places.
///
/// # Safety
/// As of [`run`].
unsafe fn finished(sum: f32, finish: Finish, operands: &Operands, [at, column]: [usize; 2], bf16: bool) -> f32 {
    let mut sum = finish.scale.get() * sum;
    if let Some(share) = finish.matrix {
        let matrix = operands.matrix.expect("a matrix").0;
        // SAFETY: the caller's promise.
        sum += share.get() * unsafe { get(matrix, at, bf16) };
    }
    if finish.bias {
        let bias = operands.bias.expect("a vector").0;
        // SAFETY: the caller's promise.
        sum += unsafe { get(bias, column, bf16) };
    }
    match finish.gelu {
        true => 0.5 * sum * (1.0 + ((2.0 / std::f32::consts::PI).sqrt() * (sum + 0.044715 * sum.powi(3))).tanh()),
        false => sum,
    }
}

fn place(matrix: &Matrix, z: usize, row: usize, column: usize) -> usize {
    let (far, near) = if matrix.by_columns { (column, row) } else { (row, column) };
    z * matrix.batch + far * matrix.stride + near
}

/// # Safety
/// The element is there.
unsafe fn get(from: u64, at: usize, bf16: bool) -> f32 {
    // SAFETY: the caller's promise.
    unsafe {
        if bf16 {
            f32::from_bits(u32::from(*(from as *const u16).add(at)) << 16)
        } else {
            *(from as *const f32).add(at)
        }
    }
}

/// # Safety
/// The element is there, and nobody else's.
unsafe fn put(to: u64, at: usize, bf16: bool, value: f32) {
    // SAFETY: the caller's promise.
    unsafe {
        if bf16 {
            *(to as *mut u16).add(at) = rounded(value);
        } else {
            *(to as *mut f32).add(at) = value;
        }
    }
}

/// To the nearest, ties to even.
fn rounded(x: f32) -> u16 {
    let bits = x.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}
