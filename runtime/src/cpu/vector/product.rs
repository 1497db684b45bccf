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

/// Tasks of a product for each thread, about, where it is large.
const TASKS: usize = 4;

/// Rows below which packing is most of the work, and each task packs for itself.
const FEW: usize = 28;

/// Elements that one task packs, about.
const PACKED: usize = 1 << 15;

impl Units for Vector {
    fn suits(&self, size: [usize; 3], c: Matrix<f32>) -> bool {
        size.iter().all(|len| *len > 0) && (c.col == 1 || c.row != 1)
    }

    fn keeps(&self, shape: Shape, _: usize) -> bool {
        shape.n > 0 && shape.k > 0
    }

    unsafe fn product(&self, [m, n, k]: [usize; 3], a: Matrix<f32>, b: Matrix<f32>, c: Matrix<f32>, add: bool) {
        let (isa, width, most) = (&self.isa, self.isa.width(), depth(k));
        let own = Left::len(isa, [m, n, most], a);
        with_scratch(&OPERANDS, own + most * width, |packed: &mut [f32]| {
            let (own, panel) = packed.split_at_mut(own);
            for from in (0..k).step_by(most) {
                let depth = most.min(k - from);
                // SAFETY: the caller's promise; the scratch has room for both.
                let left = unsafe { Left::new(isa, [m, n, depth], a.from(0, from), own) };
                for first in (0..n).step_by(width) {
                    let cols = width.min(n - first);
                    // SAFETY: as above.
                    unsafe {
                        (isa.pack)(b.from(from, first), [depth, cols], panel.as_mut_ptr());
                        left.multiply(isa, [m, cols, depth], panel.as_ptr(), c.from(0, first), add || from > 0);
                    }
                }
            }
        });
    }

