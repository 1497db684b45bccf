//! Laws to draw from, and what a draw makes.

use super::super::call::Args;
use super::super::elaborate::{Elaborator, Result};
use super::super::value::*;
use super::Builtin;
use super::lists::invoke;
use crate::diagnostic::Place;
use crate::graph::{NodeId, Source, Ty};
use fgc_program::{DType, Distribution};
use std::rc::Rc;

pub const TABLE: &[Builtin] = &[
    Builtin {
        name: "normal",
        signature: "normal(x)",
        doc: "Standard normal numbers with the axes of x (f32).",
        run: |e, args| {
            if let Some((Value::Axis(_), at)) = args.positional.first() {
                return Err(e.error_help(
                    "FG0202",
                    "`normal(x)` takes a tensor, whose axes the noise gets",
                    *at,
                    "an axis, no tensor",
                    "`draw eps ~ normal(x)` is noise shaped like the data",
                ));
            }
            if let Some((v, at)) = args.positional.first().filter(|(v, _)| v.number().is_some()) {
                let shown = e.show(v);
                let help = "standard normal noise shaped like x: `normal(x)`; scale and shift what was drawn";
                return Err(e.error_help(
                    "FG0202",
                    "`normal(x)` takes a tensor, whose axes the noise gets",
                    *at,
                    &shown,
                    help,
                ));
            }
            let t = e.want_tensor(&args, 0, "normal(x)")?;
            let shape = e.shape_of(&t);
            Ok(law(Distribution::Normal, t.axes, shape))
        },
    },
    Builtin {
        name: "uniform",
        signature: "uniform(AXIS, …)",
        doc: "Numbers uniform in [0, 1) (f64), one for each element of the axes; `uniform(x)`: the axes of x.",
        run: |e, args| {
            let (axes, shape) = axes_of(e, &args, 0)?;
            Ok(law(Distribution::Uniform, axes, shape))
        },
    },
    Builtin {
        name: "index",
        signature: "index(n, AXIS, …)",
        doc: "Whole numbers uniform in 0..n.",
        run: |e, args| {
            let n = e.want_int(&args, 0, "index(n, AXIS, …)")?;
            let (axes, shape) = axes_of(e, &args, 1)?;
            match usize::try_from(n) {
                Ok(n) if n > 0 => Ok(law(Distribution::Index { n }, axes, shape)),
                _ => Err(e.error("FG0222", format!("`index` of {n} numbers"), args.place, "must be positive")),
            }
        },
    },
    Builtin {
        name: "permutation",
        signature: "permutation(AXIS)",
        doc: "The whole numbers below the axis's extent in random order.",
        run: |e, args| {
            let (axes, shape) = axes_of(e, &args, 0)?;
            if axes.len() != 1 {
                return Err(e.error("FG0216", "`permutation` takes one axis", args.place, ""));
            }
            Ok(law(Distribution::Permutation, axes, shape))
        },
    },
    Builtin {
        name: "transform",
        signature: "transform(law, f)",
        doc: "f of what the law draws.",
        run: |e, args| {
            let [base, f] = e.fixed(&args, "transform(law, f)", false)?;
            let Value::Law(base) = base else {
                return Err(e.error("FG0401", "`transform` needs a law first", args.place, ""));
            };
            let transforms = base.transforms.iter().cloned().chain([f]).collect();
            Ok(Value::Law(Rc::new(Law {
                base: base.base,
                axes: base.axes.clone(),
                shape: base.shape.clone(),
                transforms,
            })))
        },
    },
    Builtin {
        name: "widen",
        signature: "widen(law, AXIS, n)",
        doc: "The law drawn n times along a further axis.",
        run: |e, args| {
            let [base, _, _] = e.fixed(&args, "widen(law, AXIS, n)", false)?;
            let axis = e.want_axis(&args, 1, "widen(law, AXIS, n)")?;
            let n = e.want_int(&args, 2, "widen(law, AXIS, n)")?;
            let Value::Law(base) = base else {
                return Err(e.error("FG0401", "`widen` needs a law first", args.place, ""));
            };
            if n < 1 || base.axes.contains(&axis) {
                return Err(e.error(
                    "FG0222",
                    format!("{n} draws along axis {axis}"),
                    args.place,
                    "a new axis, at least one",
                ));
            }
            let axes = base.axes.iter().cloned().chain([axis]).collect();
            let shape = base.shape.iter().copied().chain([n as usize]).collect();
            Ok(Value::Law(Rc::new(Law { base: base.base, axes, shape, transforms: base.transforms.clone() })))
        },
    },
];

