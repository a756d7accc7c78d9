//! The product that makes queries, keys and values: rows `[q | k | v]` of `[rows, 3 width]`.

use super::layer::BlockRows;
use super::{BlockWeights, StackConfig, add};
use crate::gemm::Output;
use crate::precision::{OperandBuffer, OperandMut};
use crate::{Capability, FrozenLinear, ShapeError};

/// The packed weight of that product.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each block, and what counts are the matrices behind it"
)]
pub(super) enum Projection {
    /// Every token has a query.
    Whole(FrozenLinear),
    /// Only tokens that are read have a query, so queries are a product of their own; keys and values are those of all tokens. The
    /// queries of other rows are never written and never read.
    Parts {
        query: FrozenLinear,
        key_value: FrozenLinear,
    },
}

impl Projection {
    /// `reads_one`: whether this is a block behind which single tokens are read.
    pub fn new(
        capability: Capability,
        config: StackConfig,
        weights: &BlockWeights<'_>,
        reads_one: bool,
    ) -> Result<Self, ShapeError> {
        let StackConfig {
            width, precision, ..
        } = config;
        let (weight, bias) = (weights.qkv_weight, weights.qkv_bias);
        ShapeError::check_count("weight of a linear layer", [3, width, width], weight.len())?;
        ShapeError::check_count("bias of a linear layer", [3, width], bias.len())?;
        let linear = |weight, bias, outputs| {
            FrozenLinear::new(capability, precision, weight, Some(bias), width, outputs)
        };
        if !reads_one {
            return Ok(Self::Whole(linear(weight, bias, 3 * width)?));
        }
        let (query_weight, key_value_weight) = weight.split_at(width * width);
        let (query_bias, key_value_bias) = bias.split_at(width);
        Ok(Self::Parts {
            query: linear(query_weight, query_bias, width)?,
            key_value: linear(key_value_weight, key_value_bias, 2 * width)?,
        })
    }

    /// # Shapes
    /// `normalized` holds `[rows, width]` and serves as memory afterwards; `narrow` is memory for as many values, `qkv`
    /// `[rows, 3 width]` the result.
    pub fn forward(
        &self,
        config: &StackConfig,
        rows: BlockRows<'_>,
        normalized: &mut OperandBuffer,
        narrow: &mut [f32],
        qkv: &mut [f32],
    ) {
        let StackConfig {
            width, precision, ..
        } = *config;
        let BlockRows { group, read, .. } = rows;
        match self {
            Self::Whole(linear) => {
                linear.forward_operand(group.rows(), normalized.operand(precision), qkv);
            }
            Self::Parts { query, key_value } => {
                let target = Output {
                    data: &mut qkv[width..],
                    row_stride: 3 * width,
                    accumulate: false,
                };
                key_value.forward_into(group.rows(), normalized.operand(precision), target);
                match normalized.fit(precision, group.rows() * width) {
                    OperandMut::F32(values) => read.gather(group, width, values),
                    OperandMut::Bf16(values) => read.gather(group, width, values),
                }
                query.forward_operand(read.rows(group), normalized.operand(precision), narrow);
                for (row, query) in rows.that_ask().zip(narrow.chunks_exact(width)) {
                    qkv[row * 3 * width..][..width].copy_from_slice(query);
                }
            }
        }
    }

    /// # Shapes
    /// `d_qkv` `[rows, 3 width]` serves as memory afterwards; `d_normalized` `[rows, width]` is the result.
    pub fn backward(
        &self,
        capability: Capability,
        config: &StackConfig,
        rows: BlockRows<'_>,
        d_qkv: &mut [f32],
        operand: &mut OperandBuffer,
        d_normalized: &mut [f32],
    ) {
        let StackConfig {
            width, precision, ..
        } = *config;
        let BlockRows { group, read, .. } = rows;
        match self {
            Self::Whole(linear) => {
                let d_qkv = operand.rounded(capability, precision, d_qkv);
                linear.backward_operand(group.rows(), d_qkv, d_normalized);
            }
            Self::Parts { query, key_value } => {
                let keys_and_values = d_qkv.chunks_exact(3 * width).map(|row| &row[width..]);
                let len = group.rows() * 2 * width;
                let d_key_value = operand.gathered(capability, precision, keys_and_values, len);
                key_value.backward_operand(group.rows(), d_key_value, d_normalized);

                let queries = rows
                    .that_ask()
                    .map(|row| &d_qkv[row * 3 * width..][..width]);
                let len = read.rows(group) * width;
                let d_query = operand.gathered(capability, precision, queries, len);
                let from_queries = &mut d_qkv[..len];
                query.backward_operand(read.rows(group), d_query, from_queries);
                for (row, values) in rows.that_ask().zip(from_queries.chunks_exact(width)) {
                    add(&mut d_normalized[row * width..][..width], values);
                }
            }
        }
    }
}
