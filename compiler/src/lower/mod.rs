//! From graphs to what the runtime runs: kernels, launches, memory.
//!
//! A plan's graph is prepared ([`prepare`]: long sums in stages) and cut into nodes that are stored and nodes computed in
//! their consumers ([`cut`]); what would wait long in memory is computed again instead ([`recompute`]). The stored ones are
//! grouped into kernels ([`group`]) whose loops ([`nest`]) and scalar code ([`emit`]) are written and cleaned ([`tidy`]).
//! Launches that go along the same rows are joined in bands ([`band`]), all are put in order ([`draft`], [`order`]) and into memory
//! ([`lowering`], [`fgc_program::arena`]).

mod band;
mod bind;
mod contract;
mod cut;
mod demand;
mod draft;
mod emit;
mod group;
mod hoist;
mod inplace;
mod known;
mod local;
mod lowering;
mod memo;
mod nest;
mod order;
mod prepare;
mod recompute;
mod strided;
mod task;
#[cfg(test)]
mod tests;
mod tidy;
mod units;
mod weigh;

pub use bind::NetBuffers;
pub(crate) use cut::work;
pub use lowering::{Lowered, lower_for, lower_plans};

use crate::graph::NodeId;
use crate::graph::op::FlatKind;
use fgc_program::{Init, NetId};

/// A network with its parameters laid out.
#[derive(Clone, Debug)]
pub struct NetLayout {
    pub name: String,
    pub params: Vec<ParamLayout>,
    /// Elements of its flat buffers.
    pub len: usize,
    pub frozen: bool,
    pub from: Option<NetId>,
    pub ema: bool,
    /// Names of the optimiser's moments; empty when it never learns.
    pub moments: Vec<&'static str>,
}

#[derive(Clone, Debug)]
pub struct ParamLayout {
    pub name: String,
    pub shape: Vec<usize>,
    pub offset: usize,
    pub init: Init,
}

/// What a plan computes.
#[derive(Clone, Debug)]
pub struct PlanGraph {
    /// `step.student`, `update.student.fake_score`, `sample.method.init`.
    pub name: String,
    pub outputs: Vec<Computed>,
}

#[derive(Clone, Debug)]
pub struct Computed {
    pub name: String,
    pub role: Role,
    pub node: NodeId,
}

/// What becomes of a computed value.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    Loss,
    Metric,
    /// Goes into the network's gradient buffer.
    Grad {
        net: NetId,
        param: usize,
    },
    /// The L2 norm of the network's gradients.
    GradNorm {
        net: NetId,
    },
    /// Goes into a flat buffer of the network from an element on.
    Flat {
        net: NetId,
        what: FlatKind,
        start: usize,
    },
    /// Samples, or what a sampler carries.
    Sample,
    /// The next value of a state buffer.
    State {
        name: String,
    },
}
