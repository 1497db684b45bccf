//! Index arithmetic: sums of loop variables, with the divisions and remainders that reshapes leave behind.

use crate::bounds::{Extents, range};
use serde::{Deserialize, Serialize};

/// A loop variable, unique within its kernel. Its values run from 0 to its loop's extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Var(pub u32);

impl Var {
    /// The outermost, parallel loop of a kernel.
    pub const GRID: Var = Var(0);
}

/// An affine combination `offset + Σ coefficient·atom` of integers (i64).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Index {
    /// Sorted by atom, no atom twice, no zero coefficient.
    pub terms: Vec<(Atom, i64)>,
    pub offset: i64,
}

/// What an index is a combination of. Divisors are positive; the divided index is never negative.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Atom {
    Var(Var),
    Div(Box<Index>, i64),
    Mod(Box<Index>, i64),
}

impl From<Var> for Index {
    fn from(var: Var) -> Index {
        Index::atom(Atom::Var(var))
    }
}

impl Index {
    pub fn constant(offset: i64) -> Index {
        Index { terms: Vec::new(), offset }
    }

    fn atom(atom: Atom) -> Index {
        Index { terms: vec![(atom, 1)], offset: 0 }
    }

    /// The value, where there is no variable in it.
    pub fn as_constant(&self) -> Option<i64> {
        self.terms.is_empty().then_some(self.offset)
    }

    /// How often `var` itself is counted; what divisions and remainders contain is not looked at.
    pub fn coefficient(&self, var: Var) -> i64 {
        let found = self.terms.iter().find(|(atom, _)| *atom == Atom::Var(var));
        found.map_or(0, |(_, coefficient)| *coefficient)
    }

    /// Calls `visit` on every variable, those within divisions and remainders included.
    pub fn each_var(&self, visit: &mut impl FnMut(Var)) {
        for (atom, _) in &self.terms {
            match atom {
                Atom::Var(var) => visit(*var),
                Atom::Div(inner, _) | Atom::Mod(inner, _) => inner.each_var(visit),
            }
        }
    }

    pub fn mentions(&self, var: Var) -> bool {
        let mut found = false;
        self.each_var(&mut |v| found |= v == var);
        found
    }

    /// The same over `to` in place of `from`, which has the same extent.
    pub fn rename(&self, from: Var, to: Var) -> Index {
        let atom = |atom: &Atom| match atom {
            Atom::Var(var) => Atom::Var(if *var == from { to } else { *var }),
            Atom::Div(inner, by) => Atom::Div(Box::new(inner.rename(from, to)), *by),
            Atom::Mod(inner, by) => Atom::Mod(Box::new(inner.rename(from, to)), *by),
        };
        let mut terms: Vec<(Atom, i64)> = self.terms.iter().map(|(a, times)| (atom(a), *times)).collect();
        terms.sort();
        Index { terms, offset: self.offset }
    }

    /// The same without its multiple of `var` itself.
    pub fn without(&self, var: Var) -> Index {
        let terms = self.terms.iter().filter(|(atom, _)| *atom != Atom::Var(var)).cloned().collect();
        Index { terms, offset: self.offset }
    }

    pub fn plus(&self, offset: i64) -> Index {
        Index { terms: self.terms.clone(), offset: self.offset + offset }
    }

    pub fn scale(&self, factor: i64) -> Index {
        if factor == 0 {
            return Index::default();
        }
        Index {
            terms: self.terms.iter().map(|(atom, c)| (atom.clone(), c * factor)).collect(),
            offset: self.offset * factor,
        }
    }

    /// The sum; a quotient and a remainder of one index that add up to it again become it.
    pub fn add(&self, other: &Index, extents: &Extents) -> Index {
        self.sum(other).recombine(extents)
    }

