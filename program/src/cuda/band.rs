//! A band as one function: a block takes a tile of rows through all launches.
//!
//! What lives within the band is in the block's shared memory, one value in the place of another that is no longer needed.
//! Products compute their rows with the tiles of [`super::product`]; kernels run with a warp for each row. Products that
//! sum over the rows add to their results in the order of the tiles: a block goes through all tiles of a segment of a
//! matrix's rows, and segments are added up by a call after the band's. Rows that do not fit, or of which too
//! few would, go through the launches some columns at a time ([`passes`]).

mod columns;
mod layout;
mod passes;
mod print;
mod running;

pub(super) use passes::Axis;

use super::{Precision, c, plain};
use crate::{Along, Band, BufferId, Contract, Launch, Operand, Place, Program};
use layout::{Layout, arranged};
use passes::{Passes, Phase, Work, passes};
use print::Printer;

/// Threads of a block.
pub(super) const THREADS: usize = 256;
/// Bytes of shared memory that a block can have on every GPU with tensor cores for bf16 and tf32.
pub const SHARED: usize = 99 << 10;
/// Rows that a block may take at a time. Fewer do not fill a tensor core's instruction.
const TILES: [usize; 3] = [16, 32, 64];
/// Columns that a block may take at a time where it does not take all, the most first: multiples of a product's tiles.
const CHUNKS: [usize; 4] = [512, 256, 128, 64];
/// Blocks that keep a GPU busy.
const BUSY: usize = 256;
/// Bytes a second that blocks read from the second-level cache, and elements of rows that kernels go through, about, on an H200.
const CACHE: f64 = 5.5e12;
const ELEMENTS: f64 = 6e12;

/// A band's function, and what adds up its segments.
pub(super) struct Banded {
    pub about: String,
    pub text: String,
    pub shared: usize,
    pub blocks: usize,
    pub buffers: Vec<BufferId>,
    /// Bytes of scratch memory.
    pub scratch: usize,
    pub sums: Vec<Parts>,
}

/// What adds up the parts of a result.
pub(super) struct Parts {
    pub text: String,
    pub blocks: usize,
    pub result: BufferId,
}

/// What a band is translated with.
pub(super) struct Maker<'a> {
    pub program: &'a Program,
    pub precision: Precision,
    pub aligned: &'a [bool],
    /// Bytes of shared memory that a block has at most.
    pub shared: usize,
}

