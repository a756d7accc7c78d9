//! SigLIP's pooling head: attention of one learned query, the probe, to all tokens, and a residual perceptron.
//!
//! The query is the same for every image, so it is projected once, together with the keys' weights: a head's score of token `t` is
//! `q . (K x_t) = (K^T q) . x_t`, and its result `sum_t p_t V x_t = V (sum_t p_t x_t)`. The keys' bias adds the same to all scores of
//! a head, which softmax does not see; the values' bias passes unchanged, because the weights of a head sum to one.

use burn::tensor::{Tensor, activation};

use crate::checkpoint::{Activation, TransformerConfig};

use super::activation::activate;
use super::linear::Linear;
use super::weights::Weights;
use super::{ModelError, NormAffine, layer_norm};

/// The frozen weights of the head.
#[derive(Debug)]
pub(super) struct PoolingHead {
    /// What a token is multiplied with for each head's score, `[width, heads]`.
    scores: Tensor<2>,
    /// Of each head from the tokens, `[heads, width, head_width]`.
    value: Tensor<3>,
    /// `[1, width]`
    value_bias: Tensor<2>,
    out: Linear,
    up: Linear,
    down: Linear,
    activation: Activation,
}

impl PoolingHead {
    pub(super) fn new(
        config: &TransformerConfig,
        prefix: &str,
        weights: &mut Weights,
    ) -> Result<Self, ModelError> {
        let &TransformerConfig {
            width,
            heads,
            mlp_width,
            ..
        } = config;
        let head_width = width / heads;
        let name = |part: &str| format!("{prefix}.{part}");
        let probe: Tensor<3> = weights.take(&name("probe"), [1, 1, width])?;
        let projection: Tensor<2> = weights.take(&name("in_proj_weight"), [3 * width, width])?;
        let bias: Tensor<1> = weights.take(&name("in_proj_bias"), [3 * width])?;
        let part = |index: usize| projection.clone().narrow(0, index * width, width);
        let bias = |index: usize| -> Tensor<2> {
            bias.clone().narrow(0, index * width, width).unsqueeze()
        };

        let query = probe.reshape([1, width]).matmul(part(0).transpose()) + bias(0);
        let query = query.mul_scalar((head_width as f64).powf(-0.5));
        let query: Tensor<3> = query.reshape([heads, 1, head_width]);
        let key: Tensor<3> = part(1).reshape([heads, head_width, width]);
        let value: Tensor<3> = part(2).reshape([heads, head_width, width]);
        let mut linear = |part: &str, inputs, outputs| {
            let (weight, bias) = (
                name(&format!("{part}.weight")),
                name(&format!("{part}.bias")),
            );
            Linear::new(weights, &weight, &bias, inputs, outputs)
        };
        Ok(Self {
            scores: query.matmul(key).reshape([heads, width]).transpose(),
            value: value.swap_dims(1, 2),
            value_bias: bias(2),
            out: linear("out_proj", width, width)?,
            up: linear("mlp.c_fc", width, mlp_width)?,
            down: linear("mlp.c_proj", mlp_width, width)?,
            activation: config.activation,
        })
    }

    /// `[batch, tokens, width]` to `[batch, width]`.
    pub(super) fn forward(&self, tokens: Tensor<3>, norm: &NormAffine, epsilon: f64) -> Tensor<2> {
        let [batch, count, width] = tokens.dims();
        let heads = self.scores.dims()[1];
        let scores = tokens
            .clone()
            .reshape([batch * count, width])
            .matmul(self.scores.clone())
            .reshape([batch, count, heads])
            .swap_dims(1, 2);
        let pooled = activation::softmax(scores, 2).matmul(tokens);
        let attended = pooled
            .swap_dims(0, 1)
            .matmul(self.value.clone())
            .swap_dims(0, 1)
            .reshape([batch, width])
            + self.value_bias.clone();
        let x = self.out.forward(attended.unsqueeze_dim(1));
        let hidden = self.up.forward(layer_norm(x.clone(), norm, epsilon));
        let x = x + self.down.forward(activate(self.activation, hidden));
        x.squeeze_dim(1)
    }
}
