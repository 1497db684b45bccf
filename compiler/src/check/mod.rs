//! From syntax to graph: one walk over the spec that resolves names, evaluates what is static, checks axes, element
//! types and clocks, and builds the graph of what is not.
//!
//! A method is checked at the shapes of its data, so every extent is a number. Statements run in order; functions and
//! layers run where they are called, so their tensors land in the graph as if written there. A network's calls become
//! calls of one graph function per argument types. Gradient flow and unused names are checked afterwards ([`flow`],
//! [`unused`]).

pub mod axes;
pub mod bind;
pub mod block;
pub mod budget;
pub mod builtin;
pub mod call;
pub mod elaborate;
pub mod entry;
pub mod expr;
pub mod external;
pub mod facts;
pub mod flow;
mod habits;
mod known;
pub mod leak;
pub mod make_net;
pub mod method;
pub mod net;
pub mod operator;
pub mod sampling;
pub mod types;
pub mod unused;
pub mod value;

pub use elaborate::{Elaborator, Reported};
pub use entry::{Checked, Inspection, check, inspect, underived};
pub use expr::is_axis;
pub use facts::Facts;
pub use method::{Elaborated, LossTerm, StateSpec, StepSpec, TypedBinding};
pub use sampling::{SampleSpec, ScanSpec};
