//! What expressions evaluate to while a spec is elaborated.
//!
//! Everything but a [`Tensor`] is static: known while compiling. A tensor is a node of the graph with axis names and,
//! where it is a noise time, the schedule whose time it is.

use crate::graph::NodeId;
use crate::module::ModuleId;
use crate::source::FileId;
use fgc_grammar::ast::{Body, Expr, ParamDecl, Type};
use fgc_program::{Distribution, Init, NetId};
use indexmap::IndexMap;
use std::cell::RefCell;
use std::rc::Rc;

/// An axis's name: `B`, `C`, `H`.
pub type Axis = Rc<str>;

/// A schedule, by position in the elaborator's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScheduleId(pub u32);

#[derive(Clone, Debug)]
pub enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Rc<str>),
    Axis(Axis),
    List(Rc<Vec<Value>>),
    Record(Rc<IndexMap<String, Value>>),
    Tensor(Tensor),
    Function(Rc<Closure>),
    Builtin(&'static super::builtin::Builtin),
    /// A kernel from outside.
    Extern(Rc<super::external::Declared>),
    Schedule(ScheduleId),
    Network(NetId),
    /// `student.x0`, waiting for arguments.
    View(NetId, Rc<str>),
    /// `denoiser`, `critic`: what a preset provides.
    Template(Rc<str>),
    /// A network's body with its sizes given, waiting for inputs.
    Body(Rc<NetBody>),
    /// `schedule.time`.
    TimeOf(ScheduleId),
    Law(Rc<Law>),
    Init(Init),
    /// The result of something already reported; silences what follows from it.
    Error,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub node: NodeId,
    /// One name per dimension of the node, all different.
    pub axes: Vec<Axis>,
    pub clock: Option<ScheduleId>,
}

/// A function or layer with the scope it was written in.
#[derive(Debug)]
pub struct Closure {
    pub name: String,
    pub kind: ClosureKind,
    pub params: Vec<ParamDecl>,
    pub result: Option<Type>,
    pub body: Code,
    pub env: Env,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosureKind {
    Function,
    Layer,
    /// A member of this schedule: times it takes are on that clock.
    Member(ScheduleId),
}

#[derive(Debug)]
pub enum Code {
    Body(Body),
    Expr(Expr),
}

#[derive(Clone, Debug)]
pub struct NetBody {
    pub layer: Rc<Closure>,
    pub given: Vec<(String, Value)>,
}

/// How a draw comes about: a distribution over axes, then a function of it.
#[derive(Debug)]
pub struct Law {
    pub base: Distribution,
    pub axes: Vec<Axis>,
    pub shape: Vec<usize>,
    /// Applied one after another to what is drawn.
    pub transforms: Vec<Value>,
}

/// Where names are looked up: local scopes, then a module.
#[derive(Clone, Debug)]
pub struct Env {
    pub module: ModuleId,
    pub file: FileId,
    pub scope: Rc<Scope>,
    /// Inside a schedule, whose members are visible by bare name.
    pub schedule: Option<ScheduleId>,
}

#[derive(Debug, Default)]
pub struct Scope {
    pub names: RefCell<IndexMap<String, Binding>>,
    pub parent: Option<Rc<Scope>>,
}

#[derive(Clone, Debug)]
pub struct Binding {
    pub value: Value,
    pub mutable: bool,
}

impl Env {
    /// A scope inside this one.
    pub fn child(&self) -> Env {
        let scope = Scope { names: RefCell::default(), parent: Some(self.scope.clone()) };
        Env { scope: Rc::new(scope), ..self.clone() }
    }

    pub fn bind(&self, name: &str, value: Value, mutable: bool) {
        self.scope.names.borrow_mut().insert(name.into(), Binding { value, mutable });
    }

    pub fn find(&self, name: &str) -> Option<Binding> {
        let mut scope = Some(&self.scope);
        while let Some(s) = scope {
            if let Some(b) = s.names.borrow().get(name) {
                return Some(b.clone());
            }
            scope = s.parent.as_ref();
        }
        None
    }

    /// Assigns the nearest binding of `name`; gives it as it was, or None if there is none. Immutable ones stay.
    pub fn assign(&self, name: &str, value: Value) -> Option<Binding> {
        let mut scope = Some(&self.scope);
        while let Some(s) = scope {
            if let Some(b) = s.names.borrow_mut().get_mut(name) {
                let before = b.clone();
                if b.mutable {
                    b.value = value;
                }
                return Some(before);
            }
            scope = s.parent.as_ref();
        }
        None
    }

    /// Every local name, innermost first.
    pub fn locals(&self) -> Vec<String> {
        let mut out = Vec::new();
        let mut scope = Some(&self.scope);
        while let Some(s) = scope {
            out.extend(s.names.borrow().keys().cloned());
            scope = s.parent.as_ref();
        }
        out
    }
}

impl Value {
    pub fn str(text: impl AsRef<str>) -> Value {
        Value::Str(text.as_ref().into())
    }

    pub fn list(values: Vec<Value>) -> Value {
        Value::List(Rc::new(values))
    }

    /// A static number.
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Int(i) => Some(*i as f64),
            Value::Float(x) => Some(*x),
            Value::Bool(b) => Some(*b as u8 as f64),
            _ => None,
        }
    }

    /// What it is, for messages: `a number`, `a list`.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::None => "none",
            Value::Bool(_) => "a truth value",
            Value::Int(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::Str(_) => "a string",
            Value::Axis(_) => "an axis",
            Value::List(_) => "a list",
            Value::Record(_) => "a record",
            Value::Tensor(_) => "a tensor",
            Value::Function(_) | Value::Builtin(_) | Value::Extern(_) | Value::TimeOf(_) => "a function",
            Value::Schedule(_) => "a schedule",
            Value::Network(_) => "a network",
            Value::View(..) => "a view of a network, not yet called",
            Value::Template(_) => "a kind of network, not yet made",
            Value::Body(_) => "a network's body",
            Value::Law(_) => "a law to draw from",
            Value::Init(_) => "initial values",
            Value::Error => "an error",
        }
    }

    /// Applies `f` to every tensor inside lists and records.
    pub fn map_tensors(&self, f: &mut impl FnMut(&Tensor) -> Tensor) -> Value {
        match self {
            Value::Tensor(t) => Value::Tensor(f(t)),
            Value::List(l) => Value::list(l.iter().map(|v| v.map_tensors(f)).collect()),
            Value::Record(r) => Value::Record(Rc::new(r.iter().map(|(k, v)| (k.clone(), v.map_tensors(f))).collect())),
            other => other.clone(),
        }
    }
}
