//! Cells: one method on one domain under one shift with one seed, as a file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::BenchmarkError;
use super::matched::matched_auroc;
use super::measurements::Measurements;
use super::names::check_name;
use super::protocol::Protocol;
use super::shift::Shift;
use ueo::adapt::Settings;
use ueo::method::Method;
use ueo::model::Precision;
use ueo::session::EngineRecord;
use ueo::write_atomically;

/// Version of the files; raised when their meaning changes.
///
/// 1: before protocols, all cells are of the published one. 2: protocols, and which images were adapted to.
pub const CELL_FORMAT_VERSION: u32 = 2;

/// What one cell was asked to do, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// [`CELL_FORMAT_VERSION`].
    pub format_version: u32,
    /// Version of the program.
    pub ueo_version: String,
    /// Name of the checkpoint when the cell was run, for tables; what it is says the request.
    #[serde(default)]
    pub model: Option<String>,
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
    /// Which images are adapted to and tested.
    #[serde(default)]
    pub protocol: Protocol,
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

/// What is known and said about all readable test images, in the order of their paths.
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
    /// Whether the image is among those of the shift that were adapted to before it was tested; for a method that does not
    /// train, whether it would be. Cells before this field are completed when they are read.
    #[serde(default)]
    pub adapted_to: Vec<bool>,
    /// The half, 0 or 1, that the image is in: it was tested by the model that adapted to the other one. Empty where a
    /// single model tested all images.
    #[serde(default)]
    pub halves: Vec<u8>,
    /// Images that were trained on, of both halves together.
    pub trained_on: usize,
    /// Test images that could not be read.
    pub unreadable: usize,
}

/// Wall-clock time of a cell, and on what; other cells may have run beside it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Threads of the cell.
    pub threads: usize,
    /// What computed the products. Earlier versions did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineRecord>,
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

/// What a cell is about, whatever was asked for: its place below the output directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// Suite, digest of the model, its number format, protocol and variant, as names of folders.
    pub folders: [String; 5],
    /// Name of the domain.
    pub domain: String,
    /// The category shift.
    pub shift: Shift,
    /// The method.
    pub method: Method,
    /// The seed.
    pub seed: Option<u64>,
}

/// Digits of the model's digest in the name of its folder.
const MODEL_DIGITS: usize = 16;

impl CellRequest {
    /// What the cell is about.
    pub fn slot(&self) -> Slot {
        let protocol = self.protocol.name().to_owned();
        let precision = self.precision.to_string();
        Slot {
            folders: [
                self.suite.clone(),
                self.model_sha256.clone(),
                precision,
                protocol,
                self.variant.clone(),
            ],
            domain: self.domain.clone(),
            shift: self.shift,
            method: self.method,
            seed: self.seed,
        }
    }

    /// Where the cell is kept: `cells/SUITE/MODEL/PROTOCOL/VARIANT/DOMAIN/SHIFT/METHOD-SEED.json` below the output directory.
    ///
    /// Cells of earlier versions lie in `cells/VARIANT/DOMAIN/SHIFT/`, and are found there.
    pub fn path(&self, output: &Path) -> PathBuf {
        let name = match self.seed {
            Some(seed) => format!("{}-{seed}.json", self.method),
            None => format!("{}.json", self.method),
        };
        let folder = self.variant_folder(output).join(&self.domain);
        folder.join(self.shift.name()).join(name)
    }

    /// The folder of all cells with the same settings.
    pub fn variant_folder(&self, output: &Path) -> PathBuf {
        let digits = self.model_sha256.len().min(MODEL_DIGITS);
        let model = match self.precision {
            Precision::F32 => self.model_sha256[..digits].to_owned(),
            other => format!("{}-{other}", &self.model_sha256[..digits]),
        };
        let folder = output.join(CELLS).join(&self.suite).join(model);
        folder.join(self.protocol.name()).join(&self.variant)
    }

