//! Sums of exponentials beside the maximum that shifts them, in one pass over the columns.
//!
//! Σ exp(x − m) and whatever else is linear in exp(x − m) waits for m, the largest x, as it is written. But with the largest
//! x so far in m's place the sums so far are right up to a factor: where m grows from m₀ to m₁ they are multiplied by
//! exp(m₀ − m₁) (Milakov and Gimelshein, arXiv:1805.02867). So these sums need no pass of their own.

use super::passes::{Axis, Cell, Unit, What};
use crate::cuda::tree::Node;
use crate::{BinaryOp, DType, Expr, Reg, Scalar, Stmt, UnaryOp};
use rustc_hash::{FxHashMap, FxHashSet};

/// A maximum that units need not wait for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Running {
    /// The unit that makes it, and its register.
    pub unit: usize,
    pub reg: Reg,
    /// The units that are linear in exp(−m), in order.
    pub users: Vec<usize>,
    pub scaled: Scaled,
}

/// What is multiplied when a maximum grows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Scaled {
    /// Registers with their members.
    pub registers: Vec<(usize, Reg)>,
    /// Products, by their members.
    pub products: Vec<usize>,
}

/// The maxima of these units, whose levels are those of waiting for them. `node`: a unit's; `wide`: of what there is only a
/// chunk.
pub(super) fn running<'a>(
    units: &[Unit],
    node: &impl Fn(&Unit) -> Option<&'a Node>,
    cell: &impl Fn(usize, usize) -> Cell,
    wide: &impl Fn(Cell) -> bool,
) -> Vec<Running> {
    let candidates = units.iter().enumerate().filter_map(|(n, unit)| {
        let Node::Reduce { sums, body, .. } = node(unit)? else { return None };
        let [sum] = &sums[..] else { return None };
        let fits = unit.wide && unit.sums && sum.op == BinaryOp::Max && sum.dtype == DType::F32;
        fits.then_some((n, sum.reg, term(body, sum.reg)?))
    });
    let found = candidates.filter_map(|(n, reg, term)| {
        let mut follower = Follower {
            shift: Cell::Reg(units[n].member, reg),
            term,
            linear: FxHashSet::default(),
            depends: FxHashSet::default(),
            cell,
        };
        follower.depends.insert(follower.shift);
        let level = units[n].level + 1;
        let (mut users, mut scaled) = (Vec::new(), Scaled::default());
        for (m, unit) in units.iter().enumerate().skip(n + 1) {
            if unit.level != level || !unit.reads.iter().any(|cell| follower.depends.contains(cell)) {
                continue;
            }
            follower.depends.extend(unit.writes.iter().copied());
            // What is no loop over columns comes after all of them.
            if !unit.wide {
                continue;
            }
            follower.follow(unit, node(unit), units, node, wide, &mut scaled)?;
            users.push(m);
        }
        let some = !scaled.registers.is_empty() || !scaled.products.is_empty();
        some.then_some(Running { unit: n, reg, users, scaled })
    });
    found.collect()
}

struct Follower<'a, C> {
    /// The maximum, and what it is the largest of.
    shift: Cell,
    term: Expr,
    /// What is linear in exp(−m).
    linear: FxHashSet<Cell>,
    depends: FxHashSet<Cell>,
    /// What a member's buffer is.
    cell: &'a C,
}

