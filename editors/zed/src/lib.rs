//! Starts `fgc lsp` for Zed.

use zed_extension_api::{self as zed, Command, LanguageServerId, Result, Worktree};

struct Fgc;

impl zed::Extension for Fgc {
    fn new() -> Fgc {
        Fgc
    }

    fn language_server_command(&mut self, _: &LanguageServerId, worktree: &Worktree) -> Result<Command> {
        let command = worktree.which("fgc").ok_or("fgc is not in PATH: install it first")?;
        Ok(Command { command, args: vec!["lsp".into()], env: worktree.shell_env() })
    }
}

zed::register_extension!(Fgc);
