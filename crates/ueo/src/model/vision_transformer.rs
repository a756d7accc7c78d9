//! CLIP's vision transformer.

use burn::tensor::Tensor;

use crate::checkpoint::VitConfig;

use super::ModelError;
use super::affine::AffineParameters;
use super::layer_norm;
use super::residual_stack::{ResidualStack, StackKind};
use super::vision_tower::VisionTower;
use super::weights::Weights;

/// Index of `visual.ln_pre` among the tower's norms; the blocks' norms follow, then `visual.ln_post`.
const LN_PRE: usize = 0;
/// `ln_1` and `ln_2`.
pub(super) const NORMS_PER_BLOCK: usize = 2;

/// The frozen weights of a vision transformer.
#[derive(Debug)]
pub(crate) struct VisionTransformer {
    config: VitConfig,
    /// The patch convolution as a matrix, `[3 * patch_size^2, width]`.
    patch_embedding: Tensor<2>,
    /// `[1, 1, width]`
    class_embedding: Tensor<3>,
    /// `[1, 1 + patches, width]`
    positional_embedding: Tensor<3>,
    stack: ResidualStack,
    /// `[width, embed_dim]`
    projection: Tensor<2>,
}

impl VisionTransformer {
    pub(crate) fn new(
        config: &VitConfig,
        embed_dim: usize,
        weights: &mut Weights,
    ) -> Result<(Self, AffineParameters), ModelError> {
        let width = config.transformer.width;
        let patch = config.patch_size;
        let patches = (config.image_size / patch).pow(2);

        let mut names = vec!["visual.ln_pre".to_owned()];
        names.extend(ResidualStack::norm_names(
            &config.transformer,
            "visual.transformer",
        ));
        names.push("visual.ln_post".to_owned());
        let affine = AffineParameters::from_tensors(
            weights.remaining(),
            names.into_iter().map(|name| (name, true)),
            weights.device(),
        )?;

        let patch_embedding: Tensor<4> =
            weights.take("visual.conv1.weight", [width, 3, patch, patch])?;
        let class_embedding: Tensor<1> = weights.take("visual.class_embedding", [width])?;
        let positional_embedding: Tensor<2> =
            weights.take("visual.positional_embedding", [1 + patches, width])?;
        let tower = Self {
            patch_embedding: patch_embedding
                .reshape([width, 3 * patch * patch])
                .transpose(),
            class_embedding: class_embedding.reshape([1, 1, width]),
            positional_embedding: positional_embedding.unsqueeze(),
            stack: ResidualStack::new(
                &config.transformer,
                "visual.transformer",
                StackKind::ClassToken,
                weights,
            )?,
            projection: weights.take("visual.proj", [width, embed_dim])?,
            config: config.clone(),
        };
        Ok((tower, affine))
    }

    /// What enters the first block.
    fn normalized(&self, pixels: Tensor<4>, affine: &AffineParameters) -> Tensor<3> {
        let epsilon = self.config.transformer.layer_norm_epsilon;
        layer_norm(self.embed(pixels), affine.norm(LN_PRE), epsilon)
    }

    /// Patches as tokens behind the class token, `[batch, 1 + patches, width]`.
    fn embed(&self, pixels: Tensor<4>) -> Tensor<3> {
        let [batch, channels, height, width] = pixels.dims();
        let patch = self.config.patch_size;
        let (rows, columns) = (height / patch, width / patch);
        let hidden = self.config.transformer.width;

        let patches = pixels
            .reshape([batch, channels, rows, patch, columns, patch])
            .permute([0, 2, 4, 1, 3, 5])
            .reshape([batch * rows * columns, channels * patch * patch])
            .matmul(self.patch_embedding.clone())
            .reshape([batch, rows * columns, hidden]);
        let class_token = self.class_embedding.clone().expand([batch, 1, hidden]);
        Tensor::cat(vec![class_token, patches], 1) + self.positional_embedding.clone()
    }
}

impl VisionTower for VisionTransformer {
    fn forward(&self, pixels: Tensor<4>, affine: &AffineParameters) -> Tensor<2> {
        self.forward_from(0, self.normalized(pixels, affine), affine)
    }

    fn blocks(&self) -> usize {
        self.config.transformer.layers
    }

    fn block_input_shape(&self, _block: usize) -> [usize; 2] {
        let patches = (self.config.image_size / self.config.patch_size).pow(2);
        [1 + patches, self.config.transformer.width]
    }

    fn first_norm(&self, block: usize) -> usize {
        LN_PRE + 1 + NORMS_PER_BLOCK * block
    }

    fn block_inputs(
        &self,
        block: usize,
        pixels: Tensor<4>,
        affine: &AffineParameters,
    ) -> Tensor<3> {
        let norms = &affine.norms()[self.first_norm(0)..self.first_norm(block)];
        self.stack
            .first_blocks(self.normalized(pixels, affine), norms)
    }

    fn forward_from(&self, block: usize, x: Tensor<3>, affine: &AffineParameters) -> Tensor<2> {
        let epsilon = self.config.transformer.layer_norm_epsilon;
        let norms = affine.norms();
        let ln_post = norms.len() - 1;
        let class_tokens = self
            .stack
            .first_tokens(x, &norms[self.first_norm(block)..ln_post]);
        layer_norm(class_tokens.unsqueeze_dim(1), &norms[ln_post], epsilon)
            .squeeze_dim::<2>(1)
            .matmul(self.projection.clone())
    }
}
