//! Evaluation: from cosines to predictions, from predictions and labels to metrics, and the threshold between
//! known and unknown.
//!
//! The last stage of the data flow; it sees numbers only. All rates are fractions between 0 and 1, and all sums are
//! taken in f64. "Unknown" are images whose class is not among the known classes.

mod bootstrap;
mod calibration;
mod class_statistics;
mod curves;
mod decision;
mod error;
mod evaluation;
mod group_test;
mod left_out;
mod mixture;
mod predictions;
mod rates;
mod score;
mod threshold;

pub use bootstrap::{BootstrapSettings, Interval, Replicated};
pub use calibration::{
    CALIBRATION_BINS, ReliabilityBin, expected_calibration_error, reliability_bins,
};
pub use class_statistics::{ClassDraw, ClassMeasure, ClassStatistics, KnownClass, ScoredClasses};
pub use curves::{RiskPoint, RocPoint, risk_coverage, roc_points};
pub use decision::{Finding, FindingInWords, Reference, Review, ReviewErrors, Verdict, decide};
pub use error::EvaluateError;
pub use evaluation::{ClassIntervals, Confusion, Evaluation, FprConvention, evaluate};
pub use group_test::{CosinesOf, GroupTest, Groups};
pub use left_out::left_out_confidences;
pub(crate) use left_out::two_largest;
pub use mixture::GaussianMixture;
pub use predictions::{Predictions, Scores, predictions};
pub use rates::{auroc, average_precision, fpr_at_95_tpr, harmonic_mean, matched_auroc, oscr};
pub use score::{ParseScoreError, Score, ScoreRule};
pub use threshold::{
    Fallback, ParseThresholdMethodError, Threshold, ThresholdAxis, ThresholdMethod,
    choose_threshold, threshold_accepting,
};
