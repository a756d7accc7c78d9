//! The run directory: the small folder that `adapt` leaves behind and every other command accepts as a model.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use ueo::adapt::{AdaptState, StepRecord, TrainedParameters};
use ueo::checkpoint::Adapted;
use ueo::guard::EpochRecord;
use ueo::model::Clip;
use ueo::write_atomically;

use super::RunError;
use super::predictions::{self, ImageResult};
use super::record::{FORMAT_VERSION, RunRecord};
use super::state;
use super::tensorboard::{EVENT_FILE, EventFile};

const RECORD: &str = "run.json";
const METRICS: &str = "metrics.jsonl";
const EPOCHS: &str = "epochs.jsonl";
const ADAPTED: &str = "adapted.safetensors";
const STATE: &str = "state.safetensors";
const PREDICTIONS: &str = "predictions.csv";
const REPORT: &str = "report.html";
const STANDALONE: &str = "standalone";

/// A run directory on disk.
#[derive(Clone, Debug)]
pub struct RunDirectory {
    path: PathBuf,
}

impl RunDirectory {
    /// Creates an empty run directory.
    ///
    /// # Errors
    ///
    /// [`RunError::OutputExists`] when something is there already and `overwrite` is not set;
    /// [`RunError::Io`] when it cannot be created or written.
    pub fn create(path: &Path, overwrite: bool) -> Result<Self, RunError> {
        let directory = Self {
            path: path.to_owned(),
        };
        let occupied = match fs::read_dir(path) {
            Ok(mut entries) => entries.next().is_some(),
            Err(_) => path.exists(),
        };
        if occupied && !(overwrite && directory.is_run()) {
            return Err(RunError::OutputExists {
                path: path.to_owned(),
                is_run: directory.is_run(),
            });
        }
        fs::create_dir_all(path).map_err(|source| RunError::io("create", path, source))?;
        for name in [
            RECORD,
            METRICS,
            EPOCHS,
            EVENT_FILE,
            ADAPTED,
            STATE,
            PREDICTIONS,
            REPORT,
        ] {
            let file = directory.file(name);
            if file.exists() {
                fs::remove_file(&file).map_err(|source| RunError::io("remove", &file, source))?;
            }
        }
        // Find out now, not after hours of work, whether the folder can be written.
        let probe = directory.file(".probe");
        write_whole(&probe, b"ueo")?;
        fs::remove_file(&probe).map_err(|source| RunError::io("remove", &probe, source))?;
        Ok(directory)
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
        path.join(RECORD).is_file()
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
        self.file(ADAPTED).is_file()
    }

    /// Reads `run.json`.
    ///
    /// # Errors
    ///
    /// [`RunError::Record`] when it is not what this version writes.
    pub fn read_record(&self) -> Result<RunRecord, RunError> {
        let path = self.file(RECORD);
        let text =
            fs::read_to_string(&path).map_err(|source| RunError::io("read", &path, source))?;
        let invalid = |reason: String| RunError::Record {
            path: path.clone(),
            reason,
        };
        let value: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| invalid(error.to_string()))?;
        match value
            .get("format_version")
            .and_then(serde_json::Value::as_u64)
        {
            Some(version) if version == u64::from(FORMAT_VERSION) => {}
            Some(version) => {
                return Err(invalid(format!(
                    "expected format version {FORMAT_VERSION}, found {version}"
                )));
            }
            None => return Err(invalid("it has no `format_version`".to_owned())),
        }
        serde_json::from_value(value).map_err(|error| invalid(error.to_string()))
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
    /// [`RunError::Checkpoint`].
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

    /// Opens `metrics.jsonl` for appending, keeping exactly the records of the first `steps` steps.
    ///
    /// # Errors
    ///
    /// [`RunError::Io`].
    pub fn metrics(&self, steps: usize) -> Result<RecordWriter, RunError> {
        RecordWriter::open(self.file(METRICS), steps)
    }

    /// Opens `epochs.jsonl` for appending, keeping exactly the records of the zero-shot model and the first `epochs`
    /// epochs.
    ///
    /// # Errors
    ///
    /// [`RunError::Io`].
    pub fn epochs(&self, epochs: usize) -> Result<RecordWriter, RunError> {
        RecordWriter::open(self.file(EPOCHS), 1 + epochs)
    }

    /// Opens the event file for appending, keeping exactly the events of the first `steps` steps and of some epochs, that of
    /// the zero-shot model first.
    ///
    /// # Errors
    ///
    /// [`RunError::Io`].
    pub fn events(&self, steps: usize, epochs: &[EpochRecord]) -> Result<EventFile, RunError> {
        let epochs_end = epochs.last().map_or(0, |record| record.step);
        let mut zero_shot_is_there = false;
        let mut file = EventFile::open(&self.path, |event| {
            let is_epoch = event.is_of(EPOCH_EVENTS);
            zero_shot_is_there |= is_epoch;
            let end = if is_epoch { epochs_end } else { steps };
            event.step <= end as u64
        })?;
        if let (Some(zero_shot), false) = (epochs.first(), zero_shot_is_there) {
            file.append(EPOCH_EVENTS, zero_shot.step, zero_shot)?;
        }
        Ok(file)
    }

