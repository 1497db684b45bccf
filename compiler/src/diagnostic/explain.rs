//! The page of each code: what it means, an example, the example repaired (docs/errors).

use include_dir::{Dir, include_dir};

static PAGES: Dir = include_dir!("$CARGO_MANIFEST_DIR/../docs/errors");

/// The page of a code, Markdown.
pub fn page(code: &str) -> Option<&'static str> {
    PAGES.get_file(format!("{code}.md"))?.contents_utf8()
}

/// Every code with the title of its page, sorted.
pub fn codes() -> Vec<(&'static str, &'static str)> {
    let entry = |file: &'static include_dir::File| {
        let code = file.path().file_stem()?.to_str().filter(|name| name.starts_with("FG"))?;
        let title = file.contents_utf8()?.lines().next()?.split_once(": ")?.1;
        Some((code, title))
    };
    let mut codes: Vec<_> = PAGES.files().filter_map(entry).collect();
    codes.sort_unstable();
    codes
}
