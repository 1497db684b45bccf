//! Convolutions at stride 1 without patches: an image is split into bf16 once, and tiles are read from it at each tap's
//! distance, since rows of a tile may lie any distance apart.
//!
//! Images are padded, so pixel `p` of the padded image's rows, one after another, meets pixel `p + kh·width + kw` at tap
//! (kh, kw), for all pixels alike.

use super::pack::{Packed, pack, square};
use super::split::{in_pairs, in_sequence};
use super::tile::{self, BLOCK, CHUNK, Left, Out, Tiles, edge};
use crate::cpu::contract::Matrix;
use crate::cpu::conv::{Patches, summed};
use crate::cpu::pool::Pool;
use crate::cpu::scratch::{OPERANDS, SHARED_OPERAND, Shared, with_scratch};
use fgc_program::{Conv, ConvRole};
use std::arch::x86_64::*;
use std::ops::Range;

/// Elements of a split band of an image: its three parts take a third of a second-level cache.
const BAND: usize = 128 * 1024;

/// Tasks that a convolution should have.
const TASKS: usize = 8;

/// Runs a launch, or says false where the units are not there or do not suit it.
///
/// # Safety
/// As [`crate::cpu::conv::run`].
pub unsafe fn run(conv: &Conv, [x, w, y]: [Shared<f32>; 3], pool: &mut Pool) -> bool {
    if let Some(samples) = Samples::of(conv) {
        let [from, out] = if conv.role == ConvRole::Input { [y, x] } else { [x, y] };
        // SAFETY: the caller's promise.
        unsafe { samples.all([from, w, out], pool) };
        return true;
    }
    let patches = Patches::of(conv);
    let suits = conv.role == ConvRole::Weight
        && conv.stride == [1, 1]
        && conv.kernel != [1, 1]
        && suits(&patches, conv.filters);
    if suits {
        // SAFETY: the caller's promise.
        unsafe { weight(&patches, conv.filters, [x, y], w, pool) };
    }
    suits
}

/// Whether the units are there and the window suits them.
fn suits(patches: &Patches, filters: usize) -> bool {
    patches.channels.is_multiple_of(BLOCK)
        && filters >= 16
        && patches.out[0] * patches.out[1] >= 16
        && patches.kernel[0] * patches.size[1].max(patches.out[1]) * patches.channels <= 2 * BAND
        && super::available()
}

/// A convolution at stride 1, Forward or Input, with weights packed once for all images:
/// `out[pixel, filter] = Σ patch[pixel, k]·w[k, filter]`.
pub struct Samples {
    patches: Patches,
    filters: usize,
    /// Whether the input's gradient is computed, with the weights turned around.
    input: bool,
}

impl Samples {
    /// None where the units are not there or do not suit it.
    pub fn of(conv: &Conv) -> Option<Samples> {
        let (patches, filters, input) = match conv.role {
            ConvRole::Forward => (Patches::of(conv), conv.filters, false),
            ConvRole::Input => (Patches::flipped(conv), conv.channels, true),
            ConvRole::Weight => return None,
        };
        let fits = conv.stride == [1, 1] && conv.kernel != [1, 1] && suits(&patches, filters);
        fits.then_some(Samples { patches, filters, input })
    }

    fn taps(&self) -> usize {
        self.patches.kernel[0] * self.patches.kernel[1]
    }

    /// Chunks of all taps.
    fn chunks(&self) -> usize {
        self.taps() * (self.patches.channels / BLOCK)
    }

    /// Bytes of the packed weights.
    pub fn shared(&self) -> usize {
        2 * self.filters.div_ceil(BLOCK) * self.chunks() * CHUNK
    }