    /// The sum, terms of one atom added up.
    fn sum(&self, other: &Index) -> Index {
        let mut terms = Vec::with_capacity(self.terms.len() + other.terms.len());
        let (mut a, mut b) = (self.terms.iter().peekable(), other.terms.iter().peekable());
        loop {
            match (a.peek(), b.peek()) {
                (Some(x), Some(y)) if x.0 == y.0 => {
                    if x.1 + y.1 != 0 {
                        terms.push((x.0.clone(), x.1 + y.1));
                    }
                    a.next();
                    b.next();
                }
                (Some(x), Some(y)) if x.0 < y.0 => {
                    terms.push((*x).clone());
                    a.next();
                }
                (_, Some(y)) => {
                    terms.push((*y).clone());
                    b.next();
                }
                (Some(x), None) => {
                    terms.push((*x).clone());
                    a.next();
                }
                (None, None) => break,
            }
        }
        Index { terms, offset: self.offset + other.offset }
    }

    /// `c·(x mod n) + c·n·(x div n)` is `c·x`.
    fn recombine(mut self, extents: &Extents) -> Index {
        loop {
            let shorter = self.terms.iter().find_map(|(atom, c)| {
                let Atom::Mod(x, n) = atom else { return None };
                let remainder = Index::atom(atom.clone()).scale(-c);
                let quotient = x.div(*n, extents).scale(-c * n);
                let whole = self.sum(&remainder).sum(&quotient).sum(&x.scale(*c));
                (whole.terms.len() < self.terms.len()).then_some(whole)
            });
            match shorter {
                Some(whole) => self = whole,
                None => return self,
            }
        }
    }

    /// `self = by·quotient + rest` with everything that `by` divides in the quotient, and 0 ≤ offset of rest < by.
    fn split(&self, by: i64) -> (Index, Index) {
        let (mut quotient, mut rest) = (Index::default(), Index::default());
        for (atom, c) in &self.terms {
            if c % by == 0 {
                quotient.terms.push((atom.clone(), c / by));
            } else {
                rest.terms.push((atom.clone(), *c));
            }
        }
        quotient.offset = self.offset.div_euclid(by);
        rest.offset = self.offset.rem_euclid(by);
        (quotient, rest)
    }

    /// `(g, x, r)` with `self = g·x + r`, `g` > 1 a divisor of `by` and 0 ≤ r < g; the largest such g.
    fn factor(&self, by: i64, extents: &Extents) -> Option<(i64, Index, Index)> {
        let mut factors: Vec<i64> = self.terms.iter().map(|(_, c)| gcd(by, *c)).filter(|g| *g > 1).collect();
        factors.sort_unstable_by(|a, b| b.cmp(a));
        factors.dedup();
        factors.into_iter().find_map(|g| {
            let (x, r) = self.split(g);
            let (low, high) = range(&r, extents)?;
            (low >= 0 && high < g).then_some((g, x, r))
        })
    }

    /// The quotient of every value of `self`, if it is one and the same.
    fn only_quotient(&self, by: i64, extents: &Extents) -> Option<i64> {
        let (low, high) = range(self, extents)?;
        (low.div_euclid(by) == high.div_euclid(by)).then_some(low.div_euclid(by))
    }

    /// Divided by `by` > 0, rounded down.
    pub fn div(&self, by: i64, extents: &Extents) -> Index {
        if by == 1 {
            return self.clone();
        }
        if let Some(q) = self.only_quotient(by, extents) {
            return Index::constant(q);
        }
        let (quotient, rest) = self.split(by);
        if let Some(q) = rest.only_quotient(by, extents) {
            return quotient.plus(q);
        }
        // (g·x + r) / (g·n) = x / n where 0 ≤ r < g.
        if let Some((g, x, _)) = rest.factor(by, extents) {
            return quotient.add(&x.div(by / g, extents), extents);
        }
        let own = match &rest.terms[..] {
            // (x / a) / b = x / (a·b); ((x mod a·b) / b) = (x / b) mod a.
            [(Atom::Div(x, a), 1)] if rest.offset == 0 => x.div(a * by, extents),
            [(Atom::Mod(x, a), 1)] if rest.offset == 0 && a % by == 0 => x.div(by, extents).rem(a / by, extents),
            _ => Index::atom(Atom::Div(Box::new(rest), by)),
        };
        quotient.add(&own, extents)
    }

