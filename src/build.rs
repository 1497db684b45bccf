//! `fgc build`

use crate::device::Numbers;
use crate::preset;
use crate::problem::Problem;
use crate::report::report;
use crate::setup::{compiled, level, setup};
use crate::source::Source;
use clap::ValueEnum;
use fgc_compiler::graph;
use fgc_compiler::level::{Level, Target};
use fgc_compiler::lower::PlanGraph;
use fgc_compiler::preset::Setup;
use fgc_program::{Plan, Program, c, cost, cuda, print};
use fgc_runtime::cuda::nvrtc;
use indexmap::IndexMap;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

/// What a stage of the compiler makes of a method, from the text to the launches.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Emit {
    /// The syntax tree.
    Ast,
    /// Every name with its type: element, axes, clock.
    Typed,
    /// The tensor graph, networks as calls.
    Graph,
    /// The graph of each plan, differentiated and inlined.
    Grad,
    /// The same, simplified and saturated.
    Opt,
    /// The kernels as loop nests.
    Kernels,
    /// The kernels as C.
    C,
    /// All launches as CUDA C++.
    Cuda,
    /// Nothing but what its functions need of a GPU; they are then in the cache, ready for one of --arch.
    Cubin,
    /// The launches of each plan with their buffers.
    Plan,
}

/// Print what a stage of the compiler makes of a method.
#[derive(clap::Args)]
pub struct Args {
    /// The method: a .fg file, or the name of a built-in one.
    method: PathBuf,
    /// The stage.
    #[arg(long, value_enum, required_unless_present = "report")]
    emit: Option<Emit>,
    /// Report how the method was compiled, and what its launches cost: seconds of each stage, rules that applied, e-graphs
    /// and their limits, kernels, arithmetic, bytes, times predicted and measured.
    #[arg(long, conflicts_with = "emit")]
    report: bool,
    #[command(flatten)]
    preset: preset::Choice,
    /// How far to optimise: 0 each operation by itself, 1 fused kernels, 2 rewritten and fused.
    #[arg(long, value_name = "LEVEL", default_value = "2", value_parser = level)]
    opt: Level,
    /// What numbers are on a GPU.
    #[arg(long, value_enum, default_value = "f32")]
    precision: Numbers,
    /// The GPU's architecture, for `--emit cubin`: sm_80, sm_90, sm_100. With compute_ instead of sm_, PTX, of which the driver
    /// makes code for that architecture and all later ones.
    #[arg(long, default_value = "sm_90")]
    arch: String,
}

pub fn main(args: Args) -> Result<(), Problem> {
    let source = Source::read(&args.method)?;
    if args.emit == Some(Emit::Ast) {
        return say(&format!("{:#?}\n", fgc_grammar::parse(&source.text).file));
    }
    let (preset, _) = args.preset.resolve(&source.path, &source.method())?;
    let target = if matches!(args.emit, Some(Emit::Cuda | Emit::Cubin)) { Target::Cuda } else { Target::Cpu };
    let compiled = compiled(
        &source.name(),
        &source.text,
        &Setup { level: args.opt, target, ..setup(&preset, &preset.data.describe()?) },
    )?;
    let program = &compiled.program;
    let plans = |plans: &[PlanGraph]| -> String {
        let plan = |p: &PlanGraph| {
            let nodes: Vec<_> = p.outputs.iter().map(|o| o.node).collect();
            let outputs: String = p.outputs.iter().map(|o| format!("  {} = %{}\n", o.name, o.node.0)).collect();
            format!("plan {}\n{}{outputs}\n", p.name, graph::print(&compiled.training.graph, &nodes))
        };
        plans.iter().map(plan).collect()
    };
    let Some(emit) = args.emit else { return say(&report(&compiled)?) };
    say(&match emit {
        Emit::Ast => String::new(),
        Emit::Typed => compiled.checked.method.bindings.iter().map(|b| format!("{}: {}\n", b.name, b.shown)).collect(),
        Emit::Graph => graph::print(&compiled.checked.called.0, &compiled.checked.called.1),
        Emit::Grad => plans(&compiled.derived),
        Emit::Opt => plans(&compiled.training.plans),
        Emit::Kernels => print::kernels(program),
        Emit::C => {
            let mut functions = c::Functions::default();
            let kernels = program.kernels.iter().enumerate();
            let kernels: String =
                kernels.map(|(i, k)| format!("\n{}", functions.kernel(k, &format!("k{i}")).0)).collect();
            let nests: String = functions.nests.iter().map(|nest| format!("\n{nest}")).collect();
            [c::PRELUDE, &nests, &kernels].concat()
        }
        Emit::Cuda => {
            let program = cuda::stored(program, args.precision.into());
            let module = cuda::module_for(&program, args.precision.into(), WITH_LIBRARY);
            let summary: String = summary(&program, &module).iter().map(|line| format!("\n/* {line} */")).collect();
            format!("{}{summary}\n", cuda::source(&module.functions))
        }
        Emit::Cubin => {
            let program = cuda::stored(program, args.precision.into());
            let module = cuda::module_for(&program, args.precision.into(), WITH_LIBRARY);
            let summary: String = summary(&program, &module).iter().map(|line| format!("{line}\n")).collect();
            cubins(&module.functions, &args.arch)? + &summary
        }
        Emit::Plan => print::plans(program),
    })
}

