//! The formatter.

use crate::error::SyntaxError;

/// `source` in the one style.
pub fn format(source: &str) -> Result<String, Vec<SyntaxError>> {
    let parsed = crate::parse(source);
    if parsed.errors.is_empty() { Ok(source.to_string()) } else { Err(parsed.errors) }
}
