//! Products in tasks: the right operand is packed once for all, each task packs rows of the left one and multiplies.

use super::digits::{LINES, Side, pack, panel_len};
use super::integer::{ROWS, multiply};
use super::tile::Tiles;
use crate::cpu::contract::{Matrix, Right, Rows};
use crate::cpu::pool::Pool;
use crate::cpu::scratch::{OPERANDS, SHARED_OPERAND, Shared, with_scratch};
use crate::cpu::units::{Shape, Units};

/// Elements of k packed at a time: two left panels and a right one, 36 KB, fit a first-level cache.
const DEEP: usize = 512;

/// Bytes of the shared operand packed at a time.
const SHARE: usize = 4 << 20;

/// Lines of a task at most: packed they take a tenth of a second-level cache.
const MOST: usize = 256;

/// Lines and elements of a line below which packing for the units does not pay.
const LEAST: usize = 24;

/// Lines of a part of a right operand that is packed once: whole panels, in pairs.
const PART: usize = 64;

/// The tile units, on a machine that has them.
pub struct Tiled;

impl Units for Tiled {
    fn suits(&self, [m, n, k]: [usize; 3], c: Matrix<f32>) -> bool {
        m >= LEAST && n >= LEAST && k >= LEAST && (c.row == 1 || c.col == 1)
    }

    fn keeps(&self, shape: Shape, rows: usize) -> bool {
        rows >= LEAST && shape.n >= LEAST && shape.k >= LEAST
    }

    unsafe fn product(&self, [m, n, k]: [usize; 3], a: Matrix<f32>, b: Matrix<f32>, c: Matrix<f32>, add: bool) {
        // SAFETY: the units are there.
        let _tiles = unsafe { Tiles::configure() };
        let rows = m.min(MOST);
        let panel = panel_len(k.min(DEEP));
        let (a_len, b_len) = (Side::Left.panels(rows) * panel, Side::Right.panels(n) * panel);
        with_scratch(&OPERANDS, a_len + b_len, |packed: &mut [u8]| {
            let (a_packed, b_packed) = (packed.as_mut_ptr(), packed[a_len..].as_mut_ptr());
            for from in (0..k).step_by(DEEP) {
                let depth = DEEP.min(k - from);
                // SAFETY: the caller's promise; the scratch has room.
                unsafe { pack(Side::Right, b.from(from, 0).transposed(), n, depth, b_packed) };
                for first in (0..m).step_by(rows) {
                    let count = rows.min(m - first);
                    // SAFETY: as above.
                    unsafe {
                        pack(Side::Left, a.from(first, from), count, depth, a_packed);
                        multiply([a_packed, b_packed], [count, n, depth], c.from(first, 0), add || from > 0);
                    }
                }
            }
        });
    }

    unsafe fn tiled(&self, [m, n, k]: [usize; 3], rows: &Rows<f32>, b: Right<f32>, pool: &mut Pool) {
        let tasks = task([m, n, k.min(DEEP)], rows.entries, pool.threads());
        let (down, across) = (m.div_ceil(tasks[0]), n.div_ceil(tasks[1]));
        // The output's rows are runs of memory, or its columns.
        let own = if (rows.at)(0).1.col == 1 { Side::Left } else { Side::Right };
        let panels = own.other().panels(n);
        let chunk_len = panels * panel_len(k.min(DEEP));
        let together = if b.packed.is_some() { k } else { (SHARE / chunk_len).max(1) * DEEP };
        for from in (0..k).step_by(together) {
            let until = k.min(from + together);
            let chunks = (until - from).div_ceil(DEEP);
            let own_len = if b.packed.is_some() { 0 } else { chunks * chunk_len };
            with_scratch(&SHARED_OPERAND, own_len, |packed: &mut [u8]| {
                // Tasks read it, once it is packed.
                let shared = Shared(b.packed.map_or(packed.as_mut_ptr(), |packed| packed.at.cast_mut()));
                // Even, for panels that go in pairs.
                let group = (32 * 1024 / (k.min(DEEP) * LINES)).max(1) * 2;
                let groups = if b.packed.is_some() { 0 } else { panels.div_ceil(group) };
                pool.run(chunks * groups, &|task| {
                    let (chunk, first) = (task / groups, task % groups * group);
                    let (at, from) = (chunk * chunk_len, from + chunk * DEEP);
                    let count = (group * LINES).min(n - first * LINES);
                    let source = b.matrix.from(from, first * LINES).transposed();
                    let depth = DEEP.min(until - from);
                    // SAFETY: the caller's promise; each task packs panels of its own.
                    unsafe { pack(own.other(), source, count, depth, shared.at(at + first * panel_len(depth))) };
                });
                pool.run(rows.entries * down * across, &|task| {
                    let (entry, task) = (task / (down * across), task % (down * across));
                    let (first, left) = (task / across * tasks[0], task % across * tasks[1]);
                    let (a, c) = (rows.at)(entry);
                    let (count, cols) = (tasks[0].min(m - first), tasks[1].min(n - left));
                    let c = c.from(first, left);
                    // SAFETY: the units are there.
                    let _tiles = unsafe { Tiles::configure() };
                    with_scratch(&OPERANDS, own.panels(count) * panel_len(k.min(DEEP)), |packed: &mut [u8]| {
                        let packed = packed.as_mut_ptr();
                        for chunk in 0..chunks {
                            let from = from + chunk * DEEP;
                            let depth = DEEP.min(until - from);
                            let shared = shared.at(chunk * chunk_len + left / LINES * panel_len(depth));
                            let add = from > 0;
                            // SAFETY: the caller's promise; tasks write blocks of their own.
                            unsafe {
                                pack(own, a.from(first, from), count, depth, packed);
                                match own {
                                    Side::Left => multiply([packed, shared], [count, cols, depth], c, add),
                                    Side::Right => {
                                        multiply([shared, packed], [cols, count, depth], c.transposed(), add)
                                    }
                                }
                            }
                        }
                    });
                });
            });
        }
    }

