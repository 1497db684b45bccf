//! Formatting, as one edit of the lines that change.

use crate::text::Text;
use fgc_grammar::Span;
use gen_lsp_types::TextEdit;

/// The edits that bring a file into the one style: none where it is, or where it cannot be read.
pub fn format(text: &Text) -> Option<Vec<TextEdit>> {
    let old = text.as_str();
    let new = fgc_grammar::format(old).ok()?;
    if new == old {
        return Some(Vec::new());
    }
    // Whole lines that are the same at both ends stay: the cursor and the folds there do, too.
    let head = common(old.split_inclusive('\n'), new.split_inclusive('\n'), old.len().min(new.len()));
    let room = old.len().min(new.len()) - head;
    let tail = common(old.split_inclusive('\n').rev(), new.split_inclusive('\n').rev(), room);
    let range = text.range(Span::new(head, old.len() - tail));
    Some(vec![TextEdit { range, new_text: new[head..new.len() - tail].to_owned() }])
}

/// Length of the lines that two texts share at one end, at most `room`.
fn common<'a>(a: impl Iterator<Item = &'a str>, b: impl Iterator<Item = &'a str>, room: usize) -> usize {
    let mut length = 0;
    for (x, y) in a.zip(b) {
        if x != y || length + x.len() > room {
            break;
        }
        length += x.len();
    }
    length
}
