//! Contractions and convolutions as launches.

use super::cut::Cut;
use super::strided::{self, View};
use crate::graph::tensor::strides;
use crate::graph::{Graph, NodeId, Op};
use fgc_program::{BatchDim, BufferId, Contract, Conv, ConvRole, Operand};

/// A contraction's axes as (extent, strides in a, b, c); a stride of 0 where an operand lacks the axis.
type Axes = Vec<(usize, [isize; 3])>;

/// A matrix product in elements of two views and a row-major result.
#[derive(Clone, Debug, PartialEq)]
struct Product {
    batch: Axes,
    m: (usize, [isize; 3]),
    n: (usize, [isize; 3]),
    k: (usize, [isize; 3]),
}

/// Neighbours that are one axis in all operands become one.
fn merge(axes: impl IntoIterator<Item = (usize, [isize; 3])>) -> Axes {
    let mut runs: Axes = Vec::new();
    for (extent, stride) in axes.into_iter().filter(|(extent, _)| *extent != 1) {
        match runs.last_mut() {
            Some(last) if (0..3).all(|i| last.1[i] == stride[i] * extent as isize) => *last = (last.0 * extent, stride),
            _ => runs.push((extent, stride)),
        }
    }
    runs
}

/// The longest axis of `axes`, which is removed; extent 1 if there is none.
fn take_longest(axes: &mut Axes) -> (usize, [isize; 3]) {
    let longest = (0..axes.len()).max_by_key(|&i| axes[i].0);
    longest.map_or((1, [0; 3]), |i| axes.remove(i))
}

fn product(graph: &Graph, id: NodeId, a: &[isize], b: &[isize]) -> Option<Product> {
    let node = graph.node(id);
    let Op::Contract { a_batch, b_batch, a_sum, b_sum } = &node.op else { return None };
    let (a_shape, b_shape) = (graph.shape(node.inputs[0]), graph.shape(node.inputs[1]));
    let c: Vec<isize> = strides(&node.ty.shape).into_iter().map(|s| s as isize).collect();
    let free = |shape: &[usize], batch: &[usize], sum: &[usize]| -> Vec<usize> {
        (0..shape.len()).filter(|axis| !batch.contains(axis) && !sum.contains(axis)).collect()
    };
    let (a_free, b_free) = (free(a_shape, a_batch, a_sum), free(b_shape, b_batch, b_sum));
    let after = |at: usize, list: &[usize]| at + list.len();
    let (rows, cols) = (a_batch.len(), after(a_batch.len(), &a_free));
    let batch = a_batch.iter().zip(b_batch).zip(&c).map(|((&i, &j), &c)| (a_shape[i], [a[i], b[j], c]));
    let mut batch = merge(batch);
    let mut m = merge(a_free.iter().zip(&c[rows..]).map(|(&i, &c)| (a_shape[i], [a[i], 0, c])));
    let mut n = merge(b_free.iter().zip(&c[cols..]).map(|(&j, &c)| (b_shape[j], [0, b[j], c])));
    let mut k: Axes = a_sum.iter().zip(b_sum).map(|(&i, &j)| (a_shape[i], [a[i], b[j], 0])).collect();
    // The order of summation is free.
    k.sort_by_key(|(_, stride)| std::cmp::Reverse((stride[0], stride[1])));
    let mut k = merge(k);
    if k.len() > 1 {
        return None;
    }
    let (m, n) = {
        let longest = (take_longest(&mut m), take_longest(&mut n));
        batch.extend(m);
        batch.extend(n);
        longest
    };
    Some(Product { batch, m, n, k: take_longest(&mut k) })
}

fn dense(shape: &[usize]) -> Vec<isize> {
    strides(shape).into_iter().map(|s| s as isize).collect()
}

/// Whether the contraction is a product of its operands if both lie row-major.
pub(super) fn fits_dense(graph: &Graph, id: NodeId) -> bool {
    let [a, b] = [0, 1].map(|i| dense(graph.shape(graph.node(id).inputs[i])));
    product(graph, id, &a, &b).is_some()
}

/// What must be stored for the contraction to read its operands: the nodes they view, or else they themselves (before they
/// are reshaped: elements lie the same, in loops as long as what they come from has).
pub(super) fn operands(graph: &Graph, id: NodeId) -> [NodeId; 2] {
    let inputs = [0, 1].map(|i| graph.node(id).inputs[i]);
    let own = inputs.map(|operand| strided::root(graph, operand, |op| matches!(op, Op::Reshape | Op::Stop)));
    let roots = inputs.map(|operand| strided::root(graph, operand, strided::is_view));
    for choice in [[roots[0], roots[1]], [roots[0], own[1]], [own[0], roots[1]]] {
        let [a, b] = [0, 1].map(|i| strided::view(graph, inputs[i], |id| id == choice[i]));
        if let (Some(a), Some(b)) = (a, b)
            && product(graph, id, &a.strides, &b.strides).is_some_and(|p| worthwhile(&p))
        {
            return choice;
        }
    }
    own
}

