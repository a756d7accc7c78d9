//! What the arguments of `ueo adapt` come to: a run to begin, or one to continue.

use std::borrow::Cow;

use ueo::evaluate::ScoreRule;
use ueo_run::{AdaptRequest, RunError, Start};

use super::arguments::{AdaptArgs, OracleLabels};
use crate::commands::{Context, absolute, class_ids, read_classes};
use crate::error::CliError;
use crate::hub;

impl AdaptArgs {
    /// The run to begin or to continue.
    ///
    /// # Errors
    ///
    /// [`CliError::BaseWithoutResume`]; [`CliError::Run`] for settings, [`CliError::Data`] for classes, [`CliError::Path`] and
    /// [`CliError::Hub`].
    pub fn start(&self, context: &Context) -> Result<Start, CliError> {
        if self.base.is_some() && !self.resume {
            return Err(CliError::BaseWithoutResume);
        }
        Ok(match self.request(context)?.map(Box::new) {
            Some(request) if !self.resume => Start::New {
                request,
                overwrite: self.overwrite,
            },
            request => {
                let base = self.base.as_deref();
                let base = base.map(|base| hub::resolve(base, context.printer));
                Start::Resume {
                    request,
                    base: base.transpose()?.map(Cow::into_owned),
                    epochs: match self.epochs_given {
                        true => self.training.settings.epochs.given(),
                        false => None,
                    },
                }
            }
        })
    }

    /// Everything resolved, or `None` where an earlier run is continued.
    fn request(&self, context: &Context) -> Result<Option<AdaptRequest>, CliError> {
        let inputs = &self.inputs;
        let (Some(model), Some(images), Some(classes)) =
            (&inputs.model, &inputs.images, &inputs.classes)
        else {
            return Ok(None);
        };
        let oracle_labels = match &self.training.labels_for_oracle {
            Some(OracleLabels::Path(path)) => Some(absolute(path)?),
            Some(OracleLabels::Images) | None => None,
        };
        let mut settings = self.training.settings.clone();
        settings
            .templates
            .clone_from(&inputs.names.prompt.templates);
        settings.validate().map_err(RunError::from)?;
        let classes = read_classes(classes, inputs.names.class_names.as_deref(), context)?;
        let threshold_images = self.threshold.threshold_images.as_deref();
        let threshold_images = threshold_images.map(absolute).transpose()?;
        let rule = ScoreRule::new(self.threshold.score, self.threshold.score_temperature);
        // Last, because it may take long.
        let model = hub::resolve(model, context.printer)?;
        Ok(Some(AdaptRequest {
            model: absolute(&model)?,
            images: absolute(images)?,
            image_root: inputs.image_root.as_deref().map(absolute).transpose()?,
            columns: inputs.columns.columns(),
            classes: classes.names().to_vec(),
            class_ids: class_ids(&classes),
            labels: inputs.names.labels,
            oracle_labels,
            settings,
            score: rule.score,
            score_temperature: rule.temperature,
            threshold_method: self.threshold.threshold,
            threshold_images,
            tensorboard: self.outputs.tensorboard,
            standalone: self.outputs.standalone,
            checkpoint_every: self.outputs.checkpoint_every,
            image_cache_bytes: self.outputs.image_cache.0,
            strict: context.strict,
            threads: context.threads,
            device: context.device.name().to_owned(),
            precision: context.precision.unwrap_or_default(),
            activation: inputs.knowledge.activation,
            exif_orientation: inputs.decoding.exif_orientation.unwrap_or_default(),
        }))
    }
}
