//! What the builder folds, what the evaluator computes, what the walkers keep.

use super::testing::{Rng, assert_close, run, variable};
use super::*;
use fgc_program::{BinaryOp, ConvRole, DType, Scalar, UnaryOp};

fn numbers(g: &mut Graph, values: &[f64], shape: &[usize]) -> NodeId {
    g.table(values.iter().map(|&x| Scalar::F64(x)).collect(), shape)
}

fn value(g: &Graph, id: NodeId) -> Vec<f64> {
    run(g, &[id], &[])[0].to_f64()
}

#[test]
fn equal_nodes_are_one_node() {
    let mut g = Graph::new();
    let (x, y) = (variable(&mut g, 0, &[2]), variable(&mut g, 1, &[2]));
    let sum = g.add(x, y);
    assert_eq!(sum, g.add(y, x), "commutative operations have one order");
    assert_ne!(g.sub(x, y), g.sub(y, x));
    // Constants compare by bits: NaN is itself, and the two zeros differ.
    let nan = g.constant(Scalar::F64(f64::NAN), &[2]);
    assert_eq!(nan, g.constant(Scalar::F64(f64::NAN), &[2]));
    assert_ne!(g.constant(Scalar::F64(0.0), &[2]), g.constant(Scalar::F64(-0.0), &[2]));
}

#[test]
fn neutral_elements_and_identities_cost_nothing() {
    let mut g = Graph::new();
    let x = variable(&mut g, 0, &[2, 3]);
    let [zero, one, minus] = [0.0, 1.0, -1.0].map(|c| g.constant_like(c, x));
    let minus_x = g.neg(x);
    assert_eq!(g.add(zero, x), x);
    assert_eq!(g.sub(x, zero), x);
    assert_eq!(g.sub(zero, x), minus_x);
    assert_eq!(g.mul(one, x), x);
    assert_eq!(g.mul(x, minus), minus_x);
    assert_eq!(g.neg(minus_x), x);
    assert_eq!(g.mul(x, zero), zero, "a term with weight 0 is absent");
    assert_eq!(g.div(x, one), x);
    assert_eq!(g.pow(x, one), x);
    assert_eq!(g.cast(x, DType::F64), x);
    assert_eq!(g.reshape(x, &[2, 3]), x);
    assert_eq!(g.permute(x, &[0, 1]), x);
    assert_eq!(g.sum(x, &[]), x);
    assert_eq!(g.slice(x, 1, 0, 3, 1), x);
    assert_eq!(g.pad(x, 1, 0, 1, 3), x);
    assert_eq!(g.concat(&[x], 0), x);
    let cond = g.lt(x, zero);
    assert_eq!(g.select(cond, x, x), x);
    let yes = g.constant(Scalar::Bool(true), &[2, 3]);
    assert_eq!(g.select(yes, x, zero), x);
    let still = g.stop(x);
    assert_eq!(g.stop(still), still);
    assert_eq!(g.stop(one), one);
}

#[test]
fn views_of_views_are_one_view() {
    let mut g = Graph::new();
    let x = variable(&mut g, 0, &[2, 3, 4]);
    let turned = g.permute(x, &[1, 2, 0]);
    assert_eq!(g.permute(turned, &[2, 0, 1]), x);
    let flat = g.reshape(x, &[24]);
    assert_eq!(g.reshape(flat, &[2, 3, 4]), x);
    let part = g.slice(x, 2, 1, 3, 1);
    assert_eq!(g.slice(part, 2, 1, 2, 1), g.slice(x, 2, 2, 2, 1));
    // Axes of extent 1 come and go by reshape alone, whichever operation did it.
    let row = g.slice(x, 0, 0, 1, 1);
    let squeezed = g.reshape(row, &[3, 4]);
    assert_eq!(g.sum(row, &[0]), squeezed);
    assert_eq!(g.broadcast(squeezed, &[1, 2], &[1, 3, 4]), row);
    assert_eq!(g.permute(row, &[1, 0, 2]), g.reshape(row, &[3, 1, 4]));
    let two = g.constant(Scalar::F64(2.0), &[3]);
    let wide = g.broadcast(two, &[1], &[5, 3]);
    assert_eq!(g.const_value(wide), Some(Scalar::F64(2.0)));
    let total = g.sum(wide, &[0, 1]);
    assert_eq!(g.const_value(total), Some(Scalar::F64(30.0)));
}

#[test]
fn narrow_casts_are_kept_and_wide_ones_undone() {
    let mut g = Graph::new();
    let x = g.source(Source::Data { name: "0".into() }, Ty::new(DType::F32, &[2]));
    let wide = g.cast(x, DType::F64);
    assert_eq!(g.cast(wide, DType::F32), x);
    let y = variable(&mut g, 1, &[2]);
    let narrow = g.cast(y, DType::F32);
    assert_ne!(g.cast(narrow, DType::F64), y, "rounding is not undone");
}