impl Maker<'_> {
    /// # Errors
    /// Why the band's launches have to run one after the other.
    pub fn make(&self, launches: &[Launch], band: &Band) -> Result<Banded, String> {
        let launches: Vec<Launch> = launches.iter().zip(&band.along).map(|(l, along)| upright(l, *along)).collect();
        let whole = vec![Phase::Once((0..launches.len()).map(Work::Launch).collect())];
        let (layout, passes) = self.chosen(&launches, band, &whole)?;
        let tiles = band.rows.div_ceil(layout.tile);
        let sums = band.along.contains(&Along::K);
        let each = if sums { tiles.div_ceil((BUSY / band.entries.max(1)).clamp(1, tiles.max(1))) } else { 1 };
        let segments = tiles.div_ceil(each.max(1));
        let mut names = Vec::new();
        for launch in &launches {
            names.push(match launch {
                Launch::Kernel { kernel, .. } => plain(&self.program.kernels[kernel.0 as usize].name),
                Launch::Contract(_) => "product".into(),
                Launch::Conv(_) => return Err("there is a convolution".into()),
                Launch::Extern(_) => return Err("there is a kernel from outside".into()),
            });
        }
        let phases = passes.as_ref().map_or(&whole, |passes| &passes.phases);
        let mut printer = Printer::new(self, band, &launches, &layout, passes.as_ref(), segments);
        phases.iter().for_each(|phase| printer.phase(phase));
        let Printer { given, written, body, scratch, sums, .. } = printer;
        let mut parameters: Vec<String> = Vec::new();
        for (n, buffer) in given.iter().enumerate() {
            let ty = self.stored(*buffer);
            parameters.push(match written.contains(buffer) {
                true => format!("{ty} *g{n}"),
                false => format!("const {ty} *__restrict__ g{n}"),
            });
        }
        if scratch > 0 {
            parameters.push("char *scratch".into());
        }
        let (rows, tile) = (band.rows, layout.tile);
        let text = format!(
            "({}) {{\n  DYNAMIC\n  \
             const int entry = blockIdx.x / {segments}, segment = blockIdx.x % {segments};\n  \
             const int start = segment * {}, limit = start + {}, end = limit < {rows} ? limit : {rows};\n\
             #pragma unroll 1\n  \
             for (int row0 = start; row0 < end; row0 += {tile}) {{\n{body}  }}\n}}\n",
            parameters.join(", "),
            each * tile,
            each * tile,
        );
        let in_columns = match (&passes, layout.chunk) {
            (Some(passes), Some(chunk)) => {
                let count = match passes.count() {
                    1 => "one pass".to_owned(),
                    count => format!("{count} passes"),
                };
                format!(", {chunk} of {} columns, {count}", passes.width)
            }
            _ => String::new(),
        };
        let about =
            format!("band of {} × {rows} rows, {tile} at a time{in_columns}: {}", band.entries, names.join(", "));
        let blocks = band.entries * segments;
        Ok(Banded { about, text, shared: layout.bytes, blocks, buffers: given, scratch, sums })
    }

    fn stored(&self, buffer: BufferId) -> &'static str {
        let buffer = buffer.0 as usize;
        if self.program.buffers[buffer].narrow { "bf16" } else { c::stored(self.program.buffers[buffer].dtype) }
    }

    fn is_local(&self, buffer: BufferId) -> bool {
        matches!(self.program.buffers[buffer.0 as usize].place, Place::Band { .. })
    }

    /// The fastest way to take the band's rows that fits: how many at a time, and whether whole or in columns.
    fn chosen(&self, launches: &[Launch], band: &Band, whole: &[Phase]) -> Result<(Layout, Option<Passes>), String> {
        let fewest = TILES[0];
        let most = band.rows.next_power_of_two().max(fewest);
        let passes = passes(self.program, launches, &band.along, band.entries * band.rows);
        let mut least = [usize::MAX; 2];
        let mut best: Option<(f64, Layout)> = None;
        for tile in TILES.into_iter().filter(|tile| *tile <= most) {
            let mut layouts = vec![arranged(self, launches, band, (tile, None), whole, None)];
            if let Ok(passes) = &passes {
                let chunks = CHUNKS.into_iter().filter(|chunk| *chunk < passes.width);
                let in_columns =
                    |chunk| arranged(self, launches, band, (tile, Some(chunk)), &passes.phases, Some(passes));
                layouts.extend(chunks.map(in_columns));
            }
            for layout in layouts {
                let phases = match (&passes, layout.chunk) {
                    (Ok(passes), Some(_)) => &passes.phases,
                    _ => whole,
                };
                let least = &mut least[layout.chunk.is_some() as usize];
                *least = layout.bytes.min(*least);
                let time = self.time(launches, band, phases, layout.tile);
                // Of equally fast ones the first: the fewest rows, the most columns.
                if layout.bytes <= self.shared && best.as_ref().is_none_or(|(other, _)| time < *other) {
                    best = Some((time, layout));
                }
            }
        }
        let (_, layout) = best.ok_or_else(|| {
            let least = least.into_iter().min().unwrap_or_default();
            let has = self.shared;
            let takes = format!("{fewest} rows take {least} bytes of shared memory, of which a block has {has}");
            match &passes {
                Ok(_) => takes,
                Err(why) => format!("{takes}; columns cannot be taken in turn: {why}"),
            }
        })?;
        let passes = passes.ok().filter(|_| layout.chunk.is_some());
        Ok((layout, passes))
    }

    /// Seconds that a band takes, `tile` rows at a time: products to multiply, or to read what each tile meets from the cache,
    /// kernels to go through their rows. A model, to choose by.
    fn time(&self, launches: &[Launch], band: &Band, phases: &[Phase], tile: usize) -> f64 {
        let mut seconds = 0.0;
        for work in phases.iter().flat_map(Phase::works).filter(|work| !matches!(work, Work::Stored(_))) {
            let member = work.member();
            let x = match &launches[member] {
                Launch::Contract(x) => x,
                Launch::Kernel { args, .. } => {
                    let row = |arg: &BufferId| self.program.buffers[arg.0 as usize].len / (band.entries * band.rows);
                    seconds += args.iter().map(row).sum::<usize>() as f64 / ELEMENTS;
                    continue;
                }
                Launch::Conv(_) | Launch::Extern(_) => continue,
            };
            let (rate, word) = match self.precision {
                Precision::F32 => (5e13, 4.0),
                Precision::Tf32 => (2e14, 4.0),
                Precision::Bf16 => (4e14, 2.0),
            };
            // A tile of rows meets all of the right operand, or adds to all of the result.
            let (meets, bytes) = match band.along[member] {
                Along::K => (x.m * x.n, 8.0),
                _ => (x.n * x.k, word),
            };
            seconds += meets as f64 * f64::max(2.0 / rate, bytes / tile as f64 / CACHE);
        }
        let blocks = band.entries * band.rows.div_ceil(tile);
        let busy = f64::min(1.0, blocks as f64 / BUSY as f64);
        seconds * (blocks * tile) as f64 / busy
    }
}

/// A product along its columns as one along its rows; other launches as they are.
fn upright(launch: &Launch, along: Along) -> Launch {
    let Launch::Contract(x) = launch else { return launch.clone() };
    if along != Along::N {
        return launch.clone();
    }
    let turned = |x: Operand| Operand { row: x.col, col: x.row, ..x };
    let mut batch = x.batch.clone();
    batch.iter_mut().for_each(|dim| std::mem::swap(&mut dim.a, &mut dim.b));
    Launch::Contract(Contract {
        dtype: x.dtype,
        m: x.n,
        n: x.m,
        k: x.k,
        batch,
        a: turned(x.b),
        b: turned(x.a),
        c: turned(x.c),
    })
}

/// Rows of a product's tiles.
fn down(contract: &Contract, along: Along, tile: usize) -> usize {
    match along {
        Along::K if contract.m <= 32 => 32,
        Along::K => 64,
        _ => tile,
    }
}

/// Columns of a product's tiles.
fn across(contract: &Contract, work: &Work, chunk: Option<usize>) -> usize {
    let at_hand = match (work, chunk) {
        (Work::Product(_, Axis::Result | Axis::Across), Some(chunk)) => contract.n.min(chunk),
        _ => contract.n,
    };
    if at_hand <= 64 { 64 } else { 128 }
}

/// Whether a row of so many elements is as long as those that are taken column by column.
fn is_wide(row: usize, width: Option<usize>) -> bool {
    width == Some(row)
}
