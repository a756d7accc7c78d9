//! One file per command: its arguments and what it does with them.

pub mod adapt;
pub mod benchmark;
pub mod demo;
pub mod embed;
pub mod evaluate;
pub mod inspect;
pub mod predict;
pub mod report;

use std::path::{Path, PathBuf};

use ueo::Device;
use ueo::data::ClassList;
use ueo::model::Precision;
use ueo::session::{PredictionSet, SkippedImage};
use ueo_run::{OpenedModel, PredictRequest, predict as run_predict};

use crate::args::{GlobalArgs, ImageArgs, ModelArgs, ScoreArgs};
use crate::error::CliError;
use crate::exit::Ending;
use crate::interrupt::Interrupt;
use crate::printer::Printer;
use crate::reporter::ProgressReporter;

/// Skipped inputs that are named on the screen before they are only counted.
const LISTED: usize = 10;

/// What every command works with.
pub struct Context<'a> {
    /// The way to the screen.
    pub printer: &'a Printer,
    /// Where to compute.
    pub device: Device,
    /// Number format of the frozen matrices, if the user chose one.
    pub precision: Option<Precision>,
    /// Threads of computing and reading.
    pub threads: usize,
    /// Whether inputs that cannot be read are errors.
    pub strict: bool,
}

impl<'a> Context<'a> {
    /// Applies the global options to this process.
    ///
    /// # Errors
    ///
    /// [`CliError::Threads`].
    pub fn new(global: &GlobalArgs, printer: &'a Printer) -> Result<Self, CliError> {
        // Zero lets rayon take all cores.
        let threads = global.threads.unwrap_or(0);
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()
            .map_err(|source| CliError::Threads { threads, source })?;
        Ok(Self {
            printer,
            device: global.device.clone(),
            precision: global.precision,
            threads: rayon::current_num_threads(),
            strict: global.strict,
        })
    }

    /// Opens the model that the user named.
    ///
    /// # Errors
    ///
    /// [`CliError::Run`].
    pub fn open_model(&self, model: &ModelArgs) -> Result<OpenedModel, CliError> {
        let opened = OpenedModel::open(
            &model.model,
            model.base.as_deref(),
            &self.device,
            self.precision,
        )?;
        self.printer.model(&opened.model.base);
        Ok(opened)
    }

    /// Predicts, as `predict` and `evaluate` do.
    ///
    /// # Errors
    ///
    /// [`CliError::Run`] and [`CliError::Data`].
    pub fn predict(
        &self,
        model: &OpenedModel,
        images: &ImageArgs,
        score: &ScoreArgs,
        top_k: usize,
    ) -> Result<PredictionSet, CliError> {
        let request = PredictRequest {
            images: images.images.clone(),
            image_root: images.image_root.clone(),
            classes: score.classes.as_deref().map(read_classes).transpose()?,
            score: score.score,
            score_temperature: score.score_temperature,
            threshold: score.threshold.value(),
            top_k,
            strict: self.strict,
        };
        let interrupt = Interrupt::listen(self.printer)?;
        let mut reporter = ProgressReporter::interruptible(self.printer, interrupt);
        let predicted = run_predict(model, &request, &mut reporter);
        reporter.finish();
        Ok(predicted?)
    }

    /// Lists inputs that were left out, and says how the command ends because of them.
    pub fn list_skipped(&self, skipped: &[SkippedImage]) -> Ending {
        if skipped.is_empty() {
            return Ending::Complete;
        }
        let printer = self.printer;
        let plural = if skipped.len() == 1 {
            "input was"
        } else {
            "inputs were"
        };
        printer.warning(format_args!("{} {plural} skipped:", skipped.len()));
        let listed = if printer.is_verbose() {
            skipped.len()
        } else {
            LISTED
        };
        for image in skipped.iter().take(listed) {
            printer.message(format_args!("  {}: {}", image.id, image.reason));
        }
        if skipped.len() > listed {
            printer.message(format_args!(
                "  and {} more; --verbose lists all",
                skipped.len() - listed
            ));
        }
        Ending::SomeInputsFailed
    }
}

/// The class names of a file.
fn read_classes(path: &Path) -> Result<Vec<String>, CliError> {
    Ok(ClassList::read(path)?.names().to_vec())
}

/// A path that stays right when the program is started from elsewhere.
fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path).map_err(|source| CliError::Path {
        path: path.to_owned(),
        source,
    })
}

/// A path as it can be pasted into a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%=:,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_survive_a_shell() {
        assert_eq!(quoted(Path::new("runs/a-1")), "runs/a-1");
        assert_eq!(quoted(Path::new("my run")), "'my run'");
        assert_eq!(quoted(Path::new("it's")), r"'it'\''s'");
    }
}
