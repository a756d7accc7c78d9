//! What can be chosen about an adaptation.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::guard::Keep;
use crate::image::{CacheContent, ViewKind};
use crate::method::{
    InvalidSetting, Method, MethodSettings, Objective, TrainedPart, UniversalEntropySettings,
    at_least_one, builders, field_names, non_negative,
};
use crate::objective::ConfidenceWeights;
use crate::text::Template;

use super::{Epochs, GroupNorms, Rates, StepSize, TrainedBlocks};

/// All choices of an adaptation; the defaults are the released program's. (`ueo adapt` chooses [`Epochs::Auto`] where it is not told
/// otherwise.)
///
/// ```
/// use ueo::adapt::Settings;
/// use ueo::method::Method;
///
/// let settings = Settings::new(Method::InfoMax).epochs(5).seed(1);
/// settings.validate()?;
/// # Ok::<(), ueo::adapt::InvalidSetting>(())
/// ```
///
/// In files, the settings of the methods stand side by side with the others; a name that is no setting is an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "clap",
    derive(clap::Args),
    command(next_help_heading = "Training")
)]
#[serde(remote = "Self", default)]
#[non_exhaustive]
pub struct Settings {
    /// What the images are used for.
    #[cfg_attr(
        feature = "clap",
        arg(long, value_enum, value_name = "NAME", default_value_t)
    )]
    pub method: Method,
    /// Which parameters are trained [default: both, or those of the method's publication].
    #[cfg_attr(feature = "clap", arg(long, value_enum, value_name = "PART"))]
    pub train: Option<TrainedPart>,
    /// Passes over the images, or `auto`: as many as make about 2,500 steps, between 5 and 50.
    ///
    /// Both protocols of the publication take about as many steps: 50 epochs of small sets, 5 of hundreds of thousands of images.
    #[cfg_attr(feature = "clap", arg(long, value_name = "N|auto", default_value_t = Epochs::Auto))]
    pub epochs: Epochs,
    /// Residual blocks of the image tower that are trained: `all`, or `last-4` for the last four and what follows on them.
    ///
    /// What comes before the blocks that are trained is computed once for each view that comes again, which is what --views and
    /// --augmentation none see to: a step then costs the share of the tower that is trained, and no image is decoded again.
    #[cfg_attr(
        feature = "clap",
        arg(long, value_name = "all|last-N", default_value_t)
    )]
    pub train_blocks: TrainedBlocks,
    /// Images per training step.
    ///
    /// The last, shorter batch of an epoch is kept.
    #[cfg_attr(feature = "clap", arg(long, value_name = "N", default_value_t = Self::default().batch_size))]
    pub batch_size: usize,
    /// Images in memory at once; the gradient stays that of the whole batch [default: the whole batch].
    #[cfg_attr(feature = "clap", arg(long, value_name = "N"))]
    pub micro_batch: Option<usize>,
    /// Initial learning rate of the context vectors (annealed to 0 along a cosine).
    #[cfg_attr(feature = "clap", arg(
        long, value_name = "RATE", default_value_t = Self::default().context_learning_rate
    ))]
    pub context_learning_rate: f64,
    /// Initial learning rate of the normalization layers' scale and shift.
    #[cfg_attr(feature = "clap", arg(
        long, value_name = "RATE", default_value_t = Self::default().affine_learning_rate
    ))]
    pub affine_learning_rate: f64,
    /// What can be chosen about the method.
    #[serde(flatten)]
    #[cfg_attr(feature = "clap", command(flatten))]
    pub method_settings: MethodSettings,
    /// Random changes of the training images.
    #[cfg_attr(
        feature = "clap",
        arg(long, value_enum, value_name = "KIND", default_value_t)
    )]
    pub augmentation: Augmentation,
    /// Random views of each image, which then come again in turn [default: a new one in every epoch].
    ///
    /// With --train-blocks or --train context each view is encoded once.
    #[cfg_attr(feature = "clap", arg(long, value_name = "N"))]
    pub views: Option<usize>,
    /// Reduce larger images to this shorter side once, before their random crops [default: crop the originals].
    ///
    /// Lets large photographs stay in memory for all epochs. The training pixels then differ a little from the published way;
    /// the images that are measured are always made of the originals. Twice the input size is a good choice.
    #[cfg_attr(feature = "clap", arg(long, value_name = "PIXELS"))]
    pub reduce_images: Option<usize>,
    /// Whether each epoch visits the images in a new random order.
    #[cfg_attr(feature = "clap", arg(
        long = "no-shuffle", action = clap::ArgAction::SetFalse,
        help = "Visit the images in the order of their paths in every epoch"
    ))]
    pub shuffle: bool,
    /// Seed of everything random.
    #[cfg_attr(feature = "clap", arg(long, value_name = "SEED", default_value_t = Self::default().seed))]
    pub seed: u64,
    /// Which epoch's parameters are the result.
    ///
    /// Anything but the last encodes all images once more after every epoch, without their labels; the checkpoint as it is
    /// counts as epoch 0. docs/guard.md says how well each choice did.
    #[cfg_attr(
        feature = "clap",
        arg(long, value_enum, value_name = "CHOICE", default_value_t)
    )]
    pub keep: Keep,
    /// Sentences that class names stand in; none leaves them to the model, which has `a photo of a {}.` at first.
    ///
    /// The learned context starts from the words of the first in front of the name. Predictions without training take the mean
    /// of all.
    #[serde(
        rename = "template",
        deserialize_with = "one_or_several",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub templates: Vec<Template>,
    /// Start the schedule of the learning rates anew after this epoch; may be given several times.
    ///
    /// The rates begin at their initial values again and are annealed to 0 at the next restart or at the end (Loshchilov and
    /// Hutter 2017). A run that is extended has a restart where it ended before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "EPOCH"))]
    pub restart_after: Vec<usize>,
    /// What the learning rates are measured in.
    #[serde(skip_serializing_if = "StepSize::is_gradient")]
    #[cfg_attr(
        feature = "clap",
        arg(long, value_enum, value_name = "MEASURE", default_value_t)
    )]
    pub step_size: StepSize,
}

