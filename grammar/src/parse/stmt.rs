//! Blocks and statements.

use super::{Node, Reader, Rule, documented};
use crate::Span;
use crate::ast::*;

/// The parts most statements have, by kind.
struct Parts {
    names: Vec<Name>,
    ty: Option<Type>,
    exprs: Vec<Expr>,
    blocks: Vec<Block>,
}

impl Parts {
    fn name(&mut self, span: Span) -> Name {
        match self.names.is_empty() {
            true => Name { text: String::new(), span },
            false => self.names.remove(0),
        }
    }

    fn expr(&mut self, span: Span) -> Expr {
        match self.exprs.is_empty() {
            true => Expr { span, kind: Box::new(ExprKind::Error) },
            false => self.exprs.remove(0),
        }
    }

    fn block(&mut self) -> Block {
        self.blocks.pop().unwrap_or_default()
    }
}

impl Reader<'_> {
    pub(super) fn block(&mut self, node: Node) -> Block {
        let span = self.span(&node);
        let mut stmts = Vec::new();
        for part in node.into_inner() {
            match part.as_rule() {
                Rule::stmt => stmts.extend(self.stmt(part)),
                Rule::bad_stmt => {
                    let span = self.span(&part);
                    self.refuse(&part, Rule::stmt);
                    self.inner_blocks(part);
                    stmts.push(Stmt { doc: String::new(), span, kind: StmtKind::Error });
                }
                _ => {}
            }
        }
        Block { span, stmts }
    }

    fn parts(&mut self, node: Node) -> Parts {
        let mut parts = Parts { names: Vec::new(), ty: None, exprs: Vec::new(), blocks: Vec::new() };
        for part in node.into_inner() {
            match part.as_rule() {
                Rule::name => parts.names.push(self.name(&part)),
                Rule::names => parts.names.extend(self.names(part, Rule::name)),
                Rule::type_ => parts.ty = Some(self.ty(part)),
                Rule::expr => parts.exprs.push(self.expr(part)),
                Rule::block => {
                    let block = self.block(part);
                    parts.blocks.push(block);
                }
                _ => {}
            }
        }
        parts
    }

    fn stmt(&mut self, node: Node) -> Option<Stmt> {
        let (doc, node) = documented(node.into_inner());
        let node = node?;
        let span = self.span(&node);
        let kind = match node.as_rule() {
            Rule::if_stmt => self.if_stmt(node),
            Rule::draw_stmt => {
                let decls = node.into_inner().filter(|n| n.as_rule() == Rule::draw_decl);
                StmtKind::Draw(decls.map(|n| self.draw_decl(n)).collect())
            }
            Rule::data_stmt => {
                let slots = node.into_inner().filter(|n| n.as_rule() == Rule::data_slot);
                StmtKind::Data(slots.map(|n| self.data_slot(n)).collect())
            }
            Rule::metric_stmt => {
                let metrics = node.into_inner().filter(|n| n.as_rule() == Rule::metric);
                StmtKind::Metric(metrics.map(|n| self.metric(n)).collect())
            }
            Rule::net_stmt => self.net_stmt(node),
            Rule::loss_stmt => self.loss_stmt(node),
            Rule::step_stmt => self.step_stmt(node),
            rule => self.simple(rule, node, span),
        };
        Some(Stmt { doc, span, kind })
    }

    /// Statements that are names, a type, expressions and a block in a fixed order.
    fn simple(&mut self, rule: Rule, node: Node, span: Span) -> StmtKind {
        let op = match node.clone().into_inner().find(|n| n.as_rule() == Rule::assign_op) {
            Some(op) if op.as_str() == "+=" => AssignOp::Add,
            _ => AssignOp::Set,
        };
        let mut p = self.parts(node);
        match rule {
            Rule::let_stmt => StmtKind::Let { ty: p.ty.take(), value: p.expr(span), names: p.names },
            Rule::var_stmt => StmtKind::Var { name: p.name(span), ty: p.ty.take(), value: p.expr(span) },
            Rule::assign_stmt => StmtKind::Assign { name: p.name(span), op, value: p.expr(span) },
            Rule::for_stmt => StmtKind::For { iter: p.expr(span), body: p.block(), names: p.names },
            Rule::scan_stmt => {
                let carry = p.names.pop().unwrap_or(Name { text: String::new(), span });
                StmtKind::Scan { iter: p.expr(span), carry, body: p.block(), names: p.names }
            }
            Rule::return_stmt => StmtKind::Return(p.expr(span)),
            Rule::param_stmt => {
                let name = p.name(span);
                let unknown = TypeKind::Named(Name { text: String::new(), span });
                let ty = p.ty.take().unwrap_or(Type { span, kind: unknown, optional: false });
                StmtKind::Param { name, ty, init: p.exprs.pop() }
            }
            Rule::state_stmt => StmtKind::State { name: p.name(span), ty: p.ty.take(), value: p.expr(span) },
            Rule::sample_stmt => StmtKind::Sample { name: p.names.pop(), value: p.expr(span) },
            _ => StmtKind::Error,
        }
    }

    /// `else if` is an `If` alone in the `otherwise` block.
    fn if_stmt(&mut self, node: Node) -> StmtKind {
        let whole = self.span(&node);
        let mut branches: Vec<(Span, Option<Expr>, Block)> = Vec::new();
        let mut start = whole.start;
        let mut cond = None;
        for part in node.into_inner() {
            match part.as_rule() {
                Rule::kw_if => start = part.as_span().start(),
                Rule::expr => cond = Some(self.expr(part)),
                Rule::block => {
                    let block = self.block(part);
                    branches.push((Span::new(start, whole.end), cond.take(), block));
                }
                _ => {}
            }
        }
        let mut otherwise: Option<Block> = None;
        for (span, cond, then) in branches.into_iter().rev() {
            let Some(cond) = cond else {
                otherwise = Some(then);
                continue;
            };
            let kind = StmtKind::If { cond, then, otherwise: otherwise.take() };
            if span.start == whole.start {
                return kind;
            }
            otherwise = Some(Block { span, stmts: vec![Stmt { doc: String::new(), span, kind }] });
        }
        StmtKind::Error
    }

    fn draw_decl(&mut self, node: Node) -> DrawDecl {
        let span = self.span(&node);
        let mut p = self.parts(node);
        let name = p.name(span);
        let index = if p.exprs.len() > 1 { Some(p.exprs.remove(0)) } else { None };
        DrawDecl { name, index, law: p.expr(span) }
    }

    fn data_slot(&mut self, node: Node) -> (Name, Option<Type>) {
        let span = self.span(&node);
        let mut p = self.parts(node);
        (p.name(span), p.ty)
    }

    fn metric(&mut self, node: Node) -> (Name, Expr) {
        let span = self.span(&node);
        let mut p = self.parts(node);
        (p.name(span), p.expr(span))
    }

    fn net_stmt(&mut self, node: Node) -> StmtKind {
        let span = self.span(&node);
        let attrs = node.clone().into_inner().filter(|n| n.as_rule() == Rule::net_attr);
        let attrs = attrs.map(|n| self.net_attr(n)).collect();
        let mut p = self.parts(node);
        StmtKind::Net { name: p.name(span), value: p.expr(span), attrs }
    }

    fn net_attr(&mut self, node: Node) -> NetAttr {
        let span = self.span(&node);
        let (mut name, mut from, mut args) = (None, false, None);
        for part in node.into_inner() {
            match part.as_rule() {
                Rule::name => name = Some(self.name(&part)),
                Rule::kw_from => from = true,
                Rule::args => args = Some(self.args(part)),
                _ => {}
            }
        }
        let kind = match (name, args) {
            (Some(name), _) if from => NetAttrKind::From(name),
            (Some(name), args) => NetAttrKind::Call { name, args: args.unwrap_or_default() },
            (None, _) => NetAttrKind::Frozen,
        };
        NetAttr { span, kind }
    }

    fn loss_stmt(&mut self, node: Node) -> StmtKind {
        let span = self.span(&node);
        let weight = node.clone().into_inner().find(|n| n.as_rule() == Rule::weight);
        let weight = weight.and_then(|n| n.into_inner().next()).map(|n| self.expr(n));
        let mut p = self.parts(node);
        StmtKind::Loss { name: p.name(span), value: p.expr(span), weight, targets: p.names }
    }

    /// `step { … }` runs every iteration: every = 1, at an empty span.
    fn step_stmt(&mut self, node: Node) -> StmtKind {
        let (mut name, mut every, mut otherwise, mut body) = (None, None, false, Block::default());
        for part in node.into_inner() {
            match part.as_rule() {
                Rule::step_name => name = part.into_inner().next().map(|n| self.name(&n)),
                Rule::every => every = part.into_inner().find(|n| n.as_rule() == Rule::expr).map(|n| self.expr(n)),
                Rule::kw_otherwise => otherwise = true,
                Rule::block => body = self.block(part),
                _ => {}
            }
        }
        if every.is_none() && !otherwise {
            let span = Span::new(body.span.start, body.span.start);
            every = Some(Expr { span, kind: Box::new(ExprKind::Int(1)) });
        }
        StmtKind::Step { name, every, body }
    }
}
