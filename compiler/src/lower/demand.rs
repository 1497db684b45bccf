//! When each value of a plan is needed. What only one branch of a `select` on a known number reads is not needed where
//! that number chooses the other: its launches are left out.
//!
//! Conditions are binary decision diagrams (Bryant 1986) over the known numbers, so that equal ones are one.

use crate::graph::{Graph, NodeId, Op};
use fgc_program::{BinaryOp, Expr, Known, Scalar, UnaryOp};
use rustc_hash::FxHashMap;

/// A condition, by its number among the diagrams.
type Condition = usize;
const NEVER: Condition = 0;
const ALWAYS: Condition = 1;

/// Diagrams beyond which every value counts as needed.
const LIMIT: usize = 4096;

/// When nodes are needed.
pub(super) struct Demand {
    when: FxHashMap<NodeId, Condition>,
    diagrams: Diagrams,
}

impl Demand {
    /// Of `nodes` (each after its inputs) for the sake of `outputs`. `known`: the number a scalar node is, if known.
    pub fn new(
        graph: &Graph,
        nodes: &[NodeId],
        outputs: &[NodeId],
        mut known: impl FnMut(NodeId) -> Option<Known>,
    ) -> Demand {
        let mut demand = Demand { when: FxHashMap::default(), diagrams: Diagrams::default() };
        let mut choices: FxHashMap<NodeId, (usize, bool)> = FxHashMap::default();
        for &id in nodes.iter().filter(|id| matches!(graph.op(**id), Op::Select)) {
            let (number, holds) = chosen_by(graph, graph.node(id).inputs[0]);
            if let Some(known) = known(number) {
                choices.insert(id, (demand.diagrams.atom(number, known), holds));
            }
        }
        if choices.is_empty() {
            return demand;
        }
        demand.when.extend(outputs.iter().map(|&output| (output, ALWAYS)));
        for &id in nodes.iter().rev() {
            let Some(&when) = demand.when.get(&id) else { continue };
            for (i, &input) in graph.node(id).inputs.iter().enumerate() {
                let here = match (choices.get(&id), i) {
                    (Some(&(atom, holds)), 1) => demand.diagrams.given(when, atom, holds),
                    (Some(&(atom, holds)), 2) => demand.diagrams.given(when, atom, !holds),
                    _ => when,
                };
                let before = demand.when.get(&input).copied().unwrap_or(NEVER);
                let either = demand.diagrams.either(before, here);
                demand.when.insert(input, either);
            }
            if demand.diagrams.nodes.len() > LIMIT {
                return Demand { when: FxHashMap::default(), diagrams: Diagrams::default() };
            }
        }
        demand
    }

    /// When any of these nodes is needed; None: always, as far as is known.
    pub fn when(&mut self, nodes: impl IntoIterator<Item = NodeId>) -> Option<Known> {
        let mut any = NEVER;
        for node in nodes {
            let when = self.when.get(&node).copied().unwrap_or(ALWAYS);
            any = self.diagrams.either(any, when);
        }
        if any == ALWAYS { None } else { self.diagrams.known(any) }
    }
}

/// The scalar that `cond` repeats, and whether it holds where that does.
fn chosen_by(graph: &Graph, mut cond: NodeId) -> (NodeId, bool) {
    let mut holds = true;
    loop {
        match graph.op(cond) {
            Op::Broadcast { .. } | Op::Reshape | Op::Stop => {}
            Op::Unary(UnaryOp::Not) => holds = !holds,
            _ => return (cond, holds),
        }
        cond = graph.node(cond).inputs[0];
    }
}

/// Reduced, ordered diagrams, each once.
#[derive(Default)]
struct Diagrams {
    atoms: Vec<Known>,
    atom_of: FxHashMap<NodeId, usize>,
    /// Beyond NEVER and ALWAYS: (atom, where it does not hold, where it does).
    nodes: Vec<(usize, Condition, Condition)>,
    found: FxHashMap<(usize, Condition, Condition), Condition>,
    eithers: FxHashMap<(Condition, Condition), Condition>,
}

impl Diagrams {
    fn atom(&mut self, node: NodeId, known: Known) -> usize {
        *self.atom_of.entry(node).or_insert_with(|| {
            self.atoms.push(known);
            self.atoms.len() - 1
        })
    }

    fn node(&mut self, atom: usize, low: Condition, high: Condition) -> Condition {
        if low == high {
            return low;
        }
        *self.found.entry((atom, low, high)).or_insert_with(|| {
            self.nodes.push((atom, low, high));
            self.nodes.len() + 1
        })
    }

    /// Its atom and branches; none for NEVER and ALWAYS.
    fn parts(&self, condition: Condition) -> Option<(usize, Condition, Condition)> {
        condition.checked_sub(2).map(|i| self.nodes[i])
    }

    /// `condition` and that `atom` has this value.
    fn given(&mut self, condition: Condition, atom: usize, value: bool) -> Condition {
        match self.parts(condition) {
            Some((top, low, high)) if top < atom => {
                let (low, high) = (self.given(low, atom, value), self.given(high, atom, value));
                self.node(top, low, high)
            }
            parts => {
                let (low, high) = match parts {
                    Some((top, low, high)) if top == atom => (low, high),
                    _ => (condition, condition),
                };
                if value { self.node(atom, NEVER, high) } else { self.node(atom, low, NEVER) }
            }
        }
    }