/// A list, or the only value of one.
fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Template>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrSeveral {
        One(String),
        Several(Vec<String>),
    }
    let texts = match OneOrSeveral::deserialize(deserializer)? {
        OneOrSeveral::One(text) => vec![text],
        OneOrSeveral::Several(texts) => texts,
    };
    let parsed = texts.into_iter().map(|text| {
        let parsed = text.parse::<Template>();
        parsed.map_err(|error| D::Error::custom(format!("template `{text}`: {error}")))
    });
    parsed.collect()
}

/// Random changes of the training images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Augmentation {
    /// Random resized crop (area 0.5 to 1, aspect 3/4 to 4/3) and horizontal flip.
    #[default]
    CropFlip,
    /// Centre crop, as when predicting.
    None,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            method: Method::default(),
            train: None,
            epochs: Epochs::Count(50),
            train_blocks: TrainedBlocks::default(),
            batch_size: 64,
            micro_batch: None,
            context_learning_rate: 1e-4,
            affine_learning_rate: 1e-4,
            method_settings: MethodSettings::default(),
            augmentation: Augmentation::default(),
            views: None,
            reduce_images: None,
            shuffle: true,
            seed: 2023,
            keep: Keep::default(),
            templates: Vec::new(),
            restart_after: Vec::new(),
            step_size: StepSize::default(),
        }
    }
}

impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The derived one, which `remote` makes a function of its own.
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let values = Map::<String, Value>::deserialize(deserializer)?;
        // Families are flattened, which takes in every name: what none of them knows is found here.
        let known = Self::names();
        if let Some(name) = values.keys().find(|name| !known.contains(name)) {
            let known = known.join("`, `");
            let message = format!("unknown field `{name}`, expected one of `{known}`");
            return Err(D::Error::custom(message));
        }
        Self::deserialize(Value::Object(values)).map_err(D::Error::custom)
    }
}

impl Settings {
    /// The names of all settings in files, also of those that a file leaves out while they are at their defaults.
    pub fn names() -> Vec<String> {
        field_names(&Self {
            templates: vec![Template::default()],
            restart_after: vec![1],
            step_size: StepSize::Relative,
            ..Self::default()
        })
    }

    /// The default settings of a method.
    pub fn new(method: Method) -> Self {
        Self {
            method,
            ..Self::default()
        }
    }

    builders! {
        method: Method,
        train: Option<TrainedPart>,
        train_blocks: TrainedBlocks,
        batch_size: usize,
        micro_batch: Option<usize>,
        context_learning_rate: f64,
        affine_learning_rate: f64,
        augmentation: Augmentation,
        views: Option<usize>,
        reduce_images: Option<usize>,
        shuffle: bool,
        seed: u64,
        keep: Keep,
        templates: Vec<Template>,
        restart_after: Vec<usize>,
        step_size: StepSize,
    }

    /// The same settings with so many passes over the images.
    #[must_use]
    pub fn epochs(mut self, epochs: impl Into<Epochs>) -> Self {
        self.epochs = epochs.into();
        self
    }

    /// The same settings with these of universal entropy.
    #[must_use]
    pub fn universal_entropy(mut self, settings: UniversalEntropySettings) -> Self {
        self.method_settings.universal_entropy = settings;
        self
    }

