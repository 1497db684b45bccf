//! Convolutions as a library takes them.

use super::Precision;
use super::finish::Finish;
use super::library::{ALIGNED, LARGE};
use crate::{Conv, ConvRole, DType};

/// A convolution of images `[batch, height, width, channels]` and filters `[filters, kernel, kernel, channels]`, whichever of
/// x, w and y is `role` computed from the others; sums in f32.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Filtering {
    pub role: ConvRole,
    pub batch: usize,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    pub filters: usize,
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    /// Zeros on both sides of each axis.
    pub pad: [usize; 2],
    /// Of y.
    pub out: [usize; 2],
    pub precision: Precision,
    /// Whether all three are stored in bf16 rather than f32.
    pub bf16: bool,
    /// What is added is of the operands' type.
    pub finish: Finish,
}

impl Filtering {
    /// The convolution as a library takes it; None where it is small, pads one side more, or its rows are not aligned.
    pub(super) fn new(x: &Conv, precision: Precision) -> Option<Filtering> {
        let out = x.out();
        let sums = [x.batch, out[0], out[1], x.filters, x.channels, x.kernel[0], x.kernel[1]];
        let count = sums.into_iter().try_fold(1usize, usize::checked_mul)?;
        let bf16 = precision == Precision::Bf16;
        let width = ALIGNED / if bf16 { 2 } else { 4 };
        let aligned = [x.channels, x.filters].iter().all(|channels| channels.is_multiple_of(width));
        let [[top, bottom], [left, right]] = x.pad;
        let fits = x.dtype == DType::F32 && count >= LARGE && aligned && top == bottom && left == right;
        fits.then_some(Filtering {
            role: x.role,
            batch: x.batch,
            height: x.height,
            width: x.width,
            channels: x.channels,
            filters: x.filters,
            kernel: x.kernel,
            stride: x.stride,
            pad: [top, left],
            out,
            precision,
            bf16,
            finish: Finish::default(),
        })
    }
}
