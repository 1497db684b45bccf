//! Values that only one iteration of a kernel's grid needs: they go to memory of its own, which stays in the cache and
//! takes no room in the arena.

use super::emit::Slot;
use super::tidy::{each_access, each_access_mut};
use fgc_program::bounds::{Extents, extents, range};
use fgc_program::{Access, Expr, Index, Kernel, Stmt, Var};

/// Bytes of all local buffers of a kernel, which lie on the stack; a share of a core's second-level cache.
const LOCAL: usize = 512 * 1024;

/// Makes the buffers of `private` slots local where each iteration of the grid uses a row of its own, and drops those
/// that nothing reads.
pub(super) fn localize(kernel: &mut Kernel, slots: &mut Vec<Slot>, private: &impl Fn(Slot) -> bool) {
    let known = extents(kernel.extent, &kernel.body);
    let mut left = LOCAL;
    let mut local = vec![false; kernel.buffers.len()];
    for (i, buffer) in kernel.buffers.iter().enumerate() {
        let row = buffer.len / kernel.extent.max(1);
        let bytes = row * buffer.dtype.size();
        let written = buffer.access != Access::Read;
        if written && private(slots[i]) && bytes <= left && has_rows(&kernel.body, i, row, &known) {
            left -= bytes;
            local[i] = true;
        }
    }
    if !local.contains(&true) {
        return;
    }
    // Shared buffers first.
    let order: Vec<usize> =
        (0..local.len()).filter(|&i| !local[i]).chain((0..local.len()).filter(|&i| local[i])).collect();
    let mut number = vec![0; order.len()];
    for (new, &old) in order.iter().enumerate() {
        number[old] = new;
    }
    each_access_mut(&mut kernel.body, &mut |buffer, index| {
        if let Some(index) = index.filter(|_| local[*buffer]) {
            *index = in_row(index);
        }
        *buffer = number[*buffer];
    });
    kernel.buffers = order
        .iter()
        .map(|&old| {
            let mut buffer = kernel.buffers[old].clone();
            if local[old] {
                buffer.len /= kernel.extent.max(1);
                buffer.access = Access::Local;
            }
            buffer
        })
        .collect();
    *slots = order.iter().filter(|&&old| !local[old]).map(|&old| slots[old]).collect();
    drop_unread(kernel);
}

/// Whether every access to a buffer is to its row of this iteration, at a known place.
fn has_rows(body: &[Stmt], buffer: usize, row: usize, known: &Extents) -> bool {
    let mut rows = true;
    each_access(body, &mut |of, index| {
        if of != buffer {
            return;
        }
        rows &= index.is_some_and(|index| {
            let alone = known.get(&Var::GRID) == Some(&1);
            let inner = in_row(index);
            (alone || index.coefficient(Var::GRID) == row as i64)
                && !inner.mentions(Var::GRID)
                && range(&inner, known).is_some_and(|(low, high)| low >= 0 && high < row as i64)
        });
    });
    rows
}

/// The index without its multiple of the grid's variable.
fn in_row(index: &Index) -> Index {
    index.without(Var::GRID)
}

/// Drops stores to local buffers that are never read, and these buffers.
fn drop_unread(kernel: &mut Kernel) {
    let first = kernel.shared().len();
    let mut read = vec![false; kernel.buffers.len()];
    read[..first].fill(true);
    fn loads(x: &Expr, read: &mut [bool]) {
        if let Expr::Load { buffer, .. } | Expr::LoadAt { buffer, .. } = x {
            read[*buffer] = true;
        }
        super::tidy::parts(x).into_iter().for_each(|part| loads(part, read));
    }
    fn block(body: &[Stmt], read: &mut [bool]) {
        for stmt in body {
            super::tidy::exprs(stmt).into_iter().for_each(|x| loads(x, read));
            if let Stmt::For { body, .. } = stmt {
                block(body, read);
            }
        }
    }
    block(&kernel.body, &mut read);
    if read.iter().all(|read| *read) {
        return;
    }
    fn prune(body: &mut Vec<Stmt>, read: &[bool]) {
        body.retain_mut(|stmt| match stmt {
            Stmt::Store { buffer, .. } => read[*buffer],
            Stmt::For { body, .. } => {
                prune(body, read);
                !body.is_empty()
            }
            _ => true,
        });
    }
    prune(&mut kernel.body, &read);
    let number: Vec<usize> = read
        .iter()
        .scan(0, |next, &read| {
            let number = *next;
            *next += read as usize;
            Some(number)
        })
        .collect();
    each_access_mut(&mut kernel.body, &mut |buffer, _| *buffer = number[*buffer]);
    let mut i = 0;
    kernel.buffers.retain(|_| {
        i += 1;
        read[i - 1]
    });
}
