//! Blocks of the output, summed up in registers; and what it takes to bring operands into their order.

use super::transform::Transforms;
use crate::cpu::contract::Matrix;

/// A block: `out[i, j] = Σ left[i, l]·right[l, j]`, or added to what `out` holds.
pub struct Block<'a> {
    /// The left operand; element (i, l) of run r lies at `left.from(i, l)`, `runs[r]` elements on.
    pub left: Matrix<f32>,
    pub runs: &'a [isize],
    /// Elements of k in a run.
    pub depth: usize,
    /// A panel: for each element of k of all runs a row of [`Isa::width`].
    pub right: *const f32,
    pub out: Matrix<f32>,
    /// Rows and columns: at most those of [`Isa`], at least one.
    pub size: [usize; 2],
    pub add: bool,
}

/// The instructions that a processor has.
#[derive(Clone, Copy)]
pub struct Isa {
    /// Rows of a block at most.
    pub rows: usize,
    /// Elements of a vector.
    pub lanes: usize,
    /// By rows less one, for blocks as wide as one vector and as two.
    pub blocks: &'static [[unsafe fn(&Block); 2]],
    /// Packs a matrix of this size, not wider than a panel, as a part of one, with zeros to the right.
    pub pack: unsafe fn(Matrix<f32>, [usize; 2], *mut f32),
    pub transforms: Transforms,
}

impl Isa {
    /// Columns of a block and a panel.
    pub fn width(&self) -> usize {
        2 * self.lanes
    }

    /// # Safety
    /// The processor has the instructions; `left` and `right` have valid elements where the block reads, and nobody else
    /// uses those of `out`.
    pub unsafe fn multiply(&self, block: &Block) {
        let [rows, cols] = block.size;
        // SAFETY: the caller's promise.
        unsafe { self.blocks[rows - 1][(cols > self.lanes) as usize](block) }
    }
}

