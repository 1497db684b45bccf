//! Scalar expressions and indices as CUDA C++.

use super::context::{Context, Home};
use crate::bounds::{Extents, range};
use crate::{Atom, DType, Expr, Index, Reg, Scalar, Var, c};
use rustc_hash::{FxHashMap, FxHashSet};
use std::fmt::Write;

pub(super) struct Scalars<'a> {
    context: &'a Context<'a>,
    pub regs: FxHashMap<Reg, DType>,
    /// Registers that stand for one thread's part of a sum.
    pub partial: FxHashSet<Reg>,
    /// The text of elements that are at hand without a load.
    pub packed: FxHashMap<(usize, Index), String>,
    /// Whether positions need 64 bits.
    long: bool,
}

impl<'a> Scalars<'a> {
    /// For a stage of so many points.
    pub fn new(context: &'a Context<'a>, points: usize) -> Scalars<'a> {
        let largest = context.buffers.iter().map(|buffer| buffer.len).max().unwrap_or(0).max(points);
        // Room for the parts of sums, of which some are negative.
        let long = largest >= 1 << 29;
        let (regs, partial, packed) = (FxHashMap::default(), FxHashSet::default(), FxHashMap::default());
        Scalars { context, regs, partial, packed, long }
    }

    /// The type of loop variables and positions.
    pub fn int(&self) -> &'static str {
        if self.long { "int64_t" } else { "int" }
    }

    pub fn unsigned(&self) -> &'static str {
        if self.long { "uint64_t" } else { "unsigned" }
    }

    /// The type of a buffer's elements.
    pub fn stored(&self, buffer: usize) -> &'static str {
        if self.context.narrow[buffer] { "bf16" } else { c::stored(self.context.buffers[buffer].dtype) }
    }

    /// A value as it is stored.
    pub fn narrowed(&self, buffer: usize, value: &str) -> String {
        if self.context.narrow[buffer] { format!("narrow({value})") } else { value.to_string() }
    }

    pub fn reg(&self, reg: Reg) -> String {
        format!("{}{}", if self.partial.contains(&reg) { "p" } else { "r" }, reg.0)
    }

    pub fn constant(&self, value: Scalar) -> String {
        c::constant(value)
    }

    fn dtype(&self, buffer: usize) -> DType {
        self.context.buffers[buffer].dtype
    }

    /// The text of `expr`, safe to embed anywhere, and its type.
    pub fn expr(&self, expr: &Expr) -> (String, DType) {
        match expr {
            Expr::Const(value) => (self.constant(*value), value.dtype()),
            Expr::Reg(reg) => (self.reg(*reg), self.regs.get(reg).copied().unwrap_or(DType::F32)),
            Expr::Index(index) => (format!("((int64_t){})", self.index(index)), DType::I64),
            Expr::Load { buffer, index } => {
                let element = match self.packed.get(&(*buffer, index.clone())) {
                    Some(text) => text.clone(),
                    None => format!("b{buffer}[{}]", self.place(*buffer, index)),
                };
                let dtype = self.dtype(*buffer);
                match dtype {
                    DType::Bool => (format!("({element} != 0)"), dtype),
                    _ if self.context.narrow[*buffer] => (format!("widen({element})"), dtype),
                    _ => (element, dtype),
                }
            }
            Expr::LoadAt { buffer, at } => {
                let (at, _) = self.expr(at);
                let (dtype, len) = (self.dtype(*buffer), self.context.buffers[*buffer].len);
                (format!("load_{dtype}(b{buffer}, {len}, {at})"), dtype)
            }
            Expr::Unary(op, x) => {
                let (x, dtype) = self.expr(x);
                c::unary(*op, &x, dtype)
            }
            Expr::Binary(op, a, b) => {
                let ((a, dtype), (b, _)) = (self.expr(a), self.expr(b));
                c::binary(*op, &a, &b, dtype)
            }
            Expr::Select { cond, then, otherwise } => {
                let ((cond, _), (then, dtype), (otherwise, _)) =
                    (self.expr(cond), self.expr(then), self.expr(otherwise));
                (format!("({cond} ? {then} : {otherwise})"), dtype)
            }
            Expr::Cast(to, x) => {
                let (x, from) = self.expr(x);
                (c::cast(*to, &x, from), *to)
            }
        }
    }

    /// The text of an element's place in a buffer.
    pub fn place(&self, buffer: usize, index: &Index) -> String {
        match (self.context.homes[buffer], self.context.column) {
            (Home::Rows, _) => self.index_at(index, Var::GRID, "row"),
            (Home::RowColumns, Some((column, chunk))) => format!("(row * {chunk} + i{} - column0)", column.0),
            (Home::Columns, Some((column, _))) => format!("(i{} - column0)", column.0),
            _ => self.index(index),
        }
    }

    pub fn index(&self, index: &Index) -> String {
        self.print_index(index, None)
    }

    /// With the text `at` for the variable `var`.
    pub fn index_at(&self, index: &Index, var: Var, at: &str) -> String {
        self.print_index(index, Some((var, at)))
    }

    fn print_index(&self, index: &Index, at: Option<(Var, &str)>) -> String {
        let mut out = String::from("(");
        for (i, (atom, coefficient)) in index.terms.iter().enumerate() {
            let (sign, times) = match (i, *coefficient) {
                (0, times) => ("", times),
                (_, times) if times < 0 => (" - ", -times),
                (_, times) => (" + ", times),
            };
            _ = write!(out, "{sign}{}", self.atom(atom, at));
            if times != 1 {
                _ = write!(out, " * {times}");
            }
        }
        match (index.terms.is_empty(), index.offset) {
            (true, offset) => _ = write!(out, "{offset}"),
            (false, 0) => {}
            (false, offset) if offset < 0 => _ = write!(out, " - {}", -offset),
            (false, offset) => _ = write!(out, " + {offset}"),
        }
        out + ")"
    }

    fn atom(&self, atom: &Atom, at: Option<(Var, &str)>) -> String {
        let (inner, by, op) = match atom {
            Atom::Var(var) => match at {
                Some((of, text)) if of == *var => return text.to_string(),
                _ => return format!("i{}", var.0),
            },
            Atom::Div(inner, by) => (inner, *by, '/'),
            Atom::Mod(inner, by) => (inner, *by, '%'),
        };
        let text = self.print_index(inner, at);
        if by <= i64::from(u32::MAX) && small(inner, self.context.extents) {
            format!("({})((unsigned){text} {op} {by}u)", self.int())
        } else {
            format!("({text} {op} {by})")
        }
    }
}

/// Whether an index is never negative and has 32 bits at most.
fn small(index: &Index, extents: &Extents) -> bool {
    range(index, extents).is_some_and(|(low, high)| low >= 0 && high <= i64::from(u32::MAX))
}
