//! How a method was compiled, and what its launches cost: `fgc build --report`.

use crate::bench::{first_iterations, plans};
use crate::problem::Problem;
use crate::profile::Profile;
use fgc_compiler::Compiled;
use fgc_program::cost::{self, Rates};
use fgc_runtime::cpu::{Backend, Device};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Runs of each plan, of which the first does not count.
const RUNS: usize = 4;
/// Kinds of launches shown.
const KINDS: usize = 20;

/// The report, in plain lines. Runs the launches of one step, on zeros.
pub fn report(compiled: &Compiled) -> Result<String, Problem> {
    let mut out = String::new();
    let program = Arc::new(compiled.program.clone());
    let begun = Instant::now();
    let mut device = Device::new(program.clone(), Backend::Compiled, 0)?;
    let native = begun.elapsed();
    let optimised = &compiled.optimised;
    let mut stage = |name: &str, time: Duration| _ = writeln!(out, "  {name:<10} {:>8.3} s", time.as_secs_f64());
    for (name, time) in &compiled.stages {
        stage(name, *time);
        if *name == "optimise" {
            stage("  rules", optimised.simplifying);
            stage("  e-graphs", optimised.saturating);
        }
    }
    stage("cc", native);
    out = format!("stages\n{out}  {} units of kernels compiled, the others were in the cache\n", device.units_built());

    let s = &optimised.saturation;
    _ = writeln!(out, "\ne-graphs");
    _ = writeln!(
        out,
        "  {} regions, {} of them unlike any other; {} operations in the largest",
        s.regions, s.distinct, s.largest
    );
    _ = writeln!(
        out,
        "  {} terms in all; modelled cost {:.3} ms, before {:.3} ms",
        s.terms,
        s.cost[1] * 1e-6,
        s.cost[0] * 1e-6
    );
    _ = writeln!(
        out,
        "  limits: {} regions too large and left as they were, {} out of terms, {} out of rounds; {} plans not simplified to the end",
        s.too_large, s.out_of_terms, s.out_of_rounds, optimised.unfinished
    );
    rules(&mut out, "equalities found by each rule, in e-graphs", &s.applied);
    rules(&mut out, "rules applied, elsewhere", &optimised.simplified);

    let turns = first_iterations(&program.schedule.steps);
    let costs: Vec<cost::Cost> = plans(&turns).flat_map(|plan| cost::plan(&program, &program.plans[plan])).collect();
    let all: cost::Cost = costs.iter().copied().sum();
    _ = writeln!(
        out,
        "\na step\n  {} kernels, {} launches, {:.3} GFLOP, {:.3} GB, {:.1} MiB of buffers",
        program.kernels.len(),
        costs.len(),
        all.flops * 1e-9,
        all.bytes * 1e-9,
        device.bytes() as f64 / f64::from(1 << 20)
    );
    let mut profile = Profile::default();
    device.set_profiling(true);
    let mut took = Duration::ZERO;
    for run in 0..RUNS {
        for plan in plans(&turns) {
            let begun = Instant::now();
            device.run(plan)?;
            if run > 0 {
                took += begun.elapsed();
                profile.add(&program, plan, device.times(plan), Rates::CPU);
            }
        }
    }
    _ = write!(out, "\n{}", profile.table(RUNS - 1, took.as_secs_f64() * 1e3, KINDS));
    Ok(out)
}

fn rules(out: &mut String, title: &str, applied: &BTreeMap<&'static str, usize>) {
    let mut all: Vec<(&&str, &usize)> = applied.iter().filter(|(_, count)| **count > 0).collect();
    all.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), **name));
    _ = writeln!(out, "\n{title}");
    all.iter().for_each(|(name, count)| _ = writeln!(out, "  {count:>7}  {name}"));
}
