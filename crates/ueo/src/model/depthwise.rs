//! Depthwise convolution of square maps with channels last: the seam to its kernels.

use std::fmt;
use std::sync::Arc;

use burn::tensor::Tensor;
use ueo_kernels::{Capability, DepthwiseConvolution};

use super::fused::{BackwardPass, FlexTensor, Fused, Operation, axes, tensor};
use super::maps::Convolution;
use super::weights::Weights;
use super::{Engine, ModelError};

/// A frozen convolution of each channel for itself, with a bias and a border of `side / 2` zeros.
#[derive(Debug)]
pub(super) enum Depthwise {
    Composed(Box<Convolution>),
    Fused(Box<FusedDepthwise>),
}

/// The kernels' convolution.
#[derive(Clone)]
pub(super) struct FusedDepthwise {
    kernel: Arc<DepthwiseConvolution>,
    /// The operation's second input, which nothing is asked of.
    nothing: Tensor<1>,
}

impl fmt::Debug for FusedDepthwise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FusedDepthwise").finish_non_exhaustive()
    }
}

impl Depthwise {
    /// Takes `{name}.weight` and `{name}.bias`.
    pub(super) fn new(
        weights: &mut Weights,
        name: &str,
        channels: usize,
        side: usize,
        stride: usize,
    ) -> Result<Self, ModelError> {
        if weights.engine() == Engine::Composed {
            let convolution = Convolution::depthwise(weights, name, channels, side, stride)?;
            return Ok(Self::Composed(Box::new(convolution)));
        }
        let shape = [channels, 1, side, side];
        let weight = weights.take_host(&format!("{name}.weight"), &shape)?.data;
        let bias = weights
            .take_host(&format!("{name}.bias"), &[channels])?
            .data;
        let capability = Capability::for_precision(weights.precision().into())
            .map_err(ModelError::InstructionSet)?;
        let kernel = DepthwiseConvolution::new(capability, &weight, &bias, side, stride)
            .map_err(ModelError::Kernel)?;
        Ok(Self::Fused(Box::new(FusedDepthwise {
            kernel: Arc::new(kernel),
            nothing: Tensor::zeros([1], weights.device()),
        })))
    }

    /// `[batch, positions, channels]` to `[batch, positions / stride^2, channels]`.
    pub(super) fn forward(&self, maps: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Composed(convolution) => convolution.forward(maps),
            Self::Fused(fused) => Fused::apply(fused.kernel(), maps, fused.nothing.clone()),
        }
    }
}

impl FusedDepthwise {
    fn kernel(&self) -> Kernel {
        Kernel(self.kernel.clone())
    }
}

/// The convolution as an operation on maps and an input without a meaning.
#[derive(Clone)]
struct Kernel(Arc<DepthwiseConvolution>);

/// What leads back through a convolution: the shape of its input.
struct KernelBackward {
    kernel: Kernel,
    shape: [usize; 3],
}

impl Operation for Kernel {
    fn forward(&self, [maps, _]: [FlexTensor; 2]) -> FlexTensor {
        let [batch, positions, channels] = axes(&maps);
        let side = positions.isqrt();
        let values = self.0.forward(batch, side, maps.storage());
        let positions = self.0.output_side(side).pow(2);
        tensor(values, [batch, positions, channels])
    }

    fn forward_training(&self, inputs: [FlexTensor; 2]) -> (FlexTensor, Arc<dyn BackwardPass>) {
        let backward = KernelBackward {
            kernel: self.clone(),
            shape: axes(&inputs[0]),
        };
        (self.forward(inputs), Arc::new(backward))
    }
}

impl BackwardPass for KernelBackward {
    fn gradients(&self, gradient: &[f32], wanted: [bool; 2]) -> [Option<FlexTensor>; 2] {
        let [batch, positions, _] = self.shape;
        let maps = wanted[0].then(|| {
            let values = self.kernel.0.backward(batch, positions.isqrt(), gradient);
            tensor(values, self.shape)
        });
        [maps, wanted[1].then(|| tensor(vec![0.0], [1]))]
    }
}
