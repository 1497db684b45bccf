//! `file:` addresses and paths.

use gen_lsp_types::Uri;
use std::path::{Path, PathBuf};

/// The path of a `file:` address; None for others (`untitled:`).
pub fn to_path(uri: &Uri) -> Option<PathBuf> {
    let rest = uri.as_ref().strip_prefix("file://")?;
    // An authority, where there is one, is this machine's.
    let path = &rest[rest.find('/')?..];
    let mut bytes = Vec::with_capacity(path.len());
    let mut input = path.bytes();
    while let Some(b) = input.next() {
        if b != b'%' {
            bytes.push(b);
            continue;
        }
        let digit = |b: Option<u8>| (b? as char).to_digit(16);
        let (high, low) = (digit(input.next())?, digit(input.next())?);
        bytes.push((high * 16 + low) as u8);
    }
    let path = String::from_utf8(bytes).ok()?;
    // `/C:/folder` on Windows.
    let drive = matches!(path.as_bytes(), [b'/', letter, b':', b'/', ..] if letter.is_ascii_alphabetic());
    Some(PathBuf::from(if drive { &path[1..] } else { &path }))
}

pub fn from_path(path: &Path) -> Uri {
    let mut out = String::from("file://");
    let text = path.to_string_lossy().replace('\\', "/");
    if !text.starts_with('/') {
        out.push('/');
    }
    for b in text.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' | b':' => out.push(b as char),
            _ => out += &format!("%{b:02X}"),
        }
    }
    Uri::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_survive_the_way_there_and_back() {
        for path in ["/a/b.fg", "/with space/ä+%41.fg", "/a:b/#c?d.fg"] {
            let uri = from_path(Path::new(path));
            assert!(!uri.as_ref().contains([' ', '#', '?']), "{}", uri.as_ref());
            assert_eq!(to_path(&uri).as_deref(), Some(Path::new(path)));
        }
        assert_eq!(to_path(&Uri::from("untitled:Untitled-1")), None);
        assert_eq!(to_path(&Uri::from("file:///a%2")), None);
        assert_eq!(to_path(&Uri::from("file:///c%3A/x.fg")), Some(PathBuf::from("c:/x.fg")));
    }
}