/// Defines, from a vector type and its operations in scope, the functions of an [`Isa`].
macro_rules! kernels {
    ($features:literal, $($rows:literal)*) => {
        pub const ISA: Isa = Isa { rows: ROWS, lanes: LANES, blocks: &BLOCKS, pack, transforms: TRANSFORMS };

        const ROWS: usize = [$($rows),*].len();

        static BLOCKS: [[unsafe fn(&Block); 2]; ROWS] = [$([block::<$rows, 1>, block::<$rows, 2>]),*];

        /// # Safety
        /// As [`Isa::multiply`], of `M` rows and at most `V` vectors.
        #[target_feature(enable = $features)]
        unsafe fn block<const M: usize, const V: usize>(block: &Block) {
            let mut sums = [[zero(); V]; M];
            let Matrix { at, row, col } = block.left;
            let mut right = block.right;
            for run in block.runs {
                let mut left = at.cast_const().wrapping_offset(*run);
                for _ in 0..block.depth {
                    let mut b = [zero(); V];
                    for (v, b) in b.iter_mut().enumerate() {
                        // SAFETY: a row of the panel.
                        *b = unsafe { load(right.wrapping_add(v * LANES)) };
                    }
                    for (i, sums) in sums.iter_mut().enumerate() {
                        // SAFETY: an element of the left operand.
                        let a = unsafe { broadcast(left.wrapping_offset(i as isize * row)) };
                        for (sum, b) in sums.iter_mut().zip(b) {
                            *sum = multiply_add(a, b, *sum);
                        }
                    }
                    left = left.wrapping_offset(col);
                    right = right.wrapping_add(2 * LANES);
                }
            }
            let Matrix { at, row, col } = block.out;
            if col != 1 {
                // By way of memory: sums whose address is known would not stay in registers.
                let mut kept = [[[0.0; LANES]; V]; M];
                for (kept, sum) in kept.as_flattened_mut().iter_mut().zip(sums.as_flattened()) {
                    // SAFETY: a vector's room.
                    unsafe { store(kept.as_mut_ptr(), *sum) };
                }
                // SAFETY: the caller's promise.
                return unsafe { scatter(block, kept.as_flattened(), V) };
            }
            for (i, sums) in sums.iter().enumerate() {
                for (v, sum) in sums.iter().enumerate() {
                    let count = block.size[1] - v * LANES;
                    let to = at.wrapping_offset(i as isize * row).wrapping_add(v * LANES);
                    // SAFETY: elements of the output.
                    unsafe {
                        if count >= LANES {
                            store(to, if block.add { add(load(to), *sum) } else { *sum });
                        } else {
                            store_some(to, count, if block.add { add(load_some(to, count), *sum) } else { *sum });
                        }
                    }
                }
            }
        }

        /// Stores a block whose rows are no runs of memory, from its rows of so many vectors.
        ///
        /// # Safety
        /// As [`Isa::multiply`].
        #[target_feature(enable = $features)]
        unsafe fn scatter(block: &Block, sums: &[[f32; LANES]], vectors: usize) {
            let (out, [rows, cols]) = (block.out, block.size);
            for (v, first) in (0..cols).step_by(LANES).enumerate() {
                for top in (0..rows).step_by(LANES) {
                    let count = LANES.min(rows - top);
                    let mut square = [zero(); LANES];
                    for (i, row) in square.iter_mut().enumerate().take(count) {
                        // SAFETY: a vector.
                        *row = unsafe { load(sums[(top + i) * vectors + v].as_ptr()) };
                    }
                    transpose(&mut square);
                    for (j, column) in square.iter().enumerate().take(cols - first) {
                        let to = out.from(top, first + j);
                        // SAFETY: elements of the output.
                        unsafe {
                            if out.row == 1 {
                                let sum = if block.add { add(load_some(to.at, count), *column) } else { *column };
                                store_some(to.at, count, sum);
                            } else {
                                let mut elements = [0.0; LANES];
                                store(elements.as_mut_ptr(), *column);
                                for (i, value) in elements.iter().enumerate().take(count) {
                                    let to = to.from(i, 0).at;
                                    *to = if block.add { *to + value } else { *value };
                                }
                            }
                        }
                    }
                }
            }
        }

        /// As [`Isa::pack`].
        ///
        /// # Safety
        /// The processor has the instructions; the source's elements are valid, and `to` has room for the rows.
        #[target_feature(enable = $features)]
        unsafe fn pack(source: Matrix<f32>, [rows, cols]: [usize; 2], to: *mut f32) {
            for v in 0..2 {
                let (left, to) = (source.from(0, v * LANES), to.wrapping_add(v * LANES));
                let cols = cols.saturating_sub(v * LANES).min(LANES);
                if source.col == 1 {
                    for i in 0..rows {
                        // SAFETY: the caller's promise.
                        unsafe {
                            let at = left.from(i, 0).at;
                            let row = if cols == LANES { load(at) } else { load_some(at, cols) };
                            store(to.wrapping_add(i * 2 * LANES), row);
                        }
                    }
                    continue;
                }
                for top in (0..rows).step_by(LANES) {
                    let mut square = [zero(); LANES];
                    let count = LANES.min(rows - top);
                    for (j, column) in square.iter_mut().enumerate().take(cols) {
                        let from = left.from(top, j);
                        // SAFETY: elements of the source.
                        *column = unsafe {
                            if from.row == 1 {
                                if count == LANES { load(from.at) } else { load_some(from.at, count) }
                            } else {
                                let mut elements = [0.0; LANES];
                                for (i, element) in elements.iter_mut().enumerate().take(count) {
                                    *element = *from.from(i, 0).at;
                                }
                                load(elements.as_ptr())
                            }
                        };
                    }
                    transpose(&mut square);
                    for (i, row) in square.iter().enumerate().take(count) {
                        // SAFETY: a row of the panel.
                        unsafe { store(to.wrapping_add((top + i) * 2 * LANES), *row) };
                    }
                }
            }
        }
    };
}

pub(super) use kernels;
