//! `run.json`: everything needed to understand, repeat, resume and use a run.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use ueo::adapt::Settings;
use ueo::budget::JsonBudget;
use ueo::checkpoint::Activation;
use ueo::data::{DatasetOptions, LabelChoice, LeftOutCount, ParquetColumns};
use ueo::evaluate::{Evaluation, Score, ScoreRule, Threshold, ThresholdMethod};
use ueo::guard::{Signs, Warning};
use ueo::image::ExifOrientation;
use ueo::model::Precision;
use ueo::session::{BaseRecord, EngineRecord, LabelRecord, SkippedImage};

/// Version of the layout of `run.json`; readers refuse all others.
pub const FORMAT_VERSION: u32 = 1;

/// The longest list in it is that of images that were left out: room for a million of them.
pub(crate) const RECORD_BUDGET: JsonBudget = JsonBudget {
    bytes: 512 << 20,
    values: 1 << 24,
};

/// What `adapt` was asked to do, fully resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdaptRequest {
    /// The checkpoint, as an absolute path.
    pub model: PathBuf,
    /// The unlabeled images: a directory, list file, tar shard, Parquet file or directory of these, as an absolute path.
    pub images: PathBuf,
    /// Folder to which the paths of a list file are relative.
    pub image_root: Option<PathBuf>,
    /// Columns of Parquet files, where they are not the usual ones.
    #[serde(default, skip_serializing_if = "ParquetColumns::is_default")]
    pub columns: ParquetColumns,
    /// Names of the known classes, in the order of the class file.
    pub classes: Vec<String>,
    /// The ids of the classes, where their file has some: labels may spell classes by them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_ids: Option<Vec<String>>,
    /// Where labels to measure by come from.
    #[serde(default, skip_serializing_if = "LabelChoice::is_auto")]
    pub labels: LabelChoice,
    /// Where true labels for oracle weights come from, if they are used.
    pub oracle_labels: Option<PathBuf>,
    /// Choices of the adaptation.
    pub settings: Settings,
    /// What the confidence is; runs before this setting used the maximum softmax probability.
    #[serde(default = "score_of_version_0_1_0")]
    pub score: Score,
    /// Divides the cosines where the score has a softmax.
    pub score_temperature: f64,
    /// How the threshold between known and unknown is chosen.
    pub threshold_method: ThresholdMethod,
    /// Labelled images that `target-known-acceptance` is measured on, as an absolute path.
    #[serde(default)]
    pub threshold_images: Option<PathBuf>,
    /// Whether the records of the run are also written as an event file for TensorBoard.
    #[serde(default)]
    pub tensorboard: bool,
    /// Whether a full adapted checkpoint is written beside the small one.
    pub standalone: bool,
    /// Steps between two resumable states on disk.
    pub checkpoint_every: usize,
    /// Bytes of decoded images that may be kept in memory.
    pub image_cache_bytes: u64,
    /// Whether unreadable images are errors.
    pub strict: bool,
    /// Threads of the computation.
    pub threads: usize,
    /// Device of the computation, where the run was continued the last one.
    pub device: String,
    /// Number format of the frozen matrices; runs before this setting were in f32.
    #[serde(default)]
    pub precision: Precision,
    /// The activation of both towers, where the user named it; `None` leaves it to the checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
    /// Whether the camera's orientation of an image counts; runs before this setting took images as they are stored.
    #[serde(default)]
    pub exif_orientation: ExifOrientation,
}

fn score_of_version_0_1_0() -> Score {
    Score::Msp
}

impl AdaptRequest {
    /// How the images are opened.
    pub fn image_options(&self) -> DatasetOptions {
        DatasetOptions {
            image_root: self.image_root.clone(),
            columns: self.columns.clone(),
        }
    }

    /// The score with its temperature.
    pub fn score_rule(&self) -> ScoreRule {
        ScoreRule {
            score: self.score,
            temperature: self.score_temperature,
        }
    }
}

/// The images of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImagesRecord {
    /// Images that were used.
    pub used: usize,
    /// Inputs that were left out.
    pub skipped: Vec<SkippedImage>,
    /// Files beside the images that were not taken, by reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOutCount>,
    /// How labels were understood; runs before this field do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<LabelRecord>,
    /// SHA-256 over the ids of the used images, which tells on resuming whether the folder has changed.
    pub fingerprint: String,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunStatus {
    /// Steps remain; `adapt --resume` continues.
    Incomplete,
    /// All steps are done.
    Finished,
}

/// The content of `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// [`FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// Version of `ueo` that wrote the run.
    pub ueo_version: String,
    /// How far the run has come.
    pub status: RunStatus,
    /// What was asked for.
    pub request: AdaptRequest,
    /// The checkpoint that was adapted.
    pub base: BaseRecord,
    /// Text from which the context vectors started.
    pub context_template: String,
    /// The images that were used and left out.
    pub images: ImagesRecord,
    /// Steps of the whole adaptation.
    pub total_steps: usize,
    /// Passes over the images, chosen where the request leaves it open; `None` for a method without training. Runs before this field have
    /// what they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// Trained numbers: context vectors and affine parameters.
    pub trained_parameters: usize,
    /// The threshold on the zero-shot model's confidence; runs before this field do not have it.
    #[serde(default)]
    pub zero_shot_threshold: Option<Threshold>,
    /// The threshold on the confidence, once the run is finished.
    pub threshold: Option<Threshold>,
    /// The epoch whose parameters are the result (0: the zero-shot model's), once the run is finished.
    #[serde(default)]
    pub kept_epoch: Option<usize>,
    /// SHA-256 of `adapted.safetensors`, once the run is finished; runs before this field do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapted_sha256: Option<String>,
    /// What the predictions of the zero-shot model look like without labels, on the test view.
    #[serde(default)]
    pub zero_shot_signs: Option<Signs>,
    /// What those of the adapted model look like, once the run is finished.
    #[serde(default)]
    pub adapted_signs: Option<Signs>,
    /// Reasons to doubt that the adaptation does good, by label-free signs.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// Measurements of the zero-shot model, when the images have labels.
    pub zero_shot: Option<Evaluation>,
    /// Measurements of the adapted model, when the images have labels and the run is finished.
    pub adapted: Option<Evaluation>,
    /// What computed the run, where it began; runs before this field do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineRecord>,
    /// Wall-clock seconds of the steps, over all sessions of the run.
    pub adaptation_secs: f64,
}

impl RunRecord {
    /// Passes over the images; none for a method without training that was not told any.
    pub fn epoch_count(&self) -> usize {
        let given = self.request.settings.epochs.given();
        self.epochs.or(given).unwrap_or(0)
    }
}

impl RunRecord {
    /// Reads the content of `run.json`.
    ///
    /// # Errors
    ///
    /// In words, what is not as this version writes it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Versioned {
            #[serde(default)]
            format_version: Value,
        }
        let parsed: Versioned = RECORD_BUDGET
            .parse(bytes)
            .map_err(|error| error.to_string())?;
        match parsed.format_version.as_u64() {
            Some(version) if version == u64::from(FORMAT_VERSION) => {}
            Some(version) => {
                return Err(format!(
                    "expected format version {FORMAT_VERSION}, found {version}"
                ));
            }
            None => return Err("it has no `format_version`".to_owned()),
        }
        RECORD_BUDGET
            .parse(bytes)
            .map_err(|error| error.to_string())
    }
}
