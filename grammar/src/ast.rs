//! The syntax tree. Every node has its span; comments that stand before a node are kept with the file.
//!
//! Nothing here is resolved: a name is a string, an axis is a name, a type is what was written.

use crate::Span;
use serde::Serialize;

/// One `.fg` file.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct File {
    /// The `//!` lines at the top, joined.
    pub doc: String,
    pub items: Vec<Item>,
    /// Every `//` comment, in order, for the formatter. Doc comments are with what they document.
    pub comments: Vec<Comment>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comment {
    pub span: Span,
    /// Without the slashes, trimmed.
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Name {
    pub text: String,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Item {
    /// The `///` lines before it, joined.
    pub doc: String,
    pub span: Span,
    pub kind: ItemKind,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum ItemKind {
    /// `use std.loss.{vsd, cfg}`, `use std.schedule.edm`. `names` empty: the path's last segment is what is named.
    Use {
        path: Vec<Name>,
        names: Vec<Name>,
    },
    /// `let sigma_data = 0.5`
    Let {
        name: Name,
        ty: Option<Type>,
        value: Expr,
    },
    Fn(Function),
    /// A function that owns parameters, called as `linear@name(…)`.
    Layer(Function),
    /// `schedule edm { let t_min = 0.002 fn alpha(t) = 1 … }`: members are `Let` and `Fn` items.
    Schedule {
        name: Name,
        members: Vec<Item>,
    },
    Method {
        name: Name,
        params: Vec<ParamDecl>,
        body: Block,
    },
    Extern(Extern),
    /// Text that is not an item; its error is in the parse's error list.
    Error,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Function {
    pub name: Name,
    pub params: Vec<ParamDecl>,
    pub result: Option<Type>,
    pub body: Body,
}

/// `extern kernel f(x: f32[B, C]) -> f32[B, C] from "f.cu" { launch = threads(B, C) … }`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Extern {
    pub name: Name,
    pub params: Vec<ParamDecl>,
    /// One without a name, or as many as there are: `-> { out: f32[B, C], norm: f32[B] }`.
    pub results: Vec<ResultDecl>,
    pub file: Vec<StrPart>,
    pub file_span: Span,
    pub clauses: Vec<Clause>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ResultDecl {
    pub name: Option<Name>,
    pub ty: Type,
}

/// `launch = blocks(B, 128)`, `reference = f`, `jvp = f_jvp`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Clause {
    pub span: Span,
    pub name: Name,
    pub value: Expr,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Body {
    /// `fn f(x) = x + 1`
    Expr(Expr),
    /// `fn f(x) { … return y }`
    Block(Block),
}

/// `/// doc` `name: type = default in lo..hi`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ParamDecl {
    pub doc: String,
    pub span: Span,
    pub name: Name,
    pub ty: Option<Type>,
    pub default: Option<Expr>,
    pub range: Option<RangeDecl>,
}

/// `lo..hi`, both inclusive, either may be missing; or `{"sde", "ode"}`, the values allowed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum RangeDecl {
    Interval { lo: Option<Expr>, hi: Option<Expr> },
    OneOf(Vec<Expr>),
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Type {
    pub span: Span,
    pub kind: TypeKind,
    /// Written with `?`: may be none.
    pub optional: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum TypeKind {
    /// `f32`, `f32[B, C]`, `f64[B, ..]`. No brackets: `axes` is None and anything broadcastable fits.
    Tensor { dtype: String, axes: Option<Vec<AxisDecl>> },
    /// `time`, `time<edm>`, `time[B]`, `time<edm>[B]`: f64 on a clock.
    Time { schedule: Option<Name>, axes: Option<Vec<AxisDecl>> },
    /// A word: `int`, `str`, `bool`, `list`, `fn`, `network`, `schedule`, `law`, `record`.
    Named(Name),
}

/// `B`, `O = out` (an axis and its extent), `..` (any others).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum AxisDecl {
    Axis { name: Name, extent: Option<Expr> },
    Rest { span: Span },
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Block {
    pub span: Span,
    pub stmts: Vec<Stmt>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stmt {
    pub doc: String,
    pub span: Span,
    pub kind: StmtKind,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum StmtKind {
    /// `let x = e`, `let a, b = e` (a list taken apart).
    Let {
        names: Vec<Name>,
        ty: Option<Type>,
        value: Expr,
    },
    /// `var x = e`: may be assigned again.
    Var {
        name: Name,
        ty: Option<Type>,
        value: Expr,
    },
    /// `x = e`, `x += e`.
    Assign {
        name: Name,
        op: AssignOp,
        value: Expr,
    },
    /// Static: only the branch taken is elaborated, in the enclosing scope. `otherwise` may hold one `If` (else if).
    If {
        cond: Expr,
        then: Block,
        otherwise: Option<Block>,
    },
    /// Static: `for i in 0..n { … }`, `for a, b in pairs { … }`, a scope an iteration.
    For {
        names: Vec<Name>,
        iter: Expr,
        body: Block,
    },
    /// Dynamic: elaborated once, repeated at run time over rows of numbers: `scan t, u in rows carry x { … }`.
    Scan {
        names: Vec<Name>,
        iter: Expr,
        carry: Name,
        body: Block,
    },
    Return(Expr),
    /// `draw t ~ law`, `draw a ~ l, b ~ m` gives one statement each entry.
    Draw(Vec<DrawDecl>),
    /// `data x, c`, `data x: f32[B, C], path: f32[B, P, ..]`
    Data(Vec<(Name, Option<Type>)>),
    /// `net student = denoiser() from teacher adamw(lr = 1e-4) ema(0.9999)`
    Net {
        name: Name,
        value: Expr,
        attrs: Vec<NetAttr>,
    },
    /// In layers: `param weight: f32[O = out, C = n] ~ uniform(0.1)`
    Param {
        name: Name,
        ty: Type,
        init: Option<Expr>,
    },
    /// `state bins: f64[K = 10] = 1`
    State {
        name: Name,
        ty: Option<Type>,
        value: Expr,
    },
    /// `loss name = e -> student, critic`; `loss name = e weight w -> student`: reported as e, minimised as w·e
    /// (`weight` is a keyword only here).
    Loss {
        name: Name,
        value: Expr,
        weight: Option<Expr>,
        targets: Vec<Name>,
    },
    /// `metric name = e`, `metric a = e, b = f`
    Metric(Vec<(Name, Expr)>),
    /// `step every k { … }`; `step otherwise { … }` has no `every`. `name`: `step student every k { … }`.
    Step {
        name: Option<Name>,
        every: Option<Expr>,
        body: Block,
    },
    /// `sample few_step(student)`, `sample teacher = ode(teacher)`.
    Sample {
        name: Option<Name>,
        value: Expr,
    },
    /// Text that is not a statement; its error is in the parse's error list.
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum AssignOp {
    Set,
    Add,
}

/// `t ~ law`, `noise[i] ~ normal(x)` (the index becomes part of the draw's name: `noise_0`).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DrawDecl {
    pub name: Name,
    pub index: Option<Expr>,
    pub law: Expr,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NetAttr {
    pub span: Span,
    pub kind: NetAttrKind,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum NetAttrKind {
    Frozen,
    From(Name),
    /// `adamw(lr = 1e-4)`, `ema(0.9999)`, `clip(1.0)`, `warmup(500)`.
    Call {
        name: Name,
        args: Vec<Arg>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Expr {
    pub span: Span,
    pub kind: Box<ExprKind>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum ExprKind {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// Pieces of `"blocks.{i}.lin0"`.
    Str(Vec<StrPart>),
    Name(String),
    /// `[a, b]`
    List(Vec<Expr>),
    /// `{ out: e, features: f }`, field order kept; `{ out }` is `{ out: out }`.
    Record(Vec<(Name, Expr)>),
    /// `a..b`: the integers from a to b − 1.
    Range {
        lo: Expr,
        hi: Expr,
    },
    Unary {
        op: UnaryOp,
        value: Expr,
    },
    Binary {
        op: BinaryOp,
        op_span: Span,
        left: Expr,
        right: Expr,
    },
    /// `if c then a else b`, c static: only the branch taken is elaborated.
    If {
        cond: Expr,
        then: Expr,
        otherwise: Expr,
    },
    /// `fn(a, b) = e`
    Lambda {
        params: Vec<ParamDecl>,
        body: Expr,
    },
    /// `e.name`
    Member {
        base: Expr,
        name: Name,
    },
    /// `e[i]`
    Index {
        base: Expr,
        index: Expr,
    },
    /// `f(a, k = b over C, H)`, `linear@"blocks.{i}"(x, 32)`, `linear@inp(x, 32)`.
    Call {
        callee: Expr,
        scope: Option<Scope>,
        args: Vec<Arg>,
        over: Option<Over>,
    },
    Error,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum StrPart {
    Text(String),
    Expr(Expr),
}

/// The name a layer's parameters get: a word or a string.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scope {
    pub span: Span,
    pub parts: Vec<StrPart>,
}

/// `a` or `name = a`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Arg {
    pub span: Span,
    pub name: Option<Name>,
    pub value: Expr,
}

/// `over C, H` or `over not B`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Over {
    pub span: Span,
    pub not: bool,
    pub axes: Vec<Expr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum UnaryOp {
    Neg,
    Not,
}

/// By rising precedence: or; and; not; == != < <= > >=; ..; + −; * /; unary −; ^; postfix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum BinaryOp {
    Or,
    And,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Add,
    Sub,
    Mul,
    Div,
    /// Right-associative, binds tighter than unary minus on its left.
    Pow,
}
