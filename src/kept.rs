//! Compiled programs, kept: what was compiled from the same text for the same setup by the same fgc is read instead.

use crate::problem::Problem;
use crate::setup::compiled;
use fgc_compiler::device_code;
use fgc_compiler::preset::Setup;
use fgc_program::Program;
use fgc_runtime::cpu::compile::cache_dir;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Programs that are kept; the oldest go first.
const MOST: usize = 64;

/// Compiles, and prints warnings; or finds the program where it was left. A program with warnings is not left, so that they
/// are seen each time.
///
/// What is left lies in `programs` of [`cache_dir`]. Whatever goes wrong there costs time, nothing else.
pub fn program(name: &str, text: &str, setup: &Setup) -> Result<Program, Problem> {
    let place = cache_dir().and_then(|dir| Some(dir.join("programs").join(key(name, text, setup)?)));
    if let Some(known) = place.as_deref().and_then(read) {
        return Ok(known);
    }
    let compiled = compiled(name, text, setup)?;
    if let (Some(place), true) = (place, compiled.checked.warnings.is_empty()) {
        // A full disk or a directory of somebody else's must not keep a method from training.
        _ = write(&place, &compiled.program);
    }
    Ok(compiled.program)
}

/// All that decides what program comes out. Methods read no files but those of their kernels and the library, which is part
/// of the executable; None if that cannot be told from others.
fn key(name: &str, text: &str, setup: &Setup) -> Option<String> {
    let own = std::env::current_exe().and_then(std::fs::metadata).ok()?;
    let made = own.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let mut hash = blake3::Hasher::new();
    // Where a value is written changes messages only.
    let setup = &Setup { written: None, ..setup.clone() };
    for part in [text, &format!("{setup:?}"), &format!("{} {made:?}", own.len())] {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    for file in device_code::named(text) {
        // What cannot be read is no program's.
        hash.update(&std::fs::read(device_code::locate(setup, name, &file)).ok()?);
    }
    Some(hash.finalize().to_hex()[..32].to_string())
}

fn read(place: &Path) -> Option<Program> {
    let bytes = std::fs::read(place).ok()?;
    let (hash, program) = bytes.split_first_chunk::<32>()?;
    (blake3::hash(program) == *hash).then(|| postcard::from_bytes(program).ok())?
}

fn write(place: &Path, program: &Program) -> std::io::Result<()> {
    let dir = place.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)?;
    let program = postcard::to_stdvec(program).map_err(std::io::Error::other)?;
    let bytes = [&blake3::hash(&program).as_bytes()[..], &program].concat();
    // Under another name first: a reader finds all of it or nothing.
    let own = place.with_extension(std::process::id().to_string());
    std::fs::write(&own, bytes)?;
    std::fs::rename(&own, place)?;
    let age = |path: &PathBuf| path.metadata().and_then(|file| file.modified()).ok();
    let mut all: Vec<PathBuf> = std::fs::read_dir(dir)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    all.sort_by_key(age);
    for old in all.iter().take(all.len().saturating_sub(MOST)) {
        std::fs::remove_file(old)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fgc_compiler::level::Level;
    use fgc_compiler::preset::Written;

    #[test]
    fn keys_tell_texts_and_setups_apart() {
        let plain = Setup::default();
        let other = Setup { level: Level::None, ..Setup::default() };
        let written = Written { name: "p.ron".into(), text: "()".into(), method: "a".into() };
        let elsewhere = Setup { written: Some(written), ..Setup::default() };
        let key = |text: &str, setup: &Setup| key("m.fg", text, setup).expect("this test's own executable is there");
        assert_eq!(key("method a {}", &plain), key("method a {}", &plain));
        assert_eq!(key("method a {}", &plain), key("method a {}", &elsewhere));
        assert_ne!(key("method a {}", &plain), key("method b {}", &plain));
        assert_ne!(key("method a {}", &plain), key("method a {}", &other));
    }

    #[test]
    fn what_is_damaged_is_as_good_as_absent() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let place = dir.path().join("programs/x");
        assert!(read(&place).is_none());
        std::fs::create_dir_all(dir.path().join("programs")).expect("a directory");
        std::fs::write(&place, [255; 40]).expect("a file");
        assert!(read(&place).is_none());
    }
}
