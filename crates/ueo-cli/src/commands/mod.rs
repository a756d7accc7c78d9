//! One file or folder per command: its arguments and what it does with them.

pub mod adapt;
pub mod benchmark;
pub mod completions;
pub mod demo;
pub mod discover;
pub mod embed;
pub mod evaluate;
pub mod export;
pub mod inspect;
mod machine;
pub mod man;
pub mod models;
pub mod predict;
pub mod report;
pub mod run;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ueo::checkpoint::LoadOptions;
use ueo::data::{ClassList, ClassNameMap, LabelChoice};
use ueo::exchange::Exchange;
use ueo::model::Precision;
use ueo::quote;
use ueo::session::{PredictionSet, SkippedImage};
use ueo::text::Template;
use ueo::{Device, DeviceChoice};
use ueo_run::{OpenedModel, PredictRequest, RunDirectory, predict as run_predict};

use crate::args::{DecodingArgs, GlobalArgs, ImageArgs, KnowledgeArgs, ModelArgs, ScoreArgs};
use crate::error::CliError;
use crate::exit::Ending;
use crate::hub;
use crate::interrupt::Interrupt;
use crate::printer::Printer;
use crate::reporter::ProgressReporter;
use crate::words::counted;

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
    /// The way to the processes that do the job together.
    pub exchange: Arc<dyn Exchange>,
    /// Whether it has been said what the labels mean; it is the same for all models of a command.
    labels_said: Cell<bool>,
}

impl<'a> Context<'a> {
    /// Applies the global options to this process.
    ///
    /// # Errors
    ///
    /// [`CliError::Threads`] and [`CliError::Device`].
    pub fn new(
        global: &GlobalArgs,
        printer: &'a Printer,
        exchange: Arc<dyn Exchange>,
    ) -> Result<Self, CliError> {
        // Zero lets rayon take all cores.
        let threads = global.threads.unwrap_or(0);
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()
            .map_err(|source| CliError::Threads { threads, source })?;
        Ok(Self {
            printer,
            device: open_device(global.device, printer)?,
            precision: global.precision,
            threads: rayon::current_num_threads(),
            strict: global.strict,
            exchange,
            labels_said: Cell::new(false),
        })
    }

    /// Whether this process writes files; of several it is the first.
    pub fn writes(&self) -> bool {
        self.exchange.is_first()
    }

    /// Opens the model that the user named; without a choice about the orientation of images, the run's counts.
    ///
    /// # Errors
    ///
    /// [`CliError::Run`], [`CliError::Hub`], and [`CliError::ActivationOfRun`] or [`CliError::TemplateOfRun`] for a choice
    /// that a run has made already.
    pub fn open_model(
        &self,
        model: &Path,
        base: Option<&Path>,
        knowledge: KnowledgeArgs,
        templates: &[Template],
        decoding: DecodingArgs,
    ) -> Result<OpenedModel, CliError> {
        let model = hub::resolve(model, self.printer)?;
        let model: &Path = &model;
        let base = base
            .map(|base| hub::resolve(base, self.printer))
            .transpose()?;
        if RunDirectory::recognizes(model) {
            refuse_for_runs(model, knowledge, templates)?;
        }
        let options = LoadOptions::new().activation(knowledge.activation);
        let mut opened = OpenedModel::open_with(
            model,
            base.as_deref(),
            &self.device,
            self.precision,
            &options,
        )?;
        opened.model = opened
            .model
            .with_exchange(Arc::clone(&self.exchange))
            .with_templates(templates)
            .map_err(CliError::Session)?;
        if let Some(orientation) = decoding.exif_orientation {
            opened.model.preprocessing.exif_orientation = orientation;
        }
        self.printer.model(&opened.model.base);
        Ok(opened)
    }

    /// Predicts for `evaluate`; without `classes` those of the model's run count.
    ///
    /// # Errors
    ///
    /// [`CliError::Run`] and [`CliError::Data`].
    pub fn predict(
        &self,
        model: &OpenedModel,
        images: &ImageArgs,
        score: &ScoreArgs,
        labels: LabelChoice,
        classes: Option<ClassList>,
        top_k: usize,
    ) -> Result<PredictionSet, CliError> {
        let request = self.request(images, score, labels, classes, top_k);
        let interrupt = Interrupt::listen(self.printer)?;
        let reporter = ProgressReporter::interruptible(self.printer, interrupt);
        let said = self.labels_said.replace(true);
        let mut reporter = reporter.about_labels(!said);
        let predicted = run_predict(model, &request, &mut reporter);
        reporter.finish();
        Ok(predicted?)
    }

