//! What ends a command early, as the user sees it.

use fgc_compiler::diagnostic::{Diagnostic, Failure, render};
use fgc_compiler::source::Sources;
use fgc_runtime::checkpoint::CheckpointError;
use fgc_runtime::cpu::DeviceError;
use fgc_runtime::data::DataError;
use fgc_runtime::picture::PictureError;
use fgc_runtime::shards::ShardError;
use fgc_runtime::tensorfile::TensorFileError;
use fgc_runtime::train::TrainError;
use std::io::IsTerminal;

#[derive(Debug)]
pub enum Problem {
    /// One line, with a cure where there is one.
    Message(String),
    /// Mistakes in a method.
    Compile(Box<Failure>),
    /// All has been said.
    Reported,
}

impl Problem {
    pub fn new(message: impl Into<String>) -> Problem {
        Problem::Message(message.into())
    }

    /// As diagnostics: of what has no code, one without it.
    pub fn into_failure(self) -> Failure {
        let diagnostics = match self {
            Problem::Compile(failure) => return *failure,
            Problem::Message(message) => vec![Diagnostic::error("", message)],
            Problem::Reported => Vec::new(),
        };
        Failure { sources: Sources::default(), diagnostics }
    }

    /// A mistake with a code and no place.
    fn coded(code: &'static str, message: String) -> Problem {
        let diagnostics = vec![Diagnostic::error(code, message)];
        Problem::from(Failure { sources: Sources::default(), diagnostics })
    }

    pub fn report(&self) {
        match self {
            Problem::Message(message) => eprintln!("error: {message}"),
            Problem::Compile(failure) => show(&failure.diagnostics, &failure.sources),
            Problem::Reported => {}
        }
    }
}

/// Prints diagnostics to standard error.
pub fn show(diagnostics: &[Diagnostic], sources: &Sources) {
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    for diagnostic in diagnostics {
        eprint!("{}", render(diagnostic, sources, color));
    }
}

impl std::fmt::Display for Problem {
    /// One line.
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Problem::Message(message) => f.write_str(message),
            Problem::Compile(failure) => match failure.diagnostics.first() {
                Some(first) => write!(f, "{}: {}", first.code, first.message),
                None => Ok(()),
            },
            Problem::Reported => Ok(()),
        }
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Problem {
        Problem::Compile(Box::new(failure))
    }
}

macro_rules! message {
    ($($error:ty),*) => {$(
        impl From<$error> for Problem {
            fn from(error: $error) -> Problem {
                Problem::Message(error.to_string())
            }
        }
    )*};
}

impl From<DataError> for Problem {
    fn from(error: DataError) -> Problem {
        Problem::coded("FG0904", error.to_string())
    }
}

impl From<TrainError> for Problem {
    fn from(error: TrainError) -> Problem {
        match error {
            TrainError::Data(error) => error.into(),
            TrainError::Tensors { .. } => Problem::coded("FG0905", error.to_string()),
            TrainError::NoWeights { .. } => Problem::coded("FG0906", error.to_string()),
            error => Problem::Message(error.to_string()),
        }
    }
}

message!(CheckpointError, DeviceError, PictureError, ShardError, TensorFileError);
