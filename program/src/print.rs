//! Kernels and plans as text for people.

use crate::{
    Access, Atom, Band, BinaryOp, Conv, Expr, Index, Kernel, Known, Launch, Operand, Place, Plan, Program, Stmt,
    UnaryOp,
};
use std::fmt::{self, Display, Formatter};

/// All kernels, by number.
pub fn kernels(program: &Program) -> String {
    program.kernels.iter().enumerate().map(|(i, kernel)| format!("k{i} {kernel}\n")).collect()
}

/// All plans: launches in order, with where their buffers lie.
pub fn plans(program: &Program) -> String {
    let mut out = format!("arena {} bytes, {} buffers\n", program.arena, program.buffers.len());
    for plan in &program.plans {
        out += &format!("\n{}", plan_text(program, plan));
    }
    out
}

fn plan_text(program: &Program, plan: &Plan) -> String {
    let buffer = |id: crate::BufferId| match program.buffers.get(id.0 as usize) {
        None => format!("#{}?", id.0),
        Some(b) => {
            let place = match b.place {
                Place::Persistent => String::new(),
                Place::Arena { offset } => format!("@{offset}"),
                Place::Band { offset } => format!("@band+{offset}"),
                Place::Part { of, start } => format!("=#{}+{start}", of.0),
            };
            format!("#{}{place}:{}[{}]", id.0, b.dtype, b.len)
        }
    };
    let operand = |o: &Operand| format!("{}+{}({},{})", buffer(o.buffer), o.offset, o.row, o.col);
    let mut out = format!("plan {}\n", plan.name);
    for read in &plan.inputs {
        let Some(input) = program.inputs.get(read.input) else { continue };
        let number = input.number.as_ref().map_or(String::new(), |n| format!("_{{{}}}", known(program, n)));
        let when = read.when.as_ref().map_or(String::new(), |w| format!(" when {}", known(program, w)));
        out += &format!("  input {}{number} {:?} = {}{when}\n", input.name, input.shape, buffer(input.buffer));
    }
    for (i, launch) in plan.launches.iter().enumerate() {
        if let Some(guard) = plan.guards.iter().find(|guard| guard.launches.start == i) {
            out += &format!("  when {}: {} launches\n", known(program, &guard.when), guard.launches.len());
        }
        if let Some(band) = plan.bands.iter().find(|band| band.launches.start == i) {
            let (count, along) = (band.launches.len(), &band.along);
            let Band { entries, rows, block, .. } = band;
            out += &format!("  band of {entries} × {rows} rows by {block}: {count} launches {along:?}\n");
        }
        let text = match launch {
            Launch::Kernel { kernel, args } => {
                let found = program.kernels.get(kernel.0 as usize);
                let name = found.map_or("?", |k| &k.name);
                let (mut written, mut read) = (Vec::new(), Vec::new());
                for (j, arg) in args.iter().enumerate() {
                    let access = found.and_then(|k| k.buffers.get(j)).map_or(Access::Read, |b| b.access);
                    let list = if access == Access::Read { &mut read } else { &mut written };
                    list.push(buffer(*arg));
                }
                format!("{} = k{} {name} {}", written.join(", "), kernel.0, read.join(", "))
            }
            Launch::Contract(c) => {
                let batch: String =
                    c.batch.iter().map(|d| format!(" ×{}({},{},{})", d.extent, d.a, d.b, d.c)).collect();
                let (m, n, k) = (c.m, c.n, c.k);
                format!("{} = contract {m}×{n}×{k}{batch} {} {}", operand(&c.c), operand(&c.a), operand(&c.b))
            }
            Launch::Conv(conv) => {
                let (computed, others) = conv.operands();
                let turned = if conv.turned { " with filters turned" } else { "" };
                let [first, second] = others.map(&buffer);
                format!("{} = conv {}{turned} {first} {second}", buffer(computed), geometry(conv))
            }
            Launch::Extern(e) => {
                let file = program.codes.get(e.code).map_or("?", |code| &code.name);
                let args: Vec<String> = e.args.iter().map(|arg| buffer(*arg)).collect();
                let (args, at) = (args.join(", "), &e.results);
                let (entry, out, numbers) = (&e.entry, buffer(e.out), &e.numbers);
                format!("{out} at {at:?} = extern {entry} of {file} {numbers:?} {args} on {} × {}", e.blocks, e.threads)
            }
        };
        out += &format!("  {i:4} {text}\n");
    }
    for output in &plan.outputs {
        out += &format!("  output {} {:?} = {}\n", output.name, output.shape, buffer(output.buffer));
    }
    out
}

/// A known number, its loads by the inputs' names.
fn known(program: &Program, known: &Known) -> String {
    let inner = |x: &Known| self::known(program, x);
    match known {
        Expr::Load { buffer, index } => match program.inputs.get(*buffer) {
            Some(input) => format!("{}[{index}]", input.name),
            None => known.to_string(),
        },
        Expr::Unary(op, x) => format!("{}({})", word(op), inner(x)),
        Expr::Binary(op, a, b) => match infix(*op) {
            Some(op) => format!("({} {op} {})", inner(a), inner(b)),
            None => format!("{}({}, {})", word(op), inner(a), inner(b)),
        },
        Expr::Select { cond, then, otherwise } => {
            format!("({} ? {} : {})", inner(cond), inner(then), inner(otherwise))
        }
        Expr::Cast(dtype, x) => format!("{dtype}({})", inner(x)),
        _ => known.to_string(),
    }
}

