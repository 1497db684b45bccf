//! f32 products and convolutions on Intel's tile units (AMX), which multiply bytes and bf16.
//!
//! **Products** take each line (a row of the left operand, a column of the right one) as whole numbers of 24 bits times a
//! power of two of the line's own, in three digits of 8 bits ([`digits`]). Of the nine products of digits the six
//! highest are added up exactly, as whole numbers (Ootomo, Ozaki and Yokota 2024, arXiv:2306.11975). What is lost is below
//! 2⁻²² of the lines' largest elements, for a line of any distribution no more than f32 arithmetic loses in adding up
//! hundreds of products; `cargo run --release --example products` prints both.
//!
//! **Convolutions** take a f32 as the exact sum of three bf16, `a = a₁ + a₂ + a₃`, each with the next 8 bits of the
//! significand ([`split`]), because a pixel is part of many lines. Again the six largest of nine products count; the three
//! left out are below 2⁻²⁴ of `|a||b|` together (Henry, Tang and Heinecke 2019, arXiv:1904.06376).
//!
//! The units do 32 (bytes) and 16 (bf16) times the vector unit's multiplications a cycle, so six for one is still 5.3 and
//! 2.7 times its limit.
//!
//! Infinite elements give NaN here, not infinity. Elements below 2⁻¹⁰⁵ lose bits; in convolutions those below 2⁻¹²⁶ count
//! as zero.
//!
//! [`integer`] and [`tile`] are the kernels on packed operands, [`digits`] and [`pack`] bring matrices into their order,
//! [`product`] cuts products into tasks, [`conv`] reads patches straight from split images.

pub mod conv;
mod digits;
mod integer;
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

/// Whether the processor has tiles with bytes and bf16, and the vector instructions that pack for them.
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
    const AMX_INT8: u32 = 1 << 25;
    const ALL: u32 = AMX_BF16 | AMX_TILE | AMX_INT8;
    features & ALL == ALL
}

/// Asks the system for the tiles' state, which Linux saves only for processes that ask.
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: asks for a permission; no memory is passed.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}