    /// Checks every value.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the first value that makes no sense and what would.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        self.epochs.validate()?;
        at_least_one("views", self.views.unwrap_or(1))?;
        at_least_one("batch-size", self.batch_size)?;
        at_least_one("micro-batch", self.micro_batch.unwrap_or(1))?;
        at_least_one("reduce-images", self.reduce_images.unwrap_or(1))?;
        non_negative("context-learning-rate", self.context_learning_rate)?;
        non_negative("affine-learning-rate", self.affine_learning_rate)?;
        if let (Some(_), Augmentation::None) = (self.reduce_images, self.augmentation) {
            return Err(InvalidSetting::Conflict {
                setting: "reduce-images",
                other: "augmentation",
                found: "none".to_owned(),
                reason: "test views are small and kept as they are",
            });
        }
        if self.method.has_templates() && !self.templates.is_empty() {
            return Err(InvalidSetting::Conflict {
                setting: "template",
                other: "method",
                found: self.method.to_string(),
                reason: "it has templates of its own",
            });
        }
        self.check_restarts()?;
        self.check_rates()?;
        if let (Some(2..), Augmentation::None) = (self.views, self.augmentation) {
            return Err(InvalidSetting::Conflict {
                setting: "views",
                other: "augmentation",
                found: "none".to_owned(),
                reason: "without random changes there is one view of an image",
            });
        }
        if let (TrainedBlocks::Last(_), TrainedPart::Context) =
            (self.train_blocks, self.trained_part())
        {
            return Err(InvalidSetting::Conflict {
                setting: "train-blocks",
                other: "train",
                found: "context".to_owned(),
                reason: "nothing of the image tower is trained then",
            });
        }
        self.method_settings.validate()?;
        self.method.check_settings(&self.method_settings)
    }

    /// A method that finds its step sizes itself takes none.
    fn check_rates(&self) -> Result<(), InvalidSetting> {
        let default = Self::default();
        let chosen = [
            (
                "context-learning-rate",
                self.context_learning_rate != default.context_learning_rate,
            ),
            (
                "affine-learning-rate",
                self.affine_learning_rate != default.affine_learning_rate,
            ),
            ("step-size", self.step_size != default.step_size),
        ];
        let chosen = chosen.into_iter().find(|&(_, chosen)| chosen);
        match (self.method.path_lengths(), chosen) {
            (Some(_), Some((setting, _))) => Err(InvalidSetting::Conflict {
                setting,
                other: "method",
                found: self.method.to_string(),
                reason: "it finds the length of its steps itself",
            }),
            _ => Ok(()),
        }
    }

    fn check_restarts(&self) -> Result<(), InvalidSetting> {
        let Some(epochs) = self.epochs.given() else {
            return match self.restart_after[..] {
                [] => Ok(()),
                _ => Err(InvalidSetting::Conflict {
                    setting: "restart-after",
                    other: "epochs",
                    found: self.epochs.to_string(),
                    reason: "where the schedule starts anew depends on their number",
                }),
            };
        };
        let before = std::iter::once(0).chain(self.restart_after.iter().copied());
        let mut pairs = before.zip(&self.restart_after);
        match pairs.find(|&(before, &epoch)| epoch <= before || epoch >= epochs) {
            None => Ok(()),
            Some((before, epoch)) => Err(InvalidSetting::Range {
                setting: "restart-after",
                expected: format!("an epoch after {before} and before {epochs}").into(),
                found: epoch.to_string(),
            }),
        }
    }

    /// What a cache of images should keep for this adaptation, with an input of `input_size` pixels.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] when images would be reduced to less than the input.
    pub fn cache_content(&self, input_size: usize) -> Result<CacheContent, InvalidSetting> {
        match (self.augmentation, self.reduce_images) {
            (Augmentation::None, _) => Ok(CacheContent::TestViews),
            (Augmentation::CropFlip, None) => Ok(CacheContent::Originals),
            (Augmentation::CropFlip, Some(shorter_side)) if shorter_side >= input_size => {
                Ok(CacheContent::Reduced { shorter_side })
            }
            (Augmentation::CropFlip, Some(side)) => Err(InvalidSetting::Range {
                setting: "reduce-images",
                expected: format!(
                    "at least the model's input size, {input_size}, and better twice as much"
                )
                .into(),
                found: side.to_string(),
            }),
        }
    }

    /// The same settings for another method; those that it does not have return to their defaults.
    #[must_use]
    pub fn with_method(&self, method: Method) -> Self {
        let rates = match method.path_lengths() {
            Some(_) => Self::default(),
            None => self.clone(),
        };
        Self {
            method,
            context_learning_rate: rates.context_learning_rate,
            affine_learning_rate: rates.affine_learning_rate,
            step_size: rates.step_size,
            method_settings: method.own(&self.method_settings),
            templates: match method.has_templates() {
                true => Vec::new(),
                false => self.templates.clone(),
            },
            ..self.clone()
        }
    }

    /// The objective, `None` for a method without training.
    pub fn objective(&self) -> Option<Box<dyn Objective>> {
        self.method.objective(&self.method_settings)
    }

    /// Which parameters are trained.
    pub fn trained_part(&self) -> TrainedPart {
        self.train.unwrap_or(self.method.trained_part())
    }

    /// Whether true labels are used in training.
    pub fn needs_labels(&self) -> bool {
        let settings = self.method.effective(&self.method_settings);
        settings.universal_entropy.confidence_weights == ConfidenceWeights::Oracle
    }

    /// The learning rate of a step (from 0): annealed from `initial` between the restarts of the schedule.
    pub fn learning_rate(&self, initial: f64, step: usize, steps_per_epoch: usize) -> f64 {
        let (done, total) = self.place(step, steps_per_epoch);
        cosine_annealing(initial, done, total)
    }

    /// How many steps since the last restart of the schedule a step (from 0) has before it, and how many there are to the next.
    fn place(&self, step: usize, steps_per_epoch: usize) -> (usize, usize) {
        let begun_before = |&&epoch: &&usize| epoch * steps_per_epoch <= step;
        let restarts = self.restart_after.iter().take_while(begun_before).count();
        let begin = restarts
            .checked_sub(1)
            .map_or(0, |last| self.restart_after[last]);
        let end = self.restart_after.get(restarts).copied();
        let end = end.unwrap_or_else(|| self.epochs.count(steps_per_epoch));
        let done = step - begin * steps_per_epoch;
        (done, (end - begin) * steps_per_epoch)
    }

    /// Whether a step's length is a part of the norm of what it moves.
    pub fn has_relative_steps(&self) -> bool {
        self.method.path_lengths().is_some() || self.step_size == StepSize::Relative
    }

    /// What the gradients are multiplied with in a step (from 0).
    ///
    /// `context` and `affine` are the norms of the two groups of parameters.
    ///
    /// # Panics
    ///
    /// Where steps are relative to the parameters, and the norm of these is missing.
    pub fn rates(
        &self,
        step: usize,
        steps_per_epoch: usize,
        context: GroupNorms,
        affine: GroupNorms,
    ) -> Rates {
        let relative = |length: f64, norms: GroupNorms| {
            let (_, total) = self.place(step, steps_per_epoch);
            let initial = 2.0 * length / total as f64;
            norms.rate(self.learning_rate(initial, step, steps_per_epoch))
        };
        let own = self.method.path_lengths();
        match (own, self.step_size) {
            (Some(own), _) => Rates {
                context: relative(own.context, context),
                affine: relative(own.affine, affine),
            },
            (None, StepSize::Relative) => Rates {
                context: relative(self.context_learning_rate, context),
                affine: relative(self.affine_learning_rate, affine),
            },
            (None, StepSize::Gradient) => Rates {
                context: self.learning_rate(self.context_learning_rate, step, steps_per_epoch),
                affine: self.learning_rate(self.affine_learning_rate, step, steps_per_epoch),
            },
        }
    }

    /// Steps per epoch for a number of images.
    pub fn steps_per_epoch(&self, images: usize) -> usize {
        images.div_ceil(self.batch_size)
    }

    /// Passes over a number of images.
    pub fn epoch_count(&self, images: usize) -> usize {
        self.epochs.count(self.steps_per_epoch(images))
    }

    /// How many views of an image steps see, where these come again.
    pub fn fixed_views(&self) -> Option<usize> {
        match self.augmentation {
            Augmentation::None => Some(1),
            Augmentation::CropFlip => self.views,
        }
    }

    /// The view that an epoch (from 0) sees.
    pub fn view(&self, epoch: usize) -> ViewKind {
        match self.augmentation {
            Augmentation::None => ViewKind::Test,
            Augmentation::CropFlip => ViewKind::Training {
                seed: self.seed,
                epoch: self.views.map_or(epoch, |views| epoch % views.max(1)) as u64,
            },
        }
    }

    /// Steps of the whole adaptation for a number of images; none for a method without training.
    pub fn total_steps(&self, images: usize) -> usize {
        if self.method.trains() {
            self.epoch_count(images) * self.steps_per_epoch(images)
        } else {
            0
        }
    }
}

/// Cosine annealing from `initial` to zero: the learning rate of step `step` (from 0) out of `total`.
pub fn cosine_annealing(initial: f64, step: usize, total: usize) -> f64 {
    let progress = step as f64 / total as f64;
    0.5 * initial * (1.0 + (std::f64::consts::PI * progress).cos())
}

#[cfg(test)]
mod tests;
