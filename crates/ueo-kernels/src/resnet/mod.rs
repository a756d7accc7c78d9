//! The convolutional part of CLIP's modified ResNet with frozen weights: stem and bottlenecks, forward and backward.
//!
//! - [`layer`]: one convolution with its BatchNorm over the maps of one group of images;
//! - [`group`]: all layers over one group, forward and backward;
//! - [`tower`]: all groups in parallel;
//! - [`plan`]: shapes of all maps and where a group's saved activations lie;
//! - [`workspace`]: the memory that one call leaves for the next.
//!
//! Inside, maps are `[images, height, width, channels]`: channels are the vector axis and 1 x 1 convolutions plain products.

mod group;
mod layer;
mod plan;
mod tower;
mod workspace;

pub use tower::{ConvolutionalTower, SavedMaps};
pub use workspace::MapWorkspace;

/// The frozen tensors of a convolution without bias and of the BatchNorm behind it.
#[derive(Clone, Copy, Debug)]
pub struct ConvolutionWeights<'a> {
    /// `[outputs, inputs, kernel, kernel]`, as PyTorch stores it.
    pub weight: &'a [f32],
    /// Stored mean, `[outputs]`.
    pub mean: &'a [f32],
    /// Stored variance, `[outputs]`.
    pub variance: &'a [f32],
    /// Input channels.
    pub inputs: usize,
    /// Side of the kernel: 1, or 3 with a border of one zero.
    pub kernel: usize,
    /// Whether the affine parameters' gradient is wanted; what only it needs is not kept otherwise.
    pub trained: bool,
}

/// A bottleneck: 1 x 1, 3 x 3, average pool, 1 x 1, beside a residual connection.
#[derive(Clone, Copy, Debug)]
pub struct BottleneckWeights<'a> {
    /// The three convolutions.
    pub convolutions: [ConvolutionWeights<'a>; 3],
    /// The 1 x 1 convolution of the residual connection, where the shapes differ.
    pub downsample: Option<ConvolutionWeights<'a>>,
    /// Window of the average pools, 1 or 2.
    pub stride: usize,
}

#[cfg(test)]
pub(crate) mod reference;
#[cfg(test)]
mod tests;
