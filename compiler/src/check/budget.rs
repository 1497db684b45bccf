//! An end to every check: loops, ranges and functions are expanded while compiling, and a slip of the hand makes them
//! endless for all that people wait for.

use super::elaborate::{Elaborator, Result};
use crate::diagnostic::Place;

/// Evaluations of expressions and entries of lists that a check may take: the largest methods of the repository take
/// less than half.
pub const EVALUATIONS: u64 = 10_000_000;

impl Elaborator<'_> {
    /// Counts `n` evaluations; FG0110 once they are too many.
    pub fn spend(&mut self, n: usize, place: Place) -> Result<()> {
        self.spent = self.spent.saturating_add(n as u64);
        let allowed = self.setup.evaluations.unwrap_or(EVALUATIONS);
        if self.spent <= allowed {
            return Ok(());
        }
        // Said once; whatever else is under way ends silently.
        if self.spent - n as u64 <= allowed {
            self.error_help(
                "FG0110",
                format!("expanding this takes more than {allowed} evaluations"),
                place,
                "here the count was reached",
                "loops, ranges and functions run while compiling: make them smaller, or compute with tensors",
            );
        }
        Err(super::Reported)
    }
}
