//! What is being written at a place, from the text before it alone: the tree has a hole there.

/// Brackets that are open at an offset, and what stands right before it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Context {
    /// In a comment or a string: nothing to suggest.
    pub prose: bool,
    /// Outermost first.
    pub open: Vec<Bracket>,
    /// The word that ends at the offset.
    pub prefix: String,
    /// Names before a dot that stands before the prefix: `["student", "schedule"]` for `student.schedule.t_`; the base
    /// of something else than names (`f(x).`) is a lone empty one.
    pub path: Vec<String>,
    /// The word or sign before the prefix.
    pub before: String,
    /// The words of the statement so far, the prefix left out.
    pub line: Vec<String>,
    /// Where the statement begins.
    pub start: usize,
}

/// An open bracket.
#[derive(Clone, Debug, PartialEq)]
pub struct Bracket {
    pub kind: Kind,
    pub at: usize,
    /// The names before it, for a call: `["student", "x0"]`.
    pub callee: Vec<String>,
    /// The first word of the statement it stands in.
    pub statement: String,
    /// Commas so far.
    pub commas: usize,
    /// Names of arguments given so far.
    pub named: Vec<String>,
    /// The name of the argument being written.
    pub argument: Option<String>,
    /// `over` has been written: axes follow.
    pub over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `(` of a call or a group.
    Paren,
    /// `(` of a declaration: what it holds are new names.
    Params,
    /// `[` of a list or an index.
    Square,
    /// `[` of a type: axes.
    Axes,
    /// `{` of statements or items.
    Block,
    /// `{` of fields or allowed values.
    Record,
    /// `{` of a `use`.
    Names,
}

/// Reads a text up to its end.
#[derive(Default)]
struct Reader<'a> {
    tokens: Vec<&'a str>,
    /// Where each stands.
    places: Vec<usize>,
    open: Vec<Bracket>,
    /// The first token of the statement, and of the one before it.
    start: usize,
    before: usize,
    /// No token on this line yet.
    fresh: bool,
}

impl Context {
    /// The context at the end of `text`.
    pub fn at_end_of(text: &str) -> Context {
        let mut reader = Reader { fresh: true, ..Reader::default() };
        let mut at = 0;
        while let Some(c) = text[at..].chars().next() {
            let rest = &text[at..];
            let comment = rest.starts_with("//");
            let end = match c {
                _ if comment => rest.find('\n'),
                '"' => string_end(rest),
                _ if is_word(c) => Some(word_end(rest)),
                _ if rest.starts_with("->") || rest.starts_with("..") => Some(2),
                _ => Some(c.len_utf8()),
            };
            let Some(length) = end else { return Context { prose: true, ..Context::default() } };
            let (token, rest) = rest.split_at(length);
            match c {
                '\n' => reader.line(),
                _ if c.is_whitespace() || comment => {}
                // The word at the end is still being written.
                _ if rest.is_empty() && is_word(c) => return reader.end(token, at),
                _ => reader.token(token, rest, at, text[..at].ends_with('\n') || at == 0),
            }
            at += length;
        }
        reader.end("", text.len())
    }

    /// The call whose arguments are being written.
    pub fn call(&self) -> Option<&Bracket> {
        // Through lists and groups to the call around them, not out of a block.
        let inside = self.open.iter().rev().take_while(|b| b.kind != Kind::Block);
        inside.into_iter().find(|b| b.kind == Kind::Paren && !b.callee.is_empty())
    }

    /// The word that begins the item around it: `method`, `layer`, `fn`, `schedule`.
    pub fn item(&self) -> Option<&str> {
        let block = self.open.iter().find(|b| b.kind == Kind::Block)?;
        Some(&block.statement)
    }

    /// What stands before could end here: a value does not begin.
    pub fn after_value(&self) -> bool {
        let word = self.before.starts_with(is_word) || self.before.starts_with('"');
        (word && !OPERATORS.contains(&self.before.as_str()) || matches!(self.before.as_str(), ")" | "]" | "}"))
            && !self.line.is_empty()
    }
}

/// Words after which a value follows.
const OPERATORS: [&str; 13] =
    ["and", "or", "not", "if", "then", "else", "in", "over", "return", "weight", "every", "sample", "carry"];
/// Words and signs a statement goes on with in a new line.
const JOINING: [&str; 23] = [
    "+", "-", "*", "/", "^", ".", ",", "=", "<", ">", "!", "->", "~", ")", "]", "and", "or", "then", "else", "over",
    "in", "weight", "from",
];
/// Words that begin a statement before a name, whatever is still open.
const STATEMENTS: [&str; 11] =
    ["let", "var", "draw", "data", "net", "state", "loss", "metric", "step", "sample", "param"];
/// Words that begin an item.
const ITEMS: [&str; 7] = ["use", "let", "fn", "layer", "schedule", "extern", "method"];