    /// The remainder, from 0 to `by` − 1.
    pub fn rem(&self, by: i64, extents: &Extents) -> Index {
        if by == 1 {
            return Index::default();
        }
        if let Some(q) = self.only_quotient(by, extents) {
            return self.plus(-q * by);
        }
        let (_, mut rest) = self.split(by);
        if let Some(q) = rest.only_quotient(by, extents) {
            return rest.plus(-q * by);
        }
        // (g·x + r) mod (g·n) = g·(x mod n) + r where 0 ≤ r < g.
        if let Some((g, x, r)) = rest.factor(by, extents) {
            return x.rem(by / g, extents).scale(g).add(&r, extents);
        }
        // Multiples of `by` may go, which also makes what is divided non-negative.
        for (_, c) in &mut rest.terms {
            *c = c.rem_euclid(by);
        }
        if let Some(q) = rest.only_quotient(by, extents) {
            return rest.plus(-q * by);
        }
        match &rest.terms[..] {
            [(Atom::Mod(x, a), 1)] if rest.offset == 0 && a % by == 0 => x.rem(by, extents),
            _ => Index::atom(Atom::Mod(Box::new(rest), by)),
        }
    }

    /// Every variable replaced by what `with` gives for it.
    pub fn substitute(&self, with: &impl Fn(Var) -> Option<Index>, extents: &Extents) -> Index {
        self.terms
            .iter()
            .fold(Index::constant(self.offset), |sum, (atom, c)| {
                let new = match atom {
                    Atom::Var(var) => with(*var).unwrap_or_else(|| Index::from(*var)),
                    Atom::Div(inner, by) => inner.substitute(with, extents).div(*by, extents),
                    Atom::Mod(inner, by) => inner.substitute(with, extents).rem(*by, extents),
                };
                sum.sum(&new.scale(*c))
            })
            .recombine(extents)
    }

    /// The row-major position of `indices` in a tensor of this shape.
    pub fn linear(indices: &[Index], shape: &[usize], extents: &Extents) -> Index {
        let mut sum = Index::default();
        let mut stride = 1;
        for (index, &extent) in indices.iter().zip(shape).rev() {
            sum = sum.sum(&index.scale(stride));
            stride *= extent as i64;
        }
        sum.recombine(extents)
    }

    /// The indices of row-major position `self` in a tensor of this shape: the inverse of [`Index::linear`].
    pub fn unravel(&self, shape: &[usize], extents: &Extents) -> Vec<Index> {
        let mut indices = vec![Index::default(); shape.len()];
        let mut stride = 1;
        let outermost = shape.iter().position(|&extent| extent != 1);
        for axis in (0..shape.len()).rev().filter(|&axis| shape[axis] != 1) {
            let quotient = self.div(stride, extents);
            indices[axis] = if Some(axis) == outermost { quotient } else { quotient.rem(shape[axis] as i64, extents) };
            stride *= shape[axis] as i64;
        }
        indices
    }

    /// The value where each variable has the value `at` gives it.
    pub fn eval(&self, at: &impl Fn(Var) -> i64) -> i64 {
        let terms = self.terms.iter().map(|(atom, c)| {
            c * match atom {
                Atom::Var(var) => at(*var),
                Atom::Div(inner, by) => inner.eval(at).div_euclid(*by),
                Atom::Mod(inner, by) => inner.eval(at).rem_euclid(*by),
            }
        });
        self.offset + terms.sum::<i64>()
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a.abs() } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents() -> Extents {
        Extents::from_iter([(Var(0), 6), (Var(1), 4), (Var(2), 5)])
    }

