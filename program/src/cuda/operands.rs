//! Weights as products want them. They are f32 in memory, and products in bf16 would round them each time; filters are
//! `[kernel, kernel, channels, filters]`, and libraries want them the other way round, so that each convolution would have a copy
//! of its own. What several products of a plan read, and nothing in it writes after the first does, is copied once instead, by a
//! launch: a value like any other within the plan, and so in bf16 where such values are ([`super::store`]).

use super::Precision;
use super::filtering::Filtering;
use super::gemm::Gemm;
use super::store::uses;
use crate::{Access, Buffer, BufferId, DType, Expr, Kernel, KernelBuffer, KernelId, Launch, Place};
use crate::{Index, Plan, Program, Stmt, Var, bounds};
use indexmap::IndexMap;
use rustc_hash::FxHashMap;
use std::ops::Range;

/// Bytes that pass through memory while a launch begins.
const LAUNCH: usize = 1 << 23;

/// What is copied: how many rows and columns of a matrix that is turned, or all elements of something else in one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Copied {
    from: BufferId,
    rows: usize,
    columns: usize,
    turned: bool,
}

/// The products that read something.
#[derive(Debug)]
struct Readers {
    first: usize,
    /// Those that a library may do, which would have copies of their own.
    library: usize,
    own: usize,
}

