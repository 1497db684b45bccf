//! What to write instead, for the mistakes most often made: first the habits of Python, then ours.

use super::{KEYWORDS, Scene, starts_statement};
use crate::error::code;
use crate::lex::TokenKind;
use crate::parse::Rule;

/// Help, and a message where pest's would miss the point.
pub(crate) struct Cure {
    pub message: Option<String>,
    /// The token to point at, where that is not the one pest stopped at.
    pub at: Option<usize>,
    pub code: &'static str,
    pub help: String,
}

fn help(help: impl Into<String>) -> Option<Cure> {
    Some(Cure { message: None, at: None, code: code::UNEXPECTED, help: help.into() })
}

fn instead(code: &'static str, message: impl Into<String>, help: impl Into<String>) -> Option<Cure> {
    Some(Cure { message: Some(message.into()), at: None, code, help: help.into() })
}

impl Cure {
    fn at(self, token: usize) -> Option<Cure> {
        Some(Cure { at: Some(token), ..self })
    }
}

/// Words of other languages, as the first of a statement or item, or before what does not fit.
const FOREIGN: [(&str, &str); 18] = [
    ("def", "functions are written `fn name(x) = …` or `fn name(x) { … return y }`"),
    ("lambda", "functions without a name are written `fn(x) = …`"),
    ("import", "names of other modules are written `use std.loss.{vsd, cfg}`"),
    ("class", "a network is a `layer name(x) { … }`, a noise schedule a `schedule name { … }`"),
    ("elif", "write `else if`"),
    ("while", "loops are `for i in 0..n { … }`, or `scan` for those that run on the device"),
    ("const", "names are bound with `let`"),
    ("func", "functions are written `fn name(x) = …`"),
    ("function", "functions are written `fn name(x) = …`"),
    ("with", "there is no `with`; gradients are stopped by `stop(…)`"),
    ("try", "there are no exceptions"),
    ("raise", "there are no exceptions"),
    ("assert", "there is no `assert`; give a parameter its range: `x: f64 in 0..1`"),
    ("pass", "an empty block is `{}`"),
    ("print", "a value is shown by `metric name = …`"),
    ("global", "what is kept between iterations is `state name = …`"),
    ("yield", "a function gives its value with `return`"),
    ("del", "there is nothing to delete: memory is the compiler's business"),
];

pub(crate) fn of(s: &Scene) -> Option<Cure> {
    foreign_word(s).or_else(|| sign(s)).or_else(|| neighbour(s)).or_else(|| statement(s))
}

/// Token before the region, on its line, if the error is at the region's start: the value there goes on, wrongly.
fn before_region(s: &Scene) -> Option<usize> {
    let i = s.first.checked_sub(1).filter(|_| s.found <= s.first + 1 && s.same_line(s.first))?;
    let value = matches!(
        s.kind(i),
        Some(TokenKind::Word | TokenKind::Number | TokenKind::StrEnd | TokenKind::Close(b')' | b']'))
    );
    value.then_some(i)
}

fn foreign_word(s: &Scene) -> Option<Cure> {
    let (first, second) = (s.text(s.first), s.text(s.first + 1));
    let lone =
        matches!(s.kind(s.first + 1), Some(TokenKind::Word | TokenKind::StrStart)) || matches!(second, "(" | ":");
    let at_first = lone || s.found == s.first;
    let candidates = [
        before_region(s),
        Some(s.first).filter(|_| at_first),
        s.found.checked_sub(1).filter(|&i| i >= s.first),
        Some(s.found),
    ];
    for i in candidates.into_iter().flatten() {
        if let Some((word, advice)) = FOREIGN.iter().find(|(word, _)| s.text(i) == *word) {
            return instead(code::FOREIGN, format!("there is no `{word}`"), *advice)?.at(i);
        }
    }
    if first == "from" && s.kind(s.first + 1) == Some(TokenKind::Word) && s.found <= s.first + 1 {
        let advice = "names of other modules are written `use std.loss.{vsd, cfg}`";
        return instead(code::FOREIGN, "there is no `from … import`", advice)?.at(s.first);
    }
    None
}

