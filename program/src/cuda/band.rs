//! A band as one function: a block takes a tile of rows through all launches.
//!
//! What lives within the band is in the block's shared memory, one value in the place of another that is no longer needed.
//! Products compute their rows with the tiles of [`super::product`]; kernels run with a warp for each row. Products that
//! sum over the rows add to their results in the order of the tiles: a block goes through all tiles of a segment of a
//! matrix's rows, and segments are added up by a call after the band's.

use super::context::{Context, Home};
use super::print::row;
use super::product::{Shape, math};
use super::tree::tree;
use super::{Precision, plain};
use crate::{Access, Along, Band, BufferId, Contract, Kernel, Launch, Operand, Place, Program, bounds, c};
use std::fmt::Write;

/// Threads of a block.
pub(super) const THREADS: usize = 256;
/// Bytes of shared memory that a block can have on every GPU with tensor cores for bf16 and tf32.
pub(super) const SHARED: usize = 99 << 10;
/// Rows that a block may take at a time, the most first. Fewer do not fill a tensor core's instruction.
const TILES: [usize; 3] = [64, 32, 16];
/// Blocks that keep a GPU busy.
const BUSY: usize = 256;
/// Words along k of the tiles in shared memory, and words between their rows.
const WORDS: usize = 16;
const GAP: usize = 8;

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
}

/// Bytes of shared memory for some members of a band, from the first to the last.
struct Piece {
    bytes: usize,
    live: (usize, usize),
    what: What,
}

#[derive(Clone, Copy, PartialEq)]
enum What {
    Rows(BufferId),
    /// Tiles of a product's operands.
    Tiles(usize),
    /// A kernel's own memory, by its number among the kernel's buffers.
    Own(usize, usize),
}

struct Layout {
    tile: usize,
    pieces: Vec<(What, usize)>,
    bytes: usize,
}

impl Layout {
    fn at(&self, what: What) -> Option<usize> {
        self.pieces.iter().find(|(piece, _)| *piece == what).map(|(_, at)| *at)
    }
}

