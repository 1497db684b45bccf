//! Derivatives of graphs, as graphs.
//!
//! Two tables: a forward rule (JVP) for each primitive in [`jvp`](mod@jvp), and a transpose rule for each linear one
//! in [`transpose`]. Reverse mode is both: linearise, then transpose. What comes out is an ordinary graph, so
//! derivatives nest in any way.
//!
//! Calls must have been inlined before reverse mode; forward mode turns a `Call` into a `Jvp` node.

pub mod jvp;
pub mod reverse;
pub mod transpose;

#[cfg(test)]
mod nesting_tests;
#[cfg(test)]
mod tests;

pub use jvp::jvp;
pub use reverse::{grad, vjp};

use crate::graph::NodeId;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeriveError {
    /// There is no rule. `op` names the primitive and the operand.
    #[error("{op} cannot be differentiated")]
    Unsupported { op: String, node: NodeId },
    /// A kernel from outside does not declare the derivative that is needed.
    #[error("`{kernel}` declares no {missing}")]
    Undeclared { kernel: String, missing: &'static str, node: NodeId },
    /// A bug in a forward rule: what it gave is not linear in the tangent.
    #[error("the derivative is not linear at {op}")]
    NotLinear { op: String, node: NodeId },
}

impl DeriveError {
    /// The node that has no derivative.
    pub fn node(&self) -> NodeId {
        match self {
            DeriveError::Unsupported { node, .. }
            | DeriveError::Undeclared { node, .. }
            | DeriveError::NotLinear { node, .. } => *node,
        }
    }
}