    fn either(&mut self, a: Condition, b: Condition) -> Condition {
        let (a, b) = (a.min(b), a.max(b));
        if a == NEVER || a == b {
            return b;
        }
        if a == ALWAYS {
            return ALWAYS;
        }
        if let Some(&known) = self.eithers.get(&(a, b)) {
            return known;
        }
        let branches = |of: &Diagrams, c: Condition, atom: usize| match of.parts(c) {
            Some((top, low, high)) if top == atom => (low, high),
            _ => (c, c),
        };
        let atom = self.nodes[a - 2].0.min(self.nodes[b - 2].0);
        let ((a0, a1), (b0, b1)) = (branches(self, a, atom), branches(self, b, atom));
        let (low, high) = (self.either(a0, b0), self.either(a1, b1));
        let result = self.node(atom, low, high);
        self.eithers.insert((a, b), result);
        result
    }

    /// As an expression; None for ALWAYS and for what is too large to be worth it.
    fn known(&self, condition: Condition) -> Option<Known> {
        let mut left = 64;
        self.expr(condition, &mut left)
    }

    fn expr(&self, condition: Condition, left: &mut usize) -> Option<Known> {
        *left = usize::checked_sub(*left, 1)?;
        let Some((atom, low, high)) = self.parts(condition) else {
            return Some(Expr::Const(Scalar::Bool(condition == ALWAYS)));
        };
        let atom = self.atoms[atom].clone();
        let not = |x: Known| Expr::Unary(UnaryOp::Not, x.into());
        let pair = |op, a: Known, b: Known| Expr::Binary(op, a.into(), b.into());
        Some(match (low, high) {
            (NEVER, ALWAYS) => atom,
            (ALWAYS, NEVER) => not(atom),
            (NEVER, _) => pair(BinaryOp::And, atom, self.expr(high, left)?),
            (_, NEVER) => pair(BinaryOp::And, not(atom), self.expr(low, left)?),
            (_, ALWAYS) => pair(BinaryOp::Or, atom, self.expr(low, left)?),
            (ALWAYS, _) => pair(BinaryOp::Or, not(atom), self.expr(high, left)?),
            _ => {
                let (then, otherwise) = (self.expr(high, left)?, self.expr(low, left)?);
                Expr::Select { cond: atom.into(), then: then.into(), otherwise: otherwise.into() }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fgc_program::{DType, Index};
    use proptest::prelude::*;

    /// Whether an expression over loads `[element 0 of input i]` holds where input i is bit i of `world`.
    fn holds(e: &Expr, world: u32) -> bool {
        match e {
            Expr::Const(value) => *value == Scalar::Bool(true),
            Expr::Load { buffer, .. } => world >> buffer & 1 == 1,
            Expr::Unary(_, x) => !holds(x, world),
            Expr::Binary(BinaryOp::And, a, b) => holds(a, world) && holds(b, world),
            Expr::Binary(_, a, b) => holds(a, world) || holds(b, world),
            Expr::Select { cond, then, otherwise } => {
                if holds(cond, world) {
                    holds(then, world)
                } else {
                    holds(otherwise, world)
                }
            }
            other => panic!("{other}"),
        }
    }

    proptest! {
        /// Diagrams built by random operations mean what the operations mean, in all 16 worlds of 4 atoms.
        #[test]
        fn diagrams_mean_what_they_were_built_of(ops in prop::collection::vec((0..40usize, 0..40usize, 0..4usize, any::<bool>()), 1..30)) {
            let mut d = Diagrams::default();
            for i in 0..4u32 {
                d.atom(NodeId(i), Expr::Load { buffer: i as usize, index: Index::constant(0) });
            }
            let mut built: Vec<(Condition, u16)> = vec![(NEVER, 0), (ALWAYS, u16::MAX)];
            for (a, b, atom, value) in ops {
                let ((x, in_x), (y, in_y)) = (built[a % built.len()], built[b % built.len()]);
                let given: u16 = (0..16).filter(|w| (w >> atom & 1 == 1) == value).map(|w| 1 << w).sum();
                built.push((d.given(x, atom, value), in_x & given));
                built.push((d.either(x, y), in_x | in_y));
            }
            for &(x, in_x) in &built {
                prop_assert_eq!(x == ALWAYS, in_x == u16::MAX);
                for &(y, in_y) in &built {
                    prop_assert_eq!(x == y, in_x == in_y);
                }
                if let Some(e) = d.known(x) {
                    prop_assert!((0..16).all(|w| holds(&e, w) == (in_x >> w & 1 == 1)));
                }
            }
        }
    }

    #[test]
    fn a_branch_is_needed_where_its_number_says_so() {
        let mut g = Graph::new();
        let number = g.source(crate::graph::Source::Iteration, crate::graph::Ty::new(DType::F64, &[]));
        let zero = g.constant(Scalar::F64(0.0), &[]);
        let positive = g.binary(BinaryOp::Lt, zero, number);
        let (a, b) = (
            g.source(crate::graph::Source::Data { name: "x".into() }, crate::graph::Ty::new(DType::F64, &[3])),
            g.constant(Scalar::F64(2.0), &[3]),
        );
        let (sin, cos) = (g.unary(UnaryOp::Sin, a), g.unary(UnaryOp::Cos, b));
        let cond = g.broadcast(positive, &[], &[3]);
        let both = g.select(cond, sin, cos);
        let nodes = crate::graph::needed(&g, &[both]);
        let mut demand = Demand::new(&g, &nodes, &[both], |id| super::super::known::known(&g, id, &mut |_| Some(0)));
        assert_eq!(demand.when([sin]).unwrap().to_string(), "(0.0 < b0[0])");
        assert_eq!(demand.when([cos]).unwrap().to_string(), "not((0.0 < b0[0]))");
        assert_eq!(demand.when([sin, cos]), None);
        assert_eq!(demand.when([both]), None);
    }
}
