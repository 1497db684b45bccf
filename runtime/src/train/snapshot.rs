//! Everything that makes a model what it is, as named tensors, and back.

use super::model::{Model, elements};
use crate::checkpoint::Checkpoint;
use crate::names::closest;
use crate::train::TrainError;
use crate::{Tensor, Values};
use fgc_program::{BufferId, Net, NetId, OutputKind, Program};
use indexmap::IndexMap;

const SKIPPED: &str = "skipped";

impl Model {
    /// A checkpoint that goes on exactly where this model stands. Frozen networks that nobody gave weights are not in it.
    pub fn checkpoint(&self, spec: &str, preset: &str) -> Result<Checkpoint, TrainError> {
        let mut tensors = IndexMap::new();
        let has_weights = |(i, _): &(usize, &Net)| !self.without_weights.contains(&NetId(*i as u32));
        for (_, net) in self.program.nets.iter().enumerate().filter(has_weights) {
            for param in &net.params {
                let mut put = |prefix: &str, flat: BufferId| {
                    let tensor = self.parameter(net, param, flat)?;
                    tensors.insert(format!("{prefix}{}.{}", net.name, param.name), tensor);
                    Ok::<(), TrainError>(())
                };
                put("", net.weights)?;
                if let Some(ema) = net.ema {
                    put("ema.", ema)?;
                }
                for (moment, &flat) in &net.moments {
                    put(&format!("moment.{moment}."), flat)?;
                }
            }
            if let Some(updates) = net.updates {
                tensors.insert(format!("updates.{}", net.name), Tensor::f64([], vec![self.scalar(updates)?]));
            }
        }
        for (name, buffer) in states(&self.program) {
            let values = self.device.values(buffer)?;
            tensors.insert(format!("state.{name}"), Tensor::new(vec![values.len()], values));
        }
        tensors.insert(SKIPPED.into(), Tensor::i64([], vec![self.skipped as i64]));
        Ok(Checkpoint { step: self.iteration, seed: self.seed, spec: spec.into(), preset: preset.into(), tensors })
    }

    /// Takes everything from a checkpoint of the same program; `from` names it in messages.
    pub fn restore(&mut self, checkpoint: &Checkpoint, from: &str) -> Result<(), TrainError> {
        let program = self.program.clone();
        let tensors = &checkpoint.tensors;
        self.without_weights.clear();
        for (i, net) in program.nets.iter().enumerate() {
            let is_own = |name: &String| name.split_once('.').is_some_and(|(owner, _)| owner == net.name);
            if net.frozen && !net.params.is_empty() && !tensors.keys().any(is_own) {
                self.without_weights.push(NetId(i as u32));
                continue;
            }
            let mut flats = vec![(String::new(), net.weights)];
            flats.extend(net.ema.map(|ema| ("ema.".to_string(), ema)));
            flats.extend(net.moments.iter().map(|(moment, &flat)| (format!("moment.{moment}."), flat)));
            for (prefix, flat) in flats {
                for param in &net.params {
                    let name = format!("{prefix}{}.{}", net.name, param.name);
                    let values = take(from, tensors, &name, &param.shape)?.to_f32();
                    debug_assert_eq!(values.len(), elements(param));
                    self.set_parameter(param, flat, &values)?;
                }
            }
            if let Some(updates) = net.updates {
                let name = format!("updates.{}", net.name);
                self.device.write(updates, &take(from, tensors, &name, &[])?.to_f64())?;
            }
        }
        for (name, buffer) in states(&program) {
            let length = self.device.values(buffer)?.len();
            let state = take(from, tensors, &format!("state.{name}"), &[length])?;
            self.device.set_values(buffer, state.values())?;
        }
        if let Values::I64(skipped) = take(from, tensors, SKIPPED, &[])?.values() {
            self.skipped = skipped[0].max(0) as u64;
        }
        (self.iteration, self.seed) = (checkpoint.step, checkpoint.seed);
        Ok(())
    }

    /// The values of state buffers, by name.
    pub fn states(&self) -> Result<IndexMap<String, Tensor>, TrainError> {
        let read = |(name, buffer)| {
            let values = self.device.values(buffer)?;
            Ok((name, Tensor::new(vec![values.len()], values)))
        };
        states(&self.program).into_iter().map(read).collect()
    }
}

/// State buffers by name.
fn states(program: &Program) -> IndexMap<String, BufferId> {
    let outputs = program.plans.iter().flat_map(|plan| &plan.outputs);
    let state = outputs.filter_map(|output| match output.kind {
        OutputKind::State { state } => Some((output.name.clone(), state)),
        _ => None,
    });
    state.collect()
}

fn take<'a>(
    from: &str,
    tensors: &'a IndexMap<String, Tensor>,
    name: &str,
    shape: &[usize],
) -> Result<&'a Tensor, TrainError> {
    match tensors.get(name) {
        None => {
            let near = closest(name, tensors.keys().map(String::as_str));
            let hint = near.map(|n| format!("; is it `{n}`?")).unwrap_or_default();
            Err(TrainError::Missing { from: from.into(), tensor: name.into(), hint })
        }
        Some(found) if found.shape() != shape => Err(TrainError::Shape {
            from: from.into(),
            tensor: name.into(),
            expected: shape.to_vec(),
            found: found.shape().to_vec(),
        }),
        Some(found) => Ok(found),
    }
}
