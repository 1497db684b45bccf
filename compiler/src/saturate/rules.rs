//! The rules of regions, in one table. Unlike those of [`simplify`](crate::simplify) they may be tried although they make
//! things longer at first, in any order: nothing is lost, and extraction takes what is cheapest in the end.
//!
//! None makes rounding errors of another kind: sums of products stay sums of products, and what is subtracted before
//! it is squared stays so. f64 is left to the rules that only drop operations.

use super::structure;
use super::term::{Facts, Head, Term, Terms, add};
use crate::graph::Op;
use egg::{Applier, ENodeOrVar, Id, Pattern, PatternAst, Rewrite, SearchMatches, Searcher, Subst, Symbol, Var};
use fgc_program::Scalar;

/// Elementwise rules as patterns: left → right, of floats. Both are of one shape.
pub(super) const PATTERNS: &[(&str, &str, &str)] = &[
    ("commute-add", "(+ ?a ?b)", "(+ ?b ?a)"),
    ("commute-mul", "(* ?a ?b)", "(* ?b ?a)"),
    ("associate-add", "(+ (+ ?a ?b) ?c)", "(+ ?a (+ ?b ?c))"),
    ("associate-mul", "(* (* ?a ?b) ?c)", "(* ?a (* ?b ?c))"),
    ("associate-add-sub", "(- (+ ?a ?b) ?c)", "(+ ?a (- ?b ?c))"),
    ("associate-sub-sub", "(- (- ?a ?b) ?c)", "(- ?a (+ ?b ?c))"),
    ("associate-sub-add", "(+ (- ?a ?b) ?c)", "(+ ?a (- ?c ?b))"),
    ("subtract-difference", "(- ?a (- ?b ?c))", "(+ (- ?a ?b) ?c)"),
    ("factor-add", "(+ (* ?a ?b) (* ?a ?c))", "(* ?a (+ ?b ?c))"),
    ("factor-sub", "(- (* ?a ?b) (* ?a ?c))", "(* ?a (- ?b ?c))"),
    ("factor-one-add", "(+ ?a (* ?a ?b))", "(* ?a (+ ?b 1))"),
    ("factor-one-sub", "(- ?a (* ?a ?b))", "(* ?a (- 1 ?b))"),
    ("divide-product", "(* (/ ?a ?b) ?c)", "(/ (* ?a ?c) ?b)"),
    ("divide-product-back", "(/ (* ?a ?c) ?b)", "(* ?a (/ ?c ?b))"),
    ("divide-twice", "(/ (/ ?a ?b) ?c)", "(/ ?a (* ?b ?c))"),
    ("same-divisor-add", "(+ (/ ?a ?c) (/ ?b ?c))", "(/ (+ ?a ?b) ?c)"),
    ("same-divisor-sub", "(- (/ ?a ?c) (/ ?b ?c))", "(/ (- ?a ?b) ?c)"),
    ("negate-twice", "(neg (neg ?a))", "?a"),
    ("negate-difference", "(neg (- ?a ?b))", "(- ?b ?a)"),
    ("add-negated", "(+ ?a (neg ?b))", "(- ?a ?b)"),
    ("subtract-negated", "(- ?a (neg ?b))", "(+ ?a ?b)"),
    ("multiply-negated", "(* (neg ?a) ?b)", "(neg (* ?a ?b))"),
    ("negate-product", "(neg (* ?a ?b))", "(* ?a (neg ?b))"),
    ("divide-negated", "(/ (neg ?a) ?b)", "(neg (/ ?a ?b))"),
];

/// Rules that look at shapes, as functions from a term to equal ones.
pub(super) type Structural = fn(&mut Terms, &Term) -> Vec<Id>;

pub(super) const STRUCTURAL: &[(&str, Structural)] = &[
    ("operate-before-repeating", structure::operate_before_repeating),
    ("distribute-over-repeated", structure::distribute_over_repeated),
    ("multiply-by-inverse", structure::multiply_by_inverse),
    ("neutral-constant", structure::neutral_constant),
    ("repeat-once", structure::repeat_once),
    ("reshape-once", structure::reshape_once),
    ("reshape-operands", structure::reshape_operands),
    ("reshape-repeated", structure::reshape_repeated),
    ("sum-together", structure::sum_together),
    ("scale-sum", structure::scale_sum),
    ("contract-together", structure::contract_together),
];

