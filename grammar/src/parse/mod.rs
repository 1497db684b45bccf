//! From text to tree: files and items. A `bad_*` region becomes an `Error` node and its strict rule's message.

mod expr;
mod external;
mod params;
mod recover;
mod stmt;

use crate::ast::*;
use crate::brackets::{self, Brackets};
use crate::error::SyntaxError;
use crate::lex::{Lexed, lex};
use crate::{Span, message};
use pest::Parser;
use pest::iterators::{Pair, Pairs};

#[derive(pest_derive::Parser)]
#[grammar = "fg.pest"]
pub(crate) struct Grammar;

type Node<'a> = Pair<'a, Rule>;

/// More mistakes than anyone reads at once: the rest is left unreported.
const MAX_ERRORS: usize = 100;

/// A file's tree and its mistakes, in the order of the text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    pub file: File,
    pub errors: Vec<SyntaxError>,
}

/// Reads a file. The tree is whole whatever the errors: what could not be read is an `Error` node.
pub fn parse(source: &str) -> Parsed {
    let (parsed, _) = parse_with_tokens(source);
    parsed
}

/// As [`parse`], with the tokens for the formatter.
pub(crate) fn parse_with_tokens(source: &str) -> (Parsed, Lexed) {
    let (lexed, brackets, text) = prepare(source);
    let mut reader = Reader::new(source, &text, lexed, brackets);
    let mut file = File { comments: reader.lexed.comments.clone(), ..File::default() };
    let whole = Span::new(0, source.len());
    if reader.brackets.too_deep {
        file.items.push(Item { doc: String::new(), span: whole, kind: ItemKind::Error });
        return (Parsed { file, errors: reader.finish() }, reader.lexed);
    }
    match Grammar::parse(Rule::file, &text) {
        Ok(mut pairs) => {
            let inner = pairs.next().map(Pair::into_inner);
            for node in inner.into_iter().flatten() {
                reader.top(node, &mut file);
            }
        }
        // Nothing is refused by the file rule; pest itself gives up where the stack runs out.
        Err(e) => {
            reader.errors.push(message::explain(&e, 0, Rule::file, source, &reader.lexed));
            file.items.push(Item { doc: String::new(), span: whole, kind: ItemKind::Error });
        }
    }
    (Parsed { file, errors: reader.finish() }, reader.lexed)
}

/// Reads one expression: a hyper-parameter's value from a command line or a preset.
pub fn parse_expr(source: &str) -> Result<Expr, Vec<SyntaxError>> {
    let (lexed, brackets, text) = prepare(source);
    let mut reader = Reader::new(source, &text, lexed, brackets);
    let mut expr = None;
    if !reader.brackets.too_deep {
        match Grammar::parse(Rule::only_expr, &text) {
            Ok(mut pairs) => {
                expr = pairs.next().and_then(|p| p.into_inner().next()).map(|node| reader.expr(node));
            }
            Err(e) if reader.errors.is_empty() && reader.lexed.errors.is_empty() => {
                reader.errors.push(message::explain(&e, 0, Rule::only_expr, source, &reader.lexed));
            }
            Err(_) => {}
        }
    }
    let errors = reader.finish();
    match expr {
        Some(expr) if errors.is_empty() => Ok(expr),
        _ => Err(errors),
    }
}

/// Tokens, brackets, and the text for the grammar.
fn prepare(source: &str) -> (Lexed, Brackets, String) {
    let mut lexed = lex(source);
    let brackets = brackets::check(source, &mut lexed);
    let text = String::from_utf8(std::mem::take(&mut lexed.text)).unwrap_or_else(|_| " ".repeat(source.len()));
    (lexed, brackets, text)
}

/// What reading a text carries along.
struct Reader<'s> {
    source: &'s str,
    /// What the grammar reads: `source` with lexical mistakes mended, same length.
    text: &'s str,
    lexed: Lexed,
    brackets: Brackets,
    errors: Vec<SyntaxError>,
    /// The last item was a misplaced statement: those after it are the same mistake.
    misplaced: bool,
    /// Inside a region already reported.
    in_bad: bool,
}

