//! Tuned products and convolutions against their definitions.

use crate::build::*;
use fgc_program::*;
use fgc_runtime::cpu::Backend;
use proptest::prelude::*;

/// Compares buffer `out` after the tuned and the naive run, and 1 thread with 3 bit for bit.
fn check(program: &Program, out: usize, terms: usize, dtype: DType) {
    let inputs: Vec<_> =
        program.buffers.iter().enumerate().map(|(i, b)| floats(dtype, &noise(i as u64 + 1, b.len))).collect();
    let expected = as_f64(&run(program, Backend::Reference, 1, &inputs)[out]);
    let found = run(program, Backend::Interpreter, 1, &inputs);
    assert_eq!(found, run(program, Backend::Interpreter, 3, &inputs), "1 and 3 threads differ");
    let epsilon = if dtype == DType::F32 { 2e-6 } else { 1e-14 };
    for (i, (a, b)) in expected.iter().zip(as_f64(&found[out])).enumerate() {
        assert!(close(*a, b, 0.0, epsilon * (terms as f64).sqrt().max(1.0)), "element {i}: naive {a}, tuned {b}");
    }
}

/// Which of the two strides is 1.
fn strides(rows: usize, cols: usize, column_major: bool) -> (isize, isize, usize) {
    if column_major { (1, rows as isize, rows * cols) } else { (cols as isize, 1, rows * cols) }
}

fn contraction(size: [usize; 3], batch: &[usize], orders: [bool; 3], shared: bool, dtype: DType) -> Program {
    let [m, n, k] = size;
    let a = strides(m, k, orders[0]);
    let b = strides(k, n, orders[1]);
    let c = strides(m, n, orders[2]);
    let mut dims = Vec::new();
    let mut count = 1usize;
    for extent in batch.iter().rev() {
        let (step, b_step) = (count as isize, if shared { 0 } else { (count * b.2) as isize });
        dims.insert(0, BatchDim { extent: *extent, a: step * a.2 as isize, b: b_step, c: step * c.2 as isize });
        count *= extent;
    }
    let b_len = if shared { b.2 } else { b.2 * count };
    let operand = |id, s: (isize, isize, usize), offset| Operand { buffer: BufferId(id), offset, row: s.0, col: s.1 };
    let contract =
        Contract { dtype, m, n, k, batch: dims, a: operand(0, a, 3), b: operand(1, b, 0), c: operand(2, c, 1) };
    let buffers = vec![(dtype, a.2 * count + 3), (dtype, b_len), (dtype, c.2 * count + 2)];
    program(buffers, vec![], vec![Launch::Contract(contract)])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn products_of_any_shape(
        size in [0usize..100, 0usize..100, 0usize..100],
        batch in proptest::collection::vec(1usize..4, 0..3),
        orders: [bool; 3],
        shared: bool,
        double: bool,
    ) {
        let dtype = if double { DType::F64 } else { DType::F32 };
        check(&contraction(size, &batch, orders, shared, dtype), 2, size[2], dtype);
    }
}

#[test]
fn large_products_are_tiled() {
    for (size, batch) in
        [([300, 500, 130], vec![]), ([330, 290, 1100], vec![]), ([64, 1152, 288], vec![]), ([7, 130, 300], vec![40])]
    {
        check(&contraction(size, &batch, [false, true, false], false, DType::F32), 2, size[2], DType::F32);
    }
}

#[test]
fn batches_share_an_operand_or_have_few_rows() {
    for (size, batch) in [([64, 130, 300], vec![16]), ([5, 700, 300], vec![2, 3]), ([3, 900, 1100], vec![])] {
        for (orders, shared) in [([false; 3], true), ([true; 3], true), ([true, false, true], false)] {
            check(&contraction(size, &batch, orders, shared, DType::F32), 2, size[2], DType::F32);
        }
    }
}

