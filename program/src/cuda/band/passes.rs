//! Rows that are too long for shared memory: in which order a block takes some of their columns at a time.
//!
//! What is of a whole row's length, wide, then exists for a chunk of columns only, and is computed anew where it is needed
//! again. A sum over the columns (a softmax's largest score, then the sum of its exponentials, then the product with the
//! values) is known when a pass over all chunks has ended; what depends on it waits for the next pass. So there are as many
//! passes as sums that wait for each other, one more than a part's level says:
//!
//! ```text
//! pass 0   scores                         -> largest
//! pass 1   scores, exponentials           -> their sum, their product with the values
//! ```
//!
//! Sums that are linear in the exponentials do not wait for the maximum ([`running`]), so that attention's forward pass is
//! one pass; so is its backward pass, which is given the maximum and the sum.

use super::columns::{along, each_place};
use super::running::{Running, Scaled, running};
use crate::cuda::stage::each_reg;
use crate::cuda::tree::{Node, tree};
use crate::{Along, BufferId, Contract, DType, Kernel, Launch, Place, Program, Reg, Stmt, Var, bounds};
use rustc_hash::{FxHashMap, FxHashSet};

/// What a block does with a tile of rows, one phase after the other.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Phase {
    Once(Vec<Work>),
    /// For each chunk of columns.
    Columns(Vec<Work>),
}

/// A launch, or what of one falls into a phase.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Work {
    /// All of it.
    Launch(usize),
    /// Of a kernel these nodes.
    Nodes {
        member: usize,
        nodes: Vec<usize>,
        /// Registers from other works, and for these.
        given: Vec<(Reg, DType)>,
        kept: Vec<(Reg, DType)>,
        /// What is multiplied when the maximum in this register, which is kept, grows.
        scales: Option<(Reg, Scaled)>,
    },
    /// Of a product what falls on the columns at hand.
    Product(usize, Axis),
    /// A product along the columns is complete, and stored.
    Stored(usize),
}

impl Phase {
    pub fn works(&self) -> &[Work] {
        let (Phase::Once(works) | Phase::Columns(works)) = self;
        works
    }
}

impl Work {
    /// The launch's number.
    pub fn member(&self) -> usize {
        match self {
            Work::Launch(member) | Work::Nodes { member, .. } | Work::Product(member, _) | Work::Stored(member) => {
                *member
            }
        }
    }

    /// Whether it is a product that is summed over columns.
    pub fn adds(&self) -> bool {
        matches!(self, Work::Product(_, Axis::Sum) | Work::Stored(_))
    }
}

/// Where the columns are in a product whose rows a band goes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cuda) enum Axis {
    /// Those of its result.
    Result,
    /// What it sums over.
    Sum,
    /// The rows of a result that is summed over the band's rows.
    Down,
    /// The columns of such a result.
    Across,
}

/// A band in passes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Passes {
    /// Columns of a row.
    pub width: usize,
    /// For each member that is a kernel its parts, whose loops over columns have one variable.
    pub kernels: Vec<Vec<Node>>,
    /// That variable.
    pub column: Var,
    pub phases: Vec<Phase>,
}

impl Passes {
    pub fn count(&self) -> usize {
        self.phases.iter().filter(|phase| matches!(phase, Phase::Columns(_))).count()
    }
}

/// Something that is written and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Cell {
    Buffer(BufferId),
    /// A member's own memory, by its number among the kernel's buffers.
    Own(usize, usize),
    /// A register outside of all loops.
    Reg(usize, Reg),
}

/// A node of a kernel, or a product.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub member: usize,
    pub what: What,
    /// Whether it goes through the columns.
    pub wide: bool,
    /// Whether what it writes is known only after all columns.
    pub sums: bool,
    pub reads: Vec<Cell>,
    pub writes: Vec<Cell>,
    /// The pass in which all that it reads is known.
    pub level: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum What {
    Node(usize),
    Product(Option<Axis>),
}

struct Planner<'a> {
    program: &'a Program,
    launches: &'a [Launch],
    /// Rows of all matrices.
    rows: usize,
    width: usize,
    units: Vec<Unit>,
    running: Vec<Running>,
}

