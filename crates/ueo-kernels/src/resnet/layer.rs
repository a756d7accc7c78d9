//! One convolution and its BatchNorm over the maps of one group of images.

use super::plan::LayerPlan;
use super::{BottleneckWeights, ConvolutionWeights};
use crate::batch_norm::{self, FrozenStatistics, PeriodSums, ScaleShift};
use crate::buffer::fit;
use crate::convolution::{ConvolutionScratch, FrozenConvolution};
use crate::{Capability, Precision, ShapeError};

/// Added to the variance by every BatchNorm (PyTorch's default, which CLIP keeps).
const EPSILON: f32 = 1e-5;

/// A convolution with its BatchNorm.
pub(super) struct Layer {
    pub convolution: FrozenConvolution,
    pub statistics: FrozenStatistics,
    pub trained: bool,
}

/// The layers of a bottleneck.
pub(super) struct Block {
    pub layers: [Layer; 3],
    pub downsample: Option<Layer>,
    pub stride: usize,
}

/// What follows a BatchNorm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing.
    None,
    /// ReLU.
    Relu,
    /// Addition to what the result's memory holds, then ReLU.
    ResidualRelu,
}

/// Memory for the operands of one chunk.
#[derive(Default)]
pub(super) struct ChunkScratch {
    convolution: ConvolutionScratch,
    z: Vec<f32>,
}

impl Layer {
    pub fn new(
        capability: Capability,
        precision: Precision,
        weights: &ConvolutionWeights<'_>,
        stride: usize,
    ) -> Result<Self, ShapeError> {
        let outputs = weights.mean.len();
        ShapeError::check("variances of a BatchNorm", outputs, weights.variance.len())?;
        Ok(Self {
            convolution: FrozenConvolution::new(
                capability,
                precision,
                weights.weight,
                weights.inputs,
                outputs,
                weights.kernel,
                stride,
            )?,
            statistics: FrozenStatistics {
                mean: weights.mean.to_vec(),
                rstd: weights
                    .variance
                    .iter()
                    .map(|variance| (variance + EPSILON).sqrt().recip())
                    .collect(),
            },
            trained: weights.trained,
        })
    }

    pub fn channels(&self) -> usize {
        self.convolution.outputs()
    }

    /// `y = tail(norm(conv(x)))`. The convolution's result goes to `keep`, or stays in the cache where that is `None`.
    #[allow(clippy::too_many_arguments, reason = "an operation's operands")]
    pub fn forward(
        &self,
        capability: Capability,
        norm: &ScaleShift,
        plan: &LayerPlan,
        x: &[f32],
        y: &mut [f32],
        tail: Tail,
        mut keep: Option<&mut [f32]>,
        mut mask: Option<&mut [u8]>,
        scratch: &mut ChunkScratch,
    ) {
        let channels = self.channels();
        for positions in self.convolution.chunks(plan.output) {
            let numbers = positions.start * channels..positions.end * channels;
            let z = match &mut keep {
                Some(keep) => &mut keep[numbers.clone()],
                None => fit(&mut scratch.z, numbers.len()),
            };
            self.convolution
                .forward(x, plan.input, positions, &mut scratch.convolution, z);
            batch_norm::forward(
                capability,
                batch_norm::Forward {
                    layer: norm,
                    z,
                    y: &mut y[numbers.clone()],
                    residual: tail == Tail::ResidualRelu,
                    relu: tail != Tail::None,
                    mask: match &mut mask {
                        Some(mask) => &mut mask[numbers],
                        None => &mut [],
                    },
                },
            );
        }
    }

    /// The gradient before the BatchNorm, and the affine parameters' sums where they are trained. `relu` says whether ReLU followed
    /// at once.
    #[allow(clippy::too_many_arguments, reason = "an operation's operands")]
    pub fn norm_backward(
        &self,
        capability: Capability,
        norm: &ScaleShift,
        kept: &[f32],
        relu: bool,
        dy: &[f32],
        dz: &mut [f32],
        sums: &mut PeriodSums,
    ) {
        batch_norm::backward(
            capability,
            batch_norm::Backward {
                layer: norm,
                z: kept,
                relu,
                dy,
                dz,
                sums: self.trained.then_some(sums),
            },
        );
    }

    pub fn input_gradient(
        &self,
        plan: &LayerPlan,
        dz: &[f32],
        dx: &mut [f32],
        accumulate: bool,
        scratch: &mut ChunkScratch,
    ) {
        self.convolution
            .backward(dz, plan.input, &mut scratch.convolution, dx, accumulate);
    }
}

impl Block {
    pub fn new(
        capability: Capability,
        precision: Precision,
        weights: &BottleneckWeights<'_>,
        inputs: usize,
    ) -> Result<Self, ShapeError> {
        let [first, second, third] = &weights.convolutions;
        ShapeError::check("inputs of a bottleneck", inputs, first.inputs)?;
        ShapeError::check(
            "inputs of a bottleneck's second convolution",
            first.mean.len(),
            second.inputs,
        )?;
        ShapeError::check(
            "inputs of a bottleneck's third convolution",
            second.mean.len(),
            third.inputs,
        )?;
        ShapeError::check(
            "stride of a bottleneck (1 or 2)",
            weights.stride.clamp(1, 2),
            weights.stride,
        )?;
        match &weights.downsample {
            Some(downsample) => {
                ShapeError::check(
                    "inputs of a downsample convolution",
                    inputs,
                    downsample.inputs,
                )?;
                ShapeError::check(
                    "outputs of a downsample convolution",
                    third.mean.len(),
                    downsample.mean.len(),
                )?;
            }
            None => {
                ShapeError::check(
                    "stride of a bottleneck without downsample convolution",
                    1,
                    weights.stride,
                )?;
                ShapeError::check(
                    "outputs of a bottleneck without downsample convolution",
                    inputs,
                    third.mean.len(),
                )?;
            }
        }
        let layer = |weights| Layer::new(capability, precision, weights, 1);
        Ok(Self {
            layers: [layer(first)?, layer(second)?, layer(third)?],
            downsample: weights.downsample.as_ref().map(layer).transpose()?,
            stride: weights.stride,
        })
    }

    /// The convolutions in the order of their affine parameters.
    pub fn all_layers(&self) -> impl Iterator<Item = &Layer> {
        self.layers.iter().chain(&self.downsample)
    }
}
