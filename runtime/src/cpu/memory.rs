//! Storage for a program's buffers.

use fgc_program::{BufferId, DType, Place, Program, Scalar};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// Bytes every buffer that is no part of another is aligned to.
pub const ALIGN: usize = 64;

/// A Rust type that buffers hold; booleans are bytes, 0 or 1.
pub trait Element: Copy + Default + Send + Sync + 'static + sealed::Sealed {
    const DTYPE: DType;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! elements {
    ($($ty:ty => $dtype:ident),*) => {$(
        impl sealed::Sealed for $ty {}
        impl Element for $ty {
            const DTYPE: DType = DType::$dtype;
        }
    )*};
}

elements!(u8 => Bool, i64 => I64, f32 => F32, f64 => F64);

/// Zeroed memory of its own.
struct Block {
    /// Aligned within what was allocated.
    at: NonNull<u8>,
    allocated: NonNull<u8>,
    layout: Layout,
}

/// Bytes of a large page, where the system has such.
const LARGE_PAGE: usize = 2 << 20;

impl Block {
    /// None if this is more than an address space holds.
    fn new(bytes: usize) -> Option<Block> {
        // The system has zeroed pages ready, but only for alignments that need no search: so this aligns by itself.
        let align = if bytes >= 2 * LARGE_PAGE { LARGE_PAGE } else { ALIGN };
        let layout = Layout::from_size_align(bytes.checked_add(align)?, 16).ok()?;
        // SAFETY: the layout's size is not zero.
        let allocated = NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
        // SAFETY: at most `align` bytes on, and that many more were allocated.
        let at = unsafe { allocated.add(allocated.as_ptr().align_offset(align)) };
        #[cfg(target_os = "linux")]
        if align == LARGE_PAGE {
            // SAFETY: advice on memory of our own, in whole pages. Failure leaves small pages.
            unsafe { libc::madvise(at.as_ptr().cast(), bytes & !(LARGE_PAGE - 1), libc::MADV_HUGEPAGE) };
        }
        Some(Block { at, allocated, layout })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.allocated.as_ptr(), self.layout) }
    }
}

/// A buffer that belongs to no program; zeros at first.
pub struct OwnedView {
    block: Block,
    len: usize,
    dtype: DType,
}

impl OwnedView {
    /// None if this is more than an address space holds.
    pub fn new(dtype: DType, len: usize) -> Option<OwnedView> {
        Some(OwnedView { block: Block::new(len.checked_mul(dtype.size())?)?, len, dtype })
    }

    /// Valid as long as this lives.
    pub fn view(&self) -> View {
        View { at: self.block.at, len: self.len, dtype: self.dtype }
    }
}

/// Where one buffer lies. Valid as long as the [`Memory`] it came from.
#[derive(Clone, Copy, Debug)]
pub struct View {
    at: NonNull<u8>,
    len: usize,
    dtype: DType,
}

// SAFETY: a view is an address; those who read or write through it say why they may.
unsafe impl Send for View {}
// SAFETY: as above.
unsafe impl Sync for View {}

impl View {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    pub fn as_ptr(&self) -> *mut u8 {
        self.at.as_ptr()
    }

    /// Element `i`, or None past the end.
    ///
    /// # Safety
    /// The memory lives, and nobody writes this element meanwhile.
    pub unsafe fn get(&self, i: usize) -> Option<Scalar> {
        if i >= self.len {
            return None;
        }
        let at = self.at.as_ptr();
        // SAFETY: i is in bounds, views are aligned for their dtype, and the caller promises the rest.
        Some(unsafe {
            match self.dtype {
                DType::Bool => Scalar::Bool(*at.add(i) != 0),
                DType::I64 => Scalar::I64(*at.cast::<i64>().add(i)),
                DType::F32 => Scalar::F32(*at.cast::<f32>().add(i)),
                DType::F64 => Scalar::F64(*at.cast::<f64>().add(i)),
            }
        })
    }

    /// Sets element `i`; false if it is past the end or of another dtype.
    ///
    /// # Safety
    /// The memory lives, and nobody else uses this element meanwhile.
    pub unsafe fn set(&self, i: usize, value: Scalar) -> bool {
        if i >= self.len || value.dtype() != self.dtype {
            return false;
        }
        let at = self.at.as_ptr();
        // SAFETY: i is in bounds, views are aligned for their dtype, and the caller promises the rest.
        unsafe {
            match value {
                Scalar::Bool(b) => *at.add(i) = b as u8,
                Scalar::I64(x) => *at.cast::<i64>().add(i) = x,
                Scalar::F32(x) => *at.cast::<f32>().add(i) = x,
                Scalar::F64(x) => *at.cast::<f64>().add(i) = x,
            }
        }
        true
    }
}

/// All buffers of one program.
pub struct Memory {
    /// Keeps the views' memory; one for each persistent buffer, the arena, and what bands spill.
    _blocks: Vec<Block>,
    /// None: lives within a band.
    views: Vec<Option<View>>,
    bytes: usize,
}

