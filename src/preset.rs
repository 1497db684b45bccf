//! Presets: found by name or path, with what the command line overrides.

use crate::misread;
use crate::problem::Problem;
use crate::source::{BUILT_IN, Source};
use fgc_compiler::diagnostic::{Diagnostic, Fix};
use fgc_compiler::preset as compiler;
use fgc_compiler::preset::Written;
use fgc_compiler::preset::outline::Outline;
use fgc_grammar::Span;
use fgc_runtime::data::{DataSpec, Paths};
use fgc_runtime::names::closest;
use ron::error::SpannedError;
use std::path::{Path, PathBuf};

pub type Preset = compiler::Preset<DataSpec>;

/// The options that choose a preset and change it.
#[derive(clap::Args, Default)]
pub struct Choice {
    /// Data, networks, hyper-parameters and length of training: the name of a preset, or a .ron file (default: the first
    /// built-in preset with settings for the method, else ring).
    ///
    /// A name is looked up in `presets/` beside the method, then among the built-in ones (ring, pairs, moving,
    /// moving_pairs, checkerboard, moons, spiral, digits, cifar10).
    #[arg(long, value_name = "NAME|FILE")]
    pub preset: Option<String>,
    /// Train on the data here instead: MNIST-like IDX files, a .tar, or a directory of .tar files (WebDataset).
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Set a hyper-parameter of the method: `--set guidance=1.5`, `--set 't_list=[80, 2, 0]'`. May be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    pub set: Vec<(String, String)>,
    /// Samples a step (default: the preset's).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: Option<u32>,
}

pub fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() && !value.trim().is_empty() => {
            Ok((name.trim().into(), value.trim().into()))
        }
        _ => Err("expected NAME=VALUE".into()),
    }
}

impl Choice {
    /// The same preset and data, chosen for `method`, for another method.
    pub fn for_another(&self, method: &str) -> Choice {
        let preset = self.preset.clone().unwrap_or_else(|| default_for(method).into());
        Choice { preset: Some(preset), data: self.data.clone(), set: Vec::new(), batch: None }
    }

    /// The preset for a method, overrides put in; and what to call it.
    pub fn resolve(&self, method_path: &Path, method: &str) -> Result<(Preset, String), Problem> {
        let wanted = self.preset.as_deref().unwrap_or_else(|| default_for(method));
        let (text, place, name) = find(wanted, method_path)?;
        let preset = parse(&text, &place)?;
        known_methods(&preset, (&place, &text), method, method_path)?;
        ends(&preset, (&place, &text), &mut vec![method])?;
        let mut preset = preset.for_method(method);
        preset.methods.clear();
        preset.written = Some(Written { name: place.clone(), text: text.as_str().into(), method: method.into() });
        if let Some(dir) = &self.data {
            preset.data = DataSpec::detect(dir)?;
            // A density's exact denoiser knows nothing of these data: such a network wants a run's weights instead.
            preset.nets.retain(|_, net| !net.network.contains("mixture = mixture"));
        }
        preset.data = absolute(preset.data);
        preset.batch = self.batch.map_or(preset.batch, |b| b as usize);
        preset.set.extend(self.set.iter().cloned());
        one_clock(&preset, &place, &text)?;
        Ok((preset, name))
    }
}

/// Reads a preset; `place` is where it is from.
pub fn parse(text: &str, place: &str) -> Result<Preset, Problem> {
    let preset = read(text).map_err(|e| misread::unreadable(place, text, &e))?;
    let batches = preset.methods.values().filter_map(|m| m.batch).chain([preset.batch]);
    if batches.min() == Some(0) {
        return Err(misread::no_samples(place, text));
    }
    Ok(preset)
}

/// As [`parse`]; an error with its place.
pub fn read(text: &str) -> Result<Preset, SpannedError> {
    // So that `batch: 64` need not be `batch: Some(64)`.
    let options = ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
    options.from_str(text)
}

/// A preset's text.
pub fn print(preset: &Preset) -> Result<String, Problem> {
    let text = ron::ser::to_string_pretty(preset, ron::ser::PrettyConfig::new().struct_names(false));
    text.map_err(|e| Problem::new(format!("cannot write the preset: {e}")))
}

/// The built-in presets, those that every method can do something with first.
const BUILT_IN_PRESETS: [&str; 9] =
    ["ring", "pairs", "moving", "moving_pairs", "checkerboard", "moons", "spiral", "digits", "cifar10"];

