//! From pest's failed rules to sentences.

use crate::Span;
use crate::error::{SyntaxError, code};
use crate::lex::{Lexed, Token, TokenKind};
use crate::parse::Rule;
use pest::error::{Error, ErrorVariant, InputLocation};

mod cure;

/// Words that cannot be names.
pub const KEYWORDS: [&str; 15] =
    ["and", "else", "false", "fn", "for", "if", "in", "let", "none", "not", "or", "return", "then", "true", "var"];

const STATEMENT_WORDS: [&str; 16] = [
    "data", "draw", "else", "for", "if", "let", "loss", "metric", "net", "param", "return", "sample", "scan", "state",
    "step", "var",
];

/// Whether `word` begins statements.
pub(crate) fn starts_statement(word: &str) -> bool {
    STATEMENT_WORDS.contains(&word)
}

/// Where an error was found, for its wording.
pub(crate) struct Scene<'a> {
    pub source: &'a str,
    /// What was to be read.
    pub rule: Rule,
    pub tokens: &'a [Token],
    /// Index of the first token of the region, after its doc comments.
    pub first: usize,
    /// Index of the token that does not fit; `tokens.len()` at the end.
    pub found: usize,
    pub expected: Vec<&'static str>,
}

impl<'a> Scene<'a> {
    pub fn text(&self, i: usize) -> &'a str {
        self.tokens.get(i).map_or("", |t| &self.source[t.span.start..t.span.end])
    }

    pub fn kind(&self, i: usize) -> Option<TokenKind> {
        self.tokens.get(i).map(|t| t.kind)
    }

    /// Whether token `i` stands on the line of the one before it.
    pub fn same_line(&self, i: usize) -> bool {
        match (i.checked_sub(1).and_then(|k| self.tokens.get(k)), self.tokens.get(i)) {
            (Some(a), Some(b)) => !self.source[a.span.end..b.span.start].contains('\n'),
            _ => false,
        }
    }

    pub fn expects(&self, what: &str) -> bool {
        self.expected.iter().any(|e| e.starts_with(what))
    }
}

/// The sentence for pest's `error`, found in the text from `base` on.
pub(crate) fn explain(error: &Error<Rule>, base: usize, rule: Rule, source: &str, lexed: &Lexed) -> SyntaxError {
    let at = base
        + match error.location {
            InputLocation::Pos(at) => at,
            InputLocation::Span((at, _)) => at,
        };
    let positives = match &error.variant {
        ErrorVariant::ParsingError { positives, .. } => positives.as_slice(),
        ErrorVariant::CustomError { .. } => &[],
    };
    let tokens = lexed.tokens.as_slice();
    let mut first = tokens.partition_point(|t| t.span.end <= base);
    while tokens.get(first).is_some_and(|t| t.kind == TokenKind::Doc) {
        first += 1;
    }
    let found = tokens.partition_point(|t| t.span.end <= at);
    let scene = Scene { source, rule, tokens, first, found, expected: wording(positives) };
    let (span, after) = place(&scene, at);
    let found_text = name_token(&scene, found);
    let list = join(&scene.expected);
    let wants_name = scene.expects("a name") || scene.expects("a parameter");
    let mut result = if wants_name && KEYWORDS.contains(&scene.text(found)) {
        let message = format!("`{}` is a keyword: expected {list}", scene.text(found));
        SyntaxError::new(code::KEYWORD, span, message).help("choose another name")
    } else if scene.expected.is_empty() {
        SyntaxError::new(code::UNEXPECTED, span, format!("{found_text} cannot stand here"))
    } else if after {
        SyntaxError::new(code::UNEXPECTED, span, format!("expected {list} after this"))
    } else {
        SyntaxError::new(code::UNEXPECTED, span, format!("expected {list}, found {found_text}"))
    };
    if let Some(cure) = cure::of(&scene) {
        if let Some(message) = cure.message {
            result.message = message;
            result.code = cure.code;
        }
        if let Some(token) = cure.at.and_then(|i| tokens.get(i)) {
            result.span = token.span;
        }
        result.help = Some(cure.help);
    }
    result.expected = scene.expected.iter().map(|e| e.to_string()).collect();
    result
}

