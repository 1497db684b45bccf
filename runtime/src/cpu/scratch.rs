//! Memory that calls use and leave: kept, because fresh memory costs more than filling it.

use std::cell::RefCell;

/// Types of which any bytes are a value.
///
/// # Safety
/// So they are, and their alignment divides 64.
pub unsafe trait Plain {}

// SAFETY: numbers.
unsafe impl Plain for f32 {}
// SAFETY: numbers.
unsafe impl Plain for f64 {}
// SAFETY: numbers.
unsafe impl Plain for u16 {}
// SAFETY: numbers.
unsafe impl Plain for u8 {}

/// A cache line, to align scratch memory.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Line([u8; 64]);

pub type Scratch = RefCell<Vec<Line>>;

thread_local! {
    /// A thread's packed patches.
    pub static PATCHES: Scratch = const { RefCell::new(Vec::new()) };
    /// What one convolution shares between its tasks.
    pub static SHARED: Scratch = const { RefCell::new(Vec::new()) };
    /// A thread's packed operands of a product.
    pub static OPERANDS: Scratch = const { RefCell::new(Vec::new()) };
    /// What a band keeps of the rows at hand.
    pub static BAND: Scratch = const { RefCell::new(Vec::new()) };
    /// Packed operands that a band's blocks share.
    pub static HELD: Scratch = const { RefCell::new(Vec::new()) };
    /// The operand that the tasks of a product share.
    pub static SHARED_OPERAND: Scratch = const { RefCell::new(Vec::new()) };
}

/// `len` elements of scratch memory with any values, valid within `body`, which must not ask for the same again.
pub fn with_scratch<T: Plain, R>(
    slot: &'static std::thread::LocalKey<Scratch>,
    len: usize,
    body: impl FnOnce(&mut [T]) -> R,
) -> R {
    slot.with_borrow_mut(|lines| {
        let need = (len * size_of::<T>()).div_ceil(64);
        if lines.len() < need {
            lines.resize(need, Line([0; 64]));
        }
        // SAFETY: initialised bytes, aligned to 64, at least `len` elements of a type that has no invalid values.
        body(unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), len) })
    })
}

/// The start of a buffer that several threads use.
///
/// The method takes it whole: a closure that named the pointer would capture that alone, which cannot be shared.
#[derive(Clone, Copy)]
pub struct Shared<T>(pub *mut T);

// SAFETY: an address; those who read or write through it say why they may.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub fn at(self, element: usize) -> *mut T {
        self.0.wrapping_add(element)
    }
}
