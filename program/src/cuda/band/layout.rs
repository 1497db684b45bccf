//! A block's shared memory: what lives in a band, one value in the place of another that is no longer needed.

use super::passes::{Passes, Phase, Work};
use super::{Maker, THREADS, across, down, is_wide};
use crate::cuda::{stage::each_access, store};
use crate::{Along, Band, BufferId, Contract, DType, Launch, Reg, c};

/// Words along k of the tiles in shared memory, and words between their rows.
const WORDS: usize = 16;
const GAP: usize = 8;

/// What has a place there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum What {
    Rows(BufferId),
    /// Tiles of a product's operands, by the number of the work.
    Tiles(usize),
    /// A kernel's own memory, by the number of the work and its number among the kernel's buffers.
    Own(usize, usize),
    /// A product's sums so far.
    Sums(usize),
    /// A member's register, for each row.
    Kept(usize, Reg),
}

/// Bytes of shared memory from the first to the last of some works.
struct Piece {
    bytes: usize,
    live: (usize, usize),
    what: What,
}

/// How much of a band a block takes at a time, and where it keeps that.
pub(super) struct Layout {
    /// Rows.
    pub tile: usize,
    /// Columns, if not all.
    pub chunk: Option<usize>,
    pieces: Vec<(What, usize)>,
    pub bytes: usize,
}

impl Layout {
    pub fn at(&self, what: What) -> Option<usize> {
        self.pieces.iter().find(|(piece, _)| *piece == what).map(|(_, at)| *at)
    }

    /// Of what a work needs.
    pub fn place(&self, what: What) -> usize {
        self.at(what).unwrap_or_else(|| unreachable!("{what:?} has no place"))
    }
}

/// Lays out `tile` rows, all their columns or `chunk` of them.
pub(super) fn arranged(
    maker: &Maker,
    launches: &[Launch],
    band: &Band,
    (tile, chunk): (usize, Option<usize>),
    phases: &[Phase],
    passes: Option<&Passes>,
) -> Layout {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut add =
        |what: What, bytes: usize, live: (usize, usize)| match pieces.iter_mut().find(|piece| piece.what == what) {
            Some(piece) => piece.live.1 = live.1,
            None => pieces.push(Piece { bytes, live, what }),
        };
    let width = passes.map(|passes| passes.width);
    let mut position = 0;
    for works in phases.iter().map(Phase::works) {
        let whole = (position, position + works.len() - 1);
        for work in works {
            let here = (position, position);
            for buffer in touched(maker, launches, passes, work).into_iter().filter(|id| maker.is_local(*id)) {
                let found = &maker.program.buffers[buffer.0 as usize];
                let row = found.len / (band.entries * band.rows).max(1);
                // What is wide is there for a chunk only, other values as long as the loop over chunks runs.
                let (row, live) = match (is_wide(row, width), chunk) {
                    (true, Some(chunk)) => (chunk, here),
                    _ if passes.is_some() => (row, whole),
                    _ => (row, here),
                };
                add(What::Rows(buffer), row * found.width() * tile, live);
            }
            match work {
                Work::Launch(member) | Work::Product(member, _) | Work::Stored(member) => match &launches[*member] {
                    Launch::Contract(contract) => {
                        if !matches!(work, Work::Stored(_)) {
                            add(What::Tiles(position), tiles(contract, band.along[*member], tile, chunk, work), here);
                        }
                        if work.adds() {
                            add(What::Sums(*member), contract.n * tile * 4, whole);
                        }
                    }
                    Launch::Kernel { kernel, .. } => {
                        let kernel = &maker.program.kernels[kernel.0 as usize];
                        let first = kernel.shared().len();
                        for (n, own) in kernel.locals().iter().enumerate() {
                            let bytes = own.len.max(1) * own.dtype.size() * (THREADS / 32);
                            add(What::Own(position, first + n), bytes, here);
                        }
                    }
                    Launch::Conv(_) | Launch::Extern(_) => {}
                },
                Work::Nodes { member, given, kept, .. } => {
                    let Launch::Kernel { kernel, .. } = &launches[*member] else { continue };
                    let kernel = &maker.program.kernels[kernel.0 as usize];
                    for n in owned(kernel.shared().len(), passes, work) {
                        let own = &kernel.buffers[n];
                        let len = if is_wide(own.len, width) { chunk.unwrap_or(own.len) } else { own.len.max(1) };
                        add(What::Own(position, n), len * own.dtype.size() * (THREADS / 32), here);
                    }
                    for (reg, dtype) in given.iter().chain(kept) {
                        add(What::Kept(*member, *reg), held(*dtype) * tile, whole);
                    }
                }
            }
            position += 1;
        }
    }
    // The longest-lived first, each in the lowest gap.
    pieces.sort_by_key(|piece| std::cmp::Reverse((piece.live.1 - piece.live.0, piece.bytes)));
    let mut placed: Vec<(usize, Piece)> = Vec::new();
    for piece in pieces {
        let meets = |other: &Piece| other.live.0 <= piece.live.1 && piece.live.0 <= other.live.1;
        let mut taken: Vec<(usize, usize)> =
            placed.iter().filter(|(_, other)| meets(other)).map(|(at, other)| (*at, at + other.bytes)).collect();
        taken.sort_unstable();
        let mut at: usize = 0;
        for (start, end) in taken {
            if at + piece.bytes <= start {
                break;
            }
            at = at.max(end.next_multiple_of(16));
        }
        placed.push((at, piece));
    }
    let bytes = placed.iter().map(|(at, piece)| at + piece.bytes).max().unwrap_or(0).next_multiple_of(16);
    Layout { tile, chunk, pieces: placed.into_iter().map(|(at, piece)| (piece.what, at)).collect(), bytes }
}

