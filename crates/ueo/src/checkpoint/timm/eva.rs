//! Vision transformers of timm's `eva.py`: EVA, EVA-02, the Perception Encoder.

use crate::checkpoint::assemble::Recipe;
use crate::checkpoint::json::Section;
use crate::checkpoint::{
    Activation, CheckpointError, ClassToken, ModularVitConfig, Pooling, Rotary, RotaryOrder, Stem,
    TransformerConfig, VisionConfig, VitBlocks, VitConfig,
};

use super::{TRUNK, TimmTower, vit};

/// Epsilons of timm's LayerNorm, and of the Perception Encoder's.
const EVA_EPSILON: f64 = 1e-6;
const PERCEPTION_EPSILON: f64 = 1e-5;
/// Patches to a side of the EVA-02s that were trained first; others are stretched onto it.
const EVA_REFERENCE_SIDE: usize = 16;
/// Of the Perception Encoder's attention pooling.
const PERCEPTION_POOL_HEADS: usize = 8;
const PERCEPTION_POOL_RATIO: usize = 4;

/// What towers share.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// CLIP's blocks, the patches with a bias; keys have no bias.
    Eva,
    /// EVA-02's own blocks.
    Eva02,
    /// EVA-02's largest, with its LayerNorms behind.
    Enormous,
    /// The Perception Encoder's.
    Perception,
    /// Its largest, which has no class token.
    PerceptionWithoutClassToken,
}

/// A tower as timm registers it.
struct Eva {
    name: &'static str,
    patch_size: usize,
    image_size: usize,
    width: usize,
    layers: usize,
    heads: usize,
    mlp_width: usize,
    kind: Kind,
}

/// Patch, input, width, blocks, heads, perceptron, kind.
macro_rules! towers {
    ($($name:literal: $patch:literal, $image:literal, $width:literal, $layers:literal, $heads:literal, $mlp:literal, $kind:ident;)*) => {
        &[$(Eva {
            name: $name,
            patch_size: $patch,
            image_size: $image,
            width: $width,
            layers: $layers,
            heads: $heads,
            mlp_width: $mlp,
            kind: Kind::$kind,
        }),*]
    };
}

/// timm 1.0.31.
const TOWERS: &[Eva] = towers! {
    "eva_giant_patch14_224": 14, 224, 1408, 40, 16, 6144, Eva;
    "eva_giant_patch14_clip_224": 14, 224, 1408, 40, 16, 6144, Eva;
    "eva02_base_patch16_clip_224": 16, 224, 768, 12, 12, 2048, Eva02;
    "eva02_large_patch14_clip_224": 14, 224, 1024, 24, 16, 2730, Eva02;
    "eva02_large_patch14_clip_336": 14, 336, 1024, 24, 16, 2730, Eva02;
    "eva02_enormous_patch14_clip_224": 14, 224, 1792, 64, 16, 15360, Enormous;
    "vit_pe_core_tiny_patch16_384": 16, 384, 192, 12, 3, 768, Perception;
    "vit_pe_core_small_patch16_384": 16, 384, 384, 12, 6, 1536, Perception;
    "vit_pe_core_base_patch16_224": 16, 224, 768, 12, 12, 3072, Perception;
    "vit_pe_core_large_patch14_336": 14, 336, 1024, 24, 16, 4096, Perception;
    "vit_pe_core_gigantic_patch14_448": 14, 448, 1536, 50, 16, 8960, PerceptionWithoutClassToken;
};

/// Those of the fixtures, which are in no list of timm's.
#[cfg(test)]
const FIXTURES: &[Eva] = towers! {
    "eva_fixture_patch8_32": 8, 32, 32, 2, 2, 48, Eva;
    "eva02_fixture_patch8_clip_32": 8, 32, 32, 2, 2, 48, Eva02;
    "eva02_fixture_enormous_patch8_clip_32": 8, 32, 32, 2, 2, 48, Enormous;
    "vit_pe_fixture_patch8_32": 8, 32, 32, 2, 2, 48, Perception;
    "vit_pe_fixture_gigantic_patch8_32": 8, 32, 32, 2, 2, 48, PerceptionWithoutClassToken;
};
#[cfg(not(test))]
const FIXTURES: &[Eva] = &[];

