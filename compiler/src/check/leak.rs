//! Gradient that flows where the loss does not say: into networks that it does not train, and into targets.
//!
//! Done on the graph with networks as calls: what matters is which network an answer is of.

use super::flow::passing;
use super::method::{Elaborated, LossTerm};
use super::net::NetKind;
use crate::diagnostic::{Diagnostic, Fix, Place};
use crate::graph::{FuncId, Graph, NodeId, Op, needed};
use fgc_program::{BinaryOp, NetId, UnaryOp};
use rustc_hash::{FxHashMap, FxHashSet};

/// How the networks that a loss trains are reached from a node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Reach {
    /// Without passing through another network.
    direct: bool,
    /// Through a call of another network.
    through: Option<NodeId>,
}

impl Reach {
    fn any(self) -> bool {
        self.direct || self.through.is_some()
    }
}

/// `tensors`: what the user's expressions are, while networks are calls.
pub fn warnings(m: &Elaborated, tensors: &FxHashMap<Place, NodeId>) -> Vec<Diagnostic> {
    let mut nets = FxHashMap::default();
    for (i, net) in m.nets.iter().enumerate() {
        nets.extend(net.functions().map(|f| (f, NetId(i as u32))));
    }
    let mut out = Vec::new();
    for loss in m.steps.iter().flat_map(|s| &s.losses).filter(|l| !l.targets.is_empty()) {
        let look = Look { m, graph: &m.graph, nets: &nets, tensors, loss, reach: FxHashMap::default() };
        out.extend(look.warnings());
    }
    out
}

struct Look<'a> {
    m: &'a Elaborated,
    graph: &'a Graph,
    nets: &'a FxHashMap<FuncId, NetId>,
    tensors: &'a FxHashMap<Place, NodeId>,
    loss: &'a LossTerm,
    reach: FxHashMap<NodeId, Reach>,
}

