//! Copies between the host and the GPU that nothing waits for: through pinned memory, as those from or to other memory wait for
//! all that runs.
//!
//! [`Uploads`] go to memory of the GPU's own on a stream of their own, beside the kernels of the step before, and from there
//! where they belong in the order of the kernels. What was posted ([`Posts`]) is there when its event has come.

use super::driver::Ticket;
use cudarc::driver::{result, sys};
use std::ptr::NonNull;
use std::sync::Arc;

/// Bytes of a slot, and how many there are.
const SLOT: usize = 8 << 20;
const SLOTS: usize = 4;
/// What is not longer is in the stream of the kernels at once: the copy takes less than two streams to wait for each other.
const SHORT: usize = 16 << 10;
/// What every copy begins at a multiple of.
const ALIGN: usize = 256;

type Outcome<T> = Result<T, result::DriverError>;

/// Memory of the host and as much of the GPU's, used in turns.
pub(super) struct Uploads {
    stream: sys::CUstream,
    slots: Vec<Slot>,
    ring: Ring,
}

struct Slot {
    host: NonNull<u8>,
    device: sys::CUdeviceptr,
    /// When its last copy from the host is in the GPU's memory.
    there: sys::CUevent,
    /// When nothing reads its memory any more.
    over: sys::CUevent,
}

fn event() -> Outcome<sys::CUevent> {
    result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)
}

fn pinned(bytes: usize) -> Outcome<NonNull<u8>> {
    // SAFETY: what is in it is written before it is read; the driver gives no null without an error.
    let at = unsafe { result::malloc_host(bytes, 0) }?;
    NonNull::new(at.cast()).ok_or(result::DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY))
}

impl Uploads {
    /// The context is current.
    pub fn new() -> Outcome<Uploads> {
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking)?;
        let mut uploads = Uploads { stream, slots: Vec::new(), ring: Ring::new(SLOTS, SLOT) };
        for _ in 0..SLOTS {
            if let Err(error) = uploads.add() {
                // SAFETY: nothing was copied yet.
                unsafe { uploads.release() };
                return Err(error);
            }
        }
        Ok(uploads)
    }

    fn add(&mut self) -> Outcome<()> {
        let host = pinned(SLOT)?;
        // SAFETY: written before it is read; given back in `release`.
        let device = unsafe { result::malloc_sync(SLOT) };
        let both = device.and_then(|device| Ok((device, event()?, event()?)));
        let (device, there, over) = both.inspect_err(|_| {
            // SAFETY: made above; what else was made goes with the process.
            _ = unsafe { result::free_host(host.as_ptr().cast()) };
        })?;
        self.slots.push(Slot { host, device, there, over });
        Ok(())
    }

    /// Copies `bytes` to `to` after all that is on the stream `main`; they may be changed at once.
    ///
    /// # Safety
    /// `to` is memory of the context, which is current, for so many bytes; it and this value live until `main` was waited for.
    pub unsafe fn upload(&mut self, to: sys::CUdeviceptr, bytes: &[u8], main: sys::CUstream) -> Outcome<()> {
        for (n, chunk) in bytes.chunks(SLOT).enumerate() {
            let to = to + (n * SLOT) as u64;
            let Place { slot, start, anew } = self.ring.place(chunk.len());
            let slot = &self.slots[slot];
            // SAFETY: so many bytes from `start` on are within the slot, and of no copy since its memory was last over, which is
            // waited for before it is used anew. An event that was never recorded has come. `to`: the caller's promise.
            unsafe {
                if anew {
                    result::event::synchronize(slot.over)?;
                }
                let host = slot.host.add(start);
                std::ptr::copy_nonoverlapping(chunk.as_ptr(), host.as_ptr(), chunk.len());
                let staged = std::slice::from_raw_parts(host.as_ptr(), chunk.len());
                if chunk.len() <= SHORT {
                    result::memcpy_htod_async(to, staged, main)?;
                } else {
                    let device = slot.device + start as u64;
                    result::memcpy_htod_async(device, staged, self.stream)?;
                    result::event::record(slot.there, self.stream)?;
                    result::stream::wait_event(main, slot.there, sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT)?;
                    result::memcpy_dtod_async(to, device, chunk.len(), main)?;
                }
                result::event::record(slot.over, main)?;
            }
        }
        Ok(())
    }

    /// # Safety
    /// The context is current, and what was uploaded is there.
    pub unsafe fn release(self) {
        // SAFETY: all made by this value, and given back once; the caller's promise.
        unsafe {
            for slot in self.slots {
                _ = result::event::destroy(slot.there);
                _ = result::event::destroy(slot.over);
                _ = result::free_sync(slot.device);
                _ = result::free_host(slot.host.as_ptr().cast());
            }
            _ = result::stream::destroy(self.stream);
        }
    }
}

