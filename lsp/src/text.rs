//! A document's text: editors count lines and characters, the compiler counts bytes.

use fgc_grammar::Span;
use gen_lsp_types::{Position, Range};

/// What a position's character counts, as agreed with the editor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    Utf8,
    #[default]
    Utf16,
}

#[derive(Clone, Debug)]
pub struct Text {
    text: String,
    /// Byte at which each line starts.
    lines: Vec<usize>,
    encoding: Encoding,
}

impl Text {
    pub fn new(text: impl Into<String>, encoding: Encoding) -> Text {
        let text = text.into();
        Text { lines: line_starts(&text), text, encoding }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text of a line, without its end.
    fn line(&self, line: usize) -> &str {
        let Some(&start) = self.lines.get(line) else { return "" };
        let end = self.lines.get(line + 1).copied().unwrap_or(self.text.len());
        self.text[start..end].trim_end_matches(['\n', '\r'])
    }

    /// The byte at a position; past a line's end that end, past the last line the text's, inside a character its start.
    pub fn offset(&self, position: Position) -> usize {
        let line = position.line as usize;
        let Some(&start) = self.lines.get(line) else { return self.text.len() };
        let mut units = position.character as usize;
        let mut offset = start;
        for c in self.line(line).chars() {
            let width = self.width(c);
            if units < width {
                break;
            }
            units -= width;
            offset += c.len_utf8();
        }
        offset
    }

    /// The position of a byte; of one inside a character that character's.
    pub fn position(&self, offset: usize) -> Position {
        let offset = offset.min(self.text.len());
        let line = self.lines.partition_point(|&start| start <= offset).saturating_sub(1);
        let start = self.lines[line];
        let inside = self.text[start..].char_indices().take_while(|(i, c)| start + i + c.len_utf8() <= offset);
        let character: usize = inside.map(|(_, c)| self.width(c)).sum();
        Position { line: line as u32, character: character as u32 }
    }

    pub fn range(&self, span: Span) -> Range {
        Range { start: self.position(span.start), end: self.position(span.end.max(span.start)) }
    }

    /// Everything.
    pub fn full_range(&self) -> Range {
        self.range(Span::new(0, self.text.len()))
    }

    /// How many of the encoding's units a piece of the text is long.
    pub fn units(&self, piece: &str) -> u32 {
        piece.chars().map(|c| self.width(c)).sum::<usize>() as u32
    }

    /// Replaces a range, or everything.
    pub fn edit(&mut self, range: Option<Range>, new: &str) {
        match range {
            None => self.text = new.into(),
            Some(range) => {
                let start = self.offset(range.start);
                let end = self.offset(range.end).max(start);
                self.text.replace_range(start..end, new);
            }
        }
        self.lines = line_starts(&self.text);
    }

    /// Another text, its positions counted alike.
    pub fn same_units(&self, text: impl Into<String>) -> Text {
        Text::new(text, self.encoding)
    }

    pub fn line_count(&self) -> usize {
        self.lines.len()
    }

    fn width(&self, c: char) -> usize {
        match self.encoding {
            Encoding::Utf8 => c.len_utf8(),
            Encoding::Utf16 => c.len_utf16(),
        }
    }
}

/// Lines end with `\n`, `\r\n` or `\r`.
fn line_starts(text: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let ends = |&(i, &b): &(usize, &u8)| b == b'\n' || b == b'\r' && bytes.get(i + 1) != Some(&b'\n');
    std::iter::once(0).chain(bytes.iter().enumerate().filter(ends).map(|(i, _)| i + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoding() -> impl Strategy<Value = Encoding> {
        prop_oneof![Just(Encoding::Utf8), Just(Encoding::Utf16)]
    }

    /// Texts with characters of one to four bytes and all line ends.
    fn text() -> impl Strategy<Value = String> {
        prop::collection::vec(
            prop::sample::select(vec!["a", "_", "é", "ε", "→", "𝛼", "🙂", "\n", "\r\n", "\r", " "]),
            0..40,
        )
        .prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn positions_and_bytes_agree(text in text(), encoding in encoding()) {
            let t = Text::new(text.clone(), encoding);
            for (i, c) in text.char_indices() {
                // The end of a line, in the middle of `\r\n`, belongs to the line.
                if c == '\n' && text[..i].ends_with('\r') {
                    continue;
                }
                prop_assert_eq!(t.offset(t.position(i)), i);
            }
            prop_assert_eq!(t.offset(t.position(text.len())), text.len());
        }

        #[test]
        fn any_position_is_somewhere(text in text(), encoding in encoding(), line in 0u32..60, character in 0u32..60) {
            let t = Text::new(text.clone(), encoding);
            let offset = t.offset(Position { line, character });
            prop_assert!(text.is_char_boundary(offset));
            let back = t.position(offset);
            prop_assert!(back.line <= line && (back.line < line || back.character <= character));
        }

        #[test]
        fn edits_in_an_editors_units_are_edits_in_bytes(
            text in text(), encoding in encoding(), new in text(), a in 0usize..60, b in 0usize..60,
        ) {
            let mut t = Text::new(text.clone(), encoding);
            let at = |n: usize| t.offset(t.position(text.char_indices().nth(n).map_or(text.len(), |(i, _)| i)));
            let (start, end) = (at(a.min(b)), at(a.max(b)));
            let range = t.range(Span::new(start, end));
            let wanted = format!("{}{new}{}", &text[..start], &text[end..]);
            t.edit(Some(range), &new);
            prop_assert_eq!(t.as_str(), wanted);
        }
    }

    #[test]
    fn units_are_those_agreed_upon() {
        let of = |encoding| Text::new("é𝛼x\nε", encoding);
        assert_eq!(of(Encoding::Utf8).position(6), Position { line: 0, character: 6 });
        assert_eq!(of(Encoding::Utf16).position(6), Position { line: 0, character: 3 });
        assert_eq!(of(Encoding::Utf16).offset(Position { line: 0, character: 3 }), 6);
        assert_eq!(of(Encoding::Utf16).offset(Position { line: 0, character: 2 }), 2, "inside a pair: before it");
        assert_eq!(of(Encoding::Utf8).position(8), Position { line: 1, character: 0 });
    }
}
