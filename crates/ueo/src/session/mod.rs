//! A model in memory and what a program asks of it: features, predictions, an adaptation. Nothing is written to disk here.
//!
//! ```text
//! Model + Images -> encode_images -> ImageFeatures -> class scores -> predictions, threshold, measurements
//!                                         |
//!                                    ZeroShotPass -> adapt -> TrainedParameters -> Model
//! ```

mod adapting;
mod discovering;
mod encode;
mod engine;
mod error;
mod images;
mod labels;
mod model;
mod negative_labels;
mod predicting;
mod rows;
mod scoring;

use serde::{Deserialize, Serialize};

use crate::adapt::{Cost, StepRecord};
use crate::data::{LeftOutCount, Unlabelled};
use crate::guard::{EpochRecord, Warning};
use crate::image::CacheUse;

pub use adapting::{adapt, adapt_in_memory};
pub use discovering::{
    CutBasis, DiscoverQuestion, Discovery, Member, NamedGroup, SimilarName, Vocabulary,
    VocabularyUse, discover,
};
pub use encode::{
    ENCODING_BATCH, FeatureStore, ImageFeatures, Subset, check_same_images, encode_images,
    encode_images_keeping, encode_readable, list_skipped,
};
pub use engine::EngineRecord;
pub use error::SessionError;
pub use images::Images;
pub use labels::{
    LabelRecord, LabelledPredictions, Labels, OracleLabels, ReadLabels, UnlabelledCount,
};
pub use model::{BaseRecord, Classifier, Model, ModelBuilder};
pub use predicting::{
    Cut, Embedding, ImagePrediction, PredictionSet, Question, TrueLabel, embed_images, embed_names,
    embed_texts, predict,
};
pub use rows::{KeptFeatures, PredictedRows, predict_rows};
pub use scoring::{Judge, ScoreTable, Scorer, calibrated};

/// A pass over the images without training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// With the checkpoint as it is, before adaptation.
    ZeroShot,
    /// With the adapted parameters, after adaptation.
    Adapted,
    /// With the model that the user named, to predict or to embed.
    Inference,
    /// Labelled images that a threshold is measured on.
    Threshold,
}

/// Something that happened during a session.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The model has been read.
    Model(&'a BaseRecord),
    /// A batch of a pass without training is done.
    Encoding {
        /// Which pass.
        stage: Stage,
        /// Images done, unreadable ones included.
        done: usize,
        /// Images of the pass.
        total: usize,
    },
    /// Files beside the images were not taken.
    LeftOut(&'a LeftOutCount),
    /// It was found out what the labels of the images mean.
    Labels(&'a LabelRecord),
    /// Some of the images have no label, and are not measured.
    Unlabelled {
        /// Why.
        reason: Unlabelled,
        /// How many.
        images: usize,
        /// The first of them.
        first: &'a str,
    },
    /// An input is left out.
    Skipped(&'a SkippedImage),
    /// Not all images fit into the memory that is allowed for them; the others are decoded again in every epoch.
    CacheTooSmall(CacheUse),
    /// Some of the images carry an EXIF orientation other than upright.
    ExifOriented {
        /// How many.
        images: usize,
        /// Whether they were turned.
        applied: bool,
    },
    /// What was done until now is about to be kept, so that whoever stops from now on can go on from there.
    Prepared,
    /// What the training steps to come will cost, by a measured one.
    Cost(&'a Cost),
    /// A training step is done.
    Step {
        /// Its record.
        record: &'a StepRecord,
        /// Steps of the whole adaptation.
        total: usize,
    },
    /// An epoch is over; the zero-shot model counts as epoch 0.
    Epoch(&'a EpochRecord),
    /// The label-free signs begin to speak against the adaptation.
    Warning(&'a Warning),
}

/// Told about the progress of a session.
pub trait Reporter {
    /// Called for every event, in order.
    fn report(&mut self, event: Event<'_>);

    /// Asked after every step and after every batch of a pass: whether the user wants to stop.
    fn interrupted(&self) -> bool {
        false
    }
}

/// Tells nobody.
impl Reporter for () {
    fn report(&mut self, _event: Event<'_>) {}
}

/// An input that was left out, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedImage {
    /// Path relative to the images' root.
    pub id: String,
    /// What was wrong with it.
    pub reason: String,
}
