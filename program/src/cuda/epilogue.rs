//! Kernels that a product or a convolution hands its elements to as it has them: they need not be stored first, and read again
//! by a launch of their own.

use super::context::{Context, Home};
use super::print::element;
use super::stage::{Stage, Team, each_access, staged};
use super::tree::{Node, each_expr, exprs, tree};
use crate::{Access, BufferId, Expr, Index, Kernel, Place, Program, Stmt, Var, bounds, c};
use rustc_hash::FxHashMap;

/// A kernel that does something for each element of one buffer, and for nothing else.
pub(super) struct Elementwise {
    pub stage: Stage,
    /// Where the kernel reads the element.
    pub index: Index,
    /// The kernel's loops: the variable, how far apart its neighbours are in the buffer, and its extent; the nearest first.
    pub loops: Vec<(Var, i64, usize)>,
}

/// The kernel as one of the elements of its buffer `buffer`; None if it is something else.
pub(super) fn elementwise(kernel: &Kernel, buffer: usize) -> Option<Elementwise> {
    let read = kernel.shared().get(buffer)?;
    if read.access != Access::Read || kernel.extent == 0 || !kernel.locals().is_empty() {
        return None;
    }
    let mut staged = staged(kernel, tree(kernel));
    let stage = staged.stages.pop().filter(|_| staged.stages.is_empty())?;
    let plain = |node: &Node| matches!(node, Node::Plain(Stmt::Let { .. } | Stmt::Store { .. }));
    if stage.team != Team::Thread || staged.buffers.len() != kernel.buffers.len() || !stage.body.iter().all(plain) {
        return None;
    }
    let mut places: Vec<Option<&Index>> = Vec::new();
    for node in &stage.body {
        let Node::Plain(stmt) = node else { continue };
        for x in exprs(stmt) {
            each_expr(x, &mut |x| match x {
                Expr::Load { buffer: from, index } if *from == buffer => places.push(Some(index)),
                Expr::LoadAt { buffer: from, .. } if *from == buffer => places.push(None),
                _ => {}
            });
        }
    }
    let index = places.first().copied().flatten()?.clone();
    if places.iter().any(|place| *place != Some(&index)) || index.offset != 0 {
        return None;
    }
    let looped = stage.points.iter().filter(|(_, extent)| *extent > 1);
    let mut loops: Vec<(Var, i64, usize)> =
        looped.map(|&(var, extent)| (var, index.coefficient(var), extent)).collect();
    loops.sort_by_key(|(_, stride, _)| *stride);
    // Together they meet every element once.
    let mut inner = 1;
    for (_, stride, extent) in &loops {
        if *stride != inner {
            return None;
        }
        inner *= *extent as i64;
    }
    let all = index.terms.len() == loops.len() && usize::try_from(inner) == Ok(read.len);
    all.then_some(Elementwise { stage, index, loops })
}

/// Whether a product that computes the whole of `buffer`, one of the kernel's, could hand its elements to the kernel.
pub fn ends_in(kernel: &Kernel, buffer: usize) -> bool {
    elementwise(kernel, buffer).is_some()
}

/// What takes a product's elements, as device code.
pub(super) struct Epilogue {
    /// Declares `struct Epilogue`.
    pub text: String,
    /// Of the function: types and names.
    pub parameters: Vec<String>,
    pub buffers: Vec<BufferId>,
}

impl Epilogue {
    /// Of a kernel with these buffers, for the product that computes `result`; None if the kernel is not of its elements.
    pub fn new(program: &Program, kernel: &Kernel, args: &[BufferId], result: BufferId) -> Option<Epilogue> {
        let mut given = (0..args.len()).filter(|&i| args[i] == result);
        let own = given.next().filter(|_| given.next().is_none())?;
        let Elementwise { stage, index, loops } = elementwise(kernel, own)?;
        let whole = &program.buffers[result.0 as usize];
        if whole.len != kernel.buffers[own].len {
            return None;
        }
        let ty = |buffer: BufferId| {
            let found = &program.buffers[buffer.0 as usize];
            if found.narrow { "bf16" } else { c::stored(found.dtype) }
        };
        let mut touched: FxHashMap<usize, bool> = FxHashMap::default();
        for node in &stage.body {
            each_access(node, &mut |buffer, writes| *touched.entry(buffer).or_default() |= writes);
        }
        touched.remove(&own);
        let mut touched: Vec<(usize, bool)> = touched.into_iter().collect();
        touched.sort_unstable();
        let (mut parameters, mut buffers) = (Vec::new(), Vec::new());
        for (n, writes) in touched {
            parameters.push(format!("{}{} *b{n}", if writes { "" } else { "const " }, ty(args[n])));
            buffers.push(args[n]);
        }
        let lasts = !matches!(whole.place, Place::Band { .. });
        if lasts {
            parameters.push(format!("{} *kept", ty(result)));
            buffers.push(result);
        }
        let homes = vec![Home::Argument; kernel.buffers.len()];
        let mut narrow: Vec<bool> = args.iter().map(|arg| program.buffers[arg.0 as usize].narrow).collect();
        // The element has not been stored.
        narrow[own] = false;
        let extents = bounds::extents(kernel.extent, &kernel.body);
        let context = Context {
            buffers: &kernel.buffers,
            homes: &homes,
            narrow: &narrow,
            extents: &extents,
            aligned: false,
            column: None,
        };
        let (body, int) = element(&stage, &context, (own, index), "sum");
        let members: String = parameters.iter().map(|parameter| format!("    {parameter};\n")).collect();
        let keep = if lasts { "      put(kept + at, sum);\n" } else { "" };
        let fixed = stage.points.iter().filter(|(_, extent)| *extent <= 1);
        let fixed: String = fixed.map(|(var, _)| format!("      const {int} i{} = 0;\n", var.0)).collect();
        let place = |(var, stride, extent): &(Var, i64, usize)| {
            let outer = *stride as usize * extent == whole.len;
            let remainder = if outer { String::new() } else { format!(" % {extent}") };
            format!("      const {int} i{} = ({int})(at / {stride}{remainder});\n", var.0)
        };
        let places: String = loops.iter().map(place).collect();
        // Positions are small enough for quicker divisions.
        let at = if whole.len <= u32::MAX as usize {
            "      const unsigned at = (unsigned)place;\n"
        } else {
            "      const int64_t at = place;\n"
        };
        let text = format!(
            "  struct Epilogue {{\n{members}    \
             __device__ __forceinline__ void operator()(int64_t place, {} sum) const {{\n\
             {at}{keep}{fixed}{places}{body}    }}\n  }};\n",
            c::stored(whole.dtype)
        );
        Some(Epilogue { text, parameters, buffers })
    }

    /// Its members' values, in a function of these parameters.
    pub fn members(&self) -> String {
        let name = |parameter: &String| parameter.rsplit('*').next().unwrap_or_default().to_owned();
        self.parameters.iter().map(name).collect::<Vec<_>>().join(", ")
    }
}