/// Where the next copy goes.
struct Ring {
    slots: usize,
    bytes: usize,
    slot: usize,
    used: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    slot: usize,
    start: usize,
    /// Whether it is the first in a slot, which others may have used before.
    anew: bool,
}

impl Ring {
    fn new(slots: usize, bytes: usize) -> Ring {
        Ring { slots, bytes, slot: 0, used: 0 }
    }

    /// For so many bytes, at most a slot's.
    fn place(&mut self, bytes: usize) -> Place {
        let anew = self.used + bytes > self.bytes;
        if anew {
            (self.slot, self.used) = ((self.slot + 1) % self.slots, 0);
        }
        let place = Place { slot: self.slot, start: self.used, anew };
        self.used = (self.used + bytes).next_multiple_of(ALIGN);
        place
    }
}

/// Pinned memory that bytes come to.
#[derive(Default)]
pub(super) struct Posts {
    slots: Vec<Post>,
}

struct Post {
    host: NonNull<u8>,
    room: usize,
    bytes: usize,
    /// When they are there.
    there: sys::CUevent,
    /// Tickets for them hold it, too.
    held: Arc<()>,
}

impl Post {
    /// Whether nobody will ask for its bytes any more. Others may come to the memory at once: copies are done in their order.
    fn is_free(&self) -> bool {
        Arc::strong_count(&self.held) == 1
    }
}

impl Posts {
    /// Copies bytes to the host after all that is on `stream`; what to collect them by, on this stream always.
    ///
    /// # Safety
    /// `from` is memory of the context, which is current, for so many bytes; it and this value live until the stream was
    /// waited for.
    pub unsafe fn post(&mut self, from: sys::CUdeviceptr, bytes: usize, stream: sys::CUstream) -> Outcome<Ticket> {
        let free = self.slots.iter().position(|post| post.is_free() && post.room >= bytes);
        let at = match free {
            Some(at) => at,
            None => {
                let (there, host) = (event()?, pinned(bytes)?);
                self.slots.push(Post { host, room: bytes, bytes, there, held: Arc::default() });
                self.slots.len() - 1
            }
        };
        let post = &mut self.slots[at];
        post.bytes = bytes;
        // SAFETY: the memory has room for so many bytes, and an earlier copy to it is done first, on the same stream, and nobody asks for that any more. `from`: the caller's
        // promise.
        unsafe {
            let host = std::slice::from_raw_parts_mut(post.host.as_ptr(), bytes);
            result::memcpy_dtoh_async(host, from, stream)?;
            result::event::record(post.there, stream)?;
        }
        Ok(Ticket { number: at, held: post.held.clone() })
    }

    /// Waits for these bytes; None if there are none by that number.
    pub fn collect(&mut self, ticket: &Ticket) -> Outcome<Option<Vec<u8>>> {
        let Some(post) = self.slots.get(ticket.number) else { return Ok(None) };
        // SAFETY: recorded when they were posted; after it the bytes are written.
        let bytes = unsafe {
            result::event::synchronize(post.there)?;
            std::slice::from_raw_parts(post.host.as_ptr(), post.bytes)
        };
        Ok(Some(bytes.to_vec()))
    }

    /// # Safety
    /// The context is current, and the streams were waited for.
    pub unsafe fn release(self) {
        for post in self.slots {
            // SAFETY: made by this value, and given back once; the caller's promise.
            unsafe {
                _ = result::event::destroy(post.there);
                _ = result::free_host(post.host.as_ptr().cast());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No two copies share memory unless a slot was begun anew between them; every slot is used.
    #[test]
    fn places_do_not_overlap() {
        let mut ring = Ring::new(3, 10_000);
        let mut taken: Vec<(usize, usize, usize)> = Vec::new();
        let mut begun = [0; 3];
        for i in 0..500 {
            let bytes = [1, 8, 300, 4096, 10_000, 0][i % 6];
            let Place { slot, start, anew } = ring.place(bytes);
            assert!(start + bytes <= 10_000 && start % ALIGN == 0);
            if anew {
                taken.retain(|(other, ..)| *other != slot);
                begun[slot] += 1;
            }
            assert!(taken.iter().all(|&(other, from, to)| other != slot || start >= to || start + bytes <= from));
            taken.push((slot, start, start + bytes));
        }
        assert!(begun.iter().all(|times| *times > 10), "{begun:?}");
    }
}