    /// Reads all records of `metrics.jsonl`.
    ///
    /// # Errors
    ///
    /// [`RunError::Io`] or [`RunError::Record`].
    pub fn read_metrics(&self) -> Result<Vec<StepRecord>, RunError> {
        read_records(&self.file(METRICS))
    }

    /// Reads all records of `epochs.jsonl`, that of the zero-shot model first.
    ///
    /// # Errors
    ///
    /// [`RunError::Io`] or [`RunError::Record`].
    pub fn read_epochs(&self) -> Result<Vec<EpochRecord>, RunError> {
        read_records(&self.file(EPOCHS))
    }

    /// Reads the records of the zero-shot model and the first `epochs` epochs.
    pub(crate) fn read_epochs_until(&self, epochs: usize) -> Result<Vec<EpochRecord>, RunError> {
        let mut records = self.read_epochs()?;
        if records.len() <= epochs {
            return Err(RunError::Record {
                path: self.file(EPOCHS),
                reason: format!("expected {} records, found {}", 1 + epochs, records.len()),
            });
        }
        records.truncate(1 + epochs);
        Ok(records)
    }

    /// Writes `predictions.csv`.
    ///
    /// # Errors
    ///
    /// [`RunError::Io`].
    pub fn write_predictions(
        &self,
        images: &[ImageResult],
        classes: &[String],
    ) -> Result<(), RunError> {
        let path = self.file(PREDICTIONS);
        write_atomically(&path, |file| {
            predictions::write(file, images, classes).map_err(std::io::Error::other)
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
        let file = File::open(&path).map_err(|source| RunError::io("read", &path, source))?;
        predictions::read(BufReader::new(file), classes)
            .map_err(|reason| RunError::Record { path, reason })
    }

    /// Where the report goes.
    pub fn report_path(&self) -> PathBuf {
        self.file(REPORT)
    }

    fn is_run(&self) -> bool {
        Self::recognizes(&self.path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// What the tags of the events of steps begin with.
pub(crate) const STEP_EVENTS: &str = "step";
/// What the tags of the events of epochs begin with.
pub(crate) const EPOCH_EVENTS: &str = "epoch";

/// Appends records to a file, one JSON object per line.
#[derive(Debug)]
pub struct RecordWriter {
    file: BufWriter<File>,
    path: PathBuf,
}

impl RecordWriter {
    /// Keeps the first `records` lines of a file that may be there already.
    fn open(path: PathBuf, records: usize) -> Result<Self, RunError> {
        let kept = match File::open(&path) {
            Ok(file) => BufReader::new(file)
                .lines()
                .take(records)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|source| RunError::io("read", &path, source))?,
            Err(_) => Vec::new(),
        };
        let mut text = kept.join("\n");
        if !text.is_empty() {
            text.push('\n');
        }
        write_whole(&path, text.as_bytes())?;
        let file = OpenOptions::new()
            .append(true)
            .open(&path)
            .map_err(|source| RunError::io("open", &path, source))?;
        Ok(Self {
            file: BufWriter::new(file),
            path,
        })
    }

    /// Appends a record. It reaches the disk no later than the next [`Self::flush`].
    ///
    /// # Errors
    ///
    /// [`RunError::Io`].
    pub fn append(&mut self, record: &impl Serialize) -> Result<(), RunError> {
        serde_json::to_writer(&mut self.file, record)
            .map_err(std::io::Error::from)
            .and_then(|()| self.file.write_all(b"\n"))
            .map_err(|source| RunError::io("write", &self.path, source))
    }

    /// Hands all records to the operating system.
    ///
    /// # Errors
    ///
    /// [`RunError::Io`].
    pub fn flush(&mut self) -> Result<(), RunError> {
        self.file
            .flush()
            .map_err(|source| RunError::io("write", &self.path, source))
    }
}

fn read_records<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, RunError> {
    let text = fs::read_to_string(path).map_err(|source| RunError::io("read", path, source))?;
    text.lines()
        .map(|line| {
            serde_json::from_str(line).map_err(|error| RunError::Record {
                path: path.to_owned(),
                reason: error.to_string(),
            })
        })
        .collect()
}

/// Writes bytes so that a crash leaves the old content or the new one, never a part.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    write_atomically(path, |file| file.write_all(bytes))
        .map_err(|source| RunError::io("write", path, source))
}
