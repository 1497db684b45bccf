//! What the tests of graphs share: random values and shapes, and the check of derivatives.

use super::{Graph, NodeId, Source, Tensor, Ty, eval};
use crate::derive::{jvp, vjp};
use fgc_program::DType;

/// SplitMix64: small, seeded by proptest.
pub struct Rng(pub u64);

impl Rng {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e3779b97f4a7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d049bb133111eb);
        z ^ (z >> 31)
    }

    /// 0..n.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// `rank` extents of 1 to 4.
    pub fn shape(&mut self, rank: usize) -> Vec<usize> {
        (0..rank).map(|_| 1 + self.below(4)).collect()
    }

    pub fn order(&mut self, rank: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..rank).collect();
        for i in (1..rank).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }

    /// Some of the axes of a tensor of this rank, increasing.
    pub fn axes(&mut self, rank: usize) -> Vec<usize> {
        (0..rank).filter(|_| self.below(2) == 0).collect()
    }

    pub fn tensor(&mut self, shape: &[usize], low: f64, high: f64) -> Tensor {
        let len = shape.iter().product();
        Tensor::f64(shape, (0..len).map(|_| self.uniform(low, high)).collect())
    }

    /// Values in random order, none within 0.1 of another.
    pub fn distinct(&mut self, shape: &[usize]) -> Tensor {
        let order = self.order(shape.iter().product());
        Tensor::f64(shape, order.into_iter().map(|i| 0.1 * i as f64 - 1.0).collect())
    }
}

/// The F64 source number `index`.
pub fn variable(graph: &mut Graph, index: usize, shape: &[usize]) -> NodeId {
    graph.source(Source::Data { name: index.to_string() }, Ty::new(DType::F64, shape))
}

pub fn variables(graph: &mut Graph, values: &[Tensor]) -> Vec<NodeId> {
    values.iter().enumerate().map(|(i, value)| variable(graph, i, &value.shape)).collect()
}

/// Evaluates with the value of variable i at position i.
pub fn run(graph: &Graph, outputs: &[NodeId], values: &[Tensor]) -> Vec<Tensor> {
    let lookup = |source: &Source, _: &Ty| match source {
        Source::Data { name } => values.get(name.parse::<usize>().ok()?).cloned(),
        _ => None,
    };
    eval(graph, outputs, lookup).expect("every source has a value")
}

pub fn assert_close(found: &Tensor, expected: &Tensor, tolerance: f64, what: &str) {
    assert_eq!(found.shape, expected.shape, "{what}: shape");
    for (i, (a, b)) in found.to_f64().into_iter().zip(expected.to_f64()).enumerate() {
        let same = a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= tolerance * (1.0 + a.abs().max(b.abs()));
        assert!(same, "{what}: element {i} is {a}, should be {b}");
    }
}

pub fn dot(a: &Tensor, b: &Tensor) -> f64 {
    a.to_f64().iter().zip(b.to_f64()).map(|(x, y)| x * y).sum()
}

/// Checks the derivatives of what `build` makes of F64 variables, at `values`: forward mode against central
/// differences, and ⟨w, J v⟩ = ⟨Jᵀ w, v⟩.
pub fn check(what: &str, rng: &mut Rng, values: &[Tensor], build: impl Fn(&mut Graph, &[NodeId]) -> NodeId) {
    let mut graph = Graph::new();
    let inputs = variables(&mut graph, values);
    let output = build(&mut graph, &inputs);
    let along: Vec<Tensor> = values.iter().map(|value| rng.tensor(&value.shape, -1.0, 1.0)).collect();
    let count = values.len();
    let tangents: Vec<NodeId> =
        along.iter().enumerate().map(|(i, t)| variable(&mut graph, count + i, &t.shape)).collect();
    let shape = graph.shape(output).to_vec();
    let weights = rng.tensor(&shape, -1.0, 1.0);
    let cotangent = variable(&mut graph, 2 * count, &shape);
    let seeds = inputs.iter().copied().zip(tangents).collect();
    let forward = jvp(&mut graph, &[output], &seeds).expect(what)[0];
    let backward = vjp(&mut graph, &[output], &[cotangent], &inputs).expect(what);

    let all: Vec<Tensor> = values.iter().chain(&along).chain([&weights]).cloned().collect();
    let zero = |shape: &[usize]| Tensor::f64(shape, vec![0.0; shape.iter().product()]);
    let tangent = forward.map_or_else(|| zero(&shape), |node| run(&graph, &[node], &all).remove(0));
    let at = |h: f64| {
        let moved: Vec<Tensor> = values
            .iter()
            .zip(&along)
            .map(|(x, v)| Tensor::f64(&x.shape, x.to_f64().iter().zip(v.to_f64()).map(|(x, v)| x + h * v).collect()))
            .collect();
        run(&graph, &[output], &moved).remove(0).to_f64()
    };
    // Fourth order: the error is h⁴ and rounding/h.
    let h = 1e-3;
    let (a, b, c, d) = (at(2.0 * h), at(h), at(-h), at(-2.0 * h));
    let differences = (0..a.len()).map(|i| (8.0 * (b[i] - c[i]) - (a[i] - d[i])) / (12.0 * h)).collect();
    assert_close(&tangent, &Tensor::f64(&shape, differences), 1e-7, &format!("{what}: forward mode"));

    let pulled: f64 = backward
        .iter()
        .zip(&along)
        .filter_map(|(node, v)| node.map(|node| dot(&run(&graph, &[node], &all)[0], v)))
        .sum();
    let pushed = dot(&weights, &tangent);
    assert!((pulled - pushed).abs() <= 1e-10 * (1.0 + pushed.abs()), "{what}: ⟨Jᵀw, v⟩ = {pulled}, ⟨w, Jv⟩ = {pushed}");
}