/// The buffers that a work touches.
fn touched(maker: &Maker, launches: &[Launch], passes: Option<&Passes>, work: &Work) -> Vec<BufferId> {
    match (work, passes) {
        (Work::Nodes { member, nodes, .. }, Some(passes)) => {
            let Launch::Kernel { args, .. } = &launches[*member] else { return Vec::new() };
            let mut found = Vec::new();
            let all = &passes.kernels[*member];
            nodes.iter().for_each(|n| each_access(&all[*n], &mut |buffer, _| found.extend(args.get(buffer).copied())));
            found
        }
        (Work::Stored(member), _) => match &launches[*member] {
            Launch::Contract(contract) => vec![contract.c.buffer],
            _ => Vec::new(),
        },
        (Work::Product(member, _), _) if work.adds() => match &launches[*member] {
            Launch::Contract(contract) => vec![contract.a.buffer, contract.b.buffer],
            _ => Vec::new(),
        },
        _ => store::uses(maker.program, &launches[work.member()]).into_iter().map(|(buffer, _)| buffer).collect(),
    }
}

/// The kernel's own buffers, from number `first` on, that a work touches.
fn owned(first: usize, passes: Option<&Passes>, work: &Work) -> Vec<usize> {
    let (Work::Nodes { member, nodes, .. }, Some(passes)) = (work, passes) else { return Vec::new() };
    let mut found = Vec::new();
    for n in nodes {
        each_access(&passes.kernels[*member][*n], &mut |buffer, _| {
            if buffer >= first && !found.contains(&buffer) {
                found.push(buffer);
            }
        });
    }
    found
}

fn tiles(contract: &Contract, along: Along, tile: usize, chunk: Option<usize>, work: &Work) -> usize {
    2 * WORDS * (across(contract, work, chunk) + down(contract, along, tile) + 2 * GAP) * 4
}

/// Bytes of a register.
pub(super) fn held(dtype: DType) -> usize {
    if c::held(dtype) == "float" { 4 } else { 8 }
}
