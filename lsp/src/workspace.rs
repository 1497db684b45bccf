//! The files of the workspace that are not open.

use fgc_compiler::module::Modules;
use fgc_compiler::names::Names;
use fgc_compiler::source::{SourceFile, Sources, standard_module, standard_modules};
use fgc_grammar::Span;
use gen_lsp_types::{BaseSymbolInformation, Location, Range, SymbolInformation, SymbolKind, Uri};
use std::path::{Path, PathBuf};

/// More files than this are not looked through.
const FILES: usize = 2000;
/// Nor folders deeper than this.
const DEPTH: usize = 8;

/// The `.fg` files in folders, hidden ones and build folders left out.
pub fn files(roots: &[PathBuf]) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for root in roots {
        walk(root, 0, &mut out);
    }
    out.sort();
    out.dedup();
    out
}

fn walk(folder: &Path, depth: usize, out: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth < DEPTH && !name.starts_with('.') && name != "target" && name != "node_modules" {
            walk(&path, depth + 1, out);
        } else if kind.is_file() && name.ends_with(".fg") && out.len() < FILES {
            out.push(path);
        }
    }
}

/// The standard library as the compiler carries it.
pub fn standard_files() -> Vec<SourceFile> {
    let file = |path: &String| {
        let parts: Vec<&str> = path.split('.').skip(1).collect();
        let text = standard_module(&parts)?;
        Some(SourceFile { name: format!("std/{}.fg", parts.join("/")), text: text.into(), standard: true })
    };
    standard_modules().iter().filter_map(file).collect()
}

/// Where a file refers to what stands at `span` of the standard file `home` and is called `name`.
pub fn uses(text: &str, home: &str, span: Span, name: &str) -> Vec<Span> {
    if !text.contains(name) {
        return Vec::new();
    }
    let (mut sources, mut modules) = (Sources::default(), Modules::default());
    let id = modules.load_user(&mut sources, "", text, &mut Vec::new());
    let names = Names::of(id, &modules, &sources);
    let here = |u: &fgc_compiler::names::Use| {
        let place = names.place(&u.target, u.span.start, id, &modules)?;
        Some(place.span == span && sources.file(place.file).name == home)
    };
    names.uses.iter().filter(|u| here(u) == Some(true)).map(|u| u.span).collect()
}

pub fn information(name: String, kind: SymbolKind, uri: &Uri, range: Range) -> SymbolInformation {
    let base = BaseSymbolInformation { name, kind, tags: None, container_name: None };
    #[expect(deprecated, reason = "the field has to be named")]
    let out = SymbolInformation {
        deprecated: None,
        location: Location { uri: uri.clone(), range },
        base_symbol_information: base,
    };
    out
}
