//! Products in tasks: the right operand is packed once for all, each task packs rows of the left one and multiplies.

use super::pack::{Side, pack, packed_len};
use super::tile::{self, BLOCK, CHUNK, Left, Out, PART_BYTES, ROW_BYTES, TILE_BYTES, Tiles};
use crate::cpu::contract::Matrix;
use crate::cpu::pool::Pool;
use crate::cpu::scratch::{OPERANDS, SHARED_OPERAND, Shared, with_scratch};

/// Elements of k packed at a time: 128 rows and their parts take a quarter of a second-level cache.
const DEEP: usize = 512;

/// Chunks of the right operand's panel that stay in the first-level cache while rows pass by.
const NEAR: usize = 16;

/// Rows of a task at most, and columns where there are few rows.
const ROWS: usize = 256;

/// Tasks that a product should have.
const TASKS: usize = 8;

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
                    multiply(a_packed, b_packed, [count, n, depth], c.from(first, 0), add || from > 0);
                }
            }
        }
    });
}

/// As [`crate::cpu::contract::tiled`].
///
/// # Safety
/// As there, and [`suits`].
pub unsafe fn tiled(size: [usize; 3], a: Matrix<f32>, b: Matrix<f32>, c: Matrix<f32>, pool: &mut Pool) {
    let ([m, n, k], a, b, c) = upright(size, a, b, c);
    let [rows, cols] = task(m, n);
    let (down, across) = (m.div_ceil(rows), n.div_ceil(cols));
    let panels = n.div_ceil(BLOCK);
    for from in (0..k).step_by(DEEP) {
        let depth = DEEP.min(k - from);
        let panel = packed_len(1, depth);
        with_scratch(&SHARED_OPERAND, panels * panel, |packed: &mut [u16]| {
            let b_packed = Shared(packed.as_mut_ptr());
            let group = (32 * 1024 / (depth * BLOCK)).max(1);
            pool.run(panels.div_ceil(group), &|task| {
                let first = task * group;
                let count = (group * BLOCK).min(n - first * BLOCK);
                let source = b.from(from, first * BLOCK).transposed();
                // SAFETY: the caller's promise; each task packs panels of its own.
                unsafe { pack(Side::Right, source, count, depth, b_packed.at(first * panel)) };
            });
            pool.run(down * across, &|task| {
                let (first, left) = (task / across * rows, task % across * cols);
                let size = [rows.min(m - first), cols.min(n - left), depth];
                // SAFETY: the units are there.
                let _tiles = unsafe { Tiles::configure() };
                with_scratch(&OPERANDS, packed_len(size[0], depth), |a_packed: &mut [u16]| {
                    let a_packed = a_packed.as_mut_ptr();
                    // SAFETY: the caller's promise; tasks write blocks of their own.
                    unsafe {
                        pack(Side::Left, a.from(first, from), size[0], depth, a_packed);
                        let b_packed = b_packed.at(left / BLOCK * panel);
                        multiply(a_packed, b_packed, size, c.from(first, left), from > 0);
                    }
                });
            });
        });
    }
}

/// Rows and columns of a task. Rows are packed again for each task across, columns read again for each task down.
fn task(m: usize, n: usize) -> [usize; 2] {
    let down = m.div_ceil(ROWS).max((m / 128).min(4));
    let across = TASKS.div_ceil(down).min(n / 256).max(1);
    [m.div_ceil(down), n.div_ceil(across)].map(|len| len.next_multiple_of(BLOCK))
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

/// `c[m,n] = a·b` of packed operands, k at most [`DEEP`], or added to what `c` holds.
///
/// # Safety
/// Tiles are configured; both are packed to these sizes; the rows of `c` are runs of memory that nobody else uses.
unsafe fn multiply(a: *const u16, b: *const u16, [m, n, k]: [usize; 3], c: Matrix<f32>, add: bool) {
    let chunks = k.div_ceil(BLOCK);
    let left = |i: usize, first: usize| Left {
        at: a.wrapping_add((i * chunks + first) * CHUNK).cast(),
        chunks: CHUNKS.as_ptr(),
        row: ROW_BYTES,
        half: TILE_BYTES,
        part: PART_BYTES,
    };
    for first in (0..chunks).step_by(NEAR) {
        let count = NEAR.min(chunks - first);
        for j in 0..n.div_ceil(BLOCK) {
            for i in 0..m.div_ceil(BLOCK) {
                let size = [m - i * BLOCK, n - j * BLOCK].map(|len| len.min(BLOCK));
                let c = c.from(i * BLOCK, j * BLOCK);
                // SAFETY: the caller's promise; blocks at the edge are multiplied whole, at once, into a block of
                // our own.
                unsafe {
                    if size == [BLOCK; 2] {
                        let out = Out { at: c.at, row: c.row as usize * 4 };
                        let b = b.add((j * chunks + first) * CHUNK);
                        tile::multiply(&left(i, first), b, count, out, add || first > 0);
                    } else if first == 0 {
                        edge(&left(i, 0), b.add(j * chunks * CHUNK), chunks, c, size, add);
                    }
                }
            }
        }
    }
}

/// A block of which only `rows × cols` are in the output.
///
/// # Safety
/// As [`tile::multiply`], of which only these elements of `c` are written.
pub unsafe fn edge(left: &Left, b: *const u16, chunks: usize, c: Matrix<f32>, [rows, cols]: [usize; 2], add: bool) {
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
