//! Kernels as text.

use super::nest::{Argument, Nest, worth};
use super::{binary, cast, constant, extreme, extremes, extremum, held, key_type, stored, unary};
use crate::bounds::{self, Extents};
use crate::{Access, Atom, DType, Expr, Index, Kernel, Reg, Scalar, Stmt};
use rustc_hash::FxHashMap;
use std::fmt::Write;

/// The C functions of kernels. Loops that several kernels have in common are functions of their own.
#[derive(Default)]
pub struct Functions {
    /// `n0`, `n1`, …: complete definitions. Files other than a nest's own need its [`declaration`](Functions::declaration).
    pub nests: Vec<String>,
    /// Nests by what follows their names.
    known: FxHashMap<String, usize>,
}

impl Functions {
    /// `kernel` as a C function `void name(void *const *restrict buffers, int64_t lo, int64_t hi)` that runs the grid's
    /// iterations lo..hi; `buffers` has one pointer for each of the kernel's buffers. And the nests that it calls.
    ///
    /// The text has no names of its own beyond the function's and its nests', so equal text means equal code.
    pub fn kernel(&mut self, kernel: &Kernel, name: &str) -> (String, Vec<usize>) {
        let mut printer = Printer {
            kernel,
            extents: bounds::extents(kernel.extent, &kernel.body),
            regs: FxHashMap::default(),
            keyed: FxHashMap::default(),
            nest: None,
            fixed: Vec::new(),
            out: String::new(),
        };
        let first = kernel.shared().len();
        for (i, buffer) in kernel.locals().iter().enumerate() {
            let (ty, number, len) = (stored(buffer.dtype), first + i, buffer.len.max(1));
            printer.line(2, format_args!("{ty} b{number}[{len}] __attribute__((aligned(64)));"));
        }
        let mut called = Vec::new();
        for (stmt, apart) in kernel.body.iter().zip(worth(kernel)) {
            if apart {
                let nest = self.nest(&mut printer, stmt);
                called.extend((!called.contains(&nest)).then_some(nest));
            } else {
                printer.stmt(stmt, 2);
            }
        }
        let Printer { fixed, out: body, .. } = printer;

        let mut out = String::new();
        // The kernel's name comes from outside; a comment must not end early.
        let comment: String = kernel
            .name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "_-. ".contains(c) { c } else { '_' })
            .collect();
        _ = writeln!(out, "/* {comment}: {} iterations */", kernel.extent);
        _ = writeln!(out, "void {name}(void *const *restrict buffers, int64_t lo, int64_t hi) {{");
        for (i, buffer) in kernel.shared().iter().enumerate() {
            let constant = if buffer.access == Access::Read { "const " } else { "" };
            let ty = stored(buffer.dtype);
            _ = writeln!(out, "  {constant}{ty} *restrict b{i} = ({constant}{ty} *)buffers[{i}]; /* {} */", buffer.len);
        }
        for (i, (buffer, at)) in fixed.into_iter().enumerate() {
            let dtype = kernel.buffers[buffer].dtype;
            let (ty, test) = (held(dtype), if dtype == DType::Bool { " != 0" } else { "" });
            _ = writeln!(out, "  const {ty} f{i} = b{buffer}[{at}]{test};");
        }
        _ = write!(out, "  VECTOR_LOOP\n  for (int64_t i0 = lo; i0 < hi; ++i0) {{\n{body}  }}\n  LEAVE\n}}\n");
        (out, called)
    }

    /// The nest's prototype.
    pub fn declaration(&self, nest: usize) -> String {
        let definition = self.nests.get(nest).map_or("", |nest| nest);
        definition.split_once(" {\n").map_or(String::new(), |(head, _)| format!("{head};\n"))
    }

    /// `stmt` as a function; its call is printed where the kernel has it.
    fn nest(&mut self, printer: &mut Printer, stmt: &Stmt) -> usize {
        let mut inner = Printer {
            kernel: printer.kernel,
            extents: std::mem::take(&mut printer.extents),
            regs: printer.regs.clone(),
            keyed: FxHashMap::default(),
            nest: Some(Nest::new(stmt)),
            fixed: Vec::new(),
            out: String::new(),
        };
        inner.stmt(stmt, 1);
        printer.extents = inner.extents;
        let (mut arguments, mut values) = (Vec::new(), Vec::new());
        let (mut before, mut after) = (String::new(), String::new());
        let mut nest = inner.nest.unwrap_or_else(|| Nest::new(stmt));
        for (at, argument) in std::mem::take(&mut nest.arguments).iter().enumerate() {
            arguments.push(format!("{}a{at}", printer.declared(argument, &nest)));
            values.push(printer.given(argument));
            if let Argument::Accumulator(reg) = argument {
                let (ty, name) = (held(printer.regs.get(reg).copied().unwrap_or(DType::F32)), nest.reg(*reg));
                _ = writeln!(before, "  {ty} {name} = *a{at};");
                _ = writeln!(after, "  *a{at} = {name};");
            }
        }
        let code = format!("({}) {{\n{before}{}{after}}}\n", arguments.join(", "), inner.out);
        let next = self.nests.len();
        let number = *self.known.entry(code).or_insert_with_key(|code| {
            self.nests.push(format!("NEST void n{next}{code}"));
            next
        });
        printer.line(2, format_args!("n{number}({});", values.join(", ")));
        number
    }
}

