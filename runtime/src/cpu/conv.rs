//! Convolutions as products over patches.
//!
//! Images are channels-last, so a row of a patch is one run of memory. Tiles of patches are packed into a buffer that stays
//! in the cache, and multiplied; they depend only on the shape. For some shapes the machine's units have their own ways.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use crate::cpu::amx;
use crate::cpu::contract::{Matrix, Real, Right, Rows, product, tiled};
use crate::cpu::memory::View;
use crate::cpu::pool::Pool;
use crate::cpu::scratch::{PATCHES, SHARED, Shared, with_scratch};
#[cfg(target_arch = "x86_64")]
use crate::cpu::vector;
use fgc_program::{Conv, ConvRole, DType};
use std::ops::Range;

/// Elements of a packed tile: a share of a core's second-level cache.
const PACKED: usize = 96 * 1024;

/// Partial sums of a weight gradient, at most; also as many threads can share one.
const PARTIALS: usize = 16;

/// Elements that all partial sums may take together.
const PARTIAL_ELEMENTS: usize = 1 << 24;

/// Runs a launch.
///
/// # Safety
/// The launch has passed [`fgc_program::validate`] with these views as its buffers, whose memory nobody else uses.
pub unsafe fn run(conv: &Conv, [x, w, y]: [View; 3], pool: &mut Pool) {
    // SAFETY: the caller's promise.
    unsafe {
        match conv.dtype {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            DType::F32 if amx::conv::run(conv, [x, w, y].map(|v| Shared(v.as_ptr().cast())), pool) => {}
            #[cfg(target_arch = "x86_64")]
            DType::F32 if vector::winograd::run(conv, [x, w, y].map(|v| Shared(v.as_ptr().cast())), pool) => {}
            DType::F32 => run_as::<f32>(conv, [x, w, y], pool),
            DType::F64 => run_as::<f64>(conv, [x, w, y], pool),
            DType::Bool | DType::I64 => {}
        }
    }
}

/// # Safety
/// As [`run`], and T is the launch's dtype.
unsafe fn run_as<T: Real>(conv: &Conv, views: [View; 3], pool: &mut Pool) {
    let [x, w, y] = views.map(|view| Shared(view.as_ptr().cast::<T>()));
    let patches = Patches::of(conv);
    let size = [patches.rows(), conv.filters, patches.cols()];
    let pointwise = pointwise(conv);
    if views.iter().any(|view| view.is_empty()) {
        let out = if conv.role == ConvRole::Forward { (y, views[2]) } else { (x, views[0]) };
        let (at, view) = if conv.role == ConvRole::Weight { (w, views[1]) } else { out };
        // SAFETY: the whole buffer; with an operand empty, sums are.
        unsafe { std::slice::from_raw_parts_mut(at.0, view.len()) }.fill(T::ZERO);
        return;
    }
    // SAFETY: the caller's promise, for each.
    unsafe {
        match conv.role {
            ConvRole::Forward if pointwise => {
                let (x, w) = (Matrix::dense(x.0, conv.channels), Matrix::dense(w.0, conv.filters));
                let y = Matrix::dense(y.0, conv.filters);
                let right = Right { matrix: w, packed: None };
                tiled(size, &Rows { entries: 1, at: &|_| (x, y) }, right, pool);
            }
            ConvRole::Input if pointwise => {
                let (y, w) = (Matrix::dense(y.0, conv.filters), Matrix::dense(w.0, conv.filters).transposed());
                let x = Matrix::dense(x.0, conv.channels);
                let right = Right { matrix: w, packed: None };
                tiled([size[0], size[2], size[1]], &Rows { entries: 1, at: &|_| (y, x) }, right, pool);
            }
            ConvRole::Forward => gathered(&patches, conv.filters, x, w, y, pool),
            ConvRole::Input if conv.stride == [1, 1] => flipped(conv, x, w, y, pool),
            ConvRole::Input => scattered(conv, &patches, x, w, y, pool),
            ConvRole::Weight => weight(conv, &patches, x, w, y, pointwise, pool),
        }
    }
}

