//! The kernels: a block of one warp for each row, which are as many as blocks.

use crate::lane::{self, Moving};
use core::arch::asm;
use core::arch::nvptx::{_block_idx_x, _thread_idx_x};
use core::slice::{from_raw_parts, from_raw_parts_mut};

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // SAFETY: ends the kernel.
    unsafe { core::arch::nvptx::trap() }
}

/// The sum over the warp's threads, all of which take part.
fn warp_sum(mut value: f32) -> f32 {
    for step in [16u32, 8, 4, 2, 1] {
        let other: f32;
        // SAFETY: reads a register of a thread of the same warp; every thread gets here.
        unsafe {
            asm!("shfl.sync.bfly.b32 {o}, {v}, {s}, 31, 0xffffffff;", o = out(reg32) other, v = in(reg32) value,
                s = in(reg32) step, options(nomem, nostack));
        }
        value += other;
    }
    value
}

/// This thread's number in its warp, and the first element of its row.
fn place(len: usize) -> (usize, usize) {
    // SAFETY: reads registers.
    let (lane, row) = unsafe { (_thread_idx_x(), _block_idx_x()) };
    (lane as usize, row as usize * len)
}

/// # Safety
/// As fgc calls it: `rows` blocks of 32 threads; `x` and `y` are rows of `len` numbers, `scale` is one.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn rms_silu(x: *const f32, scale: *const f32, y: *mut f32, _rows: usize, len: usize) {
    let (i, at) = place(len);
    // SAFETY: the caller's promise. Threads write to apart elements, and read none that another writes.
    let (x, scale, y) =
        unsafe { (from_raw_parts(x.add(at), len), from_raw_parts(scale, len), from_raw_parts_mut(y.add(at), len)) };
    let inverse = lane::inverse_rms(warp_sum(lane::dot(i, x, x)), len);
    lane::forward(i, x, scale, inverse, y);
}

/// # Safety
/// As [`rms_silu`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn rms_silu_jvp(
    x: *const f32,
    scale: *const f32,
    dx: *const f32,
    dscale: *const f32,
    dy: *mut f32,
    _rows: usize,
    len: usize,
) {
    let (i, at) = place(len);
    // SAFETY: as above.
    let (row, dy) = unsafe {
        let part = |p: *const f32| from_raw_parts(p, len);
        let row = Moving { x: part(x.add(at)), scale: part(scale), dx: part(dx.add(at)), dscale: part(dscale) };
        (row, from_raw_parts_mut(dy.add(at), len))
    };
    let inverse = lane::inverse_rms(warp_sum(lane::dot(i, row.x, row.x)), len);
    let along = warp_sum(lane::dot(i, row.x, row.dx));
    lane::jvp(i, &row, inverse, along, dy);
}

/// # Safety
/// As [`rms_silu`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn rms_silu_vjp(
    x: *const f32,
    scale: *const f32,
    dy: *const f32,
    dx: *mut f32,
    dscale: *mut f32,
    _rows: usize,
    len: usize,
) {
    let (i, at) = place(len);
    // SAFETY: as above.
    let (row, out) = unsafe {
        let row = [from_raw_parts(x.add(at), len), from_raw_parts(scale, len), from_raw_parts(dy.add(at), len)];
        (row, [from_raw_parts_mut(dx.add(at), len), from_raw_parts_mut(dscale.add(at), len)])
    };
    let [x, scale, dy] = row;
    let inverse = lane::inverse_rms(warp_sum(lane::dot(i, x, x)), len);
    let along = warp_sum(lane::received(i, x, scale, inverse, dy));
    lane::vjp(i, row, inverse, along, out);
}
