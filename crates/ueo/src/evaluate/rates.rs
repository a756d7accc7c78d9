//! Threshold-free measures of how well a confidence separates two groups of images.
//!
//! Every function takes the scores of positives and negatives apart, higher meaning "more positive", and returns
//! `None` where one of the groups is empty and the measure therefore undefined. Scores must not be NaN.

/// Area under the ROC curve: the chance that a positive scores above a negative, ties counting one half.
///
/// This is the Mann-Whitney statistic with midranks and equals scikit-learn's `roc_auc_score`.
pub fn auroc(positives: &[f64], negatives: &[f64]) -> Option<f64> {
    pairs_won(positives, negatives, positives.len())
}

/// The AUROC over pairs of one stratum: of images that are alike in having been adapted to or not, for example.
///
/// An image that a model was adapted to scores higher for it, known or not. Where known images were adapted to and unknown
/// ones were held out, [`auroc`] counts that as separation. Each element is a score and the stratum of the image.
pub fn matched_auroc<S: Ord + Copy>(positives: &[(f64, S)], negatives: &[(f64, S)]) -> Option<f64> {
    let mut strata: Vec<S> = positives.iter().map(|image| image.1).collect();
    strata.sort_unstable();
    strata.dedup();
    let part = |images: &[(f64, S)], stratum: S| -> Vec<f64> {
        let alike = images.iter().filter(|image| image.1 == stratum);
        alike.map(|image| image.0).collect()
    };
    let (mut won, mut pairs) = (0.0, 0.0);
    for stratum in strata {
        let (positives, negatives) = (part(positives, stratum), part(negatives, stratum));
        if let Some(area) = auroc(&positives, &negatives) {
            let compared = (positives.len() * negatives.len()) as f64;
            won += area * compared;
            pairs += compared;
        }
    }
    (pairs > 0.0).then(|| won / pairs)
}

/// Open-set classification rate (Dhamija et al. 2018): area under the rate of correctly classified known images
/// over the rate of accepted unknown images, along all thresholds.
///
/// `correct` holds the confidences of the known images whose class was predicted correctly, out of `n_known`.
/// The area equals the AUROC in which misclassified known images never win.
pub fn oscr(correct: &[f64], n_known: usize, unknown: &[f64]) -> Option<f64> {
    pairs_won(correct, unknown, n_known)
}

/// Share of pairs (one of `total` positives, one negative) in which the positive scores higher.
fn pairs_won(positives: &[f64], negatives: &[f64], total: usize) -> Option<f64> {
    if total == 0 || negatives.is_empty() {
        return None;
    }
    let mut sorted = negatives.to_vec();
    sorted.sort_by(f64::total_cmp);
    // Counted in halves, as integers: exact for any number of images that fits into memory.
    let halves: u128 = positives
        .iter()
        .map(|score| {
            let below = sorted.partition_point(|other| other < score);
            let not_above = sorted.partition_point(|other| other <= score);
            (below + not_above) as u128
        })
        .sum();
    Some(halves as f64 / 2.0 / total as f64 / sorted.len() as f64)
}

/// Smallest false positive rate at which at least 95 % of the positives are recognized.
///
/// Two conventions share this name and differ in the positive class. MCM: positives are known images, scored by their
/// confidence; the result is the share of unknown images that pass for known. OpenOOD: positives are unknown images,
/// scored by their negated confidence; the result is the share of known images that are rejected.
pub fn fpr_at_95_tpr(positives: &[f64], negatives: &[f64]) -> Option<f64> {
    if negatives.is_empty() {
        return None;
    }
    let mut sorted = positives.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    // 95 % in whole numbers; the last positive that is needed sets the threshold.
    let needed = (sorted.len() * 95).div_ceil(100);
    let threshold = sorted.get(needed.checked_sub(1)?)?;
    let passed = negatives.iter().filter(|score| *score >= threshold).count();
    Some(passed as f64 / negatives.len() as f64)
}

/// Average precision, the sum over thresholds of (recall gained) x (precision there).
///
/// Equals scikit-learn's `average_precision_score` where both groups exist: no interpolation, ties share a threshold.
pub fn average_precision(positives: &[f64], negatives: &[f64]) -> Option<f64> {
    if positives.is_empty() || negatives.is_empty() {
        return None;
    }
    let mut scored: Vec<(f64, bool)> = positives
        .iter()
        .map(|score| (*score, true))
        .chain(negatives.iter().map(|score| (*score, false)))
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut seen, mut found, mut area) = (0, 0, 0.0);
    for tied in scored.chunk_by(|a, b| a.0 == b.0) {
        let gained = tied.iter().filter(|(_, positive)| *positive).count();
        seen += tied.len();
        found += gained;
        area += gained as f64 * found as f64 / seen as f64;
    }
    Some(area / positives.len() as f64)
}

/// `2ab / (a + b)`, and 0 when both are 0.
pub fn harmonic_mean(a: f64, b: f64) -> f64 {
    if a + b == 0.0 {
        0.0
    } else {
        2.0 * a * b / (a + b)
    }
}