/// The functions are the same for a GPU without a library.
const WITH_LIBRARY: cuda::Machine = cuda::Machine { shared: cuda::SHARED, library: true };

/// Says what the plans take of a GPU, as the memory that values within them share; how much of them a library may do, and what
/// that is; and which bands are not one function, and why.
fn summary(program: &Program, module: &cuda::Module) -> Vec<String> {
    let plan = |(plan, calls): (&Plan, &Vec<Vec<cuda::Call>>)| {
        let calls: usize = calls.iter().map(Vec::len).sum();
        let costs = cost::plan(program, plan);
        let choices = module.choices.iter().filter(|choice| program.plans[choice.plan].name == plan.name);
        let launches: BTreeSet<usize> = choices.map(|choice| choice.launch).collect();
        let library: f64 = launches.into_iter().map(|launch| costs[launch].flops).sum();
        let cost: cost::Cost = costs.into_iter().sum();
        let [gflop, gb, library] = [cost.flops, cost.bytes, library].map(|amount| amount * 1e-9);
        let library = if library > 0.0 { format!(", {library:.1} of them a library may do") } else { String::new() };
        format!("{calls:6} calls, {gflop:10.1} GFLOP, {gb:7.2} GB: plan {}{library}", plan.name)
    };
    let apart = |apart: &cuda::Apart| {
        let (plan, launches) = (&program.plans[apart.plan].name, &apart.launches);
        format!("launches {}..{} of plan {plan} run apart: {}", launches.start, launches.end, apart.why)
    };
    let memory = format!("{:.1} MiB for values within a plan", program.arena as f64 / f64::from(1 << 20));
    // Of a launch's choices the first does most.
    let mut seen = BTreeSet::new();
    let mut tasks: IndexMap<usize, usize> = IndexMap::new();
    for choice in module.choices.iter().filter(|choice| seen.insert((choice.plan, choice.launch))) {
        *tasks.entry(choice.task).or_default() += 1;
    }
    let task = |(task, count): (&usize, &usize)| format!("a library may do {count:4} × {}", module.tasks[*task]);
    let plans = program.plans.iter().zip(&module.plans).map(plan);
    plans.chain([memory]).chain(tasks.iter().map(task)).chain(module.apart.iter().map(apart)).collect()
}

/// Compiles functions for a GPU, whether there is one or not.
fn cubins(functions: &[cuda::Function], arch: &str) -> Result<String, Problem> {
    let cubins = nvrtc::cubins(functions, arch).map_err(|e| Problem::new(e.to_string()))?;
    let mut text = String::from("registers  shared  stack  spills  function\n");
    for r in cubins.iter().flat_map(|cubin| nvrtc::resources(&cubin.log)) {
        let about = functions.iter().find(|f| f.name == r.name).map_or("", |f| &f.about);
        text += &format!("{:9} {:7} {:6} {:7}  {} {about}\n", r.registers, r.shared, r.stack, r.spills, r.name);
    }
    let kept = cubins.iter().filter(|cubin| cubin.log.is_empty()).count();
    text += &format!("{} functions in {} units, {kept} of them found in the cache\n", functions.len(), cubins.len());
    Ok(text)
}

/// To standard output, which a pager may close early.
fn say(text: &str) -> Result<(), Problem> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Problem::new(format!("cannot write: {e}"))),
        _ => Ok(()),
    }
}
