//! What printing a stage starts from, and what it gives.

use crate::bounds::Extents;
use crate::{KernelBuffer, Var};

/// Where a buffer lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// The launch gives it.
    Argument,
    /// For one point, in the block's shared memory.
    Shared,
    /// For one point, the thread's own.
    Own,
    /// Holds a block's rows, the grid's iterations, in its shared memory; the current one is `row`.
    Rows,
    /// As `Rows`, but of the columns at hand only.
    RowColumns,
    /// For one point, in the block's shared memory, of the columns at hand only.
    Columns,
    /// For each grid iteration, from this byte of the scratch memory on.
    Scratch(usize),
}

/// A printed stage: all but its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Printed {
    /// The parameters and the body.
    pub text: String,
    /// Buffers it is given, in the order of its parameters; the scratch memory comes after them if it `scratches`.
    pub buffers: Vec<usize>,
    pub scratches: bool,
    pub blocks: usize,
    pub threads: usize,
}

/// What a stage is printed with.
pub(super) struct Context<'a> {
    pub buffers: &'a [KernelBuffer],
    pub homes: &'a [Home],
    /// Buffers stored as bf16 rather than f32.
    pub narrow: &'a [bool],
    pub extents: &'a Extents,
    /// Whether every buffer starts at a multiple of 16 bytes.
    pub aligned: bool,
    /// The variable that goes through a row's columns, so many at a time: from `column0` to `column_end`.
    pub column: Option<(Var, usize)>,
}
