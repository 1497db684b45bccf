//! What `fgc run` trains: a method on a preset, with weights that are given or that other methods of the preset train
//! first.

use crate::preset::{self, Choice, Preset};
use crate::problem::Problem;
use crate::setup::trained;
use crate::source::Source;
use fgc_runtime::checkpoint::Checkpoint;
use fgc_runtime::train::{RunDir, TrainError, Weights};
use indexmap::IndexMap;
use std::path::{Path, PathBuf};

pub struct Plan {
    pub source: Source,
    pub preset: Preset,
    /// Of networks that start as another run's student.
    pub weights: Weights,
    /// What is trained first, and the networks that start from it.
    pub first: Vec<(Plan, Vec<String>)>,
    /// Where to go on, and that checkpoint's path.
    pub from: Option<(RunDir, Checkpoint, String)>,
    /// Of the new run, if it is not to be numbered.
    pub name: Option<String>,
    /// Stem of a new run's name.
    pub stem: String,
}

impl Plan {
    /// A new run. `init`: runs whose students networks become. Networks that the preset has trained first are, unless they
    /// are among these.
    pub fn new(
        method: &Path,
        choice: &Choice,
        name: Option<&str>,
        init: &IndexMap<String, PathBuf>,
    ) -> Result<Plan, Problem> {
        let source = Source::read(method)?;
        let mut plan = Plan::on(source, choice, None, name)?;
        for (net, run) in init {
            plan.weights.nets.insert(net.clone(), trained(run, net, &mut plan.preset)?);
            plan.first.iter_mut().for_each(|(_, nets)| nets.retain(|n| n != net));
        }
        plan.first.retain(|(_, nets)| !nets.is_empty());
        Ok(plan)
    }

    /// `home`: the method beside which the preset is looked for, if not this one.
    fn on(source: Source, choice: &Choice, home: Option<&Path>, name: Option<&str>) -> Result<Plan, Problem> {
        let method = source.method();
        let home = home.unwrap_or(&source.path);
        let (preset, preset_name) = choice.resolve(home, &method)?;
        let mut first: IndexMap<&String, Vec<String>> = IndexMap::new();
        for (net, by) in &preset.init {
            first.entry(by).or_default().push(net.clone());
        }
        // The preset has been searched for methods that wait for each other, so this ends.
        let first = first.into_iter().map(|(by, nets)| {
            let name = name.map(|name| format!("{name}-{}", nets.join("-")));
            let place = preset.written.as_ref().map_or("", |written| &written.name);
            let source = Source::named(by, preset::folders(home, place))?;
            Ok((Plan::on(source, &choice.for_another(&method), Some(home), name.as_deref())?, nets))
        });
        let first = first.collect::<Result<_, Problem>>()?;
        let stem = format!("{method}-{preset_name}");
        let (weights, name) = (Weights::default(), name.map(String::from));
        Ok(Plan { source, preset, weights, first, from: None, name, stem })
    }

    /// Refuses names of runs that are taken, before anything is trained.
    pub fn free(&self, out: &Path) -> Result<(), Problem> {
        for (first, nets) in &self.first {
            let Some(path) = first.name.as_ref().map(|name| out.join(name)).filter(|path| path.exists()) else {
                continue;
            };
            let run = path.display();
            let init: String = nets.iter().map(|net| format!(" --init {net}={run}")).collect();
            return Err(Problem::new(format!(
                "{run} already holds a run of what is trained first; finish it (fgc run --resume {run}) and take it, with{init}, \
                 or choose another name with --name"
            )));
        }
        match self.name.as_ref().map(|name| out.join(name)).filter(|path| path.exists()) {
            Some(path) => Err(TrainError::Exists { path }.into()),
            None => self.first.iter().try_for_each(|(first, _)| first.free(out)),
        }
    }

    /// A run that goes on, to `iterations` steps in all instead of the preset's. `method` is not read, but must be the run's.
    pub fn resumed(run: &Path, method: Option<&Path>, iterations: Option<usize>) -> Result<Plan, Problem> {
        let (dir, checkpoint, path) = RunDir::open(run)?;
        let place = path.display().to_string();
        if let Some(method) = method
            && Source::read(method)?.text != checkpoint.spec
        {
            return Err(Problem::new(format!(
                "{} is not what {} was trained with; resume without naming a method, or start a new run",
                method.display(),
                run.display()
            )));
        }
        let mut preset = preset::parse(&checkpoint.preset, &place)?;
        preset.iterations = iterations.unwrap_or(preset.iterations);
        let source = Source { path: dir.path().join("spec.fg"), text: checkpoint.spec.clone() };
        let (weights, from) = (Weights::default(), Some((dir, checkpoint, place)));
        Ok(Plan { source, preset, weights, first: Vec::new(), from, name: None, stem: String::new() })
    }
}
