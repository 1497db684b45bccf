//! `fgc lsp`

use crate::preset::Choice;
use crate::problem::Problem;
use crate::setup::setup;
use fgc_compiler::preset::Setup;
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
    let host = || fgc_lsp::Host { setup: Box::new(setup_for), cache: cache() };
    fgc_lsp::serve(host).map_err(Problem::new)
}

/// What `fgc check` would check the method on: the preset made for it.
fn setup_for(path: &Path, method: &str) -> Result<Setup, String> {
    let found = || -> Result<Setup, Problem> {
        let (preset, _) = Choice::default().resolve(path, method)?;
        Ok(setup(&preset, &preset.data.describe()?))
    };
    found().map_err(|problem| problem.to_string())
}

/// Where the standard library is copied for reading, beside the compiled kernels.
fn cache() -> PathBuf {
    let set = std::env::var_os("FGC_CACHE_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let home = set.unwrap_or_else(|| dirs::cache_dir().unwrap_or_else(std::env::temp_dir).join("fgc"));
    home.join(concat!("stdlib-", env!("CARGO_PKG_VERSION")))
}
