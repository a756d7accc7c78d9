//! Attention of the mean position to all positions of the last map.
//!
//! There is one query per image, so keys and values need not be computed for every position: a head's score of position `t` is
//! `q . (K x_t) = (K^T q) . x_t`, and its result `sum_t p_t V x_t = V (sum_t p_t x_t)`. Both products with a matrix happen once per image
//! instead of once per position. The keys' bias adds the same to all scores of a head, which softmax does not see; the values' bias
//! passes unchanged, because the weights of a head sum to one.

use burn::tensor::{Tensor, activation};

use crate::checkpoint::ResNetConfig;

use crate::model::ModelError;
use crate::model::linear::Linear;
use crate::model::weights::Weights;

/// The frozen weights of attention pooling.
#[derive(Debug)]
pub(super) struct AttentionPool {
    /// `[1, 1 + positions, channels]`
    positional_embedding: Tensor<3>,
    query: Linear,
    /// Of each head from its query to the channels, `[heads, head_width, channels]`.
    key: Tensor<3>,
    /// Of each head from the channels, `[heads, channels, head_width]`.
    value: Tensor<3>,
    /// `[1, channels]`
    value_bias: Tensor<2>,
    output: Linear,
}

impl AttentionPool {
    pub(super) fn new(
        config: &ResNetConfig,
        channels: usize,
        embed_dim: usize,
        weights: &mut Weights,
    ) -> Result<Self, ModelError> {
        let positions = (config.image_size / 32).pow(2);
        let name = |part: &str| format!("visual.attnpool.{part}");
        let positional_embedding: Tensor<2> =
            weights.take(&name("positional_embedding"), [1 + positions, channels])?;
        let mut linear = |part: &str, outputs: usize| {
            let (weight, bias) = (
                name(&format!("{part}.weight")),
                name(&format!("{part}.bias")),
            );
            Linear::new(weights, &weight, &bias, channels, outputs)
        };
        let query = linear("q_proj", channels)?;
        let output = linear("c_proj", embed_dim)?;
        let mut per_head = |part: &str| -> Result<(Tensor<3>, Tensor<1>), ModelError> {
            let weight: Tensor<2> =
                weights.take(&name(&format!("{part}.weight")), [channels, channels])?;
            let bias = weights.take(&name(&format!("{part}.bias")), [channels])?;
            let heads = [config.heads, channels / config.heads, channels];
            Ok((weight.reshape(heads), bias))
        };
        let (key, _) = per_head("k_proj")?;
        let (value, value_bias) = per_head("v_proj")?;
        Ok(Self {
            positional_embedding: positional_embedding.unsqueeze(),
            query,
            key,
            value: value.swap_dims(1, 2),
            value_bias: value_bias.unsqueeze(),
            output,
        })
    }

    /// `[batch, positions, channels]` to `[batch, embed_dim]`.
    pub(super) fn forward(&self, maps: Tensor<3>) -> Tensor<2> {
        let [batch, _, channels] = maps.dims();
        let [heads, head_width, _] = self.key.dims();
        let mean = maps.clone().mean_dim(1);
        let x = Tensor::cat(vec![mean, maps], 1) + self.positional_embedding.clone();

        // Only the mean position asks.
        let query = self.query.forward(x.clone().narrow(1, 0, 1));
        let query = query.mul_scalar((head_width as f64).powf(-0.5));
        let query: Tensor<3> = query.reshape([batch, heads, head_width]).swap_dims(0, 1);
        let wanted = query.matmul(self.key.clone()).swap_dims(0, 1);
        let scores = wanted.matmul(x.clone().swap_dims(1, 2));
        let pooled = activation::softmax(scores, 2).matmul(x).swap_dims(0, 1);
        let pooled = pooled
            .matmul(self.value.clone())
            .swap_dims(0, 1)
            .reshape([batch, channels])
            + self.value_bias.clone();
        self.output.forward(pooled.unsqueeze_dim(1)).squeeze_dim(1)
    }
}