    unsafe fn tiled(&self, [m, n, k]: [usize; 3], rows: &Rows<f32>, b: Right<f32>, pool: &mut Pool) {
        let (isa, width, depth) = (&self.isa, self.isa.width(), depth(k));
        let [height, breadth] = cut(isa, [m, n, k], rows.entries, pool.threads());
        let (down, across) = (m.div_ceil(height), n.div_ceil(breadth));
        let block = |task: usize| {
            let (entry, task) = (task / (down * across), task % (down * across));
            let (first, left) = (task / across * height, task % across * breadth);
            let (a, c) = (rows.at)(entry);
            ([height.min(m - first), breadth.min(n - left)], first, left, a, c)
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
        // A left operand is packed for all tasks at once where its rows are no runs of memory, but its columns are.
        let (a, _) = (rows.at)(0);
        let packs_left = rows.entries == 1 && a.row == 1 && Left::len(isa, [m, n, depth], a) > 0;
        let lines = |len: usize, packs: bool| if packs { len.next_multiple_of(width) } else { 0 };
        let (rows_packed, cols_packed) = (lines(m, packs_left), lines(n, b.packed.is_none()));
        let together = if b.packed.is_some() { k } else { (SHARE / (4 * cols_packed * depth)).max(1) * depth };
        for from in (0..k).step_by(together) {
            let k = together.min(k - from);
            let [left_len, right_len] = [rows_packed * k, cols_packed * k];
            with_scratch(&SHARED_OPERAND, left_len + right_len, |packed: &mut [f32]| {
                // Tasks read it, once it is packed.
                let own = Shared(packed.as_mut_ptr());
                let right = b.packed.map_or(Shared(own.at(left_len)), |packed| Shared(packed.at.cast_mut().cast()));
                let [left_parts, right_parts] = [left_len, right_len].map(|len| len.div_ceil(PACKED));
                pool.run(left_parts + right_parts, &|part| {
                    // SAFETY: the caller's promise; parts are apart.
                    unsafe {
                        match part.checked_sub(left_parts) {
                            None => pack(isa, [m, k], a.from(0, from).transposed(), part, left_parts, own.at(0)),
                            Some(part) => pack(isa, [n, k], b.matrix.from(from, 0), part, right_parts, right.at(0)),
                        }
                    }
                });
                pool.run(rows.entries * down * across, &|task| {
                    let ([m, n], first, left, a, c) = block(task);
                    let (c, right) = (c.from(first, left), right.at(left * k));
                    let a =
                        if packs_left { Left::packed(isa, own.at(first * k), k) } else { a.from(first, from).into() };
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
        unsafe { pack(&self.isa, [shape.n, shape.k], b, part, parts, to.cast()) }
    }

    unsafe fn multiply(&self, shape: Shape, m: usize, a: Matrix<f32>, b: *const u8, c: Matrix<f32>) {
        // SAFETY: the caller's promise.
        unsafe { multiply(&self.isa, [m, shape.n, shape.k], depth(shape.k), a.into(), b.cast(), c, false) }
    }
}

/// Elements of k in a chunk.
pub fn depth(k: usize) -> usize {
    k.div_ceil(k.div_ceil(DEEP).max(1)).max(1)
}

/// Rows and columns of a task, in whole panels.
fn cut(isa: &Isa, [m, n, k]: [usize; 3], entries: usize, threads: usize) -> [usize; 2] {
    let width = isa.width();
    let work = entries.saturating_mul(m).saturating_mul(n).saturating_mul(k);
    let tasks = (work / TASK).clamp(1, TASKS * threads).div_ceil(entries.max(1));
    let down = tasks.min(m.div_ceil(2 * width)).max(1);
    let across = tasks.div_ceil(down).min(n.div_ceil(width)).max(1);
    [m.div_ceil(down).next_multiple_of(width), n.div_ceil(across).next_multiple_of(width)]
}

/// Packs one of `parts` parts of a right operand into panels: parts of its rows where these are runs of memory, so that
/// reads run along it, else some panels.
///
/// # Safety
/// The operand's elements are valid, and `to` has room for all panels, of which nobody else uses the part's.
pub unsafe fn pack(isa: &Isa, [n, k]: [usize; 2], b: Matrix<f32>, part: usize, parts: usize, to: *mut f32) {
    let width = isa.width();
    let share = |len: usize| len * part / parts..len * (part + 1) / parts;
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
pub unsafe fn multiply(
    isa: &Isa,
    [m, n, k]: [usize; 3],
    depth: usize,
    a: Left,
    panels: *const f32,
    c: Matrix<f32>,
    add: bool,
) {
    let width = isa.width();
    let own = if a.panel.is_some() { 0 } else { Left::len(isa, [m, n, depth], a.at) };
    with_scratch(&OPERANDS, own, |own: &mut [f32]| {
        for from in (0..k).step_by(depth) {
            let depth = depth.min(k - from);
            let left = Left { at: a.at.from(0, from), ..a };
            // SAFETY: the caller's promise; the scratch has room.
            let left = if own.is_empty() { left } else { unsafe { Left::new(isa, [m, n, depth], left.at, own) } };
            for first in (0..n).step_by(width) {
                let panel = panels.wrapping_add(first * k + from * width);
                let size = [m, width.min(n - first), depth];
                // SAFETY: as above.
                unsafe { left.multiply(isa, size, panel, c.from(0, first), add || from > 0) };
            }
        }
    });
}

/// A left operand, where it lies or packed.
#[derive(Clone, Copy)]
pub struct Left {
    at: Matrix<f32>,
    /// Elements from a panel to the next if it is packed in panels, with its rows for columns.
    panel: Option<usize>,
}

impl From<Matrix<f32>> for Left {
    fn from(at: Matrix<f32>) -> Left {
        Left { at, panel: None }
    }
}

impl Left {
    /// Panels of the right operand from which packing rows pays that are no runs of memory.
    const PANELS: usize = 3;

    /// Elements that the operand takes packed; none if it is to stay where it is.
    fn len(isa: &Isa, [m, n, k]: [usize; 3], a: Matrix<f32>) -> usize {
        if a.col == 1 || n <= (Left::PANELS - 1) * isa.width() { 0 } else { m.next_multiple_of(isa.width()) * k }
    }

    /// In panels of `k` elements of k each.
    fn packed(isa: &Isa, at: *mut f32, k: usize) -> Left {
        Left { at: Matrix { at, row: 1, col: isa.width() as isize }, panel: Some(k * isa.width()) }
    }

    /// # Safety
    /// As [`crate::cpu::contract::product`]; `own` has [`Left::len`] elements.
    unsafe fn new(isa: &Isa, [m, n, k]: [usize; 3], a: Matrix<f32>, own: &mut [f32]) -> Left {
        if Left::len(isa, [m, n, k], a) == 0 {
            return a.into();
        }
        // SAFETY: the caller's promise.
        unsafe { pack(isa, [m, k], a.transposed(), 0, 1, own.as_mut_ptr()) };
        Left::packed(isa, own.as_mut_ptr(), k)
    }

    /// `c[m,n] = left·panel` over `k`, or added to what `c` holds.
    ///
    /// # Safety
    /// As [`crate::cpu::contract::product`].
    unsafe fn multiply(&self, isa: &Isa, [m, n, k]: [usize; 3], panel: *const f32, c: Matrix<f32>, add: bool) {
        let most = if self.panel.is_some() { isa.width() } else { m };
        for first in (0..m).step_by(most) {
            let left = match self.panel {
                Some(len) => self.at.moved((first / most * len) as isize),
                None => self.at.from(first, 0),
            };
            for rows in shares(most.min(m - first), isa.rows) {
                let block = Block {
                    left: left.from(rows.start, 0),
                    runs: &[0],
                    depth: k,
                    right: panel,
                    out: c.from(first + rows.start, 0),
                    size: [rows.len(), n],
                    add,
                };
                // SAFETY: the caller's promise; units exist only where the processor has them.
                unsafe { isa.multiply(&block) };
            }
        }
    }
}

/// `len` in the fewest shares of at most so many, about equal.
fn shares(len: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let count = len.div_ceil(most);
    (0..count).map(move |i| len * i / count..len * (i + 1) / count)
}
