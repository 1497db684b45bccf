//! Plans into one set of buffers and kernels: each is bound to buffers in turn, designed beside the others, and put into
//! memory in turn.

use super::band::Formed;
use super::bind::{Buffers, NetBuffers};
use super::contract;
use super::cut::Cut;
use super::demand::Demand;
use super::draft::{Draft, is_given};
use super::emit::Slot;
use super::group::group;
use super::inplace::write_over;
use super::known::known;
use super::memo::Memo;
use super::prepare::prepare;
use super::recompute::{Recomputed, recompute};
use super::task::{Task, Work, guards};
use super::units::{Kind, Unit};
use super::{Computed, NetLayout, PlanGraph, Role};
use crate::graph::op::FlatKind;
use crate::graph::{Graph, NodeId, Op, Source, Ty};
use crate::level::{Level, Pass, Target};
use fgc_program::arena::{ALIGN, Span, arrange};
use fgc_program::{
    Band, Buffer, BufferId, Constant, DeviceCode, Extern, Input, Kernel, KernelId, Known, Launch, Output, OutputKind,
    Place, Plan, PlanInput,
};
use indexmap::IndexMap;
use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::{Arc, Mutex};

/// What a program consists of, besides what the front end knows.
#[derive(Clone, Debug)]
pub struct Lowered {
    pub nets: Vec<NetBuffers>,
    pub inputs: Vec<Input>,
    /// Where each source lies: `Kept` and `State` among them.
    pub sources: IndexMap<(Source, Ty), BufferId>,
    pub buffers: Vec<Buffer>,
    pub constants: Vec<Constant>,
    pub kernels: Vec<Kernel>,
    pub codes: Vec<DeviceCode>,
    /// In the order given.
    pub plans: Vec<Plan>,
    /// Bytes.
    pub arena: usize,
    pub spill: usize,
}

/// Lowers `plans`, whose outputs are nodes of `graph` without calls, derivatives or arguments (else it panics: a bug of
/// the caller).
pub fn lower_plans(graph: &mut Graph, nets: &[NetLayout], plans: &[PlanGraph], level: Level) -> Lowered {
    lower_for(Target::Cpu, graph, nets, plans, level, &[])
}

/// As [`lower_plans`], for a target, without these parts.
pub fn lower_for(
    target: Target,
    graph: &mut Graph,
    nets: &[NetLayout],
    plans: &[PlanGraph],
    level: Level,
    without: &[Pass],
) -> Lowered {
    let mut lowering = Lowering {
        target,
        nets,
        level,
        without,
        buffers: Buffers::new(nets),
        kernels: Vec::new(),
        codes: Vec::new(),
        known: FxHashMap::default(),
        numbered: FxHashMap::default(),
        arena: 0,
        spill: 0,
    };
    let outlines: Vec<Outline> = plans.iter().map(|plan| lowering.outline(graph, plan)).collect();
    let bound: Vec<Bound> =
        plans.iter().zip(outlines).map(|(plan, outline)| lowering.bind(graph, plan, outline)).collect();
    let (memo, bands) = (Mutex::default(), Pass::Bands.runs(level, without).then_some(target));
    let designed: Vec<Designed> = bound.into_par_iter().map(|bound| bound.design(level, bands, &memo)).collect();
    let plans = plans.iter().zip(designed).map(|(plan, designed)| lowering.plan(plan, designed)).collect();
    let Lowering { buffers, kernels, codes, arena, spill, .. } = lowering;
    let arena = arena.max(buffers.gradients);
    let Buffers { all, nets, inputs, sources, constants, .. } = buffers;
    Lowered { nets, inputs, sources, buffers: all, constants, kernels, codes, plans, arena, spill }
}

struct Lowering<'a> {
    target: Target,
    nets: &'a [NetLayout],
    level: Level,
    without: &'a [Pass],
    buffers: Buffers,
    kernels: Vec<Kernel>,
    codes: Vec<DeviceCode>,
    /// Kernels by their text, names aside.
    known: FxHashMap<String, KernelId>,
    /// Kernels by their address, which they keep while they are here.
    numbered: FxHashMap<*const Kernel, (Arc<Kernel>, KernelId)>,
    arena: usize,
    spill: usize,
}

