//! Whether what was computed is what was recorded.

use crate::case::Case;
use crate::replay::Replayed;
use fgc_program::cuda::Precision;
use fgc_runtime::Tensor;
use serde_json::Value;

/// How far losses and gradients may be off where products are in tf32, and where they and what lives within a step are in bf16:
/// about twice what emulating every case gives. The largest are of differences between evaluations at close times. Last how far
/// parameters may be off after several steps, of how far they moved.
const TF32: [f64; 3] = [3e-2, 1e-1, 5e-2];
const BF16: [f64; 3] = [1.5e-1, 4e-1, 1.5e-1];

/// The largest deviations of a case, and each that is too large.
#[derive(Clone, Debug, Default)]
pub struct Agreement {
    /// Relative, of any loss or metric.
    pub loss: f64,
    /// Relative norm, of any gradient or updated buffer.
    pub grad: f64,
    /// Of any parameter after several steps, relative to how far it moved.
    pub after: f64,
    /// Losses, gradients and parameters compared.
    pub compared: usize,
    pub wrong: Vec<String>,
}

/// Losses to 1e-4 relative (1e-6 absolute), gradients and buffers to 1e-3 in norm, parameters after several steps to
/// 1e-2 of their movement, those without gradient exactly; with finite-difference derivatives all to 5e-3.
pub fn compare(case: &Case, replayed: &Replayed) -> Agreement {
    let coarse = case.recorded.hyper.get("jvp_finite_diff") == Some(&Value::Bool(true));
    let tolerance = |usual: f64| if coarse { f64::max(usual, 5e-3) } else { usual };
    let mut all = Agreement::default();
    let parameter = |name: &str| {
        let known = name.strip_prefix("after.").and_then(|p| case.weights.get(p));
        known.filter(|_| !replayed.buffers.iter().any(|b| b == name))
    };
    for (name, expected) in &case.expected {
        let Some(found) = replayed.tensors.get(name) else {
            all.wrong.push(format!("{name} is not computed"));
            continue;
        };
        all.compared += 1;
        if name.contains("loss.") {
            let (a, b) = (found.to_f64()[0], expected.to_f64()[0]);
            let error = (a - b).abs() / b.abs().max(1e-300);
            if (a - b).abs() > 1e-6 {
                all.loss = worse(all.loss, error);
                judge(&mut all.wrong, name, error, tolerance(1e-4));
            } else if !a.is_finite() {
                all.wrong.push(format!("{name} is {a}"));
            }
        } else if found.shape() != expected.shape() {
            all.wrong.push(format!("{name} has shape {:?}, recorded is {:?}", found.shape(), expected.shape()));
        } else if let Some(before) = parameter(name) {
            let moved = distance(expected, before);
            let error = distance(found, expected) / if moved == 0.0 { 1e-300 } else { moved };
            all.after = worse(all.after, error);
            judge(&mut all.wrong, name, error, tolerance(1e-2));
        } else {
            let size = distance(expected, &zeros(expected));
            let error = distance(found, expected) / size.max(1e-300);
            all.grad = worse(all.grad, error);
            judge(&mut all.wrong, name, error, tolerance(1e-3));
        }
    }
    for (name, found) in &replayed.tensors {
        if case.expected.contains_key(name) {
            continue;
        }
        if name.starts_with("grad.") {
            all.wrong.push(format!("{name} is computed, and recorded without gradient"));
        } else if let Some(before) = parameter(name) {
            all.compared += 1;
            if found.to_f32() != before.to_f32() {
                all.wrong.push(format!("{name} changed, and no gradient reaches it"));
            }
        } else if name.contains("loss.") {
            all.wrong.push(format!("{name} is not recorded"));
        }
    }
    all
}

/// As [`compare`], on a GPU that rounds. What that does to one small gradient says little: losses and gradients are each
/// compared all together, by the norm of their difference relative to theirs; parameters after several steps relative to how far they moved.
pub fn compare_rounded(case: &Case, replayed: &Replayed, precision: Precision) -> Agreement {
    let [loss, grad, after] = match precision {
        Precision::F32 => return compare(case, replayed),
        Precision::Tf32 => TF32,
        Precision::Bf16 => BF16,
    };
    let mut all = Agreement::default();
    // Of losses, gradients and parameters after several steps: squares of differences, and of what is recorded, or how far it
    // has moved.
    let mut sums = [[0.0; 2]; 3];
    for (name, expected) in &case.expected {
        let before = name.strip_prefix("after.").and_then(|param| case.weights.get(param));
        let (which, before) = match before {
            Some(before) if !replayed.buffers.contains(name) => (2, before.clone()),
            _ if name.contains("loss.") => (0, zeros(expected)),
            _ if name.starts_with("grad.") => (1, zeros(expected)),
            _ => continue,
        };
        match replayed.tensors.get(name) {
            Some(found) if found.shape() == expected.shape() => {
                all.compared += 1;
                sums[which][0] += distance(found, expected).powi(2);
                sums[which][1] += distance(expected, &before).powi(2);
            }
            Some(_) => all.wrong.push(format!("{name} has another shape than recorded")),
            None => all.wrong.push(format!("{name} is not computed")),
        }
    }
    let [losses, grads, moved] = sums.map(|[off, size]| if off == 0.0 { 0.0 } else { (off / size).sqrt() });
    (all.loss, all.grad, all.after) = (losses, grads, moved);
    judge(&mut all.wrong, "all losses", losses, loss);
    judge(&mut all.wrong, "all gradients", grads, grad);
    judge(&mut all.wrong, "all parameters together", moved, after);
    if all.compared == 0 {
        all.wrong.push("nothing is recorded".into());
    }
    all
}

fn judge(wrong: &mut Vec<String>, name: &str, error: f64, tolerance: f64) {
    // Not `error > tolerance`: NaN is wrong.
    if error.is_nan() || error > tolerance {
        wrong.push(format!("{name} is off by {error:.2e}, allowed is {tolerance:.0e}"));
    }
}

/// The larger, NaN the largest.
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

fn zeros(like: &Tensor) -> Tensor {
    Tensor::f64(like.shape(), vec![0.0; like.len()])
}

fn distance(a: &Tensor, b: &Tensor) -> f64 {
    a.to_f64().iter().zip(b.to_f64()).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}