fn law(base: Distribution, axes: Vec<Axis>, shape: Vec<usize>) -> Value {
    Value::Law(Rc::new(Law { base, axes, shape, transforms: Vec::new() }))
}

/// Axes named one by one (their extents are the data's), or those of a tensor.
fn axes_of(e: &mut Elaborator, args: &Args, from: usize) -> Result<(Vec<Axis>, Vec<usize>)> {
    let (mut axes, mut shape) = (Vec::new(), Vec::new());
    for i in from..args.positional.len() {
        if let (Value::Tensor(t), _) = &args.positional[i] {
            axes.extend(t.axes.iter().cloned());
            let t = t.clone();
            shape.extend(e.shape_of(&t));
            continue;
        }
        let axis = e.want_axis(args, i, "uniform(AXIS, …)")?;
        match e.setup.extent(&axis) {
            Some(n) => {
                axes.push(axis);
                shape.push(n);
            }
            None => {
                return Err(e.error_help(
                    "FG0221",
                    format!("the data has no axis {axis}"),
                    args.positional[i].1,
                    "",
                    "`uniform(x)` takes the axes of a tensor x",
                ));
            }
        }
    }
    Ok((axes, shape))
}

impl Elaborator<'_> {
    /// The tensor of a draw: fresh random numbers put through the law, or, when the name is pinned, what was given.
    /// `number`: which of many draws of that name, an I64 scalar. `one_of_many`: whether it has a number, known or not.
    pub fn make_draw(
        &mut self,
        name: &str,
        number: Option<NodeId>,
        one_of_many: bool,
        law: &Law,
        place: Place,
    ) -> Result<Value> {
        let dtype = match law.base {
            Distribution::Normal => DType::F32,
            Distribution::Uniform => DType::F64,
            Distribution::Index { .. } | Distribution::Permutation => DType::I64,
        };
        let source = Source::Draw { name: name.into(), number, distribution: law.base };
        let node = self.graph.source(source, Ty::new(dtype, &law.shape));
        self.note(node, place);
        if let Some(sampler) = &mut self.sampler {
            sampler.drawn(node);
        }
        let base = Value::Tensor(Tensor { node, axes: law.axes.clone(), clock: None });
        let mut value = base;
        for f in &law.transforms {
            let args = Args { positional: Vec::new(), named: Vec::new(), over: None, place };
            value = invoke(self, f, vec![value], &args)?;
        }
        let Value::Tensor(t) = &value else {
            let shown = self.show(&value);
            return Err(self.error("FG0401", format!("a law must give a tensor, found {shown}"), place, ""));
        };
        let pins = &self.setup.pins;
        let pinned = match number {
            None => pins.get(name),
            Some(_) => pins.iter().find(|(pin, _)| is_numbered(pin, name)).map(|(_, pin)| pin),
        };
        let Some((dtype, shape)) = pinned else { return Ok(value) };
        let want = self.shape_of(t);
        // Which of many is needed is known only when it is, and chunks of a video differ in frames: the runtime compares
        // their shapes.
        if !one_of_many && *shape != want {
            let shown = self.show(&value);
            let message = format!("the pinned values of `{name}` have shape {shape:?}, and the draw is {shown}");
            return Err(self.error("FG0403", message, place, &shown));
        }
        let pin = self.graph.source(Source::Pin { name: name.into(), number }, Ty::new(*dtype, &want));
        let node = self.graph.cast(pin, self.graph.dtype(t.node));
        self.note(node, place);
        Ok(Value::Tensor(Tensor { node, ..t.clone() }))
    }
}

/// Whether `pin` is `name` with a number: `noise_3`.
fn is_numbered(pin: &str, name: &str) -> bool {
    let number = pin.strip_prefix(name).and_then(|rest| rest.strip_prefix('_'));
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}
