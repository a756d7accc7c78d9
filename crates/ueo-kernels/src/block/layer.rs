//! One residual block over the rows of one group:
//!
//! ```text
//! x_mid = x     + attention(layer_norm_1(x)) W_out + b_out
//! y     = x_mid + activation(layer_norm_2(x_mid) W_fc + b_fc) W_proj + b_proj
//! ```
//!
//! Everything after keys and values is computed for the rows only that are read behind the block.

use super::group::Group;
use super::projection::Projection;
use super::read::{Read, SequenceRows};
use super::workspace::{Activations, ActivationsMut};
use super::{BlockAffine, BlockAffineGradient, BlockWeights, StackConfig, add};
use crate::attention::{self, Shape};
use crate::buffer::{count, fit};
use crate::precision::{Operand, OperandBuffer, OperandMut};
use crate::{Capability, FrozenLinear, Precision, ShapeError, activation, layer_norm};

/// The rows that one block runs over.
#[derive(Clone, Copy)]
pub(super) struct BlockRows<'a> {
    pub group: Group<'a>,
    /// Queries, keys and values `[tokens, 3 width]` of what every sequence sees before itself; may be empty.
    pub prefix_qkv: &'a [f32],
    /// The rows that are read behind the block; other than all in the last block only.
    pub read: Read,
}

impl BlockRows<'_> {
    /// The rows that are read, which are those that ask, in the order in which [`Read::gather`] moves them together.
    pub fn that_ask(self) -> impl Iterator<Item = usize> {
        let sequences = self.read.sequences(self.group);
        sequences.flat_map(|sequence| sequence.read)
    }
}

/// Memory of one worker for the duration of one block.
pub(super) struct Scratch {
    /// `[rows, max(hidden, 3 width)]`
    wide: Vec<f32>,
    /// `[rows, width]`
    narrow: Vec<f32>,
    /// What a weight is about to be multiplied with.
    operand: OperandBuffer,
    /// A prefix's and a sequence's queries, keys and values, together, and their gradient.
    joined: Vec<f32>,
    d_joined: Vec<f32>,
    attention: attention::Scratch,
}

impl Scratch {
    pub fn new(attention: attention::Scratch) -> Self {
        Self {
            wide: Vec::new(),
            narrow: Vec::new(),
            operand: OperandBuffer::default(),
            joined: Vec::new(),
            d_joined: Vec::new(),
            attention,
        }
    }
}

/// What a backward pass adds up besides the input's gradient.
#[derive(Default)]
pub(super) struct Sums<'a> {
    pub affine: Option<&'a mut BlockAffineGradient>,
    /// The gradient to a shared prefix's `[tokens, 3 width]` queries (zero), keys and values, from the sequences of this group.
    pub d_prefix_qkv: Option<&'a mut [f32]>,
}

/// One block's packed weights.
pub(super) struct Layer {
    capability: Capability,
    config: StackConfig,
    qkv: Projection,
    out: FrozenLinear,
    fc: FrozenLinear,
    proj: FrozenLinear,
}

impl Layer {
    pub fn new(
        capability: Capability,
        config: StackConfig,
        weights: &BlockWeights<'_>,
        reads_one: bool,
    ) -> Result<Self, ShapeError> {
        let StackConfig {
            width,
            hidden,
            precision,
            ..
        } = config;
        let linear = |weight, bias, inputs, outputs| {
            FrozenLinear::new(capability, precision, weight, Some(bias), inputs, outputs)
        };
        Ok(Self {
            capability,
            config,
            qkv: Projection::new(capability, config, weights, reads_one)?,
            out: linear(weights.out_weight, weights.out_bias, width, width)?,
            fc: linear(weights.fc_weight, weights.fc_bias, width, hidden)?,
            proj: linear(weights.proj_weight, weights.proj_bias, hidden, width)?,
        })
    }

    /// The attention of one sequence behind `prefix` rows that all sequences see.
    fn shape(&self, prefix: usize, rows: &SequenceRows) -> Shape {
        let StackConfig {
            width,
            heads,
            causal,
            ..
        } = self.config;
        Shape {
            width,
            heads,
            causal,
            keys: prefix + rows.tokens.len(),
            first_query: prefix + rows.read.start - rows.tokens.start,
            queries: rows.read.len(),
        }
    }

