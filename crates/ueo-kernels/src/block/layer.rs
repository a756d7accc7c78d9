//! One residual block over the rows of one group:
//!
//! ```text
//! x_mid = x     + attention(layer_norm_1(x)) W_out + b_out
//! y     = x_mid + activation(layer_norm_2(x_mid) W_fc + b_fc) W_proj + b_proj
//! ```

use super::group::Group;
use super::workspace::{Activations, ActivationsMut};
use super::{BlockAffine, BlockAffineGradient, BlockWeights, StackConfig, add};
use crate::attention::{self, Shape, fit};
use crate::precision::{Operand, OperandBuffer, OperandMut};
use crate::{Capability, FrozenLinear, Precision, ShapeError, activation, layer_norm};

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
    qkv: FrozenLinear,
    out: FrozenLinear,
    fc: FrozenLinear,
    proj: FrozenLinear,
}

impl Layer {
    pub fn new(
        capability: Capability,
        config: StackConfig,
        weights: &BlockWeights<'_>,
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
            qkv: linear(weights.qkv_weight, weights.qkv_bias, width, 3 * width)?,
            out: linear(weights.out_weight, weights.out_bias, width, width)?,
            fc: linear(weights.fc_weight, weights.fc_bias, width, hidden)?,
            proj: linear(weights.proj_weight, weights.proj_bias, hidden, width)?,
        })
    }

    fn shape(&self, keys: usize, first_query: usize) -> Shape {
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
            keys,
            first_query,
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

    /// Runs the block in place on `x` `[rows, width]`. `prefix_qkv` is what every sequence sees before itself; it may be empty.
    pub fn forward(
        &self,
        affine: &BlockAffine<'_>,
        group: Group<'_>,
        prefix_qkv: &[f32],
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
        let rows = group.rows();
        let Scratch {
            narrow,
            operand,
            joined,
            attention,
            ..
        } = scratch;
        let narrow = fit(narrow, rows * width);
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
            .forward_operand(rows, operand.operand(precision), kept.qkv);
        for tokens in group.sequences() {
            let own = &kept.qkv[tokens.start * 3 * width..tokens.end * 3 * width];
            let log_sum_exp = &mut kept.log_sum_exp[tokens.start * heads..tokens.end * heads];
            let output = &mut narrow[tokens.start * width..tokens.end * width];
            let prefix = prefix_qkv.len() / (3 * width);
            let qkv = join(joined, prefix_qkv, own);
            attention::forward(
                self.shape(prefix + tokens.len(), prefix),
                qkv,
                log_sum_exp,
                output,
                attention,
            );
        }
        let attended = operand.rounded(capability, precision, narrow);
        self.out.forward_add(rows, attended, x);
        if keep {
            kept.x_mid.copy_from_slice(x);
        }
        self.layer_norm(
            x,
            affine.ln_2_weight,
            affine.ln_2_bias,
            kept.statistics_2,
            operand.fit(precision, rows * width),
        );
        self.fc
            .forward_operand(rows, operand.operand(precision), kept.u);
        activation::forward(
            capability,
            activation,
            kept.u,
            operand.fit(precision, rows * hidden),
        );
        self.proj.forward_add(rows, operand.operand(precision), x);
    }

    /// Replaces the output's gradient `d` `[rows, width]` by the input's and adds to `sums`. `d_qkv_more` is a gradient to this
    /// group's own queries, keys and values from elsewhere (a prefix gets it from the sequences that attend to it); it may be empty.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a different thing, and the three callers are in this folder"
    )]
    pub fn backward(
        &self,
        affine: &BlockAffine<'_>,
        group: Group<'_>,
        prefix_qkv: &[f32],
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
        let rows = group.rows();
        let Scratch {
            wide,
            narrow,
            operand,
            joined,
            d_joined,
            attention,
        } = scratch;
        let (wide, narrow) = (
            fit(wide, rows * hidden.max(3 * width)),
            fit(narrow, rows * width),
        );

        let dy = operand.rounded(capability, precision, d);
        self.proj.backward_operand(rows, dy, wide);
        let (u, da) = (&kept.u()[..rows * hidden], &mut wide[..rows * hidden]);
        let du = match precision {
            Precision::F32 => {
                activation::backward(capability, activation, u, da);
                Operand::F32(da)
            }
            Precision::Bf16 => {
                let du = operand.bf16(rows * hidden);
                activation::backward_rounded(capability, activation, u, da, du);
                Operand::Bf16(du)
            }
        };
        self.fc.backward_operand(rows, du, narrow);
        layer_norm::backward(
            self.capability,
            layer_norm::Backward {
                x: &kept.x_mid()[..rows * width],
                statistics: kept.statistics_2(),
                weight: affine.ln_2_weight,
                dy: narrow,
                dx: d,
                affine: sums
                    .affine
                    .as_deref_mut()
                    .map(|sums| (&mut sums.ln_2_weight[..], &mut sums.ln_2_bias[..])),
            },
        );

        let d_mid = operand.rounded(capability, precision, d);
        self.out.backward_operand(rows, d_mid, narrow);
        let d_qkv = &mut wide[..rows * 3 * width];
        let prefix = prefix_qkv.len() / (3 * width);
        for tokens in group.sequences() {
            let own = tokens.start * 3 * width..tokens.end * 3 * width;
            let qkv = join(joined, prefix_qkv, &kept.qkv()[own.clone()]);
            let log_sum_exp = &kept.log_sum_exp()[tokens.start * heads..tokens.end * heads];
            let d_output = &narrow[tokens.start * width..tokens.end * width];
            let shape = self.shape(prefix + tokens.len(), prefix);
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
        let d_qkv = operand.rounded(capability, precision, d_qkv);
        self.qkv.backward_operand(rows, d_qkv, narrow);
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
