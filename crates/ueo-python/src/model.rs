//! A model in memory, with the run that it came from.

use std::collections::HashMap;
use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyByteArray;
use ueo::Device;
use ueo::checkpoint::LoadOptions;
use ueo::data::{ClassList, LabelChoice, ParquetColumns};
use ueo::evaluate::{ThresholdMethod, Verdict};
use ueo::image::{CacheContent, ExifOrientation};
use ueo::session::{ImagePrediction, Images, PredictionSet, SkippedImage, embed_images};
use ueo_run::{OpenedModel, PredictRequest, RunDirectory, ThresholdRequest, predict_for};

use crate::choices::{Choices, to_json};
use crate::errors::{error, python_error};
use crate::hub;
use crate::images::Given;
use crate::work::work;

/// A checkpoint or the result of a run.
#[pyclass(frozen, module = "ueo._ueo")]
pub struct Model(OpenedModel);

/// Names and reasons of inputs that were left out.
type Skipped = Vec<(String, String)>;

/// The fields of `ueo.Predictions`, a row per image; numbers are bytes of native 64-bit floats.
#[pyclass(frozen, get_all, module = "ueo._ueo")]
pub struct Predicted {
    paths: Vec<String>,
    /// Positions of their classes, -1 for images that cannot be read.
    classes: Vec<i64>,
    /// `[images]`
    confidences: Py<PyByteArray>,
    /// `[images, classes]`
    probabilities: Py<PyByteArray>,
    known: Vec<bool>,
    /// Words; nothing for images that cannot be read.
    verdicts: Vec<Option<&'static str>>,
    threshold: f64,
    skipped: Skipped,
}

#[pymethods]
impl Model {
    /// Opens a checkpoint or a run directory.
    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf, choices: &str) -> PyResult<Self> {
        let in_words = |message: String| error(py, &message, None);
        let mut choices = Choices::parse(choices).map_err(in_words)?;
        let base: Option<PathBuf> = choices.take("base").map_err(in_words)?;
        let device = choices.device().map_err(in_words)?;
        let precision = choices.take("precision").map_err(in_words)?;
        let activation = choices.take("activation").map_err(in_words)?;
        let orientation: Option<ExifOrientation> =
            choices.take("exif_orientation").map_err(in_words)?;
        let path = hub::resolved(py, path)?;
        let base = base.map(|base| hub::resolved(py, base)).transpose()?;
        if activation.is_some() && RunDirectory::recognizes(&path) {
            let failure = ueo_cli::CliError::ActivationOfRun { run: path };
            return Err(python_error(py, failure));
        }
        let options = LoadOptions::new().activation(activation);
        let opened = py.detach(|| {
            let device = Device::open(device)?;
            let base = base.as_deref();
            let opened = OpenedModel::open_with(&path, base, &device, precision, &options)?;
            Ok::<_, ueo_cli::CliError>(opened)
        });
        let mut opened = opened.map_err(|failure| python_error(py, failure))?;
        if let Some(orientation) = orientation {
            opened.model.preprocessing.exif_orientation = orientation;
        }
        Ok(Self(opened))
    }

    /// The content of `run.json`, for a run.
    #[getter]
    fn record(&self) -> PyResult<Option<String>> {
        self.0.run.as_ref().map(to_json).transpose()
    }

    /// What is known about the checkpoint, as JSON.
    #[getter]
    fn base(&self) -> PyResult<String> {
        to_json(&self.0.model.base)
    }

    /// Width of the shared embedding space.
    #[getter]
    fn embed_dim(&self) -> usize {
        self.0.model.base.config.embed_dim
    }

    /// Classes, confidences and decisions.
    #[pyo3(signature = (choices, images, *, threads, listener))]
    fn predict(
        &self,
        choices: &str,
        images: Given,
        threads: Option<usize>,
        listener: &Bound<'_, PyAny>,
    ) -> PyResult<Predicted> {
        let py = listener.py();
        let in_words = |message: String| error(py, &message, None);
        let mut choices = Choices::parse(choices).map_err(in_words)?;
        let images = images
            .into_input()
            .map_err(|failure| in_words(failure.to_string()))?;
        let classes: Option<Vec<String>> = choices.take("classes").map_err(in_words)?;
        let request = PredictRequest {
            images: images.place().to_owned(),
            image_root: choices.take("image_root").map_err(in_words)?,
            columns: ParquetColumns::default(),
            score: choices.take("score").map_err(in_words)?,
            score_temperature: choices.take("score_temperature").map_err(in_words)?,
            threshold: threshold(&mut choices).map_err(in_words)?,
            top_k: classes.as_ref().map_or(0, Vec::len),
            strict: choices
                .take("strict")
                .map_err(in_words)?
                .unwrap_or_default(),
            classes: classes.map(ClassList::from_names),
            labels: LabelChoice::default(),
        };
        let (paths, predictions) = work(listener, threads, |reporter| {
            let mut paths = Vec::new();
            let predictions = predict_for(&self.0, &request, reporter, |model| {
                let content = CacheContent::default();
                let root = request.image_root.as_deref();
                let images = images.open(content, root, &model.preprocessing, 0)?;
                paths = paths_of(&images);
                Ok(images)
            })?;
            Ok((paths, predictions))
        })?;
        Ok(Predicted::new(py, paths, predictions))
    }

    /// Features of unit norm: paths, bytes of native 32-bit floats `[paths, embed_dim]`, and what was left out.
    #[pyo3(signature = (images, *, image_root, strict, threads, listener))]
    fn transform(
        &self,
        images: Given,
        image_root: Option<PathBuf>,
        strict: bool,
        threads: Option<usize>,
        listener: &Bound<'_, PyAny>,
    ) -> PyResult<(Vec<String>, Py<PyByteArray>, Skipped)> {
        let py = listener.py();
        let images = images
            .into_input()
            .map_err(|failure| error(py, &failure.to_string(), None))?;
        let (paths, embedding) = work(listener, threads, |reporter| {
            let model = &self.0.model;
            let content = CacheContent::default();
            let images = images.open(content, image_root.as_deref(), &model.preprocessing, 0)?;
            images.tell_left_out(reporter);
            let embedding = embed_images(model, &images, strict, reporter)?;
            Ok((paths_of(&images), embedding))
        })?;
        let dim = embedding.embed_dim;
        let mut features = Vec::with_capacity(paths.len() * dim * size_of::<f32>());
        for row in rows(&paths, embedding.names.iter()) {
            let of = |row: usize| &embedding.features[row * dim..][..dim];
            let unreadable = || vec![f32::NAN; dim];
            let values = row.map_or_else(unreadable, |row| of(row).to_vec());
            features.extend(values.iter().flat_map(|value| value.to_ne_bytes()));
        }
        let features = PyByteArray::new(py, &features).unbind();
        Ok((paths, features, names_of(embedding.skipped)))
    }
}

