//! Curves over all thresholds: what the areas and rates of an evaluation summarize.
//!
//! Scores are higher for "more known" and must not be NaN. Images of equal score are accepted together, so a curve has one
//! point per distinct score, from the strictest threshold down.

use serde::{Deserialize, Serialize};

/// One point of a ROC curve; positives are known images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RocPoint {
    /// Images with at least this score are accepted; infinite at the first point, which accepts none.
    pub threshold: f64,
    /// Share of the unknown images that are accepted (false positive rate).
    pub unknown_accepted: f64,
    /// Share of the known images that are accepted (true positive rate).
    pub known_accepted: f64,
}

/// The ROC curve of a score, from (0, 0) to (1, 1); empty where known or unknown images are missing.
///
/// Equals scikit-learn's `roc_curve` with `drop_intermediate=False`; the area under it is [`super::auroc`].
pub fn roc_points(known: &[f64], unknown: &[f64]) -> Vec<RocPoint> {
    if known.is_empty() || unknown.is_empty() {
        return Vec::new();
    }
    let (positives, negatives) = (known.len() as f64, unknown.len() as f64);
    let mut points = vec![RocPoint {
        threshold: f64::INFINITY,
        unknown_accepted: 0.0,
        known_accepted: 0.0,
    }];
    points.extend(cumulated(known, unknown).map(|cut| RocPoint {
        threshold: cut.threshold,
        unknown_accepted: cut.second as f64 / negatives,
        known_accepted: cut.first as f64 / positives,
    }));
    points
}

/// One point of a risk-coverage curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RiskPoint {
    /// Images with at least this score are accepted.
    pub threshold: f64,
    /// Share of all images that are accepted.
    pub coverage: f64,
    /// Share of the accepted images that are wrong.
    pub risk: f64,
}

/// Risk over coverage of a model that may abstain (El-Yaniv and Wiener 2010); empty without images.
///
/// `correct` holds the scores of the images whose class was predicted correctly, `wrong` those of all others. Whether an
/// unknown image is wrong wherever it is accepted, or stays out of the curve, is the caller's choice of `wrong`.
pub fn risk_coverage(correct: &[f64], wrong: &[f64]) -> Vec<RiskPoint> {
    let images = (correct.len() + wrong.len()) as f64;
    cumulated(correct, wrong)
        .map(|cut| {
            let accepted = (cut.first + cut.second) as f64;
            RiskPoint {
                threshold: cut.threshold,
                coverage: accepted / images,
                risk: cut.second as f64 / accepted,
            }
        })
        .collect()
}

/// How many images of two groups reach a threshold.
struct Cut {
    threshold: f64,
    first: usize,
    second: usize,
}

/// One cut per distinct score, strictest first.
fn cumulated(first: &[f64], second: &[f64]) -> impl Iterator<Item = Cut> {
    let mut scored: Vec<(f64, bool)> = first
        .iter()
        .map(|score| (*score, true))
        .chain(second.iter().map(|score| (*score, false)))
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut cuts: Vec<Cut> = Vec::new();
    let (mut seen_first, mut seen_second) = (0, 0);
    for tied in scored.chunk_by(|a, b| a.0 == b.0) {
        let of_first = tied.iter().filter(|(_, is_first)| *is_first).count();
        seen_first += of_first;
        seen_second += tied.len() - of_first;
        cuts.push(Cut {
            threshold: tied[0].0,
            first: seen_first,
            second: seen_second,
        });
    }
    cuts.into_iter()
}
