//! Densities defined as mixtures of Gaussians, so that scores and denoisers are exact: in the plane, and of videos.

use crate::random::Stream;
use std::f64::consts::{PI, TAU};

/// Equally likely isotropic Gaussians of one standard deviation.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    /// Of a sample.
    pub shape: Vec<usize>,
    /// `[components, dim]`, row-major.
    pub centres: Vec<f64>,
    pub std: f64,
    /// The class of each component; empty where there are no classes.
    pub class_of: Vec<usize>,
    pub classes: usize,
}

impl Mixture {
    pub fn ring(modes: usize, radius: f64, std: f64) -> Mixture {
        let angles = (0..modes).map(|k| TAU * k as f64 / modes as f64);
        plane(angles.map(|a| [radius * a.cos(), radius * a.sin()]), |k| k, std)
    }

    /// The eight dark squares, each 8×8 Gaussians so close that their sum is flat.
    pub fn checkerboard() -> Mixture {
        const GRID: usize = 8;
        let squares = (0..4).flat_map(|row| (0..2).map(move |k| (row, 2 * k + row % 2)));
        let at = |cell: usize, i: usize| cell as f64 - 2.0 + (i as f64 + 0.5) / GRID as f64;
        let centres =
            squares.flat_map(|(row, column)| (0..GRID * GRID).map(move |i| [at(column, i % GRID), at(row, i / GRID)]));
        plane(centres, |k| k / (GRID * GRID), 0.6 / GRID as f64)
    }

    pub fn moons() -> Mixture {
        const PER_MOON: usize = 64;
        let moon = |k: usize| {
            let a = PI * ((k % PER_MOON) as f64 + 0.5) / PER_MOON as f64;
            let (x, y) = if k < PER_MOON { (a.cos(), a.sin()) } else { (1.0 - a.cos(), 0.5 - a.sin()) };
            [1.5 * (x - 0.5), 1.5 * (y - 0.25)]
        };
        plane((0..2 * PER_MOON).map(moon), |k| k / PER_MOON, 0.1)
    }

    pub fn spiral() -> Mixture {
        const PER_ARM: usize = 128;
        let arm = |k: usize| {
            // The square root spaces the components evenly along the arm.
            let along = (((k % PER_ARM) as f64 + 0.5) / PER_ARM as f64).sqrt();
            let angle = 3.0 * PI * along + if k < PER_ARM { 0.0 } else { PI };
            [2.0 * along * angle.cos(), 2.0 * along * angle.sin()]
        };
        plane((0..2 * PER_ARM).map(arm), |k| k / PER_ARM, 0.06)
    }

    pub fn gaussian(dim: usize, std: f64) -> Mixture {
        Mixture { shape: vec![dim], centres: vec![0.0; dim], std, class_of: Vec::new(), classes: 0 }
    }

    /// Values of a sample.
    pub fn dim(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn components(&self) -> usize {
        self.centres.len() / self.dim()
    }

    /// The probability of each component.
    pub fn weights(&self) -> Vec<f64> {
        vec![1.0 / self.components() as f64; self.components()]
    }

    /// Sample number `index`, written to `x` (`[dim]`); returns its class.
    pub(super) fn sample(&self, seed: u64, index: u64, x: &mut [f32]) -> Option<usize> {
        let component = Stream::new(seed, 0, "data.component").index(index, self.components());
        let noise = Stream::new(seed, 0, "data.noise");
        let dim = self.dim();
        for (d, out) in x.iter_mut().enumerate() {
            let centre = self.centres[component * dim + d];
            *out = (centre + self.std * noise.normal(index * dim as u64 + d as u64)) as f32;
        }
        self.class_of.get(component).copied()
    }
}

fn plane(centres: impl Iterator<Item = [f64; 2]>, class_of: impl Fn(usize) -> usize, std: f64) -> Mixture {
    let centres: Vec<f64> = centres.flatten().collect();
    let class_of: Vec<usize> = (0..centres.len() / 2).map(class_of).collect();
    let classes = class_of.last().map_or(0, |last| last + 1);
    Mixture { shape: vec![2], centres, std, class_of, classes }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(mixture: &Mixture, n: u64) -> Vec<([f32; 2], usize)> {
        let one = |i| {
            let mut x = [0.0; 2];
            let class = mixture.sample(9, i, &mut x);
            (x, class.unwrap())
        };
        (0..n).map(one).collect()
    }

    #[test]
    fn ring_samples_lie_around_the_centre_of_their_class() {
        let ring = Mixture::ring(8, 2.0, 0.1);
        let samples = samples(&ring, 4000);
        for (x, class) in &samples {
            let centre = &ring.centres[2 * class..];
            let distance = (f64::from(x[0]) - centre[0]).hypot(f64::from(x[1]) - centre[1]);
            assert!(distance < 0.6, "{distance} from the centre of {class}");
        }
        for class in 0..8 {
            let count = samples.iter().filter(|s| s.1 == class).count();
            assert!((400..600).contains(&count), "{count} of class {class}");
        }
        let spread: f64 = samples.iter().map(|(x, class)| (f64::from(x[0]) - ring.centres[2 * class]).powi(2)).sum();
        assert!(((spread / 4000.0).sqrt() - 0.1).abs() < 0.005);
    }

    #[test]
    fn checkerboard_samples_lie_on_dark_squares() {
        let samples = samples(&Mixture::checkerboard(), 4000);
        let dark = |x: [f32; 2]| (x[0].floor() + x[1].floor()).rem_euclid(2.0) == 0.0;
        let share = samples.iter().filter(|s| dark(s.0)).count() as f64 / 4000.0;
        assert!(share > 0.85, "{share}");
        assert!(samples.iter().all(|s| s.0.iter().all(|x| x.abs() < 2.5) && s.1 < 8));
    }

    #[test]
    fn every_component_has_a_class_and_a_weight() {
        for mixture in [Mixture::checkerboard(), Mixture::moons(), Mixture::spiral(), Mixture::ring(5, 1.0, 0.1)] {
            assert_eq!(mixture.class_of.len(), mixture.components());
            assert!((mixture.weights().iter().sum::<f64>() - 1.0).abs() < 1e-12);
            assert_eq!(mixture.class_of.iter().max(), Some(&(mixture.classes - 1)));
        }
    }
}
