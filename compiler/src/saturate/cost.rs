//! How long a term takes, roughly: what extraction lowers.

use super::term::{Head, Term, Terms};
use crate::graph::{Op, Ty};
use crate::level::Target;
use crate::lower::work;

/// What a device does in a nanosecond, measured: by `cargo run --release -p fgc-runtime --example cpu_speed` on two cores,
/// and from an H200's data sheet.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Multiply-adds of a product.
    product: f64,
    /// Elementwise operations, of values that are near.
    vector: f64,
    /// Bytes from or to memory.
    bytes: f64,
    /// What starting a kernel takes, in nanoseconds.
    launch: f64,
}

impl Machine {
    pub fn of(target: Target) -> Machine {
        match target {
            Target::Cpu => Machine { product: 130.0, vector: 30.0, bytes: 20.0, launch: 2e3 },
            Target::Cuda => Machine { product: 30e3, vector: 10e3, bytes: 4e3, launch: 2e3 },
        }
    }

    /// Nanoseconds. A fused elementwise operation takes no launch and moves nothing: which are fused is decided later.
    pub fn cost(&self, terms: &Terms, term: &Term) -> f64 {
        let Some((op, ty)) = terms.analysis.form(term.head) else { return self.work(terms, term) };
        let stored = self.launch + 2.0 * (ty.len() * ty.dtype.size()) as f64 / self.bytes;
        match op {
            Op::Reduce { .. } => self.work(terms, term) + stored,
            Op::Contract { a_sum, .. } => {
                let first = &terms[term.inputs[0]].data.ty.shape;
                let summed: usize = a_sum.iter().map(|&axis| first[axis]).product();
                wide(ty) * summed as f64 / self.product + stored
            }
            _ => self.work(terms, term),
        }
    }

    /// Nanoseconds of elementwise operations and of additions in sums.
    pub fn work(&self, terms: &Terms, term: &Term) -> f64 {
        let input = |i: usize| &terms[term.inputs[i]].data.ty;
        let operations = match term.head {
            Head::Unary(op) => wide(input(0)) * work(&Op::Unary(op)) as f64,
            Head::Binary(op) => wide(input(0)) * work(&Op::Binary(op)) as f64,
            Head::Select => wide(input(1)),
            Head::Literal(_) => 0.0,
            Head::Form(_) => match terms.analysis.form(term.head) {
                Some((Op::Reduce { .. }, _)) => wide(input(0)),
                // Read in another order: neighbours are no longer neighbours.
                Some((Op::Permute { .. }, ty)) => 2.0 * wide(ty),
                Some((op, ty)) => wide(ty) * work(op) as f64,
                None => 0.0,
            },
        };
        operations / self.vector
    }
}

/// Elements, each counted as often as it takes vectors of f32.
fn wide(ty: &Ty) -> f64 {
    ty.len() as f64 * (ty.dtype.size() as f64 / 4.0).max(1.0)
}
