//! Choosing one term of each class: the input's own to begin with, then others, one at a time, as long as that lowers the
//! cost of the whole, in which what is shared counts once. So the result is never worse than the input.

use super::cost::Machine;
use super::term::{Term, Terms};
use egg::{Id, Language};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// How often all classes are gone through at most.
const ROUNDS: usize = 6;

/// A choice: the term of each class that has one.
pub type Choice = FxHashMap<Id, Term>;

pub struct Extraction {
    pub choice: Choice,
    /// Nanoseconds, of the input and of the choice.
    pub cost: [f64; 2],
}

/// A term, its inputs by the places of their classes.
struct Candidate {
    term: Term,
    inputs: SmallVec<[usize; 3]>,
    cost: f64,
}

/// By class, in the order of their numbers: which of its candidates, if any.
type Chosen = Vec<Option<usize>>;

struct Extractor {
    ids: Vec<Id>,
    classes: Vec<Vec<Candidate>>,
    roots: Vec<usize>,
    walk: Walk,
}

/// The best terms found for `roots`. `given` is the input's choice; all classes are canonical.
pub fn extract(terms: &Terms, machine: Machine, given: Choice, roots: &[Id]) -> Extraction {
    let mut ids: Vec<Id> = terms.classes().map(|class| class.id).collect();
    ids.sort_unstable();
    let place: FxHashMap<Id, usize> = ids.iter().enumerate().map(|(place, &id)| (id, place)).collect();
    let candidate = |term: &Term| {
        let term = term.clone().map_children(|id| terms.find(id));
        let inputs = term.inputs.iter().map(|input| place[input]).collect();
        Candidate { inputs, cost: machine.cost(terms, &term), term }
    };
    let mut classes: Vec<Vec<Candidate>> =
        ids.iter().map(|&id| terms[id].nodes.iter().map(candidate).collect()).collect();
    let mut chosen: Chosen = vec![None; ids.len()];
    for (id, term) in given {
        let class = &mut classes[place[&id]];
        let own = class.iter().position(|candidate| candidate.term == term).unwrap_or_else(|| {
            class.push(candidate(&term));
            class.len() - 1
        });
        chosen[place[&id]] = Some(own);
    }
    let roots = roots.iter().map(|root| place[root]).collect();
    let mut extractor = Extractor { walk: Walk::new(ids.len()), ids, classes, roots };
    let before = extractor.total(&chosen).unwrap_or(f64::INFINITY);
    let near = extractor.improved(chosen, before);
    // What is cheapest by itself, though it shares less, may be the way out of where single changes end.
    let cheapest = extractor.cheapest(&[]);
    let far = extractor.total(&cheapest).map(|cost| extractor.improved(cheapest, cost));
    let (chosen, best) = far.into_iter().fold(near, |near, far| if far.1 < near.1 { far } else { near });
    let all = extractor.ids.iter().zip(&extractor.classes).zip(chosen);
    let choice = all.filter_map(|((&id, class), own)| Some((id, class[own?].term.clone()))).collect();
    Extraction { choice, cost: [before, best] }
}

impl Extractor {
    /// A choice of this cost, made cheaper one class at a time.
    fn improved(&mut self, mut chosen: Chosen, mut best: f64) -> (Chosen, f64) {
        for _ in 0..ROUNDS {
            if self.total(&chosen).is_none() {
                break;
            }
            let used = self.walk.order.clone();
            let cheapest = self.cheapest(&used);
            let last = best;
            for &class in used.iter().rev() {
                let Some(mut kept) = chosen[class] else { continue };
                for own in 0..self.classes[class].len() {
                    if own == kept {
                        continue;
                    }
                    chosen[class] = Some(own);
                    let added = self.complete(&mut chosen, &self.classes[class][own], &cheapest);
                    match self.total(&chosen) {
                        Some(cost) if cost < best * (1.0 - 1e-9) => (best, kept) = (cost, own),
                        _ => {
                            added.into_iter().for_each(|class| chosen[class] = None);
                            chosen[class] = Some(kept);
                        }
                    }
                }
            }
            if best >= last {
                break;
            }
        }
        (chosen, best)
    }

