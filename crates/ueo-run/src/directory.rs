//! The run directory: the small folder that `adapt` leaves behind and every other command accepts as a model.
//!
//! Reading needs no lock: every file but the growing ones appears whole. Writing is [`held`](super::held)'s.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use ueo::adapt::{AdaptState, StepRecord, TrainedParameters};
use ueo::budget::{BudgetError, read_within};
use ueo::checkpoint::Adapted;
use ueo::disk::HIDDEN_PREFIX;
use ueo::guard::EpochRecord;
use ueo::model::Clip;
use ueo::write_atomically;

use super::RunError;
use super::discovering::adapted_sha256;
use super::held::HeldDirectory;
use super::predictions::{self, ImageResult, Thresholds};
use super::record::{RECORD_BUDGET, RunRecord};
use super::records::{Numbering, RecordWriter, read_records};
use super::state;
use super::tensorboard::{EVENT_FILE, EventFile};

pub(crate) const RECORD: &str = "run.json";
pub(crate) const METRICS: &str = "metrics.jsonl";
pub(crate) const EPOCHS: &str = "epochs.jsonl";
pub(crate) const ADAPTED: &str = "adapted.safetensors";
pub(crate) const STATE: &str = "state.safetensors";
pub(crate) const PREDICTIONS: &str = "predictions.csv";
pub(crate) const REPORT: &str = "report.html";
pub(crate) const STANDALONE: &str = "standalone";
/// A run up to its first step, while it is prepared; the run that is there already stays as it is.
pub(crate) const NEXT: &str = ".ueo-next";
/// A run that is prepared, and takes the place of the one before: whoever writes next completes that.
pub(crate) const READY: &str = ".ueo-ready";
/// Features of a pass in progress.
pub(crate) const FEATURES: &str = ".ueo-features";
/// What version 0.1.0 tried whether a directory can be written with.
const PROBE: &str = ".probe";

pub(crate) const STEPS: Numbering = Numbering {
    field: "step",
    first: 1,
};
/// The zero-shot model counts as epoch 0.
pub(crate) const EPOCH_NUMBERS: Numbering = Numbering {
    field: "epoch",
    first: 0,
};

/// A run directory on disk.
#[derive(Clone, Debug)]
pub struct RunDirectory {
    path: PathBuf,
}

/// What is in the place of a run directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occupation {
    /// Nothing, or what an interrupted process left that had no run yet.
    Vacant,
    /// A run.
    Run,
    /// Something else.
    Other,
}

impl RunDirectory {
    pub(crate) fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Creates an empty run directory for this process to write.
    ///
    /// # Errors
    ///
    /// [`RunError::OutputExists`] when something is there already, and is no run or `overwrite` is not set;
    /// [`RunError::InUse`] when another process writes it; [`RunError::Io`] when it cannot be created or written.
    pub fn create(path: &Path, overwrite: bool) -> Result<HeldDirectory, RunError> {
        Self::at(path).check_vacant(overwrite)?;
        let held = HeldDirectory::create(path)?;
        // Another process may have been faster.
        held.check_vacant(overwrite)?;
        Ok(held)
    }

    /// Checks that a run may be written here; nothing is changed.
    ///
    /// # Errors
    ///
    /// [`RunError::OutputExists`].
    pub(crate) fn check_vacant(&self, overwrite: bool) -> Result<(), RunError> {
        match self.occupation() {
            Occupation::Vacant => Ok(()),
            Occupation::Run if overwrite => Ok(()),
            occupation => Err(RunError::OutputExists {
                path: self.path.clone(),
                is_run: occupation == Occupation::Run,
            }),
        }
    }

