//! Where a step's time goes, by kinds of launches.

use fgc_program::cost::{self, Cost, Rates};
use fgc_program::{Band, Launch, Plan, Program};
use indexmap::IndexMap;
use std::fmt::Write;
use std::time::Duration;

/// Launches that do the same, added up over all steps.
#[derive(Clone, Copy, Default)]
struct Sum {
    launches: usize,
    seconds: f64,
    /// Seconds by the model.
    predicted: f64,
    cost: Cost,
}

impl Sum {
    fn add(&mut self, other: Sum) {
        self.launches += other.launches;
        self.seconds += other.seconds;
        self.predicted += other.predicted;
        self.cost.flops += other.cost.flops;
        self.cost.bytes += other.cost.bytes;
    }
}

#[derive(Default)]
pub struct Profile {
    kinds: IndexMap<String, Sum>,
}

const CLASSES: [&str; 4] = ["kernel", "product", "convolution", "band"];

impl Profile {
    /// Adds one run of a plan, on a device of these rates.
    pub fn add(&mut self, program: &Program, plan: usize, times: &[Duration], rates: Rates) {
        let plan = &program.plans[plan];
        let costs = cost::plan(program, plan);
        let mut i = 0;
        while let (Some(launch), Some(time)) = (plan.launches.get(i), times.get(i)) {
            // The launches of a band are timed together.
            let band = plan.bands.iter().find(|band| band.launches.start == i);
            let end = band.map_or(i + 1, |band| band.launches.end);
            let cost: Cost = costs[i..end].iter().copied().sum();
            let seconds = times[i..end.min(times.len())].iter().skip(1).fold(*time, |all, time| all + *time);
            let name = band.map_or_else(|| name(program, launch), |band| band_name(program, plan, band));
            let predicted = cost.seconds(rates);
            let sum = Sum { launches: end - i, seconds: seconds.as_secs_f64(), predicted, cost };
            self.kinds.entry(name).or_default().add(sum);
            i = end;
        }
    }

    /// The classes of launches, then the kinds that took longest; per step, of `steps` that took `milliseconds`.
    pub fn table(&self, steps: usize, milliseconds: f64, rows: usize) -> String {
        let mut out = "      ms  model     %      n   GFLOP/s    GB/s        MB\n".to_string();
        let mut line = |sum: &Sum, name: &str| {
            let ms = sum.seconds * 1e3;
            let rate = |amount: f64| if sum.seconds > 0.0 { amount * 1e-9 / sum.seconds } else { 0.0 };
            _ = writeln!(
                out,
                "{:>8.3} {:>6.3} {:>5.1} {:>6} {:>9.1} {:>7.1} {:>9.1}  {name}",
                ms / steps as f64,
                sum.predicted * 1e3 / steps as f64,
                ms / milliseconds * 100.0,
                sum.launches / steps,
                rate(sum.cost.flops),
                rate(sum.cost.bytes),
                sum.cost.bytes * 1e-6 / steps as f64,
            );
        };
        let mut all = Sum::default();
        for class in CLASSES {
            let mut sum = Sum::default();
            self.kinds.iter().filter(|(name, _)| name.starts_with(class)).for_each(|(_, kind)| sum.add(*kind));
            all.add(sum);
            line(&sum, &format!("all of class {class}"));
        }
        let outside = Sum { seconds: (milliseconds * 1e-3 - all.seconds).max(0.0), ..Sum::default() };
        line(&outside, "outside launches: draws, checks, copies");
        let mut kinds: Vec<(&String, &Sum)> = self.kinds.iter().collect();
        kinds.sort_by(|a, b| b.1.seconds.total_cmp(&a.1.seconds));
        kinds.iter().take(rows).for_each(|(name, sum)| line(sum, name));
        out
    }
}

/// What the launches of a band do.
fn band_name(program: &Program, plan: &Plan, band: &Band) -> String {
    let launches: Vec<String> =
        plan.launches[band.launches.clone()].iter().map(|launch| name(program, launch)).collect();
    format!("band of {} × {} rows: {}", band.entries, band.rows, launches.join(", "))
}

/// What a launch does: a class and its sizes.
fn name(program: &Program, launch: &Launch) -> String {
    match launch {
        Launch::Kernel { kernel, .. } => {
            let kernel = &program.kernels[kernel.0 as usize];
            let largest = kernel.buffers.iter().map(|buffer| buffer.len).max().unwrap_or(0);
            format!("kernel {} ({} of {largest})", kernel.name, kernel.extent)
        }
        Launch::Contract(c) => {
            let batch: usize = c.batch.iter().map(|dim| dim.extent).product();
            let batch = if batch == 1 { String::new() } else { format!("{batch} × ") };
            let side = |row: isize, col: isize| {
                if col == 1 {
                    ""
                } else if row == 1 {
                    "ᵀ"
                } else {
                    " strided"
                }
            };
            let (a, b) = (side(c.a.row, c.a.col), side(c.b.row, c.b.col));
            format!("product {batch}[{}, {}]{a}·[{}, {}]{b}", c.m, c.k, c.k, c.n)
        }
        Launch::Conv(c) => format!(
            "convolution {:?} {}×{} {}×{}×{}×{} → {}",
            c.role, c.kernel[0], c.kernel[1], c.batch, c.height, c.width, c.channels, c.filters
        ),
        Launch::Extern(e) => format!("extern kernel {} ({} blocks of {})", e.entry, e.blocks, e.threads),
    }
}
