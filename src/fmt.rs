//! `fgc fmt`

use crate::problem::Problem;
use crate::source::expand;
use fgc_compiler::diagnostic::{Diagnostic, Place};
use fgc_compiler::source::Sources;
use std::path::{Path, PathBuf};

/// Put .fg files into the one style, comments kept.
#[derive(clap::Args)]
pub struct Args {
    /// The files; of folders, all .fg files in them.
    #[arg(required = true, value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
    /// Change nothing; name the files that would change, and fail if there are any.
    #[arg(long)]
    check: bool,
}

pub fn main(args: Args) -> Result<(), Problem> {
    let mut result = Ok(());
    for path in &expand(&args.files)? {
        match one(path, args.check) {
            Ok(true) => {}
            Ok(false) => result = Err(Problem::Reported),
            Err(problem) => {
                problem.report();
                result = Err(Problem::Reported);
            }
        }
    }
    result
}

/// Whether the file is, or now is, in the style.
fn one(path: &Path, check: bool) -> Result<bool, Problem> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| Problem::new(format!("cannot read {shown}: {e}")))?;
    let formatted = match fgc_grammar::format(&text) {
        Ok(formatted) => formatted,
        Err(errors) => {
            let mut sources = Sources::default();
            let file = sources.add(&shown.to_string(), &text, false);
            let diagnostic = |e: fgc_grammar::SyntaxError| {
                Diagnostic::error(e.code, e.message).label(Place { file, span: e.span }, "").maybe_help(e.help)
            };
            crate::problem::show(&errors.into_iter().map(diagnostic).collect::<Vec<_>>(), &sources);
            return Ok(false);
        }
    };
    if formatted == text {
        return Ok(true);
    }
    if check {
        println!("{shown} is not formatted; run: fgc fmt {shown}");
        return Ok(false);
    }
    let temporary = path.with_extension("fg.tmp");
    let write = std::fs::write(&temporary, formatted).and_then(|()| std::fs::rename(&temporary, path));
    write.map_err(|e| Problem::new(format!("cannot write {shown}: {e}")))?;
    Ok(true)
}
