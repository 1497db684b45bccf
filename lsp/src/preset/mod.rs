//! Presets: data, networks and hyper-parameters of methods, as `.ron`.

mod complete;
mod problems;

use crate::describe::{Description, declaration, header};
use crate::text::Text;
use fgc_compiler::names::Names;
use fgc_compiler::preset::Setup;
use fgc_compiler::source::{standard_module, standard_modules};
use fgc_grammar::Span;
use fgc_grammar::ast::{Item, ItemKind, ParamDecl};
use gen_lsp_types::{Hover, MarkupContent, MarkupKind, Position};
use std::path::Path;

pub use complete::completion;
pub use fgc_compiler::preset::outline::{Entry, Outline};
pub use problems::{actions, problems};

/// What is wrong with a text, between two places: lines and columns, in characters, from 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Misread {
    pub from: (usize, usize),
    pub to: (usize, usize),
    pub message: String,
}

/// What the program around the server knows of presets.
pub struct Presets {
    /// Reads a preset's text.
    pub read: fn(&str) -> Result<(), Misread>,
    /// What a method is compiled for on the preset with this path and text.
    pub setup: fn(&Path, &str, &str) -> Result<Setup, String>,
    /// The text of a method, by its name, as the preset at a path means it.
    pub method: fn(&Path, &str) -> Option<String>,
    /// Names of the built-in methods.
    pub methods: Vec<String>,
}

/// The fields of a preset, and what they mean.
const FIELDS: [(&str, &str); 11] = [
    ("data", "The data set: `Ring(modes: 8, radius: 1.0, std: 0.05)`, `Idx(\"folder\")`, …"),
    ("batch", "Samples a step."),
    ("iterations", "Steps of training."),
    ("schedule", "The networks' noise schedule: `edm`, `rf`, `trig` or `vp` (default `edm`)."),
    ("predicts", "What the networks predict: `x0`, `eps`, `v` or `flow` (default `x0`)."),
    ("precondition", "`edm` or `none` (default `edm`)."),
    ("sigma_data", "Standard deviation of the data that EDM preconditioning assumes (default 0.5)."),
    ("nets", "Networks by the name of a `net` (`teacher`) or of what makes it (`denoiser`, `critic`)."),
    ("set", "Hyper-parameters, as expressions of the language."),
    ("methods", "What differs for one method, by its name."),
    ("evaluate", "Samples compared with as many of the data when training ends (default 1024)."),
];

/// Of a network.
const NETWORK: [(&str, &str); 5] = [
    ("network", "A layer with its sizes: `mlp(hidden = 128)`."),
    ("schedule", "Where it differs from the preset's."),
    ("predicts", "Where it differs from the preset's."),
    ("precondition", "Where it differs from the preset's."),
    ("sigma_data", "Where it differs from the preset's."),
];

/// Of what differs for one method: these of a preset's, and
const OVERRIDE: [&str; 4] = ["batch", "iterations", "nets", "set"];
const INIT: (&str, &str) =
    ("init", "Networks that another method of the preset trains first, and which: `{\"teacher\": \"sft\"}`.");

/// The method of a file: its hyper-parameters with the text they stand in, its doc, its networks.
pub struct Method {
    pub text: String,
    pub doc: String,
    pub params: Vec<ParamDecl>,
}

impl Presets {
    pub fn method(&self, preset: &Path, name: &str) -> Option<Method> {
        let text = (self.method)(preset, name)?;
        let file = fgc_grammar::parse(&text).file;
        let params = file.items.into_iter().find_map(|item| match item.kind {
            ItemKind::Method { params, .. } => Some(params),
            _ => None,
        })?;
        Some(Method { doc: file.doc, params, text })
    }
}

/// The layers of the standard networks, with their text.
fn layers() -> Vec<(Item, &'static str)> {
    let modules = standard_modules();
    let networks = modules.iter().filter_map(|m| m.strip_prefix("std.network."));
    let texts = networks.filter_map(|name| standard_module(&["network", name]));
    let layer = |item: &Item| matches!(&item.kind, ItemKind::Layer(f) if takes_inputs(&f.params));
    texts
        .flat_map(|text| fgc_grammar::parse(text).file.items.into_iter().filter(layer).map(move |item| (item, text)))
        .collect()
}

/// Whether a layer can be a network: it takes samples or features.
fn takes_inputs(params: &[ParamDecl]) -> bool {
    params.first().is_some_and(|p| matches!(p.name.text.as_str(), "x" | "features"))
}

/// What a key or a network of a preset means.
pub fn hover(presets: &Presets, path: &Path, text: &Text, position: Position) -> Option<Hover> {
    let offset = text.offset(position);
    let outline = Outline::of(text.as_str());
    let on = |span: Span| span.start <= offset && offset <= span.end;
    let entry = outline.entries.iter().find(|e| on(e.key) || on(e.value))?;
    let keys: Vec<&str> = entry.path.iter().map(String::as_str).collect();
    let (description, span) = if on(entry.key) {
        (describe_key(presets, path, &keys)?, entry.key)
    } else if keys.last() == Some(&"network") {
        let written = text.as_str().get(entry.value.start..entry.value.end)?;
        let name = written.split('(').next()?.trim();
        let (item, home) = layers().into_iter().find(|(i, _)| name_of(i) == name)?;
        (Description::new(header(&item, home), item.doc.clone()), entry.value)
    } else {
        return None;
    };
    let content = MarkupContent { kind: MarkupKind::Markdown, value: description.markdown() };
    Some(Hover { contents: content.into(), range: Some(text.range(span)) })
}

fn describe_key(presets: &Presets, path: &Path, keys: &[&str]) -> Option<Description> {
    let field = |fields: &[(&str, &str)], name: &str| {
        let (name, doc) = fields.iter().find(|(n, _)| *n == name)?;
        Some(Description::new(*name, *doc))
    };
    match keys {
        ["methods", _, "init"] => field(&[INIT], INIT.0),
        [name] | ["methods", _, name] => field(&FIELDS, name),
        ["nets", _, name] | ["methods", _, "nets", _, name] => field(&NETWORK, name),
        ["methods", name] => Some(Description::new(format!("method {name}"), presets.method(path, name)?.doc)),
        ["methods", method, "set", name] => {
            let method = presets.method(path, method)?;
            let param = method.params.iter().find(|p| p.name.text == *name)?;
            Some(Description::new(declaration(param, &method.text), param.doc.clone()))
        }
        _ => None,
    }
}

fn name_of(item: &Item) -> &str {
    fgc_compiler::module::item_name(item).map_or("", |n| n.text.as_str())
}

/// The networks of a method's text.
fn nets(text: &str) -> Vec<String> {
    let (mut sources, mut modules) = Default::default();
    let modules: &mut fgc_compiler::module::Modules = &mut modules;
    let id = modules.load_user(&mut sources, "", text, &mut Vec::new());
    let names = Names::of(id, modules, &sources);
    let nets = names.symbols.iter().filter(|s| s.kind == fgc_compiler::names::SymbolKind::Net);
    nets.map(|s| s.name.clone()).collect()
}
