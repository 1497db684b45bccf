//! Loops over a row's columns as one loop over their numbers.

use crate::bounds::Extents;
use crate::cuda::tree::Node;
use crate::{Expr, Index, Stmt, Var};

/// Calls `visit` with every buffer that a node touches, where unless that is computed, and whether it is written.
pub(super) fn each_place<'a>(node: &'a Node, visit: &mut impl FnMut(usize, Option<&'a Index>, bool)) {
    match node {
        Node::Plain(stmt) => stmt_places(stmt, visit),
        Node::Map { body, .. } | Node::Loop { body, .. } => body.iter().for_each(|node| each_place(node, visit)),
        Node::Reduce { body, .. } => body.iter().for_each(|stmt| stmt_places(stmt, visit)),
    }
}

fn stmt_places<'a>(stmt: &'a Stmt, visit: &mut impl FnMut(usize, Option<&'a Index>, bool)) {
    match stmt {
        Stmt::Let { value, .. } | Stmt::Accumulator { init: value, .. } | Stmt::Assign { value, .. } => {
            loads(value, visit);
        }
        Stmt::For { body, .. } => body.iter().for_each(|stmt| stmt_places(stmt, visit)),
        Stmt::Store { buffer, index, value } => {
            loads(value, visit);
            visit(*buffer, Some(index), true);
        }
        Stmt::StoreAt { buffer, at, value } => {
            loads(at, visit);
            loads(value, visit);
            visit(*buffer, None, true);
        }
    }
}

fn loads<'a>(expr: &'a Expr, visit: &mut impl FnMut(usize, Option<&'a Index>, bool)) {
    crate::cuda::tree::each_expr(expr, &mut |x| match x {
        Expr::Load { buffer, index } => visit(*buffer, Some(index), false),
        Expr::LoadAt { buffer, .. } => visit(*buffer, None, false),
        _ => {}
    });
}

/// A loop over all `width` columns of a row, over `column` instead. `columns` says which buffers it must touch at the
/// column at hand only: whether these have rows, all of them `rows`, and how long they are.
///
/// # Errors
/// What else the node does.
pub(super) fn along(
    node: &Node,
    column: Var,
    width: usize,
    rows: usize,
    columns: &impl Fn(usize) -> Option<(bool, usize)>,
    extents: &Extents,
) -> Result<Node, String> {
    let (Node::Map { points, .. } | Node::Reduce { points, .. }) = node else {
        return Err("does not take columns in any order".into());
    };
    // The first access says which column a point is.
    let mut first: Option<Index> = None;
    let mut computed = false;
    each_place(node, &mut |buffer, index, _| {
        if let (Some((by_row, _)), None) = (columns(buffer), &first) {
            match index {
                Some(index) if by_row => first = Some(index.without(Var::GRID)),
                Some(index) => first = Some(index.clone()),
                None => computed = true,
            }
        }
    });
    let first = first.filter(|_| !computed).ok_or("computes which column it reads")?;
    let unwound = unwind(&first, points, column, width, extents).ok_or("does not go through each column once")?;
    let with = |var: Var| unwound.iter().find(|(from, _)| *from == var).map(|(_, to)| to.clone());
    let changed = |index: &Index| index.substitute(&with, extents);
    let new = match node {
        Node::Map { body, .. } => Node::Map {
            points: vec![(column, width)],
            body: body.iter().map(|node| node_with(node, &changed)).collect(),
        },
        Node::Reduce { body, sums, .. } => Node::Reduce {
            points: vec![(column, width)],
            body: body.iter().map(|stmt| stmt.with_indices(&changed)).collect(),
            sums: sums.clone(),
        },
        Node::Plain(_) | Node::Loop { .. } => return Err("does not take columns in any order".into()),
    };
    let mut alike = true;
    each_place(&new, &mut |buffer, index, _| {
        if let Some((by_row, len)) = columns(buffer) {
            let own = Index::from(column);
            let (own, all) = if by_row {
                (Index::from(Var::GRID).scale(width as i64).add(&own, extents), width * rows)
            } else {
                (own, width)
            };
            alike &= len == all && index == Some(&own);
        }
    });
    if alike { Ok(new) } else { Err("reads a column for another".into()) }
}

/// Each point's variable in terms of `column`, if `index` numbers the points from 0 to `width`.
fn unwind(
    index: &Index,
    points: &[(Var, usize)],
    column: Var,
    width: usize,
    extents: &Extents,
) -> Option<Vec<(Var, Index)>> {
    let mut steps: Vec<(i64, i64, Var)> =
        points.iter().map(|&(var, extent)| (index.coefficient(var), extent as i64, var)).collect();
    steps.sort_unstable();
    let mut unwound = Vec::new();
    let mut inner = 1;
    for (step, extent, var) in steps {
        let number = Index::from(column).div(inner, extents).rem(extent, extents);
        if extent > 1 && step != inner {
            return None;
        }
        unwound.push((var, if extent == 1 { Index::constant(0) } else { number }));
        inner *= extent;
    }
    (inner == width as i64).then_some(unwound)
}

fn node_with(node: &Node, change: &impl Fn(&Index) -> Index) -> Node {
    match node {
        Node::Plain(stmt) => Node::Plain(stmt.with_indices(change)),
        Node::Map { points, body } => {
            Node::Map { points: points.clone(), body: body.iter().map(|node| node_with(node, change)).collect() }
        }
        Node::Reduce { points, body, sums } => Node::Reduce {
            points: points.clone(),
            body: body.iter().map(|stmt| stmt.with_indices(change)).collect(),
            sums: sums.clone(),
        },
        Node::Loop { var, extent, body } => {
            Node::Loop { var: *var, extent: *extent, body: body.iter().map(|node| node_with(node, change)).collect() }
        }
    }
}
