//! Where values that live for a while lie in memory that they share.

use std::cmp::Reverse;

/// Bytes that offsets are multiples of.
pub const ALIGN: usize = 64;

/// A value in the arena.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub bytes: usize,
    /// First and last launch that needs it.
    pub live: (usize, usize),
    /// Where it lies, if that is settled.
    pub fixed: Option<usize>,
}

/// Offsets such that spans alive at the same time are apart; and the arena's size. After those that are settled the largest
/// are placed first, each in the tightest gap between those that are alive with it.
pub fn arrange(spans: &[Span]) -> (Vec<usize>, usize) {
    let mut by_size: Vec<usize> = (0..spans.len()).collect();
    by_size.sort_by_key(|&i| (spans[i].fixed.is_none(), Reverse(spans[i].bytes), spans[i].live, i));
    let mut offsets = vec![0; spans.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut size = 0;
    for i in by_size {
        let bytes = spans[i].bytes.next_multiple_of(ALIGN);
        let (mut best, mut tightest, mut end) = (None, usize::MAX, 0usize);
        // `placed` is sorted by offset.
        for &other in &placed {
            let (a, b) = (spans[i].live, spans[other].live);
            if a.0 > b.1 || b.0 > a.1 {
                continue;
            }
            let gap = usize::saturating_sub(offsets[other], end);
            if gap >= bytes && gap < tightest {
                (best, tightest) = (Some(end), gap);
            }
            end = end.max(offsets[other] + spans[other].bytes.next_multiple_of(ALIGN));
        }
        offsets[i] = spans[i].fixed.or(best).unwrap_or(end);
        size = size.max(offsets[i] + bytes);
        let at = placed.partition_point(|&other| offsets[other] <= offsets[i]);
        placed.insert(at, i);
    }
    (offsets, size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_lives_together_lies_apart(list in prop::collection::vec((0..5000usize, 0..30usize, 0..10usize), 0..60)) {
            let span = |&(bytes, first, len): &(usize, usize, usize)| Span { bytes, live: (first, first + len), fixed: None };
            let spans: Vec<Span> = list.iter().map(span).collect();
            let (offsets, size) = arrange(&spans);
            let peak = (0..40).map(|now| {
                let alive = spans.iter().filter(|s| s.live.0 <= now && now <= s.live.1);
                alive.map(|s| s.bytes.next_multiple_of(ALIGN)).sum::<usize>()
            });
            prop_assert!(size <= 2 * peak.max().unwrap_or(0));
            for i in 0..spans.len() {
                prop_assert!(offsets[i] % ALIGN == 0 && offsets[i] + spans[i].bytes <= size);
                for j in 0..i {
                    let together = spans[i].live.0 <= spans[j].live.1 && spans[j].live.0 <= spans[i].live.1;
                    let apart = offsets[i] + spans[i].bytes <= offsets[j] || offsets[j] + spans[j].bytes <= offsets[i];
                    prop_assert!(apart || !together);
                }
            }
        }
    }
}
