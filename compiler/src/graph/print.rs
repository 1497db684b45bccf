//! Graphs as text: one line a node, in the order of evaluation.

use super::build::Graph;
use super::op::*;
use super::traverse::needed;
use std::collections::BTreeSet;
use std::fmt::Write;

/// What `outputs` need, one line a node, then the outputs; before it the functions that are called.
pub fn print(graph: &Graph, outputs: &[NodeId]) -> String {
    let mut text = String::new();
    for func in called(graph, outputs) {
        let function = graph.func(func);
        let args: Vec<String> = function.args.iter().map(|&arg| format!("%{}: {}", arg.0, graph.ty(arg))).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "fn {}.{}({})", function.name, func.0, args.join(", "));
        block(graph, &function.outputs, &mut text);
        text.push('\n');
    }
    block(graph, outputs, &mut text);
    text
}

/// The functions that `outputs` need, themselves and through each other, in the order of their making.
fn called(graph: &Graph, outputs: &[NodeId]) -> BTreeSet<FuncId> {
    let mut found = BTreeSet::new();
    let mut todo = vec![outputs.to_vec()];
    while let Some(outputs) = todo.pop() {
        for id in needed(graph, &outputs) {
            if let Op::Call { func, .. } | Op::Jvp { func, .. } = *graph.op(id)
                && found.insert(func)
            {
                todo.push(graph.func(func).outputs.clone());
            }
        }
    }
    found
}

fn block(graph: &Graph, outputs: &[NodeId], text: &mut String) {
    for id in needed(graph, outputs) {
        let Node { op, inputs, ty } = graph.node(id);
        if matches!(op, Op::Argument { .. }) {
            continue;
        }
        let _ = write!(text, "  %{} = {}", id.0, describe(graph, op));
        for input in inputs {
            let _ = write!(text, " %{}", input.0);
        }
        let _ = writeln!(text, " : {ty}");
    }
    let outputs: Vec<String> = outputs.iter().map(|id| format!("%{}", id.0)).collect();
    let _ = writeln!(text, "  return {}", outputs.join(" "));
}

fn describe(graph: &Graph, op: &Op) -> String {
    let lower = |name: &dyn std::fmt::Debug| format!("{name:?}").to_lowercase();
    match op {
        Op::Const(value) => format!("const {value}"),
        Op::Table(values) => match &values[..] {
            [first, .., last] => format!("table {first} .. {last}"),
            _ => "table".into(),
        },
        Op::Source(source) => format!("source {source:?}"),
        Op::Iota { axis } => format!("iota axis {axis}"),
        Op::Unary(op) => lower(op),
        Op::Binary(op) => lower(op),
        Op::Select => "select".into(),
        Op::Cast(dtype) => format!("cast {dtype}"),
        Op::Reduce { op, axes } => format!("{} over {axes:?}", lower(op)),
        Op::Reshape => "reshape".into(),
        Op::Permute { order } => format!("permute {order:?}"),
        Op::Broadcast { axes } => format!("broadcast to {axes:?}"),
        Op::Slice { axis, start, step } => format!("slice axis {axis} from {start} step {step}"),
        Op::Pad { axis, before, step } => format!("pad axis {axis} before {before} step {step}"),
        Op::Concat { axis } => format!("concat axis {axis}"),
        Op::Contract { a_batch, b_batch, a_sum, b_sum } => {
            format!("contract batch {a_batch:?} {b_batch:?} sum {a_sum:?} {b_sum:?}")
        }
        Op::Conv { role, stride, pad } => format!("conv {} stride {stride:?} pad {pad:?}", lower(role)),
        Op::Gather { axis } => format!("gather axis {axis}"),
        Op::ScatterAdd { axis } => format!("scatter_add axis {axis}"),
        Op::Stop => "stop".into(),
        Op::Call { func, output } => format!("call {}.{} output {output}", graph.func(*func).name, func.0),
        Op::Jvp { func, output } => format!("jvp {}.{} output {output}", graph.func(*func).name, func.0),
        Op::Extern { kernel } => format!("extern {}", graph.external(*kernel).name),
        Op::Along { kernel } => format!("derivative of extern {}", graph.external(*kernel).name),
        Op::Argument { func, index } => format!("argument {index} of {}", func.0),
    }
}
