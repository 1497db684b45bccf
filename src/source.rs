//! Methods: files, or the ones that every binary carries.

use crate::problem::Problem;
use fgc_grammar::ast::ItemKind;
use fgc_runtime::names::closest;
use include_dir::{Dir, include_dir};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The methods and presets of the source tree.
pub static BUILT_IN: Dir = include_dir!("$CARGO_MANIFEST_DIR/methods");

/// The files given and, for folders, the .fg files in them at any depth, in order of their names.
pub fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Problem> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let failed = |e: std::io::Error| Problem::new(format!("cannot read {}: {e}", path.display()));
        let entries = std::fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(failed)?;
        let mut inside: Vec<PathBuf> = entries
            .iter()
            // Links to folders could go in circles.
            .filter(|entry| {
                entry.file_type().is_ok_and(|t| t.is_dir()) || entry.path().extension().is_some_and(|e| e == "fg")
            })
            .map(std::fs::DirEntry::path)
            .collect();
        inside.sort();
        files.extend(expand(&inside)?);
    }
    Ok(files)
}

/// A method's text.
pub struct Source {
    pub path: PathBuf,
    pub text: String,
}

impl Source {
    /// Reads a file; where there is none, a built-in method of that name (`dmd2`, `methods/dmd2.fg`).
    pub fn read(path: &Path) -> Result<Source, Problem> {
        let failed = |e: std::io::Error| Problem::new(format!("cannot read {}: {e}", path.display()));
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Source { path: path.into(), text }),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                let plain = path.parent().is_none_or(|p| p.as_os_str().is_empty() || p == Path::new("methods"));
                let built_in = BUILT_IN.get_file(format!("{stem}.fg")).filter(|_| plain);
                if let Some(text) = built_in.and_then(|f| f.contents_utf8()) {
                    return Ok(Source { path: format!("{stem}.fg").into(), text: text.into() });
                }
                let known: Vec<String> =
                    BUILT_IN.files().filter_map(|f| f.path().to_str()?.strip_suffix(".fg").map(String::from)).collect();
                let near = closest(&stem, known.iter().map(String::as_str));
                let help = near
                    .map_or_else(|| format!("built in are {}", known.join(", ")), |n| format!("did you mean `{n}`?"));
                Err(Problem::new(format!("there is no method {}; {help}", path.display())))
            }
            Err(e) => Err(failed(e)),
        }
    }

    /// The method `name` that a preset asks for: a file of that name in one of `folders`, else the built-in one.
    pub fn named<'a>(name: &str, folders: impl IntoIterator<Item = &'a Path>) -> Result<Source, Problem> {
        let file = format!("{name}.fg");
        let near = folders.into_iter().map(|folder| folder.join(&file)).find(|path| path.is_file());
        let Some(path) = near else {
            let text = BUILT_IN.get_file(&file).and_then(|f| f.contents_utf8());
            let missing =
                || Problem::new(format!("the preset asks for a method `{name}`, and there is no {file} beside it"));
            return Ok(Source { path: file.clone().into(), text: text.ok_or_else(missing)?.into() });
        };
        let source = Source::read(&path)?;
        match source.method() {
            declared if declared == name => Ok(source),
            declared => Err(Problem::new(format!(
                "the preset asks for a method `{name}`, but {} declares `{declared}`: give both the same name",
                path.display()
            ))),
        }
    }

    /// How messages call the file.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// The method's name: what follows `method`, else the file's.
    pub fn method(&self) -> String {
        let items = fgc_grammar::parse(&self.text).file.items;
        let named = items.iter().find_map(|item| match &item.kind {
            ItemKind::Method { name, .. } => Some(name.text.clone()),
            _ => None,
        });
        named.unwrap_or_else(|| self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned())
    }
}
