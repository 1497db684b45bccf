//! Renderers take whatever text and places they are given.

use fgc_compiler::diagnostic::{Diagnostic, Fix, Place, apply, render, render_json};
use fgc_compiler::source::Sources;
use fgc_grammar::Span;
use proptest::prelude::*;

/// Text with what is awkward for those who show it: wide, combining and control characters, line ends of all kinds.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("draw t ~ normal(x)\n".to_owned()),
        "[a-z ]{0,12}",
        Just("\r\n".to_owned()),
        Just("\t\u{0}\u{1b}[31m\u{7f}\u{2028}".to_owned()),
        Just("é字👩\u{200d}🚀\u{301}\u{202e}".to_owned()),
        any::<String>(),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn span() -> impl Strategy<Value = Span> {
    // Beyond the end, inside characters, backwards.
    prop_oneof![(0usize..120, 0usize..120), any::<(usize, usize)>()].prop_map(|(start, end)| Span { start, end })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_and_json_is_json(
        (name, other, body) in (text(), text(), text()),
        labels in prop::collection::vec((any::<bool>(), span(), text()), 0..5),
        (message, note, help) in (text(), text(), prop::option::of(text())),
        edits in prop::collection::vec((span(), text()), 0..3),
        color in any::<bool>(),
    ) {
        let mut sources = Sources::default();
        let files = [sources.add(&name, &body, false), sources.add("std/loss.fg", &other, true)];
        let mut d = Diagnostic::error("FG0104", &message).note(&note).maybe_help(help);
        for (second, span, text) in labels {
            d = d.label(Place { file: files[usize::from(second)], span }, text);
        }
        let mut fix = Fix::new("mend");
        for (span, text) in &edits {
            fix = fix.replace(Place { file: files[0], span: *span }, text);
        }
        apply(&fix, files[0], &sources);
        let d = d.fix(fix);
        prop_assert!(render(&d, &sources, color).contains("FG0104"));
        let line = render_json(&d, &sources);
        prop_assert_eq!(line.find('\n'), Some(line.len() - 1));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(value["message"].as_str(), Some(message.as_str()));
        for span in value["spans"].as_array().unwrap() {
            let at = |key: &str| span[key].as_u64().unwrap();
            prop_assert!(at("byte_start") <= at("byte_end") && at("line_start") >= 1 && at("column_start") >= 1);
            prop_assert!(at("line_start") <= at("line_end"));
        }
    }
}
