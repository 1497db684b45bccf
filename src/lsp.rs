//! `fgc lsp`

use crate::preset::{self, Choice};
use crate::problem::Problem;
use crate::setup::setup;
use crate::source::BUILT_IN;
use fgc_compiler::preset::Setup;
use fgc_lsp::preset::{Misread, Presets};
use std::path::{Path, PathBuf};

/// Serve an editor: the Language Server Protocol on standard input and output.
///
/// See docs/editors.md for setting up VS Code, Neovim, Helix and Emacs.
#[derive(clap::Args)]
pub struct Args {
    /// Accepted for editors that always pass it; there is no other way.
    #[arg(long, hide = true)]
    stdio: bool,
}

pub fn main(_: Args) -> Result<(), Problem> {
    let presets = Presets {
        read,
        setup: |path, text, method| setup_on(path, text, method).map_err(|p| p.to_string()),
        method,
        methods: methods(),
    };
    fgc_lsp::serve(fgc_lsp::Host { setup: setup_for, presets, cache: cache() }).map_err(Problem::new)
}

/// What `fgc check` would check the method on: the preset made for it.
fn setup_for(path: &Path, method: &str) -> Result<Setup, String> {
    let found = || -> Result<Setup, Problem> {
        let (preset, _) = Choice::default().resolve(path, method)?;
        // Its preset may not be a file.
        Ok(Setup { written: None, ..setup(&preset, &preset.data.describe()?) })
    };
    found().map_err(|problem| problem.to_string())
}

fn read(text: &str) -> Result<(), Misread> {
    preset::read(text).map(drop).map_err(|e| Misread {
        from: (e.span.start.line, e.span.start.col),
        to: (e.span.end.line, e.span.end.col),
        message: e.code.to_string(),
    })
}

fn setup_on(path: &Path, text: &str, method: &str) -> Result<Setup, Problem> {
    let preset = preset::parse(text, &path.display().to_string())?.for_method(method);
    Ok(setup(&preset, &preset.data.describe()?))
}

/// A method's text: beside the folder the preset is in, beside the preset, or built in.
fn method(preset: &Path, name: &str) -> Option<String> {
    let file = format!("{name}.fg");
    let near = preset.ancestors().skip(1).take(2).find_map(|dir| std::fs::read_to_string(dir.join(&file)).ok());
    near.or_else(|| BUILT_IN.get_file(&file)?.contents_utf8().map(String::from))
}

fn methods() -> Vec<String> {
    BUILT_IN.files().filter_map(|f| Some(f.path().to_str()?.strip_suffix(".fg")?.to_owned())).collect()
}

/// Where the standard library is copied for reading, beside the compiled kernels.
fn cache() -> PathBuf {
    let set = std::env::var_os("FGC_CACHE_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let home = set.unwrap_or_else(|| dirs::cache_dir().unwrap_or_else(std::env::temp_dir).join("fgc"));
    home.join(concat!("stdlib-", env!("CARGO_PKG_VERSION")))
}
