//! `fgc lsp` as an editor speaks with it.

mod client;
mod neovim;
mod preset;
mod session;
mod speed;
