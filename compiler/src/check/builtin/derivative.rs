//! Derivatives as expressions.

use super::super::call::Args;
use super::super::elaborate::{Elaborator, Result};
use super::super::value::*;
use super::Builtin;
use super::lists::invoke;
use fgc_program::DType;

pub const TABLE: &[Builtin] = &[Builtin {
    name: "jvp",
    signature: "jvp(f, [x, …], [dx, …])",
    doc: "The derivative of f at (x, …) along (dx, …), of the shape of f's result; f may return a record or list.",
    run: jvp,
}];

fn jvp(e: &mut Elaborator, args: Args) -> Result<Value> {
    let signature = "jvp(f, [x, …], [dx, …])";
    let [f, _, _] = e.fixed(&args, signature, false)?;
    let points = e.want_list(&args, 1, signature)?;
    let tangents = e.want_list(&args, 2, signature)?;
    if points.len() != tangents.len() {
        let message = format!("{} arguments and {} tangents", points.len(), tangents.len());
        return Err(e.error("FG0216", message, args.place, "as many tangents as arguments are wanted"));
    }
    let (mut inputs, mut along, mut formal) = (Vec::new(), Vec::new(), Vec::new());
    for (x, dx) in points.iter().zip(&tangents) {
        let x = e.tensor_from(x, DType::F64, args.place)?;
        let dtype = e.dtype_of(&x);
        let dx = e.tensor_from(dx, dtype, args.place)?;
        let (axes, shape) = (x.axes.clone(), e.shape_of(&x));
        if let Some(extra) = dx.axes.iter().find(|a| !axes.contains(a)) {
            let message = format!("the tangent has an axis {extra} that its argument lacks");
            return Err(e.error("FG0201", message, args.place, ""));
        }
        e.common_axes(&[&x, &dx], args.place)?;
        let dx = e.to_axes(&dx, &axes, &shape);
        along.push(e.graph.cast(dx, dtype));
        inputs.push(x.node);
        formal.push(x);
    }
    let types: Vec<_> = inputs.iter().map(|&n| e.graph.ty(n).clone()).collect();
    let func = e.graph.new_func("jvp", &types);
    let arguments = e.graph.func(func).args.clone();
    let values = formal.iter().zip(arguments).map(|(x, node)| Value::Tensor(Tensor { node, ..x.clone() })).collect();
    let result = invoke(e, &f, values, &args)?;
    let mut outputs = Vec::new();
    result.map_tensors(&mut |t| {
        outputs.push(t.node);
        t.clone()
    });
    e.graph.set_outputs(func, outputs);
    let mut output = 0;
    let mut made = Vec::new();
    let derivative = result.map_tensors(&mut |t| {
        let node = if e.graph.dtype(t.node).is_float() {
            e.graph.jvp(func, &inputs, &along, output)
        } else {
            let ty = e.graph.ty(t.node).clone();
            e.graph.zeros(&ty)
        };
        output += 1;
        made.push(node);
        Tensor { node, axes: t.axes.clone(), clock: None }
    });
    for node in made {
        e.note(node, args.place);
    }
    Ok(derivative)
}
