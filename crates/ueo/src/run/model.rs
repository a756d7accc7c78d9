//! Opens what a user calls a model: a checkpoint of any layout, or a run directory on top of one.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};

use crate::adapt::TrainedParameters;
use crate::checkpoint::{self, Checkpoint};
use crate::image::Preprocessing;
use crate::method::{ClassPrompts, Method, Rescoring, TEMPLATES};
use crate::model::{Clip, Precision, Prompts, normalize_rows};
use crate::text::{Overlong, PromptSet, Tokenizer, tokenize_text};

use super::RunError;
use super::directory::RunDirectory;
use super::record::{BaseRecord, RunRecord};

/// A model ready for use, with what is known about where it came from.
#[derive(Debug)]
pub struct LoadedModel {
    /// Both towers with frozen weights.
    pub clip: Clip,
    /// The checkpoint's tokenizer.
    pub tokenizer: Tokenizer,
    /// The checkpoint's image preprocessing.
    pub preprocessing: Preprocessing,
    /// The trained parameters: the checkpoint's own, or those of a run.
    pub parameters: TrainedParameters,
    /// The checkpoint that the frozen weights came from.
    pub base: BaseRecord,
    /// The run that the trained parameters came from, if the model is a run directory.
    pub run: Option<RunRecord>,
}

/// Cosines of image features to the text features of a list of classes, and what a method makes of them.
#[derive(Debug)]
pub struct Classifier {
    /// Normalized text features, `[classes, embed_dim]`.
    text_features: Tensor<2>,
    rescoring: Option<Box<dyn Rescoring>>,
}

impl LoadedModel {
    /// Opens a checkpoint or a run directory.
    ///
    /// `base` names the checkpoint of a run directory when it is no longer where the run found it.
    ///
    /// # Errors
    ///
    /// As the checkpoint reader; [`RunError::BaseMoved`] and [`RunError::BaseChanged`] when a run's checkpoint is not
    /// what it was; [`RunError::Unfinished`] when a run has no result yet.
    pub fn open(path: &Path, base: Option<&Path>, device: &Device) -> Result<Self, RunError> {
        Self::open_with(path, base, device, None)
    }

    /// As [`LoadedModel::open`], in a chosen precision; `None` takes the run's own, and f32 for a checkpoint.
    ///
    /// # Errors
    ///
    /// As [`LoadedModel::open`].
    pub fn open_with(
        path: &Path,
        base: Option<&Path>,
        device: &Device,
        precision: Option<Precision>,
    ) -> Result<Self, RunError> {
        if !RunDirectory::recognizes(path) {
            let precision = precision.unwrap_or_default();
            return Self::from_checkpoint(checkpoint::load(path)?, device, precision);
        }
        let directory = RunDirectory::open(path)?;
        let record = directory.read_record()?;
        if !directory.has_adapted() {
            return Err(RunError::Unfinished {
                path: path.to_owned(),
            });
        }
        let mut model = Self::open_base(
            &record.base,
            base,
            device,
            precision.unwrap_or(record.request.precision),
        )?;
        model.parameters = directory.read_adapted(&model.clip)?;
        model.run = Some(record);
        Ok(model)
    }

    /// Opens the checkpoint that a run started from and checks that it is the same.
    ///
    /// # Errors
    ///
    /// [`RunError::BaseMoved`], [`RunError::BaseChanged`], or as the checkpoint reader.
    pub fn open_base(
        expected: &BaseRecord,
        moved_to: Option<&Path>,
        device: &Device,
        precision: Precision,
    ) -> Result<Self, RunError> {
        let path: PathBuf = moved_to.unwrap_or(&expected.path).to_owned();
        if !path.exists() {
            return Err(RunError::BaseMoved { path });
        }
        let checkpoint = checkpoint::load(&path)?;
        if checkpoint.sha256 != expected.sha256 {
            return Err(RunError::BaseChanged {
                path,
                expected: expected.sha256.clone(),
                found: checkpoint.sha256,
            });
        }
        Self::from_checkpoint(checkpoint, device, precision)
    }

    fn from_checkpoint(
        checkpoint: Checkpoint,
        device: &Device,
        precision: Precision,
    ) -> Result<Self, RunError> {
        let tokenizer = Tokenizer::load(&checkpoint.tokenizer)?;
        let base = BaseRecord {
            path: checkpoint.path.clone(),
            kind: checkpoint.kind,
            sha256: checkpoint.sha256.clone(),
            config: checkpoint.config.clone(),
            preprocessing: checkpoint.preprocessing.clone(),
            decisions: checkpoint.decisions.clone(),
        };
        let clip = Clip::with_precision(checkpoint.config, checkpoint.tensors, device, precision)?;
        let initial: &[&str] = &[];
        let prompts = PromptSet::new(&tokenizer, initial, base.config.text.context_length)?;
        let parameters = TrainedParameters {
            context: clip.text().context_from_tokens(prompts.context())?,
            affine: clip.zero_shot_affine().clone(),
        };
        Ok(Self {
            clip,
            tokenizer,
            preprocessing: checkpoint.preprocessing,
            parameters,
            base,
            run: None,
        })
    }

