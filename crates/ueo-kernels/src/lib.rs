//! CPU kernels of `ueo`, without a tensor framework: the residual transformer blocks and the ResNet of CLIP with frozen weights,
//! trained on their normalization layers' affine parameters only.
//!
//! Data flow: [`FrozenLinear`]s make a [`ResidualStack`]; the stack runs forward for inference, forward for training (which
//! returns what the backward pass needs) and backward, over whole sequences or over sequences that share a prefix. Its output is one
//! token of each sequence.
//! A [`Workspace`] keeps the memory of one call for the next. `docs/backward.md` derives the equations. Weights and what they are
//! multiplied with are in one [`Precision`]; all sums and everything else are f32.
//!
//! Results are the same, bit for bit, for every number of threads: work is divided by the shapes alone and sums over tasks are
//! taken in order.

mod activation;
mod attention;
mod average_pool;
mod batch_norm;
mod block;
mod buffer;
mod cache;
mod capability;
mod convolution;
mod depthwise;
mod elementary;
mod engine;
mod error;
mod gemm;
mod layer_norm;
mod linear;
mod perceptron;
mod precision;
#[cfg(test)]
mod reference;
mod resnet;

pub use activation::Activation;
pub use block::{
    BlockAffine, BlockAffineGradient, BlockWeights, PrefixGradients, PrefixShape, ReadToken,
    ResidualStack, Saved, SavedWithPrefix, StackConfig, StackGradients, Workspace,
};
pub use cache::Caches;
pub use capability::{Capability, InstructionSet};
pub use depthwise::DepthwiseConvolution;
pub use engine::{EngineDescription, MeasuredRate, ProductPath};
pub use error::{InstructionSetError, ShapeError};
pub use gemm::amx::self_check::SelfCheck;
pub use linear::FrozenLinear;
pub use perceptron::{
    LinearWeights, NormedPerceptron, PerceptronAffine, PerceptronGradients, PerceptronWeights,
    SavedPerceptron,
};
pub use precision::{Bf16, Precision};
pub use resnet::{
    BottleneckWeights, ConvolutionWeights, ConvolutionalTower, MapWorkspace, SavedMaps,
};
