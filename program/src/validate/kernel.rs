//! Checks on one kernel: scopes, types, access, bounds.

use crate::bounds::{self, Extents};
use crate::{Access, Atom, BinaryOp, DType, Expr, Index, Kernel, Reg, Stmt, UnaryOp, Var};
use rustc_hash::{FxHashMap, FxHashSet};

/// Registers and variables are numbered below this, so that tables by number stay small.
const NUMBERS: u32 = 1 << 20;

/// Indices with divisions are checked value by value if there are no more than these.
const ENUMERATED: usize = 1 << 16;

pub fn problems(kernel: &Kernel) -> Vec<String> {
    let mut check = Check {
        kernel,
        extents: bounds::extents(kernel.extent, &kernel.body),
        vars: FxHashSet::from_iter([Var::GRID]),
        used: FxHashSet::from_iter([Var::GRID]),
        regs: FxHashMap::default(),
        defined: FxHashSet::default(),
        guarded: false,
        problems: Vec::new(),
    };
    if kernel.locals().iter().any(|buffer| buffer.access != Access::Local) {
        check.problem("a local buffer stands before one that a launch gives".into());
    }
    if kernel.extent > 0 {
        check.block(&kernel.body);
    }
    check.problems
}

struct Check<'a> {
    kernel: &'a Kernel,
    extents: Extents,
    /// Loops around the current statement.
    vars: FxHashSet<Var>,
    /// All loops seen.
    used: FxHashSet<Var>,
    /// Registers in scope: type, and whether it is an accumulator.
    regs: FxHashMap<Reg, (DType, bool)>,
    defined: FxHashSet<Reg>,
    /// Within a branch that may not be taken.
    guarded: bool,
    problems: Vec<String>,
}

