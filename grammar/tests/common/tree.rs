//! Trees without places.

use fgc_grammar::ast::File;
use serde_json::Value;

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

/// The tree of `file`, comments and places aside.
pub fn tree(file: &File) -> Value {
    let mut value = serde_json::to_value(&file.items).unwrap();
    without_spans(&mut value);
    Value::Array(vec![Value::String(file.doc.clone()), value])
}
