//! What must hold of any input. Each function here takes one and panics where something does not; `fuzz/` drives them
//! with libFuzzer, `tests/short.rs` for a few seconds with inputs of its own, and again with all that ever failed.

mod check;
mod editor;
mod edits;
mod files;
mod format;
mod setups;

pub use check::check;
pub use edits::{edits, unfinished};
pub use files::{files, specs};
pub use format::{format, parse};

/// As deep as checking may recurse in `fgc`.
const STACK: usize = 256 << 20;

/// Runs on a thread with as much stack as `fgc` has.
fn deeply<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, f).expect("a thread");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
