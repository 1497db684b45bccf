//! Clean-up of a kernel: nested loops over what lies next to each other become one, values used once move to their
//! use, values not used go.

use super::hoist::hoist;
use fgc_program::bounds::{Extents, extents};
use fgc_program::{Access, Atom, Expr, Index, Kernel, KernelBuffer, Reg, Stmt, Var};
use rustc_hash::FxHashMap;

pub(super) fn tidy(kernel: &mut Kernel) {
    collapse(kernel);
    drop_unused(&mut kernel.body);
    let uses = uses(&kernel.body);
    forward(&mut kernel.body, &kernel.buffers, &uses);
    hoist(kernel);
    drop_unused(&mut kernel.body);
    renumber(&mut kernel.body);
}

/// Calls `visit` on every index and the indices within.
fn each_index(body: &[Stmt], visit: &mut impl FnMut(&Index)) {
    fn within(index: &Index, visit: &mut impl FnMut(&Index)) {
        visit(index);
        for (atom, _) in &index.terms {
            if let Atom::Div(inner, _) | Atom::Mod(inner, _) = atom {
                within(inner, visit);
            }
        }
    }
    fn expr(x: &Expr, visit: &mut impl FnMut(&Index)) {
        if let Expr::Index(index) | Expr::Load { index, .. } = x {
            within(index, visit);
        }
        for part in parts(x) {
            expr(part, visit);
        }
    }
    for stmt in body {
        if let Stmt::Store { index, .. } = stmt {
            within(index, visit);
        }
        for x in exprs(stmt) {
            expr(x, visit);
        }
        if let Stmt::For { body, .. } = stmt {
            each_index(body, visit);
        }
    }
}

/// Calls `visit` on every access to a buffer, with its index where that is known.
pub(super) fn each_access(body: &[Stmt], visit: &mut impl FnMut(usize, Option<&Index>)) {
    fn expr(x: &Expr, visit: &mut impl FnMut(usize, Option<&Index>)) {
        match x {
            Expr::Load { buffer, index } => visit(*buffer, Some(index)),
            Expr::LoadAt { buffer, .. } => visit(*buffer, None),
            _ => {}
        }
        parts(x).into_iter().for_each(|part| expr(part, visit));
    }
    for stmt in body {
        match stmt {
            Stmt::Store { buffer, index, .. } => visit(*buffer, Some(index)),
            Stmt::StoreAt { buffer, .. } => visit(*buffer, None),
            Stmt::For { body, .. } => each_access(body, visit),
            _ => {}
        }
        exprs(stmt).into_iter().for_each(|x| expr(x, visit));
    }
}

/// Likewise, to change them.
pub(super) fn each_access_mut(body: &mut [Stmt], visit: &mut impl FnMut(&mut usize, Option<&mut Index>)) {
    fn expr(x: &mut Expr, visit: &mut impl FnMut(&mut usize, Option<&mut Index>)) {
        match x {
            Expr::Load { buffer, index } => visit(buffer, Some(index)),
            Expr::LoadAt { buffer, .. } => visit(buffer, None),
            _ => {}
        }
        parts_mut(x).into_iter().for_each(|part| expr(part, visit));
    }
    for stmt in body {
        match stmt {
            Stmt::Store { buffer, index, .. } => visit(buffer, Some(index)),
            Stmt::StoreAt { buffer, .. } => visit(buffer, None),
            Stmt::For { body, .. } => each_access_mut(body, visit),
            _ => {}
        }
        exprs_mut(stmt).into_iter().for_each(|x| expr(x, visit));
    }
}

/// The expressions directly within an expression.
pub(super) fn parts(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::Const(_) | Expr::Reg(_) | Expr::Index(_) | Expr::Load { .. } => Vec::new(),
        Expr::LoadAt { at: x, .. } | Expr::Unary(_, x) | Expr::Cast(_, x) => vec![x],
        Expr::Binary(_, a, b) => vec![a, b],
        Expr::Select { cond, then, otherwise } => vec![cond, then, otherwise],
    }
}

