//! Losses over steps: means between logged steps, and their charts.

use super::step::StepReport;
use crate::log::{Record, curves};
use crate::picture::{Panel, RgbImage, Series, charts};
use fgc_program::Program;
use indexmap::IndexMap;

/// Sums of what steps report, between two lines of the log.
#[derive(Clone, Debug, Default)]
pub struct Means {
    sums: IndexMap<String, (f64, u64)>,
}

/// Before the names of gradient norms in the log.
pub const GRAD_NORM: &str = "grad_norm.";

impl Means {
    /// Takes in a step. Where a method has several kinds of steps, each has a total of its own.
    pub fn add(&mut self, report: &StepReport, program: &Program) {
        let several = program.schedule.steps.len() > 1;
        let mut put = |name: String, value: f64| {
            let sum = self.sums.entry(name).or_default();
            *sum = (sum.0 + value, sum.1 + 1);
        };
        for (name, &value) in &report.losses {
            match name.as_str() {
                "total_loss" if several => put(format!("{}.total_loss", report.turn), value),
                // The total of one term is that term.
                "total_loss" if report.losses.len() == 2 => {}
                _ => put(name.clone(), value),
            }
        }
        report.metrics.iter().for_each(|(name, &value)| put(name.clone(), value));
        report.grad_norms.iter().for_each(|(net, &value)| put(format!("{GRAD_NORM}{net}"), value));
    }

    /// The means since last asked.
    pub fn take(&mut self) -> IndexMap<String, f64> {
        std::mem::take(&mut self.sums).into_iter().map(|(name, (sum, n))| (name, sum / n as f64)).collect()
    }
}

/// Charts of a whole log: terms of about the same size share one.
pub fn chart(records: &[Record]) -> RgbImage {
    let (norms, terms): (Vec<Series>, Vec<Series>) =
        curves(records).into_iter().partition(|series| series.name.starts_with(GRAD_NORM));
    let panels = [("losses", terms), ("gradient norms", norms)];
    let panel = |(title, series): (&str, Vec<Series>)| {
        let name = |s: Series| Series { name: s.name.trim_start_matches(GRAD_NORM).into(), ..s };
        Panel { title: title.into(), series: series.into_iter().map(name).collect() }
    };
    let shown: Vec<Panel> = panels.into_iter().filter(|(_, series)| !series.is_empty()).map(panel).collect();
    charts(&shown)
}