impl Predicted {
    fn new(py: Python<'_>, paths: Vec<String>, predictions: PredictionSet) -> Self {
        let classes = predictions.classes.iter().enumerate();
        let position: HashMap<&str, usize> = classes
            .map(|(position, name)| (name.as_str(), position))
            .collect();
        let predicted = predictions.images.iter().map(|image| &image.path);
        let rows: Vec<Option<&ImagePrediction>> = rows(&paths, predicted)
            .map(|row| row.map(|row| &predictions.images[row]))
            .collect();
        let mut probabilities = vec![f64::NAN; rows.len() * position.len()];
        for (row, image) in probabilities.chunks_mut(position.len()).zip(&rows) {
            for (name, probability) in image.iter().flat_map(|image| &image.top) {
                row[position[name.as_str()]] = *probability;
            }
        }
        let class = |image: &ImagePrediction| position[image.label.as_str()] as i64;
        let images = || rows.iter().copied();
        let confidences: Vec<f64> = images()
            .map(|image| image.map_or(f64::NAN, |image| image.confidence))
            .collect();
        Self {
            classes: images().map(|image| image.map_or(-1, class)).collect(),
            confidences: bytes_of(py, &confidences),
            probabilities: bytes_of(py, &probabilities),
            known: images()
                .map(|image| image.is_some_and(|image| image.known))
                .collect(),
            verdicts: images()
                .map(|image| image.map(|image| word(image.verdict)))
                .collect(),
            threshold: predictions.threshold,
            skipped: names_of(predictions.skipped),
            paths,
        }
    }
}

/// The command line's word.
fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accept => "accept",
        Verdict::Review => "review",
        Verdict::Reject => "reject",
    }
}

fn paths_of(images: &Images) -> Vec<String> {
    (0..images.len())
        .map(|index| images.id(index).to_owned())
        .collect()
}

/// For each of some images its row among those that could be read, which are in the same order.
fn rows<'a>(
    paths: &'a [String],
    readable: impl Iterator<Item = &'a String>,
) -> impl Iterator<Item = Option<usize>> {
    let mut readable = readable.enumerate().peekable();
    paths.iter().map(move |path| {
        let row = readable.next_if(|(_, name)| *name == path);
        row.map(|(row, _)| row)
    })
}

/// A number, a way to choose one, or nothing for that of the run.
fn threshold(choices: &mut Choices) -> Result<ThresholdRequest, String> {
    let value: Option<serde_json::Value> = choices.take("threshold")?;
    let Some(value) = value else {
        return Ok(ThresholdRequest::Stored);
    };
    if let Some(number) = value.as_f64() {
        return Ok(ThresholdRequest::At(number));
    }
    let method: Result<ThresholdMethod, _> = serde_json::from_value(value);
    match method.map_err(|error| format!("threshold: {error}"))? {
        ThresholdMethod::TargetKnownAcceptance(_) => Err(
            "threshold: needs images that are known to be of known classes; `fit` can have some"
                .to_owned(),
        ),
        method => Ok(ThresholdRequest::Choose(method)),
    }
}

fn bytes_of(py: Python<'_>, values: &[f64]) -> Py<PyByteArray> {
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_ne_bytes())
        .collect();
    PyByteArray::new(py, &bytes).unbind()
}

fn names_of(skipped: Vec<SkippedImage>) -> Skipped {
    let skipped = skipped.into_iter();
    skipped.map(|image| (image.id, image.reason)).collect()
}
