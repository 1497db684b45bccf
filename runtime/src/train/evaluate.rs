//! How far samples are from the data, beside what could at best be expected.

use super::model::Model;
use crate::data::{Batch, Dataset};
use crate::metrics::{MetricError, mmd, sliced_wasserstein};
use crate::train::TrainError;
use serde::Serialize;
use std::fmt::Write;

/// Of these samples to held-out data.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Distance {
    /// `samples`, `teacher`, or `data`: other samples of the data themselves.
    pub what: String,
    /// NaN (null in JSON) where samples are not finite.
    pub sliced_w2: f64,
    pub mmd: f64,
}

/// Seed of the held-out samples; no run of a user is likely to have it.
const SEED: u64 = 0x6576_616c_7561_7465;

/// Distances of `n` samples (fewer where there are fewer data): the method's, the teacher's where there is a sampler
/// of that name, and the training data's. Conditions are those of the held-out samples.
pub fn evaluate(model: &mut Model, train: &Dataset, held_out: &Dataset, n: usize) -> Result<Vec<Distance>, TrainError> {
    let n = [held_out.len(), train.len()].into_iter().flatten().fold(n, usize::min);
    let reference = held_out.batch(n, SEED, 0);
    let mut rows = Vec::new();
    let own = model.program().samplers.keys().next().cloned();
    let mut sampled = Vec::new();
    sampled.extend(own.filter(|name| name != "teacher").map(|name| ("samples", name)));
    sampled.push(("teacher", "teacher".to_string()));
    for (what, sampler) in sampled {
        if model.can_sample(&sampler) {
            let samples = model.sample(&sampler, n, &reference, SEED)?.to_f32();
            rows.push(distance(what, &samples, &reference)?);
        }
    }
    rows.push(distance("data", &train.batch(n, SEED ^ 1, 0)["x"].to_f32(), &reference)?);
    Ok(rows)
}

fn distance(what: &str, samples: &[f32], reference: &Batch) -> Result<Distance, TrainError> {
    let data = &reference["x"];
    let dim = data.shape().iter().skip(1).product();
    let nan = |result| match result {
        Err(MetricError::NotFinite) => Ok(f64::NAN),
        other => other,
    };
    let data = data.to_f32();
    let sliced_w2 = nan(sliced_wasserstein(samples, &data, dim))?;
    Ok(Distance { what: what.into(), sliced_w2, mmd: nan(mmd(samples, &data, dim))? })
}

/// A table for people.
pub fn table(rows: &[Distance]) -> String {
    let mut text = format!("{:<22}{:>10}{:>10}\n", "distance to the data", "sliced W2", "MMD");
    for row in rows {
        let note = if row.what == "data" { "data (other samples)" } else { &row.what };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {note:<20}{:>10.4}{:>10.4}", row.sliced_w2, row.mmd);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_row_for_each_set() {
        let row = |what: &str, sliced_w2| Distance { what: what.into(), sliced_w2, mmd: 0.0123 };
        let text = table(&[row("samples", 0.05), row("teacher", f64::NAN), row("data", 0.01)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "distance to the data   sliced W2       MMD");
        assert_eq!(lines[1], "  samples                 0.0500    0.0123");
        assert!(lines[2].contains("NaN") && lines[3].contains("other samples"));
    }
}
