//! Sums in memory start where their first value is known: `b[j] = 0` for all j before `b[j] = b[j] + r` is left out.

use super::tree::{Node, each_expr, exprs, neutral, stored};
use crate::{Atom, BinaryOp, Expr, Index, Stmt, Var};

/// The nodes without starts that the node which next touches the same memory can do without.
pub(super) fn dropped(mut nodes: Vec<Node>) -> Vec<Node> {
    let mut i = 0;
    while i < nodes.len() {
        if let Some((at, stmt, started)) = starts(&nodes, i)
            && let Some(Node::Map { body, .. }) = nodes.get_mut(at)
        {
            body[stmt] = Node::Plain(started);
            nodes.remove(i);
        } else {
            i += 1;
        }
    }
    nodes
}

/// If node `i` only starts sums: the node that makes them, its statement that stores them, and what that becomes.
fn starts(nodes: &[Node], i: usize) -> Option<(usize, usize, Stmt)> {
    let Node::Map { points, body } = &nodes[i] else { return None };
    let [Node::Plain(Stmt::Store { buffer, index, value: Expr::Const(start) })] = &body[..] else { return None };
    let at = (i + 1..nodes.len()).find(|&at| touches(&nodes[at], *buffer) > 0)?;
    let Node::Map { points: others, body } = &nodes[at] else { return None };
    for (n, node) in body.iter().enumerate() {
        if let Node::Plain(Stmt::Store { buffer: b, index: to, value: Expr::Binary(op, old, sum) }) = node
            && b == buffer
            && **old == (Expr::Load { buffer: *b, index: to.clone() })
            && matches!(op, BinaryOp::Add | BinaryOp::Max | BinaryOp::Min)
            && neutral(*op, start.dtype()) == *start
            && touches(&nodes[at], *buffer) == 2
            && places(index, points)? == places(to, others)?
        {
            return Some((at, n, Stmt::Store { buffer: *b, index: to.clone(), value: (**sum).clone() }));
        }
    }
    None
}

/// The set of values of an index over `points`: its steps and extents from small to large, joined where they can be; and
/// the rest of it.
fn places(index: &Index, points: &[(Var, usize)]) -> Option<(Vec<(i64, i64)>, Index)> {
    let mut rest = index.clone();
    let mut steps = Vec::new();
    for &(var, extent) in points {
        let times = index.coefficient(var);
        rest = rest.without(var);
        if times <= 0 || rest.mentions(var) {
            return None;
        }
        steps.push((times, extent as i64));
    }
    steps.sort_unstable();
    let mut joined: Vec<(i64, i64)> = Vec::new();
    for (step, extent) in steps.into_iter().filter(|(_, extent)| *extent != 1) {
        match joined.last_mut() {
            Some((first, count)) if *first * *count == step => *count *= extent,
            _ => joined.push((step, extent)),
        }
    }
    debug_assert!(rest.terms.iter().all(|(atom, _)| !matches!(atom, Atom::Var(v) if points.iter().any(|p| p.0 == *v))));
    Some((joined, rest))
}

/// How often a node reads or writes a buffer.
fn touches(node: &Node, buffer: usize) -> usize {
    let of = |stmt: &Stmt| {
        let mut count = (stored(stmt) == Some(buffer)) as usize;
        for x in exprs(stmt) {
            each_expr(x, &mut |x| {
                count +=
                    matches!(x, Expr::Load { buffer: b, .. } | Expr::LoadAt { buffer: b, .. } if *b == buffer) as usize;
            });
        }
        count
    };
    match node {
        Node::Plain(stmt) => of(stmt),
        Node::Map { body, .. } | Node::Loop { body, .. } => body.iter().map(|node| touches(node, buffer)).sum(),
        Node::Reduce { body, .. } => {
            let mut count = 0;
            super::tree::each_stmt(body, &mut |stmt| count += of(stmt));
            count
        }
    }
}
