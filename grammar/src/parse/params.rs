//! Parameter lists and types.

use super::{Node, Reader, Rule, documented};
use crate::ast::*;
use crate::error::{SyntaxError, code};

impl Reader<'_> {
    pub(super) fn params(&mut self, node: Node) -> Vec<ParamDecl> {
        let mut params = Vec::new();
        for part in node.into_inner() {
            match part.as_rule() {
                Rule::param => params.push(self.param(part)),
                Rule::bad_param => self.refuse(&part, Rule::strict_param),
                _ => {}
            }
        }
        params
    }

    fn param(&mut self, node: Node) -> ParamDecl {
        let mut param = ParamDecl {
            doc: String::new(),
            span: self.span(&node),
            name: Name { text: String::new(), span: self.span(&node) },
            ty: None,
            default: None,
            range: None,
        };
        let (doc, first) = documented(node.clone().into_inner());
        param.doc = doc;
        if let Some(first) = first {
            param.span.start = first.as_span().start();
        }
        for part in node.into_inner() {
            match part.as_rule() {
                Rule::param_name => param.name = self.param_name(part),
                Rule::type_ => param.ty = Some(self.ty(part)),
                Rule::expr => param.default = Some(self.expr(part)),
                Rule::one_of => {
                    let values = part.into_inner().filter(|n| n.as_rule() == Rule::expr);
                    param.range = Some(RangeDecl::OneOf(values.map(|n| self.expr(n)).collect()));
                }
                Rule::interval => param.range = Some(self.interval(part)),
                _ => {}
            }
        }
        param
    }

    pub(super) fn param_name(&mut self, node: Node) -> Name {
        let span = self.span(&node);
        node.into_inner().next().map_or(Name { text: String::new(), span }, |n| self.name(&n))
    }

    fn interval(&mut self, node: Node) -> RangeDecl {
        let (mut lo, mut hi) = (None, None);
        for part in node.into_inner() {
            let slot = match part.as_rule() {
                Rule::lo => &mut lo,
                Rule::hi => &mut hi,
                _ => continue,
            };
            *slot = part.into_inner().next().map(|bound| self.expr(bound));
        }
        RangeDecl::Interval { lo, hi }
    }

    pub(super) fn ty(&mut self, node: Node) -> Type {
        let span = self.span(&node);
        let mut word = Name { text: String::new(), span };
        let (mut schedule, mut axes, mut optional) = (None, None, false);
        for part in node.into_inner() {
            match part.as_rule() {
                Rule::type_name => word = self.name(&part),
                Rule::clock => {
                    schedule = part.into_inner().find(|n| n.as_rule() == Rule::name).map(|n| self.name(&n));
                }
                Rule::axes => axes = Some(self.axes(part)),
                Rule::question => optional = true,
                _ => {}
            }
        }
        if let Some(schedule) = schedule.as_ref().filter(|_| word.text != "time") {
            let message = format!("only a time is on a clock, and `{}` is not one", word.text);
            let help = format!("write `time<{}>`", schedule.text);
            self.errors.push(SyntaxError::new(code::UNEXPECTED, schedule.span, message).help(help));
        }
        let kind = match word.text.as_str() {
            "time" => TypeKind::Time { schedule, axes },
            "f16" | "bf16" | "f32" | "f64" | "i8" | "i16" | "i32" | "i64" | "u8" | "u32" | "u64" => {
                TypeKind::Tensor { dtype: word.text, axes }
            }
            _ if axes.is_some() => TypeKind::Tensor { dtype: word.text, axes },
            _ => TypeKind::Named(word),
        };
        Type { span, kind, optional }
    }

    fn axes(&mut self, node: Node) -> Vec<AxisDecl> {
        let mut axes = Vec::new();
        for axis in node.into_inner().filter(|n| n.as_rule() == Rule::axis) {
            let span = self.span(&axis);
            let (mut name, mut extent) = (None, None);
            for part in axis.into_inner() {
                match part.as_rule() {
                    Rule::name => name = Some(self.name(&part)),
                    Rule::expr => extent = Some(self.expr(part)),
                    _ => {}
                }
            }
            axes.push(match name {
                Some(name) => AxisDecl::Axis { name, extent },
                None => AxisDecl::Rest { span },
            });
        }
        axes
    }
}