impl<'a> Reader<'a> {
    /// A new line begins: so does a statement, outside of brackets, if what stands before can end.
    fn line(&mut self) {
        self.fresh = true;
        let inside = self.open.last().is_some_and(|b| b.kind != Kind::Block);
        let goes_on = self.tokens.last().is_some_and(|t| {
            !matches!(*t, ")" | "]") && JOINING.contains(t) || matches!(*t, "not" | "if" | "return" | "for" | "@")
        });
        if !inside && !goes_on && self.start < self.tokens.len() {
            (self.before, self.start) = (self.start, self.tokens.len());
        }
    }

    /// The next token; `rest` follows it.
    fn token(&mut self, token: &'a str, rest: &str, at: usize, column_0: bool) {
        if std::mem::take(&mut self.fresh) {
            let named = rest.starts_with([' ', '\t']) && rest.trim_start_matches([' ', '\t']).starts_with(is_word);
            if column_0 && named && ITEMS.contains(&token) {
                self.open.clear();
                self.start = self.tokens.len();
            } else if named && STATEMENTS.contains(&token) {
                while self.open.pop_if(|b| b.kind != Kind::Block).is_some() {
                    self.start = self.tokens.len();
                }
            } else if JOINING.contains(&token) && self.start == self.tokens.len() {
                self.start = self.before;
            }
        }
        match token {
            "(" | "[" | "{" => self.open(token, at),
            ")" | "]" | "}" => self.close(token),
            "," => {
                if let Some(open) = self.open.last_mut() {
                    open.commas += 1;
                    open.argument = None;
                }
            }
            "=" => {
                let name = self.tokens.last().filter(|name| name.starts_with(is_word)).map(|name| name.to_string());
                if let (Some(open), Some(name)) = (self.open.last_mut(), name) {
                    open.named.push(name.clone());
                    open.argument = Some(name);
                }
            }
            "over" => {
                if let Some(open) = self.open.last_mut() {
                    open.over = true;
                }
            }
            _ => {}
        }
        self.tokens.push(token);
        self.places.push(at);
        // After the brackets of statements the next begins.
        if token == "}" && self.open.last().is_none_or(|b| b.kind == Kind::Block)
            || token == "{" && self.open.last().is_some_and(|b| b.kind == Kind::Block)
        {
            (self.before, self.start) = (self.start, self.tokens.len());
        }
    }

    fn open(&mut self, token: &str, at: usize) {
        let last = self.tokens.last().copied().unwrap_or("");
        let last_but = |n: usize| self.tokens.iter().rev().nth(n).copied().unwrap_or("");
        let kind = match token {
            "(" if last == "fn" || matches!(last_but(1), "fn" | "layer" | "method" | "kernel") => Kind::Params,
            "(" => Kind::Paren,
            "[" if matches!(last_but(1), ":" | "->") || last == ">" => Kind::Axes,
            "[" => Kind::Square,
            _ if last == "." => Kind::Names,
            _ if matches!(last, "=" | "(" | "[" | "," | ":" | "return" | "then" | "in" | "+" | "~") => Kind::Record,
            _ => Kind::Block,
        };
        self.open.push(Bracket {
            kind,
            at,
            callee: if kind == Kind::Paren { callee(&self.tokens) } else { Vec::new() },
            statement: self.tokens.get(self.start).copied().unwrap_or("").to_owned(),
            commas: 0,
            named: Vec::new(),
            argument: None,
            over: false,
        });
    }

    /// A closing bracket closes its partner, and what was forgotten inside.
    fn close(&mut self, token: &str) {
        let partner = |b: &Bracket| match token {
            ")" => matches!(b.kind, Kind::Paren | Kind::Params),
            "]" => matches!(b.kind, Kind::Square | Kind::Axes),
            _ => matches!(b.kind, Kind::Block | Kind::Record | Kind::Names),
        };
        if let Some(i) = self.open.iter().rposition(partner) {
            self.open.truncate(i);
        }
    }

    fn end(self, prefix: &str, at: usize) -> Context {
        let mut path = Vec::new();
        if let [before @ .., "."] = self.tokens.as_slice() {
            path = dotted(before);
            if path.is_empty() {
                path.push(String::new());
            }
        }
        Context {
            prose: false,
            open: self.open,
            prefix: prefix.to_owned(),
            path,
            before: self.tokens.last().map(|t| t.to_string()).unwrap_or_default(),
            line: self.tokens.get(self.start..).unwrap_or(&[]).iter().map(|t| t.to_string()).collect(),
            start: self.places.get(self.start).copied().unwrap_or(at),
        }
    }
}

/// Where the value begins that a text ends with: names, members, calls, lists.
pub fn value_start(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = text.len();
    while at > 0 {
        let last = bytes[at - 1];
        let depth = |b: u8| i32::from(b"([{".contains(&b)) - i32::from(b")]}".contains(&b));
        if b")]}".contains(&last) {
            let mut open = 0;
            let partner = (0..at).rev().find(|&i| {
                open += depth(bytes[i]);
                open == 0
            });
            match partner {
                Some(i) => at = i,
                None => return at,
            }
        } else if is_word(last as char) || last == b'.' || last == b'@' {
            at -= 1;
        } else {
            break;
        }
    }
    at
}

