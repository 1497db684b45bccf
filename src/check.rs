//! `fgc check`

use crate::preset;
use crate::problem::Problem;
use crate::setup::{compiled, setup};
use crate::source::{Source, expand};
use std::path::PathBuf;

/// Check methods without running them: names, axes, element types, clocks, who learns from what.
#[derive(clap::Args)]
pub struct Args {
    /// The methods: .fg files, folders of them, or names of built-in ones.
    #[arg(required = true)]
    methods: Vec<PathBuf>,
    #[command(flatten)]
    preset: preset::Choice,
}

pub fn main(args: Args) -> Result<(), Problem> {
    let check = |method: &PathBuf| {
        let source = Source::read(method)?;
        let (preset, name) = args.preset.resolve(&source.path, &source.method())?;
        let program = compiled(&source.name(), &source.text, &setup(&preset, &preset.data.describe()?))?.program;
        println!("{}: {} is correct on {name}", source.name(), program.method);
        Ok::<(), Problem>(())
    };
    let mut result = Ok(());
    for method in &expand(&args.methods)? {
        if let Err(problem) = check(method) {
            problem.report();
            result = Err(Problem::Reported);
        }
    }
    result
}
