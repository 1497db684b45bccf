//! Checks on launches of code from outside. What the code does with its parameters nobody can know.

use super::Check;
use crate::Extern;

/// CUDA's limits.
const BLOCKS: usize = i32::MAX as usize;
const THREADS: usize = 1024;
/// Bytes that results must start at multiples of.
const ALIGN: usize = 16;

impl Check<'_> {
    pub(super) fn external(&mut self, place: &str, e: &Extern) {
        if e.code >= self.program.codes.len() {
            return self.problem(place, format!("there is no device code {}", e.code));
        }
        if e.entry.is_empty() || !e.entry.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'$') {
            self.problem(place, format!("`{}` is no name of a kernel", e.entry));
        }
        if e.blocks == 0 || e.blocks > BLOCKS || e.threads == 0 || e.threads > THREADS {
            self.problem(place, format!("{} blocks of {} threads", e.blocks, e.threads));
        }
        for arg in &e.args {
            self.buffer(place, *arg);
        }
        let Some(out) = self.buffer(place, e.out) else { return };
        let rising = e.results.windows(2).all(|pair| pair[0] < pair[1]) && e.results.first() == Some(&0);
        let aligned = e.results.iter().all(|start| (start * out.dtype.size()).is_multiple_of(ALIGN));
        if !rising || !aligned || e.results.iter().any(|start| *start >= out.len) {
            self.problem(place, format!("results at {:?} of {} elements", e.results, out.len));
        }
    }
}
