//! Rewriting what each plan computes: by rules that always pay ([`simplify`](crate::simplify)) until none applies, then
//! region by region by equality saturation ([`saturate`](crate::saturate)), after which the first kind may apply again.

use crate::graph::NodeId;
use crate::level::{Level, Pass, Target};
use crate::saturate::{Saturation, Saturator};
use crate::simplify::{Simplified, Simplifier};
use crate::training::Training;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What was done, for reports.
#[derive(Clone, Debug, Default)]
pub struct Optimised {
    /// How often each rule of the whole graph applied.
    pub simplified: BTreeMap<&'static str, usize>,
    /// Plans left before no rule applied any more.
    pub unfinished: usize,
    pub saturation: Saturation,
    pub simplifying: Duration,
    pub saturating: Duration,
}

/// Rewrites all plans, from level [`Level::Rewrite`] on, without these parts.
pub fn optimise(training: &mut Training, level: Level, without: &[Pass], target: Target) -> Optimised {
    let mut done = Optimised::default();
    let [rules, regions] = [Pass::Rules, Pass::Regions].map(|pass| pass.runs(level, without));
    let mut simplifier = Simplifier::default();
    let mut saturator = Saturator::new(target);
    let graph = &mut training.graph;
    for plan in &mut training.plans {
        let outputs: Vec<NodeId> = plan.outputs.iter().map(|o| o.node).collect();
        let mut simplify = |graph: &mut _, outputs: &[NodeId]| {
            if !rules {
                return outputs.to_vec();
            }
            let begun = Instant::now();
            let Simplified { outputs, applied, converged } = simplifier.simplify(graph, outputs);
            applied.into_iter().for_each(|(rule, n)| *done.simplified.entry(rule).or_default() += n);
            done.unfinished += !converged as usize;
            done.simplifying += begun.elapsed();
            outputs
        };
        let short = simplify(graph, &outputs);
        let begun = Instant::now();
        let cheap = if regions { saturator.rewrite(graph, &short) } else { short.clone() };
        done.saturating += begun.elapsed();
        let cheap = if cheap == short { short } else { simplify(graph, &cheap) };
        for (output, node) in plan.outputs.iter_mut().zip(cheap) {
            output.node = node;
        }
    }
    done.saturation = saturator.done;
    done
}
