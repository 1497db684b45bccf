//! Persistent buffers: networks, inputs, state.

use super::NetLayout;
use crate::graph::op::FlatKind;
use crate::graph::{Source, Ty};
use fgc_program::arena::ALIGN;
use fgc_program::{Buffer, BufferId, Constant, DType, Input, InputKind, NetId, Place, Scalar};
use indexmap::IndexMap;
use rustc_hash::FxHashMap;

/// The flat buffers of one network.
#[derive(Clone, Debug, PartialEq)]
pub struct NetBuffers {
    pub weights: BufferId,
    /// None, as the two after it, for networks that never learn.
    pub grads: Option<BufferId>,
    pub moments: IndexMap<String, BufferId>,
    pub updates: Option<BufferId>,
    pub ema: Option<BufferId>,
}

/// The buffers of a program so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffers {
    pub all: Vec<Buffer>,
    pub nets: Vec<NetBuffers>,
    pub inputs: Vec<Input>,
    /// Bytes of the arena, from its start, that gradients lie in while they are needed.
    pub gradients: usize,
    pub constants: Vec<Constant>,
    tables: FxHashMap<Vec<Scalar>, BufferId>,
    /// Buffers of sources.
    pub sources: IndexMap<(Source, Ty), BufferId>,
    parts: FxHashMap<(BufferId, usize, usize), BufferId>,
    /// Arena buffers: dtype, elements, offset, and which of several equal ones in a plan.
    places: FxHashMap<(DType, usize, Place, usize), BufferId>,
}

impl Buffers {
    pub fn new(nets: &[NetLayout]) -> Buffers {
        let mut buffers = Buffers::default();
        for net in nets {
            let learns = !net.moments.is_empty();
            let flat = |buffers: &mut Buffers| buffers.persistent(DType::F32, net.len);
            let weights = flat(&mut buffers);
            let grads = learns.then(|| buffers.add(DType::F32, net.len, Place::Arena { offset: buffers.gradients }));
            if learns {
                buffers.gradients += (net.len * DType::F32.size()).next_multiple_of(ALIGN);
            }
            let moments = net.moments.iter().map(|name| (name.to_string(), flat(&mut buffers))).collect();
            let updates = learns.then(|| buffers.persistent(DType::F64, 1));
            let ema = net.ema.then(|| flat(&mut buffers));
            buffers.nets.push(NetBuffers { weights, grads, moments, updates, ema });
        }
        buffers
    }

    fn add(&mut self, dtype: DType, len: usize, place: Place) -> BufferId {
        self.all.push(Buffer { dtype, narrow: false, len, place });
        BufferId(self.all.len() as u32 - 1)
    }

    pub fn persistent(&mut self, dtype: DType, len: usize) -> BufferId {
        self.add(dtype, len, Place::Persistent)
    }

    pub fn part(&mut self, of: BufferId, start: usize, len: usize) -> BufferId {
        let Buffer { dtype, len: whole, .. } = self.all[of.0 as usize];
        if (start, len) == (0, whole) {
            return of;
        }
        if let Some(&known) = self.parts.get(&(of, start, len)) {
            return known;
        }
        let id = self.add(dtype, len, Place::Part { of, start });
        self.parts.insert((of, start, len), id);
        id
    }

    /// The `nth` buffer of this type and place in its plan.
    pub fn in_place(&mut self, ty: &Ty, place: Place, nth: usize) -> BufferId {
        let key = (ty.dtype, ty.len(), place, nth);
        if let Some(&known) = self.places.get(&key) {
            return known;
        }
        let id = self.add(ty.dtype, ty.len(), place);
        self.places.insert(key, id);
        id
    }

    /// The flat buffer of a network; None if it has no such.
    pub fn flat(&self, net: NetId, what: &FlatKind) -> Option<BufferId> {
        let net = self.nets.get(net.0 as usize)?;
        match what {
            FlatKind::Weights => Some(net.weights),
            FlatKind::Grads => net.grads,
            FlatKind::Ema => net.ema,
            FlatKind::Moment(name) => net.moments.get(name).copied(),
            FlatKind::Updates => net.updates,
        }
    }

    /// The buffer a source reads.
    pub fn source(&mut self, source: &Source, ty: &Ty, nets: &[NetLayout]) -> BufferId {
        let key = (source.clone(), ty.clone());
        if let Some(&known) = self.sources.get(&key) {
            return known;
        }
        let missing = || panic!("{source:?} is of a network that has no such buffer");
        let id = match source {
            Source::Param { net, param } => {
                let start = nets[net.0 as usize].params[*param].offset;
                let weights = self.nets[net.0 as usize].weights;
                self.part(weights, start, ty.len())
            }
            Source::Flat { net, what, start } => {
                let of = self.flat(*net, what).unwrap_or_else(missing);
                self.part(of, *start, ty.len())
            }
            _ => self.persistent(ty.dtype, ty.len()),
        };
        if let Some((name, kind)) = input(source) {
            let shape = ty.shape.to_vec();
            self.inputs.push(Input { name, kind, dtype: ty.dtype, shape, buffer: id, number: None });
        }
        self.sources.insert(key, id);
        id
    }

    /// The position of a source among the inputs, if it is one.
    pub fn input(&mut self, source: &Source, ty: &Ty, nets: &[NetLayout]) -> Option<usize> {
        let buffer = self.source(source, ty, nets);
        self.inputs.iter().position(|input| input.buffer == buffer)
    }

    /// The buffer that holds these values from the start.
    pub fn constant(&mut self, values: &[Scalar], dtype: DType) -> BufferId {
        if let Some(&known) = self.tables.get(values) {
            return known;
        }
        let id = self.persistent(dtype, values.len());
        self.constants.push(Constant { buffer: id, values: values.to_vec() });
        self.tables.insert(values.to_vec(), id);
        id
    }

    /// Where in the arena a buffer lies, of those that [`Buffers::new`] puts there and their parts.
    pub fn in_gradients(&self, id: BufferId) -> Option<usize> {
        let buffer = &self.all[id.0 as usize];
        match buffer.place {
            Place::Arena { offset } => Some(offset),
            Place::Part { of, start } => Some(self.in_gradients(of)? + start * buffer.dtype.size()),
            _ => None,
        }
    }

    /// Whether two persistent buffers, gradients or parts share memory.
    pub fn overlap(&self, a: BufferId, b: BufferId) -> bool {
        let span = |id: BufferId| {
            let buffer = &self.all[id.0 as usize];
            match buffer.place {
                Place::Part { of, start } => (of, start, start + buffer.len),
                _ => (id, 0, buffer.len),
            }
        };
        let ((a, a_start, a_end), (b, b_start, b_end)) = (span(a), span(b));
        a == b && a_start < b_end && b_start < a_end
    }
}

/// Name and kind of a source that the runtime writes as an input.
fn input(source: &Source) -> Option<(String, InputKind)> {
    Some(match source {
        Source::Data { name } => (name.clone(), InputKind::Data),
        Source::Draw { name, distribution, .. } => (name.clone(), InputKind::Draw(*distribution)),
        Source::Pin { name, .. } => (name.clone(), InputKind::Pin),
        Source::Iteration => ("iteration".into(), InputKind::Iteration),
        Source::Row { position } => (format!("row.{position}"), InputKind::Row { position: *position }),
        Source::Param { .. } | Source::Flat { .. } | Source::Kept { .. } | Source::State { .. } => return None,
    })
}
