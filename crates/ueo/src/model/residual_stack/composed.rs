//! Residual blocks as a composition of ordinary Burn operations: what every device can run, and the reference in the
//! tests of the fused kernels.

use burn::tensor::{Bool, Tensor, TensorData, activation};

use crate::checkpoint::TransformerConfig;

use crate::device::capacity;
use crate::model::activation::activate;
use crate::model::footprint::tokens_at_once;
use crate::model::linear::Linear;
use crate::model::weights::Weights;
use crate::model::{ModelError, NormAffine, layer_norm, row_indices};

use super::BlockNames;

/// Own tokens (padding included) that the composition may hold in one pass of the text tower on the processor.
///
/// It bounds the memory of a training step: the composition keeps about 0.8 MB per token at width 512 and 12 layers, so a
/// pass stays under 1 GB however many classes there are.
const TOKENS_PER_PASS: usize = 1024;

/// The frozen weights of one residual block; its two LayerNorms' affine parameters come from outside.
#[derive(Debug)]
struct ResidualBlock {
    qkv: Linear,
    out: Linear,
    up: Linear,
    down: Linear,
}

/// The affine parameters of a block's LayerNorms.
#[derive(Clone, Copy, Debug)]
struct BlockNorms<'a> {
    ln_1: &'a NormAffine,
    ln_2: &'a NormAffine,
}

/// A stack of residual blocks.
#[derive(Debug)]
pub(crate) struct ComposedStack {
    config: TransformerConfig,
    blocks: Vec<ResidualBlock>,
    tokens_per_pass: usize,
}

/// Keys and values that later tokens attend to, one pair per layer, each `[heads, tokens, head_width]`.
struct PrefixMemory(Vec<(Tensor<3>, Tensor<3>)>);

impl ComposedStack {
    /// Takes the blocks `{prefix}.resblocks.{layer}` out of `weights`.
    pub(super) fn new(
        config: &TransformerConfig,
        prefix: &str,
        weights: &mut Weights,
    ) -> Result<Self, ModelError> {
        let (width, mlp_width) = (config.width, config.mlp_width);
        let blocks = (0..config.layers)
            .map(|layer| {
                let names = BlockNames::new(prefix, layer);
                let mut linear = |(weight, bias): &(String, String), inputs, outputs| {
                    Linear::new(weights, weight, bias, inputs, outputs)
                };
                Ok(ResidualBlock {
                    qkv: linear(&names.qkv, width, 3 * width)?,
                    out: linear(&names.out, width, width)?,
                    up: linear(&names.up, width, mlp_width)?,
                    down: linear(&names.down, mlp_width, width)?,
                })
            })
            .collect::<Result<_, ModelError>>()?;
        Ok(Self {
            config: config.clone(),
            blocks,
            tokens_per_pass: match capacity(weights.device()) {
                None => TOKENS_PER_PASS,
                Some(capacity) => tokens_at_once(capacity, config.layers, width),
            },
        })
    }

    /// As [`super::ResidualStack::tokens_per_pass`]: what the device has memory for.
    pub(super) fn tokens_per_pass(&self) -> usize {
        self.tokens_per_pass
    }

    /// As [`super::ResidualStack::first_tokens`], computing all tokens of the last block and leaving the others aside.
    pub(super) fn first_tokens(&self, x: Tensor<3>, norms: &[NormAffine]) -> Tensor<2> {
        self.all_tokens(x, norms).narrow(1, 0, 1).squeeze_dim(1)
    }

    /// As [`super::ResidualStack::last_tokens`].
    pub(super) fn last_tokens(&self, x: Tensor<3>, norms: &[NormAffine]) -> Tensor<2> {
        let last = x.dims()[1] - 1;
        self.all_tokens(x, norms).narrow(1, last, 1).squeeze_dim(1)
    }

    /// As [`super::ResidualStack::last_of_causal`].
    pub(super) fn last_of_causal(&self, mut x: Tensor<3>, norms: &[NormAffine]) -> Tensor<2> {
        let [_, tokens, _] = x.dims();
        let mask = causal_mask(tokens, &x);
        for (block, norms) in self.blocks.iter().zip(block_norms(norms)) {
            x = self.block(block, norms, x, |query, key, value| {
                let scores = mask_scores(query.matmul(key.swap_dims(2, 3)), &mask);
                activation::softmax(scores, 3).matmul(value)
            });
        }
        x.narrow(1, tokens - 1, 1).squeeze_dim(1)
    }

    /// As [`super::ResidualStack::all_tokens`].
    pub(super) fn all_tokens(&self, x: Tensor<3>, norms: &[NormAffine]) -> Tensor<3> {
        let first = self.blocks.len() - block_norms(norms).count();
        self.whole_sequences(&self.blocks[first..], x, norms)
    }

    /// As [`super::ResidualStack::first_blocks`].
    pub(super) fn first_blocks(&self, x: Tensor<3>, norms: &[NormAffine]) -> Tensor<3> {
        self.whole_sequences(&self.blocks, x, norms)
    }

    /// Runs blocks with full attention among the tokens, as far as there are norms.
    fn whole_sequences(
        &self,
        blocks: &[ResidualBlock],
        mut x: Tensor<3>,
        norms: &[NormAffine],
    ) -> Tensor<3> {
        for (block, norms) in blocks.iter().zip(block_norms(norms)) {
            x = self.block(block, norms, x, |query, key, value| {
                let weights = activation::softmax(query.matmul(key.swap_dims(2, 3)), 3);
                weights.matmul(value)
            });
        }
        x
    }

    /// As [`super::ResidualStack::last_after_prefix`].
    ///
    /// Sequences are padded to the longest by repeating their last token, which causal attention keeps from changing
    /// anything before it.
    pub(super) fn last_after_prefix(
        &self,
        prefix: Tensor<2>,
        own: Tensor<2>,
        lengths: &[usize],
        norms: &[NormAffine],
    ) -> Tensor<2> {
        let device = own.device().inner();
        let width = self.config.width;
        let sequences = lengths.len();
        let tokens = lengths.iter().copied().max().unwrap_or(0);
        let mut start = 0;
        let mut padded = Vec::with_capacity(sequences * tokens);
        let mut last = Vec::with_capacity(sequences);
        for (row, &length) in lengths.iter().enumerate() {
            padded.extend((0..tokens).map(|token| start + token.min(length - 1)));
            last.push(row * tokens + length - 1);
            start += length;
        }
        let own = own
            .select(0, row_indices(&padded, &device))
            .reshape([sequences, tokens, width]);
        let memory = self.forward_prefix(prefix.unsqueeze(), norms);
        self.forward_after_memory(own, &memory, norms)
            .reshape([sequences * tokens, width])
            .select(0, row_indices(&last, &device))
    }

    /// Runs all blocks causally over a prefix, keeping what later tokens need of it.
    ///
    /// # Shapes
    ///
    /// - `x`: `[1, tokens, width]`
    fn forward_prefix(&self, mut x: Tensor<3>, norms: &[NormAffine]) -> PrefixMemory {
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
        PrefixMemory(memory)
    }

    /// Runs all blocks causally over the tokens that follow a shared prefix.
    ///
    /// # Shapes
    ///
    /// - `x`: `[batch, tokens, width]`
    fn forward_after_memory(
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
        x + block.down.forward(activate(self.config.activation, hidden))
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
