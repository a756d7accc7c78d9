//! Evaluation: from cosines to predictions, from predictions and labels to metrics, and the threshold between
//! known and unknown.
//!
//! The last stage of the data flow; it sees numbers only. All rates are fractions between 0 and 1, and all sums are
//! taken in f64. "Unknown" are images whose class is not among the known classes.

mod error;
mod evaluation;
mod mixture;
mod rates;
mod score;
mod threshold;

pub use error::EvaluateError;
pub use evaluation::{Evaluation, FprConvention, evaluate};
pub use mixture::GaussianMixture;
pub use rates::{auroc, average_precision, fpr_at_95_tpr, harmonic_mean, oscr};
pub use score::{Predictions, Scores, predictions};
pub use threshold::{
    Fallback, ParseThresholdMethodError, Threshold, ThresholdMethod, choose_threshold,
};
