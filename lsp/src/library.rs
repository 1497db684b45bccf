//! The standard library as files an editor can open: the workspace's own `stdlib/` where it has one, else copies of
//! what the compiler carries, in a cache folder.

use fgc_compiler::module::item_name;
use fgc_compiler::source::SourceFile;
use fgc_grammar::Span;
use fgc_grammar::ast::{Item, ItemKind};
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, Default)]
pub struct Library {
    /// Folders of the workspace.
    pub roots: Vec<PathBuf>,
    /// Where copies are written.
    pub cache: PathBuf,
}

impl Library {
    /// A file with the text of a standard module, and where in it `span` of the compiler's own text is. None where no
    /// file can be written.
    pub fn locate(&self, file: &SourceFile, span: Span) -> Option<(PathBuf, String, Span)> {
        let relative = file.name.strip_prefix("std/")?;
        for root in &self.roots {
            let path = root.join("stdlib").join(relative);
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            let span = if *text == *file.text { span } else { moved(&file.text, span, &text) };
            return Some((path, text, span));
        }
        let path = self.cache.join(relative);
        if std::fs::read_to_string(&path).ok().as_deref() != Some(&*file.text) {
            write(&path, &file.text).ok()?;
        }
        Some((path, file.text.to_string(), span))
    }

    /// The standard module that a file of the workspace or of the cache is: `loss`, `schedule.edm`.
    pub fn module_of(&self, path: &Path) -> Option<String> {
        let homes = self.roots.iter().map(|r| r.join("stdlib")).chain([self.cache.clone()]);
        let relative = homes.into_iter().find_map(|home| path.strip_prefix(home).ok().map(Path::to_path_buf))?;
        let parts: Vec<String> = relative.with_extension("").iter().map(|p| p.to_string_lossy().into_owned()).collect();
        fgc_compiler::source::standard_module(&parts.iter().map(String::as_str).collect::<Vec<_>>())?;
        Some(parts.join("."))
    }
}

/// Another server may write the same file now: both write all of it, under a name of their own first.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("")))?;
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::write(&temporary, text)?;
    std::fs::rename(&temporary, path)
}

/// Where what stands at `span` of one text is in another version of it: the item of the same name.
fn moved(old: &str, span: Span, new: &str) -> Span {
    let name = old.get(span.start..span.end).unwrap_or("");
    let items = fgc_grammar::parse(new).file.items;
    let member = |item: &Item| match &item.kind {
        ItemKind::Schedule { members, .. } => {
            members.iter().filter_map(item_name).find(|n| n.text == name).map(|n| n.span)
        }
        _ => None,
    };
    let own = items.iter().filter_map(item_name).find(|n| n.text == name).map(|n| n.span);
    own.or_else(|| items.iter().find_map(member)).unwrap_or_default()
}
