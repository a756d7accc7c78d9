//! A model ready for use, and the classifier that a list of class names makes of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::Device;
use crate::adapt::TrainedParameters;
use crate::checkpoint::{
    self, Activation, ActivationSource, Adapted, Checkpoint, CheckpointKind, ClipConfig,
    LoadOptions,
};
use crate::device::guarded;
use crate::exchange::{Alone, Exchange};
use crate::image::{ExifOrientation, Preprocessing};
use crate::method::{Centring, ClassPrompts, Method, Rescoring, TEMPLATES};
use crate::model::{Clip, Precision, Prompts, normalize_rows, to_host};
use crate::tensor::HostTensor;
use crate::text::{Overlong, PromptSet, Template, TextError, Tokenizer, tokenize_text};

use super::SessionError;
use super::encode::check_features;
use super::negative_labels::NegativeLabels;

/// The checkpoint that a model started from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BaseRecord {
    /// The path that the user named, absolute.
    pub path: PathBuf,
    /// Layout of the checkpoint.
    pub kind: CheckpointKind,
    /// SHA-256 of the weights file, lowercase hexadecimal.
    pub sha256: String,
    /// SHA-256 of all that results depend on, configuration, preprocessing and tokenizer included; runs of version 0.1.0
    /// do not have it.
    #[serde(default)]
    pub content_sha256: Option<String>,
    /// Architecture.
    pub config: ClipConfig,
    /// Image preprocessing.
    pub preprocessing: Preprocessing,
    /// How ambiguous facts were decided.
    pub decisions: Vec<String>,
    /// The activation of both towers, where the user named it because the checkpoint does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
    /// What a user should know before trusting results: facts that were assumed, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A model ready for use, with what is known about where it came from. Clones share the frozen weights.
#[derive(Clone, Debug)]
pub struct Model {
    /// Both towers with frozen weights.
    pub clip: Arc<Clip>,
    /// The checkpoint's tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// The checkpoint's image preprocessing.
    pub preprocessing: Preprocessing,
    /// The trained parameters: the checkpoint's own, or those of an adaptation.
    pub parameters: TrainedParameters,
    /// The checkpoint that the frozen weights came from.
    pub base: BaseRecord,
    /// What the trained parameters were trained with; zero-shot for a checkpoint.
    pub method: Method,
    /// The sentences that class names stand in, at least one. The learned context takes the place of the words of the first in
    /// front of the name; predictions without training take the mean of all.
    templates: Vec<Template>,
    /// The way to the processes that work with this model together.
    exchange: Arc<dyn Exchange>,
}

/// Choices of opening a model; what is not chosen is the processor and f32.
#[derive(Clone, Debug, Default)]
pub struct ModelBuilder {
    device: Device,
    precision: Precision,
    options: LoadOptions,
    exif_orientation: ExifOrientation,
    templates: Vec<Template>,
}

impl ModelBuilder {
    /// Where to compute.
    #[must_use]
    pub fn device(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// Number format of the frozen weights.
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// What is known about the checkpoint better than its files say.
    #[must_use]
    pub fn load_options(mut self, options: LoadOptions) -> Self {
        self.options = options;
        self
    }

    /// Whether the camera's orientation of an image counts.
    #[must_use]
    pub fn exif_orientation(mut self, orientation: ExifOrientation) -> Self {
        self.exif_orientation = orientation;
        self
    }

    /// Sentences that class names stand in; without any, `a photo of a {}.` alone.
    #[must_use]
    pub fn templates(mut self, templates: Vec<Template>) -> Self {
        self.templates = templates;
        self
    }

    /// Opens a checkpoint of any layout.
    ///
    /// # Errors
    ///
    /// As the checkpoint reader, when its tensors do not make a model, and as [`Model::with_templates`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<Model, SessionError> {
        let checkpoint = checkpoint::load_with(path.as_ref(), &self.options)?;
        let mut model = Model::from_checkpoint(checkpoint, &self.device, self.precision)?;
        model.preprocessing.exif_orientation = self.exif_orientation;
        model.with_templates(&self.templates)
    }
}

