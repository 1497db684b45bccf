//! Colours by meaning: what each name is. Words, numbers, strings and comments too, for editors without a grammar.

use crate::analysis::Analysis;
use crate::context::is_word;
use fgc_compiler::names::{SymbolKind, Target};
use fgc_grammar::Span;
use fgc_grammar::ast::ItemKind;
use gen_lsp_types::{SemanticToken, SemanticTokens, SemanticTokensLegend};

const TYPES: [&str; 12] = [
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
const SOFT: [&str; 14] = [
    "data", "draw", "layer", "loss", "method", "metric", "net", "param", "sample", "scan", "schedule", "state", "step",
    "use",
];
const JOINING: [&str; 7] = ["carry", "every", "from", "frozen", "otherwise", "over", "weight"];

fn words(text: &str) -> Vec<Token> {
    let mut out = Vec::new();
    let mut at = 0;
    let mut first = true;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let (length, kind) = if rest.starts_with("//") {
            (rest.find(['\n', '\r']).unwrap_or(rest.len()), Some("comment"))
        } else if c == '"' {
            (string(rest), Some("string"))
        } else if c.is_ascii_digit() {
            (rest.find(|c| !is_word(c) && c != '.').unwrap_or(rest.len()), Some("number"))
        } else if is_word(c) {
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let word = &rest[..length];
            let keyword = HARD.contains(&word) || first && SOFT.contains(&word) || JOINING.contains(&word);
            (length, keyword.then_some("keyword"))
        } else {
            (c.len_utf8(), None)
        };
        let length = if kind == Some("number") && rest[..length].contains("..") {
            rest.find("..").unwrap_or(length)
        } else {
            length
        };
        if let Some(kind) = kind {
            out.push(Token { span: Span::new(at, at + length), kind, modifiers: 0 });
        }
        first = match c {
            '\n' | '{' | '}' => true,
            _ => first && c.is_whitespace(),
        };
        at += length;
    }
    out
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
