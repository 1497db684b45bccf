//! Loop nests as functions of their own: what they take from the kernel around them are arguments, numbers included.
//!
//! Nests of different kernels (a norm of other sizes, another position in a rollout) then have the same text, and are
//! compiled once. What vector code depends on stays in the text: the vector loop's extent, its strides, divisors.

use crate::{Atom, Index, Kernel, Reg, Scalar, Stmt, Var};
use rustc_hash::{FxHashMap, FxHashSet};

/// Numbers up to this stay in the text: short loops are unrolled, small strides shuffled.
const SMALL: u64 = 16;

/// Iterations that make a call's cost negligible.
const WORTH: usize = 512;

/// Something of the kernel that its nest is given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Argument {
    Buffer(usize),
    /// What positions have in common that the nest's own loops do not change.
    Offset(Index),
    Extent(Var),
    /// What a step of this loop adds to positions.
    Stride(Var, i64),
    /// A factor or a summand that has a size or a rate in it.
    Number(Scalar),
    /// An element that no iteration changes.
    Fixed(usize, i64),
    /// A register that the nest only reads.
    Value(Reg),
    /// An accumulator that it changes.
    Accumulator(Reg),
}

/// A nest while it is printed: names are given in the order in which they are met, so that equal nests have equal text.
pub(super) struct Nest {
    pub arguments: Vec<Argument>,
    vars: FxHashMap<Var, usize>,
    regs: FxHashMap<Reg, usize>,
    /// Registers that it assigns.
    assigned: FxHashSet<Reg>,
    /// Loops around vector loops.
    outer: FxHashSet<Var>,
    /// Buffers that it writes.
    pub written: FxHashSet<usize>,
}

impl Nest {
    pub fn new(stmt: &Stmt) -> Nest {
        let mut nest = Nest {
            arguments: Vec::new(),
            vars: FxHashMap::default(),
            regs: FxHashMap::default(),
            assigned: FxHashSet::default(),
            outer: FxHashSet::default(),
            written: FxHashSet::default(),
        };
        nest.scan(std::slice::from_ref(stmt));
        nest
    }

    /// Whether there is a vector loop.
    fn scan(&mut self, body: &[Stmt]) -> bool {
        let mut found = false;
        for stmt in body {
            match stmt {
                Stmt::Assign { reg, .. } => drop(self.assigned.insert(*reg)),
                Stmt::Store { buffer, .. } | Stmt::StoreAt { buffer, .. } => drop(self.written.insert(*buffer)),
                Stmt::For { var, vector, body, .. } => {
                    let within = self.scan(body);
                    if within && !vector {
                        self.outer.insert(*var);
                    }
                    found |= within || *vector;
                }
                _ => {}
            }
        }
        found
    }

    /// The name of an argument.
    pub fn argument(&mut self, argument: Argument) -> String {
        let known = self.arguments.iter().position(|a| *a == argument);
        let at = known.unwrap_or_else(|| {
            self.arguments.push(argument);
            self.arguments.len() - 1
        });
        format!("a{at}")
    }

    /// The number of a loop of its own.
    pub fn enter(&mut self, var: Var) -> usize {
        let next = self.vars.len();
        *self.vars.entry(var).or_insert(next)
    }

    pub fn var(&mut self, var: Var) -> String {
        match self.vars.get(&var) {
            Some(number) => format!("i{number}"),
            None => self.argument(Argument::Offset(Index::from(var))),
        }
    }

    /// The number of a register that is defined here.
    pub fn define(&mut self, reg: Reg) -> usize {
        let next = self.regs.len();
        *self.regs.entry(reg).or_insert(next)
    }

    pub fn reg(&mut self, reg: Reg) -> String {
        if !self.regs.contains_key(&reg) {
            if !self.assigned.contains(&reg) {
                return self.argument(Argument::Value(reg));
            }
            self.argument(Argument::Accumulator(reg));
        }
        format!("r{}", self.define(reg))
    }

    /// A constant, where it is an argument: not what arithmetic can be left out for, nor what vector code depends on.
    pub fn number(&mut self, value: Scalar) -> Option<String> {
        let plain = match value {
            Scalar::F32(x) => [0.0, 1.0].contains(&x.abs()),
            Scalar::F64(x) => [0.0, 1.0].contains(&x.abs()),
            Scalar::Bool(_) | Scalar::I64(_) => true,
        };
        (!plain).then(|| self.argument(Argument::Number(value)))
    }

    pub fn extent(&mut self, var: Var, extent: usize) -> String {
        if self.outer.contains(&var) && extent as u64 > SMALL {
            self.argument(Argument::Extent(var))
        } else {
            extent.to_string()
        }
    }

    /// The coefficient of an atom, where it is an argument.
    pub fn stride(&mut self, atom: &Atom, coefficient: i64) -> Option<String> {
        match atom {
            Atom::Var(var) if self.outer.contains(var) && coefficient.unsigned_abs() > SMALL => {
                Some(self.argument(Argument::Stride(*var, coefficient)))
            }
            _ => None,
        }
    }

    /// `index` in what the nest's loops change and, as an argument, the rest.
    pub fn split(&mut self, index: &Index) -> (Index, Option<String>) {
        let inner = |atom: &Atom| match atom {
            Atom::Var(var) => self.vars.contains_key(var),
            Atom::Div(of, _) | Atom::Mod(of, _) => {
                let mut found = false;
                of.each_var(&mut |var| found |= self.vars.contains_key(&var));
                found
            }
        };
        let (own, rest): (Vec<_>, Vec<_>) = index.terms.iter().cloned().partition(|(atom, _)| inner(atom));
        if rest.is_empty() && index.offset.unsigned_abs() <= SMALL {
            return (index.clone(), None);
        }
        let rest = self.argument(Argument::Offset(Index { terms: rest, offset: index.offset }));
        (Index { terms: own, offset: 0 }, Some(rest))
    }
}

/// Which statements of a kernel become functions: loops with vector loops in them, where calls cost nothing that can be
/// measured.
pub(super) fn worth(kernel: &Kernel) -> Vec<bool> {
    let has_vector = |stmt: &Stmt| Nest::new(stmt).scan(std::slice::from_ref(stmt));
    let is_nest: Vec<bool> =
        kernel.body.iter().map(|stmt| matches!(stmt, Stmt::For { .. }) && has_vector(stmt)).collect();
    let count = is_nest.iter().filter(|is| **is).count();
    let amortised = kernel.extent <= 1 || work(&kernel.body) >= count.saturating_mul(WORTH);
    let nests = kernel.body.iter().zip(is_nest);
    nests.map(|(stmt, is)| is && (amortised || work(std::slice::from_ref(stmt)) >= WORTH)).collect()
}

/// Whether all loops of a kernel, within its grid's, are functions: how well it is compiled itself then matters little.
pub fn only_calls(kernel: &Kernel) -> bool {
    let loops = |stmt: &Stmt| matches!(stmt, Stmt::For { .. });
    kernel.body.iter().any(loops) && kernel.body.iter().zip(worth(kernel)).all(|(stmt, apart)| apart || !loops(stmt))
}

/// Innermost iterations.
fn work(body: &[Stmt]) -> usize {
    let each = |stmt: &Stmt| match stmt {
        Stmt::For { extent, body, .. } => extent.saturating_mul(work(body)),
        _ => 1,
    };
    body.iter().map(each).fold(0, usize::saturating_add)
}
