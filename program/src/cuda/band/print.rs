//! The text of a band's function: what a block does with its rows.

use super::layout::{Layout, What};
use super::passes::{Axis, Passes, Phase, Work};
use super::running::Scaled;
use super::{Maker, Parts, THREADS, across, down, is_wide};
use crate::cuda::context::{Context, Home};
use crate::cuda::print::row;
use crate::cuda::product::{Shape, math};
use crate::cuda::tree::{Node, tree};
use crate::cuda::{ALIGN, plain};
use crate::{Access, Along, Band, BufferId, Contract, DType, Kernel, Launch, Reg, UnaryOp, bounds, c};
use std::fmt::Write;

pub(super) struct Printer<'a> {
    maker: &'a Maker<'a>,
    band: &'a Band,
    launches: &'a [Launch],
    layout: &'a Layout,
    passes: Option<&'a Passes>,
    segments: usize,
    /// The number of the work at hand.
    position: usize,
    /// Parameters.
    pub given: Vec<BufferId>,
    pub written: Vec<BufferId>,
    pub body: String,
    /// Bytes.
    pub scratch: usize,
    pub sums: Vec<Parts>,
}

/// What a kernel's registers have to do with its other works.
#[derive(Clone, Copy, Default)]
struct Registers<'a> {
    given: &'a [(Reg, DType)],
    kept: &'a [(Reg, DType)],
    scales: Option<&'a (Reg, Scaled)>,
}

