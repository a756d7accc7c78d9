//! A run directory as the one process that writes it has it: locked, swept, and with what a dead process left half done
//! completed.
//!
//! A new run is prepared in [`NEXT`] up to its first state, beside the run that may be there already. Renaming that
//! folder to [`READY`] is the one step between the old run and the new one: before it the old run is whole, after it
//! [`HeldDirectory::replace`] brings the new one into place, as often as it takes. `run.json` comes last.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use ueo::adapt::AdaptState;
use ueo::disk::{self, LOCK, Lock};
use ueo::guard::EpochRecord;

use super::RunError;
use super::directory::{
    ADAPTED, EPOCHS, FEATURES, METRICS, NEXT, Occupation, PREDICTIONS, READY, RECORD, REPORT,
    RunDirectory, STANDALONE, STATE, is_hidden, write_whole,
};
use super::features::{FeatureKey, FeatureLog};
use super::predictions::ImageResult;
use super::record::{AdaptRequest, FORMAT_VERSION, RunRecord};
use super::tensorboard::EVENT_FILE;

/// What a run in preparation is asked to do, so that it can be continued before it has a record.
const REQUEST: &str = "request.json";

/// The files of a run up to its first step, beside its record.
const PREPARED: [&str; 3] = [PREDICTIONS, EPOCHS, STATE];
/// What else a run before may have left.
const OF_A_LATER_RUN: [&str; 5] = [METRICS, EVENT_FILE, ADAPTED, REPORT, STANDALONE];

/// A run directory that no other process writes.
#[derive(Debug)]
pub struct HeldDirectory {
    directory: RunDirectory,
    _lock: Lock,
}

/// A run up to its first step.
pub(crate) struct PreparedRun<'a> {
    pub record: &'a RunRecord,
    pub results: &'a [ImageResult],
    pub zero_shot: &'a EpochRecord,
    pub state: &'a AdaptState,
}

/// The content of [`REQUEST`].
#[derive(Serialize, Deserialize)]
struct StagedRequest {
    format_version: u32,
    request: AdaptRequest,
}

impl Deref for HeldDirectory {
    type Target = RunDirectory;

    fn deref(&self) -> &RunDirectory {
        &self.directory
    }
}

impl HeldDirectory {
    /// Makes the directory if need be, and holds it.
    pub(crate) fn create(path: &Path) -> Result<Self, RunError> {
        disk::create_directories(path).map_err(|source| RunError::io("create", path, source))?;
        Self::hold(path)
    }

    /// Holds the directory of a run, or of one in preparation.
    ///
    /// # Errors
    ///
    /// [`RunError::NotARun`], [`RunError::InUse`], [`RunError::Io`].
    pub(crate) fn open(path: &Path) -> Result<Self, RunError> {
        if !RunDirectory::recognizes(path) && !RunDirectory::is_in_preparation(path) {
            return Err(RunError::NotARun {
                path: path.to_owned(),
            });
        }
        Self::hold(path)
    }

    fn hold(path: &Path) -> Result<Self, RunError> {
        let held = Self {
            _lock: Lock::acquire(path)?,
            directory: RunDirectory::at(path),
        };
        held.replace()?;
        held.sweep(path)?;
        Ok(held)
    }

