//! The convolutional part as a composition of ordinary Burn operations: what every device can run, and the reference in the tests of the
//! fused kernels.

use burn::tensor::{Tensor, activation, module, ops::AvgPoolOptions, ops::ConvOptions};

use crate::model::affine::AffineParameters;
use crate::model::weights::Weights;
use crate::model::{ModelError, NormAffine};

use super::{BottleneckSpec, ConvolutionSpec, MapsSpec};

/// Added to the variance by every BatchNorm (PyTorch's default, which CLIP keeps).
const BATCH_NORM_EPSILON: f32 = 1e-5;

/// A convolution without bias followed by a BatchNorm with stored statistics.
#[derive(Debug)]
struct ConvNorm {
    weight: Tensor<4>,
    stride: usize,
    /// Stored mean per channel.
    mean: Tensor<1>,
    /// `1 / sqrt(stored variance + epsilon)` per channel.
    rstd: Tensor<1>,
    /// Position of the affine parameters in [`AffineParameters`].
    norm: usize,
}

#[derive(Debug)]
struct Bottleneck {
    convs: [ConvNorm; 3],
    downsample: Option<ConvNorm>,
    stride: usize,
}

/// The frozen weights of the convolutional part.
#[derive(Debug)]
pub(super) struct ComposedMaps {
    stem: [ConvNorm; 3],
    blocks: Vec<Bottleneck>,
}

/// Counts the norms in the tower's order while the convolutions are read.
struct Builder<'a, 'w> {
    weights: &'a mut Weights<'w>,
    norms: usize,
}

impl Builder<'_, '_> {
    fn conv_norm(&mut self, spec: &ConvolutionSpec) -> Result<ConvNorm, ModelError> {
        let ConvolutionSpec {
            convolution,
            norm,
            inputs,
            outputs,
            kernel,
            stride,
        } = spec;
        let shape = [*outputs, *inputs, *kernel, *kernel];
        let weight = self.weights.take(&format!("{convolution}.weight"), shape)?;
        let mean = self
            .weights
            .take(&format!("{norm}.running_mean"), [*outputs])?;
        let variance: Tensor<1> = self
            .weights
            .take(&format!("{norm}.running_var"), [*outputs])?;
        self.norms += 1;
        Ok(ConvNorm {
            weight,
            stride: *stride,
            mean,
            rstd: (variance + BATCH_NORM_EPSILON).sqrt().recip(),
            norm: self.norms - 1,
        })
    }

    fn three(&mut self, specs: &[ConvolutionSpec; 3]) -> Result<[ConvNorm; 3], ModelError> {
        let [first, second, third] = specs;
        Ok([
            self.conv_norm(first)?,
            self.conv_norm(second)?,
            self.conv_norm(third)?,
        ])
    }

    fn bottleneck(&mut self, spec: &BottleneckSpec) -> Result<Bottleneck, ModelError> {
        Ok(Bottleneck {
            convs: self.three(&spec.convolutions)?,
            downsample: spec
                .downsample
                .as_ref()
                .map(|spec| self.conv_norm(spec))
                .transpose()?,
            stride: spec.stride,
        })
    }
}

impl ComposedMaps {
    pub(super) fn new(spec: &MapsSpec, weights: &mut Weights) -> Result<Self, ModelError> {
        let mut builder = Builder { weights, norms: 0 };
        Ok(Self {
            stem: builder.three(&spec.stem)?,
            blocks: spec
                .blocks
                .iter()
                .map(|spec| builder.bottleneck(spec))
                .collect::<Result<_, _>>()?,
        })
    }

    /// `[batch, 3, image_size, image_size]` to `[batch, positions, channels]`.
    pub(super) fn forward(&self, pixels: Tensor<4>, affine: &AffineParameters) -> Tensor<3> {
        channels_last(self.first_blocks(self.blocks.len(), pixels, affine))
    }

    /// As [`super::ModifiedResNet::block_inputs`].
    pub(super) fn block_inputs(
        &self,
        block: usize,
        pixels: Tensor<4>,
        affine: &AffineParameters,
    ) -> Tensor<3> {
        channels_last(self.first_blocks(block, pixels, affine))
    }

    /// What enters a bottleneck, `[batch, positions, channels]`, to what leaves the last one.
    pub(super) fn forward_from(
        &self,
        block: usize,
        maps: Tensor<3>,
        affine: &AffineParameters,
    ) -> Tensor<3> {
        let [batch, positions, channels] = maps.dims();
        let side = positions.isqrt();
        let mut x = maps.swap_dims(1, 2).reshape([batch, channels, side, side]);
        for block in &self.blocks[block..] {
            x = block.forward(x, affine);
        }
        channels_last(x)
    }

    /// The stem and the first bottlenecks, as maps `[batch, channels, height, width]`.
    fn first_blocks(
        &self,
        count: usize,
        pixels: Tensor<4>,
        affine: &AffineParameters,
    ) -> Tensor<4> {
        let mut x = pixels;
        for conv in &self.stem {
            x = activation::relu(conv.forward(x, affine));
        }
        x = average_pool(x, 2);
        for block in &self.blocks[..count] {
            x = block.forward(x, affine);
        }
        x
    }
}

/// `[batch, channels, height, width]` to `[batch, positions, channels]`.
fn channels_last(maps: Tensor<4>) -> Tensor<3> {
    let [batch, channels, height, width] = maps.dims();
    maps.reshape([batch, channels, height * width])
        .swap_dims(1, 2)
}

impl ConvNorm {
    fn forward(&self, x: Tensor<4>, affine: &AffineParameters) -> Tensor<4> {
        let [_, _, kernel, _] = self.weight.dims();
        let padding = kernel / 2;
        let options = ConvOptions::new([self.stride; 2], [padding; 2], [1, 1], 1);
        let x = module::conv2d(x, self.weight.clone(), None, options);
        let NormAffine { weight, bias, .. } = affine.norm(self.norm);
        // With frozen statistics BatchNorm is one multiplication and one addition per channel.
        let scale = weight.clone() * self.rstd.clone();
        let shift = bias.clone() - scale.clone() * self.mean.clone();
        let channels = scale.dims()[0];
        x * scale.reshape([1, channels, 1, 1]) + shift.reshape([1, channels, 1, 1])
    }
}

impl Bottleneck {
    fn forward(&self, x: Tensor<4>, affine: &AffineParameters) -> Tensor<4> {
        let [conv_1, conv_2, conv_3] = &self.convs;
        let y = activation::relu(conv_1.forward(x.clone(), affine));
        let y = activation::relu(conv_2.forward(y, affine));
        let y = conv_3.forward(average_pool(y, self.stride), affine);
        let identity = match &self.downsample {
            Some(downsample) => downsample.forward(average_pool(x, self.stride), affine),
            None => x,
        };
        activation::relu(y + identity)
    }
}

/// Average pooling with a square window that does not overlap; the identity for a window of one.
fn average_pool(x: Tensor<4>, window: usize) -> Tensor<4> {
    if window == 1 {
        return x;
    }
    module::avg_pool2d(x, AvgPoolOptions::new([window; 2]))
}
