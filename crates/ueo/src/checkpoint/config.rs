//! The architecture of a CLIP or SigLIP model, read from a checkpoint's files or inferred from tensor shapes.

use serde::{Deserialize, Serialize};

/// Everything needed to build both towers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClipConfig {
    /// Width of the shared embedding space.
    pub embed_dim: usize,
    /// The image encoder.
    pub vision: VisionConfig,
    /// The text encoder.
    pub text: TextConfig,
}

impl ClipConfig {
    /// Whether the model was trained with the logistic function of scaled cosines and a bias.
    pub fn has_logit_bias(&self) -> bool {
        matches!(self.vision, VisionConfig::Siglip(_))
    }
}

/// The image encoder's architecture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "architecture", rename_all = "kebab-case")]
pub enum VisionConfig {
    /// Vision transformer.
    Vit(VitConfig),
    /// CLIP's modified ResNet.
    ResNet(ResNetConfig),
    /// SigLIP's vision transformer: without a class token, pooled by attention.
    Siglip(VitConfig),
}

impl VisionConfig {
    /// Side of the square input image in pixels.
    pub fn image_size(&self) -> usize {
        match self {
            Self::Vit(vit) | Self::Siglip(vit) => vit.image_size,
            Self::ResNet(resnet) => resnet.image_size,
        }
    }
}

/// A vision transformer. The perceptron of SigLIP's pooling head is as those of the blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VitConfig {
    /// Side of the square input image in pixels.
    pub image_size: usize,
    /// Side of a square patch in pixels.
    pub patch_size: usize,
    /// The residual blocks.
    pub transformer: TransformerConfig,
}

/// CLIP's modified ResNet: three-convolution stem, anti-aliased strides, attention pooling.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResNetConfig {
    /// Side of the square input image in pixels.
    pub image_size: usize,
    /// Bottleneck blocks per stage.
    pub layers: [usize; 4],
    /// Channels after the stem (64 in RN50); the attention pool sees 32 times as many.
    pub width: usize,
    /// Heads of the attention pool.
    pub heads: usize,
}

/// The text transformer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextConfig {
    /// Tokens that a prompt may have, `[SOS]` and `[EOS]` included.
    pub context_length: usize,
    /// Rows of the token embedding.
    pub vocab_size: usize,
    /// The residual blocks.
    pub transformer: TransformerConfig,
    /// What the tokens see of each other, and where the feature is read.
    #[serde(default, skip_serializing_if = "TextArchitecture::is_default")]
    pub architecture: TextArchitecture,
}

/// What the tokens of a text see of each other, and where its feature is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum TextArchitecture {
    /// CLIP: a token sees those before it, the feature is read at `[EOS]`, its projection has no bias.
    #[default]
    Causal,
    /// SigLIP: every token sees all, padding up to the context length included; the feature is read at the last token, whatever
    /// it is; its projection has a bias.
    Padded {
        /// The token that fills a text up.
        padding_token: u32,
    },
}

impl TextArchitecture {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A stack of pre-norm residual attention blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransformerConfig {
    /// Channels of the residual stream.
    pub width: usize,
    /// Residual blocks.
    pub layers: usize,
    /// Attention heads; `width` is a multiple of it.
    pub heads: usize,
    /// Channels of the hidden layer of the MLP.
    pub mlp_width: usize,
    /// Activation of the MLP.
    pub activation: Activation,
    /// Added to the variance in every LayerNorm.
    pub layer_norm_epsilon: f64,
}

/// Activation of the MLPs. The wrong choice loses points silently, so it is always decided by the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// x sigmoid(1.702 x), as in OpenAI's weights.
    QuickGelu,
    /// x Phi(x) with the exact normal distribution function, as in most of open_clip's weights.
    Gelu,
    /// x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3)), the approximation of GELU by a hyperbolic tangent, as in SigLIP's weights.
    GeluTanh,
}

impl Activation {
    /// The name as people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::QuickGelu => "QuickGELU",
            Self::Gelu => "exact GELU",
            Self::GeluTanh => "tanh GELU",
        }
    }
}
