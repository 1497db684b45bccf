//! Kernels as C99.
//!
//! [`kernel`] prints one function; [`PRELUDE`] defines all that it calls and must stand before it, once a file.
//! The text has no names of its own beyond the function's, so equal text means equal code. CUDA shares the functions.

use crate::bounds::{self, Extents};
use crate::{Access, Atom, BinaryOp, DType, Expr, Index, Kernel, KernelBuffer, Reg, Scalar, Stmt, UnaryOp};
use rustc_hash::FxHashMap;
use std::fmt::Write;

/// Scalar functions as `static inline` C.
pub const PRELUDE: &str = include_str!("c/prelude.h");

/// `kernel` as a C function `void name(void *const *restrict buffers, int64_t lo, int64_t hi)` that runs the grid's
/// iterations lo..hi; `buffers` has one pointer for each of the kernel's buffers.
pub fn kernel(kernel: &Kernel, name: &str) -> String {
    let mut out = String::new();
    // The kernel's name comes from outside; a comment must not end early.
    let comment: String =
        kernel.name.chars().map(|c| if c.is_ascii_alphanumeric() || "_-. ".contains(c) { c } else { '_' }).collect();
    _ = writeln!(out, "/* {comment}: {} iterations */", kernel.extent);
    _ = writeln!(out, "void {name}(void *const *restrict buffers, int64_t lo, int64_t hi) {{");
    for (i, buffer) in kernel.shared().iter().enumerate() {
        let constant = if buffer.access == Access::Read { "const " } else { "" };
        let ty = stored(buffer.dtype);
        _ = writeln!(out, "  {constant}{ty} *restrict b{i} = ({constant}{ty} *)buffers[{i}]; /* {} */", buffer.len);
    }
    out.push_str("  VECTOR_LOOP\n  for (int64_t i0 = lo; i0 < hi; ++i0) {\n");
    out.push_str(&body(kernel, 2));
    out.push_str("  }\n}\n");
    out
}

/// The statements of one grid iteration: `i0` is the iteration and `b0`, `b1`, … are typed pointers.
pub fn body(kernel: &Kernel, depth: usize) -> String {
    let mut printer = Printer {
        buffers: &kernel.buffers,
        extents: bounds::extents(kernel.extent, &kernel.body),
        regs: FxHashMap::default(),
        keyed: FxHashMap::default(),
        out: String::new(),
    };
    let first = kernel.shared().len();
    for (i, buffer) in kernel.locals().iter().enumerate() {
        let (ty, number, len) = (stored(buffer.dtype), first + i, buffer.len.max(1));
        printer.line(depth, format_args!("{ty} b{number}[{len}] __attribute__((aligned(64)));"));
    }
    printer.block(&kernel.body, depth);
    printer.out
}

/// The C type of an element in memory.
pub fn stored(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "uint8_t",
        DType::I64 => "int64_t",
        DType::F32 => "float",
        DType::F64 => "double",
    }
}

pub(crate) fn held(dtype: DType) -> &'static str {
    if dtype == DType::Bool { "_Bool" } else { stored(dtype) }
}

/// A constant, exact: floats are printed as hexadecimal.
pub fn constant(value: Scalar) -> String {
    match value {
        Scalar::Bool(b) => format!("{}", b as u8),
        Scalar::I64(i64::MIN) => "INT64_MIN".into(),
        Scalar::I64(i) => format!("INT64_C({i})"),
        // NAN and INFINITY are floats in C, and convert.
        Scalar::F32(x) => hex_float(x as f64) + if x.is_finite() { "f" } else { "" },
        Scalar::F64(x) if x.is_finite() => hex_float(x),
        Scalar::F64(x) => format!("((double){})", hex_float(x)),
    }
}

fn hex_float(x: f64) -> String {
    let sign = if x.is_sign_negative() { "-" } else { "" };
    if x.is_nan() {
        return "NAN".into();
    } else if x.is_infinite() {
        return format!("({sign}INFINITY)");
    }
    let (exponent, mantissa) = ((x.to_bits() >> 52) & 0x7ff, x.to_bits() & ((1 << 52) - 1));
    match (exponent, mantissa) {
        (0, 0) => format!("{sign}0x0p+0"),
        (0, _) => format!("{sign}0x0.{mantissa:013x}p-1022"),
        _ => {
            let digits = format!("{mantissa:013x}");
            let digits = digits.trim_end_matches('0');
            let dot = if digits.is_empty() { "" } else { "." };
            format!("{sign}0x1{dot}{digits}p{:+}", exponent as i64 - 1023)
        }
    }
}

