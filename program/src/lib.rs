//! The contract between the compiler and the runtime.
//!
//! A [`Program`] is everything needed to train and sample with one method on one data shape: the parameters
//! of its networks, its inputs, its kernels, where every buffer lies and in which order kernels run. It
//! contains no syntax, no types of the language and no gradients-to-be: those are the compiler's. It contains
//! no pointers, files or threads: those are the runtime's. It can be saved, printed and loaded (serde).
//!
//! Kernels are loop nests over scalars ([`kernel`]); products and convolutions, which are worth tuned code,
//! are launches of their own ([`launch`]), as is hand-written device code ([`external`]). [`c`] prints kernels as C, [`cuda`] launches as CUDA C++, [`print`](mod@print) all of it for people.

pub mod arena;
pub mod band;
pub mod bounds;
pub mod c;
pub mod cost;
pub mod cuda;
pub mod dtype;
pub mod external;
pub mod index;
pub mod kernel;
pub mod known;
pub mod launch;
pub mod print;
pub mod program;
pub mod validate;

pub use band::{Along, Band};
pub use dtype::{DType, Scalar};
pub use external::{DeviceCode, Extern, Language};
pub use index::{Atom, Index, Var};
pub use kernel::{Access, BinaryOp, Expr, Kernel, KernelBuffer, Reg, Stmt, UnaryOp};
pub use launch::{BatchDim, Contract, Conv, ConvRole, Launch, Operand};
pub use program::{
    Buffer, BufferId, Constant, Distribution, Guard, Init, Input, InputKind, KernelId, Known, Net, NetId, Output,
    OutputKind, Param, Place, Plan, PlanInput, Program, Sampler, Schedule, Stage, Turn,
};
