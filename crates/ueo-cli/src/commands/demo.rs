//! `ueo demo`: the whole way on a model and images inside the program.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use ueo::adapt::Settings;
use ueo::data::LabelChoice;
use ueo::evaluate::{ScoreRule, ThresholdMethod};
use ueo::image::ExifOrientation;
use ueo_run::{AdaptRequest, Start};

use super::{Context, absolute, adapt, read_classes};
use crate::error::CliError;
use crate::exit::Ending;
use crate::output::write_file;

const AFTER_HELP: &str = "\
The same code as `ueo adapt` runs on a small CLIP for icons and on drawings in a style that it has not seen, some of them \
of classes that it is not told about. Model, drawings and class names are put into a directory beside the run:
  ueo demo
  ueo inspect --model ueo-demo
  ueo predict --model ueo-demo --images ueo-demo-input/images.tar --output predictions.csv

Exit codes: 0 done, 2 error, 130 interrupted.";

/// Adapt an embedded model to embedded images, to see what ueo does
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct DemoArgs {
    /// Run directory to create; the inputs go into a directory of the same name with `-input` at its end
    #[arg(long, value_name = "DIR", default_value = "ueo-demo")]
    pub output: PathBuf,

    /// Embedded model to adapt
    #[arg(long, value_enum, value_name = "NAME", default_value = "resnet")]
    pub architecture: DemoModel,

    /// Replace a run directory that exists
    #[arg(long)]
    pub overwrite: bool,
}

/// Which of the embedded models to adapt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DemoModel {
    /// A modified ResNet of 3.9 million parameters
    Resnet,
    /// A vision transformer of 3.2 million parameters
    Vit,
}

/// The names of what [`write_demo`] writes.
const IMAGES: &str = "images.tar";
const CLASSES: &str = "classes.txt";
const MODEL: &str = "model";

impl DemoModel {
    fn files(self) -> [(&'static str, &'static [u8]); 3] {
        match self {
            Self::Resnet => ueo_iconclip_resnet::FILES,
            Self::Vit => ueo_iconclip_vit::FILES,
        }
    }
}

/// Enough for the losses to settle, in half a minute.
const EPOCHS: usize = 15;
/// The model is far smaller than those that the default of 1e-4 is meant for. Chosen on the validation classes of
/// IconNet, which the demonstration does not show (tools/iconnet/README.md).
const LEARNING_RATE: f64 = 5e-2;

/// The settings of the demonstration.
pub fn demo_settings() -> Settings {
    Settings::default()
        .epochs(EPOCHS)
        .context_learning_rate(LEARNING_RATE)
        .affine_learning_rate(LEARNING_RATE)
}

/// Writes the inputs and adapts.
///
/// # Errors
///
/// As `ueo adapt`, and [`CliError::Write`].
pub fn run(args: &DemoArgs, context: &Context) -> Result<Ending, CliError> {
    let inputs = write_inputs(&args.output, args.architecture)?;
    let classes = read_classes(&inputs.join(CLASSES), None, context)?;
    let request = AdaptRequest {
        model: absolute(&inputs.join(MODEL))?,
        images: absolute(&inputs.join(IMAGES))?,
        image_root: None,
        columns: ueo::data::ParquetColumns::default(),
        classes: classes.names().to_vec(),
        class_ids: None,
        labels: LabelChoice::default(),
        oracle_labels: None,
        settings: demo_settings(),
        score: ScoreRule::default().score,
        score_temperature: ScoreRule::default().temperature,
        threshold_method: ThresholdMethod::default(),
        threshold_images: None,
        tensorboard: false,
        standalone: false,
        checkpoint_every: 10,
        image_cache_bytes: 64 << 20,
        strict: context.strict,
        threads: context.threads,
        device: context.device.name().to_owned(),
        precision: context.precision.unwrap_or_default(),
        activation: None,
        exif_orientation: ExifOrientation::default(),
    };
    let start = Start::New {
        request: Box::new(request),
        overwrite: args.overwrite,
    };
    adapt::adapt(start, &args.output, true, context)
}

/// Puts the inputs beside the run directory, where they stay: the run finds its model there.
fn write_inputs(output: &Path, architecture: DemoModel) -> Result<PathBuf, CliError> {
    let mut name = absolute(output)?
        .file_name()
        .map_or_else(OsString::new, OsString::from);
    name.push("-input");
    let inputs = output.with_file_name(name);
    write_demo(&inputs, architecture)?;
    Ok(inputs)
}

/// Writes the inputs of the demonstration into a directory: a checkpoint `model`, the drawings `images.tar` and the names of
/// the known classes `classes.txt`.
///
/// # Errors
///
/// [`CliError::Write`].
pub fn write_demo(directory: &Path, architecture: DemoModel) -> Result<(), CliError> {
    let model = directory.join(MODEL);
    fs::create_dir_all(&model).map_err(|source| CliError::Write {
        path: model.clone(),
        source,
    })?;
    let images = [
        (directory.join(IMAGES), ueo_demo_images::IMAGES),
        (directory.join(CLASSES), ueo_demo_images::CLASSES),
    ];
    let files = architecture.files();
    let files = files.map(|(name, content)| (model.join(name), content));
    for (path, content) in images.into_iter().chain(files) {
        write_file(&path, |file| file.write_all(content))?;
    }
    Ok(())
}
