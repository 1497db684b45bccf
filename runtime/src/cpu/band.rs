//! Bands: launches that take turns on blocks of rows, or of samples, so that what passes between them stays in a thread's
//! cache.

use crate::cpu::compile::Entry;
use crate::cpu::contract::{Matrix, product};
use crate::cpu::conv::Samples;
use crate::cpu::memory::{Memory, View};
use crate::cpu::packs::{Packable, Packs};
use crate::cpu::pool::Pool;
use crate::cpu::scratch::{BAND, HELD, SHARED_OPERAND, Shared, with_scratch};
use crate::cpu::units::{Held, Shape};
use fgc_program::{Along, BatchDim, BufferId, Contract, Launch, Operand, Place, Plan, Program};
use std::ffi::c_void;

/// Tasks of a band, if it has that many blocks.
const TASKS: usize = 16;

/// A band with its buffers found.
pub struct Band {
    entries: usize,
    rows: usize,
    block: usize,
    /// Blocks of a task; 0: a task is an entry, because blocks add to what the others wrote.
    blocks: usize,
    steps: Vec<Step>,
    locals: Vec<Local>,
    /// Bytes of a block's values.
    kept: usize,
    /// Buffers of the step with the most.
    arguments: usize,
}

/// A buffer of which a block's rows are kept.
struct Local {
    id: BufferId,
    /// Bytes of a row.
    row: usize,
    /// The first and the last step that use it.
    live: (usize, usize),
    /// Bytes from the start of a block's values.
    offset: usize,
}

/// Places all locals such that those alive at the same time are apart. The bytes of all, for blocks of so many rows.
fn arrange(locals: &mut [Local], block: usize) -> usize {
    let mut end = 0;
    for i in 0..locals.len() {
        let (placed, rest) = locals.split_at_mut(i);
        let local = &mut rest[0];
        let bytes = (local.row * block).next_multiple_of(64);
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|other| other.live.0 <= local.live.1 && local.live.0 <= other.live.1)
            .map(|other| (other.offset, other.offset + (other.row * block).next_multiple_of(64)))
            .collect();
        taken.sort_unstable();
        for (from, to) in taken {
            if from >= local.offset + bytes {
                break;
            }
            local.offset = local.offset.max(to);
        }
        end = end.max(local.offset + bytes);
    }
    end
}

#[derive(Clone, Copy)]
enum Address {
    Fixed(*mut u8),
    /// A local, by its position.
    Local(usize),
}

enum Step {
    Kernel {
        entry: Entry,
        buffers: Vec<Address>,
        /// Iterations of a row.
        each: usize,
    },
    Product(Box<Product>),
    /// Of x, w and y the addresses.
    Conv(Box<Samples>, [Address; 3]),
}

/// `out[row, n] = Σ_k left[row, k]·right[k, n]`; or, where rows are summed over, `out[m, n] += Σ_row left[m, row]·right[row, n]`.
struct Product {
    sums: bool,
    /// Whether rows are entries of the batch, and not rows of the product.
    entries: bool,
    /// m, n, k; one of them is the rows, unless these are entries.
    size: [usize; 3],
    /// Rows of the product, or entries of its batch, for each of the band.
    each: usize,
    operands: [(Address, Operand); 3],
    batch: Vec<BatchDim>,
    /// How the right operand is packed for all rows of an entry, if it is.
    held: Option<Held>,
    /// Whether all entries have the same right operand.
    shared: bool,
    /// Its place among what stays packed, if it does.
    kept: Option<usize>,
}

// SAFETY: addresses within the device's own memory, used only while the device is borrowed to run.
unsafe impl Send for Band {}
// SAFETY: as above; running takes the pool, of which there is one.
unsafe impl Sync for Band {}

