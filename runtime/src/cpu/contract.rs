//! Matrix products: of f32 on the units that the machine has ([`crate::cpu::units`]), else on the `gemm` crate.
//!
//! The crate's own threads split badly and differently for each count of them; here products are cut into tiles that
//! depend only on their shape, each computed by one thread.

use crate::cpu::memory::{Element, View};
use crate::cpu::packs::Packable;
use crate::cpu::pool::Pool;
use crate::cpu::scratch::Plain;
use crate::cpu::units::{Held, Shape, suiting};
use fgc_program::{Contract, DType};
use gemm::Parallelism;

/// f32 or f64.
pub trait Real: Element + Plain + std::ops::AddAssign {
    const ZERO: Self;
    const ONE: Self;

    /// As [`product`], where the machine has units for this product; else does nothing and says false.
    ///
    /// # Safety
    /// As there.
    unsafe fn product(_: [usize; 3], _: Matrix<Self>, _: Matrix<Self>, _: Matrix<Self>, _add: bool) -> bool {
        false
    }

    /// As [`tiled`], where the machine has units for this product; else does nothing and says false.
    ///
    /// # Safety
    /// As there.
    unsafe fn tiled(_: [usize; 3], _: &Rows<Self>, _: Right<Self>, _: &mut Pool) -> bool {
        false
    }
}

impl Real for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;

    unsafe fn product(size: [usize; 3], a: Matrix<f32>, b: Matrix<f32>, c: Matrix<f32>, add: bool) -> bool {
        let units = suiting(size, c);
        if let Some(units) = units {
            // SAFETY: the caller's promise.
            unsafe { units.product(size, a, b, c, add) };
        }
        units.is_some()
    }

    unsafe fn tiled(size: [usize; 3], rows: &Rows<f32>, b: Right<f32>, pool: &mut Pool) -> bool {
        if let Some(packed) = b.packed {
            // SAFETY: the caller's promise.
            unsafe { packed.held.tiled(size[0], rows, b, pool) };
            return true;
        }
        let units = suiting(size, (rows.at)(0).1);
        if let Some(units) = units {
            // SAFETY: the caller's promise.
            unsafe { units.tiled(size, rows, b, pool) };
        }
        units.is_some()
    }
}

impl Real for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
}

/// Operations (2mnk) one task should have at least, some 40 µs of work.
const TASK: usize = 8_000_000;

/// Entries of a batch that are as good as tiles, one task each.
const ENTRIES: usize = 8;

/// Tiles' sides are multiples of this, which microkernels divide.
const SIDE: usize = 48;

/// A matrix somewhere in memory; strides in elements.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<T> {
    pub at: *mut T,
    pub row: isize,
    pub col: isize,
}

// SAFETY: a matrix is an address; those who read or write through it say why they may.
unsafe impl<T: Send> Send for Matrix<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Matrix<T> {}

impl<T: Real> Matrix<T> {
    /// Row-major with `cols` columns.
    pub fn dense(at: *mut T, cols: usize) -> Matrix<T> {
        Matrix { at, row: cols as isize, col: 1 }
    }

    /// The matrix that starts at this row and column. The address is only computed, not used.
    pub fn from(self, row: usize, col: usize) -> Matrix<T> {
        self.moved(row as isize * self.row + col as isize * self.col)
    }

    pub fn transposed(self) -> Matrix<T> {
        Matrix { row: self.col, col: self.row, ..self }
    }

    pub fn moved(self, elements: isize) -> Matrix<T> {
        Matrix { at: self.at.wrapping_offset(elements), ..self }
    }
}

