//! timm's ViTamin: convolutional stages, then a transformer.

mod bottleneck;
mod gated_block;

use burn::tensor::{Tensor, activation};

use crate::checkpoint::ViTaminConfig;

use super::affine::AffineParameters;
use super::feature_head::Head;
use super::maps::Convolution;
use super::vision_tower::VisionTower;
use super::weights::Weights;
use super::{ModelError, layer_norm};

use bottleneck::Bottleneck;
use gated_block::{GatedBlock, NORMS_PER_BLOCK};

/// Index of the stem's norm among the tower's; those of the bottlenecks follow.
const STEM_NORM: usize = 0;

/// The frozen weights of a ViTamin. Maps have their channels last.
///
/// Its normalization layers, all of which are trained, in order: `stem.norm1`, `pre_norm` of each bottleneck, `pool.norm`; `norm1`,
/// `norm2` and `mlp.norm` of each transformer block; `fc_norm`.
#[derive(Debug)]
pub(crate) struct ViTamin {
    config: ViTaminConfig,
    stem: [Convolution; 2],
    bottlenecks: Vec<Bottleneck>,
    pool: Convolution,
    /// `[1, tokens, width]`
    positions: Option<Tensor<3>>,
    blocks: Vec<GatedBlock>,
    head: Head,
}

impl ViTamin {
    pub(crate) fn new(
        config: &ViTaminConfig,
        embed_dim: usize,
        weights: &mut Weights,
    ) -> Result<(Self, AffineParameters), ModelError> {
        const BACKBONE: &str = "visual.trunk.patch_embed.backbone";
        let width = config.transformer.width;
        let [first, second] = config.widths;
        let mut convolution = |name: &str, shape, stride| {
            Convolution::new(weights, &format!("{BACKBONE}.{name}"), shape, stride)
        };
        let stem = [
            convolution("stem.conv1", [first, 3, 3, 3], 2)?,
            convolution("stem.conv2", [first, first, 3, 3], 1)?,
        ];
        let pool = convolution("pool.proj", [width, second, 3, 3], 2)?;
        let mut names = vec![format!("{BACKBONE}.stem.norm1")];
        let mut bottlenecks = Vec::new();
        // The stem halves the image, each stage its map.
        let (mut inputs, mut side) = (first, config.image_size / 2);
        for (stage, (&count, outputs)) in config.layers.iter().zip(config.widths).enumerate() {
            for block in 0..count {
                let name = format!("{BACKBONE}.stages.{stage}.{block}");
                let halves = block == 0;
                let shape = [side * side, inputs];
                bottlenecks.push(Bottleneck::new(&name, shape, outputs, halves, weights)?);
                names.push(format!("{name}.pre_norm"));
                side /= if halves { 2 } else { 1 };
                inputs = outputs;
            }
        }
        names.push(format!("{BACKBONE}.pool.norm"));
        let mut blocks = Vec::new();
        for block in 0..config.transformer.layers {
            let name = format!("visual.trunk.blocks.{block}");
            blocks.push(GatedBlock::new(&name, &config.transformer, weights)?);
            names.extend(GatedBlock::norm_names(&name));
        }
        names.push("visual.trunk.fc_norm".to_owned());
        let positions = match config.has_positions {
            true => Some(weights.take("visual.trunk.pos_embed", [1, config.tokens(), width])?),
            false => None,
        };
        let tower = Self {
            stem,
            bottlenecks,
            pool,
            positions,
            blocks,
            head: Head::new(config.head, width, embed_dim, weights)?,
            config: config.clone(),
        };
        let affine = AffineParameters::from_tensors(
            weights.remaining(),
            names.into_iter().map(|name| (name, true)),
            weights.device(),
        )?;
        Ok((tower, affine))
    }
}

impl VisionTower for ViTamin {
    fn forward(&self, pixels: Tensor<4>, affine: &AffineParameters) -> Tensor<2> {
        self.forward_from(0, self.first_blocks(0, pixels, affine), affine)
    }

    fn blocks(&self) -> usize {
        self.bottlenecks.len() + self.blocks.len()
    }

    fn block_input_shape(&self, block: usize) -> [usize; 2] {
        match self.bottlenecks.get(block) {
            Some(bottleneck) => bottleneck.input(),
            None => [self.config.tokens(), self.config.transformer.width],
        }
    }

    fn first_norm(&self, block: usize) -> usize {
        // What makes tokens of the last map is not the first transformer block's.
        let bottlenecks = self.bottlenecks.len();
        match block.checked_sub(bottlenecks) {
            None => STEM_NORM + 1 + block,
            Some(block) => self.pool_norm() + 1 + NORMS_PER_BLOCK * block,
        }
    }

    fn block_inputs(
        &self,
        block: usize,
        pixels: Tensor<4>,
        affine: &AffineParameters,
    ) -> Tensor<3> {
        self.first_blocks(block, pixels, affine).inner()
    }

    fn forward_from(&self, block: usize, x: Tensor<3>, affine: &AffineParameters) -> Tensor<2> {
        let norms = affine.norms();
        let x = self.run(block..self.blocks(), x, affine);
        let epsilon = self.config.transformer.layer_norm_epsilon;
        let pooled = layer_norm(x.mean_dim(1), &norms[norms.len() - 1], epsilon);
        self.head.forward(pooled)
    }
}

impl ViTamin {
    fn pool_norm(&self) -> usize {
        STEM_NORM + 1 + self.bottlenecks.len()
    }

    /// What enters a block.
    fn first_blocks(
        &self,
        count: usize,
        pixels: Tensor<4>,
        affine: &AffineParameters,
    ) -> Tensor<3> {
        let epsilon = self.config.transformer.layer_norm_epsilon;
        let [first, second] = &self.stem;
        let x = layer_norm(
            first.forward_pixels(pixels),
            affine.norm(STEM_NORM),
            epsilon,
        );
        let x = second.forward(activation::gelu(x));
        self.run(0..count, x, affine)
    }

    /// What enters the first of some blocks to what enters the one behind them.
    fn run(
        &self,
        blocks: std::ops::Range<usize>,
        mut x: Tensor<3>,
        affine: &AffineParameters,
    ) -> Tensor<3> {
        let epsilon = self.config.transformer.layer_norm_epsilon;
        let bottlenecks = self.bottlenecks.len();
        for block in blocks {
            let norms = &affine.norms()[self.first_norm(block)..];
            x = match self.bottlenecks.get(block) {
                Some(bottleneck) => bottleneck.forward(x, &norms[0], epsilon),
                None => self.blocks[block - bottlenecks].forward(x, norms),
            };
            if block + 1 == bottlenecks {
                x = self.tokens(x, affine);
            }
        }
        x
    }

    /// The last map to tokens.
    fn tokens(&self, x: Tensor<3>, affine: &AffineParameters) -> Tensor<3> {
        let epsilon = self.config.transformer.layer_norm_epsilon;
        let norm = affine.norm(self.pool_norm());
        let tokens = self.pool.forward(layer_norm(x, norm, epsilon));
        match &self.positions {
            Some(positions) => tokens + positions.clone(),
            None => tokens,
        }
    }
}
