//! Optimisers as graphs: one elementwise update over a network's flat buffers, PyTorch's definitions.

use crate::check::net::Training;
use crate::graph::op::FlatKind;
use crate::graph::{Graph, NodeId, Source, Ty};
use fgc_program::{BinaryOp, DType, NetId, Scalar, UnaryOp};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Decoupled weight decay (arXiv:1711.05101).
    AdamW,
    /// Weight decay added to the gradient (arXiv:1412.6980).
    Adam,
    /// Rectified Adam, weight decay added to the gradient (arXiv:1908.03265).
    RAdam,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Optimizer {
    pub kind: OptimizerKind,
    pub lr: f64,
    pub betas: [f64; 2],
    pub eps: f64,
    pub weight_decay: f64,
}

/// Moving average of the weights.
#[derive(Clone, Debug, PartialEq)]
pub enum Ema {
    /// Kept share a step.
    Decay(f64),
    /// Samples after which a weight's share has halved.
    HalfLife { samples: f64 },
}

pub const MOMENTS: [&str; 2] = ["exp_avg", "exp_avg_sq"];

/// One value an update writes back.
#[derive(Clone, Debug)]
pub struct Written {
    pub what: FlatKind,
    pub start: usize,
    pub len: usize,
    pub node: NodeId,
}

#[derive(Clone, Debug)]
pub struct Update {
    pub writes: Vec<Written>,
    /// L2 norm of the gradients, F64.
    pub grad_norm: NodeId,
}

/// The update of `net` over the element ranges `(start, len)` that have gradients. Where the gradients are not all
/// finite, everything stays as it was.
pub fn update(
    graph: &mut Graph,
    net: NetId,
    training: &Training,
    batch: usize,
    ranges: &[(usize, usize)],
) -> Option<Update> {
    let optimizer = training.optimizer.as_ref()?;
    let mut squares = graph.constant(Scalar::F64(0.0), &[]);
    for &(start, len) in ranges {
        let g = flat(graph, net, FlatKind::Grads, start, len);
        let g = graph.cast(g, DType::F64);
        let gg = graph.mul(g, g);
        let sum = graph.sum(gg, &[0]);
        squares = graph.add(squares, sum);
    }
    let grad_norm = graph.unary(UnaryOp::Sqrt, squares);
    let finite = graph.unary(UnaryOp::IsFinite, grad_norm);
    let scale = training.clip.map(|clip| {
        let (clip, tiny, one) = (num(graph, clip), num(graph, 1e-6), num(graph, 1.0));
        let norm = graph.add(grad_norm, tiny);
        let ratio = graph.div(clip, norm);
        let scale = graph.min(ratio, one);
        graph.cast(scale, DType::F32)
    });
    let done = graph.source(Source::Flat { net, what: FlatKind::Updates, start: 0 }, Ty::new(DType::F64, &[]));
    let one = num(graph, 1.0);
    let number = graph.add(done, one);
    let rates = Rates::new(graph, number, optimizer, training.warmup);
    let node = graph.select(finite, number, done);
    let mut writes = vec![Written { what: FlatKind::Updates, start: 0, len: 1, node }];
    for &(start, len) in ranges {
        let mut write = |what: FlatKind, before: NodeId, after: NodeId, graph: &mut Graph| {
            let finite = graph.broadcast(finite, &[], &[len]);
            let node = graph.select(finite, after, before);
            writes.push(Written { what, start, len, node });
            node
        };
        let p = flat(graph, net, FlatKind::Weights, start, len);
        let m = flat(graph, net, FlatKind::Moment(MOMENTS[0].into()), start, len);
        let v = flat(graph, net, FlatKind::Moment(MOMENTS[1].into()), start, len);
        let mut g = flat(graph, net, FlatKind::Grads, start, len);
        if let Some(scale) = scale {
            let scale = graph.broadcast(scale, &[], &[len]);
            g = graph.mul(g, scale);
        }
        if optimizer.kind != OptimizerKind::AdamW && optimizer.weight_decay != 0.0 {
            let decay = full(graph, optimizer.weight_decay, len);
            let wp = graph.mul(decay, p);
            g = graph.add(g, wp);
        }
        let m_new = lerp(graph, m, g, optimizer.betas[0], len);
        let gg = graph.mul(g, g);
        let v_new = lerp(graph, v, gg, optimizer.betas[1], len);
        let p_new = rates.step(graph, optimizer, p, m_new, v_new, len);
        let p_written = write(FlatKind::Weights, p, p_new, graph);
        write(FlatKind::Moment(MOMENTS[0].into()), m, m_new, graph);
        write(FlatKind::Moment(MOMENTS[1].into()), v, v_new, graph);
        if let Some(ema) = &training.ema {
            let decay = match ema {
                Ema::Decay(d) => *d,
                Ema::HalfLife { samples } => 0.5f64.powf(batch as f64 / samples.max(1e-12)),
            };
            let average = flat(graph, net, FlatKind::Ema, start, len);
            let average_new = lerp(graph, average, p_written, decay, len);
            write(FlatKind::Ema, average, average_new, graph);
        }
    }
    Some(Update { writes, grad_norm })
}

