//! Every file as it is while it is being written, character by character.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Serves every `stride`th prefix, on all cores.
fn serve(stride: usize) {
    let mut files = fgc_fuzzed::specs();
    let presets = fgc_fuzzed::files(&["methods/presets"], &[".ron"]);
    files.extend(presets.into_iter().map(|(name, bytes)| (name, String::from_utf8(bytes).unwrap())));
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some((path, text)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let ends = text.char_indices().map(|(i, _)| i).skip(path.len() % stride).step_by(stride);
            for end in ends.chain([text.len()]) {
                let served = std::panic::catch_unwind(|| fgc_fuzzed::unfinished(&format!("/w/{path}"), &text[..end]));
                assert!(served.is_ok(), "{path} up to byte {end}");
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn unfinished_files_are_served() {
    serve(if cfg!(debug_assertions) { 211 } else { 37 });
}

/// `cargo test --release -p fgc-fuzzed --test prefixes -- --ignored`: a quarter of an hour on two cores.
#[test]
#[ignore = "takes long; the other test takes samples"]
fn every_unfinished_file_is_served() {
    serve(1);
}
