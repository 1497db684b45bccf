//! Products and convolutions by their definitions, summed in f64: what the fast ones are held to.

use crate::cpu::memory::View;
use fgc_program::{Contract, Conv, ConvRole, Scalar};

/// # Safety
/// The views' memory lives, and nobody else uses it meanwhile. Positions outside a view read as 0 and are not written.
pub unsafe fn contract(contract: &Contract, a: View, b: View, c: View) {
    let count: usize = contract.batch.iter().map(|d| d.extent).product();
    for batch in 0..count {
        let (mut at_a, mut at_b, mut at_c) =
            (contract.a.offset as isize, contract.b.offset as isize, contract.c.offset as isize);
        let mut rest = batch;
        for dim in contract.batch.iter().rev() {
            let i = (rest % dim.extent) as isize;
            rest /= dim.extent;
            (at_a, at_b, at_c) = (at_a + i * dim.a, at_b + i * dim.b, at_c + i * dim.c);
        }
        for m in 0..contract.m as isize {
            for n in 0..contract.n as isize {
                let sum = (0..contract.k as isize).map(|k| {
                    let (row, col) = (at_a + m * contract.a.row, at_b + n * contract.b.col);
                    // SAFETY: the caller's promise.
                    unsafe { get(a, row + k * contract.a.col) * get(b, col + k * contract.b.row) }
                });
                let at = at_c + m * contract.c.row + n * contract.c.col;
                // SAFETY: the caller's promise.
                unsafe { set(c, at, sum.sum()) };
            }
        }
    }
}

/// # Safety
/// As [`contract`].
pub unsafe fn conv(conv: &Conv, x: View, w: View, y: View) {
    let (out_view, len) = match conv.role {
        ConvRole::Forward => (y, y.len()),
        ConvRole::Input => (x, x.len()),
        ConvRole::Weight => (w, w.len()),
    };
    let [out_height, out_width] = conv.out();
    let mut sums = vec![0.0; len];
    for b in 0..conv.batch {
        for (oh, ow) in (0..out_height).flat_map(|oh| (0..out_width).map(move |ow| (oh, ow))) {
            for (kh, kw) in (0..conv.kernel[0]).flat_map(|kh| (0..conv.kernel[1]).map(move |kw| (kh, kw))) {
                let ih = (oh * conv.stride[0] + kh).wrapping_sub(conv.pad[0][0]);
                let iw = (ow * conv.stride[1] + kw).wrapping_sub(conv.pad[1][0]);
                if ih >= conv.height || iw >= conv.width {
                    continue;
                }
                for c in 0..conv.channels {
                    for f in 0..conv.filters {
                        let at_x = ((b * conv.height + ih) * conv.width + iw) * conv.channels + c;
                        let at_w = ((kh * conv.kernel[1] + kw) * conv.channels + c) * conv.filters + f;
                        let at_y = ((b * out_height + oh) * out_width + ow) * conv.filters + f;
                        // SAFETY: the caller's promise.
                        let get = |view, at: usize| unsafe { get(view, at as isize) };
                        match conv.role {
                            ConvRole::Forward => sums[at_y] += get(x, at_x) * get(w, at_w),
                            ConvRole::Input => sums[at_x] += get(y, at_y) * get(w, at_w),
                            ConvRole::Weight => sums[at_w] += get(x, at_x) * get(y, at_y),
                        }
                    }
                }
            }
        }
    }
    for (i, sum) in sums.into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { set(out_view, i as isize, sum) };
    }
}

/// # Safety
/// As [`contract`].
unsafe fn get(view: View, at: isize) -> f64 {
    // SAFETY: the caller's promise.
    usize::try_from(at).ok().and_then(|at| unsafe { view.get(at) }).map_or(0.0, Scalar::as_f64)
}

/// # Safety
/// As [`contract`].
unsafe fn set(view: View, at: isize, value: f64) {
    if let Ok(at) = usize::try_from(at) {
        // SAFETY: the caller's promise.
        _ = unsafe { view.set(at, Scalar::new(view.dtype(), value)) };
    }
}
