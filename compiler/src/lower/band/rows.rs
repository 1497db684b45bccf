//! What a band goes along: rows of matrices, or samples.

/// What the rows of a band are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Rows {
    /// Those of so many matrices.
    Matrices {
        entries: usize,
        rows: usize,
    },
    Samples(usize),
}

impl Rows {
    pub fn entries(self) -> usize {
        match self {
            Rows::Matrices { entries, .. } => entries,
            Rows::Samples(_) => 1,
        }
    }

    pub fn rows(self) -> usize {
        match self {
            Rows::Matrices { rows, .. } | Rows::Samples(rows) => rows,
        }
    }

    pub fn count(self) -> usize {
        self.entries() * self.rows()
    }

    /// Launches of a band at most.
    pub fn members(self) -> usize {
        match self {
            Rows::Matrices { .. } => 12,
            Rows::Samples(_) => 24,
        }
    }

    /// How far apart members may be in time: what is to come late must not be drawn to an early band, nor the reverse.
    pub fn apart(self) -> usize {
        match self {
            Rows::Matrices { .. } => 64,
            Rows::Samples(_) => 128,
        }
    }
}
