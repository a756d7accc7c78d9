//! The two towers of CLIP and its relatives as plain Burn modules, with frozen weights and the trained parameters passed in from outside.

mod activation;
mod affine;
mod convnext;
mod depthwise;
mod feature_head;
mod footprint;
mod fused;
mod linear;
mod maps;
mod modular_vit;
mod perceptron;
mod pooling_head;
mod precision;
mod residual_stack;
mod resnet;
mod siglip;
mod text_encoder;
mod vision_tower;
mod vision_transformer;
mod vitamin;
mod weights;

use burn::backend::DispatchDevice;
use burn::tensor::{Device, Int, Tensor, TensorData, module};
use thiserror::Error;
use ueo_kernels::Bf16;

use crate::checkpoint::{Checkpoint, ClipConfig, VisionConfig};
use crate::device::capacity;
use crate::tensor::TensorMap;

use footprint::Footprint;
use vision_tower::VisionTower;
use weights::Weights;

pub use affine::{AffineGradients, AffineParameters, NormAffine};
pub(crate) use affine::{square_sum, square_sum_on_device, to_host, to_host_together};
pub use precision::Precision;
pub use text_encoder::{Context, Prompts, TextEncoder};

/// Why a model cannot be built from a set of tensors.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A tensor that the architecture needs is not there.
    #[error("the checkpoint has no tensor `{name}`")]
    MissingTensor {
        /// OpenAI name.
        name: String,
    },
    /// A tensor has another shape than the architecture says.
    #[error("tensor `{name}`: expected shape {expected:?}, found {found:?}")]
    Shape {
        /// OpenAI name.
        name: String,
        /// Shape that follows from the configuration.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
    },
    /// Only the fused kernels know other precisions than f32.
    #[error("{precision} is available on the CPU only")]
    Precision {
        /// What was asked for.
        precision: Precision,
    },
    /// Blocks that are composed of ordinary operations know f32 only.
    #[error("the blocks of this image tower run in f32, not in {precision}")]
    BlockPrecision {
        /// What was asked for.
        precision: Precision,
    },
    /// The device bounds the size of a tensor, and the model needs a larger one.
    #[error("{what} takes {bytes} bytes, and the device holds at most {limit} in one tensor")]
    TooLargeForDevice {
        /// The tensor, or what it is for.
        what: String,
        /// What it takes.
        bytes: u64,
        /// What the device allows.
        limit: u64,
    },
    /// The kernels cannot run on the instruction set that the user asks for.
    #[error(transparent)]
    InstructionSet(ueo_kernels::InstructionSetError),
    /// The kernels refuse the architecture.
    #[error("the kernels cannot run this architecture")]
    Kernel(#[source] ueo_kernels::ShapeError),
    /// A prompt does not fit the text encoder.
    #[error("prompt {index} has {found} tokens, but the text encoder takes at most {limit}")]
    PromptTooLong {
        /// Position of the prompt in its list.
        index: usize,
        /// Tokens including `[SOS]`, context and `[EOS]`.
        found: usize,
        /// Context length of the checkpoint.
        limit: usize,
    },
    /// A token does not exist in the checkpoint's vocabulary.
    #[error("token id {token} is outside of the checkpoint's vocabulary of {vocab_size} tokens")]
    TokenOutOfRange {
        /// The offending id.
        token: u32,
        /// Rows of the token embedding.
        vocab_size: usize,
    },
}

/// What runs the residual blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Ordinary Burn operations, on any device: the reference.
    Composed,
    /// Fused kernels with a hand-written backward pass, on the CPU.
    Fused,
}

impl Engine {
    /// The fastest engine of a device.
    pub fn of(device: &Device) -> Self {
        match device.as_dispatch() {
            DispatchDevice::Flex(_) => Self::Fused,
            #[allow(unreachable_patterns, reason = "other devices are optional features")]
            _ => Self::Composed,
        }
    }
}

/// A CLIP model with frozen weights.
#[derive(Debug)]
pub struct Clip {
    config: ClipConfig,
    device: Device,
    vision: Box<dyn VisionTower>,
    text: TextEncoder,
    zero_shot_affine: AffineParameters,
    logit_scale: f64,
    logit_bias: Option<f64>,
    precision: Precision,
    images_at_once: Option<usize>,
}

