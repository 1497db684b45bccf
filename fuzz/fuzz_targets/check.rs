#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| fgc_fuzzed::check(text));
