//! A vision transformer put together of parts: what stands in front of the blocks, the blocks, and what one feature is made of.
//!
//! Where the blocks are CLIP's, they are the fused ones; other blocks are compositions of Burn's operations ([`blocks`]).

mod blocks;
mod rotary;
mod stem;

use burn::tensor::Tensor;

use crate::checkpoint::{ClassToken, ModularVitConfig, Pooling, TransformerConfig, VitBlocks};

use super::affine::AffineParameters;
use super::pooling_head::PoolingHead;
use super::residual_stack::{ResidualStack, StackKind};
use super::vision_tower::VisionTower;
use super::weights::Weights;
use super::{ModelError, NormAffine, Precision, layer_norm};

use blocks::ComposedBlocks;
use stem::PatchStem;

/// The blocks, by what runs them.
#[derive(Debug)]
enum Blocks {
    Residual(ResidualStack),
    Composed(Box<ComposedBlocks>),
}

/// The frozen weights of a vision transformer of parts.
///
/// Its normalization layers, all of which are trained, in order: those of the stem, `visual.ln_pre`, those of each block,
/// `visual.ln_post`, `visual.attn_pool.ln`; each where the architecture has it.
#[derive(Debug)]
pub(crate) struct ModularVisionTransformer {
    config: ModularVitConfig,
    stem: PatchStem,
    /// `[1, 1, width]`
    class_embedding: Option<Tensor<3>>,
    /// `[1, tokens or patches, width]`
    positional_embedding: Tensor<3>,
    blocks: Blocks,
    head: Option<PoolingHead>,
    /// `[width, embed_dim]`
    projection: Tensor<2>,
    /// `[1, embed_dim]`
    projection_bias: Option<Tensor<2>>,
}

impl ModularVisionTransformer {
    pub(crate) fn new(
        config: &ModularVitConfig,
        embed_dim: usize,
        weights: &mut Weights,
    ) -> Result<(Self, AffineParameters), ModelError> {
        let transformer = &config.vit.transformer;
        let width = transformer.width;
        let affine = AffineParameters::from_tensors(
            weights.remaining(),
            norm_names(config).into_iter().map(|name| (name, true)),
            weights.device(),
        )?;
        let class_embedding = match config.class_token {
            ClassToken::Absent => None,
            _ => {
                let token: Tensor<1> = weights.take("visual.class_embedding", [width])?;
                Some(token.reshape([1, 1, width]))
            }
        };
        let positions = patches(config) + usize::from(config.class_token == ClassToken::Positioned);
        let positional_embedding: Tensor<2> =
            weights.take("visual.positional_embedding", [positions, width])?;
        let prefix = "visual.transformer";
        let blocks = match config.blocks {
            VitBlocks::PreNorm => {
                let kind = match config.pooling {
                    Pooling::ClassToken => StackKind::ClassToken,
                    Pooling::Average | Pooling::Attention { .. } => StackKind::AllTokens,
                };
                Blocks::Residual(ResidualStack::new(transformer, prefix, kind, weights)?)
            }
            _ => Blocks::Composed(Box::new(ComposedBlocks::new(config, prefix, weights)?)),
        };
        let head = match config.pooling {
            Pooling::Attention { heads, mlp_width } => {
                let sizes = TransformerConfig {
                    heads,
                    mlp_width,
                    ..transformer.clone()
                };
                Some(PoolingHead::new(&sizes, "visual.attn_pool", weights)?)
            }
            _ => None,
        };
        let projection_bias = match config.projection_bias {
            true => {
                let bias: Tensor<1> = weights.take("visual.proj_bias", [embed_dim])?;
                Some(bias.unsqueeze())
            }
            false => None,
        };
        let tower = Self {
            stem: PatchStem::new(config, weights)?,
            class_embedding,
            positional_embedding: positional_embedding.unsqueeze(),
            blocks,
            head,
            projection: weights.take("visual.proj", [width, embed_dim])?,
            projection_bias,
            config: config.clone(),
        };
        Ok((tower, affine))
    }

    fn epsilon(&self) -> f64 {
        self.config.vit.transformer.layer_norm_epsilon
    }

    /// Norms of the stem.
    fn stem_norms(&self) -> usize {
        stem::norm_names(self.config.stem).len()
    }

    /// What enters the first block, `[batch, tokens, width]`.
    fn tokens(&self, pixels: Tensor<4>, affine: &AffineParameters) -> Tensor<3> {
        let stem_norms = self.stem_norms();
        let patches = self.stem.forward(pixels, &affine.norms()[..stem_norms]);
        let [batch, _, width] = patches.dims();
        let class_token = self
            .class_embedding
            .as_ref()
            .map(|token| token.clone().expand([batch, 1, width]));
        let positions = self.positional_embedding.clone();
        let tokens = match (class_token, self.config.class_token) {
            (None, _) => patches + positions,
            (Some(token), ClassToken::Plain) => Tensor::cat(vec![token, patches + positions], 1),
            (Some(token), _) => Tensor::cat(vec![token, patches], 1) + positions,
        };
        match self.config.normalized_tokens {
            true => layer_norm(tokens, affine.norm(stem_norms), self.epsilon()),
            false => tokens,
        }
    }