/// The token that does not fit, or the one before it where that one stands on an earlier line.
fn place(scene: &Scene, at: usize) -> (Span, bool) {
    let before = scene.found.checked_sub(1).filter(|&i| i >= scene.first).map(|i| scene.tokens[i].span);
    match (scene.tokens.get(scene.found), before) {
        (Some(t), Some(_)) if scene.same_line(scene.found) => (t.span, false),
        (_, Some(b)) => (b, true),
        (Some(t), None) => (t.span, false),
        (None, None) => match scene.tokens.last() {
            Some(t) => (t.span, true),
            None => (Span::new(at.min(scene.source.len()), scene.source.len()), false),
        },
    }
}

fn name_token(scene: &Scene, i: usize) -> String {
    match scene.kind(i) {
        None => "the end of the text".to_string(),
        Some(TokenKind::StrStart | TokenKind::StrText | TokenKind::StrEnd) => "a string".to_string(),
        Some(TokenKind::Doc) => "a doc comment".to_string(),
        Some(_) => format!("`{}`", scene.text(i)),
    }
}

/// `a`, `a or b`, `a, b or c`.
fn join(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => one.to_string(),
        [all @ .., last] => format!("{} or {last}", all.join(", ")),
    }
}

/// The rules that could have matched, in words; what merely goes on with an expression only if nothing else could.
fn wording(rules: &[Rule]) -> Vec<&'static str> {
    let mut out: Vec<&'static str> = Vec::new();
    let mut push = |word: &'static str| {
        if !out.contains(&word) {
            out.push(word);
        }
    };
    let has = |rule| rules.contains(&rule);
    let listed = has(Rule::comma) && [Rule::close_paren, Rule::close_bracket, Rule::close_brace].into_iter().any(has);
    let goes_on = rules.iter().any(|&r| word(r) == "an operator");
    for &rule in rules {
        match rule {
            // `let a, b: t = e`: the list and the type are optional.
            Rule::comma | Rule::colon if !listed && (has(Rule::eq) || has(Rule::tilde)) => {}
            Rule::comma if !listed && (has(Rule::open_brace) || has(Rule::kw_in)) => {}
            Rule::eq if listed => {}
            Rule::open_brace if has(Rule::interval) || has(Rule::one_of) => {}
            // Calls and indexes after a value, clauses that may follow it.
            Rule::open_paren | Rule::open_bracket | Rule::dot | Rule::at if goes_on => {}
            Rule::kw_over | Rule::kw_weight | Rule::kw_in | Rule::kw_frozen | Rule::kw_from if goes_on => {}
            Rule::open_bracket if has(Rule::tilde) => {}
            Rule::question | Rule::langle | Rule::clock | Rule::axes => {}
            Rule::doc | Rule::module_doc => {}
            _ if word(rule) == "an operator" => {}
            _ => push(word(rule)),
        }
    }
    if out.is_empty() && goes_on {
        out.push("an operator");
    }
    out
}

