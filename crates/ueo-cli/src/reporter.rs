//! Shows what a job reports.

use ueo::adapt::Cost;
use ueo::data::LeftOutCount;
use ueo::guard::EpochRecord;
use ueo::image::CacheUse;
use ueo::quote;
use ueo::session::{Event, Reporter, Stage};

use crate::costs;
use crate::interrupt::Interrupt;
use crate::labels;
use crate::printer::Printer;
use crate::progress::{Progress, Unit, rate};
use crate::words::counted;

/// A run that is over sooner needs no announcement.
const SHORT_RUN_SECS: f64 = 60.0;

/// Turns the events of a job into progress and messages.
pub struct ProgressReporter<'a> {
    printer: &'a Printer,
    interrupt: Interrupt,
    shown: Option<(Phase, Progress)>,
    /// Whether it is still to be said what the labels mean.
    about_labels: bool,
    /// Whether a run is on disk that can be resumed.
    resumable: bool,
}

/// What a user is told about an event, besides how far the work is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// What happened.
    Message(String),
    /// What the user should know about and the job can live with.
    Warning(String),
    /// How something was decided.
    Detail(String),
}

/// The words for an event, if it needs any.
pub fn notice(event: &Event<'_>) -> Option<Notice> {
    Some(match *event {
        Event::LeftOut(count) => Notice::Message(left_out(count)),
        Event::Unlabelled {
            reason,
            images,
            first,
        } => Notice::Warning(format!(
            "{} {reason}: {}{}; not measured",
            counted(images, "image"),
            quote::whole(first),
            if images > 1 { ", ..." } else { "" }
        )),
        Event::CacheTooSmall(cache) => Notice::Warning(cache_too_small(&cache)),
        Event::ExifOriented { images, applied } => {
            let images = counted(images, "image");
            match applied {
                true => Notice::Detail(format!("{images} turned upright, by EXIF")),
                false => Notice::Warning(format!(
                    "{images} with an EXIF orientation, taken as stored; --exif-orientation apply turns them upright"
                )),
            }
        }
        Event::Epoch(record) => Notice::Detail(epoch(record)),
        Event::Cost(cost) => Notice::Detail(costs::line(cost)),
        Event::Warning(warning) => Notice::Warning(warning.to_string()),
        // Whoever asked for the job lists what was skipped at its end, all together.
        Event::Skipped(_) => return None,
        Event::Prepared
        | Event::Model(_)
        | Event::Encoding { .. }
        | Event::Step { .. }
        | Event::Labels(_) => {
            return None;
        }
    })
}

fn left_out(count: &LeftOutCount) -> String {
    let examples = count.examples.iter().map(|name| quote::whole(name));
    let examples: Vec<String> = examples.collect();
    let more = match examples.len() < count.files {
        true => ", ...",
        false => "",
    };
    let what = match count.labels_only {
        true => "labels not taken",
        false => "not taken",
    };
    format!(
        "{what}: {}, {}: {}{more}",
        counted(count.files, "file"),
        count.reason,
        examples.join(", ")
    )
}

fn epoch(record: &EpochRecord) -> String {
    let signs = &record.signs;
    let criterion = record.criterion;
    format!(
        "epoch {}: {:.1} effective classes, mean confidence {:.3}, {:.0} % rejected, {:.0} % changed{}",
        record.epoch,
        signs.effective_classes,
        signs.mean_confidence,
        100.0 * signs.rejected_fraction,
        100.0 * signs.changed_fraction,
        criterion.map_or_else(String::new, |value| format!(", criterion {value:.4}")),
    )
}

/// What is going on, as one bar or one series of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Encoding(Stage),
    Adapting,
}

impl<'a> ProgressReporter<'a> {
    /// A reporter of a job that the user can stop.
    pub fn interruptible(printer: &'a Printer, interrupt: Interrupt) -> Self {
        interrupt.end_at_once(true);
        Self {
            printer,
            interrupt,
            shown: None,
            about_labels: true,
            resumable: false,
        }
    }

