//! Every primitive's derivatives, at random shapes and values.

use super::{DeriveError, grad, jvp};
use crate::graph::testing::{Rng, assert_close, check, run, variable, variables};
use crate::graph::{Data, Graph, NodeId, ReduceOp, Source, Tensor, Ty};
use fgc_program::{BinaryOp, ConvRole, DType, Scalar, UnaryOp};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    #[test]
    fn unary(seed: u64) {
        use UnaryOp::*;
        let domains = [
            (Neg, -2.0, 2.0), (Abs, 0.1, 2.0), (Abs, -2.0, -0.1), (Sign, 0.1, 2.0), (Floor, 0.1, 0.9), (Exp, -2.0, 2.0),
            (Log, 0.2, 3.0), (Log1p, -0.7, 3.0), (Sqrt, 0.2, 3.0), (Sin, -4.0, 4.0), (Cos, -4.0, 4.0),
            (Tanh, -2.0, 2.0), (Sigmoid, -4.0, 4.0), (Softplus, -4.0, 4.0), (Erf, -2.0, 2.0),
            (NormalQuantile, 0.1, 0.9),
        ];
        let rng = &mut Rng(seed);
        for (op, low, high) in domains {
            let rank = rng.below(4);
            let shape = rng.shape(rank);
            let x = rng.tensor(&shape, low, high);
            check(&format!("{op:?}"), rng, &[x], |g, v| g.unary(op, v[0]));
        }
    }

    #[test]
    fn binary(seed: u64) {
        use BinaryOp::*;
        let domains = [
            (Add, -2.0, 2.0, -2.0, 2.0), (Sub, -2.0, 2.0, -2.0, 2.0), (Mul, -2.0, 2.0, -2.0, 2.0),
            (Div, -2.0, 2.0, 0.4, 2.0), (Rem, 4.3, 4.8, 0.81, 0.84), (Max, -2.0, 0.0, 0.1, 2.0),
            (Max, 0.1, 2.0, -2.0, 0.0), (Min, -2.0, 0.0, 0.1, 2.0), (Min, 0.1, 2.0, -2.0, 0.0),
            (Pow, 0.4, 2.0, -2.0, 2.0), (Atan2, -2.0, 2.0, 0.3, 2.0), (Atan2, 0.3, 2.0, -2.0, 2.0),
        ];
        let rng = &mut Rng(seed);
        for (op, a, b, c, d) in domains {
            let rank = rng.below(4);
            let shape = rng.shape(rank);
            let values = [rng.tensor(&shape, a, b), rng.tensor(&shape, c, d)];
            check(&format!("{op:?}"), rng, &values, |g, v| g.binary(op, v[0], v[1]));
            check(&format!("{op:?} of one variable"), rng, &values[..1], |g, v| {
                let constant = g.constant(Scalar::F64(c + 0.3 * (d - c)), &shape);
                g.binary(op, v[0], constant)
            });
            let same = rng.tensor(&shape, 0.4, 2.0);
            check(&format!("{op:?} of the same"), rng, &[same], |g, v| g.binary(op, v[0], v[0]));
        }
    }

    #[test]
    fn powers_with_constant_exponents(seed: u64) {
        let rng = &mut Rng(seed);
        for exponent in [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, -1.0] {
            let x = rng.tensor(&[3], 0.3, 2.0);
            check("pow", rng, &[x], |g, v| {
                let exponent = g.constant(Scalar::F64(exponent), &[3]);
                g.pow(v[0], exponent)
            });
        }
        // A negative base has derivatives too when the exponent is whole.
        let x = rng.tensor(&[3], -2.0, -0.3);
        check("cube", rng, &[x], |g, v| {
            let three = g.constant(Scalar::F64(3.0), &[3]);
            g.pow(v[0], three)
        });
    }

    #[test]
    fn student(seed: u64) {
        let rng = &mut Rng(seed);
        for freedom in [0.5, 1.0, 4.0, 30.0] {
            let t = rng.tensor(&[4], -3.0, 3.0);
            check("student cdf", rng, &[t], |g, v| {
                let freedom = g.constant(Scalar::F64(freedom), &[4]);
                g.binary(BinaryOp::StudentCdf, v[0], freedom)
            });
            let p = rng.tensor(&[4], 0.3, 0.7);
            check("student quantile", rng, &[p], |g, v| {
                let freedom = g.constant(Scalar::F64(freedom), &[4]);
                g.binary(BinaryOp::StudentQuantile, v[0], freedom)
            });
        }
    }

    #[test]
    fn selection_and_indexing(seed: u64) {
        let rng = &mut Rng(seed);
        let shape = rng.shape(3);
        let mut two = || [rng.tensor(&shape, -1.0, 1.0), rng.tensor(&shape, -1.0, 1.0)];
        let values = two();
        check("select", rng, &values, |g, v| {
            let iota = g.iota(&shape, 1);
            let (iota, half) = (g.cast(iota, DType::F64), g.constant(Scalar::F64(0.5), &shape));
            let cond = g.lt(half, iota);
            let other = g.sin(v[1]);
            g.select(cond, v[0], other)
        });
        let (axis, len) = (rng.below(3), 1 + rng.below(5));
        let indices: Vec<Scalar> = (0..2 * len).map(|_| Scalar::I64(rng.below(shape[axis]) as i64)).collect();
        check("gather", rng, &values[..1], |g, v| {
            let at = g.table(indices.clone(), &[2, len]);
            g.gather(v[0], at, axis)
        });
        let rows: Vec<Scalar> = (0..shape[axis]).map(|_| Scalar::I64(rng.below(len) as i64)).collect();
        check("scatter", rng, &values[..1], |g, v| {
            let at = g.table(rows.clone(), &[shape[axis]]);
            g.scatter_add(v[0], at, axis, len)
        });
    }

    #[test]
    fn reductions_and_views(seed: u64) {
        let rng = &mut Rng(seed);
        let rank = 1 + rng.below(4);
        let shape = rng.shape(rank);
        let x = [rng.tensor(&shape, -1.0, 1.0)];
        let axes = rng.axes(rank);
        check("Sum", rng, &x, |g, v| g.sum(v[0], &axes));
        let apart = [rng.distinct(&shape)];
        for op in [ReduceOp::Max, ReduceOp::Min] {
            check(&format!("{op:?}"), rng, &apart, |g, v| g.reduce(op, v[0], &axes));
        }
        check("reshape", rng, &x, |g, v| g.reshape(v[0], &[shape.iter().product()]));
        let order = rng.order(rank);
        check("permute", rng, &x, |g, v| g.permute(v[0], &order));
        let axis = rng.below(rank);
        let (mut wide, extra) = (shape.clone(), 1 + rng.below(3));
        wide.insert(axis, extra);
        let kept: Vec<usize> = (0..=rank).filter(|&i| i != axis).collect();
        check("broadcast", rng, &x, |g, v| g.broadcast(v[0], &kept, &wide));
        let (start, step) = (rng.below(shape[axis]), 1 + rng.below(2));
        let len = (shape[axis] - start).div_ceil(step);
        check("slice", rng, &x, |g, v| g.slice(v[0], axis, start, len, step));
        let (before, after) = (rng.below(3), rng.below(3));
        let len = before + (shape[axis] - 1) * step + 1 + after;
        check("pad", rng, &x, |g, v| g.pad(v[0], axis, before, step, len));
        check("concat", rng, &x, |g, v| {
            let (sin, part) = (g.sin(v[0]), g.slice(v[0], axis, 0, 1, 1));
            let zeros = g.constant_like(0.0, part);
            g.concat(&[part, zeros, v[0], sin], axis)
        });
    }

    #[test]
    fn contractions(seed: u64) {
        let rng = &mut Rng(seed);
        // Four groups of axes, up to two each, in random places.
        let [batch, sum, a_only, b_only] = [0; 4].map(|_| { let rank = rng.below(3); rng.shape(rank) });
        let mut place = |free: &[usize]| {
            let extents: Vec<usize> = [&batch[..], &sum, free].concat();
            let order = rng.order(extents.len());
            let at: Vec<usize> = (0..extents.len()).map(|i| order.iter().position(|&j| j == i).unwrap()).collect();
            let shape: Vec<usize> = order.iter().map(|&i| extents[i]).collect();
            let batch_axes = at[..batch.len()].to_vec();
            let sum_axes = at[batch.len()..batch.len() + sum.len()].to_vec();
            (rng.tensor(&shape, -1.0, 1.0), batch_axes, sum_axes)
        };
        let (a, a_batch, a_sum) = place(&a_only);
        let (b, b_batch, b_sum) = place(&b_only);
        check("contract", rng, &[a, b], |g, v| g.contract(v[0], v[1], &a_batch, &b_batch, &a_sum, &b_sum));
    }

    #[test]
    fn convolutions(seed: u64) {
        let rng = &mut Rng(seed);
        let (stride, pad) = ([1 + rng.below(2), 1 + rng.below(2)], [0; 2].map(|_| [rng.below(2), rng.below(2)]));
        let (n, c, f) = (1 + rng.below(2), 1 + rng.below(2), 1 + rng.below(3));
        let (kernel, size) = ([1 + rng.below(3), 1 + rng.below(3)], [3 + rng.below(3), 3 + rng.below(3)]);
        let out = [0, 1].map(|i| (size[i] + pad[i][0] + pad[i][1] - kernel[i]) / stride[i] + 1);
        let shapes = [[n, size[0], size[1], c], [kernel[0], kernel[1], c, f], [n, out[0], out[1], f]];
        let [x, w, y] = shapes.map(|shape| rng.tensor(&shape, -1.0, 1.0));
        let cases = [
            (ConvRole::Forward, [x.clone(), w.clone()], None),
            (ConvRole::Input, [w, y.clone()], Some(&shapes[0][..])),
            (ConvRole::Weight, [x, y], Some(&shapes[1][..])),
        ];
        for (role, values, shape) in cases {
            check(&format!("{role:?}"), rng, &values, |g, v| g.conv(role, [v[0], v[1]], stride, pad, shape));
        }
    }
}