/// `c[m,n] = Σ_k a[m,k]·b[k,n]`, or added to what `c` holds. On the calling thread.
///
/// # Safety
/// All elements of the three are in valid, initialised memory; `c` overlaps neither `a` nor `b`, its elements are
/// distinct, and no other thread uses them.
pub unsafe fn product<T: Real>([m, n, k]: [usize; 3], a: Matrix<T>, b: Matrix<T>, c: Matrix<T>, add: bool) {
    if m == 0 || n == 0 || (k == 0 && add) {
        return;
    }
    if k == 0 {
        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
            // SAFETY: an element of c.
            unsafe { *c.from(i, j).at = T::ZERO };
        }
        return;
    }
    if c.col != 1 && c.row == 1 {
        // SAFETY: the caller's promise.
        return unsafe { product([n, m, k], b.transposed(), a.transposed(), c.transposed(), add) };
    }
    // SAFETY: the caller's promise; gemm reads and writes exactly these elements.
    unsafe {
        if T::product([m, n, k], a, b, c, add) {
            return;
        }
        gemm::gemm(
            m,
            n,
            k,
            c.at,
            c.col,
            c.row,
            add,
            a.at,
            a.col,
            a.row,
            b.at,
            b.col,
            b.row,
            T::ONE,
            T::ONE,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// A right operand; also packed, if it is.
#[derive(Clone, Copy)]
pub struct Right<T> {
    pub matrix: Matrix<T>,
    pub packed: Option<Packed>,
}

/// Where an operand lies packed, and how.
#[derive(Clone, Copy)]
pub struct Packed {
    pub held: Held,
    pub at: *const u8,
}

// SAFETY: an address; those who read through it say why they may.
unsafe impl Send for Packed {}
// SAFETY: as above.
unsafe impl Sync for Packed {}

/// Left operands that are multiplied by one right operand, and where each product goes.
pub struct Rows<'a, T> {
    pub entries: usize,
    /// `a` and `c` of an entry.
    pub at: &'a (dyn Fn(usize) -> (Matrix<T>, Matrix<T>) + Sync),
}

/// As [`product`] without adding, of each entry, in tiles over the pool.
///
/// # Safety
/// As [`product`]; elements of all entries' `c` are distinct.
pub unsafe fn tiled<T: Real>(size: [usize; 3], rows: &Rows<T>, b: Right<T>, pool: &mut Pool) {
    let [m, n, k] = size;
    if let (1, None, (a, c)) = (rows.entries, b.packed, (rows.at)(0))
        && c.col != 1
        && c.row == 1
    {
        let turned = Rows { entries: 1, at: &|_| (b.matrix.transposed(), c.transposed()) };
        // SAFETY: the caller's promise.
        return unsafe { tiled([n, m, k], &turned, Right { matrix: a.transposed(), packed: None }, pool) };
    }
    // SAFETY: the caller's promise.
    if unsafe { T::tiled(size, rows, b, pool) } {
        return;
    }
    for (a, c) in (0..rows.entries).map(rows.at) {
        // SAFETY: as above.
        unsafe { vector_tiled(size, a, b.matrix, c, pool) };
    }
}

/// # Safety
/// As [`product`].
unsafe fn vector_tiled<T: Real>([m, n, k]: [usize; 3], a: Matrix<T>, b: Matrix<T>, c: Matrix<T>, pool: &mut Pool) {
    let [tile_m, tile_n] = tile(m, n, k);
    let (rows, cols) = (m.div_ceil(tile_m), n.div_ceil(tile_n));
    pool.run(rows * cols, &|task| {
        let (i, j) = (task / cols * tile_m, task % cols * tile_n);
        let size = [tile_m.min(m - i), tile_n.min(n - j), k];
        // SAFETY: the caller's promise; tiles of c are disjoint.
        unsafe { product(size, a.from(i, 0), b.from(0, j), c.from(i, j), false) };
    });
}

/// The tile of an m×n product over k: as large as leaves work for 8 threads, because small tiles are packed more often
/// (1024³ runs a quarter slower in 16 tiles than in 8).
fn tile(m: usize, n: usize, k: usize) -> [usize; 2] {
    let work = |m: usize, n: usize| 2usize.saturating_mul(m).saturating_mul(n).saturating_mul(k);
    let target = (work(m, n) / 8).clamp(TASK, 64 * TASK);
    let mut tile = [m.max(1), n.max(1)];
    while work(tile[0], tile[1]) > target {
        let longer = (tile[1] > tile[0]) as usize;
        if tile[longer] <= SIDE {
            break;
        }
        tile[longer] = tile[longer].div_ceil(2).next_multiple_of(SIDE);
    }
    tile
}

/// The right operand of a launch, if [`run`] can make use of it packed.
pub fn packable(contract: &Contract, b: View) -> Option<Packable> {
    let merged = merged(contract);
    let shared = merged.batch.iter().all(|dim| dim.b == 0);
    let runs = merged.c.row == 1 || merged.c.col == 1;
    if contract.dtype != DType::F32 || !shared || !runs {
        return None;
    }
    let held = Held::of(Shape { n: merged.n, k: merged.k, by_rows: merged.c.col == 1 }, merged.m)?;
    Some(Packable { held, matrix: matrix(b, merged.b), buffer: merged.b.buffer })
}

/// An operand in its buffer.
fn matrix<T>(view: View, operand: fgc_program::Operand) -> Matrix<T> {
    let at = view.as_ptr().cast::<T>().wrapping_add(operand.offset);
    Matrix { at, row: operand.row, col: operand.col }
}

/// Runs a launch; `packed` is what [`packable`] says, packed.
///
/// # Safety
/// The launch has passed [`fgc_program::validate`] with these views as its buffers, whose memory nobody else uses.
pub unsafe fn run(contract: &Contract, [a, b, c]: [View; 3], packed: Option<Packed>, pool: &mut Pool) {
    // SAFETY: the caller's promise.
    unsafe {
        match contract.dtype {
            DType::F32 => run_as::<f32>(contract, [a, b, c], packed, pool),
            DType::F64 => run_as::<f64>(contract, [a, b, c], packed, pool),
            DType::Bool | DType::I64 => {}
        }
    }
}

/// # Safety
/// As [`run`], and T is the launch's dtype.
unsafe fn run_as<T: Real>(contract: &Contract, views: [View; 3], packed: Option<Packed>, pool: &mut Pool) {
    let contract = &merged(contract);
    let a: Matrix<T> = matrix(views[0], contract.a);
    let b: Matrix<T> = matrix(views[1], contract.b);
    let c: Matrix<T> = matrix(views[2], contract.c);
    let size = [contract.m, contract.n, contract.k];
    let at = |mut entry: usize| {
        let (mut a, mut b, mut c) = (a, b, c);
        for dim in contract.batch.iter().rev() {
            let i = (entry % dim.extent) as isize;
            entry /= dim.extent;
            (a, b, c) = (a.moved(i * dim.a), b.moved(i * dim.b), c.moved(i * dim.c));
        }
        (a, b, c)
    };
    let entries: usize = contract.batch.iter().map(|dim| dim.extent).product();
    let each = 2 * contract.m * contract.n * contract.k.max(1);
    // One operand of all entries is packed once.
    if entries > 1 && contract.batch.iter().all(|dim| dim.b == 0) {
        let rows = Rows { entries, at: &|entry| (at(entry).0, at(entry).2) };
        // SAFETY: validated.
        if unsafe { T::tiled(size, &rows, Right { matrix: b, packed }, pool) } {
            return;
        }
    }
    if entries > 1 && contract.batch.iter().all(|dim| dim.a == 0) {
        let rows = Rows { entries, at: &|entry| (at(entry).1.transposed(), at(entry).2.transposed()) };
        let right = Right { matrix: a.transposed(), packed: None };
        // SAFETY: validated.
        if unsafe { T::tiled([size[1], size[0], size[2]], &rows, right, pool) } {
            return;
        }
    }
    if entries >= ENTRIES || entries > 1 && each < 4 * TASK {
        let group = (TASK / each.max(1)).clamp(1, entries);
        pool.run(entries.div_ceil(group), &|task| {
            for entry in task * group..entries.min((task + 1) * group) {
                let (a, b, c) = at(entry);
                // SAFETY: validated; each entry of the batch writes elements of its own.
                unsafe { product(size, a, b, c, false) };
            }
        });
    } else {
        for entry in 0..entries {
            let (a, b, c) = at(entry);
            // SAFETY: validated.
            unsafe { tiled(size, &Rows { entries: 1, at: &|_| (a, c) }, Right { matrix: b, packed }, pool) };
        }
    }
}

/// The same product with batch dimensions taken into m or n where strides allow: fewer, larger products.
fn merged(contract: &Contract) -> Contract {
    let mut out = contract.clone();
    out.batch.retain(|dim| dim.extent != 1);
    while let Some(dim) = out.batch.last().copied() {
        let (m, n) = (out.m as isize, out.n as isize);
        if dim.b == 0 && dim.a == m * out.a.row && dim.c == m * out.c.row {
            out.m *= dim.extent;
        } else if dim.a == 0 && dim.b == n * out.b.col && dim.c == n * out.c.col {
            out.n *= dim.extent;
        } else {
            break;
        }
        out.batch.pop();
    }
    out
}