pub(super) fn parts_mut(expr: &mut Expr) -> Vec<&mut Expr> {
    match expr {
        Expr::Const(_) | Expr::Reg(_) | Expr::Index(_) | Expr::Load { .. } => Vec::new(),
        Expr::LoadAt { at: x, .. } | Expr::Unary(_, x) | Expr::Cast(_, x) => vec![x],
        Expr::Binary(_, a, b) => vec![a, b],
        Expr::Select { cond, then, otherwise } => vec![cond, then, otherwise],
    }
}

/// The expressions of a statement, those of a loop's body not included.
pub(super) fn exprs(stmt: &Stmt) -> Vec<&Expr> {
    match stmt {
        Stmt::Let { value: x, .. }
        | Stmt::Accumulator { init: x, .. }
        | Stmt::Assign { value: x, .. }
        | Stmt::Store { value: x, .. } => vec![x],
        Stmt::StoreAt { at, value, .. } => vec![at, value],
        Stmt::For { .. } => Vec::new(),
    }
}

pub(super) fn exprs_mut(stmt: &mut Stmt) -> Vec<&mut Expr> {
    match stmt {
        Stmt::Let { value: x, .. }
        | Stmt::Accumulator { init: x, .. }
        | Stmt::Assign { value: x, .. }
        | Stmt::Store { value: x, .. } => vec![x],
        Stmt::StoreAt { at, value, .. } => vec![at, value],
        Stmt::For { .. } => Vec::new(),
    }
}

fn substitute(body: &mut [Stmt], with: &impl Fn(Var) -> Option<Index>, extents: &Extents) {
    fn expr(x: &mut Expr, with: &impl Fn(Var) -> Option<Index>, extents: &Extents) {
        if let Expr::Index(index) | Expr::Load { index, .. } = x {
            *index = index.substitute(with, extents);
        }
        for part in parts_mut(x) {
            expr(part, with, extents);
        }
    }
    for stmt in body {
        if let Stmt::Store { index, .. } = stmt {
            *index = index.substitute(with, extents);
        }
        for x in exprs_mut(stmt) {
            expr(x, with, extents);
        }
        if let Stmt::For { body, .. } = stmt {
            substitute(body, with, extents);
        }
    }
}

/// Whether in all of `body` the loops `outer` and `inner` (of this extent) act as one loop.
fn act_as_one(body: &[Stmt], outer: Var, inner: Var, extent: usize) -> bool {
    let mut one = true;
    each_index(body, &mut |index| one &= index.coefficient(outer) == index.coefficient(inner) * extent as i64);
    one
}

fn collapse(kernel: &mut Kernel) {
    let mut known = extents(kernel.extent, &kernel.body);
    collapse_inner(&mut kernel.body, &mut known);
    while let [Stmt::For { var, extent, body, .. }] = &mut kernel.body[..]
        && act_as_one(body, Var::GRID, *var, *extent)
    {
        let inner = *var;
        kernel.extent *= *extent;
        let mut body = std::mem::take(body);
        known.insert(Var::GRID, kernel.extent);
        let with = |var| match var {
            Var::GRID => Some(Index::default()),
            _ if var == inner => Some(Var::GRID.into()),
            _ => None,
        };
        substitute(&mut body, &with, &known);
        kernel.body = body;
    }
}

fn collapse_inner(stmts: &mut [Stmt], known: &mut Extents) {
    for stmt in stmts {
        let Stmt::For { var, extent, vector, body } = stmt else { continue };
        collapse_inner(body, known);
        while let [Stmt::For { var: inner, extent: count, vector: flag, body: nested }] = &mut body[..]
            && act_as_one(nested, *var, *inner, *count)
        {
            let outer = *var;
            let mut nested = std::mem::take(nested);
            (*var, *extent, *vector) = (*inner, *extent * *count, *flag);
            known.insert(*var, *extent);
            substitute(&mut nested, &|var| (var == outer).then(Index::default), known);
            *body = nested;
        }
    }
}

