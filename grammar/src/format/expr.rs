//! Expressions.

use super::Printer;
use super::doc::Doc;
use crate::ast::*;

/// Precedence levels, as in the grammar: chains of one level break together.
fn level(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 0,
        BinaryOp::And => 1,
        BinaryOp::Add | BinaryOp::Sub => 4,
        BinaryOp::Mul | BinaryOp::Div => 5,
        BinaryOp::Pow => 6,
        _ => 2,
    }
}

fn sign(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::Or => "or",
        BinaryOp::And => "and",
        BinaryOp::Eq => "==",
        BinaryOp::Ne => "!=",
        BinaryOp::Lt => "<",
        BinaryOp::Le => "<=",
        BinaryOp::Gt => ">",
        BinaryOp::Ge => ">=",
        BinaryOp::Add => "+",
        BinaryOp::Sub => "-",
        BinaryOp::Mul => "*",
        BinaryOp::Div => "/",
        BinaryOp::Pow => "^",
    }
}

/// The part `e` starts with, where that is an expression.
fn leftmost(e: &Expr) -> Option<&Expr> {
    match &*e.kind {
        ExprKind::Range { lo: left, .. }
        | ExprKind::Binary { left, .. }
        | ExprKind::Member { base: left, .. }
        | ExprKind::Index { base: left, .. }
        | ExprKind::Call { callee: left, .. } => Some(left),
        _ => None,
    }
}

/// `open items close`, broken one item a line.
fn bracketed(open: &str, items: Vec<Doc>, end: Vec<Doc>, close: &str) -> Doc {
    let comma = if end.is_empty() { Doc::IfBroken(",") } else { Doc::Concat(end) };
    let inner = Doc::nest(vec![Doc::Soft, Doc::comma_separated(items), comma]);
    Doc::group(vec![Doc::text(open), inner, Doc::Soft, Doc::text(close)])
}

