//! Kernels cut into stages, each a launch of its own; and how many threads work on one point of a stage together.
//!
//! Iterations of a kernel's grid are many enough for the few threads of a processor, often not for a GPU. Where they are,
//! or where there is little to do, a team of threads runs one iteration, with barriers between its loops. Elsewhere each
//! loop becomes a stage over all iterations and all its own points. Values that pass from one stage to another do so in
//! scratch memory.

use super::tree::{Node, each_expr, each_stmt, exprs, stored};
use crate::{Access, DType, Expr, Index, Kernel, KernelBuffer, Reg, Stmt, Var};
use rustc_hash::{FxHashMap, FxHashSet};

/// Threads that work on one point together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Team {
    Thread,
    /// 32 neighbours.
    Warp,
    /// One thread of each of so many warps: neighbouring points in neighbouring threads.
    Column(usize),
    /// So many threads, all of a block.
    Block(usize),
}

#[derive(Clone, Debug)]
pub(super) struct Stage {
    /// The grid first. All at once.
    pub points: Vec<(Var, usize)>,
    pub body: Vec<Node>,
    pub team: Team,
}

/// A kernel in stages that run one after the other.
#[derive(Clone, Debug)]
pub(super) struct Staged {
    /// The kernel's, then those of values that pass from stage to stage.
    pub buffers: Vec<KernelBuffer>,
    pub stages: Vec<Stage>,
}

/// Grid iterations that are enough teams for a GPU.
const TEAMS: usize = 128;
/// Points of all loops together below which one launch of few teams is faster than several of many.
const SMALL: usize = 1 << 14;
/// Points of a loop below which a single thread goes through it.
const NARROW: usize = 8;
/// Bytes of local buffers that one thread can have for itself.
const THREAD_BYTES: usize = 512;

pub(super) fn staged(kernel: &Kernel, nodes: Vec<Node>) -> Staged {
    let grid = (Var::GRID, kernel.extent);
    let loops = nodes.iter().filter(|node| !matches!(node, Node::Plain(_))).count();
    let total: usize = nodes.iter().map(|node| points(node).iter().product::<usize>()).sum();
    let buffers = kernel.buffers.clone();
    if loops == 0 {
        return Staged { buffers, stages: vec![Stage { points: vec![grid], body: nodes, team: Team::Thread }] };
    }
    if loops > 1 && (kernel.extent >= TEAMS || kernel.extent.saturating_mul(total) <= SMALL) {
        let local: usize = kernel.locals().iter().map(|buffer| buffer.len * buffer.dtype.size()).sum();
        let width = nodes.iter().map(|node| points(node).iter().product()).max().unwrap_or(1);
        let team = match width {
            0..=NARROW if local <= THREAD_BYTES => Team::Thread,
            0..=128 if kernel.extent >= TEAMS => Team::Warp,
            _ => Team::Block(usize::clamp(width.next_power_of_two(), 64, 512)),
        };
        return Staged { buffers, stages: vec![Stage { points: vec![grid], body: nodes, team }] };
    }
    split(kernel, nodes)
}

/// The extents of a loop.
fn points(node: &Node) -> Vec<usize> {
    match node {
        Node::Plain(_) => vec![0],
        Node::Map { points, body } => {
            let inner = body.iter().map(|node| self::points(node).iter().product::<usize>()).max().unwrap_or(0);
            points.iter().map(|(_, extent)| *extent).chain([inner.max(1)]).collect()
        }
        Node::Reduce { points, .. } => points.iter().map(|(_, extent)| *extent).collect(),
        Node::Loop { extent, body, .. } => {
            let inner = body.iter().map(|node| self::points(node).iter().product::<usize>()).max().unwrap_or(0);
            vec![*extent, inner.max(1)]
        }
    }
}

/// What of a kernel runs in one stage: one loop that writes memory, or all between two such.
struct Group {
    /// Positions among the kernel's nodes.
    nodes: Vec<usize>,
}

