//! Choosing one term of each class: the input's own to begin with, then others, one at a time, as long as that lowers the
//! cost of the whole, in which what is shared counts once. So the result is never worse than the input.

use super::cost::Machine;
use super::term::{Term, Terms};
use egg::{Id, Language};
use rustc_hash::FxHashMap;

/// How often all classes are gone through at most.
const ROUNDS: usize = 6;

/// A choice: the term of each class that has one.
pub type Choice = FxHashMap<Id, Term>;

pub struct Extraction {
    pub choice: Choice,
    /// Nanoseconds, of the input and of the choice.
    pub cost: [f64; 2],
}

struct Extractor<'a> {
    terms: &'a Terms,
    costs: FxHashMap<Term, f64>,
    machine: Machine,
}

/// The best terms found for `roots`. `given` is the input's choice; all classes are canonical.
pub fn extract(terms: &Terms, machine: Machine, given: Choice, roots: &[Id]) -> Extraction {
    let mut extractor = Extractor { terms, costs: FxHashMap::default(), machine };
    let before = extractor.total(&given, roots).map_or(f64::INFINITY, |(cost, _)| cost);
    let near = extractor.improved(given, before, roots);
    // What is cheapest by itself, though it shares less, may be the way out of where single changes end.
    let cheapest = extractor.cheapest(&[]);
    let far = extractor.total(&cheapest, roots).map(|(cost, _)| extractor.improved(cheapest, cost, roots));
    let (choice, best) = far.into_iter().fold(near, |near, far| if far.1 < near.1 { far } else { near });
    Extraction { choice, cost: [before, best] }
}

/// Gives the cheapest terms to what a term needs and has no choice yet; which classes these are.
fn complete(choice: &mut Choice, term: &Term, cheapest: &Choice) -> Vec<Id> {
    let mut added = Vec::new();
    let mut stack: Vec<Id> = term.inputs.to_vec();
    while let Some(class) = stack.pop() {
        if !choice.contains_key(&class)
            && let Some(term) = cheapest.get(&class)
        {
            stack.extend(&term.inputs);
            choice.insert(class, term.clone());
            added.push(class);
        }
    }
    added
}

impl Extractor<'_> {
    /// A choice of this cost, made cheaper one class at a time.
    fn improved(&mut self, mut choice: Choice, mut best: f64, roots: &[Id]) -> (Choice, f64) {
        let terms = self.terms;
        for _ in 0..ROUNDS {
            let Some((_, used)) = self.total(&choice, roots) else { break };
            let cheapest = self.cheapest(&used);
            let last = best;
            for &class in used.iter().rev() {
                let Some(mut kept) = choice.get(&class).cloned() else { continue };
                for term in &terms[class].nodes {
                    let term = term.clone().map_children(|id| terms.find(id));
                    if term == kept {
                        continue;
                    }
                    choice.insert(class, term.clone());
                    let added = complete(&mut choice, &term, &cheapest);
                    match self.total(&choice, roots) {
                        Some((cost, _)) if cost < best * (1.0 - 1e-9) => (best, kept) = (cost, term),
                        _ => {
                            added.iter().for_each(|class| _ = choice.remove(class));
                            choice.insert(class, kept.clone());
                        }
                    }
                }
            }
            if best >= last {
                break;
            }
        }
        (choice, best)
    }

    fn cost(&mut self, term: &Term) -> f64 {
        if let Some(&known) = self.costs.get(term) {
            return known;
        }
        let cost = self.machine.cost(self.terms, term);
        self.costs.insert(term.clone(), cost);
        cost
    }

    /// The cost of all classes that the roots need, and these, each after its inputs; None if they go in a circle.
    fn total(&mut self, choice: &Choice, roots: &[Id]) -> Option<(f64, Vec<Id>)> {
        #[derive(PartialEq)]
        enum State {
            Open,
            Done,
        }
        let mut states: FxHashMap<Id, State> = FxHashMap::default();
        let mut order = Vec::new();
        let mut cost = 0.0;
        let mut stack: Vec<(Id, bool)> = roots.iter().rev().map(|&root| (root, false)).collect();
        while let Some((class, inputs_done)) = stack.pop() {
            let term = choice.get(&class)?;
            if inputs_done {
                states.insert(class, State::Done);
                order.push(class);
                cost += self.cost(term);
                continue;
            }
            match states.get(&class) {
                Some(State::Done) => continue,
                Some(State::Open) => return None,
                None => _ = states.insert(class, State::Open),
            }
            stack.push((class, true));
            for &input in term.inputs.iter().rev() {
                match states.get(&input) {
                    Some(State::Done) => {}
                    Some(State::Open) => return None,
                    None => stack.push((input, false)),
                }
            }
        }
        Some((cost, order))
    }

    /// For each class the term that adds least to what is used already.
    fn cheapest(&mut self, used: &[Id]) -> Choice {
        let terms = self.terms;
        let mut costs: FxHashMap<Id, f64> = used.iter().map(|&class| (class, 0.0)).collect();
        let mut choice = Choice::default();
        let mut classes: Vec<Id> = terms.classes().map(|class| class.id).collect();
        classes.sort_unstable();
        loop {
            let mut changed = false;
            for &class in &classes {
                for term in &terms[class].nodes {
                    let term = term.clone().map_children(|id| terms.find(id));
                    let inputs = term.inputs.iter().map(|input| costs.get(input).copied());
                    let Some(inputs) = inputs.sum::<Option<f64>>() else { continue };
                    let cost = inputs + self.cost(&term);
                    let known = costs.get(&class).copied();
                    if known.is_none_or(|known| cost < known - 1e-9) && !used.contains(&class) {
                        costs.insert(class, cost);
                        choice.insert(class, term);
                        changed = true;
                    }
                }
            }
            if !changed {
                return choice;
            }
        }
    }
}
