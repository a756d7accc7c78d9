//! An adaptation, as `ueo adapt` does it.

use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use ueo::Device;
use ueo::data::{ClassList, ParquetColumns};
use ueo::evaluate::ScoreRule;
use ueo_run::{AdaptRequest, RunStatus, Start};

use crate::choices::Choices;
use crate::errors::{error, python_error};
use crate::hub;
use crate::images::{Given, ImageInput};
use crate::work::work;

/// Steps between two states on disk, and memory for decoded images in bytes: those of the command line.
const CHECKPOINT_EVERY: usize = 50;
const IMAGE_CACHE_BYTES: u64 = 2 << 30;

/// What to do with a run that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Existing {
    Refuse,
    Overwrite,
    Resume,
}

/// Adapts to images, into a run directory. Returns what there is to doubt about the result.
#[pyfunction]
#[pyo3(signature = (choices, images, output, *, resume, overwrite, threads, listener))]
pub fn adapt(
    choices: &str,
    images: Given,
    output: PathBuf,
    resume: bool,
    overwrite: bool,
    threads: Option<usize>,
    listener: &Bound<'_, PyAny>,
) -> PyResult<Vec<String>> {
    let py = listener.py();
    let in_words = |message: String| error(py, &message, None);
    let existing = match (resume, overwrite) {
        (true, true) => {
            let message = "resume and overwrite exclude each other";
            return Err(error(py, message, None));
        }
        (true, false) => Existing::Resume,
        (false, true) => Existing::Overwrite,
        (false, false) => Existing::Refuse,
    };
    let images = images
        .into_input()
        .map_err(|failure| in_words(failure.to_string()))?;
    let mut choices = Choices::parse(choices).map_err(in_words)?;
    let device = choices.device().map_err(in_words)?;
    let device = Device::open(device).map_err(|failure| python_error(py, failure))?;
    let mut request = request(choices, &images, &device, threads).map_err(in_words)?;
    request.model = absolute(&hub::resolved(py, request.model)?).map_err(in_words)?;
    if request.settings.reduce_images.is_some() && matches!(images, ImageInput::Pixels(_)) {
        let message =
            "reduce-images: expected no choice with images in memory, which stay there as they are";
        return Err(error(py, message, None));
    }
    let report = work(listener, threads, |reporter| {
        let start = start(request, existing);
        ueo_run::adapt_to(start, &output, &device, reporter, |request, model| {
            let content = request.settings.cache_content(model.preprocessing.crop)?;
            images.open(
                content,
                request.image_root.as_deref(),
                &model.preprocessing,
                request.image_cache_bytes,
            )
        })
    })?;
    debug_assert_eq!(report.record.status, RunStatus::Finished);
    let warnings = report.record.warnings.iter();
    Ok(warnings
        .map(|warning| match warning.concerns_result {
            Some(true) => format!("{warning}\nhint: {}", ueo_cli::guard_hint()),
            _ => warning.to_string(),
        })
        .collect())
}

fn start(request: AdaptRequest, existing: Existing) -> Start {
    let request = Box::new(request);
    match existing {
        Existing::Resume => Start::Resume {
            request: Some(request),
            base: None,
            epochs: None,
        },
        Existing::Refuse | Existing::Overwrite => Start::New {
            request,
            overwrite: existing == Existing::Overwrite,
        },
    }
}

/// The request that the command line would make.
fn request(
    mut choices: Choices,
    images: &ImageInput,
    device: &Device,
    threads: Option<usize>,
) -> Result<AdaptRequest, String> {
    let model: PathBuf = choices.need("model")?;
    let image_root: Option<PathBuf> = choices.take("image_root")?;
    let names: Vec<String> = choices.need("classes")?;
    let classes = match choices.take::<PathBuf>("class_file")? {
        Some(file) => ClassList::read(&file).map_err(|error| error.to_string())?,
        None => ClassList::from_names(names),
    };
    let oracle_labels: Option<PathBuf> = choices.take("labels_for_oracle")?;
    let threshold_images: Option<PathBuf> = choices.take("threshold_images")?;
    let score = choices.take("score")?.unwrap_or_default();
    let rule = ScoreRule::new(score, choices.take("score_temperature")?);
    Ok(AdaptRequest {
        model,
        images: match images.place() {
            nowhere if nowhere == Path::new("") => nowhere.to_owned(),
            place => absolute(place)?,
        },
        image_root: image_root.as_deref().map(absolute).transpose()?,
        columns: ParquetColumns::default(),
        class_ids: classes.ids().map(<[String]>::to_vec),
        classes: classes.names().to_vec(),
        labels: choices.take("labels")?.unwrap_or_default(),
        oracle_labels: oracle_labels.as_deref().map(absolute).transpose()?,
        score: rule.score,
        score_temperature: rule.temperature,
        threshold_method: choices.take("threshold")?.unwrap_or_default(),
        threshold_images: threshold_images.as_deref().map(absolute).transpose()?,
        tensorboard: false,
        standalone: false,
        checkpoint_every: CHECKPOINT_EVERY,
        image_cache_bytes: choices.take("image_cache")?.unwrap_or(IMAGE_CACHE_BYTES),
        strict: choices.take("strict")?.unwrap_or(false),
        threads: threads.unwrap_or_else(rayon::current_num_threads),
        device: device.name().to_owned(),
        precision: choices.take("precision")?.unwrap_or_default(),
        activation: choices.take("activation")?,
        exif_orientation: choices.take("exif_orientation")?.unwrap_or_default(),
        // Last: it takes all that is left.
        settings: choices.settings()?,
    })
}

fn absolute(path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|_| format!("{} cannot be found from here", path.display()))
}
