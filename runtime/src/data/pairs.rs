//! Trajectories of an exact teacher: where the mixture's probability-flow ODE takes noise, with points on the way.

use super::dataset::{Elements, Field, Stored};
use super::{DataError, Flow, FlowError, Mixture, Schedule, Split};
use crate::random::Stream;
use indexmap::IndexMap;
use rayon::prelude::*;

/// Points of a path: those of a four-step sampler.
pub const POINTS: usize = 4;

/// `count` trajectories; the test part is of other noise, a quarter as many. Trajectory `index` is a pure function of
/// (seed, part, index).
pub(super) fn make(
    mixture: &Mixture,
    schedule: Schedule,
    count: usize,
    seed: u64,
    split: Split,
) -> Result<Stored, DataError> {
    let (count, domain) = match split {
        Split::Train => (count, "data.pairs"),
        Split::Test => (count.div_ceil(4), "data.pairs.test"),
    };
    let classes: Vec<Option<usize>> =
        if mixture.classes == 0 { vec![None] } else { (0..mixture.classes).map(Some).collect() };
    let flows: Vec<Flow> =
        classes.iter().map(|class| mixture.flow(*class)).collect::<Result<_, FlowError>>().map_err(DataError::Flow)?;
    let times = schedule.t_list(POINTS);
    let (noises, modes) = (Stream::new(seed, 0, domain), Stream::new(seed, 1, domain));
    let dim = mixture.dim();
    let one = |index: usize| -> Result<Trajectory, FlowError> {
        // A mode, so that classes come as often as they are likely.
        let class = mixture.class_of.get(modes.index(index as u64, mixture.components())).copied();
        let flow = &flows[class.unwrap_or_default()];
        let noise: Vec<f64> = (0..dim).map(|d| schedule.t_max() * noises.normal((index * dim + d) as u64)).collect();
        let (mut x, mut t) = (noise.clone(), schedule.t_max());
        let mut path = Vec::with_capacity(POINTS * dim);
        for &next in &times {
            x = flow.map(schedule, &x, t, next)?;
            t = next;
            if t > 0.0 {
                path.extend(x.iter().map(|&x| x as f32));
            }
        }
        let single = |x: Vec<f64>| x.into_iter().map(|x| x as f32).collect();
        Ok(Trajectory { noise: single(noise), path, x: single(x), class })
    };
    let all =
        (0..count).into_par_iter().map(one).collect::<Result<Vec<Trajectory>, FlowError>>().map_err(DataError::Flow)?;
    let field = |shape: Vec<usize>, part: fn(&Trajectory) -> &[f32]| Field {
        shape,
        values: Elements::Floats(all.iter().flat_map(part).copied().collect()),
    };
    let path_shape = [&[POINTS], &mixture.shape[..]].concat();
    let fields = IndexMap::from([
        ("x".to_string(), field(mixture.shape.clone(), |one| &one.x)),
        ("noise".to_string(), field(mixture.shape.clone(), |one| &one.noise)),
        ("path".to_string(), field(path_shape, |one| &one.path)),
    ]);
    let labels: Option<Vec<u32>> = all.iter().map(|one| one.class.map(|class| class as u32)).collect();
    Ok(Stored { len: count, fields, labels })
}

struct Trajectory {
    noise: Vec<f32>,
    path: Vec<f32>,
    x: Vec<f32>,
    class: Option<usize>,
}

#[cfg(test)]
mod tests {
    use crate::data::{Batch, Dataset, Schedule, Split};

    fn load(text: &str, split: Split) -> Dataset {
        Dataset::load(&ron::from_str(text).unwrap(), split, &mut |_, _| {}).unwrap()
    }

    fn values(batch: &Batch, field: &str) -> Vec<f64> {
        batch[field].as_f32().unwrap().iter().map(|&x| f64::from(x)).collect()
    }

    #[test]
    fn a_pair_is_a_trajectory_of_its_class() {
        for (text, schedule) in [("edm", Schedule::Edm), ("rf", Schedule::Rf)] {
            let data =
                load(&format!("Pairs(of: Ring(radius: 1.0, std: 0.05), schedule: {text}, count: 64)"), Split::Train);
            assert!(data.description().fields.keys().eq(["x", "c", "noise", "path"]));
            assert_eq!((data.len(), &data.description().fields["path"][..]), (Some(64), &[4, 2][..]));
            let batch = data.batch(64, 0, 0);
            let ring = crate::data::Mixture::ring(8, 1.0, 0.05);
            let [x, c, noise, path] = ["x", "c", "noise", "path"].map(|field| values(&batch, field));
            let times = schedule.t_list(4);
            let mut seen = [false; 8];
            for i in 0..64 {
                let class = c[8 * i..8 * (i + 1)].iter().position(|&c| c == 1.0).unwrap();
                seen[class] = true;
                let centre = &ring.centres[2 * class..];
                let away = (x[2 * i] - centre[0]).hypot(x[2 * i + 1] - centre[1]);
                assert!(away < 0.25, "ends {away} from the centre of {class}");
                // One Gaussian is the class: its flow is a scaling around the centre.
                for (k, &t) in times[..4].iter().enumerate() {
                    let [alpha, start] = [t, schedule.t_max()].map(|t| if text == "rf" { 1.0 - t } else { 1.0 });
                    let std = |alpha: f64, t: f64| ((alpha * 0.05).powi(2) + t * t).sqrt();
                    for d in 0..2 {
                        let gain = std(alpha, t) / std(start, schedule.t_max());
                        let expected = alpha * centre[d] + gain * (noise[2 * i + d] - start * centre[d]);
                        let found = path[8 * i + 2 * k + d];
                        assert!((found - expected).abs() < 1e-5 * (1.0 + expected.abs()), "{found} {expected}");
                    }
                }
            }
            assert!(seen.iter().all(|&s| s));
        }
    }

    #[test]
    fn pairs_are_a_pure_function_of_seed_and_part() {
        let batch = |text, split| load(text, split).batch(4, 0, 0);
        let text = "Pairs(of: Moons, count: 16)";
        assert_eq!(batch(text, Split::Train), batch(text, Split::Train));
        assert_ne!(batch(text, Split::Train), batch(text, Split::Test));
        assert_ne!(batch(text, Split::Train), batch("Pairs(of: Moons, count: 16, seed: 1)", Split::Train));
        assert_eq!(load(text, Split::Test).len(), Some(4));
        let classless = load("Pairs(of: Gaussian(dim: 3, std: 0.5), count: 2)", Split::Train);
        assert!(classless.description().fields.keys().eq(["x", "noise", "path"]));
    }
}
