//! The checker.

use crate::{deeply, setups};
use fgc_compiler::check::inspect;
use fgc_compiler::diagnostic::render;

/// Checking ends, every mistake has a place in a text, and can be shown.
pub fn check(text: &str) {
    deeply(|| {
        let setup = setups::fitting(text);
        let found = inspect("input.fg", text, &setup);
        for diagnostic in &found.diagnostics {
            for label in &diagnostic.labels {
                let text = &found.sources.file(label.place.file).text;
                let span = label.place.span;
                assert!(text.get(span.start..span.end).is_some(), "{diagnostic:?} is not in the text");
            }
            render(diagnostic, &found.sources, false);
        }
    });
}
