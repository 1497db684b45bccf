//! Several neighbours in one thread.

use super::{Printer, Who};
use crate::Stmt;
use crate::cuda::stage::Stage;
use crate::cuda::tree::Node;
use crate::cuda::vector::{WIDTH, Wide};

impl Printer<'_> {
    /// What lies next to each other is loaded and stored at once.
    pub(super) fn wide(&mut self, stage: &Stage, wide: Wide) {
        let Some(&(var, _)) = stage.points.last() else { return };
        let (int, i) = (self.scalars.int(), var.0);
        let start = format!("i{i}_0");
        for (n, (buffer, index)) in wide.loads.iter().enumerate() {
            let at = self.scalars.index_at(index, var, &start);
            let ty = self.scalars.stored(*buffer);
            self.line(2, &format!("const Pack<{ty}> v{n} = *(const Pack<{ty}> *)(b{buffer} + {at});"));
            self.scalars.packed.insert((*buffer, index.clone()), format!("v{n}.x[u]"));
        }
        for (n, (buffer, _)) in wide.stores.iter().enumerate() {
            let ty = self.scalars.stored(*buffer);
            self.line(2, &format!("Pack<{ty}> w{n};"));
        }
        self.line(2, "#pragma unroll");
        self.line(2, &format!("for (int u = 0; u < {WIDTH}; ++u) {{"));
        self.line(3, &format!("const {int} i{i} = {start} + u;"));
        let mut nth = 0;
        for node in &stage.body {
            let Node::Plain(stmt) = node else { continue };
            if let Stmt::Store { buffer, value, .. } = stmt {
                let text = self.scalars.expr(value).0;
                let text = self.scalars.narrowed(*buffer, &text);
                self.line(3, &format!("w{nth}.x[u] = {text};"));
                nth += 1;
            } else {
                self.plain(stmt, Who::One, 3);
            }
        }
        self.line(2, "}");
        for (n, (buffer, index)) in wide.stores.iter().enumerate() {
            let at = self.scalars.index_at(index, var, &start);
            let ty = self.scalars.stored(*buffer);
            self.line(2, &format!("*(Pack<{ty}> *)(b{buffer} + {at}) = w{n};"));
        }
        self.scalars.packed.clear();
    }
}
