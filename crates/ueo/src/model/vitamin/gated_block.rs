//! A transformer block whose perceptron is gated and has a LayerNorm of its own.

use burn::tensor::{Tensor, activation};

use crate::checkpoint::TransformerConfig;
use crate::model::linear::Linear;
use crate::model::perceptron::{Layer, Layers, Perceptron};
use crate::model::weights::Weights;
use crate::model::{ModelError, NormAffine, layer_norm};

/// `norm1`, `norm2` and `mlp.norm`.
pub(super) const NORMS_PER_BLOCK: usize = 3;

/// The frozen weights of a block: `y = x + attention(norm1(x))`, then `y + down(gelu(up(z)) * gate(z))` with
/// `z = mlp.norm(norm2(y))`.
#[derive(Debug)]
pub(super) struct GatedBlock {
    config: TransformerConfig,
    qkv: Linear,
    out: Linear,
    perceptron: Perceptron,
}

impl GatedBlock {
    /// Takes `name` out of the weights.
    pub(super) fn new(
        name: &str,
        config: &TransformerConfig,
        weights: &mut Weights,
    ) -> Result<Self, ModelError> {
        let (width, inner) = (config.width, config.mlp_width);
        let mut take = |part: &str, inputs, outputs| {
            Layer::take(weights, &format!("{name}.mlp.{part}"), inputs, outputs)
        };
        let layers = Layers {
            up: take("w0", width, inner)?,
            gate: Some(take("w1", width, inner)?),
            down: take("w2", inner, width)?,
        };
        let (activation, epsilon) = (config.activation, config.layer_norm_epsilon);
        Ok(Self {
            perceptron: Perceptron::new(layers, width, activation, epsilon, weights)?,
            qkv: Linear::named(weights, &format!("{name}.attn.qkv"), width, 3 * width)?,
            out: Linear::named(weights, &format!("{name}.attn.proj"), width, width)?,
            config: config.clone(),
        })
    }

    /// Names of a block's norms, in the order in which the forward pass expects them.
    pub(super) fn norm_names(name: &str) -> [String; NORMS_PER_BLOCK] {
        ["norm1", "norm2", "mlp.norm"].map(|norm| format!("{name}.{norm}"))
    }

    /// `[batch, tokens, width]` to the same; `norms` begin with the block's.
    pub(super) fn forward(&self, x: Tensor<3>, norms: &[NormAffine]) -> Tensor<3> {
        let epsilon = self.config.layer_norm_epsilon;
        let x = x.clone() + self.attention(layer_norm(x, &norms[0], epsilon));
        let z = layer_norm(x.clone(), &norms[1], epsilon);
        x + self.perceptron.forward(z, &norms[2])
    }

    fn attention(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, tokens, width] = x.dims();
        let heads = self.config.heads;
        let qkv = self.qkv.forward(x);
        let part = |index: usize| -> Tensor<4> {
            qkv.clone()
                .narrow(2, index * width, width)
                .reshape([batch, tokens, heads, width / heads])
                .swap_dims(1, 2)
        };
        let query = part(0).mul_scalar(((width / heads) as f64).powf(-0.5));
        let weights = activation::softmax(query.matmul(part(1).swap_dims(2, 3)), 3);
        let attended = weights.matmul(part(2)).swap_dims(1, 2);
        self.out.forward(attended.reshape([batch, tokens, width]))
    }
}
