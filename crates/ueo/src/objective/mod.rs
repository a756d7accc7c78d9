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

mod confidence;

use burn::tensor::{Tensor, TensorData, activation};

pub use confidence::{ConfidenceWeights, confidence_weights, maximum_softmax_probability};

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

/// Class probabilities from unnormalized features: the softmax of `logit_scale * cosine`.
///
/// # Shapes
///
/// - `image_features`: `[batch, embed_dim]`
/// - `text_features`: `[classes, embed_dim]`
/// - result: `[batch, classes]`
pub fn class_probabilities(
    image_features: Tensor<2>,
    text_features: Tensor<2>,
    logit_scale: f64,
) -> Tensor<2> {
    let cosine_logits = crate::model::normalize_rows(image_features)
        .matmul(crate::model::normalize_rows(text_features).transpose());
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
pub fn universal_entropy(probabilities: Tensor<2>, weights: &[f32], trade_off: f64) -> LossTerms {
    let [batch, _] = probabilities.dims();
    assert_eq!(weights.len(), batch, "one confidence weight per sample");
    let device = probabilities.device().inner();
    // The shares are summed in f64: with a thousand classes the inverse weights are large.
    let share = |weight: &dyn Fn(f32) -> f64| -> Tensor<2> {
        let total: f64 = weights.iter().map(|&w| weight(w)).sum();
        let shares: Vec<f32> = weights
            .iter()
            .map(|&w| (weight(w) / total) as f32)
            .collect();
        Tensor::from_data(TensorData::new(shares, [batch, 1]), &device)
    };
    let confident_share = share(&|w| f64::from(w));
    let unconfident_share = share(&|w| 1.0 / f64::from(w));

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

/// Shannon entropy of each row in nats, `[rows, classes]` to `[rows, 1]`.
pub fn entropy(probabilities: Tensor<2>) -> Tensor<2> {
    let log = probabilities.clone().add_scalar(ENTROPY_EPSILON).log();
    (probabilities * log).sum_dim(1).neg()
}
