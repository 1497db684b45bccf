//! A data set in memory, and batches from it.

use super::{DataError, DataSpec, Description, Mixture, Skipped, Split, idx, pairs, shapes, webdataset};
use crate::Tensor;
use crate::random::Stream;
use indexmap::IndexMap;
use rayon::prelude::*;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;

/// The fields of some samples, each `[B, …]` and f32. Pixels are in [−1, 1]; classes are one-hot rows of `c`.
pub type Batch = IndexMap<String, Tensor>;

/// A data set, loaded or computed.
#[derive(Debug)]
pub struct Dataset {
    description: Description,
    source: Source,
    skipped: Vec<Skipped>,
    /// The orders of the epochs batches were last asked from; a batch may straddle two.
    orders: Mutex<VecDeque<Order>>,
}

/// The order of the samples in one epoch.
#[derive(Debug)]
struct Order {
    seed: u64,
    epoch: u64,
    samples: Vec<usize>,
}

#[derive(Debug)]
enum Source {
    Stored(Stored),
    Mixture(Mixture),
    Shapes { size: usize, channels: usize },
    Noise,
}

/// Samples in memory.
#[derive(Debug)]
pub(super) struct Stored {
    pub len: usize,
    pub fields: IndexMap<String, Field>,
    pub labels: Option<Vec<u32>>,
}

/// One field, of one sample or of all.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    /// Of one sample.
    pub shape: Vec<usize>,
    pub values: Elements,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Elements {
    /// Pixels: 0 to 255 mean −1 to 1.
    Bytes(Vec<u8>),
    Floats(Vec<f32>),
}

impl Elements {
    /// Appends more of the same storage.
    ///
    /// # Panics
    /// If the storage differs.
    pub fn append(&mut self, more: Elements) {
        match (self, more) {
            (Elements::Bytes(all), Elements::Bytes(more)) => all.extend(more),
            (Elements::Floats(all), Elements::Floats(more)) => all.extend(more),
            _ => panic!("pixels and numbers in one field"),
        }
    }
}

impl Field {
    /// Writes one of the samples as f32.
    fn copy(&self, sample: usize, out: &mut [f32]) {
        let range = sample * out.len()..(sample + 1) * out.len();
        match &self.values {
            Elements::Bytes(v) => {
                out.iter_mut().zip(&v[range]).for_each(|(o, &b)| *o = f32::from(b) / 127.5 - 1.0);
            }
            Elements::Floats(v) => out.copy_from_slice(&v[range]),
        }
    }
}

/// Classes as rows with a single 1: `[labels, classes]`.
///
/// # Panics
/// If a label is not below `classes`.
pub fn one_hot(classes: usize, labels: &[usize]) -> Tensor {
    let mut rows = vec![0.0; labels.len() * classes];
    for (row, &label) in rows.chunks_mut(classes.max(1)).zip(labels) {
        row[label] = 1.0;
    }
    Tensor::f32([labels.len(), classes], rows)
}

impl Dataset {
    /// Loads one part of a data set. `progress` is told bytes done and bytes in all now and then.
    pub fn load(spec: &DataSpec, split: Split, progress: &mut dyn FnMut(u64, u64)) -> Result<Dataset, DataError> {
        let mut description = spec.describe()?;
        let mut skipped = Vec::new();
        let source = match spec {
            DataSpec::Digits => Source::Stored(idx::digits(split)?),
            DataSpec::Idx(dir) => checked(idx::load(dir, split)?, &description, dir)?,
            DataSpec::WebDataset(paths) => {
                let loaded = webdataset::load(paths, split, &description, progress)?;
                skipped = loaded.skipped;
                Source::Stored(loaded.stored)
            }
            DataSpec::Shapes { size, channels } => Source::Shapes { size: *size, channels: *channels },
            DataSpec::Noise { .. } => Source::Noise,
            DataSpec::Pairs { of, schedule, count, seed } => {
                let mixture = of.mixture().expect("checked: pairs are of mixtures");
                Source::Stored(pairs::make(&mixture, *schedule, *count, *seed, split)?)
            }
            _ => Source::Mixture(spec.mixture().expect("the other data sets are all mixtures")),
        };
        if let Source::Stored(stored) = &source {
            // A part may lack fields, such as the classes of a test set.
            description
                .fields
                .retain(|name, _| stored.fields.contains_key(name) || (name == "c" && stored.labels.is_some()));
        }
        Ok(Dataset { description, source, skipped, orders: Mutex::default() })
    }

    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Samples; None where they are computed and never repeat.
    pub fn len(&self) -> Option<usize> {
        match &self.source {
            Source::Stored(stored) => Some(stored.len),
            _ => None,
        }
    }

