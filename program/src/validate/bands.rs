//! Whether launches of a band may run in turn on some rows at a time.

use super::{Use, memory, uses};
use crate::band::{conv_rows, kernel_rows, product_rows};
use crate::{Access, Along, Band, BufferId, ConvRole, Launch, Place, Plan, Program};

/// What is wrong with a plan's bands; its launches are valid.
pub fn problems(program: &Program, plan: &Plan) -> Vec<String> {
    let mut problems = Vec::new();
    let mut free = 0;
    for band in &plan.bands {
        let range = &band.launches;
        let count = band.entries.checked_mul(band.rows).unwrap_or(0);
        if range.start < free || range.end > plan.launches.len() || range.is_empty() || count == 0 || band.block == 0 {
            problems.push(format!("a band of launches {range:?}"));
            continue;
        }
        free = range.end;
        if plan.guards.iter().any(|guard| {
            let (within, apart) = (guard.launches.contains(&range.start), guard.launches.contains(&(range.end - 1)));
            within != apart || !within && guard.launches.start > range.start && guard.launches.start < range.end
        }) {
            problems.push(format!("the band of launches {range:?} is partly guarded"));
        }
        problems.extend(band_problems(program, plan, band));
    }
    for (i, launch) in plan.launches.iter().enumerate() {
        if plan.bands.iter().any(|band| band.launches.contains(&i)) {
            continue;
        }
        let local = uses(program, launch).into_iter().find(|used| is_local(program, used.buffer));
        problems.extend(local.map(|used| format!("launch {i} uses buffer {} outside a band", used.buffer.0)));
    }
    for output in plan.outputs.iter().filter(|output| is_local(program, output.buffer)) {
        problems.push(format!("output `{}` does not outlive its band", output.name));
    }
    problems
}

fn is_local(program: &Program, id: BufferId) -> bool {
    matches!(program.buffers[id.0 as usize].place, Place::Band { .. })
}

fn band_problems(program: &Program, plan: &Plan, band: &Band) -> Vec<String> {
    let mut problems = Vec::new();
    if band.along.len() != band.launches.len() {
        return vec![format!("the band of launches {:?} goes along {} of them", band.launches, band.along.len())];
    }
    // What has been written, by whom, and whether by rows.
    let mut written: Vec<(BufferId, bool)> = Vec::new();
    let mut touched: Vec<BufferId> = Vec::new();
    for (i, along) in band.launches.clone().zip(&band.along) {
        let launch = &plan.launches[i];
        let Some(rows) = rows(program, launch, *along, band) else {
            problems.push(format!("launch {i} does not go along its band's rows"));
            continue;
        };
        for (Use { buffer, access }, rows) in uses(program, launch).into_iter().zip(rows) {
            let rows = rows && program.buffers[buffer.0 as usize].len.is_multiple_of(band.entries * band.rows);
            let local = is_local(program, buffer);
            if local && !rows {
                problems.push(format!("launch {i} uses more of buffer {} than the rows at hand", buffer.0));
            }
            if access == Access::Read {
                let before = written.iter().find(|(b, _)| *b == buffer);
                if before.is_some_and(|(_, by_rows)| !by_rows || !rows) || local && before.is_none() {
                    problems.push(format!("launch {i} reads rows of buffer {} that are not there yet", buffer.0));
                }
                let clash = |(b, _): &&(BufferId, bool)| *b != buffer && memory::overlap(program, *b, buffer);
                if written.iter().find(clash).is_some() {
                    problems.push(format!("launch {i} reads what its band writes as another buffer"));
                }
            } else {
                if touched.iter().any(|b| memory::overlap(program, *b, buffer)) {
                    problems.push(format!("launch {i} writes buffer {}, which its band uses before", buffer.0));
                }
                written.push((buffer, rows));
            }
        }
        touched.extend(uses(program, launch).into_iter().map(|used| used.buffer));
    }
    problems
}

/// For each buffer of a launch whether only the rows at hand are used.
fn rows(program: &Program, launch: &Launch, along: Along, band: &Band) -> Option<Vec<bool>> {
    match launch {
        Launch::Kernel { kernel, .. } => {
            let kernel = program.kernels.get(kernel.0 as usize)?;
            let count = band.entries * band.rows;
            let fits = along == Along::Grid && kernel.extent > 0 && kernel.extent.is_multiple_of(count);
            fits.then(|| kernel_rows(kernel, count))
        }
        Launch::Contract(c) => {
            let lens = [&c.a, &c.b, &c.c].map(|operand| program.buffers[operand.buffer.0 as usize].len);
            product_rows(c, along, band.entries, band.rows, lens).map(|rows| rows.to_vec())
        }
        Launch::Conv(c) => {
            let [x, w, y] = conv_rows(c, along, band.entries, band.rows)?;
            // As `uses` has them: the computed one last.
            Some(if c.role == ConvRole::Forward { vec![x, w, y] } else { vec![w, y, x] })
        }
        Launch::Extern(_) => None,
    }
}