impl Check<'_> {
    fn problem(&mut self, what: String) {
        self.problems.push(what);
    }

    fn block(&mut self, stmts: &[Stmt]) {
        let outer: Vec<Reg> = self.regs.keys().copied().collect();
        for stmt in stmts {
            self.stmt(stmt);
        }
        let outer: FxHashSet<Reg> = outer.into_iter().collect();
        self.regs.retain(|reg, _| outer.contains(reg));
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Let { reg, dtype, value } => {
                self.expect(value, *dtype);
                self.define(*reg, *dtype, false);
            }
            Stmt::Accumulator { reg, dtype, init } => {
                self.expect(init, *dtype);
                self.define(*reg, *dtype, true);
            }
            Stmt::Assign { reg, value } => match self.regs.get(reg).copied() {
                Some((dtype, true)) => self.expect(value, dtype),
                _ => self.problem(format!("r{} is assigned but is no accumulator here", reg.0)),
            },
            Stmt::For { var, extent, body, .. } => {
                if var.0 >= NUMBERS || !self.used.insert(*var) {
                    self.problem(format!("loop variable i{} is taken or too high", var.0));
                } else if *extent > 0 {
                    self.vars.insert(*var);
                    self.block(body);
                    self.vars.remove(var);
                }
            }
            Stmt::Store { buffer, index, value } => {
                if let Some(dtype) = self.written(*buffer) {
                    self.expect(value, dtype);
                    self.bounds(*buffer, index);
                }
            }
            Stmt::StoreAt { buffer, at, value } => {
                if let Some(dtype) = self.written(*buffer) {
                    self.expect(value, dtype);
                    self.expect(at, DType::I64);
                }
            }
        }
    }

    fn define(&mut self, reg: Reg, dtype: DType, accumulator: bool) {
        if reg.0 >= NUMBERS || !self.defined.insert(reg) {
            self.problem(format!("r{} is defined twice or too high", reg.0));
        }
        self.regs.insert(reg, (dtype, accumulator));
    }

    fn written(&mut self, buffer: usize) -> Option<DType> {
        let found = self.kernel.buffers.get(buffer).filter(|b| b.access != Access::Read);
        if found.is_none() {
            self.problem(format!("stores to b{buffer}, which is not there to be written"));
        }
        found.map(|b| b.dtype)
    }

    fn read(&mut self, buffer: usize) -> Option<DType> {
        let found = self.kernel.buffers.get(buffer).filter(|b| b.access != Access::Write);
        if found.is_none() {
            self.problem(format!("loads from b{buffer}, which is not there to be read"));
        }
        found.map(|b| b.dtype)
    }

    fn expect(&mut self, expr: &Expr, dtype: DType) {
        if let Some(found) = self.expr(expr)
            && found != dtype
        {
            self.problem(format!("{found} where {dtype} is needed: {expr:?}"));
        }
    }

    /// The type of an expression; None where a problem was found in it.
    fn expr(&mut self, expr: &Expr) -> Option<DType> {
        match expr {
            Expr::Const(value) => Some(value.dtype()),
            Expr::Reg(reg) => {
                let found = self.regs.get(reg).map(|(dtype, _)| *dtype);
                if found.is_none() {
                    self.problem(format!("r{} is not defined here", reg.0));
                }
                found
            }
            Expr::Index(index) => self.index(index).then_some(DType::I64),
            Expr::Load { buffer, index } => {
                let dtype = self.read(*buffer)?;
                if self.guarded {
                    self.index(index);
                } else {
                    self.bounds(*buffer, index);
                }
                Some(dtype)
            }
            Expr::LoadAt { buffer, at } => {
                self.expect(at, DType::I64);
                self.read(*buffer)
            }
            Expr::Unary(op, x) => {
                let x = self.expr(x)?;
                let fits = match op {
                    UnaryOp::Neg | UnaryOp::Abs => x != DType::Bool,
                    UnaryOp::Not => x == DType::Bool,
                    _ => x.is_float(),
                };
                if !fits {
                    self.problem(format!("{op:?} of {x}"));
                }
                Some(if *op == UnaryOp::IsFinite { DType::Bool } else { x })
            }
            Expr::Binary(op, a, b) => {
                let (a, b) = (self.expr(a)?, self.expr(b)?);
                let fits = match op {
                    BinaryOp::And | BinaryOp::Or => a == DType::Bool,
                    BinaryOp::Eq | BinaryOp::Ne => true,
                    BinaryOp::Atan2 | BinaryOp::StudentCdf | BinaryOp::StudentQuantile => a.is_float(),
                    _ => a != DType::Bool,
                };
                if a != b || !fits {
                    self.problem(format!("{op:?} of {a} and {b}"));
                }
                Some(if op.is_comparison() { DType::Bool } else { a })
            }
            Expr::Select { cond, then, otherwise } => {
                self.expect(cond, DType::Bool);
                let guarded = std::mem::replace(&mut self.guarded, true);
                let types = (self.expr(then), self.expr(otherwise));
                self.guarded = guarded;
                let (then, otherwise) = (types.0?, types.1?);
                if then != otherwise {
                    self.problem(format!("a choice between {then} and {otherwise}"));
                }
                Some(then)
            }
            Expr::Cast(to, x) => self.expr(x).map(|_| *to),
        }
    }

    /// Whether all variables of `index` are loops around it, and its divisors are positive.
    fn index(&mut self, index: &Index) -> bool {
        let mut vars = FxHashSet::default();
        let divisors = collect(index, &mut vars);
        let known = vars.iter().all(|var| self.vars.contains(var));
        if !known || !divisors {
            self.problem(format!("index {index:?} has an unknown variable or a divisor that is not positive"));
        }
        known && divisors
    }

    fn bounds(&mut self, buffer: usize, index: &Index) {
        if !self.index(index) {
            return;
        }
        let len = self.kernel.buffers[buffer].len;
        let range = bounds::range(index, &self.extents);
        if range.is_some_and(|(low, high)| low >= 0 && (high as u64) < len as u64) {
            return;
        }
        let affine = index.terms.iter().all(|(atom, _)| matches!(atom, Atom::Var(_)));
        if affine || self.enumerate(index, len) {
            let reach = range.map_or("out of i64".into(), |(low, high)| format!("over {low}..={high}"));
            self.problem(format!("an index of b{buffer} goes {reach}, but it has {len} elements"));
        }
    }

    /// Whether some value of `index` lies outside 0..len; false if there are too many values to look at.
    fn enumerate(&self, index: &Index, len: usize) -> bool {
        let mut vars = FxHashSet::default();
        collect(index, &mut vars);
        let vars: Vec<(Var, usize)> = vars.into_iter().map(|var| (var, self.extents[&var])).collect();
        let count = vars.iter().try_fold(1usize, |n, (_, extent)| n.checked_mul(*extent));
        let Some(count) = count.filter(|n| *n <= ENUMERATED) else {
            return false;
        };
        (0..count).any(|mut n| {
            // Extents of 1 make the bounds of this index its value.
            let mut fixed = index.clone();
            for (var, extent) in &vars {
                substitute(&mut fixed, *var, (n % extent) as i64);
                n /= extent;
            }
            bounds::range(&fixed, &Extents::default()).is_none_or(|(at, _)| at < 0 || at as u64 >= len as u64)
        })
    }
}

/// Adds the variables of `index`; whether all its divisors are positive.
fn collect(index: &Index, vars: &mut FxHashSet<Var>) -> bool {
    index.terms.iter().fold(true, |good, (atom, _)| {
        good & match atom {
            Atom::Var(var) => {
                vars.insert(*var);
                true
            }
            Atom::Div(inner, by) | Atom::Mod(inner, by) => collect(inner, vars) & (*by > 0),
        }
    })
}

/// Puts `value` for `var`. Terms may vanish into the offset.
fn substitute(index: &mut Index, var: Var, value: i64) {
    let mut offset = index.offset;
    index.terms.retain_mut(|(atom, coefficient)| match atom {
        Atom::Var(v) if *v == var => {
            offset = offset.wrapping_add(value.wrapping_mul(*coefficient));
            false
        }
        Atom::Var(_) => true,
        Atom::Div(inner, _) | Atom::Mod(inner, _) => {
            substitute(inner, var, value);
            true
        }
    });
    index.offset = offset;
}
