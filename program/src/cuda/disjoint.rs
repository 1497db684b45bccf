//! Which loops of a nest can run at once.

use crate::bounds::{Extents, range};
use crate::{Atom, Expr, Index, Stmt, Var};
use rustc_hash::{FxHashMap, FxHashSet};

use super::tree::{each_expr, each_stmt, exprs};

/// The loops of `loops` whose iterations, those of `body` for all values of the others, are independent of each other:
/// for every buffer written, the elements that iterations touch are apart. None if this cannot be told at all.
pub(super) fn parallel(loops: &[(Var, usize)], body: &[&Stmt], extents: &Extents) -> Option<FxHashSet<Var>> {
    let mut touched: FxHashMap<usize, Touched> = FxHashMap::default();
    // Variables that change while the nest runs.
    let mut vars: FxHashSet<Var> = loops.iter().map(|(var, _)| *var).collect();
    let mut visit = |stmt: &Stmt| {
        if let Stmt::For { var, .. } = stmt {
            vars.insert(*var);
        }
        match stmt {
            Stmt::Store { buffer, index, .. } => {
                let touched = touched.entry(*buffer).or_default();
                touched.written = true;
                touched.at.push(Some(index.clone()));
            }
            Stmt::StoreAt { buffer, .. } => {
                let touched = touched.entry(*buffer).or_default();
                touched.written = true;
                touched.at.push(None);
            }
            _ => {}
        }
        for x in exprs(stmt) {
            each_expr(x, &mut |x| match x {
                Expr::Load { buffer, index } => touched.entry(*buffer).or_default().at.push(Some(index.clone())),
                Expr::LoadAt { buffer, .. } => touched.entry(*buffer).or_default().at.push(None),
                _ => {}
            });
        }
    };
    for stmt in body {
        each_stmt(std::slice::from_ref(*stmt), &mut visit);
    }
    let mut candidates: FxHashSet<Var> = loops.iter().filter(|(_, extent)| *extent > 0).map(|(var, _)| *var).collect();
    for touched in touched.into_values().filter(|touched| touched.written) {
        let at = touched.at.into_iter().collect::<Option<Vec<Index>>>()?;
        candidates = apart(&at, candidates, &vars, extents)?;
    }
    Some(candidates)
}

#[derive(Default)]
struct Touched {
    written: bool,
    /// None: at a computed place.
    at: Vec<Option<Index>>,
}

/// Those of `candidates` for whose different values all of `at` are apart.
fn apart(
    at: &[Index],
    mut candidates: FxHashSet<Var>,
    vars: &FxHashSet<Var>,
    extents: &Extents,
) -> Option<FxHashSet<Var>> {
    let first = at.first()?;
    let entangled = |index: &Index, var: Var| {
        index.terms.iter().any(|(atom, _)| match atom {
            Atom::Var(_) => false,
            Atom::Div(inner, _) | Atom::Mod(inner, _) => inner.mentions(var),
        })
    };
    candidates.retain(|var| {
        let times = first.coefficient(*var);
        times != 0 && at.iter().all(|index| index.coefficient(*var) == times && !entangled(index, *var))
    });
    // What does not change while the nest runs must be the same everywhere.
    let fixed = |index: &Index| -> Vec<(Atom, i64)> {
        let is_fixed = |atom: &Atom| {
            let mut fixed = true;
            each_var(atom, &mut |var| fixed &= !vars.contains(&var));
            fixed
        };
        index.terms.iter().filter(|(atom, _)| is_fixed(atom)).cloned().collect()
    };
    let common = fixed(first);
    if at.iter().any(|index| fixed(index) != common) {
        return None;
    }
    loop {
        let mut steps: Vec<(i64, Var)> = candidates.iter().map(|var| (first.coefficient(*var).abs(), *var)).collect();
        steps.sort_unstable();
        // How far the elements that one combination of the candidates touches reach.
        let (mut low, mut high) = (i64::MAX, i64::MIN);
        for index in at {
            let rest = |atom: &Atom| !common.iter().any(|(a, _)| a == atom) && !is_one_of(atom, &candidates);
            let terms = index.terms.iter().filter(|(atom, _)| rest(atom)).cloned().collect();
            let (from, to) = range(&Index { terms, offset: index.offset }, extents)?;
            (low, high) = (low.min(from), high.max(to));
        }
        let mut reach = high.checked_sub(low)?;
        let mut failed = None;
        for (step, var) in steps {
            if step <= reach {
                failed = Some(var);
                break;
            }
            reach = reach.checked_add(step.checked_mul(*extents.get(&var)? as i64 - 1)?)?;
        }
        match failed {
            None => return Some(candidates),
            Some(var) => _ = candidates.remove(&var),
        }
    }
}

fn is_one_of(atom: &Atom, vars: &FxHashSet<Var>) -> bool {
    matches!(atom, Atom::Var(var) if vars.contains(var))
}

fn each_var(atom: &Atom, visit: &mut impl FnMut(Var)) {
    match atom {
        Atom::Var(var) => visit(*var),
        Atom::Div(inner, _) | Atom::Mod(inner, _) => inner.each_var(visit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Scalar};

    fn index(terms: &[(u32, i64)], offset: i64) -> Index {
        Index { terms: terms.iter().map(|(var, times)| (Atom::Var(Var(*var)), *times)).collect(), offset }
    }

    fn store(index: Index, from: Option<Index>) -> Stmt {
        let value = match from {
            Some(index) => Expr::Load { buffer: 0, index },
            None => Expr::Const(Scalar::new(DType::F32, 1.0)),
        };
        Stmt::Store { buffer: 0, index, value }
    }

    fn found(stmt: Stmt) -> Option<Vec<u32>> {
        let extents = Extents::from_iter([(Var(0), 10), (Var(1), 4), (Var(2), 8)]);
        let mut vars: Vec<u32> =
            parallel(&[(Var(1), 4), (Var(2), 8)], &[&stmt], &extents)?.into_iter().map(|var| var.0).collect();
        vars.sort_unstable();
        Some(vars)
    }

    #[test]
    fn loops_that_write_apart_are_parallel() {
        assert_eq!(found(store(index(&[(0, 32), (1, 8), (2, 1)], 0), None)), Some(vec![1, 2]));
        assert_eq!(found(store(index(&[(1, 1), (2, 4)], 0), None)), Some(vec![1, 2]));
        // Sums over one of them.
        let own = index(&[(2, 1)], 0);
        assert_eq!(found(store(own.clone(), Some(own))), Some(vec![2]));
        // Overlapping rows.
        assert_eq!(found(store(index(&[(1, 7), (2, 1)], 0), None)), Some(vec![]));
        assert_eq!(found(store(index(&[(1, 8), (2, 1)], 0), None)), Some(vec![1, 2]));
        // A neighbour is read.
        let next = index(&[(1, 8), (2, 1)], 1);
        assert_eq!(found(store(index(&[(1, 8), (2, 1)], 0), Some(next))), Some(vec![]));
    }
}
