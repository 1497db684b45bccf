//! The program: networks, inputs, buffers, kernels, plans.

use crate::{Band, DType, DeviceCode, Expr, Kernel, Launch, Scalar};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BufferId(pub u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KernelId(pub u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NetId(pub u32);

/// A compiled method. Iteration k of training runs the step plan that [`Schedule`] names, then, if all it reports
/// is finite, the update plans of the networks that step trains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Program {
    pub method: String,
    /// Samples a step sees.
    pub batch: usize,
    pub nets: Vec<Net>,
    pub inputs: Vec<Input>,
    pub buffers: Vec<Buffer>,
    /// What buffers hold from the start on, and no launch writes.
    pub constants: Vec<Constant>,
    pub kernels: Vec<Kernel>,
    /// Hand-written device code that launches call.
    pub codes: Vec<DeviceCode>,
    /// One named `start`, if there is one, runs once before training: it fills the state buffers.
    pub plans: Vec<Plan>,
    pub schedule: Schedule,
    /// By name, first the method's own; `teacher` where it has one to compare with.
    pub samplers: IndexMap<String, Sampler>,
    /// Bytes of the arena that `Place::Arena` offsets point into, enough for any one plan.
    pub arena: usize,
    /// Bytes that `Place::Band` offsets point into, enough for any one band.
    pub spill: usize,
}

/// A network's parameters, all f32, laid out one after another in one flat buffer. Gradients, optimiser moments and
/// the moving average have the same layout in buffers of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Net {
    pub name: String,
    /// In declaration order.
    pub params: Vec<Param>,
    /// Elements of the flat buffers, padding included (padding is zero and stays zero).
    pub len: usize,
    pub frozen: bool,
    /// Starts as a copy of this network's weights where those are given or trained.
    pub from: Option<NetId>,
    pub weights: BufferId,
    /// None for frozen networks. In the arena: from the end of a step's plan to the end of the updates that follow. Padding
    /// has no values there.
    pub grads: Option<BufferId>,
    /// Exponential moving average of the weights, for evaluation.
    pub ema: Option<BufferId>,
    /// What the optimiser remembers, by name (`exp_avg`, `exp_avg_sq`).
    pub moments: IndexMap<String, BufferId>,
    /// F64 scalar: updates done so far, the one under way included; the runtime increments it before each.
    pub updates: Option<BufferId>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Param {
    /// As in published checkpoints: `blocks.0.lin0.weight`.
    pub name: String,
    pub shape: Vec<usize>,
    /// First element within the network's flat buffers; a multiple of 16.
    pub offset: usize,
    pub init: Init,
}

/// How a parameter starts when nothing is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Init {
    Constant(f64),
    /// Uniform in [−bound, bound).
    Uniform {
        bound: f64,
    },
    /// Zero mean.
    Normal {
        std: f64,
    },
}

/// Something the runtime writes before a plan runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    pub name: String,
    pub kind: InputKind,
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub buffer: BufferId,
    /// Of a draw that is one of many: its number. Draw 3 of `noise` is called `noise_3`.
    pub number: Option<Known>,
}

/// A number that is known before a plan runs: an expression without registers and variables, whose loads are of inputs
/// (`buffer` is a position in [`Program::inputs`]) at constant places.
pub type Known = Expr;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum InputKind {
    /// A field of the data set's batch (`x`, `c`, `path`).
    Data,
    /// Random numbers, from (seed, step, name, element).
    Draw(Distribution),
    /// A draw whose value is given from outside (replay): the name is the draw's.
    Pin,
    /// F64 scalar: optimisation steps done so far.
    Iteration,
    /// F64 scalar that a sampler's stage sets, by its position in a row.
    Row { position: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Distribution {
    /// Standard normal; F32 or F64.
    Normal,
    /// [0, 1), F64 with 53 bits or F32 with 24.
    Uniform,
    /// I64 in 0..n.
    Index { n: usize },
    /// I64: the numbers 0..n in random order, n the length.
    Permutation,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Buffer {
    pub dtype: DType,
    /// F32 that is stored as bf16, on devices that do: its upper half, rounded.
    pub narrow: bool,
    /// Elements.
    pub len: usize,
    pub place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Place {
    /// Lives as long as the program runs; zero at first.
    Persistent,
    /// Lives within one plan, at this byte of the arena (a multiple of 64).
    Arena { offset: usize },
    /// A part of another buffer, from this element: of a persistent one (parameters), or of a network's gradients.
    Part { of: BufferId, start: usize },
    /// Lives within one band, its rows only while they are worked on. Where launches run one after the other instead: at
    /// this byte (a multiple of 64) of [`Program::spill`].
    Band { offset: usize },
}

impl Buffer {
    /// Bytes of an element in memory.
    pub fn width(&self) -> usize {
        if self.narrow { 2 } else { self.dtype.size() }
    }

    /// Bytes of all elements.
    pub fn bytes(&self) -> usize {
        self.len * self.width()
    }
}

/// A buffer's fixed contents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Constant {
    pub buffer: BufferId,
    /// One for each element, of the buffer's dtype.
    pub values: Vec<Scalar>,
}

/// A straight line of launches, some of which may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// `step.student`, `update.student`, `sample.body`.
    pub name: String,
    pub launches: Vec<Launch>,
    /// Launches to be left out where what they compute is not needed. In order, apart.
    pub guards: Vec<Guard>,
    /// Launches that may run together; each within one guard or none. In order, apart.
    pub bands: Vec<Band>,
    pub outputs: Vec<Output>,
    /// What this plan reads, what guards and numbers read included; those that are always needed come first.
    pub inputs: Vec<PlanInput>,
}

/// Launches that only run when something holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    pub launches: Range<usize>,
    /// Bool, from inputs that are always needed.
    pub when: Known,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanInput {
    /// Position in [`Program::inputs`].
    pub input: usize,
    /// As a guard's; None: always needed.
    pub when: Option<Known>,
}

/// A value the runtime may read after a plan has run (until the next plan does).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    pub name: String,
    pub kind: OutputKind,
    pub buffer: BufferId,
    pub shape: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OutputKind {
    /// A scalar that is minimised, or the sum of all such (`total_loss`).
    Loss,
    /// A scalar that is only reported.
    Metric,
    /// The gradient of parameter `param` of `net`, in its place in the network's gradient buffer.
    Grad { net: NetId, param: usize },
    /// The L2 norm of all gradients of `net` in this step, F64 scalar.
    GradNorm { net: NetId },
    /// Samples, or a sampler's carried value.
    Sample,
    /// The new value of a `state` buffer; the runtime copies it over `state` after the step.
    State { state: BufferId },
}

/// Which step plan an iteration runs, and which networks it then updates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The first whose turn it is runs: iteration % every == 0.
    pub steps: Vec<Turn>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    pub every: usize,
    pub plan: usize,
    /// Each network that learns, with the plan that updates it from its gradients.
    pub updates: Vec<(NetId, usize)>,
}

/// Sampling: stages one after another; the last leaves the samples as its output `sample`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampler {
    pub stages: Vec<Stage>,
}

/// A plan that runs once for each row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    pub plan: usize,
    /// Written to the `InputKind::Row` inputs. Draws of a loop's body are those of step row + 1, all others of step 0.
    pub rows: Vec<Vec<f64>>,
    /// Whether this is the body of a loop.
    pub repeats: bool,
    /// After each run, these outputs of the plan (by buffer) are copied to buffers that later runs read.
    pub keeps: Vec<(BufferId, BufferId)>,
}