    /// Packs the weights of one tap.
    ///
    /// # Safety
    /// `w` has the launch's weights, `packed` room for [`Samples::shared`] bytes, of which nobody else uses the tap's.
    pub unsafe fn pack(&self, tap: usize, w: Shared<f32>, packed: Shared<u16>) {
        let (channels, filters) = (self.patches.channels, self.filters);
        let source = if self.input {
            Matrix::dense(w.at((self.taps() - 1 - tap) * channels * filters), channels).transposed()
        } else {
            Matrix::dense(w.at(tap * channels * filters), filters)
        };
        let to = Packed { at: packed.at(tap * (channels / BLOCK) * CHUNK), chunks: self.chunks() };
        // SAFETY: the caller's promise; each tap has chunks of its own.
        unsafe { pack(source.transposed(), filters, channels, to) };
    }

    /// Computes the output of some images. On the calling thread.
    ///
    /// # Safety
    /// As [`crate::cpu::conv::Samples::run`].
    pub unsafe fn run(&self, images: Range<usize>, [x, y]: [Shared<f32>; 2], packed: Shared<u16>) {
        let (from, out) = if self.input { (y, x) } else { (x, y) };
        let bands = Bands::of(&self.patches);
        for band in images.start * bands.per_image..images.end * bands.per_image {
            // SAFETY: the caller's promise.
            unsafe { self.band(bands.get(band), from, out, packed) };
        }
    }

    /// Computes the output of all images.
    ///
    /// # Safety
    /// As [`crate::cpu::conv::run`].
    unsafe fn all(&self, [from, w, out]: [Shared<f32>; 3], pool: &mut Pool) {
        let bands = Bands::of(&self.patches);
        with_scratch(&SHARED_OPERAND, self.shared() / 2, |packed: &mut [u16]| {
            let packed = Shared(packed.as_mut_ptr());
            // SAFETY: the caller's promise; taps are apart.
            pool.run(self.taps(), &|tap| unsafe { self.pack(tap, w, packed) });
            // SAFETY: the caller's promise; each band has output rows of its own.
            pool.run(bands.count(), &|task| unsafe { self.band(bands.get(task), from, out, packed) });
        });
    }

    /// # Safety
    /// [`suits`]; the images of `from` and of `out` that the band is in are valid, and its output rows nobody else's;
    /// `packed` has the weights of all taps.
    unsafe fn band(&self, band: Band, from: Shared<f32>, out: Shared<f32>, packed: Shared<u16>) {
        let (patches, filters, chunks) = (&self.patches, self.filters, self.chunks());
        let (per_tap, panels) = (patches.channels / BLOCK, filters.div_ceil(BLOCK));
        // SAFETY: the units are there.
        let _tiles = unsafe { Tiles::configure() };
        let width = band.width();
        let part = band.height() * width * patches.channels;
        let offsets: Vec<usize> = (0..chunks)
            .map(|chunk| (band.tap(chunk / per_tap) * patches.channels + chunk % per_tap * BLOCK) * 2)
            .collect();
        with_scratch(&OPERANDS, 3 * part + 2 * BLOCK * patches.channels, |split: &mut [u16]| {
            // SAFETY: the caller's promise; the scratch holds three parts, and a tile's rows beyond the last.
            unsafe { band.split(from, split.as_mut_ptr(), part) };
            let left = |pixel: usize, next: usize| Left {
                at: split.as_ptr().wrapping_add(pixel * patches.channels).cast(),
                chunks: offsets.as_ptr(),
                row: patches.channels * 2,
                half: (next - pixel) * patches.channels * 2,
                part: part * 2,
            };
            for j in 0..panels {
                let cols = BLOCK.min(filters - j * BLOCK);
                let b = packed.at(j * chunks * CHUNK).cast_const();
                let c = Matrix::dense(out.at(band.first_out() * filters + j * BLOCK), filters);
                // SAFETY: the caller's promise.
                unsafe {
                    if patches.out[1].is_multiple_of(16) {
                        aligned(&band, left, b, chunks, c, cols);
                    } else {
                        flat(&band, left, b, chunks, c, cols);
                    }
                }
            }
        });
    }
}

