//! Tokens, comments, and the text that the grammar reads.
//!
//! The grammar sees a copy of the source of the same length in which every lexical mistake is already mended (a
//! malformed literal is [`ERROR_MARK`] and blanks, `True` is `true`, `;` a blank), so that it is reported once and
//! costs no more of the tree than itself.

use crate::Span;
use crate::ast::Comment;
use crate::error::{SyntaxError, code};

/// Stands for a literal that could not be read.
pub const ERROR_MARK: u8 = 0x05;
/// Stands where a block must end though its brace is missing.
pub const BOUNDARY: u8 = 0x04;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    Word,
    Number,
    /// The opening quote.
    StrStart,
    /// Text and escapes between the quotes and the holes.
    StrText,
    StrEnd,
    Open(u8),
    Close(u8),
    /// An operator or separator.
    Sign,
    /// A `///` or `//!` line.
    Doc,
    /// A malformed literal.
    Bad,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    pub kind: TokenKind,
    pub span: Span,
}

#[derive(Clone, Debug, Default)]
pub struct Lexed {
    pub tokens: Vec<Token>,
    pub comments: Vec<Comment>,
    pub errors: Vec<SyntaxError>,
    /// The text for the grammar.
    pub text: Vec<u8>,
}

impl Lexed {
    /// The first token that ends after `at`.
    pub fn token_at(&self, at: usize) -> Option<Token> {
        self.tokens.get(self.tokens.partition_point(|t| t.span.end <= at)).copied()
    }

    /// The last token that starts before `at`.
    pub fn token_before(&self, at: usize) -> Option<Token> {
        self.tokens[..self.tokens.partition_point(|t| t.span.start < at)].last().copied()
    }

    /// `start..end` without blanks and comments at its end; a token it ends in is whole (`×` reads as `* `).
    pub fn trim(&self, start: usize, end: usize) -> Span {
        match self.token_before(end) {
            Some(t) if t.span.end > start => Span::new(start, t.span.end),
            _ => Span::new(start, start),
        }
    }

    fn blank(&mut self, span: Span) {
        self.text[span.start..span.end].fill(b' ');
    }

    fn error(&mut self, code: &'static str, span: Span, message: impl Into<String>, help: impl Into<String>) {
        let help = help.into();
        let mut error = SyntaxError::new(code, span, message);
        error.instead = instead(&help).map(|text| self.apart(span, text));
        self.errors.push(error.help(help));
    }

    /// `text` in place of `span`, kept apart from words beside it if it is one.
    fn apart(&self, span: Span, text: &str) -> String {
        let word = |at: Option<&u8>| at.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
        let alphabetic = text.bytes().all(|b| b.is_ascii_alphabetic()) && !text.is_empty();
        let before = alphabetic && word(span.start.checked_sub(1).and_then(|i| self.text.get(i)));
        let after = alphabetic && word(self.text.get(span.end));
        format!("{}{text}{}", if before { " " } else { "" }, if after { " " } else { "" })
    }
}

/// What a help says to write, where that is all it says.
fn instead(help: &str) -> Option<&str> {
    if help == "remove it" {
        return Some("");
    }
    let text = help.strip_prefix("write `")?.strip_suffix('`')?;
    (!text.contains(['`', '…'])).then_some(text)
}

/// Splits `source`.
pub fn lex(source: &str) -> Lexed {
    let out = Lexed { text: source.as_bytes().to_vec(), ..Lexed::default() };
    let mut lexer = Lexer { source, bytes: source.as_bytes(), at: 0, out, open: Vec::new() };
    while lexer.at < lexer.bytes.len() {
        lexer.step();
    }
    lexer.unterminated();
    lexer.out
}

/// What the text at hand is inside of.
enum Inside {
    /// A string, from its opening quote; the index of that quote's token.
    Str { token: usize, quote: u8 },
    /// A hole of a string, with the number of `{` open in it.
    Hole { braces: usize },
}

struct Lexer<'a> {
    source: &'a str,
    bytes: &'a [u8],
    at: usize,
    out: Lexed,
    open: Vec<Inside>,
}