#[test]
#[should_panic(expected = "operands of Add")]
fn shapes_that_differ_are_refused() {
    let mut g = Graph::new();
    let (x, y) = (variable(&mut g, 0, &[2]), variable(&mut g, 1, &[2, 1]));
    g.add(x, y);
}

#[test]
#[should_panic(expected = "Exp of bool[2]")]
fn types_that_do_not_fit_are_refused() {
    let mut g = Graph::new();
    let x = variable(&mut g, 0, &[2]);
    let cond = g.lt(x, x);
    g.exp(cond);
}

#[test]
fn constants_fold_in_their_own_precision() {
    let mut g = Graph::new();
    let third = g.constant(Scalar::F32(1.0 / 3.0), &[]);
    let (square, e) = (g.mul(third, third), g.exp(third));
    assert_eq!(g.const_value(square), Some(Scalar::F32((1.0f32 / 3.0) * (1.0f32 / 3.0))));
    assert_eq!(g.const_value(e), Some(Scalar::F32((1.0f32 / 3.0).exp())));
    let (minus, three) = (g.constant(Scalar::I64(-7), &[]), g.constant(Scalar::I64(3), &[]));
    let (quotient, rest) = (g.div(minus, three), g.rem(minus, three));
    assert_eq!(g.const_value(quotient), Some(Scalar::I64(-3)), "integers divide Euclidean");
    assert_eq!(g.const_value(rest), Some(Scalar::I64(2)));
    let wrong = g.constant(Scalar::F64(-1.5), &[]);
    let whole = g.cast(wrong, DType::I64);
    assert_eq!(g.const_value(whole), Some(Scalar::I64(-1)), "casts truncate");
}

#[test]
fn primitives_compute_what_they_say() {
    let mut g = Graph::new();
    let a = numbers(&mut g, &[1., 2., 3., 4., 5., 6.], &[2, 3]);
    let turned = g.permute(a, &[1, 0]);
    assert_eq!(value(&g, turned), [1., 4., 2., 5., 3., 6.]);
    let wide = g.broadcast(a, &[0, 2], &[2, 2, 3]);
    assert_eq!(value(&g, wide), [1., 2., 3., 1., 2., 3., 4., 5., 6., 4., 5., 6.]);
    let odd = g.slice(a, 1, 0, 2, 2);
    assert_eq!(value(&g, odd), [1., 3., 4., 6.]);
    let padded = g.pad(odd, 1, 1, 2, 5);
    assert_eq!(value(&g, padded), [0., 1., 0., 3., 0., 0., 4., 0., 6., 0.]);
    let both = g.concat(&[odd, a], 1);
    assert_eq!(value(&g, both), [1., 3., 1., 2., 3., 4., 6., 4., 5., 6.]);
    let top = g.reduce(ReduceOp::Max, a, &[0]);
    assert_eq!(value(&g, top), [4., 5., 6.]);
    let gram = g.contract(a, a, &[], &[], &[1], &[1]);
    assert_eq!(value(&g, gram), [14., 32., 32., 77.]);
    let rows = g.contract(a, a, &[0], &[0], &[1], &[1]);
    assert_eq!(value(&g, rows), [14., 77.]);
    let at = g.table([2, 0, 9].map(Scalar::I64).into(), &[3]);
    let picked = g.gather(a, at, 1);
    assert_eq!(value(&g, picked), [3., 1., 3., 6., 4., 6.], "indices are clamped");
    let added = g.scatter_add(picked, at, 1, 3);
    assert_eq!(value(&g, added), [1., 0., 6., 4., 0., 12.]);
    let column = g.iota(&[2, 3], 1);
    assert_eq!(value(&g, column), [0., 1., 2., 0., 1., 2.]);
}

#[test]
fn convolutions_slide_channels_last() {
    let mut g = Graph::new();
    // One row of three pixels, the kernel (1, 10, 100), padded by one on either side.
    let x = numbers(&mut g, &[1., 2., 3.], &[1, 1, 3, 1]);
    let w = numbers(&mut g, &[1., 10., 100.], &[1, 3, 1, 1]);
    let pad = [[0, 0], [1, 1]];
    let y = g.conv(ConvRole::Forward, [x, w], [1, 1], pad, None);
    assert_eq!(value(&g, y), [210., 321., 32.]);
    let strided = g.conv(ConvRole::Forward, [x, w], [1, 2], pad, None);
    assert_eq!(value(&g, strided), [210., 32.]);
    let back = g.conv(ConvRole::Input, [w, y], [1, 1], pad, Some(&[1, 1, 3, 1]));
    assert_eq!(value(&g, back), [2100. + 321., 21000. + 3210. + 32., 32100. + 320.]);
}

