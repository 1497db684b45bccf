//! Progress for people: a bar on a terminal, a line now and then on a pipe.

use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Write;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Time between lines on a pipe.
const LINES_EVERY: Duration = Duration::from_secs(5);

/// The progress of training, on standard error.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    pace: Pace,
    /// When a line was last printed, on a pipe.
    printed: Option<Instant>,
}

/// How fast and how far a run is. The speed is that of this session's steps, averaged over the last ones.
#[derive(Clone, Debug)]
struct Pace {
    total: u64,
    step: u64,
    time: Duration,
    steps_per_second: f64,
}

/// Seconds over which the shown speed forgets.
const MEMORY: f64 = 10.0;

impl Pace {
    fn update(&mut self, step: u64, time: Duration) {
        let (steps, seconds) = (step.saturating_sub(self.step) as f64, (time - self.time).as_secs_f64());
        if steps == 0.0 || seconds == 0.0 {
            return;
        }
        let now = steps / seconds;
        let keep = if self.steps_per_second == 0.0 { 0.0 } else { (-seconds / MEMORY).exp() };
        self.steps_per_second = keep * self.steps_per_second + (1.0 - keep) * now;
        (self.step, self.time) = (step, time);
    }

    fn remaining(&self) -> Option<Duration> {
        let seconds = self.total.saturating_sub(self.step) as f64 / self.steps_per_second;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

impl Progress {
    /// For a run that has done `step` of `total` steps.
    pub fn new(step: u64, total: u64) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let template = "{elapsed_precise} [{bar:32.cyan/blue}] {pos}/{len}  {msg}";
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total).with_position(step).with_style(style.progress_chars("━╸─"))
        });
        let pace = Pace { total, step, time: Duration::ZERO, steps_per_second: 0.0 };
        Progress { bar, pace, printed: None }
    }

    /// Shows that `step` steps are done after `elapsed` seconds of this session, with the newest losses.
    pub fn update<'a>(&mut self, step: u64, elapsed: Duration, losses: impl IntoIterator<Item = (&'a str, f64)>) {
        self.pace.update(step, elapsed);
        let message = status(&self.pace, losses);
        match &self.bar {
            Some(bar) => {
                bar.set_position(step);
                bar.set_message(message);
            }
            None if step >= self.pace.total || self.printed.is_none_or(|t| t.elapsed() >= LINES_EVERY) => {
                eprintln!("step {step}/{}  {message}", self.pace.total);
                self.printed = Some(Instant::now());
            }
            None => {}
        }
    }

    /// Prints a line without disturbing the bar.
    pub fn println(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }

    /// Steps a second, averaged over the last ten seconds or so; 0 before the first.
    pub fn steps_per_second(&self) -> f64 {
        self.pace.steps_per_second
    }

    /// Leaves the bar as it is and ends it.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.abandon();
        }
    }
}

fn status<'a>(pace: &Pace, losses: impl IntoIterator<Item = (&'a str, f64)>) -> String {
    let speed = pace.steps_per_second;
    let mut text = match speed {
        0.0 => "starting".to_string(),
        s if s < 1.0 => format!("{:.2} s/it", 1.0 / s),
        s if s < 100.0 => format!("{s:.1} it/s"),
        s => format!("{s:.0} it/s"),
    };
    if let Some(remaining) = pace.remaining().filter(|_| speed > 0.0) {
        let _ = write!(text, "  ETA {}", clock(remaining));
    }
    for (name, value) in losses {
        let _ = write!(text, "  {name} {}", number(value));
    }
    text
}

/// `1:02:03`, `2:03`.
pub fn clock(time: Duration) -> String {
    let s = time.as_secs();
    match s / 3600 {
        0 => format!("{}:{:02}", s / 60, s % 60),
        hours => format!("{hours}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}

/// About four digits: `0.1234`, `12.34`, `1.234e-5`.
pub fn number(x: f64) -> String {
    match x.abs() {
        0.0 => "0".into(),
        a if !a.is_finite() => format!("{x}"),
        a if (1e-3..1e4).contains(&a) => {
            let digits = 3 - a.log10().floor().max(-1.0) as i32;
            format!("{x:.*}", digits.max(0) as usize)
        }
        _ => format!("{x:.3e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_about_four_digits() {
        let cases = [
            (0.0, "0"),
            (0.12345, "0.1235"),
            (0.0012345, "0.0012"),
            (1.5, "1.500"),
            (-12.3456, "-12.35"),
            (9876.54, "9877"),
            (0.000012345, "1.234e-5"),
            (123456.0, "1.235e5"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (x, text) in cases {
            assert_eq!(number(x), text);
        }
    }

    #[test]
    fn a_status_tells_speed_remaining_time_and_losses() {
        let mut pace = Pace { total: 1000, step: 100, time: Duration::ZERO, steps_per_second: 0.0 };
        assert_eq!(status(&pace, []), "starting");
        pace.update(110, Duration::from_secs(1));
        assert_eq!(status(&pace, [("loss", 0.25)]), "10.0 it/s  ETA 1:29  loss 0.2500");
        pace.update(111, Duration::from_secs(1));
        assert_eq!(pace.step, 110, "no time has passed");
        assert_eq!(clock(Duration::from_secs(3723)), "1:02:03");
    }

    #[test]
    fn the_pace_forgets_slow_starts() {
        let mut pace = Pace { total: 1000, step: 0, time: Duration::ZERO, steps_per_second: 0.0 };
        for second in 1..=60 {
            let step = if second < 5 { second } else { 20 * second };
            pace.update(step, Duration::from_secs(second));
        }
        assert!((pace.steps_per_second - 20.0).abs() < 1.0, "{}", pace.steps_per_second);
    }
}
