//! Numbers that are known before a plan runs: computed from drawn or counted inputs alone, so that the host can decide
//! by them which launches run.

use crate::graph::{Graph, NodeId, Op, Source};
use fgc_program::{Expr, Index, Known, Scalar};

/// Operations of a known number, at most: it is worked out again at every step.
const SIZE: usize = 200;

/// The only element of `node` as an expression over inputs, if it is one; `input` numbers the sources.
pub(super) fn known(graph: &Graph, node: NodeId, input: &mut impl FnMut(NodeId) -> Option<usize>) -> Option<Known> {
    if graph.ty(node).len() != 1 {
        return None;
    }
    let mut left = SIZE;
    element(graph, node, &vec![0; graph.shape(node).len()], input, &mut left)
}

/// The element of `node` at `at`.
fn element(
    graph: &Graph,
    node: NodeId,
    at: &[usize],
    input: &mut impl FnMut(NodeId) -> Option<usize>,
    left: &mut usize,
) -> Option<Known> {
    *left = left.checked_sub(1)?;
    let inputs = &graph.node(node).inputs;
    let shape = graph.shape(node);
    let mut of = |i: usize, at: &[usize]| element(graph, inputs[i], at, input, left);
    Some(match graph.op(node) {
        Op::Const(value) => Expr::Const(*value),
        Op::Table(values) => Expr::Const(*values.get(flat(shape, at))?),
        Op::Iota { axis } => Expr::Const(Scalar::I64(at[*axis] as i64)),
        Op::Source(Source::Draw { .. } | Source::Pin { .. } | Source::Row { .. } | Source::Iteration) => {
            Expr::Load { buffer: input(node)?, index: Index::constant(flat(shape, at) as i64) }
        }
        Op::Unary(op) => Expr::Unary(*op, of(0, at)?.into()),
        Op::Binary(op) => Expr::Binary(*op, of(0, at)?.into(), of(1, at)?.into()),
        Op::Select => Expr::Select { cond: of(0, at)?.into(), then: of(1, at)?.into(), otherwise: of(2, at)?.into() },
        Op::Cast(dtype) => Expr::Cast(*dtype, of(0, at)?.into()),
        Op::Stop => of(0, at)?,
        Op::Reshape => {
            let inner = graph.shape(inputs[0]);
            let mut rest = flat(shape, at);
            let mut to = vec![0; inner.len()];
            for (place, extent) in to.iter_mut().zip(inner).rev() {
                *place = rest % extent;
                rest /= extent;
            }
            of(0, &to)?
        }
        Op::Permute { order } => {
            let mut to = vec![0; at.len()];
            for (place, from) in at.iter().zip(order) {
                to[*from] = *place;
            }
            of(0, &to)?
        }
        Op::Broadcast { axes } => {
            let inner = graph.shape(inputs[0]);
            let to = axes.iter().zip(inner).map(|(&axis, &extent)| if extent == 1 { 0 } else { at[axis] });
            of(0, &to.collect::<Vec<usize>>())?
        }
        Op::Slice { axis, start, step } => {
            let mut to = at.to_vec();
            to[*axis] = start + at[*axis] * step;
            of(0, &to)?
        }
        Op::Gather { axis } => {
            let rank = graph.shape(inputs[1]).len();
            let Expr::Const(Scalar::I64(place)) = of(1, &at[*axis..*axis + rank])? else { return None };
            let last = graph.shape(inputs[0])[*axis].checked_sub(1)?;
            let mut to = at[..*axis].to_vec();
            to.push((place.max(0) as usize).min(last));
            to.extend(&at[*axis + rank..]);
            of(0, &to)?
        }
        _ => return None,
    })
}

/// The row-major position of an element.
fn flat(shape: &[usize], at: &[usize]) -> usize {
    shape.iter().zip(at).fold(0, |sum, (extent, place)| sum * extent + place)
}
