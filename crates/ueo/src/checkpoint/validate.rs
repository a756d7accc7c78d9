//! Limits on what a configuration may say, checked before anything is computed from it.

use std::path::Path;

use crate::image::Preprocessing;

use super::config::VITAMIN_STRIDE;
use super::timm::convnext;
use super::{
    CheckpointError, ClipConfig, ModularVitConfig, Pooling, Stem, TextArchitecture, TextProjection,
    TransformerConfig, VisionConfig, VitBlocks,
};

/// Generous bounds: the largest published CLIP has 64 layers, a width of 8,192 (MLP 32,768) and an input of 1,024 pixels.
const MAX_LAYERS: usize = 1_000;
const MAX_WIDTH: usize = 1 << 20;
const MAX_IMAGE_SIZE: usize = 1 << 14;
const MAX_VOCAB_SIZE: usize = 1 << 24;
/// Downsampling of CLIP's ResNets.
const RESNET_STRIDE: usize = 32;

/// Largest magnitude of a pixel's value; CLIP's own reach 2.7, pixels that are not rescaled 255.
const MAX_PIXEL_VALUE: f32 = 1e6;

/// Checks that black and white pixels become numbers that a model can compute with.
pub(super) fn check_pixel_values(
    preprocessing: &Preprocessing,
    path: &Path,
) -> Result<(), CheckpointError> {
    for (mean, std) in preprocessing.mean.iter().zip(preprocessing.std) {
        let largest = [0.0, 1.0].map(|pixel| ((pixel - mean) / std).abs());
        if !largest.iter().all(|value| *value <= MAX_PIXEL_VALUE) {
            return Err(CheckpointError::bad_value(
                path,
                "mean and standard deviation",
                format!("such that pixels become numbers up to {MAX_PIXEL_VALUE}"),
                format!("{mean} and {std}"),
            ));
        }
    }
    Ok(())
}

/// Checks that the numbers of `config` are possible together.
pub(super) fn validate(config: &ClipConfig, path: &Path) -> Result<(), CheckpointError> {
    let check = |what: &str, value: usize, limit: usize| match value {
        1.. if value <= limit => Ok(()),
        _ => Err(CheckpointError::malformed(
            path,
            format!("{what} between 1 and {limit}"),
            value.to_string(),
        )),
    };
    let divides = |what: &str, value: usize, divisor: usize| {
        if divisor > 0 && value.is_multiple_of(divisor) {
            return Ok(());
        }
        Err(CheckpointError::malformed(
            path,
            what,
            format!("{value} and {divisor}"),
        ))
    };
    let epsilon = |tower: &str, epsilon: f64| {
        if epsilon > 0.0 && epsilon < 1.0 {
            return Ok(());
        }
        Err(CheckpointError::malformed(
            path,
            format!("a {tower} LayerNorm epsilon between 0 and 1"),
            epsilon.to_string(),
        ))
    };
    let transformer = |tower: &str, config: &TransformerConfig| {
        check(&format!("{tower} layers"), config.layers, MAX_LAYERS)?;
        check(&format!("{tower} width"), config.width, MAX_WIDTH)?;
        check(&format!("{tower} MLP width"), config.mlp_width, MAX_WIDTH)?;
        let what = format!("a {tower} width that is a multiple of the number of heads");
        divides(&what, config.width, config.heads)?;
        epsilon(tower, config.layer_norm_epsilon)
    };
    let stages = |layers: &[usize], widths: &[usize]| -> Result<(), CheckpointError> {
        for (&blocks, &width) in layers.iter().zip(widths) {
            check("blocks per stage", blocks, MAX_LAYERS)?;
            check("channels per stage", width, MAX_WIDTH)?;
        }
        Ok(())
    };
    check("the embedding width", config.embed_dim, MAX_WIDTH)?;
    check("the context length", config.text.context_length, MAX_WIDTH)?;
    check(
        "the vocabulary size",
        config.text.vocab_size,
        MAX_VOCAB_SIZE,
    )?;
    transformer("text", &config.text.transformer)?;
    if config.text.architecture.projection() == TextProjection::None
        && config.text.transformer.width != config.embed_dim
    {
        return Err(CheckpointError::malformed(
            path,
            format!(
                "a text tower without a projection as wide as the embedding ({})",
                config.embed_dim
            ),
            config.text.transformer.width.to_string(),
        ));
    }
    if let TextArchitecture::Padded { padding_token, .. } = config.text.architecture
        && padding_token as usize >= config.text.vocab_size
    {
        return Err(CheckpointError::malformed(
            path,
            format!(
                "a padding token within the vocabulary of {}",
                config.text.vocab_size
            ),
            padding_token.to_string(),
        ));
    }
    check("the image size", config.vision.image_size(), MAX_IMAGE_SIZE)?;
    match &config.vision {
        VisionConfig::Vit(vit) | VisionConfig::Siglip(vit) => {
            check("the patch size", vit.patch_size, vit.image_size)?;
            transformer("vision", &vit.transformer)
        }
        VisionConfig::ModularVit(modular) => {
            let ModularVitConfig {
                vit, stem, blocks, ..
            } = modular;
            check("the patch size", vit.patch_size, vit.image_size)?;
            transformer("vision", &vit.transformer)?;
            if *stem == Stem::Convolutions {
                let patch = "patches of 16 behind a stem of convolutions";
                check(patch, vit.patch_size, 16)?;
                divides(patch, vit.patch_size, 16)?;
                divides(
                    "a vision width that is a multiple of 4",
                    vit.transformer.width,
                    4,
                )?;
            }
            if let VitBlocks::Rotary { rotary } | VitBlocks::Gated { rotary } = blocks {
                let side = "the patches to a side that positions are counted on";
                check(side, rotary.reference_side, MAX_IMAGE_SIZE)?;
                divides(
                    "heads whose width is a multiple of 4, to be rotated",
                    vit.transformer.width / vit.transformer.heads,
                    4,
                )?;
            }
            if let Pooling::Attention { heads, mlp_width } = modular.pooling {
                check("the pooling's MLP width", mlp_width, MAX_WIDTH)?;
                divides(
                    "a vision width that is a multiple of the pooling's heads",
                    vit.transformer.width,
                    heads,
                )?;
            }
            Ok(())
        }
        VisionConfig::ConvNext(config) => {
            stages(&config.layers, &config.widths)?;
            epsilon("vision", config.layer_norm_epsilon)?;
            divides(
                "a ConvNeXt image size that is a multiple of 32",
                config.image_size,
                convnext::STRIDE,
            )
        }
        VisionConfig::ViTamin(config) => {
            stages(&config.layers, &config.widths)?;
            transformer("vision", &config.transformer)?;
            divides(
                "a ViTamin image size that is a multiple of 16",
                config.image_size,
                VITAMIN_STRIDE,
            )
        }
        VisionConfig::ResNet(resnet) => {
            for blocks in resnet.layers {
                check("blocks per stage", blocks, MAX_LAYERS)?;
            }
            check("vision width", resnet.width, MAX_WIDTH / RESNET_STRIDE)?;
            divides("an even ResNet width", resnet.width, 2)?;
            let channels = resnet.width * RESNET_STRIDE;
            divides(
                "attention pool channels that are a multiple of the number of heads",
                channels,
                resnet.heads,
            )?;
            divides(
                "a ResNet image size that is a multiple of 32",
                resnet.image_size,
                RESNET_STRIDE,
            )
        }
    }
}