impl Maker<'_> {
    /// # Errors
    /// Why the band's launches have to run one after the other.
    pub fn make(&self, launches: &[Launch], band: &Band) -> Result<Banded, String> {
        let launches: Vec<Launch> = launches.iter().zip(&band.along).map(|(l, along)| upright(l, *along)).collect();
        let layout = self.layout(&launches, band)?;
        let tiles = band.rows.div_ceil(layout.tile);
        let sums = band.along.contains(&Along::K);
        let each = if sums { tiles.div_ceil((BUSY / band.entries.max(1)).clamp(1, tiles.max(1))) } else { 1 };
        let segments = tiles.div_ceil(each.max(1));
        let mut printer = Printer {
            maker: self,
            band,
            layout: &layout,
            segments,
            given: Vec::new(),
            written: Vec::new(),
            body: String::new(),
            scratch: 0,
            sums: Vec::new(),
        };
        let mut names = Vec::new();
        for (i, launch) in launches.iter().enumerate() {
            match launch {
                Launch::Kernel { kernel, args } => {
                    let kernel = &self.program.kernels[kernel.0 as usize];
                    names.push(plain(&kernel.name));
                    printer.kernel(i, kernel, args);
                }
                Launch::Contract(contract) => {
                    names.push("product".into());
                    printer.product(i, contract);
                }
                Launch::Conv(_) => return Err("there is a convolution".into()),
                Launch::Extern(_) => return Err("there is a kernel from outside".into()),
            }
        }
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
        let about = format!("band of {} × {rows} rows, {tile} at a time: {}", band.entries, names.join(", "));
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

    /// The most rows that leave blocks enough, else the fewest.
    fn layout(&self, launches: &[Launch], band: &Band) -> Result<Layout, String> {
        let layouts = TILES.map(|tile| self.arranged(launches, band, tile));
        let least = layouts[TILES.len() - 1].bytes;
        let most = band.rows.next_power_of_two().max(TILES[TILES.len() - 1]);
        let fits = |layout: &Layout| layout.bytes <= SHARED && layout.tile <= most;
        let mut fitting: Vec<Layout> = layouts.into_iter().filter(fits).collect();
        let busy = fitting.iter().position(|l| band.entries * band.rows.div_ceil(l.tile) >= BUSY);
        match busy {
            Some(first) => Ok(fitting.swap_remove(first)),
            None => fitting.pop().ok_or_else(|| {
                let fewest = TILES[TILES.len() - 1];
                format!("{fewest} rows take {least} bytes of shared memory, of which a block has {SHARED}")
            }),
        }
    }

    fn arranged(&self, launches: &[Launch], band: &Band, tile: usize) -> Layout {
        let mut pieces: Vec<Piece> = Vec::new();
        for (i, launch) in launches.iter().enumerate() {
            for (buffer, _) in super::store::uses(self.program, launch).into_iter().filter(|(b, _)| self.is_local(*b)) {
                let what = What::Rows(buffer);
                match pieces.iter_mut().find(|piece| piece.what == what) {
                    Some(piece) => piece.live.1 = i,
                    None => {
                        let found = &self.program.buffers[buffer.0 as usize];
                        let size = found.width();
                        let bytes = found.len / (band.entries * band.rows).max(1) * size * tile;
                        pieces.push(Piece { bytes, live: (i, i), what });
                    }
                }
            }
            match launch {
                Launch::Kernel { kernel, .. } => {
                    let kernel = &self.program.kernels[kernel.0 as usize];
                    let first = kernel.shared().len();
                    for (n, own) in kernel.locals().iter().enumerate() {
                        let bytes = own.len.max(1) * own.dtype.size() * (THREADS / 32);
                        pieces.push(Piece { bytes, live: (i, i), what: What::Own(i, first + n) });
                    }
                }
                Launch::Contract(contract) => {
                    let (across, down) = sizes(contract, band.along[i], tile);
                    let bytes = 2 * WORDS * (across + down + 2 * GAP) * 4;
                    pieces.push(Piece { bytes, live: (i, i), what: What::Tiles(i) });
                }
                Launch::Conv(_) | Launch::Extern(_) => {}
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
        Layout { tile, pieces: placed.into_iter().map(|(at, piece)| (piece.what, at)).collect(), bytes }
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

/// The size of a product's tiles, along m and n.
fn sizes(contract: &Contract, along: Along, tile: usize) -> (usize, usize) {
    let down = match along {
        Along::K if contract.m <= 32 => 32,
        Along::K => 64,
        _ => tile,
    };
    (down, if contract.n <= 64 { 64 } else { 128 })
}

struct Printer<'a> {
    maker: &'a Maker<'a>,
    band: &'a Band,
    layout: &'a Layout,
    segments: usize,
    /// Parameters.
    given: Vec<BufferId>,
    written: Vec<BufferId>,
    body: String,
    scratch: usize,
    sums: Vec<Parts>,
}

impl Printer<'_> {
    /// The text of a buffer's start.
    fn start(&mut self, buffer: BufferId, writes: bool) -> String {
        let ty = self.maker.stored(buffer);
        let constant = if writes { "" } else { "const " };
        if let Some(at) = self.layout.at(What::Rows(buffer)) {
            return format!("({constant}{ty} *)(dynamic + {at})");
        }
        let n = self.given.iter().position(|given| *given == buffer).unwrap_or_else(|| {
            self.given.push(buffer);
            self.given.len() - 1
        });
        if writes {
            self.written.push(buffer);
        }
        format!("g{n}")
    }

    fn kernel(&mut self, member: usize, kernel: &Kernel, args: &[BufferId]) {
        _ = writeln!(self.body, "    {{ /* {} */", plain(&kernel.name));
        let mut homes = Vec::new();
        let mut narrow = Vec::new();
        for (n, (arg, buffer)) in args.iter().zip(&kernel.buffers).enumerate() {
            let writes = buffer.access != Access::Read;
            let (start, ty) = (self.start(*arg, writes), self.maker.stored(*arg));
            let constant = if writes { "" } else { "const " };
            _ = writeln!(self.body, "      {constant}{ty} *const b{n} = {start};");
            homes.push(if self.maker.is_local(*arg) { Home::Rows } else { Home::Argument });
            narrow.push(self.maker.program.buffers[arg.0 as usize].narrow);
        }
        for (n, own) in kernel.buffers.iter().enumerate().skip(args.len()) {
            let (ty, len) = (c::stored(own.dtype), own.len.max(1));
            let at = self.layout.at(What::Own(member, n)).unwrap_or(0);
            _ = writeln!(self.body, "      {ty} *const b{n} = ({ty} *)(dynamic + {at}) + threadIdx.x / 32 * {len};");
            homes.push(Home::Shared);
            narrow.push(false);
        }
        let extents = bounds::extents(kernel.extent, &kernel.body);
        let context =
            Context { buffers: &kernel.buffers, homes: &homes, narrow: &narrow, extents: &extents, aligned: false };
        let (text, int) = row(&tree(kernel), &context, kernel.extent, 4);
        let (rows, tile) = (self.band.rows, self.layout.tile);
        _ = write!(
            self.body,
            "#pragma unroll 1\n      \
             for (int row = threadIdx.x / 32; row < {tile} && row0 + row < {rows}; row += {}) {{\n        \
             const {int} i0 = ({int})entry * {rows} + row0 + row;\n{text}      }}\n    }}\n    __syncthreads();\n",
            THREADS / 32,
        );
    }

    fn product(&mut self, member: usize, contract: &Contract) {
        let maker = self.maker;
        let sums = self.band.along[member] == Along::K;
        let tile = self.layout.tile;
        let buffers = [contract.a.buffer, contract.b.buffer, contract.c.buffer];
        let local = buffers.map(|buffer| maker.is_local(buffer));
        let aligned = [0, 1, 2].map(|i| local[i] || maker.aligned[buffers[i].0 as usize]);
        let shape = Shape::in_band(contract, aligned, local, sums, tile);
        let (down, across) = sizes(contract, self.band.along[member], tile);
        let math = math(contract.dtype, maker.precision);
        let space = self.layout.at(What::Tiles(member)).unwrap_or(0);
        let [a, b] = [contract.a.buffer, contract.b.buffer].map(|buffer| self.start(buffer, false));
        let result = contract.c.buffer;
        let call = if !sums {
            let c = self.start(result, true);
            format!(
                "{}      band_rows<Shape, {math}, {tile}, {across}, {THREADS}>({a}, {b}, {c}, entry, row0, dynamic + {space});\n",
                shape.text(1)
            )
        } else {
            // Sums are kept in f32.
            let parts = self.segments > 1 || maker.program.buffers[result.0 as usize].narrow;
            let c = if parts { format!("(float *)(scratch + {})", self.scratch) } else { self.start(result, true) };
            if parts {
                self.parts(contract, &shape);
            }
            format!(
                "{}      band_sums<Shape, {math}, {parts}, {tile}, {down}, {across}, {THREADS}>\
                 ({a}, {b}, {c}, entry, segment, row0, row0 == start, dynamic + {space});\n",
                shape.text(self.segments)
            )
        };
        _ = write!(self.body, "    {{ /* product */\n{call}    }}\n    __syncthreads();\n");
    }

    /// Gives a result's parts their memory, and adds them up at the end.
    fn parts(&mut self, contract: &Contract, shape: &Shape) {
        let (result, at) = (contract.c.buffer, self.scratch);
        let count = contract.m * contract.n * self.band.entries;
        let ty = self.maker.stored(result);
        let text = format!(
            "({ty} *__restrict__ c, char *scratch) {{\n{}  product_sum<Shape>((const float *)(scratch + {at}), Into<Shape, {ty}>{{c}});\n}}\n",
            shape.text(self.segments)
        );
        self.sums.push(Parts { text, blocks: count.div_ceil(256).clamp(1, 4096), result });
        self.scratch += (count * self.segments * 4).next_multiple_of(super::ALIGN);
    }
}