/// Cosines of image features to the text features of a list of classes, and what a method makes of them.
#[derive(Debug)]
pub struct Classifier {
    /// Normalized text features, `[classes, embed_dim]`.
    text_features: Tensor<2>,
    /// Means to subtract, and the text features after that.
    centred: Option<(Centring, Tensor<2>)>,
    rescoring: Option<Box<dyn Rescoring>>,
}

impl Model {
    /// Opens a checkpoint of any layout on the processor, with frozen weights in f32; [`Self::builder`] has other choices.
    ///
    /// # Errors
    ///
    /// As the checkpoint reader, and when its tensors do not make a model.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, SessionError> {
        Self::builder().open(path)
    }

    /// Choices of opening a model.
    pub fn builder() -> ModelBuilder {
        ModelBuilder::default()
    }

    /// A model made of a checkpoint in memory.
    ///
    /// # Errors
    ///
    /// When the checkpoint's tensors do not make a model, or its tokenizer cannot be used.
    pub fn from_checkpoint(
        checkpoint: Checkpoint,
        device: &Device,
        precision: Precision,
    ) -> Result<Self, SessionError> {
        let tokenizer = Tokenizer::load(&checkpoint.tokenizer)?;
        let base = BaseRecord {
            path: checkpoint.path.clone(),
            kind: checkpoint.kind,
            sha256: checkpoint.sha256.clone(),
            content_sha256: Some(checkpoint.content_sha256.clone()),
            config: checkpoint.config.clone(),
            preprocessing: checkpoint.preprocessing.clone(),
            decisions: checkpoint.decisions.clone(),
            activation: (checkpoint.activation_source == ActivationSource::Requested)
                .then_some(checkpoint.config.text.transformer.activation),
            warnings: checkpoint.warnings.clone(),
        };
        let clip = Clip::with_precision(
            checkpoint.config,
            checkpoint.tensors,
            device.burn(),
            precision,
        )?;
        let template = Template::default();
        let context_length = base.config.text.context_length;
        let parameters = TrainedParameters {
            context: initial_context(&clip, &tokenizer, &template, context_length)?,
            affine: clip.zero_shot_affine().clone(),
            centring: None,
        };
        Ok(Self {
            clip: Arc::new(clip),
            tokenizer: Arc::new(tokenizer),
            preprocessing: checkpoint.preprocessing,
            parameters,
            base,
            method: Method::ZeroShot,
            templates: vec![template],
            exchange: Arc::new(Alone),
        })
    }

    /// The same model for several processes that divide passes over images and texts, and training. All of them make the same calls.
    #[must_use]
    pub fn with_exchange(mut self, exchange: Arc<dyn Exchange>) -> Self {
        self.exchange = exchange;
        self
    }

    /// The way to the processes that work with this model together.
    pub fn exchange(&self) -> &dyn Exchange {
        &*self.exchange
    }

    /// The sentences that class names stand in, at least one.
    pub fn templates(&self) -> &[Template] {
        &self.templates
    }

    /// The same checkpoint with other sentences around class names, whose context is the words of the first; with none it
    /// stays as it is. What a context has learned is lost, so this comes before an adaptation.
    ///
    /// # Errors
    ///
    /// [`SessionError::Text`] when a sentence leaves no room for a name, or the first has no words in front of the name.
    pub fn with_templates(&self, templates: &[Template]) -> Result<Self, SessionError> {
        let Some(first) = templates.first() else {
            return Ok(self.clone());
        };
        let context_length = self.base.config.text.context_length;
        for template in templates {
            // Both end markers and a name of one token.
            let tokens = self.tokenizer.encode(&template.about(""))?.len() + 2;
            if tokens >= context_length {
                return Err(SessionError::Text(TextError::TemplateTooLong {
                    template: template.to_string(),
                    tokens,
                    limit: context_length,
                }));
            }
        }
        let mut model = self.clone();
        model.parameters.context =
            initial_context(&self.clip, &self.tokenizer, first, context_length)?;
        model.templates = templates.to_vec();
        Ok(model)
    }

    /// The same frozen weights with other trained parameters, and the method that trained them.
    #[must_use]
    pub fn with_parameters(&self, parameters: TrainedParameters, method: Method) -> Self {
        Self {
            parameters,
            method,
            ..self.clone()
        }
    }

    /// Writes what adaptation changed, a few hundred kilobytes in safetensors format. [`Self::with_saved`] reads it.
    ///
    /// # Errors
    ///
    /// [`SessionError::Checkpoint`] when the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), SessionError> {
        Ok(self.parameters.to_adapted().save(path.as_ref())?)
    }

    /// This checkpoint with what [`Self::save`] wrote.
    ///
    /// # Errors
    ///
    /// [`SessionError::Checkpoint`] and [`SessionError::Model`] when the file cannot be read or belongs to another model.
    pub fn with_saved(&self, path: impl AsRef<Path>, method: Method) -> Result<Self, SessionError> {
        let adapted = Adapted::load(path.as_ref())?;
        let parameters =
            TrainedParameters::from_adapted(adapted, &self.clip)?.in_place_of(&self.parameters)?;
        Ok(self.with_parameters(parameters, method))
    }

    /// Prompts with the learnable context for a list of class names.
    ///
    /// # Errors
    ///
    /// When a name is too long for the text encoder or cannot be tokenized.
    pub fn prompts(&self, classes: &[String]) -> Result<Prompts, SessionError> {
        let context_length = self.base.config.text.context_length;
        let template = &self.templates[0];
        let set = PromptSet::with_template(&self.tokenizer, template, classes, context_length)?;
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
    ) -> Result<Tensor<2>, SessionError> {
        let context_length = self.base.config.text.context_length;
        let start = self.tokenizer.start_of_text();
        let own_tokens = texts
            .iter()
            .map(|text| {
                let tokens = tokenize_text(&self.tokenizer, text, context_length, overlong)?;
                Ok(tokens[usize::from(start.is_some())..].to_vec())
            })
            .collect::<Result<Vec<_>, SessionError>>()?;
        let prompts = Prompts::new(start, 0, own_tokens);
        self.clip.text().check(&prompts)?;
        let embed_dim = self.base.config.embed_dim;
        let (features, numbers) = guarded(self.clip.device(), || {
            let text = self.clip.text();
            let features = text.features_together(&prompts, None, self.exchange());
            let numbers = to_host(&features).data;
            (features, numbers)
        })?;
        check_features(&numbers, embed_dim, |row| texts[row].clone())?;
        Ok(normalize_rows(features))
    }

    /// The normalized mean of the features of several sentences about each name, as many for each, `[names, embed_dim]`.
    pub(super) fn mean_text_features<'a, Sentences: IntoIterator<Item = String>>(
        &self,
        names: &'a [String],
        about: impl Fn(&'a str) -> Sentences,
        overlong: Overlong,
    ) -> Result<Tensor<2>, SessionError> {
        let sentences: Vec<String> = names.iter().flat_map(|name| about(name)).collect();
        let per_name = sentences.len() / names.len().max(1);
        let features = self.text_features(&sentences, overlong)?;
        let embed_dim = self.base.config.embed_dim;
        let means: Tensor<2> = features
            .reshape([names.len(), per_name, embed_dim])
            .mean_dim(1)
            .squeeze_dim(1);
        Ok(normalize_rows(means))
    }

    /// [Embeddings](Classifier::embeddings) of the words that
    /// [`Score::NegativeLabels`](crate::evaluate::Score::NegativeLabels) chooses for these classes, `[words, embed_dim]`.
    ///
    /// # Errors
    ///
    /// As [`Self::prompts`], and when this model's method has no use for cosines to other words.
    pub fn negative_embeddings(&self, classes: &[String]) -> Result<HostTensor, SessionError> {
        let words = NegativeLabels::choose(self, classes)?;
        let classifier = words.classifier(self, self.method, &self.parameters)?;
        Ok(classifier.embeddings())
    }

    /// A classifier for a list of class names, with this model's context and method.
    ///
    /// # Errors
    ///
    /// As [`Self::prompts`].
    pub fn classifier(&self, classes: &[String]) -> Result<Classifier, SessionError> {
        Classifier::of_method(self, self.method, classes, &self.parameters)
    }
}

