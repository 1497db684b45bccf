//! From a preset and a data set to what a method is compiled for; and the compilation.

use crate::preset::Preset;
use crate::problem::{Problem, show};
use fgc_compiler::level::{Level, Pass};
use fgc_compiler::preset::{Field, Mixture, NetChoice, Setup};
use fgc_compiler::{Compiled, compile};
use fgc_runtime::data::Description;
use fgc_runtime::train::RunDir;
use fgc_runtime::{Tensor, data};
use indexmap::IndexMap;
use std::path::Path;

/// A preset on its data.
pub fn setup(preset: &Preset, description: &Description) -> Setup {
    Setup {
        batch: preset.batch,
        fields: fields(&description.fields),
        mixture: preset.data.mixture().map(|m| mixture(&m)),
        nets: preset.net_specs(),
        set: preset.set.clone(),
        written: preset.written.clone(),
        ..Setup::default()
    }
}

/// A level of optimisation by its number.
pub fn level(text: &str) -> Result<Level, String> {
    match text {
        "0" => Ok(Level::None),
        "1" => Ok(Level::Fuse),
        "2" => Ok(Level::Rewrite),
        _ => Err("expected 0, 1 or 2".into()),
    }
}

/// A part of the optimiser by its name.
pub fn part(text: &str) -> Result<Pass, String> {
    let found = Pass::ALL.into_iter().find(|(name, _)| *name == text);
    found.map(|(_, pass)| pass).ok_or_else(|| format!("expected {}", Pass::ALL.map(|(name, _)| name).join(", ")))
}

/// Axes for the shapes of a sample's fields: those of `x` by its rank, `K` for classes; a field of x's shape has its
/// axes, and one with a leading axis more (`path`) P before them.
pub fn fields(shapes: &IndexMap<String, Vec<usize>>) -> IndexMap<String, Field> {
    let x = shapes.get("x").cloned().unwrap_or_default();
    let x_axes: &[&str] = match x.len() {
        1 => &["C"],
        2 => &["C", "N"],
        3 => &["C", "H", "W"],
        _ => &["C", "T", "H", "W"],
    };
    let axes = |name: &str, shape: &[usize]| -> Vec<String> {
        let own = |axes: &[&str]| axes.iter().map(|a| a.to_string()).collect();
        match shape {
            // Before the shape: two classes of points in the plane have that of x.
            [_] if name == "c" => own(&["K"]),
            _ if name == "x" || shape == x => own(&x_axes[..shape.len().min(x_axes.len())]),
            [_, rest @ ..] if rest == x => [vec!["P".to_string()], own(x_axes)].concat(),
            _ => (0..shape.len()).map(|i| format!("{}{i}", name.to_uppercase())).collect(),
        }
    };
    shapes.iter().map(|(name, shape)| (name.clone(), Field { axes: axes(name, shape), shape: shape.clone() })).collect()
}

fn mixture(m: &data::Mixture) -> Mixture {
    Mixture {
        centres: m.centres.chunks(m.dim()).map(<[f64]>::to_vec).collect(),
        std: m.std,
        classes: if m.class_of.is_empty() { vec![0; m.components()] } else { m.class_of.clone() },
        weights: m.weights(),
    }
}

/// Compiles, and prints warnings.
pub fn compiled(name: &str, text: &str, setup: &Setup) -> Result<Compiled, Problem> {
    let compiled = compile(name, text, setup)?;
    show(&compiled.checked.warnings, &compiled.checked.sources);
    Ok(compiled)
}

/// Makes a run's student the architecture of the network `net`; gives where it is from, and its weights.
pub fn trained(run: &Path, net: &str, preset: &mut Preset) -> Result<(String, IndexMap<String, Tensor>), Problem> {
    let (_, checkpoint, path) = RunDir::open(run)?;
    let place = path.display().to_string();
    let theirs = crate::preset::parse(&checkpoint.preset, &place)?.net_specs();
    let Some(spec) = theirs.get("student").or_else(|| theirs.get("denoiser")) else {
        return Err(Problem::new(format!("{place}: its preset names no `denoiser`")));
    };
    preset.nets.insert(
        net.into(),
        NetChoice {
            network: spec.network.clone(),
            schedule: Some(spec.schedule.clone()),
            predicts: Some(spec.predicts.clone()),
            precondition: Some(spec.precondition.clone()),
            sigma_data: Some(spec.sigma_data),
        },
    );
    let named = |prefix: &str| -> IndexMap<String, Tensor> {
        let tensors = checkpoint.tensors.iter();
        tensors.filter_map(|(k, t)| Some((k.strip_prefix(prefix)?.to_owned(), t.clone()))).collect()
    };
    let student = [named("ema.student."), named("student.")].into_iter().find(|tensors| !tensors.is_empty());
    let Some(student) = student else {
        return Err(Problem::new(format!("{place} has no weights of a network `student`")));
    };
    Ok((place, student))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_get_the_axes_of_their_shapes() {
        let shapes =
            [("x", vec![3, 32, 32]), ("c", vec![10]), ("noise", vec![3, 32, 32]), ("path", vec![4, 3, 32, 32])];
        let shapes = shapes.into_iter().map(|(k, v)| (k.to_string(), v)).collect();
        let axes: Vec<String> = fields(&shapes).values().map(|f| f.axes.concat()).collect();
        assert_eq!(axes, ["CHW", "K", "CHW", "PCHW"]);
        let plane = [("x".to_string(), vec![2]), ("c".to_string(), vec![2])].into_iter().collect();
        let axes: Vec<String> = fields(&plane).values().map(|f| f.axes.concat()).collect();
        assert_eq!(axes, ["C", "K"]);
    }
}