impl Look<'_> {
    fn warnings(mut self) -> Vec<Diagnostic> {
        let order = needed(self.graph, &[self.loss.node]);
        for &id in &order {
            let reach = self.reach_of(id);
            self.reach.insert(id, reach);
        }
        let reached = self.reached(self.loss.node);
        let mut out = Vec::new();
        let mut told = FxHashSet::default();
        for &id in order.iter().filter(|id| reached.contains(id)) {
            if let Some(net) = self.net(id)
                && self.ends_in(id, net)
                && told.insert(net)
            {
                out.push(self.leak(id, net));
            }
        }
        if let Some(target) = order.iter().filter(|id| reached.contains(id)).find_map(|&id| self.target(id)) {
            out.push(target);
        }
        out
    }

    fn net(&self, id: NodeId) -> Option<NetId> {
        match self.graph.op(id) {
            Op::Call { func, .. } => self.nets.get(func).copied(),
            _ => None,
        }
    }

    fn name(&self, net: NetId) -> &str {
        &self.m.nets[net.0 as usize].name
    }

    fn reach_of(&self, id: NodeId) -> Reach {
        let inputs = passing(self.graph, id);
        let of = |i: &NodeId| self.reach.get(i).copied().unwrap_or_default();
        match (self.net(id), self.graph.op(id)) {
            (Some(net), _) if self.loss.targets.contains(&net) => Reach { direct: true, through: None },
            (Some(_), _) => Reach { direct: false, through: inputs.iter().any(|i| of(i).any()).then_some(id) },
            // A function under `jvp`: its body may ask anyone.
            (None, Op::Jvp { .. } | Op::Call { .. }) => Reach { direct: true, through: None },
            _ => inputs.iter().map(of).fold(Reach::default(), |a, b| Reach {
                direct: a.direct || b.direct,
                through: a.through.or(b.through),
            }),
        }
    }

    /// The nodes that a derivative of `root` visits.
    fn reached(&self, root: NodeId) -> FxHashSet<NodeId> {
        let mut seen = FxHashSet::default();
        let mut open = vec![root];
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                open.extend(passing(self.graph, id));
            }
        }
        seen
    }

    /// Whether the gradient that enters this call stays in a network that could learn and does not.
    fn ends_in(&self, call: NodeId, net: NetId) -> bool {
        let state = &self.m.nets[net.0 as usize];
        let learns = !state.frozen && !state.params.is_empty();
        learns && !self.loss.targets.contains(&net) && !self.reach[&call].any()
    }

    fn leak(&self, call: NodeId, net: NetId) -> Diagnostic {
        let (name, loss) = (self.name(net), &self.loss.name);
        let trained: Vec<String> = self.loss.targets.iter().map(|t| format!("`{}`", self.name(*t))).collect();
        let message = format!("loss `{loss}` sends gradient into `{name}`, which it does not train");
        // What in the loss leads there and to nothing that learns.
        let leads =
            |node: NodeId| !self.reach.get(&node).is_some_and(|r| r.any()) && self.reached(node).contains(&call);
        let mut inside: Vec<Place> = self.inside(self.loss.place, leads);
        inside.sort_by_key(|p| (p.span.start, std::cmp::Reverse(p.span.end)));
        let mut outermost: Vec<Place> = Vec::new();
        for place in inside {
            if outermost.last().is_none_or(|o| place.span.start >= o.span.end) {
                outermost.push(place);
            }
        }
        let mut d = Diagnostic::warning("FG0309", message);
        let mut fix = Fix::new("put it under `stop(…)`").certain();
        for &place in &outermost {
            d = d.label(place, format!("`{name}` answered this"));
            fix = fix.before(place, "stop(").after(place, ")");
        }
        if outermost.is_empty() {
            d = d.label(self.loss.place, "this loss");
        }
        if let Some(&place) = self.m.places.get(&call).filter(|p| p.file == self.loss.place.file) {
            d = d.label(place, format!("`{name}` is asked here"));
        }
        d = d.help(format!("only {} learns from it: say so with `stop(…)`", trained.join(" and ")));
        if outermost.is_empty() { d } else { d.fix(fix) }
    }

    /// The user's expressions inside `place` that are tensors for which `holds`.
    fn inside(&self, place: Place, holds: impl Fn(NodeId) -> bool) -> Vec<Place> {
        let within =
            |p: &Place| p.file == place.file && p.span.start >= place.span.start && p.span.end <= place.span.end;
        let found = self.tensors.iter().filter(|(p, _)| within(p) && p.span != place.span);
        found.filter(|(_, node)| holds(**node)).map(|(p, _)| *p).collect()
    }

    /// A distance of which both sides lead to what learns, one of them as a target would.
    fn target(&self, id: NodeId) -> Option<Diagnostic> {
        let node = self.graph.node(id);
        let (a, b) = match (&node.op, node.inputs.as_slice()) {
            (Op::Binary(BinaryOp::Mul), &[a, b]) if a == b => self.difference(a)?,
            (Op::Unary(UnaryOp::Abs), &[a]) => self.difference(a)?,
            (Op::Binary(BinaryOp::Mul), &[a, b]) => (a, b),
            _ => return None,
        };
        let (a, b) = (self.peeled(a), self.peeled(b));
        let of = |id: NodeId| self.reach.get(&id).copied().unwrap_or_default();
        let (side, why) = match (of(a), of(b)) {
            (x, Reach { direct: false, through: Some(call) }) if x.direct => (b, self.through(call)),
            (Reach { direct: false, through: Some(call) }, y) if y.direct => (a, self.through(call)),
            _ => (b, self.twice(a, b)?),
        };
        let trained = self.loss.targets.first().map_or("", |t| self.name(*t));
        let mut place = self.inside(self.loss.place, |n| n == side || self.peeled(n) == side);
        // The outermost: with it goes all of the side.
        place.sort_by_key(|p| std::cmp::Reverse(p.span.end - p.span.start));
        let at = place.first().copied().unwrap_or(self.loss.place);
        let d = Diagnostic::warning(
            "FG0308",
            format!("`{trained}` learns through the target of loss `{}`, too", self.loss.name),
        )
        .label(at, why)
        .help(format!("a target should stay where it is while `{trained}` moves towards it: put it under `stop(…)`"));
        Some(if place.is_empty() { d } else { d.fix(Fix::around(at, "stop").certain()) })
    }

    fn through(&self, call: NodeId) -> String {
        let net = self.net(call).map_or("another network", |n| self.name(n));
        format!("gradient passes through `{net}` here")
    }

    /// Both sides are answers of one denoiser to different questions.
    fn twice(&self, a: NodeId, b: NodeId) -> Option<String> {
        let net = self.net(a).filter(|n| self.net(b) == Some(*n) && self.loss.targets.contains(n))?;
        let denoiser = matches!(self.m.nets[net.0 as usize].kind, NetKind::Denoiser { .. });
        let asked = |id: NodeId| &self.graph.node(id).inputs;
        (denoiser && asked(a) != asked(b)).then(|| format!("`{}` answers both sides", self.name(net)))
    }

    fn difference(&self, id: NodeId) -> Option<(NodeId, NodeId)> {
        let node = self.graph.node(self.peeled(id));
        match (&node.op, node.inputs.as_slice()) {
            (Op::Binary(BinaryOp::Sub), &[a, b]) => Some((a, b)),
            _ => None,
        }
    }

    /// Without casts and changes of layout.
    fn peeled(&self, mut id: NodeId) -> NodeId {
        loop {
            let node = self.graph.node(id);
            match (&node.op, node.inputs.as_slice()) {
                (Op::Cast(_) | Op::Broadcast { .. } | Op::Permute { .. } | Op::Reshape, &[input]) => id = input,
                _ => return id,
            }
        }
    }
}
