//! A stack of pre-norm residual attention blocks with frozen weights: the seam between the model and its engines.
//!
//! On the CPU the blocks run as fused kernels with a hand-written backward pass ([`fused`]); everywhere else, and as the
//! reference in tests, as a composition of ordinary Burn operations ([`composed`]). The engine is chosen once, when the
//! model is built.

mod composed;
mod fused;

use burn::tensor::Tensor;

use crate::checkpoint::TransformerConfig;

use super::weights::Weights;
use super::{Engine, ModelError, NormAffine};

use composed::ComposedStack;
use fused::FusedStack;

/// A stack of residual blocks.
#[derive(Debug)]
pub(crate) enum ResidualStack {
    Composed(ComposedStack),
    Fused(FusedStack),
}

/// What the tokens of a stack see, and which of them are read behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StackKind {
    /// All see all, and the first is read: a class token.
    ClassToken,
    /// All see all, and the last is read.
    LastToken,
    /// All see all, and all are read.
    AllTokens,
    /// Each sees those before it and itself, and the last is read, the only one that sees all.
    Causal,
}

/// Names of a block's frozen tensors (weight and bias) in OpenAI's naming.
struct BlockNames {
    qkv: (String, String),
    out: (String, String),
    up: (String, String),
    down: (String, String),
}

impl BlockNames {
    fn new(prefix: &str, layer: usize) -> Self {
        let pair = |weight: &str, bias: &str| {
            let name = |part: &str| format!("{prefix}.resblocks.{layer}.{part}");
            (name(weight), name(bias))
        };
        Self {
            qkv: pair("attn.in_proj_weight", "attn.in_proj_bias"),
            out: pair("attn.out_proj.weight", "attn.out_proj.bias"),
            up: pair("mlp.c_fc.weight", "mlp.c_fc.bias"),
            down: pair("mlp.c_proj.weight", "mlp.c_proj.bias"),
        }
    }
}

impl ResidualStack {
    /// Takes the blocks `{prefix}.resblocks.{layer}` out of `weights`.
    pub(crate) fn new(
        config: &TransformerConfig,
        prefix: &str,
        kind: StackKind,
        weights: &mut Weights,
    ) -> Result<Self, ModelError> {
        Ok(match weights.engine() {
            Engine::Composed => Self::Composed(ComposedStack::new(config, prefix, weights)?),
            Engine::Fused => Self::Fused(FusedStack::new(config, prefix, kind, weights)?),
        })
    }

    /// Names of the LayerNorms of a stack, in the order in which the forward passes expect them.
    pub(crate) fn norm_names(config: &TransformerConfig, prefix: &str) -> Vec<String> {
        (0..config.layers)
            .flat_map(|layer| {
                ["ln_1", "ln_2"].map(|norm| format!("{prefix}.resblocks.{layer}.{norm}"))
            })
            .collect()
    }

    /// Own tokens that one pass over sequences with a shared prefix may hold.
    ///
    /// The fused kernels bound their memory by themselves.
    pub(crate) fn tokens_per_pass(&self) -> usize {
        match self {
            Self::Composed(stack) => stack.tokens_per_pass(),
            Self::Fused(_) => usize::MAX,
        }
    }

    /// Tokens that one pass over whole sequences of the text tower may hold.
    pub(crate) fn whole_tokens_per_pass(&self) -> usize {
        match self {
            Self::Composed(stack) => stack.tokens_per_pass(),
            Self::Fused(stack) => stack.whole_tokens_per_pass(),
        }
    }

    /// Runs all blocks, or the last ones, with full attention among the tokens, and returns all of them; of a stack of
    /// [`StackKind::AllTokens`].
    ///
    /// # Shapes
    ///
    /// - `x`, result: `[batch, tokens, width]`, what enters the first of these blocks and what leaves the last
    /// - `norms`: `ln_1` and `ln_2` of each layer that is run in turn
    pub(crate) fn all_tokens(&self, x: Tensor<3>, norms: &[NormAffine]) -> Tensor<3> {
        match self {
            Self::Composed(stack) => stack.all_tokens(x, norms),
            Self::Fused(stack) => stack.all_tokens(x, norms),
        }
    }

    /// Runs all blocks with full attention among the tokens, and returns the last token of each sequence; of a stack of
    /// [`StackKind::LastToken`].
    ///
    /// # Shapes
    ///
    /// - `x`: `[batch, tokens, width]`
    /// - `norms`: `ln_1` and `ln_2` of each layer in turn
    /// - result: `[batch, width]`
    pub(crate) fn last_tokens(&self, x: Tensor<3>, norms: &[NormAffine]) -> Tensor<2> {
        match self {
            Self::Composed(stack) => stack.last_tokens(x, norms),
            Self::Fused(stack) => stack.last_tokens(x, norms),
        }
    }

    /// Runs all blocks causally, and returns the last token of each sequence; of a stack of [`StackKind::Causal`].
    ///
    /// # Shapes
    ///
    /// - `x`: `[batch, tokens, width]`
    /// - `norms`: `ln_1` and `ln_2` of each layer in turn
    /// - result: `[batch, width]`
    pub(crate) fn last_of_causal(&self, x: Tensor<3>, norms: &[NormAffine]) -> Tensor<2> {
        match self {
            Self::Composed(stack) => stack.last_of_causal(x, norms),
            // What the tokens see is a part of the packed stack.
            Self::Fused(stack) => stack.last_tokens(x, norms),
        }
    }

    /// Runs the first blocks, as many as `norms` are of, with full attention among the tokens. There is no graph behind the result.
    ///
    /// # Shapes
    ///
    /// - `x`: `[batch, tokens, width]`
    /// - `norms`: `ln_1` and `ln_2` of each of these layers in turn
    /// - result: as `x`, what enters the block behind them
    pub(crate) fn first_blocks(&self, x: Tensor<3>, norms: &[NormAffine]) -> Tensor<3> {
        match self {
            Self::Composed(stack) => stack.first_blocks(x, norms).inner(),
            Self::Fused(stack) => stack.first_blocks(x, norms),
        }
    }

    /// Runs all blocks, or the last ones, with full attention among the tokens, and returns the first token of each sequence.
    ///
    /// # Shapes
    ///
    /// - `x`: `[batch, tokens, width]`, what enters the first of these blocks
    /// - `norms`: `ln_1` and `ln_2` of each layer that is run in turn: of all, or of the last ones
    /// - result: `[batch, width]`
    pub(crate) fn first_tokens(&self, x: Tensor<3>, norms: &[NormAffine]) -> Tensor<2> {
        match self {
            Self::Composed(stack) => stack.first_tokens(x, norms),
            Self::Fused(stack) => stack.first_tokens(x, norms),
        }
    }

    /// Runs all blocks causally over sequences that share their first tokens, and returns the last token of each.
    ///
    /// # Shapes
    ///
    /// - `prefix`: `[prefix tokens, width]`
    /// - `own`: `[own tokens of all sequences, width]`, one sequence after the other
    /// - `lengths`: own tokens per sequence
    /// - result: `[sequences, width]`
    pub(crate) fn last_after_prefix(
        &self,
        prefix: Tensor<2>,
        own: Tensor<2>,
        lengths: &[usize],
        norms: &[NormAffine],
    ) -> Tensor<2> {
        match self {
            Self::Composed(stack) => stack.last_after_prefix(prefix, own, lengths, norms),
            Self::Fused(stack) => stack.last_after_prefix(prefix, own, lengths, norms),
        }
    }
}
