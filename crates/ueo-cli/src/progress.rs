//! How far a piece of work is: a bar on a terminal, a line now and then elsewhere.

use std::fmt::Display;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressStyle};

use crate::printer::Printer;

/// Time between two lines where there is no terminal: short enough to see life, long enough for log files.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

const BAR: &str =
    "{prefix} {wide_bar:.cyan/dim} {human_pos}/{human_len}, {per_sec}, {eta} left {msg:.dim}";

/// Progress over a number of images.
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
    already_done: u64,
    images: u64,
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
        already_done: u64,
        images: u64,
    ) -> Self {
        let bar = ProgressBar::new(images)
            .with_prefix(what)
            .with_position(already_done);
        if let Ok(style) = ProgressStyle::with_template(BAR) {
            bar.set_style(style);
        }
        let bar = bars.add(bar);
        bar.reset_eta();
        bar.enable_steady_tick(Duration::from_millis(500));
        Self(Shown::Bar(bar))
    }

    pub(crate) fn lines(
        printer: Printer,
        what: &'static str,
        already_done: u64,
        images: u64,
    ) -> Self {
        let now = Instant::now();
        Self(Shown::Lines(Lines {
            printer,
            what,
            already_done,
            images,
            started: now,
            printed: now,
        }))
    }

    /// `images` of them are done; `detail` says more about where the work is, such as "epoch 2/50".
    pub fn update(&mut self, images: u64, detail: impl Display) {
        match &mut self.0 {
            Shown::Nothing => {}
            Shown::Bar(bar) => {
                bar.set_message(detail.to_string());
                bar.set_position(images);
            }
            Shown::Lines(lines) if lines.printed.elapsed() >= LINE_INTERVAL => {
                lines.printed = Instant::now();
                lines.print(images, detail);
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
    fn print(&self, images: u64, detail: impl Display) {
        let Self { what, images: total, .. } = self;
        let line = status(
            images - self.already_done.min(images),
            total - images.min(*total),
            self.started.elapsed(),
        );
        self.printer
            .message(format_args!("{what}: {images}/{total}, {line} {detail}"));
    }
}

/// Rate and remaining time, in words.
fn status(done: u64, to_do: u64, elapsed: Duration) -> String {
    let images_per_sec = done as f64 / elapsed.as_secs_f64().max(1e-9);
    if done == 0 {
        return "just started".to_owned();
    }
    let left = Duration::from_secs_f64(to_do as f64 / images_per_sec);
    format!("{images_per_sec:.1} images/s, {} left", HumanDuration(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_time_follows_the_rate() {
        assert_eq!(
            status(20, 60, Duration::from_secs(10)),
            "2.0 images/s, 30 seconds left"
        );
        assert_eq!(status(0, 60, Duration::ZERO), "just started");
    }
}