/// How often each register is read.
fn uses(body: &[Stmt]) -> FxHashMap<Reg, usize> {
    fn expr(x: &Expr, uses: &mut FxHashMap<Reg, usize>) {
        if let Expr::Reg(reg) = x {
            *uses.entry(*reg).or_default() += 1;
        }
        parts(x).into_iter().for_each(|part| expr(part, uses));
    }
    fn block(body: &[Stmt], uses: &mut FxHashMap<Reg, usize>) {
        for stmt in body {
            exprs(stmt).into_iter().for_each(|x| expr(x, uses));
            if let Stmt::For { body, .. } = stmt {
                block(body, uses);
            }
        }
    }
    let mut uses = FxHashMap::default();
    block(body, &mut uses);
    uses
}

fn drop_unused(body: &mut Vec<Stmt>) {
    fn block(body: &mut Vec<Stmt>, uses: &FxHashMap<Reg, usize>) -> bool {
        let before = body.len();
        body.retain(|stmt| !matches!(stmt, Stmt::Let { reg, .. } if !uses.contains_key(reg)));
        let mut changed = body.len() < before;
        for stmt in body.iter_mut() {
            if let Stmt::For { body, .. } = stmt {
                changed |= block(body, uses);
            }
        }
        changed
    }
    while block(body, &uses(body)) {}
}

/// Moves values that are used once to where they are used, within their loop. What is loaded from a buffer that the
/// kernel writes stays in its place.
fn forward(body: &mut Vec<Stmt>, buffers: &[KernelBuffer], uses: &FxHashMap<Reg, usize>) {
    fn fixed(x: &Expr, buffers: &[KernelBuffer]) -> bool {
        let written = |b: usize| buffers[b].access != Access::Read;
        matches!(x, Expr::Load { buffer, .. } | Expr::LoadAt { buffer, .. } if written(*buffer))
            || parts(x).into_iter().any(|part| fixed(part, buffers))
    }
    fn replace(x: &mut Expr, reg: Reg, value: &mut Option<Expr>) {
        if *x == Expr::Reg(reg) {
            if let Some(value) = value.take() {
                *x = value;
            }
            return;
        }
        for part in parts_mut(x) {
            replace(part, reg, value);
        }
    }
    let mut i = 0;
    while i < body.len() {
        if let Stmt::For { body, .. } = &mut body[i] {
            forward(body, buffers, uses);
        }
        let (head, tail) = body.split_at_mut(i + 1);
        if let Stmt::Let { reg, value, .. } = &head[i]
            && uses.get(reg) == Some(&1)
            && !fixed(value, buffers)
        {
            let mut moved = Some(value.clone());
            for stmt in tail {
                exprs_mut(stmt).into_iter().for_each(|x| replace(x, *reg, &mut moved));
            }
            if moved.is_none() {
                body.remove(i);
                continue;
            }
        }
        i += 1;
    }
}

/// Numbers registers in the order they are defined.
fn renumber(body: &mut [Stmt]) {
    fn expr(x: &mut Expr, new: &FxHashMap<Reg, Reg>) {
        if let Expr::Reg(reg) = x {
            *reg = new[reg];
        }
        parts_mut(x).into_iter().for_each(|part| expr(part, new));
    }
    fn block(body: &mut [Stmt], new: &mut FxHashMap<Reg, Reg>) {
        for stmt in body {
            exprs_mut(stmt).into_iter().for_each(|x| expr(x, new));
            match stmt {
                Stmt::Let { reg, .. } | Stmt::Accumulator { reg, .. } => {
                    let next = Reg(new.len() as u32);
                    new.insert(*reg, next);
                    *reg = next;
                }
                Stmt::Assign { reg, .. } => *reg = new[reg],
                Stmt::For { body, .. } => block(body, new),
                Stmt::Store { .. } | Stmt::StoreAt { .. } => {}
            }
        }
    }
    block(body, &mut FxHashMap::default());
}
