//! The tensor graph: typed, hash-consed, append-only, few primitives.
//!
//! Nodes are positional (axis names are the checker's business), every shape is a number, and a node's inputs have
//! smaller ids than itself, so increasing ids are a topological order. Equal nodes are one node. There are no
//! multi-output primitives: what has several results (a network) is several [`Op::Call`]s with the same arguments; a kernel
//! from outside gives all its results in one value.

pub mod build;
pub mod elementwise;
pub mod eval;
pub mod external;
pub mod inline;
pub mod op;
pub mod print;
pub mod products;
pub mod scalar;
pub mod special;
pub mod tensor;
pub mod traverse;
pub mod views;

#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;

pub use build::{Func, Graph};
pub use eval::{EvalError, eval};
pub use external::{Extern, with_references};
pub use inline::{inline, inline_with};
pub use op::{ExternId, FuncId, Node, NodeId, Op, ReduceOp, Source, Ty};
pub use print::print;
pub use tensor::{Data, Tensor};
pub use traverse::{dependents, needed, substitute, substitute_with};
pub use views::groups;