    /// Whether the names can be folders, and the indices are those of classes.
    fn check(&self) -> Result<(), String> {
        for (what, name) in [
            ("name of a suite", &self.suite),
            ("name of a variant", &self.variant),
            ("name of a domain", &self.domain),
            ("name of a group", &self.group),
        ] {
            check_name(what, name)?;
        }
        if !self
            .model_sha256
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit())
        {
            return Err("expected hexadecimal digits for `model_sha256`".to_owned());
        }
        let ascend = |classes: &[usize]| classes.is_sorted_by(|a, b| a < b);
        if !ascend(&self.known) || !ascend(&self.present) || self.known.is_empty() {
            return Err("expected listed and present classes in ascending order".to_owned());
        }
        let classes = self.classes.len();
        match self
            .known
            .iter()
            .chain(&self.present)
            .all(|&class| class < classes)
        {
            true => Ok(()),
            false => Err(format!("expected class indices below {classes}")),
        }
    }

    /// Whether the test images are those that a shift's images are taken from.
    pub fn one_list(&self) -> bool {
        self.train_images == self.test_images
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

/// A file below `cells/`, and what it is about if that can be read.
#[derive(Debug)]
pub struct CellFile {
    /// The file.
    pub path: PathBuf,
    /// What was asked for.
    pub request: Result<CellRequest, BenchmarkError>,
}

/// The part of a cell that says what it is about.
#[derive(Deserialize)]
struct CellHead {
    request: CellRequest,
}

impl CellFile {
    /// All files below an output directory, in the order of their paths.
    ///
    /// # Errors
    ///
    /// [`BenchmarkError::Io`] when a folder cannot be listed.
    pub fn list(output: &Path) -> Result<Vec<Self>, BenchmarkError> {
        let head = |path: PathBuf| {
            let text = std::fs::read_to_string(&path)
                .map_err(|source| BenchmarkError::io("read", &path, source));
            let request = text.and_then(|text| {
                check_version(&text, &path)?;
                let head: CellHead = parse(&text, &path)?;
                head.request
                    .check()
                    .map_err(|reason| wrong(&path, reason))?;
                Ok(head.request)
            });
            Self { path, request }
        };
        Ok(cell_paths(output)?.into_iter().map(head).collect())
    }
}

/// The cell files below an output directory, in order.
fn cell_paths(output: &Path) -> Result<Vec<PathBuf>, BenchmarkError> {
    let root = output.join(CELLS);
    if !root.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in walkdir::WalkDir::new(&root).sort_by_file_name() {
        let entry = entry.map_err(|error| BenchmarkError::io("list", &root, error.into()))?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let is_cell = entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "json");
        if is_cell && !hidden {
            paths.push(entry.into_path());
        }
    }
    Ok(paths)
}

fn wrong(path: &Path, reason: String) -> BenchmarkError {
    BenchmarkError::Cell {
        path: path.to_owned(),
        reason,
    }
}

fn parse<T: serde::de::DeserializeOwned>(text: &str, path: &Path) -> Result<T, BenchmarkError> {
    serde_json::from_str(text).map_err(|error| wrong(path, error.to_string()))
}

/// Refuses a file of another version, whatever else it has.
fn check_version(text: &str, path: &Path) -> Result<(), BenchmarkError> {
    #[derive(Deserialize)]
    struct Version {
        format_version: u32,
    }
    let found = parse::<Version>(text, path)?.format_version;
    match (1..=CELL_FORMAT_VERSION).contains(&found) {
        true => Ok(()),
        false => Err(BenchmarkError::CellVersion {
            path: path.to_owned(),
            newest: CELL_FORMAT_VERSION,
            found,
        }),
    }
}

