//! Pairs brackets and bounds how deep the text nests, before any recursive reading of it.

use crate::error::{SyntaxError, code};
use crate::lex::{BOUNDARY, Lexed, Token, TokenKind};

/// Deepest nesting of brackets, `if` expressions, lambdas and prefix operators together.
const MAX_NESTING: usize = 200;
/// Most operators, calls and members chained without brackets, commas or a new statement between them, summed over
/// the brackets around: the depth of a tree that leans to one side.
const MAX_CHAIN: usize = 500;

/// What pairing found.
pub struct Brackets {
    /// Openers and closers that were reported, ascending: other errors around them are consequences.
    pub reported: Vec<usize>,
    /// Too deep to be read at all.
    pub too_deep: bool,
}

/// Reports brackets without partner into `lexed.errors`, blanks stray closers and marks where blocks must end.
pub fn check(source: &str, lexed: &mut Lexed) -> Brackets {
    let mut pairing = Pairing::new(source, &lexed.tokens, false);
    pairing.run();
    if pairing.unclosed_brace {
        pairing = Pairing::new(source, &lexed.tokens, true);
        pairing.run();
    }
    let Pairing { errors, mut reported, blanks, boundaries, too_deep, .. } = pairing;
    for &at in &blanks {
        lexed.text[at] = b' ';
    }
    lexed.tokens.retain(|t| blanks.binary_search(&t.span.start).is_err());
    for at in boundaries {
        lexed.text[at] = BOUNDARY;
    }
    reported.sort_unstable();
    lexed.errors.extend(errors);
    Brackets { reported, too_deep }
}

struct Level {
    bracket: u8,
    /// Index of the opener's token.
    token: usize,
    nesting: usize,
    chain: usize,
}

struct Pairing<'a> {
    source: &'a str,
    tokens: &'a [Token],
    /// Whether a new item at the start of a line ends every open block.
    end_at_items: bool,
    levels: Vec<Level>,
    /// Sums over `levels`.
    nesting: usize,
    chain: usize,
    /// The first opener whose closer is indented less than its line: the likely culprit of a missing `}`.
    suspect: Option<usize>,
    unclosed_brace: bool,
    too_deep: bool,
    /// Where each line starts, and how many blanks it starts with.
    lines: Vec<(usize, usize)>,
    errors: Vec<SyntaxError>,
    reported: Vec<usize>,
    blanks: Vec<usize>,
    boundaries: Vec<usize>,
}