    /// The same, which says nothing about labels if that has been said.
    pub fn about_labels(mut self, about_labels: bool) -> Self {
        self.about_labels = about_labels;
        self
    }

    /// Clears what is left on the screen.
    pub fn finish(self) {}

    fn phase(&mut self, phase: Phase, done_before: usize, total: usize) -> &mut Progress {
        if !matches!(&self.shown, Some((shown, _)) if *shown == phase) {
            self.end_phase();
        }
        let printer = self.printer;
        let (_, progress) = self.shown.get_or_insert_with(|| {
            let unit = match phase {
                Phase::Encoding(_) => Unit::Images,
                Phase::Adapting => Unit::Steps,
            };
            let progress = printer.progress(phase.name(), unit, done_before as u64, total as u64);
            (phase, progress)
        });
        progress
    }

    fn tell_cost(&mut self, cost: &Cost) {
        self.end_phase();
        let printer = self.printer;
        match cost.secs < SHORT_RUN_SECS {
            true => printer.detail(costs::line(cost)),
            false => printer.message(costs::line(cost)),
        }
        if let Some(line) = costs::kept_line(cost) {
            printer.detail(line);
        }
        for line in costs::cheaper_lines(cost) {
            printer.message(line);
        }
    }

    fn end_phase(&mut self) {
        if let Some((_, progress)) = self.shown.take() {
            progress.finish();
        }
    }
}

impl Drop for ProgressReporter<'_> {
    fn drop(&mut self) {
        self.end_phase();
        self.interrupt.end_at_once(false);
    }
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Encoding(Stage::ZeroShot) => "encoding images, zero-shot",
            Self::Encoding(Stage::Adapted) => "encoding images, adapted",
            Self::Encoding(Stage::Inference) => "encoding images",
            Self::Encoding(Stage::Threshold) => "encoding labelled images",
            Self::Adapting => "adapting",
        }
    }
}

fn cache_too_small(cache: &CacheUse) -> String {
    const MIB: f64 = (1 << 20) as f64;
    format!(
        "{} of {} images fit into --image-cache ({:.0} MiB used), the others are decoded again in every epoch; all need \
         {:.0} MiB, or --reduce-images lets more of them fit",
        cache.images,
        cache.images + cache.images_left_out,
        cache.bytes as f64 / MIB,
        ((cache.bytes + cache.bytes_left_out) as f64 / MIB).ceil(),
    )
}

impl Reporter for ProgressReporter<'_> {
    fn report(&mut self, event: Event<'_>) {
        match event {
            Event::Model(base) => self.printer.model(base),
            Event::Encoding { stage, done, total } => {
                self.phase(Phase::Encoding(stage), 0, total)
                    .update(done as u64, "");
                // Listing images and encoding texts, before and after a pass, ask nobody. What follows on the last pass of a
                // run is its result.
                self.interrupt
                    .end_at_once(done == total && stage != Stage::Adapted && !self.resumable);
            }
            Event::Labels(_) | Event::Unlabelled { .. } if !self.about_labels => {}
            Event::Labels(record) => labels::say(record, self.printer),
            // The steps look at requests to stop, and the run is resumed after them.
            Event::Prepared => {
                self.resumable = true;
                self.interrupt.end_at_once(false);
            }
            Event::Cost(cost) => self.tell_cost(cost),
            Event::Step { record, total } => {
                self.interrupt.end_at_once(false);
                let detail = format!(
                    "epoch {}, loss {:.4}, {}",
                    record.epoch,
                    record.loss,
                    rate(record.images_per_sec, Unit::Images)
                );
                self.phase(Phase::Adapting, record.step - 1, total)
                    .update(record.step as u64, detail);
            }
            _ => match notice(&event) {
                Some(Notice::Message(text)) => self.printer.message(text),
                Some(Notice::Warning(text)) => self.printer.warning(text),
                Some(Notice::Detail(text)) => self.printer.detail(text),
                None => {}
            },
        }
    }

    fn interrupted(&self) -> bool {
        self.interrupt.requested()
    }
}
