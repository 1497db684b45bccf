//! The kernel: a 32×32 block of the output from packed operands.

use crate::cpu::contract::Matrix;
use std::arch::asm;

/// Rows and columns of an output block, and the elements of k in a chunk.
pub const BLOCK: usize = 32;

/// bf16 elements of one chunk of a packed panel: three parts of 32 rows (or columns) by 32 of k.
pub const CHUNK: usize = 3 * BLOCK * BLOCK;

/// Bytes of a tile's row.
pub const ROW_BYTES: usize = 64;

/// What `ldtilecfg` reads: eight tiles of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static CONFIG: Config = {
    let mut config = Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
    let mut tile = 0;
    while tile < 8 {
        config.row_bytes[tile] = ROW_BYTES as u16;
        config.rows[tile] = 16;
        tile += 1;
    }
    config
};

/// This thread's tiles, configured; given back when dropped.
pub struct Tiles(std::marker::PhantomData<*const ()>);

impl Tiles {
    /// # Safety
    /// [`super::available`].
    pub unsafe fn configure() -> Tiles {
        // SAFETY: the units are there and permitted; CONFIG is a valid palette 1 configuration of 64 bytes.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &CONFIG, options(nostack, readonly)) };
        Tiles(std::marker::PhantomData)
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: a value exists only where tiles do.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// The left operand of a block: 32 rows, a chunk of 32 elements of k at a time. All in bytes.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Left {
    pub at: *const u8,
    /// Where each chunk starts, from `at`.
    pub chunks: *const usize,
    /// From one row of 32 bf16 to the next.
    pub row: usize,
    /// From row 0 to row 16.
    pub half: usize,
    /// From one of the three parts to the next.
    pub part: usize,
}

/// A block of the output; `row` in bytes.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Out {
    pub at: *mut f32,
    pub row: usize,
}

#[repr(C)]
struct Params {
    left: Left,
    out: Out,
    half: usize,
    add: usize,
}

/// `out[32, 32] = a·b` over `chunks` chunks, or added to what `out` holds; `b` is a packed panel, its chunks one after
/// the other.
///
/// # Safety
/// The tiles are configured; `a` has its 3 × 32 rows of 64 bytes at each of `chunks` offsets, `b` `chunks × CHUNK`
/// elements; `out` is 32 rows of 32 elements that nobody else uses.
pub unsafe fn multiply(left: Left, b: *const u16, chunks: usize, out: Out, add: bool) {
    let params = Params { left, out, half: 16 * out.row, add: add as usize };
    // Tiles 0-3 are the output; 4 and 5 hold a part of `a`, 6 and 7 one of `b`. Parts follow one another so that each
    // pair of products changes one operand: a₁b₁ a₁b₃ a₁b₂ a₂b₂ a₂b₁ a₃b₁.
    // SAFETY: reads and writes what the caller promises and nothing else; all registers it changes are named.
    unsafe {
        asm!(
            "mov {row}, [{p} + {OUT_ROW}]",
            "mov {s}, [{p} + {OUT}]",
            "mov {t}, {s}",
            "add {t}, [{p} + {OUT_HALF}]",
            "cmp qword ptr [{p} + {ADD}], 0",
            "je 2f",
            "tileloadd tmm0, [{s} + {row}*1]",
            "tileloadd tmm1, [{s} + {row}*1 + 64]",
            "tileloadd tmm2, [{t} + {row}*1]",
            "tileloadd tmm3, [{t} + {row}*1 + 64]",
            "jmp 3f",
            "2:",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "3:",
            "mov {row}, [{p} + {ROW}]",
            "mov {offsets}, [{p} + {CHUNKS}]",
            "4:",
            "mov {s}, [{offsets}]",
            "add {s}, [{p} + {LEFT}]",
            "mov {t}, {s}",
            "add {t}, [{p} + {HALF}]",
            "tileloadd tmm4, [{s} + {row}*1]",
            "tileloadd tmm6, [{b} + {unit}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{b} + {unit}*1 + 1024]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{t} + {row}*1]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "tileloadd tmm6, [{b} + {unit}*1 + 4096]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{b} + {unit}*1 + 5120]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "tileloadd tmm6, [{b} + {unit}*1 + 2048]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{b} + {unit}*1 + 3072]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {s}, [{p} + {PART}]",
            "add {t}, [{p} + {PART}]",
            "tileloadd tmm4, [{s} + {row}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{t} + {row}*1]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "tileloadd tmm6, [{b} + {unit}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{b} + {unit}*1 + 1024]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {s}, [{p} + {PART}]",
            "add {t}, [{p} + {PART}]",
            "tileloadd tmm4, [{s} + {row}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{t} + {row}*1]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {b}, 6144",
            "add {offsets}, 8",
            "dec {count}",
            "jnz 4b",
            "mov {row}, [{p} + {OUT_ROW}]",
            "mov {s}, [{p} + {OUT}]",
            "mov {t}, {s}",
            "add {t}, [{p} + {OUT_HALF}]",
            "tilestored [{s} + {row}*1], tmm0",
            "tilestored [{s} + {row}*1 + 64], tmm1",
            "tilestored [{t} + {row}*1], tmm2",
            "tilestored [{t} + {row}*1 + 64], tmm3",
            p = in(reg) &params,
            b = inout(reg) b => _,
            unit = in(reg) ROW_BYTES,
            count = inout(reg) chunks => _,
            row = out(reg) _,
            s = out(reg) _,
            t = out(reg) _,
            offsets = out(reg) _,
            LEFT = const std::mem::offset_of!(Params, left.at),
            CHUNKS = const std::mem::offset_of!(Params, left.chunks),
            ROW = const std::mem::offset_of!(Params, left.row),
            HALF = const std::mem::offset_of!(Params, left.half),
            PART = const std::mem::offset_of!(Params, left.part),
            OUT = const std::mem::offset_of!(Params, out.at),
            OUT_ROW = const std::mem::offset_of!(Params, out.row),
            OUT_HALF = const std::mem::offset_of!(Params, half),
            ADD = const std::mem::offset_of!(Params, add),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// A block of which only `rows × cols` are in the output.
///
/// # Safety
/// As [`multiply`], of which only these elements of `c` are written.
pub unsafe fn edge(left: Left, b: *const u16, chunks: usize, c: Matrix<f32>, [rows, cols]: [usize; 2], add: bool) {
    let mut block = [0.0f32; BLOCK * BLOCK];
    let out = Out { at: block.as_mut_ptr(), row: 4 * BLOCK };
    // SAFETY: the caller's promise.
    unsafe { multiply(left, b, chunks, out, false) };
    for (i, line) in block.chunks_exact(BLOCK).enumerate().take(rows) {
        for (j, value) in line.iter().enumerate().take(cols) {
            let at = c.from(i, j).at;
            // SAFETY: an element of the output.
            unsafe { *at = if add { *at + value } else { *value } };
        }
    }
}
