//! Parameter lists and types.

use super::Printer;
use super::doc::{Doc, INDENT, WIDTH};
use crate::ast::*;

/// Parameters that stand on one line of the source.
#[derive(Default)]
struct Row {
    /// Above it, in this order.
    comments: Vec<String>,
    docs: Vec<String>,
    params: Vec<Doc>,
    trailing: Option<String>,
}

impl Row {
    /// As few lines as hold it, `, ` between the parameters of one.
    fn lines(self) -> Vec<Doc> {
        let mut lines: Vec<Vec<Doc>> = Vec::new();
        let mut used = WIDTH;
        for param in self.params {
            let width = param.flat_width().unwrap_or(WIDTH) + 2;
            if used + width + 2 * INDENT > WIDTH {
                lines.push(Vec::new());
                used = 0;
            }
            used += width;
            if let Some(line) = lines.last_mut() {
                if !line.is_empty() {
                    line.push(Doc::text(", "));
                }
                line.push(param);
            }
        }
        lines.into_iter().map(Doc::Concat).collect()
    }
}

impl Printer<'_> {
    /// A parenthesised list whose body starts at `end` of the source. On one line if it fits and has neither docs nor
    /// comments; else a line each if the source has it on one line, and in the lines of the source if it has more.
    pub(super) fn params(&mut self, params: &[ParamDecl], end: usize) -> Doc {
        let rows = self.rows(params, end);
        let below = self.comment_texts(end);
        if rows.is_empty() && below.is_empty() {
            return Doc::text("()");
        }
        let plain = rows.iter().all(|r| r.comments.is_empty() && r.docs.is_empty() && r.trailing.is_none());
        if plain && below.is_empty() {
            let single = rows.len() == 1;
            let lines = rows.into_iter().flat_map(|row| if single { row.params } else { row.lines() });
            let lines = Doc::comma_separated(lines.collect());
            let inner = Doc::nest(vec![Doc::Soft, lines, Doc::IfBroken(",")]);
            return Doc::group(vec![Doc::text("("), inner, Doc::Soft, Doc::text(")")]);
        }
        let mut inner = Vec::new();
        for mut row in rows {
            for line in row.comments.drain(..).chain(row.docs.drain(..)) {
                inner.extend([Doc::Hard, Doc::text(line)]);
            }
            let trailing = row.trailing.take();
            for line in row.lines() {
                inner.extend([Doc::Hard, line, Doc::text(",")]);
            }
            inner.extend(trailing.map(|t| Doc::text(format!(" {t}"))));
        }
        for line in below {
            inner.extend([Doc::Hard, Doc::text(line)]);
        }
        Doc::Concat(vec![Doc::text("("), Doc::nest(inner), Doc::Hard, Doc::text(")")])
    }

    fn rows(&mut self, params: &[ParamDecl], end: usize) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        for (i, param) in params.iter().enumerate() {
            let (docs, _) = self.docs(param.span.start);
            let before = self.comment_texts(param.span.start);
            let goes_on = i > 0
                && before.is_empty()
                && docs.is_empty()
                && rows.last().is_some_and(|r| r.trailing.is_none())
                && !self.source[params[i - 1].span.end..param.span.start].contains('\n');
            if !goes_on {
                rows.push(Row { comments: before, docs, ..Row::default() });
            }
            let printed = self.param(param);
            let inside = self.comment_texts(param.span.end);
            let next = params.get(i + 1).map_or(end, |p| p.span.start);
            let after = self.comments.get(self.next_comment).filter(|c| c.span.start < next);
            let after = after.filter(|c| !self.source[param.span.end..c.span.start].contains('\n'));
            let Some(row) = rows.last_mut() else { continue };
            row.params.push(printed);
            row.comments.extend(inside);
            if let Some(comment) = after {
                self.next_comment += 1;
                row.trailing = Some(self.comment_text(comment));
            }
        }
        rows
    }

    fn comment_texts(&mut self, end: usize) -> Vec<String> {
        self.comments_before(end).iter().map(|c| self.comment_text(c)).collect()
    }

    pub(super) fn param(&self, param: &ParamDecl) -> Doc {
        let mut parts = vec![Doc::text(param.name.text.clone())];
        if let Some(ty) = &param.ty {
            parts.extend([Doc::text(": "), self.ty(ty)]);
        }
        if let Some(default) = &param.default {
            parts.extend([Doc::text(" = "), self.expr(default)]);
        }
        match &param.range {
            Some(RangeDecl::Interval { lo, hi }) => {
                parts.push(Doc::text(" in "));
                parts.extend(lo.as_ref().map(|e| self.expr(e)));
                parts.push(Doc::text(".."));
                parts.extend(hi.as_ref().map(|e| self.expr(e)));
            }
            Some(RangeDecl::OneOf(values)) => {
                let values = values.iter().map(|e| self.expr(e)).collect();
                parts.push(Doc::group(vec![
                    Doc::text(" in {"),
                    Doc::nest(vec![Doc::Soft, Doc::Fill(values), Doc::IfBroken(",")]),
                    Doc::Soft,
                    Doc::text("}"),
                ]));
            }
            None => {}
        }
        Doc::Concat(parts)
    }

    pub(super) fn ty(&self, ty: &Type) -> Doc {
        let mut parts = Vec::new();
        let axes = match &ty.kind {
            TypeKind::Tensor { dtype, axes } => {
                parts.push(Doc::text(dtype.clone()));
                axes
            }
            TypeKind::Time { schedule, axes } => {
                let clock = schedule.as_ref().map_or(String::new(), |s| format!("<{}>", s.text));
                parts.push(Doc::text(format!("time{clock}")));
                axes
            }
            TypeKind::Named(name) => {
                parts.push(Doc::text(name.text.clone()));
                &None
            }
        };
        if let Some(axes) = axes {
            parts.push(Doc::text("["));
            for (i, axis) in axes.iter().enumerate() {
                if i > 0 {
                    parts.push(Doc::text(", "));
                }
                match axis {
                    AxisDecl::Rest { .. } => parts.push(Doc::text("..")),
                    AxisDecl::Axis { name, extent } => {
                        parts.push(Doc::text(name.text.clone()));
                        if let Some(extent) = extent {
                            parts.extend([Doc::text(" = "), self.expr(extent)]);
                        }
                    }
                }
            }
            parts.push(Doc::text("]"));
        }
        if ty.optional {
            parts.push(Doc::text("?"));
        }
        Doc::Concat(parts)
    }
}
