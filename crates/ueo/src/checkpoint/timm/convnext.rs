//! ConvNeXt as timm's `convnext.py` registers it.

use crate::checkpoint::json::Section;
use crate::checkpoint::parameters::List;
use crate::checkpoint::{CheckpointError, ConvNextConfig, FeatureHead, VisionConfig};

use super::{IMAGE_SIZE, TimmTower};

/// Side of the stem's patches in pixels.
pub(in crate::checkpoint) const PATCH_SIZE: usize = 4;
/// Input pixels per position of the last map, along a side.
pub(in crate::checkpoint) const STRIDE: usize = 32;
/// Side of the depthwise convolutions.
const KERNEL: usize = 7;
/// Width of the perceptrons, as a multiple of their stage's.
const EXPANSION: usize = 4;

/// An image tower by name.
pub(super) struct Tower {
    name: &'static str,
    layers: [usize; 4],
    widths: [usize; 4],
    epsilon: f64,
}

/// timm 1.0.31.
const TOWERS: &[Tower] = &[
    tower_of("convnext_tiny", [3, 3, 9, 3], 96, 1e-6),
    tower_of("convnext_small", [3, 3, 27, 3], 96, 1e-6),
    tower_of("convnext_base", [3, 3, 27, 3], 128, 1e-6),
    tower_of("convnext_large", [3, 3, 27, 3], 192, 1e-6),
    tower_of("convnext_xlarge", [3, 3, 27, 3], 256, 1e-6),
    tower_of("convnext_xxlarge", [3, 4, 30, 3], 384, 1e-5),
];

/// Every stage is twice as wide as the one before.
pub(super) const fn tower_of(
    name: &'static str,
    layers: [usize; 4],
    width: usize,
    epsilon: f64,
) -> Tower {
    Tower {
        name,
        layers,
        widths: [width, 2 * width, 4 * width, 8 * width],
        epsilon,
    }
}

fn all() -> impl Iterator<Item = &'static Tower> {
    let towers = TOWERS.iter();
    #[cfg(test)]
    let towers = towers.chain(super::tests::CONVNEXT_TOWERS);
    towers
}

/// The tower of a name. It has no positions, so its input has any size.
pub(super) fn tower(
    name: &str,
    vision: &Section<'_>,
) -> Result<Option<TimmTower>, CheckpointError> {
    let Some(tower) = all().find(|tower| tower.name == name) else {
        return Ok(None);
    };
    let image_size = vision.square("image_size", IMAGE_SIZE)?;
    let config = tower.config(image_size, super::averaged_head(vision)?);
    Ok(Some(TimmTower {
        vision: VisionConfig::ConvNext(config),
        recipes: super::own_names,
    }))
}

/// The name of a tower.
pub(in crate::checkpoint) fn name(config: &ConvNextConfig) -> Option<&'static str> {
    all()
        .find(|tower| tower.config(config.image_size, config.head) == *config)
        .map(|tower| tower.name)
}

impl Tower {
    fn config(&self, image_size: usize, head: FeatureHead) -> ConvNextConfig {
        ConvNextConfig {
            image_size,
            layers: self.layers,
            widths: self.widths,
            layer_norm_epsilon: self.epsilon,
            head,
        }
    }
}

/// The tensors of a tower.
pub(in crate::checkpoint) fn parameters(
    config: &ConvNextConfig,
    embed_dim: usize,
    list: &mut List,
) {
    const TRUNK: &str = "visual.trunk";
    let widths = config.widths;
    list.add(
        format!("{TRUNK}.stem.0.weight"),
        [widths[0], 3, PATCH_SIZE, PATCH_SIZE],
    );
    list.add(format!("{TRUNK}.stem.0.bias"), [widths[0]]);
    list.affine(&format!("{TRUNK}.stem.1"), widths[0]);
    for (stage, (&width, &blocks)) in widths.iter().zip(&config.layers).enumerate() {
        let name = format!("{TRUNK}.stages.{stage}");
        if stage > 0 {
            let inputs = widths[stage - 1];
            list.affine(&format!("{name}.downsample.0"), inputs);
            list.add(format!("{name}.downsample.1.weight"), [width, inputs, 2, 2]);
            list.add(format!("{name}.downsample.1.bias"), [width]);
        }
        for block in 0..blocks {
            let name = format!("{name}.blocks.{block}");
            list.add(format!("{name}.gamma"), [width]);
            list.add(format!("{name}.conv_dw.weight"), [width, 1, KERNEL, KERNEL]);
            list.add(format!("{name}.conv_dw.bias"), [width]);
            list.affine(&format!("{name}.norm"), width);
            list.linear(&format!("{name}.mlp.fc1"), EXPANSION * width, width);
            list.linear(&format!("{name}.mlp.fc2"), width, EXPANSION * width);
        }
    }
    list.affine(&format!("{TRUNK}.head.norm"), widths[3]);
    super::head_parameters(config.head, widths[3], embed_dim, list);
}
