//! Which lines of a file a diagnostic shows.

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

/// A file's text under its name. Labels far from each other get a snippet each: miette joins snippets by their
/// `line_count`, and its own sources count from the top of the file, so that all lines between any two labels would show.
pub struct Snippets {
    pub name: String,
    pub text: String,
}

impl SourceCode for Snippets {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let read = self.text.read_span(span, lines_before, lines_after)?;
        let lines = read.data().split_inclusive(|&byte| byte == b'\n').count();
        let contents = MietteSpanContents::new_named(
            self.name.clone(),
            read.data(),
            *read.span(),
            read.line(),
            read.column(),
            lines,
        );
        Ok(Box::new(contents))
    }
}
