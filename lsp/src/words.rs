//! The language's own words: what each means, for hovers and completions.

/// A word, how it is written, and what it means.
pub type Word = (&'static str, &'static str, &'static str);

/// Words a statement begins with.
pub const STATEMENTS: [Word; 15] = [
    ("let", "let NAME = VALUE", "Names a value. `let a, b = [1, 2]` takes a list apart."),
    ("var", "var NAME = VALUE", "Names a value that may be assigned again."),
    (
        "draw",
        "draw NAME ~ LAW",
        "Draws random numbers, anew in every step of training: reproducible by seed, step and name.",
    ),
    ("data", "data NAME, …", "Fields of the data set: `x` the samples, `c` their classes, …; types may follow."),
    (
        "net",
        "net NAME = denoiser() …",
        "A network. `frozen`, or with an optimiser; `from` another's weights; `ema(…)`.",
    ),
    ("state", "state NAME: TYPE = VALUE", "Numbers that are kept from step to step, and assigned once in each."),
    ("loss", "loss NAME = VALUE -> NET", "What the networks named last learn to make small."),
    ("metric", "metric NAME = VALUE", "A number for the log."),
    (
        "step",
        "step NAME every N { … }",
        "A step of training with losses of its own: every so many iterations, or `otherwise`.",
    ),
    ("sample", "sample NAME = VALUE", "How samples are drawn when training ends or `fgc sample` asks."),
    (
        "if",
        "if CONDITION { … } else { … }",
        "Chosen when compiled: the condition is one on hyper-parameters, not on tensors.",
    ),
    ("for", "for NAME in LIST { … }", "Repeated for each element when compiled."),
    (
        "scan",
        "scan NAME in ROWS carry NAME { … }",
        "Repeated for each row when training runs; what is carried goes from one to the next.",
    ),
    ("return", "return VALUE", "What the function gives."),
    ("param", "param NAME: TYPE ~ INITIAL", "Weights of a layer, learnt, with their initial values."),
];

/// Words an item begins with.
pub const ITEMS: [Word; 7] = [
    ("use", "use std.MODULE.{NAME, …}", "Makes names of the standard library known."),
    ("let", "let NAME = VALUE", "A constant."),
    (
        "fn",
        "fn NAME(PARAMETERS) = VALUE",
        "A function; with a block, it `return`s. Without a name, one that is a value.",
    ),
    ("layer", "layer NAME(PARAMETERS) { … }", "A function that owns weights; called as `NAME@scope(…)`."),
    ("schedule", "schedule NAME { … }", "A noise schedule: `alpha`, `sigma`, their slopes, times."),
    (
        "extern",
        "extern kernel NAME(PARAMETERS) -> TYPE from \"FILE\" { … }",
        "Hand-written device code, called like a function; `launch`, `reference`, `jvp` and `vjp` say the rest.",
    ),
    ("method", "method NAME(HYPER-PARAMETERS) { … }", "A method of training."),
];

/// Words in the middle.
pub const JOINING: [Word; 18] = [
    ("from", "net NAME = … from NET", "Starts from another network's weights."),
    ("frozen", "net NAME = … frozen", "Does not learn; gradients pass through it."),
    ("weight", "loss NAME = VALUE weight NUMBER -> NET", "Minimised as weight·value, reported as the value."),
    ("every", "step NAME every N { … }", "In every Nth iteration."),
    ("over", "mean(x over C, H)", "The axes that are reduced; `over not B` all but B."),
    ("carry", "scan NAME in ROWS carry NAME { … }", "The variable that goes from one repetition to the next."),
    ("in", "in", "`for NAME in LIST`; after a parameter what it may be: `in 0..1`, `in {\"sde\", \"ode\"}`."),
    ("then", "if CONDITION then VALUE else VALUE", "The value where the condition holds."),
    ("else", "if CONDITION then VALUE else VALUE", "The value where the condition does not hold."),
    ("and", "A and B", "True where both are."),
    ("or", "A or B", "True where one is."),
    ("not", "not A", "True where A is not."),
    ("none", "none", "No value: an optional hyper-parameter that is not set, the null condition."),
    ("true", "true", "Yes."),
    ("false", "false", "No."),
    ("fn", "fn(NAME) = VALUE", "A function without a name."),
    ("if", "if CONDITION then VALUE else VALUE", "Chosen when compiled."),
    ("otherwise", "step otherwise { … }", "In the iterations that no `every` takes."),
];

/// Types.
pub const TYPES: [Word; 14] = [
    ("f32", "f32[B, C]", "Single-precision numbers, with named axes; without brackets, any that broadcast."),
    ("f64", "f64[B]", "Double-precision numbers, with named axes."),
    ("i64", "i64[B]", "Integers in a tensor, with named axes."),
    ("bool", "bool", "True or false; in a tensor with axes."),
    ("int", "int", "A whole number known when compiled."),
    ("str", "str", "Text."),
    ("list", "list", "A list."),
    ("record", "record", "Named fields: `{x: 1, y}`."),
    ("time", "time<edm>[B]", "A noise time (f64) on the clock of a schedule."),
    ("times", "times", "A list of noise times, descending to the last."),
    ("fn", "fn", "A function."),
    ("network", "network", "A network."),
    ("schedule", "schedule", "A noise schedule."),
    ("law", "law", "What `draw` draws from."),
];

/// A call that may follow a network, with its parameters.
pub struct Attribute {
    pub name: &'static str,
    pub doc: &'static str,
    /// Names, declarations and docs.
    pub params: &'static [Word],
}

/// Of all optimisers.
const OPTIMISER: &[Word] = &[
    ("lr", "lr: f64 = 1e-3", "Learning rate."),
    ("beta1", "beta1: f64 = 0.9", "Decay of the mean of the gradients."),
    ("beta2", "beta2: f64 = 0.999", "Decay of the mean of their squares."),
    ("eps", "eps: f64 = 1e-8", "Added to the root of the mean of the squares."),
    (
        "weight_decay",
        "weight_decay: f64",
        "How much weights shrink, as a share of the learning rate: 0.01 for adamw unless told, else 0.",
    ),
    ("betas", "betas: list", "Both decays: `[0.9, 0.999]`."),
];

/// What follows a network's name in its `net` statement.
pub const ATTRIBUTES: [Attribute; 6] = [
    Attribute { name: "adamw", doc: "Learns with AdamW (arXiv:1711.05101).", params: OPTIMISER },
    Attribute { name: "adam", doc: "Learns with Adam (arXiv:1412.6980).", params: OPTIMISER },
    Attribute { name: "radam", doc: "Learns with RAdam (arXiv:1908.03265).", params: OPTIMISER },
    Attribute {
        name: "ema",
        doc: "Keeps a moving average of the weights, for sampling.",
        params: &[
            ("decay", "decay: f64 = 0.999", "How much of the average stays at each update."),
            ("half_life", "half_life: f64", "Samples after which half of an old average is left, in place of `decay`."),
        ],
    },
    Attribute {
        name: "clip",
        doc: "Scales the gradients so that their norm is at most this.",
        params: &[("norm", "norm: f64 = 1.0", "The most that the norm may be.")],
    },
    Attribute {
        name: "warmup",
        doc: "The learning rate rises from 0 over so many updates.",
        params: &[("updates", "updates: int = 0", "Number of updates.")],
    },
];

pub fn attribute(name: &str) -> Option<&'static Attribute> {
    ATTRIBUTES.iter().find(|a| a.name == name)
}

/// A word of a table.
pub fn find(table: &'static [Word], name: &str) -> Option<Word> {
    table.iter().find(|(word, ..)| *word == name).copied()
}
