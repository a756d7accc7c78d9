//! CLIP's modified ResNet: a stem of three convolutions, bottlenecks with anti-aliased strides, and attention pooling.
//!
//! The convolutional part is a seam between the model and its engines: on the CPU it runs as one fused operation with a hand-written
//! backward pass ([`fused`]); everywhere else, and as the reference in tests, as a composition of ordinary Burn operations
//! ([`composed`]). The engine is chosen once, when the model is built.

mod attention_pool;
mod composed;
mod fused;

use burn::tensor::Tensor;

use crate::checkpoint::ResNetConfig;

use super::affine::AffineParameters;
use super::vision_tower::VisionTower;
use super::weights::Weights;
use super::{Engine, ModelError};

use attention_pool::AttentionPool;
use composed::ComposedMaps;
use fused::FusedMaps;

/// Output channels of a bottleneck, as a multiple of its inner channels.
const EXPANSION: usize = 4;

/// Names and shape of a convolution without bias and of the BatchNorm with stored statistics behind it.
#[derive(Debug)]
struct ConvolutionSpec {
    /// OpenAI name of the convolution, without `.weight`.
    convolution: String,
    /// OpenAI name of the BatchNorm, without `.weight`.
    norm: String,
    inputs: usize,
    outputs: usize,
    /// Side of the kernel, 1 or 3; a border of `kernel / 2` zeros.
    kernel: usize,
    stride: usize,
}

/// A bottleneck: its three convolutions and that of its residual connection.
#[derive(Debug)]
struct BottleneckSpec {
    convolutions: [ConvolutionSpec; 3],
    downsample: Option<ConvolutionSpec>,
    /// Window of the average pools that stand for strides.
    stride: usize,
}

/// The convolutional part, in the order in which the tower meets its norms.
#[derive(Debug)]
struct MapsSpec {
    stem: [ConvolutionSpec; 3],
    blocks: Vec<BottleneckSpec>,
}

/// What runs the convolutional part.
#[derive(Debug)]
enum Maps {
    Composed(Box<ComposedMaps>),
    Fused(FusedMaps),
}

/// The frozen weights of a modified ResNet.
#[derive(Debug)]
pub(crate) struct ModifiedResNet {
    maps: Maps,
    pool: AttentionPool,
    /// Side of the images in pixels.
    image_size: usize,
    blocks: Vec<BlockPlace>,
}

/// Where a bottleneck stands.
#[derive(Debug)]
struct BlockPlace {
    /// Position of its first norm among the tower's.
    first_norm: usize,
    /// Positions and channels of the map that enters it.
    input: [usize; 2],
}

impl ConvolutionSpec {
    /// Whether adaptation updates the norm: the released program skips those of downsample branches, and so do we.
    fn is_trained(&self) -> bool {
        !self.norm.contains("downsample")
    }
}

impl BottleneckSpec {
    fn new(name: &str, inputs: usize, planes: usize, stride: usize) -> Self {
        let outputs = planes * EXPANSION;
        let convolution = |index: usize, inputs, outputs, kernel| ConvolutionSpec {
            convolution: format!("{name}.conv{index}"),
            norm: format!("{name}.bn{index}"),
            inputs,
            outputs,
            kernel,
            stride: 1,
        };
        Self {
            convolutions: [
                convolution(1, inputs, planes, 1),
                convolution(2, planes, planes, 3),
                convolution(3, planes, outputs, 1),
            ],
            downsample: (stride > 1 || inputs != outputs).then(|| ConvolutionSpec {
                convolution: format!("{name}.downsample.0"),
                norm: format!("{name}.downsample.1"),
                inputs,
                outputs,
                kernel: 1,
                stride: 1,
            }),
            stride,
        }
    }

    /// All convolutions in the order of the tower.
    fn all(&self) -> impl Iterator<Item = &ConvolutionSpec> {
        self.convolutions.iter().chain(&self.downsample)
    }
}