impl Clip {
    /// Builds both towers from a checkpoint, moving its tensors onto `device`.
    ///
    /// # Errors
    ///
    /// [`ModelError::MissingTensor`] and [`ModelError::Shape`] when tensors and configuration do not agree.
    pub fn from_checkpoint(checkpoint: Checkpoint, device: &Device) -> Result<Self, ModelError> {
        Self::from_tensors(checkpoint.config, checkpoint.tensors, device)
    }

    /// Builds both towers from a configuration and tensors in OpenAI's naming.
    ///
    /// # Errors
    ///
    /// As [`Clip::from_checkpoint`].
    pub fn from_tensors(
        config: ClipConfig,
        tensors: TensorMap,
        device: &Device,
    ) -> Result<Self, ModelError> {
        Self::with_engine(config, tensors, device, Engine::of(device))
    }

    /// As [`Clip::from_tensors`], with the frozen matrices in a chosen precision.
    ///
    /// # Errors
    ///
    /// As [`Clip::from_checkpoint`], and [`ModelError::Precision`] where the device offers f32 only.
    pub fn with_precision(
        config: ClipConfig,
        tensors: TensorMap,
        device: &Device,
        precision: Precision,
    ) -> Result<Self, ModelError> {
        let engine = Engine::of(device);
        if engine == Engine::Composed && precision != Precision::F32 {
            return Err(ModelError::Precision { precision });
        }
        Self::build(config, tensors, device, engine, precision)
    }

    /// As [`Clip::from_tensors`], with a chosen engine.
    ///
    /// # Errors
    ///
    /// As [`Clip::from_checkpoint`].
    ///
    /// # Panics
    ///
    /// When the engine does not run on the device.
    pub fn with_engine(
        config: ClipConfig,
        tensors: TensorMap,
        device: &Device,
        engine: Engine,
    ) -> Result<Self, ModelError> {
        assert!(
            engine == Engine::Composed || Engine::of(device) == Engine::Fused,
            "the fused kernels run on the CPU only"
        );
        Self::build(config, tensors, device, engine, Precision::F32)
    }

    fn build(
        config: ClipConfig,
        mut tensors: TensorMap,
        device: &Device,
        engine: Engine,
        precision: Precision,
    ) -> Result<Self, ModelError> {
        let mut weights = Weights::new(&mut tensors, device, engine, precision);
        let logit_scale = weights.take_host("logit_scale", &[])?.data[0];
        let logit_bias = match config.has_logit_bias() {
            true => Some(f64::from(weights.take_host("logit_bias", &[])?.data[0])),
            false => None,
        };
        let text = TextEncoder::new(&config.text, config.embed_dim, &mut weights)?;
        let (vision, zero_shot_affine) =
            vision_tower::build(&config.vision, config.embed_dim, &mut weights)?;
        let mut clip = Self {
            config,
            device: device.clone(),
            vision,
            text,
            zero_shot_affine,
            logit_scale: f64::from(logit_scale).exp(),
            logit_bias,
            precision,
            images_at_once: None,
        };
        if let Some(capacity) = capacity(device) {
            clip.images_at_once = Some(clip.footprint().images_at_once(capacity)?);
        }
        Ok(clip)
    }

    /// What an image takes in the device's memory, estimated.
    fn footprint(&self) -> Footprint {
        let blocks = (0..self.image_blocks()).map(|block| self.block_input_shape(block));
        match self.config.vision {
            VisionConfig::ResNet(_) | VisionConfig::ConvNext(_) | VisionConfig::ViTamin(_) => {
                Footprint::of_convolutions(blocks)
            }
            _ => Footprint::of_attention(blocks),
        }
    }

