//! Products in tasks: the right operand is packed once for all, each task multiplies rows of the left one, in place.

use super::Vector;
use super::kernel::{Block, Isa};
use crate::cpu::contract::{Matrix, Right, Rows};
use crate::cpu::pool::Pool;
use crate::cpu::scratch::{OPERANDS, SHARED_OPERAND, Shared, with_scratch};
use crate::cpu::units::{Shape, Units};
use std::ops::Range;

/// Elements of k summed up in registers at a time: so much of a panel fits a first- or second-level cache.
const DEEP: usize = 512;

/// Bytes of the shared operand packed at a time.
const SHARE: usize = 8 << 20;

/// Multiplications of a task, about: some 25 µs.
const TASK: usize = 1 << 21;

/// Tasks of a product, about, where it is large.
const TASKS: usize = 16;

/// Rows below which packing is most of the work, and each task packs for itself.
const FEW: usize = 28;

/// Elements that one task packs, about.
const PACKED: usize = 1 << 15;

impl Units for Vector {
    fn suits(&self, _: [usize; 3], c: Matrix<f32>) -> bool {
        c.col == 1 || c.row != 1
    }

    fn keeps(&self, _: Shape, _: usize) -> bool {
        true
    }

    unsafe fn product(&self, [m, n, k]: [usize; 3], a: Matrix<f32>, b: Matrix<f32>, c: Matrix<f32>, add: bool) {
        let (isa, width, depth) = (&self.isa, self.isa.width(), depth(k));
        with_scratch(&OPERANDS, depth * width, |panel: &mut [f32]| {
            for from in (0..k).step_by(depth) {
                let depth = depth.min(k - from);
                for left in (0..n).step_by(width) {
                    let cols = width.min(n - left);
                    // SAFETY: the caller's promise; the scratch has room for a panel.
                    unsafe {
                        (isa.pack)(b.from(from, left), [depth, cols], panel.as_mut_ptr());
                        let (a, c) = (a.from(0, from), c.from(0, left));
                        strips(isa, [m, cols, depth], a, panel.as_ptr(), c, add || from > 0);
                    }
                }
            }
        });
    }

    unsafe fn tiled(&self, [m, n, k]: [usize; 3], rows: &Rows<f32>, b: Right<f32>, pool: &mut Pool) {
        let (isa, width, depth) = (&self.isa, self.isa.width(), depth(k));
        let [down, across] = cut(isa, [m, n, k], rows.entries);
        let (height, breadth) = (m.div_ceil(down), n.div_ceil(width).div_ceil(across) * width);
        let block = |task: usize| {
            let (entry, task) = (task / (down * across), task % (down * across));
            let (first, left) = (task / across * height, task % across * breadth);
            let (a, c) = (rows.at)(entry);
            ([height.min(m.saturating_sub(first)), breadth.min(n.saturating_sub(left))], first, left, a, c)
        };
        if b.packed.is_none() && m * rows.entries <= FEW {
            pool.run(rows.entries * down * across, &|task| {
                let ([m, n], first, left, a, c) = block(task);
                // SAFETY: the caller's promise; tasks write blocks of their own.
                unsafe {
                    self.product([m, n, k], a.from(first, 0), b.matrix.from(0, left), c.from(first, left), false)
                };
            });
            return;
        }
        let panels = n.div_ceil(width) * width;
        let together = if b.packed.is_some() { k } else { (SHARE / (4 * panels * depth)).max(1) * depth };
        for from in (0..k).step_by(together) {
            let k = together.min(k - from);
            let own = if b.packed.is_some() { 0 } else { k * panels };
            with_scratch(&SHARED_OPERAND, own, |packed: &mut [f32]| {
                // Tasks read it, once it is packed.
                let shared = Shared(b.packed.map_or(packed.as_mut_ptr(), |packed| packed.at.cast_mut().cast()));
                let parts = own.div_ceil(PACKED);
                pool.run(parts, &|part| {
                    // SAFETY: the caller's promise; parts are apart.
                    unsafe { pack(isa, [n, k], b.matrix.from(from, 0), part..part + 1, parts, shared.at(0)) };
                });
                pool.run(rows.entries * down * across, &|task| {
                    let ([m, n], first, left, a, c) = block(task);
                    let (a, c, right) = (a.from(first, from), c.from(first, left), shared.at(left * k));
                    // SAFETY: as above; tasks write blocks of their own.
                    unsafe { multiply(isa, [m, n, k], depth, a, right, c, from > 0) };
                });
            });
        }
    }

