//! Colours by meaning: what each name is. Words, numbers, strings and comments too, for editors without a grammar.

use crate::analysis::Analysis;
use crate::context::is_word;
use crate::words;
use fgc_compiler::names::{SymbolKind, Target};
use fgc_grammar::Span;
use fgc_grammar::ast::ItemKind;
use gen_lsp_types::{SemanticToken, SemanticTokens, SemanticTokensLegend};

const TYPES: [&str; 13] = [
    "keyword",
    "comment",
    "string",
    "number",
    "namespace",
    "class",
    "function",
    "parameter",
    "variable",
    "property",
    "enumMember",
    "method",
    "type",
];
const MODIFIERS: [&str; 4] = ["declaration", "readonly", "defaultLibrary", "modification"];

const DECLARATION: u32 = 1;
const READONLY: u32 = 2;
const LIBRARY: u32 = 4;
const MODIFICATION: u32 = 8;

pub fn legend() -> SemanticTokensLegend {
    let own = |words: &[&str]| words.iter().map(|w| w.to_string()).collect();
    SemanticTokensLegend { token_types: own(&TYPES), token_modifiers: own(&MODIFIERS) }
}

struct Token {
    span: Span,
    kind: &'static str,
    modifiers: u32,
}

pub fn tokens(analysis: &Analysis) -> SemanticTokens {
    let mut tokens = names(analysis);
    tokens.sort_by_key(|t| t.span);
    tokens.dedup_by_key(|t| t.span);
    let known = std::mem::take(&mut tokens);
    let mut known = known.into_iter().peekable();
    // Both lists are in order; names win over words.
    for word in words(analysis.text.as_str()) {
        while let Some(name) = known.next_if(|n| n.span.start <= word.span.start) {
            tokens.push(name);
        }
        let covered = |t: &Token| t.span.end > word.span.start;
        if !tokens.last().is_some_and(covered) && known.peek().is_none_or(|n| n.span.start >= word.span.end) {
            tokens.push(word);
        }
    }
    tokens.extend(known);
    SemanticTokens { result_id: None, data: encode(analysis, &tokens) }
}

fn names(analysis: &Analysis) -> Vec<Token> {
    let mut out = Vec::new();
    for symbol in &analysis.names.symbols {
        let (kind, modifiers) = of_symbol(symbol.kind);
        for &span in symbol.sites.iter().filter(|_| !symbol.name.is_empty()) {
            out.push(Token { span, kind, modifiers: modifiers | DECLARATION });
        }
    }
    for used in &analysis.names.uses {
        let (kind, modifiers) = match &used.target {
            Target::Symbol(i) => of_symbol(analysis.names.symbols[*i].kind),
            Target::Item { module, item } => {
                let kind = match &analysis.found.modules.module(*module).items[*item].kind {
                    ItemKind::Schedule { .. } | ItemKind::Layer(_) => "class",
                    ItemKind::Let { .. } => "variable",
                    _ => "function",
                };
                (kind, LIBRARY)
            }
            Target::Parameter { .. } => ("parameter", 0),
            Target::Module(_) => ("namespace", LIBRARY),
            Target::Builtin => ("function", LIBRARY),
            Target::Axis => ("enumMember", READONLY),
            Target::Unknown => {
                let before = &analysis.text.as_str()[..used.span.start];
                match before.ends_with('.') {
                    true if analysis.known(used.span).is_some() => ("method", 0),
                    true => ("property", 0),
                    false => ("parameter", 0),
                }
            }
        };
        let modifiers = modifiers | if used.assigned { MODIFICATION } else { 0 };
        out.push(Token { span: used.span, kind, modifiers });
    }
    out
}

fn of_symbol(kind: SymbolKind) -> (&'static str, u32) {
    match kind {
        SymbolKind::Fn => ("function", 0),
        SymbolKind::Layer | SymbolKind::Schedule => ("class", 0),
        SymbolKind::Method => ("namespace", 0),
        SymbolKind::Hyper => ("parameter", READONLY),
        SymbolKind::Parameter => ("parameter", 0),
        SymbolKind::Loss | SymbolKind::Metric | SymbolKind::Step | SymbolKind::Sample => ("property", 0),
        SymbolKind::Var | SymbolKind::State => ("variable", 0),
        _ => ("variable", READONLY),
    }
}

