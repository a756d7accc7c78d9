//! Blocks that are not CLIP's, as compositions of Burn's operations: EVA-02's and the Perception Encoder's.

use std::ops::Range;

use burn::tensor::{Tensor, activation};

use crate::checkpoint::{ClassToken, ModularVitConfig, Rotary, TransformerConfig, VitBlocks};
use crate::model::activation::activate;
use crate::model::linear::Linear;
use crate::model::weights::Weights;
use crate::model::{ModelError, NormAffine, Precision, layer_norm};

use super::rotary::{Rotation, pairs_apart};

/// Names of a block's normalization layers within it, in the order of its forward pass.
pub(super) fn norm_parts(blocks: VitBlocks) -> &'static [&'static str] {
    match blocks {
        VitBlocks::Gated { .. } => &["ln_1", "attn.ln", "ln_2", "mlp.ln"],
        VitBlocks::PreNorm | VitBlocks::Rotary { .. } | VitBlocks::PostNorm => &["ln_1", "ln_2"],
    }
}

/// A stack of blocks.
#[derive(Debug)]
pub(super) struct ComposedBlocks {
    kind: VitBlocks,
    transformer: TransformerConfig,
    rotation: Option<Rotation>,
    blocks: Vec<Block>,
}

/// The frozen weights of one block.
#[derive(Debug)]
struct Block {
    /// Queries, keys and values; with a rotation the channels of the first two in the order that it needs.
    qkv: Linear,
    out: Linear,
    /// Of gated perceptrons.
    gate: Option<Linear>,
    up: Linear,
    down: Linear,
}

impl ComposedBlocks {
    /// Takes the blocks `{prefix}.resblocks.{layer}` out of `weights`.
    pub(super) fn new(
        config: &ModularVitConfig,
        prefix: &str,
        weights: &mut Weights,
    ) -> Result<Self, ModelError> {
        if weights.precision() != Precision::F32 {
            return Err(ModelError::BlockPrecision {
                precision: weights.precision(),
            });
        }
        let transformer = &config.vit.transformer;
        let rotation = rotary(config.blocks).map(|rotary| {
            let side = config.vit.image_size / config.vit.patch_size;
            let in_front = usize::from(config.class_token != ClassToken::Absent);
            let head_width = transformer.width / transformer.heads;
            Rotation::new(rotary, side, in_front, head_width, weights.device())
        });
        let blocks = (0..transformer.layers)
            .map(|layer| {
                Block::new(
                    config.blocks,
                    transformer,
                    &format!("{prefix}.resblocks.{layer}"),
                    weights,
                )
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            kind: config.blocks,
            transformer: transformer.clone(),
            rotation,
            blocks,
        })
    }

    /// Runs some of the blocks, `[batch, tokens, width]` to the same; `norms` are theirs.
    pub(super) fn run(
        &self,
        range: Range<usize>,
        mut x: Tensor<3>,
        norms: &[NormAffine],
    ) -> Tensor<3> {
        let blocks = self.blocks[range].iter();
        for (block, norms) in blocks.zip(norms.chunks_exact(norm_parts(self.kind).len())) {
            x = self.block(block, norms, x);
        }
        x
    }

    fn block(&self, block: &Block, norms: &[NormAffine], x: Tensor<3>) -> Tensor<3> {
        let norm = |x: Tensor<3>, norm: &NormAffine| {
            layer_norm(x, norm, self.transformer.layer_norm_epsilon)
        };
        let activation = self.transformer.activation;
        match self.kind {
            VitBlocks::PreNorm | VitBlocks::Rotary { .. } => {
                let attended = self.attention(block, norm(x.clone(), &norms[0]));
                let x = x + block.out.forward(attended);
                let hidden = block.up.forward(norm(x.clone(), &norms[1]));
                x + block.down.forward(activate(activation, hidden))
            }
            VitBlocks::PostNorm => {
                let attended = block.out.forward(self.attention(block, x.clone()));
                let x = x + norm(attended, &norms[0]);
                let hidden = activate(activation, block.up.forward(x.clone()));
                x + norm(block.down.forward(hidden), &norms[1])
            }
            VitBlocks::Gated { .. } => {
                let attended = self.attention(block, norm(x.clone(), &norms[0]));
                let x = x + block.out.forward(norm(attended, &norms[1]));
                let y = norm(x.clone(), &norms[2]);
                let mut hidden = block.up.forward(y.clone());
                if let Some(gate) = &block.gate {
                    hidden = hidden * activation::silu(gate.forward(y));
                }
                x + block.down.forward(norm(hidden, &norms[3]))
            }
        }
    }

    /// Attention of all tokens to all, in front of its last matrix.
    fn attention(&self, block: &Block, x: Tensor<3>) -> Tensor<3> {
        let [batch, tokens, width] = x.dims();
        let heads = self.transformer.heads;
        let head_width = width / heads;
        let qkv = block.qkv.forward(x);
        let part = |index: usize| -> Tensor<4> {
            qkv.clone()
                .narrow(2, index * width, width)
                .reshape([batch, tokens, heads, head_width])
                .swap_dims(1, 2)
        };
        let turned = |x: Tensor<4>| match &self.rotation {
            Some(rotation) => rotation.apply(x),
            None => x,
        };
        let query = turned(part(0)).mul_scalar((head_width as f64).powf(-0.5));
        let scores = query.matmul(turned(part(1)).swap_dims(2, 3));
        activation::softmax(scores, 3)
            .matmul(part(2))
            .swap_dims(1, 2)
            .reshape([batch, tokens, width])
    }
}

impl Block {
    fn new(
        kind: VitBlocks,
        config: &TransformerConfig,
        name: &str,
        weights: &mut Weights,
    ) -> Result<Self, ModelError> {
        let (width, mlp_width) = (config.width, config.mlp_width);
        let matrix = weights.take(&format!("{name}.attn.in_proj_weight"), [3 * width, width])?;
        let bias: Tensor<1> = weights.take(&format!("{name}.attn.in_proj_bias"), [3 * width])?;
        let (matrix, bias) = match rotary(kind) {
            Some(_) => (
                turnable(matrix, config.heads),
                turnable(bias.unsqueeze_dim(1), config.heads).squeeze_dim(1),
            ),
            None => (matrix, bias),
        };
        let mut linear = |part: &str, inputs, outputs| {
            let name = format!("{name}.{part}");
            let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
            Linear::new(weights, &weight, &bias, inputs, outputs)
        };
        Ok(Self {
            qkv: Linear::from_tensors(matrix, bias),
            out: linear("attn.out_proj", width, width)?,
            gate: match kind {
                VitBlocks::Gated { .. } => Some(linear("mlp.c_gate", width, mlp_width)?),
                _ => None,
            },
            up: linear("mlp.c_fc", width, mlp_width)?,
            down: linear("mlp.c_proj", mlp_width, width)?,
        })
    }
}

/// The rows of a projection to queries, keys and values, with those of queries and keys in the order that a rotation needs.
fn turnable(rows: Tensor<2>, heads: usize) -> Tensor<2> {
    let width = rows.dims()[0] / 3;
    let part = |index: usize| rows.clone().narrow(0, index * width, width);
    let parts = vec![
        pairs_apart(part(0), heads),
        pairs_apart(part(1), heads),
        part(2),
    ];
    Tensor::cat(parts, 0)
}

fn rotary(blocks: VitBlocks) -> Option<Rotary> {
    match blocks {
        VitBlocks::Rotary { rotary } | VitBlocks::Gated { rotary } => Some(rotary),
        VitBlocks::PreNorm | VitBlocks::PostNorm => None,
    }
}
