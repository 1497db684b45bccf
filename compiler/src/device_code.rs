//! Files of device code: reading them, and what can be seen of the kernels in them without compiling.

use crate::preset::Setup;
use fgc_grammar::ast::{ItemKind, StrPart};
use fgc_program::{DeviceCode, Language};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Larger files are no kernel.
const LARGEST: u64 = 4 << 20;

#[derive(Debug, Error)]
pub enum FileError {
    #[error("cannot read {0}: {1}")]
    Unreadable(String, std::io::Error),
    #[error("{0} has more than {LARGEST} bytes")]
    TooLarge(String),
    #[error("{0} is no text")]
    NoText(String),
    #[error("{0} is neither CUDA C++ (`.cu`) nor PTX (`.ptx`)")]
    Unknown(String),
}

/// Where a file is that the spec `name` calls for: where it says; or beside the spec, as a run keeps it.
pub fn locate(setup: &Setup, name: &str, file: &str) -> PathBuf {
    let beside = || Path::new(name).parent().map(Path::to_path_buf).unwrap_or_default();
    let folder = setup.folder.clone().unwrap_or_else(beside);
    let said = folder.join(file);
    match Path::new(file).file_name().map(|bare| folder.join(bare)) {
        Some(kept) if !said.exists() && kept.exists() => kept,
        _ => said,
    }
}

/// The files that the `extern kernel`s of a spec name, as far as they are plain strings.
pub fn named(text: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for item in fgc_grammar::parse(text).file.items {
        if let ItemKind::Extern(e) = item.kind
            && let [StrPart::Text(name)] = &e.file[..]
            && !names.contains(name)
        {
            names.push(name.clone());
        }
    }
    names
}

/// Reads a file.
pub fn read(path: &Path) -> Result<DeviceCode, FileError> {
    let shown = path.display().to_string();
    let language = match path.extension().and_then(|e| e.to_str()) {
        Some("cu") => Language::Cuda,
        Some("ptx") => Language::Ptx,
        _ => return Err(FileError::Unknown(shown)),
    };
    let bytes = std::fs::metadata(path).and_then(|found| {
        // Asked first: a device or a pipe might never end.
        if found.is_file() { Ok(found.len()) } else { Err(std::io::Error::other("it is no file")) }
    });
    if bytes.map_err(|e| FileError::Unreadable(shown.clone(), e))? > LARGEST {
        return Err(FileError::TooLarge(shown));
    }
    let bytes = std::fs::read(path).map_err(|e| FileError::Unreadable(shown.clone(), e))?;
    let Ok(text) = String::from_utf8(bytes) else { return Err(FileError::NoText(shown)) };
    if text.contains('\0') {
        return Err(FileError::NoText(shown));
    }
    let name = path.file_name().map_or(shown, |name| name.to_string_lossy().into_owned());
    Ok(DeviceCode { language, name, text })
}

/// A kernel as its file declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    /// How many parameters it has, and whether each is seen to have 64 bits (pointers and long integers do).
    pub wide: Vec<bool>,
}

/// The kernels that a file defines, in its order.
pub fn entries(code: &DeviceCode) -> Vec<Entry> {
    let text = without_comments(&code.text);
    match code.language {
        Language::Ptx => ptx_entries(&text),
        Language::Cuda => cuda_entries(&text),
    }
}

/// `.visible .entry name(.param .u64 .ptr .global .align 4 name_param_0, …)`.
fn ptx_entries(text: &str) -> Vec<Entry> {
    let entry = |rest: &str| {
        let rest = rest.trim_start();
        let name: String = rest.chars().take_while(|&c| is_word(c)).collect();
        let list = rest[name.len()..].trim_start().strip_prefix('(').and_then(|list| list.split(')').next());
        let parameters = list.unwrap_or("").split(',').filter(|p| p.contains(".param"));
        let wide = |p: &str| {
            let bits = p.split_whitespace().find(|word| word.len() > 2 && word[2..].parse::<u32>().is_ok());
            matches!(bits, Some(".u64" | ".s64" | ".b64" | ".f64")) && !p.contains('[')
        };
        Entry { name, wide: parameters.map(wide).collect() }
    };
    text.split(".entry").skip(1).map(entry).filter(|entry| !entry.name.is_empty()).collect()
}

