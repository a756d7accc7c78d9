//! Opens what a user calls a model: a checkpoint of any layout, or a run directory on top of one.

use std::path::Path;

use ueo::Device;
use ueo::checkpoint::{self, Checkpoint, LoadOptions};
use ueo::model::Precision;
use ueo::session::{BaseRecord, Model};

use super::RunError;
use super::directory::{ADAPTED, RunDirectory};
use super::record::{RunRecord, RunStatus};

/// A model with the run that it came from.
#[derive(Debug)]
pub struct OpenedModel {
    /// The model, with the run's parameters where there is one.
    pub model: Model,
    /// The run that the trained parameters came from, if the model is a run directory.
    pub run: Option<RunRecord>,
}

impl OpenedModel {
    /// Opens a checkpoint or a run directory.
    ///
    /// `base` names the checkpoint of a run directory when it is no longer where the run found it. `precision` is that of
    /// the frozen weights; `None` takes the run's own, and f32 for a checkpoint.
    ///
    /// # Errors
    ///
    /// As the checkpoint reader; [`RunError::BaseMoved`] and [`RunError::BaseChanged`] when a run's checkpoint is not
    /// what it was; [`RunError::Unfinished`] when a run has no result yet.
    pub fn open(
        path: &Path,
        base: Option<&Path>,
        device: &Device,
        precision: Option<Precision>,
    ) -> Result<Self, RunError> {
        Self::open_with(path, base, device, precision, &LoadOptions::new())
    }

    /// As [`Self::open`], with what the user knows better than a checkpoint's files; a run has its own knowledge of that.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn open_with(
        path: &Path,
        base: Option<&Path>,
        device: &Device,
        precision: Option<Precision>,
        options: &LoadOptions,
    ) -> Result<Self, RunError> {
        if RunDirectory::is_in_preparation(path) {
            return Err(RunError::Unfinished {
                path: path.to_owned(),
            });
        }
        if !RunDirectory::recognizes(path) {
            let precision = precision.unwrap_or_default();
            let checkpoint = checkpoint::load_with(path, options)?;
            return Ok(Self {
                model: Model::from_checkpoint(checkpoint, device, precision)?,
                run: None,
            });
        }
        let directory = RunDirectory::open(path)?;
        let record = directory.read_record()?;
        if record.status != RunStatus::Finished || !directory.has_adapted() {
            return Err(RunError::Unfinished {
                path: path.to_owned(),
            });
        }
        let precision = precision.unwrap_or(record.request.precision);
        let model = open_base(&record.base, base, device, precision)?;
        let mut model = model.with_templates(&record.request.settings.templates)?;
        let adapted = directory.read_adapted(&model.clip)?;
        model.parameters =
            adapted
                .in_place_of(&model.parameters)
                .map_err(|error| RunError::State {
                    path: directory.file(ADAPTED),
                    reason: error.to_string(),
                })?;
        model.method = record.request.settings.method;
        let centred = model.parameters.centring.is_some();
        if centred != model.method.centres() || directory.has_other_adapted(&record)? {
            return Err(RunError::OtherAdapted {
                path: directory.file(ADAPTED),
            });
        }
        model.preprocessing.exif_orientation = record.request.exif_orientation;
        Ok(Self {
            model,
            run: Some(record),
        })
    }
}

/// Opens the checkpoint that a run started from and checks that it is the same.
///
/// # Errors
///
/// [`RunError::BaseMoved`], [`RunError::BaseChanged`], [`RunError::BaseEdited`], or as the checkpoint reader.
pub fn open_base(
    expected: &BaseRecord,
    moved_to: Option<&Path>,
    device: &Device,
    precision: Precision,
) -> Result<Model, RunError> {
    let path = moved_to.unwrap_or(&expected.path);
    let checkpoint = load_base(expected, path)?;
    Ok(Model::from_checkpoint(checkpoint, device, precision)?)
}

/// Reads the checkpoint that a run started from, and checks that it computes the same.
///
/// # Errors
///
/// As [`open_base`].
pub(crate) fn load_base(expected: &BaseRecord, path: &Path) -> Result<Checkpoint, RunError> {
    let path = path.to_owned();
    if !path.exists() {
        return Err(RunError::BaseMoved { path });
    }
    let options = LoadOptions::new().activation(expected.activation);
    let checkpoint = checkpoint::load_with(&path, &options)?;
    if checkpoint.sha256 != expected.sha256 {
        return Err(RunError::BaseChanged {
            path,
            expected: expected.sha256.clone(),
            found: checkpoint.sha256,
        });
    }
    if let Some(content) = &expected.content_sha256
        && checkpoint.content_sha256 != *content
    {
        return Err(RunError::BaseEdited { path });
    }
    Ok(checkpoint)
}
