//! f32 products on Intel's tile units (AMX), which multiply bf16.
//!
//! A f32 is the exact sum of three bf16, `a = a₁ + a₂ + a₃`, each with the next 8 bits of the significand ([`split`]).
//! Of the nine products of two such sums the six largest are added up in f32; the three left out are below 2⁻²⁴ of
//! `|a||b|` together, less than one rounding (Henry, Tang and Heinecke 2019, arXiv:1904.06376). The tile unit does 16
//! times the vector unit's multiplications a cycle, so six for one is still 2.7 times the vector unit's limit.
//!
//! Infinite elements give NaN here, not infinity; elements below 2⁻¹¹⁰ lose bits, and those below 2⁻¹²⁶ count as zero.
//!
//! [`tile`] is the kernel on packed operands, [`pack`] brings matrices into its order, [`product`] cuts products into
//! tasks, [`conv`] reads patches straight from split images.

pub mod conv;
mod pack;
pub mod product;
mod split;
mod tile;

use std::sync::OnceLock;

/// Whether this machine has the units and the system lets this process use them. `FGC_AMX=0` says no.
pub fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| std::env::var_os("FGC_AMX").is_none_or(|v| v != "0") && supported() && permitted())
}

/// Whether the processor has tiles with bf16, and the vector instructions that pack for them.
fn supported() -> bool {
    if !(is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bf16"))
    {
        return false;
    }
    let features = std::arch::x86_64::__cpuid_count(7, 0).edx;
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    features & (AMX_BF16 | AMX_TILE) == AMX_BF16 | AMX_TILE
}

/// Asks the system for the tiles' state, which Linux saves only for processes that ask.
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: asks for a permission; no memory is passed.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}
