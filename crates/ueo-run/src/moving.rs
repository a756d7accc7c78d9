//! Tells a run where its checkpoint and its images are now.

use std::path::{Path, PathBuf};

use ueo::data::DatasetOptions;
use ueo::session::Images;

use super::RunError;
use super::held::HeldDirectory;
use super::judging::fingerprint;
use super::opening::load_base;
use super::record::RunRecord;

/// New places of what a run was made of; `None` where nothing moved.
#[derive(Clone, Debug, Default)]
pub struct NewPlaces {
    /// The checkpoint.
    pub base: Option<PathBuf>,
    /// The images.
    pub images: Option<PathBuf>,
    /// Folder to which the paths of a list file are relative.
    pub image_root: Option<PathBuf>,
}

/// Writes the new places into `run.json`, once it is sure that they hold what the run was made of. Every later command finds
/// them there.
///
/// # Errors
///
/// [`RunError::BaseMoved`], [`RunError::BaseChanged`] and [`RunError::BaseEdited`] where the checkpoint is not there, another
/// one, or computes something else;
/// [`RunError::ImagesChanged`] where the images are others; as the readers and writers of the run otherwise.
pub fn move_run(run: &Path, places: &NewPlaces) -> Result<RunRecord, RunError> {
    let directory = HeldDirectory::open(run)?;
    let mut record = directory.read_record()?;
    let absolute = |path: &Path| {
        std::path::absolute(path).map_err(|source| RunError::io("find", path, source))
    };
    if let Some(path) = &places.base {
        load_base(&record.base, path)?;
        record.base.path = absolute(path)?;
        record.request.model = record.base.path.clone();
    }
    if let Some(path) = &places.images {
        let root = places.image_root.as_deref();
        let options = DatasetOptions {
            image_root: places.image_root.clone(),
            columns: record.request.columns.clone(),
        };
        let images = Images::open(path, options, &record.base.preprocessing, 0)?;
        let used = images.without(&record.images.skipped);
        if fingerprint(&images, &used) != record.images.fingerprint {
            return Err(RunError::ImagesChanged {
                path: path.clone(),
                expected: record.images.used,
                found: used.len(),
            });
        }
        record.request.images = absolute(path)?;
        record.request.image_root = root.map(absolute).transpose()?;
    }
    directory.write_record(&record)?;
    Ok(record)
}
