//! Order: which launch comes when.

use super::emit::Slot;
use rustc_hash::FxHashMap;

/// What one launch reads and writes, among the values of a plan.
#[derive(Clone, Debug, Default)]
pub(super) struct Access {
    pub reads: Vec<Slot>,
    pub writes: Vec<Slot>,
    /// Those of `writes` that are read again by the launch itself.
    pub notes: Vec<Slot>,
}

impl Access {
    /// Of several launches together; what passes between them is no read.
    pub fn of<'a>(launches: impl Iterator<Item = &'a Access>) -> Access {
        let mut all = Access::default();
        for launch in launches {
            all.reads.extend(launch.reads.iter().filter(|slot| !all.writes.contains(slot)));
            all.writes.extend(&launch.writes);
        }
        all
    }
}

/// When a launch is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time {
    /// Its place among the values of the plan.
    pub place: usize,
    /// Not before its place, even where that would free memory.
    pub late: bool,
}

/// An order in which each launch comes after those whose results it reads. Of those that can run, one that frees at least
/// as much memory as it takes comes first unless it is to be late, and else the one with the smallest place. `bytes` of a
/// value: what it takes of the arena, 0 if it lies elsewhere.
pub(super) fn order(launches: &[Access], times: &[Time], bytes: &dyn Fn(Slot) -> usize) -> Vec<usize> {
    let mut writer: FxHashMap<Slot, usize> = FxHashMap::default();
    let mut readers: FxHashMap<Slot, usize> = FxHashMap::default();
    for (i, launch) in launches.iter().enumerate() {
        writer.extend(launch.writes.iter().map(|slot| (*slot, i)));
        for slot in distinct(&launch.reads) {
            *readers.entry(slot).or_default() += 1;
        }
    }
    let mut waiting = vec![0; launches.len()];
    let mut then: Vec<Vec<usize>> = vec![Vec::new(); launches.len()];
    for (i, launch) in launches.iter().enumerate() {
        let mut needed: Vec<usize> = launch.reads.iter().filter_map(|slot| writer.get(slot).copied()).collect();
        needed.sort_unstable();
        needed.dedup();
        for other in needed.into_iter().filter(|&other| other != i) {
            waiting[i] += 1;
            then[other].push(i);
        }
    }
    let mut ready: Vec<usize> = (0..launches.len()).filter(|&i| waiting[i] == 0).collect();
    let mut order = Vec::with_capacity(launches.len());
    let grows = |i: usize, readers: &FxHashMap<Slot, usize>| {
        let last = |slot: &Slot| readers.get(slot) == Some(&1) && writer.contains_key(slot);
        let freed: usize = distinct(&launches[i].reads).filter(last).map(bytes).sum();
        let taken: usize = launches[i].writes.iter().map(|slot| bytes(*slot)).sum();
        taken > freed || times[i].late
    };
    while let Some((at, _)) =
        ready.iter().enumerate().min_by_key(|(_, i)| (grows(**i, &readers), times[**i].place, **i))
    {
        let i = ready.swap_remove(at);
        order.push(i);
        for slot in distinct(&launches[i].reads) {
            readers.entry(slot).and_modify(|left| *left -= 1);
        }
        for &next in &then[i] {
            waiting[next] -= 1;
            if waiting[next] == 0 {
                ready.push(next);
            }
        }
    }
    order
}

fn distinct(slots: &[Slot]) -> impl Iterator<Item = Slot> {
    slots.iter().enumerate().filter(|(i, slot)| !slots[..*i].contains(slot)).map(|(_, slot)| *slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn early(place: usize) -> Time {
        Time { place, late: false }
    }
    /// A gradient's last reader runs before the next gradient is made.
    #[test]
    fn memory_is_freed_early() {
        let launch = |reads: &[usize], write| Access {
            reads: reads.iter().map(|&n| Slot::Copy(n)).collect(),
            writes: vec![Slot::Copy(write)],
            notes: Vec::new(),
        };
        let launches = [launch(&[], 0), launch(&[0], 1), launch(&[1], 2), launch(&[0], 10), launch(&[1], 11)];
        let small = |slot| if matches!(slot, Slot::Copy(n) if n < 10) { 100 } else { 0 };
        assert_eq!(order(&launches, &[0, 1, 2, 3, 4].map(early), &small), [0, 3, 1, 4, 2]);
    }

    #[test]
    fn launches_follow_what_they_read_and_else_their_time() {
        let slot = |n| Slot::Copy(n);
        let launch = |reads: &[usize], write| Access {
            reads: reads.iter().map(|&n| slot(n)).collect(),
            writes: vec![slot(write)],
            notes: Vec::new(),
        };
        let launches = [launch(&[3], 0), launch(&[], 1), launch(&[1], 2), launch(&[1], 3)];
        assert_eq!(order(&launches, &[0, 1, 2, 3].map(early), &|_| 1), [1, 2, 3, 0]);
    }
}
