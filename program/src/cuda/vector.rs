//! Accesses of 16 bytes: where threads' neighbours lie next to each other, one thread does several of them.

use super::context::{Context, Home};
use super::stage::{Stage, Team};
use super::tree::{Node, each_expr, exprs, stored};
use crate::{Access, Atom, Expr, Index, Stmt, Var};
use rustc_hash::FxHashSet;

/// Neighbours of one thread.
pub(super) const WIDTH: usize = 4;

/// What is loaded and stored several at once.
#[derive(Clone, Debug)]
pub(super) struct Wide {
    pub loads: Vec<(usize, Index)>,
    /// In the order of the stage's stores.
    pub stores: Vec<(usize, Index)>,
}

/// The accesses of a stage whose threads can do [`WIDTH`] neighbours each.
pub(super) fn wide(stage: &Stage, context: &Context) -> Option<Wide> {
    let &(var, extent) = stage.points.last()?;
    let plain = stage.body.iter().all(|node| matches!(node, Node::Plain(Stmt::Let { .. } | Stmt::Store { .. })));
    if stage.team != Team::Thread || !plain || extent % WIDTH != 0 {
        return None;
    }
    let stmts: Vec<&Stmt> =
        stage.body.iter().filter_map(|n| if let Node::Plain(s) = n { Some(s) } else { None }).collect();
    let argument =
        |buffer: usize| context.homes[buffer] == Home::Argument && context.buffers[buffer].access != Access::Local;
    let mut stores = Vec::new();
    for stmt in &stmts {
        if let Stmt::Store { buffer, index, .. } = stmt {
            if !aligned(index, var) || !argument(*buffer) || stores.iter().any(|(b, _)| b == buffer) {
                return None;
            }
            stores.push((*buffer, index.clone()));
        }
    }
    let written: FxHashSet<usize> = stmts.iter().filter_map(|stmt| stored(stmt)).collect();
    let mut loads: Vec<(usize, Index)> = Vec::new();
    let mut possible = true;
    for (n, stmt) in stmts.iter().enumerate() {
        for x in exprs(stmt) {
            each_expr(x, &mut |x| match x {
                Expr::Load { buffer, index } if written.contains(buffer) => {
                    // What is stored is read before, or not at all.
                    let before = stmts[..n].iter().all(|stmt| stored(stmt) != Some(*buffer));
                    possible &= before && stores.iter().any(|(b, i)| b == buffer && i == index);
                    if possible && !loads.contains(&(*buffer, index.clone())) {
                        loads.push((*buffer, index.clone()));
                    }
                }
                Expr::LoadAt { buffer, .. } => possible &= !written.contains(buffer),
                _ => {}
            });
        }
        // What stands in a guard may not be read at all.
        for x in exprs(stmt) {
            unguarded(x, &mut |x| {
                if let Expr::Load { buffer, index } = x
                    && argument(*buffer)
                    && aligned(index, var)
                    && !loads.contains(&(*buffer, index.clone()))
                {
                    loads.push((*buffer, index.clone()));
                }
            });
        }
    }
    (possible && !stores.is_empty()).then_some(Wide { loads, stores })
}

/// Whether neighbours of `var` lie next to each other, groups of them at multiples of their number.
fn aligned(index: &Index, var: Var) -> bool {
    let width = WIDTH as i64;
    index.coefficient(var) == 1
        && index.offset % width == 0
        && index.terms.iter().all(|(atom, times)| match atom {
            Atom::Var(v) => *v == var || times % width == 0,
            Atom::Div(inner, _) | Atom::Mod(inner, _) => times % width == 0 && !inner.mentions(var),
        })
}

fn unguarded<'a>(expr: &'a Expr, visit: &mut impl FnMut(&'a Expr)) {
    visit(expr);
    match expr {
        Expr::Const(_) | Expr::Reg(_) | Expr::Index(_) | Expr::Load { .. } => {}
        Expr::LoadAt { at: x, .. } | Expr::Unary(_, x) | Expr::Cast(_, x) => unguarded(x, visit),
        Expr::Binary(_, a, b) => {
            unguarded(a, visit);
            unguarded(b, visit);
        }
        Expr::Select { cond, .. } => unguarded(cond, visit),
    }
}
