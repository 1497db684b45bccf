//! Which loops of a kernel are parallel, as a tree.
//!
//! The kernel language only says of the grid, and of loops marked `vector`, that their iterations are independent. A GPU
//! needs thousands of threads, so the other loops are looked at too: iterations are independent if they write apart and
//! read what they write only where they write it. Sums in memory (`b[j] += x[i, j]` for all i and j) become sums in
//! registers, one for each j.

use super::{disjoint, starts};
use crate::bounds::{self, Extents};
use crate::{BinaryOp, DType, Expr, Index, Kernel, Reg, Scalar, Stmt, Var};
use rustc_hash::FxHashSet;

/// A part of a kernel's body.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// Anything but a loop.
    Plain(Stmt),
    /// `body` for all values of `points`, in any order and at once.
    Map { points: Vec<(Var, usize)>, body: Vec<Node> },
    /// `body` for all values of `points`, in any order; `sums` are registers it combines values into.
    Reduce { points: Vec<(Var, usize)>, body: Vec<Stmt>, sums: Vec<Sum> },
    /// In order.
    Loop { var: Var, extent: usize, body: Vec<Node> },
}

/// `reg := op(reg, value)`, in any order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sum {
    pub reg: Reg,
    pub dtype: DType,
    pub op: BinaryOp,
}

/// The tree of a kernel's body.
pub(super) fn tree(kernel: &Kernel) -> Vec<Node> {
    let extents = bounds::extents(kernel.extent, &kernel.body);
    let mut builder = Builder { kernel, extents: &extents, next: first_free(&kernel.body), accumulators: Vec::new() };
    let nodes = builder.nodes(&kernel.body);
    starts::dropped(nodes)
}

/// The first register number not in use.
fn first_free(body: &[Stmt]) -> u32 {
    let mut next = 0;
    each_stmt(body, &mut |stmt| {
        if let Stmt::Let { reg, .. } | Stmt::Accumulator { reg, .. } = stmt {
            next = next.max(reg.0 + 1);
        }
    });
    next
}

pub(super) fn each_stmt<'a>(body: &'a [Stmt], visit: &mut impl FnMut(&'a Stmt)) {
    for stmt in body {
        visit(stmt);
        if let Stmt::For { body, .. } = stmt {
            each_stmt(body, visit);
        }
    }
}

/// Calls `visit` on `expr` and all its parts.
pub(super) fn each_expr<'a>(expr: &'a Expr, visit: &mut impl FnMut(&'a Expr)) {
    visit(expr);
    match expr {
        Expr::Const(_) | Expr::Reg(_) | Expr::Index(_) | Expr::Load { .. } => {}
        Expr::LoadAt { at: x, .. } | Expr::Unary(_, x) | Expr::Cast(_, x) => each_expr(x, visit),
        Expr::Binary(_, a, b) => {
            each_expr(a, visit);
            each_expr(b, visit);
        }
        Expr::Select { cond, then, otherwise } => {
            each_expr(cond, visit);
            each_expr(then, visit);
            each_expr(otherwise, visit);
        }
    }
}

/// The expressions of a statement itself.
pub(super) fn exprs(stmt: &Stmt) -> Vec<&Expr> {
    match stmt {
        Stmt::Let { value, .. } | Stmt::Accumulator { init: value, .. } | Stmt::Assign { value, .. } => vec![value],
        Stmt::Store { value, .. } => vec![value],
        Stmt::StoreAt { at, value, .. } => vec![at, value],
        Stmt::For { .. } => Vec::new(),
    }
}

struct Builder<'a> {
    kernel: &'a Kernel,
    extents: &'a Extents,
    next: u32,
    /// Those seen so far.
    accumulators: Vec<(Reg, DType)>,
}

/// Loops around each other with nothing but definitions between them.
struct Chain<'a> {
    loops: Vec<(Var, usize)>,
    /// Definitions on the way, then the innermost body.
    lets: Vec<&'a Stmt>,
    body: &'a [Stmt],
    vector: bool,
}

fn chain(stmt: &Stmt) -> Option<Chain<'_>> {
    let Stmt::For { var, extent, vector, body } = stmt else { return None };
    let mut chain = Chain { loops: vec![(*var, *extent)], lets: Vec::new(), body, vector: *vector };
    while let Some((Stmt::For { var, extent, vector, body }, before)) = chain.body.split_last()
        && before.iter().all(|stmt| matches!(stmt, Stmt::Let { .. }))
    {
        chain.lets.extend(before);
        chain.loops.push((*var, *extent));
        (chain.body, chain.vector) = (body, *vector);
    }
    Some(chain)
}

