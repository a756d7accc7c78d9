//! The architecture of a CLIP or SigLIP model, read from a checkpoint's files or inferred from tensor shapes.

use serde::{Deserialize, Serialize};

/// Input pixels per token of a ViTamin, along a side.
pub(super) const VITAMIN_STRIDE: usize = 16;

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
    /// A vision transformer some of whose parts are not CLIP's.
    ModularVit(ModularVitConfig),
    /// timm's ConvNeXt.
    #[serde(rename = "convnext")]
    ConvNext(ConvNextConfig),
    /// timm's ViTamin.
    #[serde(rename = "vitamin")]
    ViTamin(ViTaminConfig),
}

impl VisionConfig {
    /// Side of the square input image in pixels.
    pub fn image_size(&self) -> usize {
        match self {
            Self::Vit(vit) | Self::Siglip(vit) => vit.image_size,
            Self::ModularVit(modular) => modular.vit.image_size,
            Self::ResNet(resnet) => resnet.image_size,
            Self::ConvNext(convnext) => convnext.image_size,
            Self::ViTamin(vitamin) => vitamin.image_size,
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

/// A vision transformer put together of parts: those of CLIPA, MobileCLIP, EVA and the Perception Encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModularVitConfig {
    /// Sizes.
    #[serde(flatten)]
    pub vit: VitConfig,
    /// What makes patches of an image.
    pub stem: Stem,
    /// The token that stands in front of the patches.
    pub class_token: ClassToken,
    /// Whether the tokens are normalized in front of the blocks (`visual.ln_pre`).
    pub normalized_tokens: bool,
    /// What the residual blocks are.
    pub blocks: VitBlocks,
    /// What one feature is made of.
    pub pooling: Pooling,
    /// Whether something is added behind the projection.
    pub projection_bias: bool,
}

/// What makes patches of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stem {
    /// One convolution without bias, as in CLIP.
    Patches,
    /// One convolution with a bias.
    BiasedPatches,
    /// MobileCLIP's: three convolutions of cells that do not overlap (4, 2 and 2 to a side, so patches of 16), the first two with
    /// BatchNorm and exact GELU behind them and a quarter of the width.
    Convolutions,
}

/// The token that stands in front of the patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassToken {
    /// With a position of its own, as in CLIP.
    Positioned,
    /// Without a position.
    Plain,
    /// There is none.
    Absent,
}

/// What the residual blocks of a vision transformer are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum VitBlocks {
    /// CLIP's: a LayerNorm in front of attention and of the perceptron.
    PreNorm,
    /// CLIP's, with queries and keys rotated by the patches' positions.
    Rotary {
        /// The rotation.
        rotary: Rotary,
    },
    /// EVA-02's: rotated, with a perceptron whose hidden layer is multiplied by SiLU gates, and a LayerNorm more in front of
    /// attention's and the perceptron's last matrix. Keys have no bias.
    Gated {
        /// The rotation.
        rotary: Rotary,
    },
    /// A LayerNorm behind attention and behind the perceptron, before their results are added.
    PostNorm,
}

/// Rotation of queries and keys by a patch's row and column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotary {
    /// Patches to a side on which positions are counted one by one; other grids are stretched onto it.
    pub reference_side: usize,
    /// The number of the first row and column.
    pub first: usize,
    /// Whether the first half of the frequencies belongs to rows or to columns.
    pub order: RotaryOrder,
}

/// What the first half of the frequencies of a rotation belongs to; the second half belongs to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RotaryOrder {
    /// Rows.
    RowsFirst,
    /// Columns.
    ColumnsFirst,
}

/// What one feature of an image is made of, behind the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Pooling {
    /// The class token, normalized.
    ClassToken,
    /// The average of the patches, normalized.
    Average,
    /// Attention of a learned query to all tokens, which were normalized, and a residual perceptron.
    Attention {
        /// Heads of that attention.
        heads: usize,
        /// Channels of the hidden layer of that perceptron.
        mlp_width: usize,
    },
}

/// ConvNeXt: patches of four pixels, then four stages of residual blocks, each a depthwise convolution, LayerNorm and a perceptron
/// with exact GELU; LayerNorm and a halving of the map between stages; the mean over positions, LayerNorm and a [`FeatureHead`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConvNextConfig {
    /// Side of the square input image in pixels.
    pub image_size: usize,
    /// Residual blocks per stage.
    pub layers: [usize; 4],
    /// Channels per stage. The perceptrons are four times as wide.
    pub widths: [usize; 4],
    /// Added to the variance in every LayerNorm.
    pub layer_norm_epsilon: f64,
    /// From the pooled map to the feature.
    pub head: FeatureHead,
}

/// ViTamin: a stem of two convolutions, two stages of inverted bottlenecks that halve the map each, a convolution to tokens at a
/// sixteenth of the image's side, transformer blocks with gated perceptrons, the mean over tokens, LayerNorm and a [`FeatureHead`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ViTaminConfig {
    /// Side of the square input image in pixels.
    pub image_size: usize,
    /// Residual blocks of the two convolutional stages.
    pub layers: [usize; 2],
    /// Channels of the two convolutional stages; the stem has those of the first. Bottlenecks are four times as wide inside.
    pub widths: [usize; 2],
    /// The transformer blocks; their perceptrons are gated.
    pub transformer: TransformerConfig,
    /// Whether a learned position is added to each token.
    pub has_positions: bool,
    /// From the pooled tokens to the feature.
    pub head: FeatureHead,
}

impl ViTaminConfig {
    /// Tokens of an image.
    pub fn tokens(&self) -> usize {
        (self.image_size / VITAMIN_STRIDE).pow(2)
    }
}

/// What open_clip puts behind an image tower of timm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum FeatureHead {
    /// A matrix.
    Linear {
        /// Whether something is added to its product.
        bias: bool,
    },
    /// A perceptron with exact GELU, twice as wide inside as the feature.
    Perceptron {
        /// Whether something is added to its last product.
        bias: bool,
    },
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
    #[serde(default, skip_serializing_if = "is_default")]
    pub architecture: TextArchitecture,
}

/// What the tokens of a text see of each other, and where its feature is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum TextArchitecture {
    /// CLIP: a token sees those before it, the feature is read at `[EOS]`, its projection has no bias.
    #[default]
    Causal,
    /// SigLIP and others: every token sees all, padding up to the context length included.
    Padded {
        /// The token that fills a text up.
        padding_token: u32,
        /// Where the feature is read.
        #[serde(default, skip_serializing_if = "is_default")]
        read: TextRead,
        /// What makes a feature of what was read.
        #[serde(default, skip_serializing_if = "is_default")]
        projection: TextProjection,
    },
}

/// Where the feature of a padded text is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextRead {
    /// At the last token, whatever it is, as in SigLIP.
    #[default]
    Last,
    /// At `[EOS]`.
    EndOfText,
}

/// What makes a feature of the token of a text that was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextProjection {
    /// A matrix and a bias, as in SigLIP.
    #[default]
    Affine,
    /// A matrix, as in CLIP.
    Linear,
    /// Nothing: the text tower is as wide as the features.
    None,
}

impl TextArchitecture {
    /// SigLIP's, with its padding token.
    pub fn siglip(padding_token: u32) -> Self {
        Self::Padded {
            padding_token,
            read: TextRead::default(),
            projection: TextProjection::default(),
        }
    }

    /// What makes a feature of the token that is read.
    pub fn projection(self) -> TextProjection {
        match self {
            Self::Causal => TextProjection::Linear,
            Self::Padded { projection, .. } => projection,
        }
    }
}

/// A field that a later version added is left out where it says what was so before.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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
