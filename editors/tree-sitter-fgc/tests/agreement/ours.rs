//! The nodes of fgc's own tree.

use crate::Nodes;
use fgc_grammar::Span;
use fgc_grammar::ast::*;

pub fn nodes(file: &File) -> Nodes {
    let mut out = Out(Vec::new());
    file.items.iter().for_each(|i| out.item(i));
    out.0
}

struct Out(Nodes);

impl Out {
    fn put(&mut self, kind: &str, span: Span) {
        self.0.push((kind.into(), span.start, span.end));
    }

    fn name(&mut self, name: &Name) {
        self.put("name", name.span);
    }

    fn item(&mut self, item: &Item) {
        let kind = match &item.kind {
            ItemKind::Use { .. } => "use_item",
            ItemKind::Let { .. } => "let_item",
            ItemKind::Fn(_) => "function_item",
            ItemKind::Layer(_) => "layer_item",
            ItemKind::Schedule { .. } => "schedule_item",
            ItemKind::Method { .. } => "method_item",
            ItemKind::Extern(_) => "extern_item",
            ItemKind::Error => "error",
        };
        self.put(kind, item.span);
        match &item.kind {
            ItemKind::Use { path, names } => path.iter().chain(names).for_each(|n| self.name(n)),
            ItemKind::Let { name, ty, value } => self.binding(std::slice::from_ref(name), ty.as_ref(), value),
            ItemKind::Fn(f) | ItemKind::Layer(f) => {
                self.name(&f.name);
                self.params(&f.params);
                self.ty(f.result.as_ref());
                match &f.body {
                    Body::Expr(e) => self.expr(e),
                    Body::Block(b) => self.block(b),
                }
            }
            ItemKind::Schedule { name, members } => {
                self.name(name);
                members.iter().for_each(|m| self.item(m));
            }
            ItemKind::Method { name, params, body } => {
                self.name(name);
                self.params(params);
                self.block(body);
            }
            ItemKind::Extern(e) => {
                self.name(&e.name);
                self.params(&e.params);
                for result in &e.results {
                    result.name.iter().for_each(|n| self.name(n));
                    self.ty(Some(&result.ty));
                }
                self.put("string", e.file_span);
                for clause in &e.clauses {
                    self.name(&clause.name);
                    self.expr(&clause.value);
                }
            }
            ItemKind::Error => {}
        }
    }

    fn binding(&mut self, names: &[Name], ty: Option<&Type>, value: &Expr) {
        names.iter().for_each(|n| self.name(n));
        self.ty(ty);
        self.expr(value);
    }

    fn params(&mut self, params: &[ParamDecl]) {
        for p in params {
            self.put("parameter", p.span);
            self.name(&p.name);
            self.ty(p.ty.as_ref());
            p.default.iter().for_each(|e| self.expr(e));
            match &p.range {
                Some(RangeDecl::Interval { lo, hi }) => lo.iter().chain(hi).for_each(|e| self.expr(e)),
                Some(RangeDecl::OneOf(values)) => values.iter().for_each(|e| self.expr(e)),
                None => {}
            }
        }
    }

    fn ty(&mut self, ty: Option<&Type>) {
        let Some(ty) = ty else { return };
        self.put("type", ty.span);
        let axes = match &ty.kind {
            TypeKind::Tensor { axes, .. } => axes,
            TypeKind::Time { schedule, axes } => {
                schedule.iter().for_each(|n| self.name(n));
                axes
            }
            TypeKind::Named(_) => &None,
        };
        for axis in axes.iter().flatten() {
            if let AxisDecl::Axis { name, extent } = axis {
                self.name(name);
                extent.iter().for_each(|e| self.expr(e));
            }
        }
    }

    fn block(&mut self, block: &Block) {
        self.put("block", block.span);
        block.stmts.iter().for_each(|s| self.stmt(s));
    }

