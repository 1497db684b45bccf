//! `fgc check`

use crate::preset;
use crate::problem::{Problem, show};
use crate::setup::setup;
use crate::source::{Source, expand};
use fgc_compiler::compile;
use fgc_compiler::diagnostic::{Diagnostic, Failure, Fix, Severity, apply_all, render_json};
use fgc_compiler::preset::Setup;
use fgc_compiler::source::{FileId, Sources};
use std::path::{Path, PathBuf};

/// Check methods without running them: names, axes, element types, clocks, who learns from what.
///
/// Exit status: 0 if no method has an error (warnings may have been printed), 1 if one has, 2 for wrong usage.
#[derive(clap::Args)]
pub struct Args {
    /// The methods: .fg files, folders of them, or names of built-in ones.
    #[arg(required = true)]
    methods: Vec<PathBuf>,
    #[command(flatten)]
    preset: preset::Choice,
    /// `human`: on standard error, as text. `json`: on standard output, one object a line (docs/diagnostics.md).
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// Change the files where there is one way to mend a mistake, then report what is left.
    #[arg(long)]
    fix: bool,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Format {
    Human,
    Json,
}

/// Rounds of mending: one mistake can hide another.
const ROUNDS: usize = 20;

pub fn main(args: Args) -> Result<(), Problem> {
    let mut codes: Vec<&'static str> = Vec::new();
    let mut failed = false;
    for method in &expand(&args.methods)? {
        let Found { source, outcome, diagnostics, sources, mended } = match look(method, &args) {
            Ok(found) => found,
            Err(problem) => {
                failed = true;
                let Failure { sources, diagnostics } = problem.into_failure();
                codes.extend(diagnostics.iter().map(|d| d.code));
                print(args.format, &diagnostics, &sources);
                continue;
            }
        };
        codes.extend(diagnostics.iter().map(|d| d.code));
        print(args.format, &diagnostics, &sources);
        if args.format == Format::Human && mended > 0 {
            println!("{source}: {mended} mistake{} mended", if mended == 1 { "" } else { "s" });
        }
        match outcome {
            Some(correct) if args.format == Format::Human => println!("{source}: {correct}"),
            Some(_) => {}
            None => failed = true,
        }
    }
    if let (Format::Human, Some(code)) = (args.format, codes.iter().find(|c| !c.is_empty())) {
        eprintln!("`fgc explain {code}` says more about a mistake, with an example");
    }
    if failed { Err(Problem::Reported) } else { Ok(()) }
}

fn print(format: Format, diagnostics: &[Diagnostic], sources: &Sources) {
    match format {
        Format::Human => show(diagnostics, sources),
        Format::Json => diagnostics.iter().for_each(|d| print!("{}", render_json(d, sources))),
    }
}

/// What checking a method found.
struct Found {
    /// How messages call the file.
    source: String,
    /// None: it has errors.
    outcome: Option<String>,
    diagnostics: Vec<Diagnostic>,
    sources: Sources,
    mended: usize,
}

fn look(method: &Path, args: &Args) -> Result<Found, Problem> {
    let mut source = Source::read(method)?;
    let (preset, name) = args.preset.resolve(&source.path, &source.method())?;
    let setup = setup(&preset, &preset.data.describe()?);
    let mut found = judge(&source, &setup, &name);
    // A built-in method has no file.
    if args.fix && source.path.is_file() {
        for _ in 0..ROUNDS {
            let Some((text, mended)) = mend(&source, &found) else { break };
            let next = Source { text, path: source.path.clone() };
            let result = judge(&next, &setup, &name);
            if errors(&result) > errors(&found) {
                break;
            }
            source = next;
            found = Found { mended: found.mended + mended, ..result };
        }
        if found.mended > 0 {
            let failed = |e| Problem::new(format!("cannot write {}: {e}", source.path.display()));
            std::fs::write(&source.path, &source.text).map_err(failed)?;
        }
    }
    Ok(found)
}

fn errors(found: &Found) -> usize {
    found.diagnostics.iter().filter(|d| d.severity == Severity::Error).count()
}

fn judge(source: &Source, setup: &Setup, preset: &str) -> Found {
    let name = source.name();
    let (outcome, diagnostics, sources) = match compile(&name, &source.text, setup) {
        Ok(done) => {
            let correct = format!("{} is correct on {preset}", done.program.method);
            (Some(correct), done.checked.warnings, done.checked.sources)
        }
        Err(failure) => (None, failure.diagnostics, failure.sources),
    };
    Found { source: name, outcome, diagnostics, sources, mended: 0 }
}

/// The file's text with every certain cure applied, and how many there were.
fn mend(source: &Source, found: &Found) -> Option<(String, usize)> {
    let name = source.name();
    let own = |id: &FileId| !found.sources.file(*id).standard && found.sources.file(*id).name == name;
    let file = found.sources.ids().find(own)?;
    let inside = |fix: &&Fix| fix.certain && fix.edits.iter().all(|e| e.place.file == file);
    let fixes: Vec<&Fix> = found.diagnostics.iter().filter_map(|d| d.fixes.iter().find(inside)).collect();
    let text = apply_all(fixes.iter().copied(), file, &found.sources);
    (text != source.text).then_some((text, fixes.len()))
}
