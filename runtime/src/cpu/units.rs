//! Units of a processor that multiply f32 matrices, best first: tiles, vectors.

use crate::cpu::contract::{Matrix, Right, Rows};
use crate::cpu::pool::Pool;
use std::sync::OnceLock;

/// One way to multiply f32 matrices, with its own order for right operands that are packed once.
pub trait Units: Sync {
    /// Whether a product of this size, into a `c` of these strides, is worth these units' packing.
    fn suits(&self, size: [usize; 3], c: Matrix<f32>) -> bool;

    /// Whether packing a right operand for left ones of this many rows each pays.
    fn keeps(&self, shape: Shape, rows: usize) -> bool;

    /// As [`crate::cpu::contract::product`].
    ///
    /// # Safety
    /// As there, and [`Units::suits`].
    unsafe fn product(&self, size: [usize; 3], a: Matrix<f32>, b: Matrix<f32>, c: Matrix<f32>, add: bool);

    /// As [`crate::cpu::contract::tiled`].
    ///
    /// # Safety
    /// As there, and [`Units::suits`] of every entry, or `b` is packed by these units.
    unsafe fn tiled(&self, size: [usize; 3], rows: &Rows<f32>, b: Right<f32>, pool: &mut Pool);

    /// Bytes of a packed right operand.
    fn packed_len(&self, shape: Shape) -> usize;

    /// Parts that may be packed at once.
    fn parts(&self, shape: Shape) -> usize;

    /// # Safety
    /// The operand's elements are valid; `to`, aligned to 64, has room for [`Units::packed_len`] bytes, of which nobody
    /// else uses the part's.
    unsafe fn pack(&self, shape: Shape, part: usize, b: Matrix<f32>, to: *mut u8);

    /// `c[m,n] = a·b` with the packed `b`.
    ///
    /// # Safety
    /// As [`crate::cpu::contract::product`]; `b` was packed by these units in this shape.
    unsafe fn multiply(&self, shape: Shape, m: usize, a: Matrix<f32>, b: *const u8, c: Matrix<f32>);
}

/// A right operand's size, and whether results' rows (or else their columns) are runs of memory.
#[derive(Clone, Copy, PartialEq)]
pub struct Shape {
    pub n: usize,
    pub k: usize,
    pub by_rows: bool,
}

/// How a right operand is packed once for products with several left ones.
#[derive(Clone, Copy)]
pub struct Held {
    units: &'static dyn Units,
    shape: Shape,
    rows: usize,
}

impl PartialEq for Held {
    /// Shape and rows decide the units.
    fn eq(&self, other: &Held) -> bool {
        (self.shape, self.rows) == (other.shape, other.rows)
    }
}

impl Held {
    /// For left operands of this many rows each; None if that pays on no unit of this machine.
    pub fn of(shape: Shape, rows: usize) -> Option<Held> {
        let units = units().iter().copied().find(|units| units.keeps(shape, rows))?;
        Some(Held { units, shape, rows })
    }

    /// Bytes, packed.
    pub fn len(self) -> usize {
        self.units.packed_len(self.shape)
    }

    /// Parts that may be packed at once.
    pub fn parts(self) -> usize {
        self.units.parts(self.shape)
    }

    /// # Safety
    /// As [`Units::pack`].
    pub unsafe fn pack(self, part: usize, b: Matrix<f32>, to: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { self.units.pack(self.shape, part, b, to) }
    }

    /// # Safety
    /// As [`Units::multiply`].
    pub unsafe fn product(self, m: usize, a: Matrix<f32>, b: *const u8, c: Matrix<f32>) {
        // SAFETY: the caller's promise.
        unsafe { self.units.multiply(self.shape, m, a, b, c) }
    }

    /// # Safety
    /// As [`Units::tiled`]; `b` is packed so.
    pub unsafe fn tiled(self, m: usize, rows: &Rows<f32>, b: Right<f32>, pool: &mut Pool) {
        // SAFETY: the caller's promise.
        unsafe { self.units.tiled([m, self.shape.n, self.shape.k], rows, b, pool) }
    }
}

/// Those this machine has, best first.
pub fn units() -> &'static [&'static dyn Units] {
    static UNITS: OnceLock<Vec<&'static dyn Units>> = OnceLock::new();
    UNITS.get_or_init(|| {
        let mut units: Vec<&'static dyn Units> = Vec::new();
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if crate::cpu::amx::available() {
            units.push(&crate::cpu::amx::product::Tiled);
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(vector) = crate::cpu::vector::available() {
            units.push(vector);
        }
        units
    })
}

/// The best that suit a product.
pub fn suiting(size: [usize; 3], c: Matrix<f32>) -> Option<&'static dyn Units> {
    units().iter().copied().find(|units| units.suits(size, c))
}
