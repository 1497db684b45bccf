//! How far a program is optimised, and for what.

/// To see what each part of the optimiser is worth; all levels compute the same values up to rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every operation is a kernel of its own and stores its result.
    None,
    /// Kernels are fused greedily; the graph stays as differentiation leaves it.
    Fuse,
    /// The graph is rewritten before.
    #[default]
    Rewrite,
}

/// What [`Level::Rewrite`] adds to fusion; each can be left out, to see what it is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pass {
    /// Rules that always pay, over whole graphs.
    Rules,
    /// Equality saturation of regions.
    Regions,
    /// Cheap values computed again rather than kept.
    Recompute,
    /// Launches along the same rows taking turns. CPU only.
    Bands,
}

impl Pass {
    pub const ALL: [(&str, Pass); 4] =
        [("rules", Pass::Rules), ("regions", Pass::Regions), ("recompute", Pass::Recompute), ("bands", Pass::Bands)];

    /// Whether it runs.
    pub fn runs(self, level: Level, without: &[Pass]) -> bool {
        level >= Level::Rewrite && !without.contains(&self)
    }
}

/// What a program is to run on. It may run elsewhere too, not as fast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Matrices whose rows are added up are one thread's.
    #[default]
    Cpu,
    /// Every launch is thousands of threads, which share the rows of a matrix.
    Cuda,
}
