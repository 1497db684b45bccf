//! Source files, and the standard library that every compiler carries.

use fgc_grammar::Span;
use include_dir::{Dir, include_dir};
use std::path::Path;
use std::sync::Arc;

static STDLIB: Dir = include_dir!("$CARGO_MANIFEST_DIR/../stdlib");

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u32);

#[derive(Clone, Debug)]
pub struct SourceFile {
    /// A path, or `std/loss.fg` for the standard library.
    pub name: String,
    pub text: Arc<str>,
    /// Part of the standard library: not the user's to mend.
    pub standard: bool,
}

impl SourceFile {
    /// `span` made to lie in the text, at character boundaries.
    pub fn clamp(&self, span: Span) -> Span {
        let down = |mut at: usize| {
            while !self.text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let up = |mut at: usize| {
            while !self.text.is_char_boundary(at) {
                at += 1;
            }
            at
        };
        let length = self.text.len();
        let start = down(span.start.min(length));
        Span::new(start, up(span.end.clamp(start, length)))
    }

    /// Line and column (in characters) of a byte offset, both from 1.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..self.clamp(Span::new(offset, offset)).start];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        (line, column)
    }
}

/// All texts a compilation has read.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<SourceFile>,
}

impl Sources {
    pub fn add(&mut self, name: &str, text: &str, standard: bool) -> FileId {
        self.files.push(SourceFile { name: name.into(), text: text.into(), standard });
        FileId(self.files.len() as u32 - 1)
    }

    /// All files, in the order they were read.
    pub fn ids(&self) -> impl Iterator<Item = FileId> + use<> {
        (0..self.files.len() as u32).map(FileId)
    }

    pub fn file(&self, id: FileId) -> &SourceFile {
        &self.files[id.0 as usize]
    }
}

/// Text of the standard library's module `path` (without the leading `std`): `["schedule", "edm"]`.
pub fn standard_module(path: &[&str]) -> Option<&'static str> {
    let file = Path::new(&path.join("/")).with_extension("fg");
    STDLIB.get_file(file)?.contents_utf8()
}

/// Paths of all standard modules, `std.schedule.edm` and so on, sorted.
pub fn standard_modules() -> Vec<String> {
    fn walk(dir: &Dir, out: &mut Vec<String>) {
        for file in dir.files() {
            if file.path().extension().is_some_and(|e| e == "fg") {
                let path = file.path().with_extension("");
                let parts: Vec<_> = path.iter().map(|p| p.to_string_lossy()).collect();
                out.push(format!("std.{}", parts.join(".")));
            }
        }
        for sub in dir.dirs() {
            walk(sub, out);
        }
    }
    let mut out = Vec::new();
    walk(&STDLIB, &mut out);
    out.sort();
    out
}