impl Builder<'_> {
    fn nodes(&mut self, body: &[Stmt]) -> Vec<Node> {
        let mut nodes = Vec::new();
        for stmt in body {
            match stmt {
                Stmt::For { var, extent, vector, body } => {
                    let known = self.map(stmt).or_else(|| self.reduce(stmt));
                    nodes.push(match known {
                        Some(node) => node,
                        None if *vector && outer_sums(body).is_some_and(|sums| sums.is_empty()) => {
                            Node::Map { points: vec![(*var, *extent)], body: self.nodes(body) }
                        }
                        None => Node::Loop { var: *var, extent: *extent, body: self.nodes(body) },
                    });
                }
                Stmt::Accumulator { reg, dtype, .. } => {
                    self.accumulators.push((*reg, *dtype));
                    nodes.push(Node::Plain(stmt.clone()));
                }
                _ => nodes.push(Node::Plain(stmt.clone())),
            }
        }
        nodes
    }

    /// A nest that writes memory and changes no register from outside.
    fn map(&mut self, stmt: &Stmt) -> Option<Node> {
        let Chain { loops, lets, body, .. } = chain(stmt)?;
        if !outer_sums(body)?.is_empty() {
            return None;
        }
        let inside: Vec<&Stmt> = lets.iter().copied().chain(body).collect();
        let parallel = disjoint::parallel(&loops, &inside, self.extents)?;
        if parallel.is_empty() {
            return None;
        }
        let (points, rest): (Vec<_>, Vec<_>) = loops.iter().copied().partition(|(var, _)| parallel.contains(var));
        let own: Vec<Stmt> = inside.into_iter().cloned().collect();
        let body = if rest.is_empty() { own } else { self.in_registers(&rest, &own) };
        Some(Node::Map { points, body: self.nodes(&body) })
    }

    /// `body` for all values of `rest`, in order; sums in memory become sums in registers.
    fn in_registers(&mut self, rest: &[(Var, usize)], body: &[Stmt]) -> Vec<Stmt> {
        let within = |body: Vec<Stmt>| {
            let nest = |body, &(var, extent): &(Var, usize)| vec![Stmt::For { var, extent, vector: false, body }];
            rest.iter().rev().fold(body, nest)
        };
        let rest_vars: FxHashSet<Var> = rest.iter().map(|(var, _)| *var).collect();
        let (mut before, mut inner, mut after) = (Vec::new(), Vec::new(), Vec::new());
        for stmt in body {
            match stmt {
                Stmt::Let { .. } => inner.push(stmt.clone()),
                Stmt::Store { buffer, index, value } => {
                    let Some((op, term)) = accumulates(*buffer, index, value)
                        .filter(|(_, term)| !mentions_any(index, &rest_vars) && !loads(term, *buffer))
                    else {
                        return within(body.to_vec());
                    };
                    let (reg, dtype) = (Reg(self.next), self.kernel.buffers[*buffer].dtype);
                    self.next += 1;
                    let combined = |a, b| Expr::Binary(op, Box::new(a), Box::new(b));
                    before.push(Stmt::Accumulator { reg, dtype, init: Expr::Const(neutral(op, dtype)) });
                    inner.push(Stmt::Assign { reg, value: combined(Expr::Reg(reg), term.clone()) });
                    let old = Expr::Load { buffer: *buffer, index: index.clone() };
                    let value = combined(old, Expr::Reg(reg));
                    after.push(Stmt::Store { buffer: *buffer, index: index.clone(), value });
                }
                _ => return within(body.to_vec()),
            }
        }
        // What is combined must not read another sum under way.
        let sums: Vec<usize> = after.iter().filter_map(stored).collect();
        let reads = |stmt: &Stmt| exprs(stmt).into_iter().any(|x| sums.iter().any(|buffer| loads(x, *buffer)));
        if inner.iter().any(reads) {
            return within(body.to_vec());
        }
        before.extend(within(inner));
        before.extend(after);
        before
    }

    /// A nest that only combines values into registers.
    fn reduce(&mut self, stmt: &Stmt) -> Option<Node> {
        let Chain { loops, lets, body, .. } = chain(stmt)?;
        let mut only_registers = true;
        each_stmt(body, &mut |stmt| only_registers &= !matches!(stmt, Stmt::Store { .. } | Stmt::StoreAt { .. }));
        let sums = outer_sums(body)?;
        if !only_registers || sums.is_empty() {
            return None;
        }
        let dtype = |reg: Reg| self.accumulators.iter().find(|(r, _)| *r == reg).map(|(_, dtype)| *dtype);
        let sums = sums.into_iter().map(|(reg, op)| Some(Sum { reg, dtype: dtype(reg)?, op }));
        let sums = sums.collect::<Option<Vec<Sum>>>()?;
        let body = lets.into_iter().chain(body).cloned().collect();
        Some(Node::Reduce { points: loops, body, sums })
    }
}