impl Band {
    /// None if a buffer has no memory. `entries` is the kernels' code.
    pub fn new(
        program: &Program,
        plan: &Plan,
        band: &fgc_program::Band,
        code: &[Entry],
        memory: &Memory,
    ) -> Option<Band> {
        let mut locals: Vec<Local> = Vec::new();
        let mut address = |id: BufferId, step: usize| -> Option<Address> {
            let buffer = program.buffers.get(id.0 as usize)?;
            if !matches!(buffer.place, Place::Band { .. }) {
                return memory.view(id).as_ref().map(View::as_ptr).map(Address::Fixed);
            }
            let known = locals.iter().position(|local| local.id == id);
            let known = known.unwrap_or_else(|| {
                let row = buffer.len / (band.entries * band.rows) * buffer.dtype.size();
                locals.push(Local { id, row, live: (step, step), offset: 0 });
                locals.len() - 1
            });
            locals[known].live.1 = step;
            Some(Address::Local(known))
        };
        let mut steps = Vec::new();
        for (i, (launch, along)) in plan.launches[band.launches.clone()].iter().zip(&band.along).enumerate() {
            let mut address = |id: BufferId| address(id, i);
            steps.push(match launch {
                Launch::Kernel { kernel, args } => Step::Kernel {
                    entry: *code.get(kernel.0 as usize)?,
                    buffers: args.iter().map(|id| address(*id)).collect::<Option<Vec<Address>>>()?,
                    each: program.kernels.get(kernel.0 as usize)?.extent / (band.entries * band.rows),
                },
                Launch::Contract(c) => Step::Product(Box::new(Product::new(c, *along, band.rows, &mut address)?)),
                Launch::Conv(c) => {
                    let samples = Samples::new(c, c.batch / band.rows);
                    Step::Conv(Box::new(samples), [address(c.x)?, address(c.w)?, address(c.y)?])
                }
                Launch::Extern(_) => return None,
            });
        }
        let block = band.block;
        let kept = arrange(&mut locals, block);
        let sums = steps.iter().any(|step| matches!(step, Step::Product(product) if product.sums));
        let each = band.rows.div_ceil(block);
        let blocks = if sums { 0 } else { (band.entries * each).div_ceil(TASKS).min(each) };
        let arguments = steps.iter().map(|step| match step {
            Step::Kernel { buffers, .. } => buffers.len(),
            Step::Product(_) | Step::Conv(..) => 0,
        });
        let arguments = arguments.max().unwrap_or(0);
        Some(Band { entries: band.entries, rows: band.rows, block, blocks, steps, locals, kept, arguments })
    }

    /// The right operands that all entries share.
    pub fn packable(&self) -> Vec<Packable> {
        self.held(true).map(|(product, held)| product.packable(held)).collect()
    }

    /// Takes note of those that stay packed.
    pub fn keep(&mut self, packs: &Packs) {
        for step in &mut self.steps {
            if let Step::Product(product) = step
                && let (Some(held), true) = (product.held, product.shared)
            {
                product.kept = packs.find(&product.packable(held));
            }
        }
    }

    /// Runs all of its launches.
    ///
    /// # Safety
    /// The program has passed [`fgc_program::validate`], and nobody else uses its memory.
    pub unsafe fn run(&self, packs: &mut Packs, pool: &mut Pool) {
        let each = self.rows.div_ceil(self.block);
        let blocks = if self.blocks == 0 { each } else { self.blocks };
        let tasks = each.div_ceil(blocks);
        let own = self.held(true).filter(|(product, _)| product.kept.is_none());
        let weights: usize = self.weights().map(|(samples, _)| samples.shared()).sum();
        with_scratch(
            &SHARED_OPERAND,
            own.map(|(_, held)| held.len()).sum::<usize>() + weights,
            |packed: &mut [u8]| {
                let packed = Shared(packed.as_mut_ptr());
                let mut shared = Vec::new();
                let mut at = 0;
                for (samples, w) in self.weights() {
                    // SAFETY: the caller's promise; weights are no local, parts are apart.
                    pool.run(samples.parts(), &|part| unsafe { samples.pack(part, w.at(0), packed.at(at)) });
                    at += samples.shared();
                }
                let weights = packed;
                for (product, held) in self.held(true) {
                    // SAFETY: the caller's promise.
                    if let Some(kept) = product.kept.and_then(|kept| unsafe { packs.packed(kept, pool) }) {
                        shared.push(Shared(kept.at.cast_mut()));
                        continue;
                    }
                    let right = product.right(0);
                    // SAFETY: the caller's promise; a right operand that is held is no local, parts are apart.
                    pool.run(held.parts(), &|part| unsafe { held.pack(part, right, packed.at(at)) });
                    shared.push(Shared(packed.at(at)));
                    at += held.len();
                }
                pool.run(self.entries * tasks, &|task| {
                    let (entry, first) = (task / tasks, task % tasks * blocks);
                    // SAFETY: the caller's promise. Rows of an entry are independent but for sums, and those are in one task.
                    unsafe { self.run_blocks(entry, first..each.min(first + blocks), &shared, weights) };
                });
            },
        );
    }

