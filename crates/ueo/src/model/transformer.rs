//! A stack of pre-norm residual attention blocks with frozen weights.

use burn::tensor::{Bool, Tensor, TensorData, activation, module};

use crate::checkpoint::{Activation, TransformerConfig};

use super::weights::Weights;
use super::{ModelError, NormAffine};

/// A frozen linear map, stored as `[in, out]` so that activations multiply it from the left.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Tensor<2>,
    bias: Tensor<1>,
}

impl Linear {
    /// Takes `{name}{weight}` (`[out, in]`) and `{name}{bias}`.
    pub(crate) fn new(
        weights: &mut Weights,
        weight: &str,
        bias: &str,
        inputs: usize,
        outputs: usize,
    ) -> Result<Self, ModelError> {
        let weight: Tensor<2> = weights.take(weight, [outputs, inputs])?;
        Ok(Self {
            weight: weight.transpose(),
            bias: weights.take(bias, [outputs])?,
        })
    }

    /// `[..., in]` to `[..., out]`, folding all leading axes into one matrix product.
    pub(crate) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, tokens, inputs] = x.dims();
        let outputs = self.bias.dims()[0];
        let y = x
            .reshape([batch * tokens, inputs])
            .matmul(self.weight.clone());
        y.reshape([batch, tokens, outputs]) + self.bias.clone().reshape([1, 1, outputs])
    }
}

/// The frozen weights of one residual block; its two LayerNorms' affine parameters come from outside.
#[derive(Debug)]
pub(crate) struct ResidualBlock {
    qkv: Linear,
    out: Linear,
    up: Linear,
    down: Linear,
}

/// The affine parameters of a block's LayerNorms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockNorms<'a> {
    pub(crate) ln_1: &'a NormAffine,
    pub(crate) ln_2: &'a NormAffine,
}

/// A stack of residual blocks.
#[derive(Debug)]
pub(crate) struct ResidualStack {
    config: TransformerConfig,
    blocks: Vec<ResidualBlock>,
}

/// Keys and values that later tokens attend to, one pair per layer, each `[heads, tokens, head_width]`.
pub(crate) struct PrefixMemory(Vec<(Tensor<3>, Tensor<3>)>);

impl ResidualStack {
    /// Takes the blocks `{prefix}.resblocks.{layer}` out of `weights`.
    pub(crate) fn new(
        config: &TransformerConfig,
        prefix: &str,
        weights: &mut Weights,
    ) -> Result<Self, ModelError> {
        let (width, mlp_width) = (config.width, config.mlp_width);
        let blocks = (0..config.layers)
            .map(|layer| {
                let block = format!("{prefix}.resblocks.{layer}");
                let mut linear = |weight: &str, bias: &str, inputs, outputs| {
                    let name = |part: &str| format!("{block}.{part}");
                    Linear::new(weights, &name(weight), &name(bias), inputs, outputs)
                };
                Ok(ResidualBlock {
                    qkv: linear("attn.in_proj_weight", "attn.in_proj_bias", width, 3 * width)?,
                    out: linear("attn.out_proj.weight", "attn.out_proj.bias", width, width)?,
                    up: linear("mlp.c_fc.weight", "mlp.c_fc.bias", width, mlp_width)?,
                    down: linear("mlp.c_proj.weight", "mlp.c_proj.bias", mlp_width, width)?,
                })
            })
            .collect::<Result<_, ModelError>>()?;
        Ok(Self {
            config: config.clone(),
            blocks,
        })
    }

    /// Names of the LayerNorms of a stack, in the order in which [`Self::forward`] expects them.
    pub(crate) fn norm_names(config: &TransformerConfig, prefix: &str) -> Vec<String> {
        (0..config.layers)
            .flat_map(|layer| {
                ["ln_1", "ln_2"].map(|norm| format!("{prefix}.resblocks.{layer}.{norm}"))
            })
            .collect()
    }

    /// Runs all blocks with full attention among the tokens.
    ///
    /// # Shapes
    ///
    /// - `x`: `[batch, tokens, width]`
    /// - `norms`: `ln_1` and `ln_2` of each layer in turn
    pub(crate) fn forward(&self, mut x: Tensor<3>, norms: &[NormAffine]) -> Tensor<3> {
        for (block, norms) in self.blocks.iter().zip(block_norms(norms)) {
            x = self.block(block, norms, x, |query, key, value| {
                let weights = activation::softmax(query.matmul(key.swap_dims(2, 3)), 3);
                weights.matmul(value)
            });
        }
        x
    }

    /// Runs all blocks causally over a prefix, keeping what later tokens need of it.
    ///
    /// # Shapes
    ///
    /// - `x`: `[1, tokens, width]`
    pub(crate) fn forward_prefix(
        &self,
        mut x: Tensor<3>,
        norms: &[NormAffine],
    ) -> (Tensor<3>, PrefixMemory) {
        let [_, tokens, _] = x.dims();
        let mask = causal_mask(tokens, &x);
        let mut memory = Vec::with_capacity(self.blocks.len());
        for (block, norms) in self.blocks.iter().zip(block_norms(norms)) {
            x = self.block(block, norms, x, |query, key, value| {
                memory.push((key.clone().squeeze_dim(0), value.clone().squeeze_dim(0)));
                let scores = query.matmul(key.swap_dims(2, 3));
                let scores = mask_scores(scores, &mask);
                activation::softmax(scores, 3).matmul(value)
            });
        }
        (x, PrefixMemory(memory))
    }

