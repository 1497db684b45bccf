//! `extern kernel` items.

use super::Printer;
use super::doc::{Doc, INDENT};
use crate::ast::*;

impl Printer<'_> {
    pub(super) fn external(&mut self, e: &Extern, docs: Vec<String>, item: &Item, indent: usize) {
        let results = e.results.first().map_or(e.file_span.start, |r| r.ty.span.start);
        let params = self.params(&e.params, results);
        let file = Doc::text(format!("from {}", &self.source[e.file_span.start..e.file_span.end]));
        let results = vec![Doc::Line, Doc::text("-> "), self.results(&e.results), Doc::group(vec![Doc::Line, file])];
        let head = vec![Doc::text(format!("extern kernel {}", e.name.text)), params, Doc::nest(results)];
        let moved = self.comments_before(e.file_span.end);
        self.head_lines(docs, moved, indent);
        let head = Doc::group(head);
        let ends = self.source[e.file_span.end..item.span.end].trim_end().ends_with('}');
        let commented = self.comments.get(self.next_comment).is_some_and(|c| c.span.start < item.span.end);
        if !ends || e.clauses.is_empty() && !commented {
            return self.line(&head, indent);
        }
        self.line(&Doc::Concat(vec![head, Doc::text(" {")]), indent);
        self.printed = None;
        for clause in &e.clauses {
            self.own_line_comments(clause.span.start, indent + INDENT);
            self.blank_line(clause.span.start);
            let moved = self.comments_before(clause.span.end);
            self.head_lines(Vec::new(), moved, indent + INDENT);
            let doc = self.bound(Doc::text(clause.name.text.clone()), &clause.value);
            self.line(&doc, indent + INDENT);
            self.printed = Some(clause.span.end);
            self.trailing_comment(clause.span.end);
        }
        self.own_line_comments(item.span.end, indent + INDENT);
        self.line(&Doc::text("}"), indent);
    }

    fn results(&self, results: &[ResultDecl]) -> Doc {
        let typed = |r: &ResultDecl| match &r.name {
            Some(name) => Doc::Concat(vec![Doc::text(format!("{}: ", name.text)), self.ty(&r.ty)]),
            None => self.ty(&r.ty),
        };
        if let [only] = results
            && only.name.is_none()
        {
            return self.ty(&only.ty);
        }
        let fields = Doc::comma_separated(results.iter().map(typed).collect());
        let inner = Doc::nest(vec![Doc::Line, fields, Doc::IfBroken(",")]);
        Doc::group(vec![Doc::text("{"), inner, Doc::Line, Doc::text("}")])
    }
}
