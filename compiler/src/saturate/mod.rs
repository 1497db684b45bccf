//! Equality saturation of regions, with egg.
//!
//! After [`simplify`](crate::simplify), whose rules never make anything longer, what is left to gain lies behind rewrites
//! that do so at first: factors collected over sums, what is repeated brought together before it meets what is not, sums
//! and products joined. Here these are tried in all orders at once, region by region ([`region`]), until nothing new is
//! found or a limit is reached; then the cheapest terms are taken ([`extract`]) by a model of the device ([`cost`]), never
//! anything dearer than the input. Regions that are alike are done once. The rules are the table in [`rules`].

mod cost;
mod extract;
mod region;
mod rules;
mod structure;
mod term;
#[cfg(test)]
mod tests;

use crate::graph::traverse::{build, rebuild};
use crate::graph::{FuncId, Graph, NodeId, Op, Ty};
use crate::level::Target;
use cost::Machine;
use egg::{Id, Language, Runner, SimpleScheduler, StopReason};
use extract::{Choice, extract};
use indexmap::IndexSet;
use region::{Key, Part, Region, parts};
use rules::rules;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use term::{Facts, Term, Terms, add};

/// Operations of a region at most; larger ones stay as they are.
const OPERATIONS: usize = 120;
/// Below this there is nothing to combine.
const FEWEST: usize = 3;
/// Modelled nanoseconds of elementwise work and sums below which a region is not worth a search.
const WORTH: f64 = 2e3;
/// Terms of a region's e-graph: growing ends when there are more.
const TERMS: usize = 1500;
/// Rounds of all rules. More find next to nothing (`fgc build --report` prints the modelled cost) and take longer.
const ROUNDS: usize = 5;

/// What was done, for reports.
#[derive(Clone, Debug, Default)]
pub struct Saturation {
    /// Regions, and how many of them are unlike any other.
    pub regions: usize,
    pub distinct: usize,
    /// Operations of the largest.
    pub largest: usize,
    /// Terms of all e-graphs.
    pub terms: usize,
    /// Left as they were, having too many operations.
    pub too_large: usize,
    /// Cut short by the limit of terms, or of rounds.
    pub out_of_terms: usize,
    pub out_of_rounds: usize,
    /// Modelled nanoseconds of all regions, before and after.
    pub cost: [f64; 2],
    /// How many equalities each rule found.
    pub applied: BTreeMap<&'static str, usize>,
}

impl Saturation {
    fn add(&mut self, other: Saturation) {
        self.regions += other.regions;
        self.distinct += other.distinct;
        self.largest = self.largest.max(other.largest);
        self.terms += other.terms;
        self.too_large += other.too_large;
        self.out_of_terms += other.out_of_terms;
        self.out_of_rounds += other.out_of_rounds;
        (0..2).for_each(|i| self.cost[i] += other.cost[i]);
        other.applied.into_iter().for_each(|(rule, count)| *self.applied.entry(rule).or_default() += count);
    }
}

/// Rewrites regions, and remembers those that it has met.
pub struct Saturator {
    machine: Machine,
    rules: Vec<egg::Rewrite<Term, Facts>>,
    known: FxHashMap<Key, Option<Rc<Recipe>>>,
    pub done: Saturation,
}

/// A region's outputs from its leaves.
#[derive(Debug)]
struct Recipe {
    /// Inputs count leaves first, then terms.
    terms: Vec<(Op, Ty, SmallVec<[u32; 3]>)>,
    outputs: Vec<u32>,
    cost: [f64; 2],
}

impl Saturator {
    pub fn new(target: Target) -> Saturator {
        let machine = Machine::of(target);
        Saturator { machine, rules: rules(), known: FxHashMap::default(), done: Saturation::default() }
    }

    /// `outputs` by cheaper operations, where there are such.
    pub fn rewrite(&mut self, graph: &mut Graph, outputs: &[NodeId]) -> Vec<NodeId> {
        let parts = parts(graph, outputs);
        let keys: Vec<Option<Key>> = parts.iter().map(|part| self.key(graph, part)).collect();
        self.search(keys.iter().flatten());
        let mut new: FxHashMap<NodeId, NodeId> = FxHashMap::default();
        for (part, key) in parts.into_iter().zip(keys) {
            let recipe = key.and_then(|key| self.known[&key].clone());
            if let Some(recipe) = &recipe {
                (0..2).for_each(|i| self.done.cost[i] += recipe.cost[i]);
            }
            match (part, recipe) {
                (Part::Node(id), _) => rebuilt(graph, id, &mut new),
                (Part::Region(region), Some(recipe)) => cook(graph, &recipe, &region, &mut new),
                (Part::Region(region), None) => region.members.iter().for_each(|&id| rebuilt(graph, id, &mut new)),
            }
        }
        outputs.iter().map(|id| new[id]).collect()
    }

    /// What is to be searched for a region, if it is worth that.
    fn key(&mut self, graph: &Graph, part: &Part) -> Option<Key> {
        let Part::Region(region) = part else { return None };
        let operations = region.operations(graph);
        self.done.regions += 1;
        self.done.largest = self.done.largest.max(operations);
        self.done.too_large += usize::from(operations > OPERATIONS);
        (FEWEST..=OPERATIONS).contains(&operations).then(|| region.key(graph))
    }