/// Whether the matrices are large enough, or the product small: many tiny products are worse than a copy.
fn worthwhile(p: &Product) -> bool {
    let extra: usize = p.batch.iter().filter(|(_, s)| s[0] == 0 || s[1] == 0).map(|(n, _)| *n).product();
    extra == 1 || p.m.0.min(p.n.0) >= 32
}

pub(super) fn contract(graph: &Graph, cut: &Cut, id: NodeId, buffer: &impl Fn(NodeId) -> BufferId) -> Option<Contract> {
    let [a, b] = views(graph, cut, id)?;
    let p = product(graph, id, &a.strides, &b.strides)?;
    let operand = |view: &View, i: usize, rows: (usize, [isize; 3]), cols: (usize, [isize; 3])| Operand {
        buffer: buffer(view.base),
        offset: view.offset,
        row: rows.1[i],
        col: cols.1[i],
    };
    let batch = p.batch.iter().map(|&(extent, [a, b, c])| BatchDim { extent, a, b, c }).collect();
    Some(Contract {
        dtype: graph.dtype(id),
        m: p.m.0,
        n: p.n.0,
        k: p.k.0,
        batch,
        a: operand(&a, 0, p.m, p.k),
        b: operand(&b, 1, p.k, p.n),
        c: Operand { buffer: buffer(id), offset: 0, row: p.m.1[2], col: p.n.1[2] },
    })
}

/// The operands as views of stored nodes; of several choices one that makes a product.
fn views(graph: &Graph, cut: &Cut, id: NodeId) -> Option<[View; 2]> {
    let all = [0, 1].map(|i| {
        let operand = graph.node(id).inputs[i];
        let mut bases = vec![operand];
        let mut at = operand;
        while strided::is_view(graph.op(at)) {
            at = graph.node(at).inputs[0];
            bases.push(at);
        }
        let stored = bases.into_iter().filter(|&base| cut.is_stored(base));
        stored.filter_map(|base| strided::view(graph, operand, |id| id == base)).collect::<Vec<View>>()
    });
    let pairs = all[0].iter().flat_map(|a| all[1].iter().map(move |b| [a, b]));
    let fitting = pairs.filter_map(|[a, b]| Some((product(graph, id, &a.strides, &b.strides)?, [a, b])));
    // The one with the fewest matrices, and of those the first.
    let best = fitting.min_by_key(|(p, _)| p.batch.iter().map(|(extent, _)| *extent).product::<usize>());
    best.map(|(_, views)| views.map(View::clone))
}

/// The stored nodes a product reads.
pub(super) fn reads(graph: &Graph, cut: &Cut, id: NodeId) -> Vec<NodeId> {
    match graph.op(id) {
        Op::Contract { .. } => views(graph, cut, id).into_iter().flatten().map(|view| view.base).collect(),
        _ => graph.node(id).inputs.iter().filter_map(|&input| cut.storage(graph, input)).collect(),
    }
}

pub(super) fn conv(graph: &Graph, cut: &Cut, id: NodeId, buffer: &impl Fn(NodeId) -> BufferId) -> Option<Conv> {
    let node = graph.node(id);
    let Op::Conv { role, stride, pad } = node.op else { return None };
    let [x, w, y] = match role {
        ConvRole::Forward => [node.inputs[0], node.inputs[1], id],
        ConvRole::Input => [id, node.inputs[0], node.inputs[1]],
        ConvRole::Weight => [node.inputs[0], id, node.inputs[1]],
    };
    let lies = |of: NodeId| cut.storage(graph, of).map(buffer);
    let (xs, ws) = (graph.shape(x), graph.shape(w));
    Some(Conv {
        role,
        dtype: node.ty.dtype,
        batch: xs[0],
        height: xs[1],
        width: xs[2],
        channels: xs[3],
        filters: ws[3],
        kernel: [ws[0], ws[1]],
        stride,
        pad,
        x: lies(x)?,
        w: lies(w)?,
        y: lies(y)?,
        turned: false,
    })
}

#[cfg(test)]
mod tests {
    use super::super::strided::merged;
    use super::*;

    #[test]
    fn runs_of_axes_merge_across_operands() {
        assert_eq!(merge([(2, [12, 0, 6]), (3, [4, 0, 2]), (1, [7, 7, 7])]), [(6, [4, 0, 2])]);
        assert_eq!(merge([(2, [12, 0, 6]), (3, [5, 0, 2])]).len(), 2);
        assert_eq!(merged([(4, 6), (3, 2), (2, 1)]), [(24, 1)]);
    }
}