    fn layer_norm(
        &self,
        x: &[f32],
        weight: &[f32],
        bias: &[f32],
        statistics: &mut [layer_norm::Statistics],
        y: OperandMut<'_>,
    ) {
        let epsilon = self.config.layer_norm_epsilon;
        layer_norm::forward(
            self.capability,
            layer_norm::Forward {
                x,
                weight,
                bias,
                epsilon,
                statistics,
                y,
            },
        );
    }

    /// Runs the block in place on `x` `[rows, width]`; its output lies at the front, `[rows that are read, width]`.
    pub fn forward(
        &self,
        affine: &BlockAffine<'_>,
        block_rows: BlockRows<'_>,
        x: &mut [f32],
        kept: ActivationsMut<'_>,
        scratch: &mut Scratch,
    ) {
        let StackConfig {
            width,
            hidden,
            heads,
            activation,
            precision,
            ..
        } = self.config;
        let capability = self.capability;
        let BlockRows {
            group,
            prefix_qkv,
            read,
        } = block_rows;
        let (rows, read_rows) = (group.rows(), read.rows(group));
        let Scratch {
            narrow,
            operand,
            joined,
            attention,
            ..
        } = scratch;
        let narrow = fit(narrow, read_rows * width);
        let keep = !kept.x.is_empty();
        if keep {
            kept.x.copy_from_slice(x);
        }
        self.layer_norm(
            x,
            affine.ln_1_weight,
            affine.ln_1_bias,
            kept.statistics_1,
            operand.fit(precision, rows * width),
        );
        self.qkv
            .forward(&self.config, block_rows, operand, narrow, kept.qkv);
        if read == Read::Nothing {
            // Keys and values are all that anything needs.
            return;
        }
        for sequence in read.sequences(group) {
            let SequenceRows {
                tokens, gathered, ..
            } = &sequence;
            let own = &kept.qkv[tokens.start * 3 * width..tokens.end * 3 * width];
            let log_sum_exp = &mut kept.log_sum_exp[gathered.start * heads..gathered.end * heads];
            let output = &mut narrow[gathered.start * width..gathered.end * width];
            let prefix = prefix_qkv.len() / (3 * width);
            let qkv = join(joined, prefix_qkv, own);
            attention::forward(
                self.shape(prefix, &sequence),
                qkv,
                log_sum_exp,
                output,
                attention,
            );
        }
        read.gather(group, width, x);
        let x = &mut x[..read_rows * width];
        let attended = operand.rounded(capability, precision, narrow);
        self.out.forward_add(read_rows, attended, x);
        if keep {
            kept.x_mid.copy_from_slice(x);
        }
        self.layer_norm(
            x,
            affine.ln_2_weight,
            affine.ln_2_bias,
            kept.statistics_2,
            operand.fit(precision, read_rows * width),
        );
        self.fc
            .forward_operand(read_rows, operand.operand(precision), kept.u);
        activation::forward(
            capability,
            activation,
            kept.u,
            operand.fit(precision, read_rows * hidden),
        );
        self.proj
            .forward_add(read_rows, operand.operand(precision), x);
    }

