//! The language server in the hands of an editor that does anything at all.

use crate::deeply;
use crate::editor::{AT, Editor, WHOLE};
use fgc_lsp::text::Encoding;
use gen_lsp_types::{Position, Range};

/// What is edited: specs of every kind, part of the library, presets, nothing.
const FILES: [(&str, &str); 9] = [
    ("/w/methods/sft.fg", include_str!("../../../methods/sft.fg")),
    ("/w/methods/cm.fg", include_str!("../../../methods/cm.fg")),
    ("/w/methods/dmd2.fg", include_str!("../../../methods/dmd2.fg")),
    ("/w/methods/meanflow.fg", include_str!("../../../methods/meanflow.fg")),
    ("/w/stdlib/layer.fg", include_str!("../../../stdlib/layer.fg")),
    ("/w/stdlib/schedule/edm.fg", include_str!("../../../stdlib/schedule/edm.fg")),
    ("/w/methods/presets/ring.ron", include_str!("../../../methods/presets/ring.ron")),
    ("/w/methods/presets/moving.ron", include_str!("../../../methods/presets/moving.ron")),
    ("/w/new.fg", ""),
];

/// What is typed or pasted.
const PIECES: [&str; 56] = [
    "",
    "",
    "",
    "a",
    "x",
    "_",
    "1",
    "0.5",
    " ",
    "\n",
    "\r\n",
    "\t",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "\"",
    ",",
    ".",
    "..",
    ":",
    "=",
    "+",
    "-",
    "->",
    "*",
    "^",
    "~",
    "@",
    "//",
    "///",
    "/*",
    "let ",
    "fn f(",
    "loss l = ",
    "net n = denoiser() ",
    "draw e ~ normal(x)",
    "stop(",
    "student.",
    "student.x0(",
    "s.t_max",
    "if ",
    "for i in 0..3 {",
    "step every 2 {",
    "use std.",
    "over C",
    "none",
    "é",
    "→",
    "𝛼",
    "🙂",
    "\u{0}",
    "\u{FEFF}",
    "f32[B, C]",
];

/// A session as the bytes say: a file, then edits of it with a request after each.
///
/// No answer fails, and all places in answers are places in the text.
pub fn edits(bytes: &[u8]) {
    let [file, encoding, ops @ ..] = bytes else { return };
    let (path, text) = FILES[usize::from(*file) % FILES.len()];
    let encoding = [Encoding::Utf8, Encoding::Utf16][usize::from(*encoding) % 2];
    deeply(|| {
        let mut editor = Editor::open(path, text, encoding);
        // More take long, and find no more.
        for op in ops.as_chunks::<5>().0.iter().take(24) {
            step(&mut editor, *op);
        }
        editor.publish();
    });
}

fn step(editor: &mut Editor, [what, high, low, length, piece]: [u8; 5]) {
    let at = usize::from(high) << 8 | usize::from(low);
    let start = editor.position(at % (editor.text.as_str().len() + 1));
    match what % 16 {
        0 => editor.save(),
        1 => editor.publish(),
        // Positions past the end of a line or of the text are allowed, too.
        2 => {
            let end = Position { line: start.line, character: start.character + 9999 };
            editor.change(Range { start, end }, "");
        }
        3 => {
            let copied: String = editor.text.as_str().chars().skip(at / 3).take(usize::from(length)).collect();
            editor.change(Range { start, end: start }, &copied);
        }
        _ => {
            let end = editor.position(editor.text.offset(start) + usize::from(length) % 12);
            editor.change(Range { start, end }, PIECES[usize::from(piece) % PIECES.len()]);
        }
    }
    match usize::from(what / 16) {
        i if i < AT.len() => editor.ask_at(AT[i], start),
        i if i < AT.len() + WHOLE.len() => editor.ask(WHOLE[i - AT.len()]),
        _ => editor.rename(start),
    }
}

/// A file as far as it is written yet: everything is asked at its end.
pub fn unfinished(path: &str, text: &str) {
    deeply(|| {
        let mut editor = Editor::open(path, text, Encoding::Utf16);
        let end = editor.position(text.len());
        AT.into_iter().for_each(|method| editor.ask_at(method, end));
        WHOLE.into_iter().for_each(|method| editor.ask(method));
        editor.publish();
    });
}
