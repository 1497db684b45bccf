//! A session with one editor: its documents, its requests.

use crate::analysis::{Analysis, Entity, limited};
use crate::library::Library;
use crate::preset::{self, Presets};
use crate::text::{Encoding, Text};
use crate::{
    actions, completion, diagnostics, folding, format, hints, hover, navigate, signature, symbols, tokens, uri,
    workspace,
};
use fgc_compiler::diagnostic::Place;
use fgc_compiler::preset::Setup;
use fgc_grammar::Span;
use gen_lsp_types as lsp;
use lsp_server::ErrorCode;
use rustc_hash::FxHashMap;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What the program around the server knows that the compiler does not.
pub struct Host {
    /// What a method is compiled for: from its path and name to what its preset says.
    pub setup: fn(&Path, &str) -> Result<Setup, String>,
    pub presets: Presets,
    /// Where copies of the standard library are written.
    pub cache: PathBuf,
}

/// An answer, or why there is none.
pub type Answer = Result<Value, (ErrorCode, String)>;

pub struct Session {
    host: Host,
    encoding: Encoding,
    library: Library,
    documents: FxHashMap<lsp::Uri, Document>,
    /// Presets resolved, by path and method: until one changes.
    setups: FxHashMap<(PathBuf, String), Result<Rc<Setup>, String>>,
}

struct Document {
    version: i32,
    text: Text,
    kind: Kind,
    /// Of this version of the text.
    analysis: Option<Box<Analysis>>,
    /// Of an earlier one.
    before: Option<Box<Analysis>>,
    /// Its diagnostics have been sent.
    published: bool,
    /// As on the disk: of presets, every method is checked then.
    saved: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Spec,
    Preset,
}

impl Session {
    /// Opens a session; gives what the server can do.
    pub fn start(host: Host, params: lsp::InitializeParams) -> (Session, lsp::InitializeResult) {
        let general = params.capabilities.general.as_ref();
        let offered = general.and_then(|g| g.position_encodings.as_deref()).unwrap_or_default();
        let encoding = match offered.contains(&lsp::PositionEncodingKind::UTF8) {
            true => Encoding::Utf8,
            false => Encoding::Utf16,
        };
        let folders = match params.workspace_folders_initialize_params.workspace_folders {
            Some(lsp::WorkspaceFolders::WorkspaceFolderList(folders)) => folders.into_iter().map(|f| f.uri).collect(),
            // Older editors say one folder.
            #[expect(deprecated)]
            _ => Vec::from_iter(params.root_uri),
        };
        let roots = folders.iter().filter_map(uri::to_path).collect();
        let library = Library { roots, cache: host.cache.clone() };
        let session =
            Session { host, encoding, library, documents: FxHashMap::default(), setups: FxHashMap::default() };
        let result = lsp::InitializeResult {
            capabilities: crate::capabilities::capabilities(encoding),
            server_info: Some(lsp::ServerInfo { name: "fgc".into(), version: Some(env!("CARGO_PKG_VERSION").into()) }),
        };
        (session, result)
    }

    pub fn notify(&mut self, method: &str, params: Value) {
        match method {
            "textDocument/didOpen" => {
                if let Some(p) = read::<lsp::DidOpenTextDocumentParams>(params) {
                    let doc = p.text_document;
                    self.open(doc.uri, doc.version, &doc.text);
                }
            }
            "textDocument/didChange" => {
                if let Some(p) = read::<lsp::DidChangeTextDocumentParams>(params) {
                    self.change(p);
                }
            }
            "textDocument/didClose" => {
                if let Some(p) = read::<lsp::DidCloseTextDocumentParams>(params) {
                    self.documents.remove(&p.text_document.uri);
                }
            }
            // A preset may have changed: what is checked on it is checked again.
            "textDocument/didSave" | "workspace/didChangeWatchedFiles" => {
                self.setups.clear();
                let saved = read::<lsp::DidSaveTextDocumentParams>(params).map(|p| p.text_document.uri);
                for (uri, doc) in &mut self.documents {
                    doc.saved |= Some(uri) == saved.as_ref();
                    doc.stale();
                }
            }
            _ => {}
        }
    }

    fn open(&mut self, uri: lsp::Uri, version: i32, text: &str) {
        let kind = if uri.as_ref().ends_with(".ron") { Kind::Preset } else { Kind::Spec };
        let text = Text::new(text, self.encoding);
        let document = Document { version, text, kind, analysis: None, before: None, published: false, saved: true };
        self.documents.insert(uri, document);
    }