/// The first built-in preset with settings for a method, else the first.
fn default_for(method: &str) -> &'static str {
    let has_settings = |name: &&str| {
        let text = BUILT_IN.get_file(format!("presets/{name}.ron")).and_then(|f| f.contents_utf8());
        text.and_then(|text| parse(text, name).ok()).is_some_and(|preset| preset.methods.contains_key(method))
    };
    BUILT_IN_PRESETS.into_iter().find(has_settings).unwrap_or(BUILT_IN_PRESETS[0])
}

/// Refuses settings for methods that are not there, which would go unnoticed, and networks trained first by such. There
/// are the method that is run, the built-in ones, and those beside it and beside the preset.
fn known_methods(
    preset: &Preset,
    (place, text): (&str, &str),
    method: &str,
    method_path: &Path,
) -> Result<(), Problem> {
    let built_in = || BUILT_IN.files().filter_map(|f| f.path().to_str()?.strip_suffix(".fg"));
    let unknown = |name: &String| name != method && built_in().all(|known| known != name);
    let outline = Outline::of(text);
    let settings = preset.methods.keys().map(|name| (name, outline.find(&["methods", name]).map(|entry| entry.key)));
    let first = preset.methods.iter().flat_map(|(of, over)| over.init.iter().map(move |(net, name)| (of, net, name)));
    let first =
        first.map(|(of, net, name)| (name, outline.find(&["methods", of, "init", net]).map(|entry| entry.value)));
    let unknown = settings.chain(first).filter(|(name, _)| unknown(name));
    let unknown: Vec<(&String, Span)> = unknown.map(|(name, at)| (name, at.unwrap_or_default())).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let known: Vec<String> = folders(method_path, place).flat_map(methods_in).collect();
    let Some((name, at)) = unknown.into_iter().find(|(name, _)| !known.contains(name)) else { return Ok(()) };
    let near = closest(name, built_in().chain(known.iter().map(String::as_str)).chain([method]));
    let help = near.map_or_else(
        || format!("built in are {}", built_in().collect::<Vec<_>>().join(", ")),
        |near| format!("did you mean `{near}`?"),
    );
    let fix = |at| near.map(|near| Fix::new(format!("replace `{name}` by `{near}`")).replace(at, near).certain());
    Err(misread::problem(place, text, at, |at| {
        Diagnostic::error("FG0902", format!("there is no method `{name}`"))
            .label(at, "no method of this name")
            .help(help)
            .maybe_fix(fix(at))
    }))
}

/// Where methods that a preset names are looked for: beside the method it is used for, where that is a file; beside the
/// preset; and in the folder above, for presets in a folder of their own.
pub fn folders<'a>(method_path: &'a Path, place: &'a str) -> impl Iterator<Item = &'a Path> {
    let of_preset = Path::new(place).parent().filter(|_| Path::new(place).is_file());
    let of_method = method_path.parent().filter(|_| method_path.is_file());
    [of_method, of_preset, of_preset.and_then(Path::parent)].into_iter().flatten()
}

/// Refuses methods that would have to be trained before themselves. `path`: methods, each of which wants the next first.
fn ends<'a>(preset: &'a Preset, (place, text): (&str, &str), path: &mut Vec<&'a str>) -> Result<(), Problem> {
    let Some((of, over)) = path.last().and_then(|method| preset.methods.get_key_value(*method)) else { return Ok(()) };
    for (net, first) in &over.init {
        if let Some(i) = path.iter().position(|method| method == first) {
            let rest: String = path[i + 1..].iter().map(|method| format!("`{method}`, which waits for ")).collect();
            let at = Outline::of(text).find(&["methods", of, "init", net]).map_or(Span::default(), |entry| entry.value);
            return Err(misread::problem(place, text, at, |at| {
                Diagnostic::error("FG0907", format!("`{first}` waits for {rest}`{first}`"))
                    .label(at, format!("trains `{net}` of `{of}` first"))
                    .help("a network that is trained first wants a method that waits for none of these, such as `sft`")
            }));
        }
        path.push(first);
        ends(preset, (place, text), path)?;
        path.pop();
    }
    Ok(())
}

/// Names of the methods in a folder's files; none where it cannot be read.
fn methods_in(folder: &Path) -> Vec<String> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let specs = files.filter(|path| path.extension().is_some_and(|e| e == "fg"));
    specs.filter_map(|path| Source::read(&path).ok()).map(|source| source.method()).collect()
}

