//! Batches made ahead of time, on a thread of their own.

use super::{Batch, Dataset};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

/// Yields the batches of a data set from some step on, without end.
#[derive(Debug)]
pub struct Loader {
    batches: Receiver<Batch>,
}

impl Loader {
    /// Keeps up to `ahead` batches ready. The thread ends when the loader is dropped.
    pub fn new(data: Arc<Dataset>, size: usize, seed: u64, first_step: u64, ahead: usize) -> Loader {
        let (sender, batches) = sync_channel(ahead);
        thread::spawn(move || {
            let mut steps = first_step..;
            // Sending fails once the loader is gone.
            while steps.next().is_some_and(|step| sender.send(data.batch(size, seed, step)).is_ok()) {}
        });
        Loader { batches }
    }
}

impl Iterator for Loader {
    type Item = Batch;

    /// None only if the thread died.
    fn next(&mut self) -> Option<Batch> {
        self.batches.recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DataSpec, Split};
    use super::*;

    #[test]
    fn a_loader_yields_the_batches_of_its_steps() {
        let data = Arc::new(Dataset::load(&DataSpec::Digits, Split::Train, &mut |_, _| {}).unwrap());
        let loader = Loader::new(data.clone(), 32, 5, 100, 3);
        for (batch, step) in loader.take(60).zip(100..) {
            assert_eq!(batch, data.batch(32, 5, step));
        }
    }
}
