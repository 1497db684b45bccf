//! The training loop: steps, and what is logged, drawn, saved and measured around them.

use super::curves::{GRAD_NORM, Means, chart};
use super::evaluate::{Quality, evaluate};
use super::model::Model;
use super::pictures::snapshot;
use super::run_dir::RunDir;
use super::trainer::Trainer;
use crate::data::Dataset;
use crate::log::{self, Log, Record};
use crate::picture;
use crate::progress::Progress;
use crate::tensorboard::EventWriter;
use crate::train::TrainError;
use indexmap::IndexMap;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Every how many steps things happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cadence {
    pub log: u64,
    pub sample: u64,
    pub checkpoint: u64,
}

impl Cadence {
    /// For a run of so many steps: about 300 lines of log, at most ten checkpoints and ten pictures. Pictures are at least ten
    /// steps apart: drawing one can cost as much as they do.
    pub fn of(iterations: u64) -> Cadence {
        let log = (iterations / 300).max(1);
        let tenth = iterations.div_ceil(10).next_multiple_of(log).max(log);
        Cadence { log, sample: tenth.max(10), checkpoint: tenth }
    }
}

/// What to train, and what to call it.
pub struct Job {
    pub method: String,
    /// Texts that checkpoints carry.
    pub spec: String,
    pub preset: String,
    /// Steps in all, those of the run before it was resumed included.
    pub iterations: u64,
    pub cadence: Cadence,
    /// Samples to measure at the end; 0 for none.
    pub evaluate: usize,
    /// Data to measure against.
    pub held_out: Arc<Dataset>,
    pub compile_seconds: f64,
}

/// What came out of a run; summary.json.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    pub method: String,
    pub seed: u64,
    pub iterations: u64,
    pub skipped: u64,
    /// Of training, resumed runs included; without drawing, saving and measuring.
    pub seconds: f64,
    pub compile_seconds: f64,
    pub steps_per_second: f64,
    /// Means over the last logged steps.
    pub losses: IndexMap<String, f64>,
    pub quality: Quality,
}

/// Where the distances before the first step are noted, for when the run is resumed.
const UNTRAINED: &str = "untrained.json";

const SHOW_EVERY: Duration = Duration::from_millis(100);

/// Trains to the end, and measures; once `stop` is set, saves a checkpoint after the step under way and answers None.
/// What was on the disk before stays whole whatever happens.
///
/// # Errors
/// A step that is not finite changes nothing: the checkpoint saved then goes on just before it.
pub fn run(trainer: &mut Trainer, dir: &RunDir, job: &Job, stop: &AtomicBool) -> Result<Option<Summary>, TrainError> {
    let program = trainer.model.program().clone();
    let checkpoints = dir.checkpoints();
    let first = trainer.model.iteration();
    let mut book = Book::open(dir, first)?;
    let mut shown: IndexMap<String, f64> = IndexMap::new();
    let train = trainer.data().clone();
    if first == 0 && job.evaluate > 0 {
        // Where not even this can be sampled, training may still get there.
        if let Ok(rows) = evaluate(&mut trainer.model, &train, &job.held_out, job.evaluate) {
            let own = rows.into_iter().find(|row| row.what == "samples");
            dir.write(UNTRAINED, &json(dir, &own)?)?;
        }
    }
    if first == 0 {
        checkpoints.save(&trainer.model.checkpoint(&job.spec, &job.preset)?)?;
    }
    let mut progress = Progress::new(first, job.iterations);
    let begun = Instant::now();
    // Time in which nothing is trained.
    let mut aside = Duration::ZERO;
    let mut drawn = begun;
    while trainer.model.iteration() < job.iterations {
        let step = trainer.model.iteration() + 1;
        let last = step == job.iterations;
        let mut stopped = false;
        let cadence = [job.cadence.log, job.cadence.checkpoint, job.cadence.sample];
        let looks = last || cadence.iter().any(|every| step.is_multiple_of(*every));
        let mut reports = Vec::new();
        let ended = trainer.step().and_then(|told| {
            reports = told;
            stopped = !last && stop.load(Ordering::Relaxed);
            reports.extend(if looks || stopped { trainer.settle()? } else { None });
            Ok(())
        });
        for report in &reports {
            match &report.skipped {
                Some(why) => progress.println(&format!("skipped: {why}")),
                None => book.means.add(report, &program),
            }
        }
        if let Err(error) = ended {
            use TrainError::{Gradient, LeftOut, Loss};
            progress.finish();
            book.write(&trainer.model, begun.elapsed() - aside)?;
            if let Loss { .. } | Gradient { .. } | LeftOut { .. } = error {
                checkpoints.save(&trainer.model.checkpoint(&job.spec, &job.preset)?)?;
            }
            return Err(error);
        }
        if last || drawn.elapsed() >= SHOW_EVERY {
            shown.extend(reports.iter().flat_map(|report| &report.losses).map(|(k, v)| (k.clone(), *v)));
            shown.shift_remove("total_loss");
            progress.update(step, begun.elapsed() - aside, shown.iter().map(|(k, v)| (k.as_str(), *v)));
            drawn = Instant::now();
        }
        if last || step.is_multiple_of(job.cadence.log) {
            book.write(&trainer.model, begun.elapsed() - aside)?;
        }
        let paused = Instant::now();
        if last || step.is_multiple_of(job.cadence.checkpoint) {
            checkpoints.save(&trainer.model.checkpoint(&job.spec, &job.preset)?)?;
        }
        if last || step.is_multiple_of(job.cadence.sample) {
            snapshot(trainer, dir, &job.held_out, &mut book.events)?;
            picture::save(&chart(&log::read(&dir.log())?), &dir.curves())?;
        }
        aside += paused.elapsed();
        if stopped {
            book.write(&trainer.model, begun.elapsed() - aside)?;
            checkpoints.save(&trainer.model.checkpoint(&job.spec, &job.preset)?)?;
            progress.finish();
            return Ok(None);
        }
    }
    progress.finish();
    let records = log::read(&dir.log())?;
    let untrained = std::fs::read_to_string(dir.path().join(UNTRAINED)).ok();
    // What was done is told even where the samples are no numbers.
    let measured = match job.evaluate {
        0 => Ok(Vec::new()),
        n => evaluate(&mut trainer.model, &train, &job.held_out, n),
    };
    let untrained = untrained.and_then(|text| serde_json::from_str(&text).ok()).flatten();
    let (quality, failed) = match measured {
        Ok(trained) if trained.is_empty() => (Quality::default(), None),
        Ok(trained) => (Quality { untrained, trained }, None),
        Err(error) => (Quality { untrained, trained: Vec::new() }, Some(error)),
    };
    let done = trainer.model.iteration();
    let seconds = records.last().map_or(0.0, |r| r.seconds);
    let summary = Summary {
        method: job.method.clone(),
        seed: trainer.model.seed(),
        iterations: done,
        skipped: trainer.model.skipped(),
        seconds,
        compile_seconds: job.compile_seconds,
        steps_per_second: done as f64 / seconds.max(1e-9),
        losses: records.last().map(|r| r.losses.clone()).unwrap_or_default(),
        quality,
    };
    dir.write("summary.json", &json(dir, &summary)?)?;
    failed.map_or(Ok(Some(summary)), Err)
}