/// A value that belongs into a buffer which the plan also reads.
struct Overwrite {
    node: NodeId,
    to: BufferId,
    /// Sources that read the buffer.
    readers: Vec<NodeId>,
}

/// Which values of a plan are stored.
struct Outline {
    outputs: Vec<NodeId>,
    cut: Cut,
    /// Values computed a second time, late.
    again: FxHashSet<NodeId>,
}

/// A plan whose sources and outputs have buffers.
struct Bound<'a> {
    draft: Draft<'a>,
    demand: Demand,
    overwrites: Vec<Overwrite>,
    slots: Vec<Slot>,
    inputs: Vec<PlanInput>,
}

/// A plan's launches in order, and its bands with their first launches.
struct Designed<'a> {
    draft: Draft<'a>,
    tasks: Vec<Task>,
    formed: Vec<(usize, Formed)>,
    slots: Vec<Slot>,
    inputs: Vec<PlanInput>,
}

impl<'a> Bound<'a> {
    /// Groups values into kernels, and puts these in order.
    fn design(self, level: Level, bands: Option<Target>, memo: &Mutex<Memo>) -> Designed<'a> {
        let Bound { mut draft, mut demand, overwrites, slots, inputs } = self;
        let kept = draft.lasting.iter().filter_map(|slot| match slot {
            Slot::Node(node) => Some(*node),
            Slot::Copy(_) => None,
        });
        let kept: FxHashSet<NodeId> = kept.chain(overwrites.iter().map(|o| o.node)).collect();
        draft.groups = group(draft.graph, &draft.cut, &draft.units, [&kept, &draft.again], level, memo);
        let late: Vec<usize> = overwrites.into_iter().filter_map(|o| overwrite(&mut draft, o)).collect();
        let (tasks, formed) = draft.tasks(&late, &mut demand, memo, bands);
        Designed { draft, tasks, formed, slots, inputs }
    }
}

