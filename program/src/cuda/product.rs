//! Products and convolutions as functions: where their elements lie, and how they are cut into tiles.
//!
//! A convolution is a product whose one operand is read through its patches: Forward, rows are output pixels and the sum
//! is over taps and channels; Input, rows are input pixels and the sum is over taps and filters; Weight, rows are taps
//! and channels and the sum is over output pixels.

use super::Precision;
use super::band::Axis;
use super::epilogue::Epilogue;
use crate::{BufferId, Contract, Conv, ConvRole, DType, Operand, c};
use std::fmt::Write;

/// Blocks that keep a GPU busy: products of fewer tiles are cut along what they sum.
const BUSY: usize = 256;
/// Elements of a sum that are worth a block.
const SUM: usize = 256;

/// A product as the device code sees it.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    m: usize,
    n: usize,
    k: usize,
    z: usize,
    dtype: DType,
    /// Bodies of the functions that give positions.
    a: String,
    b: String,
    c: String,
    /// Neighbours along k rather than m or n; whether four can be loaded at once.
    a_along_k: bool,
    a_wide: bool,
    b_along_k: bool,
    b_wide: bool,
    /// a, b and c.
    pub buffers: [BufferId; 3],
}

/// The functions of a product.
#[derive(Clone, Debug)]
pub(super) struct Functions {
    pub product: String,
    pub threads: usize,
    pub blocks: usize,
    /// Where the sum is cut: the function that adds up its parts, its blocks, and the bytes between the two.
    pub sum: Option<(String, usize, usize)>,
}

impl Shape {
    /// `aligned`: whether each of a, b and c starts at a multiple of 16 bytes.
    pub fn contract(x: &Contract, aligned: [bool; 3]) -> Shape {
        Shape::named(x, aligned, [["m", "k"], ["k", "n"], ["m", "n"]])
    }

    /// As one of a band, on `tile` rows at a time: those of m, or of k if `sums`. Operands that are `local` hold these only; of
    /// what has columns so many at a time.
    pub fn in_band(
        x: &Contract,
        aligned: [bool; 3],
        local: [bool; 3],
        sums: bool,
        tile: usize,
        columns: Option<(Axis, usize)>,
    ) -> Shape {
        let mut x = x.clone();
        for dim in &mut x.batch {
            for (stride, _) in [&mut dim.a, &mut dim.b, &mut dim.c].into_iter().zip(local).filter(|(_, local)| *local) {
                *stride = 0;
            }
        }
        let (m, k) = (format!("(m % {tile})"), format!("(k % {tile})"));
        let mut names = [["m", "k"], ["k", "n"], ["m", "n"]];
        for (names, _) in names.iter_mut().zip(local).filter(|(_, local)| *local) {
            for name in names {
                *name = match (*name, sums) {
                    ("m", false) => &m,
                    ("k", true) => &k,
                    (same, _) => same,
                };
            }
        }
        let of_chunk;
        if let Some((axis, chunk)) = columns {
            let (operand, name, rows, column) = match axis {
                Axis::Result => (2, 1, &mut x.c.row, "n"),
                Axis::Sum => (0, 1, &mut x.a.row, "k"),
                Axis::Down => (0, 0, &mut x.a.col, "m"),
                Axis::Across => (1, 1, &mut x.b.row, "n"),
            };
            *rows = chunk as isize;
            of_chunk = format!("({column} % {chunk})");
            names[operand][name] = &of_chunk;
        }
        Shape::named(&x, aligned, names)
    }

    /// `names`: the text of the rows and columns of a, b and c.
    fn named(x: &Contract, aligned: [bool; 3], names: [[&str; 2]; 3]) -> Shape {
        let [[a_m, a_k], [b_k, b_n], [c_m, c_n]] = names;
        let [(a, a_z), (b, b_z), (c, _)] = [
            position(&x.a, [(a_m, x.m), (a_k, x.k)], x.batch.iter().map(|d| (d.extent, d.a)).collect()),
            position(&x.b, [(b_k, x.k), (b_n, x.n)], x.batch.iter().map(|d| (d.extent, d.b)).collect()),
            position(&x.c, [(c_m, x.m), (c_n, x.n)], x.batch.iter().map(|d| (d.extent, d.c)).collect()),
        ];
        let a_along_k = x.a.col == 1 || x.a.row != 1 && x.k > 1;
        let b_along_k = x.b.row == 1 && x.b.col != 1;
        let wide = |operand: &Operand, along: (usize, isize), across: (usize, isize), z: &[isize]| {
            let fours = z.iter().all(|stride| stride % 4 == 0);
            along.1 == 1
                && along.0.is_multiple_of(4)
                && (across.0 == 1 || across.1 % 4 == 0)
                && operand.offset.is_multiple_of(4)
                && fours
        };
        let (a_k, a_m) = ((x.k, x.a.col), (x.m, x.a.row));
        let (b_k, b_n) = ((x.k, x.b.row), (x.n, x.b.col));
        Shape {
            m: x.m,
            n: x.n,
            k: x.k,
            z: x.batch.iter().map(|d| d.extent).product(),
            dtype: x.dtype,
            a,
            b,
            c,
            a_along_k,
            a_wide: aligned[0] && if a_along_k { wide(&x.a, a_k, a_m, &a_z) } else { wide(&x.a, a_m, a_k, &a_z) },
            b_along_k,
            b_wide: aligned[1] && if b_along_k { wide(&x.b, b_k, b_n, &b_z) } else { wide(&x.b, b_n, b_k, &b_z) },
            buffers: [x.a.buffer, x.b.buffer, x.c.buffer],
        }
    }

