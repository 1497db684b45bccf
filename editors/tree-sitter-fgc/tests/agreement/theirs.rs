//! The nodes of tree-sitter's tree that fgc's has, too.

use crate::Nodes;
use tree_sitter::{Node, Parser};

/// The tree as text where it has mistakes.
pub fn nodes(text: &str) -> Result<Nodes, String> {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_fgc::LANGUAGE.into()).unwrap();
    let tree = parser.parse(text, None).unwrap();
    if tree.root_node().has_error() {
        return Err(tree.root_node().to_sexp());
    }
    let mut out = Vec::new();
    walk(tree.root_node(), None, &mut out);
    Ok(out)
}

/// `span`: of the parentheses around the node, which are its own in fgc's tree.
fn walk(node: Node, span: Option<(usize, usize)>, out: &mut Nodes) {
    let (start, end) = span.unwrap_or((node.start_byte(), node.end_byte()));
    let mut cursor = node.walk();
    match node.kind() {
        "parenthesized_expression" => {
            let inner = node.named_children(&mut cursor).find(|n| !n.is_extra());
            return inner.into_iter().for_each(|n| walk(n, Some((start, end)), out));
        }
        // The word after `@` is a string without quotes.
        "identifier" if node.parent().is_some_and(|p| p.child_by_field_name("scope") == Some(node)) => {}
        "string" if node.parent().is_some_and(|p| p.child_by_field_name("scope") == Some(node)) => {}
        "identifier" => out.push(("name".into(), start, end)),
        kind @ ("attribute" | "argument" | "parameter" | "type" | "block" | "none" | "boolean" | "number"
        | "string" | "list" | "record" | "lambda") => out.push((kind.into(), start, end)),
        kind if kind.ends_with("_item") || kind.ends_with("_statement") || kind.ends_with("_expression") => {
            out.push((kind.into(), start, end));
        }
        // Slots, metrics, fields and the like are no nodes in fgc's tree.
        _ => {}
    }
    let children: Vec<Node> = node.named_children(&mut cursor).collect();
    children.into_iter().for_each(|n| walk(n, None, out));
}