/// The embeddings of a template's words in front of the class name, `[words' tokens, width]`.
fn initial_context(
    clip: &Clip,
    tokenizer: &Tokenizer,
    template: &Template,
    context_length: usize,
) -> Result<Tensor<2>, SessionError> {
    let no_classes: &[&str] = &[];
    let prompts = PromptSet::with_template(tokenizer, template, no_classes, context_length)?;
    Ok(clip.text().context_from_tokens(prompts.context())?)
}

impl Classifier {
    /// Encodes the prompts of all classes.
    pub fn new(clip: &Clip, prompts: &Prompts, parameters: &TrainedParameters) -> Self {
        let features = clip.text().features(prompts, Some(&parameters.context));
        Self {
            text_features: normalize_rows(features),
            centred: None,
            rescoring: None,
        }
    }

    /// The classifier with which a method ends, given the parameters that it has trained.
    ///
    /// # Errors
    ///
    /// As [`Model::prompts`].
    pub fn of_method(
        model: &Model,
        method: Method,
        classes: &[String],
        parameters: &TrainedParameters,
    ) -> Result<Self, SessionError> {
        let mut classifier = match method.class_prompts() {
            ClassPrompts::Templates => Self::mean(model, classes, |class| {
                let class = class.replace('_', " ");
                TEMPLATES.map(|template| template.replace("{}", &class))
            })?,
            ClassPrompts::Context if !method.trains() && model.templates.len() > 1 => {
                let templates = &model.templates;
                Self::mean(model, classes, |class| {
                    templates.iter().map(move |template| template.about(class))
                })?
            }
            ClassPrompts::Context => Self::new(&model.clip, &model.prompts(classes)?, parameters),
        };
        classifier.rescoring = method.rescoring();
        Ok(match &parameters.centring {
            Some(centring) => classifier.centred(centring.clone()),
            None => classifier,
        })
    }