    pub(crate) fn occupation(&self) -> Occupation {
        if self.is_run() {
            return Occupation::Run;
        }
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(_) if self.path.exists() => return Occupation::Other,
            Err(_) => return Occupation::Vacant,
        };
        let ours = |entry: std::io::Result<fs::DirEntry>| {
            entry.is_ok_and(|entry| is_hidden(&entry.file_name().to_string_lossy()))
        };
        match entries.into_iter().all(ours) {
            true => Occupation::Vacant,
            false => Occupation::Other,
        }
    }

    /// Opens an existing run directory.
    ///
    /// # Errors
    ///
    /// [`RunError::NotARun`] when there is no `run.json`.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let directory = Self {
            path: path.to_owned(),
        };
        if directory.is_run() {
            Ok(directory)
        } else {
            Err(RunError::NotARun {
                path: path.to_owned(),
            })
        }
    }

    /// Whether a path is a run directory.
    pub fn recognizes(path: &Path) -> bool {
        path.join(RECORD).is_file() || path.join(READY).join(RECORD).is_file()
    }

    /// Whether a path holds a run that has no state yet, so that only its preparation can be continued.
    pub fn is_in_preparation(path: &Path) -> bool {
        !Self::recognizes(path) && path.join(NEXT).is_dir()
    }

    /// The directory's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a full adapted checkpoint goes.
    pub fn standalone_path(&self) -> PathBuf {
        self.file(STANDALONE)
    }

    /// Whether the adaptation has finished and its result is there.
    pub fn has_adapted(&self) -> bool {
        self.file(ADAPTED).is_file() && !self.is_being_replaced()
    }

    /// Whether all is there that a finished run leaves.
    pub(crate) fn has_result(&self) -> bool {
        self.has_adapted() && self.file(PREDICTIONS).is_file()
    }

    /// Whether a new run has begun to take the place of this one. Whoever writes next completes that.
    fn is_being_replaced(&self) -> bool {
        self.file(READY).join(RECORD).is_file()
    }

    /// Reads `run.json`.
    ///
    /// # Errors
    ///
    /// [`RunError::Record`] when it is not what this version writes.
    pub fn read_record(&self) -> Result<RunRecord, RunError> {
        let path = match self.is_being_replaced() {
            true => self.file(READY).join(RECORD),
            false => self.file(RECORD),
        };
        let bytes = read_within(&path, RECORD_BUDGET.bytes).map_err(|error| match error {
            BudgetError::Io(source) => RunError::io("read", &path, source),
            other => RunError::record(&path, other.to_string()),
        })?;
        RunRecord::parse(&bytes).map_err(|reason| RunError::record(&path, reason))
    }

    /// Writes `run.json`.
    ///
    /// # Errors
    ///
    /// [`RunError::Io`].
    pub fn write_record(&self, record: &RunRecord) -> Result<(), RunError> {
        let mut text = serde_json::to_string_pretty(record).map_err(|error| RunError::Record {
            path: self.file(RECORD),
            reason: error.to_string(),
        })?;
        text.push('\n');
        write_whole(&self.file(RECORD), text.as_bytes())
    }

    /// Writes the state from which the run can be resumed.
    ///
    /// # Errors
    ///
    /// [`RunError::Io`].
    pub fn write_state(&self, state: &AdaptState) -> Result<(), RunError> {
        write_whole(&self.file(STATE), &state::encode_state(state)?)
    }

    /// Reads the state from which the run can be resumed, `None` when no step was saved yet.
    ///
    /// # Errors
    ///
    /// [`RunError::State`] when the file is damaged or belongs to another model.
    pub fn read_state(&self, clip: &Clip) -> Result<Option<AdaptState>, RunError> {
        let path = self.file(STATE);
        match fs::read(&path) {
            Ok(bytes) => state::decode_state(&bytes, clip)
                .map(Some)
                .map_err(|reason| RunError::State { path, reason }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(RunError::io("read", &path, source)),
        }
    }

    /// Writes what adaptation changed.
    ///
    /// # Errors
    ///
    /// [`RunError::Session`].
    pub fn write_adapted(&self, parameters: &TrainedParameters) -> Result<(), RunError> {
        Ok(parameters.to_adapted().save(&self.file(ADAPTED))?)
    }

    /// Reads what adaptation changed.
    ///
    /// # Errors
    ///
    /// [`RunError::Unfinished`] when the run has no result yet, otherwise as the checkpoint and model readers.
    pub fn read_adapted(&self, clip: &Clip) -> Result<TrainedParameters, RunError> {
        if !self.has_adapted() {
            return Err(RunError::Unfinished {
                path: self.path.clone(),
            });
        }
        let path = self.file(ADAPTED);
        let adapted = Adapted::load(&path)?;
        TrainedParameters::from_adapted(adapted, clip).map_err(|error| RunError::State {
            path,
            reason: error.to_string(),
        })
    }

    /// Whether the trained parameters are not those that the record was written with, as far as it says.
    ///
    /// # Errors
    ///
    /// [`RunError::Session`].
    pub(crate) fn has_other_adapted(&self, record: &RunRecord) -> Result<bool, RunError> {
        let expected = &record.adapted_sha256;
        Ok(expected.is_some() && *expected != adapted_sha256(&self.path)?)
    }

    /// Whether a file is one of those that a run consists of, whatever run.
    pub fn owns(file: &Path) -> bool {
        const OWN: [&str; 8] = [
            RECORD,
            METRICS,
            EPOCHS,
            ADAPTED,
            STATE,
            PREDICTIONS,
            REPORT,
            EVENT_FILE,
        ];
        let is_run = |folder: Option<&Path>| folder.is_some_and(Self::recognizes);
        let (folder, name) = (file.parent(), file.file_name());
        let is_own = name.is_some_and(|name| OWN.iter().any(|own| name == *own));
        let is_checkpoint = file
            .extension()
            .is_some_and(|e| e == "json" || e == "safetensors");
        let of_copy = folder.filter(|folder| folder.ends_with(STANDALONE) && is_checkpoint);
        (is_own && is_run(folder)) || is_run(of_copy.and_then(Path::parent))
    }

    /// Opens `metrics.jsonl` for appending, with exactly the records of the first `steps` steps.
    ///
    /// # Errors
    ///
    /// [`RunError::Record`] when it holds fewer or others, [`RunError::Io`].
    pub fn metrics(&self, steps: usize) -> Result<RecordWriter, RunError> {
        RecordWriter::open(&self.file(METRICS), STEPS, steps)
    }

    /// Opens `epochs.jsonl` for appending, with exactly the records of the zero-shot model and the first `epochs` epochs.
    ///
    /// # Errors
    ///
    /// [`RunError::Record`] when it holds fewer or others, [`RunError::Io`].
    pub fn epochs(&self, epochs: usize) -> Result<RecordWriter, RunError> {
        RecordWriter::open(&self.file(EPOCHS), EPOCH_NUMBERS, 1 + epochs)
    }

    /// Begins `epochs.jsonl` with the record of the zero-shot model.
    pub(crate) fn begin_epochs(&self, zero_shot: &EpochRecord) -> Result<(), RunError> {
        let mut line = serde_json::to_vec(zero_shot)
            .map_err(|error| RunError::record(&self.file(EPOCHS), error.to_string()))?;
        line.push(b'\n');
        write_whole(&self.file(EPOCHS), &line)
    }

    /// Opens the event file for appending, with exactly the events of the first `steps` steps and of some epochs, that of
    /// the zero-shot model first. Events that are missing are written again from the records.
    ///
    /// # Errors
    ///
    /// [`RunError::Io`], and [`RunError::Record`] when the records of the steps are not there either.
    pub fn events(&self, steps: usize, epochs: &[EpochRecord]) -> Result<EventFile, RunError> {
        let epochs_end = epochs.last().map_or(0, |record| record.step);
        let (mut steps_found, mut epochs_found) = (0, 0);
        let file = EventFile::open(&self.path, |event| {
            let is_epoch = event.is_of(EPOCH_EVENTS);
            let end = if is_epoch { epochs_end } else { steps };
            let kept = event.step <= end as u64;
            if kept && is_epoch {
                epochs_found += 1;
            } else if kept && event.is_of(STEP_EVENTS) {
                steps_found += 1;
            }
            kept
        })?;
        if steps_found == steps && epochs_found == epochs.len() {
            return Ok(file);
        }
        let mut file = file.emptied()?;
        let mut records = self.read_metrics()?.into_iter().take(steps).peekable();
        for epoch in epochs {
            while let Some(record) = records.next_if(|record| record.step <= epoch.step) {
                file.append(STEP_EVENTS, record.step, &record)?;
            }
            file.append(EPOCH_EVENTS, epoch.step, epoch)?;
        }
        for record in records {
            file.append(STEP_EVENTS, record.step, &record)?;
        }
        Ok(file)
    }

    /// Reads all records of `metrics.jsonl`.
    ///
    /// # Errors
    ///
    /// [`RunError::Io`] or [`RunError::Record`].
    pub fn read_metrics(&self) -> Result<Vec<StepRecord>, RunError> {
        read_records(&self.file(METRICS), STEPS)
    }

    /// Reads all records of `epochs.jsonl`, that of the zero-shot model first.
    ///
    /// # Errors
    ///
    /// [`RunError::Io`] or [`RunError::Record`].
    pub fn read_epochs(&self) -> Result<Vec<EpochRecord>, RunError> {
        read_records(&self.file(EPOCHS), EPOCH_NUMBERS)
    }

    /// Reads the records of the zero-shot model and the first `epochs` epochs.
    pub(crate) fn read_epochs_until(&self, epochs: usize) -> Result<Vec<EpochRecord>, RunError> {
        let mut records = self.read_epochs()?;
        if records.len() <= epochs {
            let reason = format!("expected {} records, found {}", 1 + epochs, records.len());
            return Err(RunError::record(&self.file(EPOCHS), reason));
        }
        records.truncate(1 + epochs);
        Ok(records)
    }

    /// Writes `predictions.csv`, with the decisions that follow from the record's thresholds.
    ///
    /// # Errors
    ///
    /// [`RunError::Io`].
    pub fn write_predictions(
        &self,
        images: &[ImageResult],
        record: &RunRecord,
    ) -> Result<(), RunError> {
        let path = self.file(PREDICTIONS);
        let thresholds = Thresholds {
            zero_shot: record.zero_shot_threshold,
            adapted: record.threshold,
        };
        write_atomically(&path, |file| {
            predictions::write(file, images, &record.request.classes, thresholds)
                .map_err(std::io::Error::other)
        })
        .map_err(|source| RunError::io("write", &path, source))
    }

    /// Reads `predictions.csv` of a run with these classes.
    ///
    /// # Errors
    ///
    /// [`RunError::Io`] or [`RunError::Record`].
    pub fn read_predictions(&self, classes: &[String]) -> Result<Vec<ImageResult>, RunError> {
        let path = self.file(PREDICTIONS);
        let bytes = fs::read(&path).map_err(|source| RunError::io("read", &path, source))?;
        predictions::read(&bytes, classes).map_err(|reason| RunError::Record { path, reason })
    }

    /// Where the report goes.
    pub fn report_path(&self) -> PathBuf {
        self.file(REPORT)
    }

    fn is_run(&self) -> bool {
        Self::recognizes(&self.path)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// What the tags of the events of steps begin with.
pub(crate) const STEP_EVENTS: &str = "step";
/// What the tags of the events of epochs begin with.
pub(crate) const EPOCH_EVENTS: &str = "epoch";

/// Whether a file belongs to this program and to no run: temporary ones, the lock, what is in preparation.
pub(crate) fn is_hidden(name: &str) -> bool {
    name.starts_with(HIDDEN_PREFIX) || name == PROBE
}

/// Writes bytes so that a crash leaves the old content or the new one, never a part.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    write_atomically(path, |file| file.write_all(bytes))
        .map_err(|source| RunError::io("write", path, source))
}
