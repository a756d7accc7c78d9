//! CLIP's modified ResNet: a stem of three convolutions, anti-aliased strides and attention pooling.

use burn::tensor::{Tensor, activation, module, ops::AvgPoolOptions, ops::ConvOptions};

use crate::checkpoint::ResNetConfig;

use super::affine::AffineParameters;
use super::linear::Linear;
use super::weights::Weights;
use super::{ModelError, NormAffine};

/// Added to the variance by every BatchNorm (PyTorch's default, which CLIP keeps).
const BATCH_NORM_EPSILON: f32 = 1e-5;
/// Output channels of a bottleneck, as a multiple of its inner channels.
const EXPANSION: usize = 4;

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

/// The frozen weights of a modified ResNet.
#[derive(Debug)]
pub(crate) struct ModifiedResNet {
    stem: [ConvNorm; 3],
    blocks: Vec<Bottleneck>,
    pool: AttentionPool,
}

/// Attention of the mean position to all positions of the last feature map.
#[derive(Debug)]
struct AttentionPool {
    heads: usize,
    /// `[1, 1 + positions, channels]`
    positional_embedding: Tensor<3>,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
}

/// Names the norms in the tower's order while the convolutions are read.
struct Builder<'a, 'w> {
    weights: &'a mut Weights<'w>,
    norms: Vec<(String, bool)>,
}

impl Builder<'_, '_> {
    fn conv_norm(
        &mut self,
        (conv, norm): (String, String),
        inputs: usize,
        outputs: usize,
        kernel: usize,
        stride: usize,
    ) -> Result<ConvNorm, ModelError> {
        let weight = self
            .weights
            .take(&format!("{conv}.weight"), [outputs, inputs, kernel, kernel])?;
        let mean = self
            .weights
            .take(&format!("{norm}.running_mean"), [outputs])?;
        let variance: Tensor<1> = self
            .weights
            .take(&format!("{norm}.running_var"), [outputs])?;
        self.norms
            .push((norm.clone(), !norm.contains("downsample")));
        Ok(ConvNorm {
            weight,
            stride,
            mean,
            rstd: (variance + BATCH_NORM_EPSILON).sqrt().recip(),
            norm: self.norms.len() - 1,
        })
    }

    fn bottleneck(
        &mut self,
        name: &str,
        inputs: usize,
        planes: usize,
        stride: usize,
    ) -> Result<Bottleneck, ModelError> {
        let part = |index: usize| (format!("{name}.conv{index}"), format!("{name}.bn{index}"));
        let outputs = planes * EXPANSION;
        let convs = [
            self.conv_norm(part(1), inputs, planes, 1, 1)?,
            self.conv_norm(part(2), planes, planes, 3, 1)?,
            self.conv_norm(part(3), planes, outputs, 1, 1)?,
        ];
        let downsample = if stride > 1 || inputs != outputs {
            let names = (
                format!("{name}.downsample.0"),
                format!("{name}.downsample.1"),
            );
            Some(self.conv_norm(names, inputs, outputs, 1, 1)?)
        } else {
            None
        };
        Ok(Bottleneck {
            convs,
            downsample,
            stride,
        })
    }
}

impl ModifiedResNet {
    pub(crate) fn new(
        config: &ResNetConfig,
        embed_dim: usize,
        weights: &mut Weights,
    ) -> Result<(Self, AffineParameters), ModelError> {
        let width = config.width;
        let mut builder = Builder {
            weights,
            norms: Vec::new(),
        };
        let stem_part = |index: usize| (format!("visual.conv{index}"), format!("visual.bn{index}"));
        let stem = [
            builder.conv_norm(stem_part(1), 3, width / 2, 3, 2)?,
            builder.conv_norm(stem_part(2), width / 2, width / 2, 3, 1)?,
            builder.conv_norm(stem_part(3), width / 2, width, 3, 1)?,
        ];
        let mut blocks = Vec::new();
        let mut inputs = width;
        for (stage, &count) in config.layers.iter().enumerate() {
            let planes = width << stage;
            for block in 0..count {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let name = format!("visual.layer{}.{block}", stage + 1);
                blocks.push(builder.bottleneck(&name, inputs, planes, stride)?);
                inputs = planes * EXPANSION;
            }
        }
        let norms = builder.norms;
        let affine = AffineParameters::from_tensors(weights.remaining(), norms, weights.device())?;
        let pool = AttentionPool::new(config, inputs, embed_dim, weights)?;
        Ok((Self { stem, blocks, pool }, affine))
    }

    /// `[batch, 3, image_size, image_size]` to `[batch, embed_dim]`.
    pub(crate) fn forward(&self, pixels: Tensor<4>, affine: &AffineParameters) -> Tensor<2> {
        let mut x = pixels;
        for conv in &self.stem {
            x = activation::relu(conv.forward(x, affine));
        }
        x = average_pool(x, 2);
        for block in &self.blocks {
            x = block.forward(x, affine);
        }
        self.pool.forward(x)
    }
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

impl AttentionPool {
    fn new(
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
        Ok(Self {
            heads: config.heads,
            positional_embedding: positional_embedding.unsqueeze(),
            query: linear("q_proj", channels)?,
            key: linear("k_proj", channels)?,
            value: linear("v_proj", channels)?,
            output: linear("c_proj", embed_dim)?,
        })
    }

    /// `[batch, channels, height, width]` to `[batch, embed_dim]`.
    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let [batch, channels, height, width] = x.dims();
        let head_width = channels / self.heads;
        let x: Tensor<3> = x.reshape([batch, channels, height * width]).swap_dims(1, 2);
        let mean = x.clone().mean_dim(1);
        let x = Tensor::cat(vec![mean, x], 1) + self.positional_embedding.clone();
        let tokens = 1 + height * width;

        let split = |x: Tensor<3>, tokens: usize| -> Tensor<4> {
            x.reshape([batch, tokens, self.heads, head_width])
                .swap_dims(1, 2)
        };
        // Only the mean position asks.
        let query = split(self.query.forward(x.clone().narrow(1, 0, 1)), 1);
        let query = query.mul_scalar((head_width as f64).powf(-0.5));
        let key = split(self.key.forward(x.clone()), tokens);
        let value = split(self.value.forward(x), tokens);
        let weights = activation::softmax(query.matmul(key.swap_dims(2, 3)), 3);
        let pooled = weights
            .matmul(value)
            .swap_dims(1, 2)
            .reshape([batch, 1, channels]);
        self.output.forward(pooled).squeeze_dim(1)
    }
}

/// Average pooling with a square window that does not overlap; the identity for a window of one.
fn average_pool(x: Tensor<4>, window: usize) -> Tensor<4> {
    if window == 1 {
        return x;
    }
    module::avg_pool2d(x, AvgPoolOptions::new([window; 2]))
}
