//! Layout: documents with the places where lines may break, printed within a width (after Wadler's "A prettier
//! printer").

/// Longest line, in characters.
pub const WIDTH: usize = 120;
/// Blanks a level.
pub const INDENT: usize = 2;

#[derive(Clone, Debug)]
pub enum Doc {
    Text(String),
    /// A blank, or a new line where its group is broken.
    Line,
    /// Nothing, or a new line where its group is broken.
    Soft,
    /// A new line; its groups are broken.
    Hard,
    /// Only where its group is broken.
    IfBroken(&'static str),
    Concat(Vec<Doc>),
    /// On one line if it fits.
    Group(Box<Doc>),
    /// Indented by one level after new lines.
    Nest(Box<Doc>),
    /// A value after `=`: on this line if it fits, else on one of its own if it fits there, else (`below` or not) there
    /// or here, broken inside.
    Hang {
        value: Box<Doc>,
        below: bool,
    },
    /// As many on a line as fit, separated by commas.
    Fill(Vec<Doc>),
}

impl Doc {
    pub fn text(text: impl Into<String>) -> Doc {
        Doc::Text(text.into())
    }

    pub fn group(parts: Vec<Doc>) -> Doc {
        Doc::Group(Box::new(Doc::Concat(parts)))
    }

    pub fn nest(parts: Vec<Doc>) -> Doc {
        Doc::Nest(Box::new(Doc::Concat(parts)))
    }

    /// `items` with `, ` between them.
    pub fn comma_separated(items: Vec<Doc>) -> Doc {
        let mut parts = Vec::new();
        for (i, item) in items.into_iter().enumerate() {
            if i > 0 {
                parts.push(Doc::text(","));
                parts.push(Doc::Line);
            }
            parts.push(item);
        }
        Doc::Concat(parts)
    }

    /// Characters on one line; None if it has a `Hard`.
    pub fn flat_width(&self) -> Option<usize> {
        match self {
            Doc::Text(text) => Some(text.chars().count()),
            Doc::Line => Some(1),
            Doc::Hang { value, .. } => value.flat_width().map(|w| w + 1),
            Doc::Soft | Doc::IfBroken(_) => Some(0),
            Doc::Hard => None,
            Doc::Concat(parts) => parts.iter().map(Doc::flat_width).sum(),
            Doc::Group(inner) | Doc::Nest(inner) => inner.flat_width(),
            Doc::Fill(items) => {
                let widths: Option<usize> = items.iter().map(Doc::flat_width).sum();
                widths.map(|w| w + 2 * items.len().saturating_sub(1))
            }
        }
    }
}

/// Appends `doc` to `out`, whose last line is `column` characters long; new lines are indented from `indent`.
pub fn render(doc: &Doc, indent: usize, column: usize, out: &mut String) {
    let mut column = column;
    let mut stack = vec![(indent, false, doc)];
    while let Some((indent, flat, doc)) = stack.pop() {
        match doc {
            Doc::Text(text) => {
                out.push_str(text);
                column += text.chars().count();
            }
            Doc::Line if flat => {
                out.push(' ');
                column += 1;
            }
            Doc::Soft if flat => {}
            Doc::Line | Doc::Soft | Doc::Hard => {
                new_line(indent, out);
                column = indent;
            }
            Doc::IfBroken(text) if !flat => {
                out.push_str(text);
                column += text.len();
            }
            Doc::IfBroken(_) => {}
            Doc::Concat(parts) => stack.extend(parts.iter().rev().map(|p| (indent, flat, p))),
            Doc::Nest(inner) => stack.push((indent + INDENT, flat, inner)),
            Doc::Group(inner) => {
                let flat = flat || fits(inner, WIDTH.saturating_sub(column), &stack);
                stack.push((indent, flat, inner));
            }
            Doc::Hang { value, below } => {
                let room = WIDTH.saturating_sub(column + 1);
                let next = indent + INDENT;
                let here = flat || fits(value, room, &stack);
                if here || !(*below || fits(value, WIDTH.saturating_sub(next), &stack)) {
                    out.push(' ');
                    column += 1;
                    stack.push((indent, here, value));
                } else {
                    new_line(next, out);
                    column = next;
                    stack.push((next, false, value));
                }
            }
            Doc::Fill(items) => {
                for (i, item) in items.iter().enumerate() {
                    let width = item.flat_width().unwrap_or(0);
                    if i > 0 && !flat && column + width + 2 > WIDTH {
                        new_line(indent, out);
                        column = indent;
                    } else if i > 0 {
                        out.push(' ');
                        column += 1;
                    }
                    let before = out.len();
                    render(item, indent, column, out);
                    column = match out[before..].rfind('\n') {
                        Some(n) => out[before + n + 1..].chars().count(),
                        None => column + out[before..].chars().count(),
                    };
                    if i + 1 < items.len() {
                        out.push(',');
                        column += 1;
                    }
                }
            }
        }
    }
}

fn new_line(indent: usize, out: &mut String) {
    out.truncate(out.trim_end_matches(' ').len());
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', indent));
}

/// Whether `doc` on one line, with what follows it up to the next possible break, is at most `room` long.
fn fits(doc: &Doc, room: usize, rest: &[(usize, bool, &Doc)]) -> bool {
    let Some(width) = doc.flat_width() else { return false };
    let mut used = width;
    let mut following: Vec<(bool, &Doc)> = Vec::new();
    let mut rest = rest.iter().rev();
    while used <= room {
        let (flat, next) = match following.pop() {
            Some(next) => next,
            None => match rest.next() {
                Some(&(_, flat, next)) => (flat, next),
                None => return true,
            },
        };
        match next {
            Doc::Text(text) => used += text.chars().count(),
            Doc::Line | Doc::Soft | Doc::Hard if !flat => return true,
            Doc::Line => used += 1,
            Doc::Soft | Doc::Hard | Doc::Fill(_) => {}
            Doc::Hang { value, .. } => following.push((flat, value)),
            Doc::IfBroken(text) => used += if flat { 0 } else { text.len() },
            Doc::Concat(parts) => following.extend(parts.iter().rev().map(|p| (flat, p))),
            // A later group may break at its first opportunity.
            Doc::Group(inner) | Doc::Nest(inner) => following.push((flat, inner)),
        }
    }
    false
}
