//! 3×3 convolutions at stride 1 with a quarter of the multiplications: on tiles of 4×4 outputs, Winograd's transforms turn
//! a convolution into 36 products, one for each place of a transformed tile.
//!
//! Errors are some five times those of sums over patches, relative to the largest terms of a tile. What is not finite
//! makes its whole tile so.

use super::Vector;
use super::kernel::Isa;
use super::product::{depth, multiply, pack};
use super::transform::Grid;
use crate::cpu::contract::Matrix;
use crate::cpu::conv::Patches;
use crate::cpu::pool::Pool;
use crate::cpu::scratch::{PATCHES, SHARED, Shared, with_scratch};
use fgc_program::{Conv, ConvRole};
use std::ops::Range;

/// Outputs of a tile, and places once it is transformed, along each axis.
const OUT: usize = 4;
const IN: usize = 6;

/// Places of a transformed tile: products.
const PLACES: usize = IN * IN;

/// Elements of the transformed tiles of one task: a share of a second-level cache.
const TASK: usize = 160 * 1024;

/// Elements of the transformed tiles that are summed up at a time for the weights' gradient.
const TOGETHER: usize = 1 << 20;

/// Tasks a convolution should have.
const TASKS: usize = 8;

/// What transforming an element costs, in multiplications.
const TRANSFORM: usize = 32;

/// Runs a launch, or says false where there are no such units or another way is faster.
///
/// # Safety
/// As [`crate::cpu::conv::run`].
pub unsafe fn run(conv: &Conv, [x, w, y]: [Shared<f32>; 3], pool: &mut Pool) -> bool {
    let Some(Vector { isa }) = super::available() else { return false };
    let input = conv.role == ConvRole::Input;
    let patches = if input { Patches::flipped(conv) } else { Patches::of(conv) };
    let tiles = Tiles { patches: &patches, filters: if input { conv.channels } else { conv.filters } };
    if conv.kernel != [3, 3] || conv.stride != [1, 1] || !tiles.pay(isa) {
        return false;
    }
    let tap = (conv.channels * conv.filters) as isize;
    // SAFETY: the caller's promise.
    unsafe {
        match conv.role {
            ConvRole::Forward => tiles.forward(isa, [x, w, y], tap, pool),
            ConvRole::Input => tiles.forward(isa, [y, Shared(w.0.wrapping_offset(8 * tap)), x], -tap, pool),
            ConvRole::Weight => tiles.weight(isa, [x, w, y], pool),
        }
    }
    true
}

/// The tiles of a convolution's outputs.
struct Tiles<'a> {
    patches: &'a Patches,
    filters: usize,
}

/// A convolution, Forward or Input, of which each thread computes samples of its own.
pub struct Samples {
    isa: &'static Isa,
    patches: Patches,
    filters: usize,
    /// Elements from one tap's weights to the next's: channels by filters, or where this is negative, filters by channels.
    tap: isize,
}

impl Samples {
    /// None where there are no such units or another way is faster.
    pub fn of(conv: &Conv) -> Option<Samples> {
        let Vector { isa } = super::available()?;
        let tap = (conv.channels * conv.filters) as isize;
        let (patches, filters, tap) = match conv.role {
            ConvRole::Forward => (Patches::of(conv), conv.filters, tap),
            ConvRole::Input => (Patches::flipped(conv), conv.channels, -tap),
            ConvRole::Weight => return None,
        };
        let pays = conv.kernel == [3, 3] && conv.stride == [1, 1] && Tiles { patches: &patches, filters }.pay(isa);
        pays.then_some(Samples { isa, patches, filters, tap })
    }