    pub fn conv(x: &Conv, aligned: [bool; 3]) -> Shape {
        let [out_height, out_width] = x.out();
        let (pixels, outs, taps) = (x.height * x.width, out_height * out_width, x.kernel[0] * x.kernel[1]);
        let (channels, filters, kw) = (x.channels, x.filters, x.kernel[1]);
        let ([sh, sw], [[top, _], [left, _]]) = (x.stride, x.pad);
        // The input's element for output pixel `o` (over the batch) and tap `t`, channel `c`; -1 in the padding.
        let patch = format!(
            "const int h = o % {outs} / {out_width} * {sh} + t / {kw} - {top}, w = o % {out_width} * {sw} + t % {kw} - {left}; \
             return h < 0 || h >= {} || w < 0 || w >= {} ? -1 : ((int64_t)(o / {outs} * {} + h) * {} + w) * {channels} + c;",
            x.height, x.width, x.height, x.width
        );
        let (wide_c, wide_f) = (channels.is_multiple_of(4), filters.is_multiple_of(4));
        let [x_aligned, w_aligned, y_aligned] = aligned;
        let shape = |m, n, k, [a, b, c]: [String; 3], along: [bool; 2], wide: [bool; 2], buffers| Shape {
            m,
            n,
            k,
            z: 1,
            dtype: x.dtype,
            a,
            b,
            c,
            a_along_k: along[0],
            a_wide: wide[0],
            b_along_k: along[1],
            b_wide: wide[1],
            buffers,
        };
        match x.role {
            ConvRole::Forward => {
                let a = format!("const int o = m, t = k / {channels}, c = k % {channels}; {patch}");
                let [mut b, c] = ["k", "m"].map(|row| format!("return (int64_t){row} * {filters} + n;"));
                if x.turned {
                    b = format!("return (int64_t)n * {} + k;", taps * channels);
                }
                let wide = [wide_c && x_aligned, w_aligned && if x.turned { wide_c } else { wide_f }];
                let along = [true, x.turned];
                shape(x.batch * outs, filters, taps * channels, [a, b, c], along, wide, [x.x, x.w, x.y])
            }
            ConvRole::Input => {
                // Output pixels that this input pixel contributes to through the tap.
                let a = format!(
                    "const int t = k / {filters}, f = k % {filters}; \
                     const int h = m % {pixels} / {} + {top} - t / {kw}, w = m % {} + {left} - t % {kw}; \
                     return h < 0 || w < 0 || h % {sh} != 0 || w % {sw} != 0 || h / {sh} >= {out_height} || w / {sw} >= {out_width} \
                     ? -1 : ((int64_t)(m / {pixels} * {out_height} + h / {sh}) * {out_width} + w / {sw}) * {filters} + f;",
                    x.width, x.width
                );
                let b = match x.turned {
                    true => format!("return ((int64_t)(k % {filters}) * {taps} + k / {filters}) * {channels} + n;"),
                    false => format!("return (int64_t)(k / {filters} * {channels} + n) * {filters} + k % {filters};"),
                };
                let c = format!("return (int64_t)m * {channels} + n;");
                let wide = [wide_f && y_aligned, w_aligned && if x.turned { wide_c } else { wide_f }];
                let along = [true, !x.turned];
                shape(x.batch * pixels, channels, taps * filters, [a, b, c], along, wide, [x.y, x.w, x.x])
            }
            ConvRole::Weight => {
                let a = format!("const int o = k, t = m / {channels}, c = m % {channels}; {patch}");
                let [b, c] = ["k", "m"].map(|row| format!("return (int64_t){row} * {filters} + n;"));
                let wide = [wide_c && x_aligned, wide_f && y_aligned];
                shape(taps * channels, filters, x.batch * outs, [a, b, c], [false, false], wide, [x.x, x.y, x.w])
            }
        }
    }