    /// Never: a data set without samples does not load.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Samples that could not be read and were left out.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// The `step`-th batch of `size` samples: a pure function of its arguments. Stored samples all come once before
    /// any comes again, in an order that each epoch shuffles anew.
    pub fn batch(&self, size: usize, seed: u64, step: u64) -> Batch {
        let first = step * size as u64;
        match &self.source {
            Source::Stored(stored) => {
                let samples: Vec<usize> =
                    (first..first + size as u64).map(|i| self.shuffled(seed, i, stored.len)).collect();
                self.gather(stored, &samples)
            }
            Source::Mixture(mixture) => self.compute(size, |j, x| mixture.sample(seed, first + j, x)),
            Source::Shapes { size: side, channels } => {
                self.compute(size, |j, x| Some(shapes::draw(seed, first + j, *side, *channels, x)))
            }
            Source::Noise => self.compute(size, |j, x| Some(noise(seed, first + j, self.description.classes(), x))),
        }
    }

    /// Which stored sample comes as number `index`.
    fn shuffled(&self, seed: u64, index: u64, len: usize) -> usize {
        let (epoch, position) = (index / len as u64, (index % len as u64) as usize);
        // A poisoned lock still holds whole entries: they are only pushed and popped.
        let mut orders = self.orders.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(order) = orders.iter().find(|order| (order.seed, order.epoch) == (seed, epoch)) {
            return order.samples[position];
        }
        let samples = Stream::new(seed, epoch, "data.order").permutation(len);
        let sample = samples[position];
        orders.push_back(Order { seed, epoch, samples });
        if orders.len() > 2 {
            orders.pop_front();
        }
        sample
    }

    fn gather(&self, stored: &Stored, samples: &[usize]) -> Batch {
        let mut batch = Batch::new();
        for name in self.description.fields.keys() {
            let tensor = match stored.fields.get(name) {
                Some(field) => {
                    let each: usize = field.shape.iter().product();
                    let mut out = vec![0.0; samples.len() * each];
                    let rows = out.par_chunks_mut(each.max(1)).zip(samples);
                    rows.with_min_len(16).for_each(|(row, &sample)| field.copy(sample, row));
                    Tensor::f32([&[samples.len()], &field.shape[..]].concat(), out)
                }
                None => {
                    let labels = stored.labels.as_deref().unwrap_or_default();
                    let labels: Vec<usize> = samples.iter().map(|&s| labels[s] as usize).collect();
                    one_hot(self.description.classes(), &labels)
                }
            };
            batch.insert(name.clone(), tensor);
        }
        batch
    }

    fn compute(&self, size: usize, sample: impl Fn(u64, &mut [f32]) -> Option<usize> + Sync) -> Batch {
        let shape = self.description.shape();
        let each: usize = shape.iter().product();
        let mut x = vec![0.0; size * each];
        let rows = x.par_chunks_mut(each).enumerate().with_min_len((4096 / each).max(1));
        // Every row, also of data without classes: collecting into an option would stop at the first.
        let labels: Vec<Option<usize>> = rows.map(|(j, row)| sample(j as u64, row)).collect();
        let labels: Option<Vec<usize>> = labels.into_iter().collect();
        let mut batch = Batch::from([("x".to_string(), Tensor::f32([&[size], shape].concat(), x))]);
        if let Some(labels) = labels.filter(|_| self.description.classes() > 0) {
            batch.insert("c".to_string(), one_hot(self.description.classes(), &labels));
        }
        batch
    }
}

