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
                        left.multiply(isa, panel.as_ptr(), c.from(0, first), cols, add || from > 0);
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
pub fn depth(k: usize) -> usize {
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
pub unsafe fn pack(isa: &Isa, [n, k]: [usize; 2], b: Matrix<f32>, which: Range<usize>, parts: usize, to: *mut f32) {
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
pub unsafe fn multiply(
    isa: &Isa,
    [m, n, k]: [usize; 3],
    depth: usize,
    a: Matrix<f32>,
    panels: *const f32,
    c: Matrix<f32>,
    add: bool,
) {
    let width = isa.width();
    let own = Left::len(isa, [m, n, depth], a);
    with_scratch(&OPERANDS, own, |own: &mut [f32]| {
        for from in (0..k).step_by(depth) {
            let depth = depth.min(k - from);
            // SAFETY: the caller's promise; the scratch has room.
            let left = unsafe { Left::new(isa, [m, n, depth], a.from(0, from), own) };
            for first in (0..n).step_by(width) {
                let panel = panels.wrapping_add(first * k + from * width);
                // SAFETY: as above.
                unsafe { left.multiply(isa, panel, c.from(0, first), width.min(n - first), add || from > 0) };
            }
        }
    });
}

/// Rows of a left operand, in groups of two blocks, where they lie or packed.
struct Left {
    rows: usize,
    depth: usize,
    at: Matrix<f32>,
    /// Elements from a group to the next if they are packed: then each is a panel, with rows for columns.
    packed: Option<usize>,
}

impl Left {
    /// Panels of the right operand from which packing rows pays that are no runs of memory.
    const PANELS: usize = 3;

    /// Elements that they take packed; none if they stay where they are.
    fn len(isa: &Isa, [m, n, depth]: [usize; 3], a: Matrix<f32>) -> usize {
        if a.col == 1 || n <= (Left::PANELS - 1) * isa.width() {
            return 0;
        }
        m.div_ceil(2 * isa.rows) * depth * isa.width()
    }

    /// # Safety
    /// As [`crate::cpu::contract::product`]; `own` has [`Left::len`] elements.
    unsafe fn new(isa: &Isa, [m, n, depth]: [usize; 3], a: Matrix<f32>, own: &mut [f32]) -> Left {
        if Left::len(isa, [m, n, depth], a) == 0 {
            return Left { rows: m, depth, at: a, packed: None };
        }
        let group = depth * isa.width();
        let at = own.as_mut_ptr();
        let left = Left { rows: m, depth, at: Matrix { at, row: 1, col: isa.width() as isize }, packed: Some(group) };
        for (i, rows) in left.groups(isa).enumerate() {
            let source = a.from(rows.start, 0).transposed();
            // SAFETY: the caller's promise; a group is not wider than a panel.
            unsafe { (isa.pack)(source, [depth, rows.len()], at.add(i * group)) };
        }
        left
    }

    /// About equal shares of the rows.
    fn groups(&self, isa: &Isa) -> impl Iterator<Item = Range<usize>> {
        shares(self.rows, 2 * isa.rows)
    }

    /// `c = left·panel`, or added to what `c` holds.
    ///
    /// # Safety
    /// As [`crate::cpu::contract::product`].
    unsafe fn multiply(&self, isa: &Isa, panel: *const f32, c: Matrix<f32>, cols: usize, add: bool) {
        for (i, group) in self.groups(isa).enumerate() {
            let left = match self.packed {
                Some(len) => self.at.moved((i * len) as isize),
                None => self.at.from(group.start, 0),
            };
            for rows in shares(group.len(), isa.rows) {
                let block = Block {
                    left: left.from(rows.start, 0),
                    runs: &[0],
                    depth: self.depth,
                    right: panel,
                    out: c.from(group.start + rows.start, 0),
                    size: [rows.len(), cols],
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
