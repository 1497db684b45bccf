//! The probability-flow ODE of a mixture of Gaussians: which data its exact denoiser makes of which noise.
//!
//! Divided by α, a latent is that of the variance-exploding process at λ = σ/α, where the mixture's components have
//! variance v = s² + λ². With u = ln v the ODE (Song et al. 2021, arXiv:2011.13456, eq. 13) is dy/du = (y − m(y, u))/2, m
//! being the centres' mean under the posterior; z = y/√v turns it into dz/du = −m/(2√v), which is smooth down to t = 0.
//! Outside the plane through the centres z is constant, so only the coordinates in that plane are integrated.

use super::Mixture;
use serde::{Deserialize, Serialize};

/// How noise is added as time runs: x_t = α(t)·x + σ(t)·eps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// α = 1, σ = t, t up to 80 (Karras et al. 2022, arXiv:2206.00364).
    Edm,
    /// Rectified flow: α = 1 − t, σ = t, t up to 0.999 (Liu et al. 2022, arXiv:2209.03003).
    Rf,
}

impl Schedule {
    /// The name in presets.
    pub fn name(self) -> &'static str {
        match self {
            Schedule::Edm => "edm",
            Schedule::Rf => "rf",
        }
    }

    fn alpha(self, t: f64) -> f64 {
        match self {
            Schedule::Edm => 1.0,
            Schedule::Rf => 1.0 - t,
        }
    }

    pub fn t_max(self) -> f64 {
        match self {
            Schedule::Edm => 80.0,
            Schedule::Rf => 0.999,
        }
    }

    /// The times of `steps` steps of a few-step sampler: from about `t_max` to 0, `steps` + 1 of them.
    pub fn t_list(self, steps: usize) -> Vec<f64> {
        // EDM's noise levels (eq. 5 with ρ = 7): 0 is the lowest of 1000.
        let level = |i: usize| {
            let [low, high] = [0.002f64, 80.0].map(|t| t.powf(1.0 / 7.0));
            (high + (999 - i) as f64 / 999.0 * (low - high)).powi(7)
        };
        let time = |i: usize| match self {
            _ if i == steps => 0.0,
            Schedule::Edm => level((998 * (steps - i) + 2 * i) / steps),
            Schedule::Rf => 0.999 * (steps - i) as f64 / steps as f64,
        };
        (0..=steps).map(time).collect()
    }
}

#[derive(Debug, thiserror::Error, PartialEq)]
pub enum FlowError {
    #[error("there is no class {class}: the mixture has {classes}")]
    Class { class: usize, classes: usize },
    #[error("{t} is no time of the schedule `{}`, at which there is signal left", schedule.name())]
    Time { t: f64, schedule: Schedule },
    #[error("a latent of {found} values, but the mixture has {expected} dimensions")]
    Dimension { expected: usize, found: usize },
}

/// The flow of a mixture, or of one of its classes.
#[derive(Debug)]
pub struct Flow {
    /// The mean of the centres.
    origin: Vec<f64>,
    /// Orthonormal rows that span the centres' differences from it: `[rank][dim]`.
    basis: Vec<Vec<f64>>,
    /// The centres in that basis: `[modes][rank]`, and transposed.
    centres: Vec<Vec<f64>>,
    transposed: Vec<Vec<f64>>,
    std: f64,
}

impl Mixture {
    /// The flow of the whole mixture, or of the modes of one class.
    pub fn flow(&self, class: Option<usize>) -> Result<Flow, FlowError> {
        let dim = self.dim();
        let wanted = |k: &usize| class.is_none_or(|class| self.class_of.get(*k) == Some(&class));
        let mut centres: Vec<Vec<f64>> =
            (0..self.components()).filter(wanted).map(|k| self.centres[k * dim..(k + 1) * dim].to_vec()).collect();
        if centres.is_empty() {
            return Err(FlowError::Class { class: class.unwrap_or_default(), classes: self.classes });
        }
        let n = centres.len() as f64;
        let origin: Vec<f64> = (0..dim).map(|d| centres.iter().map(|c| c[d]).sum::<f64>() / n).collect();
        for centre in &mut centres {
            centre.iter_mut().zip(&origin).for_each(|(c, o)| *c -= o);
        }
        let basis = span(&centres, dim);
        let centres: Vec<Vec<f64>> = centres.iter().map(|c| basis.iter().map(|b| dot(b, c)).collect()).collect();
        let transposed = (0..basis.len()).map(|j| centres.iter().map(|c| c[j]).collect()).collect();
        Ok(Flow { origin, basis, centres, transposed, std: self.std })
    }

