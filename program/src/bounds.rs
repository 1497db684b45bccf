//! The values an index can take, given its loops' extents.

use crate::{Atom, Index, Stmt, Var};
use rustc_hash::FxHashMap;

/// How often each loop of a kernel runs.
pub type Extents = FxHashMap<Var, usize>;

/// The extents of all loops in `body` and of the grid.
pub fn extents(grid: usize, body: &[Stmt]) -> Extents {
    fn visit(body: &[Stmt], extents: &mut Extents) {
        for stmt in body {
            if let Stmt::For { var, extent, body, .. } = stmt {
                extents.insert(*var, *extent);
                visit(body, extents);
            }
        }
    }
    let mut extents = Extents::default();
    extents.insert(Var::GRID, grid);
    visit(body, &mut extents);
    extents
}

/// Inclusive bounds of `index`, not always tight: atoms are taken as independent. None if a variable is unknown or
/// never runs, a divisor is not positive, or the bounds leave i64.
pub fn range(index: &Index, extents: &Extents) -> Option<(i64, i64)> {
    let (mut low, mut high) = (index.offset, index.offset);
    for (atom, coefficient) in &index.terms {
        let (first, last) = match atom {
            Atom::Var(var) => (0, i64::try_from(*extents.get(var)?).ok()?.checked_sub(1).filter(|last| *last >= 0)?),
            Atom::Div(inner, by) if *by > 0 => {
                let (first, last) = range(inner, extents)?;
                (first.div_euclid(*by), last.div_euclid(*by))
            }
            Atom::Mod(inner, by) if *by > 0 => {
                let (first, last) = range(inner, extents)?;
                if first.div_euclid(*by) == last.div_euclid(*by) {
                    (first.rem_euclid(*by), last.rem_euclid(*by))
                } else {
                    (0, *by - 1)
                }
            }
            Atom::Div(..) | Atom::Mod(..) => return None,
        };
        let (a, b) = (first.checked_mul(*coefficient)?, last.checked_mul(*coefficient)?);
        low = low.checked_add(a.min(b))?;
        high = high.checked_add(a.max(b))?;
    }
    Some((low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_follow_divisions_and_signs() {
        let var = |n: u32| Atom::Var(Var(n));
        let index = |terms: Vec<(Atom, i64)>, offset| Index { terms, offset };
        let extents = Extents::from_iter([(Var(0), 10), (Var(1), 4)]);
        let both = index(vec![(var(0), 4), (var(1), 1)], 0);
        assert_eq!(range(&both, &extents), Some((0, 39)));
        assert_eq!(range(&index(vec![(Atom::Div(both.clone().into(), 8), 2)], 1), &extents), Some((1, 9)));
        assert_eq!(range(&index(vec![(Atom::Mod(both.clone().into(), 8), 1)], 0), &extents), Some((0, 7)));
        assert_eq!(range(&index(vec![(Atom::Mod(both.clone().into(), 100), 1)], 0), &extents), Some((0, 39)));
        assert_eq!(range(&index(vec![(var(1), -3)], 5), &extents), Some((-4, 5)));
        assert_eq!(range(&index(vec![(var(7), 1)], 0), &extents), None);
        assert_eq!(range(&index(vec![(var(0), i64::MAX)], 0), &extents), None);
    }
}