impl Printer<'_> {
    /// Whether `e` was written in parentheses.
    fn parenthesised(&self, e: &Expr) -> bool {
        self.source[e.span.start..].starts_with('(') && leftmost(e).is_none_or(|l| l.span.start > e.span.start)
    }

    pub(super) fn expr(&self, e: &Expr) -> Doc {
        if !self.parenthesised(e) {
            return self.bare(e);
        }
        let inner = self.bare(e);
        let inner = match &*e.kind {
            ExprKind::If { .. } | ExprKind::Binary { .. } => Doc::nest(vec![inner]),
            _ => inner,
        };
        Doc::Concat(vec![Doc::text("("), inner, Doc::text(")")])
    }

    /// Without parentheses of its own.
    fn bare(&self, e: &Expr) -> Doc {
        match &*e.kind {
            ExprKind::None => Doc::text("none"),
            ExprKind::Bool(value) => Doc::text(value.to_string()),
            ExprKind::Name(name) => Doc::text(name.clone()),
            ExprKind::Int(_) | ExprKind::Float(_) | ExprKind::Str(_) | ExprKind::Error => {
                Doc::text(self.unwrapped(e.span))
            }
            ExprKind::List(items) => {
                let items: Vec<Doc> = items.iter().map(|i| self.expr(i)).collect();
                Doc::group(vec![
                    Doc::text("["),
                    Doc::nest(vec![Doc::Soft, Doc::Fill(items), Doc::IfBroken(",")]),
                    Doc::Soft,
                    Doc::text("]"),
                ])
            }
            ExprKind::Record(fields) if fields.is_empty() => Doc::text("{}"),
            ExprKind::Record(fields) => {
                let fields = fields.iter().map(|(name, value)| match name.span == value.span {
                    true => Doc::text(name.text.clone()),
                    false => Doc::Concat(vec![Doc::text(format!("{}: ", name.text)), self.expr(value)]),
                });
                let inner = Doc::comma_separated(fields.collect());
                Doc::group(vec![
                    Doc::text("{"),
                    Doc::nest(vec![Doc::Line, inner, Doc::IfBroken(",")]),
                    Doc::Line,
                    Doc::text("}"),
                ])
            }
            ExprKind::Range { lo, hi } => Doc::Concat(vec![self.expr(lo), Doc::text(".."), self.expr(hi)]),
            ExprKind::Unary { op: UnaryOp::Neg, value } => Doc::Concat(vec![Doc::text("-"), self.expr(value)]),
            ExprKind::Unary { op: UnaryOp::Not, value } => Doc::Concat(vec![Doc::text("not "), self.expr(value)]),
            ExprKind::Binary { .. } => self.chain(e),
            ExprKind::If { .. } => self.choice(e),
            ExprKind::Lambda { params, body } => self.lambda(params, body),
            ExprKind::Member { base, name } => Doc::Concat(vec![self.expr(base), Doc::text(format!(".{}", name.text))]),
            ExprKind::Index { base, index } => {
                Doc::Concat(vec![self.expr(base), Doc::text("["), self.expr(index), Doc::text("]")])
            }
            ExprKind::Call { callee, scope, args, over } => {
                let mut parts = vec![self.expr(callee)];
                parts.extend(scope.as_ref().map(|s| self.scope(s)));
                parts.push(self.args(args, over.as_ref()));
                Doc::Concat(parts)
            }
        }
    }

    /// `a + b - c`: broken before every operator of the level.
    fn chain(&self, e: &Expr) -> Doc {
        let mut links = Vec::new();
        let mut first = e;
        let mut chain_level = None;
        while let ExprKind::Binary { op, left, right, .. } = &*first.kind {
            if first.span != e.span && self.parenthesised(first) || chain_level.is_some_and(|l| l != level(*op)) {
                break;
            }
            chain_level = Some(level(*op));
            links.push((*op, right));
            first = left;
            // a ^ b ^ c leans to the right.
            if *op == BinaryOp::Pow {
                break;
            }
        }
        let mut rest = Vec::new();
        for (op, right) in links.into_iter().rev() {
            rest.extend([Doc::Line, Doc::text(format!("{} ", sign(op))), self.expr(right)]);
        }
        Doc::group(vec![self.expr(first), Doc::nest(rest)])
    }

    /// `if c then a else if d then b else e`: broken before every `else`; one of several conditions stays broken.
    fn choice(&self, e: &Expr) -> Doc {
        let several =
            matches!(&*e.kind, ExprKind::If { otherwise, .. } if matches!(&*otherwise.kind, ExprKind::If { .. }));
        let broken = several && self.source[e.span.start..e.span.end].contains('\n');
        let mut parts = Vec::new();
        let mut rest = e;
        while let ExprKind::If { cond, then, otherwise } = &*rest.kind {
            if rest.span != e.span && self.parenthesised(rest) {
                break;
            }
            parts.extend([Doc::text("if "), self.expr(cond), Doc::text(" then "), self.expr(then)]);
            parts.extend([if broken { Doc::Hard } else { Doc::Line }, Doc::text("else ")]);
            rest = otherwise;
        }
        parts.push(self.expr(rest));
        Doc::group(parts)
    }

    fn lambda(&self, params: &[ParamDecl], body: &Expr) -> Doc {
        let rows = params.iter().map(|p| self.param(p)).collect();
        let params = match params.is_empty() {
            true => Doc::text("()"),
            false => bracketed("(", rows, Vec::new(), ")"),
        };
        self.bound(Doc::Concat(vec![Doc::text("fn"), params]), body)
    }

    fn scope(&self, scope: &Scope) -> Doc {
        let text = self.source[scope.span.start..scope.span.end].trim_start_matches('@').trim();
        Doc::text(format!("@{text}"))
    }

    pub(super) fn args(&self, args: &[Arg], over: Option<&Over>) -> Doc {
        let named = |a: &Arg| match &a.name {
            Some(name) => Doc::Concat(vec![Doc::text(format!("{} = ", name.text)), self.expr(&a.value)]),
            None => self.expr(&a.value),
        };
        let items: Vec<Doc> = args.iter().map(named).collect();
        let Some(over) = over else {
            return match args {
                [] => Doc::text("()"),
                // One argument that can break itself needs no line of its own.
                [only] if only.name.is_none() && self.hugs(&only.value) => {
                    Doc::Concat(vec![Doc::text("("), Doc::Concat(items), Doc::text(")")])
                }
                _ => bracketed("(", items, Vec::new(), ")"),
            };
        };
        let axes: Vec<Doc> = over.axes.iter().map(|a| self.expr(a)).collect();
        let mut end = vec![Doc::Line, Doc::text(if over.not { "over not " } else { "over " })];
        for (i, axis) in axes.into_iter().enumerate() {
            if i > 0 {
                end.push(Doc::text(", "));
            }
            end.push(axis);
        }
        bracketed("(", items, end, ")")
    }

    fn hugs(&self, e: &Expr) -> bool {
        let breaks = matches!(&*e.kind, ExprKind::List(_) | ExprKind::Record(_) | ExprKind::Call { .. });
        breaks && !self.parenthesised(e)
    }

    /// `head = value`.
    pub(super) fn bound(&self, head: Doc, value: &Expr) -> Doc {
        let below = matches!(&*value.kind, ExprKind::If { .. } | ExprKind::Binary { .. });
        let below = below && !self.parenthesised(value);
        Doc::Concat(vec![head, Doc::text(" ="), Doc::Hang { value: Box::new(self.expr(value)), below }])
    }

    /// `word value`: a choice goes on further in.
    pub(super) fn after(&self, word: impl Into<String>, value: &Expr) -> Doc {
        let doc = match &*value.kind {
            ExprKind::If { .. } => Doc::nest(vec![self.expr(value)]),
            _ => self.expr(value),
        };
        Doc::Concat(vec![Doc::text(word), doc])
    }
}
