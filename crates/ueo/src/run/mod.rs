//! Whole jobs on files: adapt a model to a folder, predict, evaluate, embed. This is the layer that the command line
//! calls; it prints nothing and tells a [`Reporter`] what happens.

mod adapting;
mod directory;
mod encode;
mod error;
mod images;
mod in_memory;
mod model;
mod negative_labels;
mod predicting;
mod predictions;
mod record;
mod scoring;
mod state;
mod tensorboard;

use crate::adapt::StepRecord;
use crate::guard::{EpochRecord, Warning};
use crate::image::CacheUse;

pub use adapting::{AdaptReport, Start, adapt};
pub use directory::{RecordWriter, RunDirectory};
pub use encode::{ImageFeatures, Subset, encode_images};
pub use error::RunError;
pub use images::{ImageSet, Labels};
pub use in_memory::adapt_in_memory;
pub use model::{Classifier, LoadedModel};
pub use predicting::{
    Embedding, ImagePrediction, PredictRequest, PredictionSet, embed_images, embed_texts, predict,
};
pub use predictions::{ImageResult, KEPT_CLASSES, TrueLabel, Verdict};
pub use record::{
    AdaptRequest, BaseRecord, FORMAT_VERSION, ImagesRecord, RunRecord, RunStatus, SkippedImage,
};
pub use tensorboard::{
    EVENT_FILE, Event as TensorBoardEvent, EventFile, encode_events, read_events,
};

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

/// Something that happened during a job.
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
    /// An input is left out.
    Skipped(&'a SkippedImage),
    /// Not all images fit into the memory that is allowed for them; the others are decoded again in every epoch.
    CacheTooSmall(CacheUse),
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

/// Told about the progress of a job.
pub trait Reporter {
    /// Called for every event, in order.
    fn report(&mut self, event: Event<'_>);

    /// Asked after every step: whether the user wants to stop, leaving a run that can be resumed.
    fn interrupted(&self) -> bool {
        false
    }
}