    /// What the last blocks leave of what enters the first of them, all tokens of it.
    fn all_tokens(&self, block: usize, x: Tensor<3>, norms: &[NormAffine]) -> Tensor<3> {
        match &self.blocks {
            Blocks::Residual(stack) => stack.all_tokens(x, norms),
            Blocks::Composed(blocks) => blocks.run(block..self.blocks(), x, norms),
        }
    }

    /// As [`Self::all_tokens`], the class token alone, `[batch, 1, width]`.
    fn class_tokens(&self, block: usize, x: Tensor<3>, norms: &[NormAffine]) -> Tensor<3> {
        match &self.blocks {
            Blocks::Residual(stack) => stack.first_tokens(x, norms).unsqueeze_dim(1),
            Blocks::Composed(_) => self.all_tokens(block, x, norms).narrow(1, 0, 1),
        }
    }
}

impl VisionTower for ModularVisionTransformer {
    fn forward(&self, pixels: Tensor<4>, affine: &AffineParameters) -> Tensor<2> {
        self.forward_from(0, self.tokens(pixels, affine), affine)
    }

    fn blocks(&self) -> usize {
        self.config.vit.transformer.layers
    }

    fn block_input_shape(&self, _block: usize) -> [usize; 2] {
        let class_tokens = usize::from(self.config.class_token != ClassToken::Absent);
        [
            class_tokens + patches(&self.config),
            self.config.vit.transformer.width,
        ]
    }

    fn first_norm(&self, block: usize) -> usize {
        let in_front = self.stem_norms() + usize::from(self.config.normalized_tokens);
        in_front + blocks::norm_parts(self.config.blocks).len() * block
    }

    fn offers(&self, precision: Precision) -> bool {
        match self.blocks {
            Blocks::Residual(_) => true,
            Blocks::Composed(_) => precision == Precision::F32,
        }
    }

    fn block_inputs(
        &self,
        block: usize,
        pixels: Tensor<4>,
        affine: &AffineParameters,
    ) -> Tensor<3> {
        let norms = &affine.norms()[self.first_norm(0)..self.first_norm(block)];
        let tokens = self.tokens(pixels, affine);
        match &self.blocks {
            Blocks::Residual(stack) => stack.first_blocks(tokens, norms),
            Blocks::Composed(blocks) => blocks.run(0..block, tokens, norms).inner(),
        }
    }

    fn forward_from(&self, block: usize, x: Tensor<3>, affine: &AffineParameters) -> Tensor<2> {
        let norms = affine.norms();
        let behind = self.first_norm(self.blocks());
        let (blocks, behind) = (&norms[self.first_norm(block)..behind], &norms[behind..]);
        let epsilon = self.epsilon();
        let pooled = match (&self.head, self.config.pooling) {
            (Some(head), _) => {
                let tokens = self.all_tokens(block, x, blocks);
                head.forward(layer_norm(tokens, &behind[0], epsilon), &behind[1], epsilon)
            }
            (None, Pooling::Average) => {
                let tokens = self.all_tokens(block, x, blocks);
                let patches = patches(&self.config);
                let first = tokens.dims()[1] - patches;
                let average = tokens.narrow(1, first, patches).mean_dim(1);
                layer_norm(average, &behind[0], epsilon).squeeze_dim(1)
            }
            (None, _) => {
                let tokens = self.class_tokens(block, x, blocks);
                layer_norm(tokens, &behind[0], epsilon).squeeze_dim(1)
            }
        };
        let features: Tensor<2> = pooled.matmul(self.projection.clone());
        match &self.projection_bias {
            Some(bias) => features + bias.clone(),
            None => features,
        }
    }
}

fn patches(config: &ModularVitConfig) -> usize {
    (config.vit.image_size / config.vit.patch_size).pow(2)
}

/// Names of the normalization layers in the tower's order.
fn norm_names(config: &ModularVitConfig) -> Vec<String> {
    let mut names = stem::norm_names(config.stem);
    if config.normalized_tokens {
        names.push("visual.ln_pre".to_owned());
    }
    for layer in 0..config.vit.transformer.layers {
        let parts = blocks::norm_parts(config.blocks).iter();
        names.extend(parts.map(|part| format!("visual.transformer.resblocks.{layer}.{part}")));
    }
    names.push("visual.ln_post".to_owned());
    if let Pooling::Attention { .. } = config.pooling {
        names.push("visual.attn_pool.ln".to_owned());
    }
    names
}
