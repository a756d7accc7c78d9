//! The architecture of a state dict with OpenAI's names, from names and shapes alone (OpenAI's `build_model` rules).

use std::collections::BTreeMap;
use std::path::Path;

use super::{
    Activation, CheckpointError, ClipConfig, ResNetConfig, TextArchitecture, TextConfig,
    TransformerConfig, VisionConfig, VitConfig,
};

/// Shapes by name.
pub(super) type Shapes = BTreeMap<String, Vec<usize>>;

/// Channels per attention head in all of OpenAI's models.
const HEAD_WIDTH: usize = 64;
/// Downsampling of CLIP's ResNets up to the attention pool.
const RESNET_STRIDE: usize = 32;
/// PyTorch's default, which OpenAI and open_clip keep.
pub(super) const LAYER_NORM_EPSILON: f64 = 1e-5;

/// open_clip's vision transformers whose heads are not 64 wide: width, layers, heads (its `model_configs` g-14, H-14 and
/// bigG-14). OpenAI released none of these sizes.
const WIDE_HEADS: [(usize, usize, usize); 3] = [(1408, 40, 16), (1280, 32, 16), (1664, 48, 16)];

/// Whether the vision transformer is one of open_clip's that OpenAI never released.
pub(super) fn is_open_clip_size(config: &VisionConfig) -> bool {
    match config {
        VisionConfig::Vit(vit) => {
            wide_heads(vit.transformer.width, vit.transformer.layers).is_some()
        }
        _ => false,
    }
}

fn wide_heads(width: usize, layers: usize) -> Option<usize> {
    WIDE_HEADS
        .iter()
        .find(|known| (known.0, known.1) == (width, layers))
        .map(|known| known.2)
}

/// Infers both towers; `activation` cannot be seen in shapes.
///
/// # Errors
///
/// [`CheckpointError::NotClip`] when a tensor that every CLIP has is not there or has an impossible shape.
pub(super) fn infer(
    shapes: &Shapes,
    activation: Activation,
    path: &Path,
) -> Result<ClipConfig, CheckpointError> {
    let shapes = Reader { shapes, path };
    let [context_length, text_width] = shapes.get("positional_embedding")?;
    let [vocab_size, _] = shapes.get("token_embedding.weight")?;
    let [_, embed_dim] = shapes.get("text_projection")?;
    let text_layers = shapes.count("transformer.resblocks.");
    let vision = if shapes.has("visual.proj") {
        VisionConfig::Vit(vit(&shapes, activation)?)
    } else if shapes.has("visual.layer1.0.conv1.weight") {
        VisionConfig::ResNet(resnet(&shapes)?)
    } else {
        return Err(shapes.not_clip("`visual.proj` or `visual.layer1.0.conv1.weight`"));
    };
    Ok(ClipConfig {
        embed_dim,
        vision,
        text: TextConfig {
            context_length,
            vocab_size,
            transformer: TransformerConfig {
                width: text_width,
                layers: text_layers,
                heads: shapes.heads(text_width)?,
                mlp_width: shapes.mlp_width("transformer", text_layers)?,
                activation,
                layer_norm_epsilon: LAYER_NORM_EPSILON,
            },
            architecture: TextArchitecture::Causal,
        },
    })
}

fn vit(shapes: &Reader<'_>, activation: Activation) -> Result<VitConfig, CheckpointError> {
    let [width, _, patch_size, _] = shapes.get("visual.conv1.weight")?;
    let [positions, _] = shapes.get("visual.positional_embedding")?;
    let layers = shapes.count("visual.transformer.resblocks.");
    let heads = match wide_heads(width, layers) {
        Some(heads) => heads,
        None => shapes.heads(width)?,
    };
    let grid = shapes.grid("visual.positional_embedding", positions)?;
    Ok(VitConfig {
        image_size: shapes.product("visual.conv1.weight", grid, patch_size)?,
        patch_size,
        transformer: TransformerConfig {
            width,
            layers,
            heads,
            mlp_width: shapes.mlp_width("visual.transformer", layers)?,
            activation,
            layer_norm_epsilon: LAYER_NORM_EPSILON,
        },
    })
}

fn resnet(shapes: &Reader<'_>) -> Result<ResNetConfig, CheckpointError> {
    let [width, ..]: [usize; 4] = shapes.get("visual.layer1.0.conv1.weight")?;
    let name = "visual.attnpool.positional_embedding";
    let [positions, channels] = shapes.get(name)?;
    Ok(ResNetConfig {
        image_size: shapes.product(name, shapes.grid(name, positions)?, RESNET_STRIDE)?,
        layers: [1, 2, 3, 4].map(|stage| shapes.count(&format!("visual.layer{stage}."))),
        width,
        heads: shapes.heads(channels)?,
    })
}

struct Reader<'a> {
    shapes: &'a Shapes,
    path: &'a Path,
}

