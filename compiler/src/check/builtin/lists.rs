//! Static lists and numbers: what sizes, names and schedules are computed with.

use super::super::call::Args;
use super::super::elaborate::{Elaborator, Result};
use super::super::operator::same;
use super::super::value::*;
use super::Builtin;

pub const TABLE: &[Builtin] = &[
    Builtin {
        name: "len",
        signature: "len(list)",
        doc: "Entries of a list.",
        run: |e, args| Ok(Value::Int(e.want_list(&args, 0, "len(list)")?.len() as i64)),
    },
    Builtin {
        name: "map",
        signature: "map(f, list)",
        doc: "The list of f's values.",
        run: |e, args| {
            let f = callable(e, &args, "map(f, list)")?;
            let list = e.want_list(&args, 1, "map(f, list)")?;
            e.spend(list.len(), args.place)?;
            let mut out = Vec::with_capacity(list.len());
            for v in list {
                out.push(invoke(e, &f, vec![v], &args)?);
            }
            Ok(Value::list(out))
        },
    },
    Builtin {
        name: "reduce",
        signature: "reduce(f, list, start)",
        doc: "f(…f(f(start, first), second)…, last).",
        run: |e, args| {
            let f = callable(e, &args, "reduce(f, list, start)")?;
            let list = e.want_list(&args, 1, "reduce(f, list, start)")?;
            e.spend(list.len(), args.place)?;
            let [_, _, mut value] = e.fixed(&args, "reduce(f, list, start)", false)?;
            for v in list {
                value = invoke(e, &f, vec![value, v], &args)?;
            }
            Ok(value)
        },
    },
    Builtin {
        name: "contains",
        signature: "contains(list, value)",
        doc: "Whether a list has an entry equal to the value.",
        run: |e, args| {
            let [_, value] = e.fixed(&args, "contains(list, value)", false)?;
            let list = e.want_list(&args, 0, "contains(list, value)")?;
            Ok(Value::Bool(list.iter().any(|v| same(v, &value))))
        },
    },
    Builtin {
        name: "pairs",
        signature: "pairs(list)",
        doc: "Each entry with the next: [[a, b], [b, c]].",
        run: |e, args| {
            let list = e.want_list(&args, 0, "pairs(list)")?;
            e.spend(list.len(), args.place)?;
            Ok(Value::list(list.windows(2).map(|w| Value::list(w.to_vec())).collect()))
        },
    },
    Builtin {
        name: "linspace",
        signature: "linspace(a, b, n)",
        doc: "n numbers from a to b at equal distances.",
        run: |e, args| {
            let [a, b, _] = e.fixed(&args, "linspace(a, b, n)", false)?;
            let n = e.want_int(&args, 2, "linspace(a, b, n)")?;
            let (Some(a), Some(b)) = (a.number(), b.number()) else {
                return Err(e.error("FG0209", "`linspace(a, b, n)` needs numbers", args.place, ""));
            };
            if !(1..=1 << 20).contains(&n) {
                return Err(e.error("FG0207", format!("a list of {n} numbers"), args.place, ""));
            }
            e.spend(n as usize, args.place)?;
            let last = (n - 1).max(1) as f64;
            Ok(Value::list((0..n).map(|i| Value::Float((a * (last - i as f64) + b * i as f64) / last)).collect()))
        },
    },
    Builtin {
        name: "cumprod",
        signature: "cumprod(list)",
        doc: "Products of the first entries: [a, a·b, a·b·c].",
        run: |e, args| {
            let list = e.want_list(&args, 0, "cumprod(list)")?;
            e.spend(list.len(), args.place)?;
            let mut product = 1.0;
            let mut out = Vec::new();
            for v in list {
                let Some(x) = v.number() else {
                    return Err(e.error("FG0209", "`cumprod` needs numbers", args.place, ""));
                };
                product *= x;
                out.push(Value::Float(product));
            }
            Ok(Value::list(out))
        },
    },
    Builtin {
        name: "extend",
        signature: "extend(record, fields)",
        doc: "A record with the fields of both, the second's where both have one.",
        run: |e, args| {
            let [base, more] = e.fixed(&args, "extend(record, fields)", false)?;
            let (Value::Record(base), Value::Record(more)) = (&base, &more) else {
                return Err(e.error("FG0209", "`extend(record, fields)` needs two records", args.place, ""));
            };
            let mut fields = (**base).clone();
            fields.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
            Ok(Value::Record(fields.into()))
        },
    },
    Builtin {
        name: "checked",
        signature: "checked(value, condition, message)",
        doc: "value, if the condition holds; else the message is reported as a mistake of the caller.",
        run: |e, args| {
            let [value, condition, message] = e.fixed(&args, "checked(value, condition, message)", false)?;
            match (condition, message) {
                (Value::Bool(true), _) => Ok(value),
                (Value::Bool(false), Value::Str(message)) => {
                    Err(e.error("FG0229", message.to_string(), args.place, ""))
                }
                (condition, _) => {
                    let shown = e.show(&condition);
                    let message = format!("`checked` needs a static truth value and a string, found {shown}");
                    Err(e.error("FG0209", message, args.place, &shown))
                }
            }
        },
    },
    Builtin {
        name: "schedule_of",
        signature: "schedule_of(t)",
        doc: "The schedule a time is of.",
        run: |e, args| {
            let [v] = e.fixed(&args, "schedule_of(t)", false)?;
            match &v {
                Value::Tensor(Tensor { clock: Some(s), .. }) => Ok(Value::Schedule(*s)),
                v => {
                    let shown = e.show(v);
                    Err(e.error("FG0302", format!("`schedule_of(t)` needs a time, found {shown}"), args.place, &shown))
                }
            }
        },
    },
    Builtin {
        name: "words",
        signature: "words(text, separator)",
        doc: "The parts of a string between separators; those that are numbers as numbers.",
        run: |e, args| {
            let [text, separator] = e.fixed(&args, "words(text, separator)", false)?;
            let (Value::Str(text), Value::Str(separator)) = (&text, &separator) else {
                return Err(e.error("FG0209", "`words(text, separator)` needs strings", args.place, ""));
            };
            let part = |p: &str| p.parse().map_or_else(|_| Value::str(p), Value::Float);
            Ok(Value::list(text.split(&**separator).map(part).collect()))
        },
    },
    Builtin {
        name: "int",
        signature: "int(x)",
        doc: "The whole part of a number.",
        run: |e, args| {
            let [v] = e.fixed(&args, "int(x)", false)?;
            match v.number() {
                Some(x) if x.is_finite() => Ok(Value::Int(x as i64)),
                _ => {
                    let shown = e.show(&v);
                    Err(e.error_help(
                        "FG0209",
                        format!("`int(x)` needs a number, found {shown}"),
                        args.place,
                        &shown,
                        "tensors: `i64(x)`",
                    ))
                }
            }
        },
    },
    Builtin {
        name: "uniform_init",
        signature: "uniform_init(bound)",
        doc: "Initial values of a parameter, uniform in ±bound.",
        run: |e, args| {
            let bound = init_number(e, &args, "uniform_init(bound)")?;
            Ok(Value::Init(fgc_program::Init::Uniform { bound }))
        },
    },
    Builtin {
        name: "normal_init",
        signature: "normal_init(std)",
        doc: "Initial values of a parameter, normal with this standard deviation.",
        run: |e, args| {
            let std = init_number(e, &args, "normal_init(std)")?;
            Ok(Value::Init(fgc_program::Init::Normal { std }))
        },
    },
];

fn init_number(e: &mut Elaborator, args: &Args, signature: &str) -> Result<f64> {
    let [v] = e.fixed(args, signature, false)?;
    match v.number() {
        Some(x) => Ok(x),
        None => Err(e.error("FG0209", format!("`{signature}` needs a number"), args.place, "")),
    }
}

fn callable(e: &mut Elaborator, args: &Args, signature: &str) -> Result<Value> {
    match args.positional.first() {
        Some((f @ (Value::Function(_) | Value::Builtin(_) | Value::View(..) | Value::Network(_)), _)) => Ok(f.clone()),
        Some((Value::Error, _)) => Err(super::super::Reported),
        _ => Err(e.error("FG0215", format!("`{signature}` needs a function first"), args.place, "")),
    }
}

/// Calls `f` with these values.
pub fn invoke(e: &mut Elaborator, f: &Value, values: Vec<Value>, args: &Args) -> Result<Value> {
    let positional = values.into_iter().map(|v| (v, args.place)).collect();
    e.call(f, Args { positional, named: Vec::new(), over: None, place: args.place }, None)
}