const SIGNS: [&str; 14] = ["->", "==", "!=", "<=", ">=", "+=", "-=", "*=", "/=", "**", "&&", "||", "..", ":="];

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn push(&mut self, kind: TokenKind, end: usize) {
        self.out.tokens.push(Token { kind, span: Span::new(self.at, end) });
        self.at = end;
    }

    /// The first byte at or after `from` that `stop` accepts, or the end.
    fn find(&self, from: usize, stop: impl Fn(u8) -> bool) -> usize {
        self.bytes[from..].iter().position(|&b| stop(b)).map_or(self.bytes.len(), |n| from + n)
    }

    fn step(&mut self) {
        if let Some(&Inside::Str { quote, .. }) = self.open.last() {
            return self.in_string(quote);
        }
        let b = self.peek(0);
        match b {
            b'\n' => {
                self.unterminated();
                self.at += 1;
            }
            b' ' | b'\t' | b'\r' => self.at += 1,
            b'/' if self.peek(1) == b'/' => self.comment(),
            b'#' => {
                let span = Span::new(self.at, self.at + 1);
                self.out.error(code::FOREIGN, span, "`#` does not start a comment", "comments start with `//`");
                self.comment();
            }
            b'"' => self.open_string(b'"'),
            b'\'' => {
                let span = Span::new(self.at, self.at + 1);
                self.out.error(code::FOREIGN, span, "strings are written with `\"`", "use `\"` on both sides");
                self.out.text[self.at] = b'"';
                self.open_string(b'\'');
            }
            b'0'..=b'9' => self.number(),
            b'.' if self.peek(1).is_ascii_digit() && self.peek_back() != b'.' => self.number(),
            b'(' | b'[' => self.push(TokenKind::Open(b), self.at + 1),
            b')' | b']' => self.push(TokenKind::Close(b), self.at + 1),
            b'{' => {
                if let Some(Inside::Hole { braces }) = self.open.last_mut() {
                    *braces += 1;
                }
                self.push(TokenKind::Open(b), self.at + 1);
            }
            b'}' => {
                match self.open.last_mut() {
                    Some(Inside::Hole { braces: 1 }) => drop(self.open.pop()),
                    Some(Inside::Hole { braces }) => *braces -= 1,
                    _ => {}
                }
                self.push(TokenKind::Close(b), self.at + 1);
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => self.word(),
            _ => self.sign(),
        }
    }

    fn peek_back(&self) -> u8 {
        self.at.checked_sub(1).map_or(0, |i| self.bytes[i])
    }

    fn comment(&mut self) {
        let end = self.find(self.at, |b| b == b'\n');
        let text = self.source[self.at..end].trim_end();
        let span = Span::new(self.at, self.at + text.len());
        let doc = (text.starts_with("///") && !text.starts_with("////")) || text.starts_with("//!");
        // Marks of our own, and a comment that ends a line inside a string's hole, must not reach the grammar.
        for i in self.at..end {
            if self.out.text[i] == BOUNDARY || self.out.text[i] == ERROR_MARK {
                self.out.text[i] = b' ';
            }
        }
        if text.starts_with('#') {
            self.out.blank(span);
        }
        if doc {
            self.push(TokenKind::Doc, span.end);
        } else {
            let text = text.trim_start_matches(['/', '#']).trim().to_string();
            self.out.comments.push(Comment { span, text });
        }
        self.at = end;
    }

    fn open_string(&mut self, quote: u8) {
        self.open.push(Inside::Str { token: self.out.tokens.len(), quote });
        self.push(TokenKind::StrStart, self.at + 1);
    }

    fn in_string(&mut self, quote: u8) {
        match self.peek(0) {
            b'\n' => self.unterminated(),
            b if b == quote => {
                self.out.text[self.at] = b'"';
                self.open.pop();
                self.push(TokenKind::StrEnd, self.at + 1);
            }
            b'{' if self.peek(1) != b'{' => {
                self.open.push(Inside::Hole { braces: 1 });
                self.push(TokenKind::Open(b'{'), self.at + 1);
            }
            b'}' if self.peek(1) != b'}' => {
                let span = Span::new(self.at, self.at + 1);
                self.out.error(code::LITERAL, span, "a single `}` in a string", "write `}}` for the character itself");
                self.out.blank(span);
                self.push(TokenKind::StrText, span.end);
            }
            b'{' | b'}' => self.push(TokenKind::StrText, self.at + 2),
            b'\\' if matches!(self.peek(1), b'"' | b'\\' | b'n') => self.push(TokenKind::StrText, self.at + 2),
            b'\\' => {
                let end = self.at + 1;
                let span = Span::new(self.at, end);
                self.out.error(
                    code::LITERAL,
                    span,
                    "unknown escape in a string",
                    "escapes are `\\\"`, `\\\\` and `\\n`",
                );
                self.out.blank(span);
                self.push(TokenKind::StrText, end);
            }
            b if b == BOUNDARY || b == ERROR_MARK => self.stray(self.at + 1),
            b'"' => {
                self.out.text[self.at] = b' ';
                self.push(TokenKind::StrText, self.at + 1);
            }
            _ => {
                let end = self.find(self.at, |b| {
                    matches!(b, b'\n' | b'{' | b'}' | b'\\' | b'"' | BOUNDARY | ERROR_MARK) || b == quote
                });
                self.push(TokenKind::StrText, end);
            }
        }
    }

    /// At the end of a line: no string goes on, so the outermost open one is replaced by a mark.
    fn unterminated(&mut self) {
        let Some(&Inside::Str { token, .. }) = self.open.first() else { return };
        self.open.clear();
        let start = self.out.tokens[token].span.start;
        let end = start + self.source[start..self.at].trim_end().len();
        let span = Span::new(start, end);
        self.out.tokens.truncate(token);
        self.out.errors.retain(|e| e.span.start < start);
        self.out.comments.retain(|c| c.span.start < start);
        self.out.error(code::LITERAL, span, "this string does not end on its line", "close it with `\"`");
        self.out.blank(span);
        self.out.text[start] = ERROR_MARK;
        self.out.tokens.push(Token { kind: TokenKind::Bad, span });
    }

    fn number(&mut self) {
        let digits = |from: usize| self.find(from, |b| !(b.is_ascii_digit() || b == b'_'));
        let mut end = digits(self.at);
        if self.bytes.get(end) == Some(&b'.') && self.bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
            end = digits(end + 1);
        }
        if matches!(self.bytes.get(end), Some(b'e' | b'E')) {
            let sign = matches!(self.bytes.get(end + 1), Some(b'+' | b'-')) as usize;
            if self.bytes.get(end + 1 + sign).is_some_and(u8::is_ascii_digit) {
                end = self.find(end + 1 + sign, |b| !b.is_ascii_digit());
            }
        }
        // What is glued to it: `1.5.2`, `2.`, `12abc`, `0x1f`.
        let good = end;
        while let Some(&b) = self.bytes.get(end) {
            let point = b == b'.' && self.bytes.get(end + 1) != Some(&b'.') && end > self.at;
            let glued = b.is_ascii_alphanumeric() || b == b'_';
            if !(glued || point && !self.bytes.get(end + 1).is_some_and(|b| b.is_ascii_alphabetic())) {
                break;
            }
            end += 1;
        }
        let text = &self.source[self.at..end];
        let span = Span::new(self.at, end);
        let plain = text.replace('_', "");
        let problem = if text.starts_with('.') {
            Some(("a number starts with a digit", format!("write `0{text}`")))
        } else if good < end && plain.strip_suffix('.').is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit())) {
            Some(("digits must follow the point", format!("write `{text}0`")))
        } else if good < end {
            Some(("malformed number", "numbers are written `12`, `1_000`, `0.5`, `1e-4`".to_string()))
        } else if text.bytes().all(|b| b.is_ascii_digit() || b == b'_') && plain.parse::<i64>().is_err() {
            Some(("this integer is too large", "the largest is 9223372036854775807; write a float: `1e20`".to_string()))
        } else if plain.parse::<f64>().is_ok_and(f64::is_infinite) {
            Some(("this number is too large", "the largest is about 1.8e308".to_string()))
        } else {
            None
        };
        let Some((message, help)) = problem else { return self.push(TokenKind::Number, end) };
        self.out.error(code::LITERAL, span, message, help);
        self.out.blank(span);
        self.out.text[self.at] = ERROR_MARK;
        self.push(TokenKind::Bad, end);
    }

    /// A word; letters beyond ASCII are reported, and become `_`.
    fn word(&mut self) {
        let rest = &self.source[self.at..];
        let len = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let end = self.at + len;
        let span = Span::new(self.at, end);
        let text = &rest[..len];
        if !text.is_ascii() {
            let help = match greek(text) {
                Some(latin) => format!("write `{latin}`"),
                None => "spell it in ASCII".to_string(),
            };
            self.out.error(code::CHARACTER, span, "names are made of a-z, A-Z, 0-9 and `_`", help);
            self.out.text[span.start..span.end].fill(b'_');
        }
        let mend = match text {
            "True" => Some(&b"true"[..]),
            "False" => Some(&b"false"[..]),
            "None" => Some(&b"none"[..]),
            _ => None,
        };
        if let Some(word) = mend.filter(|_| self.peek_back() != b'.' && !self.names_follow(end)) {
            let message = format!("`{text}` is written `{}`", text.to_lowercase());
            self.out.error(code::FOREIGN, span, message, format!("write `{}`", text.to_lowercase()));
            self.out.text[span.start..span.end].copy_from_slice(word);
        }
        self.push(TokenKind::Word, end);
    }

    /// Whether `:` or `=` follows, so that the word before is a name.
    fn names_follow(&self, end: usize) -> bool {
        let next = self.find(end, |b| b != b' ');
        match self.bytes.get(next) {
            Some(b':') => true,
            Some(b'=') => self.bytes.get(next + 1) != Some(&b'='),
            _ => false,
        }
    }

    fn sign(&mut self) {
        let rest = &self.source[self.at..];
        let c = rest.chars().next().unwrap_or(' ');
        let len = SIGNS.iter().find(|s| rest.starts_with(**s)).map_or(c.len_utf8(), |s| s.len());
        let end = self.at + len;
        let span = Span::new(self.at, end);
        let foreign = match &rest[..len] {
            ";" => Some(("statements are not separated by `;`", "remove it", " ")),
            "**" => Some(("powers are written `^`", "write `^`", "^ ")),
            "&&" => Some(("`&&` is written `and`", "write `and`", "&&")),
            "||" => Some(("`||` is written `or`", "write `or`", "||")),
            "%" => Some(("there is no `%`", "the remainder is `a - floor(a / b) * b`", "*")),
            "!" => Some(("`!` is written `not`", "write `not`", "!")),
            "−" | "–" | "—" => Some(("this is not the minus sign of the keyboard", "write `-`", "-  ")),
            "×" | "·" => Some(("multiplication is written `*`", "write `*`", "* ")),
            "÷" => Some(("division is written `/`", "write `/`", "/ ")),
            "≤" => Some(("`≤` is written `<=`", "write `<=`", "<= ")),
            "≥" => Some(("`≥` is written `>=`", "write `>=`", ">= ")),
            "≠" => Some(("`≠` is written `!=`", "write `!=`", "!= ")),
            "→" => Some(("`→` is written `->`", "write `->`", "-> ")),
            "∼" => Some(("`∼` is written `~`", "write `~`", "~  ")),
            _ => None,
        };
        if let Some((message, help, mended)) = foreign {
            self.out.error(code::FOREIGN, span, message, help);
            self.out.text[span.start..span.end].copy_from_slice(mended.as_bytes());
            match mended.trim() {
                "" => self.at = end,
                _ => self.push(TokenKind::Sign, end),
            }
            return;
        }
        if len > 1 && c.is_ascii() || "+-*/^=<>,.:~@?".contains(c) {
            return self.push(TokenKind::Sign, end);
        }
        if c.is_alphabetic() {
            return self.word();
        }
        if c == '\u{FEFF}' && self.at == 0 || c.is_whitespace() {
            self.out.blank(span);
            self.at = end;
            return;
        }
        self.stray(end);
    }

    fn stray(&mut self, end: usize) {
        let span = Span::new(self.at, end);
        let message = match self.source[self.at..].chars().next() {
            Some(c) if c.is_control() => format!("a control character (U+{:04X}) cannot stand here", c as u32),
            Some(c) => format!("`{c}` means nothing here"),
            None => return,
        };
        self.out.error(code::CHARACTER, span, message, "remove it");
        self.out.blank(span);
        self.at = end;
    }
}

/// The usual spelling of a Greek letter.
fn greek(word: &str) -> Option<&'static str> {
    const LETTERS: [(&str, &str); 14] = [
        ("α", "alpha"),
        ("β", "beta"),
        ("γ", "gamma"),
        ("δ", "delta"),
        ("ε", "eps"),
        ("ϵ", "eps"),
        ("η", "eta"),
        ("θ", "theta"),
        ("λ", "lambda"),
        ("μ", "mu"),
        ("π", "pi"),
        ("ρ", "rho"),
        ("σ", "sigma"),
        ("τ", "tau"),
    ];
    LETTERS.iter().find(|(letter, _)| *letter == word).map(|(_, latin)| *latin)
}