/// Words of the language wherever they stand, and those that begin a statement.
const HARD: [&str; 15] =
    ["and", "else", "false", "fn", "for", "if", "in", "let", "none", "not", "or", "return", "then", "true", "var"];
const SOFT: [&str; 15] = [
    "data", "draw", "extern", "layer", "loss", "method", "metric", "net", "param", "sample", "scan", "schedule",
    "state", "step", "use",
];
const JOINING: [&str; 7] = ["carry", "every", "from", "frozen", "otherwise", "over", "weight"];

fn words(text: &str) -> Vec<Token> {
    let mut out = Vec::new();
    let mut at = 0;
    // The first word of the line or block, and the sign before.
    let (mut first, mut before) = ("", "");
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let end = |stop: fn(char) -> bool| rest.find(stop).unwrap_or(rest.len());
        let (length, kind) = if rest.starts_with("//") {
            (end(|c| c == '\n' || c == '\r'), "comment")
        } else if c == '"' {
            (string(rest), "string")
        } else if c.is_ascii_digit() {
            (number(rest), "number")
        } else if is_word(c) {
            let (word, rest) = rest.split_at(end(|c| !is_word(c)));
            (word.len(), word_kind(word, rest, first, before))
        } else {
            (if rest.starts_with("->") { 2 } else { c.len_utf8() }, "")
        };
        let token = &rest[..length];
        if !kind.is_empty() {
            out.push(Token { span: Span::new(at, at + length), kind, modifiers: 0 });
        }
        match c {
            '\n' | '{' | '}' => (first, before) = ("", token),
            _ if c.is_whitespace() || kind == "comment" => {}
            _ => {
                first = if first.is_empty() { token } else { first };
                before = token;
            }
        }
        at += length;
    }
    out
}

/// What a word is that follows the sign `before` in a line that begins with `first`; none where the names tell.
fn word_kind(word: &str, rest: &str, first: &str, before: &str) -> &'static str {
    let called = rest.starts_with('(');
    let net = first == "net" && before != "net";
    match word {
        _ if matches!(before, ":" | "->") && words::find(&words::TYPES, word).is_some() => "type",
        _ if HARD.contains(&word) || first.is_empty() && SOFT.contains(&word) || JOINING.contains(&word) => "keyword",
        _ if net && called && words::attribute(word).is_some() => "function",
        _ if net && rest.trim_start().starts_with('=') => "parameter",
        _ => "",
    }
}

/// Up to the end of a number: `1e-3`, the first of `0..3`.
fn number(text: &str) -> usize {
    let digits = |from: usize| from + text[from..].find(|c| !is_word(c)).unwrap_or(text.len() - from);
    let follows = |at: usize, signs: &[char]| {
        text[at..].strip_prefix(signs).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let mut end = digits(0);
    if follows(end, &['.']) {
        end = digits(end + 1);
    }
    if text[..end].ends_with(['e', 'E']) && follows(end, &['+', '-']) {
        end = digits(end + 1);
    }
    end
}

/// Up to the end of a string, or of its line.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(1) {
        match c {
            '\n' | '\r' => return i,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return i + 1,
            _ => {}
        }
    }
    text.len()
}

/// As differences, in the editor's units.
fn encode(analysis: &Analysis, tokens: &[Token]) -> Vec<SemanticToken> {
    let (mut line, mut start) = (0, 0);
    let mut out = Vec::new();
    for token in tokens {
        let position = analysis.text.position(token.span.start);
        let Some(text) = analysis.text.as_str().get(token.span.start..token.span.end) else { continue };
        let delta_line = position.line - line;
        let delta_start = if delta_line == 0 { position.character - start } else { position.character };
        (line, start) = (position.line, position.character);
        out.push(SemanticToken {
            delta_line,
            delta_start,
            length: analysis.text.units(text),
            token_type: TYPES.iter().position(|t| *t == token.kind).unwrap_or(0) as u32,
            token_modifiers_bitset: token.modifiers,
        });
    }
    out
}
