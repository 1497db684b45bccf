//! How weights start: drawn, given, or copied from another network.

use super::model::{Model, elements, uses};
use crate::Device;
use crate::Tensor;
use crate::names::closest;
use crate::random::{self, Stream};
use crate::train::TrainError;
use fgc_program::{Init, Net, NetId, OutputKind, Param, Program};
use indexmap::IndexMap;

/// Tensors that do not fit and are named in a message.
const LISTED: usize = 24;

/// Weights given from outside, by network.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    /// Parameters by name, and where they are from, for messages.
    pub nets: IndexMap<String, (String, IndexMap<String, Tensor>)>,
}

impl Weights {
    /// All of a file's tensors that are named `<net>.<param>` for a network of `nets`.
    pub fn from_file(from: &str, tensors: IndexMap<String, Tensor>, nets: &[&str]) -> Weights {
        let mut weights = Weights::default();
        for (name, tensor) in tensors {
            if let Some((net, param)) = name.split_once('.').filter(|(net, _)| nets.contains(net)) {
                let entry = weights.nets.entry(net.into()).or_insert_with(|| (from.into(), IndexMap::new()));
                entry.1.insert(param.into(), tensor);
            }
        }
        weights
    }
}

impl Model {
    /// A model at iteration 0: weights drawn from each parameter's law, overwritten by those given, then copied along
    /// `from` where the source has weights of the same names and shapes. Also what is worth telling about that.
    pub fn new(device: impl Into<Device>, seed: u64, given: &Weights) -> Result<(Model, Vec<String>), TrainError> {
        let device = device.into();
        let program = device.program().clone();
        let mut model =
            Model { device, program, seed, iteration: 0, skipped: 0, without_weights: Vec::new(), last_step: None };
        let program = model.program.clone();
        let mut notes = Vec::new();
        let mut filled: Vec<bool> = Vec::new();
        for net in &program.nets {
            // Weights that are only sampled from, and would not be, need no memory: pages nobody writes take none.
            let idle = net.frozen && !trains(&program, net);
            for param in net.params.iter().filter(|_| !idle) {
                let name = format!("init.{}.{}", net.name, param.name);
                model.set_parameter(param, net.weights, &drawn(param, &Stream::new(seed, 0, &name)))?;
            }
            filled.push(given.nets.contains_key(&net.name));
            if let Some((from, tensors)) = given.nets.get(&net.name) {
                for (param, values) in net.params.iter().zip(matching(from, net, tensors)?) {
                    model.set_parameter(param, net.weights, &values)?;
                }
            }
        }
        for (i, net) in program.nets.iter().enumerate() {
            let Some(source) = net.from.filter(|_| !filled[i]) else { continue };
            let origin = &program.nets[source.0 as usize];
            if origin.params.is_empty() || (origin.frozen && !filled[source.0 as usize]) {
                continue;
            }
            let pairs: Option<Vec<(&Param, &Param)>> = net
                .params
                .iter()
                .map(|p| Some((p, origin.params.iter().find(|o| o.name == p.name && o.shape == p.shape)?)))
                .collect();
            match pairs {
                Some(pairs) => {
                    for (param, same) in pairs {
                        let range = same.offset..same.offset + elements(same);
                        let values = model.device.read_part(origin.weights, range)?.to_vec();
                        model.set_parameter(param, net.weights, &values)?;
                    }
                    filled[i] = true;
                }
                None => notes.push(format!(
                    "`{}` starts from its own random weights: those of `{}` have other names or shapes",
                    net.name, origin.name
                )),
            }
        }
        for (i, net) in program.nets.iter().enumerate() {
            if let Some(ema) = net.ema {
                model.device.copy(net.weights, ema)?;
            }
            if net.frozen && !net.params.is_empty() && !filled[i] {
                model.without_weights.push(NetId(i as u32));
            }
        }
        model.initial_state()?;
        Ok((model, notes))
    }

    /// Refuses to train against a frozen network that nobody gave weights.
    pub fn check_weights(&self) -> Result<(), TrainError> {
        for id in &self.without_weights {
            let net = &self.program.nets[id.0 as usize];
            if trains(&self.program, net) {
                return Err(TrainError::NoWeights { net: net.name.clone() });
            }
        }
        Ok(())
    }

    /// Computes the initial values of state buffers.
    fn initial_state(&mut self) -> Result<(), TrainError> {
        let program = self.program.clone();
        for (plan, p) in program.plans.iter().enumerate().filter(|(_, p)| p.name == "start") {
            self.device.run(plan)?;
            for output in &p.outputs {
                if let OutputKind::State { state } = output.kind {
                    self.device.copy(output.buffer, state)?;
                }
            }
        }
        Ok(())
    }
}

/// A frozen network that training steps ask and that has no weights, if those of the networks `given` are.
pub fn without_weights<'a>(program: &'a Program, given: &[&str]) -> Option<&'a Net> {
    let has = |net: &Net| given.contains(&net.name.as_str());
    let filled = |net: &Net| has(net) || net.from.is_some_and(|from| has(&program.nets[from.0 as usize]));
    program.nets.iter().find(|net| net.frozen && !net.params.is_empty() && !filled(net) && trains(program, net))
}

/// Whether a training step asks this network.
fn trains(program: &Program, net: &Net) -> bool {
    program.schedule.steps.iter().any(|turn| uses(program, turn.plan, net))
}

fn drawn(param: &Param, stream: &Stream) -> Vec<f32> {
    let all = 0..elements(param) as u64;
    match param.init {
        Init::Constant(value) => all.map(|_| value as f32).collect(),
        Init::Uniform { bound } => all.map(|i| ((2.0 * stream.uniform(i) - 1.0) * bound) as f32).collect(),
        Init::Normal { std } => {
            let mut values = vec![0.0f64; elements(param)];
            random::fill_normal(stream, &mut values);
            values.into_iter().map(|x| (x * std) as f32).collect()
        }
    }
}

/// The given values of every parameter; what does not fit is listed, all of it, with the names that come closest.
fn matching(from: &str, net: &Net, tensors: &IndexMap<String, Tensor>) -> Result<Vec<Vec<f32>>, TrainError> {
    let mut values = Vec::new();
    let mut list = Vec::new();
    let known = |name: &str| net.params.iter().any(|p| p.name == name);
    // Those that no parameter has taken by name: what a missing one may be called instead.
    let spare: Vec<&str> = tensors.keys().map(String::as_str).filter(|name| !known(name)).collect();
    for param in &net.params {
        match tensors.get(&param.name) {
            Some(found) if found.shape() == param.shape => values.push(found.to_f32()),
            Some(found) => list.push(format!(
                "  shape    {} is {:?}, and the network's is {:?}",
                param.name,
                found.shape(),
                param.shape
            )),
            None => {
                let near = closest(&param.name, spare.iter().copied());
                let hint = near.map_or(String::new(), |n| format!("; is it {n}?"));
                list.push(format!("  missing  {} {:?}{hint}", param.name, param.shape));
            }
        }
    }
    if list.is_empty() {
        return Ok(values);
    }
    list.extend(spare.iter().map(|name| format!("  extra    {name} {:?}", tensors[*name].shape())));
    let more = list.len().saturating_sub(LISTED);
    list.truncate(LISTED);
    if more > 0 {
        list.push(format!("  and {more} more"));
    }
    Err(TrainError::Tensors { from: from.into(), net: net.name.clone(), list })
}