    fn change(&mut self, params: lsp::DidChangeTextDocumentParams) {
        let Some(doc) = self.documents.get_mut(&params.text_document.text_document_identifier.uri) else { return };
        doc.version = params.text_document.version;
        for change in params.content_changes {
            match change {
                lsp::TextDocumentContentChangeEvent::TextDocumentContentChangePartial(part) => {
                    doc.text.edit(Some(part.range), &part.text);
                }
                lsp::TextDocumentContentChangeEvent::TextDocumentContentChangeWholeDocument(whole) => {
                    doc.text.edit(None, &whole.text);
                }
            }
        }
        doc.saved = false;
        doc.stale();
    }

    /// Diagnostics of every file that has changed since they were last sent.
    pub fn publish(&mut self) -> Vec<lsp::PublishDiagnosticsParams> {
        let mut open: Vec<lsp::Uri> =
            self.documents.iter().filter(|(_, d)| !d.published).map(|(uri, _)| uri.clone()).collect();
        open.sort_by(|a, b| a.as_ref().cmp(b.as_ref()));
        let mut out = Vec::new();
        for uri in open {
            let found = self.diagnostics(&uri);
            let Some(doc) = self.documents.get_mut(&uri) else { continue };
            doc.published = true;
            out.push(lsp::PublishDiagnosticsParams { uri, version: Some(doc.version), diagnostics: found });
        }
        out
    }

    fn diagnostics(&mut self, uri: &lsp::Uri) -> Vec<lsp::Diagnostic> {
        if let Some((path, doc)) = self.preset(uri) {
            return preset::problems(&self.host.presets, &path, &doc.text, doc.saved);
        }
        let Some((analysis, library)) = self.analysis(uri) else { return Vec::new() };
        diagnostics::diagnostics(analysis, uri, &|place| location(analysis, library, uri, place))
    }

    fn preset(&self, uri: &lsp::Uri) -> Option<(PathBuf, &Document)> {
        let doc = self.documents.get(uri).filter(|d| d.kind == Kind::Preset)?;
        Some((uri::to_path(uri).unwrap_or_default(), doc))
    }

    /// The analysis of a spec's present text.
    fn analysis(&mut self, uri: &lsp::Uri) -> Option<(&Analysis, &Library)> {
        let doc = self.documents.get_mut(uri).filter(|d| d.kind == Kind::Spec)?;
        if doc.analysis.is_none() {
            let path = uri::to_path(uri).unwrap_or_else(|| PathBuf::from(uri.as_ref()));
            let library = self.library.module_of(&path).is_some();
            let setup = match method_name(doc.text.as_str()) {
                Some(method) => {
                    let key = (path.clone(), method.to_owned());
                    let resolve = || (self.host.setup)(&path, method).map(limited);
                    self.setups.entry(key).or_insert_with(resolve).clone()
                }
                None => Ok(limited(Setup::default())),
            };
            let name = path.display().to_string();
            let analysis = Analysis::new(&name, doc.text.clone(), setup, library, doc.before.as_deref());
            doc.analysis = Some(Box::new(analysis));
            doc.before = None;
        }
        Some((doc.analysis.as_deref()?, &self.library))
    }

