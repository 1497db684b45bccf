use super::*;
use crate::data::DataSpec;
use crate::random::Stream;

fn normals(n: usize, scale: f64) -> Vec<f64> {
    (0..n).map(|i| scale * Stream::new(4, 0, "flow").normal(i as u64)).collect()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn one_gaussian_is_scaled() {
    let gaussian = Mixture::gaussian(3, 0.7);
    let x = normals(3, 2.0);
    let cases =
        [(Schedule::Edm, 80.0, 0.0), (Schedule::Edm, 0.3, 5.0), (Schedule::Rf, 0.999, 0.0), (Schedule::Rf, 0.2, 0.6)];
    for (schedule, from, to) in cases {
        let variance = |t: f64| (schedule.alpha(t) * 0.7).powi(2) + t * t;
        let gain = (variance(to) / variance(from)).sqrt();
        let expected: Vec<f64> = x.iter().map(|x| gain * x).collect();
        assert!(distance(&gaussian.flow_map(schedule, &x, from, to, None).unwrap(), &expected) < 1e-12);
    }
}

/// On a line the flow keeps the order, so it takes each quantile to the same quantile.
#[test]
fn on_a_line_quantiles_stay() {
    let line = Mixture { shape: vec![1], centres: vec![-1.0, -0.4, 0.1, 1.2], std: 0.1, class_of: vec![], classes: 0 };
    let below = |schedule: Schedule, x: f64, t: f64| {
        let alpha = schedule.alpha(t);
        let std = ((alpha * line.std).powi(2) + t * t).sqrt();
        line.centres.iter().map(|c| 0.125 * libm::erfc((alpha * c - x) / (std * 2f64.sqrt()))).sum::<f64>()
    };
    for schedule in [Schedule::Edm, Schedule::Rf] {
        for z in [-1.3, -0.6, 0.0, 0.02, 0.7, 2.0] {
            let x = schedule.t_max() * z;
            let quantile = below(schedule, x, schedule.t_max());
            for &t in &schedule.t_list(4)[1..] {
                let there = line.flow_map(schedule, &[x], schedule.t_max(), t, None).unwrap()[0];
                assert!((below(schedule, there, t) - quantile).abs() < 1e-7, "{schedule:?} from {z} to {t}");
                let back = line.flow_map(schedule, &[there], t, schedule.t_max(), None).unwrap()[0];
                assert!((back / x - 1.0).abs() < 1e-5 || x == 0.0, "{back} instead of {x}");
            }
        }
    }
}

#[test]
fn twice_the_steps_change_nothing() {
    let moving = ron::from_str::<DataSpec>("MovingShapes()").unwrap().mixture().unwrap();
    for (mixture, class, n) in
        [(Mixture::ring(8, 1.0, 0.05), None, 20), (Mixture::moons(), Some(1), 5), (moving, Some(2), 2)]
    {
        let flow = mixture.flow(class).unwrap();
        let noise = normals(n * mixture.dim(), 1.0);
        for schedule in [Schedule::Edm, Schedule::Rf] {
            for z in noise.chunks(mixture.dim()) {
                let x: Vec<f64> = z.iter().map(|z| schedule.t_max() * z).collect();
                let solve = |tolerance| flow.map_to(schedule, &x, schedule.t_max(), 0.0, tolerance).unwrap();
                let [coarse, fine] = [Flow::TOLERANCE, Flow::TOLERANCE / 32.0].map(solve);
                assert!(distance(&coarse, &fine) < 1e-6, "{schedule:?}: {}", distance(&coarse, &fine));
            }
        }
    }
}

/// The same ODE by short Heun steps in t, without the change of variables or the reduction to the centres' plane.
#[test]
fn a_plain_solver_goes_the_same_way() {
    let mixture = ron::from_str::<DataSpec>("MovingShapes(frames: 2, size: 4, std: 0.3)").unwrap().mixture().unwrap();
    let dim = mixture.dim();
    let members: Vec<&[f64]> = (0..mixture.components())
        .filter(|&k| mixture.class_of[k] == 1)
        .map(|k| &mixture.centres[k * dim..][..dim])
        .collect();
    let slope = |x: &[f64], t: f64| -> Vec<f64> {
        let (alpha, variance) = (1.0 - t, ((1.0 - t) * mixture.std).powi(2) + t * t);
        let square = |c: &&[f64]| c.iter().zip(x).map(|(c, x)| (x - alpha * c).powi(2)).sum::<f64>();
        let squares: Vec<f64> = members.iter().map(square).collect();
        let least = squares.iter().copied().fold(f64::INFINITY, f64::min);
        let weights: Vec<f64> = squares.iter().map(|s| (0.5 * (least - s) / variance).exp()).collect();
        let total: f64 = weights.iter().sum();
        let gain = alpha * mixture.std.powi(2) / variance;
        let x0 = |d: usize| {
            let mean = members.iter().zip(&weights).map(|(c, w)| w * c[d]).sum::<f64>() / total;
            mean + gain * (x[d] - alpha * mean)
        };
        // The flow eps − x0, and eps = (x − alpha·x0)/t.
        (0..dim).map(|d| (x[d] - x0(d)) / t).collect()
    };
    let start = normals(dim, 0.9);
    let (mut x, steps) = (start.clone(), 2000);
    let time = |i: usize| 0.9 + (0.1 - 0.9) * i as f64 / steps as f64;
    for i in 0..steps {
        let h = time(i + 1) - time(i);
        let first = slope(&x, time(i));
        let ahead: Vec<f64> = x.iter().zip(&first).map(|(x, s)| x + h * s).collect();
        let second = slope(&ahead, time(i + 1));
        x.iter_mut().zip(first.iter().zip(&second)).for_each(|(x, (a, b))| *x += 0.5 * h * (a + b));
    }
    let flow = mixture.flow_map(Schedule::Rf, &start, 0.9, 0.1, Some(1)).unwrap();
    assert!(distance(&flow, &x) < 1e-4, "{}", distance(&flow, &x));
}

#[test]
fn times_of_a_schedule_are_those_of_the_samplers() {
    let edm = Schedule::Edm.t_list(4);
    assert_eq!((edm.len(), edm[4]), (5, 0.0));
    assert!((edm[0] - 79.5638).abs() < 1e-4 && edm.is_sorted_by(|a, b| a > b), "{edm:?}");
    assert!(distance(&Schedule::Rf.t_list(2), &[0.999, 0.4995, 0.0]) < 1e-15);
}

#[test]
fn impossible_questions_are_errors() {
    let ring = Mixture::ring(8, 1.0, 0.05);
    let ask = |schedule, x: &[f64], from, class| ring.flow_map(schedule, x, from, 0.0, class).unwrap_err().to_string();
    assert_eq!(ask(Schedule::Edm, &[0.0; 2], 80.0, Some(8)), "there is no class 8: the mixture has 8");
    assert!(ask(Schedule::Edm, &[0.0; 3], 80.0, None).contains("3 values"));
    assert!(ask(Schedule::Rf, &[0.0; 2], 1.0, None).contains("1 is no time of the schedule `rf`"));
    assert!(ask(Schedule::Edm, &[0.0; 2], f64::NAN, None).contains("NaN is no time"));
}
