//! Products and convolutions with the kernel that takes their results, element by element: on a GPU one function does both
//! ([`fgc_program::cuda`]'s epilogues), and the result need not be stored.

use super::{BLOCK, Candidate, Formed, Former, Rows, WORTH, What};
use crate::lower::emit::Slot;
use fgc_program::band::{conv_rows, kernel_rows, product_rows};
use fgc_program::cuda::ends_in;
use fgc_program::{Along, ConvRole};

/// How far apart the two may be in time.
const APART: usize = 64;

impl Former<'_> {
    /// Forms a band of each product or convolution that has none, and a kernel that reads its result.
    pub(super) fn endings(&mut self) {
        for i in 0..self.candidates.len() {
            if self.band_of[i].is_none()
                && let Some(band) = self.ending(i)
            {
                self.add(band);
            }
        }
    }

    fn ending(&mut self, first: usize) -> Option<Formed> {
        let (result, ways) = match &self.candidates[first].what {
            What::Product(c, slots) => {
                let entries = c.batch.iter().map(|dim| dim.extent).product();
                (slots[2], [c.m, c.n].map(|rows| Rows::Matrices { entries, rows }).to_vec())
            }
            What::Conv(c, [x, w, y]) => {
                let result = match c.role {
                    ConvRole::Forward => *y,
                    ConvRole::Input => *x,
                    ConvRole::Weight => *w,
                };
                (result, vec![Rows::Samples(c.batch)])
            }
            What::Kernel(..) | What::Other => return None,
        };
        if 4 * (self.values.elements)(result) < WORTH {
            return None;
        }
        let readers = self.readers.get(&result).cloned().unwrap_or_default();
        let second = readers.iter().copied().find(|&second| self.takes(first, second, result))?;
        let (rows, along) = ways.into_iter().find_map(|rows| {
            let What::Kernel(kernel, slots) = self.candidates[second].what else { return None };
            let own = kernel.extent.is_multiple_of(rows.count()).then(|| kernel_rows(kernel, rows.count()))?;
            let place = slots.iter().position(|slot| *slot == result)?;
            let way = self.along(first, rows)?;
            own.get(place).copied().unwrap_or(false).then_some((rows, way))
        })?;
        let alone = readers.iter().all(|reader| *reader == second) && self.bytes(result) > 0;
        Some(Formed {
            members: vec![first, second],
            entries: rows.entries(),
            rows: rows.rows(),
            block: BLOCK.min(rows.rows()),
            along: vec![along, Along::Grid],
            locals: if alone { vec![result] } else { Vec::new() },
            kernels: Vec::new(),
        })
    }

    /// Whether a kernel takes a result, element by element, and may do so at once.
    fn takes(&self, first: usize, second: usize, result: Slot) -> bool {
        let [a, b]: [&Candidate; 2] = [first, second].map(|i| &self.candidates[i]);
        let What::Kernel(kernel, slots) = b.what else { return false };
        let mut places = (0..slots.len()).filter(|&i| slots[i] == result);
        let place = places.next().filter(|_| places.next().is_none());
        self.band_of[second].is_none()
            && a.when == b.when
            && a.time.abs_diff(b.time) <= APART
            && place.is_some_and(|place| ends_in(kernel, place))
            && self.is_closed(&[first, second])
    }

    /// How a product or a convolution goes along the rows of its result.
    fn along(&self, i: usize, rows: Rows) -> Option<Along> {
        match &self.candidates[i].what {
            What::Product(c, slots) => {
                let lens = slots.map(|slot| (self.values.elements)(slot));
                let mut ways = [Along::M, Along::N].into_iter();
                ways.find(|way| product_rows(c, *way, rows.entries(), rows.rows(), lens).is_some_and(|own| own[2]))
            }
            What::Conv(c, _) => conv_rows(c, Along::Batch, rows.entries(), rows.rows()).map(|_| Along::Batch),
            What::Kernel(..) | What::Other => None,
        }
    }
}