/// The derivatives of `f` with respect to one variable at each element.
fn slopes(values: &[f64], f: impl Fn(&mut Graph, NodeId) -> NodeId) -> Vec<f64> {
    let mut g = Graph::new();
    let x = variable(&mut g, 0, &[values.len()]);
    let y = f(&mut g, x);
    let total = g.sum(y, &[0]);
    let values = [Tensor::f64(&[values.len()], values.to_vec())];
    match grad(&mut g, total, &[x]).unwrap()[0] {
        Some(gradient) => run(&g, &[gradient], &values)[0].to_f64(),
        None => vec![0.0; values[0].data.len()],
    }
}

#[test]
fn kinks_are_those_of_pytorch() {
    assert_eq!(slopes(&[-1.0, 0.0, 2.0], |g, x| g.abs(x)), [-1.0, 0.0, 1.0]);
    let clamp = |g: &mut Graph, x| {
        let (low, high) = (g.constant_like(-1.0, x), g.constant_like(1.0, x));
        let bounded = g.max(low, x);
        g.min(bounded, high)
    };
    assert_eq!(slopes(&[-2.0, -1.0, 0.0, 1.0, 2.0], clamp), [0.0, 1.0, 1.0, 1.0, 0.0]);
    // max(x, x²) ties at 0 and 1, where each side gets half: (1 + 2x)/2.
    let larger = |g: &mut Graph, x| {
        let square = g.mul(x, x);
        g.max(x, square)
    };
    assert_eq!(slopes(&[-1.0, 0.0, 0.5, 1.0, 2.0], larger), [-2.0, 0.5, 1.0, 1.5, 4.0]);
    let largest = |g: &mut Graph, x| {
        let top = g.reduce(ReduceOp::Max, x, &[0]);
        g.broadcast(top, &[], &[4])
    };
    assert_eq!(slopes(&[3.0, 1.0, 3.0, 2.0], largest), [2.0, 0.0, 2.0, 0.0]);
    let power = |g: &mut Graph, x| {
        let two = g.constant_like(2.0, x);
        g.pow(x, two)
    };
    assert_eq!(slopes(&[0.0, -3.0], power), [0.0, -6.0]);
}