    /// With the mean of several sentences per class.
    fn mean<'a, Sentences: IntoIterator<Item = String>>(
        model: &Model,
        classes: &'a [String],
        about: impl Fn(&'a str) -> Sentences,
    ) -> Result<Self, SessionError> {
        Ok(Self {
            text_features: model.mean_text_features(classes, about, Overlong::Error)?,
            centred: None,
            rescoring: None,
        })
    }

    /// What turns the features of all images together into class scores, if cosines are not the last word.
    pub fn rescoring(&self) -> Option<&dyn Rescoring> {
        self.rescoring.as_deref()
    }

    /// The same classes, images and texts centred before cosines are taken.
    #[must_use]
    pub fn centred(mut self, centring: Centring) -> Self {
        let HostTensor { shape, data } = to_host(&self.text_features);
        let centred = TensorData::new(centring.texts(&data), shape);
        let centred = Tensor::from_data(centred, &self.text_features.device());
        self.centred = Some((centring, centred));
        self
    }

    /// Text features of unit norm, `[classes, embed_dim]`, as the text tower gives them.
    pub fn text_features(&self) -> &Tensor<2> {
        &self.text_features
    }

    /// What image features of unit norm are compared with, in host memory, `[classes, embed_dim]`: text features of unit norm,
    /// centred where the classifier is.
    pub fn embeddings(&self) -> HostTensor {
        match &self.centred {
            Some((_, texts)) => to_host(texts),
            None => to_host(&self.text_features),
        }
    }

    /// What is subtracted from image features of unit norm before they are of unit norm again and compared, `[embed_dim]`.
    pub fn image_offset(&self) -> Option<HostTensor> {
        let (centring, _) = self.centred.as_ref()?;
        let scaled = |mean: &f32| centring.factor * mean;
        Some(HostTensor {
            shape: vec![centring.image_mean.len()],
            data: centring.image_mean.iter().map(scaled).collect(),
        })
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
        let images = normalize_rows(image_features);
        let Some((centring, texts)) = &self.centred else {
            return images.matmul(self.text_features.clone().transpose());
        };
        let HostTensor { shape, data } = to_host(&images);
        let centred = TensorData::new(centring.images(&data), shape);
        Tensor::<2>::from_data(centred, &texts.device()).matmul(texts.clone().transpose())
    }
}
