//! Names that are bound and never read.

use super::elaborate::Elaborator;
use crate::diagnostic::{Diagnostic, Fix, Place, nearest};
use crate::names::{Names, Target};
use crate::source::{FileId, Sources};
use fgc_grammar::Span;
use fgc_grammar::ast::ParamDecl;
use rustc_hash::FxHashSet;

impl Elaborator<'_> {
    /// Warns of draws of the user's file and hyper-parameters that nothing reads.
    pub fn warn_unused(&mut self, params: &[ParamDecl], file: FileId) {
        let draws = self.draws.values().filter(|d| d.place.file == file && !self.read.contains(&d.local));
        let draws: Vec<(String, Place, Place)> = draws.map(|d| (d.local.clone(), d.place, d.whole)).collect();
        for (name, place, whole) in draws {
            let fix = Fix::new("remove the draw").replace(entry(whole, Some("draw"), self.sources), "").certain();
            self.report(
                Diagnostic::warning("FG0404", format!("`{name}` is drawn and never used"))
                    .label(place, "drawn here")
                    .help("remove the draw; does something take another in its place?")
                    .fix(fix),
            );
        }
        // By the text: what stands in branches not taken counts as used.
        let names = Names::of(self.user, self.modules, self.sources);
        let used: FxHashSet<Span> = names
            .uses
            .iter()
            .filter_map(|u| match u.target {
                Target::Symbol(i) => Some(&names.symbols[i]),
                _ => None,
            })
            .flat_map(|s| s.sites.iter().copied())
            .collect();
        for param in params.iter().filter(|p| !used.contains(&p.name.span)) {
            let name = &param.name.text;
            let whole = Place { file, span: param.span };
            self.report(
                Diagnostic::warning("FG0704", format!("hyper-parameter `{name}` is never used"))
                    .label(Place { file, span: param.name.span }, "setting it changes nothing")
                    .help("use it, or remove it")
                    .fix(Fix::new("remove it").replace(entry(whole, None, self.sources), "")),
            );
        }
    }
}

impl Elaborator<'_> {
    /// Warns of a preset's network whose name is that of a `net` but for a slip.
    pub fn warn_unclaimed(&mut self, method: Place) {
        let own: Vec<&str> = self.nets.iter().map(|n| n.name.as_str()).collect();
        let known = |name: &str| ["denoiser", "critic"].contains(&name) || own.contains(&name);
        let unclaimed = self.setup.nets.keys().filter(|name| !known(name));
        let slips: Vec<(String, String)> = unclaimed
            .filter_map(|name| {
                // One whose net has a network of its own is another's.
                let free = own.iter().copied().filter(|net| !self.setup.nets.contains_key(*net));
                Some((name.clone(), nearest(name, free.chain(["denoiser", "critic"]))?.to_owned()))
            })
            .collect();
        for (name, near) in slips {
            self.report(
                Diagnostic::warning(
                    "FG0617",
                    format!("the preset names a network `{name}`, which this method does not have"),
                )
                .label(method, "this method")
                .help(format!("did you mean `{near}`?")),
            );
        }
    }
}

/// An entry of a list with one of the commas beside it; where it is the only one after `word`, that word, too.
fn entry(whole: Place, word: Option<&str>, sources: &Sources) -> Place {
    let text = &sources.file(whole.file).text;
    let (before, after) = (&text[..whole.span.start], &text[whole.span.end..]);
    let space = |s: &str| s.len() - s.trim_start().len();
    let span = if after.trim_start().starts_with(',') {
        let comma = whole.span.end + space(after) + 1;
        Span::new(whole.span.start, comma + space(&text[comma..]))
    } else if before.trim_end().ends_with(',') {
        Span::new(before.trim_end().len() - 1, whole.span.end)
    } else {
        let bare = before.trim_end();
        match word.filter(|w| bare.ends_with(*w)) {
            Some(word) => {
                let line = bare[..bare.len() - word.len()].trim_end_matches([' ', '\t']);
                Span::new(line.trim_end_matches('\n').len(), whole.span.end)
            }
            None => whole.span,
        }
    };
    Place { span, ..whole }
}