    /// Convolutions, with their weights.
    fn weights(&self) -> impl Iterator<Item = (&Samples, Shared<f32>)> {
        self.steps.iter().filter_map(|step| match step {
            Step::Conv(samples, [_, Address::Fixed(w), _]) => Some((&**samples, Shared(w.cast()))),
            _ => None,
        })
    }

    /// Products with right operands that are packed: those that all entries share, or those of each entry.
    fn held(&self, shared: bool) -> impl Iterator<Item = (&Product, Held)> {
        let products = self.steps.iter().filter_map(|step| match step {
            Step::Product(product) => Some((&**product, product.held?)),
            Step::Kernel { .. } | Step::Conv(..) => None,
        });
        products.filter(move |(product, _)| product.shared == shared)
    }

    /// # Safety
    /// As [`Band::run`]; no other thread works on these blocks, or on this entry where rows are summed over. `shared` has
    /// the operands that all entries share, packed, `weights` those of convolutions, one after the other.
    unsafe fn run_blocks(
        &self,
        entry: usize,
        blocks: std::ops::Range<usize>,
        shared: &[Shared<u8>],
        weights: Shared<u8>,
    ) {
        let own: usize = self.held(false).map(|(_, held)| held.len()).sum();
        with_scratch(&HELD, own, |own: &mut [u8]| {
            let mut at = own.as_mut_ptr();
            let mut packed = Vec::new();
            for (product, held) in self.held(false) {
                for part in 0..held.parts() {
                    // SAFETY: the caller's promise; a right operand that is held is no local.
                    unsafe { held.pack(part, product.right(entry), at) };
                }
                packed.push(Shared(at));
                at = at.wrapping_add(held.len());
            }
            with_scratch(&BAND, self.kept + self.arguments * size_of::<*mut c_void>(), |kept: &mut [u8]| {
                for block in blocks {
                    let rows = block * self.block..self.rows.min((block + 1) * self.block);
                    // SAFETY: as above.
                    unsafe { self.run_rows(entry, rows, [&packed, shared], weights, kept.as_mut_ptr()) };
                }
            });
        });
    }

    /// # Safety
    /// As [`Band::run_blocks`]; `held` has the packed operands of this entry and of all, `kept` room for a block.
    unsafe fn run_rows(
        &self,
        entry: usize,
        rows: std::ops::Range<usize>,
        held: [&[Shared<u8>]; 2],
        mut weights: Shared<u8>,
        kept: *mut u8,
    ) {
        let mut held = held.map(|packed| packed.iter());
        let first = entry * self.rows + rows.start;
        // Launches count rows from the first of all; of locals only the block's are there.
        let address = |address: Address| match address {
            Address::Fixed(at) => at,
            Address::Local(i) => {
                let local = &self.locals[i];
                kept.wrapping_add(local.offset).wrapping_sub(first * local.row)
            }
        };
        for step in &self.steps {
            match step {
                Step::Kernel { entry: code, buffers, each } => {
                    let arguments = kept.wrapping_add(self.kept).cast::<*mut c_void>();
                    // SAFETY: validated: these iterations touch elements of their own rows in locals, and elements of
                    // whole buffers elsewhere; `kept` has room for all arguments behind the locals.
                    unsafe {
                        for (i, buffer) in buffers.iter().enumerate() {
                            arguments.add(i).write(address(*buffer).cast());
                        }
                        code(arguments.cast_const(), (first * each) as i64, ((first + rows.len()) * each) as i64);
                    }
                }
                Step::Product(product) => {
                    let right = product.held.and_then(|own| Some((own, held[product.shared as usize].next()?.at(0))));
                    // SAFETY: as above.
                    unsafe { product.run(entry, rows.clone(), &address, right) };
                }
                Step::Conv(samples, operands) => {
                    let operands = operands.map(|operand| Shared(address(operand).cast::<f32>()));
                    // SAFETY: as above; a convolution's samples are rows of the one entry.
                    unsafe { samples.run(rows.clone(), operands, weights.at(0)) };
                    weights = Shared(weights.at(samples.shared()));
                }
            }
        }
    }
}

