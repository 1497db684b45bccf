//! The parser and the formatter.

use fgc_grammar::ast::File;
use fgc_grammar::{Span, parse_expr};
use serde_json::Value;

/// Reading ends, and every mistake has a place in the text.
pub fn parse(text: &str) {
    let parsed = fgc_grammar::parse(text);
    let stands = |span: Span| text.get(span.start..span.end).is_some();
    for error in &parsed.errors {
        assert!(stands(error.span), "{error:?} is not in the text");
        assert!(error.span.start < error.span.end || text.trim().is_empty(), "{error:?} has no extent");
    }
    assert!(parsed.file.comments.iter().all(|c| stands(c.span)));
    assert!(parsed.file.items.iter().all(|i| stands(i.span)));
    parse_expr(text).ok();
}

/// Whatever reads without a mistake can be formatted; that neither changes what it says nor loses a comment, and doing it
/// again changes nothing.
pub fn format(text: &str) {
    let before = fgc_grammar::parse(text);
    let formatted = fgc_grammar::format(text);
    assert_eq!(formatted.is_ok(), before.errors.is_empty());
    let Ok(formatted) = formatted else { return };
    let after = fgc_grammar::parse(&formatted);
    assert_eq!(after.errors, [], "formatted:\n{formatted}");
    assert_eq!(tree(&after.file), tree(&before.file), "formatted:\n{formatted}");
    let again = fgc_grammar::format(&formatted).expect("what formatting gives reads");
    assert_eq!(again, formatted);
}

/// The tree without places.
fn tree(file: &File) -> Value {
    let mut value = serde_json::to_value(file).expect("a tree");
    without_spans(&mut value);
    value
}

fn without_spans(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| name != "span" && !name.ends_with("_span"));
            fields.values_mut().for_each(without_spans);
        }
        Value::Array(items) => items.iter_mut().for_each(without_spans),
        _ => {}
    }
}
