//! A stage as a CUDA function.

mod wide;

use super::context::{Context, Home, Printed};
use super::scalar::Scalars;
use super::stage::{Stage, Team, each_access};
use super::tree::{Node, Sum, combines, neutral};
use super::vector::{self, WIDTH, Wide};
use crate::{BinaryOp, DType, Index, Reg, Stmt, Var, c};
use rustc_hash::FxHashSet;
use std::fmt::Write;

/// Threads of a block, where teams are smaller.
pub(super) const THREADS: usize = 256;
/// Blocks of a launch at most: a few for each multiprocessor; each goes through several points.
const BLOCKS: usize = 4096;

pub(super) fn stage(stage: &Stage, context: &Context) -> Printed {
    let count: usize = stage.points.iter().map(|(_, extent)| *extent).product();
    let wide = if context.aligned { vector::wide(stage, context) } else { None };
    let (threads, each) = match stage.team {
        Team::Thread => (THREADS, THREADS * if wide.is_some() { WIDTH } else { 1 }),
        Team::Warp => (THREADS, THREADS / 32),
        Team::Column(rows) => (32 * rows, 32),
        Team::Block(threads) => (threads, 1),
    };
    let mut touched: Vec<usize> = Vec::new();
    let mut written: FxHashSet<usize> = FxHashSet::default();
    for node in &stage.body {
        each_access(node, &mut |buffer, writes| {
            if !touched.contains(&buffer) {
                touched.push(buffer);
            }
            if writes {
                written.insert(buffer);
            }
        });
    }
    touched.sort_unstable();
    let given: Vec<usize> = touched.iter().copied().filter(|&b| context.homes[b] == Home::Argument).collect();
    let scratches = touched.iter().any(|&b| matches!(context.homes[b], Home::Scratch(_)));
    let mut printer = Printer {
        context,
        scalars: Scalars::new(context, count),
        team: stage.team,
        written,
        out: String::new(),
        names: 0,
    };
    printer.function(stage, &given, &touched, scratches, count, wide);
    let blocks = count.div_ceil(each).clamp(1, BLOCKS);
    Printed { text: printer.out, buffers: given, scratches, blocks, threads }
}

/// The text of one grid iteration's nodes as a warp runs them, in a function that defines the buffers, `row`, `i0` and the
/// registers that are `given`; and the type of `i0`.
pub(super) fn row<'a>(
    nodes: impl IntoIterator<Item = &'a Node>,
    context: &Context,
    count: usize,
    given: &[(Reg, DType)],
    depth: usize,
) -> (String, &'static str) {
    let mut scalars = Scalars::new(context, count);
    scalars.regs.extend(given.iter().copied());
    let mut printer =
        Printer { context, scalars, team: Team::Warp, written: FxHashSet::default(), out: String::new(), names: 0 };
    let mut since = Since::default();
    printer.nodes(nodes, Who::Warp, &mut since, depth);
    // The next row uses the same memory again.
    let own = |b: &usize| matches!(context.homes[*b], Home::Shared | Home::Columns);
    if since.written.iter().any(own) || since.read.iter().any(own) {
        printer.meet(Who::Warp, &mut since, depth);
    }
    let int = printer.scalars.int();
    (printer.out, int)
}

/// The text of what a stage of one thread does at a point, in a function that defines the buffers and the point's place; the
/// element that is loaded from `known` has this text. And the type of places.
pub(super) fn element(stage: &Stage, context: &Context, known: (usize, Index), text: &str) -> (String, &'static str) {
    let count = stage.points.iter().map(|(_, extent)| *extent).product();
    let mut scalars = Scalars::new(context, count);
    scalars.packed.insert(known, text.into());
    let mut printer =
        Printer { context, scalars, team: Team::Thread, written: FxHashSet::default(), out: String::new(), names: 0 };
    for node in &stage.body {
        if let Node::Plain(stmt) = node {
            printer.plain(stmt, Who::One, 3);
        }
    }
    let int = printer.scalars.int();
    (printer.out, int)
}