fn split(kernel: &Kernel, nodes: Vec<Node>) -> Staged {
    let mut groups: Vec<Group> = Vec::new();
    let mut open = false;
    for (i, node) in nodes.iter().enumerate() {
        let alone = matches!(node, Node::Map { .. });
        match groups.last_mut() {
            Some(group) if open && !alone => group.nodes.push(i),
            _ => groups.push(Group { nodes: vec![i] }),
        }
        open = !alone;
    }
    // Definitions are repeated in each stage that needs them, where they still give the same there.
    let mut home: FxHashMap<Reg, (usize, usize)> = FxHashMap::default();
    for (g, group) in groups.iter().enumerate() {
        for &i in &group.nodes {
            if let Node::Plain(Stmt::Let { reg, .. } | Stmt::Accumulator { reg, .. }) = &nodes[i] {
                home.insert(*reg, (g, i));
            }
        }
    }
    let mut writers: FxHashMap<usize, Vec<usize>> = FxHashMap::default();
    for (g, group) in groups.iter().enumerate() {
        for &i in &group.nodes {
            each_access(&nodes[i], &mut |buffer, writes| {
                if writes {
                    writers.entry(buffer).or_default().push(g);
                }
            });
        }
    }
    let mut split = Split { nodes: &nodes, home, writers, passed: Vec::new() };
    let kept: Vec<bool> = groups.iter().map(|group| group.nodes.iter().any(|&i| split.is_effect(i))).collect();
    let mut bodies: Vec<Vec<Node>> = Vec::new();
    for (g, group) in groups.iter().enumerate() {
        bodies.push(split.body(g, group));
    }
    // Values that pass get their memory, and are stored where they are defined.
    let mut buffers = kernel.buffers.clone();
    let passed: Vec<(Reg, DType, usize)> = std::mem::take(&mut split.passed)
        .into_iter()
        .map(|(reg, dtype)| {
            buffers.push(KernelBuffer { dtype, len: 1, access: Access::Local });
            (reg, dtype, buffers.len() - 1)
        })
        .collect();
    let mut stages = Vec::new();
    for (g, mut body) in bodies.into_iter().enumerate() {
        let mut stores = false;
        for &(reg, dtype, buffer) in &passed {
            let at = split.home.get(&reg).map(|(home, _)| *home);
            if at == Some(g) {
                let value = Expr::Reg(reg);
                body.push(Node::Plain(Stmt::Store { buffer, index: Index::default(), value }));
                stores = true;
            } else if uses(&body, reg) {
                let value = Expr::Load { buffer, index: Index::default() };
                body.insert(0, Node::Plain(Stmt::Let { reg, dtype, value }));
            }
        }
        if kept[g] || stores {
            stages.push(stage(kernel.extent, body));
        }
    }
    Staged { buffers, stages }
}

struct Split<'a> {
    nodes: &'a [Node],
    /// The group and the node that define a register of the outermost level.
    home: FxHashMap<Reg, (usize, usize)>,
    /// Groups that write a buffer.
    writers: FxHashMap<usize, Vec<usize>>,
    /// Registers that pass from group to group.
    passed: Vec<(Reg, DType)>,
}

impl Split<'_> {
    /// Whether a node does more than define registers.
    fn is_effect(&self, i: usize) -> bool {
        let mut writes = false;
        each_access(&self.nodes[i], &mut |_, w| writes |= w);
        writes
    }

    /// The nodes of a group, before them what they need from others.
    fn body(&mut self, g: usize, group: &Group) -> Vec<Node> {
        let mut before: Vec<usize> = Vec::new();
        let mut have: FxHashSet<Reg> = FxHashSet::default();
        let mut open: Vec<Reg> = Vec::new();
        let need = |node: &Node, open: &mut Vec<Reg>| each_reg(node, &mut |reg| open.push(reg));
        group.nodes.iter().for_each(|&i| need(&self.nodes[i], &mut open));
        while let Some(reg) = open.pop() {
            let Some(&(home, i)) = self.home.get(&reg) else { continue };
            if home == g || !have.insert(reg) {
                continue;
            }
            match &self.nodes[i] {
                node @ Node::Plain(Stmt::Let { .. }) if self.repeats(node, home, g) => {
                    before.push(i);
                    need(node, &mut open);
                }
                Node::Plain(Stmt::Let { dtype, .. } | Stmt::Accumulator { dtype, .. })
                    if !self.passed.iter().any(|(r, _)| *r == reg) =>
                {
                    self.passed.push((reg, *dtype));
                }
                _ => {}
            }
        }
        before.sort_unstable();
        before.iter().chain(&group.nodes).map(|&i| self.nodes[i].clone()).collect()
    }

    /// Whether a definition in group `from` gives the same in group `to`.
    fn repeats(&self, node: &Node, from: usize, to: usize) -> bool {
        let mut same = true;
        each_access(node, &mut |buffer, _| {
            let writers = self.writers.get(&buffer).map_or(&[][..], |w| w);
            same &= !writers.iter().any(|w| (from..=to).contains(w));
        });
        same
    }
}

