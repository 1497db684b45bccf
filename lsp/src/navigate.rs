//! Going to definitions, finding references, renaming.

use crate::analysis::{Analysis, Entity};
use fgc_compiler::diagnostic::Place;
use fgc_compiler::names::Target;
use fgc_grammar::Span;
use gen_lsp_types::{Position, Range, TextEdit};

/// Where the name at a position is defined.
pub fn definition(analysis: &Analysis, position: Position) -> Option<Place> {
    let offset = analysis.text.offset(position);
    let (entity, _) = analysis.entity_at(offset)?;
    Some(analysis.definition(&entity, offset))
}

/// Where an entity stands in its own file: definitions where asked for, and uses.
pub fn occurrences(analysis: &Analysis, entity: &Entity, definitions: bool) -> Vec<Span> {
    let mut out = Vec::new();
    if let (Entity::Local(i), true) = (entity, definitions) {
        out.extend(&analysis.names.symbols[*i].sites);
    }
    let same = |span: Span| analysis.entity_at(span.start).is_some_and(|(e, at)| at == span && e == *entity);
    out.extend(analysis.names.uses.iter().map(|u| u.span).filter(|&span| same(span)));
    out.sort();
    out.dedup();
    out
}

/// Places in the standard library that refer to what is defined at `place` there, and `place` itself.
pub fn standard_occurrences(analysis: &Analysis, place: Place, definitions: bool) -> Vec<Place> {
    let mut out = Vec::new();
    if definitions {
        out.push(place);
    }
    for (module, names) in analysis.others() {
        let file = analysis.found.modules.module(*module).file;
        let target = |span: Span, target: &Target| {
            names.place(target, span.start, *module, &analysis.found.modules).is_some_and(|p| p == place)
        };
        let uses = names.uses.iter().filter(|u| target(u.span, &u.target));
        out.extend(uses.map(|u| Place { file, span: u.span }));
    }
    out
}

/// The range of the name at a position and what it is now, if it can be renamed.
pub fn prepare_rename(analysis: &Analysis, position: Position) -> Option<(Range, String)> {
    let (entity, span) = analysis.entity_at(analysis.text.offset(position))?;
    let Entity::Local(_) = entity else { return None };
    Some((analysis.text.range(span), analysis.text.as_str().get(span.start..span.end)?.to_owned()))
}

/// The edits of the file that give the name at a position another; why not otherwise.
pub fn rename(analysis: &Analysis, position: Position, new: &str) -> Result<Vec<TextEdit>, String> {
    let offset = analysis.text.offset(position);
    let Some((entity, _)) = analysis.entity_at(offset) else { return Err("nothing here has a name".into()) };
    let Entity::Local(symbol) = entity else {
        return Err("this is the standard library's: it keeps its name".into());
    };
    if !is_name(new) {
        return Err(format!("`{new}` is not a name"));
    }
    let old = &analysis.names.symbols[symbol].name;
    let spans = occurrences(analysis, &entity, true);
    if new != old {
        for &span in &spans {
            if let Some(taken) = analysis.visible(new, span.start).filter(|&i| i != symbol) {
                let line = analysis.text.position(analysis.names.symbols[taken].site_at(span.start).start).line + 1;
                return Err(format!("`{new}` is already something else here, defined in line {line}"));
            }
        }
    }
    let shorthand = |span: Span| analysis.names.uses.iter().any(|u| u.span == span && u.shorthand);
    let edit = |span: Span| TextEdit {
        range: analysis.text.range(span),
        new_text: if shorthand(span) { format!("{old}: {new}") } else { new.to_owned() },
    };
    Ok(spans.into_iter().map(edit).collect())
}

/// A word that is not one of the language's.
pub fn is_name(word: &str) -> bool {
    let reads = fgc_grammar::parse_expr(word);
    matches!(reads.map(|e| *e.kind), Ok(fgc_grammar::ast::ExprKind::Name(name)) if name == word)
}