/// Where a word or a number that begins the text ends.
fn word_end(text: &str) -> usize {
    let end = |text: &str| text.find(|c| !is_word(c)).unwrap_or(text.len());
    let word = end(text);
    let fraction = text[word..].strip_prefix('.').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    match fraction {
        Some(rest) if text.starts_with(|c: char| c.is_ascii_digit()) => word + 1 + end(rest),
        _ => word,
    }
}

/// Where a string that begins the text ends; None if it does not on its line.
fn string_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(1) {
        match c {
            '\n' => return None,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(i + 1),
            _ => {}
        }
    }
    None
}

/// The names of what a `(` calls: `student.x0`, `linear@out`.
fn callee(tokens: &[&str]) -> Vec<String> {
    let scoped = tokens.len() >= 2 && tokens[tokens.len() - 2] == "@";
    dotted(if scoped { &tokens[..tokens.len() - 2] } else { tokens })
}

/// The names joined by dots that end the tokens.
fn dotted(tokens: &[&str]) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = tokens;
    while let [before @ .., name] = rest
        && name.starts_with(|c: char| c.is_alphabetic() || c == '_')
    {
        names.insert(0, name.to_string());
        match before {
            [before @ .., "."] => rest = before,
            _ => return names,
        }
    }
    // `f(x).` and the like: a base that is no name.
    Vec::new()
}

pub fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_calls_are_read_from_broken_text() {
        let c = Context::at_end_of("let a = student.schedule.t_m");
        assert_eq!((c.prefix.as_str(), c.path.join(".")), ("t_m", "student.schedule".into()));
        let c = Context::at_end_of("let a = f(x).");
        assert_eq!(c.path, [""]);
        assert_eq!(Context::at_end_of("for i in 0..st").path, Vec::<String>::new());
        let c = Context::at_end_of("loss l = mse(student.x0(y, [1, 2], c = n");
        let call = c.call().unwrap();
        assert_eq!((call.callee.join("."), call.commas), ("student.x0".into(), 2));
        assert_eq!(call.argument.as_deref(), Some("c"));
        let c = Context::at_end_of("f(a, (b + c), g(x), ");
        assert_eq!((c.call().unwrap().callee.join("."), c.call().unwrap().commas), ("f".into(), 3));
        assert!(Context::at_end_of("let a = \"abc").prose && Context::at_end_of("x // b").prose);
        assert!(!Context::at_end_of("let a = \"abc\"\n").prose);
        assert_eq!(Context::at_end_of("loss a = x -> st").before, "->");
        assert_eq!(Context::at_end_of("layer f(x) { linear@out(").call().unwrap().callee, ["linear"]);
    }

    #[test]
    fn values_begin_where_their_first_name_does() {
        let value = |text: &'static str| &text[value_start(text)..];
        assert_eq!(value("let a = b + f(x, [1])[0].c(d)"), "f(x, [1])[0].c(d)");
        assert_eq!(value("let a = [x, c]"), "[x, c]");
        assert_eq!(value("é x)"), "");
        assert_eq!(value("(a)"), "(a)");
    }

    #[test]
    fn statements_begin_where_they_can() {
        let line = |text: &str| Context::at_end_of(text).line.join(" ");
        assert_eq!(line("method m() {\n  let a = b\n  "), "");
        assert_eq!(line("method m() {\n  let a = b +\n  "), "let a = b +");
        assert_eq!(line("method m() {\n  loss a = b\n    -> "), "loss a = b ->");
        assert_eq!(line("method m() {\n  let a = f(b,\n  "), "let a = f ( b ,");
        assert_eq!(line("method m() {\n  let a = f(b\n  let c = "), "let c =");
        assert_eq!(line("fn f(x {\nfn g(y) { "), "");
        assert_eq!(line("step { loss a = b } "), "");
    }

    #[test]
    fn brackets_are_of_their_kinds() {
        let kinds = |text: &str| Context::at_end_of(text).open.iter().map(|b| b.kind).collect::<Vec<_>>();
        assert_eq!(kinds("method m(a: f32["), [Kind::Params, Kind::Axes]);
        assert_eq!(
            kinds("method m() { let a = [{b: (c[fn("),
            [Kind::Block, Kind::Square, Kind::Record, Kind::Paren, Kind::Square, Kind::Params]
        );
        assert_eq!(kinds("use std.loss.{vsd, "), [Kind::Names]);
        assert_eq!(kinds("method m(\n  a: int = 1 in {1, 2},\n) {\n  if a { } else {"), [Kind::Block, Kind::Block]);
        let c = Context::at_end_of("method m(\n  a: int = 1,\n) {\n  step {");
        assert_eq!((c.item(), c.open[1].statement.as_str()), (Some("method"), "step"));
        assert!(Context::at_end_of("let a = mean(x over ").call().unwrap().over);
    }
}
