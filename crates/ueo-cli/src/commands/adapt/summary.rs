//! What `ueo adapt` says about a run that is finished.

use std::path::Path;

use ueo::evaluate::{ClassIntervals, Groups, Interval, Threshold};
use ueo::guard::Keep;
use ueo::method::Method;
use ueo_run::{AdaptReport, ImageResult, RunDirectory, RunError};

use crate::commands::{Context, nearby};
use crate::error::CliError;
use crate::hints::guard;
use crate::tables;
use crate::words::{against_noise, counted, percent, points, quoted};

/// One image in so many that changed its class is few.
const FEW_CHANGES: usize = 40;

/// What a user wants to know at the end: what changed and whether that means something, and what to do next.
pub struct Summary<'a> {
    report: &'a AdaptReport,
    output: &'a Path,
    images: Vec<ImageResult>,
    /// Adapted minus zero-shot, where the images have labels.
    changes: Option<ClassIntervals>,
}

impl<'a> Summary<'a> {
    /// Reads what the run says about its images.
    ///
    /// # Errors
    ///
    /// [`CliError::Run`].
    pub fn new(report: &'a AdaptReport, output: &'a Path) -> Result<Self, CliError> {
        let classes = &report.record.request.classes;
        let images = RunDirectory::open(output)?.read_predictions(classes)?;
        let changes = ueo_run::changes(&images, classes).map_err(RunError::from)?;
        Ok(Self {
            report,
            output,
            images,
            changes,
        })
    }

    /// Shows all of it; `report_path` is where the report is, if it was written.
    ///
    /// # Errors
    ///
    /// [`CliError::Stdout`].
    pub fn show(&self, report_path: Option<&Path>, context: &Context) -> Result<(), CliError> {
        let (printer, record) = (context.printer, &self.report.record);
        self.show_details(context)?;
        for warning in &record.warnings {
            printer.warning(warning);
            if warning.concerns_result == Some(true) {
                printer.hint(guard::hint());
            }
        }
        for line in self.changed() {
            printer.message(line);
        }
        if self.hardly_moved() {
            printer.hint(
                "hardly an image changed its class; if that is less than you expected, --method auto needs no learning rate",
            );
        }
        self.show_rejected(context);
        self.show_next(report_path, context);
        Ok(())
    }

    /// Whether the steps may have been small for this model: training without labels that left nearly all classes as they were.
    fn hardly_moved(&self) -> bool {
        let record = &self.report.record;
        let method = record.request.settings.method;
        let unjudged = record.zero_shot.is_none() || record.adapted.is_none();
        unjudged
            && method.trains()
            && method != Method::Auto
            && FEW_CHANGES * self.moved() < self.images.len()
    }

    /// Images whose class is another one than before.
    fn moved(&self) -> usize {
        let moved = self.images.iter().filter(|image| {
            let adapted = image.adapted.as_ref();
            adapted.is_some_and(|adapted| adapted.class != image.zero_shot.class)
        });
        moved.count()
    }

    /// How many images lie below the threshold.
    fn show_rejected(&self, context: &Context) {
        let Some(threshold) = &self.report.record.threshold else {
            return;
        };
        let below = |image: &&ImageResult| {
            let adapted = image.adapted.as_ref();
            adapted.is_some_and(|adapted| adapted.confidence < threshold.value)
        };
        let found = threshold
            .groups_in_words()
            .map_or_else(String::new, |words| format!(": {words}"));
        context.printer.message(format_args!(
            "rejected  {} of {} as unknown ({:.1} %){found}",
            self.images.iter().filter(below).count(),
            counted(self.images.len(), "image"),
            100.0 * threshold.rejected_fraction,
        ));
    }

