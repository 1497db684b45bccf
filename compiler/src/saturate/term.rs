//! A region as an e-graph: terms, and what is known of each class.

use crate::graph::{Op, Ty, scalar};
use egg::{Analysis, DidMerge, EGraph, FromOp, Id, Language};
use fgc_program::{BinaryOp, DType, Scalar, UnaryOp};
use indexmap::IndexSet;
use smallvec::SmallVec;

pub type Terms = EGraph<Term, Facts>;

/// An operation on classes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term {
    pub head: Head,
    pub inputs: SmallVec<[Id; 3]>,
}

/// What a term computes. Elementwise operations have the shape of their inputs, so that patterns need not name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Head {
    Unary(UnaryOp),
    Binary(BinaryOp),
    Select,
    /// Any other primitive with its type: a place among [`Facts::forms`].
    Form(u32),
    /// In the right side of patterns only: this number (an f64's bits) in the shape of the whole.
    Literal(u64),
}

/// What the classes of one region share.
#[derive(Debug, Default)]
pub struct Facts {
    forms: IndexSet<(Op, Ty)>,
}

/// What is known of every term of a class.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    pub ty: Ty,
    /// The same value everywhere.
    pub constant: Option<Scalar>,
}

impl Term {
    pub fn new(head: Head, inputs: &[Id]) -> Term {
        Term { head, inputs: inputs.into() }
    }
}

impl Language for Term {
    type Discriminant = Head;

    fn discriminant(&self) -> Head {
        self.head
    }

    fn matches(&self, other: &Term) -> bool {
        self.head == other.head && self.inputs.len() == other.inputs.len()
    }

    fn children(&self) -> &[Id] {
        &self.inputs
    }

    fn children_mut(&mut self) -> &mut [Id] {
        &mut self.inputs
    }
}

impl FromOp for Term {
    type Error = String;

    fn from_op(op: &str, inputs: Vec<Id>) -> Result<Term, String> {
        let head = match (op, inputs.len()) {
            ("neg", 1) => Head::Unary(UnaryOp::Neg),
            ("sqrt", 1) => Head::Unary(UnaryOp::Sqrt),
            ("+", 2) => Head::Binary(BinaryOp::Add),
            ("-", 2) => Head::Binary(BinaryOp::Sub),
            ("*", 2) => Head::Binary(BinaryOp::Mul),
            ("/", 2) => Head::Binary(BinaryOp::Div),
            (number, 0) => Head::Literal(number.parse::<f64>().map_err(|e| format!("{number}: {e}"))?.to_bits()),
            _ => return Err(format!("no operation {op} of {}", inputs.len())),
        };
        Ok(Term::new(head, &inputs))
    }
}

impl Facts {
    /// The primitive and the type that a head stands for, if it names them.
    pub fn form(&self, head: Head) -> Option<&(Op, Ty)> {
        match head {
            Head::Form(i) => self.forms.get_index(i as usize),
            _ => None,
        }
    }

    /// The primitive of a term of this type.
    pub fn operation(&self, term: &Term, ty: &Ty) -> (Op, Ty) {
        let op = match term.head {
            Head::Unary(op) => Op::Unary(op),
            Head::Binary(op) => Op::Binary(op),
            Head::Select => Op::Select,
            Head::Literal(bits) => Op::Const(Scalar::new(ty.dtype, f64::from_bits(bits))),
            Head::Form(_) => return self.form(term.head).cloned().unwrap_or((Op::Stop, ty.clone())),
        };
        (op, ty.clone())
    }

    fn head(&mut self, op: Op, ty: Ty) -> Head {
        Head::Form(self.forms.insert_full((op, ty)).0 as u32)
    }
}

/// The term of a primitive.
pub fn add(terms: &mut Terms, op: &Op, ty: &Ty, inputs: &[Id]) -> Id {
    let head = match op {
        Op::Unary(op) => Head::Unary(*op),
        Op::Binary(op) => Head::Binary(*op),
        Op::Select => Head::Select,
        op => terms.analysis.head(op.clone(), ty.clone()),
    };
    terms.add(Term::new(head, inputs))
}

impl Analysis<Term> for Facts {
    type Data = Fact;

    fn make(terms: &mut Terms, term: &Term, _: Id) -> Fact {
        let input = |i: usize| &terms[term.inputs[i]].data;
        match term.head {
            Head::Unary(op) => {
                let Fact { ty, constant } = input(0).clone();
                let dtype = if op == UnaryOp::IsFinite { DType::Bool } else { ty.dtype };
                Fact { ty: Ty { dtype, ..ty }, constant: constant.and_then(|x| scalar::unary(op, x)) }
            }
            Head::Binary(op) => {
                let (a, b) = (input(0), input(1));
                debug_assert_eq!(a.ty, b.ty, "operands of {op:?}");
                let dtype = if op.is_comparison() { DType::Bool } else { a.ty.dtype };
                let constant = a.constant.zip(b.constant).and_then(|(x, y)| scalar::binary(op, x, y));
                Fact { ty: Ty { dtype, ..a.ty.clone() }, constant }
            }
            Head::Select => Fact { ty: input(1).ty.clone(), constant: None },
            Head::Form(i) => {
                let Some((op, ty)) = terms.analysis.forms.get_index(i as usize) else {
                    return Fact { ty: Ty::new(DType::F64, &[]), constant: None };
                };
                let constant = match op {
                    Op::Const(value) => Some(*value),
                    Op::Reshape | Op::Permute { .. } | Op::Broadcast { .. } | Op::Slice { .. } => input(0).constant,
                    _ => None,
                };
                Fact { ty: ty.clone(), constant }
            }
            // Never added: patterns' right sides become constants first.
            Head::Literal(_) => Fact { ty: Ty::new(DType::F64, &[]), constant: None },
        }
    }

    fn merge(&mut self, a: &mut Fact, b: Fact) -> DidMerge {
        // The cheapest check of soundness that there is.
        debug_assert_eq!(a.ty, b.ty, "a rule changed a type");
        let (known, other) = (a.constant.is_some(), b.constant.is_some());
        if !known {
            a.constant = b.constant;
        }
        DidMerge(!known && other, known && !other)
    }

    fn modify(terms: &mut Terms, id: Id) {
        let Fact { ty, constant: Some(value) } = terms[id].data.clone() else { return };
        let literal = add(terms, &Op::Const(value), &ty, &[]);
        terms.union(id, literal);
    }
}