    /// Prompts with the learnable context for a list of class names.
    ///
    /// # Errors
    ///
    /// When a name is too long for the text encoder or cannot be tokenized.
    pub fn prompts(&self, classes: &[String]) -> Result<Prompts, RunError> {
        let context_length = self.base.config.text.context_length;
        let set = PromptSet::new(&self.tokenizer, classes, context_length)?;
        let prompts = Prompts::new(
            set.start_of_text(),
            set.context().len(),
            set.suffixes().to_vec(),
        );
        self.clip.text().check(&prompts)?;
        Ok(prompts)
    }

    /// Text features of unit norm of whole texts, without the learned context, `[texts, embed_dim]`.
    ///
    /// # Errors
    ///
    /// When a text is too long and `overlong` does not allow truncation, or cannot be tokenized.
    pub fn text_features(
        &self,
        texts: &[String],
        overlong: Overlong,
    ) -> Result<Tensor<2>, RunError> {
        let context_length = self.base.config.text.context_length;
        let own_tokens = texts
            .iter()
            .map(|text| {
                let tokens = tokenize_text(&self.tokenizer, text, context_length, overlong)?;
                Ok(tokens[1..].to_vec())
            })
            .collect::<Result<Vec<_>, RunError>>()?;
        let prompts = Prompts::new(self.tokenizer.start_of_text(), 0, own_tokens);
        self.clip.text().check(&prompts)?;
        Ok(normalize_rows(self.clip.text().features(&prompts, None)))
    }

    /// A classifier for a list of class names, with this model's context and, for a run, the run's method.
    ///
    /// # Errors
    ///
    /// As [`Self::prompts`].
    pub fn classifier(&self, classes: &[String]) -> Result<Classifier, RunError> {
        let method = match &self.run {
            Some(run) => run.request.settings.method,
            None => Method::ZeroShot,
        };
        Classifier::of_method(self, method, classes, &self.parameters)
    }
}

impl Classifier {
    /// Encodes the prompts of all classes.
    pub fn new(clip: &Clip, prompts: &Prompts, parameters: &TrainedParameters) -> Self {
        let features = clip.text().features(prompts, Some(&parameters.context));
        Self {
            text_features: normalize_rows(features),
            rescoring: None,
        }
    }

    /// The classifier with which a method ends, given the parameters that it has trained.
    ///
    /// # Errors
    ///
    /// As [`LoadedModel::prompts`].
    pub fn of_method(
        model: &LoadedModel,
        method: Method,
        classes: &[String],
        parameters: &TrainedParameters,
    ) -> Result<Self, RunError> {
        let mut classifier = match method.class_prompts() {
            ClassPrompts::Context => Self::new(&model.clip, &model.prompts(classes)?, parameters),
            ClassPrompts::Templates => Self::ensemble(model, classes)?,
        };
        classifier.rescoring = method.rescoring();
        Ok(classifier)
    }

    /// The normalized mean of the features of several sentences per class.
    fn ensemble(model: &LoadedModel, classes: &[String]) -> Result<Self, RunError> {
        let sentences: Vec<String> = classes
            .iter()
            .map(|class| class.replace('_', " "))
            .flat_map(|class| TEMPLATES.map(|template| template.replace("{}", &class)))
            .collect();
        let features = model.text_features(&sentences, Overlong::Error)?;
        let embed_dim = model.base.config.embed_dim;
        let means: Tensor<2> = features
            .reshape([classes.len(), TEMPLATES.len(), embed_dim])
            .mean_dim(1)
            .squeeze_dim(1);
        Ok(Self {
            text_features: normalize_rows(means),
            rescoring: None,
        })
    }

    /// What turns the features of all images together into class scores, if cosines are not the last word.
    pub fn rescoring(&self) -> Option<&dyn Rescoring> {
        self.rescoring.as_deref()
    }

    /// Text features of unit norm, `[classes, embed_dim]`.
    pub fn text_features(&self) -> &Tensor<2> {
        &self.text_features
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.text_features.dims()[0]
    }

    /// Cosines of image features to all classes.
    ///
    /// # Shapes
    ///
    /// `[images, embed_dim]` to `[images, classes]`.
    pub fn cosine_logits(&self, image_features: Tensor<2>) -> Tensor<2> {
        normalize_rows(image_features).matmul(self.text_features.clone().transpose())
    }
}
