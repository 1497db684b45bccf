//! An editor with one file open, and a language server that must answer it.

use crate::setups;
use fgc_compiler::preset::Preset;
use fgc_lsp::preset::{Misread, Presets};
use fgc_lsp::text::{Encoding, Text};
use fgc_lsp::{Host, Session};
use gen_lsp_types::{Position, Range};
use serde_json::{Value, json};

/// Requests that name a position.
pub const AT: [&str; 7] =
    ["hover", "definition", "references", "documentHighlight", "prepareRename", "completion", "signatureHelp"];
/// Requests about a document whose answers are places in it.
pub const WHOLE: [&str; 5] = ["documentSymbol", "foldingRange", "inlayHint", "semanticTokens/full", "formatting"];

/// What presets can name.
const METHODS: [(&str, &str); 4] = [
    ("sft", include_str!("../../../methods/sft.fg")),
    ("cm", include_str!("../../../methods/cm.fg")),
    ("dmd2", include_str!("../../../methods/dmd2.fg")),
    ("meanflow", include_str!("../../../methods/meanflow.fg")),
];

pub struct Editor {
    session: Session,
    uri: String,
    pub text: Text,
    version: i32,
}

impl Editor {
    /// Opens a file of the workspace `/w`.
    pub fn open(path: &str, text: &str, encoding: Encoding) -> Editor {
        let encodings = if encoding == Encoding::Utf8 { json!(["utf-8"]) } else { json!(["utf-16"]) };
        let capabilities = json!({"general": {"positionEncodings": encodings}});
        let folder = json!({"uri": "file:///w", "name": "w"});
        let params =
            json!({"processId": null, "rootUri": null, "workspaceFolders": [folder], "capabilities": capabilities});
        let params = serde_json::from_value(params).expect("parameters as the protocol has them");
        let (session, _) = Session::start(host(), params);
        let mut editor = Editor { session, uri: format!("file://{path}"), text: Text::new(text, encoding), version: 0 };
        let document = json!({"uri": editor.uri, "languageId": "fg", "version": 0, "text": text});
        editor.session.notify("textDocument/didOpen", json!({"textDocument": document}));
        editor
    }

    pub fn change(&mut self, range: Range, new: &str) {
        self.version += 1;
        self.text.edit(Some(range), new);
        let change = json!({"range": range, "text": new});
        let document = json!({"uri": self.uri, "version": self.version});
        self.session.notify("textDocument/didChange", json!({"textDocument": document, "contentChanges": [change]}));
    }

    pub fn save(&mut self) {
        self.session.notify("textDocument/didSave", json!({"textDocument": {"uri": self.uri}}));
    }

    /// One of [`AT`].
    pub fn ask_at(&mut self, method: &str, position: Position) {
        // What references, completions and signatures ask for.
        let context = json!({"includeDeclaration": true, "triggerKind": 1, "isRetrigger": false});
        self.request(method, json!({"textDocument": {"uri": self.uri}, "position": position, "context": context}));
    }

    /// One of [`WHOLE`].
    pub fn ask(&mut self, method: &str) {
        let options = json!({"tabSize": 2, "insertSpaces": true});
        let document = json!({"uri": self.uri});
        let range = self.text.full_range();
        let answer = self.request(method, json!({"textDocument": document, "range": range, "options": options}));
        self.stands(&answer);
        if method == "formatting"
            && self.uri.ends_with(".fg")
            && let Ok(formatted) = fgc_grammar::format(self.text.as_str())
        {
            self.formatted(&answer, &formatted);
        }
    }

    pub fn rename(&mut self, position: Position) {
        let params = json!({"textDocument": {"uri": self.uri}, "position": position, "newName": "renamed"});
        // What is not the file's own keeps its name.
        self.session.request("textDocument/rename", params).ok();
    }

    pub fn publish(&mut self) {
        for published in self.session.publish() {
            assert_eq!(published.version, Some(self.version));
            for diagnostic in &published.diagnostics {
                self.stands(&json!(diagnostic.range));
            }
        }
    }

    fn request(&mut self, method: &str, params: Value) -> Value {
        self.session.request(&format!("textDocument/{method}"), params).unwrap_or_else(|e| panic!("{method}: {e:?}"))
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
        let mut text = self.text.clone();
        for edit in edits.as_array().expect("edits of a text that reads") {
            let range = serde_json::from_value(edit["range"].clone()).expect("a range");
            text.edit(Some(range), edit["newText"].as_str().expect("a text"));
        }
        assert_eq!(text.as_str(), wanted);
    }

    /// The position of the character at or after a byte.
    pub fn position(&self, byte: usize) -> Position {
        let text = self.text.as_str();
        self.text.position((byte..text.len()).find(|&i| text.is_char_boundary(i)).unwrap_or(text.len()))
    }
}

fn host() -> Host {
    Host {
        setup: |_, method| Ok(setups::of_method(method)),
        presets: Presets {
            read: |text| ron::from_str::<Preset<ron::Value>>(text).map(drop).map_err(misread),
            setup: |_, _, method| Ok(setups::of_method(method)),
            method: |_, name| METHODS.iter().find(|(n, _)| *n == name).map(|(_, text)| text.to_string()),
            methods: METHODS.map(|(name, _)| name.to_owned()).to_vec(),
        },
        cache: std::env::temp_dir().join("fgc-fuzzed"),
    }
}

fn misread(error: ron::error::SpannedError) -> Misread {
    let (from, to) = (error.span.start, error.span.end);
    Misread { from: (from.line, from.col), to: (to.line, to.col), message: error.code.to_string() }
}
