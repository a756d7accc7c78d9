//! Per-sample weights that say how much the zero-shot model trusts itself.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where the confidence weights of the objective come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum ConfidenceWeights {
    /// Confidence of the checkpoint before training.
    ///
    /// The maximum softmax probability of the zero-shot model on the test view.
    #[default]
    ZeroShot,
    /// All images alike: plain mutual-information maximization.
    Uniform,
    /// True labels: an upper bound for experiments.
    ///
    /// Nearly one for known images, nearly zero for unknown ones.
    Oracle,
}

impl fmt::Display for ConfidenceWeights {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::ZeroShot => "zero-shot",
            Self::Uniform => "uniform",
            Self::Oracle => "oracle",
        })
    }
}

/// Keeps oracle weights positive (the released program's constant).
const ORACLE_FLOOR: f32 = 1e-3;

/// The weights of a set of images.
///
/// # Shapes
///
/// - `cosine_logits`: `[images, classes]`, row-major, of the zero-shot model
/// - `known`: for [`ConfidenceWeights::Oracle`], whether each image shows a known class
///
/// `temperature` divides the cosines before the softmax. At 1, the released program's choice, the weights are nearly
/// uniform; at `1 / logit_scale` they are as sharp as the model's own predictions.
pub fn confidence_weights(
    source: ConfidenceWeights,
    cosine_logits: &[f32],
    classes: usize,
    temperature: f64,
    known: &[bool],
) -> Vec<f32> {
    let rows = cosine_logits.chunks_exact(classes);
    match source {
        ConfidenceWeights::ZeroShot => rows
            .map(|row| maximum_softmax_probability(row, temperature) as f32)
            .collect(),
        ConfidenceWeights::Uniform => rows.map(|_| 1.0).collect(),
        ConfidenceWeights::Oracle => known
            .iter()
            .map(|&known| ORACLE_FLOOR + if known { 1.0 } else { 0.0 })
            .collect(),
    }
}

/// The largest softmax probability of `cosines / temperature`, in f64.
pub fn maximum_softmax_probability(cosines: &[f32], temperature: f64) -> f64 {
    let max = cosines.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = cosines
        .iter()
        .map(|&cosine| (f64::from(cosine - max) / temperature).exp())
        .sum();
    1.0 / sum
}
