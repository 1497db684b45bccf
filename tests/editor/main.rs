//! `fgc lsp` as an editor speaks with it.

mod actions;
mod client;
mod emacs;
mod features;
mod neovim;
mod preset;
mod session;
mod speed;
