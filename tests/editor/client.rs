//! An editor, as far as the protocol goes.

use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

pub struct Client {
    server: Child,
    input: Option<ChildStdin>,
    output: Receiver<Value>,
    next: i64,
    version: i64,
    /// What the server can do.
    pub capabilities: Value,
    /// The last diagnostics of each file, with the version they are of.
    pub diagnostics: HashMap<String, (i64, Vec<Value>)>,
    _cache: tempfile::TempDir,
}

impl Client {
    /// Starts a server on a folder, positions counted in UTF-16.
    pub fn start(root: &Path) -> Client {
        let cache = tempfile::tempdir().unwrap();
        let mut server = Command::new(env!("CARGO_BIN_EXE_fgc"))
            .arg("lsp")
            .current_dir(root)
            .env("FGC_CACHE_DIR", cache.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(server.stdout.take().unwrap());
        let (sender, output) = channel();
        std::thread::spawn(move || {
            while let Some(message) = read(&mut stdout) {
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let input = server.stdin.take();
        let diagnostics = HashMap::new();
        let capabilities = Value::Null;
        let mut client =
            Client { server, input, output, next: 0, version: 0, capabilities, diagnostics, _cache: cache };
        let folder = json!({"uri": uri(root), "name": "root"});
        let params = json!({"processId": null, "rootUri": uri(root), "workspaceFolders": [folder], "capabilities": {}});
        client.capabilities = client.request("initialize", params)["capabilities"].clone();
        client.notify("initialized", json!({}));
        client
    }

    fn send(&mut self, message: Value) {
        let text = message.to_string();
        let input = self.input.as_mut().unwrap();
        write!(input, "Content-Length: {}\r\n\r\n{text}", text.len()).unwrap();
        input.flush().unwrap();
    }

    pub fn notify(&mut self, method: &str, params: Value) {
        self.send(json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }

    /// The result of a request.
    pub fn request(&mut self, method: &str, params: Value) -> Value {
        let answer = self.answer(method, params);
        assert_eq!(answer.get("error"), None, "{method}");
        answer["result"].clone()
    }

    /// The answer to a request, which may be an error.
    pub fn answer(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = self.next;
        self.send(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        loop {
            let message = self.receive(method);
            if message.get("id") == Some(&json!(id)) {
                return message;
            }
        }
    }

    fn receive(&mut self, what: &str) -> Value {
        match self.output.recv_timeout(PATIENCE) {
            Ok(message) => {
                if message["method"] == "textDocument/publishDiagnostics" {
                    let params = &message["params"];
                    let found = params["diagnostics"].as_array().unwrap().clone();
                    let entry = (params["version"].as_i64().unwrap(), found);
                    self.diagnostics.insert(params["uri"].as_str().unwrap().into(), entry);
                }
                message
            }
            Err(RecvTimeoutError::Timeout) => panic!("no answer: {what}"),
            Err(RecvTimeoutError::Disconnected) => panic!("the server ended: {what}"),
        }
    }

    pub fn open(&mut self, path: &Path, text: &str) {
        self.version += 1;
        let document = json!({"uri": uri(path), "languageId": "fg", "version": self.version, "text": text});
        self.notify("textDocument/didOpen", json!({"textDocument": document}));
    }

    /// Replaces a range (two pairs of line and character) of a file.
    pub fn edit(&mut self, path: &Path, range: [[u32; 2]; 2], text: &str) {
        self.version += 1;
        let [start, end] = range.map(|[line, character]| json!({"line": line, "character": character}));
        let change = json!({"range": {"start": start, "end": end}, "text": text});
        let document = json!({"uri": uri(path), "version": self.version});
        self.notify("textDocument/didChange", json!({"textDocument": document, "contentChanges": [change]}));
    }

    /// Replaces all of a file.
    pub fn replace(&mut self, path: &Path, text: &str) {
        self.version += 1;
        let document = json!({"uri": uri(path), "version": self.version});
        self.notify("textDocument/didChange", json!({"textDocument": document, "contentChanges": [{"text": text}]}));
    }

    /// The diagnostics of a file's present version, once they come.
    pub fn diagnostics(&mut self, path: &Path) -> Vec<Value> {
        loop {
            match self.diagnostics.get(&uri(path)) {
                Some((version, found)) if *version == self.version => return found.clone(),
                _ => self.receive("diagnostics"),
            };
        }
    }

    /// A request about a place: a line and a character.
    pub fn at(&mut self, method: &str, path: &Path, [line, character]: [u32; 2]) -> Value {
        let position = json!({"line": line, "character": character});
        let mut params = json!({"textDocument": {"uri": uri(path)}, "position": position});
        if method == "textDocument/references" {
            params["context"] = json!({"includeDeclaration": true});
        }
        self.request(method, params)
    }

    /// Says goodbye; the server must end well.
    pub fn stop(mut self) {
        self.request("shutdown", Value::Null);
        self.notify("exit", Value::Null);
        self.input = None;
        assert!(self.server.wait().unwrap().success());
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.input = None;
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

pub fn uri(path: &Path) -> String {
    format!("file://{}", path.display())
}

/// One message; None when the server ends.
fn read(stream: &mut impl BufRead) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim().split_once(':') {
            Some(("Content-Length", n)) => length = n.trim().parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}

/// Line and character of the `n`th occurrence (from 0) of a piece of ASCII text.
pub fn find(text: &str, piece: &str, n: usize) -> [u32; 2] {
    let (at, _) = text.match_indices(piece).nth(n).unwrap_or_else(|| panic!("no {piece}"));
    let line = text[..at].matches('\n').count();
    let start = text[..at].rfind('\n').map_or(0, |i| i + 1);
    [line as u32, text[start..at].encode_utf16().count() as u32]
}

/// Applies text edits, positions counted in UTF-16.
pub fn apply(text: &str, edits: &Value) -> String {
    let offset = |p: &Value| -> usize {
        let (line, character) = (p["line"].as_u64().unwrap() as usize, p["character"].as_u64().unwrap() as usize);
        let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
        let mut units = 0;
        let inside = text[start..].chars().take_while(|c| {
            units += c.len_utf16();
            units <= character
        });
        start + inside.map(char::len_utf8).sum::<usize>()
    };
    let mut edits: Vec<(usize, usize, String)> = edits
        .as_array()
        .unwrap()
        .iter()
        .map(|e| {
            let new = e["newText"].as_str().unwrap().to_owned();
            (offset(&e["range"]["start"]), offset(&e["range"]["end"]), new)
        })
        .collect();
    edits.sort();
    let mut out = text.to_owned();
    for (start, end, new) in edits.into_iter().rev() {
        out.replace_range(start..end, &new);
    }
    out
}
