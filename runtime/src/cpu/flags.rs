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

/// What -O2 and -O3 add to -O1 takes as long again to compile and gains nothing measurable, but for vector code, its cost
/// model, and asking before a loop what the loop does not change: loads under conditions are no vector code. Of what -O1 does
/// the passes here take a quarter together, if none of them much, and gain no more.
const GCC: Levels = Levels {
    vector: &[
        "-O1",
        "-ftree-vectorize",
        "-fvect-cost-model=dynamic",
        "-funswitch-loops",
        // The depth of such conditions, up to gcc 12 and from 13 on.
        "--param=max-unswitch-level=8",
        "--param=max-unswitch-depth=50",
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

/// What compilers that do not know a flag call it.
pub fn name(flag: &str) -> &str {
    let flag = flag.strip_prefix("--param=").unwrap_or(flag);
    flag.split_once('=').map_or(flag, |(name, _)| name)
}
