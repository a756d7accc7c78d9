//! ViTamin as timm's `vitamin.py` registers it.

use crate::checkpoint::json::Section;
use crate::checkpoint::parameters::List;
use crate::checkpoint::{
    Activation, CheckpointError, FeatureHead, TransformerConfig, ViTaminConfig, VisionConfig,
};

use super::{IMAGE_SIZE, TimmTower};

/// Channels inside a bottleneck, as a multiple of those that leave it.
const EXPANSION: usize = 4;
/// timm's epsilon.
const EPSILON: f64 = 1e-6;

/// An image tower by name.
pub(super) struct Tower {
    pub(super) name: &'static str,
    pub(super) image_size: usize,
    pub(super) layers: [usize; 2],
    pub(super) widths: [usize; 2],
    pub(super) width: usize,
    pub(super) blocks: usize,
    pub(super) heads: usize,
    pub(super) has_positions: bool,
}

/// The towers of one size.
macro_rules! towers {
    ($($name:literal: $image:literal, $first:literal, $second:literal, $width:literal, $blocks:literal, $heads:literal, $positions:literal;)*) => {
        &[$(Tower {
            name: $name,
            image_size: $image,
            layers: [2, 4],
            widths: [$first, $second],
            width: $width,
            blocks: $blocks,
            heads: $heads,
            has_positions: $positions,
        }),*]
    };
}

/// timm 1.0.31. Input, widths of the convolutional stages, width, blocks and heads of the transformer, positions.
const TOWERS: &[Tower] = towers! {
    "vitamin_small_224": 224, 64, 128, 384, 14, 6, true;
    "vitamin_base_224": 224, 128, 256, 768, 14, 12, true;
    "vitamin_large_224": 224, 160, 320, 1024, 31, 16, true;
    "vitamin_large_256": 256, 160, 320, 1024, 31, 16, true;
    "vitamin_large_336": 336, 160, 320, 1024, 31, 16, true;
    "vitamin_large_384": 384, 160, 320, 1024, 31, 16, true;
    "vitamin_large2_224": 224, 160, 320, 1024, 31, 16, true;
    "vitamin_large2_256": 256, 160, 320, 1024, 31, 16, true;
    "vitamin_large2_336": 336, 160, 320, 1024, 31, 16, true;
    "vitamin_large2_384": 384, 160, 320, 1024, 31, 16, true;
    "vitamin_xlarge_256": 256, 192, 384, 1152, 32, 16, false;
    "vitamin_xlarge_336": 336, 192, 384, 1152, 32, 16, false;
    "vitamin_xlarge_384": 384, 192, 384, 1152, 32, 16, false;
};

fn all() -> impl Iterator<Item = &'static Tower> {
    let towers = TOWERS.iter();
    #[cfg(test)]
    let towers = towers.chain(super::tests::VITAMIN_TOWERS);
    towers
}

/// The tower of a name, with an input of any size where it has no positions.
pub(super) fn tower(
    name: &str,
    vision: &Section<'_>,
) -> Result<Option<TimmTower>, CheckpointError> {
    let Some(tower) = all().find(|tower| tower.name == name) else {
        return Ok(None);
    };
    let image_size = match tower.has_positions {
        true => tower.image_size,
        false => vision.square("image_size", IMAGE_SIZE)?,
    };
    let config = tower.config(image_size, super::averaged_head(vision)?);
    Ok(Some(TimmTower {
        vision: VisionConfig::ViTamin(config),
        recipes: super::own_names,
    }))
}

/// The name of a tower; of several with equal tensors, the first.
pub(in crate::checkpoint) fn name(config: &ViTaminConfig) -> Option<&'static str> {
    let fits = |tower: &&Tower| !tower.has_positions || tower.image_size == config.image_size;
    all()
        .filter(fits)
        .find(|tower| tower.config(config.image_size, config.head) == *config)
        .map(|tower| tower.name)
}

impl Tower {
    fn config(&self, image_size: usize, head: FeatureHead) -> ViTaminConfig {
        ViTaminConfig {
            image_size,
            layers: self.layers,
            widths: self.widths,
            transformer: TransformerConfig {
                width: self.width,
                layers: self.blocks,
                heads: self.heads,
                mlp_width: 2 * self.width,
                activation: Activation::Gelu,
                layer_norm_epsilon: EPSILON,
            },
            has_positions: self.has_positions,
            head,
        }
    }
}

/// The tensors of a tower.
pub(in crate::checkpoint) fn parameters(config: &ViTaminConfig, embed_dim: usize, list: &mut List) {
    const TRUNK: &str = "visual.trunk";
    let TransformerConfig {
        width, mlp_width, ..
    } = config.transformer;
    if config.has_positions {
        list.add(format!("{TRUNK}.pos_embed"), [1, config.tokens(), width]);
    }
    let backbone = format!("{TRUNK}.patch_embed.backbone");
    let [first, second] = config.widths;
    convolution(list, &format!("{backbone}.stem.conv1"), [first, 3, 3, 3]);
    list.affine(&format!("{backbone}.stem.norm1"), first);
    convolution(
        list,
        &format!("{backbone}.stem.conv2"),
        [first, first, 3, 3],
    );
    let mut inputs = first;
    for (stage, (&blocks, outputs)) in config.layers.iter().zip(config.widths).enumerate() {
        for block in 0..blocks {
            let name = format!("{backbone}.stages.{stage}.{block}");
            bottleneck(list, &name, inputs, outputs);
            inputs = outputs;
        }
    }
    convolution(
        list,
        &format!("{backbone}.pool.proj"),
        [width, second, 3, 3],
    );
    list.affine(&format!("{backbone}.pool.norm"), second);
    for block in 0..config.transformer.layers {
        let name = format!("{TRUNK}.blocks.{block}");
        list.affine(&format!("{name}.norm1"), width);
        list.linear(&format!("{name}.attn.qkv"), 3 * width, width);
        list.linear(&format!("{name}.attn.proj"), width, width);
        list.affine(&format!("{name}.norm2"), width);
        list.affine(&format!("{name}.mlp.norm"), width);
        list.linear(&format!("{name}.mlp.w0"), mlp_width, width);
        list.linear(&format!("{name}.mlp.w1"), mlp_width, width);
        list.linear(&format!("{name}.mlp.w2"), width, mlp_width);
    }
    list.affine(&format!("{TRUNK}.fc_norm"), width);
    super::head_parameters(config.head, width, embed_dim, list);
}

fn convolution(list: &mut List, name: &str, shape: [usize; 4]) {
    list.add(format!("{name}.weight"), shape);
    list.add(format!("{name}.bias"), [shape[0]]);
}

/// The shortcut has a convolution only where the number of channels changes.
fn bottleneck(list: &mut List, name: &str, inputs: usize, outputs: usize) {
    let inner = EXPANSION * outputs;
    if inputs != outputs {
        convolution(
            list,
            &format!("{name}.shortcut.expand"),
            [outputs, inputs, 1, 1],
        );
    }
    list.affine(&format!("{name}.pre_norm"), inputs);
    convolution(list, &format!("{name}.conv1_1x1"), [inner, inputs, 1, 1]);
    convolution(list, &format!("{name}.conv2_kxk"), [inner, 1, 3, 3]);
    convolution(list, &format!("{name}.conv3_1x1"), [outputs, inner, 1, 1]);
}