impl Copied {
    /// What a launch multiplies, as it could be copied.
    fn of(program: &Program, launch: &Launch) -> Vec<Copied> {
        let plain = |from: BufferId| {
            let columns = program.buffers[from.0 as usize].len;
            Copied { from, rows: 1, columns, turned: false }
        };
        match launch {
            Launch::Contract(x) if x.dtype == DType::F32 => vec![plain(x.a.buffer), plain(x.b.buffer)],
            Launch::Conv(x) if x.dtype == DType::F32 => {
                let (computed, read) = x.operands();
                let rows = x.kernel[0] * x.kernel[1] * x.channels;
                let filters = Copied { from: x.w, rows, columns: x.filters, turned: true };
                let fits = computed != x.w && x.w != x.x && x.w != x.y;
                read.into_iter().map(|id| if id == x.w && fits { filters } else { plain(id) }).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether less passes through memory, and fewer launches are made, with a copy of what has these bytes for each element.
    fn pays(&self, readers: &Readers, from: usize, to: usize) -> bool {
        let len = self.rows * self.columns;
        let copy = (from + to) * len + LAUNCH;
        // A library would have one each time; our own functions read what there is.
        (self.turned || from > to) && readers.library * copy + readers.own * (from - to) * len > copy
    }
}

/// The program with copies of what its products read, as far as these pay; where they lie is not settled.
pub(super) fn prepared(program: &Program, precision: Precision) -> Program {
    let mut prepared = program.clone();
    let mut kernels: FxHashMap<[usize; 2], KernelId> = FxHashMap::default();
    for (number, plan) in program.plans.iter().enumerate() {
        let mut new: FxHashMap<Copied, BufferId> = FxHashMap::default();
        let mut launches: Vec<(usize, Launch)> = Vec::new();
        for (copied, before) in worth(program, plan, precision) {
            let len = copied.rows * copied.columns;
            let copy = BufferId(prepared.buffers.len() as u32);
            let place = Place::Arena { offset: 0 };
            prepared.buffers.push(Buffer { dtype: DType::F32, narrow: false, len, place });
            let kernel = *kernels.entry([copied.rows, copied.columns]).or_insert_with(|| {
                prepared.kernels.push(copying(copied.rows, copied.columns));
                KernelId(prepared.kernels.len() as u32 - 1)
            });
            launches.push((before, Launch::Kernel { kernel, args: vec![copied.from, copy] }));
            new.insert(copied, copy);
        }
        let plan = &mut prepared.plans[number];
        for launch in &mut plan.launches {
            for copied in Copied::of(program, launch) {
                let Some(&copy) = new.get(&copied) else { continue };
                launch.each_buffer(|id| *id = if *id == copied.from { copy } else { *id });
                if let Launch::Conv(x) = &mut *launch {
                    x.turned |= copied.turned;
                }
            }
        }
        insert(plan, launches);
    }
    prepared
}

/// What is worth a copy, and before which launch it must be there: the first that reads it, or what that is a part of and may be
/// left out.
fn worth(program: &Program, plan: &Plan, precision: Precision) -> Vec<(Copied, usize)> {
    let whole = |id: BufferId| match program.buffers[id.0 as usize].place {
        Place::Part { of, .. } => of,
        _ => id,
    };
    let mut written: FxHashMap<BufferId, usize> = FxHashMap::default();
    let mut read: IndexMap<Copied, Readers> = IndexMap::new();
    for (i, launch) in plan.launches.iter().enumerate() {
        let writes = uses(program, launch).into_iter().filter(|(_, access)| *access != Access::Read);
        written.extend(writes.map(|(buffer, _)| (whole(buffer), i)));
        // Of what runs together a library does a product and the kernel that takes its elements.
        let together = plan.bands.iter().find(|band| band.launches.contains(&i)).map_or(1, |band| band.launches.len());
        let library = together <= 2 && by_library(launch, precision);
        for copied in Copied::of(program, launch) {
            let readers = read.entry(copied).or_insert(Readers { first: i, library: 0, own: 0 });
            if library { readers.library += 1 } else { readers.own += 1 }
        }
    }
    let start = |all: &[Range<usize>], i: usize| {
        all.iter().find(|launches| launches.contains(&i)).map_or(i, |launches| launches.start)
    };
    let bands: Vec<Range<usize>> = plan.bands.iter().map(|band| band.launches.clone()).collect();
    let guards: Vec<Range<usize>> = plan.guards.iter().map(|guard| guard.launches.clone()).collect();
    let bf16 = precision == Precision::Bf16;
    let copied = read.into_iter().filter_map(|(copied, readers)| {
        let before = start(&guards, start(&bands, readers.first));
        let ready = written.get(&whole(copied.from)).is_none_or(|last| *last < before);
        let pays = match program.buffers[whole(copied.from).0 as usize].place {
            Place::Persistent => copied.pays(&readers, 4, if bf16 { 2 } else { 4 }),
            // Values within a plan are in bf16 already.
            Place::Arena { .. } if bf16 => copied.pays(&readers, 2, 2),
            Place::Arena { .. } => copied.pays(&readers, 4, 4),
            _ => false,
        };
        (ready && pays).then_some((copied, before))
    });
    copied.collect()
}

/// Whether a library may do a product or a convolution.
fn by_library(launch: &Launch, precision: Precision) -> bool {
    match launch {
        Launch::Contract(x) => Gemm::new(x, precision, [precision == Precision::Bf16; 3]).is_some(),
        Launch::Conv(x) => Filtering::new(x, precision).is_some(),
        Launch::Kernel { .. } | Launch::Extern(_) => false,
    }
}

/// Puts launches into a plan, each before the one that has its number now, which begins what it is a part of.
fn insert(plan: &mut Plan, mut new: Vec<(usize, Launch)>) {
    new.sort_by_key(|(before, _)| *before);
    let place = |i: usize| i + new.partition_point(|(before, _)| *before <= i);
    let moved = |range: &Range<usize>| match range.is_empty() {
        true => place(range.start)..place(range.start),
        false => place(range.start)..place(range.end - 1) + 1,
    };
    plan.guards.iter_mut().for_each(|guard| guard.launches = moved(&guard.launches));
    plan.bands.iter_mut().for_each(|band| band.launches = moved(&band.launches));
    let old = std::mem::take(&mut plan.launches);
    let mut new = new.into_iter().peekable();
    for (i, launch) in old.into_iter().enumerate() {
        while let Some((_, launch)) = new.next_if(|(before, _)| *before == i) {
            plan.launches.push(launch);
        }
        plan.launches.push(launch);
    }
}

/// Copies the transpose of a matrix; of a matrix of one row, all elements in order.
fn copying(rows: usize, columns: usize) -> Kernel {
    let len = rows * columns;
    let buffer = |access| KernelBuffer { dtype: DType::F32, len, access };
    let own = Index::from(Var::GRID);
    let extents = bounds::extents(len, &[]);
    let row = own.rem(rows as i64, &extents).scale(columns as i64);
    let from = row.add(&own.div(rows as i64, &extents), &extents);
    let value = Expr::Load { buffer: 0, index: from };
    Kernel {
        name: if rows == 1 { "copy" } else { "turn" }.into(),
        buffers: vec![buffer(Access::Read), buffer(Access::Write)],
        extent: len,
        body: vec![Stmt::Store { buffer: 1, index: own, value }],
    }
}