/// `a·b` of row-major f32 matrices.
fn tuned([m, n, k]: [usize; 3], a: &[f32], b: &[f32]) -> Vec<f32> {
    let program = contraction([m, n, k], &[], [false; 3], false, DType::F32);
    let mut device = device(&program, Backend::Interpreter, 2, &[]);
    let behind: Vec<f32> = [0.0; 3].into_iter().chain(a.iter().copied()).collect();
    device.write(BufferId(0), &behind).unwrap();
    device.write(BufferId(1), b).unwrap();
    device.run(0).unwrap();
    device.read::<f32>(BufferId(2)).unwrap()[1..1 + m * n].to_vec()
}

#[test]
fn products_of_whole_numbers_are_exact() {
    let [m, n, k] = [70, 50, 300];
    let whole = |len: usize, by: usize| (0..len).map(|i| ((i * by) % 255) as f32 - 127.0).collect::<Vec<f32>>();
    let (a, b) = (whole(m * k, 7), whole(k * n, 11));
    for (i, found) in tuned([m, n, k], &a, &b).into_iter().enumerate() {
        let terms = (0..k).map(|l| f64::from(a[i / n * k + l]) * f64::from(b[l * n + i % n]));
        assert_eq!(f64::from(found), terms.sum::<f64>(), "element {i}");
    }
}

/// Rows of the left operand and columns of the right one may be of any size; each element of the product is as good as
/// its own row and column allow.
#[test]
fn lines_of_any_magnitude_keep_their_bits() {
    let [m, n, k] = [40, 48, 600];
    let scale = |line: usize| 2f32.powi([0, -60, 50, -40, 30, 60][line % 6]);
    let noise = |seed| noise(seed, m.max(n) * k);
    let a: Vec<f32> = noise(1)[..m * k].iter().enumerate().map(|(i, x)| *x as f32 * scale(i / k)).collect();
    let b: Vec<f32> = noise(2)[..k * n].iter().enumerate().map(|(i, x)| *x as f32 / scale(i % n)).collect();
    for (i, found) in tuned([m, n, k], &a, &b).into_iter().enumerate() {
        let term = |l: usize| f64::from(a[i / n * k + l]) * f64::from(b[l * n + i % n]);
        let (sum, size) = (0..k).map(term).fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()));
        assert!((f64::from(found) - sum).abs() <= 4e-7 * size, "element {i}: {found} for {sum}");
    }
}

#[test]
fn what_is_not_finite_shows_in_its_row_and_column_alone() {
    let [m, n, k] = [33, 40, 80];
    for wrong in [f32::NAN, f32::INFINITY] {
        let (mut a, mut b) = (vec![1.0; m * k], vec![1.0; k * n]);
        a[5 * k + 7] = wrong;
        b[9 * n + 11] = wrong;
        for (i, found) in tuned([m, n, k], &a, &b).into_iter().enumerate() {
            let reached = i / n == 5 || i % n == 11;
            assert_eq!(found.is_finite(), !reached, "element {i}: {found}");
        }
    }
}

#[test]
fn a_product_over_nothing_is_zero() {
    let program = contraction([3, 4, 0], &[], [false; 3], false, DType::F32);
    let found = run(&program, Backend::Interpreter, 1, &[]);
    let mut device = device(&program, Backend::Interpreter, 1, &found);
    device.write(BufferId(2), &[f32::NAN; 14]).unwrap();
    device.run(0).unwrap();
    let c = device.read::<f32>(BufferId(2)).unwrap();
    assert!(c[0].is_nan() && c[13].is_nan() && c[1..13].iter().all(|x| *x == 0.0), "{c:?}");
}

fn convolution(role: ConvRole, [batch, height, width, channels, filters]: [usize; 5], window: [usize; 4]) -> Program {
    convolution_of(role, [batch, height, width, channels, filters], window, DType::F32)
}