/// Blocks of 32 output pixels: two runs of 16 within rows of the image.
///
/// # Safety
/// As [`tile::multiply`]; `c` has the band's output rows.
unsafe fn aligned(
    band: &Band,
    left: impl Fn(usize, usize) -> Left,
    b: *const u16,
    chunks: usize,
    c: Matrix<f32>,
    cols: usize,
) {
    let (out, padded) = (band.patches.out[1], band.width());
    let pixels = band.rows * out;
    let at = |pixel: usize| pixel / out * padded + pixel % out;
    for pixel in (0..pixels).step_by(BLOCK) {
        let rows = BLOCK.min(pixels - pixel);
        let left = || left(at(pixel), if rows > 16 { at(pixel + 16) } else { at(pixel) });
        let c = c.from(pixel, 0);
        // SAFETY: the caller's promise.
        unsafe {
            if rows == BLOCK && cols == BLOCK {
                tile::multiply(left(), b, chunks, Out { at: c.at, row: c.row as usize * 4 }, false);
            } else {
                edge(left(), b, chunks, c, [rows, cols], false);
            }
        }
    }
}

/// Blocks of 32 pixels of the padded image, of which those in the output are kept.
///
/// # Safety
/// As [`tile::multiply`]; `c` has the band's output rows.
unsafe fn flat(
    band: &Band,
    left: impl Fn(usize, usize) -> Left,
    b: *const u16,
    chunks: usize,
    c: Matrix<f32>,
    cols: usize,
) {
    let (out, padded) = (band.patches.out[1], band.width());
    let mut block = [0.0f32; BLOCK * BLOCK];
    for first in (0..band.rows * padded).step_by(BLOCK) {
        let to = Out { at: block.as_mut_ptr(), row: 4 * BLOCK };
        // SAFETY: the caller's promise; the block is ours.
        unsafe { tile::multiply(left(first, first + 16), b, chunks, to, false) };
        for (i, line) in block.chunks_exact(BLOCK).enumerate() {
            let (y, x) = ((first + i) / padded, (first + i) % padded);
            if y < band.rows && x < out {
                // SAFETY: a row of the output, of which these columns are ours.
                unsafe { std::ptr::copy_nonoverlapping(line.as_ptr(), c.from(y * out + x, 0).at, cols) };
            }
        }
    }
}

/// `out[k, filter] = Σ patch[pixel, k]·y[pixel, filter]`.
///
/// # Safety
/// [`suits`]; the buffers have the patches' images, `rows × filters` elements and `cols × filters`; `out` is nobody
/// else's.
unsafe fn weight(patches: &Patches, filters: usize, [images, y]: [Shared<f32>; 2], out: Shared<f32>, pool: &mut Pool) {
    let taps = patches.kernel[0] * patches.kernel[1];
    let (channels, panels) = (patches.channels, filters.div_ceil(BLOCK));
    let bands = Bands::of(patches);
    let sum = |range: Range<usize>, sum: Shared<f32>| {
        // SAFETY: the units are there.
        let _tiles = unsafe { Tiles::configure() };
        for (i, band) in range.map(|band| bands.get(band)).enumerate() {
            let chunks = (band.rows * band.width()).div_ceil(BLOCK);
            // From one channel's pixels to the next: tiles read up to the last tap of the last chunk.
            let line = (chunks * BLOCK + band.tap(taps - 1)).next_multiple_of(BLOCK) + BLOCK;
            let (left_len, right_len) = (3 * channels * line, panels * chunks * CHUNK);
            let offsets: Vec<usize> = (0..chunks).map(|chunk| chunk * BLOCK * 2).collect();
            with_scratch(&OPERANDS, left_len + right_len, |packed: &mut [u16]| {
                let (left, right) = packed.split_at_mut(left_len);
                left.fill(0);
                // SAFETY: the caller's promise; the scratch has room for both.
                unsafe {
                    band.transpose(images, left.as_mut_ptr(), line);
                    band.pairs(y, filters, Packed { at: right.as_mut_ptr(), chunks });
                }
                for (j, tap) in (0..panels).flat_map(|j| (0..taps).map(move |tap| (j, tap))) {
                    let cols = BLOCK.min(filters - j * BLOCK);
                    let b = right.as_ptr().wrapping_add(j * chunks * CHUNK);
                    for channel in (0..channels).step_by(BLOCK) {
                        let block = || Left {
                            at: left.as_ptr().wrapping_add(channel * line + band.tap(tap)).cast(),
                            chunks: offsets.as_ptr(),
                            row: line * 2,
                            half: 16 * line * 2,
                            part: channels * line * 2,
                        };
                        let at = sum.at((tap * channels + channel) * filters + j * BLOCK);
                        // SAFETY: the caller's promise; this task's sum.
                        unsafe {
                            if cols == BLOCK {
                                tile::multiply(block(), b, chunks, Out { at, row: filters * 4 }, i > 0);
                            } else {
                                edge(block(), b, chunks, Matrix::dense(at, filters), [BLOCK, cols], i > 0);
                            }
                        }
                    }
                }
            });
        }
    };
    // SAFETY: the caller's promise.
    unsafe { summed(bands.count(), taps * channels * filters, out, pool, &sum) };
}