    /// Where the probability-flow ODE takes the latent `x` (`[dim]`) of time `from` at time `to`; given a class, the ODE
    /// of that class alone.
    pub fn flow_map(
        &self,
        schedule: Schedule,
        x: &[f64],
        from: f64,
        to: f64,
        class: Option<usize>,
    ) -> Result<Vec<f64>, FlowError> {
        self.flow(class)?.map(schedule, x, from, to)
    }
}

impl Flow {
    /// Error allowed in each step, in standard deviations of a component.
    pub const TOLERANCE: f64 = 1e-9;

    /// Where the ODE takes the latent `x` (`[dim]`) of time `from` at time `to`.
    pub fn map(&self, schedule: Schedule, x: &[f64], from: f64, to: f64) -> Result<Vec<f64>, FlowError> {
        self.map_to(schedule, x, from, to, Flow::TOLERANCE)
    }

    /// `map` to a tolerance; a 32nd of it takes about twice the steps.
    pub fn map_to(
        &self,
        schedule: Schedule,
        x: &[f64],
        from: f64,
        to: f64,
        tolerance: f64,
    ) -> Result<Vec<f64>, FlowError> {
        if x.len() != self.origin.len() {
            return Err(FlowError::Dimension { expected: self.origin.len(), found: x.len() });
        }
        if let Some(&t) = [from, to].iter().find(|&&t| !(t >= 0.0 && t.is_finite() && schedule.alpha(t) > 0.0)) {
            return Err(FlowError::Time { t, schedule });
        }
        let [alpha, alpha_to] = [from, to].map(|t| schedule.alpha(t));
        let [v, v_to] = [from / alpha, to / alpha_to].map(|ratio| self.std.powi(2) + ratio.powi(2));
        let scaled: Vec<f64> = x.iter().zip(&self.origin).map(|(x, o)| (x / alpha - o) / v.sqrt()).collect();
        let before: Vec<f64> = self.basis.iter().map(|b| dot(b, &scaled)).collect();
        let after = self.integrate(before.clone(), v.ln(), v_to.ln(), tolerance);
        let mut out = scaled;
        for (row, (after, before)) in self.basis.iter().zip(after.iter().zip(&before)) {
            out.iter_mut().zip(row).for_each(|(o, b)| *o += (after - before) * b);
        }
        out.iter_mut().zip(&self.origin).for_each(|(z, o)| *z = alpha_to * (v_to.sqrt() * *z + o));
        Ok(out)
    }

    /// dz/du at z, written to `slope`; `weights` is a work space of as many values as there are modes.
    fn slope(&self, u: f64, z: &[f64], weights: &mut [f64], slope: &mut [f64]) {
        let deviation = (0.5 * u).exp();
        weights.fill(0.0);
        for (row, z) in self.transposed.iter().zip(z) {
            weights.iter_mut().zip(row).for_each(|(w, c)| *w += (z - c / deviation).powi(2));
        }
        let nearest = weights.iter().copied().fold(f64::INFINITY, f64::min);
        weights.iter_mut().for_each(|w| *w = (0.5 * (nearest - *w)).exp());
        let total: f64 = weights.iter().sum();
        slope.fill(0.0);
        // Modes this unlikely do not change the sum.
        for (centre, &w) in self.centres.iter().zip(&*weights).filter(|(_, w)| **w > 1e-18) {
            let share = -0.5 * w / (total * deviation);
            slope.iter_mut().zip(centre).for_each(|(s, c)| *s += share * c);
        }
    }

