//! How far a piece of work is: a bar on a terminal, a line now and then elsewhere.

use std::fmt::{Display, Write};
use std::time::{Duration, Instant};

use indicatif::{
    HumanBytes, HumanDuration, MultiProgress, ProgressBar, ProgressState, ProgressStyle,
};

use crate::printer::Printer;

/// Time between two lines where there is no terminal: short enough to see life, long enough for log files.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Images, at a rate of images/s.
    Images,
    /// Training steps, at a rate of steps/s.
    Steps,
    /// Bytes of a file, shown in units that suit their number.
    Bytes,
    /// Images of many pieces of work, each epoch counted; the detail says how many pieces are done.
    Work,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Images | Self::Work => "images",
            Self::Steps => "steps",
            Self::Bytes => "bytes",
        }
    }

    fn one(self) -> &'static str {
        match self {
            Self::Images | Self::Work => "image",
            Self::Steps => "step",
            Self::Bytes => "byte",
        }
    }

    fn bar(self) -> &'static str {
        match self {
            Self::Images => {
                "{prefix} {wide_bar:.cyan/dim} {human_pos}/{human_len} images, {rate}, {eta} left"
            }
            Self::Steps => {
                "{prefix} {wide_bar:.cyan/dim} {human_pos}/{human_len} steps, {msg}, {eta} left"
            }
            Self::Bytes => {
                "{prefix} {wide_bar:.cyan/dim} {msg} {bytes}/{total_bytes}, {rate}, {eta} left"
            }
            Self::Work => "{prefix} {wide_bar:.cyan/dim} {msg}, {rate}, {eta} left",
        }
    }
}

/// Progress over a number of images or steps.
#[derive(Debug)]
pub struct Progress(Shown);

#[derive(Debug)]
enum Shown {
    Nothing,
    Bar(ProgressBar),
    Lines(Lines),
}

#[derive(Debug)]
struct Lines {
    printer: Printer,
    what: &'static str,
    unit: Unit,
    already_done: u64,
    total: u64,
    started: Instant,
    printed: Instant,
}

impl Progress {
    pub(crate) fn hidden() -> Self {
        Self(Shown::Nothing)
    }

    pub(crate) fn bar(
        bars: &MultiProgress,
        what: &'static str,
        unit: Unit,
        already_done: u64,
        total: u64,
    ) -> Self {
        let bar = ProgressBar::new(total)
            .with_prefix(what)
            .with_position(already_done);
        if let Ok(style) = ProgressStyle::with_template(unit.bar()) {
            let shown = move |state: &ProgressState, line: &mut dyn Write| {
                // A bar without its rate is no reason to fail.
                let _ = line.write_str(&rate(state.per_sec(), unit));
            };
            bar.set_style(style.with_key("rate", shown));
        }
        let bar = bars.add(bar);
        bar.reset_eta();
        bar.enable_steady_tick(Duration::from_millis(500));
        Self(Shown::Bar(bar))
    }

    pub(crate) fn lines(
        printer: Printer,
        what: &'static str,
        unit: Unit,
        already_done: u64,
        total: u64,
    ) -> Self {
        let now = Instant::now();
        Self(Shown::Lines(Lines {
            printer,
            what,
            unit,
            already_done,
            total,
            started: now,
            printed: now,
        }))
    }

    /// `done` of the total are done; `detail` says more about where the work is, such as "epoch 2".
    pub fn update(&mut self, done: u64, detail: impl Display) {
        match &mut self.0 {
            Shown::Nothing => {}
            Shown::Bar(bar) => {
                bar.set_message(detail.to_string());
                bar.set_position(done);
            }
            Shown::Lines(lines) if lines.printed.elapsed() >= LINE_INTERVAL => {
                lines.printed = Instant::now();
                lines.print(done, detail);
            }
            Shown::Lines(_) => {}
        }
    }

    /// The work has ended; its results speak for it.
    pub fn finish(self) {
        if let Shown::Bar(bar) = self.0 {
            bar.finish_and_clear();
        }
    }
}

impl Lines {
    fn print(&self, done: u64, detail: impl Display) {
        let Self { what, total, .. } = self;
        let count = match self.unit {
            Unit::Bytes => format!("{} of {}", HumanBytes(done), HumanBytes(*total)),
            unit => format!("{done}/{total} {}", unit.name()),
        };
        let pace = pace(
            done.saturating_sub(self.already_done),
            total.saturating_sub(done),
            self.started.elapsed(),
            self.unit,
        );
        let detail = detail.to_string();
        let separator = if detail.is_empty() { "" } else { ", " };
        self.printer
            .message(format_args!("{what}: {count}, {pace}{separator}{detail}"));
    }
}

/// A rate with the precision that people read: below one a second, the seconds that each takes.
pub fn rate(per_sec: f64, unit: Unit) -> String {
    if unit == Unit::Bytes {
        format!("{}/s", HumanBytes(per_sec as u64))
    } else if per_sec > 0.0 && per_sec < 1.0 {
        format!("{:.1} s/{}", per_sec.recip(), unit.one())
    } else {
        format!("{per_sec:.1} {}/s", unit.name())
    }
}

/// Rate and remaining time, in words.
fn pace(done: u64, to_do: u64, elapsed: Duration, unit: Unit) -> String {
    if done == 0 {
        return "just started".to_owned();
    }
    let per_sec = done as f64 / elapsed.as_secs_f64().max(1e-9);
    let left = HumanDuration(Duration::from_secs_f64(to_do as f64 / per_sec));
    format!("{}, {left} left", rate(per_sec, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_time_follows_the_rate() {
        assert_eq!(
            pace(20, 60, Duration::from_secs(10), Unit::Images),
            "2.0 images/s, 30 seconds left"
        );
        assert_eq!(pace(0, 60, Duration::ZERO, Unit::Steps), "just started");
        assert_eq!(
            pace(2, 60, Duration::from_secs(10), Unit::Steps),
            "5.0 s/step, 5 minutes left"
        );
        assert_eq!(
            pace(3 << 20, 60 << 20, Duration::from_secs(2), Unit::Bytes),
            "1.50 MiB/s, 40 seconds left"
        );
    }
}