/// The passes of upright launches over `rows` rows of all matrices.
///
/// # Errors
/// Why the band cannot go through its columns.
pub(super) fn passes(program: &Program, launches: &[Launch], way: &[Along], rows: usize) -> Result<Passes, String> {
    let width = width(program, launches, rows).ok_or("no launch leaves rows to another")?;
    let mut planner = Planner { program, launches, rows, width, units: Vec::new(), running: Vec::new() };
    let column = Var(launches.iter().filter_map(|launch| planner.last_var(launch)).max().unwrap_or(0) + 1);
    let mut kernels = Vec::new();
    for (member, launch) in launches.iter().enumerate() {
        kernels.push(match launch {
            Launch::Kernel { kernel, args } => {
                planner.kernel(member, &program.kernels[kernel.0 as usize], args, column)?
            }
            Launch::Contract(contract) => {
                planner.product(member, contract, way[member])?;
                Vec::new()
            }
            Launch::Conv(_) | Launch::Extern(_) => return Err("there is more than kernels and products".into()),
        });
    }
    planner.levels();
    planner.run(&kernels);
    let phases = match planner.phases(&kernels) {
        // What cannot go beside a maximum may go after it.
        Err(_) if !planner.running.is_empty() => {
            planner.running.clear();
            planner.levels();
            planner.phases(&kernels)?
        }
        found => found?,
    };
    Ok(Passes { width, kernels, column, phases })
}

/// Elements of the longest rows that live in the band only.
fn width(program: &Program, launches: &[Launch], rows: usize) -> Option<usize> {
    let uses = launches.iter().flat_map(|launch| crate::cuda::store::uses(program, launch));
    let local = uses.map(|(buffer, _)| &program.buffers[buffer.0 as usize]);
    local.filter(|buffer| matches!(buffer.place, Place::Band { .. })).map(|buffer| buffer.len / rows.max(1)).max()
}

