//! Blocks and statements.

use super::Printer;
use super::doc::{Doc, INDENT, WIDTH};
use crate::ast::*;
use crate::message::starts_statement;

/// A statement with blocks, apart.
enum Part<'t> {
    Head(Doc),
    Block(&'t Block),
}

impl Printer<'_> {
    /// `head {`, the statements, `}`.
    pub(super) fn with_block(&mut self, head: Doc, block: &Block, indent: usize) {
        let head = Doc::Concat(vec![head, Doc::text(" ")]);
        self.pieces(vec![Part::Head(head), Part::Block(block)], indent);
    }

    fn pieces(&mut self, parts: Vec<Part>, indent: usize) {
        self.out.extend(std::iter::repeat_n(' ', indent));
        let mut column = indent;
        for part in parts {
            match part {
                Part::Head(doc) => super::render(&doc, indent, column, &mut self.out),
                Part::Block(block) => self.block(block, indent),
            }
            let line = self.out.rfind('\n').map_or(0, |n| n + 1);
            column = self.out[line..].chars().count();
        }
        self.out.push('\n');
    }

    /// From `{` to `}`.
    fn block(&mut self, block: &Block, indent: usize) {
        let commented = self.comments.get(self.next_comment).is_some_and(|c| c.span.start < block.span.end);
        if block.stmts.is_empty() && !commented {
            return self.out.push_str("{}");
        }
        self.out.push_str("{\n");
        self.printed = None;
        for stmt in &block.stmts {
            self.stmt(stmt, indent + INDENT);
        }
        self.own_line_comments(block.span.end, indent + INDENT);
        self.out.extend(std::iter::repeat_n(' ', indent));
        self.out.push('}');
    }

    fn stmt(&mut self, stmt: &Stmt, indent: usize) {
        let (docs, start) = self.docs(stmt.span.start);
        self.own_line_comments(start, indent);
        self.blank_line(start);
        let simple = self.simple(&stmt.kind);
        let head_end = match (&simple, &stmt.kind) {
            (Some(_), _) => stmt.span.end,
            (
                None,
                StmtKind::If { then: body, .. }
                | StmtKind::For { body, .. }
                | StmtKind::Scan { body, .. }
                | StmtKind::Step { body, .. },
            ) => body.span.start,
            _ => stmt.span.start,
        };
        let moved = self.comments_before(head_end);
        self.head_lines(docs, moved, indent);
        match simple {
            Some(doc) => self.line(&doc, indent),
            None => match self.one_line(stmt, indent) {
                Some(doc) => self.line(&doc, indent),
                None => {
                    let mut parts = Vec::new();
                    self.compound(stmt, &mut parts);
                    self.pieces(parts, indent);
                }
            },
        }
        self.printed = Some(stmt.span.end);
        self.trailing_comment(stmt.span.end);
    }

    /// A statement with blocks of at most one plain statement each that is on one line in the source, and fits.
    fn one_line(&self, stmt: &Stmt, indent: usize) -> Option<Doc> {
        if self.source[stmt.span.start..stmt.span.end].contains('\n') {
            return None;
        }
        let mut parts = Vec::new();
        self.compound(stmt, &mut parts);
        let mut line = Vec::new();
        for part in parts {
            match part {
                Part::Head(doc) => line.push(doc),
                Part::Block(block) => match block.stmts.as_slice() {
                    [] => line.push(Doc::text("{}")),
                    [only] => line.extend([Doc::text("{ "), self.simple(&only.kind)?, Doc::text(" }")]),
                    _ => return None,
                },
            }
        }
        let doc = Doc::group(line);
        doc.flat_width().filter(|w| indent + w <= WIDTH).map(|_| doc)
    }

    fn compound<'t>(&self, stmt: &'t Stmt, parts: &mut Vec<Part<'t>>) {
        let head = |docs: Vec<Doc>| Part::Head(Doc::Concat(docs));
        match &stmt.kind {
            StmtKind::If { cond, then, otherwise } => {
                parts.push(head(vec![Doc::text("if "), self.expr(cond), Doc::text(" ")]));
                parts.push(Part::Block(then));
                let Some(otherwise) = otherwise else { return };
                parts.push(head(vec![Doc::text(" else ")]));
                // `else if` is an `if` without braces around it.
                match otherwise.stmts.as_slice() {
                    [only] if only.span.start == otherwise.span.start => self.compound(only, parts),
                    _ => parts.push(Part::Block(otherwise)),
                }
            }
            StmtKind::For { names, iter, body } => {
                let text = format!("for {} in ", list(names));
                parts.push(head(vec![Doc::text(text), self.expr(iter), Doc::text(" ")]));
                parts.push(Part::Block(body));
            }
            StmtKind::Scan { names, iter, carry, body } => {
                let end = Doc::text(format!(" carry {} ", carry.text));
                parts.push(head(vec![Doc::text(format!("scan {} in ", list(names))), self.expr(iter), end]));
                parts.push(Part::Block(body));
            }
            StmtKind::Step { name, every, body } => {
                let name = name.as_ref().map_or(String::new(), |n| format!("{} ", n.text));
                let mut docs = vec![Doc::text(format!("step {name}"))];
                match every {
                    Some(every) if every.span.start == every.span.end => {}
                    Some(every) => docs.extend([Doc::text("every "), self.expr(every), Doc::text(" ")]),
                    None => docs.push(Doc::text("otherwise ")),
                }
                parts.push(head(docs));
                parts.push(Part::Block(body));
            }
            _ => {}
        }
    }

    pub(super) fn binding(&self, word: &str, names: &str, ty: Option<&Type>) -> Doc {
        let mut parts = vec![Doc::text(format!("{word}{names}"))];
        if let Some(ty) = ty {
            parts.extend([Doc::text(": "), self.ty(ty)]);
        }
        Doc::Concat(parts)
    }

    /// A statement without blocks.
    fn simple(&self, kind: &StmtKind) -> Option<Doc> {
        Some(match kind {
            StmtKind::Let { names, ty, value } => self.bound(self.binding("let ", &list(names), ty.as_ref()), value),
            StmtKind::Var { name, ty, value } => self.bound(self.binding("var ", &name.text, ty.as_ref()), value),
            StmtKind::State { name, ty, value } => self.bound(self.binding("state ", &name.text, ty.as_ref()), value),
            StmtKind::Sample { name: Some(name), value } => {
                self.bound(self.binding("sample ", &name.text, None), value)
            }
            StmtKind::Assign { name, op: AssignOp::Set, value } => self.bound(Doc::text(name.text.clone()), value),
            StmtKind::Assign { name, op: AssignOp::Add, value } => self.after(format!("{} += ", name.text), value),
            StmtKind::Return(value) => self.after("return ", value),
            StmtKind::Sample { name: None, value } => self.after("sample ", value),
            StmtKind::Draw(decls) => {
                let decls = decls.iter().map(|d| self.draw(d)).collect();
                Doc::group(vec![Doc::text("draw "), Doc::nest(vec![Doc::comma_separated(decls)])])
            }
            StmtKind::Metric(metrics) => {
                let metrics =
                    metrics.iter().map(|(name, value)| self.after(format!("{} = ", name.text), value)).collect();
                Doc::group(vec![Doc::text("metric "), Doc::nest(vec![Doc::comma_separated(metrics)])])
            }
            StmtKind::Data(slots) => {
                let slots = slots.iter().map(|(name, ty)| self.binding("", &name.text, ty.as_ref())).collect();
                Doc::group(vec![Doc::text("data "), Doc::nest(vec![Doc::comma_separated(slots)])])
            }
            StmtKind::Net { name, value, attrs } => self.net(name, value, attrs),
            StmtKind::Param { name, ty, init } => {
                let mut parts = vec![self.binding("param ", &name.text, Some(ty))];
                parts.extend(init.iter().flat_map(|law| [Doc::text(" ~ "), self.expr(law)]));
                Doc::Concat(parts)
            }
            StmtKind::Loss { name, value, weight, targets } => {
                let mut rest = Vec::new();
                if let Some(weight) = weight {
                    rest.extend([Doc::Line, Doc::text("weight "), self.expr(weight)]);
                }
                rest.extend([Doc::Line, Doc::text(format!("-> {}", list(targets)))]);
                Doc::group(vec![self.after(format!("loss {} = ", name.text), value), Doc::nest(rest)])
            }
            StmtKind::If { .. } | StmtKind::For { .. } | StmtKind::Scan { .. } | StmtKind::Step { .. } => return None,
            StmtKind::Error => return None,
        })
    }

    fn draw(&self, draw: &DrawDecl) -> Doc {
        let mut parts = vec![Doc::text(draw.name.text.clone())];
        if let Some(index) = &draw.index {
            parts.extend([Doc::text("["), self.expr(index), Doc::text("]")]);
        }
        parts.extend([Doc::text(" ~ "), self.expr(&draw.law)]);
        Doc::Concat(parts)
    }

    fn net(&self, name: &Name, value: &Expr, attrs: &[NetAttr]) -> Doc {
        let mut rest = Vec::new();
        for (i, attr) in attrs.iter().enumerate() {
            // A word such as `net` before another on its line would start a statement.
            let keyword = i == 0 && starts_statement(self.last_word(value));
            rest.push(if keyword { Doc::Hard } else { Doc::Line });
            rest.push(match &attr.kind {
                NetAttrKind::Frozen => Doc::text("frozen"),
                NetAttrKind::From(name) => Doc::text(format!("from {}", name.text)),
                NetAttrKind::Call { name, args } => {
                    Doc::Concat(vec![Doc::text(name.text.clone()), self.args(args, None)])
                }
            });
        }
        Doc::group(vec![Doc::text(format!("net {} = ", name.text)), self.expr(value), Doc::nest(rest)])
    }

    fn last_word(&self, e: &Expr) -> &str {
        let i = self.tokens.partition_point(|t| t.span.start < e.span.end);
        i.checked_sub(1).map_or("", |i| &self.source[self.tokens[i].span.start..self.tokens[i].span.end])
    }
}

fn list(names: &[Name]) -> String {
    names.iter().map(|n| n.text.as_str()).collect::<Vec<_>>().join(", ")
}