/// The patches of images `[batch, height, width, channels]` under a sliding window, one row each.
pub struct Patches {
    pub size: [usize; 2],
    pub channels: usize,
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    /// Zeros before; negative where the window starts inside.
    pub pad: [isize; 2],
    pub batch: usize,
    pub out: [usize; 2],
}

impl Patches {
    pub fn of(conv: &Conv) -> Patches {
        Patches {
            size: [conv.height, conv.width],
            channels: conv.channels,
            kernel: conv.kernel,
            stride: conv.stride,
            pad: [conv.pad[0][0] as isize, conv.pad[1][0] as isize],
            batch: conv.batch,
            out: conv.out(),
        }
    }

    /// Those of `y` that make up the input's gradient at stride 1, with the weights turned around.
    pub fn flipped(conv: &Conv) -> Patches {
        Patches {
            size: conv.out(),
            channels: conv.filters,
            kernel: conv.kernel,
            stride: [1, 1],
            pad: [0, 1].map(|i| conv.kernel[i] as isize - 1 - conv.pad[i][0] as isize),
            batch: conv.batch,
            out: [conv.height, conv.width],
        }
    }

    pub fn rows(&self) -> usize {
        self.batch * self.out[0] * self.out[1]
    }

    fn cols(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.channels
    }

    /// Rows of a tile.
    fn tile(&self) -> usize {
        (PACKED / self.cols()).clamp(48, 768).next_multiple_of(48)
    }

    /// The rows of some images, tile by tile.
    fn each_tile(&self, images: &Range<usize>, mut visit: impl FnMut(Range<usize>)) {
        let pixels = self.out[0] * self.out[1];
        let (end, tile) = (images.end * pixels, self.tile());
        (images.start * pixels..end).step_by(tile).for_each(|first| visit(first..end.min(first + tile)));
    }

    /// For each row of the window over patch `row`: the run of the image it covers, as (first element of the image,
    /// elements), after so many elements of the patch that lie outside. None where all of it does.
    fn runs(&self, row: usize) -> impl Iterator<Item = Option<(usize, usize, usize)>> + '_ {
        let (ow, rest) = (row % self.out[1], row / self.out[1]);
        let (oh, image) = (rest % self.out[0], rest / self.out[0]);
        let top = (oh * self.stride[0]) as isize - self.pad[0];
        let left = (ow * self.stride[1]) as isize - self.pad[1];
        let from = left.max(0);
        let to = (left + self.kernel[1] as isize).min(self.size[1] as isize);
        (0..self.kernel[0] as isize).map(move |kh| {
            let ih = top + kh;
            if ih < 0 || ih >= self.size[0] as isize || from >= to {
                return None;
            }
            let pixel = (image * self.size[0] + ih as usize) * self.size[1] + from as usize;
            let before = (from - left) as usize * self.channels;
            Some((pixel * self.channels, (to - from) as usize * self.channels, before))
        })
    }

    /// Packs `count` patches of `images` from patch `first` on.
    ///
    /// # Safety
    /// `images` are valid for reads, and `first + count <= rows`.
    unsafe fn pack<T: Real>(&self, images: Shared<T>, first: usize, count: usize, packed: &mut [T]) {
        let run = self.kernel[1] * self.channels;
        let mut lines = packed[..count * self.cols()].chunks_exact_mut(run);
        for row in first..first + count {
            for (found, line) in self.runs(row).zip(&mut lines) {
                let Some((at, len, before)) = found else {
                    line.fill(T::ZERO);
                    continue;
                };
                line[..before].fill(T::ZERO);
                // SAFETY: a run lies within the images.
                let source = unsafe { std::slice::from_raw_parts(images.at(at), len) };
                line[before..before + len].copy_from_slice(source);
                line[before + len..].fill(T::ZERO);
            }
        }
    }
}

/// `out[row, filter] = Σ patch[row, k]·w[k, filter]`.
///
/// # Safety
/// The buffers have the patches' images, `cols × filters` and `rows × filters` elements; `out` is ours alone.
unsafe fn gathered<T: Real>(
    patches: &Patches,
    filters: usize,
    images: Shared<T>,
    w: Shared<T>,
    out: Shared<T>,
    pool: &mut Pool,
) {
    let (rows, tile) = (patches.rows(), patches.tile());
    pool.run(rows.div_ceil(tile), &|task| {
        let rows = task * tile..rows.min((task + 1) * tile);
        // SAFETY: the caller's promise; each task writes rows of its own.
        unsafe { gather(patches, filters, rows, images, w, out) };
    });
}

