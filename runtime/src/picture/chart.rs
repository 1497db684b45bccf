//! Line charts: losses and metrics over steps.

use super::canvas::{Canvas, FADED, GRID, INK, PALETTE, Size, WHITE};
use super::scale::Scale;
use image::RgbImage;
use std::ops::Range;

/// A named curve of (step, value), in order; values that are not finite are gaps.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// One chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    pub title: String,
    pub series: Vec<Series>,
}

const WIDTH: f64 = 1520.0;
const HEIGHT: f64 = 760.0;
const LEFT: f64 = 130.0;
const RIGHT: f64 = 40.0;
const TOP: f64 = 112.0;
const BOTTOM: f64 = 84.0;
/// Between names of curves: below each other, and beside.
const ROW: f64 = 28.0;
const GAP: f64 = 28.0;

/// Curves with more points than this are drawn as the range of every few.
const POINTS: usize = 1200;
/// From this ratio of largest to smallest value on a logarithmic axis reads better.
const LOG_RATIO: f64 = 20.0;

/// Panels below each other.
pub fn charts(panels: &[Panel]) -> RgbImage {
    let mut canvas = Canvas::new(WIDTH as usize, (HEIGHT * panels.len().max(1) as f64) as usize, WHITE);
    for (i, panel) in panels.iter().enumerate() {
        draw(&mut canvas, i as f64 * HEIGHT, panel);
    }
    canvas.into_image()
}

fn draw(canvas: &mut Canvas, above: f64, panel: &Panel) {
    let names = rows(&panel.series);
    // However many names there are, half of the room is the curves'.
    let top = above + (TOP + ROW * names.len().saturating_sub(1) as f64).min(HEIGHT / 2.0);
    let (left, right, bottom) = (LEFT, WIDTH - RIGHT, above + HEIGHT - BOTTOM);
    canvas.text(left, above + 20.0, &panel.title, Size::Title, INK);
    let Some((x, y)) = axes(panel) else {
        canvas.text(left, top, "nothing to show yet", Size::Small, FADED);
        return;
    };
    for (place, label) in y.ticks(6) {
        let at = bottom - place * (bottom - top);
        canvas.rectangle(left, at - 1.0, right - left, 2.0, GRID);
        canvas.text(
            left - 16.0 - Size::Small.width(&label),
            at - Size::Small.height() / 2.0,
            &label,
            Size::Small,
            FADED,
        );
    }
    for (place, label) in x.ticks(8) {
        let at = left + place * (right - left);
        canvas.rectangle(at - 1.0, bottom, 2.0, 10.0, FADED);
        canvas.text(at - Size::Small.width(&label) / 2.0, bottom + 16.0, &label, Size::Small, FADED);
    }
    canvas.rectangle(left, bottom - 1.0, right - left, 2.0, FADED);
    canvas.text(right - Size::Small.width("step"), bottom + 46.0, "step", Size::Small, FADED);

    let clip = [left, top - 8.0, right, bottom];
    let pixel = |&(px, py): &(f64, f64)| (left + x.place(px) * (right - left), bottom - y.place(py) * (bottom - top));
    // All faint lines first, so that none hides a smooth one.
    for smooth in [false, true] {
        for (i, series) in panel.series.iter().enumerate() {
            let colour = PALETTE[i % PALETTE.len()];
            for run in runs(series, &y) {
                let is_short = run.len() <= 40;
                let points = if smooth { smoothed(&run) } else { thinned(&run) };
                let points: Vec<_> = points.iter().map(pixel).collect();
                match (smooth, is_short) {
                    (true, _) => canvas.line(&points, 4.0, colour, 1.0, clip),
                    (false, false) => canvas.line(&points, 1.6, colour, 0.28, clip),
                    (false, true) => points.iter().for_each(|&(px, py)| canvas.disc(px, py, 5.0, colour, 0.9)),
                }
            }
        }
    }
    legend(canvas, above + 66.0, &panel.series, &names);
}