impl<'a> Pairing<'a> {
    fn new(source: &'a str, tokens: &'a [Token], end_at_items: bool) -> Pairing<'a> {
        let mut start = 0;
        let lines = source.split_inclusive('\n').map(|line| {
            let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
            start += line.len();
            (start - line.len(), indent)
        });
        let ground = Level { bracket: 0, token: 0, nesting: 0, chain: 0 };
        Pairing {
            source,
            tokens,
            end_at_items,
            levels: vec![ground],
            nesting: 0,
            chain: 0,
            suspect: None,
            unclosed_brace: false,
            too_deep: false,
            lines: lines.collect(),
            errors: Vec::new(),
            reported: Vec::new(),
            blanks: Vec::new(),
            boundaries: Vec::new(),
        }
    }

    fn text(&self, i: usize) -> &'a str {
        self.tokens.get(i).map_or("", |t| &self.source[t.span.start..t.span.end])
    }

    fn run(&mut self) {
        for i in 0..self.tokens.len() {
            let token = self.tokens[i];
            if self.end_at_items && self.levels.len() > 1 && self.item_starts(i) {
                self.end_open_blocks(i);
                // The line break before it.
                self.boundaries.push(token.span.start - 1);
            }
            match token.kind {
                TokenKind::Open(bracket) => self.open(bracket, i),
                TokenKind::Close(bracket) => self.close(bracket, i),
                TokenKind::Word => self.word(i),
                TokenKind::Sign => self.sign(i),
                _ => {}
            }
            if self.nesting > MAX_NESTING || self.chain > MAX_CHAIN {
                let message = match self.nesting > MAX_NESTING {
                    true => format!("nested more than {MAX_NESTING} deep"),
                    false => format!("more than {MAX_CHAIN} operators in one expression"),
                };
                let error = SyntaxError::new(code::TOO_DEEP, token.span, message).help("name parts of it with `let`");
                self.errors.push(error);
                self.too_deep = true;
                return;
            }
        }
        self.unclosed_brace = self.levels.iter().any(|l| l.bracket == b'{');
        self.end_open_blocks(self.tokens.len());
    }

    fn open(&mut self, bracket: u8, i: usize) {
        // A record follows an operator or a comma; after a value, `{` is a block.
        let in_paren = self.levels.last().is_some_and(|l| matches!(l.bracket, b'(' | b'['));
        if bracket == b'{' && in_paren && i > 0 && self.ends_value(i - 1) {
            let brace = self.levels.iter().rposition(|l| l.bracket == b'{').unwrap_or(0);
            self.unclosed_until(brace + 1, i);
        }
        // A bracket after a value is a call or an index, which leans the tree to the left.
        let level = self.levels.len() - 1;
        self.levels[level].chain += 1;
        self.levels.push(Level { bracket, token: i, nesting: 1, chain: 0 });
        self.nesting += 1;
        self.chain += 1;
    }

    fn pop(&mut self) -> Option<Level> {
        if self.levels.len() == 1 {
            return None;
        }
        let level = self.levels.pop()?;
        self.nesting -= level.nesting;
        self.chain -= level.chain;
        Some(level)
    }

    fn close(&mut self, bracket: u8, i: usize) {
        let opener = match bracket {
            b')' => b'(',
            b']' => b'[',
            _ => b'{',
        };
        // Round and square brackets do not reach past a brace.
        let found = match opener {
            b'{' => self.levels.iter().rposition(|l| l.bracket == b'{'),
            _ => {
                let from = self.levels.iter().rposition(|l| l.bracket == b'{').unwrap_or(0);
                self.levels.iter().rposition(|l| l.bracket == opener).filter(|&at| at > from)
            }
        };
        let Some(found) = found else {
            let span = self.tokens[i].span;
            let message = format!("this `{}` closes nothing", bracket as char);
            self.errors.push(SyntaxError::new(code::UNCLOSED, span, message).help("remove it, or open it before"));
            self.reported.push(span.start);
            self.blanks.push(span.start);
            return;
        };
        if self.levels.len() > found + 1 {
            self.unclosed_until(found + 1, i);
        }
        if let Some(level) = self.pop()
            && bracket == b'}'
            && self.suspect.is_none()
            && self.first_on_line(i)
            && self.indent(i) < self.indent(level.token)
        {
            self.suspect = Some(level.token);
        }
        self.end_of_value(i + 1);
    }

    /// After `}`: what follows decides whether a statement ended.
    fn end_of_value(&mut self, next: usize) {
        let closes_brace = self.tokens[next - 1].kind == TokenKind::Close(b'}');
        if closes_brace && self.tokens.get(next).is_none_or(|t| t.kind == TokenKind::Doc) {
            self.reset();
        }
    }

    fn reset(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            self.chain -= level.chain;
            let brackets = (level.bracket != 0) as usize;
            self.nesting -= level.nesting - brackets;
            level.chain = 0;
            level.nesting = brackets;
        }
    }

    fn nest(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            level.nesting += 1;
            self.nesting += 1;
        }
    }

    fn link(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            level.chain += 1;
            self.chain += 1;
        }
    }

    fn word(&mut self, i: usize) {
        let text = self.text(i);
        let in_paren = self.levels.last().is_some_and(|l| matches!(l.bracket, b'(' | b'['));
        if in_paren && self.statement_starts(i) {
            let brace = self.levels.iter().rposition(|l| l.bracket == b'{').unwrap_or(0);
            self.unclosed_until(brace + 1, i);
        }
        match text {
            "and" | "or" => self.link(),
            "not" => self.nest(),
            "then" | "else" | "in" | "over" | "weight" | "carry" | "every" => {}
            "if" if i > 0 && self.text(i - 1) == "else" => self.nest(),
            _ => {
                // Two values side by side: a new statement.
                if i > 0 && self.ends_value(i - 1) {
                    self.reset();
                }
                if text == "if" || text == "fn" {
                    self.nest();
                }
            }
        }
    }

    fn ends_value(&self, i: usize) -> bool {
        match self.tokens[i].kind {
            TokenKind::Word => !matches!(
                self.text(i),
                "and" | "or" | "not" | "then" | "else" | "in" | "over" | "weight" | "carry" | "every" | "if" | "return"
            ),
            TokenKind::Number | TokenKind::StrEnd | TokenKind::Close(_) | TokenKind::Bad | TokenKind::Doc => true,
            _ => false,
        }
    }

    fn sign(&mut self, i: usize) {
        match self.text(i) {
            "," | "~" => self.reset(),
            "=" | "+=" if i > 0 && self.tokens[i - 1].kind == TokenKind::Word => self.reset(),
            "->" => {
                // Never between brackets: those before it were left open.
                if self.levels.last().is_some_and(|l| matches!(l.bracket, b'(' | b'[')) {
                    let brace = self.levels.iter().rposition(|l| l.bracket == b'{').unwrap_or(0);
                    self.unclosed_until(brace + 1, i);
                }
                self.reset();
            }
            "-" if i == 0 || !self.ends_value(i - 1) => self.nest(),
            "!" | "^" | "**" => self.nest(),
            _ => self.link(),
        }
    }

    /// Reports the round and square brackets above level `keep` as unclosed, once, and forgets them.
    fn unclosed_until(&mut self, keep: usize, i: usize) {
        let mut innermost = None;
        while self.levels.len() > keep {
            let Some(level) = self.pop() else { break };
            self.reported.push(self.tokens[level.token].span.start);
            innermost = innermost.or(Some(level));
        }
        let Some(level) = innermost else { return };
        let closer = if level.bracket == b'(' { ')' } else { ']' };
        let span = self.tokens[level.token].span;
        let message = format!("this `{}` is never closed", level.bracket as char);
        let help = match self.tokens.get(i) {
            Some(t) => format!("`{closer}` is missing before {}", self.place(t.span.start, i)),
            None => format!("`{closer}` is missing"),
        };
        let error =
            SyntaxError { expected: vec![format!("`{closer}`")], ..SyntaxError::new(code::UNCLOSED, span, message) };
        self.errors.push(error.help(help));
    }

    fn place(&self, at: usize, i: usize) -> String {
        format!("`{}` on line {}", self.text(i), self.line(at))
    }

    /// From 1.
    fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|&(start, _)| start <= at)
    }

    /// Before token `i` (or the end of the file): every open bracket is an error, braces together one.
    fn end_open_blocks(&mut self, i: usize) {
        if self.levels.last().is_some_and(|l| matches!(l.bracket, b'(' | b'[')) {
            let brace = self.levels.iter().rposition(|l| l.bracket == b'{').unwrap_or(0);
            self.unclosed_until(brace + 1, i);
        }
        let innermost = self.levels.iter().rev().find(|l| l.bracket == b'{').map(|l| l.token);
        let opener = self.suspect.take().or(innermost);
        while let Some(level) = self.pop() {
            self.reported.push(self.tokens[level.token].span.start);
        }
        let (Some(opener), Some(_)) = (opener, innermost) else { return };
        // Where the lines are indented no further than the opener's, its block is over.
        let indent = self.indent(opener);
        let end = (opener + 1..i).find(|&k| self.first_on_line(k) && self.indent(k) <= indent).unwrap_or(i);
        let span = self.tokens[end - 1].span;
        let line = self.line(self.tokens[opener].span.start);
        let start = self.line_of(opener).0;
        let head = self.source[start..].lines().next().unwrap_or("").trim();
        let error = SyntaxError::new(code::UNCLOSED, span, "expected `}` after this");
        self.errors.push(SyntaxError {
            expected: vec!["`}`".to_string()],
            ..error.help(format!("the `{{` of line {line}, `{head}`, is not closed"))
        });
    }

    /// Start of the line of token `i`, and blanks there.
    fn line_of(&self, i: usize) -> (usize, usize) {
        self.lines[self.line(self.tokens[i].span.start) - 1]
    }

    fn indent(&self, i: usize) -> usize {
        self.line_of(i).1
    }

    fn first_on_line(&self, i: usize) -> bool {
        let (start, indent) = self.line_of(i);
        self.tokens[i].span.start == start + indent
    }

    /// A keyword that only begins statements.
    fn statement_starts(&self, i: usize) -> bool {
        match self.text(i) {
            "let" | "var" | "return" => i == 0 || self.text(i - 1) != "." && self.text(i + 1) != "=",
            "data" | "draw" | "loss" | "metric" | "net" | "param" | "sample" | "scan" | "state" | "step" => {
                let next_is_name = self.tokens.get(i + 1).is_some_and(|t| t.kind == TokenKind::Word);
                self.first_on_line(i)
                    && next_is_name
                    && !matches!(self.text(i + 1), "in" | "and" | "or" | "then" | "else")
            }
            _ => false,
        }
    }

    /// An item's keyword and name at the very start of a line, or the first of its doc lines.
    fn item_starts(&self, i: usize) -> bool {
        let start = self.tokens[i].span.start;
        if start == 0 || self.source.as_bytes()[start - 1] != b'\n' {
            return false;
        }
        if self.tokens[i].kind == TokenKind::Doc {
            let first = i == 0 || self.tokens[i - 1].kind != TokenKind::Doc;
            let item = (i..self.tokens.len()).find(|&k| self.tokens[k].kind != TokenKind::Doc);
            return first && item.is_some_and(|k| self.item_starts(k));
        }
        let named = self.tokens.get(i + 1).is_some_and(|t| t.kind == TokenKind::Word);
        named && matches!(self.text(i), "use" | "fn" | "layer" | "schedule" | "method" | "extern")
    }
}