    fn tiles(&self) -> Tiles<'_> {
        Tiles { patches: &self.patches, filters: self.filters }
    }

    /// Bytes of the transformed weights' panels.
    pub fn shared(&self) -> usize {
        (4 * PLACES * self.tiles().panels(self.isa)).next_multiple_of(64)
    }

    /// Parts of these, each of a panel's filters.
    pub fn parts(&self) -> usize {
        self.filters.div_ceil(self.isa.width())
    }

    /// # Safety
    /// The processor has the instructions; `w` has the launch's weights, `to` room for [`Samples::shared`] bytes, of which
    /// nobody else uses the part's.
    pub unsafe fn pack(&self, part: usize, w: Shared<f32>, to: Shared<f32>) {
        let (isa, channels, width) = (self.isa, self.patches.channels, self.isa.width());
        let first = part * width;
        let count = width.min(self.filters - first);
        // Rows and columns of one tap's weights, and those of this part.
        let (rows, cols, w) = if self.tap > 0 {
            (channels, count, Shared(w.at(first)))
        } else {
            (count, channels, Shared(w.0.wrapping_offset(-8 * self.tap + (first * channels) as isize)))
        };
        let line = if self.tap > 0 { self.filters } else { channels };
        with_scratch(&PATCHES, PLACES * rows * cols, |scratch: &mut [f32]| {
            let factors = Shared(scratch.as_mut_ptr());
            // SAFETY: the caller's promise; the scratch has room for this part's factors.
            unsafe {
                for row in 0..rows {
                    let from = grid(w.0.wrapping_add(row * line), 3, self.tap);
                    let into = grid(factors.at(row * cols), IN, (rows * cols) as isize);
                    (isa.transforms.weights)(&from, &into, cols);
                }
                for place in 0..PLACES {
                    let source = Matrix::dense(factors.at(place * rows * cols), cols);
                    let source = if self.tap > 0 { source } else { source.transposed() };
                    let panel = to.at(place * self.tiles().panels(isa) + first * channels);
                    pack(isa, [count, channels], source, 0, 1, panel);
                }
            }
        });
    }

    /// Computes the output of some images. On the calling thread.
    ///
    /// # Safety
    /// As [`crate::cpu::conv::Samples::run`].
    pub unsafe fn run(&self, images: Range<usize>, [x, y]: [Shared<f32>; 2], panels: Shared<f32>) {
        let (from, out) = if self.tap > 0 { (x, y) } else { (y, x) };
        let tiles = self.tiles();
        let each = tiles.down() * tiles.across();
        let (mut first, end) = (images.start * each, images.end * each);
        while first < end {
            let next = end.min(first + tiles.together(self.isa));
            // SAFETY: the caller's promise.
            unsafe { tiles.some(self.isa, first..next, from, panels, out) };
            first = next;
        }
    }
}