fn word(rule: Rule) -> &'static str {
    match rule {
        Rule::item | Rule::file => "`use`, `let`, `fn`, `layer`, `schedule`, `extern` or `method`",
        Rule::member_item => "`let` or `fn`",
        Rule::stmt => "a statement",
        Rule::expr | Rule::atom | Rule::bound | Rule::lo | Rule::hi | Rule::arg | Rule::args => "an expression",
        Rule::only_expr => "an expression",
        Rule::type_ | Rule::type_name => "a type",
        Rule::name | Rule::names | Rule::any_word | Rule::operand | Rule::param_name | Rule::path | Rule::step_name => {
            "a name"
        }
        Rule::param | Rule::strict_param => "a parameter",
        Rule::params => "`(` and the parameters",
        Rule::field | Rule::field_name => "a field",
        Rule::axis => "an axis",
        Rule::block => "`{`",
        Rule::interval | Rule::one_of => "a range `lo..hi` or `{` and the values allowed",
        Rule::learns => "`->` and the networks that learn from this loss",
        Rule::arrow | Rule::result => "`->`",
        Rule::open_paren => "`(`",
        Rule::close_paren => "`)`",
        Rule::open_bracket => "`[`",
        Rule::close_bracket => "`]`",
        Rule::open_brace => "`{`",
        Rule::close_brace | Rule::missing_brace => "`}`",
        Rule::rangle => "`>`",
        Rule::comma => "`,`",
        Rule::colon => "`:`",
        Rule::eq => "`=`",
        Rule::assign_op => "`=` or `+=`",
        Rule::tilde => "`~`",
        Rule::kw_then => "`then`",
        Rule::kw_else => "`else`",
        Rule::kw_in => "`in`",
        Rule::kw_carry => "`carry`",
        Rule::kw_every | Rule::every => "`every`",
        Rule::kw_otherwise => "`otherwise`",
        Rule::kw_weight => "`weight`",
        Rule::kw_if => "`if`",
        Rule::net_attr => "an attribute",
        Rule::kw_kernel => "`kernel`",
        Rule::kw_from => "`from` and the file",
        Rule::results => "`->` and the type of the result",
        Rule::clause => "a clause",
        Rule::string => "a string",
        Rule::EOI => "the end",
        _ => "an operator",
    }
}

/// Statements outside methods, items inside them, doc comments before nothing.
pub(crate) fn misplaced(span: Span, rule: Rule, source: &str, lexed: &Lexed) -> Option<SyntaxError> {
    let tokens = &lexed.tokens[lexed.tokens.partition_point(|t| t.span.end <= span.start)..];
    let text = |i: usize| tokens.get(i).map_or("", |t: &Token| &source[t.span.start..t.span.end]);
    let docs = tokens.iter().take_while(|t| t.kind == TokenKind::Doc && t.span.start < span.end).count();
    if let Some(module) = tokens[..docs].iter().find(|t| source[t.span.start..].starts_with("//!")) {
        let error = SyntaxError::new(code::MISPLACED, module.span, "`//!` documents a file, at its top");
        return Some(error.help("write `///` before an item, statement or parameter, `//` elsewhere"));
    }
    let first = tokens.get(docs).filter(|t| t.span.start < span.end);
    let Some(first) = first else {
        let error = SyntaxError::new(code::MISPLACED, tokens.first()?.span, "nothing follows for this to document");
        return Some(error.help("write `//` for a plain comment"));
    };
    let named = tokens.get(docs + 1).is_some_and(|t| t.kind == TokenKind::Word);
    let word = text(docs);
    match (rule, word) {
        (Rule::item | Rule::member_item, "var" | "if" | "for" | "return") => {}
        (Rule::item | Rule::member_item, "step") if named || text(docs + 1) == "{" => {}
        (
            Rule::item | Rule::member_item,
            "data" | "draw" | "loss" | "metric" | "net" | "param" | "sample" | "scan" | "state",
        ) if named => {}
        (Rule::stmt, "extern" | "fn" | "layer" | "method" | "schedule" | "use") if named => {
            let help = match word {
                "fn" => "define it outside, or bind a function of one expression: `let f = fn(x) = …`",
                _ => "move it out of the braces; or is a `}` missing before it?",
            };
            let message = format!("`{word}` cannot stand inside a block");
            return Some(SyntaxError::new(code::MISPLACED, first.span, message).help(help));
        }
        _ => return None,
    }
    let message = format!("`{word}` stands only inside a method, function or layer");
    let help = "is a `{` missing before it, or a `}` too many?";
    Some(SyntaxError::new(code::MISPLACED, first.span, message).help(help))
}

/// A region that reads well on its own but not where it stands.
pub(crate) fn stray(span: Span, lexed: &Lexed, source: &str) -> SyntaxError {
    let token = lexed.token_at(span.start).map_or(span, |t| t.span);
    let text = &source[token.start..token.end];
    let error = SyntaxError::new(code::UNEXPECTED, token, format!("`{text}` cannot stand here"));
    match text {
        "else" => error.help("it belongs right after the `}` of an `if`"),
        _ => error,
    }
}
