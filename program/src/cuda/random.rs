//! Draws that a GPU makes itself.
//!
//! Those whose values the host needs before it can run a plan (how many steps a rollout takes) stay the host's, as do
//! permutations, which are sorted.

use super::{Builder, Call, More};
use crate::{BufferId, DType, Distribution, Input, InputKind, known};

/// Elements of one thread, about.
const EACH: usize = 4;

const THREADS: usize = 256;

impl Builder<'_> {
    /// For each input that random numbers fill, the call that does; its last two parameters, a stream's key and the step, are
    /// the device's to add.
    pub(super) fn draws(&mut self) -> Vec<(BufferId, Call)> {
        let asked = known::asked(self.program);
        let own = |(i, _): &(usize, &Input)| !asked[*i];
        let inputs: Vec<&Input> = self.program.inputs.iter().enumerate().filter(own).map(|(_, input)| input).collect();
        inputs.into_iter().filter_map(|input| Some((input.buffer, self.draw(input)?))).collect()
    }

    fn draw(&mut self, input: &Input) -> Option<Call> {
        let InputKind::Draw(distribution) = input.kind else { return None };
        let len = self.program.buffers[input.buffer.0 as usize].len;
        let (ty, call, below) = match (distribution, input.dtype) {
            (Distribution::Normal, DType::F32) => ("float", "draw_normal(out, n, ", None),
            (Distribution::Normal, DType::F64) => ("double", "draw_normal(out, n, ", None),
            (Distribution::Uniform, DType::F32) => ("float", "draw_uniform(out, n, ", None),
            (Distribution::Uniform, DType::F64) => ("double", "draw_uniform(out, n, ", None),
            (Distribution::Index { n }, DType::I64) if n > 0 => ("int64_t", "draw_index(out, n, below, ", Some(n)),
            _ => return None,
        };
        let also = if below.is_some() { "int64_t below, " } else { "" };
        let text = format!(
            "({ty} *__restrict__ out, int64_t n, {also}uint64_t key, uint64_t step) {{\n  {call}key, step);\n}}\n"
        );
        let function = self.function("random numbers", THREADS, text);
        let blocks = len.div_ceil(EACH * THREADS).clamp(1, 4096);
        let numbers = [Some(len), below].into_iter().flatten();
        let more = numbers.map(|number| More::Number(number as i64)).collect();
        Some(Call { function, blocks, buffers: vec![input.buffer], scratches: false, more })
    }
}