    /// Gives the cheapest candidates to what one needs and has no choice yet; which classes these are.
    fn complete(&self, chosen: &mut Chosen, candidate: &Candidate, cheapest: &Chosen) -> Vec<usize> {
        let mut added = Vec::new();
        let mut stack = candidate.inputs.to_vec();
        while let Some(class) = stack.pop() {
            if chosen[class].is_none()
                && let Some(own) = cheapest[class]
            {
                stack.extend(&self.classes[class][own].inputs);
                chosen[class] = Some(own);
                added.push(class);
            }
        }
        added
    }

    /// The cost of all classes that the roots need, which are then the walk's, each after its inputs; None if they go in a
    /// circle.
    fn total(&mut self, chosen: &Chosen) -> Option<f64> {
        let Extractor { classes, roots, walk, .. } = self;
        walk.begin();
        let mut cost = 0.0;
        walk.stack.extend(roots.iter().rev().map(|&root| (root, false)));
        while let Some((class, inputs_done)) = walk.stack.pop() {
            let candidate = &classes[class][chosen[class]?];
            if inputs_done {
                walk.set_done(class);
                cost += candidate.cost;
                continue;
            }
            match walk.state(class) {
                State::Done => continue,
                State::Open => return None,
                State::New => walk.states[class] = walk.open,
            }
            walk.stack.push((class, true));
            for &input in candidate.inputs.iter().rev() {
                match walk.state(input) {
                    State::Done => {}
                    State::Open => return None,
                    State::New => walk.stack.push((input, false)),
                }
            }
        }
        Some(cost)
    }

    /// For each class the candidate that adds least to what is used already.
    fn cheapest(&self, used: &[usize]) -> Chosen {
        let mut costs: Vec<Option<f64>> = vec![None; self.classes.len()];
        let mut is_used = vec![false; self.classes.len()];
        for &class in used {
            (costs[class], is_used[class]) = (Some(0.0), true);
        }
        let mut chosen: Chosen = vec![None; self.classes.len()];
        loop {
            let mut changed = false;
            for (class, candidates) in self.classes.iter().enumerate().filter(|(class, _)| !is_used[*class]) {
                for (own, candidate) in candidates.iter().enumerate() {
                    let inputs = candidate.inputs.iter().map(|&input| costs[input]);
                    let Some(inputs) = inputs.sum::<Option<f64>>() else { continue };
                    let cost = inputs + candidate.cost;
                    if costs[class].is_none_or(|known| cost < known - 1e-9) {
                        costs[class] = Some(cost);
                        chosen[class] = Some(own);
                        changed = true;
                    }
                }
            }
            if !changed {
                return chosen;
            }
        }
    }
}

/// A walk through chosen terms, in memory that is used again and again.
struct Walk {
    /// By class: what it is in this walk, if it is `open` or one more.
    states: Vec<u32>,
    open: u32,
    stack: Vec<(usize, bool)>,
    /// Classes that are done.
    order: Vec<usize>,
}

enum State {
    New,
    Open,
    Done,
}

impl Walk {
    fn new(classes: usize) -> Walk {
        Walk { states: vec![0; classes], open: 0, stack: Vec::new(), order: Vec::new() }
    }

    fn begin(&mut self) {
        self.open += 2;
        self.stack.clear();
        self.order.clear();
    }

    fn state(&self, class: usize) -> State {
        match self.states[class].checked_sub(self.open) {
            Some(0) => State::Open,
            Some(_) => State::Done,
            None => State::New,
        }
    }

    fn set_done(&mut self, class: usize) {
        self.states[class] = self.open + 1;
        self.order.push(class);
    }
}
