//! Whole jobs of `ueo` on files: adapt a model to a folder, predict, and the run directory between. The command line calls
//! this layer; it prints nothing and tells a [`Reporter`](ueo::session::Reporter) what happens.

#![forbid(unsafe_code)]

mod adapting;
mod changes;
mod directory;
mod discovering;
mod discovery;
mod error;
mod feature_file;
mod features;
mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod held;
mod judging;
mod moving;
mod opening;
mod predicting;
mod predictions;
mod preparing;
mod record;
mod recorder;
mod records;
mod starting;
mod state;
mod tensorboard;
mod together;

pub use adapting::{AdaptReport, adapt, adapt_to, adapt_together};
pub use changes::changes;
pub use directory::RunDirectory;
pub use discovering::{DiscoverRequest, discover};
pub use discovery::{
    DISCOVERY_FORMAT_VERSION, DiscoveredGroup, DiscoveredImage, DiscoveryDirectory, DiscoveryRecord,
};
pub use error::RunError;
pub use held::HeldDirectory;
pub use moving::{NewPlaces, move_run};
pub use opening::{OpenedModel, open_base};
pub use predicting::{PredictRequest, ThresholdRequest, predict, predict_for, predict_rows};
pub use predictions::{Answer, ImageResult, KEPT_CLASSES};
pub use record::{AdaptRequest, FORMAT_VERSION, ImagesRecord, RunRecord, RunStatus};
pub use records::RecordWriter;
pub use starting::Start;
pub use tensorboard::{
    EVENT_FILE, Event as TensorBoardEvent, EventFile, encode_events, read_events,
};
