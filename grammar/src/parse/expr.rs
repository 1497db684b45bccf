//! Expressions: the grammar's flat lists of operands and operators become trees by precedence.

use super::{Node, Reader, Rule};
use crate::Span;
use crate::ast::*;
use crate::error::{SyntaxError, code};
use pest::pratt_parser::{Assoc, Op, PrattParser};
use std::sync::LazyLock;

/// By rising precedence.
static PRECEDENCE: LazyLock<PrattParser<Rule>> = LazyLock::new(|| {
    let left = |rule| Op::infix(rule, Assoc::Left);
    PrattParser::new()
        .op(left(Rule::kw_or))
        .op(left(Rule::kw_and))
        .op(Op::prefix(Rule::kw_not))
        .op(left(Rule::equal)
            | left(Rule::not_equal)
            | left(Rule::less)
            | left(Rule::at_most)
            | left(Rule::greater)
            | left(Rule::at_least))
        .op(left(Rule::dotdot))
        .op(left(Rule::plus) | left(Rule::minus))
        .op(left(Rule::times) | left(Rule::divide))
        .op(Op::prefix(Rule::neg))
        .op(Op::infix(Rule::power, Assoc::Right))
});

fn binary_op(rule: Rule) -> BinaryOp {
    match rule {
        Rule::kw_or => BinaryOp::Or,
        Rule::kw_and => BinaryOp::And,
        Rule::equal => BinaryOp::Eq,
        Rule::not_equal => BinaryOp::Ne,
        Rule::less => BinaryOp::Lt,
        Rule::at_most => BinaryOp::Le,
        Rule::greater => BinaryOp::Gt,
        Rule::at_least => BinaryOp::Ge,
        Rule::plus => BinaryOp::Add,
        Rule::minus => BinaryOp::Sub,
        Rule::times => BinaryOp::Mul,
        Rule::divide => BinaryOp::Div,
        _ => BinaryOp::Pow,
    }
}

fn compares(op: BinaryOp) -> bool {
    use BinaryOp::*;
    matches!(op, Eq | Ne | Lt | Le | Gt | Ge)
}

fn expr(span: Span, kind: ExprKind) -> Expr {
    Expr { span, kind: Box::new(kind) }
}

/// Whether `e` is written without parentheses of its own and is what `is` says.
fn bare(e: &Expr, is: impl Fn(&ExprKind) -> Option<Span>) -> bool {
    is(&e.kind).is_some_and(|leftmost| leftmost.start == e.span.start)
}

