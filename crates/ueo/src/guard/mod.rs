//! The collapse guard: what can be seen without labels while a model is adapted, when that is a reason to warn, and which
//! epoch to keep.
//!
//! It stands between `evaluate`, whose thresholds it uses, and `adapt`, which feeds it. It sees numbers only: cosines of
//! batches or of all images.

mod criterion;
mod probabilities;
mod record;
mod signs;
mod warning;

pub use criterion::{Criterion, Keep, ParseKeepError};
pub use probabilities::Probabilities;
pub use record::{EpochRecord, WatchedView};
pub use signs::{Scoring, Signs, Tally, signs_of};
pub use warning::{Rule, Warning, collapse_limit, warnings};
