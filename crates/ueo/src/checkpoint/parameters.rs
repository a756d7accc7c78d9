//! The complete list of a model's parameters: OpenAI's names and the shapes that follow from the architecture. What CLIP does not
//! have is named in the same manner.

use super::{
    ClassToken, ClipConfig, ModularVitConfig, Pooling, ResNetConfig, Stem, TextProjection,
    TransformerConfig, VisionConfig, VitBlocks, VitConfig, timm,
};

/// Output channels of a ResNet bottleneck, as a multiple of its inner channels.
const EXPANSION: usize = 4;
/// Channels of the last ResNet stage, as a multiple of the stem's.
const FINAL_EXPANSION: usize = 32;

/// Name and shape of every tensor that `config` needs.
pub(super) fn parameters(config: &ClipConfig) -> Vec<(String, Vec<usize>)> {
    let mut list = List::default();
    let text = &config.text;
    let width = text.transformer.width;
    list.add("positional_embedding", [text.context_length, width]);
    let projection = text.architecture.projection();
    if projection != TextProjection::None {
        list.add("text_projection", [width, config.embed_dim]);
    }
    if projection == TextProjection::Affine {
        list.add("text_projection_bias", [config.embed_dim]);
    }
    list.add("logit_scale", []);
    if config.has_logit_bias() {
        list.add("logit_bias", []);
    }
    list.add("token_embedding.weight", [text.vocab_size, width]);
    list.transformer("transformer", &text.transformer);
    list.affine("ln_final", width);
    match &config.vision {
        VisionConfig::Vit(vit) => list.vit(vit, config.embed_dim),
        VisionConfig::ResNet(resnet) => list.resnet(resnet, config.embed_dim),
        VisionConfig::Siglip(vit) => list.siglip(vit),
        VisionConfig::ModularVit(modular) => list.modular_vit(modular, config.embed_dim),
        VisionConfig::ConvNext(convnext) => {
            timm::convnext::parameters(convnext, config.embed_dim, &mut list);
        }
        VisionConfig::ViTamin(vitamin) => {
            timm::vitamin::parameters(vitamin, config.embed_dim, &mut list);
        }
    }
    list.0
}

/// Names with shapes.
#[derive(Default)]
pub(super) struct List(Vec<(String, Vec<usize>)>);

impl List {
    pub(super) fn add<const N: usize>(&mut self, name: impl Into<String>, shape: [usize; N]) {
        self.0.push((name.into(), shape.to_vec()));
    }

    /// Weight and bias of a normalization layer.
    pub(super) fn affine(&mut self, name: &str, channels: usize) {
        self.add(format!("{name}.weight"), [channels]);
        self.add(format!("{name}.bias"), [channels]);
    }

    pub(super) fn linear(&mut self, name: &str, outputs: usize, inputs: usize) {
        self.add(format!("{name}.weight"), [outputs, inputs]);
        self.add(format!("{name}.bias"), [outputs]);
    }

    fn transformer(&mut self, prefix: &str, config: &TransformerConfig) {
        let width = config.width;
        for layer in 0..config.layers {
            let block = format!("{prefix}.resblocks.{layer}");
            self.add(format!("{block}.attn.in_proj_weight"), [3 * width, width]);
            self.add(format!("{block}.attn.in_proj_bias"), [3 * width]);
            self.linear(&format!("{block}.attn.out_proj"), width, width);
            self.affine(&format!("{block}.ln_1"), width);
            self.linear(&format!("{block}.mlp.c_fc"), config.mlp_width, width);
            self.linear(&format!("{block}.mlp.c_proj"), width, config.mlp_width);
            self.affine(&format!("{block}.ln_2"), width);
        }
    }

    fn vit(&mut self, config: &VitConfig, embed_dim: usize) {
        let width = config.transformer.width;
        let grid = config.image_size / config.patch_size;
        self.add("visual.class_embedding", [width]);
        self.add("visual.positional_embedding", [grid * grid + 1, width]);
        self.add("visual.proj", [width, embed_dim]);
        self.add(
            "visual.conv1.weight",
            [width, 3, config.patch_size, config.patch_size],
        );
        self.affine("visual.ln_pre", width);
        self.transformer("visual.transformer", &config.transformer);
        self.affine("visual.ln_post", width);
    }

    fn siglip(&mut self, config: &VitConfig) {
        let TransformerConfig {
            width, mlp_width, ..
        } = config.transformer;
        let (patch, grid) = (config.patch_size, config.image_size / config.patch_size);
        self.add("visual.conv1.weight", [width, 3, patch, patch]);
        self.add("visual.conv1.bias", [width]);
        self.add("visual.positional_embedding", [grid * grid, width]);
        self.transformer("visual.transformer", &config.transformer);
        self.affine("visual.ln_post", width);
        self.attention_pool(width, mlp_width);
    }

