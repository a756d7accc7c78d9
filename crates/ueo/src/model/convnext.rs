//! timm's ConvNeXt.

use burn::tensor::Tensor;

use crate::checkpoint::{Activation, ConvNextConfig};

use super::affine::AffineParameters;
use super::depthwise::Depthwise;
use super::feature_head::Head;
use super::maps::{Patches, channels_last};
use super::perceptron::{Layer, Layers, Perceptron};
use super::vision_tower::VisionTower;
use super::weights::Weights;
use super::{ModelError, NormAffine, layer_norm};

/// Side of the stem's patches in pixels.
const PATCH_SIZE: usize = 4;
/// Side of the depthwise convolutions.
const KERNEL: usize = 7;
/// Width of the perceptrons, as a multiple of their stage's.
const EXPANSION: usize = 4;
/// Index of `visual.trunk.stem.1` among the tower's norms.
const STEM_NORM: usize = 0;

/// The frozen weights of a ConvNeXt. Maps have their channels last.
///
/// Its normalization layers, all of which are trained, in order: `stem.1`; in each stage `downsample.0` where it has one, then `norm`
/// of each block; `head.norm`. The factors of the layer scale (`gamma`) are no normalization: they are multiplied into the matrices
/// before them.
#[derive(Debug)]
pub(crate) struct ConvNext {
    stem: Patches,
    blocks: Vec<Block>,
    head: Head,
    epsilon: f64,
}

/// A residual block: `x + perceptron(norm(depthwise(x)))`.
#[derive(Debug)]
struct Block {
    /// What halves the map that comes from the stage before; its norm is the one before the block's.
    downsample: Option<Patches>,
    depthwise: Depthwise,
    perceptron: Perceptron,
    /// Position of its norm among the tower's.
    norm: usize,
    /// Positions and channels of the map that enters it.
    input: [usize; 2],
}

/// Takes blocks out of the weights and counts the norms in the tower's order.
struct Builder<'a, 'w> {
    weights: &'a mut Weights<'w>,
    norms: Vec<String>,
    epsilon: f64,
}

impl Builder<'_, '_> {
    fn block(
        &mut self,
        name: &str,
        downsample: Option<Patches>,
        positions: usize,
        width: usize,
    ) -> Result<Block, ModelError> {
        let (weights, inner) = (&mut *self.weights, EXPANSION * width);
        let gamma = weights.take_host(&format!("{name}.gamma"), &[width])?;
        let layers = Layers {
            up: Layer::take(weights, &format!("{name}.mlp.fc1"), width, inner)?,
            gate: None,
            down: Layer::take(weights, &format!("{name}.mlp.fc2"), inner, width)?.scaled(&gamma),
        };
        self.norms.push(format!("{name}.norm"));
        let convolution = format!("{name}.conv_dw");
        let gelu = Activation::Gelu;
        Ok(Block {
            downsample,
            depthwise: Depthwise::new(weights, &convolution, width, KERNEL, 1)?,
            perceptron: Perceptron::new(layers, width, gelu, self.epsilon, weights)?,
            norm: self.norms.len() - 1,
            input: [positions, width],
        })
    }

    fn blocks(&mut self, config: &ConvNextConfig) -> Result<Vec<Block>, ModelError> {
        let mut blocks = Vec::new();
        let mut side = config.image_size / PATCH_SIZE;
        for (stage, (&count, &width)) in config.layers.iter().zip(&config.widths).enumerate() {
            let name = format!("visual.trunk.stages.{stage}");
            let mut downsample = None;
            if stage > 0 {
                self.norms.push(format!("{name}.downsample.0"));
                let convolution = format!("{name}.downsample.1");
                let inputs = config.widths[stage - 1];
                let halving = Patches::new(self.weights, &convolution, inputs, width, 2)?;
                downsample = Some(halving);
                side /= 2;
            }
            for block in 0..count {
                let name = format!("{name}.blocks.{block}");
                blocks.push(self.block(&name, downsample.take(), side * side, width)?);
            }
        }
        Ok(blocks)
    }
}

impl ConvNext {
    pub(crate) fn new(
        config: &ConvNextConfig,
        embed_dim: usize,
        weights: &mut Weights,
    ) -> Result<(Self, AffineParameters), ModelError> {
        let [first, .., last] = config.widths;
        let stem = Patches::new(weights, "visual.trunk.stem.0", 3, first, PATCH_SIZE)?;
        let mut builder = Builder {
            weights,
            norms: vec!["visual.trunk.stem.1".to_owned()],
            epsilon: config.layer_norm_epsilon,
        };
        let blocks = builder.blocks(config)?;
        let mut names = builder.norms;
        names.push("visual.trunk.head.norm".to_owned());
        let tower = Self {
            stem,
            blocks,
            head: Head::new(config.head, last, embed_dim, weights)?,
            epsilon: config.layer_norm_epsilon,
        };
        let affine = AffineParameters::from_tensors(
            weights.remaining(),
            names.into_iter().map(|name| (name, true)),
            weights.device(),
        )?;
        Ok((tower, affine))
    }
}

impl VisionTower for ConvNext {
    fn forward(&self, pixels: Tensor<4>, affine: &AffineParameters) -> Tensor<2> {
        self.forward_from(0, self.first_blocks(0, pixels, affine), affine)
    }

    fn blocks(&self) -> usize {
        self.blocks.len()
    }

    fn block_input_shape(&self, block: usize) -> [usize; 2] {
        self.blocks[block].input
    }

    fn first_norm(&self, block: usize) -> usize {
        // What halves the map in front of a stage is not the block's.
        self.blocks[block].norm
    }

    fn block_inputs(
        &self,
        block: usize,
        pixels: Tensor<4>,
        affine: &AffineParameters,
    ) -> Tensor<3> {
        self.first_blocks(block, pixels, affine).inner()
    }

    fn forward_from(&self, block: usize, mut x: Tensor<3>, affine: &AffineParameters) -> Tensor<2> {
        let norms = affine.norms();
        for (index, block) in (block..).zip(&self.blocks[block..]) {
            x = block.forward(x, &norms[block.norm]);
            if let Some(next) = self.blocks.get(index + 1) {
                x = next.enter(x, norms, self.epsilon);
            }
        }
        let pooled = layer_norm(x.mean_dim(1), &norms[norms.len() - 1], self.epsilon);
        self.head.forward(pooled)
    }
}

impl ConvNext {
    /// What enters a block.
    fn first_blocks(
        &self,
        count: usize,
        pixels: Tensor<4>,
        affine: &AffineParameters,
    ) -> Tensor<3> {
        let norms = affine.norms();
        let x = self.stem.forward(channels_last(pixels));
        let mut x = layer_norm(x, &norms[STEM_NORM], self.epsilon);
        for (block, next) in self.blocks.iter().zip(&self.blocks[1..]).take(count) {
            x = block.forward(x, &norms[block.norm]);
            x = next.enter(x, norms, self.epsilon);
        }
        x
    }
}

impl Block {
    /// What leaves the block before to what enters this one.
    fn enter(&self, x: Tensor<3>, norms: &[NormAffine], epsilon: f64) -> Tensor<3> {
        match &self.downsample {
            Some(downsample) => downsample.forward(layer_norm(x, &norms[self.norm - 1], epsilon)),
            None => x,
        }
    }

    fn forward(&self, x: Tensor<3>, norm: &NormAffine) -> Tensor<3> {
        let y = self.depthwise.forward(x.clone());
        x + self.perceptron.forward(y, norm)
    }
}