/// Refuses pairs made on another schedule than the student's: its noise would be of the wrong size.
fn one_clock(preset: &Preset, place: &str, text: &str) -> Result<(), Problem> {
    let DataSpec::Pairs { schedule, .. } = &preset.data else { return Ok(()) };
    let nets = preset.net_specs();
    match nets.get("student").or_else(|| nets.get("denoiser")) {
        Some(student) if student.schedule != schedule.name() => {
            let at = text.find("Pairs").map_or(Span::default(), |i| Span::new(i, i + "Pairs".len()));
            let (pairs, own) = (schedule.name(), &student.schedule);
            let message = format!("the pairs are made on the schedule `{pairs}`, but the student's is `{own}`");
            let help = format!("say `schedule: {own}` in `Pairs(…)`, or give the network the other schedule");
            Err(misread::problem(place, text, at, |at| {
                Diagnostic::error("FG0903", message).label(at, "made here").help(help)
            }))
        }
        _ => Ok(()),
    }
}

/// Text, place and name of a preset.
fn find(wanted: &str, method_path: &Path) -> Result<(String, String, String), Problem> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|e| Problem::new(format!("cannot read {}: {e}", path.display())))
    };
    let path = Path::new(wanted);
    if path.extension().is_some_and(|e| e == "ron") {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        return Ok((read(path)?, path.display().to_string(), name));
    }
    let file = format!("presets/{wanted}.ron");
    let beside = method_path.parent().unwrap_or(Path::new("")).join(&file);
    if beside.is_file() {
        return Ok((read(&beside)?, beside.display().to_string(), wanted.into()));
    }
    if let Some(text) = BUILT_IN.get_file(&file).and_then(|f| f.contents_utf8()) {
        return Ok((text.into(), file, wanted.into()));
    }
    let help = closest(wanted, BUILT_IN_PRESETS).map_or_else(
        || format!("built in are {}", BUILT_IN_PRESETS.join(", ")),
        |near| format!("did you mean `{near}`?"),
    );
    Err(Problem::new(format!("there is no preset `{wanted}` ({} does not exist); {help}", beside.display())))
}

/// The data set with paths that mean the same from everywhere.
fn absolute(data: DataSpec) -> DataSpec {
    let path = |p: PathBuf| std::path::absolute(&p).unwrap_or(p);
    match data {
        DataSpec::Idx(dir) => DataSpec::Idx(path(dir)),
        DataSpec::WebDataset(Paths::One(p)) => DataSpec::WebDataset(Paths::One(path(p))),
        DataSpec::WebDataset(Paths::Many(p)) => DataSpec::WebDataset(Paths::Many(p.into_iter().map(path).collect())),
        computed => computed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_presets_are_those_listed() {
        let files = BUILT_IN.get_dir("presets").unwrap().files();
        let mut found: Vec<String> =
            files.map(|f| f.path().file_stem().unwrap().to_string_lossy().into_owned()).collect();
        found.sort();
        let mut listed = BUILT_IN_PRESETS.to_vec();
        listed.sort();
        assert_eq!(found, listed);
    }

    #[test]
    fn a_method_starts_with_a_preset_made_for_it() {
        let cases = [
            ("sft", "ring"),
            ("dmd2", "ring"),
            ("kd", "pairs"),
            ("causal_sft", "moving"),
            ("causvid", "moving"),
            ("self_forcing", "moving"),
            ("causal_kd", "moving_pairs"),
            ("my_own", "ring"),
        ];
        for (method, preset) in cases {
            assert_eq!(default_for(method), preset, "{method}");
        }
    }

    #[test]
    fn pairs_are_made_on_the_students_schedule() {
        let preset = |schedule: &str| {
            let text = format!(
                r#"(data: Pairs(of: Moons, schedule: rf), batch: 1, iterations: 1, schedule: "{schedule}",
                    nets: {{"denoiser": (network: "mlp()")}})"#
            );
            one_clock(&parse(&text, "p.ron").unwrap(), "p.ron", &text)
        };
        assert!(preset("rf").is_ok());
        let Err(Problem::Compile(failure)) = preset("edm") else { panic!("accepted") };
        let first = &failure.diagnostics[0];
        assert_eq!(first.position(&failure.sources).unwrap(), "p.ron:1:8");
        assert!(first.help.as_ref().unwrap().contains("say `schedule: edm`"), "{first:?}");
    }
}
