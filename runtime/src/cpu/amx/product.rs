//! Products in tasks: the right operand is packed once for all, each task packs rows of the left one and multiplies.

use super::pack::{Side, pack, packed_len};
use super::tile::{self, BLOCK, CHUNK, Left, Out, PART_BYTES, ROW_BYTES, TILE_BYTES, Tiles};
use crate::cpu::contract::{Matrix, Rows};
use crate::cpu::pool::Pool;
use crate::cpu::scratch::{OPERANDS, SHARED_OPERAND, Shared, with_scratch};

/// Elements of k packed at a time.
const DEEP: usize = 512;

/// Rows of a task at most: packed they take a third of a second-level cache.
const ROWS: usize = 256;

/// Where the chunks of a packed left operand start.
static CHUNKS: [usize; DEEP / BLOCK] = {
    let mut offsets = [0; DEEP / BLOCK];
    let mut i = 0;
    while i < offsets.len() {
        offsets[i] = i * CHUNK * 2;
        i += 1;
    }
    offsets
};

/// Whether the units are there and a product is large enough that packing for them pays.
pub fn suits([m, n, k]: [usize; 3], c: Matrix<f32>) -> bool {
    m >= 24 && n >= 24 && k >= 24 && (c.row == 1 || c.col == 1) && super::available()
}

/// As [`crate::cpu::contract::product`].
///
/// # Safety
/// As there, and [`suits`].
pub unsafe fn product(size: [usize; 3], a: Matrix<f32>, b: Matrix<f32>, c: Matrix<f32>, add: bool) {
    let ([m, n, k], a, b, c) = upright(size, a, b, c);
    // SAFETY: the units are there.
    let _tiles = unsafe { Tiles::configure() };
    let rows = m.min(ROWS);
    let deep = k.min(DEEP);
    let (a_len, b_len) = (packed_len(rows, deep), packed_len(n, deep));
    with_scratch(&OPERANDS, a_len + b_len, |packed: &mut [u16]| {
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
                    let size = [count, n, depth];
                    multiply([a_packed, b_packed], size, c.from(first, 0), add || from > 0, Side::Right);
                }
            }
        }
    });
}

/// As [`crate::cpu::contract::tiled`].
///
/// # Safety
/// As there, and [`suits`] of every entry.
pub unsafe fn tiled([m, n, k]: [usize; 3], rows: &Rows<f32>, b: Matrix<f32>, pool: &mut Pool) {
    let tasks = task([m, n, k.min(DEEP)], rows.entries, pool.threads());
    let (down, across) = (m.div_ceil(tasks[0]), n.div_ceil(tasks[1]));
    let panels = n.div_ceil(BLOCK);
    // The output's rows are runs of memory, or its columns.
    let own = if (rows.at)(0).1.col == 1 { Side::Left } else { Side::Right };
    for from in (0..k).step_by(DEEP) {
        let depth = DEEP.min(k - from);
        let panel = packed_len(1, depth);
        with_scratch(&SHARED_OPERAND, panels * panel, |packed: &mut [u16]| {
            let shared = Shared(packed.as_mut_ptr());
            let group = (32 * 1024 / (depth * BLOCK)).max(1);
            pool.run(panels.div_ceil(group), &|task| {
                let first = task * group;
                let count = (group * BLOCK).min(n - first * BLOCK);
                let source = b.from(from, first * BLOCK).transposed();
                // SAFETY: the caller's promise; each task packs panels of its own.
                unsafe { pack(own.other(), source, count, depth, shared.at(first * panel)) };
            });
            pool.run(rows.entries * down * across, &|task| {
                let (entry, task) = (task / (down * across), task % (down * across));
                let (first, left) = (task / across * tasks[0], task % across * tasks[1]);
                let (a, c) = (rows.at)(entry);
                let (count, cols) = (tasks[0].min(m - first), tasks[1].min(n - left));
                let (shared, c) = (shared.at(left / BLOCK * panel), c.from(first, left));
                // SAFETY: the units are there.
                let _tiles = unsafe { Tiles::configure() };
                with_scratch(&OPERANDS, packed_len(count, depth), |packed: &mut [u16]| {
                    let packed = packed.as_mut_ptr();
                    // SAFETY: the caller's promise; tasks write blocks of their own.
                    unsafe {
                        pack(own, a.from(first, from), count, depth, packed);
                        match own {
                            Side::Left => multiply([packed, shared], [count, cols, depth], c, from > 0, Side::Right),
                            Side::Right => {
                                multiply([shared, packed], [cols, count, depth], c.transposed(), from > 0, Side::Left);
                            }
                        }
                    }
                });
            });
        });
    }
}

