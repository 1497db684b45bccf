//! A few seconds of fuzzing without libFuzzer, and all inputs that ever failed.

use std::time::{Duration, Instant};

/// For each target; an unoptimised build gets through a few hundred inputs.
const TIME: Duration = Duration::from_secs(4);

/// Pieces that change what the text around them means.
const PIECES: [&str; 30] = [
    "(", ")", "[", "]", "{", "}", "\"", ",", ".", "..", ":", "=", "->", "~", "@", "\n", "// ", "/// ", "let ", "fn ",
    "if ", "loss ", "stop(", "none", "0", "-1", "1e30", "over ", "é", "\u{0}",
];

/// Random numbers, the same every time (Steele et al. 2014, SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }
}

/// Inputs that once failed, from `fuzz/regressions/TARGET`.
fn regressions(target: &str) -> Vec<(String, Vec<u8>)> {
    let found = fgc_fuzzed::files(&[&format!("fuzz/regressions/{target}")], &[""]);
    assert!(!found.is_empty());
    found
}

/// Words, numbers, runs of blanks, single signs.
fn tokens(text: &str) -> Vec<&str> {
    let kind = |c: char| {
        if c.is_alphanumeric() || c == '_' {
            1
        } else if c.is_whitespace() {
            2
        } else {
            0
        }
    };
    let mut out = Vec::new();
    let mut start = 0;
    for (i, c) in text.char_indices().skip(1) {
        let before = text[..i].chars().next_back().map_or(0, kind);
        if kind(c) != before || kind(c) == 0 {
            out.push(&text[start..i]);
            start = i;
        }
    }
    out.push(&text[start..]);
    out
}

/// A text with a few of its tokens left out, doubled, moved, or replaced, by one of another text too.
fn mutant(texts: &[Vec<&str>], random: &mut Random) -> String {
    let mut out = texts[random.below(texts.len())].clone();
    for _ in 0..=random.below(5) {
        let at = random.below(out.len());
        let longest = [3, 3, 3, 40][random.below(4)];
        let length = 1 + random.below(longest);
        let end = (at + length).min(out.len());
        match random.below(5) {
            0 => drop(out.drain(at..end)),
            1 => {
                let copy = out[at..end].to_vec();
                let to = random.below(out.len());
                out.splice(to..to, copy);
            }
            2 => {
                let other = &texts[random.below(texts.len())];
                let from = random.below(other.len());
                let upto = (from + length).min(other.len());
                out.splice(at..end, other[from..upto].iter().copied());
            }
            3 => out[at] = PIECES[random.below(PIECES.len())],
            _ => out.insert(at, PIECES[random.below(PIECES.len())]),
        }
        if out.is_empty() {
            out.push("");
        }
    }
    out.concat()
}

/// Runs a target on mutants of every spec until time is up; says which input fails.
fn on_texts(name: &str, target: fn(&str)) {
    for (path, bytes) in regressions(name) {
        // libFuzzer hands on only what is UTF-8.
        let Ok(text) = std::str::from_utf8(&bytes) else { continue };
        guard(&path, text.as_bytes(), || target(text));
    }
    let specs = fgc_fuzzed::specs();
    let texts: Vec<Vec<&str>> = specs.iter().map(|(_, text)| tokens(text)).collect();
    let mut random = Random(1);
    let start = Instant::now();
    while start.elapsed() < TIME {
        let text = mutant(&texts, &mut random);
        guard("a mutant", text.as_bytes(), || target(&text));
    }
}

/// Keeps an input that fails where libFuzzer would.
fn guard(what: &str, input: &[u8], f: impl FnOnce()) {
    if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)) {
        let kept = std::env::temp_dir().join("fgc-failing-input");
        std::fs::write(&kept, input).ok();
        eprintln!("{what} fails; the input is in {}", kept.display());
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn any_text_is_read() {
    on_texts("parse", fgc_fuzzed::parse);
}

#[test]
fn formatting_changes_no_meaning() {
    on_texts("format", fgc_fuzzed::format);
}

#[test]
fn any_text_is_checked() {
    on_texts("check", fgc_fuzzed::check);
}

#[test]
fn any_editing_is_served() {
    for (path, bytes) in regressions("edits") {
        guard(&path, &bytes, || fgc_fuzzed::edits(&bytes));
    }
    let mut random = Random(2);
    let start = Instant::now();
    while start.elapsed() < TIME {
        let bytes: Vec<u8> = (0..2 + 5 * (1 + random.below(20))).map(|_| random.below(256) as u8).collect();
        guard("a session", &bytes, || fgc_fuzzed::edits(&bytes));
    }
}
