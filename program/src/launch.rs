//! What a plan runs: fused kernels, matrix products, convolutions, code from outside.

use crate::{BufferId, DType, Extern, KernelId};
use serde::{Deserialize, Serialize};

/// One step of a plan. Launches run in order; each sees all that earlier ones wrote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Launch {
    /// Buffer `args[i]` is bound to the kernel's `buffers[i]`.
    Kernel {
        kernel: KernelId,
        args: Vec<BufferId>,
    },
    Contract(Contract),
    Conv(Conv),
    Extern(Extern),
}

impl Launch {
    /// Lets `change` change every buffer that the launch is given.
    pub fn each_buffer(&mut self, mut change: impl FnMut(&mut BufferId)) {
        match self {
            Launch::Kernel { args, .. } => args.iter_mut().for_each(change),
            Launch::Contract(c) => {
                [&mut c.a, &mut c.b, &mut c.c].into_iter().for_each(|operand| change(&mut operand.buffer))
            }
            Launch::Conv(c) => [&mut c.x, &mut c.w, &mut c.y].into_iter().for_each(change),
            Launch::Extern(e) => e.args.iter_mut().chain([&mut e.out]).for_each(change),
        }
    }
}

/// A strided batched matrix product: `c[m,n] = Σ_k a[m,k]·b[k,n]` for every batch index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contract {
    /// F32 or F64, of all three.
    pub dtype: DType,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    /// Outermost first; empty for a plain product.
    pub batch: Vec<BatchDim>,
    /// `row` is the stride of m, `col` that of k.
    pub a: Operand,
    /// `row` is the stride of k, `col` that of n.
    pub b: Operand,
    /// `row` is the stride of m, `col` that of n. Overwritten.
    pub c: Operand,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchDim {
    pub extent: usize,
    /// Strides in elements; 0 repeats an operand (never c).
    pub a: isize,
    pub b: isize,
    pub c: isize,
}

/// A matrix in a buffer; offset and strides in elements.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operand {
    pub buffer: BufferId,
    pub offset: usize,
    pub row: isize,
    pub col: isize,
}

/// A 2-D convolution seen as the trilinear form ⟨y, conv(x, w)⟩: whichever of the three is `role` is computed
/// (overwritten) from the other two. The three roles are each other's derivatives.
///
/// Layouts, dense and row-major: x `[batch, height, width, channels]`, w `[kernel, kernel, channels, filters]`,
/// y `[batch, out_height, out_width, filters]`, out_height = (height + pad.0 + pad.1 − kernel.0)/stride + 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conv {
    pub role: ConvRole,
    /// F32 or F64, of all three.
    pub dtype: DType,
    pub batch: usize,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    pub filters: usize,
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    /// Zeros added before and after: `[[top, bottom], [left, right]]`.
    pub pad: [[usize; 2]; 2],
    pub x: BufferId,
    pub w: BufferId,
    pub y: BufferId,
    /// Whether w, which is read, lies as `[filters, kernel, kernel, channels]` instead, on devices that do.
    pub turned: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConvRole {
    /// y from x and w.
    Forward,
    /// x (a gradient) from y and w.
    Input,
    /// w (a gradient) from x and y.
    Weight,
}

impl Conv {
    /// `[out_height, out_width]`.
    pub fn out(&self) -> [usize; 2] {
        let size = [self.height, self.width];
        [0, 1].map(|i| (size[i] + self.pad[i][0] + self.pad[i][1] - self.kernel[i]) / self.stride[i] + 1)
    }

    /// The buffer computed, and the two it is computed from: x before w before y.
    pub fn operands(&self) -> (BufferId, [BufferId; 2]) {
        match self.role {
            ConvRole::Forward => (self.y, [self.x, self.w]),
            ConvRole::Input => (self.x, [self.w, self.y]),
            ConvRole::Weight => (self.w, [self.x, self.y]),
        }
    }

    /// Elements of x, w and y; None if a size overflows, a stride or a kernel size is 0, or the kernel is larger than the
    /// padded image.
    pub fn lens(&self) -> Option<[usize; 3]> {
        for (i, size) in [self.height, self.width].into_iter().enumerate() {
            let padded = size.checked_add(self.pad[i][0])?.checked_add(self.pad[i][1])?;
            if self.stride[i] == 0 || self.kernel[i] == 0 || padded < self.kernel[i] || padded > isize::MAX as usize {
                return None;
            }
        }
        let product = |dims: [usize; 4]| dims.into_iter().try_fold(1usize, |n, d| n.checked_mul(d));
        let [out_height, out_width] = self.out();
        Some([
            product([self.batch, self.height, self.width, self.channels])?,
            product([self.kernel[0], self.kernel[1], self.channels, self.filters])?,
            product([self.batch, out_height, out_width, self.filters])?,
        ])
    }
}
