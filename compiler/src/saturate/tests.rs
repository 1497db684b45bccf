//! Every rule finds what it should, and everything that is found equal is.

use super::region::{Part, parts};
use super::rules::{PATTERNS, names, rules};
use super::term::{Facts, Term, Terms, add};
use super::*;
use crate::graph::testing::{Rng, assert_close, example_values, number, random_graph, run, variable};
use crate::graph::{Tensor, needed, print};
use egg::Rewrite;
use fgc_program::{BinaryOp, DType, Scalar};
use proptest::prelude::*;

/// The graph in f32, as most of a network is: the variables are converted.
fn narrowed(graph: &mut Graph, outputs: &[NodeId]) -> Vec<NodeId> {
    let mut new: FxHashMap<NodeId, NodeId> = FxHashMap::default();
    for id in needed(graph, outputs) {
        let node = graph.node(id).clone();
        let narrow = |dtype| if dtype == DType::F64 { DType::F32 } else { dtype };
        let inputs: Vec<NodeId> = node.inputs.iter().map(|input| new[input]).collect();
        let made = match node.op {
            Op::Source(_) => graph.cast(id, DType::F32),
            Op::Const(value) => graph.constant(Scalar::new(narrow(value.dtype()), value.as_f64()), &node.ty.shape),
            op => build(graph, op, &inputs, Ty { dtype: narrow(node.ty.dtype), ..node.ty }),
        };
        new.insert(id, made);
    }
    outputs.iter().map(|id| new[id]).collect()
}

/// The e-graph of a region after these rules; its classes' values are those of the input.
struct Grown {
    terms: Terms,
    /// What each class was made of.
    nodes: FxHashMap<Id, NodeId>,
}

fn grown(graph: &Graph, region: &Region, rules: &[Rewrite<Term, Facts>], rounds: usize) -> Grown {
    let mut terms = Terms::new(Facts::default());
    let mut ids: FxHashMap<NodeId, Id> = FxHashMap::default();
    for (index, &leaf) in region.leaves.iter().enumerate() {
        let op = Op::Argument { func: FuncId(0), index };
        ids.insert(leaf, add(&mut terms, &op, graph.ty(leaf), &[]));
    }
    for &id in &region.members {
        let node = graph.node(id);
        let inputs: Vec<Id> = node.inputs.iter().map(|input| ids[input]).collect();
        ids.insert(id, add(&mut terms, &node.op, &node.ty, &inputs));
    }
    let runner = Runner::<Term, Facts>::new(Facts::default())
        .with_egraph(terms)
        .with_scheduler(SimpleScheduler)
        .with_node_limit(1500)
        .with_iter_limit(rounds)
        .run(rules);
    let nodes = ids.into_iter().map(|(node, id)| (runner.egraph.find(id), node)).collect();
    Grown { terms: runner.egraph, nodes }
}

/// Checks that every term of every class has the class's value; how many terms there are.
fn check(graph: &mut Graph, grown: Grown, values: &[Tensor]) -> usize {
    let Grown { terms, mut nodes } = grown;
    let mut classes: Vec<Id> = terms.classes().map(|class| class.id).collect();
    classes.sort_unstable();
    let made = |graph: &mut Graph, nodes: &FxHashMap<Id, NodeId>, class: Id, term: &Term| {
        let inputs: Option<Vec<NodeId>> = term.inputs.iter().map(|&i| nodes.get(&terms.find(i)).copied()).collect();
        let (op, ty) = terms.analysis.operation(term, &terms[class].data.ty);
        let inputs = inputs?;
        if matches!(op, Op::Argument { .. }) { nodes.get(&class).copied() } else { Some(build(graph, op, &inputs, ty)) }
    };
    // Classes that only rules have made.
    while let Some((class, node)) = classes.iter().find_map(|&class| {
        let all = &terms[class].nodes;
        let node = (!nodes.contains_key(&class)).then(|| all.iter().find_map(|t| made(graph, &nodes, class, t)))?;
        Some((class, node?))
    }) {
        nodes.insert(class, node);
    }
    let mut pairs = Vec::new();
    for &class in &classes {
        for term in &terms[class].nodes {
            let node = made(graph, &nodes, class, term).expect("a class without a value");
            pairs.push((nodes[&class], node));
        }
    }
    let all: Vec<NodeId> = pairs.iter().flat_map(|&(a, b)| [a, b]).collect();
    let found = run(graph, &all, values);
    for (pair, &(a, b)) in found.chunks(2).zip(&pairs) {
        let tolerance = if graph.dtype(a) == DType::F32 { 2e-4 } else { 1e-9 };
        assert_close(&pair[1], &pair[0], tolerance, &format!("{} against {}", print(graph, &[b]), print(graph, &[a])));
    }
    pairs.len()
}