#[test]
fn nan_is_not_lost_in_extrema() {
    let mut g = Graph::new();
    let a = numbers(&mut g, &[1.0, f64::NAN, 3.0], &[3]);
    let one = g.constant_like(1.0, a);
    let (most, least) = (g.reduce(ReduceOp::Max, a, &[0]), g.min(a, one));
    assert!(value(&g, most)[0].is_nan());
    assert!(value(&g, least)[1].is_nan());
    let finite = g.is_finite(a);
    assert_eq!(value(&g, finite), [1.0, 0.0, 1.0]);
}

#[test]
fn a_missing_or_wrong_source_is_an_error() {
    let mut g = Graph::new();
    let x = variable(&mut g, 0, &[2]);
    let y = g.unary(UnaryOp::Exp, x);
    assert!(matches!(eval(&g, &[y], |_, _| None), Err(EvalError::Missing(_))));
    let wrong = |_: &Source, _: &Ty| Some(Tensor::f32(&[2], vec![0.0; 2]));
    let error = eval(&g, &[y], wrong).unwrap_err();
    assert_eq!(error.to_string(), "the value for Data { name: \"0\" } should be f64[2], not f32[2]");
}

#[test]
fn substitution_rebuilds_what_depends_on_it() {
    let mut g = Graph::new();
    let (x, y) = (variable(&mut g, 0, &[2]), variable(&mut g, 1, &[2]));
    let (sin, other) = (g.sin(x), g.exp(y));
    let product = g.mul(sin, other);
    let zero = g.constant_like(0.0, x);
    let mut heard = Vec::new();
    let map = [(x, y)].into_iter().collect();
    let new = substitute_with(&mut g, &[product, other], &map, &mut |old, new| heard.push((old, new)));
    let expected = {
        let sin = g.sin(y);
        g.mul(sin, other)
    };
    assert_eq!(new, [expected, other]);
    assert_eq!(heard, [(sin, g.sin(y)), (product, expected)]);
    let gone = substitute(&mut g, &[product], &[(sin, zero)].into_iter().collect());
    assert_eq!(gone, [zero], "substitution folds");
}

#[test]
fn inlining_says_where_nodes_come_from() {
    let mut g = Graph::new();
    let f = g.new_func("f", &[Ty::new(DType::F64, &[2])]);
    let arg = g.func(f).args[0];
    let body = g.sin(arg);
    g.set_outputs(f, vec![body]);
    let x = variable(&mut g, 0, &[2]);
    let call = g.call(f, &[x], 0);
    let mut heard = Vec::new();
    let flat = inline_with(&mut g, &[call], &mut |old, new| heard.push((old, new))).unwrap()[0];
    assert_eq!(heard, [(body, flat), (call, flat)]);
}

#[test]
fn graphs_print_a_line_a_node() {
    let mut g = Graph::new();
    let f = g.new_func("square", &[Ty::new(DType::F64, &[2])]);
    let arg = g.func(f).args[0];
    let body = g.mul(arg, arg);
    g.set_outputs(f, vec![body]);
    let x = variable(&mut g, 0, &[2]);
    let y = g.call(f, &[x], 0);
    let total = g.sum(y, &[0]);
    let expected = "\
fn square.0(%0: f64[2])
  %1 = mul %0 %0 : f64[2]
  return %1

  %2 = source Data { name: \"0\" } : f64[2]
  %3 = call square.0 output 0 %2 : f64[2]
  %4 = sum over [0] %3 : f64[]
  return %4
";
    assert_eq!(print(&g, &[total]), expected);
}

/// f32 results are f64 results rounded.
#[test]
fn single_precision_rounds_each_operation() {
    let mut g = Graph::new();
    let rng = &mut Rng(3);
    let wide = rng.tensor(&[20], 0.1, 0.9);
    let single = Tensor::f32(&[20], wide.to_f64().iter().map(|&x| x as f32).collect());
    let x = g.source(Source::Data { name: "0".into() }, Ty::new(DType::F32, &[20]));
    let double = g.cast(x, DType::F64);
    for op in [UnaryOp::Exp, UnaryOp::Erf, UnaryOp::NormalQuantile, UnaryOp::Softplus] {
        let (narrow, wide) = (g.unary(op, x), g.unary(op, double));
        let rounded = g.cast(wide, DType::F32);
        let found = run(&g, &[narrow, rounded], std::slice::from_ref(&single));
        assert_eq!(found[0], found[1], "{op:?}");
    }
    let both = g.binary(BinaryOp::Atan2, x, x);
    let quarter = Tensor::f32(&[20], vec![std::f32::consts::FRAC_PI_4; 20]);
    assert_close(&run(&g, &[both], &[single])[0], &quarter, 1e-7, "atan2");
}