/// Accumulators from outside that `body` changes, each by one operation that may be reordered; None if it changes one
/// otherwise, or reads it.
fn outer_sums(body: &[Stmt]) -> Option<Vec<(Reg, BinaryOp)>> {
    let (mut own, mut assigned) = (FxHashSet::default(), Vec::new());
    each_stmt(body, &mut |stmt| match stmt {
        Stmt::Accumulator { reg, .. } => _ = own.insert(*reg),
        Stmt::Assign { reg, value } => assigned.push((*reg, value)),
        _ => {}
    });
    assigned.retain(|(reg, _)| !own.contains(reg));
    let mut sums: Vec<(Reg, BinaryOp)> = Vec::new();
    for &(reg, value) in &assigned {
        let op = combines(reg, value)?.0;
        match sums.iter().find(|(r, _)| *r == reg) {
            Some((_, other)) if *other != op => return None,
            Some(_) => {}
            None => sums.push((reg, op)),
        }
    }
    let mut reads = 0;
    each_stmt(body, &mut |stmt| {
        for x in exprs(stmt) {
            each_expr(x, &mut |x| reads += matches!(x, Expr::Reg(r) if sums.iter().any(|(s, _)| s == r)) as usize);
        }
    });
    (reads == assigned.len()).then_some(sums)
}

/// `op(reg, term)` with an operation that may be reordered, and a term without the register.
pub(super) fn combines(reg: Reg, value: &Expr) -> Option<(BinaryOp, &Expr)> {
    let Expr::Binary(op, a, b) = value else { return None };
    if !matches!(op, BinaryOp::Add | BinaryOp::Mul | BinaryOp::Max | BinaryOp::Min) {
        return None;
    }
    let term = match (&**a, &**b) {
        (Expr::Reg(r), term) | (term, Expr::Reg(r)) if *r == reg => term,
        _ => return None,
    };
    let mut found = false;
    each_expr(term, &mut |x| found |= *x == Expr::Reg(reg));
    (!found).then_some((*op, term))
}

/// As [`combines`] for the element that is stored.
fn accumulates<'a>(buffer: usize, index: &Index, value: &'a Expr) -> Option<(BinaryOp, &'a Expr)> {
    let Expr::Binary(op @ (BinaryOp::Add | BinaryOp::Max | BinaryOp::Min), a, b) = value else { return None };
    let own = |x: &Expr| matches!(x, Expr::Load { buffer: b, index: i } if *b == buffer && i == index);
    let term = if own(a) {
        b
    } else if own(b) {
        a
    } else {
        return None;
    };
    Some((*op, term))
}

pub(super) fn stored(stmt: &Stmt) -> Option<usize> {
    match stmt {
        Stmt::Store { buffer, .. } | Stmt::StoreAt { buffer, .. } => Some(*buffer),
        _ => None,
    }
}

fn loads(expr: &Expr, from: usize) -> bool {
    let mut found = false;
    each_expr(expr, &mut |x| {
        found |= matches!(x, Expr::Load { buffer, .. } | Expr::LoadAt { buffer, .. } if *buffer == from)
    });
    found
}

fn mentions_any(index: &Index, vars: &FxHashSet<Var>) -> bool {
    let mut found = false;
    index.each_var(&mut |var| found |= vars.contains(&var));
    found
}

/// What changes nothing when combined.
pub(super) fn neutral(op: BinaryOp, dtype: DType) -> Scalar {
    match (op, dtype) {
        (BinaryOp::Max, DType::I64) => Scalar::I64(i64::MIN),
        (BinaryOp::Min, DType::I64) => Scalar::I64(i64::MAX),
        (BinaryOp::Max, _) => Scalar::new(dtype, f64::NEG_INFINITY),
        (BinaryOp::Min, _) => Scalar::new(dtype, f64::INFINITY),
        (BinaryOp::Mul, _) => Scalar::new(dtype, 1.0),
        _ => Scalar::new(dtype, 0.0),
    }
}