/// The room that a curve's name takes in a row of names, the gap before the next included.
fn room(series: &Series) -> f64 {
    52.0 + Size::Small.width(&series.name) + GAP
}

/// Which curves' names go into one row.
fn rows(series: &[Series]) -> Vec<Range<usize>> {
    let mut rows: Vec<Range<usize>> = Vec::new();
    let mut taken = 0.0;
    for (i, room) in series.iter().map(room).enumerate() {
        match rows.last_mut() {
            Some(row) if taken + room - GAP <= WIDTH - RIGHT - LEFT => {
                row.end = i + 1;
                taken += room;
            }
            _ => {
                rows.push(i..i + 1);
                taken = room;
            }
        }
    }
    rows
}

/// Names with their colours: one row that ends at the right edge, or several from the left.
fn legend(canvas: &mut Canvas, above: f64, series: &[Series], rows: &[Range<usize>]) {
    let total: f64 = series.iter().map(room).sum();
    let start = if rows.len() == 1 { (WIDTH - RIGHT - total + GAP).max(LEFT) } else { LEFT };
    for (n, row) in rows.iter().enumerate() {
        let (mut at, y) = (start, above + ROW * n as f64);
        for i in row.clone() {
            let middle = y + 13.0;
            let (colour, clip) = (PALETTE[i % PALETTE.len()], [at - 4.0, y, at + 42.0, y + ROW]);
            canvas.line(&[(at, middle), (at + 36.0, middle)], 5.0, colour, 1.0, clip);
            canvas.text(at + 48.0, y, &series[i].name, Size::Small, INK);
            at += room(&series[i]);
        }
    }
}

/// Both axes: x over all steps; y so that rare outliers do not flatten the rest. None if there are no points.
fn axes(panel: &Panel) -> Option<(Scale, Scale)> {
    let points = panel.series.iter().flat_map(|s| s.points.iter().copied()).filter(|p| p.1.is_finite());
    let (steps, mut values): (Vec<f64>, Vec<f64>) = points.unzip();
    let first = steps.iter().copied().min_by(f64::total_cmp)?;
    let last = steps.iter().copied().max_by(f64::total_cmp)?;
    // A log that starts after its first interval starts at 0.
    let first = if (0.0..0.1 * last).contains(&first) { 0.0 } else { first };
    values.sort_unstable_by(f64::total_cmp);
    // Of a hundred values, the most extreme on either side may be cut off.
    let cut = values.len() / 100;
    let (low, high) = (values[cut], values[values.len() - 1 - cut]);
    let log = values[0] > 0.0 && high / low > LOG_RATIO;
    Some((Scale::new(first, last, false, 0.0), Scale::new(low, high, log, 0.06)))
}

/// The stretches between gaps, y in axis units.
fn runs(series: &Series, y: &Scale) -> Vec<Vec<(f64, f64)>> {
    let gap = |p: &(f64, f64)| !p.1.is_finite() || (y.is_log() && p.1 <= 0.0);
    let runs = series.points.split(gap).filter(|run| !run.is_empty());
    runs.map(|run| run.iter().map(|&(px, py)| (px, y.transform(py))).collect()).collect()
}

/// At most about `POINTS` points with the same envelope: the least and the greatest of every few.
fn thinned(run: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let few = run.len().div_ceil(POINTS / 2);
    if few <= 2 {
        return run.to_vec();
    }
    let extremes = |part: &[(f64, f64)]| {
        let of = |pick: fn(f64, f64) -> bool| {
            (0..part.len()).fold(0, |best, i| if pick(part[i].1, part[best].1) { i } else { best })
        };
        let (a, b) = (of(|x, y| x < y), of(|x, y| x > y));
        [part[a.min(b)], part[a.max(b)]]
    };
    run.chunks(few).flat_map(extremes).collect()
}

