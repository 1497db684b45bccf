//! f32 products and convolutions on the vector units of x86 processors: AVX-512, or AVX2 with FMA.
//!
//! A block of the output, 14×32 elements with AVX-512, stays in registers while k passes ([`kernel`]). Its rows' elements
//! are broadcast from the left operand where that lies; the right operand is packed in panels as wide as a block, once
//! for all rows ([`pack`]). [`product`] cuts products into blocks and tasks.
//!
//! Each element of the output is summed up in the order of k, in chunks that depend on k alone: results depend neither on
//! threads nor on how a product is cut, and products are the same with AVX-512 and AVX2.

mod avx2;
mod avx512;
mod kernel;
mod product;
mod transform;
pub mod winograd;

use kernel::Isa;
use std::sync::OnceLock;

/// The vector units of a machine.
pub struct Vector {
    isa: Isa,
}

/// Those of this machine, if it has any that [`kernel`] knows. `FGC_VECTOR=avx2` does without AVX-512, `FGC_VECTOR=0`
/// without all of this.
pub fn available() -> Option<&'static Vector> {
    static AVAILABLE: OnceLock<Option<Vector>> = OnceLock::new();
    let choose = || {
        let wanted = std::env::var_os("FGC_VECTOR").unwrap_or_default();
        let avx512 = is_x86_feature_detected!("avx512f") && wanted != "avx2";
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let isa = if avx512 { Some(avx512::ISA) } else { avx2.then_some(avx2::ISA) };
        isa.filter(|_| wanted != "0").map(|isa| Vector { isa })
    };
    AVAILABLE.get_or_init(choose).as_ref()
}
