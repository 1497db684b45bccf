//! Samples from a model.

use super::inputs::{Feed, Pins};
use super::model::{Model, uses};
use crate::Tensor;
use crate::data::{Batch, one_hot};
use crate::train::TrainError;
use fgc_program::{BufferId, Net, Sampler};

/// Conditions for `n` samples: one class, or all in turn; nothing where the data have no classes.
pub fn conditions(classes: usize, n: usize, class: Option<usize>) -> Result<Batch, TrainError> {
    match class {
        Some(class) if class >= classes => Err(TrainError::Class { class, classes }),
        _ if classes == 0 => Ok(Batch::new()),
        _ => {
            let labels: Vec<usize> = (0..n).map(|i| class.unwrap_or(i % classes)).collect();
            Ok(Batch::from([("c".to_string(), one_hot(classes, &labels))]))
        }
    }
}

impl Model {
    /// Whether there is a sampler `name` whose networks all have weights.
    pub fn can_sample(&self, name: &str) -> bool {
        self.program.samplers.get(name).is_some_and(|sampler| self.missing(sampler).is_none())
    }

    /// A network that a sampler asks, and that nobody gave weights.
    fn missing(&self, sampler: &Sampler) -> Option<&Net> {
        let mut nets = self.without_weights.iter().map(|id| &self.program.nets[id.0 as usize]);
        nets.find(|net| sampler.stages.iter().any(|stage| uses(&self.program, stage.plan, net)))
    }

    /// `n` samples `[n, …]` by the sampler `name`, with averaged weights where networks have them. `given` holds `n` rows
    /// of each field that the sampler reads. The numbers drawn depend on `seed` and the program's batch size alone.
    pub fn sample(&mut self, name: &str, n: usize, given: &Batch, seed: u64) -> Result<Tensor, TrainError> {
        let program = self.program.clone();
        let Some(sampler) = program.samplers.get(name) else {
            let known: Vec<String> = program.samplers.keys().map(|k| format!("`{k}`")).collect();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            return Err(TrainError::NoSampler { name: name.into(), known });
        };
        if let Some(net) = self.missing(sampler) {
            return Err(TrainError::NoWeights { net: net.name.clone() });
        }
        self.swap_averages()?;
        let result = self.batches(sampler, n, given, seed);
        self.swap_averages()?;
        result
    }

    fn batches(&mut self, sampler: &Sampler, n: usize, given: &Batch, seed: u64) -> Result<Tensor, TrainError> {
        let size = self.program.batch.max(1);
        let (mut values, mut shape) = (Vec::new(), Vec::new());
        for (chunk, first) in (0..n.max(1)).step_by(size).enumerate() {
            let rows = given.iter().map(|(name, tensor)| (name.clone(), rows(tensor, first, size))).collect();
            let samples = self.one_batch(sampler, &rows, seed, chunk)?;
            let each: usize = samples.shape().iter().skip(1).product();
            let keep = size.min(n - first);
            values.extend_from_slice(&samples.to_f32()[..keep * each]);
            shape = samples.shape().to_vec();
        }
        shape[0] = n;
        Ok(Tensor::f32(shape, values))
    }

    fn one_batch(&mut self, sampler: &Sampler, batch: &Batch, seed: u64, chunk: usize) -> Result<Tensor, TrainError> {
        let pins = Pins::new();
        let domain = format!("sample.{chunk}.");
        let feed = Feed { batch, pins: &pins, domain: &domain, seed, step: 0, row: &[] };
        for stage in &sampler.stages {
            for (i, row) in stage.rows.iter().enumerate() {
                let step = if stage.repeats { i as u64 + 1 } else { 0 };
                self.feed(stage.plan, Feed { step, row, ..feed })?;
                self.device.run(stage.plan)?;
                self.keep(&stage.keeps)?;
            }
        }
        let plan = sampler.stages.last().map(|stage| &self.program.plans[stage.plan]);
        let samples = plan.and_then(|plan| plan.outputs.iter().find(|output| output.name == "sample"));
        let Some(samples) = samples else { return Err(TrainError::NoInput { name: "sample".into() }) };
        Ok(Tensor::new(samples.shape.clone(), self.device.values(samples.buffer)?))
    }

    /// Copies values to where later runs read them; as if all at once.
    fn keep(&mut self, keeps: &[(BufferId, BufferId)]) -> Result<(), TrainError> {
        let mut held = Vec::new();
        for &(from, to) in keeps {
            if keeps.iter().any(|(_, other)| *other == from) {
                held.push((self.device.values(from)?, to));
            }
        }
        for &(from, to) in keeps {
            self.device.copy(from, to)?;
        }
        for (values, to) in held {
            self.device.set_values(to, &values)?;
        }
        Ok(())
    }

    /// Exchanges weights and their moving averages, all networks'.
    fn swap_averages(&mut self) -> Result<(), TrainError> {
        let pairs: Vec<(BufferId, BufferId)> =
            self.program.nets.iter().filter_map(|net| Some((net.weights, net.ema?))).collect();
        pairs.into_iter().try_for_each(|(weights, ema)| Ok(self.device.swap(weights, ema)?))
    }
}

/// `size` rows from `first` on; the last repeated past the end.
fn rows(tensor: &Tensor, first: usize, size: usize) -> Tensor {
    let n = tensor.shape().first().copied().unwrap_or(0);
    let each: usize = tensor.shape().iter().skip(1).product();
    let all = tensor.to_f32();
    let rows = (first..first + size).map(|i| i.min(n.saturating_sub(1)));
    let values = rows.flat_map(|i| all[i * each..(i + 1) * each].iter().copied()).collect();
    let mut shape = tensor.shape().to_vec();
    if let Some(rows) = shape.first_mut() {
        *rows = size;
    }
    Tensor::f32(shape, values)
}
