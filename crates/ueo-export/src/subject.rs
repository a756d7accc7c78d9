//! What is exported: the model of a finished run, with everything that its decisions need.

use std::path::{Path, PathBuf};

use ueo::Device;
use ueo::checkpoint::{self, Checkpoint, LoadOptions};
use ueo::evaluate::{ScoreRule, Threshold, Verdict};
use ueo::image::ExifOrientation;
use ueo::model::Precision;
use ueo::tensor::HostTensor;
use ueo_run::{OpenedModel, RunDirectory, RunError, RunRecord};

use crate::ExportError;

/// Names of the verdicts, in the order in which a confidence reaches them.
pub const VERDICTS: [Verdict; 3] = [Verdict::Reject, Verdict::Review, Verdict::Accept];

/// A run, opened for export.
#[derive(Debug)]
pub struct Subject {
    /// What the run says about itself.
    pub record: RunRecord,
    /// The adapted checkpoint.
    pub checkpoint: Checkpoint,
    /// Text features of unit norm of the classes with the learned context, centred where the method does that,
    /// `[classes, embed_dim]`.
    pub class_embeddings: HostTensor,
    /// Those of the words that name none of the classes, for the score that needs them, `[words, embed_dim]`.
    pub negative_embeddings: Option<HostTensor>,
    /// What is subtracted from image features of unit norm before they are of unit norm again and compared, `[embed_dim]`.
    pub image_offset: Option<HostTensor>,
    /// What the confidence is.
    pub rule: ScoreRule,
    /// Which confidences are known, and which a person should look at.
    pub threshold: Threshold,
    /// Factor on the cosines that gives the model's own probabilities.
    pub logit_scale: f64,
    /// What is added to the scaled cosines in models that were trained with the logistic function.
    pub logit_bias: Option<f64>,
    /// Token at which a text's feature is read.
    pub end_of_text: u32,
}

impl Subject {
    /// Opens a finished run; `base` names its checkpoint where that has moved.
    ///
    /// # Errors
    ///
    /// As [`OpenedModel::open`]; [`ExportError::Rescored`] for a method that judges all images together.
    pub fn open(run: &Path, base: Option<&Path>, device: &Device) -> Result<Self, ExportError> {
        if !RunDirectory::recognizes(run) && !RunDirectory::is_in_preparation(run) {
            let path = run.to_owned();
            return Err(RunError::NotARun { path }.into());
        }
        let opened = OpenedModel::open(run, base, device, Some(Precision::F32))?;
        let unfinished = || RunError::Unfinished {
            path: run.to_owned(),
        };
        let record = opened.run.ok_or_else(unfinished)?;
        let threshold = record.threshold.ok_or_else(unfinished)?;
        let model = opened.model;
        let classes = &record.request.classes;
        let classifier = model.classifier(classes).map_err(RunError::from)?;
        if classifier.rescoring().is_some() {
            return Err(ExportError::Rescored {
                method: model.method,
            });
        }
        let rule = record.request.score_rule();
        let negative_embeddings = match rule.score.needs_negative_labels() {
            true => Some(model.negative_embeddings(classes).map_err(RunError::from)?),
            false => None,
        };
        let class_embeddings = classifier.embeddings();
        let image_offset = classifier.image_offset();
        let adapted = model.parameters.to_adapted();
        let (logit_scale, logit_bias) = (model.clip.logit_scale(), model.clip.logit_bias());
        let end_of_text = model.tokenizer.end_of_text();
        // The weights are read again as the file has them; two copies of a large model need not be in memory.
        drop((classifier, model));
        let checkpoint = adapted_checkpoint(&record, base, &adapted)?;
        Ok(Self {
            checkpoint,
            class_embeddings,
            negative_embeddings,
            image_offset,
            rule,
            threshold,
            logit_scale,
            logit_bias,
            end_of_text,
            record,
        })
    }

    /// Names of the known classes.
    pub fn classes(&self) -> &[String] {
        &self.record.request.classes
    }

    /// What kind of model it is.
    pub fn family(&self) -> &'static str {
        match self.logit_bias {
            Some(_) => "SigLIP",
            None => "CLIP",
        }
    }

    /// What differs from what the run itself says, one sentence each.
    pub fn notes(&self) -> Vec<String> {
        let request = &self.record.request;
        let mut notes = Vec::new();
        if request.precision != Precision::F32 {
            notes.push(format!(
                "the run computed in {}, and its threshold belongs to that; what is exported computes in f32",
                request.precision
            ));
        }
        if request.oracle_labels.is_some() {
            notes.push(
                "true labels took part in the adaptation; its measurements are an upper bound"
                    .to_owned(),
            );
        }
        if request.exif_orientation == ExifOrientation::Apply {
            notes.push(
                "the run turns images as their EXIF data says; a program that decodes them must do so too".to_owned(),
            );
        }
        notes
    }

    /// What a program must know to use the exported model, by name.
    ///
    /// # Errors
    ///
    /// [`ExportError::Json`].
    pub fn metadata(&self) -> Result<Vec<(String, String)>, ExportError> {
        let record = &self.record;
        let [reject_below, accept_from] = self.threshold.cuts();
        let bias = self.logit_bias.map(|bias| ("logit_bias", bias.to_string()));
        let entries = [
            ("class_names", serde_json::to_string(self.classes())?),
            ("score", self.rule.score.to_string()),
            ("score_temperature", self.rule.temperature.to_string()),
            ("threshold", self.threshold.value.to_string()),
            ("reject_below", reject_below.to_string()),
            ("accept_from", accept_from.to_string()),
            ("verdicts", serde_json::to_string(&VERDICTS)?),
            ("logit_scale", self.logit_scale.to_string()),
            (
                "preprocessing",
                serde_json::to_string(&self.checkpoint.preprocessing)?,
            ),
            ("method", record.request.settings.method.to_string()),
            ("settings", serde_json::to_string(&record.request.settings)?),
            ("base_sha256", record.base.sha256.clone()),
            ("ueo_version", record.ueo_version.clone()),
        ];
        let entries = entries.into_iter().chain(bias);
        Ok(entries
            .map(|(key, value)| (key.to_owned(), value))
            .collect())
    }
}

fn adapted_checkpoint(
    record: &RunRecord,
    base: Option<&Path>,
    adapted: &checkpoint::Adapted,
) -> Result<Checkpoint, ExportError> {
    let path: PathBuf = base.unwrap_or(&record.base.path).to_owned();
    let options = LoadOptions::new().activation(record.base.activation);
    let mut checkpoint = checkpoint::load_with(&path, &options).map_err(RunError::from)?;
    adapted
        .merge_into(&mut checkpoint.tensors)
        .map_err(RunError::from)?;
    checkpoint.preprocessing.exif_orientation = record.request.exif_orientation;
    Ok(checkpoint)
}