/// Some rows of [`gathered`].
///
/// # Safety
/// As there.
unsafe fn gather<T: Real>(
    patches: &Patches,
    filters: usize,
    rows: Range<usize>,
    images: Shared<T>,
    w: Shared<T>,
    out: Shared<T>,
) {
    let (count, cols) = (rows.len(), patches.cols());
    with_scratch(&PATCHES, count * cols, |packed| {
        // SAFETY: the caller's promise.
        unsafe {
            patches.pack(images, rows.start, count, packed);
            let a = Matrix::dense(packed.as_mut_ptr(), cols);
            let c = Matrix::dense(out.at(rows.start * filters), filters);
            product([count, filters, cols], a, Matrix::dense(w.at(0), filters), c, false);
        }
    });
}

/// A convolution, Forward or Input, of which each thread computes samples of its own.
pub struct Samples {
    conv: Conv,
    /// Samples for each of a band.
    each: usize,
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    units: Option<amx::conv::Samples>,
    #[cfg(target_arch = "x86_64")]
    tiles: Option<vector::winograd::Samples>,
}

impl Samples {
    /// The launch is validated, of f32, and none of its buffers is empty.
    pub fn new(conv: &Conv, each: usize) -> Samples {
        Samples {
            conv: conv.clone(),
            each,
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            units: amx::conv::Samples::of(conv),
            #[cfg(target_arch = "x86_64")]
            tiles: vector::winograd::Samples::of(conv),
        }
    }

    /// Whether the weights are turned around for all samples.
    fn turns(&self) -> bool {
        self.conv.role == ConvRole::Input && self.conv.stride == [1, 1] && !pointwise(&self.conv)
    }