    /// Removes what processes that died have left and nobody needs.
    fn sweep(&self, folder: &Path) -> Result<(), RunError> {
        const KEPT: [&str; 3] = [LOCK, NEXT, FEATURES];
        let io = |source| RunError::io("list", folder, source);
        for entry in fs::read_dir(folder).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if is_hidden(&name) && !KEPT.contains(&&*name) {
                remove(&entry.path())?;
            }
        }
        let next = folder.join(NEXT);
        match is_folder(&next) {
            true => self.sweep(&next),
            false => Ok(()),
        }
    }

    fn next(&self) -> PathBuf {
        self.file(NEXT)
    }

    /// The request of a run in preparation. A request that cannot be read is none: nothing is lost with it.
    pub(crate) fn staged_request(&self) -> Option<AdaptRequest> {
        let bytes = fs::read(self.next().join(REQUEST)).ok()?;
        let staged: StagedRequest = serde_json::from_slice(&bytes).ok()?;
        (staged.format_version == FORMAT_VERSION).then_some(staged.request)
    }

    /// Begins to prepare a run.
    ///
    /// # Errors
    ///
    /// [`RunError::Io`].
    pub(crate) fn stage(&self, request: &AdaptRequest) -> Result<(), RunError> {
        let next = self.next();
        // A link could lead the files of the run elsewhere.
        disk::refuse_link(&next)
            .and_then(|()| disk::create_directories(&next))
            .map_err(|source| RunError::io("create", &next, source))?;
        let path = next.join(REQUEST);
        let staged = StagedRequest {
            format_version: FORMAT_VERSION,
            request: request.clone(),
        };
        let text = serde_json::to_vec(&staged)
            .map_err(|error| RunError::record(&path, error.to_string()))?;
        write_whole(&path, &text)
    }

    /// Forgets a run in preparation.
    ///
    /// # Errors
    ///
    /// [`RunError::Io`].
    pub(crate) fn unstage(&self) -> Result<(), RunError> {
        remove(&self.next())
    }

    /// Puts a prepared run in the place of the one before.
    ///
    /// # Errors
    ///
    /// [`RunError::Io`]; what is then there is the run before or the new one.
    pub(crate) fn commit(&self, run: &PreparedRun<'_>) -> Result<(), RunError> {
        let next = RunDirectory::at(&self.next());
        next.write_predictions(run.results, run.record)?;
        next.begin_epochs(run.zero_shot)?;
        next.write_state(run.state)?;
        next.write_record(run.record)?;
        let ready = self.file(READY);
        disk::rename(next.path(), &ready)
            .and_then(|()| disk::sync_directory(self.path()))
            .map_err(|source| RunError::io("write", &ready, source))?;
        self.replace()
    }

    /// Completes what [`Self::commit`] has begun.
    fn replace(&self) -> Result<(), RunError> {
        let ready = self.file(READY);
        let io = |source| RunError::io("replace", self.path(), source);
        if !is_folder(&ready) {
            return Ok(());
        }
        // Without its record the new run is in place already, and all else here is the new run's.
        if ready.join(RECORD).is_file() {
            for name in OF_A_LATER_RUN {
                remove(&self.file(name))?;
            }
            for name in PREPARED {
                if ready.join(name).is_file() {
                    disk::rename(&ready.join(name), &self.file(name)).map_err(io)?;
                }
            }
            // The record stands for all that was moved before it.
            disk::sync_directory(self.path()).map_err(io)?;
            disk::rename(&ready.join(RECORD), &self.file(RECORD)).map_err(io)?;
            disk::sync_directory(self.path()).map_err(io)?;
            disk::sync_directory(&ready).map_err(io)?;
        }
        remove(&ready)?;
        disk::sync_directory(self.path()).map_err(io)
    }

    /// Opens the file in which the features of a pass in progress are kept.
    ///
    /// # Errors
    ///
    /// [`RunError::Io`].
    pub(crate) fn features(&self, key: &FeatureKey) -> Result<FeatureLog, RunError> {
        FeatureLog::open(&self.file(FEATURES), key)
    }

    /// Removes the features of passes; the run does not need them any more.
    ///
    /// # Errors
    ///
    /// [`RunError::Io`].
    pub(crate) fn drop_features(&self) -> Result<(), RunError> {
        remove(&self.file(FEATURES))
    }

    /// An empty place for a full adapted checkpoint.
    ///
    /// # Errors
    ///
    /// [`RunError::Io`].
    pub(crate) fn clear_standalone(&self) -> Result<PathBuf, RunError> {
        let path = self.standalone_path();
        remove(&path)?;
        Ok(path)
    }

    /// Whether there is a run, and not only one in preparation.
    pub(crate) fn has_run(&self) -> bool {
        self.occupation() == Occupation::Run
    }
}

fn remove(path: &Path) -> Result<(), RunError> {
    disk::remove_tree(path).map_err(|source| RunError::io("remove", path, source))
}

/// Whether a path is a directory itself, and no symbolic link to one.
fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}