    /// Makes all of these known, on all cores.
    fn search<'a>(&mut self, keys: impl Iterator<Item = &'a Key>) {
        let unknown: IndexSet<&Key> = keys.filter(|key| !self.known.contains_key(*key)).collect();
        let next = AtomicUsize::new(0);
        let take = || {
            let mut found: Vec<(&Key, Option<Recipe>, Saturation)> = Vec::new();
            while let Some(key) = unknown.get_index(next.fetch_add(1, Ordering::Relaxed)) {
                let mut done = Saturation { distinct: 1, ..Saturation::default() };
                let recipe = saturate(self.machine, &self.rules, key, &mut done);
                found.push((key, recipe, done));
            }
            found
        };
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get()).min(unknown.len());
        let found: Vec<_> = std::thread::scope(|scope| {
            let others: Vec<_> = (1..cores).map(|_| scope.spawn(take)).collect();
            let mut found = take();
            for other in others {
                found.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            found
        });
        for (key, recipe, done) in found {
            self.done.add(done);
            self.known.insert(key.clone(), recipe.map(Rc::new));
        }
    }
}

/// How to make a region cheaper, if it can be. `done`: of this region alone.
fn saturate(machine: Machine, rules: &[egg::Rewrite<Term, Facts>], key: &Key, done: &mut Saturation) -> Option<Recipe> {
    let mut terms = Terms::new(Facts::default());
    let mut ids: Vec<Id> = Vec::new();
    for (index, ty) in key.leaves.iter().enumerate() {
        let leaf = Op::Argument { func: FuncId(0), index };
        ids.push(add(&mut terms, &leaf, ty, &[]));
    }
    for (op, ty, inputs) in &key.terms {
        let inputs: Vec<Id> = inputs.iter().map(|&i| ids[i as usize]).collect();
        ids.push(add(&mut terms, op, ty, &inputs));
    }
    let work: f64 = ids.iter().map(|&id| machine.work(&terms, &terms[id].nodes[0])).sum();
    if work < WORTH {
        return None;
    }
    let given: Vec<(Id, Term)> = ids.iter().map(|&id| (id, terms[id].nodes[0].clone())).collect();
    let runner = Runner::<Term, Facts>::new(Facts::default())
        .with_egraph(terms)
        .with_scheduler(SimpleScheduler)
        .with_node_limit(TERMS)
        .with_iter_limit(ROUNDS)
        // Results must not depend on how fast the machine is.
        .with_time_limit(Duration::MAX)
        .run(rules);
    match runner.stop_reason {
        Some(StopReason::NodeLimit(_)) => done.out_of_terms += 1,
        Some(StopReason::IterationLimit(_)) => done.out_of_rounds += 1,
        _ => {}
    }
    let terms = runner.egraph;
    done.terms += terms.total_number_of_nodes();
    for iteration in &runner.iterations {
        for (name, count) in &iteration.applied {
            if let Some(name) = rules::names().find(|known| *known == name.as_str()) {
                *done.applied.entry(name).or_default() += count;
            }
        }
    }
    let mut choice = Choice::default();
    for (id, term) in given {
        let term = term.map_children(|id| terms.find(id));
        choice.entry(terms.find(id)).or_insert(term);
    }
    let roots: Vec<Id> = key.outputs.iter().map(|&i| terms.find(ids[i as usize])).collect();
    let found = extract(&terms, machine, choice, &roots);
    (found.cost[1] < found.cost[0]).then(|| written(&terms, key.leaves.len(), &found.choice, &roots, found.cost))
}

/// A choice as a recipe.
fn written(terms: &Terms, leaves: usize, choice: &Choice, roots: &[Id], cost: [f64; 2]) -> Recipe {
    let mut recipe = Recipe { terms: Vec::new(), outputs: Vec::new(), cost };
    let mut place: FxHashMap<Id, u32> = FxHashMap::default();
    let mut stack: Vec<Id> = roots.iter().rev().copied().collect();
    while let Some(&class) = stack.last() {
        let term = &choice[&class];
        let missing: Vec<Id> = term.inputs.iter().copied().filter(|input| !place.contains_key(input)).collect();
        if place.contains_key(&class) || !missing.is_empty() {
            if place.contains_key(&class) {
                stack.pop();
            }
            stack.extend(missing);
            continue;
        }
        stack.pop();
        let (op, ty) = terms.analysis.operation(term, &terms[class].data.ty);
        if let Op::Argument { index, .. } = op {
            place.insert(class, index as u32);
            continue;
        }
        place.insert(class, (leaves + recipe.terms.len()) as u32);
        recipe.terms.push((op, ty, term.inputs.iter().map(|input| place[input]).collect()));
    }
    recipe.outputs = roots.iter().map(|root| place[root]).collect();
    recipe
}

/// Makes a region's outputs by a recipe.
fn cook(graph: &mut Graph, recipe: &Recipe, region: &Region, new: &mut FxHashMap<NodeId, NodeId>) {
    let mut made: Vec<NodeId> = region.leaves.iter().map(|leaf| new[leaf]).collect();
    for (op, ty, inputs) in &recipe.terms {
        let inputs: Vec<NodeId> = inputs.iter().map(|&i| made[i as usize]).collect();
        made.push(build(graph, op.clone(), &inputs, ty.clone()));
    }
    for (&output, &i) in region.outputs.iter().zip(&recipe.outputs) {
        new.insert(output, made[i as usize]);
    }
}

fn rebuilt(graph: &mut Graph, id: NodeId, new: &mut FxHashMap<NodeId, NodeId>) {
    if !new.contains_key(&id) {
        let inputs: Vec<NodeId> = graph.node(id).inputs.iter().map(|input| new[input]).collect();
        let made = rebuild(graph, id, &inputs);
        new.insert(id, made);
    }
}
