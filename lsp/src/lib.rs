//! The language server of `.fg` specs and `.ron` presets.
//!
//! [`Analysis`] holds what the compiler knows of one version of a file; the modules beside it are functions from it and
//! a position to an answer. [`serve`] speaks the protocol.

pub mod actions;
mod analysis;
mod capabilities;
pub mod completion;
mod context;
mod describe;
pub mod diagnostics;
pub mod folding;
pub mod format;
pub mod hints;
pub mod hover;
pub mod library;
pub mod navigate;
pub mod preset;
mod resolve;
mod server;
pub mod session;
pub mod signature;
pub mod symbols;
pub mod text;
pub mod tokens;
pub mod uri;
mod words;
pub mod workspace;

pub use analysis::Analysis;
pub use server::serve;
pub use session::{Host, Session};
