//! The universal entropy objective: tensors in, loss out.
//!
//! For a batch of class probabilities `p(x)` with constant confidence weights `w(x) > 0`:
//!
//! ```text
//! conditional_entropy = sum_x w~(x) H(p(x))            w~ = w / sum w
//! marginal_entropy    = H(sum_x u~(x) p(x))            u~ = (1/w) / sum (1/w)
//! loss                = conditional_entropy - trade_off * marginal_entropy
//! ```
//!
//! with `H(q) = -sum_k q_k ln(q_k + 1e-5)`. Confident samples count more in the first term, which sharpens them;
//! unconfident ones count more in the second, which keeps them uncertain (Liang et al. 2024, section 3).
//! [`UnconfidentWeights`] has other decreasing functions than 1/w.

mod confidence;
mod unconfident;

use burn::tensor::{Tensor, TensorData, activation};

pub use confidence::{ConfidenceWeights, confidence_weights, maximum_softmax_probability};
pub use unconfident::UnconfidentWeights;

/// Added to probabilities inside the logarithm, as the released program does.
pub const ENTROPY_EPSILON: f64 = 1e-5;

/// The loss and the entropies of a batch, each `[1]`, in nats.
#[derive(Clone, Debug)]
pub struct LossTerms {
    /// What gradient descent minimizes.
    pub loss: Tensor<1>,
    /// Weighted mean of the entropies of the samples.
    pub conditional_entropy: Tensor<1>,
    /// Entropy of the batch's inversely weighted mean prediction.
    pub marginal_entropy: Tensor<1>,
    /// Further terms of a method's loss, by the name that `metrics.jsonl` gives them.
    pub others: Vec<(&'static str, Tensor<1>)>,
}

impl LossTerms {
    /// The same entropies beside another loss.
    #[must_use]
    pub fn with_loss(self, loss: Tensor<1>) -> Self {
        Self { loss, ..self }
    }
}

/// Cosines of unnormalized features.
///
/// # Shapes
///
/// - `image_features`: `[batch, embed_dim]`
/// - `text_features`: `[classes, embed_dim]`
/// - result: `[batch, classes]`
pub fn cosine_logits(image_features: Tensor<2>, text_features: Tensor<2>) -> Tensor<2> {
    crate::model::normalize_rows(image_features)
        .matmul(crate::model::normalize_rows(text_features).transpose())
}

/// Class probabilities from unnormalized features: the softmax of `logit_scale * cosine`.
///
/// # Shapes
///
/// As [`cosine_logits`].
pub fn class_probabilities(
    image_features: Tensor<2>,
    text_features: Tensor<2>,
    logit_scale: f64,
) -> Tensor<2> {
    let cosine_logits = cosine_logits(image_features, text_features);
    activation::softmax(cosine_logits.mul_scalar(logit_scale), 1)
}

/// The universal entropy loss of a batch.
///
/// With equal weights this is mutual-information maximization (InfoMax); with `trade_off` zero besides, it is entropy
/// minimization.
///
/// # Shapes
///
/// - `probabilities`: `[batch, classes]`
/// - `weights`: one positive number per sample
///
/// # Panics
///
/// When the number of weights is not the batch size.
pub fn universal_entropy(
    probabilities: Tensor<2>,
    weights: &[f32],
    unconfident_weights: UnconfidentWeights,
    trade_off: f64,
) -> LossTerms {
    let [batch, _] = probabilities.dims();
    assert_eq!(weights.len(), batch, "one confidence weight per sample");
    let device = probabilities.device().inner();
    // The shares are summed in f64: with a thousand classes the inverse weights are large.
    let share = |weight: &dyn Fn(f64) -> f64| -> Tensor<2> {
        let weights = weights.iter().map(|&w| weight(f64::from(w)));
        let total: f64 = weights.clone().sum();
        let shares: Vec<f32> = weights.map(|weight| (weight / total) as f32).collect();
        Tensor::from_data(TensorData::new(shares, [batch, 1]), &device)
    };
    let confident_share = share(&|w| w);
    let unconfident_share = share(&|w| unconfident_weights.of(w));

    let conditional_entropy = (entropy(probabilities.clone()) * confident_share).sum();
    let marginal = (probabilities * unconfident_share).sum_dim(0);
    let marginal_entropy = entropy(marginal).sum();
    LossTerms {
        loss: conditional_entropy.clone() - marginal_entropy.clone().mul_scalar(trade_off),
        conditional_entropy,
        marginal_entropy,
        others: Vec::new(),
    }
}

/// The InfoMax loss, `mean_x H(p(x)) - H(mean_x p(x))`, `[batch, classes]` to terms: its entropies are those that every
/// method records, whatever its loss is.
pub fn mutual_information(probabilities: Tensor<2>) -> LossTerms {
    let [batch, _] = probabilities.dims();
    let equal = vec![1.0; batch];
    universal_entropy(probabilities, &equal, UnconfidentWeights::default(), 1.0)
}

/// `ln sum_k exp(x_k)` of each row, `[rows, classes]` to `[rows, 1]`, without overflow.
pub fn log_sum_exp(logits: Tensor<2>) -> Tensor<2> {
    let largest = logits.clone().inner().max_dim(1);
    (logits - largest.clone()).exp().sum_dim(1).log() + largest
}

/// Shannon entropy of each row in nats, `[rows, classes]` to `[rows, 1]`.
pub fn entropy(probabilities: Tensor<2>) -> Tensor<2> {
    let log = probabilities.clone().add_scalar(ENTROPY_EPSILON).log();
    (probabilities * log).sum_dim(1).neg()
}
