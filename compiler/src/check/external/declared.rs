//! What a declaration says before it is called.

use super::super::elaborate::{Elaborator, Result};
use super::super::value::*;
use crate::diagnostic::{Diagnostic, Place};
use fgc_grammar::ast::{AxisDecl, Clause, Expr, ExprKind, Extern, Type, TypeKind};
use fgc_program::DType;
use indexmap::IndexMap;
use std::rc::Rc;

const CLAUSES: [&str; 5] = ["launch", "entry", "reference", "jvp", "vjp"];

#[derive(Debug)]
pub struct Declared {
    pub item: Extern,
    /// Its parameters and scope; it has no body.
    pub closure: Rc<Closure>,
}

/// Element types and axes.
pub struct Types {
    pub params: Vec<(DType, Vec<AxisDecl>)>,
    pub results: Vec<(DType, Vec<AxisDecl>)>,
}

pub type Clauses = IndexMap<String, Clause>;

impl Declared {
    pub fn new(item: &Extern, env: &Env) -> Declared {
        let closure = Closure {
            name: item.name.text.clone(),
            kind: ClosureKind::Function,
            params: item.params.clone(),
            result: None,
            body: Code::Expr(Expr { span: item.name.span, kind: Box::new(ExprKind::Error) }),
            env: env.clone(),
        };
        Declared { item: item.clone(), closure: Rc::new(closure) }
    }

    /// All types are tensors with axes, those of the results of one element type.
    pub fn types(&self, e: &mut Elaborator) -> Result<Types> {
        let params = self.item.params.iter().map(|p| (p.ty.as_ref(), p.name.span));
        let params = params.map(|(ty, span)| self.tensor(e, ty, span)).collect::<Result<Vec<_>>>()?;
        let results = self.item.results.iter().map(|r| self.tensor(e, Some(&r.ty), r.ty.span));
        let results = results.collect::<Result<Vec<_>>>()?;
        let first = results.first().map(|(dtype, _)| *dtype);
        if let Some(other) = results.iter().position(|(dtype, _)| Some(*dtype) != first) {
            let at = Place { file: self.closure.env.file, span: self.item.results[other].ty.span };
            let message = "the results of a kernel have one element type";
            return Err(e.error_help("FG0806", message, at, "another than the first", "declare another kernel for it"));
        }
        let rests = |types: &[(DType, Vec<AxisDecl>)]| {
            types.iter().any(|(_, axes)| axes.iter().any(|axis| matches!(axis, AxisDecl::Rest { .. })))
        };
        if rests(&results) && !rests(&params) {
            let at = Place { file: self.closure.env.file, span: self.item.results[0].ty.span };
            let help = "a parameter says which axes `..` stands for: `x: f32[..]`";
            return Err(e.error_help("FG0806", "no parameter has axes `..`", at, "`..` of what?", help));
        }
        Ok(Types { params, results })
    }

    fn tensor(&self, e: &mut Elaborator, ty: Option<&Type>, span: fgc_grammar::Span) -> Result<(DType, Vec<AxisDecl>)> {
        if let Some(Type { kind: TypeKind::Tensor { dtype, axes: Some(axes) }, optional: false, .. }) = ty {
            let dtype = match dtype.as_str() {
                "f32" => Some(DType::F32),
                "f64" => Some(DType::F64),
                "i64" => Some(DType::I64),
                _ => None,
            };
            if let Some(dtype) = dtype {
                return Ok((dtype, axes.clone()));
            }
        }
        let at = Place { file: self.closure.env.file, span };
        let help = "write its element type (f32, f64, i64) and all axes: `f32[B, C]`, `f32[..]`, `f32[]` for a number";
        Err(e.error_help("FG0806", "a kernel takes and gives tensors of known axes", at, "not such a type", help))
    }

    /// What the kernel is told, in order: the axes by name.
    pub fn told(&self) -> Vec<String> {
        let types =
            self.item.params.iter().filter_map(|p| p.ty.as_ref()).chain(self.item.results.iter().map(|r| &r.ty));
        let mut told: Vec<String> = Vec::new();
        for ty in types {
            let TypeKind::Tensor { axes: Some(axes), .. } = &ty.kind else { continue };
            for axis in axes {
                let name = match axis {
                    AxisDecl::Axis { name, .. } => name.text.clone(),
                    AxisDecl::Rest { .. } => "..".into(),
                };
                if !told.contains(&name) {
                    told.push(name);
                }
            }
        }
        told
    }

    pub fn clauses(&self, e: &mut Elaborator) -> Result<Clauses> {
        let mut clauses = Clauses::new();
        for clause in &self.item.clauses {
            let (at, name) = (Place { file: self.closure.env.file, span: clause.name.span }, &clause.name.text);
            if !CLAUSES.contains(&name.as_str()) {
                let message = format!("`extern kernel` has no clause `{name}`");
                let d = Diagnostic::error("FG0806", message).label(at, "unknown").among(at, name, &CLAUSES);
                return Err(e.report(d));
            }
            if clauses.insert(name.clone(), clause.clone()).is_some() {
                return Err(e.error("FG0806", format!("`{name}` is said twice"), at, "again here"));
            }
        }
        Ok(clauses)
    }
}
