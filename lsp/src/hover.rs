//! Hovers: what a name is, with its axes, and what its author wrote about it.

use crate::analysis::Analysis;
use gen_lsp_types::{Hover, MarkupContent, MarkupKind, Position};

pub fn hover(analysis: &Analysis, position: Position) -> Option<Hover> {
    let (description, span) = analysis.describe(analysis.text.offset(position))?;
    let content = MarkupContent { kind: MarkupKind::Markdown, value: description.markdown() };
    Some(Hover { contents: content.into(), range: Some(analysis.text.range(span)) })
}