/// The tower of a name.
pub(super) fn tower(
    name: &str,
    vision: &Section<'_>,
) -> Result<Option<TimmTower>, CheckpointError> {
    let mut towers = TOWERS.iter().chain(FIXTURES);
    let Some(eva) = towers.find(|tower| tower.name == name) else {
        return Ok(None);
    };
    let &Eva {
        patch_size,
        image_size,
        width,
        layers,
        heads,
        mlp_width,
        kind,
        ..
    } = eva;
    let is_perception = matches!(kind, Kind::Perception | Kind::PerceptionWithoutClassToken);
    // The trunk's own head is the projection.
    vision.must_be("timm_pool", if is_perception { "map" } else { "token" })?;
    vision.must_be("timm_proj", "")?;
    let side = image_size / patch_size;
    let config = ModularVitConfig {
        vit: VitConfig {
            image_size,
            patch_size,
            transformer: TransformerConfig {
                width,
                layers,
                heads,
                mlp_width,
                activation: Activation::Gelu,
                layer_norm_epsilon: match is_perception {
                    true => PERCEPTION_EPSILON,
                    false => EVA_EPSILON,
                },
            },
        },
        stem: match is_perception {
            true => Stem::Patches,
            false => Stem::BiasedPatches,
        },
        class_token: match kind {
            Kind::PerceptionWithoutClassToken => ClassToken::Absent,
            _ => ClassToken::Positioned,
        },
        normalized_tokens: is_perception,
        blocks: blocks(kind, side),
        pooling: match is_perception {
            true => Pooling::Attention {
                heads: PERCEPTION_POOL_HEADS,
                mlp_width: PERCEPTION_POOL_RATIO * width,
            },
            false => Pooling::ClassToken,
        },
        projection_bias: true,
    };
    Ok(Some(TimmTower {
        vision: VisionConfig::ModularVit(config),
        recipes: match kind {
            Kind::Eva | Kind::Enormous => recipe_without_key_bias,
            Kind::Eva02 => recipe_of_parts,
            Kind::Perception | Kind::PerceptionWithoutClassToken => recipe_with_pooling,
        },
    }))
}

fn blocks(kind: Kind, side: usize) -> VitBlocks {
    let counted = |first| Rotary {
        reference_side: side,
        first,
        order: RotaryOrder::ColumnsFirst,
    };
    match kind {
        Kind::Eva => VitBlocks::PreNorm,
        Kind::Eva02 => VitBlocks::Gated {
            rotary: Rotary {
                reference_side: EVA_REFERENCE_SIDE,
                first: 0,
                order: RotaryOrder::RowsFirst,
            },
        },
        Kind::Enormous => VitBlocks::PostNorm,
        Kind::Perception => VitBlocks::Rotary { rotary: counted(1) },
        Kind::PerceptionWithoutClassToken => VitBlocks::Rotary { rotary: counted(0) },
    }
}

/// Queries, keys and values as one matrix, with biases of queries and values.
fn recipe_without_key_bias(name: &str, shape: &[usize]) -> Recipe {
    let biases = name
        .strip_prefix("transformer.resblocks.")
        .and_then(|part| part.strip_suffix(".attn.in_proj_bias"));
    match biases {
        Some(block) => {
            let name = |part: &str| format!("{TRUNK}.blocks.{block}.attn.{part}_bias");
            Recipe::WithoutKeys([name("q"), name("v")])
        }
        None => vit::recipe(name, shape),
    }
}

/// Queries, keys and values apart, with biases of queries and values; perceptrons with gates.
fn recipe_of_parts(name: &str, shape: &[usize]) -> Recipe {
    let Some(part) = name.strip_prefix("transformer.resblocks.") else {
        return vit::recipe(name, shape);
    };
    let of = |part: &str, kind: &str| format!("{TRUNK}.blocks.{part}.{kind}");
    if let Some(block) = part.strip_suffix(".attn.in_proj_weight") {
        let parts = ["q", "k", "v"].map(|kind| of(block, &format!("attn.{kind}_proj.weight")));
        return Recipe::Stack(parts);
    }
    if let Some(block) = part.strip_suffix(".attn.in_proj_bias") {
        let parts = ["q", "v"].map(|kind| of(block, &format!("attn.{kind}_proj.bias")));
        return Recipe::WithoutKeys(parts);
    }
    let part = part
        .replace("attn.ln.", "attn.norm.")
        .replace("mlp.ln.", "mlp.norm.")
        .replace("mlp.c_gate.", "mlp.fc1_g.")
        .replace("mlp.c_fc.", "mlp.fc1_x.");
    Recipe::Copy(format!("{TRUNK}.blocks.{}", vit::in_block(&part)))
}

/// A plain transformer's, and attention pooling.
fn recipe_with_pooling(name: &str, shape: &[usize]) -> Recipe {
    match name.strip_prefix("attn_pool.") {
        Some(part) => super::pooling_recipe(part, shape),
        None => vit::recipe(name, shape),
    }
}
