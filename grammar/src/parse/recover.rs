//! Bad regions: the strict rule is run on them again, and what it refuses is put into words.

use super::{Grammar, MAX_ERRORS, Node, Reader, Rule};
use crate::{Span, message};
use pest::Parser;

impl Reader<'_> {
    /// Reports why `rule` refuses the text of a bad region, unless a lexical error in it says so already.
    pub(super) fn refuse(&mut self, node: &Node, rule: Rule) {
        let span = self.span(node);
        if self.errors.len() >= MAX_ERRORS || self.explained(span) {
            return;
        }
        if let Some(error) = message::misplaced(span, rule, self.source, &self.lexed) {
            let again = std::mem::replace(&mut self.misplaced, rule == Rule::item);
            if !again {
                self.errors.push(error);
            }
            return;
        }
        let first = self.lexed.token_at(span.start).map(|t| &self.source[t.span.start..t.span.end]);
        // `if c { 1 } else { 2 }` as a value: the outer message is enough.
        if self.in_bad && rule == Rule::stmt && !first.is_some_and(message::starts_statement) {
            return;
        }
        let rule = if rule == Rule::stmt && first == Some("else") { Rule::else_part } else { rule };
        let error = match Grammar::parse(rule, &self.text[span.start..]) {
            Err(e) => message::explain(&e, span.start, rule, self.source, &self.lexed),
            Ok(_) => message::stray(span, &self.lexed, self.source),
        };
        self.errors.push(error);
    }

    /// Whether an error already reported lies in `span` or right after it.
    fn explained(&self, span: Span) -> bool {
        let end = self.lexed.token_at(span.end).map_or(self.source.len(), |t| t.span.start);
        let inside = |at: usize| (span.start..=end).contains(&at);
        let i = self.brackets.reported.partition_point(|&at| at < span.start);
        self.brackets.reported.get(i).is_some_and(|&at| inside(at))
            || self.lexed.errors.iter().any(|e| inside(e.span.start))
    }

    /// Errors of the blocks in a bad region.
    pub(super) fn inner_blocks(&mut self, node: Node) {
        let outer = std::mem::replace(&mut self.in_bad, true);
        for inner in node.into_inner().filter(|n| n.as_rule() == Rule::inner_block) {
            for block in inner.into_inner() {
                self.block(block);
            }
        }
        self.in_bad = outer;
    }
}