/// Who goes through a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// One thread, alone.
    One,
    Warp,
    Column(usize),
    Block(usize),
}

struct Printer<'a> {
    context: &'a Context<'a>,
    scalars: Scalars<'a>,
    team: Team,
    written: FxHashSet<usize>,
    out: String,
    names: usize,
}

/// What a team has done since all its threads last met.
#[derive(Clone, Debug, Default)]
struct Since {
    written: FxHashSet<usize>,
    read: FxHashSet<usize>,
}

impl Printer<'_> {
    fn line(&mut self, depth: usize, text: &str) {
        _ = writeln!(self.out, "{:width$}{text}", "", width = 2 * depth);
    }

    fn name(&mut self) -> usize {
        self.names += 1;
        self.names
    }

    fn function(
        &mut self,
        stage: &Stage,
        given: &[usize],
        touched: &[usize],
        scratches: bool,
        count: usize,
        wide: Option<Wide>,
    ) {
        let context = self.context;
        let mut parameters: Vec<String> = given
            .iter()
            .map(|&b| {
                let constant = if self.written.contains(&b) { "" } else { "const " };
                format!("{constant}{} *__restrict__ b{b}", self.scalars.stored(b))
            })
            .collect();
        if scratches {
            parameters.push("char *scratch".into());
        }
        _ = writeln!(self.out, "({}) {{", parameters.join(", "));
        let teams = if self.team == Team::Warp { THREADS / 32 } else { 1 };
        for &b in touched {
            let (len, ty) = (context.buffers[b].len.max(1), self.scalars.stored(b));
            match context.homes[b] {
                Home::Shared if teams > 1 => {
                    self.line(1, &format!("__shared__ {ty} s{b}[{}];", len * teams));
                    self.line(1, &format!("{ty} *const b{b} = s{b} + threadIdx.x / 32 * {len};"));
                }
                Home::Shared => self.line(1, &format!("__shared__ {ty} b{b}[{len}];")),
                _ => {}
            }
        }
        match self.team {
            Team::Block(threads) => self.line(1, &format!("__shared__ double sums[{}];", threads.div_ceil(32))),
            Team::Column(rows) => self.line(1, &format!("__shared__ double sums[{}];", 32 * rows)),
            Team::Thread | Team::Warp => {}
        }
        let int = self.scalars.unsigned();
        let per = if wide.is_some() { WIDTH } else { 1 };
        let (first, step) = match self.team {
            Team::Thread => {
                (format!("({int})blockIdx.x * {THREADS} + threadIdx.x"), format!("({int})gridDim.x * {THREADS}"))
            }
            Team::Warp => {
                (format!("({int})blockIdx.x * {teams} + threadIdx.x / 32"), format!("({int})gridDim.x * {teams}"))
            }
            Team::Column(_) => (format!("({int})blockIdx.x * 32"), format!("({int})gridDim.x * 32")),
            Team::Block(_) => (format!("({int})blockIdx.x"), "gridDim.x".into()),
        };
        let end = count / per;
        self.line(1, &format!("for ({int} p = {first}; p < {end}u; p += {step}) {{"));
        let point = if let Team::Column(_) = self.team {
            self.line(2, &format!("const {int} column = p + threadIdx.x % 32;"));
            self.line(2, &format!("const bool inside = column < {count}u;"));
            self.line(2, &format!("const {int} q = inside ? column : {}u;", count - 1));
            "q"
        } else {
            "p"
        };
        self.unpack(point, &stage.points, per, 2);
        for &b in touched {
            let (len, ty) = (context.buffers[b].len.max(1), self.scalars.stored(b));
            match context.homes[b] {
                Home::Scratch(offset) => {
                    self.line(2, &format!("{ty} *const b{b} = ({ty} *)(scratch + {offset}) + (int64_t)i0 * {len};"))
                }
                Home::Own => self.line(2, &format!("{ty} b{b}[{len}];")),
                _ => {}
            }
        }
        let who = match self.team {
            Team::Thread => Who::One,
            Team::Warp => Who::Warp,
            Team::Column(rows) => Who::Column(rows),
            Team::Block(threads) => Who::Block(threads),
        };
        match wide {
            Some(wide) => self.wide(stage, wide),
            None => {
                let mut since = Since::default();
                self.nodes(&stage.body, who, &mut since, 2);
                // The next point uses the same memory again.
                let shared = |b: &usize| context.homes[*b] == Home::Shared;
                if since.written.iter().any(shared) || since.read.iter().any(shared) {
                    self.meet(who, &mut since, 2);
                }
            }
        }
        self.line(1, "}");
        self.out.push_str("}\n");
    }

    /// Defines the variables of point number `name`; the last, divided by `per`, counts groups.
    fn unpack(&mut self, name: &str, points: &[(Var, usize)], per: usize, depth: usize) {
        let (int, unsigned) = (self.scalars.int(), self.scalars.unsigned());
        let mut inner: usize = 1;
        let mut lines = Vec::new();
        for (n, &(var, extent)) in points.iter().enumerate().rev() {
            let last = n + 1 == points.len();
            let extent = if last { extent / per } else { extent }.max(1);
            let quotient = if inner == 1 { name.to_string() } else { format!("({unsigned})({name} / {inner}u)") };
            let value = match (n, extent) {
                (_, 1) => "0".to_string(),
                (0, _) => quotient,
                _ => format!("{quotient} % {extent}u"),
            };
            let value = if last && per > 1 { format!("({value}) * {per}u") } else { value };
            let suffix = if last && per > 1 { "_0" } else { "" };
            lines.push(format!("const {int} i{}{suffix} = ({int})({value});", var.0));
            inner *= extent.max(1);
        }
        for line in lines {
            self.line(depth, &line);
        }
    }

    /// All threads of a team wait for each other, and see what the others wrote.
    fn meet(&mut self, who: Who, since: &mut Since, depth: usize) {
        match who {
            Who::One => {}
            Who::Warp => self.line(depth, "__syncwarp();"),
            Who::Column(_) | Who::Block(_) => self.line(depth, "__syncthreads();"),
        }
        *since = Since::default();
    }

    /// Meets before something that touches what another thread of the team may have written, or writes what it may yet read.
    fn before(&mut self, node: &Node, who: Who, since: &mut Since, depth: usize) {
        if who == Who::One {
            return;
        }
        let mut clash = false;
        let mut now = Since::default();
        each_access(node, &mut |buffer, writes| {
            clash |= since.written.contains(&buffer) || writes && since.read.contains(&buffer);
            if writes {
                now.written.insert(buffer)
            } else {
                now.read.insert(buffer)
            };
        });
        if clash {
            self.meet(who, since, depth);
        }
        since.written.extend(now.written);
        since.read.extend(now.read);
    }

    fn nodes<'n>(&mut self, nodes: impl IntoIterator<Item = &'n Node>, who: Who, since: &mut Since, depth: usize) {
        for node in nodes {
            self.before(node, who, since, depth);
            match node {
                Node::Plain(stmt) => self.plain(stmt, who, depth),
                Node::Map { points, body } => self.map(points, body, who, depth),
                Node::Reduce { points, body, sums } => self.reduce(points, body, sums, who, depth),
                Node::Loop { var, extent, body } => {
                    // Iterations see what those before them wrote.
                    if who != Who::One {
                        self.meet(who, since, depth);
                    }
                    self.open_loop(*var, *extent, depth);
                    let mut inner = Since::default();
                    self.nodes(body, who, &mut inner, depth + 1);
                    if who != Who::One && !(inner.written.is_empty() && inner.read.is_empty()) {
                        self.meet(who, &mut inner, depth + 1);
                    }
                    self.line(depth, "}");
                    *since = Since::default();
                }
            }
        }
    }

    fn open_loop(&mut self, var: Var, extent: usize, depth: usize) {
        let (int, i) = (self.scalars.int(), var.0);
        self.line(depth, &format!("for ({int} i{i} = 0; i{i} < {extent}; ++i{i}) {{"));
    }

    /// A loop over points that `who` shares: the member's number, and how many there are.
    fn open_points(&mut self, points: &[(Var, usize)], member: &str, members: usize, depth: usize) {
        if let (&[(var, _)], Some((column, _))) = (points, self.context.column)
            && var == column
        {
            let (int, i) = (self.scalars.int(), var.0);
            self.line(
                depth,
                &format!("for ({int} i{i} = column0 + {member}; i{i} < column_end; i{i} += {members}) {{"),
            );
            return;
        }
        let count: usize = points.iter().map(|(_, extent)| *extent).product();
        let (q, unsigned) = (self.name(), self.scalars.unsigned());
        self.line(depth, &format!("for ({unsigned} q{q} = {member}; q{q} < {count}u; q{q} += {members}) {{"));
        self.unpack(&format!("q{q}"), points, 1, depth + 1);
    }

    fn map(&mut self, points: &[(Var, usize)], body: &[Node], who: Who, depth: usize) {
        let nested = body.iter().any(|node| !matches!(node, Node::Plain(_)));
        match who {
            Who::One => {
                for (n, &(var, extent)) in points.iter().enumerate() {
                    self.open_loop(var, extent, depth + n);
                }
                self.nodes(body, who, &mut Since::default(), depth + points.len());
                for n in (0..points.len()).rev() {
                    self.line(depth + n, "}");
                }
                return;
            }
            Who::Warp => {
                self.open_points(points, "threadIdx.x % 32", 32, depth);
                self.nodes(body, Who::One, &mut Since::default(), depth + 1);
            }
            Who::Block(threads) if nested && self.worth_warps(body) => {
                self.open_points(points, "threadIdx.x / 32", threads / 32, depth);
                self.nodes(body, Who::Warp, &mut Since::default(), depth + 1);
                // Lanes may go on to the next point, which writes the same registers only.
            }
            Who::Block(threads) => {
                self.open_points(points, "threadIdx.x", threads, depth);
                self.nodes(body, Who::One, &mut Since::default(), depth + 1);
            }
            Who::Column(rows) => {
                self.open_points(points, "threadIdx.x / 32", rows, depth);
                self.nodes(body, Who::One, &mut Since::default(), depth + 1);
            }
        }
        self.line(depth, "}");
    }

    /// Whether loops inside are long enough for 32 threads.
    fn worth_warps(&self, body: &[Node]) -> bool {
        body.iter().any(|node| match node {
            Node::Plain(_) => false,
            Node::Map { points, .. } | Node::Reduce { points, .. } => {
                points.iter().map(|(_, extent)| *extent).product::<usize>() >= 16
            }
            Node::Loop { body, .. } => self.worth_warps(body),
        })
    }

    fn reduce(&mut self, points: &[(Var, usize)], body: &[Stmt], sums: &[Sum], who: Who, depth: usize) {
        if who == Who::One {
            for (n, &(var, extent)) in points.iter().enumerate() {
                self.open_loop(var, extent, depth + n);
            }
            self.stmts(body, depth + points.len());
            for n in (0..points.len()).rev() {
                self.line(depth + n, "}");
            }
            return;
        }
        let (member, members) = match who {
            Who::One | Who::Warp => ("threadIdx.x % 32", 32),
            Who::Column(rows) => ("threadIdx.x / 32", rows),
            Who::Block(threads) => ("threadIdx.x", threads),
        };
        for sum in sums {
            let (ty, start) = (c::held(sum.dtype), self.scalars.constant(neutral(sum.op, sum.dtype)));
            self.line(depth, &format!("{ty} p{} = {start};", sum.reg.0));
            self.scalars.partial.insert(sum.reg);
        }
        self.open_points(points, member, members, depth);
        self.stmts(body, depth + 1);
        self.line(depth, "}");
        for sum in sums {
            self.scalars.partial.remove(&sum.reg);
            let (n, op) = (sum.reg.0, operation(sum.op));
            let all = match who {
                Who::One | Who::Warp => format!("warp_all<{op}>(p{n})"),
                Who::Column(rows) => format!("column_all<{op}, {rows}>(p{n}, sums)"),
                Who::Block(threads) => format!("block_all<{op}, {threads}>(p{n}, sums)"),
            };
            self.line(depth, &format!("r{n} = {op}::of(r{n}, {all});"));
        }
    }

    /// One thread's statements.
    fn stmts(&mut self, body: &[Stmt], depth: usize) {
        for stmt in body {
            if let Stmt::For { var, extent, body, .. } = stmt {
                self.open_loop(*var, *extent, depth);
                self.stmts(body, depth + 1);
                self.line(depth, "}");
            } else {
                self.plain(stmt, Who::One, depth);
            }
        }
    }

    fn plain(&mut self, stmt: &Stmt, who: Who, depth: usize) {
        match stmt {
            Stmt::Let { reg, dtype, value } => {
                let (text, _) = self.scalars.expr(value);
                self.scalars.regs.insert(*reg, *dtype);
                self.line(depth, &format!("const {} r{} = {text};", c::held(*dtype), reg.0));
            }
            Stmt::Accumulator { reg, dtype, init } => {
                let (text, _) = self.scalars.expr(init);
                self.scalars.regs.insert(*reg, *dtype);
                self.line(depth, &format!("{} r{} = {text};", c::held(*dtype), reg.0));
            }
            Stmt::Assign { reg, value } => {
                let target = self.scalars.reg(*reg);
                let text = match combines(*reg, value) {
                    // Not in place: the same order of operands everywhere.
                    Some((op @ (BinaryOp::Max | BinaryOp::Min), term)) => {
                        format!("{}::of({target}, {})", operation(op), self.scalars.expr(term).0)
                    }
                    _ => self.scalars.expr(value).0,
                };
                self.line(depth, &format!("{target} = {text};"));
            }
            Stmt::Store { .. } | Stmt::StoreAt { .. } => {
                let leader = match who {
                    Who::One => "",
                    Who::Warp => "if (threadIdx.x % 32 == 0) ",
                    Who::Column(_) => "if (inside && threadIdx.x < 32) ",
                    Who::Block(_) => "if (threadIdx.x == 0) ",
                };
                let text = self.store(stmt);
                self.line(depth, &format!("{leader}{text}"));
            }
            // Loops are nodes of their own.
            Stmt::For { .. } => self.stmts(std::slice::from_ref(stmt), depth),
        }
    }

    fn store(&self, stmt: &Stmt) -> String {
        match stmt {
            Stmt::Store { buffer, index, value } => {
                let (at, text) = (self.scalars.place(*buffer, index), self.scalars.expr(value).0);
                format!("b{buffer}[{at}] = {};", self.scalars.narrowed(*buffer, &text))
            }
            Stmt::StoreAt { buffer, at, value } => {
                let (at, text) = (self.scalars.expr(at).0, self.scalars.expr(value).0);
                let (len, text) = (self.context.buffers[*buffer].len, self.scalars.narrowed(*buffer, &text));
                format!("{{ const int64_t at = {at}; if ((uint64_t)at < {len}u) b{buffer}[at] = {text}; }}")
            }
            _ => String::new(),
        }
    }
}

/// The type in the prelude that combines by `op`.
fn operation(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::Mul => "Mul",
        BinaryOp::Max => "Max",
        BinaryOp::Min => "Min",
        _ => "Add",
    }
}