    /// What is asked about images.
    pub fn request(
        &self,
        images: &ImageArgs,
        score: &ScoreArgs,
        labels: LabelChoice,
        classes: Option<ClassList>,
        top_k: usize,
    ) -> PredictRequest {
        PredictRequest {
            images: images.images.clone(),
            image_root: images.image_root.clone(),
            columns: images.columns.columns(),
            classes,
            labels,
            score: score.score,
            score_temperature: score.score_temperature,
            threshold: score.threshold.0,
            top_k,
            strict: self.strict,
        }
    }

    /// Lists inputs that were left out, and says how the command ends because of them.
    pub fn list_skipped(&self, skipped: &[SkippedImage]) -> Ending {
        if skipped.is_empty() {
            return Ending::Complete;
        }
        let printer = self.printer;
        let were = if skipped.len() == 1 { "was" } else { "were" };
        printer.warning(format_args!(
            "{} {were} skipped:",
            counted(skipped.len(), "input")
        ));
        let listed = if printer.is_verbose() {
            skipped.len()
        } else {
            LISTED
        };
        for image in skipped.iter().take(listed) {
            let id = quote::whole(&image.id);
            printer.message(format_args!("  {id}: {}", image.reason));
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

/// Opens the device that the user chose, and says which it is where that is not plain.
fn open_device(choice: DeviceChoice, printer: &Printer) -> Result<Device, CliError> {
    let device = Device::open(choice)?;
    if choice != DeviceChoice::Cpu {
        printer.message(format_args!(
            "computing on {device}, {}",
            device.description()
        ));
    }
    if device.is_software() {
        printer.warning("this is a driver that computes on the processor: --device cpu is faster");
    }
    Ok(device)
}

impl ModelArgs {
    /// Opens the model.
    ///
    /// # Errors
    ///
    /// As [`Context::open_model`].
    pub fn open(
        &self,
        templates: &[Template],
        decoding: DecodingArgs,
        context: &Context,
    ) -> Result<OpenedModel, CliError> {
        let base = self.base.as_deref();
        context.open_model(&self.model, base, self.knowledge, templates, decoding)
    }
}

/// Refuses what a run has decided already.
fn refuse_for_runs(
    run: &Path,
    knowledge: KnowledgeArgs,
    templates: &[Template],
) -> Result<(), CliError> {
    let run = run.to_owned();
    match (knowledge.activation, templates) {
        (Some(_), _) => Err(CliError::ActivationOfRun { run }),
        (None, [_, ..]) => Err(CliError::TemplateOfRun { run }),
        (None, []) => Ok(()),
    }
}

/// The classes of a file, with the names that another one gives to their ids.
fn read_classes(
    path: &Path,
    class_names: Option<&Path>,
    context: &Context,
) -> Result<ClassList, CliError> {
    let classes = ClassList::read(path)?;
    let printer = context.printer;
    printer.message(format_args!(
        "{} in {}",
        counted(classes.len(), "class"),
        path.display()
    ));
    if classes.len() == 1 {
        printer.warning(
            "there is one class alone: every image is put into it, and training cannot separate anything",
        );
        printer.hint("name more than one class, each on a line of its own");
    }
    if let Some(names) = class_names {
        return Ok(classes.renamed(&ClassNameMap::read(names)?)?);
    }
    let names = classes.names();
    if let (Some(first), true) = (names.first(), names.iter().all(|name| is_code(name))) {
        printer.warning(format_args!(
            "the class names look like ids ({}), in which the model reads nothing",
            quote::whole(first)
        ));
        printer.hint("--class-names FILE gives them names: a table `id,name` (.csv) or JSON");
    }
    Ok(classes)
}

/// Whether a name is digits with a letter at most, such as n02084071, and no word.
fn is_code(name: &str) -> bool {
    name.contains(|c: char| c.is_ascii_digit())
        && name.chars().filter(|c| c.is_alphabetic()).count() <= 1
}

/// The ids of classes as a record keeps them.
fn class_ids(classes: &ClassList) -> Option<Vec<String>> {
    classes.ids().map(<[String]>::to_vec)
}

/// A path that stays right when the program is started from elsewhere.
fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path).map_err(|source| CliError::Path {
        path: path.to_owned(),
        source,
    })
}

/// A path as people write it here: relative to the current directory, where it lies below it.
fn nearby(path: &Path) -> &Path {
    let here = std::env::current_dir().ok();
    let below = here.and_then(|here| path.strip_prefix(here).ok());
    match below {
        Some(below) if below != Path::new("") => below,
        _ => path,
    }
}
