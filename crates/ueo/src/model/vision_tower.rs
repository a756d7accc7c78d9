//! What every image encoder does, whatever its architecture, and which one a configuration asks for.

use std::fmt;

use burn::tensor::Tensor;

use crate::checkpoint::VisionConfig;

use super::affine::AffineParameters;
use super::convnext::ConvNext;
use super::modular_vit::ModularVisionTransformer;
use super::resnet::ModifiedResNet;
use super::siglip::SiglipVisionTransformer;
use super::vision_transformer::VisionTransformer;
use super::vitamin::ViTamin;
use super::weights::Weights;
use super::{ModelError, Precision};

/// An image encoder with frozen weights; the affine parameters of its normalization layers come from outside, in its own order.
pub(crate) trait VisionTower: fmt::Debug + Send + Sync {
    /// `[batch, 3, image_size, image_size]` to `[batch, embed_dim]`.
    fn forward(&self, pixels: Tensor<4>, affine: &AffineParameters) -> Tensor<2>;

    /// Residual blocks of the tower.
    fn blocks(&self) -> usize;

    /// Tokens or positions, and their width, of what enters a block.
    fn block_input_shape(&self, block: usize) -> [usize; 2];

    /// Position of a block's first norm among the tower's.
    fn first_norm(&self, block: usize) -> usize;

    /// `[batch, 3, image_size, image_size]` to what enters a block, `[batch, tokens or positions, width]`, without a graph.
    fn block_inputs(&self, block: usize, pixels: Tensor<4>, affine: &AffineParameters)
    -> Tensor<3>;

    /// Whether its frozen matrices may be in a number format.
    fn offers(&self, _precision: Precision) -> bool {
        true
    }

    /// What enters a block to `[batch, embed_dim]`.
    fn forward_from(&self, block: usize, x: Tensor<3>, affine: &AffineParameters) -> Tensor<2>;
}

/// A tower with the checkpoint's own affine parameters.
type Built = (Box<dyn VisionTower>, AffineParameters);

/// Builds the tower of a configuration, taking its tensors out of `weights`.
pub(crate) fn build(
    config: &VisionConfig,
    embed_dim: usize,
    weights: &mut Weights,
) -> Result<Built, ModelError> {
    match config {
        VisionConfig::Vit(vit) => boxed(VisionTransformer::new(vit, embed_dim, weights)?),
        VisionConfig::ResNet(resnet) => boxed(ModifiedResNet::new(resnet, embed_dim, weights)?),
        VisionConfig::Siglip(vit) => boxed(SiglipVisionTransformer::new(vit, weights)?),
        VisionConfig::ModularVit(modular) => {
            boxed(ModularVisionTransformer::new(modular, embed_dim, weights)?)
        }
        VisionConfig::ConvNext(convnext) => boxed(ConvNext::new(convnext, embed_dim, weights)?),
        VisionConfig::ViTamin(vitamin) => boxed(ViTamin::new(vitamin, embed_dim, weights)?),
    }
}

fn boxed<T: VisionTower + 'static>(
    (tower, affine): (T, AffineParameters),
) -> Result<Built, ModelError> {
    Ok((Box::new(tower), affine))
}
