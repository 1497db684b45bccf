//! What can be folded: blocks, lists of parameters, imports, runs of comments.

use crate::analysis::Analysis;
use fgc_grammar::Span;
use fgc_grammar::ast::{Block, Body, Item, ItemKind, ParamDecl, Stmt, StmtKind};
use gen_lsp_types::{FoldingRange, FoldingRangeKind};

pub fn folds(analysis: &Analysis) -> Vec<FoldingRange> {
    let mut spans = Vec::new();
    let items = &analysis.module().items;
    items.iter().for_each(|item| in_item(item, &mut spans));
    let mut out: Vec<FoldingRange> = spans.iter().filter_map(|&span| fold(analysis, span, None)).collect();
    let imports = items.iter().filter(|i| matches!(i.kind, ItemKind::Use { .. })).map(|i| i.span);
    let imports = imports.reduce(Span::to).and_then(|span| fold(analysis, span, Some(FoldingRangeKind::Imports)));
    out.extend(imports);
    out.extend(comments(analysis.text.as_str()));
    out.sort_by_key(|f| (f.start_line, f.end_line));
    out.dedup_by_key(|f| f.start_line);
    out
}

fn fold(analysis: &Analysis, span: Span, kind: Option<FoldingRangeKind>) -> Option<FoldingRange> {
    let range = analysis.text.range(span);
    let (start_line, end_line) = (range.start.line, range.end.line);
    // The line with the closing bracket stays.
    let end_line = if kind.is_none() { end_line.saturating_sub(1) } else { end_line };
    (end_line > start_line).then(|| FoldingRange { start_line, end_line, kind, ..Default::default() })
}

fn in_item(item: &Item, out: &mut Vec<Span>) {
    match &item.kind {
        ItemKind::Fn(f) | ItemKind::Layer(f) => {
            params(&f.params, out);
            match &f.body {
                Body::Block(b) => block(b, out),
                Body::Expr(_) => out.push(item.span),
            }
        }
        ItemKind::Schedule { members, .. } => {
            out.push(item.span);
            members.iter().for_each(|m| in_item(m, out));
        }
        ItemKind::Method { params: p, body, .. } => {
            // The bracket stands on the line before the first.
            if let (Some(first), Some(last)) = (p.first(), p.last()) {
                out.push(Span::new(item.span.start, last.span.end.max(first.span.end) + 1));
            }
            block(body, out);
        }
        ItemKind::Extern(_) | ItemKind::Let { .. } => out.push(item.span),
        ItemKind::Use { .. } | ItemKind::Error => {}
    }
}

fn params(params: &[ParamDecl], out: &mut Vec<Span>) {
    if let (Some(first), Some(last)) = (params.first(), params.last()) {
        out.push(first.span.to(last.span));
    }
}

fn block(b: &Block, out: &mut Vec<Span>) {
    out.push(b.span);
    b.stmts.iter().for_each(|s| statement(s, out));
}

fn statement(stmt: &Stmt, out: &mut Vec<Span>) {
    match &stmt.kind {
        StmtKind::If { then, otherwise, .. } => {
            block(then, out);
            otherwise.iter().for_each(|b| block(b, out));
        }
        StmtKind::For { body, .. } | StmtKind::Scan { body, .. } | StmtKind::Step { body, .. } => block(body, out),
        _ => {}
    }
}

/// Two lines or more that are nothing but comments.
fn comments(text: &str) -> Vec<FoldingRange> {
    let mut out: Vec<FoldingRange> = Vec::new();
    let mut start: Option<u32> = None;
    let lines = text.lines().map(|l| l.trim_start().starts_with("//")).chain([false]);
    for (i, comment) in lines.enumerate() {
        let line = i as u32;
        match (start, comment) {
            (None, true) => start = Some(line),
            (Some(first), false) => {
                if line > first + 1 {
                    let kind = Some(FoldingRangeKind::Comment);
                    out.push(FoldingRange { start_line: first, end_line: line - 1, kind, ..Default::default() });
                }
                start = None;
            }
            _ => {}
        }
    }
    out
}
