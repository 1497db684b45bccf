//! The signature of the call that is being written.

use crate::analysis::Analysis;
use crate::context::Context;
use gen_lsp_types::{
    MarkupContent, MarkupKind, ParameterInformation, ParameterInformationLabel, Position, SignatureHelp,
    SignatureInformation,
};

pub fn signature_help(analysis: &Analysis, position: Position) -> Option<SignatureHelp> {
    let offset = analysis.text.offset(position);
    let context = Context::at_end_of(&analysis.text.as_str()[..offset]);
    let call = context.call()?;
    let callable = analysis.callable(&call.callee, offset)?;
    let markdown = |value: &str| MarkupContent { kind: MarkupKind::Markdown, value: value.to_owned() };
    let active = match &call.argument {
        Some(name) => callable.params.iter().position(|(n, ..)| n == name),
        // Those given by name stand anywhere; what comes next is the next by position.
        None => Some(call.commas),
    };
    let active = active.filter(|&i| i < callable.params.len()).map(|i| i as u32);
    let parameters = callable.params.iter().map(|(_, shown, doc)| ParameterInformation {
        label: ParameterInformationLabel::String(shown.clone()),
        documentation: (!doc.is_empty()).then(|| markdown(doc).into()),
    });
    let information = SignatureInformation {
        label: callable.label.clone(),
        documentation: (!callable.doc.is_empty()).then(|| markdown(&callable.doc).into()),
        parameters: Some(parameters.collect()),
        active_parameter: active.map(Into::into),
    };
    Some(SignatureHelp {
        signatures: vec![information],
        active_signature: Some(0),
        active_parameter: active.map(Into::into),
    })
}