    /// Random indices of three variables, through all operations, equal what they stand for.
    #[test]
    fn simplified_arithmetic_has_the_values_of_plain_arithmetic() {
        let extents = extents();
        let points: Vec<[i64; 3]> = (0..6 * 4 * 5).map(|n| [n / 20, n / 5 % 4, n % 5]).collect();
        let mut state = 1u64;
        let mut below = |n: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % n
        };
        for _ in 0..2000 {
            let mut index = Index::from(Var(below(3) as u32));
            let mut plain: Vec<i64> = points.iter().map(|p| index.eval(&|v| p[v.0 as usize])).collect();
            for _ in 0..6 {
                let n = [1, 2, 3, 4, 5, 6, 8, 12, 20][below(9) as usize];
                match below(6) {
                    0 | 1 => {
                        let (var, c) = (Var(below(3) as u32), below(7) as i64);
                        index = index.add(&Index::from(var).scale(c), &extents);
                        plain.iter_mut().zip(&points).for_each(|(x, p)| *x += c * p[var.0 as usize]);
                    }
                    2 => {
                        let c = below(9) as i64;
                        index = index.scale(n).plus(c);
                        plain.iter_mut().for_each(|x| *x = *x * n + c);
                    }
                    3 => {
                        index = index.div(n, &extents);
                        plain.iter_mut().for_each(|x| *x = x.div_euclid(n));
                    }
                    4 => {
                        index = index.rem(n, &extents);
                        plain.iter_mut().for_each(|x| *x = x.rem_euclid(n));
                    }
                    _ => {
                        let back = index.rem(n, &extents).add(&index.div(n, &extents).scale(n), &extents);
                        assert!(back.terms.len() <= index.terms.len() + 1, "{index} became {back}");
                        index = back;
                    }
                }
                let found: Vec<i64> = points.iter().map(|p| index.eval(&|v| p[v.0 as usize])).collect();
                assert_eq!(found, plain, "{index}");
                let sorted = index.terms.windows(2).all(|w| w[0].0 < w[1].0);
                assert!(sorted && index.terms.iter().all(|t| t.1 != 0), "{index:?}");
            }
        }
    }

    #[test]
    fn reshapes_there_and_back_leave_nothing() {
        let extents = Extents::from_iter([(Var(0), 120)]);
        let flat = Index::from(Var(0));
        for shapes in [vec![vec![2, 3, 4, 5], vec![6, 20], vec![2, 60]], vec![vec![10, 12], vec![120], vec![5, 1, 24]]]
        {
            for shape in shapes {
                let indices = flat.unravel(&shape, &extents);
                assert_eq!(Index::linear(&indices, &shape, &extents), flat, "{shape:?}");
            }
        }
        let two = Extents::from_iter([(Var(0), 6), (Var(1), 20)]);
        let rows = [Index::from(Var(0)), Index::from(Var(1))];
        let flat = Index::linear(&rows, &[6, 20], &two);
        assert_eq!(flat.unravel(&[6, 4, 5], &two)[0].to_string(), "i0");
        assert_eq!(flat.unravel(&[6, 4, 5], &two)[1].to_string(), "(i1/5)");
        assert_eq!(flat.unravel(&[6, 4, 5], &two)[2].to_string(), "(i1%5)");
        assert_eq!(flat.unravel(&[6, 20], &two), rows);
    }

    #[test]
    fn substitution_simplifies() {
        let extents = Extents::from_iter([(Var(0), 6), (Var(1), 4), (Var(2), 24)]);
        let pair = Index::from(Var(0)).scale(4).add(&Var(1).into(), &extents);
        let both = |var| match var {
            Var(2) => Some(pair.clone()),
            _ => None,
        };
        let row = Index::from(Var(2)).div(4, &extents);
        assert_eq!(row.to_string(), "(i2/4)");
        assert_eq!(row.substitute(&both, &extents), Var(0).into());
    }
}