impl<'s> Reader<'s> {
    fn new(source: &'s str, text: &'s str, lexed: Lexed, brackets: Brackets) -> Reader<'s> {
        Reader { source, text, lexed, brackets, errors: Vec::new(), misplaced: false, in_bad: false }
    }

    fn finish(&mut self) -> Vec<SyntaxError> {
        let mut errors = std::mem::take(&mut self.errors);
        errors.append(&mut self.lexed.errors);
        errors.sort_by_key(|e| (e.span.start, e.span.end));
        errors.dedup_by_key(|e| e.span);
        errors.truncate(MAX_ERRORS);
        errors
    }

    fn span(&self, node: &Node) -> Span {
        let span = node.as_span();
        self.lexed.trim(span.start(), span.end())
    }

    fn name(&self, node: &Node) -> Name {
        Name { text: self.source[node.as_span().start()..node.as_span().end()].to_string(), span: self.span(node) }
    }

    fn top(&mut self, node: Node, file: &mut File) {
        match node.as_rule() {
            Rule::module_doc => {
                if !file.doc.is_empty() {
                    file.doc.push('\n');
                }
                file.doc.push_str(&doc_line(&node));
            }
            Rule::item => {
                let item = self.item(node);
                self.misplaced &= matches!(item, Some(Item { kind: ItemKind::Let { .. }, .. }));
                file.items.extend(item);
            }
            Rule::bad_item => {
                let span = self.span(&node);
                self.refuse(&node, Rule::item);
                self.inner_blocks(node);
                file.items.push(Item { doc: String::new(), span, kind: ItemKind::Error });
            }
            _ => {}
        }
    }

    fn item(&mut self, node: Node) -> Option<Item> {
        let (doc, node) = documented(node.into_inner());
        let node = node?;
        let span = self.span(&node);
        let kind = match node.as_rule() {
            Rule::use_item => self.use_item(node),
            Rule::let_item => self.let_item(node),
            Rule::fn_item => ItemKind::Fn(self.function(node)),
            Rule::layer_item => ItemKind::Layer(self.function(node)),
            Rule::extern_item => ItemKind::Extern(self.external(node)),
            Rule::schedule_item => self.schedule(node),
            Rule::method_item => {
                let mut name = Name { text: String::new(), span };
                let (mut params, mut body) = (Vec::new(), Block::default());
                for part in node.into_inner() {
                    match part.as_rule() {
                        Rule::name => name = self.name(&part),
                        Rule::params => params = self.params(part),
                        Rule::block => body = self.block(part),
                        _ => {}
                    }
                }
                ItemKind::Method { name, params, body }
            }
            _ => ItemKind::Error,
        };
        Some(Item { doc, span, kind })
    }

    fn use_item(&mut self, node: Node) -> ItemKind {
        let (mut path, mut names) = (Vec::new(), Vec::new());
        for part in node.into_inner() {
            match part.as_rule() {
                Rule::path => path = self.names(part, Rule::any_word),
                Rule::use_names => names = self.names(part, Rule::name),
                _ => {}
            }
        }
        ItemKind::Use { path, names }
    }

    /// The parts of `node` that are `rule`, as names.
    fn names(&self, node: Node, rule: Rule) -> Vec<Name> {
        node.into_inner().filter(|n| n.as_rule() == rule).map(|n| self.name(&n)).collect()
    }

    fn let_item(&mut self, node: Node) -> ItemKind {
        let mut name = Name { text: String::new(), span: self.span(&node) };
        let mut ty = None;
        let mut value = self.missing(&node);
        for part in node.into_inner() {
            match part.as_rule() {
                Rule::name => name = self.name(&part),
                Rule::type_ => ty = Some(self.ty(part)),
                Rule::expr => value = self.expr(part),
                _ => {}
            }
        }
        ItemKind::Let { name, ty, value }
    }

    fn function(&mut self, node: Node) -> Function {
        let span = self.span(&node);
        let mut name = Name { text: String::new(), span };
        let (mut params, mut result) = (Vec::new(), None);
        let mut body = Body::Block(Block::default());
        for part in node.into_inner() {
            match part.as_rule() {
                Rule::name => name = self.name(&part),
                Rule::params => params = self.params(part),
                Rule::result => result = part.into_inner().find(|n| n.as_rule() == Rule::type_).map(|n| self.ty(n)),
                Rule::block => body = Body::Block(self.block(part)),
                Rule::expr => body = Body::Expr(self.expr(part)),
                _ => {}
            }
        }
        Function { name, params, result, body }
    }

    fn schedule(&mut self, node: Node) -> ItemKind {
        let mut name = Name { text: String::new(), span: self.span(&node) };
        let mut members = Vec::new();
        for part in node.into_inner() {
            match part.as_rule() {
                Rule::name => name = self.name(&part),
                Rule::member_item => members.extend(self.item(part)),
                Rule::bad_member => {
                    let span = self.span(&part);
                    self.refuse(&part, Rule::member_item);
                    self.inner_blocks(part);
                    members.push(Item { doc: String::new(), span, kind: ItemKind::Error });
                }
                _ => {}
            }
        }
        ItemKind::Schedule { name, members }
    }

    /// An expression node for a part that is not there.
    fn missing(&self, node: &Node) -> Expr {
        Expr { span: self.span(node), kind: Box::new(ExprKind::Error) }
    }
}

/// The doc lines at the front, joined, and the node after them.
fn documented<'a>(pairs: Pairs<'a, Rule>) -> (String, Option<Node<'a>>) {
    let mut lines = Vec::new();
    for node in pairs {
        match node.as_rule() {
            Rule::doc => lines.push(doc_line(&node)),
            _ => return (lines.join("\n"), Some(node)),
        }
    }
    (lines.join("\n"), None)
}

/// A doc line without its mark and the one space after it.
fn doc_line(node: &Node) -> String {
    let text = node.as_str().trim_end();
    let text = text.get(3..).unwrap_or("");
    text.strip_prefix(' ').unwrap_or(text).to_string()
}