/// What is noted of steps, and what came out of those since it last was.
struct Book<'a> {
    dir: &'a RunDir,
    log: Log,
    events: EventWriter,
    means: Means,
    /// The last step that was noted, and the time at which it was.
    noted: (u64, Duration),
    /// Seconds of the run before it was resumed.
    before: f64,
}

impl<'a> Book<'a> {
    fn open(dir: &'a RunDir, first: u64) -> Result<Book<'a>, TrainError> {
        let log = Log::open(&dir.log(), first)?;
        let before = log::read(&dir.log())?.last().map_or(0.0, |r| r.seconds);
        // What was noted of the first steps stays.
        let next = if first > 0 { first + 1 } else { 0 };
        let events = EventWriter::new(dir.path(), next).map_err(|e| write_error(dir, e))?;
        Ok(Book { dir, log, events, means: Means::default(), noted: (first, Duration::ZERO), before })
    }

    /// Notes the steps up to the model's, if any was done since; `now`: time of training.
    fn write(&mut self, model: &Model, now: Duration) -> Result<(), TrainError> {
        let step = model.iteration();
        if step <= self.noted.0 {
            return Ok(());
        }
        let steps_per_second = (step - self.noted.0) as f64 / (now - self.noted.1).as_secs_f64().max(1e-9);
        self.noted = (step, now);
        let record = Record {
            step,
            seconds: self.before + now.as_secs_f64(),
            steps_per_second,
            losses: self.means.take(),
            learning_rates: IndexMap::new(),
            skipped: model.skipped(),
        };
        self.log.write(&record)?;
        let tagged: Vec<(String, f64)> = record.losses.iter().map(|(name, &value)| (tag(name), value)).collect();
        let numbers = tagged.iter().map(|(name, value)| (name.as_str(), *value));
        self.events.scalars(step, numbers).map_err(|e| write_error(self.dir, e))
    }
}

fn json(dir: &RunDir, value: &impl Serialize) -> Result<String, TrainError> {
    let text = serde_json::to_string_pretty(value).map_err(|e| write_error(dir, e.into()))?;
    Ok(text + "\n")
}

/// TensorBoard groups by what stands before a slash.
fn tag(name: &str) -> String {
    match name.strip_prefix(GRAD_NORM) {
        Some(net) => format!("grad_norm/{net}"),
        None => format!("loss/{name}"),
    }
}

fn write_error(dir: &RunDir, source: std::io::Error) -> TrainError {
    TrainError::Write { path: dir.path().into(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_ten_checkpoints_and_pictures_fall_on_logged_steps() {
        for iterations in (1..400).chain([599, 1234, 3000, 100_000]) {
            let c = Cadence::of(iterations);
            assert!(c.log > 0 && c.checkpoint.is_multiple_of(c.log) && c.sample.is_multiple_of(c.log), "{c:?}");
            assert!(iterations / c.log <= 600, "{iterations}: {c:?}");
            // And one after the last step.
            let times = |every: u64| (1..=iterations).filter(|i| i.is_multiple_of(every) || *i == iterations).count();
            assert!(times(c.checkpoint) <= 10 && times(c.sample) <= 10, "{iterations}: {c:?}");
            assert!(times(c.sample) as u64 <= iterations.div_ceil(10), "{iterations}: {c:?}");
        }
    }
}
