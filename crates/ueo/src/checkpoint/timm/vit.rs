//! Plain vision transformers of timm (`vision_transformer.py`) with a class token, and MobileCLIP's with its stem of convolutions.

use crate::checkpoint::assemble::Recipe;
use crate::checkpoint::json::Section;
use crate::checkpoint::{
    Activation, CheckpointError, ClassToken, ModularVitConfig, Pooling, Stem, TransformerConfig,
    VisionConfig, VitBlocks, VitConfig,
};

use super::{TRUNK, TimmTower};

/// Epsilons of timm's LayerNorm, and of the towers that were made for CLIP.
const TIMM_EPSILON: f64 = 1e-6;
const CLIP_EPSILON: f64 = 1e-5;

/// A tower as timm registers it.
struct Plain {
    name: &'static str,
    patch_size: usize,
    image_size: usize,
    transformer: TransformerConfig,
}

/// Towers with an epsilon: patch, input, width, blocks, heads, perceptron, activation.
macro_rules! towers {
    ($epsilon:expr, $($name:literal: $patch:literal, $image:literal, $width:literal, $layers:literal, $heads:literal, $mlp:literal, $activation:ident;)*) => {
        &[$(Plain {
            name: $name,
            patch_size: $patch,
            image_size: $image,
            transformer: TransformerConfig {
                width: $width,
                layers: $layers,
                heads: $heads,
                mlp_width: $mlp,
                activation: Activation::$activation,
                layer_norm_epsilon: $epsilon,
            },
        }),*]
    };
}

/// timm 1.0.31: towers in front of whose blocks the tokens are normalized.
const CLIP_TOWERS: &[Plain] = towers! { CLIP_EPSILON,
    "vit_small_patch16_clip_224": 16, 224, 384, 12, 6, 1536, Gelu;
    "vit_base_patch32_clip_224": 32, 224, 768, 12, 12, 3072, Gelu;
    "vit_base_patch32_clip_256": 32, 256, 768, 12, 12, 3072, Gelu;
    "vit_base_patch32_clip_quickgelu_224": 32, 224, 768, 12, 12, 3072, QuickGelu;
    "vit_base_patch16_clip_224": 16, 224, 768, 12, 12, 3072, Gelu;
    "vit_base_patch16_clip_quickgelu_224": 16, 224, 768, 12, 12, 3072, QuickGelu;
    "vit_base_patch16_plus_clip_240": 16, 240, 896, 12, 14, 3584, Gelu;
    "vit_large_patch14_clip_224": 14, 224, 1024, 24, 16, 4096, Gelu;
    "vit_large_patch14_clip_336": 14, 336, 1024, 24, 16, 4096, Gelu;
    "vit_large_patch14_clip_quickgelu_224": 14, 224, 1024, 24, 16, 4096, QuickGelu;
    "vit_large_patch14_clip_quickgelu_336": 14, 336, 1024, 24, 16, 4096, QuickGelu;
    "vit_huge_patch14_clip_224": 14, 224, 1280, 32, 16, 5120, Gelu;
    "vit_huge_patch14_clip_336": 14, 336, 1280, 32, 16, 5120, Gelu;
    "vit_huge_patch14_clip_378": 14, 378, 1280, 32, 16, 5120, Gelu;
    "vit_huge_patch14_clip_quickgelu_224": 14, 224, 1280, 32, 16, 5120, QuickGelu;
    "vit_giant_patch14_clip_224": 14, 224, 1408, 40, 16, 6144, Gelu;
    "vit_gigantic_patch14_clip_224": 14, 224, 1664, 48, 16, 8192, Gelu;
};

/// MobileCLIP's.
const CONVOLUTION_TOWERS: &[Plain] = towers! { TIMM_EPSILON,
    "vit_base_mci_224": 16, 224, 768, 12, 12, 3072, Gelu;
};

/// Those of the fixtures, which are in no list of timm's.
#[cfg(test)]
const FIXTURES: [&[Plain]; 2] = [
    towers! { CLIP_EPSILON, "vit_fixture_patch8_clip_32": 8, 32, 32, 2, 2, 64, Gelu; },
    towers! { TIMM_EPSILON, "vit_fixture_mci_64": 16, 64, 32, 2, 2, 64, Gelu; },
];
#[cfg(not(test))]
const FIXTURES: [&[Plain]; 2] = [&[], &[]];

/// The tower of a name.
pub(super) fn tower(
    name: &str,
    vision: &Section<'_>,
) -> Result<Option<TimmTower>, CheckpointError> {
    let find = |towers: &'static [Plain], fixtures: &'static [Plain]| {
        let mut all = towers.iter().chain(fixtures);
        all.find(|tower| tower.name == name)
    };
    let [clip_fixtures, convolution_fixtures] = FIXTURES;
    let found = (
        find(CLIP_TOWERS, clip_fixtures),
        find(CONVOLUTION_TOWERS, convolution_fixtures),
    );
    let (plain, has_convolutions) = match found {
        (Some(plain), _) => (plain, false),
        (None, Some(plain)) => (plain, true),
        (None, None) => return Ok(None),
    };
    // The trunk's own head is the projection.
    vision.must_be("timm_pool", "token")?;
    vision.must_be("timm_proj", "")?;
    let config = ModularVitConfig {
        vit: VitConfig {
            image_size: plain.image_size,
            patch_size: plain.patch_size,
            transformer: plain.transformer.clone(),
        },
        stem: match has_convolutions {
            true => Stem::Convolutions,
            false => Stem::Patches,
        },
        class_token: match has_convolutions {
            true => ClassToken::Plain,
            false => ClassToken::Positioned,
        },
        normalized_tokens: !has_convolutions,
        blocks: VitBlocks::PreNorm,
        pooling: Pooling::ClassToken,
        projection_bias: true,
    };
    Ok(Some(TimmTower {
        vision: VisionConfig::ModularVit(config),
        recipes: recipe,
    }))
}

/// Where timm keeps a parameter of its vision transformers; queries, keys and values lie together there too.
pub(super) fn recipe(name: &str, shape: &[usize]) -> Recipe {
    let one = |name: &str| Recipe::Copy(format!("{TRUNK}.{name}"));
    match name {
        "class_embedding" => {
            return Recipe::Reshape(format!("{TRUNK}.cls_token"), vec![1, 1, shape[0]]);
        }
        "positional_embedding" => {
            return Recipe::Reshape(format!("{TRUNK}.pos_embed"), [&[1], shape].concat());
        }
        "proj" => return Recipe::Transpose(format!("{TRUNK}.head.weight")),
        "proj_bias" => return one("head.bias"),
        _ => {}
    }
    if let Some(part) = name.strip_prefix("stem.") {
        return one(&format!("patch_embed.backbone.{part}"));
    }
    if let Some(part) = name.strip_prefix("conv1.") {
        return one(&format!("patch_embed.proj.{part}"));
    }
    if let Some(part) = name.strip_prefix("transformer.resblocks.") {
        return one(&format!("blocks.{}", in_block(part)));
    }
    one(&name
        .replace("ln_pre.", "norm_pre.")
        .replace("ln_post.", "norm."))
}

/// A parameter's place in the blocks: their number and what follows.
pub(super) fn in_block(part: &str) -> String {
    part.replace("ln_1.", "norm1.")
        .replace("ln_2.", "norm2.")
        .replace("attn.in_proj_", "attn.qkv.")
        .replace("attn.out_proj.", "attn.proj.")
        .replace("mlp.c_fc.", "mlp.fc1.")
        .replace("mlp.c_proj.", "mlp.fc2.")
}