/// Their names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    PATTERNS.iter().map(|(name, ..)| *name).chain(STRUCTURAL.iter().map(|(name, _)| *name))
}

/// The whole table.
pub(super) fn rules() -> Vec<Rewrite<Term, Facts>> {
    let pattern = |text: &str| text.parse::<Pattern<Term>>();
    let mut all = Vec::new();
    for (name, left, right) in PATTERNS {
        // A rule that does not parse or has unbound variables is missed by the test of every rule.
        if let (Ok(left), Ok(right)) = (pattern(left), pattern(right))
            && let Ok(rule) = Rewrite::new(*name, Shaped(left), Shaped(right))
        {
            all.push(rule);
        }
    }
    for (name, apply) in STRUCTURAL {
        if let Ok(rule) = Rewrite::new(*name, Everywhere, Equal(*apply)) {
            all.push(rule);
        }
    }
    all
}

/// A pattern with numbers, which take the type of the whole.
struct Shaped(Pattern<Term>);

impl Shaped {
    fn add(&self, terms: &mut Terms, whole: Id, subst: &Subst) -> Option<Id> {
        let ty = terms[whole].data.ty.clone();
        let mut ids: Vec<Id> = Vec::new();
        for node in self.0.ast.iter() {
            ids.push(match node {
                ENodeOrVar::Var(var) => *subst.get(*var)?,
                ENodeOrVar::ENode(Term { head: Head::Literal(bits), .. }) => {
                    let value = Scalar::new(ty.dtype, f64::from_bits(*bits));
                    add(terms, &Op::Const(value), &ty, &[])
                }
                ENodeOrVar::ENode(term) => {
                    let inputs: Vec<Id> = term.inputs.iter().map(|&i| ids[usize::from(i)]).collect();
                    terms.add(Term::new(term.head, &inputs))
                }
            });
        }
        ids.last().copied()
    }
}

impl Searcher<Term, Facts> for Shaped {
    fn search_eclass_with_limit(&self, terms: &Terms, class: Id, limit: usize) -> Option<SearchMatches<'_, Term>> {
        if !terms[class].data.ty.dtype.is_float() {
            return None;
        }
        self.0.search_eclass_with_limit(terms, class, limit)
    }

    fn vars(&self) -> Vec<Var> {
        self.0.vars()
    }
}

impl Applier<Term, Facts> for Shaped {
    fn apply_one(
        &self,
        terms: &mut Terms,
        class: Id,
        subst: &Subst,
        _: Option<&PatternAst<Term>>,
        _: Symbol,
    ) -> Vec<Id> {
        let new = self.add(terms, class, subst);
        new.into_iter().filter(|&new| terms.union(class, new)).collect()
    }

    fn vars(&self) -> Vec<Var> {
        self.0.vars()
    }
}

/// Finds every class.
struct Everywhere;

impl Searcher<Term, Facts> for Everywhere {
    fn search_eclass_with_limit(&self, _: &Terms, eclass: Id, _: usize) -> Option<SearchMatches<'_, Term>> {
        Some(SearchMatches { eclass, substs: vec![Subst::default()], ast: None })
    }

    fn vars(&self) -> Vec<Var> {
        Vec::new()
    }
}

/// Applies a function to every term of a class.
struct Equal(Structural);

impl Applier<Term, Facts> for Equal {
    fn apply_one(&self, terms: &mut Terms, class: Id, _: &Subst, _: Option<&PatternAst<Term>>, _: Symbol) -> Vec<Id> {
        let all = terms[class].nodes.clone();
        let new: Vec<Id> = all.iter().flat_map(|term| (self.0)(terms, term)).collect();
        new.into_iter().filter(|&new| terms.union(class, new)).collect()
    }
}