impl<C: Fn(usize, usize) -> Cell> Follower<'_, C> {
    /// Notes what a unit makes; None if something is not linear, or cannot be multiplied later.
    fn follow<'n>(
        &mut self,
        unit: &Unit,
        found: Option<&'n Node>,
        units: &[Unit],
        node: &impl Fn(&Unit) -> Option<&'n Node>,
        wide: &impl Fn(Cell) -> bool,
        scaled: &mut Scaled,
    ) -> Option<()> {
        let mut regs: FxHashMap<Reg, (u32, Expr)> = FxHashMap::default();
        match (unit.what, found) {
            (What::Product(Some(Axis::Sum)), _) => {
                let [left, right] = unit.reads[..] else { return None };
                (self.linear.contains(&left) && !self.depends.contains(&right)).then_some(())?;
                scaled.products.push(unit.member);
            }
            (_, Some(Node::Map { body, .. })) => {
                for node in body {
                    let Node::Plain(stmt) = node else { return None };
                    match stmt {
                        Stmt::Let { reg, value, .. } => {
                            let degree = self.degree(unit.member, value, &regs)?;
                            regs.insert(*reg, (degree, resolved(value, &regs)));
                        }
                        Stmt::Store { buffer, value, .. } => {
                            let to = (self.cell)(unit.member, *buffer);
                            match self.degree(unit.member, value, &regs)? {
                                // Written once, that it means one thing.
                                1 if wide(to) && units.iter().filter(|unit| unit.writes.contains(&to)).count() == 1 => {
                                    self.linear.insert(to);
                                }
                                _ => return None,
                            }
                        }
                        _ => return None,
                    }
                }
            }
            (_, Some(Node::Reduce { body, sums, .. })) => {
                for stmt in body {
                    match stmt {
                        Stmt::Let { reg, value, .. } => {
                            let degree = self.degree(unit.member, value, &regs)?;
                            regs.insert(*reg, (degree, resolved(value, &regs)));
                        }
                        Stmt::Assign { reg, value } => {
                            let (op, term) = crate::cuda::tree::combines(*reg, value)?;
                            let linear = self.degree(unit.member, term, &regs)? == 1;
                            let float = sums.iter().any(|sum| sum.reg == *reg && sum.dtype == DType::F32);
                            (op == BinaryOp::Add && linear && float).then_some(())?;
                            starts_at_zero(units, unit.member, *reg, node).then_some(())?;
                            scaled.registers.push((unit.member, *reg));
                        }
                        _ => return None,
                    }
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// How often exp(−m) is a factor of a value, 0 or 1.
    fn degree(&self, member: usize, expr: &Expr, regs: &FxHashMap<Reg, (u32, Expr)>) -> Option<u32> {
        let degree = |x: &Expr| self.degree(member, x, regs);
        match expr {
            Expr::Const(_) | Expr::Index(_) => Some(0),
            Expr::Reg(reg) => match regs.get(reg) {
                Some((degree, _)) => Some(*degree),
                None => (!self.depends.contains(&Cell::Reg(member, *reg))).then_some(0),
            },
            Expr::Load { buffer, .. } => {
                let cell = (self.cell)(member, *buffer);
                match self.linear.contains(&cell) {
                    true => Some(1),
                    false => (!self.depends.contains(&cell)).then_some(0),
                }
            }
            Expr::LoadAt { .. } => None,
            Expr::Unary(UnaryOp::Exp, x) => match &**x {
                // What the maximum so far is not the largest of might overflow.
                Expr::Binary(BinaryOp::Sub, x, m) if matches!(**m, Expr::Reg(reg) if Cell::Reg(member, reg) == self.shift) => {
                    (resolved(x, regs) == self.term).then_some(1)
                }
                x => (degree(x)? == 0).then_some(0),
            },
            Expr::Unary(UnaryOp::Neg, x) => degree(x),
            Expr::Unary(_, x) | Expr::Cast(_, x) => (degree(x)? == 0).then_some(0),
            Expr::Binary(BinaryOp::Mul, a, b) => Some(degree(a)? + degree(b)?).filter(|all| *all <= 1),
            Expr::Binary(BinaryOp::Div, a, b) => (degree(b)? == 0).then_some(degree(a)?),
            Expr::Binary(BinaryOp::Add | BinaryOp::Sub, a, b) => Some(degree(a)?).filter(|a| degree(b) == Some(*a)),
            Expr::Binary(_, a, b) => (degree(a)? == 0 && degree(b)? == 0).then_some(0),
            Expr::Select { cond, then, otherwise } => {
                (degree(cond)? == 0).then_some(())?;
                match (is_zero(then), is_zero(otherwise)) {
                    (true, _) => degree(otherwise),
                    (_, true) => degree(then),
                    _ => Some(degree(then)?).filter(|a| degree(otherwise) == Some(*a)),
                }
            }
        }
    }
}

/// What a loop's body combines into a register.
fn term(body: &[Stmt], into: Reg) -> Option<Expr> {
    let mut regs: FxHashMap<Reg, (u32, Expr)> = FxHashMap::default();
    for stmt in body {
        match stmt {
            Stmt::Let { reg, value, .. } => _ = regs.insert(*reg, (0, resolved(value, &regs))),
            Stmt::Assign { reg, value } if *reg == into => {
                return Some(resolved(crate::cuda::tree::combines(*reg, value)?.1, &regs));
            }
            _ => return None,
        }
    }
    None
}

/// The expression with what registers stand for.
fn resolved(expr: &Expr, regs: &FxHashMap<Reg, (u32, Expr)>) -> Expr {
    let all = |x: &Expr| Box::new(resolved(x, regs));
    match expr {
        Expr::Reg(reg) => regs.get(reg).map_or_else(|| expr.clone(), |(_, value)| value.clone()),
        Expr::Const(_) | Expr::Index(_) | Expr::Load { .. } => expr.clone(),
        Expr::LoadAt { buffer, at } => Expr::LoadAt { buffer: *buffer, at: all(at) },
        Expr::Unary(op, x) => Expr::Unary(*op, all(x)),
        Expr::Cast(to, x) => Expr::Cast(*to, all(x)),
        Expr::Binary(op, a, b) => Expr::Binary(*op, all(a), all(b)),
        Expr::Select { cond, then, otherwise } => {
            Expr::Select { cond: all(cond), then: all(then), otherwise: all(otherwise) }
        }
    }
}

fn is_zero(expr: &Expr) -> bool {
    matches!(expr, Expr::Const(Scalar::F32(x)) if *x == 0.0)
}

/// Whether an accumulator is zero before all columns.
fn starts_at_zero<'a>(units: &[Unit], member: usize, reg: Reg, node: &impl Fn(&Unit) -> Option<&'a Node>) -> bool {
    let mut writers = units.iter().filter(|unit| unit.writes.contains(&Cell::Reg(member, reg)));
    let zero = |node: &Node| match node {
        Node::Plain(Stmt::Accumulator { init, .. }) => is_zero(init),
        _ => false,
    };
    writers.next().and_then(node).is_some_and(zero) && writers.count() == 1
}
