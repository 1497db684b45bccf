//! Values that a vector loop computes again in each iteration of the loop around it move before that, into a local row:
//! a group's deviation, spread over its channels, is divided by once and not for every pixel.

use super::tidy::{exprs_mut, parts, parts_mut};
use super::weigh::weight;
use fgc_program::{Access, BinaryOp, DType, Expr, Kernel, KernelBuffer, Reg, Scalar, Stmt, UnaryOp, Var};
use rustc_hash::{FxHashMap, FxHashSet};

/// Iterations of the outer loop that pay for the row.
const TIMES: usize = 4;
/// Elements of a row.
const ROW: usize = 4096;
/// Weight of an expression that is worth a load.
const WORTH: f64 = 2.5;

pub(super) fn hoist(kernel: &mut Kernel) {
    let mut regs = FxHashMap::default();
    types(&kernel.body, &mut regs);
    let mut rows = Rows { buffers: std::mem::take(&mut kernel.buffers), regs, next: 1 + last_var(&kernel.body) };
    rows.block(&mut kernel.body);
    kernel.buffers = rows.buffers;
}

/// The highest number of a loop's variable.
fn last_var(body: &[Stmt]) -> u32 {
    let inner = |stmt: &Stmt| match stmt {
        Stmt::For { var, body, .. } => var.0.max(last_var(body)),
        _ => 0,
    };
    body.iter().map(inner).max().unwrap_or(0)
}

struct Rows {
    buffers: Vec<KernelBuffer>,
    regs: FxHashMap<Reg, DType>,
    /// The next free variable.
    next: u32,
}

impl Rows {
    fn block(&mut self, body: &mut Vec<Stmt>) {
        let mut i = 0;
        while i < body.len() {
            let mut rows = Vec::new();
            if let Stmt::For { var, extent, vector: false, body: inner } = &mut body[i] {
                self.block(inner);
                if *extent >= TIMES {
                    rows = self.hoisted(*var, inner);
                }
            }
            let count = rows.len();
            body.splice(i..i, rows);
            i += count + 1;
        }
    }

    /// Loops that fill rows with what the vector loops directly in `body` compute alike for each value of `outer`.
    fn hoisted(&mut self, outer: Var, body: &mut [Stmt]) -> Vec<Stmt> {
        let mut written = FxHashSet::default();
        let mut varying = FxHashSet::default();
        changes(body, &mut written, &mut varying);
        let mut loops = Vec::new();
        for stmt in body {
            let Stmt::For { var: lane, extent, vector: true, body } = stmt else { continue };
            if *extent > ROW {
                continue;
            }
            let mut alike: FxHashMap<Reg, Expr> = FxHashMap::default();
            let mut found: Vec<Expr> = Vec::new();
            for stmt in body.iter_mut() {
                let scope =
                    Scope { outer, lane: *lane, written: &written, varying: &varying, rows: self, alike: &alike };
                if let Stmt::Let { reg, value, .. } = stmt
                    && scope.is_alike(value)
                {
                    let whole = scope.whole(value);
                    alike.insert(*reg, whole);
                    continue;
                }
                exprs_mut(stmt).into_iter().for_each(|x| scope.replace(x, &mut found));
            }
            for mut value in found {
                let own = Var(self.next);
                self.next += 1;
                let (buffer, dtype) = (self.buffers.len(), self.dtype(&value));
                self.buffers.push(KernelBuffer { dtype, len: *extent, access: Access::Local });
                rename(&mut value, *lane, own);
                let store = Stmt::Store { buffer, index: own.into(), value };
                loops.push(Stmt::For { var: own, extent: *extent, vector: true, body: vec![store] });
            }
        }
        loops
    }

    fn dtype(&self, x: &Expr) -> DType {
        match x {
            Expr::Const(value) => value.dtype(),
            Expr::Reg(reg) => self.regs[reg],
            Expr::Index(_) => DType::I64,
            Expr::Load { buffer, .. } | Expr::LoadAt { buffer, .. } => self.buffers[*buffer].dtype,
            Expr::Unary(UnaryOp::IsFinite, _) => DType::Bool,
            Expr::Unary(_, x) => self.dtype(x),
            Expr::Binary(op, ..) if op.is_comparison() => DType::Bool,
            Expr::Binary(_, a, _) => self.dtype(a),
            Expr::Select { then, .. } => self.dtype(then),
            Expr::Cast(to, _) => *to,
        }
    }
}

