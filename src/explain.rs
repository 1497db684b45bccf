//! `fgc explain`

use crate::problem::Problem;
use fgc_compiler::diagnostic::{codes, nearest, page};

/// Explain a mistake by its code: what it means, an example, and the example repaired.
///
/// Without a code, list all of them.
#[derive(clap::Args)]
pub struct Args {
    /// `FG0303`; `fg303` and `303` will do.
    code: Option<String>,
}

pub fn main(args: Args) -> Result<(), Problem> {
    let Some(asked) = args.code else {
        for (code, title) in codes() {
            println!("{code}  {title}");
        }
        return Ok(());
    };
    let upper = asked.to_uppercase();
    let digits = upper.trim_start_matches("FG");
    let code = if digits.bytes().all(|b| b.is_ascii_digit()) { format!("FG{digits:0>4}") } else { upper };
    match page(&code) {
        Some(text) => print!("{text}"),
        None => {
            let known = codes();
            let near = nearest(&code, known.iter().map(|(code, _)| *code));
            let near = near.map_or(String::new(), |n| format!(" (is it {n}?)"));
            return Err(Problem::new(format!(
                "there is no code `{asked}`{near}; `fgc explain` without a code lists all of them"
            )));
        }
    }
    Ok(())
}