    /// `types`: in which a, b and c are stored. `end`: what takes the elements of c instead of its buffer.
    pub fn functions(&self, precision: Precision, types: [&str; 3], end: Option<&Epilogue>) -> Functions {
        let plain = self.dtype == DType::F64 || precision == Precision::F32;
        let math = math(self.dtype, precision);
        let depth = if math == "Bf16" { 32 } else { 16 };
        let tiles = |tm: usize, tn: usize| self.m.div_ceil(tm) * self.n.div_ceil(tn) * self.z;
        // Small tiles where large ones would leave most of the GPU idle, or mostly hang over the edge.
        let large = self.dtype == DType::F32 && tiles(128, 128) >= BUSY / 2 && self.m > 64 && self.n > 64;
        let (tile, threads) = match (large, plain) {
            (true, _) => (128, 256),
            (false, true) => (64, 256),
            (false, false) => (64, 128),
        };
        let steps = self.k.div_ceil(depth);
        let splits = (BUSY / tiles(tile, tile).max(1)).min(self.k / SUM).clamp(1, steps.max(1));
        // Every split has something to sum.
        let splits = steps.div_ceil(steps.div_ceil(splits).max(1)).max(1);
        let [a, b, c] = types;
        let sum = c::stored(self.dtype);
        let shape = self.text(splits);
        let parts = splits > 1;
        let call = format!("product<Shape, {math}, {tile}, {tile}, {threads}>");
        let (places, declared, out) = match end {
            None => (format!("{c} *__restrict__ c"), "", format!("Into<Shape, {c}>{{c}}")),
            Some(end) => {
                let out = format!("Through<Shape, Epilogue>{{Epilogue{{{}}}}}", end.members());
                (end.parameters.join(", "), end.text.as_str(), out)
            }
        };
        let operands = format!("const {a} *__restrict__ a, const {b} *__restrict__ b");
        let product = if parts {
            format!(
                "({operands}, char *scratch) {{\n{shape}  {call}(a, b, Apart<Shape, {sum}>{{({sum} *)scratch}});\n}}\n"
            )
        } else {
            format!("({operands}, {places}) {{\n{shape}{declared}  {call}(a, b, {out});\n}}\n")
        };
        let count = self.results();
        let adds = format!(
            "({places}, char *scratch) {{\n{shape}{declared}  product_sum<Shape>((const {sum} *)scratch, {out});\n}}\n"
        );
        let bytes = count * splits * self.dtype.size();
        Functions {
            product,
            threads,
            blocks: tiles(tile, tile) * splits,
            sum: parts.then(|| (adds, count.div_ceil(256).clamp(1, 4096), bytes)),
        }
    }

    /// The type that says all this in device code.
    pub fn text(&self, splits: usize) -> String {
        let mut shape = String::from("  struct Shape {\n");
        _ = writeln!(
            shape,
            "    enum {{ M = {}, N = {}, K = {}, Z = {}, SPLITS = {splits}, A_ALONG_K = {}, A_WIDE = {}, B_ALONG_K = {}, B_WIDE = {} }};",
            self.m,
            self.n,
            self.k,
            self.z,
            self.a_along_k as u8,
            self.a_wide as u8,
            self.b_along_k as u8,
            self.b_wide as u8
        );
        for (name, args, body) in
            [("a", "int m, int k", &self.a), ("b", "int k, int n", &self.b), ("c", "int m, int n", &self.c)]
        {
            _ = writeln!(shape, "    FN int64_t {name}(int z, {args}) {{ {body} }}");
        }
        shape += "  };\n";
        shape
    }

    /// Elements that are computed.
    pub fn results(&self) -> usize {
        self.m * self.n * self.z
    }
}

/// How device code multiplies.
pub(super) fn math(dtype: DType, precision: Precision) -> &'static str {
    match (dtype, precision) {
        (DType::F64, _) => "Plain<double>",
        (_, Precision::F32) => "Plain<float>",
        (_, Precision::Tf32) => "Tf32",
        (_, Precision::Bf16) => "Bf16",
    }
}

/// The statement that gives a matrix's position, and its strides of the batch.
fn position(operand: &Operand, dims: [(&str, usize); 2], batch: Vec<(usize, isize)>) -> (String, Vec<isize>) {
    let mut text = format!("return (int64_t){}", operand.offset);
    let mut inner = 1;
    let count: usize = batch.iter().map(|(extent, _)| *extent).product();
    for &(extent, stride) in batch.iter().rev() {
        if extent > 1 && stride != 0 {
            let quotient = if inner == 1 { "z".to_string() } else { format!("(z / {inner})") };
            let number = if inner * extent == count { quotient } else { format!("({quotient} % {extent})") };
            _ = write!(text, " + (int64_t){number} * {stride}");
        }
        inner *= extent;
    }
    for ((name, extent), stride) in dims.into_iter().zip([operand.row, operand.col]) {
        if extent > 1 && stride != 0 {
            _ = write!(text, " + (int64_t){name} * {stride}");
        }
    }
    let strides = batch.iter().filter(|(extent, _)| *extent > 1).map(|(_, stride)| *stride).collect();
    (text + ";", strides)
}