/// The curve smoothed by three moving averages over a fiftieth of its points each, which is nearly a Gaussian.
fn smoothed(run: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let reach = run.len() / 100;
    let mut values: Vec<f64> = run.iter().map(|p| p.1).collect();
    for _ in 0..if reach > 0 { 3 } else { 0 } {
        let mut sums = vec![0.0];
        sums.extend(values.iter().scan(0.0, |sum, v| {
            *sum += v;
            Some(*sum)
        }));
        // Near the ends the window shrinks on one side only: on both, the ends would be as noisy as the data.
        let average = |i: usize| {
            let (from, to) = (i.saturating_sub(reach), (i + reach + 1).min(run.len()));
            (sums[to] - sums[from]) / (to - from) as f64
        };
        values = (0..run.len()).map(average).collect();
    }
    let every = run.len().div_ceil(POINTS);
    let last = run.len() - 1;
    let shown = (0..run.len()).filter(|&i| i % every == 0 || i == last);
    shown.map(|i| (run[i].0, values[i])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    fn series(name: &str, n: usize, value: impl Fn(f64) -> f64) -> Series {
        Series { name: name.into(), points: (0..n).map(|i| (i as f64, value(i as f64))).collect() }
    }

    fn panel(series: Vec<Series>) -> Panel {
        Panel { title: "losses".into(), series }
    }

    #[test]
    fn the_axis_is_logarithmic_where_that_helps() {
        let log = |s| axes(&panel(vec![s])).unwrap().1.is_log();
        assert!(log(series("falling", 100, |x| (-x / 10.0).exp())));
        assert!(!log(series("narrow", 100, |x| 1.0 + 0.01 * x)));
        assert!(!log(series("signed", 100, |x| (x - 5.0) * 10.0)));
    }

    #[test]
    fn one_outlier_does_not_flatten_the_rest() {
        let spiky = series("loss", 1000, |x| if x == 500.0 { 1e9 } else { (x / 50.0).sin() });
        let (_, y) = axes(&panel(vec![spiky])).unwrap();
        assert!(y.place(1.0) > 0.8 && y.place(-1.0) < 0.2);
    }

    #[test]
    fn smoothing_removes_noise_and_keeps_trends() {
        let noise = Stream::new(0, 0, "noise");
        let noisy = series("loss", 2000, |x| x / 1000.0 + 0.3 * noise.normal(x as u64));
        let smooth = smoothed(&noisy.points);
        let worst = smooth.iter().map(|p| (p.1 - p.0 / 1000.0).abs()).fold(0.0, f64::max);
        assert!(worst < 0.2, "{worst}");
        assert_eq!(smoothed(&[(0.0, 1.0), (1.0, 5.0)]), [(0.0, 1.0), (1.0, 5.0)]);
    }

    #[test]
    fn thinning_keeps_the_extremes() {
        let run: Vec<(f64, f64)> = (0..50_000).map(|i| (i as f64, if i == 31_337 { 9.0 } else { 0.0 })).collect();
        let thin = thinned(&run);
        assert!(thin.len() <= POINTS + 2 && thin.contains(&(31_337.0, 9.0)));
    }

    #[test]
    fn charts_draw_curves_and_survive_odd_ones() {
        let white = |image: &RgbImage| image.pixels().filter(|p| p.0 == WHITE).count();
        let empty = charts(&[panel(vec![])]);
        let drawn =
            charts(&[panel(vec![series("a", 300, |x| 1.0 / (1.0 + x)), series("b", 300, |x| (x / 9.0).cos())])]);
        assert_eq!(drawn.dimensions(), (1520, 760));
        assert!(white(&drawn) + 5000 < white(&empty));
        let has = |colour| drawn.pixels().any(|p| p.0 == colour);
        assert!(has(PALETTE[0]) && has(PALETTE[1]) && !has(PALETTE[2]));
        let odd = [
            series("nan", 3, |_| f64::NAN),
            series("one", 1, |_| 5.0),
            series("constant", 9, |_| 0.0),
            series("huge", 9, |x| x * 1e300),
        ];
        for s in odd {
            charts(&[panel(vec![s])]);
        }
    }
}
