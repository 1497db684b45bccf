//! `fgc`: trains, samples from, prints and checks methods.

mod bench;
mod build;
mod check;
mod device;
mod doctor;
mod explain;
mod fmt;
mod kept;
mod lsp;
mod misread;
mod plan;
mod preset;
mod problem;
mod profile;
mod report;
mod run;
mod sample;
mod setup;
mod source;
mod step;
mod trajectories;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Compiles and runs methods that distil diffusion models.
///
/// A method is a `.fg` file: what is drawn, what is asked of which network, what is minimised. A preset says on which
/// data and with which networks. Exit status: 0 success, 1 failure, 2 wrong usage.
#[derive(Parser)]
#[command(name = "fgc", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Args),
    Sample(sample::Args),
    Bench(bench::Args),
    Build(build::Args),
    Check(check::Args),
    Doctor(doctor::Args),
    Explain(explain::Args),
    Fmt(fmt::Args),
    Lsp(lsp::Args),
    Step(step::Args),
    Trajectories(trajectories::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run::main(args),
        Command::Sample(args) => sample::main(args),
        Command::Bench(args) => bench::main(args),
        Command::Build(args) => build::main(args),
        Command::Check(args) => check::main(args),
        Command::Doctor(args) => doctor::main(args),
        Command::Explain(args) => explain::main(args),
        Command::Fmt(args) => fmt::main(args),
        Command::Lsp(args) => lsp::main(args),
        Command::Step(args) => step::main(args),
        Command::Trajectories(args) => trajectories::main(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            problem.report();
            ExitCode::FAILURE
        }
    }
}