impl Planner<'_> {
    fn last_var(&self, launch: &Launch) -> Option<u32> {
        let Launch::Kernel { kernel, .. } = launch else { return None };
        let kernel = &self.program.kernels[kernel.0 as usize];
        bounds::extents(kernel.extent, &kernel.body).keys().map(|var| var.0).max()
    }

    fn is_local(&self, buffer: BufferId) -> bool {
        matches!(self.program.buffers[buffer.0 as usize].place, Place::Band { .. })
    }

    /// Whether only a chunk of it exists at a time.
    fn is_wide(&self, cell: Cell) -> bool {
        match cell {
            Cell::Buffer(id) => self.is_local(id) && self.program.buffers[id.0 as usize].len == self.width * self.rows,
            Cell::Own(member, n) => match &self.launches[member] {
                Launch::Kernel { kernel, .. } => self.program.kernels[kernel.0 as usize].buffers[n].len == self.width,
                _ => false,
            },
            Cell::Reg(..) => false,
        }
    }

    fn kernel(&mut self, member: usize, kernel: &Kernel, args: &[BufferId], column: Var) -> Result<Vec<Node>, String> {
        let cell = |buffer: usize| args.get(buffer).map_or(Cell::Own(member, buffer), |id| Cell::Buffer(*id));
        let mut extents = bounds::extents(kernel.extent, &kernel.body);
        extents.insert(column, self.width);
        let nodes = tree(kernel);
        let wide: Vec<bool> = nodes.iter().map(|node| self.touches_wide(node, &cell)).collect();
        // What a loop over columns writes it writes column by column, wherever that is.
        let mut written: FxHashSet<Cell> = FxHashSet::default();
        for node in nodes.iter().zip(&wide).filter_map(|(node, wide)| wide.then_some(node)) {
            each_place(node, &mut |buffer, _, writes| _ = writes && written.insert(cell(buffer)));
        }
        let outer: FxHashSet<Reg> = nodes.iter().filter_map(defined).map(|(reg, _)| reg).collect();
        let mut all = Vec::new();
        for (n, node) in nodes.into_iter().enumerate() {
            let node = if wide[n] {
                let columns = |buffer: usize| {
                    let (found, len) = (cell(buffer), kernel.buffers[buffer].len);
                    let by_row = !matches!(found, Cell::Own(..));
                    (self.is_wide(found) || written.contains(&found)).then_some((by_row, len))
                };
                along(&node, column, self.width, self.rows, &columns, &extents)
                    .map_err(|why| format!("`{}` {why}", kernel.name))?
            } else {
                node
            };
            let (mut reads, mut writes) = (Vec::new(), Vec::new());
            each_place(&node, &mut |buffer, _, stores| {
                if stores { writes.push(cell(buffer)) } else { reads.push(cell(buffer)) }
            });
            each_reg(&node, &mut |reg| _ = outer.contains(&reg).then(|| reads.push(Cell::Reg(member, reg))));
            let mut changed: Vec<Reg> = changes(&node).into_iter().filter(|reg| outer.contains(reg)).collect();
            changed.extend(defined(&node).map(|(reg, _)| reg));
            writes.extend(changed.iter().map(|reg| Cell::Reg(member, *reg)));
            let sums = wide[n] && matches!(node, Node::Reduce { .. });
            self.units.push(Unit { member, what: What::Node(n), wide: wide[n], sums, reads, writes, level: 0 });
            all.push(node);
        }
        Ok(all)
    }

    fn touches_wide(&self, node: &Node, cell: &impl Fn(usize) -> Cell) -> bool {
        let mut found = false;
        each_place(node, &mut |buffer, _, _| found |= self.is_wide(cell(buffer)));
        found
    }

    fn product(&mut self, member: usize, x: &Contract, along: Along) -> Result<(), String> {
        let (reads, writes) = ([x.a.buffer, x.b.buffer].map(Cell::Buffer).to_vec(), vec![Cell::Buffer(x.c.buffer)]);
        let [a, b, c] = [&x.a, &x.b, &x.c].map(|operand| self.is_wide(Cell::Buffer(operand.buffer)));
        let width = self.width as isize;
        let axis = match (along, a, b, c) {
            (_, false, false, false) => None,
            (Along::M | Along::N, false, false, true) => Some((Axis::Result, x.n, x.c.row, x.c.col, x.c.offset)),
            (Along::M | Along::N, true, false, false) => Some((Axis::Sum, x.k, x.a.row, x.a.col, x.a.offset)),
            (Along::K, true, false, false) => Some((Axis::Down, x.m, x.a.col, x.a.row, x.a.offset)),
            (Along::K, false, true, false) => Some((Axis::Across, x.n, x.b.row, x.b.col, x.b.offset)),
            _ => return Err("a product has columns on two sides".into()),
        };
        if axis.is_some_and(|(_, extent, row, col, offset)| (extent as isize, row, col, offset) != (width, width, 1, 0))
        {
            return Err("a product's rows are not next to each other".into());
        }
        let axis = axis.map(|(axis, ..)| axis);
        let sums = axis == Some(Axis::Sum);
        let what = What::Product(axis);
        self.units.push(Unit { member, what, wide: axis.is_some(), sums, reads, writes, level: 0 });
        Ok(())
    }

    /// Finds the maxima that need not be waited for.
    fn run(&mut self, kernels: &[Vec<Node>]) {
        let node = |unit: &Unit| match unit.what {
            What::Node(n) => kernels[unit.member].get(n),
            What::Product(_) => None,
        };
        let cell = |member: usize, buffer: usize| match &self.launches[member] {
            Launch::Kernel { args, .. } => args.get(buffer).map_or(Cell::Own(member, buffer), |id| Cell::Buffer(*id)),
            _ => Cell::Own(member, buffer),
        };
        self.running = running(&self.units, &node, &cell, &|cell| self.is_wide(cell));
        loop {
            self.levels();
            let Some(wrong) = self.running.iter().position(|running| !self.is_beside(running)) else { break };
            self.running.remove(wrong);
        }
    }

    /// Whether a maximum's users, and nothing else that reads what they make of it, run in its own pass.
    fn is_beside(&self, running: &Running) -> bool {
        let Running { unit, reg, users, .. } = running;
        let (level, most) = (self.units[*unit].level, Cell::Reg(self.units[*unit].member, *reg));
        let made = |cell: &Cell| users.iter().any(|user| self.units[*user].writes.contains(cell));
        let spoils = |(n, other): (usize, &Unit)| {
            let same = other.wide && other.level == level && !users.contains(&n);
            other.writes.contains(&most) || same && other.reads.iter().any(made)
        };
        users.iter().all(|user| self.units[*user].level == level)
            && !self.units.iter().enumerate().skip(unit + 1).any(spoils)
    }

    /// The pass of a maximum that a unit reads as far as it is known.
    fn beside(&self, unit: usize, cell: Cell) -> Option<usize> {
        let same = |running: &&Running| {
            cell == Cell::Reg(self.units[running.unit].member, running.reg) && running.users.contains(&unit)
        };
        self.running.iter().find(same).map(|running| self.units[running.unit].level)
    }

    /// Gives each unit the first pass in which all that it reads is known. What is not wide exists once, so that a unit which
    /// overwrites something also waits for those that read it.
    fn levels(&mut self) {
        // The pass, and who goes through the columns in it, so that others know it only after all of these.
        let mut known: FxHashMap<Cell, (usize, Option<usize>)> = FxHashMap::default();
        let mut read: FxHashMap<Cell, (usize, Option<usize>)> = FxHashMap::default();
        for n in 0..self.units.len() {
            let unit = &self.units[n];
            // A member's own loops meet at the same column, and so do all where only a chunk exists.
            let after = |cell: &Cell, found: Option<&(usize, Option<usize>)>| {
                found.map_or(0, |&(level, by)| {
                    let meet = |by: usize| unit.wide && (by == unit.member || self.is_wide(*cell));
                    level + by.is_some_and(|by| !meet(by)) as usize
                })
            };
            let reads = unit.reads.iter().map(|cell| self.beside(n, *cell).unwrap_or(after(cell, known.get(cell))));
            let lasting = unit.writes.iter().filter(|cell| !self.is_wide(**cell));
            let writes = lasting.flat_map(|cell| [after(cell, known.get(cell)), after(cell, read.get(cell))]);
            let level = reads.chain(writes).max().unwrap_or(0);
            let by = unit.wide.then_some(unit.member);
            for cell in &unit.reads {
                let last = read.entry(*cell).or_default();
                *last = (*last).max((level, by));
            }
            let found = if unit.sums { (level + 1, None) } else { (level, by) };
            known.extend(unit.writes.iter().map(|cell| (*cell, found)));
            self.units[n].level = level;
        }
    }

    fn phases(&self, kernels: &[Vec<Node>]) -> Result<Vec<Phase>, String> {
        let last = self.units.iter().map(|unit| unit.level + unit.sums as usize).max().unwrap_or(0);
        let mut phases = Vec::new();
        for pass in 0..=last {
            let once = |unit: &Unit| match unit.what {
                What::Product(Some(Axis::Sum)) => unit.level + 1 == pass,
                _ => !unit.wide && unit.level == pass,
            };
            let once: Vec<usize> = (0..self.units.len()).filter(|n| once(&self.units[*n])).collect();
            phases.push(Phase::Once(self.works(&once, false)));
            phases.push(Phase::Columns(self.works(&self.needed(pass)?, true)));
        }
        phases.retain(|phase| !phase.works().is_empty());
        self.registers(&mut phases, kernels)?;
        Ok(phases)
    }

    /// The units that go through the columns in a pass: those that leave something, and what these read of a chunk.
    fn needed(&self, pass: usize) -> Result<Vec<usize>, String> {
        let leaves = |unit: &Unit| unit.sums || unit.writes.iter().any(|cell| !self.is_wide(*cell));
        let first = |n: &usize| {
            let unit = &self.units[*n];
            let across = matches!(unit.what, What::Product(Some(Axis::Down | Axis::Across)));
            unit.wide && unit.level == pass && (leaves(unit) || across)
        };
        let mut needed: FxHashSet<usize> = (0..self.units.len()).filter(first).collect();
        let mut open: Vec<usize> = needed.iter().copied().collect();
        while let Some(n) = open.pop() {
            for cell in self.units[n].reads.iter().filter(|cell| self.is_wide(**cell)) {
                let writes = |other: &usize| self.units[*other].writes.contains(cell);
                open.extend((0..n).filter(writes).filter(|other| needed.insert(*other)));
            }
        }
        // What is done again must find what it read the first time.
        for &n in needed.iter().filter(|n| self.units[**n].level < pass) {
            let lasting = |cell: &&Cell| !self.is_wide(**cell);
            for cell in self.units[n].reads.iter().filter(lasting) {
                let over =
                    |unit: &Unit| unit.writes.contains(cell) && (unit.level < pass || !unit.wide && unit.level == pass);
                if self.units[n..].iter().any(over) {
                    return Err("what a later pass reads again is overwritten".into());
                }
            }
        }
        let mut needed: Vec<usize> = needed.into_iter().collect();
        needed.sort_unstable();
        Ok(needed)
    }

    /// Units in the order of launches, a kernel's nodes together.
    fn works(&self, units: &[usize], columns: bool) -> Vec<Work> {
        let mut works: Vec<Work> = Vec::new();
        for &n in units {
            let Unit { member, what, .. } = self.units[n];
            // When a maximum is known so far, and what it scales is scaled, others may read it.
            let scales = self.running.iter().find(|running| running.unit == n);
            let scales = scales.map(|running| (running.reg, running.scaled.clone()));
            match (what, works.last_mut()) {
                (What::Node(node), Some(Work::Nodes { member: last, nodes, scales: none @ None, .. }))
                    if *last == member =>
                {
                    nodes.push(node);
                    *none = scales;
                }
                (What::Node(node), _) => {
                    let (given, kept) = (Vec::new(), Vec::new());
                    works.push(Work::Nodes { member, nodes: vec![node], given, kept, scales });
                }
                (What::Product(Some(axis)), _) if columns => works.push(Work::Product(member, axis)),
                (What::Product(Some(_)), _) => works.push(Work::Stored(member)),
                (What::Product(None), _) => works.push(Work::Launch(member)),
            }
        }
        works
    }

    /// Finds out which registers pass from one phase of a kernel to another. A kernel's own memory does not.
    fn registers(&self, phases: &mut [Phase], kernels: &[Vec<Node>]) -> Result<(), String> {
        let unit = |member: usize, node: usize| {
            self.units.iter().find(|unit| unit.member == member && unit.what == What::Node(node))
        };
        // For each work of a kernel what it is given, and what it writes.
        let mut works: Vec<(usize, FxHashSet<Cell>, FxHashSet<Cell>)> = Vec::new();
        for work in phases.iter().flat_map(Phase::works) {
            let Work::Nodes { member, nodes, .. } = work else { continue };
            let (mut given, mut written) = (FxHashSet::default(), FxHashSet::default());
            for unit in nodes.iter().filter_map(|node| unit(*member, *node)) {
                given.extend(unit.reads.iter().filter(|cell| !written.contains(*cell)));
                written.extend(unit.writes.iter().copied());
            }
            works.push((*member, given, written));
        }
        let mut at = 0;
        for Phase::Once(all) | Phase::Columns(all) in phases.iter_mut() {
            for work in all {
                let Work::Nodes { member, given, kept, .. } = work else { continue };
                let (_, reads, writes) = &works[at];
                let others = || works.iter().enumerate().filter(|(n, other)| *n != at && other.0 == *member);
                if reads.iter().any(|cell| matches!(cell, Cell::Own(..))) {
                    return Err("a kernel keeps notes from one pass to the next".into());
                }
                for (reg, dtype) in kernels[*member].iter().filter_map(defined) {
                    let cell = Cell::Reg(*member, reg);
                    if reads.contains(&cell) {
                        given.push((reg, dtype));
                    }
                    if writes.contains(&cell) && others().any(|(_, other)| other.1.contains(&cell)) {
                        kept.push((reg, dtype));
                    }
                }
                at += 1;
            }
        }
        Ok(())
    }
}

/// The register that a node outside of all loops defines.
fn defined(node: &Node) -> Option<(Reg, DType)> {
    match node {
        Node::Plain(Stmt::Let { reg, dtype, .. } | Stmt::Accumulator { reg, dtype, .. }) => Some((*reg, *dtype)),
        _ => None,
    }
}

/// The registers that a node changes.
fn changes(node: &Node) -> Vec<Reg> {
    match node {
        Node::Plain(Stmt::Assign { reg, .. }) => vec![*reg],
        Node::Plain(_) => Vec::new(),
        Node::Reduce { sums, .. } => sums.iter().map(|sum| sum.reg).collect(),
        Node::Map { body, .. } | Node::Loop { body, .. } => body.iter().flat_map(changes).collect(),
    }
}