struct Printer<'a> {
    kernel: &'a Kernel,
    extents: Extents,
    regs: FxHashMap<Reg, DType>,
    /// Accumulators of maxima (true) and minima, while held as integer keys.
    keyed: FxHashMap<Reg, bool>,
    /// Where a nest of the kernel is printed as a function of its own.
    nest: Option<Nest>,
    /// Elements that are the same in all iterations, loaded before the first: buffers and positions.
    fixed: Vec<(usize, i64)>,
    out: String,
}

impl Printer<'_> {
    /// The number of a register that is defined here.
    fn define(&mut self, reg: Reg, dtype: DType) -> usize {
        self.regs.insert(reg, dtype);
        self.nest.as_mut().map_or(reg.0 as usize, |nest| nest.define(reg))
    }

    fn reg(&mut self, reg: Reg) -> String {
        self.nest.as_mut().map_or_else(|| format!("r{}", reg.0), |nest| nest.reg(reg))
    }

    fn buffer(&mut self, number: usize) -> String {
        let own = || format!("b{number}");
        self.nest.as_mut().map_or_else(own, |nest| nest.argument(Argument::Buffer(number)))
    }

    /// An element that no iteration changes, where it is one. Vector code takes these loads badly, under conditions most of
    /// all.
    fn fixed(&mut self, buffer: usize, index: &Index) -> Option<String> {
        let (at, known) = (index.as_constant()?, self.kernel.buffers.get(buffer)?);
        let within = usize::try_from(at).is_ok_and(|at| at < known.len);
        if !within || known.access != Access::Read {
            return None;
        }
        if let Some(nest) = &mut self.nest {
            return Some(nest.argument(Argument::Fixed(buffer, at)));
        }
        let place = self.fixed.iter().position(|fixed| *fixed == (buffer, at)).unwrap_or_else(|| {
            self.fixed.push((buffer, at));
            self.fixed.len() - 1
        });
        Some(format!("f{place}"))
    }

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
                let n = self.define(*reg, *dtype);
                self.line(depth, format_args!("const {} r{n} = {text};", held(*dtype)));
            }
            Stmt::Accumulator { reg, dtype, init } => {
                let (text, _) = self.expr(init);
                let n = self.define(*reg, *dtype);
                self.line(depth, format_args!("{} r{n} = {text};", held(*dtype)));
            }
            Stmt::Assign { reg, value } => {
                if let (Some(max), Some(term)) = (self.keyed.get(reg).copied(), extremum(*reg, value).map(|e| e.1)) {
                    let (text, dtype) = self.expr(term);
                    let (key, reg, sign) = (key_type(dtype), self.reg(*reg), if max { ">" } else { "<" });
                    let name = extreme(max);
                    self.line(
                        depth,
                        format_args!(
                            "{{ const {key} k = {name}_key_{dtype}({text}); k{reg} = k {sign} k{reg} ? k : k{reg}; }}"
                        ),
                    );
                } else {
                    let ((text, _), reg) = (self.expr(value), self.reg(*reg));
                    self.line(depth, format_args!("{reg} = {text};"));
                }
            }
            Stmt::For { var, extent, vector, body } => {
                let keys = if *vector { extremes(body) } else { Vec::new() };
                for (reg, max) in &keys {
                    let Some(dtype) = self.regs.get(reg).copied().filter(|d| d.is_float()) else {
                        continue;
                    };
                    self.keyed.insert(*reg, *max);
                    let (key, name, reg) = (key_type(dtype), extreme(*max), self.reg(*reg));
                    self.line(depth, format_args!("{key} k{reg} = {name}_key_{dtype}({reg});"));
                }
                if *vector {
                    self.line(depth, format_args!("VECTOR_LOOP"));
                }
                let (i, extent) = match &mut self.nest {
                    Some(nest) => (nest.enter(*var), nest.extent(*var, *extent)),
                    None => (var.0 as usize, extent.to_string()),
                };
                self.line(depth, format_args!("for (int64_t i{i} = 0; i{i} < {extent}; ++i{i}) {{"));
                self.block(body, depth + 1);
                self.line(depth, format_args!("}}"));
                for (reg, _) in keys {
                    if self.keyed.remove(&reg).is_some() {
                        let (dtype, reg) = (self.regs[&reg], self.reg(reg));
                        self.line(depth, format_args!("{reg} = unkey_{dtype}(k{reg});"));
                    }
                }
            }
            Stmt::Store { buffer, index, value } => {
                let (text, _) = self.expr(value);
                let (b, at) = (self.buffer(*buffer), self.index(index));
                self.line(depth, format_args!("{b}[{at}] = {text};"));
            }
            Stmt::StoreAt { buffer, at, value } => {
                let ((at, _), (text, _)) = (self.expr(at), self.expr(value));
                let (b, len) = (self.buffer(*buffer), self.kernel.buffers.get(*buffer).map_or(0, |b| b.len));
                self.line(
                    depth,
                    format_args!("{{ const int64_t at = {at}; if ((uint64_t)at < {len}u) {b}[at] = {text}; }}"),
                );
            }
        }
    }

    /// The C text of `expr`, safe to embed anywhere, and its type.
    fn expr(&mut self, expr: &Expr) -> (String, DType) {
        match expr {
            Expr::Const(value) => {
                let argument = self.nest.as_mut().and_then(|nest| nest.number(*value));
                (argument.unwrap_or_else(|| constant(*value)), value.dtype())
            }
            Expr::Reg(reg) => (self.reg(*reg), self.regs.get(reg).copied().unwrap_or(DType::F32)),
            Expr::Index(index) => (self.index(index), DType::I64),
            Expr::Load { buffer, index } => {
                if let Some(fixed) = self.fixed(*buffer, index) {
                    return (fixed, self.dtype(*buffer));
                }
                let (b, at) = (self.buffer(*buffer), self.index(index));
                match self.dtype(*buffer) {
                    DType::Bool => (format!("({b}[{at}] != 0)"), DType::Bool),
                    dtype => (format!("{b}[{at}]"), dtype),
                }
            }
            Expr::LoadAt { buffer, at } => {
                let (at, _) = self.expr(at);
                let (dtype, len) = (self.dtype(*buffer), self.kernel.buffers.get(*buffer).map_or(0, |b| b.len));
                (format!("load_{dtype}({}, {len}, {at})", self.buffer(*buffer)), dtype)
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
        self.kernel.buffers.get(buffer).map_or(DType::F32, |b| b.dtype)
    }

    fn index(&mut self, index: &Index) -> String {
        let (index, rest) = match &mut self.nest {
            Some(nest) => nest.split(index),
            None => (index.clone(), None),
        };
        let mut parts: Vec<String> = rest.into_iter().collect();
        for (atom, coefficient) in &index.terms {
            let text = self.atom(atom);
            let stride = self.nest.as_mut().and_then(|nest| nest.stride(atom, *coefficient));
            parts.push(match stride {
                Some(stride) => format!("{text} * {stride}"),
                None if *coefficient == 1 => text,
                None => format!("{text} * {}", constant(Scalar::I64(*coefficient))),
            });
        }
        if index.offset != 0 || parts.is_empty() {
            parts.push(constant(Scalar::I64(index.offset)));
        }
        format!("({})", parts.join(" + "))
    }

    fn atom(&mut self, atom: &Atom) -> String {
        let (inner, by, op) = match atom {
            Atom::Var(var) => {
                return self.nest.as_mut().map_or_else(|| format!("i{}", var.0), |nest| nest.var(*var));
            }
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

    /// The type of a parameter of `nest`.
    fn declared(&self, argument: &Argument, nest: &Nest) -> String {
        let register = |reg: &Reg| held(self.regs.get(reg).copied().unwrap_or(DType::F32));
        match argument {
            Argument::Buffer(at) => {
                let read = if nest.written.contains(at) { "" } else { "const " };
                format!("{read}{} *restrict ", stored(self.dtype(*at)))
            }
            Argument::Offset(_) | Argument::Extent(_) | Argument::Stride(..) => "int64_t ".into(),
            Argument::Number(value) => format!("{} ", held(value.dtype())),
            Argument::Fixed(buffer, _) => format!("{} ", held(self.dtype(*buffer))),
            Argument::Value(reg) => format!("{} ", register(reg)),
            Argument::Accumulator(reg) => format!("{} *", register(reg)),
        }
    }

    /// What a nest is called with.
    fn given(&mut self, argument: &Argument) -> String {
        match argument {
            Argument::Buffer(at) => self.buffer(*at),
            Argument::Offset(index) => self.index(index),
            Argument::Extent(var) => self.extents.get(var).map_or(0, |extent| *extent).to_string(),
            Argument::Stride(_, by) => constant(Scalar::I64(*by)),
            Argument::Number(value) => constant(*value),
            Argument::Fixed(buffer, at) => self.fixed(*buffer, &Index::constant(*at)).unwrap_or_default(),
            Argument::Value(reg) => self.reg(*reg),
            Argument::Accumulator(reg) => format!("&{}", self.reg(*reg)),
        }
    }
}