impl MapsSpec {
    fn new(config: &ResNetConfig) -> Self {
        let width = config.width;
        let stem = |index: usize, inputs, outputs, stride| ConvolutionSpec {
            convolution: format!("visual.conv{index}"),
            norm: format!("visual.bn{index}"),
            inputs,
            outputs,
            kernel: 3,
            stride,
        };
        let mut blocks = Vec::new();
        let mut inputs = width;
        for (stage, &count) in config.layers.iter().enumerate() {
            let planes = width << stage;
            for block in 0..count {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let name = format!("visual.layer{}.{block}", stage + 1);
                blocks.push(BottleneckSpec::new(&name, inputs, planes, stride));
                inputs = planes * EXPANSION;
            }
        }
        Self {
            stem: [
                stem(1, 3, width / 2, 2),
                stem(2, width / 2, width / 2, 1),
                stem(3, width / 2, width, 1),
            ],
            blocks,
        }
    }

    /// All convolutions in the order of the tower.
    fn all(&self) -> impl Iterator<Item = &ConvolutionSpec> {
        self.stem
            .iter()
            .chain(self.blocks.iter().flat_map(BottleneckSpec::all))
    }
}

impl ModifiedResNet {
    pub(crate) fn new(
        config: &ResNetConfig,
        embed_dim: usize,
        weights: &mut Weights,
    ) -> Result<(Self, AffineParameters), ModelError> {
        let spec = MapsSpec::new(config);
        let channels = (config.width << (config.layers.len() - 1)) * EXPANSION;
        let maps = match weights.engine() {
            Engine::Composed => Maps::Composed(Box::new(ComposedMaps::new(&spec, weights)?)),
            Engine::Fused => Maps::Fused(FusedMaps::new(&spec, weights)?),
        };
        let norms = spec
            .all()
            .map(|spec| (spec.norm.clone(), spec.is_trained()));
        let affine = AffineParameters::from_tensors(weights.remaining(), norms, weights.device())?;
        let pool = AttentionPool::new(config, channels, embed_dim, weights)?;
        // The stem's convolution and its pool halve the image twice.
        let (mut first_norm, mut side) = (spec.stem.len(), config.image_size / 4);
        let blocks = spec.blocks.iter().map(|block| {
            let place = BlockPlace {
                first_norm,
                input: [side * side, block.convolutions[0].inputs],
            };
            first_norm += block.all().count();
            side /= block.stride;
            place
        });
        let tower = Self {
            maps,
            pool,
            image_size: config.image_size,
            blocks: blocks.collect(),
        };
        Ok((tower, affine))
    }
}

impl VisionTower for ModifiedResNet {
    fn forward(&self, pixels: Tensor<4>, affine: &AffineParameters) -> Tensor<2> {
        let maps = match &self.maps {
            Maps::Composed(maps) => maps.forward(pixels, affine),
            Maps::Fused(maps) => maps.forward(pixels, affine),
        };
        self.pool.forward(maps)
    }

    fn blocks(&self) -> usize {
        self.blocks.len()
    }

    fn block_input_shape(&self, block: usize) -> [usize; 2] {
        self.blocks[block].input
    }

    fn first_norm(&self, block: usize) -> usize {
        self.blocks[block].first_norm
    }

    fn block_inputs(
        &self,
        block: usize,
        pixels: Tensor<4>,
        affine: &AffineParameters,
    ) -> Tensor<3> {
        match &self.maps {
            Maps::Composed(maps) => maps.block_inputs(block, pixels, affine).inner(),
            Maps::Fused(maps) => maps.block_inputs(block, pixels, affine, self.first_norm(block)),
        }
    }

    fn forward_from(&self, block: usize, maps: Tensor<3>, affine: &AffineParameters) -> Tensor<2> {
        let maps = match &self.maps {
            Maps::Composed(tower) => tower.forward_from(block, maps, affine),
            Maps::Fused(tower) => {
                let norms = &affine.norms()[self.first_norm(block)..];
                tower.forward_from(block, maps, self.image_size, norms)
            }
        };
        self.pool.forward(maps)
    }
}
