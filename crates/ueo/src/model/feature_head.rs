//! What open_clip puts behind an image tower of timm: a matrix, or a perceptron.

use burn::tensor::{Tensor, activation};

use crate::checkpoint::FeatureHead;

use super::ModelError;
use super::linear::Linear;
use super::weights::Weights;

/// The frozen weights of a head.
#[derive(Debug)]
pub(super) struct Head {
    /// In front of the projection, with GELU behind it.
    hidden: Option<Linear>,
    projection: Tensor<2>,
    bias: Option<Tensor<2>>,
}

impl Head {
    /// Takes `visual.head`.
    pub(super) fn new(
        kind: FeatureHead,
        width: usize,
        embed_dim: usize,
        weights: &mut Weights,
    ) -> Result<Self, ModelError> {
        let (name, hidden, inputs, has_bias) = match kind {
            FeatureHead::Linear { bias } => ("visual.head.proj", None, width, bias),
            FeatureHead::Perceptron { bias } => {
                let inner = 2 * embed_dim;
                let hidden = Linear::named(weights, "visual.head.mlp.fc1", width, inner)?;
                ("visual.head.mlp.fc2", Some(hidden), inner, bias)
            }
        };
        let projection: Tensor<2> = weights.take(&format!("{name}.weight"), [embed_dim, inputs])?;
        let bias = match has_bias {
            false => None,
            true => {
                let bias: Tensor<1> = weights.take(&format!("{name}.bias"), [embed_dim])?;
                Some(bias.unsqueeze())
            }
        };
        Ok(Self {
            hidden,
            projection: projection.transpose(),
            bias,
        })
    }

    /// `[batch, 1, width]` to `[batch, embed_dim]`.
    pub(super) fn forward(&self, pooled: Tensor<3>) -> Tensor<2> {
        let x = match &self.hidden {
            Some(hidden) => activation::gelu(hidden.forward(pooled)),
            None => pooled,
        };
        let features = x.squeeze_dim::<2>(1).matmul(self.projection.clone());
        match &self.bias {
            Some(bias) => features + bias.clone(),
            None => features,
        }
    }
}
