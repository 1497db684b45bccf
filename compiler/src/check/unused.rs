//! Names that are bound and never read.

use super::elaborate::Elaborator;
use crate::diagnostic::{Diagnostic, Place};
use crate::source::FileId;
use fgc_grammar::ast::ParamDecl;

impl Elaborator<'_> {
    /// Warns of draws of the user's file and hyper-parameters that nothing reads.
    pub fn warn_unused(&mut self, params: &[ParamDecl], file: FileId) {
        let draws: Vec<(String, Place)> = self.draws.values().map(|d| (d.local.clone(), d.place)).collect();
        for (name, place) in draws {
            if place.file == file && !self.read.contains(&name) {
                self.report(
                    Diagnostic::warning("FG0404", format!("`{name}` is drawn and never used"))
                        .label(place, "drawn here")
                        .help("remove the draw"),
                );
            }
        }
        for param in params {
            let name = &param.name.text;
            if self.read.contains(name) {
                continue;
            }
            let mentioned = {
                let text = self.sources.file(file).text.clone();
                text.match_indices(name.as_str()).any(|(i, _)| i >= param.span.end && is_word(&text, i, name.len()))
            };
            if !mentioned {
                self.report(
                    Diagnostic::warning("FG0704", format!("hyper-parameter `{name}` is never used"))
                        .label(Place { file, span: param.name.span }, "declared here")
                        .help("remove it"),
                );
            }
        }
    }
}

/// Whether the text at `at` is a word of its own: branches not taken do not count as unused.
fn is_word(text: &str, at: usize, len: usize) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    !text[..at].chars().next_back().is_some_and(word) && !text[at + len..].chars().next().is_some_and(word)
}