/// The images of a convolution in bands of output rows.
struct Bands<'a> {
    patches: &'a Patches,
    rows: usize,
    per_image: usize,
}

impl Bands<'_> {
    fn of(patches: &Patches) -> Bands<'_> {
        let [height, width] = patches.out;
        let line = (width + patches.kernel[1] - 1) * patches.channels;
        let fit = (BAND / line).saturating_sub(patches.kernel[0] - 1).max(1);
        let wanted = height.div_ceil(TASKS.div_ceil(patches.batch.max(1)));
        let bands = height.div_ceil(fit.min(wanted).max(1));
        let rows = height.div_ceil(bands);
        Bands { patches, rows, per_image: height.div_ceil(rows) }
    }

    fn count(&self) -> usize {
        self.patches.batch * self.per_image
    }

    fn get(&self, index: usize) -> Band<'_> {
        let first = index % self.per_image * self.rows;
        let rows = self.rows.min(self.patches.out[0] - first);
        Band { patches: self.patches, image: index / self.per_image, first, rows }
    }
}

/// Some output rows of one image, and the padded rows of the input that their patches cover.
struct Band<'a> {
    patches: &'a Patches,
    image: usize,
    first: usize,
    rows: usize,
}

impl Band<'_> {
    fn width(&self) -> usize {
        self.patches.out[1] + self.patches.kernel[1] - 1
    }

    fn height(&self) -> usize {
        self.rows + self.patches.kernel[0] - 1
    }

    /// Pixels from a patch's first to the one under a tap.
    fn tap(&self, tap: usize) -> usize {
        tap / self.patches.kernel[1] * self.width() + tap % self.patches.kernel[1]
    }

    fn first_out(&self) -> usize {
        (self.image * self.patches.out[0] + self.first) * self.patches.out[1]
    }

    /// For a padded row: its pixels within the image, as (first pixel of the image, first of the padded row, count).
    fn run(&self, row: usize) -> Option<(usize, usize, usize)> {
        let [height, width] = self.patches.size;
        let y = usize::try_from((self.first + row) as isize - self.patches.pad[0]).ok().filter(|&y| y < height)?;
        let from = (-self.patches.pad[1]).max(0);
        let to = (self.width() as isize - self.patches.pad[1]).min(width as isize);
        let count = usize::try_from(to - from).ok().filter(|&count| count > 0)?;
        let pixel = (self.image * height + y) * width + from as usize;
        Some((pixel, (from + self.patches.pad[1]) as usize, count))
    }

    /// The padded rows in three parts, `part` elements from one to the next: pixels of all channels.
    ///
    /// # Safety
    /// [`super::available`]; `images` are valid, and `to` has room for the three.
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn split(&self, images: Shared<f32>, to: *mut u16, part: usize) {
        let (channels, width) = (self.patches.channels, self.width());
        for row in 0..self.height() {
            let to = to.wrapping_add(row * width * channels);
            let (pixel, before, count) = self.run(row).unwrap_or((0, width, 0));
            for p in 0..3 {
                let to = to.wrapping_add(p * part);
                let after = before + count;
                // SAFETY: a padded row is `width` pixels of which these are outside the image.
                unsafe {
                    to.write_bytes(0, before * channels);
                    to.add(after * channels).write_bytes(0, (width - after) * channels);
                }
            }
            let from = images.at(pixel * channels);
            let to = to.wrapping_add(before * channels);
            for i in (0..count * channels).step_by(32) {
                // SAFETY: the run is within the image, and its channels are a multiple of 32.
                unsafe {
                    let halves = [_mm512_loadu_ps(from.add(i)), _mm512_loadu_ps(from.add(i + 16))];
                    for (p, parts) in in_sequence(halves[0], halves[1]).into_iter().enumerate() {
                        _mm512_storeu_si512(to.add(p * part + i).cast(), parts);
                    }
                }
            }
        }
    }

    /// The padded rows in three parts, for each channel its pixels, `line` elements from one channel to the next. What
    /// is outside the image is left as it is.
    ///
    /// # Safety
    /// [`super::available`]; `images` are valid, and `to` has room for the three parts.
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn transpose(&self, images: Shared<f32>, to: *mut u16, line: usize) {
        let channels = self.patches.channels;
        for row in 0..self.height() {
            let Some((pixel, before, count)) = self.run(row) else { continue };
            let source = Matrix { at: images.at(pixel * channels), row: 1, col: channels as isize };
            for x in (0..count).step_by(32) {
                let mask = u32::MAX >> (32 - (count - x).min(32));
                for channel in (0..channels).step_by(16) {
                    // SAFETY: the run is within the image.
                    let [low, high] = [0, 16].map(|i| unsafe { square(source, [channel, x + i], [channels, count]) });
                    for c in 0..16 {
                        let at = to.wrapping_add((channel + c) * line + row * self.width() + before + x);
                        for (p, parts) in in_sequence(low[c], high[c]).into_iter().enumerate() {
                            let at = at.wrapping_add(p * channels * line);
                            // SAFETY: the mask keeps to the run, which is within the channel's pixels.
                            unsafe { _mm512_mask_storeu_epi16(at.cast(), mask, parts) };
                        }
                    }
                }
            }
        }
    }

    /// Rows of `y` as a right operand over the padded pixels, with zeros where these are not in the output.
    ///
    /// # Safety
    /// [`super::available`]; `y` is valid, and `to` has room.
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn pairs(&self, y: Shared<f32>, filters: usize, to: Packed) {
        let (width, out) = (self.width(), self.patches.out[1]);
        let line = |pixel: usize| {
            let (row, x) = (pixel / width, pixel % width);
            (row < self.rows && x < out).then(|| y.at((self.first_out() + row * out + x) * filters).cast_const())
        };
        for pair in 0..to.chunks * 16 {
            let lines = [line(2 * pair), line(2 * pair + 1)];
            for half in 0..filters.div_ceil(BLOCK) * 2 {
                let count = filters.saturating_sub(half * 16).min(16);
                let [even, odd] = lines.map(|line| match line {
                    // SAFETY: the mask keeps to the row.
                    Some(at) => unsafe {
                        _mm512_maskz_loadu_ps(((1u32 << count) - 1) as __mmask16, at.wrapping_add(half * 16))
                    },
                    None => _mm512_setzero_ps(),
                });
                // SAFETY: the caller's promise.
                unsafe { to.store(half, pair / 16, pair % 16, in_pairs(even, odd)) };
            }
        }
    }
}
