//! What the tests of graphs share: random values and shapes, and the check of derivatives.

use super::{Graph, NodeId, ReduceOp, Source, Tensor, Ty, eval};
use crate::derive::{jvp, vjp};
use fgc_program::{DType, Scalar};

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

pub fn number(g: &mut Graph, value: f64, shape: &[usize]) -> NodeId {
    g.constant(Scalar::F64(value), shape)
}

/// Values for the variables of random graphs.
pub fn example_values(rng: &mut Rng) -> Vec<Tensor> {
    [&[2, 3][..], &[2, 3], &[3], &[3, 4], &[2, 3, 4]].map(|shape| rng.tensor(shape, -1.0, 1.0)).into()
}

/// A random value of the pool brought to the shape given by views.
pub fn fitted(g: &mut Graph, rng: &mut Rng, id: NodeId, shape: &[usize]) -> NodeId {
    let mut id = id;
    while g.shape(id).len() > shape.len() {
        id = g.sum(id, &[0]);
    }
    // Repeat along what is missing, sum what is too long.
    let from = g.shape(id).to_vec();
    let offset = if from.len() < shape.len() { rng.below(shape.len() - from.len() + 1) } else { 0 };
    let wrong: Vec<usize> = (0..from.len()).filter(|&i| from[i] != shape[offset + i]).collect();
    let id = g.sum(id, &wrong);
    let axes: Vec<usize> = (0..from.len()).filter(|i| !wrong.contains(i)).map(|i| offset + i).collect();
    g.broadcast(id, &axes, shape)
}

/// The last of `size` random operations over the variables of `example_values`: bounded, smooth but for extrema.
pub fn random_graph(g: &mut Graph, rng: &mut Rng, size: usize, stops: bool) -> Vec<NodeId> {
    let shapes: [&[usize]; 5] = [&[2, 3], &[2, 3], &[3], &[3, 4], &[2, 3, 4]];
    let mut pool: Vec<NodeId> = shapes.iter().enumerate().map(|(i, shape)| variable(g, i, shape)).collect();
    let cond = g.lt(pool[0], pool[1]);
    for _ in 0..size {
        let a = pool[rng.below(pool.len())];
        let b = pool[rng.below(pool.len())];
        let shape = g.shape(a).to_vec();
        let rank = shape.len();
        let axis = rng.below(rank.max(1));
        let next = match rng.below(if rank == 0 { 10 } else { 18 }) {
            0 => g.neg(a),
            1 => g.tanh(a),
            2 => {
                let factor = number(g, rng.uniform(-2.0, 2.0), &shape);
                g.mul(a, factor)
            }
            3..=7 => {
                let b = fitted(g, rng, b, &shape);
                match rng.below(5) {
                    0 => g.add(a, b),
                    1 => g.sub(a, b),
                    2 => g.mul(a, b),
                    3 => g.max(a, b),
                    _ => {
                        let positive = g.exp(b);
                        let one = number(g, 1.0, &shape);
                        let positive = g.add(positive, one);
                        g.div(a, positive)
                    }
                }
            }
            8 => {
                let [a, b] = [a, b].map(|id| fitted(g, rng, id, &[2, 3]));
                let zero = number(g, 0.0, &[2, 3]);
                let [a, b] = [a, b].map(|id| if rng.below(3) == 0 { zero } else { id });
                g.select(cond, a, b)
            }
            9 if stops => g.stop(a),
            9 => g.sin(a),
            10 => {
                let axes = rng.axes(rank);
                let op = [ReduceOp::Sum, ReduceOp::Max][rng.below(2)];
                g.reduce(op, a, &axes)
            }
            11 => g.permute(a, &rng.order(rank)),
            12 => {
                let half: usize = shape[axis..].iter().product();
                let mut merged = shape[..axis].to_vec();
                merged.push(half);
                g.reshape(a, &merged)
            }
            13 if rank < 4 => {
                let mut wide = shape.clone();
                wide.insert(axis, 1 + rng.below(3));
                let kept: Vec<usize> = (0..=rank).filter(|&i| i != axis).collect();
                g.broadcast(a, &kept, &wide)
            }
            14 => {
                let start = rng.below(shape[axis]);
                let len = 1 + rng.below(shape[axis] - start);
                g.slice(a, axis, start, len, 1)
            }
            15 if shape[axis] < 6 => g.pad(a, axis, rng.below(2), 1 + rng.below(2), 2 * shape[axis] + 1),
            16 => {
                let b = fitted(g, rng, b, &shape);
                g.concat(&[a, b], axis)
            }
            _ => {
                let b = fitted(g, rng, b, &shape);
                let role: Vec<usize> = (0..rank).map(|_| rng.below(3)).collect();
                let pick = |wanted| (0..rank).filter(|&i| role[i] == wanted).collect::<Vec<_>>();
                let order = rng.order(rank);
                let turned = g.permute(b, &order);
                let place = |axes: &[usize]| {
                    axes.iter().map(|axis| order.iter().position(|o| o == axis).unwrap()).collect::<Vec<_>>()
                };
                let (batch, sum) = (pick(0), pick(1));
                g.contract(a, turned, &batch, &place(&batch), &sum, &place(&sum))
            }
        };
        if g.ty(next).len() <= 400 && g.shape(next).len() <= 5 {
            let calm = g.tanh(next);
            pool.push(if rng.below(4) == 0 { calm } else { next });
        }
    }
    pool.split_off(pool.len() - 6)
}
