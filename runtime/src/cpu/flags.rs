//! What C compilers are told: numbers mean the same to all of them, what gives fast code fast does not.

/// NaN and infinity keep their meaning; sums may be regrouped, which vector code needs.
pub const ALWAYS: &[&str] = &[
    "-march=native",
    "-std=gnu99",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fassociative-math",
    "-freciprocal-math",
    "-fno-signed-zeros",
    "-fPIC",
    "-w",
];

/// What loops are compiled with, besides [`ALWAYS`].
pub struct Levels {
    /// Vector code.
    pub vector: &'static [&'static str],
    /// What takes hardly any of a plan's time, in a third to half of the time.
    pub quick: &'static [&'static str],
}

/// Conditions that a loop does not change are asked before it: loads under conditions are no vector code.
///
/// What else -O2 and -O3 add to -O1 takes as long again to compile and gains nothing measurable, but for vector code and its cost
/// model; of what -O1 does the rest of this list takes a quarter, though no pass much of it, and gains no more.
const GCC: Levels = Levels {
    vector: &[
        "-O1",
        "-ftree-vectorize",
        "-fvect-cost-model=dynamic",
        "-funswitch-loops",
        "--param=max-unswitch-level=8",
        "--param=max-unswitch-insns=400",
        "-fno-asynchronous-unwind-tables",
        "-fno-early-inlining",
        "-fno-forward-propagate",
        "-fno-guess-branch-probability",
        "-fno-ipa-modref",
        "-fno-ipa-profile",
        "-fno-ipa-pure-const",
        "-fno-ipa-reference",
        "-fno-reorder-blocks",
        "-fno-shrink-wrap",
        "-fno-ssa-backprop",
        "-fno-thread-jumps",
        "-fno-tree-bit-ccp",
        "-fno-tree-copy-prop",
        "-fno-tree-dominator-opts",
        "-fno-tree-dse",
        "-fno-tree-phiprop",
        "-fno-tree-reassoc",
        "-fno-tree-sink",
        "-fno-tree-slp-vectorize",
        "-fno-tree-slsr",
        "-fno-tree-sra",
    ],
    quick: &["-Og"],
};

/// clang, and what is called like it.
const OTHERS: Levels = Levels { vector: &["-O2"], quick: &["-O1"] };

/// For the compiler that says this of its version.
pub fn levels(version: &str) -> Levels {
    if version.contains("Free Software Foundation") { GCC } else { OTHERS }
}