struct Printer<'a> {
    buffers: &'a [KernelBuffer],
    extents: Extents,
    regs: FxHashMap<Reg, DType>,
    /// Accumulators of maxima (true) and minima, while held as integer keys.
    keyed: FxHashMap<Reg, bool>,
    out: String,
}

impl Printer<'_> {
    fn line(&mut self, depth: usize, text: std::fmt::Arguments) {
        _ = writeln!(self.out, "{:width$}{text}", "", width = 2 * depth);
    }

    fn block(&mut self, stmts: &[Stmt], depth: usize) {
        for stmt in stmts {
            self.stmt(stmt, depth);
        }
    }

    fn stmt(&mut self, stmt: &Stmt, depth: usize) {
        match stmt {
            Stmt::Let { reg, dtype, value } => {
                let (text, _) = self.expr(value);
                self.regs.insert(*reg, *dtype);
                self.line(depth, format_args!("const {} r{} = {text};", held(*dtype), reg.0));
            }
            Stmt::Accumulator { reg, dtype, init } => {
                let (text, _) = self.expr(init);
                self.regs.insert(*reg, *dtype);
                self.line(depth, format_args!("{} r{} = {text};", held(*dtype), reg.0));
            }
            Stmt::Assign { reg, value } => {
                if let (Some(max), Some(term)) = (self.keyed.get(reg).copied(), extremum(*reg, value).map(|e| e.1)) {
                    let (text, dtype) = self.expr(term);
                    let (key, n, sign) = (key_type(dtype), reg.0, if max { ">" } else { "<" });
                    let name = extreme(max);
                    self.line(
                        depth,
                        format_args!(
                            "{{ const {key} k = {name}_key_{dtype}({text}); k{n} = k {sign} k{n} ? k : k{n}; }}"
                        ),
                    );
                } else {
                    let (text, _) = self.expr(value);
                    self.line(depth, format_args!("r{} = {text};", reg.0));
                }
            }
            Stmt::For { var, extent, vector, body } => {
                let keys = if *vector { extremes(body) } else { Vec::new() };
                for (reg, max) in &keys {
                    let Some(dtype) = self.regs.get(reg).copied().filter(|d| d.is_float()) else {
                        continue;
                    };
                    self.keyed.insert(*reg, *max);
                    let n = reg.0;
                    let (key, name) = (key_type(dtype), extreme(*max));
                    self.line(depth, format_args!("{key} k{n} = {name}_key_{dtype}(r{n});"));
                }
                if *vector {
                    self.line(depth, format_args!("VECTOR_LOOP"));
                }
                let i = var.0;
                self.line(depth, format_args!("for (int64_t i{i} = 0; i{i} < {extent}; ++i{i}) {{"));
                self.block(body, depth + 1);
                self.line(depth, format_args!("}}"));
                for (reg, _) in keys {
                    if self.keyed.remove(&reg).is_some() {
                        let (n, dtype) = (reg.0, self.regs[&reg]);
                        self.line(depth, format_args!("r{n} = unkey_{dtype}(k{n});"));
                    }
                }
            }
            Stmt::Store { buffer, index, value } => {
                let (text, _) = self.expr(value);
                let at = self.index(index);
                self.line(depth, format_args!("b{buffer}[{at}] = {text};"));
            }
            Stmt::StoreAt { buffer, at, value } => {
                let ((at, _), (text, _)) = (self.expr(at), self.expr(value));
                let len = self.buffers.get(*buffer).map_or(0, |b| b.len);
                self.line(
                    depth,
                    format_args!("{{ const int64_t at = {at}; if ((uint64_t)at < {len}u) b{buffer}[at] = {text}; }}"),
                );
            }
        }
    }

    /// The C text of `expr`, safe to embed anywhere, and its type.
    fn expr(&self, expr: &Expr) -> (String, DType) {
        match expr {
            Expr::Const(value) => (constant(*value), value.dtype()),
            Expr::Reg(reg) => (format!("r{}", reg.0), self.regs.get(reg).copied().unwrap_or(DType::F32)),
            Expr::Index(index) => (self.index(index), DType::I64),
            Expr::Load { buffer, index } => {
                let at = self.index(index);
                match self.dtype(*buffer) {
                    DType::Bool => (format!("(b{buffer}[{at}] != 0)"), DType::Bool),
                    dtype => (format!("b{buffer}[{at}]"), dtype),
                }
            }
            Expr::LoadAt { buffer, at } => {
                let (at, _) = self.expr(at);
                let (dtype, len) = (self.dtype(*buffer), self.buffers.get(*buffer).map_or(0, |b| b.len));
                (format!("load_{dtype}(b{buffer}, {len}, {at})"), dtype)
            }
            Expr::Unary(op, x) => {
                let (x, dtype) = self.expr(x);
                unary(*op, &x, dtype)
            }
            Expr::Binary(op, a, b) => {
                let ((a, dtype), (b, _)) = (self.expr(a), self.expr(b));
                binary(*op, &a, &b, dtype)
            }
            Expr::Select { cond, then, otherwise } => {
                let ((cond, _), (then, dtype), (otherwise, _)) =
                    (self.expr(cond), self.expr(then), self.expr(otherwise));
                (format!("({cond} ? {then} : {otherwise})"), dtype)
            }
            Expr::Cast(to, x) => {
                let (x, from) = self.expr(x);
                (cast(*to, &x, from), *to)
            }
        }
    }

    fn dtype(&self, buffer: usize) -> DType {
        self.buffers.get(buffer).map_or(DType::F32, |b| b.dtype)
    }

    fn index(&self, index: &Index) -> String {
        let mut out = String::from("(");
        for (i, (atom, coefficient)) in index.terms.iter().enumerate() {
            let plus = if i == 0 { "" } else { " + " };
            _ = write!(out, "{plus}{}", self.atom(atom));
            if *coefficient != 1 {
                _ = write!(out, " * {}", constant(Scalar::I64(*coefficient)));
            }
        }
        match (index.terms.is_empty(), index.offset) {
            (true, offset) => out.push_str(&constant(Scalar::I64(offset))),
            (false, 0) => {}
            (false, offset) => _ = write!(out, " + {}", constant(Scalar::I64(offset))),
        }
        out + ")"
    }

    fn atom(&self, atom: &Atom) -> String {
        let (inner, by, op) = match atom {
            Atom::Var(var) => return format!("i{}", var.0),
            Atom::Div(inner, by) => (inner, *by, '/'),
            Atom::Mod(inner, by) => (inner, *by, '%'),
        };
        let text = self.index(inner);
        // 32-bit divisions by constants are vector code, 64-bit ones are not.
        let small = |(low, high): (i64, i64)| low >= 0 && high <= u32::MAX as i64 && by <= u32::MAX as i64;
        if bounds::range(inner, &self.extents).is_some_and(small) {
            format!("(int64_t)((uint32_t){text} {op} {by}u)")
        } else {
            format!("({text} {op} {by})")
        }
    }
}