#[test]
fn a_branch_not_taken_does_not_poison_forward_mode() {
    let mut g = Graph::new();
    let x = variable(&mut g, 0, &[2]);
    let zero = g.constant_like(0.0, x);
    let (positive, root) = (g.lt(zero, x), g.sqrt(x));
    let y = g.select(positive, root, zero);
    let one = g.constant_like(1.0, x);
    let tangent = jvp(&mut g, &[y], &[(x, one)].into_iter().collect()).unwrap()[0].unwrap();
    assert_eq!(run(&g, &[tangent], &[Tensor::f64(&[2], vec![-1.0, 4.0])])[0].to_f64(), [0.0, 0.25]);
}

#[test]
fn exact_zeros_are_absent() {
    let mut g = Graph::new();
    let x = variable(&mut g, 0, &[3]);
    let still = g.stop(x);
    let floor = g.floor(x);
    let other = variable(&mut g, 1, &[3]);
    let outputs = [still, floor, other];
    let one = g.constant_like(1.0, x);
    assert_eq!(jvp(&mut g, &outputs, &[(x, one)].into_iter().collect()).unwrap(), [None, None, None]);
    // x·stop(x): only the first factor counts.
    assert_eq!(
        slopes(&[3.0], |g, x| {
            let still = g.stop(x);
            g.mul(x, still)
        }),
        [3.0]
    );
}

