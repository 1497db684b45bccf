//! Mistakes in hyper-parameters and networks, at their place in the preset that gives them.

use super::OUTSIDE;
use super::outline::Outline;
use crate::diagnostic::{Diagnostic, Place};
use crate::source::{FileId, SourceFile, Sources};
use fgc_grammar::Span;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// The text of the preset that a setup is made from.
#[derive(Clone, Debug)]
pub struct Written {
    /// A path, or `presets/ring.ron` for a built-in one.
    pub name: String,
    pub text: Arc<str>,
    /// The method whose settings it is read for.
    pub method: String,
}

impl Written {
    /// Moves what `diagnostics` say of values and networks to where these stand in the preset. What the command line gave
    /// stays as it is.
    pub fn rehome(&self, sources: &mut Sources, diagnostics: &mut [Diagnostic]) {
        let outline = Outline::of(&self.text);
        let mut home: Option<FileId> = None;
        let mut known: FxHashMap<Place, Option<Place>> = FxHashMap::default();
        for diagnostic in diagnostics {
            let edits = diagnostic.fixes.iter_mut().flat_map(|fix| &mut fix.edits).map(|edit| &mut edit.place);
            for place in diagnostic.labels.iter_mut().map(|label| &mut label.place).chain(edits) {
                let moved = *known.entry(*place).or_insert_with(|| {
                    let span = outline.origin(&self.text, &self.method, sources.file(place.file), place.span)?;
                    let file = *home.get_or_insert_with(|| sources.add(&self.name, &self.text, false));
                    Some(Place { file, span })
                });
                *place = moved.unwrap_or(*place);
            }
        }
    }
}

impl Outline {
    /// Where in a preset's `text` a part of `file` stands, which is what the preset gives a hyper-parameter of `method` or a
    /// network. None for other files, and for values from elsewhere.
    pub fn origin(&self, text: &str, method: &str, file: &SourceFile, span: Span) -> Option<Span> {
        let written = |value: Span| text.get(value.start..value.end);
        let is = |value: Span| written(value).is_some_and(|raw| raw == &*file.text);
        let entry = match file.name.strip_suffix(OUTSIDE) {
            Some(name) => self.find(&["methods", method, "set", name]).or_else(|| self.find(&["set", name]))?,
            None => {
                file.name.strip_prefix("network of ")?;
                let networks = self.entries.iter().filter(|e| e.path.last().is_some_and(|k| k == "network"));
                networks.filter(|e| is(e.value)).max_by_key(|e| e.path.iter().any(|key| key == method))?
            }
        };
        if is(entry.value) {
            return Some(Span::new(entry.value.start + span.start, entry.value.start + span.end));
        }
        // Longer than what it says: places within it differ.
        let escaped = written(entry.value).is_some_and(|raw| raw.replace("\\\"", "\"") == *file.text);
        escaped.then_some(entry.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"(set: {"lr": "1e-3", "mode": "\"a\""}, methods: {"cm": (set: {"lr": "2e-3"})},
 nets: {"denoiser": (network: "mlp(hidden = 8)")})"#;

    /// The text at the origin of a file's part.
    fn origin(method: &str, name: &str, text: &str, span: [usize; 2]) -> Option<&'static str> {
        let mut sources = Sources::default();
        let id = sources.add(name, text, false);
        let found = Outline::of(TEXT).origin(TEXT, method, sources.file(id), Span::new(span[0], span[1]))?;
        Some(&TEXT[found.start..found.end])
    }

    #[test]
    fn values_are_found_where_they_are_given() {
        let lr = format!("lr{OUTSIDE}");
        assert_eq!(origin("cm", &lr, "2e-3", [0, 4]), Some("2e-3"));
        assert_eq!(origin("sft", &lr, "1e-3", [0, 1]), Some("1"));
        assert_eq!(origin("cm", &lr, "5", [0, 1]), None, "given on the command line");
        assert_eq!(origin("cm", &format!("mode{OUTSIDE}"), "\"a\"", [1, 2]), Some(r#"\"a\""#));
        let network = "network of teacher in the preset";
        assert_eq!(origin("cm", network, "mlp(hidden = 8)", [4, 10]), Some("hidden"));
        assert_eq!(origin("cm", "cm.fg", "2e-3", [0, 4]), None);
    }
}