    fn attention_pool(&mut self, width: usize, mlp_width: usize) {
        let head = "visual.attn_pool";
        self.add(format!("{head}.probe"), [1, 1, width]);
        self.add(format!("{head}.in_proj_weight"), [3 * width, width]);
        self.add(format!("{head}.in_proj_bias"), [3 * width]);
        self.linear(&format!("{head}.out_proj"), width, width);
        self.affine(&format!("{head}.ln"), width);
        self.linear(&format!("{head}.mlp.c_fc"), mlp_width, width);
        self.linear(&format!("{head}.mlp.c_proj"), width, mlp_width);
    }

    fn modular_vit(&mut self, config: &ModularVitConfig, embed_dim: usize) {
        let transformer = &config.vit.transformer;
        let width = transformer.width;
        let (patch, grid) = (
            config.vit.patch_size,
            config.vit.image_size / config.vit.patch_size,
        );
        match config.stem {
            Stem::Patches => self.add("visual.conv1.weight", [width, 3, patch, patch]),
            Stem::BiasedPatches => {
                self.add("visual.conv1.weight", [width, 3, patch, patch]);
                self.add("visual.conv1.bias", [width]);
            }
            Stem::Convolutions => {
                let narrow = width / 4;
                let conv = |index| format!("visual.stem.{index}.conv");
                let norm = |index| format!("visual.stem.{index}.bn");
                self.convolution(&conv(0), &norm(0), narrow, 3, 4);
                self.convolution(&conv(1), &norm(1), narrow, narrow, 2);
                self.add(format!("{}.weight", conv(2)), [width, narrow, 2, 2]);
                self.add(format!("{}.bias", conv(2)), [width]);
            }
        }
        if config.class_token != ClassToken::Absent {
            self.add("visual.class_embedding", [width]);
        }
        let class_positions = usize::from(config.class_token == ClassToken::Positioned);
        self.add(
            "visual.positional_embedding",
            [class_positions + grid * grid, width],
        );
        if config.normalized_tokens {
            self.affine("visual.ln_pre", width);
        }
        self.transformer("visual.transformer", transformer);
        if let VitBlocks::Gated { .. } = config.blocks {
            for layer in 0..transformer.layers {
                let block = format!("visual.transformer.resblocks.{layer}");
                self.affine(&format!("{block}.attn.ln"), width);
                self.linear(&format!("{block}.mlp.c_gate"), transformer.mlp_width, width);
                self.affine(&format!("{block}.mlp.ln"), transformer.mlp_width);
            }
        }
        self.affine("visual.ln_post", width);
        if let Pooling::Attention { mlp_width, .. } = config.pooling {
            self.attention_pool(width, mlp_width);
        }
        self.add("visual.proj", [width, embed_dim]);
        if config.projection_bias {
            self.add("visual.proj_bias", [embed_dim]);
        }
    }

    fn convolution(&mut self, name: &str, norm: &str, outputs: usize, inputs: usize, side: usize) {
        self.add(format!("{name}.weight"), [outputs, inputs, side, side]);
        self.affine(norm, outputs);
        self.add(format!("{norm}.running_mean"), [outputs]);
        self.add(format!("{norm}.running_var"), [outputs]);
    }

    fn resnet(&mut self, config: &ResNetConfig, embed_dim: usize) {
        let width = config.width;
        let stem = [(3, width / 2), (width / 2, width / 2), (width / 2, width)];
        for (index, (inputs, outputs)) in (1..).zip(stem) {
            let (conv, norm) = (format!("visual.conv{index}"), format!("visual.bn{index}"));
            self.convolution(&conv, &norm, outputs, inputs, 3);
        }
        let mut inputs = width;
        for (stage, &blocks) in config.layers.iter().enumerate() {
            let inner = width << stage;
            for block in 0..blocks {
                let name = format!("visual.layer{}.{block}", stage + 1);
                let shapes = [
                    (inputs, inner, 1),
                    (inner, inner, 3),
                    (inner, inner * EXPANSION, 1),
                ];
                for (index, (inputs, outputs, side)) in (1..).zip(shapes) {
                    let (conv, norm) = (format!("{name}.conv{index}"), format!("{name}.bn{index}"));
                    self.convolution(&conv, &norm, outputs, inputs, side);
                }
                if block == 0 {
                    let branch = format!("{name}.downsample");
                    self.convolution(
                        &format!("{branch}.0"),
                        &format!("{branch}.1"),
                        inner * EXPANSION,
                        inputs,
                        1,
                    );
                }
                inputs = inner * EXPANSION;
            }
        }
        let channels = width * FINAL_EXPANSION;
        let side = config.image_size / FINAL_EXPANSION;
        self.add(
            "visual.attnpool.positional_embedding",
            [side * side + 1, channels],
        );
        for projection in ["q_proj", "k_proj", "v_proj"] {
            self.linear(&format!("visual.attnpool.{projection}"), channels, channels);
        }
        self.linear("visual.attnpool.c_proj", embed_dim, channels);
    }
}