impl Reader<'_> {
    fn has(&self, name: &str) -> bool {
        self.shapes.contains_key(name)
    }

    /// The shape of a tensor, all of whose axes have at least one element.
    fn get<const N: usize>(&self, name: &str) -> Result<[usize; N], CheckpointError> {
        let shape = self
            .shapes
            .get(name)
            .ok_or_else(|| self.not_clip(&format!("`{name}`")))?;
        match <[usize; N]>::try_from(shape.as_slice()) {
            Ok(axes) if !axes.contains(&0) => Ok(axes),
            _ => Err(self.impossible(name, &format!("{N} axes"), &format!("{shape:?}"))),
        }
    }

    /// Consecutive numbers, from 0, that follow `prefix` in names.
    fn count(&self, prefix: &str) -> usize {
        (0..)
            .take_while(|index| {
                let prefix = format!("{prefix}{index}.");
                self.shapes
                    .range(prefix.clone()..)
                    .next()
                    .is_some_and(|(name, _)| name.starts_with(&prefix))
            })
            .count()
    }

    fn heads(&self, width: usize) -> Result<usize, CheckpointError> {
        if width.is_multiple_of(HEAD_WIDTH) {
            return Ok(width / HEAD_WIDTH);
        }
        Err(CheckpointError::Unrecognized {
            path: self.path.to_owned(),
            expected: format!(
                "a width that is a multiple of {HEAD_WIDTH} (heads cannot be seen in a state dict), or an \
                 open_clip_config.json beside the file that names the heads"
            ),
            found: format!("the width {width}"),
        })
    }

    fn mlp_width(&self, transformer: &str, layers: usize) -> Result<usize, CheckpointError> {
        if layers == 0 {
            return Err(self.not_clip(&format!("`{transformer}.resblocks.0.mlp.c_fc.weight`")));
        }
        let [outputs, _] = self.get(&format!("{transformer}.resblocks.0.mlp.c_fc.weight"))?;
        Ok(outputs)
    }

    /// The side of the square of positions that follow the class token.
    fn grid(&self, name: &str, positions: usize) -> Result<usize, CheckpointError> {
        let side = (positions - 1).isqrt();
        if side > 0 && side * side + 1 == positions {
            return Ok(side);
        }
        Err(self.impossible(name, "1 + side x side positions", &positions.to_string()))
    }

    fn product(&self, name: &str, grid: usize, cell: usize) -> Result<usize, CheckpointError> {
        grid.checked_mul(cell)
            .ok_or_else(|| self.impossible(name, "an image size", "an overflow"))
    }

    fn impossible(&self, name: &str, expected: &str, found: &str) -> CheckpointError {
        CheckpointError::NotClip {
            path: self.path.to_owned(),
            expected: format!("{expected} in `{name}`"),
            found: found.to_owned(),
        }
    }

    fn not_clip(&self, expected: &str) -> CheckpointError {
        let names: Vec<&str> = self.shapes.keys().take(5).map(String::as_str).collect();
        CheckpointError::NotClip {
            path: self.path.to_owned(),
            expected: format!("the tensor {expected}"),
            found: match names.len() {
                0 => "no tensors".to_owned(),
                _ => format!(
                    "{} tensors ({}{})",
                    self.shapes.len(),
                    names.join(", "),
                    if self.shapes.len() > names.len() {
                        ", ..."
                    } else {
                        ""
                    }
                ),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parameters::parameters;
    use super::*;
    use sha2::{Digest, Sha256};

    /// The published architectures as open_clip builds them (`tools/fixtures/architectures.py`).
    const ARCHITECTURES: &str = include_str!("../../tests/fixtures/architectures.json");

    fn published() -> Vec<serde_json::Value> {
        serde_json::from_str(ARCHITECTURES).unwrap()
    }

    fn config_of(entry: &serde_json::Value) -> ClipConfig {
        serde_json::from_value(entry["config"].clone()).unwrap()
    }

    #[test]
    fn parameters_are_those_of_open_clip_in_every_published_architecture() {
        assert_eq!(published().len(), 11);
        for entry in published() {
            let name = &entry["name"];
            let mut lines = Vec::new();
            let mut numbers = 0;
            for (name, shape) in parameters(&config_of(&entry)) {
                let axes: Vec<String> = shape.iter().map(ToString::to_string).collect();
                lines.push(format!("{name} {}", axes.join(",")));
                if !name.contains("running_") {
                    numbers += shape.iter().product::<usize>();
                }
            }
            lines.sort();
            assert_eq!(entry["parameters"], numbers, "{name}");
            let digest: String = Sha256::digest(lines.join("\n"))
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            assert_eq!(entry["state_dict_sha256"], digest, "{name}");
        }
    }

    #[test]
    fn every_published_architecture_is_inferred_from_its_shapes() {
        for entry in published() {
            let config = config_of(&entry);
            let shapes: Shapes = parameters(&config).into_iter().collect();
            let activation = config.text.transformer.activation;
            let inferred = infer(&shapes, activation, Path::new("model.pt")).unwrap();
            assert_eq!(inferred, config, "{}", entry["name"]);
            let trained_by_open_clip = activation == Activation::Gelu;
            assert_eq!(is_open_clip_size(&inferred.vision), trained_by_open_clip);
        }
    }

    fn tiny() -> Shapes {
        let entry = &published()[0];
        parameters(&config_of(entry)).into_iter().collect()
    }

    #[test]
    fn impossible_shapes_are_named() {
        for (name, shape, words) in [
            (
                "visual.positional_embedding",
                vec![51, 768],
                "1 + side x side positions",
            ),
            (
                "visual.positional_embedding",
                vec![1, 768],
                "1 + side x side positions",
            ),
            ("visual.positional_embedding", vec![0, 768], "2 axes"),
            ("text_projection", vec![512], "2 axes"),
            ("positional_embedding", vec![77, 500], "multiple of 64"),
        ] {
            let mut shapes = tiny();
            shapes.insert(name.to_owned(), shape);
            let error = infer(&shapes, Activation::Gelu, Path::new("model.pt")).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn a_state_dict_without_an_image_tower_is_not_clip() {
        let mut shapes = tiny();
        shapes.retain(|name, _| !name.starts_with("visual."));
        let error = infer(&shapes, Activation::Gelu, Path::new("model.pt")).unwrap_err();
        assert!(error.to_string().contains("`visual.proj` or"), "{error}");
    }
}