impl Tiles<'_> {
    fn down(&self) -> usize {
        self.patches.out[0].div_ceil(OUT)
    }

    fn across(&self) -> usize {
        self.patches.out[1].div_ceil(OUT)
    }

    fn count(&self) -> usize {
        self.patches.batch * self.down() * self.across()
    }

    /// Whether the transforms take less time than they save.
    fn pay(&self, isa: &Isa) -> bool {
        let (channels, filters) = (self.patches.channels, self.filters);
        let whole = |len: usize| len > 0 && len.is_multiple_of(isa.lanes);
        let weights = channels * filters * TRANSFORM;
        let here = PLACES * (self.count() * (channels * filters + TRANSFORM * (channels + filters)) + weights);
        whole(channels) && whole(filters) && here < 9 * self.patches.rows() * channels * filters
    }

    /// What a tile's outputs, or the inputs of a tile, are in images of this size: `start` is where the first tile begins.
    fn grid(&self, tile: usize, images: Shared<f32>, size: [usize; 3], start: [isize; 2], side: usize) -> Grid {
        let [height, width, channels] = size;
        let image = tile / (self.down() * self.across());
        let place = [tile / self.across() % self.down(), tile % self.across()];
        let first = [0, 1].map(|i| (place[i] * OUT) as isize + start[i]);
        let valid = [0, 1].map(|i| {
            let len = [height, width][i] as isize;
            let clip = |at: isize| at.clamp(0, side as isize) as usize;
            clip(-first[i])..clip(len - first[i])
        });
        let pixel = ((image * height) as isize + first[0]) * width as isize + first[1];
        let at = images.0.wrapping_offset(pixel * channels as isize);
        Grid { at, step: [(width * channels) as isize, channels as isize], valid }
    }

    fn inputs(&self, tile: usize, images: Shared<f32>) -> Grid {
        let Patches { size: [height, width], channels, pad, .. } = *self.patches;
        self.grid(tile, images, [height, width, channels], pad.map(|pad| -pad), IN)
    }

    fn outputs(&self, tile: usize, images: Shared<f32>) -> Grid {
        let [height, width] = self.patches.out;
        self.grid(tile, images, [height, width, self.filters], [0; 2], OUT)
    }

    /// `out = images ∗ w`; the weights of tap t are `tap·t` elements on, channels by filters, or where `tap` is negative,
    /// filters by channels.
    ///
    /// # Safety
    /// The processor has the instructions; the buffers are those of the patches, and `out` is nobody else's.
    unsafe fn forward(&self, isa: &Isa, [images, w, out]: [Shared<f32>; 3], tap: isize, pool: &mut Pool) {
        let (channels, filters, tiles) = (self.patches.channels, self.filters, self.count());
        let [rows, cols] = if tap > 0 { [channels, filters] } else { [filters, channels] };
        let panels = self.panels(isa);
        let block = self.together(isa).min(tiles.div_ceil(TASKS).next_multiple_of(2 * isa.rows));
        let factors = PLACES * rows * cols;
        with_scratch(&SHARED, factors + PLACES * panels, |shared: &mut [f32]| {
            let shared = Shared(shared.as_mut_ptr());
            pool.run(rows, &|row| {
                let from = grid(w.at(row * cols), 3, tap);
                let to = grid(shared.at(row * cols), IN, (rows * cols) as isize);
                // SAFETY: the caller's promise; rows are apart.
                unsafe { (isa.transforms.weights)(&from, &to, cols) };
            });
            pool.run(PLACES, &|place| {
                let source = Matrix::dense(shared.at(place * rows * cols), cols);
                let source = if tap > 0 { source } else { source.transposed() };
                // SAFETY: the factors are there; each place has panels of its own.
                unsafe { pack(isa, [filters, channels], source, 0, 1, shared.at(factors + place * panels)) };
            });
            pool.run(tiles.div_ceil(block), &|task| {
                let own = task * block..tiles.min((task + 1) * block);
                // SAFETY: the caller's promise; the panels are there; tiles have outputs of their own.
                unsafe { self.some(isa, own, images, Shared(shared.at(factors)), out) };
            });
        });
    }

    /// The outputs of some tiles, by panels for each place. On the calling thread.
    ///
    /// # Safety
    /// As [`Tiles::forward`].
    unsafe fn some(&self, isa: &Isa, own: Range<usize>, images: Shared<f32>, panels: Shared<f32>, out: Shared<f32>) {
        let (channels, filters, count) = (self.patches.channels, self.filters, own.len());
        with_scratch(&PATCHES, PLACES * count * (channels + filters), |scratch: &mut [f32]| {
            let (left, sums) = scratch.split_at_mut(PLACES * count * channels);
            let (left, sums) = (Shared(left.as_mut_ptr()), Shared(sums.as_mut_ptr()));
            // SAFETY: the caller's promise; the scratch has room.
            unsafe {
                self.transform_inputs(isa, own.clone(), images, left);
                for place in 0..PLACES {
                    let a = Matrix::dense(left.at(place * count * channels), channels);
                    let c = Matrix::dense(sums.at(place * count * filters), filters);
                    let right = panels.at(place * self.panels(isa));
                    multiply(isa, [count, filters, channels], depth(channels), a.into(), right, c, false);
                }
                for (i, tile) in own.enumerate() {
                    let from = grid(sums.at(i * filters), IN, (count * filters) as isize);
                    (isa.transforms.output)(&from, &self.outputs(tile, out), filters);
                }
            }
        });
    }

    /// Elements of one place's panels.
    fn panels(&self, isa: &Isa) -> usize {
        self.filters.next_multiple_of(isa.width()) * self.patches.channels
    }

    /// Tiles that are transformed and multiplied together.
    fn together(&self, isa: &Isa) -> usize {
        (TASK / (PLACES * (self.patches.channels + self.filters))).next_multiple_of(2 * isa.rows)
    }

    /// The tiles' inputs: for each place, a row of channels for each tile.
    ///
    /// # Safety
    /// As [`Tiles::forward`]; `to` has room for them.
    unsafe fn transform_inputs(&self, isa: &Isa, tiles: Range<usize>, images: Shared<f32>, to: Shared<f32>) {
        let (count, channels) = (tiles.len(), self.patches.channels);
        for (i, tile) in tiles.enumerate() {
            let to = grid(to.at(i * channels), IN, (count * channels) as isize);
            // SAFETY: the caller's promise.
            unsafe { (isa.transforms.input)(&self.inputs(tile, images), &to, channels) };
        }
    }

    /// `w = Σ` over tiles, of the patches' `x` and `y`.
    ///
    /// # Safety
    /// As [`Tiles::forward`]; `w` is nobody else's.
    unsafe fn weight(&self, isa: &Isa, [x, w, y]: [Shared<f32>; 3], pool: &mut Pool) {
        let (channels, filters, tiles) = (self.patches.channels, self.filters, self.count());
        let (width, breadth) = (isa.width(), filters.next_multiple_of(isa.width()));
        let unit = 2 * isa.rows;
        let block = (TOGETHER / (PLACES * (channels + breadth))).next_multiple_of(unit).min(tiles);
        let (factors, left) = (PLACES * channels * filters, PLACES * block * channels);
        with_scratch(&SHARED, factors + left + PLACES * block * breadth, |shared: &mut [f32]| {
            let sums = Shared(shared.as_mut_ptr());
            let (left, right) = (Shared(sums.at(factors)), Shared(sums.at(factors + left)));
            for first in (0..tiles).step_by(block) {
                let count = block.min(tiles - first);
                // Transformed by several at a time, then one place's products by one.
                pool.run(count.div_ceil(unit), &|task| {
                    for i in task * unit..count.min((task + 1) * unit) {
                        let to = grid(left.at(i * channels), IN, (count * channels) as isize);
                        // SAFETY: the caller's promise; each tile has rows of its own.
                        unsafe { (isa.transforms.input)(&self.inputs(first + i, x), &to, channels) };
                        for panel in (0..filters).step_by(width) {
                            let mut from = self.outputs(first + i, y);
                            from.at = from.at.wrapping_add(panel);
                            let to = grid(right.at(panel * count + i * width), IN, (count * breadth) as isize);
                            // SAFETY: as above.
                            unsafe { (isa.transforms.output_adjoint)(&from, &to, width.min(filters - panel)) };
                        }
                    }
                });
                pool.run(PLACES, &|place| {
                    let a = Matrix::dense(left.at(place * count * channels), channels).transposed();
                    let c = Matrix::dense(sums.at(place * channels * filters), filters);
                    let right = right.at(place * count * breadth);
                    // SAFETY: as above; each place has sums of its own.
                    unsafe { multiply(isa, [channels, filters, count], depth(count), a.into(), right, c, first > 0) };
                });
            }
            pool.run(channels, &|channel| {
                let from = grid(sums.at(channel * filters), IN, (channels * filters) as isize);
                let to = grid(w.at(channel * filters), 3, (channels * filters) as isize);
                // SAFETY: the sums are complete; each channel has weights of its own.
                unsafe { (isa.transforms.weights_adjoint)(&from, &to, filters) };
            });
        });
    }
}

/// A whole grid of so many rows and columns, each pixel `step` elements after the one before.
fn grid(at: *mut f32, side: usize, step: isize) -> Grid {
    Grid { at, step: [side as isize * step, step], valid: [0..side, 0..side] }
}
