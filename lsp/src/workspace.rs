//! The files of the workspace that are not open.

use fgc_compiler::module::Modules;
use fgc_compiler::names::Names;
use fgc_compiler::source::{SourceFile, Sources, standard_module, standard_modules};
use fgc_grammar::Span;
use gen_lsp_types::{BaseSymbolInformation, Location, Range, SymbolInformation, SymbolKind, Uri};
use ignore::{DirEntry, WalkBuilder};
use std::path::PathBuf;

/// More files than this are not looked through.
const FILES: usize = 2000;
/// Nor folders deeper than this.
const DEPTH: usize = 8;

/// The `.fg` files in folders; hidden ones and those that git ignores are left out, such as the copies that runs keep.
pub fn files(roots: &[PathBuf]) -> Vec<PathBuf> {
    let walk = |root: &PathBuf| {
        let mut walk = WalkBuilder::new(root);
        walk.max_depth(Some(DEPTH)).filter_entry(|entry| entry.file_name() != "node_modules");
        walk.build().flatten().map(DirEntry::into_path).filter(|path| path.extension().is_some_and(|e| e == "fg"))
    };
    let mut out: Vec<PathBuf> = roots.iter().flat_map(walk).take(FILES).collect();
    out.sort();
    out.dedup();
    out
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
