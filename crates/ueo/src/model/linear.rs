//! A linear map whose weight never changes, as ordinary Burn operations.

use burn::tensor::Tensor;

use super::ModelError;
use super::weights::Weights;

/// A frozen linear map, stored as `[in, out]` so that activations multiply it from the left.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Tensor<2>,
    bias: Tensor<1>,
}

impl Linear {
    /// Takes `{name}{weight}` (`[out, in]`) and `{name}{bias}`.
    pub(crate) fn new(
        weights: &mut Weights,
        weight: &str,
        bias: &str,
        inputs: usize,
        outputs: usize,
    ) -> Result<Self, ModelError> {
        let weight = weights.take(weight, [outputs, inputs])?;
        Ok(Self::from_tensors(weight, weights.take(bias, [outputs])?))
    }

    /// A weight `[out, in]` and a bias `[out]`.
    pub(crate) fn from_tensors(weight: Tensor<2>, bias: Tensor<1>) -> Self {
        Self {
            weight: weight.transpose(),
            bias,
        }
    }

    /// Takes `{name}.weight` and `{name}.bias`.
    pub(crate) fn named(
        weights: &mut Weights,
        name: &str,
        inputs: usize,
        outputs: usize,
    ) -> Result<Self, ModelError> {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        Self::new(weights, &weight, &bias, inputs, outputs)
    }

    /// Takes a convolution of single positions, `{name}.weight` `[out, in, 1, 1]` and `{name}.bias`.
    pub(crate) fn pointwise(
        weights: &mut Weights,
        name: &str,
        inputs: usize,
        outputs: usize,
    ) -> Result<Self, ModelError> {
        let weight: Tensor<4> = weights.take(&format!("{name}.weight"), [outputs, inputs, 1, 1])?;
        let bias = weights.take(&format!("{name}.bias"), [outputs])?;
        Ok(Self::from_tensors(weight.reshape([outputs, inputs]), bias))
    }

    /// `[..., in]` to `[..., out]`, folding all leading axes into one matrix product.
    pub(crate) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, tokens, inputs] = x.dims();
        let outputs = self.bias.dims()[0];
        let y = x
            .reshape([batch * tokens, inputs])
            .matmul(self.weight.clone());
        y.reshape([batch, tokens, outputs]) + self.bias.clone().reshape([1, 1, outputs])
    }
}