fn key_type(dtype: DType) -> &'static str {
    if dtype == DType::F64 { "int64_t" } else { "int32_t" }
}

fn extreme(max: bool) -> &'static str {
    if max { "max" } else { "min" }
}

/// Whether `value` is the maximum (true) or minimum of `reg` and a term without it; and that term.
fn extremum(reg: Reg, value: &Expr) -> Option<(bool, &Expr)> {
    let Expr::Binary(op @ (BinaryOp::Max | BinaryOp::Min), a, b) = value else {
        return None;
    };
    let term = match (&**a, &**b) {
        (Expr::Reg(r), term) | (term, Expr::Reg(r)) if *r == reg => term,
        _ => return None,
    };
    (!mentions(term, reg)).then_some((*op == BinaryOp::Max, term))
}

/// Accumulators that `body` only ever raises (or only ever lowers), and reads nowhere else.
///
/// Floats with NaN have no vector maximum; their order as integers has.
fn extremes(body: &[Stmt]) -> Vec<(Reg, bool)> {
    let mut found: Vec<(Reg, bool)> = Vec::new();
    for stmt in body {
        if let Stmt::Assign { reg, value } = stmt
            && let Some((max, _)) = extremum(*reg, value)
        {
            found.push((*reg, max));
        }
    }
    found.retain(|(reg, _)| {
        let uses = body.iter().filter(|stmt| match stmt {
            Stmt::Let { value, .. } | Stmt::Accumulator { init: value, .. } | Stmt::Store { value, .. } => {
                mentions(value, *reg)
            }
            Stmt::Assign { reg: to, value } => to == reg || mentions(value, *reg),
            Stmt::StoreAt { at, value, .. } => mentions(at, *reg) || mentions(value, *reg),
            // Loops within are not looked into: two uses, so not taken.
            Stmt::For { .. } => true,
        });
        uses.count() == 1
    });
    found
}