    /// Where the report is, and what to do with the run.
    fn show_next(&self, report_path: Option<&Path>, context: &Context) {
        let printer = context.printer;
        match report_path {
            Some(path) => printer.message(format_args!("report    {}", path.display())),
            None => printer.message(format_args!(
                "report    none yet: ueo report {}",
                quoted(self.output)
            )),
        }
        printer.message(format_args!("next      {}", self.next_command()));
        let threshold = self.report.record.threshold.as_ref();
        if threshold.is_some_and(has_second_group) {
            printer.message(format_args!(
                "or        {}, for what the rejected images show",
                self.discover_command()
            ));
        }
    }

    /// The whole story, for `--verbose`.
    fn show_details(&self, context: &Context) -> Result<(), CliError> {
        let (printer, record) = (context.printer, &self.report.record);
        printer.detail(format_args!(
            "adapted {} to {} in {} ({:.1} s): {}",
            counted(record.trained_parameters, "parameter"),
            counted(record.images.used, "image"),
            counted(record.total_steps, "step"),
            record.adaptation_secs,
            self.output.display()
        ));
        if let Some(threshold) = &record.threshold {
            printer.detail(format_args!("threshold: {}", tables::threshold(threshold)));
        }
        let settings = &record.request.settings;
        if let (Some(kept), Keep::BestBy(_)) = (record.kept_epoch, settings.keep) {
            printer.detail(format_args!(
                "kept the parameters after epoch {kept} of {} ({})",
                record.epoch_count(),
                settings.keep
            ));
        }
        if let (true, Some(before), Some(after)) =
            (printer.is_verbose(), &record.zero_shot, &record.adapted)
        {
            let columns = [("zero-shot", before), ("adapted", after)];
            let table = tables::measurements(&columns, self.changes.as_ref());
            printer.data(table).map_err(CliError::Stdout)?;
        }
        Ok(())
    }

    /// Accuracy and AUROC before and after, or how many images changed their class where no label can tell what is right.
    fn changed(&self) -> Vec<String> {
        let record = &self.report.record;
        let (Some(before), Some(after)) = (&record.zero_shot, &record.adapted) else {
            return vec![format!(
                "changed   the class of {} of {}, unjudged without labels",
                self.moved(),
                counted(self.images.len(), "image")
            )];
        };
        let change = |of: fn(&ClassIntervals) -> Option<Interval>| of(self.changes.as_ref()?);
        let line = |name, before: Option<f64>, after: Option<f64>, change: Option<Interval>| {
            let (from, to) = (before?, after?);
            let verdict = change.map(|change| format!(": {}", against_noise(change)));
            Some(format!(
                "{name} {} to {}, {}{}",
                percent(Some(from)),
                percent(Some(to)),
                points(to - from, change),
                verdict.unwrap_or_default()
            ))
        };
        let accuracy = line(
            "accuracy ",
            before.per_class_accuracy,
            after.per_class_accuracy,
            change(|changes| changes.per_class_accuracy),
        );
        let auroc = line(
            "AUROC    ",
            before.auroc,
            after.auroc,
            change(|changes| changes.auroc),
        );
        accuracy.into_iter().chain(auroc).collect()
    }

    /// What to type next.
    fn next_command(&self) -> String {
        let (run, images) = (quoted(self.output), self.images_arguments());
        format!("ueo predict --model {run} {images} --output predictions.csv")
    }

    /// What to type to learn which names the class list lacks.
    fn discover_command(&self) -> String {
        let (run, images) = (quoted(self.output), self.images_arguments());
        format!("ueo discover {run} {images}")
    }

    /// The images of the run, as a command takes them.
    fn images_arguments(&self) -> String {
        let request = &self.report.record.request;
        let mut arguments = format!("--images {}", quoted(nearby(&request.images)));
        if let Some(root) = &request.image_root {
            arguments += &format!(" --image-root {}", quoted(nearby(root)));
        }
        if let Some(column) = &request.columns.image {
            arguments += &format!(" --image-column {}", quoted(Path::new(column)));
        }
        arguments
    }
}

/// Whether some of the images seem to show none of the classes.
fn has_second_group(threshold: &Threshold) -> bool {
    let finding = threshold.finding.as_ref();
    finding.is_some_and(|finding| finding.groups() == Groups::Two)
}
