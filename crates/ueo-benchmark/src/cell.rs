//! Cells: one method on one domain under one shift with one seed, as a file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::BenchmarkError;
use super::measurements::Measurements;
use super::shift::Shift;
use ueo::adapt::Settings;
use ueo::method::Method;
use ueo::model::Precision;
use ueo::write_atomically;

/// Version of the files; raised when their meaning changes.
pub const CELL_FORMAT_VERSION: u32 = 1;

/// What one cell was asked to do, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// [`CELL_FORMAT_VERSION`].
    pub format_version: u32,
    /// Version of the program.
    pub ueo_version: String,
    /// What was asked for. A cell is not run again while this stays the same.
    pub request: CellRequest,
    /// The measurements, `None` when the training failed.
    pub results: Option<Measurements>,
    /// Why there are none: training that ended in infinities is a result too.
    pub failure: Option<String>,
    /// What the model said about each test image.
    pub images: CellImages,
    /// What depends on the machine; nothing else does.
    pub timing: Timing,
}

/// What determines the result of a cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellRequest {
    /// Name of the suite.
    pub suite: String,
    /// Name of the variant of the settings.
    pub variant: String,
    /// Name of the domain.
    pub domain: String,
    /// Group of the domain, within which tables average.
    pub group: String,
    /// The category shift.
    pub shift: Shift,
    /// The method.
    pub method: Method,
    /// The seed, `None` for methods without randomness.
    pub seed: Option<u64>,
    /// All settings.
    #[serde(deserialize_with = "settings_with_defaults")]
    pub settings: Settings,
    /// SHA-256 of the checkpoint.
    pub model_sha256: String,
    /// Number format of its frozen matrices; cells before this setting were in f32.
    #[serde(default)]
    pub precision: Precision,
    /// Names of all classes of the suite.
    pub classes: Vec<String>,
    /// Indices of the listed classes; predictions are among these.
    pub known: Vec<usize>,
    /// Indices of the classes whose images are trained on.
    pub present: Vec<usize>,
    /// The images that `present` is taken from.
    pub train_images: ImagesId,
    /// The images that are tested on, all of them.
    pub test_images: ImagesId,
}

/// Which images these are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagesId {
    /// Number of images, unreadable ones included.
    pub count: usize,
    /// SHA-256 over paths and labels.
    pub fingerprint: String,
}

/// Labels, predictions and confidences of all readable test images, in the order of their paths.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CellImages {
    /// True class, an index into the suite's classes.
    pub labels: Vec<usize>,
    /// Predicted class, an index into the suite's classes.
    pub predictions: Vec<usize>,
    /// Maximum of softmax(cosines).
    pub confidences: Vec<f64>,
    /// Maximum of softmax(logit scale x cosines).
    pub scaled_confidences: Vec<f64>,
    /// Largest cosine, the maximum-logit score; cells before this field do not have it.
    #[serde(default)]
    pub maximum_cosines: Vec<f64>,
    /// Images that were trained on.
    pub trained_on: usize,
    /// Test images that could not be read.
    pub unreadable: usize,
}

/// Wall-clock time of a cell; other cells may have run beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Threads of the cell.
    pub threads: usize,
    /// Training, in seconds.
    pub adaptation_secs: f64,
    /// Everything after the training, in seconds.
    pub evaluation_secs: f64,
}

/// Settings of a file; what it does not say, because the setting is younger, is at its default.
fn settings_with_defaults<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Settings, D::Error> {
    use serde::de::Error;

    let stored = Map::deserialize(deserializer)?;
    let default = serde_json::to_value(Settings::default()).map_err(D::Error::custom)?;
    let Value::Object(mut settings) = default else {
        return Err(D::Error::custom("settings without fields"));
    };
    settings.extend(stored);
    serde_json::from_value(Value::Object(settings)).map_err(D::Error::custom)
}

impl CellRequest {
    /// Where the cell is kept below the output directory: `cells/VARIANT/DOMAIN/SHIFT/METHOD-SEED.json`.
    pub fn path(&self, output: &Path) -> PathBuf {
        let name = match self.seed {
            Some(seed) => format!("{}-{seed}.json", self.method),
            None => format!("{}.json", self.method),
        };
        let folder = output.join(CELLS).join(&self.variant).join(&self.domain);
        folder.join(self.shift.name()).join(name)
    }

    /// Names of the listed classes.
    pub fn known_names(&self) -> Vec<String> {
        self.known
            .iter()
            .map(|&class| self.classes[class].clone())
            .collect()
    }

    /// Indices of the classes that are not listed.
    pub fn unknown(&self) -> Vec<usize> {
        (0..self.classes.len())
            .filter(|class| !self.known.contains(class))
            .collect()
    }
}

const CELLS: &str = "cells";

impl Cell {
    /// Reads a cell.
    ///
    /// # Errors
    ///
    /// [`BenchmarkError::Io`] and [`BenchmarkError::Cell`].
    pub fn read(path: &Path) -> Result<Self, BenchmarkError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| BenchmarkError::io("read", path, source))?;
        let wrong = |reason: String| BenchmarkError::Cell {
            path: path.to_owned(),
            reason,
        };
        let cell: Self = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if cell.format_version != CELL_FORMAT_VERSION {
            return Err(wrong(format!(
                "expected format version {CELL_FORMAT_VERSION}, found {}",
                cell.format_version
            )));
        }
        let images = &cell.images;
        let lengths = [&images.confidences, &images.scaled_confidences].map(Vec::len);
        if images.predictions.len() != images.labels.len()
            || lengths.iter().any(|&length| length != images.labels.len())
            || ![0, images.labels.len()].contains(&images.maximum_cosines.len())
        {
            return Err(wrong(
                "expected as many predictions and confidences as labels".to_owned(),
            ));
        }
        let classes = cell.request.classes.len();
        if images
            .labels
            .iter()
            .chain(&images.predictions)
            .any(|&class| class >= classes)
        {
            return Err(wrong(format!("expected class indices below {classes}")));
        }
        Ok(cell)
    }

    /// Writes the cell to its place, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`BenchmarkError::Io`].
    pub fn write(&self, output: &Path) -> Result<(), BenchmarkError> {
        use std::io::Write;

        let path = self.request.path(output);
        let folder = path.parent().unwrap_or(output);
        let json = serde_json::to_string(self).map_err(|error| BenchmarkError::Cell {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        std::fs::create_dir_all(folder)
            .and_then(|()| write_atomically(&path, |file| writeln!(file, "{json}")))
            .map_err(|source| BenchmarkError::io("write", &path, source))
    }

    /// All cells below an output directory, in the order of their paths.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn read_all(output: &Path) -> Result<Vec<Self>, BenchmarkError> {
        let root = output.join(CELLS);
        if !root.is_dir() {
            return Ok(Vec::new());
        }
        let mut cells = Vec::new();
        for entry in walkdir::WalkDir::new(&root).sort_by_file_name() {
            let entry = entry.map_err(|error| BenchmarkError::io("list", &root, error.into()))?;
            let path = entry.path();
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
                && !hidden
            {
                cells.push(Self::read(path)?);
            }
        }
        Ok(cells)
    }
}