    /// z at `end`, given z at `u`, by the Runge–Kutta pair of Dormand and Prince (1980) with steps as long as the
    /// tolerance allows.
    fn integrate(&self, mut z: Vec<f64>, mut u: f64, end: f64, tolerance: f64) -> Vec<f64> {
        let mut weights = vec![0.0; self.centres.len()];
        let mut slopes: [Vec<f64>; 7] = std::array::from_fn(|_| vec![0.0; z.len()]);
        let mut next = z.clone();
        let direction = (end - u).signum();
        let mut length: f64 = 0.1;
        self.slope(u, &z, &mut weights, &mut slopes[0]);
        // Rounding keeps `u` from meeting `end` exactly unless the last step is cut to do so.
        while u != end {
            let last = length >= (end - u).abs();
            let h = if last { end - u } else { direction * length };
            for (i, (node, row)) in STAGES.iter().enumerate() {
                let (done, rest) = slopes.split_at_mut(i + 1);
                next.copy_from_slice(&z);
                for (slope, a) in done.iter().zip(*row) {
                    next.iter_mut().zip(slope).for_each(|(n, s)| *n += h * a * s);
                }
                self.slope(u + node * h, &next, &mut weights, &mut rest[0]);
            }
            let wrong = |j: usize| slopes.iter().zip(ERROR).map(|(s, e)| e * s[j]).sum::<f64>().abs();
            let error = h.abs() * (0..z.len()).map(wrong).fold(0.0, f64::max) / tolerance;
            // Too short to matter, or not a number: going on is all that is left.
            if error > 1.0 && length > 1e-9 {
                length = h.abs() * (0.9 * error.powf(-0.2)).max(0.2);
                continue;
            }
            u = if last { end } else { u + h };
            // The last stage stands at the new point.
            std::mem::swap(&mut z, &mut next);
            slopes.swap(0, 6);
            length = h.abs() * (0.9 * error.powf(-0.2)).clamp(0.2, 5.0);
        }
        z
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// An orthonormal basis of the span of `vectors`, by Gram and Schmidt's method.
fn span(vectors: &[Vec<f64>], dim: usize) -> Vec<Vec<f64>> {
    let scale = vectors.iter().map(|v| dot(v, v)).fold(0.0, f64::max).sqrt();
    let mut basis: Vec<Vec<f64>> = Vec::new();
    for vector in vectors {
        if basis.len() == dim {
            break;
        }
        let mut rest = vector.clone();
        // Twice, because what rounding leaves of the first time is not orthogonal.
        for _ in 0..2 {
            for row in &basis {
                let along = dot(row, &rest);
                rest.iter_mut().zip(row).for_each(|(r, b)| *r -= along * b);
            }
        }
        let norm = dot(&rest, &rest).sqrt();
        if norm > 1e-10 * scale {
            rest.iter_mut().for_each(|r| *r /= norm);
            basis.push(rest);
        }
    }
    basis
}

/// Dormand and Prince's stages after the first: where in the step, and the weights of the slopes before.
const STAGES: [(f64, &[f64]); 6] = [
    (0.2, &[0.2]),
    (0.3, &[3.0 / 40.0, 9.0 / 40.0]),
    (0.8, &[44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0]),
    (8.0 / 9.0, &[19372.0 / 6561.0, -25360.0 / 2187.0, 64448.0 / 6561.0, -212.0 / 729.0]),
    (1.0, &[9017.0 / 3168.0, -355.0 / 33.0, 46732.0 / 5247.0, 49.0 / 176.0, -5103.0 / 18656.0]),
    (1.0, &[35.0 / 384.0, 0.0, 500.0 / 1113.0, 125.0 / 192.0, -2187.0 / 6784.0, 11.0 / 84.0]),
];

/// Weights of the slopes in the difference between the fifth and the fourth order.
const ERROR: [f64; 7] =
    [71.0 / 57600.0, 0.0, -71.0 / 16695.0, 71.0 / 1920.0, -17253.0 / 339200.0, 22.0 / 525.0, -1.0 / 40.0];

#[cfg(test)]
mod tests;