impl Product {
    fn new(
        c: &Contract,
        along: Along,
        rows: usize,
        address: &mut impl FnMut(BufferId) -> Option<Address>,
    ) -> Option<Product> {
        let turned = |operand: Operand| Operand { row: operand.col, col: operand.row, ..operand };
        // Rows of the result, where they are its columns, are those of the transposed product.
        let (size, batch, [a, b, out]) = match along {
            Along::Grid => return None,
            Along::M | Along::K | Along::Batch => ([c.m, c.n, c.k], c.batch.clone(), [c.a, c.b, c.c]),
            Along::N => {
                let batch = c.batch.iter().map(|dim| BatchDim { a: dim.b, b: dim.a, ..*dim }).collect();
                ([c.n, c.m, c.k], batch, [turned(c.b), turned(c.a), turned(c.c)])
            }
        };
        let operands = [(address(a.buffer)?, a), (address(b.buffer)?, b), (address(out.buffer)?, out)];
        let (sums, entries) = (along == Along::K, along == Along::Batch);
        let all = batch.iter().map(|dim| dim.extent).product();
        let each = if entries { all } else { size[if sums { 2 } else { 0 }] } / rows;
        let held = if sums || entries && !matches!(operands[1].0, Address::Fixed(_)) {
            None
        } else {
            Held::of(Shape { n: size[1], k: size[2], by_rows: out.col == 1 }, size[0])
        };
        let shared = batch.iter().all(|dim| dim.b == 0 || dim.extent == 1);
        // Each entry's own operand is multiplied once.
        let held = held.filter(|_| shared || !entries);
        Some(Product { sums, entries, size, each, operands, batch, held, shared, kept: None })
    }

    /// The right operand, which all entries share.
    fn packable(&self, held: Held) -> Packable {
        Packable { held, matrix: self.right(0), buffer: self.operands[1].1.buffer }
    }

    /// An operand of an entry, of which `base` is the start of all.
    fn matrix(&self, i: usize, base: *mut u8, mut entry: usize) -> Matrix<f32> {
        let operand = &self.operands[i].1;
        let mut offset = operand.offset as isize;
        for dim in self.batch.iter().rev() {
            offset += (entry % dim.extent) as isize * [dim.a, dim.b, dim.c][i];
            entry /= dim.extent;
        }
        Matrix { at: base.cast::<f32>().wrapping_offset(offset), row: operand.row, col: operand.col }
    }

    /// The right operand, which is the same for all rows.
    fn right(&self, entry: usize) -> Matrix<f32> {
        match self.operands[1].0 {
            Address::Fixed(at) => self.matrix(1, at, entry),
            // Validated: never held.
            Address::Local(_) => Matrix { at: std::ptr::null_mut(), row: 0, col: 0 },
        }
    }

    /// # Safety
    /// As [`Band::run_rows`]; `address` gives each operand's start.
    unsafe fn run(
        &self,
        entry: usize,
        rows: std::ops::Range<usize>,
        address: &impl Fn(Address) -> *mut u8,
        right: Option<(Held, *mut u8)>,
    ) {
        let operands = |entry: usize| [0, 1, 2].map(|i| self.matrix(i, address(self.operands[i].0), entry));
        let [m, n, k] = self.size;
        let (first, count) = (rows.start * self.each, rows.len() * self.each);
        if self.entries {
            for [a, b, c] in (first..first + count).map(operands) {
                // SAFETY: the caller's promise; validated.
                unsafe {
                    match right {
                        Some((own, right)) => own.product(m, a, right, c),
                        None => product([m, n, k], a, b, c, false),
                    }
                }
            }
            return;
        }
        let [a, b, c] = operands(entry);
        // SAFETY: the caller's promise; validated.
        unsafe {
            match right {
                _ if self.sums => product([m, n, count], a.from(0, first), b.from(first, 0), c, first > 0),
                Some((own, right)) => own.product(count, a.from(first, 0), right, c.from(first, 0)),
                None => product([count, n, k], a.from(first, 0), b, c.from(first, 0), false),
            }
        }
    }
}
