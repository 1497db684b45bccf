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
    /// The words since the statement's first line began.
    pub line: Vec<String>,
}

/// An open bracket.
#[derive(Clone, Debug, PartialEq)]
pub struct Bracket {
    pub kind: char,
    pub at: usize,
    /// The names before it, for a call: `["student", "x0"]`.
    pub callee: Vec<String>,
    /// Commas so far.
    pub commas: usize,
    /// Names of arguments given so far.
    pub named: Vec<String>,
    /// The name of the argument being written.
    pub argument: Option<String>,
}

impl Context {
    /// The context at the end of `text`.
    pub fn at_end_of(text: &str) -> Context {
        let mut context = Context::default();
        let mut tokens: Vec<(usize, &str)> = Vec::new();
        let mut line_start = 0;
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let at = text.len() - rest.len();
            let length = if rest.starts_with("//") {
                let end = rest.find('\n');
                context.prose = end.is_none();
                end.unwrap_or(rest.len())
            } else if c == '"' {
                let end = string_end(rest);
                context.prose = end.is_none();
                end.unwrap_or(rest.len())
            } else if is_word(c) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else {
                c.len_utf8()
            };
            let token = &rest[..length];
            rest = &rest[length..];
            if context.prose {
                return context;
            }
            match c {
                '\n' => line_start = tokens.len(),
                _ if c.is_whitespace() || token.starts_with("//") => {}
                '(' | '[' | '{' => {
                    let callee = if c == '(' { callee(&tokens) } else { Vec::new() };
                    let (commas, named) = (0, Vec::new());
                    context.open.push(Bracket { kind: c, at, callee, commas, named, argument: None });
                    tokens.push((at, token));
                    if c == '{' {
                        line_start = tokens.len();
                    }
                }
                ')' | ']' | '}' => {
                    let opening = match c {
                        ')' => '(',
                        ']' => '[',
                        _ => '{',
                    };
                    // A closing bracket closes its partner, and what was forgotten inside.
                    if let Some(i) = context.open.iter().rposition(|b| b.kind == opening) {
                        context.open.truncate(i);
                    }
                    tokens.push((at, token));
                    if c == '}' {
                        line_start = tokens.len();
                    }
                }
                ',' | '=' => {
                    if let Some(open) = context.open.last_mut() {
                        match (c, tokens.last()) {
                            (',', _) => {
                                open.commas += 1;
                                open.argument = None;
                            }
                            (_, Some((_, name))) if name.starts_with(is_word) => {
                                open.named.push(name.to_string());
                                open.argument = Some(name.to_string());
                            }
                            _ => {}
                        }
                    }
                    tokens.push((at, token));
                }
                _ => tokens.push((at, token)),
            }
        }
        let ends_in_word = text.chars().next_back().is_some_and(is_word);
        if ends_in_word && let Some((_, prefix)) = tokens.pop() {
            context.prefix = prefix.to_owned();
        }
        if tokens.last().is_some_and(|(_, t)| *t == ".") {
            context.path = dotted(&tokens[..tokens.len() - 1]);
            if context.path.is_empty() {
                context.path.push(String::new());
            }
        }
        context.before = tokens.last().map(|(_, t)| t.to_string()).unwrap_or_default();
        if context.before == ">" && tokens.iter().rev().nth(1).is_some_and(|(_, t)| *t == "-") {
            context.before = "->".into();
        }
        let line = tokens.get(line_start..).unwrap_or(&[]);
        context.line = line.iter().map(|(_, t)| t.to_string()).collect();
        context
    }

    /// The call whose arguments are being written.
    pub fn call(&self) -> Option<&Bracket> {
        // Through lists and groups to the call around them, not out of a block.
        let inside = self.open.iter().rev().take_while(|b| b.kind != '{');
        inside.into_iter().find(|b| b.kind == '(' && !b.callee.is_empty())
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
fn callee(tokens: &[(usize, &str)]) -> Vec<String> {
    let scoped = tokens.len() >= 2 && tokens[tokens.len() - 2].1 == "@";
    dotted(if scoped { &tokens[..tokens.len() - 2] } else { tokens })
}

/// The names joined by dots that end the tokens.
fn dotted(tokens: &[(usize, &str)]) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = tokens;
    while let [before @ .., (_, name)] = rest
        && name.starts_with(|c: char| c.is_alphabetic() || c == '_')
    {
        names.insert(0, name.to_string());
        match before {
            [before @ .., (_, ".")] => rest = before,
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
}