fn mentions(expr: &Expr, reg: Reg) -> bool {
    match expr {
        Expr::Reg(r) => *r == reg,
        Expr::Const(_) | Expr::Index(_) | Expr::Load { .. } => false,
        Expr::LoadAt { at: x, .. } | Expr::Unary(_, x) | Expr::Cast(_, x) => mentions(x, reg),
        Expr::Binary(_, a, b) => mentions(a, reg) || mentions(b, reg),
        Expr::Select { cond, then, otherwise } => [cond, then, otherwise].iter().any(|x| mentions(x, reg)),
    }
}

pub(crate) fn unary(op: UnaryOp, x: &str, dtype: DType) -> (String, DType) {
    let name = match op {
        UnaryOp::Neg => "neg",
        UnaryOp::Abs => "abs",
        UnaryOp::Sign => "sign",
        UnaryOp::Floor => "floor",
        UnaryOp::Exp => "exp",
        UnaryOp::Log => "log",
        UnaryOp::Log1p => "log1p",
        UnaryOp::Sqrt => "sqrt",
        UnaryOp::Sin => "sin",
        UnaryOp::Cos => "cos",
        UnaryOp::Tanh => "tanh",
        UnaryOp::Sigmoid => "sigmoid",
        UnaryOp::Softplus => "softplus",
        UnaryOp::Erf => "erf",
        UnaryOp::NormalQuantile => "normal_quantile",
        UnaryOp::IsFinite => return (format!("isfinite_{dtype}({x})"), DType::Bool),
        UnaryOp::Not => return (format!("(!{x})"), DType::Bool),
    };
    (format!("{name}_{dtype}({x})"), dtype)
}

pub(crate) fn binary(op: BinaryOp, a: &str, b: &str, dtype: DType) -> (String, DType) {
    let infix = |op: &str, dtype| (format!("({a} {op} {b})"), dtype);
    let call = |name: &str| (format!("{name}_{dtype}({a}, {b})"), dtype);
    let float = dtype.is_float();
    match op {
        BinaryOp::Add if float => infix("+", dtype),
        BinaryOp::Sub if float => infix("-", dtype),
        BinaryOp::Mul if float => infix("*", dtype),
        BinaryOp::Div if float => infix("/", dtype),
        BinaryOp::Add => call("add"),
        BinaryOp::Sub => call("sub"),
        BinaryOp::Mul => call("mul"),
        BinaryOp::Div => call("div"),
        BinaryOp::Rem => call("rem"),
        BinaryOp::Max => call("max"),
        BinaryOp::Min => call("min"),
        BinaryOp::Pow => call("pow"),
        BinaryOp::Atan2 => call("atan2"),
        BinaryOp::StudentCdf => call("student_cdf"),
        BinaryOp::StudentQuantile => call("student_quantile"),
        BinaryOp::Lt => infix("<", DType::Bool),
        BinaryOp::Le => infix("<=", DType::Bool),
        BinaryOp::Eq => infix("==", DType::Bool),
        BinaryOp::Ne => infix("!=", DType::Bool),
        BinaryOp::And => infix("&", DType::Bool),
        BinaryOp::Or => infix("|", DType::Bool),
    }
}

pub(crate) fn cast(to: DType, x: &str, from: DType) -> String {
    match (from, to) {
        _ if from == to => x.into(),
        (_, DType::Bool) => format!("({x} != 0)"),
        (DType::F32 | DType::F64, DType::I64) => format!("i64_of_{from}({x})"),
        _ => format!("(({}){x})", held(to)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_exact_and_honest() {
        assert_eq!(constant(Scalar::F32(0.1)), "0x1.99999ap-4f");
        assert_eq!(constant(Scalar::F64(1.0)), "0x1p+0");
        assert_eq!(constant(Scalar::F64(-0.0)), "-0x0p+0");
        assert_eq!(constant(Scalar::F64(5e-324)), "0x0.0000000000001p-1022");
        assert_eq!(constant(Scalar::F32(f32::NEG_INFINITY)), "(-INFINITY)");
        assert_eq!(constant(Scalar::F64(f64::NAN)), "((double)NAN)");
        assert_eq!(constant(Scalar::I64(i64::MIN)), "INT64_MIN");
    }
}