#[test]
fn what_has_no_rule_is_an_error_that_names_it() {
    let mut g = Graph::new();
    let (x, v) = (variable(&mut g, 0, &[]), variable(&mut g, 1, &[]));
    let y = g.binary(BinaryOp::StudentCdf, x, v);
    let error = grad(&mut g, y, &[v]).unwrap_err();
    assert_eq!(error.node(), y);
    assert_eq!(error.to_string(), "the degrees of freedom of StudentCdf cannot be differentiated");
    assert!(matches!(grad(&mut g, y, &[x]), Err(DeriveError::Unsupported { .. })));
}

/// Gradients keep their variable's precision through casts.
#[test]
fn casts_between_floats_carry_derivatives() {
    let mut g = Graph::new();
    let x = g.source(Source::Data { name: "0".into() }, Ty::new(DType::F32, &[2]));
    let wide = g.cast(x, DType::F64);
    let square = g.mul(wide, wide);
    let total = g.sum(square, &[0]);
    let gradient = grad(&mut g, total, &[x]).unwrap()[0].unwrap();
    let value = Tensor::f32(&[2], vec![3.0, -1.5]);
    assert_eq!(run(&g, &[gradient], &[value])[0].data, Data::F32(vec![6.0, -3.0]));
}

#[test]
fn integers_have_no_derivative() {
    let mut g = Graph::new();
    let x = variable(&mut g, 0, &[3]);
    let whole = g.cast(x, DType::I64);
    let back = g.cast(whole, DType::F64);
    let total = g.sum(back, &[0]);
    assert_eq!(grad(&mut g, total, &[x, whole]).unwrap(), [None, None]);
}

#[test]
fn a_chain_of_200_000_nodes_does_not_overflow() {
    let mut g = Graph::new();
    let x = variables(&mut g, &[Tensor::f64(&[], vec![0.5])])[0];
    let mut y = x;
    for i in 0..100_000 {
        let step = g.constant_like(1.0 + (i % 7) as f64 * 1e-7, y);
        let scaled = g.mul(y, step);
        y = g.sin(scaled);
    }
    let one = g.constant_like(1.0, x);
    let forward = jvp(&mut g, &[y], &[(x, one)].into_iter().collect()).unwrap()[0].unwrap();
    let backward = grad(&mut g, y, &[x]).unwrap()[0].unwrap();
    let outputs = crate::graph::inline(&mut g, &[y, forward, backward]).unwrap();
    let values = run(&g, &outputs, &[Tensor::f64(&[], vec![0.5])]);
    assert_close(&values[2], &values[1], 1e-9, "reverse and forward mode");
    assert!(crate::graph::print(&g, &outputs).lines().count() > 200_000);
}