/// `window` is kernel, stride, padding before and after.
fn convolution_of(
    role: ConvRole,
    size: [usize; 5],
    [kernel, stride, before, after]: [usize; 4],
    dtype: DType,
) -> Program {
    let [batch, height, width, channels, filters] = size;
    let conv = Conv {
        role,
        dtype,
        batch,
        height,
        width,
        channels,
        filters,
        kernel: [kernel; 2],
        stride: [stride; 2],
        pad: [[before, after]; 2],
        x: BufferId(0),
        w: BufferId(1),
        y: BufferId(2),
        turned: false,
    };
    let lens = conv.lens().expect("a possible geometry");
    program(lens.map(|len| (dtype, len)).to_vec(), vec![], vec![Launch::Conv(conv)])
}

#[test]
fn convolutions_in_all_roles() {
    let cases = [
        ([2, 8, 8, 5, 7], [3, 1, 1, 1]),
        ([3, 8, 6, 4, 3], [4, 2, 1, 1]),
        ([2, 8, 8, 3, 10], [4, 4, 0, 0]),
        ([2, 7, 5, 6, 4], [1, 1, 0, 0]),
        ([2, 7, 5, 3, 4], [1, 2, 0, 0]),
        ([1, 9, 11, 2, 3], [5, 2, 2, 1]),
        ([2, 3, 3, 2, 2], [3, 1, 2, 0]),
        ([1, 2, 1, 3, 2], [3, 1, 3, 4]),
        ([1, 5, 5, 1, 1], [2, 3, 0, 0]),
        ([4, 32, 32, 16, 8], [3, 1, 1, 1]),
        ([5, 32, 32, 8, 8], [1, 1, 0, 0]),
        // Channels that tile units take whole.
        ([2, 16, 16, 32, 32], [3, 1, 1, 1]),
        ([2, 9, 32, 32, 64], [3, 1, 1, 1]),
        ([3, 8, 8, 64, 32], [3, 1, 1, 1]),
        ([1, 7, 11, 32, 40], [5, 1, 2, 1]),
        ([9, 6, 6, 32, 96], [3, 1, 0, 2]),
        ([1, 5, 20, 64, 64], [2, 1, 3, 0]),
        // Whole and cut tiles of 4×4 outputs, of several vectors and half a panel.
        ([3, 13, 18, 48, 32], [3, 1, 1, 1]),
        ([2, 19, 16, 64, 48], [3, 1, 0, 0]),
        ([8, 16, 14, 32, 64], [3, 1, 2, 3]),
    ];
    for (size, window) in cases {
        for (role, out) in [(ConvRole::Forward, 2), (ConvRole::Input, 0), (ConvRole::Weight, 1)] {
            let terms = size[0] * size[1] * size[2] * size[3] * size[4];
            check(&convolution(role, size, window), out, terms, DType::F32);
        }
    }
    check(&convolution_of(ConvRole::Weight, [2, 8, 8, 5, 7], [3, 1, 1, 1], DType::F64), 1, 128, DType::F64);
}

/// However a convolution is computed, it loses little more than sums over patches in f32 do.
#[test]
fn convolutions_keep_their_bits() {
    let size = [4, 24, 24, 64, 64];
    for (role, out) in [(ConvRole::Forward, 2), (ConvRole::Input, 0), (ConvRole::Weight, 1)] {
        let program = convolution(role, size, [3, 1, 1, 1]);
        let inputs: Vec<_> =
            program.buffers.iter().enumerate().map(|(i, b)| floats(DType::F32, &noise(i as u64 + 1, b.len))).collect();
        let expected = as_f64(&run(&program, Backend::Reference, 1, &inputs)[out]);
        let found = as_f64(&run(&program, Backend::Interpreter, 2, &inputs)[out]);
        let squares: f64 = expected.iter().map(|x| x * x).sum();
        let errors: f64 = expected.iter().zip(&found).map(|(a, b)| (a - b) * (a - b)).sum();
        let error = (errors / squares).sqrt();
        assert!(error < 3e-6, "{role:?}: {error}");
    }
}