fn geometry(c: &Conv) -> String {
    format!(
        "{:?} {}×{}×{}×{} by {}×{} to {} stride {:?} pad {:?}",
        c.role, c.batch, c.height, c.width, c.channels, c.kernel[0], c.kernel[1], c.filters, c.stride, c.pad
    )
}

impl Display for Kernel {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let buffers = self.buffers.iter().enumerate().map(|(i, b)| {
            let access = match b.access {
                Access::Read => "",
                Access::Write => "out ",
                Access::ReadWrite => "inout ",
                Access::Local => "local ",
            };
            format!("{access}b{i}: {}[{}]", b.dtype, b.len)
        });
        writeln!(f, "{}({})", self.name, buffers.collect::<Vec<_>>().join(", "))?;
        writeln!(f, "  grid i0 in {}", self.extent)?;
        block(f, &self.body, 2)
    }
}

fn block(f: &mut Formatter, stmts: &[Stmt], depth: usize) -> fmt::Result {
    for stmt in stmts {
        write!(f, "{:width$}", "", width = 2 * depth)?;
        match stmt {
            Stmt::Let { reg, dtype, value } => writeln!(f, "r{}: {dtype} = {value}", reg.0)?,
            Stmt::Accumulator { reg, dtype, init } => writeln!(f, "var r{}: {dtype} = {init}", reg.0)?,
            Stmt::Assign { reg, value } => writeln!(f, "r{} := {value}", reg.0)?,
            Stmt::For { var, extent, vector, body } => {
                writeln!(f, "for i{} in {extent}{}", var.0, if *vector { " vector" } else { "" })?;
                block(f, body, depth + 1)?;
            }
            Stmt::Store { buffer, index, value } => writeln!(f, "b{buffer}[{index}] = {value}")?,
            Stmt::StoreAt { buffer, at, value } => writeln!(f, "b{buffer}[at {at}] = {value}")?,
        }
    }
    Ok(())
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Expr::Const(value) => write!(f, "{value}"),
            Expr::Reg(reg) => write!(f, "r{}", reg.0),
            Expr::Index(index) => write!(f, "int({index})"),
            Expr::Load { buffer, index } => write!(f, "b{buffer}[{index}]"),
            Expr::LoadAt { buffer, at } => write!(f, "b{buffer}[at {at}]"),
            Expr::Unary(UnaryOp::Neg, x) => write!(f, "-{x}"),
            Expr::Unary(op, x) => write!(f, "{}({x})", word(op)),
            Expr::Binary(op, a, b) => match infix(*op) {
                Some(op) => write!(f, "({a} {op} {b})"),
                None => write!(f, "{}({a}, {b})", word(op)),
            },
            Expr::Select { cond, then, otherwise } => write!(f, "({cond} ? {then} : {otherwise})"),
            Expr::Cast(dtype, x) => write!(f, "{dtype}({x})"),
        }
    }
}

fn word(op: &impl fmt::Debug) -> String {
    format!("{op:?}").to_lowercase()
}

fn infix(op: BinaryOp) -> Option<&'static str> {
    Some(match op {
        BinaryOp::Add => "+",
        BinaryOp::Sub => "-",
        BinaryOp::Mul => "*",
        BinaryOp::Div => "/",
        BinaryOp::Rem => "%",
        BinaryOp::Lt => "<",
        BinaryOp::Le => "<=",
        BinaryOp::Eq => "==",
        BinaryOp::Ne => "!=",
        BinaryOp::And => "&",
        BinaryOp::Or => "|",
        _ => return None,
    })
}

impl Display for Index {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        for (i, (atom, coefficient)) in self.terms.iter().enumerate() {
            let sign = match (i, *coefficient < 0) {
                (0, false) => "",
                (0, true) => "-",
                (_, false) => " + ",
                (_, true) => " - ",
            };
            match coefficient.unsigned_abs() {
                1 => write!(f, "{sign}{atom}")?,
                factor => write!(f, "{sign}{factor}·{atom}")?,
            }
        }
        match self.offset {
            offset if self.terms.is_empty() => write!(f, "{offset}"),
            0 => Ok(()),
            offset => write!(f, " {} {}", if offset < 0 { '-' } else { '+' }, offset.unsigned_abs()),
        }
    }
}

impl Display for Atom {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let (inner, op, by) = match self {
            Atom::Var(var) => return write!(f, "i{}", var.0),
            Atom::Div(inner, by) => (inner, '/', by),
            Atom::Mod(inner, by) => (inner, '%', by),
        };
        match (&inner.terms[..], inner.offset) {
            ([(Atom::Var(_), 1)], 0) => write!(f, "({inner}{op}{by})"),
            _ => write!(f, "(({inner}){op}{by})"),
        }
    }
}
