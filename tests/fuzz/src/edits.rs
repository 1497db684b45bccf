//! The language server in the hands of an editor that does anything at all.

use crate::{deeply, setups};
use fgc_compiler::preset::Preset;
use fgc_lsp::preset::{Misread, Presets};
use fgc_lsp::text::{Encoding, Text};
use fgc_lsp::{Host, Session};
use gen_lsp_types::{Position, Range};
use serde_json::{Value, json};

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

/// Requests that name a position.
const AT: [&str; 7] =
    ["hover", "definition", "references", "documentHighlight", "prepareRename", "completion", "signatureHelp"];
/// Requests about a document whose answers are places in it.
const WHOLE: [&str; 5] = ["documentSymbol", "foldingRange", "inlayHint", "semanticTokens/full", "formatting"];

/// A session as the bytes say: a file, then edits of it with a request after each.
///
/// No answer fails, and all places in answers are places in the text.
pub fn edits(bytes: &[u8]) {
    let mut bytes = bytes.iter().copied();
    let mut next = || bytes.next();
    let (Some(file), Some(encoding)) = (next(), next()) else { return };
    let (path, text) = FILES[usize::from(file) % FILES.len()];
    let encoding = [Encoding::Utf8, Encoding::Utf16][usize::from(encoding) % 2];
    let mut ops = Vec::new();
    while let (Some(a), Some(b), Some(c), Some(d), Some(e)) = (next(), next(), next(), next(), next()) {
        ops.push([a, b, c, d, e]);
    }
    deeply(|| {
        let mut editor = Editor::open(path, Text::new(text, encoding), encoding);
        // More take long, and find no more.
        for op in ops.into_iter().take(24) {
            editor.step(op);
        }
        editor.publish();
    });
}

struct Editor {
    session: Session,
    uri: String,
    text: Text,
    version: i32,
}

impl Editor {
    fn open(path: &str, text: Text, encoding: Encoding) -> Editor {
        let encodings = if encoding == Encoding::Utf8 { json!(["utf-8"]) } else { json!(["utf-16"]) };
        let capabilities = json!({"general": {"positionEncodings": encodings}});
        let folder = json!({"uri": "file:///w", "name": "w"});
        let params =
            json!({"processId": null, "rootUri": null, "workspaceFolders": [folder], "capabilities": capabilities});
        let params = serde_json::from_value(params).expect("parameters as the protocol has them");
        let (session, _) = Session::start(host(), params);
        let mut editor = Editor { session, uri: format!("file://{path}"), text, version: 0 };
        let document = json!({"uri": editor.uri, "languageId": "fg", "version": 0, "text": editor.text.as_str()});
        editor.session.notify("textDocument/didOpen", json!({"textDocument": document}));
        editor
    }

    fn step(&mut self, [what, high, low, length, piece]: [u8; 5]) {
        let at = usize::from(high) << 8 | usize::from(low);
        let start = self.position(at % (self.text.as_str().len() + 1));
        match what % 16 {
            0 => self.session.notify("textDocument/didSave", json!({"textDocument": {"uri": self.uri}})),
            1 => self.publish(),
            // Positions past the end of a line or of the text are allowed, too.
            2 => {
                self.change(Range { start, end: Position { line: start.line, character: start.character + 9999 } }, "")
            }
            3 => {
                let copied = self.slice(at / 3, usize::from(length));
                self.change(Range { start, end: start }, &copied);
            }
            _ => {
                let end = self.position(self.text.offset(start) + usize::from(length) % 12);
                self.change(Range { start, end }, PIECES[usize::from(piece) % PIECES.len()]);
            }
        }
        self.ask(usize::from(what / 16), start);
    }

    fn change(&mut self, range: Range, new: &str) {
        self.version += 1;
        self.text.edit(Some(range), new);
        let change = json!({"range": range, "text": new});
        let document = json!({"uri": self.uri, "version": self.version});
        self.session.notify("textDocument/didChange", json!({"textDocument": document, "contentChanges": [change]}));
    }

    fn ask(&mut self, which: usize, position: Position) {
        let document = json!({"uri": self.uri});
        if let Some(method) = AT.get(which) {
            let context = json!({"includeDeclaration": true});
            self.request(method, json!({"textDocument": document, "position": position, "context": context}));
        } else if let Some(method) = WHOLE.get(which - AT.len()) {
            let options = json!({"tabSize": 2, "insertSpaces": true});
            let range = json!({"start": {"line": 0, "character": 0}, "end": position});
            let answer = self.request(method, json!({"textDocument": document, "range": range, "options": options}));
            self.stands(&answer);
            if *method == "formatting"
                && let Ok(formatted) = fgc_grammar::format(self.text.as_str())
            {
                self.formatted(&answer, &formatted);
            }
        } else {
            self.request("rename", json!({"textDocument": document, "position": position, "newName": "renamed"}));
        }
    }

    fn request(&mut self, method: &str, params: Value) -> Value {
        // Renaming what cannot be renamed is refused.
        self.session.request(&format!("textDocument/{method}"), params).unwrap_or_default()
    }

    fn publish(&mut self) {
        for published in self.session.publish() {
            assert_eq!(published.version, Some(self.version));
            for diagnostic in &published.diagnostics {
                self.stands(&json!(diagnostic.range));
            }
        }
    }

    /// All positions in an answer are positions in the text.
    fn stands(&self, answer: &Value) {
        match answer {
            Value::Object(fields) if fields.contains_key("line") => {
                let position: Position = serde_json::from_value(answer.clone()).expect("a position");
                assert_eq!(self.text.position(self.text.offset(position)), position, "not in the text");
            }
            Value::Object(fields) => fields.values().for_each(|v| self.stands(v)),
            Value::Array(all) => all.iter().for_each(|v| self.stands(v)),
            _ => {}
        }
    }

    /// A formatting's edits give what formatting gives.
    fn formatted(&self, edits: &Value, wanted: &str) {
        if self.uri.ends_with(".ron") {
            return;
        }
        let mut text = self.text.clone();
        for edit in edits.as_array().expect("edits of a text that reads") {
            let range = serde_json::from_value(edit["range"].clone()).expect("a range");
            text.edit(Some(range), edit["newText"].as_str().expect("a text"));
        }
        assert_eq!(text.as_str(), wanted);
    }

    /// The position of the character at or after a byte.
    fn position(&self, byte: usize) -> Position {
        let text = self.text.as_str();
        self.text.position((byte..text.len()).find(|&i| text.is_char_boundary(i)).unwrap_or(text.len()))
    }

    fn slice(&self, start: usize, length: usize) -> String {
        self.text.as_str().chars().skip(start).take(length).collect()
    }
}

fn host() -> Host {
    Host {
        setup: |_, _| Ok(setups::points()),
        presets: Presets {
            read: |text| ron::from_str::<Preset<ron::Value>>(text).map(drop).map_err(misread),
            setup: |_, _, _| Ok(setups::points()),
            method: |_, name| {
                FILES.iter().find(|(p, _)| p.ends_with(&format!("/{name}.fg"))).map(|(_, t)| t.to_string())
            },
            methods: ["sft", "cm", "dmd2", "meanflow"].map(String::from).to_vec(),
        },
        cache: std::env::temp_dir().join("fgc-fuzzed"),
    }
}

fn misread(error: ron::error::SpannedError) -> Misread {
    let (from, to) = (error.span.start, error.span.end);
    Misread { from: (from.line, from.col), to: (to.line, to.col), message: error.code.to_string() }
}