impl<'a> Printer<'a> {
    pub fn new(
        maker: &'a Maker<'a>,
        band: &'a Band,
        launches: &'a [Launch],
        layout: &'a Layout,
        passes: Option<&'a Passes>,
        segments: usize,
    ) -> Printer<'a> {
        Printer {
            maker,
            band,
            launches,
            layout,
            passes,
            segments,
            position: 0,
            given: Vec::new(),
            written: Vec::new(),
            body: String::new(),
            scratch: 0,
            sums: Vec::new(),
        }
    }

    pub fn phase(&mut self, phase: &Phase) {
        let columns = match (phase, self.passes, self.layout.chunk) {
            (Phase::Columns(_), Some(passes), Some(chunk)) => Some((passes.width, chunk)),
            _ => None,
        };
        if let Some((width, chunk)) = columns {
            _ = write!(
                self.body,
                "#pragma unroll 1\n    for (int column0 = 0; column0 < {width}; column0 += {chunk}) {{\n    \
                 const int column_end = column0 + {chunk} < {width} ? column0 + {chunk} : {width};\n",
            );
        }
        for work in phase.works() {
            self.work(work);
            self.position += 1;
        }
        if columns.is_some() {
            self.body += "    }\n";
        }
    }

    fn work(&mut self, work: &Work) {
        let member = work.member();
        match (&self.launches[member], work) {
            (Launch::Kernel { kernel, args }, Work::Nodes { nodes, given, kept, scales, .. }) => {
                let kernel = &self.maker.program.kernels[kernel.0 as usize];
                let all = self.passes.map(|passes| &passes.kernels[member]);
                let nodes: Vec<&Node> = all.map_or(Vec::new(), |all| nodes.iter().map(|n| &all[*n]).collect());
                self.kernel(member, kernel, args, &nodes, Registers { given, kept, scales: scales.as_ref() });
            }
            (Launch::Kernel { kernel, args }, _) => {
                let kernel = &self.maker.program.kernels[kernel.0 as usize];
                let nodes = tree(kernel);
                self.kernel(member, kernel, args, &nodes.iter().collect::<Vec<_>>(), Registers::default());
            }
            (Launch::Contract(contract), _) => self.product(work, contract),
            (Launch::Conv(_) | Launch::Extern(_), _) => {}
        }
    }

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

    /// The text of a register's place for the row at hand.
    fn kept(&self, member: usize, reg: Reg, dtype: DType) -> String {
        let at = self.layout.place(What::Kept(member, reg));
        format!("(({} *)(dynamic + {at}))[row]", c::held(dtype))
    }

    fn kernel(
        &mut self,
        member: usize,
        kernel: &Kernel,
        args: &[BufferId],
        nodes: &[&Node],
        Registers { given, kept, scales }: Registers,
    ) {
        let mut used = vec![false; kernel.buffers.len()];
        nodes.iter().for_each(|node| crate::cuda::stage::each_access(node, &mut |buffer, _| used[buffer] = true));
        _ = writeln!(self.body, "    {{ /* {} */", plain(&kernel.name));
        let (mut homes, mut narrow) = (Vec::new(), Vec::new());
        let columns = self.passes.and_then(|passes| Some((passes.width, passes.column, self.layout.chunk?)));
        let width = columns.map(|(width, ..)| width);
        for (n, (arg, buffer)) in args.iter().zip(&kernel.buffers).enumerate() {
            let found = &self.maker.program.buffers[arg.0 as usize];
            let row = found.len / (self.band.entries * self.band.rows).max(1);
            homes.push(match self.maker.is_local(*arg) {
                true if is_wide(row, width) => Home::RowColumns,
                true => Home::Rows,
                false => Home::Argument,
            });
            narrow.push(found.narrow);
            if used[n] {
                let writes = buffer.access != Access::Read;
                let (start, ty) = (self.start(*arg, writes), self.maker.stored(*arg));
                let constant = if writes { "" } else { "const " };
                _ = writeln!(self.body, "      {constant}{ty} *const b{n} = {start};");
            }
        }
        for (n, own) in kernel.buffers.iter().enumerate().skip(args.len()) {
            let chunk = columns.filter(|(width, ..)| own.len == *width).map(|(.., chunk)| chunk);
            homes.push(if chunk.is_some() { Home::Columns } else { Home::Shared });
            narrow.push(false);
            if used[n] {
                let (ty, len) = (c::stored(own.dtype), chunk.unwrap_or(own.len.max(1)));
                let at = self.layout.place(What::Own(self.position, n));
                _ = writeln!(
                    self.body,
                    "      {ty} *const b{n} = ({ty} *)(dynamic + {at}) + threadIdx.x / 32 * {len};"
                );
            }
        }
        let mut extents = bounds::extents(kernel.extent, &kernel.body);
        extents.extend(columns.map(|(width, column, _)| (column, width)));
        let context = Context {
            buffers: &kernel.buffers,
            homes: &homes,
            narrow: &narrow,
            extents: &extents,
            aligned: false,
            column: columns.map(|(_, column, chunk)| (column, chunk)),
        };
        let (text, int) = row(nodes.iter().copied(), &context, kernel.extent, given, 4);
        let (rows, tile) = (self.band.rows, self.layout.tile);
        _ = write!(
            self.body,
            "#pragma unroll 1\n      \
             for (int row = threadIdx.x / 32; row < {tile} && row0 + row < {rows}; row += {}) {{\n        \
             const {int} i0 = ({int})entry * {rows} + row0 + row;\n",
            THREADS / 32,
        );
        for (reg, dtype) in given {
            let place = self.kept(member, *reg, *dtype);
            _ = writeln!(self.body, "        {} r{} = {place};", c::held(*dtype), reg.0);
        }
        self.body += &text;
        if !kept.is_empty() {
            // The others have read what stood there.
            self.body += "        __syncwarp();\n";
        }
        if let Some((reg, scaled)) = scales {
            self.scale(member, *reg, scaled);
        }
        for (reg, dtype) in kept {
            let place = self.kept(member, *reg, *dtype);
            _ = writeln!(self.body, "        if (threadIdx.x % 32 == 0) {place} = r{};", reg.0);
        }
        self.body += "      }\n    }\n    __syncthreads();\n";
    }

    /// Multiplies what was summed up while the maximum was less.
    fn scale(&mut self, member: usize, reg: Reg, scaled: &Scaled) {
        let before = self.kept(member, reg, DType::F32);
        let most = reg.0;
        // Where all so far is hidden by −∞, its exponentials are to be 0, not those of −∞ − (−∞).
        _ = writeln!(self.body, "        if (r{most} == -INFINITY) r{most} = -FLT_MAX;");
        _ = writeln!(
            self.body,
            "        if (column0 > 0 && {before} != r{most}) {{\n          \
             const float factor = {};",
            c::unary(UnaryOp::Exp, &format!("({before} - r{most})"), DType::F32).0,
        );
        for &(member, reg) in &scaled.registers {
            let place = self.kept(member, reg, DType::F32);
            _ = writeln!(self.body, "          if (threadIdx.x % 32 == 0) {place} *= factor;");
        }
        for &member in &scaled.products {
            let Launch::Contract(contract) = &self.launches[member] else { continue };
            let (at, n) = (self.layout.place(What::Sums(member)), contract.n);
            _ = writeln!(
                self.body,
                "          for (int n = threadIdx.x % 32; n < {n}; n += 32) ((float *)(dynamic + {at}))[row * {n} + n] *= factor;"
            );
        }
        // All have read what it was.
        self.body += "        }\n        __syncwarp();\n";
    }

    fn product(&mut self, work: &Work, contract: &Contract) {
        let maker = self.maker;
        let member = work.member();
        let along = self.band.along[member];
        let sums = along == Along::K;
        let (tile, chunk) = (self.layout.tile, self.layout.chunk);
        let buffers = [contract.a.buffer, contract.b.buffer, contract.c.buffer];
        let local = buffers.map(|buffer| maker.is_local(buffer));
        let aligned = [0, 1, 2].map(|i| local[i] || maker.aligned[buffers[i].0 as usize]);
        let axis = if let Work::Product(_, axis) = work { Some(*axis) } else { None };
        let shape = Shape::in_band(contract, aligned, local, sums, tile, axis.zip(chunk));
        let (down, across) = (down(contract, along, tile), across(contract, work, chunk));
        let math = math(contract.dtype, maker.precision);
        let stored = matches!(work, Work::Stored(_));
        let space = if stored { 0 } else { self.layout.place(What::Tiles(self.position)) };
        let so_far = if work.adds() { self.layout.place(What::Sums(member)) } else { 0 };
        let result = contract.c.buffer;
        let columns = "column0, column_end";
        let (text, call) = match (work, axis, sums) {
            (Work::Stored(_), ..) => {
                let c = self.start(result, true);
                let call = format!(
                    "band_stored<Shape, {tile}, {THREADS}>((const float *)(dynamic + {so_far}), {c}, entry, row0)"
                );
                (shape.text(1), call)
            }
            (_, Some(Axis::Sum), _) => {
                let [a, b] = [contract.a.buffer, contract.b.buffer].map(|buffer| self.start(buffer, false));
                let call = format!(
                    "band_adds<Shape, {math}, {tile}, {across}, {THREADS}>\
                     ({a}, {b}, (float *)(dynamic + {so_far}), entry, row0, {columns}, dynamic + {space})"
                );
                (shape.text(1), call)
            }
            (_, axis, false) => {
                let [a, b] = [contract.a.buffer, contract.b.buffer].map(|buffer| self.start(buffer, false));
                let c = self.start(result, true);
                let range = if axis == Some(Axis::Result) { columns } else { "0, Shape::N" };
                let call = format!(
                    "band_rows<Shape, {math}, {tile}, {across}, {THREADS}>\
                     ({a}, {b}, {c}, entry, row0, {range}, dynamic + {space})"
                );
                (shape.text(1), call)
            }
            (_, axis, true) => {
                let [a, b] = [contract.a.buffer, contract.b.buffer].map(|buffer| self.start(buffer, false));
                // Sums are kept in f32.
                let parts = self.segments > 1 || maker.program.buffers[result.0 as usize].narrow;
                let c = if parts { format!("(float *)(scratch + {})", self.scratch) } else { self.start(result, true) };
                if parts {
                    self.parts(contract, &shape);
                }
                let rows = if axis == Some(Axis::Down) { columns } else { "0, Shape::M" };
                let across_range = if axis == Some(Axis::Across) { columns } else { "0, Shape::N" };
                let call = format!(
                    "band_sums<Shape, {math}, {parts}, {tile}, {down}, {across}, {THREADS}>\
                     ({a}, {b}, {c}, entry, segment, row0, row0 == start, {rows}, {across_range}, dynamic + {space})"
                );
                (shape.text(self.segments), call)
            }
        };
        _ = write!(self.body, "    {{ /* product */\n{text}      {call};\n    }}\n    __syncthreads();\n");
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
        self.scratch += (count * self.segments * 4).next_multiple_of(ALIGN);
    }
}