// SAFETY: the blocks belong to this value alone; access to their contents follows the borrow of `self`.
unsafe impl Send for Memory {}
// SAFETY: `&Memory` only reads.
unsafe impl Sync for Memory {}

impl Memory {
    /// Zeroed. The program must have passed [`fgc_program::validate`]; None where its sizes or places do not fit. What
    /// lives within bands has memory if they `spill` it.
    pub fn new(program: &Program, spill: bool) -> Option<Memory> {
        let arena = Block::new(program.arena)?;
        let spilt = if spill { program.spill } else { 0 };
        let spill_block = Block::new(spilt)?;
        let mut blocks = Vec::new();
        let mut views: Vec<Option<View>> = vec![None; program.buffers.len()];
        let mut bytes = program.arena + spilt;
        for (view, buffer) in views.iter_mut().zip(&program.buffers) {
            let size = buffer.len.checked_mul(buffer.dtype.size())?;
            let at = match buffer.place {
                Place::Persistent => {
                    blocks.push(Block::new(size)?);
                    bytes = bytes.checked_add(size)?;
                    blocks.last()?.at
                }
                Place::Arena { offset } => {
                    if offset % ALIGN != 0 || offset.checked_add(size)? > program.arena {
                        return None;
                    }
                    // SAFETY: offset is within the arena's block.
                    unsafe { arena.at.add(offset) }
                }
                Place::Band { .. } if !spill => continue,
                Place::Band { offset } => {
                    if offset % ALIGN != 0 || offset.checked_add(size)? > spilt {
                        return None;
                    }
                    // SAFETY: offset is within the block.
                    unsafe { spill_block.at.add(offset) }
                }
                Place::Part { .. } => continue,
            };
            *view = Some(View { at, len: buffer.len, dtype: buffer.dtype });
        }
        for (i, buffer) in program.buffers.iter().enumerate() {
            if let Place::Part { of, start } = buffer.place {
                let whole = views.get(of.0 as usize).copied().flatten()?;
                if whole.dtype != buffer.dtype || start.checked_add(buffer.len)? > whole.len {
                    return None;
                }
                // SAFETY: the part lies within the whole.
                let at = unsafe { whole.at.add(start * buffer.dtype.size()) };
                views[i] = Some(View { at, len: buffer.len, dtype: buffer.dtype });
            }
        }
        blocks.extend([arena, spill_block]);
        Some(Memory { _blocks: blocks, views, bytes })
    }

    /// Bytes allocated, arena included.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn view(&self, id: BufferId) -> Option<View> {
        self.views.get(id.0 as usize).copied().flatten()
    }

    /// The buffer's elements; None if there is no such buffer or its dtype is another.
    pub fn slice<T: Element>(&self, id: BufferId) -> Option<&[T]> {
        let view = self.view(id).filter(|view| view.dtype == T::DTYPE)?;
        // SAFETY: initialised (zeroed) memory of this dtype, aligned, `len` elements long; writers need `&mut self`.
        Some(unsafe { std::slice::from_raw_parts(view.at.as_ptr().cast(), view.len) })
    }

    /// As [`Memory::slice`], to write. Booleans must be 0 or 1.
    pub fn slice_mut<T: Element>(&mut self, id: BufferId) -> Option<&mut [T]> {
        let view = self.view(id).filter(|view| view.dtype == T::DTYPE)?;
        // SAFETY: as in `slice`, and `self` is borrowed for as long as the slice lives.
        Some(unsafe { std::slice::from_raw_parts_mut(view.at.as_ptr().cast(), view.len) })
    }

    /// Sets a buffer's first elements; false where they are too many or of another dtype.
    pub fn fill(&mut self, id: BufferId, values: &[Scalar]) -> bool {
        let Some(view) = self.view(id) else { return false };
        // SAFETY: the view's memory is this value's own, borrowed to write.
        values.iter().enumerate().all(|(i, value)| unsafe { view.set(i, *value) })
    }

    /// Copies one buffer over another; false unless both exist with one dtype and length.
    pub fn copy(&mut self, from: BufferId, to: BufferId) -> bool {
        let (Some(from), Some(to)) = (self.view(from), self.view(to)) else {
            return false;
        };
        if from.dtype != to.dtype || from.len != to.len {
            return false;
        }
        // SAFETY: both are valid for this many bytes; `copy` allows overlap.
        unsafe { std::ptr::copy(from.at.as_ptr(), to.at.as_ptr(), from.len * from.dtype.size()) }
        true
    }

    /// Exchanges two buffers; false unless both exist apart with one dtype and length.
    pub fn swap(&mut self, a: BufferId, b: BufferId) -> bool {
        let (Some(a), Some(b)) = (self.view(a), self.view(b)) else {
            return false;
        };
        let bytes = a.len * a.dtype.size();
        if a.dtype != b.dtype || a.len != b.len || a.at.as_ptr().addr().abs_diff(b.at.as_ptr().addr()) < bytes {
            return false;
        }
        // SAFETY: both are valid for this many bytes, and apart.
        unsafe { std::ptr::swap_nonoverlapping(a.at.as_ptr(), b.at.as_ptr(), bytes) }
        true
    }
}
