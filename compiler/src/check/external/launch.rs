//! How many threads run a kernel: `threads(B, C)`, one for each place along these axes, or `blocks(B, 128)`, a block of so
//! many for each. Without, a thread for each element of the first result.

use super::super::elaborate::{Elaborator, Result};
use super::super::value::*;
use super::Extents;
use super::declared::{Clauses, Declared};
use crate::diagnostic::Place;
use crate::graph::Ty;
use fgc_grammar::ast::{Expr, ExprKind};

/// Of a block, where each thread works for itself.
const THREADS: usize = 256;
/// CUDA's limits.
const MOST_THREADS: i64 = 1024;
const MOST_BLOCKS: usize = i32::MAX as usize;

impl Elaborator<'_> {
    /// Blocks, and threads of each.
    pub(super) fn grid(
        &mut self,
        kernel: &Declared,
        clauses: &Clauses,
        extents: &Extents,
        first: &Ty,
    ) -> Result<(usize, usize)> {
        let file = kernel.closure.env.file;
        let (grid, span) = match clauses.get("launch") {
            Some(clause) => (self.launch(kernel, &clause.value, extents)?, clause.value.span),
            None => ((first.len().div_ceil(THREADS), THREADS), kernel.item.name.span),
        };
        if grid.0 == 0 || grid.0 > MOST_BLOCKS {
            let message = format!("{} blocks of threads; a launch has 1 to {MOST_BLOCKS}", grid.0);
            let help = "let each thread, or each block, do more";
            return Err(self.error_help("FG0806", message, Place { file, span }, "this launch", help));
        }
        Ok(grid)
    }

    fn launch(&mut self, kernel: &Declared, value: &Expr, extents: &Extents) -> Result<(usize, usize)> {
        let at = Place { file: kernel.closure.env.file, span: value.span };
        let help = "`threads(B, C)`: a thread for each place along these axes; `blocks(B, 128)`: a block of 128 threads for each";
        let word = match &*value.kind {
            ExprKind::Call { callee, args, scope: None, over: None } => match &*callee.kind {
                ExprKind::Name(word) if word == "threads" || word == "blocks" => Some((word.as_str(), args)),
                _ => None,
            },
            _ => None,
        };
        let Some((word, args)) = word else {
            return Err(self.error_help("FG0806", "a launch is of threads or of blocks", at, "neither", help));
        };
        let (mut places, mut threads) = (1usize, None);
        for arg in args {
            let at = Place { file: at.file, span: arg.value.span };
            match self.expr(&arg.value, &kernel.closure.env)? {
                Value::Axis(axis) => match extents.named.get(&axis) {
                    Some(extent) => places = places.saturating_mul(*extent),
                    None => {
                        let known: Vec<&str> = extents.named.keys().map(|axis| &**axis).collect();
                        let message = format!("`{}` has no axis {axis}", kernel.item.name.text);
                        let help = format!("its axes are {}", known.join(", "));
                        return Err(self.error_help("FG0806", message, at, "not an axis of it", help));
                    }
                },
                Value::Int(n) if word == "blocks" && threads.is_none() && (1..=MOST_THREADS).contains(&n) => {
                    threads = Some(n as usize);
                }
                other => {
                    let message = format!("{} says nothing about a launch", self.show(&other));
                    return Err(self.error_help("FG0806", message, at, "neither an axis nor 1 to 1024 threads", help));
                }
            }
        }
        match (word, threads) {
            ("threads", _) => Ok((places.div_ceil(THREADS), THREADS)),
            (_, Some(threads)) => Ok((places, threads)),
            (_, None) => Err(self.error_help("FG0806", "a block has how many threads?", at, "it does not say", help)),
        }
    }
}