fn regions(graph: &Graph, outputs: &[NodeId]) -> Vec<Region> {
    let all = parts(graph, outputs).into_iter().filter_map(|part| match part {
        Part::Region(region) => Some(region),
        Part::Node(_) => None,
    });
    all.collect()
}

#[test]
fn every_rule_of_the_table_is_a_rule() {
    assert_eq!(rules().len(), names().count());
}

#[test]
fn both_sides_of_every_pattern_are_equal() {
    for (name, left, right) in PATTERNS {
        let [left, right] = [left, right].map(|text| text.parse::<egg::Pattern<Term>>().expect(name));
        let mut graph = Graph::new();
        let mut rng = Rng(7);
        let vars = left.vars();
        let values: Vec<Tensor> = vars.iter().map(|_| rng.tensor(&[2, 3], 0.5, 2.0)).collect();
        let nodes: Vec<NodeId> = (0..vars.len()).map(|i| variable(&mut graph, i, &[2, 3])).collect();
        let outputs = [&left, &right].map(|pattern| {
            let mut made: Vec<NodeId> = Vec::new();
            for node in pattern.ast.iter() {
                made.push(match node {
                    egg::ENodeOrVar::Var(var) => nodes[vars.iter().position(|v| v == var).expect("a bound variable")],
                    egg::ENodeOrVar::ENode(term) => {
                        let inputs: Vec<NodeId> = term.inputs.iter().map(|&i| made[usize::from(i)]).collect();
                        let (op, ty) = Facts::default().operation(term, &Ty::new(DType::F64, &[2, 3]));
                        build(&mut graph, op, &inputs, ty)
                    }
                });
            }
            *made.last().expect("a pattern")
        });
        let found = run(&graph, &outputs, &values);
        assert_close(&found[1], &found[0], 1e-12, name);
    }
}

