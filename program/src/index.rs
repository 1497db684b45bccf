//! Index arithmetic: sums of loop variables, with the divisions and remainders that reshapes leave behind.

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