/// A stage of one group's nodes.
fn stage(grid: usize, mut body: Vec<Node>) -> Stage {
    let grid = (Var::GRID, grid);
    let lets = body.iter().take_while(|node| matches!(node, Node::Plain(Stmt::Let { .. }))).count();
    if lets + 1 == body.len()
        && let Some(Node::Map { .. }) = body.last()
        && let Some(Node::Map { points, body: inner }) = body.pop()
    {
        body.extend(inner);
        let points: Vec<(Var, usize)> = std::iter::once(grid).chain(points).collect();
        let team = team(&points, &body);
        return Stage { points, body, team };
    }
    let points = vec![grid];
    let team = team(&points, &body);
    Stage { points, body, team }
}

/// The team for the points of a stage.
fn team(points: &[(Var, usize)], body: &[Node]) -> Team {
    let count: usize = points.iter().map(|(_, extent)| *extent).product();
    let width = body.iter().map(|node| self::points(node).iter().product::<usize>()).max().unwrap_or(0);
    if width <= NARROW {
        return Team::Thread;
    }
    let wide = |width: usize| usize::clamp((width / 4).next_power_of_two(), 64, 512);
    let only_sums = body.iter().all(|node| matches!(node, Node::Plain(_) | Node::Reduce { .. }));
    if only_sums && across(points, body) {
        // Neighbouring threads read neighbouring points.
        return match count {
            0..65536 => Team::Column((width / 8).next_power_of_two().clamp(4, 32)),
            _ => Team::Thread,
        };
    }
    match (count, width) {
        (4096.., 0..=1024) | (_, 0..=256) => Team::Warp,
        _ => Team::Block(wide(width)),
    }
}

/// Whether neighbours along the last point, rather than along the loops inside, lie next to each other.
fn across(points: &[(Var, usize)], body: &[Node]) -> bool {
    let Some(&(last, extent)) = points.last() else { return false };
    let (mut outer, mut inner) = (0, 0);
    for node in body {
        let Node::Reduce { points, body, .. } = node else { continue };
        let Some(&(along, _)) = points.last() else { continue };
        each_stmt(body, &mut |stmt| {
            for x in exprs(stmt) {
                each_expr(x, &mut |x| {
                    if let Expr::Load { index, .. } = x {
                        outer += (index.coefficient(last) == 1 && index.mentions(along)) as usize;
                        inner += (index.coefficient(along) == 1) as usize;
                    }
                });
            }
        });
    }
    outer > inner && extent >= 8
}

/// Calls `visit` on every buffer accessed, and whether it is written.
pub(super) fn each_access(node: &Node, visit: &mut impl FnMut(usize, bool)) {
    let mut of = |stmt: &Stmt| {
        if let Some(buffer) = stored(stmt) {
            visit(buffer, true);
        }
        for x in exprs(stmt) {
            each_expr(x, &mut |x| {
                if let Expr::Load { buffer, .. } | Expr::LoadAt { buffer, .. } = x {
                    visit(*buffer, false);
                }
            });
        }
    };
    each_own_stmt(node, &mut of);
}

/// Calls `visit` on every register read.
pub(super) fn each_reg(node: &Node, visit: &mut impl FnMut(Reg)) {
    each_own_stmt(node, &mut |stmt| {
        if let Stmt::Assign { reg, .. } = stmt {
            visit(*reg);
        }
        for x in exprs(stmt) {
            each_expr(x, &mut |x| {
                if let Expr::Reg(reg) = x {
                    visit(*reg);
                }
            });
        }
    });
}

fn each_own_stmt(node: &Node, visit: &mut impl FnMut(&Stmt)) {
    match node {
        Node::Plain(stmt) => visit(stmt),
        Node::Map { body, .. } | Node::Loop { body, .. } => body.iter().for_each(|node| each_own_stmt(node, visit)),
        Node::Reduce { body, .. } => each_stmt(body, &mut |stmt| visit(stmt)),
    }
}

fn uses(body: &[Node], reg: Reg) -> bool {
    let mut found = false;
    body.iter().for_each(|node| each_reg(node, &mut |r| found |= r == reg));
    found
}
