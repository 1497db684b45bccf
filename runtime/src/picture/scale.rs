//! Axes: from values to pixels, and which values to mark.

/// A linear or logarithmic axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    /// In transformed units: logarithms on a logarithmic axis.
    low: f64,
    high: f64,
    log: bool,
}

impl Scale {
    /// An axis over a range of values, widened by `margin` of its length on both sides. A range without length gets
    /// some; a logarithmic axis needs positive values.
    pub fn new(low: f64, high: f64, log: bool, margin: f64) -> Scale {
        let transform = |x: f64| if log { x.max(f64::MIN_POSITIVE).log10() } else { x };
        let (mut low, mut high) = (transform(low), transform(high));
        if high - low <= 1e-9 * low.abs().max(1e-9) {
            let widen = if log { 0.5 } else { (0.1 * low.abs()).max(1e-6) };
            (low, high) = (low - widen, high + widen);
        }
        let margin = margin * (high - low);
        Scale { low: low - margin, high: high + margin, log }
    }

    pub fn is_log(&self) -> bool {
        self.log
    }

    /// Value to axis units.
    pub fn transform(&self, x: f64) -> f64 {
        if self.log { x.max(f64::MIN_POSITIVE).log10() } else { x }
    }

    /// Axis units to 0 (low end) … 1 (high end).
    pub fn place(&self, transformed: f64) -> f64 {
        (transformed - self.low) / (self.high - self.low)
    }

    /// About `count` round values with their places, and labels of a common precision.
    pub fn ticks(&self, count: usize) -> Vec<(f64, String)> {
        let values = if self.log { self.log_ticks(count) } else { self.linear_ticks(count) };
        let step = values.windows(2).map(|w| w[1] - w[0]).fold(f64::INFINITY, f64::min);
        let label = |x: f64| if self.log { short(x, x) } else { short(x, step) };
        values.into_iter().map(|x| (self.place(self.transform(x)), label(x))).collect()
    }

    fn linear_ticks(&self, count: usize) -> Vec<f64> {
        let rough = (self.high - self.low) / count as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|&s| s >= rough).unwrap_or(10.0 * power);
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last).map(|k| k as f64 * step).collect()
    }

    fn log_ticks(&self, count: usize) -> Vec<f64> {
        let decades = self.high - self.low;
        let (mantissas, every): (&[f64], i32) = match decades {
            d if d < 0.6 => return self.values_in(&[1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], 1),
            d if d < 2.5 => (&[1.0, 2.0, 5.0], 1),
            d => (&[1.0], (d / count as f64).ceil() as i32),
        };
        self.values_in(mantissas, every.max(1))
    }

    fn values_in(&self, mantissas: &[f64], every: i32) -> Vec<f64> {
        let decades = (self.low.floor() as i32..=self.high.ceil() as i32).filter(|p| p.rem_euclid(every) == 0);
        let values = decades.flat_map(|p| mantissas.iter().map(move |m| m * 10f64.powi(p)));
        values.filter(|v| (self.low..=self.high).contains(&v.log10())).collect()
    }
}

/// A number in few characters: `0.25`, `1.5k`, `20M`, `1e-5`. `step` says which digits matter.
pub(super) fn short(x: f64, step: f64) -> String {
    let size = x.abs().max(step.abs());
    if x == 0.0 {
        return "0".into();
    }
    if !(1e-3..1e10).contains(&size) {
        let text = format!("{x:.1e}");
        return text.replace(".0e", "e");
    }
    let (unit, suffix) = match size {
        s if s >= 1e9 => (1e9, "G"),
        s if s >= 1e6 => (1e6, "M"),
        s if s >= 1e4 => (1e3, "k"),
        _ => (1.0, ""),
    };
    // As many digits as the step has: 0.25 has two though its leading digit is the first.
    let step = step / unit;
    let digits = (0..6).find(|&d| ((step * 10f64.powi(d)).round() / 10f64.powi(d) - step).abs() < 1e-3 * step.abs());
    format!("{:.*}{suffix}", digits.unwrap_or(6) as usize, x / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(low: f64, high: f64, log: bool) -> Vec<String> {
        Scale::new(low, high, log, 0.0).ticks(5).into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(labels(0.0, 1.0, false), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(0.0, 50_000.0, false), ["0", "10k", "20k", "30k", "40k", "50k"]);
        assert_eq!(labels(-3.0, 3.0, false), ["-2", "0", "2"]);
        assert_eq!(labels(0.001, 10.0, true), ["0.001", "0.01", "0.1", "1", "10"]);
        assert_eq!(labels(0.1, 5.0, true), ["0.1", "0.2", "0.5", "1", "2", "5"]);
        assert_eq!(labels(1e-7, 1e-4, true), ["1e-7", "1e-6", "1e-5", "1e-4"]);
        for (low, high, log) in [(1.0, 1.0, false), (0.0, 0.0, false), (3.0, 3.0, true), (1e-12, 1e12, true)] {
            let count = labels(low, high, log).len();
            assert!((2..=12).contains(&count), "{count} ticks from {low} to {high}");
        }
    }

    #[test]
    fn places_run_from_0_to_1() {
        let scale = Scale::new(1.0, 100.0, true, 0.0);
        assert_eq!([1.0, 10.0, 100.0].map(|x| scale.place(scale.transform(x))), [0.0, 0.5, 1.0]);
    }
}
