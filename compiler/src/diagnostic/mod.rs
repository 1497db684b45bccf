//! Diagnostics as values: a stable code, a message, places, a cure. Renderers are separate: [`render`] for people,
//! [`render_json`] for programs.

mod explain;
mod fix;
mod json;
mod render;
mod snippet;

use crate::source::{FileId, Sources};
use fgc_grammar::Span;

pub use explain::{codes, page};
pub use fix::{Edit, Fix, apply, apply_all};
pub use json::render_json;
pub use render::render;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

/// A place in a source file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub file: FileId,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    pub place: Place,
    pub text: String,
}

/// One mistake. The first label is the primary one.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// `FG0101`; never reused for another mistake.
    pub code: &'static str,
    pub severity: Severity,
    pub message: String,
    pub labels: Vec<Label>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
    /// How to cure it.
    pub help: Option<String>,
    /// Changes that cure it, the likeliest first: any one is enough.
    pub fixes: Vec<Fix>,
}

impl Diagnostic {
    pub fn error(code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            code,
            severity: Severity::Error,
            message: message.into(),
            labels: Vec::new(),
            notes: Vec::new(),
            help: None,
            fixes: Vec::new(),
        }
    }

    pub fn warning(code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, message) }
    }

    pub fn label(mut self, place: Place, text: impl Into<String>) -> Diagnostic {
        self.labels.push(Label { place, text: text.into() });
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }

    /// `help` where there is one to give.
    pub fn maybe_help(mut self, help: Option<String>) -> Diagnostic {
        self.help = help.or(self.help);
        self
    }

    pub fn note(mut self, note: impl Into<String>) -> Diagnostic {
        self.notes.push(note.into());
        self
    }

    /// A change of the text that cures it.
    pub fn fix(mut self, fix: Fix) -> Diagnostic {
        self.fixes.push(fix);
        self
    }

    /// `fix` where there is one to give.
    pub fn maybe_fix(mut self, fix: Option<Fix>) -> Diagnostic {
        self.fixes.extend(fix);
        self
    }

    /// For a name at `place` that was not found: the nearest of `known` and the change to it, else all of them.
    pub fn among(self, place: Place, name: &str, known: &[&str]) -> Diagnostic {
        match nearest(name, known.iter().copied()) {
            Some(n) => self.help(format!("did you mean `{n}`?")).fix(Fix::rename(place, name, n)),
            None if known.is_empty() => self.help("it has none"),
            None => self.help(format!("it has {}", known.join(", "))),
        }
    }

    /// `file:line:column` of the primary label.
    pub fn position(&self, sources: &Sources) -> Option<String> {
        let place = self.labels.first()?.place;
        let file = sources.file(place.file);
        let (line, column) = file.line_column(place.span.start);
        Some(format!("{}:{line}:{column}", file.name))
    }
}

/// What a compilation found wrong, with the texts to show it in.
#[derive(Clone, Debug)]
pub struct Failure {
    pub sources: Sources,
    pub diagnostics: Vec<Diagnostic>,
}

/// The nearest of `names` to `name`, if near enough to be a slip of the hand.
pub fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = name.chars().count();
    // The beginning of just one: `fake` of `fake_score`.
    let names: Vec<&str> = names.into_iter().collect();
    let mut longer =
        names.iter().copied().filter(|n| length >= 3 && n.strip_prefix(name).is_some_and(|rest| rest.starts_with('_')));
    let beginning = longer.next().filter(|first| longer.all(|n| n == *first));
    let limit = if length < 3 { 0 } else { (length / 3).max(1) };
    names
        .into_iter()
        .map(|n| (strsim::damerau_levenshtein(&name.to_lowercase(), &n.to_lowercase()), n))
        .filter(|&(d, _)| d <= limit)
        .min()
        .map(|(_, n)| n)
        .or(beginning)
}