    pub fn request(&mut self, method: &str, params: Value) -> Answer {
        match method {
            "textDocument/hover" => {
                let p: lsp::HoverParams = parse(params)?;
                let at = p.text_document_position_params;
                if let Some((path, doc)) = self.preset(&at.text_document.uri) {
                    return give(preset::hover(&self.host.presets, &path, &doc.text, at.position));
                }
                self.answer(&at.text_document.uri, |a| hover::hover(a, at.position))
            }
            "textDocument/definition" => {
                let p: lsp::DefinitionParams = parse(params)?;
                let at = p.text_document_position_params;
                let uri = at.text_document.uri;
                let Some((analysis, library)) = self.analysis(&uri) else { return Ok(Value::Null) };
                let place = navigate::definition(analysis, at.position);
                give(place.and_then(|place| location(analysis, library, &uri, place)))
            }
            "textDocument/references" => {
                let p: lsp::ReferenceParams = parse(params)?;
                give(self.references(p))
            }
            "textDocument/documentHighlight" => {
                let p: lsp::DocumentHighlightParams = parse(params)?;
                let at = p.text_document_position_params;
                self.answer(&at.text_document.uri, |a| {
                    let (entity, _) = a.entity_at(a.text.offset(at.position))?;
                    let spans = navigate::occurrences(a, &entity, true);
                    Some(
                        spans
                            .iter()
                            .map(|&s| lsp::DocumentHighlight { range: a.text.range(s), kind: None })
                            .collect::<Vec<_>>(),
                    )
                })
            }
            "textDocument/prepareRename" => {
                let p: lsp::PrepareRenameParams = parse(params)?;
                let at = p.text_document_position_params;
                self.answer(&at.text_document.uri, |a| {
                    let (range, placeholder) = navigate::prepare_rename(a, at.position)?;
                    Some(lsp::PrepareRenamePlaceholder { range, placeholder })
                })
            }
            "textDocument/rename" => {
                let p: lsp::RenameParams = parse(params)?;
                let at = p.text_document_position_params;
                let uri = at.text_document.uri;
                let Some((analysis, _)) = self.analysis(&uri) else { return Ok(Value::Null) };
                let edits = navigate::rename(analysis, at.position, &p.new_name);
                let edits = edits.map_err(|message| (ErrorCode::InvalidParams, message))?;
                let changes = [(uri, edits)].into_iter().collect();
                give(lsp::WorkspaceEdit { changes: Some(changes), ..Default::default() })
            }
            "textDocument/completion" => {
                let p: lsp::CompletionParams = parse(params)?;
                let at = p.text_document_position_params;
                if let Some((path, doc)) = self.preset(&at.text_document.uri) {
                    return give(preset::completion(&self.host.presets, &path, &doc.text, at.position));
                }
                self.answer(&at.text_document.uri, |a| Some(completion::completion(a, at.position)))
            }
            "textDocument/signatureHelp" => {
                let p: lsp::SignatureHelpParams = parse(params)?;
                let at = p.text_document_position_params;
                self.answer(&at.text_document.uri, |a| signature::signature_help(a, at.position))
            }
            "textDocument/codeAction" => {
                let p: lsp::CodeActionParams = parse(params)?;
                let kind =
                    |k: &lsp::CodeActionKind| matches!(k, lsp::CodeActionKind::Empty | lsp::CodeActionKind::QuickFix);
                if p.context.only.as_ref().is_some_and(|only| !only.iter().any(kind)) {
                    return give(Vec::<lsp::CodeAction>::new());
                }
                let uri = p.text_document.uri;
                if let Some((path, doc)) = self.preset(&uri) {
                    return give(preset::actions(&self.host.presets, &path, &doc.text, &uri, p.range));
                }
                let Some((analysis, library)) = self.analysis(&uri) else { return Ok(Value::Null) };
                give(actions::actions(analysis, &uri, p.range, &|place| location(analysis, library, &uri, place)))
            }
            "textDocument/formatting" => {
                let p: lsp::DocumentFormattingParams = parse(params)?;
                let doc = self.documents.get(&p.text_document.uri).filter(|d| d.kind == Kind::Spec);
                give(doc.and_then(|d| format::format(&d.text)))
            }
            "textDocument/documentSymbol" => {
                let p: lsp::DocumentSymbolParams = parse(params)?;
                self.answer(&p.text_document.uri, |a| Some(symbols::document_symbols(a)))
            }
            "textDocument/foldingRange" => {
                let p: lsp::FoldingRangeParams = parse(params)?;
                self.answer(&p.text_document.uri, |a| Some(folding::folds(a)))
            }
            "textDocument/inlayHint" => {
                let p: lsp::InlayHintParams = parse(params)?;
                self.answer(&p.text_document.uri, |a| Some(hints::hints(a, p.range)))
            }
            "textDocument/semanticTokens/full" => {
                let p: lsp::SemanticTokensParams = parse(params)?;
                self.answer(&p.text_document.uri, |a| Some(tokens::tokens(a)))
            }
            "workspace/symbol" => {
                let p: lsp::WorkspaceSymbolParams = parse(params)?;
                give(self.workspace_symbols(&p.query))
            }
            other => Err((ErrorCode::MethodNotFound, format!("this server does not answer {other}"))),
        }
    }

    /// An answer about one spec.
    fn answer<T: serde::Serialize>(&mut self, uri: &lsp::Uri, f: impl FnOnce(&Analysis) -> Option<T>) -> Answer {
        give(self.analysis(uri).and_then(|(analysis, _)| f(analysis)))
    }