/// `extern "C" __global__ void __launch_bounds__(128) name(const float *x, long long n)`.
fn cuda_entries(text: &str) -> Vec<Entry> {
    let entry = |rest: &str| {
        // The last word before a `(` that is none of CUDA's own (`__launch_bounds__`).
        let mut rest = rest.split(['{', ';']).next()?;
        loop {
            let open = rest.find('(')?;
            let (before, list) = (rest[..open].trim_end(), inside(&rest[open..])?);
            let start = before.rfind(|c| !is_word(c)).map_or(0, |at| at + 1);
            let name = &before[start..];
            if name == "void" {
                return None;
            }
            if name.starts_with("__") || name.is_empty() {
                rest = &rest[open + list.len() + 2..];
                continue;
            }
            let given = if list.trim().is_empty() || list.trim() == "void" { Vec::new() } else { commas(list) };
            return Some(Entry { name: name.into(), wide: given.into_iter().map(is_wide).collect() });
        }
    };
    text.split("__global__").skip(1).filter_map(entry).collect()
}

/// What is between an opening parenthesis, with which `text` begins, and its own closing one.
fn inside(text: &str) -> Option<&str> {
    let mut depth = 0usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => return Some(&text[1..at]),
            ')' => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    None
}

/// The parts between commas that are in no brackets.
fn commas(list: &str) -> Vec<&str> {
    let mut depth = 0i32;
    let split = list.split(move |c| {
        match c {
            '(' | '[' | '<' => depth += 1,
            ')' | ']' | '>' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    });
    split.collect()
}

/// Whether a C++ parameter has 64 bits, as far as its words say; a type's own name might.
fn is_wide(parameter: &str) -> bool {
    const NARROW: [&str; 7] = ["int", "unsigned", "float", "short", "char", "bool", "int32_t"];
    let words: Vec<&str> = parameter.split(|c| !is_word(c)).filter(|word| !word.is_empty()).collect();
    parameter.contains(['*', '[']) || words.contains(&"long") || !words.iter().any(|word| NARROW.contains(word))
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$'
}

/// The text with comments as blanks.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('/') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else {
            out.push('/');
            rest = &rest[1..];
            continue;
        };
        out.push(' ');
        rest = &rest[end..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(language: Language, text: &str) -> Vec<(String, Vec<bool>)> {
        let code = DeviceCode { language, name: "k".into(), text: text.into() };
        entries(&code).into_iter().map(|e| (e.name, e.wide)).collect()
    }

    #[test]
    fn kernels_of_cuda_sources_are_seen() {
        let text = "// __global__ void no(int)\n__device__ float f(float x) { return x; }\n\
            extern \"C\" __global__ void __launch_bounds__(128, 2)\n scale(const float *x, const float *__restrict__ s, \
            long long n) { f(x[0]); }\nextern \"C\" __global__ void g(void);\n__global__ void h(float *x, int n) {}";
        let wide = |name: &str, wide: &[bool]| (name.to_owned(), wide.to_vec());
        let want = [wide("scale", &[true, true, true]), wide("g", &[]), wide("h", &[true, false])];
        assert_eq!(found(Language::Cuda, text), want);
    }

    #[test]
    fn kernels_of_ptx_are_seen() {
        let text = ".version 8.0\n/* .entry no() */\n.visible .entry scale(\n\t.param .u64 .ptr .global .align 4 scale_0,\n\
            \t.param .u64 scale_1,\n.param .u32 scale_2\n)\n{\nret;\n}\n.entry g()\n{ ret; }";
        let want = [("scale".to_owned(), vec![true, true, false]), ("g".to_owned(), vec![])];
        assert_eq!(found(Language::Ptx, text), want);
    }

    #[test]
    fn nothing_is_seen_in_anything_else() {
        for text in ["", "__global__", "__global__ void f(", "__global__ void (x)", ".entry", ".entry (", "/*", "a / b"]
        {
            for language in [Language::Cuda, Language::Ptx] {
                let names: Vec<String> = found(language, text).into_iter().map(|(name, _)| name).collect();
                assert!(names.is_empty(), "{text}: {names:?}");
            }
        }
    }
}