/// Rows and columns of a task, such that the last thread is done soonest.
fn task([m, n, k]: [usize; 3], entries: usize, threads: usize) -> [usize; 2] {
    // Packing an element of a row, reading a packed one of a column, both for one of k, and starting, all in
    // multiplications.
    const PACK: usize = 40;
    const READ: usize = 50;
    const START: usize = 400_000;
    let share = |len: usize, parts: usize| len.div_ceil(parts).next_multiple_of(BLOCK);
    let least = m.div_ceil(ROWS);
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
    choices.min_by_key(|&size| time(size)).unwrap_or([ROWS, share(n, 1)])
}

/// The product, or the transposed one, whichever writes rows as runs of memory.
fn upright(
    [m, n, k]: [usize; 3],
    a: Matrix<f32>,
    b: Matrix<f32>,
    c: Matrix<f32>,
) -> ([usize; 3], Matrix<f32>, Matrix<f32>, Matrix<f32>) {
    if c.col == 1 { ([m, n, k], a, b, c) } else { ([n, m, k], b.transposed(), a.transposed(), c.transposed()) }
}

/// `c[m,n] = a·b` of packed operands, k at most [`DEEP`], or added to what `c` holds. A panel of the operand `near` meets
/// all of the other's before the next one does.
///
/// # Safety
/// Tiles are configured; both are packed to these sizes; the rows of `c` are runs of memory that nobody else uses.
unsafe fn multiply(packed: [*const u16; 2], [m, n, k]: [usize; 3], c: Matrix<f32>, add: bool, near: Side) {
    let chunks = k.div_ceil(BLOCK);
    let (down, across) = (m.div_ceil(BLOCK), n.div_ceil(BLOCK));
    for at in 0..down * across {
        let (i, j) = if near == Side::Left { (at / across, at % across) } else { (at % down, at / down) };
        let panel = |operand: usize, panel: usize| packed[operand].wrapping_add(panel * chunks * CHUNK);
        // Made where it is used: a copy would wait for the stores of the original.
        let left = || Left {
            at: panel(0, i).cast(),
            chunks: CHUNKS.as_ptr(),
            row: ROW_BYTES,
            half: TILE_BYTES,
            part: PART_BYTES,
        };
        let size = [m - i * BLOCK, n - j * BLOCK].map(|len| len.min(BLOCK));
        let c = c.from(i * BLOCK, j * BLOCK);
        // SAFETY: the caller's promise; blocks at the edge are multiplied into a block of our own.
        unsafe {
            if size == [BLOCK; 2] {
                let out = Out { at: c.at, row: c.row as usize * 4 };
                tile::multiply(left(), panel(1, j), chunks, out, add);
            } else {
                edge(left(), panel(1, j), chunks, c, size, add);
            }
        }
    }
}

/// A block of which only `rows × cols` are in the output.
///
/// # Safety
/// As [`tile::multiply`], of which only these elements of `c` are written.
pub unsafe fn edge(left: Left, b: *const u16, chunks: usize, c: Matrix<f32>, [rows, cols]: [usize; 2], add: bool) {
    let mut block = [0.0f32; BLOCK * BLOCK];
    let out = Out { at: block.as_mut_ptr(), row: 4 * BLOCK };
    // SAFETY: the caller's promise.
    unsafe { tile::multiply(left, b, chunks, out, false) };
    for (i, line) in block.chunks_exact(BLOCK).enumerate().take(rows) {
        for (j, value) in line.iter().enumerate().take(cols) {
            let at = c.from(i, j).at;
            // SAFETY: an element of the output.
            unsafe { *at = if add { *at + value } else { *value } };
        }
    }
}