/// By what was found, and what could have been.
fn sign(s: &Scene) -> Option<Cure> {
    let (first, second, found) = (s.text(s.first), s.text(s.first + 1), s.text(s.found));
    let before = match s.found > s.first {
        true => s.text(s.found - 1),
        false => "",
    };
    if matches!(before, "f" | "r" | "b") && s.kind(s.found) == Some(TokenKind::StrStart) {
        return help(format!("drop the `{before}`: every string may hold `{{expressions}}`"));
    }
    match found {
        ":" if s.expects("`{`") || first == "else" => return help("a block is written `{ … }`, without `:`"),
        ":" if s.expects("`then`") => return help("write `if c then a else b`, or as a statement `if c { … }`"),
        "-=" | "*=" | "/=" if s.found == s.first + 1 => {
            return help(format!("write `{first} = {first} {} …`", &found[..1]));
        }
        ":" if s.expects("`)`") => return help("arguments are named with `=`: `f(x, steps = 2)`"),
        ":=" => return help("write `=`"),
        "?" => return help("write `if c then a else b`"),
        "~" if s.expects("`=`") && matches!(first, "let" | "var") => {
            return help(format!("what is random is drawn: `draw {before} ~ …`"));
        }
        "," if first == "draw" && s.expects("`~`") => {
            return help("each draw has a law of its own: `draw z ~ normal(x), eps ~ normal(x)`");
        }
        "=" if first == "draw" && s.expects("`~`") => {
            return help(format!("a draw has a law: `draw {before} ~ normal(x)`; values are bound with `let`"));
        }
        "=" if s.expects("`{`") || s.expects("`then`") || s.expects("`)`") => {
            return help("equality is written `==`");
        }
        ":" | ".." if before == "[" || s.expects("`]`") => {
            return help("axes have names: `take(x, C, 0)` is one entry, `slice(x, C, 0, 4)` the first four");
        }
        "==" if s.expects("`=`") => return help("a name is bound by `=`; `==` compares"),
        "=" | "+=" if second == "(" || second == "[" || second == "." => {
            return help("only a variable can be assigned; a function starts with `fn`");
        }
        ">" if before == "=" => return help("write `=`, without `>`"),
        "for" if s.expects("`]`") || s.expects("`)`") => return help("write `map(fn(x) = …, values)`"),
        "if" if s.expects("`]`") || s.expects("`)`") || s.expects("`,`") => {
            return help("write `if c then a else b`");
        }
        "{" if s.expects("`then`") => return help("as a value, `if` is written `if c then a else b`"),
        "then" if s.expects("`{`") => return help("as a statement, `if` is written `if c { … } else { … }`"),
        "else" if first == "if" && s.expects("`{`") => {
            return help("a choice between values is written `if c then a else b`");
        }
        _ => {}
    }
    if s.expects("`else`") {
        return help("as a value, `if` has both branches: `if c then a else b`");
    }
    if s.expects("a field") && s.kind(s.found) == Some(TokenKind::StrStart) {
        return help("field names are written without quotes: `{ out: x }`");
    }
    if matches!(first, "fn" | "layer" | "method") && s.found == s.first + 2 {
        return help(format!("write `{first} {before}(x)`, with the parameters in parentheses"));
    }
    if s.rule == Rule::strict_param && KEYWORDS.contains(&first) && s.found == s.first + 1 {
        return instead(code::KEYWORD, format!("`{first}` is a keyword"), "choose another name")?.at(s.first);
    }
    let starts_value = matches!(s.kind(s.found), Some(TokenKind::Word | TokenKind::Number | TokenKind::StrStart));
    if starts_value && s.expects("`,`") {
        return help("is a comma or an operator missing before it?");
    }
    None
}

/// Two values side by side.
fn neighbour(s: &Scene) -> Option<Cure> {
    let i = before_region(s)?;
    let first = s.text(s.first);
    if s.kind(s.first) != Some(TokenKind::Word) || s.rule == Rule::stmt && starts_statement(first) {
        return None;
    }
    let net = s.tokens[..s.first].iter().rposition(|t| s.source[t.span.start..t.span.end] == *"net");
    if net.is_some_and(|net| (net + 1..=s.first).all(|i| s.same_line(i))) {
        return help("a network's attributes are `frozen`, `from name`, or calls such as `adamw(lr = 1e-4)`");
    }
    let message = format!("`{first}` cannot follow `{}`", s.text(i));
    instead(code::UNEXPECTED, message, "is an operator, a comma or a new line missing?")?.at(s.first)
}

fn statement(s: &Scene) -> Option<Cure> {
    let (first, second, found) = (s.text(s.first), s.text(s.first + 1), s.text(s.found));
    if s.rule != Rule::stmt {
        return None;
    }
    if first == "loss" && s.expects("`->`") {
        return help("name them: `loss name = … -> student`");
    }
    if first == "loss" && s.found <= s.first + 2 {
        return help("a loss has a name: `loss name = … -> student`");
    }
    if found == "->" && first != "fn" {
        return instead(code::UNEXPECTED, "`->` follows only a loss", "a loss has a name: `loss name = … -> student`");
    }
    if found == "," && s.expected == ["an operator"] {
        return help("several values are a list, `[a, b]`, or a record, `{ a, b }`");
    }
    if first == "metric" && s.found <= s.first + 2 {
        return help("a metric has a name: `metric name = …`");
    }
    if first == "net" && s.expects("`=`") {
        return help("a network is written `net name = denoiser() adamw(lr = 1e-4)`");
    }
    if first == "step" && s.found > s.first + 1 {
        let every = (s.first + 1..s.found).find(|&i| s.text(i) == "every" && s.text(i + 1) == "{");
        if let Some(every) = every {
            let advice = "write `step every 5 { … }`, or `step { … }` for every iteration";
            return instead(code::UNEXPECTED, "expected a number of iterations after this", advice)?.at(every);
        }
    }
    if first == "step" && s.expects("`every`") {
        return help("a step is written `step { … }`, `step every 5 { … }` or `step otherwise { … }`");
    }
    if first == "param" && s.expects("`:`") {
        return help("a parameter has a type: `param weight: f32[O = 8, C = 4] ~ uniform_init(0.1)`");
    }
    if first == "scan" && s.expects("`carry`") {
        return help("name the variable that goes from row to row: `scan t in rows carry x { … }`");
    }
    if first == "for" && s.expects("`in`") {
        return help("a loop is written `for i in 0..n { … }`");
    }
    no_keyword(s, first, second)
}

/// Statements that start with no keyword.
fn no_keyword(s: &Scene, first: &str, second: &str) -> Option<Cure> {
    let named = s.kind(s.first) == Some(TokenKind::Word) && !KEYWORDS.contains(&first);
    if !named || !s.expects("`=` or `+=`") {
        return None;
    }
    match second {
        ":" => help(format!("bind it with `let {first}: …`")),
        "(" | "." | "[" | "@" => {
            let advice = "bind it with `let name = …`, give it back with `return`, or show it with `metric name = …`";
            instead(code::UNEXPECTED, "a value alone is not a statement", advice)
        }
        "}" => help(format!(
            "a function gives its value back with `return {first}`; other statements start with a keyword"
        )),
        _ => help("a statement starts with a keyword, or is `name = …`"),
    }
}
