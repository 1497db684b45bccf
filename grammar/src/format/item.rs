//! Files and items.

use super::doc::{Doc, INDENT};
use super::{Printer, doc_line};
use crate::ast::*;
use crate::lex::TokenKind;

impl Printer<'_> {
    pub(super) fn file(&mut self, file: &File) {
        let source = self.source;
        let module = self.tokens.iter().take_while(|t| t.kind == TokenKind::Doc);
        for token in module.filter(|t| source[t.span.start..].starts_with("//!")) {
            self.own_line_comments(token.span.start, 0);
            self.blank_line(token.span.start);
            let text = doc_line("//!", &source[token.span.start + 3..token.span.end]);
            self.line(&Doc::text(text), 0);
            self.printed = Some(token.span.end);
        }
        self.items(&file.items, 0);
        self.own_line_comments(source.len(), 0);
    }

    fn items(&mut self, items: &[Item], indent: usize) {
        for item in items {
            self.item(item, indent);
        }
    }

    fn item(&mut self, item: &Item, indent: usize) {
        let (docs, start) = self.docs(item.span.start);
        self.own_line_comments(start, indent);
        self.blank_line(start);
        let name = |n: &Name| Doc::text(n.text.clone());
        match &item.kind {
            ItemKind::Use { path, names } => {
                let mut parts = vec![Doc::text("use ")];
                let path: Vec<&str> = path.iter().map(|n| n.text.as_str()).collect();
                parts.push(Doc::text(path.join(".")));
                if !names.is_empty() {
                    let names = Doc::Fill(names.iter().map(name).collect());
                    parts.push(Doc::text(".{"));
                    parts.push(Doc::nest(vec![Doc::Soft, names, Doc::IfBroken(",")]));
                    parts.push(Doc::Soft);
                    parts.push(Doc::text("}"));
                }
                self.hoisted_line(docs, item, Doc::group(parts), indent);
            }
            ItemKind::Let { name, ty, value } => {
                let head = self.binding("let ", &name.text, ty.as_ref());
                let doc = self.bound(head, value);
                self.hoisted_line(docs, item, doc, indent);
            }
            ItemKind::Fn(function) => self.function("fn ", function, docs, item, indent),
            ItemKind::Layer(function) => self.function("layer ", function, docs, item, indent),
            ItemKind::Schedule { name, members } => {
                let open = members.first().map_or(item.span.end, |m| self.docs(m.span.start).1);
                let before = self.comments_before(open.min(item.span.start + 1));
                self.head_lines(docs, before, indent);
                self.line(&Doc::text(format!("schedule {} {{", name.text)), indent);
                self.printed = None;
                self.items(members, indent + INDENT);
                self.own_line_comments(item.span.end, indent + INDENT);
                self.line(&Doc::text("}"), indent);
            }
            ItemKind::Method { name, params, body } => {
                let params = self.params(params, body.span.start);
                let head = Doc::Concat(vec![Doc::text(format!("method {}", name.text)), params]);
                self.head_lines(docs, &[], indent);
                self.with_block(head, body, indent);
            }
            ItemKind::Extern(external) => self.external(external, docs, item, indent),
            ItemKind::Error => {}
        }
        self.printed = Some(item.span.end);
        self.trailing_comment(item.span.end);
    }

    /// Comments moved up, then doc lines.
    pub(super) fn head_lines(&mut self, docs: Vec<String>, moved: &[Comment], indent: usize) {
        for comment in moved {
            let text = self.comment_text(comment);
            self.line(&Doc::text(text), indent);
        }
        for line in docs {
            self.line(&Doc::text(line), indent);
        }
    }

    fn hoisted_line(&mut self, docs: Vec<String>, item: &Item, doc: Doc, indent: usize) {
        let moved = self.comments_before(item.span.end);
        self.head_lines(docs, moved, indent);
        self.line(&doc, indent);
    }

    fn function(&mut self, word: &str, f: &Function, docs: Vec<String>, item: &Item, indent: usize) {
        let end = match &f.body {
            Body::Expr(e) => e.span.start,
            Body::Block(b) => b.span.start,
        };
        let params = self.params(&f.params, end);
        let mut head = vec![Doc::text(format!("{word}{}", f.name.text)), params];
        if let Some(result) = &f.result {
            head.push(Doc::text(" -> "));
            head.push(self.ty(result));
        }
        match &f.body {
            Body::Expr(value) => {
                let doc = self.bound(Doc::Concat(head), value);
                self.hoisted_line(docs, item, doc, indent);
            }
            Body::Block(body) => {
                self.head_lines(docs, &[], indent);
                self.with_block(Doc::Concat(head), body, indent);
            }
        }
    }
}
