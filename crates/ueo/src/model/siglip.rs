//! SigLIP's vision transformer: no class token, no normalization in front of the blocks, an attention pooling head behind them.

use burn::tensor::Tensor;

use crate::checkpoint::VitConfig;

use super::ModelError;
use super::affine::AffineParameters;
use super::layer_norm;
use super::pooling_head::PoolingHead;
use super::residual_stack::{ResidualStack, StackKind};
use super::vision_tower::VisionTower;
use super::vision_transformer::NORMS_PER_BLOCK;
use super::weights::Weights;

/// Normalization layers behind the blocks: `visual.ln_post`, then the head's.
const NORMS_BEHIND: [&str; 2] = ["visual.ln_post", "visual.attn_pool.ln"];

/// The frozen weights of a vision transformer with an attention pooling head.
///
/// Its normalization layers, all of which are trained, in order: `ln_1` and `ln_2` of each block, `visual.ln_post`, and
/// `visual.attn_pool.ln`, which is in front of the head's perceptron.
#[derive(Debug)]
pub(crate) struct SiglipVisionTransformer {
    config: VitConfig,
    /// The patch convolution as a matrix, `[3 * patch_size^2, width]`.
    patch_embedding: Tensor<2>,
    /// Bias of the patch convolution and the patches' positions, `[1, patches, width]`.
    positional_embedding: Tensor<3>,
    stack: ResidualStack,
    head: PoolingHead,
}

impl SiglipVisionTransformer {
    pub(crate) fn new(
        config: &VitConfig,
        weights: &mut Weights,
    ) -> Result<(Self, AffineParameters), ModelError> {
        let width = config.transformer.width;
        let patch = config.patch_size;
        let patches = (config.image_size / patch).pow(2);

        let mut names = ResidualStack::norm_names(&config.transformer, "visual.transformer");
        names.extend(NORMS_BEHIND.map(str::to_owned));
        let affine = AffineParameters::from_tensors(
            weights.remaining(),
            names.into_iter().map(|name| (name, true)),
            weights.device(),
        )?;

        let patch_embedding: Tensor<4> =
            weights.take("visual.conv1.weight", [width, 3, patch, patch])?;
        let bias: Tensor<1> = weights.take("visual.conv1.bias", [width])?;
        let positions: Tensor<2> = weights.take("visual.positional_embedding", [patches, width])?;
        let tower = Self {
            patch_embedding: patch_embedding
                .reshape([width, 3 * patch * patch])
                .transpose(),
            positional_embedding: (positions + bias.unsqueeze()).unsqueeze(),
            stack: ResidualStack::new(
                &config.transformer,
                "visual.transformer",
                StackKind::AllTokens,
                weights,
            )?,
            head: PoolingHead::new(&config.transformer, "visual.attn_pool", weights)?,
            config: config.clone(),
        };
        Ok((tower, affine))
    }

    /// Patches as tokens, `[batch, patches, width]`. Pixels that fill no whole patch at the right and at the bottom are left out, as a
    /// convolution without padding does.
    fn embed(&self, pixels: Tensor<4>) -> Tensor<3> {
        let [batch, channels, height, width] = pixels.dims();
        let patch = self.config.patch_size;
        let (rows, columns) = (height / patch, width / patch);

        let patches = pixels
            .narrow(2, 0, rows * patch)
            .narrow(3, 0, columns * patch)
            .reshape([batch, channels, rows, patch, columns, patch])
            .permute([0, 2, 4, 1, 3, 5])
            .reshape([batch * rows * columns, channels * patch * patch])
            .matmul(self.patch_embedding.clone())
            .reshape([batch, rows * columns, self.config.transformer.width]);
        patches + self.positional_embedding.clone()
    }
}

impl VisionTower for SiglipVisionTransformer {
    fn forward(&self, pixels: Tensor<4>, affine: &AffineParameters) -> Tensor<2> {
        self.forward_from(0, self.embed(pixels), affine)
    }

    fn blocks(&self) -> usize {
        self.config.transformer.layers
    }

    fn block_input_shape(&self, _block: usize) -> [usize; 2] {
        let patches = (self.config.image_size / self.config.patch_size).pow(2);
        [patches, self.config.transformer.width]
    }

    fn first_norm(&self, block: usize) -> usize {
        NORMS_PER_BLOCK * block
    }

    fn block_inputs(
        &self,
        block: usize,
        pixels: Tensor<4>,
        affine: &AffineParameters,
    ) -> Tensor<3> {
        let norms = &affine.norms()[..self.first_norm(block)];
        self.stack.first_blocks(self.embed(pixels), norms)
    }

    fn forward_from(&self, block: usize, x: Tensor<3>, affine: &AffineParameters) -> Tensor<2> {
        let epsilon = self.config.transformer.layer_norm_epsilon;
        let norms = affine.norms();
        let (blocks, behind) = norms.split_at(norms.len() - NORMS_BEHIND.len());
        let tokens = self.stack.all_tokens(x, &blocks[self.first_norm(block)..]);
        let tokens = layer_norm(tokens, &behind[0], epsilon);
        self.head.forward(tokens, &behind[1], epsilon)
    }
}

#[cfg(test)]
mod tests;