    /// Runs all blocks causally over the tokens that follow a shared prefix.
    ///
    /// # Shapes
    ///
    /// - `x`: `[batch, tokens, width]`
    pub(crate) fn forward_after_prefix(
        &self,
        mut x: Tensor<3>,
        memory: &PrefixMemory,
        norms: &[NormAffine],
    ) -> Tensor<3> {
        let [_, tokens, _] = x.dims();
        let mask = causal_mask(tokens, &x);
        let layers = self.blocks.iter().zip(block_norms(norms)).zip(&memory.0);
        for ((block, norms), (prefix_key, prefix_value)) in layers {
            x = self.block(block, norms, x, |query, key, value| {
                attend_after_prefix(query, key, value, prefix_key, prefix_value, &mask)
            });
        }
        x
    }

    /// One block: `y = x + attention(ln_1(x))`, then `y + mlp(ln_2(y))`.
    ///
    /// `attend` gets queries (already scaled), keys and values as `[batch, heads, tokens, head_width]`.
    fn block(
        &self,
        block: &ResidualBlock,
        norms: BlockNorms,
        x: Tensor<3>,
        attend: impl FnOnce(Tensor<4>, Tensor<4>, Tensor<4>) -> Tensor<4>,
    ) -> Tensor<3> {
        let TransformerConfig { heads, width, .. } = self.config;
        let [batch, tokens, _] = x.dims();
        let head_width = width / heads;
        let epsilon = self.config.layer_norm_epsilon;

        let qkv = block
            .qkv
            .forward(layer_norm(x.clone(), norms.ln_1, epsilon));
        let part = |index: usize| -> Tensor<4> {
            qkv.clone()
                .narrow(2, index * width, width)
                .reshape([batch, tokens, heads, head_width])
                .swap_dims(1, 2)
        };
        let query = part(0).mul_scalar((head_width as f64).powf(-0.5));
        let attended = attend(query, part(1), part(2))
            .swap_dims(1, 2)
            .reshape([batch, tokens, width]);
        let x = x + block.out.forward(attended);

        let hidden = block.up.forward(layer_norm(x.clone(), norms.ln_2, epsilon));
        let hidden = match self.config.activation {
            Activation::QuickGelu => hidden.clone() * activation::sigmoid(hidden.mul_scalar(1.702)),
            Activation::Gelu => activation::gelu(hidden),
        };
        x + block.down.forward(hidden)
    }
}

/// Attention of tokens to a prefix shared by the whole batch and to the tokens before them.
///
/// The prefix's keys are multiplied once per head with the queries of the whole batch, and its scores join the
/// others only for the softmax.
fn attend_after_prefix(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    prefix_key: &Tensor<3>,
    prefix_value: &Tensor<3>,
    mask: &Tensor<4, Bool>,
) -> Tensor<4> {
    let [batch, heads, tokens, head_width] = query.dims();
    let prefix = prefix_key.dims()[1];
    let fold = |x: Tensor<4>, last: usize| -> Tensor<3> {
        x.swap_dims(0, 1).reshape([heads, batch * tokens, last])
    };
    let unfold = |x: Tensor<3>, last: usize| -> Tensor<4> {
        x.reshape([heads, batch, tokens, last]).swap_dims(0, 1)
    };

    let prefix_scores = unfold(
        fold(query.clone(), head_width).matmul(prefix_key.clone().swap_dims(1, 2)),
        prefix,
    );
    let own_scores = mask_scores(query.matmul(key.swap_dims(2, 3)), mask);
    let weights = activation::softmax(Tensor::cat(vec![prefix_scores, own_scores], 3), 3);
    let prefix_weights = weights.clone().narrow(3, 0, prefix);
    let own_weights = weights.narrow(3, prefix, tokens);
    let from_prefix = unfold(
        fold(prefix_weights, prefix).matmul(prefix_value.clone()),
        head_width,
    );
    from_prefix + own_weights.matmul(value)
}

/// LayerNorm over the last axis.
pub(crate) fn layer_norm(x: Tensor<3>, norm: &NormAffine, epsilon: f64) -> Tensor<3> {
    module::layer_norm(x, norm.weight.clone(), Some(norm.bias.clone()), epsilon)
}

fn block_norms(norms: &[NormAffine]) -> impl Iterator<Item = BlockNorms<'_>> {
    norms.chunks_exact(2).map(|pair| BlockNorms {
        ln_1: &pair[0],
        ln_2: &pair[1],
    })
}

/// True where a token would look at a later one, `[1, 1, tokens, tokens]`.
fn causal_mask(tokens: usize, like: &Tensor<3>) -> Tensor<4, Bool> {
    let mask: Vec<bool> = (0..tokens * tokens)
        .map(|index| index % tokens > index / tokens)
        .collect();
    Tensor::from_data(
        TensorData::new(mask, [1, 1, tokens, tokens]),
        &like.device().inner(),
    )
}

fn mask_scores(scores: Tensor<4>, mask: &Tensor<4, Bool>) -> Tensor<4> {
    let mask = mask.clone().expand(scores.dims());
    scores.mask_fill(mask, f32::NEG_INFINITY)
}
