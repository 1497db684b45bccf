//! Where the keys and values of a `.ron` text stand, whole or not.

use fgc_grammar::Span;

/// The entries of a text, and where its end is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outline {
    pub entries: Vec<Entry>,
    /// Keys around the end of the text, outermost first.
    pub open: Vec<String>,
    /// The key of the value being written at the end.
    pub key: Option<String>,
    /// The string being written at the end: what it holds so far.
    pub string: Option<String>,
}

/// `key: value`, with the keys around it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The entry's own key last.
    pub path: Vec<String>,
    /// Of the key, quotes left out.
    pub key: Span,
    /// Of the value's first token; of a string, quotes left out.
    pub value: Span,
}

impl Outline {
    pub fn of(text: &str) -> Outline {
        let mut out = Outline::default();
        // Of each open bracket: the key it is the value of.
        let mut open: Vec<Option<String>> = Vec::new();
        let mut last: Option<Span> = None;
        let mut key: Option<Span> = None;
        let mut at = 0;
        while let Some(c) = text[at..].chars().next() {
            let rest = &text[at..];
            let mut length = c.len_utf8();
            let mut token = None;
            if rest.starts_with("//") {
                length = rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                length = rest.find("*/").map_or(rest.len(), |i| i + 2);
            } else if c == '"' {
                let end = closing(rest);
                out.string = end.is_none().then(|| rest[1..].to_owned());
                length = end.unwrap_or(rest.len());
                token = Some(Span::new(at + 1, at + length - usize::from(end.is_some())));
            } else if c.is_alphanumeric() || c == '_' {
                length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                token = Some(Span::new(at, at + length));
            } else {
                match c {
                    '(' | '{' | '[' => open.push(key.take().map(|k| text[k.start..k.end].to_owned())),
                    ')' | '}' | ']' => {
                        open.pop();
                        key = None;
                    }
                    ':' => key = last,
                    ',' => key = None,
                    _ => {}
                }
                if !c.is_whitespace() {
                    last = None;
                }
            }
            if let Some(span) = token {
                // The first token after a key is its value.
                if let Some(k) = key
                    && out.entries.last().is_none_or(|e| e.key != k)
                {
                    let around = open.iter().flatten().cloned();
                    let path = around.chain([text[k.start..k.end].to_owned()]).collect();
                    out.entries.push(Entry { path, key: k, value: span });
                }
                last = Some(span);
            } else if matches!(c, '(' | '{' | '[')
                && let Some(Some(_)) = open.last()
                && let Some(k) = out.pending(&open, text, at)
            {
                out.entries.push(k);
            }
            at += length;
        }
        out.open = open.into_iter().flatten().collect();
        out.key = key.map(|k| text[k.start..k.end].to_owned());
        out
    }

    /// The entry whose value is the bracket at `at`, where no word stood before it.
    fn pending(&self, open: &[Option<String>], text: &str, at: usize) -> Option<Entry> {
        let path: Vec<String> = open.iter().flatten().cloned().collect();
        let name = path.last()?;
        let start = text[..at].rfind(name.as_str())?;
        let key = Span::new(start, start + name.len());
        let known = self.entries.iter().any(|e| e.key == key);
        (!known).then(|| Entry { path, key, value: Span::new(at, at + 1) })
    }

    /// The entry of these keys.
    pub fn find(&self, path: &[&str]) -> Option<&Entry> {
        self.entries.iter().find(|e| e.path == path)
    }

    /// The entries right inside these keys.
    pub fn inside<'a>(&'a self, path: &'a [&str]) -> impl Iterator<Item = &'a Entry> {
        self.entries
            .iter()
            .filter(move |e| e.path.len() == path.len() + 1 && e.path.iter().zip(path).all(|(a, b)| a == b))
    }
}

/// Length of a string with its quotes.
fn closing(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(i + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_found_in_whole_and_broken_texts() {
        let text = "// a: b\n(data: Ring(modes: 8), nets: {\"denoiser\": (network: \"mlp()\")},\n methods: {\"cm\": (set: {\"lr\": \"1\"})})";
        let outline = Outline::of(text);
        let found: Vec<(String, &str)> =
            outline.entries.iter().map(|e| (e.path.join("."), &text[e.value.start..e.value.end])).collect();
        let wanted = [
            ("data", "Ring"),
            ("data.modes", "8"),
            ("nets", "{"),
            ("nets.denoiser", "("),
            ("nets.denoiser.network", "mlp()"),
            ("methods", "{"),
            ("methods.cm", "("),
            ("methods.cm.set", "{"),
            ("methods.cm.set.lr", "1"),
        ];
        assert_eq!(found, wanted.map(|(p, v)| (p.to_owned(), v)));
        for entry in &outline.entries {
            assert_eq!(&text[entry.key.start..entry.key.end], entry.path.last().unwrap());
        }
        let broken = Outline::of("(nets: {}, methods: {\"cm\": (set: {\"lr\": \"1\", \"us");
        assert_eq!(
            (broken.open.join("."), broken.string.as_deref(), broken.key),
            ("methods.cm.set".into(), Some("us"), None)
        );
        let broken = Outline::of("(nets: {\"critic\": (network: \"ml");
        assert_eq!((broken.open.join("."), broken.key.as_deref()), ("nets.critic".into(), Some("network")));
    }
}