    fn packed_len(&self, shape: Shape) -> usize {
        4 * shape.n.next_multiple_of(self.isa.width()) * shape.k
    }

    fn parts(&self, shape: Shape) -> usize {
        (shape.n * shape.k).div_ceil(PACKED)
    }

    unsafe fn pack(&self, shape: Shape, part: usize, b: Matrix<f32>, to: *mut u8) {
        let parts = self.parts(shape);
        // SAFETY: the caller's promise.
        unsafe { pack(&self.isa, [shape.n, shape.k], b, part..part + 1, parts, to.cast()) }
    }

    unsafe fn multiply(&self, shape: Shape, m: usize, a: Matrix<f32>, b: *const u8, c: Matrix<f32>) {
        // SAFETY: the caller's promise.
        unsafe { multiply(&self.isa, [m, shape.n, shape.k], depth(shape.k), a, b.cast(), c, false) }
    }
}

/// Elements of k in a chunk.
fn depth(k: usize) -> usize {
    k.div_ceil(k.div_ceil(DEEP).max(1)).max(1)
}

/// How many tasks lie below one another and side by side.
fn cut(isa: &Isa, [m, n, k]: [usize; 3], entries: usize) -> [usize; 2] {
    let work = entries.saturating_mul(m).saturating_mul(n).saturating_mul(k);
    let tasks = (work / TASK).clamp(1, TASKS).div_ceil(entries.max(1));
    let down = tasks.min(m.div_ceil(2 * isa.rows)).max(1);
    let across = tasks.div_ceil(down).min(n.div_ceil(isa.width())).max(1);
    [down, across]
}

/// Packs some of `parts` parts of a right operand into panels: parts of its rows where these are runs of memory, so that
/// reads run along it, else some panels.
///
/// # Safety
/// The operand's elements are valid, and `to` has room for all panels, of which nobody else uses the parts'.
unsafe fn pack(isa: &Isa, [n, k]: [usize; 2], b: Matrix<f32>, which: Range<usize>, parts: usize, to: *mut f32) {
    let width = isa.width();
    let share = |len: usize| len * which.start / parts..len * which.end / parts;
    let (rows, panels) = if b.col == 1 { (share(k), 0..n.div_ceil(width)) } else { (0..k, share(n.div_ceil(width))) };
    /// Rows of all panels that are packed before the next.
    const ROWS: usize = 16;
    let step = if b.col == 1 { ROWS } else { rows.len().max(1) };
    for row in rows.clone().step_by(step) {
        for panel in panels.clone() {
            let (left, count) = (panel * width, step.min(rows.end - row));
            // SAFETY: the caller's promise.
            unsafe { (isa.pack)(b.from(row, left), [count, width.min(n - left)], to.add(left * k + row * width)) };
        }
    }
}

/// `c[m,n] = a·b`, or added to what `c` holds, with panels of `b`, in chunks of so many elements of k.
///
/// # Safety
/// As [`crate::cpu::contract::product`].
unsafe fn multiply(
    isa: &Isa,
    [m, n, k]: [usize; 3],
    depth: usize,
    a: Matrix<f32>,
    panels: *const f32,
    c: Matrix<f32>,
    add: bool,
) {
    let width = isa.width();
    for from in (0..k).step_by(depth) {
        let depth = depth.min(k - from);
        for left in (0..n).step_by(width) {
            let panel = panels.wrapping_add(left * k + from * width);
            let size = [m, width.min(n - left), depth];
            // SAFETY: the caller's promise.
            unsafe { strips(isa, size, a.from(0, from), panel, c.from(0, left), add || from > 0) };
        }
    }
}

/// As [`multiply`], of one chunk and one panel: blocks of about equal heights, one below the other.
///
/// # Safety
/// As there.
unsafe fn strips(isa: &Isa, [m, n, k]: [usize; 3], a: Matrix<f32>, panel: *const f32, c: Matrix<f32>, add: bool) {
    let count = m.div_ceil(isa.rows);
    for strip in 0..count {
        let (first, end) = (m * strip / count, m * (strip + 1) / count);
        let block = Block {
            left: a.from(first, 0),
            runs: &[0],
            depth: k,
            right: panel,
            out: c.from(first, 0),
            size: [end - first, n],
            add,
        };
        // SAFETY: the caller's promise; units exist only where the processor has them.
        unsafe { isa.multiply(&block) };
    }
}
