//! `extern kernel` items.

use super::{Node, Reader, Rule};
use crate::ast::*;

impl Reader<'_> {
    pub(super) fn external(&mut self, node: Node) -> Extern {
        let span = self.span(&node);
        let mut item = Extern {
            name: Name { text: String::new(), span },
            params: Vec::new(),
            results: Vec::new(),
            file: Vec::new(),
            file_span: span,
            clauses: Vec::new(),
        };
        for part in node.into_inner() {
            match part.as_rule() {
                Rule::name => item.name = self.name(&part),
                Rule::params => item.params = self.params(part),
                Rule::results => item.results = self.results(part),
                Rule::string => {
                    item.file_span = self.span(&part);
                    item.file = self.string(part);
                }
                Rule::clauses => {
                    let clauses = part.into_inner().filter(|n| n.as_rule() == Rule::clause);
                    item.clauses = clauses.map(|n| self.clause(n)).collect();
                }
                _ => {}
            }
        }
        item
    }

    fn results(&mut self, node: Node) -> Vec<ResultDecl> {
        let mut results = Vec::new();
        for part in node.into_inner() {
            match part.as_rule() {
                Rule::type_ => results.push(ResultDecl { name: None, ty: self.ty(part) }),
                Rule::named_results => {
                    for field in part.into_inner().filter(|n| n.as_rule() == Rule::named_result) {
                        let (mut name, mut ty) = (None, None);
                        for part in field.into_inner() {
                            match part.as_rule() {
                                Rule::param_name => name = Some(self.param_name(part)),
                                Rule::type_ => ty = Some(self.ty(part)),
                                _ => {}
                            }
                        }
                        results.extend(ty.map(|ty| ResultDecl { name, ty }));
                    }
                }
                _ => {}
            }
        }
        results
    }

    fn clause(&mut self, node: Node) -> Clause {
        let span = self.span(&node);
        let mut clause = Clause { span, name: Name { text: String::new(), span }, value: self.missing(&node) };
        for part in node.into_inner() {
            match part.as_rule() {
                Rule::name => clause.name = self.name(&part),
                Rule::expr => clause.value = self.expr(part),
                _ => {}
            }
        }
        clause
    }
}
