//! Numbers that are known before a plan runs: their dtypes, and what they are made of.

use crate::{BinaryOp, DType, Expr, Known, Program, UnaryOp};

/// The dtype of a known number; or why it is none.
pub fn dtype(program: &Program, known: &Known) -> Result<DType, String> {
    match known {
        Expr::Const(value) => Ok(value.dtype()),
        Expr::Load { buffer, index } => {
            let input = program.inputs.get(*buffer).ok_or(format!("there is no input {buffer}"))?;
            let len: usize = input.shape.iter().product();
            match index.as_constant().and_then(|at| usize::try_from(at).ok()) {
                Some(at) if at < len => Ok(input.dtype),
                _ => Err(format!("no such element of input `{}`: {index}", input.name)),
            }
        }
        Expr::Unary(op, x) => {
            let x = dtype(program, x)?;
            Ok(if *op == UnaryOp::IsFinite { DType::Bool } else { x })
        }
        Expr::Binary(op, a, b) => match (dtype(program, a)?, dtype(program, b)?) {
            (a, b) if a != b => Err(format!("{a} and {b} in one operation")),
            (a, _) => Ok(if is_condition(*op) { DType::Bool } else { a }),
        },
        Expr::Select { cond, then, otherwise } => {
            match (dtype(program, cond)?, dtype(program, then)?, dtype(program, otherwise)?) {
                (DType::Bool, a, b) if a == b => Ok(a),
                _ => Err("an ill-typed choice".into()),
            }
        }
        Expr::Cast(dtype, x) => self::dtype(program, x).map(|_| *dtype),
        Expr::Reg(_) | Expr::Index(_) | Expr::LoadAt { .. } => Err(format!("not known before the plan runs: {known}")),
    }
}

/// The inputs that it is made of.
pub fn inputs(known: &Known, out: &mut Vec<usize>) {
    match known {
        Expr::Load { buffer, .. } => out.push(*buffer),
        Expr::Unary(_, x) | Expr::Cast(_, x) => inputs(x, out),
        Expr::Binary(_, a, b) => [a, b].into_iter().for_each(|x| inputs(x, out)),
        Expr::Select { cond, then, otherwise } => [cond, then, otherwise].into_iter().for_each(|x| inputs(x, out)),
        Expr::Const(_) | Expr::Reg(_) | Expr::Index(_) | Expr::LoadAt { .. } => {}
    }
}

/// For each input whether a number or a condition of some plan is made of it.
pub fn asked(program: &Program) -> Vec<bool> {
    let numbers = program.inputs.iter().filter_map(|input| input.number.as_ref());
    let conditions = program.plans.iter().flat_map(|plan| {
        let reads = plan.inputs.iter().filter_map(|read| read.when.as_ref());
        reads.chain(plan.guards.iter().map(|guard| &guard.when))
    });
    let mut found = Vec::new();
    numbers.chain(conditions).for_each(|known| inputs(known, &mut found));
    let mut asked = vec![false; program.inputs.len()];
    found.into_iter().for_each(|input| asked[input] = true);
    asked
}

fn is_condition(op: BinaryOp) -> bool {
    op.is_comparison() || matches!(op, BinaryOp::And | BinaryOp::Or)
}