#[test]
fn what_is_not_finite_shows_in_each_output_that_sees_it() {
    let [batch, side, channels, filters] = [2, 16, 32, 32];
    for wrong in [f32::NAN, f32::INFINITY] {
        let program = convolution(ConvRole::Forward, [batch, side, side, channels, filters], [3, 1, 1, 1]);
        let mut x = vec![1.0f32; batch * side * side * channels];
        x[(6 * side + 9) * channels + 5] = wrong;
        let mut device = device(&program, Backend::Interpreter, 2, &[]);
        device.write(BufferId(0), &x).unwrap();
        device.write(BufferId(1), &vec![0.5f32; 9 * channels * filters]).unwrap();
        device.run(0).unwrap();
        let y = device.read::<f32>(BufferId(2)).unwrap();
        for (i, pixel) in y.chunks_exact(filters).enumerate() {
            let (image, row, col) = (i / (side * side), i / side % side, i % side);
            let sees = image == 0 && (5..=7).contains(&row) && (8..=10).contains(&col);
            assert!(!sees || pixel.iter().all(|y| !y.is_finite()), "{wrong} at {row}, {col}");
            assert!(image == 0 || pixel.iter().all(|y| y.is_finite()), "{wrong} in image {image}");
        }
    }
}

#[test]
fn a_convolution_of_no_images_has_zero_weight_gradient() {
    let program = convolution(ConvRole::Weight, [0, 4, 4, 2, 2], [3, 1, 1, 1]);
    let found = run(&program, Backend::Interpreter, 2, &[floats(DType::F32, &[]), floats(DType::F32, &[1.0; 36])]);
    assert_eq!(as_f64(&found[1]), [0.0; 36]);
}

/// What many products multiply by is packed once a run: each run sees the values that are there then, and what is written
/// within the run is seen by what follows.
#[test]
fn operands_that_many_products_read_are_those_of_the_run() {
    const M: usize = 512;
    const N: usize = 64;
    let dense = |buffer| Operand { buffer: BufferId(buffer), offset: 0, row: N as isize, col: 1 };
    let product = |m, a, b, c| {
        let (a, b, c) = (dense(a), dense(b), dense(c));
        Launch::Contract(Contract { dtype: DType::F32, m, n: N, k: N, batch: vec![], a, b, c })
    };
    // 0: x, 1: w, 2: v, which launch 3 writes; 3 to 9: results.
    let buffers = [M * N, N * N, N * N].into_iter().chain([M * N; 7]).map(|len| (DType::F32, len)).collect();
    let launches = vec![
        product(M, 0, 1, 3),
        product(M, 0, 1, 4),
        product(M, 0, 2, 5),
        product(N, 1, 1, 2),
        product(M, 3, 1, 6),
        product(M, 0, 2, 7),
        product(M, 3, 2, 8),
        product(M, 4, 2, 9),
    ];
    let program = program(buffers, vec![], launches);
    let inputs = |seed| [M * N, N * N, N * N].map(|len| floats(DType::F32, &noise(seed + len as u64, len)));
    let mut kept = device(&program, Backend::Compiled, 2, &inputs(1));
    let bytes: usize = program.buffers.iter().map(|buffer| 4 * buffer.len).sum();
    assert!(kept.bytes() <= bytes * 17 / 16, "{} bytes beside {bytes}", kept.bytes() - bytes);
    for seed in [1, 2] {
        for (i, values) in inputs(seed).iter().enumerate() {
            kept.set_values(BufferId(i as u32), values).unwrap();
        }
        kept.run(0).unwrap();
        let expected = run(&program, Backend::Reference, 1, &inputs(seed));
        for (i, expected) in expected.iter().enumerate() {
            let found = as_f64(&kept.values(BufferId(i as u32)).unwrap());
            assert!(as_f64(expected).iter().zip(found).all(|(a, b)| close(*a, b, 1e-4, 2e-3)), "buffer {i}");
        }
    }
}