    /// Replaces the output's gradient, `[rows that are read, width]` at the front of `d`, by the input's `[rows, width]` and adds to
    /// `sums`. `d_qkv_more` is a gradient to this group's own queries, keys and values from elsewhere (a prefix gets it from the
    /// sequences that attend to it); it may be empty.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a different thing, and the three callers are in this folder"
    )]
    pub fn backward(
        &self,
        affine: &BlockAffine<'_>,
        block_rows: BlockRows<'_>,
        d_qkv_more: &[f32],
        d: &mut [f32],
        kept: &Activations,
        mut sums: Sums<'_>,
        scratch: &mut Scratch,
    ) {
        let StackConfig {
            width,
            hidden,
            heads,
            activation,
            precision,
            ..
        } = self.config;
        let capability = self.capability;
        let BlockRows {
            group,
            prefix_qkv,
            read,
        } = block_rows;
        let (rows, read_rows) = (group.rows(), read.rows(group));
        let Scratch {
            wide,
            narrow,
            operand,
            joined,
            d_joined,
            attention,
        } = scratch;
        let (wide, narrow) = (
            fit(
                wide,
                count([read_rows, hidden]).max(count([rows, 3, width])),
            ),
            fit(narrow, rows * width),
        );

        let d_read = &mut d[..read_rows * width];
        let dy = operand.rounded(capability, precision, d_read);
        self.proj.backward_operand(read_rows, dy, wide);
        let (u, da) = (
            &kept.u()[..read_rows * hidden],
            &mut wide[..read_rows * hidden],
        );
        let du = match precision {
            Precision::F32 | Precision::F32Split => {
                activation::backward(capability, activation, u, da);
                Operand::F32(da)
            }
            Precision::Bf16 => {
                let du = operand.bf16(read_rows * hidden);
                activation::backward_rounded(capability, activation, u, da, du);
                Operand::Bf16(du)
            }
        };
        self.fc.backward_operand(read_rows, du, narrow);
        layer_norm::backward(
            self.capability,
            layer_norm::Backward {
                x: &kept.x_mid()[..read_rows * width],
                statistics: kept.statistics_2(),
                weight: affine.ln_2_weight,
                dy: narrow,
                dx: d_read,
                affine: sums
                    .affine
                    .as_deref_mut()
                    .map(|sums| (&mut sums.ln_2_weight[..], &mut sums.ln_2_bias[..])),
            },
        );

        let d_mid = operand.rounded(capability, precision, d_read);
        self.out.backward_operand(read_rows, d_mid, narrow);
        read.scatter(group, width, d);
        let d_qkv = &mut wide[..rows * 3 * width];
        let prefix = prefix_qkv.len() / (3 * width);
        if read == Read::Nothing {
            // No token asks, so all of the gradient to keys and values is `d_qkv_more`.
            d_qkv.fill(0.0);
        }
        for sequence in read.sequences(group).filter(|rows| !rows.read.is_empty()) {
            let SequenceRows {
                tokens, gathered, ..
            } = &sequence;
            let own = tokens.start * 3 * width..tokens.end * 3 * width;
            let qkv = join(joined, prefix_qkv, &kept.qkv()[own.clone()]);
            let log_sum_exp = &kept.log_sum_exp()[gathered.start * heads..gathered.end * heads];
            let d_output = &narrow[gathered.start * width..gathered.end * width];
            let shape = self.shape(prefix, &sequence);
            if prefix == 0 {
                attention::backward(
                    shape,
                    qkv,
                    log_sum_exp,
                    d_output,
                    &mut d_qkv[own],
                    attention,
                );
                continue;
            }
            let d_joined = fit(d_joined, qkv.len());
            attention::backward(shape, qkv, log_sum_exp, d_output, d_joined, attention);
            let (d_prefix, d_own) = d_joined.split_at(prefix_qkv.len());
            d_qkv[own].copy_from_slice(d_own);
            if let Some(sum) = &mut sums.d_prefix_qkv {
                for (sum, d_prefix) in sum
                    .chunks_exact_mut(3 * width)
                    .zip(d_prefix.chunks_exact(3 * width))
                {
                    add(&mut sum[width..], &d_prefix[width..]);
                }
            }
        }
        add(d_qkv, d_qkv_more);
        self.qkv
            .backward(capability, &self.config, block_rows, d_qkv, operand, narrow);
        layer_norm::backward(
            self.capability,
            layer_norm::Backward {
                x: &kept.x()[..rows * width],
                statistics: kept.statistics_1(),
                weight: affine.ln_1_weight,
                dy: narrow,
                dx: d,
                affine: sums
                    .affine
                    .map(|sums| (&mut sums.ln_1_weight[..], &mut sums.ln_1_bias[..])),
            },
        );
    }
}

/// `first` followed by `second`, without a copy where there is nothing to join.
fn join<'a>(buffer: &'a mut Vec<f32>, first: &[f32], second: &'a [f32]) -> &'a [f32] {
    if first.is_empty() {
        return second;
    }
    buffer.clear();
    buffer.extend_from_slice(first);
    buffer.extend_from_slice(second);
    buffer
}
