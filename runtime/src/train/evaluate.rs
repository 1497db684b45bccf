//! How far samples are from the data, beside what could at best be expected.

use super::model::Model;
use crate::data::{Batch, Dataset};
use crate::metrics::{frechet, mmd, sliced_wasserstein};
use crate::train::TrainError;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// Of these samples to held-out data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Distance {
    /// `samples`, `teacher`, or `data`: other samples of the data themselves.
    pub what: String,
    /// In the data's units, as is `frechet`.
    pub sliced_w2: f64,
    pub frechet: f64,
    pub mmd: f64,
    /// To the samples of the method's sampler `target` from the same noise, which the student's should equal: the root of
    /// the mean square over samples and elements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_teacher: Option<f64>,
}

/// What a run measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Of the method's samples before the first step.
    pub untrained: Option<Distance>,
    /// When training ended.
    pub trained: Vec<Distance>,
}

/// The sampler whose samples the trained ones should be like as a whole, and the one whose samples they should equal, noise by
/// noise.
const TEACHER: &str = "teacher";
const TARGET: &str = "target";
/// Samplers of a method that are not of what it trains.
const OTHERS: [&str; 3] = [TEACHER, TARGET, "trajectory"];

/// Seed of the held-out samples; no run of a user is likely to have it.
const SEED: u64 = 0x6576_616c_7561_7465;

/// Distances of `n` samples (fewer where there are fewer data): the method's, the teacher's where there is a sampler
/// `target` or `teacher`, and the training data's. Conditions are those of the held-out samples.
///
/// # Errors
/// [`TrainError::Samples`] where samples are not finite, among others.
pub fn evaluate(model: &mut Model, train: &Dataset, held_out: &Dataset, n: usize) -> Result<Vec<Distance>, TrainError> {
    let n = [held_out.len(), train.len()].into_iter().flatten().fold(n, usize::min);
    let reference = held_out.batch(n, SEED, 0);
    let target = samples(model, TARGET, n, &reference)?;
    let teacher = match &target {
        Some(target) => Some(target.clone()),
        None => samples(model, TEACHER, n, &reference)?,
    };
    let mut rows = Vec::new();
    if let Some(own) = own_sampler(model)
        && let Some(samples) = samples(model, &own, n, &reference)?
    {
        let to_teacher = target.as_ref().map(|target| rms(&samples, target));
        rows.push(Distance { to_teacher, ..distance("samples", &samples, &reference)? });
    }
    if let Some(teacher) = teacher {
        rows.push(distance(TEACHER, &teacher, &reference)?);
    }
    rows.push(distance("data", &train.batch(n, SEED ^ 1, 0)["x"].to_f32(), &reference)?);
    Ok(rows)
}

/// The sampler of what is trained.
fn own_sampler(model: &Model) -> Option<String> {
    model.program().samplers.keys().find(|name| !OTHERS.contains(&name.as_str())).cloned()
}

/// None where the sampler is not there or its networks have no weights.
fn samples(model: &mut Model, sampler: &str, n: usize, reference: &Batch) -> Result<Option<Vec<f32>>, TrainError> {
    if !model.can_sample(sampler) {
        return Ok(None);
    }
    let samples = model.sample(sampler, n, reference, SEED)?.to_f32();
    if samples.iter().all(|x| x.is_finite()) {
        return Ok(Some(samples));
    }
    let sampler = sampler.into();
    Err(TrainError::Samples { iteration: model.iteration(), sampler })
}

fn rms(a: &[f32], b: &[f32]) -> f64 {
    let sum: f64 = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    (sum / a.len().max(1) as f64).sqrt()
}

fn distance(what: &str, samples: &[f32], reference: &Batch) -> Result<Distance, TrainError> {
    let data = &reference["x"];
    let dim = data.shape().iter().skip(1).product();
    let data = data.to_f32();
    let sliced_w2 = sliced_wasserstein(samples, &data, dim)?;
    let (frechet, mmd) = (frechet(samples, &data, dim)?, mmd(samples, &data, dim)?);
    Ok(Distance { what: what.into(), sliced_w2, frechet, mmd, to_teacher: None })
}

/// A table for people, and by what factor training brought samples nearer.
pub fn table(quality: &Quality) -> String {
    let mut text = format!("{:<22}{:>10}{:>10}{:>10}\n", "distance to the data", "sliced W2", "Fréchet", "MMD");
    for row in &quality.trained {
        let note = if row.what == "data" { "data (other samples)" } else { &row.what };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {note:<20}{:>10.4}{:>10.4}{:>10.4}", row.sliced_w2, row.frechet, row.mmd);
    }
    let (Some(before), Some(after)) = (&quality.untrained, quality.trained.iter().find(|row| row.what == "samples"))
    else {
        return text;
    };
    let mut change = |what: &str, before: f64, after: f64| {
        let _ = writeln!(text, "{what}: {before:.4} untrained, {after:.4} trained, {:.1} times nearer", before / after);
    };
    change("sliced W2 to the data", before.sliced_w2, after.sliced_w2);
    change("Fréchet distance to the data", before.frechet, after.frechet);
    if let (Some(before), Some(after)) = (before.to_teacher, after.to_teacher) {
        change("RMS to the teacher's samples from the same noise", before, after);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_row_for_each_set_and_says_what_training_did() {
        let row = |what: &str, sliced_w2| Distance {
            what: what.into(),
            sliced_w2,
            frechet: 2.0 * sliced_w2,
            mmd: 0.0123,
            to_teacher: None,
        };
        let before = Distance { to_teacher: Some(1.0), ..row("samples", 1.0) };
        let after = Distance { to_teacher: Some(0.5), ..row("samples", 0.05) };
        let quality =
            Quality { untrained: Some(before), trained: vec![after, row("teacher", 0.02), row("data", 0.01)] };
        let text = table(&quality);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "distance to the data   sliced W2   Fréchet       MMD");
        assert_eq!(lines[1], "  samples                 0.0500    0.1000    0.0123");
        assert!(lines[3].contains("other samples"));
        assert_eq!(lines[4], "sliced W2 to the data: 1.0000 untrained, 0.0500 trained, 20.0 times nearer");
        assert_eq!(lines[5], "Fréchet distance to the data: 2.0000 untrained, 0.1000 trained, 20.0 times nearer");
        assert!(lines[6].ends_with("1.0000 untrained, 0.5000 trained, 2.0 times nearer"));
    }
}
