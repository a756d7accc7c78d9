//! CLIP's and SigLIP's residual blocks with frozen weights: a stack of them runs forward and backward over groups of sequences.
//!
//! - [`layer`]: one block over the rows of one group, forward and backward;
//! - [`projection`]: its product for queries, keys and values;
//! - [`read`]: which rows of a block's output anything depends on;
//! - [`stack`]: all blocks over whole sequences, groups in parallel;
//! - [`prefix`]: all blocks over sequences that share their first tokens;
//! - [`workspace`]: the memory that one call leaves for the next.

mod group;
mod layer;
mod prefix;
mod projection;
mod read;
mod stack;
mod workspace;

pub use prefix::{PrefixGradients, PrefixShape, SavedWithPrefix};
pub use read::ReadToken;
pub use stack::{ResidualStack, Saved, StackGradients};
pub use workspace::Workspace;

use crate::{Activation, Precision, ShapeError};

/// What all blocks of a stack have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StackConfig {
    /// Width of the residual stream.
    pub width: usize,
    /// Attention heads; they divide the width.
    pub heads: usize,
    /// Width of the multilayer perceptron, usually four times `width`.
    pub hidden: usize,
    /// Whether a token sees only itself and the tokens before it.
    pub causal: bool,
    /// Which token of each sequence is read behind the last block, where nothing is computed that only other tokens need.
    pub read: ReadToken,
    /// Activation function of the multilayer perceptron.
    pub activation: Activation,
    /// Added to the variance in layer normalization, 1e-5 in CLIP.
    pub layer_norm_epsilon: f32,
    /// Number format of the weights and of what they are multiplied with.
    pub precision: Precision,
}

impl StackConfig {
    fn check(&self) -> Result<(), ShapeError> {
        let Self {
            width,
            heads,
            hidden,
            ..
        } = *self;
        ShapeError::check("width of a block (at least 1)", width.max(1), width)?;
        ShapeError::check("heads of a block (at least 1)", heads.max(1), heads)?;
        ShapeError::check(
            "width of a block as a multiple of its heads",
            width.checked_next_multiple_of(heads).unwrap_or(usize::MAX),
            width,
        )?;
        ShapeError::check(
            "hidden width of a block (at least 1)",
            hidden.max(1),
            hidden,
        )
    }

    /// Memory that training keeps per token and block, in bytes: `x`, `x_mid` (one width each), queries, keys and values (three),
    /// the perceptron's pre-activation (`hidden`), two means and reciprocal deviations, one log-sum-exp per head; all f32.
    ///
    /// With `hidden = 4 width` that is `4 (9 width + heads + 4)`: 27.7 kB at ViT-B/16 (62 MB per image over 197 tokens and 12
    /// blocks) and 18.5 kB in its text tower (0.21 MB per token over 12 blocks).
    ///
    /// The last block keeps `x`, queries, keys and values and their statistics of all tokens and the rest of one token per sequence:
    /// less than half of this.
    pub fn saved_bytes_per_token(&self) -> usize {
        let numbers = self
            .width
            .saturating_mul(5)
            .saturating_add(self.hidden)
            .saturating_add(4)
            .saturating_add(self.heads);
        numbers.saturating_mul(size_of::<f32>())
    }
}

/// The frozen weights of one block in PyTorch's layout: matrices `[outputs, inputs]`, row-major.
#[derive(Clone, Copy, Debug)]
pub struct BlockWeights<'a> {
    /// `[3 width, width]`: queries, keys, values stacked (`in_proj_weight`).
    pub qkv_weight: &'a [f32],
    /// `[3 width]`
    pub qkv_bias: &'a [f32],
    /// `[width, width]`: attention's output projection.
    pub out_weight: &'a [f32],
    /// `[width]`
    pub out_bias: &'a [f32],
    /// `[hidden, width]`: the perceptron's first layer (`c_fc`).
    pub fc_weight: &'a [f32],
    /// `[hidden]`
    pub fc_bias: &'a [f32],
    /// `[width, hidden]`: the perceptron's second layer (`c_proj`).
    pub proj_weight: &'a [f32],
    /// `[width]`
    pub proj_bias: &'a [f32],
}

/// The affine parameters of one block's normalization layers, `[width]` each; they change every step.
#[derive(Clone, Copy, Debug)]
pub struct BlockAffine<'a> {
    /// Scale before attention.
    pub ln_1_weight: &'a [f32],
    /// Shift before attention.
    pub ln_1_bias: &'a [f32],
    /// Scale before the perceptron.
    pub ln_2_weight: &'a [f32],
    /// Shift before the perceptron.
    pub ln_2_bias: &'a [f32],
}

impl BlockAffine<'_> {
    fn check(&self, width: usize) {
        for (name, values) in [
            ("ln_1_weight", self.ln_1_weight),
            ("ln_1_bias", self.ln_1_bias),
            ("ln_2_weight", self.ln_2_weight),
            ("ln_2_bias", self.ln_2_bias),
        ] {
            assert_eq!(values.len(), width, "{name} has one value per channel");
        }
    }
}

/// Gradients with respect to a block's [`BlockAffine`], summed over all tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockAffineGradient {
    /// With respect to [`BlockAffine::ln_1_weight`].
    pub ln_1_weight: Vec<f32>,
    /// With respect to [`BlockAffine::ln_1_bias`].
    pub ln_1_bias: Vec<f32>,
    /// With respect to [`BlockAffine::ln_2_weight`].
    pub ln_2_weight: Vec<f32>,
    /// With respect to [`BlockAffine::ln_2_bias`].
    pub ln_2_bias: Vec<f32>,
}

impl BlockAffineGradient {
    fn zeros(width: usize) -> Self {
        let zeros = || vec![0.0; width];
        Self {
            ln_1_weight: zeros(),
            ln_1_bias: zeros(),
            ln_2_weight: zeros(),
            ln_2_bias: zeros(),
        }
    }

    fn add(&mut self, other: &Self) {
        add(&mut self.ln_1_weight, &other.ln_1_weight);
        add(&mut self.ln_1_bias, &other.ln_1_bias);
        add(&mut self.ln_2_weight, &other.ln_2_weight);
        add(&mut self.ln_2_bias, &other.ln_2_bias);
    }
}

fn add(sum: &mut [f32], values: &[f32]) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += value;
    }
}

#[cfg(test)]
mod tests;