/// A graph to which the structural rule of this name applies, over x: [2, 3], y: [2, 3], v: [3], w: [3, 4], q: [2, 3, 4].
type Example = (&'static str, fn(&mut Graph, [NodeId; 5]) -> NodeId);

const EXAMPLES: &[Example] = &[
    ("operate-before-repeating", |g, [x, _, v, ..]| {
        let (a, b) = (g.broadcast(x, &[0, 1], &[2, 3, 4]), g.broadcast(v, &[1], &[2, 3, 4]));
        g.mul(a, b)
    }),
    ("distribute-over-repeated", |g, [x, _, v, _, q]| {
        let (m, s) = (g.broadcast(x, &[0, 1], &[2, 3, 4]), g.broadcast(v, &[1], &[2, 3, 4]));
        let centred = g.sub(q, m);
        g.mul(s, centred)
    }),
    ("multiply-by-inverse", |g, [_, _, v, _, q]| {
        let v = g.exp(v);
        let s = g.broadcast(v, &[1], &[2, 3, 4]);
        g.div(q, s)
    }),
    ("neutral-constant", |g, [x, ..]| {
        // The graph's own folding does not see through an addition of constants that come together later.
        let (one, two) = (number(g, 1.0, &[2, 3]), number(g, -2.0, &[2, 3]));
        let minus = g.intern(Op::Binary(BinaryOp::Add), &[one, two], Ty::new(DType::F64, &[2, 3]));
        g.mul(x, minus)
    }),
    ("repeat-once", |g, [_, _, v, ..]| {
        let wide = g.broadcast(v, &[1], &[2, 3]);
        g.intern(Op::Broadcast { axes: [0, 1].as_slice().into() }, &[wide], Ty::new(DType::F64, &[2, 3, 4]))
    }),
    ("reshape-once", |g, [.., q]| {
        let flat = g.reshape(q, &[24]);
        g.intern(Op::Reshape, &[flat], Ty::new(DType::F64, &[6, 4]))
    }),
    ("reshape-operands", |g, [x, y, ..]| {
        let sum = g.add(x, y);
        g.reshape(sum, &[6])
    }),
    ("reshape-repeated", |g, [_, _, v, ..]| {
        let wide = g.broadcast(v, &[1], &[2, 3, 4]);
        g.reshape(wide, &[2, 12])
    }),
    ("sum-together", |g, [x, y, ..]| {
        let (a, b) = (g.sum(x, &[1]), g.sum(y, &[1]));
        g.sub(a, b)
    }),
    ("scale-sum", |g, [_, _, v, _, q]| {
        let s = g.broadcast(v, &[1], &[2, 3, 4]);
        let product = g.mul(s, q);
        g.sum(product, &[2])
    }),
    ("contract-together", |g, [x, y, _, w, _]| {
        let (a, b) = (g.contract(x, w, &[], &[], &[1], &[0]), g.contract(y, w, &[], &[], &[1], &[0]));
        let left = g.add(a, b);
        let turned = g.contract(w, x, &[], &[], &[0], &[1]);
        let other = g.contract(w, y, &[], &[], &[0], &[1]);
        let right = g.sub(turned, other);
        let right = g.permute(right, &[1, 0]);
        g.mul(left, right)
    }),
];

#[test]
fn every_structural_rule_finds_what_is_equal() {
    let structural: Vec<&str> = names().skip(PATTERNS.len()).collect();
    assert_eq!(EXAMPLES.iter().map(|(name, _)| *name).collect::<Vec<_>>(), structural);
    for (name, example) in EXAMPLES {
        let mut graph = Graph::new();
        let mut rng = Rng(11);
        let values = example_values(&mut rng);
        let shapes: [&[usize]; 5] = [&[2, 3], &[2, 3], &[3], &[3, 4], &[2, 3, 4]];
        let inputs = [0, 1, 2, 3, 4].map(|i| variable(&mut graph, i, shapes[i]));
        let output = example(&mut graph, inputs);
        let narrow = if *name == "neutral-constant" || *name == "repeat-once" || *name == "reshape-once" {
            output
        } else {
            narrowed(&mut graph, &[output])[0]
        };
        let one: Vec<_> = rules().into_iter().filter(|rule| rule.name.as_str() == *name).collect();
        let mut found = 0;
        for region in regions(&graph, &[narrow]) {
            let before = region.members.len() + region.leaves.len();
            let grown = grown(&graph, &region, &one, 1);
            found += check(&mut graph, grown, &values).saturating_sub(before);
        }
        assert!(found > 0, "{name} finds nothing in\n{}", print(&graph, &[narrow]));
    }
}

#[test]
fn a_norm_becomes_one_multiplication_and_one_addition() {
    // (x − mean)/√(variance + ε)·w + b, images of 32×32 with 16 channels in 4 groups.
    let mut g = Graph::new();
    let (wide, flat) = ([8, 32, 32, 4, 4], [8, 32, 32, 16]);
    let x = g.source(crate::graph::Source::Data { name: "0".into() }, Ty::new(DType::F32, &flat));
    let [w, b] = ["1", "2"].map(|name| {
        let source = g.source(crate::graph::Source::Data { name: name.into() }, Ty::new(DType::F32, &[16]));
        g.broadcast(source, &[3], &flat)
    });
    let x = g.reshape(x, &wide);
    let mean = |g: &mut Graph, x| {
        let sum = g.sum(x, &[1, 2, 4]);
        let each = g.constant_like(1.0 / 4096.0, sum);
        g.mul(sum, each)
    };
    let m = mean(&mut g, x);
    let m = g.broadcast(m, &[0, 3], &wide);
    let centred = g.sub(x, m);
    let square = g.mul(centred, centred);
    let variance = mean(&mut g, square);
    let epsilon = g.constant_like(1e-5, variance);
    let variance = g.add(variance, epsilon);
    let deviation = g.sqrt(variance);
    let deviation = g.broadcast(deviation, &[0, 3], &wide);
    let normal = g.div(centred, deviation);
    let normal = g.reshape(normal, &flat);
    let scaled = g.mul(normal, w);
    let output = g.add(scaled, b);

    let count = |g: &Graph, output| {
        let large = |id: &&NodeId| matches!(g.op(**id), Op::Binary(_)) && g.ty(**id).len() == 131_072;
        needed(g, &[output]).iter().filter(large).count()
    };
    assert_eq!(count(&g, output), 5);
    let mut saturator = Saturator::new(Target::Cpu);
    let better = saturator.rewrite(&mut g, &[output])[0];
    // Centring and squaring remain for the variance.
    assert_eq!(count(&g, better), 4, "{}", print(&g, &[better]));
    assert!(saturator.done.cost[1] < saturator.done.cost[0]);

    let mut rng = Rng(3);
    let values = [&flat[..], &[16], &[16]].map(|shape| {
        let value = rng.tensor(shape, -1.0, 3.0);
        Tensor::f32(shape, value.to_f64().into_iter().map(|x| x as f32).collect())
    });
    let found = run(&g, &[output, better], &values);
    assert_close(&found[1], &found[0], 1e-5, "the norm");
}

#[test]
fn equal_blocks_are_saturated_once() {
    let block = |g: &mut Graph, x: NodeId, i: usize| {
        let w = variable(g, i + 1, &[3, 3]);
        let product = g.contract(x, w, &[], &[], &[1], &[0]);
        let (a, b) = (g.mul(product, x), g.mul(product, product));
        let sum = g.add(a, b);
        g.tanh(sum)
    };
    let counted = |blocks: usize| {
        let mut g = Graph::new();
        let mut x = variable(&mut g, 0, &[2, 3]);
        for i in 0..blocks {
            x = block(&mut g, x, i);
        }
        let mut saturator = Saturator::new(Target::Cpu);
        saturator.rewrite(&mut g, &[x]);
        (saturator.done.regions, saturator.done.distinct)
    };
    let (few, many) = (counted(4), counted(28));
    assert!(many.0 > few.0);
    assert_eq!(many.1, few.1);
}

#[test]
fn a_region_with_too_many_operations_stays_and_is_counted() {
    let mut g = Graph::new();
    let mut x = variable(&mut g, 0, &[2, 3]);
    for _ in 0..OPERATIONS + 1 {
        x = g.sin(x);
    }
    let mut saturator = Saturator::new(Target::Cpu);
    assert_eq!(saturator.rewrite(&mut g, &[x]), [x]);
    assert_eq!(saturator.done.too_large, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn all_terms_of_a_class_are_equal(seed: u64, size in 8usize..24, single: bool) {
        let mut g = Graph::new();
        let mut rng = Rng(seed);
        let values = example_values(&mut rng);
        let mut outputs = random_graph(&mut g, &mut rng, size, false);
        if single {
            outputs = narrowed(&mut g, &outputs);
        }
        let all = run(&g, &outputs, &values);
        prop_assume!(all.iter().all(|value| value.to_f64().iter().all(|x| x.abs() < 1e3)));
        let table = rules();
        for region in regions(&g, &outputs) {
            let grown = grown(&g, &region, &table, 3);
            check(&mut g, grown, &values);
        }
    }

    #[test]
    fn rewriting_keeps_values_and_never_costs_more(seed: u64, size in 8usize..60, single: bool) {
        let mut g = Graph::new();
        let mut rng = Rng(seed);
        let values = example_values(&mut rng);
        let mut outputs = random_graph(&mut g, &mut rng, size, false);
        if single {
            outputs = narrowed(&mut g, &outputs);
        }
        let before = run(&g, &outputs, &values);
        let mut saturator = Saturator::new(Target::Cpu);
        let new = saturator.rewrite(&mut g, &outputs);
        let after = run(&g, &new, &values);
        for (i, (a, b)) in after.iter().zip(&before).enumerate() {
            prop_assert_eq!(g.ty(new[i]), g.ty(outputs[i]));
            assert_close(a, b, if single { 1e-3 } else { 1e-9 }, &format!("output {i}"));
        }
        prop_assert!(saturator.done.cost[1] <= saturator.done.cost[0]);
    }
}