impl Lowering<'_> {
    fn outline(&self, graph: &mut Graph, plan: &PlanGraph) -> Outline {
        let outputs: Vec<NodeId> = plan.outputs.iter().map(|output| output.node).collect();
        let outputs = prepare(graph, &outputs);
        let cut = Cut::new(graph, &outputs, self.level);
        if !Pass::Recompute.runs(self.level, self.without) {
            return Outline { outputs, cut, again: FxHashSet::default() };
        }
        let Recomputed { outputs, again } = recompute(graph, &cut, &outputs, self.target);
        Outline { cut: Cut::new(graph, &outputs, self.level), outputs, again }
    }

    fn bind<'a>(&mut self, graph: &'a Graph, plan: &PlanGraph, outline: Outline) -> Bound<'a> {
        let Outline { outputs, cut, again } = outline;
        let nodes = cut.nodes.iter().copied().filter(|&id| cut.is_stored(id));
        let computed: Vec<NodeId> = nodes.filter(|&id| !is_given(graph, id) && !graph.ty(id).is_empty()).collect();
        let units = computed.iter().map(|&id| Unit::compute(graph, &cut, id)).collect();
        let mut draft = Draft {
            graph,
            cut,
            units,
            at: FxHashMap::default(),
            lasting: FxHashSet::default(),
            groups: Vec::new(),
            again,
            updates: plan.outputs.iter().any(|output| matches!(output.role, Role::Flat { .. })),
        };
        let (inputs, demand) = self.sources(&mut draft, &outputs);
        let (slots, overwrites) = self.outputs(&mut draft, &plan.outputs, &outputs);
        Bound { draft, demand, overwrites, slots, inputs }
    }

    fn plan(&mut self, plan: &PlanGraph, designed: Designed) -> Plan {
        let Designed { draft, tasks, formed, slots, inputs } = designed;
        let conditions: Vec<Option<Known>> = tasks.iter().map(|task| task.when.clone()).collect();
        let (launches, at) = self.place(&draft, tasks, &formed);
        let guards = guards(conditions);
        let band = |(first, formed): (usize, Formed)| Band {
            launches: first..first + formed.members.len(),
            entries: formed.entries,
            rows: formed.rows,
            block: formed.block,
            along: formed.along,
        };
        let bands = formed.into_iter().map(band).collect();
        let reported = plan.outputs.iter().zip(slots);
        let outputs = reported.filter_map(|(output, slot)| self.reported(&draft, output, slot, &at)).collect();
        Plan { name: plan.name.clone(), launches, guards, bands, outputs, inputs }
    }

    /// Binds sources and tables. The inputs among them with those they are numbered by, and when all is needed.
    fn sources(&mut self, draft: &mut Draft, outputs: &[NodeId]) -> (Vec<PlanInput>, Demand) {
        let graph = draft.graph;
        let mut read: Vec<(usize, NodeId)> = Vec::new();
        // Inputs that known numbers are made of.
        let mut asked: Vec<usize> = Vec::new();
        for &id in &draft.cut.nodes {
            let buffer = match graph.op(id) {
                Op::Source(source) => self.buffers.source(source, graph.ty(id), self.nets),
                Op::Table(values) => self.buffers.constant(values, graph.dtype(id)),
                _ => continue,
            };
            draft.at.insert(Slot::Node(id), buffer);
            let Some(input) = self.buffers.inputs.iter().position(|input| input.buffer == buffer) else { continue };
            read.push((input, id));
            if let Op::Source(Source::Draw { number: Some(number), .. } | Source::Pin { number: Some(number), .. }) =
                graph.op(id)
            {
                let number = self.known(graph, *number, &mut asked);
                self.buffers.inputs[input].number = number;
            }
        }
        let mut demand = Demand::new(graph, &draft.cut.nodes, outputs, |id| {
            let mut more = Vec::new();
            let known = self.known(graph, id, &mut more)?;
            asked.extend(more);
            Some(known)
        });
        // First what numbers and conditions of others are made of.
        let (first, rest): (Vec<_>, Vec<_>) = read.into_iter().partition(|(input, _)| asked.contains(input));
        let mut inputs: Vec<PlanInput> = first.iter().map(|&(input, _)| PlanInput { input, when: None }).collect();
        for input in asked {
            if inputs.iter().all(|read| read.input != input) {
                inputs.push(PlanInput { input, when: None });
            }
        }
        inputs.extend(rest.into_iter().map(|(input, id)| PlanInput { input, when: demand.when([id]) }));
        (inputs, demand)
    }

    /// The number a scalar node is, if it is known before the plan runs; the inputs it is made of go to `asked`.
    fn known(&mut self, graph: &Graph, node: NodeId, asked: &mut Vec<usize>) -> Option<Known> {
        known(graph, node, &mut |id| {
            let Op::Source(source) = graph.op(id) else { return None };
            let input = self.buffers.input(source, graph.ty(id), self.nets)?;
            if !asked.contains(&input) {
                asked.push(input);
            }
            Some(input)
        })
    }

    /// Decides where outputs go: their slots, and those that overwrite what the plan reads.
    fn outputs(&mut self, draft: &mut Draft, outputs: &[Computed], nodes: &[NodeId]) -> (Vec<Slot>, Vec<Overwrite>) {
        let mut overwrites = Vec::new();
        let sources: Vec<(NodeId, BufferId)> = draft
            .at
            .iter()
            .filter_map(|(slot, &buffer)| match slot {
                Slot::Node(node) => Some((*node, buffer)),
                Slot::Copy(_) => None,
            })
            .collect();
        let mut taken: FxHashSet<NodeId> = FxHashSet::default();
        let mut slots = Vec::new();
        for (output, &node) in outputs.iter().zip(nodes) {
            let node = draft.cut.storage(draft.graph, node).unwrap_or(node);
            let ty = draft.graph.ty(node).clone();
            if ty.is_empty() {
                let buffer = self.buffers.persistent(ty.dtype, 0);
                draft.at.entry(Slot::Node(node)).or_insert(buffer);
                slots.push(Slot::Node(node));
                continue;
            }
            let is_source = is_given(draft.graph, node);
            let dest = match &output.role {
                Role::Grad { net, param } => self
                    .buffers
                    .flat(*net, &FlatKind::Grads)
                    .map(|of| (of, self.nets[net.0 as usize].params[*param].offset)),
                Role::Flat { net, what, start } => self.buffers.flat(*net, what).map(|of| (of, *start)),
                _ => None,
            };
            let Some((of, start)) = dest else {
                // What the plan overwrites is handed out as it was.
                let slot = if is_source && outputs.iter().any(|o| matches!(o.role, Role::Flat { .. })) {
                    draft.copy(node).0
                } else {
                    Slot::Node(node)
                };
                draft.lasting.insert(slot);
                slots.push(slot);
                continue;
            };
            let to = self.buffers.part(of, start, ty.len());
            let mut readers: Vec<NodeId> =
                sources.iter().filter(|(_, buffer)| self.buffers.overlap(*buffer, to)).map(|(node, _)| *node).collect();
            readers.sort_unstable();
            let first = !is_source && taken.insert(node);
            if readers.is_empty() {
                let slot = if first { Slot::Node(node) } else { draft.copy(node).0 };
                draft.at.insert(slot, to);
                draft.lasting.insert(slot);
                slots.push(slot);
            } else if readers != [node] {
                overwrites.push(Overwrite { node, to, readers });
                slots.push(Slot::Node(node));
            } else {
                slots.push(Slot::Node(node));
            }
        }
        (slots, overwrites)
    }

    /// Puts values into memory: the launches with their buffers. Of bands the first launch is given.
    fn place(
        &mut self,
        draft: &Draft,
        tasks: Vec<Task>,
        bands: &[(usize, Formed)],
    ) -> (Vec<Launch>, FxHashMap<Slot, BufferId>) {
        let mut live: IndexMap<Slot, (usize, usize)> = IndexMap::new();
        for (i, task) in tasks.iter().enumerate() {
            let access = task.access();
            // Launches of a band take turns: all are under way until the last is done.
            let band = bands.iter().find(|(first, band)| (*first..first + band.members.len()).contains(&i));
            let now = band.map_or(i, |(first, _)| *first);
            for slot in access.writes.into_iter().chain(access.reads) {
                live.entry(slot).or_insert((now, now)).1 = now;
            }
        }
        let mut at = draft.at.clone();
        for (_, band) in bands {
            let mut end = 0;
            for (nth, slot) in band.locals.iter().enumerate() {
                let ty = draft.ty(*slot);
                at.insert(*slot, self.buffers.in_place(ty, Place::Band { offset: end }, nth));
                end += (ty.len() * ty.dtype.size()).next_multiple_of(ALIGN);
            }
            self.spill = self.spill.max(end);
        }
        for (slot, (_, last)) in &mut live {
            if draft.lasting.contains(slot) {
                *last = tasks.len();
            }
        }
        let fixed = |slot: &Slot| at.get(slot).and_then(|buffer| self.buffers.in_gradients(*buffer));
        let span = |(slot, live): (&Slot, &(usize, usize))| {
            let ty = draft.ty(*slot);
            Span { bytes: ty.len() * ty.dtype.size(), live: *live, fixed: fixed(slot) }
        };
        let (open, settled): (Vec<_>, Vec<_>) = live.iter().partition(|(slot, _)| !at.contains_key(*slot));
        let mut spans: Vec<Span> = open.iter().copied().map(span).collect();
        if draft.updates {
            // Gradients of other networks wait for updates of their own.
            spans.push(Span { bytes: self.buffers.gradients, live: (0, tasks.len()), fixed: Some(0) });
        } else {
            spans.extend(settled.into_iter().map(span).filter(|span| span.fixed.is_some()));
        }
        let (offsets, size) = arrange(&spans);
        let open: Vec<Slot> = open.into_iter().map(|(slot, _)| *slot).collect();
        self.arena = self.arena.max(size);
        let mut equal: FxHashMap<(Ty, usize), usize> = FxHashMap::default();
        for (slot, offset) in open.into_iter().zip(offsets) {
            let ty = draft.ty(slot);
            let flat = Ty::new(ty.dtype, &[ty.len()]);
            let nth = equal.entry((flat, offset)).or_default();
            at.insert(slot, self.buffers.in_place(ty, Place::Arena { offset }, *nth));
            *nth += 1;
        }
        let launches = tasks.into_iter().map(|task| self.launch(draft, task, &at)).collect();
        (launches, at)
    }

    fn launch(&mut self, draft: &Draft, task: Task, at: &FxHashMap<Slot, BufferId>) -> Launch {
        match task.work {
            Work::Kernel { kernel, slots } => {
                let kernel = self.kernel(kernel);
                Launch::Kernel { kernel, args: slots.iter().map(|slot| at[slot]).collect() }
            }
            Work::Product(unit) => {
                let buffer = |node| at[&Slot::Node(node)];
                let launch = match unit.kind {
                    Kind::Extern => self.external(draft, unit.node, &buffer).map(Launch::Extern),
                    Kind::Conv => contract::conv(draft.graph, &draft.cut, unit.node, &buffer).map(Launch::Conv),
                    _ => contract::contract(draft.graph, &draft.cut, unit.node, &buffer).map(Launch::Contract),
                };
                launch.expect("operands of a product are stored as it reads them")
            }
        }
    }

    fn external(&mut self, draft: &Draft, node: NodeId, buffer: &impl Fn(NodeId) -> BufferId) -> Option<Extern> {
        let graph = draft.graph;
        let &Op::Extern { kernel } = graph.op(node) else { return None };
        let found = graph.external(kernel);
        let code = self.codes.iter().position(|code| *code == *found.code).unwrap_or_else(|| {
            self.codes.push((*found.code).clone());
            self.codes.len() - 1
        });
        let args = graph.node(node).inputs.iter().map(|&arg| draft.cut.storage(graph, arg).map(buffer));
        Some(Extern {
            code,
            entry: found.entry.clone(),
            args: args.collect::<Option<_>>()?,
            out: buffer(node),
            results: found.starts().0,
            numbers: found.numbers.clone(),
            blocks: found.blocks,
            threads: found.threads,
        })
    }

    /// The number of a kernel; equal ones have one.
    fn kernel(&mut self, kernel: Arc<Kernel>) -> KernelId {
        if let Some((_, id)) = self.numbered.get(&Arc::as_ptr(&kernel)) {
            return *id;
        }
        let text = format!("{:?} {} {:?}", kernel.buffers, kernel.extent, kernel.body);
        let next = KernelId(self.kernels.len() as u32);
        let id = *self.known.entry(text).or_insert(next);
        if id == next {
            self.kernels.push((*kernel).clone());
        }
        self.numbered.insert(Arc::as_ptr(&kernel), (kernel, id));
        id
    }

    fn reported(
        &mut self,
        draft: &Draft,
        output: &Computed,
        slot: Slot,
        at: &FxHashMap<Slot, BufferId>,
    ) -> Option<Output> {
        let ty = draft.graph.ty(output.node);
        let kind = match &output.role {
            Role::Loss => OutputKind::Loss,
            Role::Metric => OutputKind::Metric,
            Role::Grad { net, param } => OutputKind::Grad { net: *net, param: *param },
            Role::GradNorm { net } => OutputKind::GradNorm { net: *net },
            Role::Sample => OutputKind::Sample,
            Role::State { name } => {
                let state = self.buffers.source(&Source::State { name: name.clone() }, ty, self.nets);
                OutputKind::State { state }
            }
            Role::Flat { .. } => return None,
        };
        Some(Output { name: output.name.clone(), kind, buffer: *at.get(&slot)?, shape: ty.shape.to_vec() })
    }
}

/// Writes in place where one kernel does all reading of what it overwrites; else a copy to be made at the end.
fn overwrite(draft: &mut Draft, o: Overwrite) -> Option<usize> {
    let (old, new) = (o.readers.first().map(|&reader| Slot::Node(reader)), Slot::Node(o.node));
    let unit = draft.units.iter().position(|unit| unit.node == o.node && unit.kind != Kind::Copy);
    let home = unit.and_then(|unit| draft.groups.iter().position(|group| group.units.contains(&unit)));
    if let (&[reader], Some(old), Some(home)) = (&o.readers[..], old, home)
        && draft.at.get(&old) == Some(&o.to)
        && !draft.at.contains_key(&new)
        && !draft.lasting.contains(&old)
    {
        let mut readers = draft.units.iter().enumerate().filter(|(_, unit)| unit.reads.contains(&reader));
        if readers.all(|(i, _)| draft.groups[home].units.contains(&i))
            && let Some(built) = &mut draft.groups[home].built
            && write_over(Arc::make_mut(&mut built.kernel), &mut built.slots, old, new)
        {
            draft.at.insert(new, o.to);
            return None;
        }
    }
    let (slot, unit) = draft.copy(o.node);
    draft.at.insert(slot, o.to);
    Some(unit)
}
