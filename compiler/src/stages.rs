//! Samplers in stages: a loop's body runs once for each of its rows, what stands before and after it once. What a stage
//! makes and a later one reads is kept in between.

use crate::check::SampleSpec;
use crate::graph::traverse::substitute;
use crate::graph::{Graph, NodeId, Op, Source, needed};
use rustc_hash::{FxHashMap, FxHashSet};

/// One stage's graph.
#[derive(Clone, Debug)]
pub struct StageGraph {
    /// `init`, `body0`, `then0`, …
    pub part: String,
    pub rows: Vec<Vec<f64>>,
    pub repeats: bool,
    /// What is kept after each run: which slot, its new value.
    pub keeps: Vec<(usize, NodeId)>,
    /// The samples, of the last stage.
    pub sample: Option<NodeId>,
}

/// When a value is there: values without draws and kept ones are made where they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Made {
    Anywhere,
    /// Between the loops before and after: after this many loops.
    After(usize),
    /// In a loop's body, for its row.
    InBody,
}

/// Cuts a sampler into stages. `slots`: slots in use so far, of all samplers.
pub fn stages(graph: &mut Graph, sampler: &SampleSpec, slots: &mut usize) -> Vec<StageGraph> {
    let scans = &sampler.scans;
    let mut stages = Vec::new();
    let mut roots: Vec<NodeId> = vec![sampler.result];
    roots.extend(scans.iter().flat_map(|scan| [scan.init, scan.body]));
    let made = made(graph, sampler, &roots);
    for (i, scan) in scans.iter().enumerate() {
        let part = if i == 0 { "init".into() } else { format!("then{}", i - 1) };
        let once = |part, keeps| StageGraph { part, rows: vec![Vec::new()], repeats: false, keeps, sample: None };
        stages.push((i, once(part, vec![(scan.slot, scan.init)])));
        let body = StageGraph { rows: scan.rows.clone(), repeats: true, ..once(format!("body{i}"), Vec::new()) };
        // A body's values of its own are those after its loop: what it carries is among them.
        stages.push((i + 1, StageGraph { keeps: vec![(scan.slot, scan.body)], ..body }));
    }
    let last = StageGraph {
        part: if scans.is_empty() { "init".into() } else { "end".into() },
        rows: vec![Vec::new()],
        repeats: false,
        keeps: Vec::new(),
        sample: Some(sampler.result),
    };
    stages.push((scans.len(), last));

    // What later stages read of earlier ones: known from the last stage back, since keeping is reading too.
    let mut slot_of: FxHashMap<NodeId, usize> = FxHashMap::default();
    for at in (0..stages.len()).rev() {
        let (own, stage) = &stages[at];
        let outputs: Vec<NodeId> = stage.keeps.iter().map(|(_, node)| *node).chain(stage.sample).collect();
        let earlier = |id: NodeId| made[&id] < Made::After(*own) && made[&id] != Made::Anywhere;
        let mut kept = FxHashMap::default();
        let mut crossing: Vec<NodeId> = Vec::new();
        for id in edge(graph, &outputs, earlier) {
            if matches!(graph.op(id), Op::Source(Source::Kept { .. })) {
                continue;
            }
            let slot = *slot_of.entry(id).or_insert_with(|| {
                *slots += 1;
                *slots - 1
            });
            kept.insert(id, graph.source(Source::Kept { slot }, graph.ty(id).clone()));
            crossing.push(id);
        }
        for id in crossing {
            let Made::After(home) = made[&id] else { continue };
            // The stage that runs once, after `home` loops.
            let home = &mut stages[2 * home].1;
            if home.keeps.iter().all(|(_, node)| *node != id) {
                home.keeps.push((slot_of[&id], id));
            }
        }
        let stage = &mut stages[at].1;
        let new = substitute(graph, &outputs, &kept);
        let mut new = new.into_iter();
        for (keep, node) in stage.keeps.iter_mut().zip(&mut new) {
            keep.1 = node;
        }
        stage.sample = stage.sample.and_then(|_| new.next());
    }
    stages.into_iter().map(|(_, stage)| stage).collect()
}

/// When each node that `roots` need is there.
fn made(graph: &Graph, sampler: &SampleSpec, roots: &[NodeId]) -> FxHashMap<NodeId, Made> {
    let mut made: FxHashMap<NodeId, Made> = FxHashMap::default();
    for id in needed(graph, roots) {
        let own = match graph.op(id) {
            Op::Source(Source::Row { .. }) => Made::InBody,
            Op::Source(Source::Kept { slot }) => {
                let scan = sampler.scans.iter().position(|scan| scan.slot == *slot);
                scan.map_or(Made::Anywhere, |scan| Made::After(scan + 1))
            }
            Op::Source(Source::Draw { .. } | Source::Pin { .. }) => match sampler.draws.get(&id) {
                Some(Some(loops)) => Made::After(*loops),
                _ => Made::InBody,
            },
            _ => Made::Anywhere,
        };
        let inputs = graph.node(id).inputs.iter().map(|input| made[input]);
        let when = inputs.fold(own, Made::max);
        made.insert(id, when);
    }
    made
}

/// The nodes nearest to `outputs`, these included, for which `outside` holds.
fn edge(graph: &Graph, outputs: &[NodeId], outside: impl Fn(NodeId) -> bool) -> Vec<NodeId> {
    let mut seen = FxHashSet::default();
    let mut found = Vec::new();
    let mut stack = outputs.to_vec();
    while let Some(id) = stack.pop() {
        if !seen.insert(id) {
        } else if outside(id) {
            found.push(id);
        } else {
            stack.extend(&graph.node(id).inputs);
        }
    }
    found.sort_unstable();
    found
}