fn flat(graph: &mut Graph, net: NetId, what: FlatKind, start: usize, len: usize) -> NodeId {
    graph.source(Source::Flat { net, what, start }, Ty::new(DType::F32, &[len]))
}

fn num(graph: &mut Graph, x: f64) -> NodeId {
    graph.constant(Scalar::F64(x), &[])
}

fn full(graph: &mut Graph, x: f64, len: usize) -> NodeId {
    graph.constant(Scalar::F32(x as f32), &[len])
}

/// before·keep + value·(1 − keep)
fn lerp(graph: &mut Graph, before: NodeId, value: NodeId, keep: f64, len: usize) -> NodeId {
    let (a, b) = (full(graph, keep, len), full(graph, 1.0 - keep, len));
    let kept = graph.mul(before, a);
    let new = graph.mul(value, b);
    graph.add(kept, new)
}

/// Scalars of one update, from its number, in f64 and cast to f32: the step is
/// `p·decay − size·m / (√v·root + eps)`, or without the quotient while RAdam's variance is not to be trusted.
struct Rates {
    decay: NodeId,
    size: NodeId,
    root: NodeId,
    /// RAdam: whether to divide.
    adaptive: Option<NodeId>,
}

impl Rates {
    /// Of the `k`th update.
    fn new(graph: &mut Graph, k: NodeId, o: &Optimizer, warmup: f64) -> Rates {
        let one = num(graph, 1.0);
        let mut lr = num(graph, o.lr);
        if warmup > 0.0 {
            let w = num(graph, warmup);
            let share = graph.div(k, w);
            let share = graph.min(share, one);
            lr = graph.mul(lr, share);
        }
        let mut correction = |beta: f64| {
            let beta = num(graph, beta);
            let power = graph.binary(BinaryOp::Pow, beta, k);
            (graph.sub(one, power), power)
        };
        let (bc1, _) = correction(o.betas[0]);
        let (bc2, power2) = correction(o.betas[1]);
        let root2 = graph.unary(UnaryOp::Sqrt, bc2);
        let size = graph.div(lr, bc1);
        let decay = if o.kind == OptimizerKind::AdamW { o.weight_decay } else { 0.0 };
        let wd = num(graph, decay);
        let shrink = graph.mul(lr, wd);
        let decay = graph.sub(one, shrink);
        let (size, root, adaptive) = if o.kind == OptimizerKind::RAdam {
            let rho_inf = 2.0 / (1.0 - o.betas[1]) - 1.0;
            let two_k = {
                let two = num(graph, 2.0);
                graph.mul(two, k)
            };
            let shrink = graph.mul(two_k, power2);
            let shrink = graph.div(shrink, bc2);
            let inf = num(graph, rho_inf);
            let rho = graph.sub(inf, shrink);
            let (four, two, five) = (num(graph, 4.0), num(graph, 2.0), num(graph, 5.0));
            let (a, b) = (graph.sub(rho, four), graph.sub(rho, two));
            let above = graph.mul(a, b);
            let above = graph.mul(above, inf);
            let c = num(graph, (rho_inf - 4.0) * (rho_inf - 2.0));
            let below = graph.mul(c, rho);
            let ratio = graph.div(above, below);
            let adaptive = graph.binary(BinaryOp::Lt, five, rho);
            let safe = graph.select(adaptive, ratio, one);
            let rect = graph.unary(UnaryOp::Sqrt, safe);
            // lr·m/bc1·rect·√bc2/(√v + eps): the root of bc2 goes with the size, since eps is outside it here.
            let sized = graph.mul(size, rect);
            let sized = graph.mul(sized, root2);
            (graph.select(adaptive, sized, size), one, Some(adaptive))
        } else {
            (size, graph.div(one, root2), None)
        };
        Rates {
            decay: graph.cast(decay, DType::F32),
            size: graph.cast(size, DType::F32),
            root: graph.cast(root, DType::F32),
            adaptive,
        }
    }

    fn step(&self, graph: &mut Graph, o: &Optimizer, p: NodeId, m: NodeId, v: NodeId, len: usize) -> NodeId {
        let spread = |graph: &mut Graph, node: NodeId| graph.broadcast(node, &[], &[len]);
        let (decay, size, root) = (spread(graph, self.decay), spread(graph, self.size), spread(graph, self.root));
        let deviation = graph.unary(UnaryOp::Sqrt, v);
        let deviation = graph.mul(deviation, root);
        let eps = full(graph, o.eps, len);
        let deviation = graph.add(deviation, eps);
        let mut direction = graph.div(m, deviation);
        if let Some(adaptive) = self.adaptive {
            let adaptive = spread(graph, adaptive);
            direction = graph.select(adaptive, direction, m);
        }
        let moved = graph.mul(size, direction);
        let kept = graph.mul(p, decay);
        graph.sub(kept, moved)
    }
}
