//! All stages in a row.

use crate::check::{Checked, check};
use crate::diagnostic::{Diagnostic, Failure};
use crate::lower::lower;
use crate::preset::Setup;
use crate::training::{Training, training};
use fgc_program::Program;

/// A compiled method with what each stage made of it.
#[derive(Debug)]
pub struct Compiled {
    pub checked: Checked,
    pub training: Training,
    pub program: Program,
}

/// Compiles the method in `text` (of the file `name`) for a setup.
pub fn compile(name: &str, text: &str, setup: &Setup) -> Result<Compiled, Failure> {
    let checked = check(name, text, setup)?;
    let mut training = match training(&checked, setup.batch) {
        Ok(training) => training,
        Err(e) => {
            let mut d = Diagnostic::error("FG0801", e.to_string())
                .help("put it under `stop(…)`, or write it with operations that have derivatives");
            if let Some(&place) = checked.method.places.get(&e.node()) {
                d = d.label(place, "made here");
            }
            return Err(Failure { sources: checked.sources, diagnostics: vec![d] });
        }
    };
    let program = lower(&mut training);
    Ok(Compiled { checked, training, program })
}