    fn stmt(&mut self, stmt: &Stmt) {
        let kind = match &stmt.kind {
            StmtKind::Let { .. } => "let_statement",
            StmtKind::Var { .. } => "var_statement",
            StmtKind::Assign { .. } => "assign_statement",
            StmtKind::If { .. } => "if_statement",
            StmtKind::For { .. } => "for_statement",
            StmtKind::Scan { .. } => "scan_statement",
            StmtKind::Return(_) => "return_statement",
            StmtKind::Draw(_) => "draw_statement",
            StmtKind::Data(_) => "data_statement",
            StmtKind::Net { .. } => "net_statement",
            StmtKind::Param { .. } => "param_statement",
            StmtKind::State { .. } => "state_statement",
            StmtKind::Loss { .. } => "loss_statement",
            StmtKind::Metric(_) => "metric_statement",
            StmtKind::Step { .. } => "step_statement",
            StmtKind::Sample { .. } => "sample_statement",
            StmtKind::Error => "error",
        };
        self.put(kind, stmt.span);
        match &stmt.kind {
            StmtKind::Let { names, ty, value } => self.binding(names, ty.as_ref(), value),
            StmtKind::Var { name, ty, value } | StmtKind::State { name, ty, value } => {
                self.binding(std::slice::from_ref(name), ty.as_ref(), value);
            }
            StmtKind::Assign { name, value, .. } => self.binding(std::slice::from_ref(name), None, value),
            StmtKind::If { cond, then, otherwise } => {
                self.expr(cond);
                self.block(then);
                match otherwise {
                    // `else if` is no block of its own.
                    Some(Block { stmts, .. }) if matches!(&stmts[..], [Stmt { kind: StmtKind::If { .. }, .. }]) => {
                        self.stmt(&stmts[0]);
                    }
                    Some(block) => self.block(block),
                    None => {}
                }
            }
            StmtKind::For { names, iter, body } => {
                self.binding(names, None, iter);
                self.block(body);
            }
            StmtKind::Scan { names, iter, carry, body } => {
                self.binding(names, None, iter);
                self.name(carry);
                self.block(body);
            }
            StmtKind::Return(value) => self.expr(value),
            StmtKind::Draw(draws) => {
                for draw in draws {
                    self.name(&draw.name);
                    draw.index.iter().for_each(|e| self.expr(e));
                    self.expr(&draw.law);
                }
            }
            StmtKind::Data(slots) => {
                for (name, ty) in slots {
                    self.name(name);
                    self.ty(ty.as_ref());
                }
            }
            StmtKind::Net { name, value, attrs } => {
                self.binding(std::slice::from_ref(name), None, value);
                for attr in attrs {
                    self.put("attribute", attr.span);
                    match &attr.kind {
                        NetAttrKind::Frozen => {}
                        NetAttrKind::From(name) => self.name(name),
                        NetAttrKind::Call { name, args } => {
                            self.name(name);
                            self.args(args);
                        }
                    }
                }
            }
            StmtKind::Param { name, ty, init } => {
                self.name(name);
                self.ty(Some(ty));
                init.iter().for_each(|e| self.expr(e));
            }
            StmtKind::Loss { name, value, weight, targets } => {
                self.name(name);
                self.expr(value);
                weight.iter().for_each(|e| self.expr(e));
                targets.iter().for_each(|n| self.name(n));
            }
            StmtKind::Metric(all) => all.iter().for_each(|(name, value)| {
                self.name(name);
                self.expr(value);
            }),
            StmtKind::Step { name, every, body } => {
                name.iter().for_each(|n| self.name(n));
                // `step { … }` is `step every 1 { … }`, unwritten.
                every.iter().filter(|e| e.span.start < e.span.end).for_each(|e| self.expr(e));
                self.block(body);
            }
            StmtKind::Sample { name, value } => {
                name.iter().for_each(|n| self.name(n));
                self.expr(value);
            }
            StmtKind::Error => {}
        }
    }

    fn args(&mut self, args: &[Arg]) {
        for arg in args {
            self.put("argument", arg.span);
            arg.name.iter().for_each(|n| self.name(n));
            self.expr(&arg.value);
        }
    }

    fn parts(&mut self, parts: &[StrPart]) {
        for part in parts {
            if let StrPart::Expr(e) = part {
                self.expr(e);
            }
        }
    }

    fn expr(&mut self, e: &Expr) {
        let kind = match &*e.kind {
            ExprKind::None => "none",
            ExprKind::Bool(_) => "boolean",
            ExprKind::Int(_) | ExprKind::Float(_) => "number",
            ExprKind::Str(_) => "string",
            ExprKind::Name(_) => "name",
            ExprKind::List(_) => "list",
            ExprKind::Record(_) => "record",
            ExprKind::Range { .. } => "range_expression",
            ExprKind::Unary { .. } => "unary_expression",
            ExprKind::Binary { .. } => "binary_expression",
            ExprKind::If { .. } => "if_expression",
            ExprKind::Lambda { .. } => "lambda",
            ExprKind::Member { .. } => "member_expression",
            ExprKind::Index { .. } => "index_expression",
            ExprKind::Call { .. } => "call_expression",
            ExprKind::Error => "error",
        };
        self.put(kind, e.span);
        match &*e.kind {
            ExprKind::Str(parts) => self.parts(parts),
            ExprKind::List(values) => values.iter().for_each(|v| self.expr(v)),
            ExprKind::Record(fields) => {
                for (name, value) in fields {
                    self.name(name);
                    // `{ out }` has the name alone.
                    if value.span != name.span {
                        self.expr(value);
                    }
                }
            }
            ExprKind::Range { lo, hi } => [lo, hi].into_iter().for_each(|v| self.expr(v)),
            ExprKind::Unary { value, .. } => self.expr(value),
            ExprKind::Binary { left, right, .. } => [left, right].into_iter().for_each(|v| self.expr(v)),
            ExprKind::If { cond, then, otherwise } => [cond, then, otherwise].into_iter().for_each(|v| self.expr(v)),
            ExprKind::Lambda { params, body } => {
                self.params(params);
                self.expr(body);
            }
            ExprKind::Member { base, name } => {
                self.expr(base);
                self.name(name);
            }
            ExprKind::Index { base, index } => [base, index].into_iter().for_each(|v| self.expr(v)),
            ExprKind::Call { callee, scope, args, over } => {
                self.expr(callee);
                scope.iter().for_each(|s| self.parts(&s.parts));
                self.args(args);
                over.iter().flat_map(|o| &o.axes).for_each(|e| self.expr(e));
            }
            _ => {}
        }
    }
}