    /// Bytes of what all samples share: weights as they are multiplied. A multiple of 64.
    pub fn shared(&self) -> usize {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if let Some(units) = &self.units {
            return units.shared();
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(tiles) = &self.tiles {
            return tiles.shared();
        }
        let weights = self.conv.kernel[0] * self.conv.kernel[1] * self.conv.channels * self.conv.filters;
        if self.turns() { (4 * weights).next_multiple_of(64) } else { 0 }
    }

    /// Parts that may be packed at once.
    pub fn parts(&self) -> usize {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if self.units.is_some() {
            return self.conv.kernel[0] * self.conv.kernel[1];
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(tiles) = &self.tiles {
            return tiles.parts();
        }
        if self.shared() > 0 { self.conv.kernel[0] * self.conv.kernel[1] } else { 0 }
    }

    /// # Safety
    /// `w` has the launch's weights; `to`, aligned to 64, has room for [`Samples::shared`] bytes, of which nobody else uses
    /// the part's.
    pub unsafe fn pack(&self, part: usize, w: *mut f32, to: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            if let Some(units) = &self.units {
                return units.pack(part, Shared(w), Shared(to.cast()));
            }
            #[cfg(target_arch = "x86_64")]
            if let Some(tiles) = &self.tiles {
                return tiles.pack(part, Shared(w), Shared(to.cast()));
            }
            turn(&self.conv, part, Shared(w), Shared(to.cast()));
        }
    }

    /// Computes some samples of the band. On the calling thread.
    ///
    /// # Safety
    /// The samples' parts of x and y, from where the buffers would start, and all of w are valid; what is computed nobody
    /// else uses. `shared` was packed from w.
    pub unsafe fn run(&self, samples: Range<usize>, [x, w, y]: [Shared<f32>; 3], shared: *mut u8) {
        let (conv, samples) = (&self.conv, samples.start * self.each..samples.end * self.each);
        let patches = if self.turns() { Patches::flipped(conv) } else { Patches::of(conv) };
        // SAFETY: the caller's promise.
        unsafe {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            if let Some(units) = &self.units {
                return units.run(samples, [x, y], Shared(shared.cast()));
            }
            #[cfg(target_arch = "x86_64")]
            if let Some(tiles) = &self.tiles {
                return tiles.run(samples, [x, y], Shared(shared.cast()));
            }
            match conv.role {
                ConvRole::Weight => {}
                ConvRole::Forward | ConvRole::Input if pointwise(conv) => {
                    let pixels = conv.height * conv.width;
                    let (first, count) = (samples.start * pixels, samples.len() * pixels);
                    let x = Matrix::dense(x.at(first * conv.channels), conv.channels);
                    let y = Matrix::dense(y.at(first * conv.filters), conv.filters);
                    let w = Matrix::dense(w.0, conv.filters);
                    match conv.role {
                        ConvRole::Forward => product([count, conv.filters, conv.channels], x, w, y, false),
                        _ => product([count, conv.channels, conv.filters], y, w.transposed(), x, false),
                    }
                }
                ConvRole::Forward => patches.each_tile(&samples, |rows| gather(&patches, conv.filters, rows, x, w, y)),
                ConvRole::Input if self.turns() => {
                    let turned = Shared(shared.cast());
                    patches.each_tile(&samples, |rows| gather(&patches, conv.channels, rows, y, turned, x));
                }
                ConvRole::Input => samples.for_each(|sample| scatter(conv, &patches, sample, x, w, y)),
            }
        }
    }
}

/// Whether this is a product of pixels' channels.
fn pointwise(conv: &Conv) -> bool {
    conv.kernel == [1, 1] && conv.stride == [1, 1] && conv.pad == [[0; 2]; 2]
}

/// The input's gradient at stride 1: a convolution of `y` with the weights turned around.
///
/// # Safety
/// As [`run`].
unsafe fn flipped<T: Real>(conv: &Conv, x: Shared<T>, w: Shared<T>, y: Shared<T>, pool: &mut Pool) {
    let (channels, filters, taps) = (conv.channels, conv.filters, conv.kernel[0] * conv.kernel[1]);
    let patches = Patches::flipped(conv);
    with_scratch(&SHARED, taps * filters * channels, |turned: &mut [T]| {
        let turned = Shared(turned.as_mut_ptr());
        // SAFETY: the caller's promise; each tap has elements of its own.
        pool.run(taps, &|tap| unsafe { turn(conv, tap, w, turned) });
        // SAFETY: the caller's promise.
        unsafe { gathered(&patches, channels, y, turned, x, pool) };
    });
}

/// One tap of the weights, turned around.
///
/// # Safety
/// Both have the weights' elements; nobody else uses the tap's of `turned`.
unsafe fn turn<T: Real>(conv: &Conv, tap: usize, w: Shared<T>, turned: Shared<T>) {
    let (channels, filters, taps) = (conv.channels, conv.filters, conv.kernel[0] * conv.kernel[1]);
    for (f, c) in (0..filters).flat_map(|f| (0..channels).map(move |c| (f, c))) {
        let from = ((taps - 1 - tap) * channels + c) * filters + f;
        // SAFETY: both positions are within taps × channels × filters.
        unsafe { *turned.at((tap * filters + f) * channels + c) = *w.at(from) };
    }
}

/// The input's gradient at any stride: patches' gradients, added where they came from. One task an image.
///
/// # Safety
/// As [`run`].
unsafe fn scattered<T: Real>(
    conv: &Conv,
    patches: &Patches,
    x: Shared<T>,
    w: Shared<T>,
    y: Shared<T>,
    pool: &mut Pool,
) {
    // SAFETY: the caller's promise; each task has an image of x.
    pool.run(conv.batch, &|task| unsafe { scatter(conv, patches, task, x, w, y) });
}

/// One image of [`scattered`].
///
/// # Safety
/// As there.
unsafe fn scatter<T: Real>(conv: &Conv, patches: &Patches, sample: usize, x: Shared<T>, w: Shared<T>, y: Shared<T>) {
    let (cols, filters) = (patches.cols(), conv.filters);
    let image = conv.height * conv.width * conv.channels;
    let line = conv.kernel[1] * conv.channels;
    // SAFETY: this image of x, which nobody else uses.
    unsafe { std::slice::from_raw_parts_mut(x.at(sample * image), image) }.fill(T::ZERO);
    patches.each_tile(&(sample..sample + 1), |rows| {
        with_scratch(&PATCHES, rows.len() * cols, |packed: &mut [T]| {
            let c = Matrix::dense(packed.as_mut_ptr(), cols);
            let a = Matrix::dense(y.at(rows.start * filters), filters);
            let w = Matrix::dense(w.at(0), filters).transposed();
            // SAFETY: the caller's promise; `packed` is ours.
            unsafe { product([rows.len(), cols, filters], a, w, c, false) };
            let mut lines = packed.chunks_exact(line);
            for row in rows {
                for (found, line) in patches.runs(row).zip(&mut lines) {
                    let Some((at, len, before)) = found else { continue };
                    // SAFETY: a run lies within this image.
                    let into = unsafe { std::slice::from_raw_parts_mut(x.at(at), len) };
                    for (sum, term) in into.iter_mut().zip(&line[before..before + len]) {
                        *sum += *term;
                    }
                }
            }
        });
    });
}

/// The weights' gradient: patches transposed times `y`, in partial sums over ranges of tiles, then added in order.
///
/// # Safety
/// As [`run`].
unsafe fn weight<T: Real>(
    conv: &Conv,
    patches: &Patches,
    x: Shared<T>,
    w: Shared<T>,
    y: Shared<T>,
    pointwise: bool,
    pool: &mut Pool,
) {
    let (rows, cols, filters, tile) = (patches.rows(), patches.cols(), conv.filters, patches.tile());
    let multiply = |tiles: Range<usize>, sum: Shared<T>| {
        for (i, first) in tiles.map(|t| t * tile).enumerate() {
            let count = tile.min(rows - first);
            let b = Matrix::dense(y.at(first * filters), filters);
            let sum = Matrix::dense(sum.at(0), filters);
            // SAFETY: the caller's promise; each task has a sum of its own.
            unsafe {
                if pointwise {
                    let a = Matrix::dense(x.at(first * cols), cols);
                    product([cols, filters, count], a.transposed(), b, sum, i > 0);
                } else {
                    with_scratch(&PATCHES, count * cols, |packed| {
                        patches.pack(x, first, count, packed);
                        let a = Matrix::dense(packed.as_mut_ptr(), cols);
                        product([cols, filters, count], a.transposed(), b, sum, i > 0);
                    });
                }
            }
        }
    };
    // SAFETY: the caller's promise.
    unsafe { summed(rows.div_ceil(tile), cols * filters, w, pool, &multiply) };
}

/// `out[len] = Σ` over the pieces of something, in partial sums that tasks write and that are then added in order:
/// `body` writes the sum of a range of pieces.
///
/// # Safety
/// `out` has `len` elements and is nobody else's; `body` writes all of its sum and nothing else.
pub unsafe fn summed<T: Real>(
    pieces: usize,
    len: usize,
    out: Shared<T>,
    pool: &mut Pool,
    body: &(impl Fn(Range<usize>, Shared<T>) + Sync),
) {
    let share = pieces.div_ceil((PARTIAL_ELEMENTS / len).clamp(2, PARTIALS));
    let partials = pieces.div_ceil(share);
    with_scratch(&SHARED, partials * len, |sums: &mut [T]| {
        let sums = Shared(sums.as_mut_ptr());
        pool.run(partials, &|task| {
            let sum = if partials == 1 { out } else { Shared(sums.at(task * len)) };
            body(task * share..pieces.min((task + 1) * share), sum);
        });
        if partials > 1 {
            let block = 16 * 1024;
            pool.run(len.div_ceil(block), &|task| {
                let (from, count) = (task * block, block.min(len - task * block));
                // SAFETY: blocks of the output are disjoint, and the partial sums are complete.
                let part = |p: usize| unsafe { std::slice::from_raw_parts(sums.at(p * len + from), count) };
                // SAFETY: as above.
                let into = unsafe { std::slice::from_raw_parts_mut(out.at(from), count) };
                into.copy_from_slice(part(0));
                for p in 1..partials {
                    for (sum, term) in into.iter_mut().zip(part(p)) {
                        *sum += *term;
                    }
                }
            });
        }
    });
}