impl Cell {
    /// Reads a cell.
    ///
    /// # Errors
    ///
    /// [`BenchmarkError::Io`] and [`BenchmarkError::Cell`].
    pub fn read(path: &Path) -> Result<Self, BenchmarkError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| BenchmarkError::io("read", path, source))?;
        Self::parse(&text, path)
    }

    /// Reads and checks the text of a cell; `path` names it in messages.
    ///
    /// # Errors
    ///
    /// [`BenchmarkError::Cell`] and [`BenchmarkError::CellVersion`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, BenchmarkError> {
        check_version(text, path)?;
        let mut cell: Self = parse(text, path)?;
        let checked = cell.request.check();
        checked
            .and_then(|()| cell.images.check(cell.request.classes.len()))
            .map_err(|reason| wrong(path, reason))?;
        cell.complete();
        Ok(cell)
    }

    /// Fills in what cells of earlier versions do not say and what follows from what they do.
    fn complete(&mut self) {
        let (request, images) = (&self.request, &mut self.images);
        if images.adapted_to.is_empty() {
            let adapted_to = |class: &usize| request.one_list() && request.present.contains(class);
            images.adapted_to = images.labels.iter().map(adapted_to).collect();
            if let Some(results) = &mut self.results {
                results.auroc_matched = matched_auroc(images, &request.known, &images.confidences);
            }
        }
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
        let json = serde_json::to_string(self).map_err(|error| wrong(&path, error.to_string()))?;
        ueo::disk::create_directories(folder)
            .and_then(|()| write_atomically(&path, |file| writeln!(file, "{json}")))
            .map_err(|source| BenchmarkError::io("write", &path, source))
    }

    /// All cells below an output directory, in the order of their paths.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn read_all(output: &Path) -> Result<Vec<Self>, BenchmarkError> {
        cell_paths(output)?
            .iter()
            .map(|path| Self::read(path))
            .collect()
    }
}

impl CellImages {
    /// Whether all lists are about the same images, and the indices are those of classes.
    fn check(&self, classes: usize) -> Result<(), String> {
        let images = self.labels.len();
        let lengths = [
            self.predictions.len(),
            self.confidences.len(),
            self.scaled_confidences.len(),
        ];
        let optional = [
            self.maximum_cosines.len(),
            self.adapted_to.len(),
            self.halves.len(),
        ];
        if lengths != [images; 3] || optional.iter().any(|length| ![0, images].contains(length)) {
            return Err("expected as many predictions and confidences as labels".to_owned());
        }
        let scores = self.confidences.iter().chain(&self.scaled_confidences);
        if !scores
            .chain(&self.maximum_cosines)
            .all(|score| score.is_finite())
        {
            return Err("expected finite confidences".to_owned());
        }
        if self
            .labels
            .iter()
            .chain(&self.predictions)
            .any(|&class| class >= classes)
        {
            return Err(format!("expected class indices below {classes}"));
        }
        Ok(())
    }

    /// Adds what is said about further images.
    pub fn append(&mut self, mut more: Self) {
        self.labels.append(&mut more.labels);
        self.predictions.append(&mut more.predictions);
        self.confidences.append(&mut more.confidences);
        self.scaled_confidences.append(&mut more.scaled_confidences);
        self.maximum_cosines.append(&mut more.maximum_cosines);
        self.adapted_to.append(&mut more.adapted_to);
        self.halves.append(&mut more.halves);
    }

    /// Puts what the models of two halves say into the order of the images; `positions` says where each image belongs.
    pub fn in_order(&self, positions: &[usize]) -> Self {
        let mut order: Vec<usize> = (0..positions.len()).collect();
        order.sort_by_key(|&place| positions[place]);
        Self {
            labels: sorted(&self.labels, &order),
            predictions: sorted(&self.predictions, &order),
            confidences: sorted(&self.confidences, &order),
            scaled_confidences: sorted(&self.scaled_confidences, &order),
            maximum_cosines: sorted(&self.maximum_cosines, &order),
            adapted_to: sorted(&self.adapted_to, &order),
            halves: sorted(&self.halves, &order),
            ..*self
        }
    }
}

fn sorted<T: Copy>(values: &[T], order: &[usize]) -> Vec<T> {
    order
        .iter()
        .filter_map(|&place| values.get(place).copied())
        .collect()
}