    /// The architecture.
    pub fn config(&self) -> &ClipConfig {
        &self.config
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The factor on the cosines, `exp(logit_scale)`; 100 in OpenAI's checkpoints.
    pub fn logit_scale(&self) -> f64 {
        self.logit_scale
    }

    /// What is added to the scaled cosines before the logistic function, in models that were trained with it (SigLIP).
    pub fn logit_bias(&self) -> Option<f64> {
        self.logit_bias
    }

    /// The checkpoint's own affine parameters.
    pub fn zero_shot_affine(&self) -> &AffineParameters {
        &self.zero_shot_affine
    }

    /// The text encoder.
    pub fn text(&self) -> &TextEncoder {
        &self.text
    }

    /// Encodes images.
    ///
    /// # Shapes
    ///
    /// - `pixels`: `[batch, 3, image_size, image_size]`, normalized
    /// - result: `[batch, embed_dim]`, not normalized
    pub fn image_features(&self, pixels: Tensor<4>, affine: &AffineParameters) -> Tensor<2> {
        self.vision.forward(pixels, affine)
    }

    /// Images whose backward pass the device has memory for, estimated from its limits; `None` where nothing bounds them but the
    /// memory of the machine.
    pub fn images_at_once(&self) -> Option<usize> {
        self.images_at_once
    }

    /// Number format of the frozen matrices.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Whether the same model can be built with its frozen matrices in another number format, on the CPU.
    pub fn offers(&self, precision: Precision) -> bool {
        self.vision.offers(precision)
    }

    /// Residual blocks of the image tower: a transformer's blocks, the ResNet's bottlenecks, or both in turn.
    pub fn image_blocks(&self) -> usize {
        self.vision.blocks()
    }

    /// Position in [`AffineParameters::norms`] of the first normalization layer of a block of the image tower.
    ///
    /// # Panics
    ///
    /// When there is no such block.
    pub fn first_norm(&self, block: usize) -> usize {
        assert!(block < self.image_blocks(), "there is a block {block}");
        self.vision.first_norm(block)
    }

    /// Shape of what enters a block of the image tower for one image: tokens or positions, and their width.
    ///
    /// # Panics
    ///
    /// When there is no such block.
    pub fn block_input_shape(&self, block: usize) -> [usize; 2] {
        self.vision.block_input_shape(block)
    }

    /// The first half of [`Self::image_features`]: what enters a block of the image tower. There is no graph behind it.
    ///
    /// In bf16 it is rounded to bf16, so that it can be kept in half the memory and gives the same results when it was kept.
    ///
    /// # Shapes
    ///
    /// - `pixels`: `[batch, 3, image_size, image_size]`, normalized
    /// - result: `[batch, tokens or positions, width]`, see [`Self::block_input_shape`]
    ///
    /// # Panics
    ///
    /// When there is no such block.
    pub fn block_inputs(
        &self,
        block: usize,
        pixels: Tensor<4>,
        affine: &AffineParameters,
    ) -> Tensor<3> {
        let inputs = self.vision.block_inputs(block, pixels, affine);
        if self.precision != Precision::Bf16 {
            return inputs;
        }
        let (shape, device) = (inputs.dims(), inputs.device());
        let mut values = to_host(&inputs).data;
        for value in &mut values {
            *value = Bf16::round(*value).to_f32();
        }
        Tensor::from_data(TensorData::new(values, shape), &device)
    }

    /// The second half of [`Self::image_features`], from what enters a block.
    ///
    /// # Shapes
    ///
    /// - `inputs`: as [`Self::block_inputs`] gives them
    /// - result: `[batch, embed_dim]`, not normalized
    ///
    /// # Panics
    ///
    /// When there is no such block.
    pub fn features_from_block(
        &self,
        block: usize,
        inputs: Tensor<3>,
        affine: &AffineParameters,
    ) -> Tensor<2> {
        self.vision.forward_from(block, inputs, affine)
    }
}

/// Scales each row to unit L2 norm, as CLIP does before it takes cosines.
///
/// # Shapes
///
/// `[rows, embed_dim]` to the same.
pub fn normalize_rows(features: Tensor<2>) -> Tensor<2> {
    let norm = features.clone().powi_scalar(2).sum_dim(1).sqrt();
    features / norm
}

/// LayerNorm over the last axis.
pub(crate) fn layer_norm(x: Tensor<3>, norm: &NormAffine, epsilon: f64) -> Tensor<3> {
    module::layer_norm(x, norm.weight.clone(), Some(norm.bias.clone()), epsilon)
}

/// Row indices as a tensor, for `select`.
pub(crate) fn row_indices(values: &[usize], device: &Device) -> Tensor<1, Int> {
    // Rows are tokens, prompts or vocabulary entries: far fewer than i32::MAX.
    let values: Vec<i32> = values.iter().map(|&value| value as i32).collect();
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), device)
}