struct Scope<'a> {
    outer: Var,
    lane: Var,
    /// Buffers that change within the outer loop.
    written: &'a FxHashSet<usize>,
    varying: &'a FxHashSet<Reg>,
    rows: &'a Rows,
    /// Registers of the loop that are alike, and what they are without registers of the loop.
    alike: &'a FxHashMap<Reg, Expr>,
}

impl Scope<'_> {
    /// Whether `x` is the same in all iterations of the outer loop.
    fn is_alike(&self, x: &Expr) -> bool {
        let own = match x {
            Expr::Reg(reg) => self.alike.contains_key(reg) || !self.varying.contains(reg),
            Expr::Index(index) => !index.mentions(self.outer),
            Expr::Load { buffer, index } => !index.mentions(self.outer) && !self.written.contains(buffer),
            Expr::LoadAt { buffer, .. } => !self.written.contains(buffer),
            _ => true,
        };
        own && parts(x).into_iter().all(|part| self.is_alike(part))
    }

    /// `x` without registers of the loop.
    fn whole(&self, x: &Expr) -> Expr {
        let mut x = x.clone();
        fn expand(x: &mut Expr, alike: &FxHashMap<Reg, Expr>) {
            match x {
                Expr::Reg(reg) => {
                    if let Some(value) = alike.get(reg) {
                        *x = value.clone();
                    }
                }
                _ => parts_mut(x).into_iter().for_each(|part| expand(part, alike)),
            }
        }
        expand(&mut x, self.alike);
        x
    }

    /// Puts loads from rows for the largest parts of `x` that are alike and worth it: `found`, which get the next free
    /// buffers in turn.
    fn replace(&self, x: &mut Expr, found: &mut Vec<Expr>) {
        if self.is_alike(x) {
            let whole = self.whole(x);
            if self.rows.dtype(&whole).is_float() && self.is_worth(&whole) {
                let at = found.iter().position(|value| *value == whole).unwrap_or(found.len());
                if at == found.len() {
                    found.push(whole);
                }
                *x = Expr::Load { buffer: self.rows.buffers.len() + at, index: self.lane.into() };
            }
            return;
        }
        match x {
            // A branch may be out of bounds where its guard does not hold.
            Expr::Select { cond, .. } => self.replace(cond, found),
            Expr::Binary(BinaryOp::Div, dividend, divisor)
                if self.is_alike(divisor) && mentions(&self.whole(divisor), self.lane) =>
            {
                self.replace(dividend, found);
                let one = Expr::Const(Scalar::new(self.rows.dtype(&self.whole(divisor)), 1.0));
                let mut factor = Expr::Binary(BinaryOp::Div, one.into(), divisor.clone());
                self.replace(&mut factor, found);
                *x = Expr::Binary(BinaryOp::Mul, dividend.clone(), factor.into());
            }
            _ => parts_mut(x).into_iter().for_each(|part| self.replace(part, found)),
        }
    }

    fn is_worth(&self, x: &Expr) -> bool {
        mentions(x, self.lane) && weight(x, self.lane) >= WORTH
    }
}

fn mentions(x: &Expr, var: Var) -> bool {
    let own = match x {
        Expr::Index(index) | Expr::Load { index, .. } => index.mentions(var),
        _ => false,
    };
    own || parts(x).into_iter().any(|part| mentions(part, var))
}

fn rename(x: &mut Expr, from: Var, to: Var) {
    if let Expr::Index(index) | Expr::Load { index, .. } = x {
        *index = index.rename(from, to);
    }
    parts_mut(x).into_iter().for_each(|part| rename(part, from, to));
}

/// What changes within a loop: buffers written, registers defined or assigned.
fn changes(body: &[Stmt], written: &mut FxHashSet<usize>, regs: &mut FxHashSet<Reg>) {
    for stmt in body {
        match stmt {
            Stmt::Store { buffer, .. } | Stmt::StoreAt { buffer, .. } => {
                written.insert(*buffer);
            }
            Stmt::Let { reg, .. } | Stmt::Accumulator { reg, .. } | Stmt::Assign { reg, .. } => {
                regs.insert(*reg);
            }
            Stmt::For { body, .. } => changes(body, written, regs),
        }
    }
}

/// The type of each register.
fn types(body: &[Stmt], regs: &mut FxHashMap<Reg, DType>) {
    for stmt in body {
        match stmt {
            Stmt::Let { reg, dtype, .. } | Stmt::Accumulator { reg, dtype, .. } => {
                regs.insert(*reg, *dtype);
            }
            Stmt::For { body, .. } => types(body, regs),
            _ => {}
        }
    }
}