    fn packed_len(&self, shape: Shape) -> usize {
        shape.k.div_ceil(DEEP) * chunk(shape)
    }

    fn parts(&self, shape: Shape) -> usize {
        shape.n.div_ceil(PART)
    }

    unsafe fn pack(&self, shape: Shape, part: usize, b: Matrix<f32>, to: *mut u8) {
        let (first, count) = (part * PART, PART.min(shape.n - part * PART));
        for (i, from) in (0..shape.k).step_by(DEEP).enumerate() {
            let source = b.from(from, first).transposed();
            let depth = DEEP.min(shape.k - from);
            let to = to.wrapping_add(i * chunk(shape) + first / LINES * panel_len(depth));
            // SAFETY: the caller's promise; the units are there.
            unsafe { pack(own(shape).other(), source, count, depth, to) };
        }
    }

    unsafe fn multiply(&self, shape: Shape, m: usize, a: Matrix<f32>, b: *const u8, c: Matrix<f32>) {
        let (Shape { n, k, .. }, own) = (shape, own(shape));
        // SAFETY: the units are there.
        let _tiles = unsafe { Tiles::configure() };
        with_scratch(&OPERANDS, own.panels(m) * panel_len(k.min(DEEP)), |packed: &mut [u8]| {
            let packed = packed.as_mut_ptr();
            for (i, from) in (0..k).step_by(DEEP).enumerate() {
                let (depth, b) = (DEEP.min(k - from), b.wrapping_add(i * chunk(shape)));
                // SAFETY: the caller's promise.
                unsafe {
                    pack(own, a.from(0, from), m, depth, packed);
                    match own {
                        Side::Left => multiply([packed, b], [m, n, depth], c, from > 0),
                        Side::Right => multiply([b, packed], [n, m, depth], c.transposed(), from > 0),
                    }
                }
            }
        });
    }
}

/// The left operands' side: results are runs of memory by rows, or by columns.
fn own(shape: Shape) -> Side {
    if shape.by_rows { Side::Left } else { Side::Right }
}

/// Bytes of a chunk of k of a packed right operand.
fn chunk(shape: Shape) -> usize {
    own(shape).other().panels(shape.n) * panel_len(shape.k.min(DEEP))
}

/// Rows and columns of a task, such that the last thread is done soonest.
fn task([m, n, k]: [usize; 3], entries: usize, threads: usize) -> [usize; 2] {
    // Packing an element of a row, reading a packed one of a column, both for one of k, and starting, all in
    // multiplications.
    const PACK: usize = 40;
    const READ: usize = 50;
    const START: usize = 400_000;
    let share = |len: usize, parts: usize| len.div_ceil(parts).next_multiple_of(ROWS);
    let least = m.div_ceil(MOST);
    // Waking another thread takes as long as this many multiplications.
    const WAKE: usize = 1 << 21;
    if entries * m * n * k < WAKE {
        return [share(m, least), share(n, 1)];
    }
    let choices = (least..=least * 4).flat_map(|down| (1..=4).map(move |across| [share(m, down), share(n, across)]));
    let time = |[rows, cols]: [usize; 2]| {
        let rounds = (entries * m.div_ceil(rows) * n.div_ceil(cols)).div_ceil(threads);
        // Threads do not go at one speed: the last to begin is late by a quarter of a task.
        (4 * rounds + 1) * (rows * (cols + PACK) + cols * READ + START / k)
    };
    choices.min_by_key(|&size| time(size)).unwrap_or([MOST, share(n, 1)])
}
