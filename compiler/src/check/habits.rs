//! What names of other frameworks are called here.

/// Names that stand alone, and what to write.
const NAMES: [(&[&str], &str); 15] = [
    (&["randn_like", "randn", "rand", "noise_like"], "what is random is drawn: `draw eps ~ normal(x)`"),
    (&["where"], "write `select(condition, a, b)`"),
    (&["clamp", "clip"], "write `min(max(x, low), high)`"),
    (&["detach", "no_grad", "stop_gradient", "stopgrad", "sg"], "gradients are stopped by `stop(…)`"),
    (&["cat", "stack", "concatenate"], "write `concat([a, b], C)`"),
    (&["einsum", "matmul"], "write `dot(a, b over C)`"),
    (
        &["torch", "np", "numpy", "jnp", "jax", "F", "nn"],
        "functions are called by their bare names: `exp(x)`, `mean(x over C)`",
    ),
    (&["range"], "ranges are written `0..n`"),
    (&["grad", "autograd"], "losses are differentiated by themselves; `jvp(f, [x], [dx])` is a derivative as a value"),
    (&["print"], "a value is shown by `metric name = …`"),
    (&["c_neg", "uncond", "null", "neg"], "the null condition is `none`: `net.x0(y, t, none)`"),
    (&["square"], "write `x ^ 2`"),
    (&["pow"], "write `x ^ n`"),
    (&["relu"], "write `max(x, 0)`"),
    (&["step", "global_step"], "the number of the iteration is `iteration`"),
];

/// Names after a dot.
const MEMBERS: [(&[&str], &str); 8] = [
    (&["detach", "stop_gradient"], "gradients are stopped by `stop(…)` around the value"),
    (
        &["forward", "apply", "denoise", "predict"],
        "a network is called by its name: `student(y, t, c)`, or a view of it: `student.x0(y, t, c)`",
    ),
    (&["sample", "generate"], "samplers are functions of a network: `sample few_step(student, x, c, s.t_list(2))`"),
    (&["shape"], "`size(x, C)` is an axis's extent"),
    (&["mean", "sum", "exp", "abs", "sqrt", "log"], "it is a function: `mean(x over C)`, `exp(x)`"),
    (&["item", "cpu", "cuda", "to", "float", "double"], "values have no device; `f32(x)` and `f64(x)` convert them"),
    (
        &["parameters", "eval", "train", "requires_grad_"],
        "whether a network learns is said by `frozen` and `-> network`",
    ),
    (&["score"], "the score is `-eps / sigma`: `-net.eps(y, t, c) / s.sigma(t)`"),
];

pub fn name(name: &str) -> Option<&'static str> {
    find(&NAMES, name)
}

pub fn member(name: &str) -> Option<&'static str> {
    find(&MEMBERS, name)
}

fn find(table: &[(&[&str], &'static str)], name: &str) -> Option<&'static str> {
    table.iter().find(|(words, _)| words.contains(&name)).map(|(_, help)| *help)
}