    /// Items of the workspace's files and of the standard library.
    fn workspace_symbols(&self, query: &str) -> Vec<lsp::SymbolInformation> {
        let mut out = Vec::new();
        let mut add = |uri: &lsp::Uri, text: &Text| {
            let items: Vec<_> =
                fgc_grammar::parse(text.as_str()).file.items.into_iter().map(std::rc::Rc::new).collect();
            let found = symbols::matching(&items, query);
            out.extend(
                found.into_iter().map(|(name, kind, span)| workspace::information(name, kind, uri, text.range(span))),
            );
        };
        for (uri, text) in self.specs() {
            add(&uri, &text);
        }
        for file in workspace::standard_files() {
            // The workspace's own `stdlib/` is among its files.
            if let Some((path, text, _)) = self.library.locate(&file, Span::default())
                && path.starts_with(&self.library.cache)
            {
                add(&uri::from_path(&path), &Text::new(text, self.encoding));
            }
        }
        out
    }

    /// The `.fg` files of the workspace, open ones as they are in the editor.
    fn specs(&self) -> Vec<(lsp::Uri, Text)> {
        let open = self.documents.iter().filter(|(_, d)| d.kind == Kind::Spec);
        let mut out: Vec<(lsp::Uri, Text)> = open.map(|(uri, d)| (uri.clone(), d.text.clone())).collect();
        for path in workspace::files(&self.library.roots) {
            let uri = uri::from_path(&path);
            if !self.documents.contains_key(&uri)
                && let Ok(text) = std::fs::read_to_string(&path)
            {
                out.push((uri, Text::new(text, self.encoding)));
            }
        }
        out.sort_by(|(a, _), (b, _)| a.as_ref().cmp(b.as_ref()));
        out
    }

    fn references(&mut self, p: lsp::ReferenceParams) -> Option<Vec<lsp::Location>> {
        let at = p.text_document_position_params;
        let uri = at.text_document.uri;
        let definitions = p.context.include_declaration;
        let (analysis, library) = self.analysis(&uri)?;
        let (entity, _) = analysis.entity_at(analysis.text.offset(at.position))?;
        let own = navigate::occurrences(analysis, &entity, definitions);
        let mut out: Vec<lsp::Location> =
            own.iter().map(|&s| lsp::Location { uri: uri.clone(), range: analysis.text.range(s) }).collect();
        let Entity::Standard { place, name } = entity else { return Some(out) };
        let places = navigate::standard_occurrences(analysis, place, definitions);
        out.extend(places.iter().filter_map(|&place| location(analysis, library, &uri, place)));
        let home = analysis.found.sources.file(place.file).name.clone();
        for (other, text) in self.specs().into_iter().filter(|(other, _)| *other != uri) {
            let library = uri::to_path(&other).is_some_and(|path| self.library.module_of(&path).is_some());
            if !library {
                let spans = workspace::uses(text.as_str(), &home, place.span, &name);
                out.extend(spans.into_iter().map(|s| lsp::Location { uri: other.clone(), range: text.range(s) }));
            }
        }
        Some(out)
    }
}

impl Document {
    /// The text, or what it is checked on, is another now.
    fn stale(&mut self) {
        self.published = false;
        if let Some(analysis) = self.analysis.take() {
            self.before = Some(analysis);
        }
    }
}

/// Where a place of the analysed file or the standard library is.
fn location(analysis: &Analysis, library: &Library, uri: &lsp::Uri, place: Place) -> Option<lsp::Location> {
    if place.file == analysis.file() {
        return Some(lsp::Location { uri: uri.clone(), range: analysis.text.range(place.span) });
    }
    let (path, text, span) = library.locate(analysis.found.sources.file(place.file), place.span)?;
    let text = analysis.text.same_units(text);
    Some(lsp::Location { uri: uri::from_path(&path), range: text.range(Span::new(span.start, span.end)) })
}

/// The name after the first `method` that begins a line.
fn method_name(text: &str) -> Option<&str> {
    let mut lines = text.lines().filter_map(|l| l.strip_prefix("method "));
    let rest = lines.next()?.trim_start();
    Some(&rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())])
}

fn read<T: serde::de::DeserializeOwned>(params: Value) -> Option<T> {
    serde_json::from_value(params).ok()
}

fn parse<T: serde::de::DeserializeOwned>(params: Value) -> Result<T, (ErrorCode, String)> {
    serde_json::from_value(params).map_err(|e| (ErrorCode::InvalidParams, e.to_string()))
}

fn give(answer: impl serde::Serialize) -> Answer {
    serde_json::to_value(answer).map_err(|e| (ErrorCode::InternalError, e.to_string()))
}