impl Reader<'_> {
    /// A node of `expr` or `bound`.
    pub(super) fn expr(&mut self, node: Node) -> Expr {
        let reader = std::cell::RefCell::new(self);
        PRECEDENCE
            .map_primary(|atom| reader.borrow_mut().atom(atom))
            .map_prefix(|op, value| {
                let op_kind = if op.as_rule() == Rule::neg { UnaryOp::Neg } else { UnaryOp::Not };
                let span = Span::new(op.as_span().start(), value.span.end);
                expr(span, ExprKind::Unary { op: op_kind, value })
            })
            .map_infix(|left, op, right| reader.borrow_mut().infix(left, op, right))
            .parse(node.into_inner())
    }

    fn infix(&mut self, left: Expr, op: Node, right: Expr) -> Expr {
        let span = left.span.to(right.span);
        let op_span = self.span(&op);
        if op.as_rule() == Rule::dotdot {
            if bare(&left, |k| if let ExprKind::Range { lo, .. } = k { Some(lo.span) } else { None }) {
                let error = SyntaxError::new(code::CHAINED, op_span, "ranges do not chain");
                self.errors.push(error.help("a range is `lo..hi`"));
            }
            return expr(span, ExprKind::Range { lo: left, hi: right });
        }
        let op = binary_op(op.as_rule());
        let compared = |k: &ExprKind| match k {
            ExprKind::Binary { op, left, .. } if compares(*op) => Some(left.span),
            _ => None,
        };
        if compares(op) && bare(&left, compared) {
            let text = |s: Span| &self.source[s.start..s.end];
            let help = match &*left.kind {
                ExprKind::Binary { right: middle, .. } => {
                    let (first, second) = (text(left.span), text(Span::new(op_span.start, right.span.end)));
                    format!("write `{first} and {} {second}`", text(middle.span))
                }
                _ => "join them with `and`".to_string(),
            };
            self.errors.push(SyntaxError::new(code::CHAINED, op_span, "comparisons do not chain").help(help));
            // As mathematics has it: what it means is no second mistake.
            if let ExprKind::Binary { right: middle, .. } = &*left.kind {
                let middle = middle.clone();
                let second = expr(middle.span.to(right.span), ExprKind::Binary { op, op_span, left: middle, right });
                return expr(span, ExprKind::Binary { op: BinaryOp::And, op_span, left, right: second });
            }
        }
        expr(span, ExprKind::Binary { op, op_span, left, right })
    }

    fn atom(&mut self, node: Node) -> Expr {
        let start = node.as_span().start();
        let whole = self.span(&node);
        let mut value = expr(whole, ExprKind::Error);
        for part in node.into_inner() {
            let span = self.span(&part);
            let upto = Span::new(start, span.end);
            value = match part.as_rule() {
                Rule::member => {
                    let name = part.into_inner().find(|n| n.as_rule() == Rule::any_word).map(|n| self.name(&n));
                    let name = name.unwrap_or(Name { text: String::new(), span });
                    expr(upto, ExprKind::Member { base: value, name })
                }
                Rule::index => {
                    let index = self.first_expr(part);
                    expr(upto, ExprKind::Index { base: value, index })
                }
                Rule::call => self.call(value, part, upto),
                rule => expr(span, self.primary(rule, part, span)),
            };
        }
        value
    }

    fn primary(&mut self, rule: Rule, node: Node, span: Span) -> ExprKind {
        match rule {
            Rule::kw_none => ExprKind::None,
            Rule::kw_true => ExprKind::Bool(true),
            Rule::kw_false => ExprKind::Bool(false),
            Rule::number => number(node.as_str()),
            Rule::string => ExprKind::Str(self.string(node)),
            Rule::operand => {
                let text = &self.source[span.start..span.end];
                if text == "self" {
                    let error = SyntaxError::new(code::FOREIGN, span, "there is no `self`");
                    self.errors.push(error.help("a layer's parameters are declared with `param` and used by name"));
                }
                ExprKind::Name(text.to_string())
            }
            Rule::group => *self.first_expr(node).kind,
            Rule::list => ExprKind::List(self.exprs(node)),
            Rule::record => {
                let fields = node.into_inner().filter(|n| n.as_rule() == Rule::field);
                ExprKind::Record(fields.map(|n| self.field(n)).collect())
            }
            Rule::lambda => {
                let (mut params, mut body) = (Vec::new(), expr(span, ExprKind::Error));
                for part in node.into_inner() {
                    match part.as_rule() {
                        Rule::params => {
                            self.refuse_docs(part.clone());
                            params = self.params(part);
                        }
                        Rule::expr => body = self.expr(part),
                        _ => {}
                    }
                }
                ExprKind::Lambda { params, body }
            }
            Rule::if_expr => match <[Expr; 3]>::try_from(self.exprs(node)) {
                Ok([cond, then, otherwise]) => ExprKind::If { cond, then, otherwise },
                Err(_) => ExprKind::Error,
            },
            _ => ExprKind::Error,
        }
    }

    fn refuse_docs(&mut self, params: Node) {
        for param in params.into_inner().filter(|n| n.as_rule() == Rule::param) {
            let span = self.span(&param);
            if param.into_inner().next().is_some_and(|n| n.as_rule() == Rule::doc) {
                let span = self.lexed.token_at(span.start).map_or(span, |t| t.span);
                let error = SyntaxError::new(code::MISPLACED, span, "a function without a name has no documentation");
                self.errors.push(error.help("write `//` for a plain comment"));
            }
        }
    }

    fn exprs(&mut self, node: Node) -> Vec<Expr> {
        node.into_inner().filter(|n| n.as_rule() == Rule::expr).map(|n| self.expr(n)).collect()
    }

    fn first_expr(&mut self, node: Node) -> Expr {
        let span = self.span(&node);
        let inner = node.into_inner().find(|n| n.as_rule() == Rule::expr);
        inner.map_or_else(|| expr(span, ExprKind::Error), |n| self.expr(n))
    }

    /// `name: value`, or `name` alone for `name: name`.
    fn field(&mut self, node: Node) -> (Name, Expr) {
        let span = self.span(&node);
        let (mut name, mut value) = (Name { text: String::new(), span }, None);
        for part in node.into_inner() {
            match part.as_rule() {
                Rule::field_name => {
                    if let Some(word) = part.into_inner().next() {
                        name = self.name(&word);
                    }
                }
                Rule::operand => {
                    name = Name { text: self.source[span.start..span.end].to_string(), span };
                    value = Some(expr(span, ExprKind::Name(name.text.clone())));
                }
                Rule::expr => value = Some(self.expr(part)),
                _ => {}
            }
        }
        (name, value.unwrap_or_else(|| expr(span, ExprKind::Error)))
    }

    fn call(&mut self, callee: Expr, node: Node, span: Span) -> Expr {
        let (mut scope, mut args, mut over) = (None, Vec::new(), None);
        for part in node.into_inner() {
            match part.as_rule() {
                Rule::scope => scope = Some(self.scope(part)),
                Rule::args => args = self.args(part),
                Rule::over => {
                    let span = self.span(&part);
                    let not = part.clone().into_inner().any(|n| n.as_rule() == Rule::kw_not);
                    over = Some(Over { span, not, axes: self.exprs(part) });
                }
                _ => {}
            }
        }
        expr(span, ExprKind::Call { callee, scope, args, over })
    }

    fn scope(&mut self, node: Node) -> Scope {
        let span = self.span(&node);
        let mut parts = Vec::new();
        for part in node.into_inner() {
            match part.as_rule() {
                Rule::any_word => parts = vec![StrPart::Text(self.name(&part).text)],
                Rule::string => parts = self.string(part),
                _ => {}
            }
        }
        Scope { span, parts }
    }

    pub(super) fn args(&mut self, node: Node) -> Vec<Arg> {
        let mut args = Vec::new();
        for arg in node.into_inner().filter(|n| n.as_rule() == Rule::arg) {
            let span = self.span(&arg);
            let mut name = None;
            for part in arg.into_inner() {
                match part.as_rule() {
                    Rule::arg_name => name = part.into_inner().next().map(|n| self.name(&n)),
                    Rule::expr => args.push(Arg { span, name: name.take(), value: self.expr(part) }),
                    _ => {}
                }
            }
        }
        args
    }

    /// Text pieces side by side are one.
    pub(super) fn string(&mut self, node: Node) -> Vec<StrPart> {
        let mut parts = Vec::new();
        for piece in node.into_inner() {
            let text = match piece.as_rule() {
                Rule::hole => {
                    let value = self.first_expr(piece);
                    parts.push(StrPart::Expr(value));
                    continue;
                }
                Rule::escape => match piece.as_str() {
                    "{{" => "{",
                    "}}" => "}",
                    "\\n" => "\n",
                    escaped => &escaped[1..],
                },
                _ => piece.as_str(),
            };
            match parts.last_mut() {
                Some(StrPart::Text(before)) => before.push_str(text),
                _ => parts.push(StrPart::Text(text.to_string())),
            }
        }
        parts
    }
}

/// lex.rs has refused what does not fit.
fn number(text: &str) -> ExprKind {
    let plain = text.replace('_', "");
    match plain.parse::<i64>() {
        Ok(n) => ExprKind::Int(n),
        Err(_) => plain.parse::<f64>().map_or(ExprKind::Error, ExprKind::Float),
    }
}
