//! Whether a confidence of 80 % is right in 80 % of the cases: reliability bins and the expected calibration error.

use serde::{Deserialize, Serialize};

use super::EvaluateError;

/// Bins of the customary calibration error (Guo et al. 2017).
pub const CALIBRATION_BINS: usize = 15;

/// One bin of a reliability diagram: images whose top-label confidence lies between `lower` and `upper`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Lower edge, included.
    pub lower: f64,
    /// Upper edge, excluded but for the last bin, whose upper edge is 1.
    pub upper: f64,
    /// Images in the bin.
    pub images: usize,
    /// Mean confidence of the images in the bin, `None` without any.
    pub mean_confidence: Option<f64>,
    /// Share of the images in the bin whose class was predicted correctly, `None` without any.
    pub accuracy: Option<f64>,
}

/// Sorts images into bins of equal width by their top-label confidence.
///
/// `confidences` are maximum softmax probabilities at the temperature whose calibration is asked for, and `correct` says
/// for each image whether the predicted class is the true one; both are `[images]` over images of known classes, as an
/// unknown image has no class that could be right.
///
/// # Errors
///
/// If the lists differ in length, a confidence is not in 0..=1, or there are no bins.
pub fn reliability_bins(
    confidences: &[f64],
    correct: &[bool],
    bins: usize,
) -> Result<Vec<ReliabilityBin>, EvaluateError> {
    if confidences.len() != correct.len() {
        return Err(EvaluateError::Lengths {
            predictions: correct.len(),
            confidences: confidences.len(),
            labels: correct.len(),
        });
    }
    if bins == 0 {
        return Err(EvaluateError::Setting {
            name: "number of calibration bins",
            expected: "at least 1",
            value: 0.0,
        });
    }
    let edge = |bin: usize| bin as f64 / bins as f64;
    let mut sums = vec![(0_usize, 0_usize, 0.0); bins];
    for (image, (&confidence, &correct)) in confidences.iter().zip(correct).enumerate() {
        if !(0.0..=1.0).contains(&confidence) {
            return Err(EvaluateError::Probability {
                image,
                value: confidence,
            });
        }
        // The product can round up to the edge above or down below its own, so the edges decide.
        let mut bin = ((confidence * bins as f64) as usize).min(bins - 1);
        if confidence < edge(bin) {
            bin -= 1;
        } else if bin + 1 < bins && confidence >= edge(bin + 1) {
            bin += 1;
        }
        let (images, hits, sum) = &mut sums[bin];
        *images += 1;
        *hits += usize::from(correct);
        *sum += confidence;
    }
    Ok(sums
        .into_iter()
        .enumerate()
        .map(|(bin, (images, hits, sum))| ReliabilityBin {
            lower: edge(bin),
            upper: edge(bin + 1),
            images,
            mean_confidence: (images > 0).then(|| sum / images as f64),
            accuracy: (images > 0).then(|| hits as f64 / images as f64),
        })
        .collect())
}

/// Expected calibration error: the mean distance between confidence and accuracy over the bins, weighted by their images
/// (Guo et al. 2017, equation 3). `None` without images.
pub fn expected_calibration_error(bins: &[ReliabilityBin]) -> Option<f64> {
    let images: usize = bins.iter().map(|bin| bin.images).sum();
    let gaps = bins.iter().filter_map(|bin| {
        let gap = (bin.mean_confidence? - bin.accuracy?).abs();
        Some(gap * bin.images as f64)
    });
    (images > 0).then(|| gaps.sum::<f64>() / images as f64)
}
