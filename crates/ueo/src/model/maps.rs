//! Convolutions and pools of square maps with channels last, `[batch, positions, channels]`, as ordinary Burn operations.

use burn::tensor::{Tensor, module, ops::AvgPoolOptions, ops::ConvOptions};

use super::ModelError;
use super::linear::Linear;
use super::weights::Weights;

/// A frozen convolution with a bias and a border of `side / 2` zeros.
#[derive(Debug)]
pub(super) struct Convolution {
    /// `[outputs, inputs / groups, side, side]`
    weight: Tensor<4>,
    bias: Tensor<1>,
    stride: usize,
    groups: usize,
}

impl Convolution {
    /// Takes `{name}.weight` and `{name}.bias`, each output of all inputs.
    pub(super) fn new(
        weights: &mut Weights,
        name: &str,
        shape: [usize; 4],
        stride: usize,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            weight: weights.take(&format!("{name}.weight"), shape)?,
            bias: weights.take(&format!("{name}.bias"), [shape[0]])?,
            stride,
            groups: 1,
        })
    }

    /// Takes `{name}.weight` and `{name}.bias`, each channel for itself.
    pub(super) fn depthwise(
        weights: &mut Weights,
        name: &str,
        channels: usize,
        side: usize,
        stride: usize,
    ) -> Result<Self, ModelError> {
        let convolution = Self::new(weights, name, [channels, 1, side, side], stride)?;
        Ok(Self {
            groups: channels,
            ..convolution
        })
    }

    /// `[batch, positions, inputs]` to `[batch, positions / stride^2, outputs]`.
    pub(super) fn forward(&self, maps: Tensor<3>) -> Tensor<3> {
        self.forward_pixels(channels_first(maps))
    }

    /// `[batch, inputs, height, width]` to `[batch, positions / stride^2, outputs]`.
    pub(super) fn forward_pixels(&self, pixels: Tensor<4>) -> Tensor<3> {
        let [.., side] = self.weight.dims();
        let options = ConvOptions::new([self.stride; 2], [side / 2; 2], [1, 1], self.groups);
        let bias = Some(self.bias.clone());
        channels_last(module::conv2d(pixels, self.weight.clone(), bias, options))
    }
}

/// A frozen convolution over squares that do not overlap: one matrix product.
#[derive(Debug)]
pub(super) struct Patches {
    side: usize,
    linear: Linear,
}

impl Patches {
    /// Takes `{name}.weight` `[outputs, inputs, side, side]` and `{name}.bias`.
    pub(super) fn new(
        weights: &mut Weights,
        name: &str,
        inputs: usize,
        outputs: usize,
        side: usize,
    ) -> Result<Self, ModelError> {
        let weight: Tensor<4> =
            weights.take(&format!("{name}.weight"), [outputs, inputs, side, side])?;
        let bias = weights.take(&format!("{name}.bias"), [outputs])?;
        let weight = weight
            .permute([0, 2, 3, 1])
            .reshape([outputs, side * side * inputs]);
        Ok(Self {
            side,
            linear: Linear::from_tensors(weight, bias),
        })
    }

    /// `[batch, positions, inputs]` to `[batch, positions / side^2, outputs]`.
    pub(super) fn forward(&self, maps: Tensor<3>) -> Tensor<3> {
        let [batch, positions, channels] = maps.dims();
        let (from, patch) = (positions.isqrt(), self.side);
        let to = from / patch;
        let patches = maps
            .reshape([batch, to, patch, to, patch, channels])
            .permute([0, 1, 3, 2, 4, 5])
            .reshape([batch, to * to, patch * patch * channels]);
        self.linear.forward(patches)
    }
}

/// The mean over windows of 3 x 3 positions that overlap by one, positions outside of the map left out: half the side.
pub(super) fn halve(maps: Tensor<3>) -> Tensor<3> {
    let options = AvgPoolOptions::new([3, 3])
        .with_stride([2, 2])
        .with_padding([1, 1])
        .with_count_include_pad(false);
    channels_last(module::avg_pool2d(channels_first(maps), options))
}

/// `[batch, channels, height, width]` to `[batch, positions, channels]`.
pub(super) fn channels_last(maps: Tensor<4>) -> Tensor<3> {
    let [batch, channels, height, width] = maps.dims();
    maps.reshape([batch, channels, height * width])
        .swap_dims(1, 2)
}

/// `[batch, positions, channels]` of a square map to `[batch, channels, side, side]`.
fn channels_first(maps: Tensor<3>) -> Tensor<4> {
    let [batch, positions, channels] = maps.dims();
    let side = positions.isqrt();
    maps.swap_dims(1, 2).reshape([batch, channels, side, side])
}