/// Fills a sample with noise of standard deviation 0.5; returns a random class.
fn noise(seed: u64, index: u64, classes: usize, x: &mut [f32]) -> usize {
    let stream = Stream::new(seed, index, "data.noise");
    x.iter_mut().enumerate().for_each(|(i, x)| *x = 0.5 * stream.normal(i as u64) as f32);
    Stream::new(seed, index, "data.noise.class").index(0, classes.max(1))
}

/// Refuses labels the training part does not have: they would need a wider `c`.
fn checked(stored: Stored, description: &Description, path: &Path) -> Result<Source, DataError> {
    let classes = description.classes();
    let labels = stored.labels.iter().flatten();
    if let Some((key, &label)) = labels.enumerate().find(|&(_, &label)| label as usize >= classes) {
        return Err(DataError::Class { path: path.into(), key: format!("sample {key}"), label, classes });
    }
    Ok(Source::Stored(stored))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(spec: DataSpec) -> Dataset {
        Dataset::load(&spec, Split::Train, &mut |_, _| {}).unwrap()
    }

    #[test]
    fn batches_are_a_pure_function_of_seed_and_step() {
        for spec in [DataSpec::Digits, DataSpec::Spiral, DataSpec::Shapes { size: 8, channels: 3 }] {
            let (a, b) = (load(spec.clone()), load(spec));
            let batches: Vec<Batch> = (0..40).map(|step| a.batch(64, 1, step)).collect();
            for step in [39, 0, 23] {
                assert_eq!(b.batch(64, 1, step as u64), batches[step]);
            }
            assert_ne!(batches[0], batches[1]);
            assert_ne!(a.batch(64, 2, 0), batches[0]);
        }
    }

    #[test]
    fn an_epoch_holds_every_sample_once() {
        let digits = load(DataSpec::Digits);
        let epoch = |n: u64| {
            let one = |step| digits.batch(100, 3, 15 * n + step)["x"].as_f32().unwrap().to_vec();
            let all: Vec<f32> = (0..15).flat_map(one).collect();
            let mut samples: Vec<Vec<u32>> = all.chunks(64).map(|s| s.iter().map(|x| x.to_bits()).collect()).collect();
            let first = samples[0].clone();
            samples.sort();
            (first, samples)
        };
        let (a, b) = (epoch(0), epoch(1));
        assert_eq!(a.1, b.1);
        assert_ne!(a.0, b.0, "epochs have their own orders");
    }

    #[test]
    fn fields_are_as_described() {
        let noise = DataSpec::Noise { shape: vec![2, 3, 4, 4], classes: 5 };
        for spec in [DataSpec::Digits, DataSpec::Moons, DataSpec::Gaussian { dim: 5, std: 2.0 }, noise] {
            let data = load(spec);
            let batch = data.batch(7, 0, 5);
            assert!(batch.keys().eq(data.description().fields.keys()));
            for (name, shape) in &data.description().fields {
                assert_eq!(batch[name].shape(), [&[7], &shape[..]].concat(), "{name}");
            }
        }
    }

    /// All rows are filled, classes or not.
    #[test]
    fn data_have_the_spread_they_say() {
        let batch = load(DataSpec::Gaussian { dim: 3, std: 2.0 }).batch(2000, 0, 1);
        let x = batch["x"].as_f32().unwrap();
        let spread = (x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / x.len() as f64).sqrt();
        assert!((spread - 2.0).abs() < 0.1, "{spread}");
    }

    #[test]
    fn drawings_stay_in_range_and_show_their_class() {
        let batch = load(DataSpec::Shapes { size: 16, channels: 3 }).batch(300, 0, 0);
        assert!(batch["x"].as_f32().unwrap().iter().all(|x| (-1.0..=1.0).contains(x)));
        let c = batch["c"].as_f32().unwrap();
        assert!((0..3).all(|class| c.iter().skip(class).step_by(3).sum::<f32>() > 60.0));
    }
}
